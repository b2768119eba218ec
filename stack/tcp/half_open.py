"""SYN-RECEIVED of a passive open as a small record (RFC 9293 3.10.7.2, 3.10.7.4).

A SYN costs its sender nothing, so it must cost us little: a dozen numbers, not a connection. The record answers the
SYN, repeats the answer twice, and is gone after seven seconds; only the third segment of the handshake, which proves
that somebody lives at that address, makes a `Connection`. The record is a pure function of itself, a segment and the
time: `on_segment` says what to do and the host does it.

Numbers are wire values. What the SYN offered is kept by keeping the SYN itself, without its payload.
"""

from __future__ import annotations

import enum

from stack.tcp.listener import Listener
from stack.tcp.negotiate import Agreement, Offer
from stack.tcp.seq import HALF, MASK
from stack.tcp.state import LISTEN, Event, State, follow
from stack.tcp.timestamps import clock, is_older
from stack.wire.segment import ACK, ECE, RST, SYN, Segment
from stack.wire.units import MS, SECOND, Duration, Time

SYN_ACK_WAITS: tuple[Duration, ...] = (1 * SECOND, 2 * SECOND, 4 * SECOND)
"""How long the first, second and third SYN-ACK are waited for. Three in all: a stated deviation from R2's three
minutes, because each SYN-ACK to a forged address hits somebody who never asked for it."""

CHALLENGE_INTERVAL: Duration = 500 * MS


class Verdict(enum.Enum):
    """What a segment means to a half-open connection."""

    COMPLETE = "complete"  # the handshake is done: make the connection, feed it this segment
    REPEAT = "repeat"  # the SYN came again: so does the SYN-ACK
    ACK = "ack"  # not acceptable, or challenged: say what is expected
    RESET = "reset"  # acknowledges what was never sent: answer with a reset (3.10.7.4, fifth)
    GONE = "gone"  # reset by the peer: back to LISTEN
    DROP = "drop"


class HalfOpen:
    """A SYN that was answered and not yet acknowledged."""

    __slots__ = (
        "challenged_at",
        "iss",
        "key",
        "listener",
        "local",
        "offer",
        "remote",
        "sent",
        "sent_at",
        "state",
        "syn",
        "ts_offset",
        "v6",
        "window",
    )

    def __init__(
        self,
        key: bytes,
        local: tuple[bytes, int],
        remote: tuple[bytes, int],
        syn: Segment,
        *,
        iss: int,
        offer: Offer,
        ts_offset: int,
        listener: Listener,
        now: Time,
    ) -> None:
        self.state: State = follow(LISTEN, Event.RECV_SYN)
        self.key = key
        self.local = local
        self.remote = remote
        self.syn = syn
        self.iss = iss
        self.offer = offer
        self.ts_offset = ts_offset
        self.window = min(listener.options.receive_window, 0xFFFF)
        self.listener = listener
        self.v6 = len(local[0]) == 16
        self.sent = 0  # SYN-ACKs
        self.sent_at: Time = now
        self.challenged_at: Time = now - CHALLENGE_INTERVAL

    @property
    def rcv_nxt(self) -> int:
        return (self.syn.seq + 1) & MASK

    def agreement(self) -> Agreement:
        """What the two SYNs agree on."""
        return Agreement(self.offer, self.syn, v6=self.v6)

    def syn_ack(self, now: Time) -> Segment:
        """<SEQ=ISS><ACK=RCV.NXT><CTL=SYN,ACK>, counted as sent."""
        self.sent += 1
        self.sent_at = now
        agreed = self.agreement()
        return Segment(
            self.local[1],
            self.remote[1],
            self.iss,
            self.rcv_nxt,
            SYN | ACK | (ECE if agreed.ecn else 0),
            self.window,
            mss=self.offer.mss,
            wscale=self.offer.wscale if agreed.scaling else -1,
            sack_ok=agreed.sack,
            tsval=clock(self.ts_offset, now) if agreed.timestamps else -1,
            tsecr=self.syn.tsval if agreed.timestamps else 0,
        )

    def ack(self, now: Time) -> Segment:
        """<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>"""
        agreed = self.agreement()
        return Segment(
            self.local[1],
            self.remote[1],
            (self.iss + 1) & MASK,
            self.rcv_nxt,
            ACK,
            self.window >> (agreed.rcv_shift),
            tsval=clock(self.ts_offset, now) if agreed.timestamps else -1,
            tsecr=self.syn.tsval if agreed.timestamps else 0,
        )

    def on_segment(self, seg: Segment, now: Time) -> Verdict:
        """What to do about a segment of this connection (3.10.7.4, for SYN-RECEIVED)."""
        flags = seg.flags
        offset = (seg.seq - self.rcv_nxt) & MASK
        if flags & (SYN | ACK | RST) == SYN and seg.seq == self.syn.seq:
            return Verdict.REPEAT
        if not flags & RST and self.agreement().timestamps and (seg.tsval < 0 or is_older(seg.tsval, self.syn.tsval)):
            return Verdict.DROP if seg.tsval < 0 else self._challenge(now)
        if not self._acceptable(offset, seg.length):
            return Verdict.DROP if flags & RST else self._challenge(now)
        if flags & RST:
            if offset:
                return self._challenge(now)  # RFC 5961 3.2
            self.state = follow(self.state, Event.RETURN_TO_LISTEN)
            return Verdict.GONE
        if flags & SYN:
            return self._challenge(now)
        if not flags & ACK:
            return Verdict.DROP
        return Verdict.COMPLETE if (seg.ack - self.iss) & MASK == 1 else Verdict.RESET

    def expire(self) -> None:
        """The last SYN-ACK was not answered either."""
        self.state = follow(self.state, Event.RETURN_TO_LISTEN)

    def _acceptable(self, offset: int, length: int) -> bool:
        if offset < HALF:
            return offset < self.window + (length == 0)
        return length > MASK + 1 - offset  # begins before RCV.NXT and reaches into the window

    def _challenge(self, now: Time) -> Verdict:
        if now - self.challenged_at < CHALLENGE_INTERVAL:
            return Verdict.DROP
        self.challenged_at = now
        return Verdict.ACK
