"""SYN-RECEIVED of a passive open as a small record (RFC 9293 3.10.7.2, 3.10.7.4).

A SYN costs its sender nothing, so it must cost us little: a dozen numbers, not a connection. The record answers the
SYN, repeats the answer twice, and then waits in silence for a minute, or until the listener needs its place for
another; only the third segment of the handshake, which proves that somebody lives at that address, makes a
`Connection`. The record is a pure function of itself, a segment and the time: `on_segment` says what to do and the
host does it.

Numbers are wire values. They, and what the SYN offered, are needed once or twice, so they are kept packed: an object
for each would be most of what a record costs.
"""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING

from stack.tcp import resets
from stack.tcp.flow import is_v6, local_end, remote_end
from stack.tcp.negotiate import TIMESTAMP_BYTES, Agreement, Offer
from stack.tcp.seq import HALF, MASK
from stack.tcp.state import LISTEN, Event, State, follow
from stack.tcp.timestamps import clock, is_older
from stack.wire.segment import ACK, ECE, RST, SYN, Segment
from stack.wire.units import MS, SECOND, Duration, Time

if TYPE_CHECKING:
    from stack.tcp.listener import Listener

# RFC4987-04
SYN_ACK_WAITS: tuple[Duration, ...] = (1 * SECOND, 2 * SECOND, 60 * SECOND)
"""How long the first, second and third SYN-ACK are waited for. Three in all: a stated deviation from R2's three
minutes, because each SYN-ACK to a forged address hits somebody who never asked for it. Waiting in silence hits nobody,
so the last wait is long. A peer that has our SYN-ACK believes itself connected and goes on sending, and whatever
arrives completes the handshake; with an RTO of 3 s (RFC 6298 5.7) it sends 3, 9, 21 and 45 s after its third segment.
That makes 63 s in all, as long as Linux waits with the five repetitions that it has by default. A flood gains nothing
by the length: a record in its last wait makes way for a new SYN, see `stack.host.handshakes`."""

CHALLENGE_INTERVAL: Duration = 500 * MS


_COLD = struct.Struct("!IIIqHhB?")  # ISS, timestamp offset, and of the SYN: number, TSval, MSS, scale, flags, SACK


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
        "_cold",
        "challenged_at",
        "key",
        "listener",
        "newer",
        "offer",
        "older",
        "sent",
        "sent_at",
        "state",
    )

    def __init__(
        self,
        key: bytes,
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
        self.offer = offer
        self._cold = _COLD.pack(iss, ts_offset, syn.seq, syn.tsval, syn.mss, syn.wscale, syn.flags, syn.sack_ok)
        self.listener = listener
        self.sent = 0  # SYN-ACKs
        self.sent_at: Time = now
        self.challenged_at: Time = -1
        self.older: HalfOpen | None = None  # its neighbours in `LastWaits`
        self.newer: HalfOpen | None = None

    @property
    def local(self) -> tuple[bytes, int]:
        return local_end(self.key)

    @property
    def remote(self) -> tuple[bytes, int]:
        return remote_end(self.key)

    @property
    def iss(self) -> int:
        iss: int = _COLD.unpack(self._cold)[0]
        return iss

    @property
    def rcv_nxt(self) -> int:
        return (self.syn.seq + 1) & MASK

    @property
    def window(self) -> int:
        timestamps = self.offer.timestamps and _COLD.unpack(self._cold)[3] >= 0
        segment = self.offer.mss - (TIMESTAMP_BYTES if timestamps else 0)
        return min(self.listener.options.first_window(segment), 0xFFFF)

    @property
    def syn(self) -> Segment:
        """The SYN, as far as it matters: without its window and its payload."""
        _, _, seq, tsval, mss, wscale, flags, sack_ok = _COLD.unpack(self._cold)
        source, target = self.remote[1], self.local[1]
        return Segment(source, target, seq, 0, flags, 0, mss=mss, wscale=wscale, sack_ok=sack_ok, tsval=tsval)

    def agreement(self) -> Agreement:
        """What the two SYNs agree on."""
        return Agreement(self.offer, self.syn, v6=is_v6(self.key))

    def syn_ack(self, now: Time) -> Segment:
        """<SEQ=ISS><ACK=RCV.NXT><CTL=SYN,ACK>, counted as sent."""
        self.sent += 1
        self.sent_at = now
        agreed = self.agreement()
        iss, ts_offset, irs, tsval, *_ = _COLD.unpack(self._cold)
        return Segment(
            self.local[1],
            self.remote[1],
            iss,
            (irs + 1) & MASK,
            SYN | ACK | (ECE if agreed.ecn else 0),
            self.window,
            mss=self.offer.mss,
            wscale=self.offer.wscale if agreed.scaling else -1,
            sack_ok=agreed.sack,
            tsval=clock(ts_offset, now) if agreed.timestamps else -1,
            tsecr=tsval if agreed.timestamps else 0,
        )

    def ack(self, now: Time) -> Segment:
        """<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>"""
        agreed = self.agreement()
        iss, ts_offset, irs, tsval, *_ = _COLD.unpack(self._cold)
        return Segment(
            self.local[1],
            self.remote[1],
            (iss + 1) & MASK,
            (irs + 1) & MASK,
            ACK,
            self.window >> (agreed.rcv_shift),
            tsval=clock(ts_offset, now) if agreed.timestamps else -1,
            tsecr=tsval if agreed.timestamps else 0,
        )

    def reset_for(self, seg: Segment, now: Time) -> Segment:
        """The answer to an ACK of what was never sent (3.10.7.4, fifth)."""
        return resets.answer(seg, self.listener.options, _COLD.unpack(self._cold)[1], now)

    # RFC7323-21
    def abort(self, now: Time) -> Segment:
        """The reset that tells the peer that nobody listens any more."""
        reset = self.ack(now)
        reset.flags = RST | ACK
        reset.window = 0
        return reset

    # RFC 9293 MUST-11
    def on_segment(self, seg: Segment, now: Time) -> Verdict:
        """What to do about a segment of this connection (3.10.7.4, for SYN-RECEIVED)."""
        flags = seg.flags
        iss, _, irs, tsval, *_ = _COLD.unpack(self._cold)
        offset = (seg.seq - irs - 1) & MASK
        if flags & (SYN | ACK | RST) == SYN and seg.seq == irs:
            return Verdict.REPEAT
        timestamps = self.offer.timestamps and tsval >= 0
        if timestamps and not flags & RST:
            if seg.tsval < 0:
                if not self.listener.options.habits.takes_missing_timestamps:
                    return Verdict.DROP
            elif is_older(seg.tsval, tsval):
                return self._challenge(now)
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
        return Verdict.COMPLETE if (seg.ack - iss) & MASK == 1 else Verdict.RESET

    def expire(self) -> None:
        """The last SYN-ACK was not answered either."""
        self.state = follow(self.state, Event.RETURN_TO_LISTEN)

    def _acceptable(self, offset: int, length: int) -> bool:
        if offset < HALF:
            return offset < self.window + (length == 0)
        return length > MASK + 1 - offset  # begins before RCV.NXT and reaches into the window

    def _challenge(self, now: Time) -> Verdict:
        if self.challenged_at >= 0 and now - self.challenged_at < CHALLENGE_INTERVAL:
            return Verdict.DROP
        self.challenged_at = now
        return Verdict.ACK


class LastWaits:
    """A listener's half-open records after their last SYN-ACK, in order of age.

    They are linked with each other, because an entry in an ordered table would add half to what a record costs.
    """

    __slots__ = ("_newest", "oldest")

    def __init__(self) -> None:
        self.oldest: HalfOpen | None = None
        self._newest: HalfOpen | None = None

    def append(self, record: HalfOpen) -> None:
        """Its last wait begins."""
        record.older = self._newest
        if record.older is None:
            self.oldest = record
        else:
            record.older.newer = record
        self._newest = record

    def remove(self, record: HalfOpen) -> None:
        """Its last wait is over, if it had begun."""
        older, newer = record.older, record.newer
        if older is not None:
            older.newer = newer
        elif self.oldest is record:
            self.oldest = newer
        else:
            return
        if newer is not None:
            newer.older = older
        else:
            self._newest = older
        record.older = record.newer = None
