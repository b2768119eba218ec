"""The receiving half: RCV.*, reassembly, the window and the ACK policy (RFC 9293 3.8.6).

    read by the application          held in order          nxt               nxt + wnd (the edge)
    ---------------------------------|----------------------|-----------------|--------------
                                      `buffered` octets        may arrive, in   may not
                                                               any order

Numbers are unwrapped: the peer's SYN is 0. The right edge of the window never moves left: what was once offered is
accepted, and the largest edge ever offered decides. A new edge is offered only when it lies at least a segment, or
half the buffer, beyond the old one (the receiver's silly-window avoidance, 3.8.6.2.2).

The buffer grows with the flow. Once a round trip the receiver compares what the application has read with the
buffer's size: a sender in slow start doubles what it sends, so the buffer must hold twice what one round trip
brought, up to a limit. An application that does not read, or lags behind, gets no larger buffer: what it can't read
would only wait, and hold up other flows. How long a round trip is, a receiver that sends nothing must find out itself,
and afresh as queues fill, or it would hold back a sender that meets a long queue: by what the peer's segments echo of
its ACKs, or else by how long a window takes to arrive.

When to acknowledge: at once for what is out of order, duplicate, or fills a gap; at once for the first segments of
a connection, after a duplicate and after a long silence, for then the peer's window is small and grows by ACKs; every
second full segment; else after a short delay, in the hope that data or a window update can carry the ACK (3.8.6.3).
Whatever a batch of segments asks for, at most one plain ACK comes of it, but each out-of-order arrival gets its own,
because the peer counts duplicates.
"""

from __future__ import annotations

from typing import Final

from stack.tcp.chunks import Held, keep
from stack.tcp.config import TcpOptions
from stack.tcp.negotiate import TIMESTAMP_BYTES
from stack.tcp.reassembly import Reassembly
from stack.wire.units import MS, Duration, Time

QUICK_ACKS: Final = 16  #: Segments acknowledged at once when the peer's window is small; Linux' figure too.
MAX_DUPLICATE_ACKS = 64  #: Out-of-order arrivals of one batch that get an ACK of their own.
DUPLICATES_FOR_ONE = 3  #: ACKs for a super-frame out of order: what starts a fast retransmit (RFC 5681 3.2).
SHORTEST_ROUND: Final = MS  #: No round trip counts for less: to read what came in one batch may take as long.
NO_FIN: Final = -1

Blocks = tuple[tuple[int, int], ...]

_NONE_OWED: list[Blocks] = []  # never added to: most connections need no list of their own


class Receiver:
    """RCV variables, the in-order buffer and what is owed to the peer."""

    __slots__ = (
        "_chunks",
        "_lags_since",
        "_round_copied",
        "_round_lagged",
        "_round_started",
        "_rtt_mark",
        "_rtt_started",
        "ack_now",
        "ack_soon",
        "buffered",
        "duplicate",
        "duplicate_acks",
        "edge",
        "fin",
        "limit",
        "max_limit",
        "most_quick",
        "mss",
        "nxt",
        "quick",
        "reassembly",
        "received_bytes",
        "rtt",
        "sack",
        "shift",
        "space",
        "unacked",
        "up",
    )

    def __init__(self, options: TcpOptions, mss: int) -> None:
        self.nxt = 0
        self.edge = 0  # RCV.NXT + RCV.WND as last offered
        self.limit = options.first_window(mss)
        self.max_limit = options.receive_buffer
        self.space = options.receive_window if options.habits.spare_buffer else 0  # what waits unread may fill this
        self.mss = mss
        self.shift = 0
        self.sack = False
        self.up = 0  # RCV.UP: the number of the octet that follows the urgent data; 0: no pointer came
        self.fin = NO_FIN  # the number of the peer's FIN, once seen, in order or not
        self.buffered = 0
        self.received_bytes = 0
        self._chunks: list[Held] = []  # in order; an idle connection has none, and an empty deque costs 760 octets
        self.reassembly: Reassembly | None = None
        self.most_quick = QUICK_ACKS if options.habits.quick_acks else 0
        self.quick = self.most_quick
        self.unacked = 0  # octets received in order since our last ACK
        self.ack_now = False
        self.ack_soon = False  # an ACK is owed, but may be delayed
        self.duplicate: tuple[int, int] | None = None  # what came twice, to be reported once
        self.duplicate_acks: list[Blocks] = _NONE_OWED
        self._round_started: Time = 0
        self._round_copied = 0
        self._round_lagged: Duration = 0  # for how long of it octets waited to be read
        self._lags_since: Time = 0
        self.rtt: Duration = -1  # the round trip as seen from here, with the peer's queues in it; -1: not yet
        self._rtt_mark = 0  # when this number arrives, a window has come since `_rtt_started`
        self._rtt_started: Time = 0

    # Getters.

    # RFC 9293 SHLD-14, RFC7323-08, RFC7323-09
    @property
    def wnd(self) -> int:
        """RCV.WND as the peer may understand it: up to the largest edge ever offered."""
        return self.edge - self.nxt

    @property
    def capacity(self) -> int:
        """What the buffer holds at present, in octets."""
        return max(self.limit, self.space)

    @property
    def fin_received(self) -> bool:
        """Whether everything up to and including the peer's FIN has arrived."""
        return self.fin != NO_FIN and self.nxt > self.fin

    # RFC2018-02, RFC2018-03, RFC2018-04, RFC2883-01, RFC2883-02, RFC2883-03
    def blocks(self) -> Blocks:
        """What to report in a SACK option: a duplicate first (RFC 2883), then what is out of order."""
        if not self.sack:
            return ()
        held = self.reassembly.blocks() if self.reassembly is not None else ()
        if self.fin != NO_FIN:  # it takes a number, and is here: or the peer would never hear that its last segment is
            held = tuple([(start, end + (end == self.fin)) for start, end in held])
        return (self.duplicate, *held) if self.duplicate is not None else held

    # Inputs.

    # RFC5681-18
    def on_text(self, seq: int, data: memoryview, now: Time, segments: int = 1) -> bool:
        """Take octets that begin at `seq`, trimmed to the window; false if they could not be kept.

        `segments` is of how many the link has joined them.
        """
        if not self._round_started:
            self._round_started = now
        end = seq + len(data)
        if seq > self.nxt:
            return self._on_gap(seq, data, segments)
        self.duplicate_acks = _NONE_OWED  # what they would report stands in the ACK that follows
        if self.reassembly is not None:
            self.ack_now = True  # fills a gap, or part of one (RFC 5681 4.2)
        if self.reassembly is None or end < self.reassembly.start:
            keep(self._chunks, data)
            self._count(len(data))
            self.nxt = end
            self.unacked += len(data)
        else:
            repeated = self.reassembly.overlap(seq, end)
            if repeated is not None:  # the ACK that follows covers it, and says so (RFC 2883 4.2)
                self.duplicate = repeated
            self.reassembly.insert(self.nxt, data)  # where it overlaps what is held, that stays
            self._drain()
        self._owe()
        return True

    def on_echo(self, elapsed: Duration) -> None:
        """Text echoes an ACK of ours that left so long ago (-1: none that can be)."""
        if elapsed >= 0:
            self.rtt = elapsed if self.rtt < 0 else self.rtt + (elapsed - self.rtt) // 8

    def on_window(self, now: Time) -> None:
        """Text came that echoes nothing: a window takes a round trip, or longer if it does not limit the peer."""
        if self.nxt < self._rtt_mark:
            return
        if self._rtt_mark:
            took = now - self._rtt_started
            self.rtt = took if self.rtt < 0 else min(self.rtt + self.rtt // 8, took)
        self._rtt_mark = self.edge
        self._rtt_started = now

    def begin(self, options: TcpOptions, *, timestamps: bool) -> None:
        """A SYN has arrived, and is answered with the first window, for segments with timestamps or without."""
        self.nxt = 1
        if timestamps:
            self.limit = options.first_window(self.mss - TIMESTAMP_BYTES)
        self.edge = 1 + min(self.limit, 0xFFFF)

    # RFC2883-01
    def on_old_text(self, start: int, end: int) -> None:
        """The octets [start, end) came that were here before: the peer has missed our ACK, or was too hasty."""
        self.duplicate = (start, end)
        self.quick = self.most_quick  # the peer is repairing, and ACKs were lost
        self._owe_duplicate()

    def on_silence(self) -> None:
        """The next text comes more than an RTO after the last: the peer timed out or lay idle, and starts slowly."""
        self.quick = self.most_quick

    def on_fin(self, seq: int) -> bool:
        """The peer's FIN stands at `seq`; the first one that was seen decides.

        False for one that can't be: there is data behind it already.
        """
        if self.fin == NO_FIN:
            if seq < self.nxt or (self.reassembly is not None and seq < self.reassembly.end):
                return False
            self.fin = seq
            if self.duplicate_acks:
                self.duplicate_acks[-1] = self.blocks()  # the segment that it came with is reported with it
        return seq == self.fin

    def take_fin(self) -> bool:
        """Advance over the FIN if everything before it is here; true when that happened."""
        if self.fin != self.nxt:
            return False
        self.nxt += 1
        self.duplicate_acks = _NONE_OWED
        self.edge = max(self.edge, self.nxt)
        self.reassembly = None
        self.ack_now = True
        return True

    # RFC 9293 SHLD-31, RFC2018-14
    def _on_gap(self, seq: int, data: memoryview, segments: int) -> bool:
        if self.reassembly is None:
            self.reassembly = Reassembly()
        end = seq + len(data)
        self.duplicate = self.reassembly.overlap(seq, end)
        kept = self.duplicate == (seq, end) or self.reassembly.insert(seq, data)
        self._owe_duplicate()
        if not self.sack:  # only the number of duplicates tells the peer how much arrives
            for _ in range(min(segments, DUPLICATES_FOR_ONE) - 1):
                self._owe_duplicate()
        return kept

    # RFC 9293 MAY-13, RFC2018-05, RFC5681-17
    def _owe_duplicate(self) -> None:
        self.ack_now = True
        if not self.duplicate_acks:
            self.duplicate_acks = [self.blocks()]
            self.duplicate = None
        elif len(self.duplicate_acks) < MAX_DUPLICATE_ACKS:
            self.duplicate_acks.append(self.blocks())
            self.duplicate = None

    # RFC 9293 SHLD-18, SHLD-19, RFC1122-17, RFC5681-28
    def _owe(self) -> None:
        if self.quick > 0:
            self.quick -= 1
            self.ack_now = True
        elif self.unacked >= 2 * self.mss:
            self.ack_now = True
        else:
            self.ack_soon = True

    def _count(self, size: int) -> None:
        self.buffered += size
        self.received_bytes += size

    def _drain(self) -> None:
        reassembly = self.reassembly
        if reassembly is None:
            return
        upto, chunks = reassembly.take(self.nxt)
        self._chunks.extend(chunks)
        self._count(upto - self.nxt)
        self.unacked += upto - self.nxt
        self.nxt = upto
        if not len(reassembly):
            self.reassembly = None

    # Commands.

    def read(self, limit: int, now: Time, rtt: Duration) -> bytes:
        """Up to `limit` octets in order; may widen the window. `rtt` is the connection's estimate, or -1."""
        chunks = self._chunks
        if not chunks:
            return b""
        if self.buffered <= limit:
            size, taken = self.buffered, chunks
            self._chunks = []
        else:
            size, taken = limit, self._take(limit)
        self.buffered -= size
        self._measure(size, now, rtt)
        return b"".join(taken)

    def _take(self, limit: int) -> list[Held]:
        """The first `limit` octets, of more than so many; the chunk in which they end is cut in two."""
        chunks = self._chunks
        size = count = 0
        while size + len(chunks[count]) <= limit:
            size += len(chunks[count])
            count += 1
        taken = chunks[:count]
        if size < limit:
            chunk = chunks[count]
            taken.append(chunk[: limit - size])
            chunks[count] = chunk[limit - size :]
        del chunks[:count]
        return taken

    def peek(self, limit: int, skip: int) -> bytes:
        """Up to `limit` octets that come after the next `skip`; all of them stay."""
        parts: list[bytes] = []
        for chunk in self._chunks:
            part = bytes(chunk[skip : skip + limit])
            skip = max(skip - len(chunk), 0)
            limit -= len(part)
            parts.append(part)
            if not limit:
                break
        return b"".join(parts)

    def quick_ack(self, on: bool) -> None:
        """Acknowledge at once what is owed, and the next segments; or not before it must be."""
        self.quick = QUICK_ACKS if on else 0
        if on and self.ack_soon:
            self.ack_now = True

    def resize(self, options: TcpOptions) -> None:
        """The application wants a buffer of another size. What was offered stays offered."""
        self.max_limit = max(options.receive_buffer, 2 << self.shift)
        self.limit = min(max(self.limit, options.first_window(self.mss)), self.max_limit)
        if self.space:
            self.space = min(max(self.space, options.receive_window), self.max_limit)

    def discard(self) -> None:
        """Drop everything unread: nobody will read it."""
        self._chunks = []
        self.buffered = 0
        self.reassembly = None

    def _measure(self, copied: int, now: Time, rtt: Duration) -> None:
        """Dynamic right-sizing: once a round trip, make room for twice what was read in it.

        Not while octets wait to be read: then it is the application that is slow, and more would only wait. What it
        has read when it has caught up is shared among the round trips for which it lagged.
        """
        self._round_copied += copied
        if self.buffered:
            if not self._lags_since:
                self._lags_since = now
            return
        if self._lags_since:
            self._round_lagged += now - self._lags_since
            self._lags_since = 0
        round_trip = max(rtt, self.rtt)
        if now - self._round_started < round_trip:
            return
        rounds = max(self._round_lagged // max(round_trip, SHORTEST_ROUND), 1)
        wanted = 2 * self._round_copied // rounds + 16 * self.mss
        if wanted > self.limit:
            self.limit = max(self.limit, min(wanted, self.max_limit))
        self._round_started = now
        self._round_copied = 0
        self._round_lagged = 0

    # Outputs.

    # RFC 9293 MUST-39, SHLD-14, MAY-8, RFC1122-18, RFC7323-05
    def offer(self) -> int:
        """The window field of a segment that leaves now, scaled; moves the edge when that is worth it."""
        free = self._free()
        gain = self.nxt + free - self.edge
        if gain >= min(self.mss, max(self.limit // 2, 1)) or (gain > 0 and self.space and free >= self.mss):
            self.edge = self.nxt + free
        field = self.wnd >> self.shift
        # Rounding down would take back a part of what was offered; round up where the buffer has the room.
        if field << self.shift < self.wnd and (field + 1) << self.shift <= free and field < 0xFFFF:
            field += 1
            self.edge = self.nxt + (field << self.shift)
        return min(field, 0xFFFF)

    # RFC 9293 MUST-58, RFC5681-30
    def on_ack_sent(self) -> None:
        """An ACK of RCV.NXT has left."""
        self.unacked = 0
        self.ack_now = False
        self.ack_soon = False
        self.duplicate = None

    def window_update_due(self) -> bool:
        """Whether reading has opened the window so far that the peer should hear of it without being asked.

        Twice what the peer still believes to have, and at least two segments or half the buffer: a sender that
        fills the window is told well before it must stop, and no other one is disturbed.
        """
        free = self._free()
        return free >= 2 * self.wnd and free - self.wnd >= min(2 * self.mss, max(self.limit // 2, 1))

    def _free(self) -> int:
        """Room in the buffer, as far as the window field can tell of it."""
        if self.space:
            unit = 1 << self.shift
            spare = max(self.capacity - self.buffered, 0)
            return min(spare & -unit, (self.limit + unit - 1) & -unit, 0xFFFF << self.shift)
        return min(max(self.limit - self.buffered, 0), 0xFFFF << self.shift)
