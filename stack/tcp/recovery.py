"""What was sent and what became of it: the sender's memory, and the SACK scoreboard (RFC 2018, RFC 6675).

Every transmission of new octets leaves a record, [start, end) with the time. Records lie in order and cover exactly
what is outstanding; each is in one of these states:

    OUT      in the network, as far as we know
    SACKED   the peer holds it (it stays here until it is acknowledged: the peer may change its mind, RFC 2018 8)
    LOST     believed to have left the network without arriving, and not sent again yet
    ACKED    acknowledged; the record is about to be forgotten

From that follows the one number that limits sending (RFC 6675 4, SetPipe):

    pipe = octets outstanding - octets SACKED - octets LOST

This module keeps the books. Who is lost is decided elsewhere: by time (`stack.tcp.rack`) where the peer reports what it
holds, by counting duplicates (`stack.tcp.repair`) where it doesn't. SYN and FIN take one number each and are recorded
like octets, so that they are repaired like octets.

A record may stand for a burst of several segments that left as one super-frame. The network handles those one by
one, so a burst is cut where the peer acknowledges or reports a part of it: between its segments and nowhere else, or
reports of single octets could make us keep a record for each. The pieces stay together in the order of transmissions.

The scoreboard remembers the reported ranges beside the records, so that a report that repeats itself, as SACK options
do, costs nothing but a bisection, however much it covers (CVE-2019-11478).
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final

from stack.wire.units import Time

OUT: Final = 0
SACKED: Final = 1
LOST: Final = 2
ACKED: Final = 3

MAX_RANGES = 4096  #: Reported ranges; a peer that reports more has invented them. Further ones are ignored.
NO_FIN: Final = (1 << 62) - 1  #: Beyond every number.
COMPACT = 256  #: Forgotten records leave their list so many at a time.

_NOTHING: list[int] = []  # never added to: a list for each connection is made when something is reported or lost


# RFC8985-02
class Sent:
    """One segment or a burst of them: the numbers [start, end), when it was last sent, and how often.

    `transmission` numbers what has left, in order; all pieces of a burst have the number of the burst. `delivered`,
    `delivered_at`, `first_sent_at` and `app_limited` are what the connection had delivered when this left: the ground
    of the delivery-rate sample that its acknowledgment gives.
    """

    __slots__ = (
        "app_limited",
        "delivered",
        "delivered_at",
        "end",
        "first_sent_at",
        "sent_at",
        "start",
        "state",
        "transmission",
        "transmissions",
    )

    def __init__(self, start: int, end: int, sent_at: Time) -> None:
        self.start = start
        self.end = end
        self.sent_at = sent_at
        self.transmissions = 1
        self.transmission = 0  # its number
        self.state = OUT
        self.delivered = 0
        self.delivered_at: Time = 0
        self.first_sent_at: Time = 0
        self.app_limited = False

    @property
    def size(self) -> int:
        return self.end - self.start

    def __repr__(self) -> str:
        state = ("out", "sacked", "lost", "acked")[self.state]
        return f"<Sent {self.start}:{self.end} {state} x{self.transmissions}>"


class Recovery:
    """Records of what is outstanding, the scoreboard, and the queue of what is to be sent again."""

    __slots__ = (
        "_head",
        "_lefts",
        "_lost",
        "_order",
        "_order_head",
        "_order_start",
        "_records",
        "_rights",
        "_starts",
        "fin",
        "lost_bytes",
        "mss",
        "outstanding",
        "sacked_bytes",
        "sacked_segments",
    )

    def __init__(self) -> None:
        self._records: list[Sent] = []
        self._starts: list[int] = []  # of the same records, for bisection
        self._head = 0  # records before this index are forgotten
        self._lefts = _NOTHING  # the reported ranges, disjoint and in order
        self._rights = _NOTHING
        self._lost = _NOTHING  # a heap of starts; those not lost any more are skipped
        # What has left, in order of time: one record each, or the pieces into which it was cut since. Those that are
        # not OUT, or have left again, are skipped. The first has the number `_order_start`; those before the index
        # `_order_head` are forgotten.
        self._order: list[list[Sent]] = []
        self._order_start = 0
        self._order_head = 0
        self.mss = 1 << 30  # octets in a segment: where bursts may be cut
        self.fin = NO_FIN  # the number of our FIN, once it was sent: it makes a segment longer by one
        self.outstanding = 0
        self.sacked_bytes = 0
        self.sacked_segments = 0
        self.lost_bytes = 0

    # Getters.

    def __len__(self) -> int:
        return len(self._records) - self._head

    def __iter__(self) -> Iterator[Sent]:
        return iter(self._records[self._head :])

    # RFC6675-03
    @property
    def pipe(self) -> int:
        """Octets believed to be in the network."""
        return self.outstanding - self.sacked_bytes - self.lost_bytes

    @property
    def first(self) -> Sent | None:
        """The earliest record outstanding."""
        return self._records[self._head] if self._head < len(self._records) else None

    @property
    def last(self) -> Sent | None:
        """The record with the highest numbers."""
        return self._records[-1] if self._head < len(self._records) else None

    @property
    def highest_sacked(self) -> int:
        """The number after the highest octet that the peer has reported; 0 if it has reported none."""
        return self._rights[-1] if self._rights else 0

    def is_sacked(self, left: int, right: int) -> bool:
        """Whether the peer has reported all of [left, right)."""
        index = bisect_right(self._lefts, left) - 1
        return index >= 0 and right <= self._rights[index]

    # Sending.

    def on_sent(self, start: int, end: int, now: Time) -> Sent:
        """New octets [start, end) leave for the first time."""
        record = Sent(start, end, now)
        self._records.append(record)
        self._starts.append(start)
        record.transmission = self._order_start + len(self._order)
        self._order.append([record])
        self.outstanding += end - start
        return record

    def on_resent(self, record: Sent, now: Time) -> None:
        """A record leaves again."""
        self._set(record, OUT)
        record.sent_at = now
        record.transmissions += 1
        record.transmission = self._order_start + len(self._order)
        self._order.append([record])

    def next_lost(self) -> Sent | None:
        """The earliest record that is lost; it stays queued until `on_resent`."""
        queue = self._lost
        while queue:
            index = bisect_left(self._starts, queue[0], self._head)
            if index < len(self._starts) and self._starts[index] == queue[0]:
                record = self._records[index]
                if record.state == LOST:
                    return record
            heapq.heappop(queue)
        return None

    def join_lost(self, record: Sent, limit: int) -> None:
        """Let a lost record take in the lost ones behind it, as far as they fit `limit` octets together.

        Or small segments would be sent again one by one, all at once: the window counts octets.
        """
        first = bisect_left(self._starts, record.start, self._head) + 1
        last = first
        while last < len(self._records):
            neighbour = self._records[last]
            if neighbour.state != LOST or neighbour.end - record.start > limit:
                break
            last += 1
        if last > first:
            joined = self._records[first:last]
            record.end = joined[-1].end
            record.transmissions = max(record.transmissions, *(other.transmissions for other in joined))
            del self._records[first:last], self._starts[first:last]

    def split(self, record: Sent, size: int) -> Sent:
        """Cut a record down to `size` octets; the rest, which is returned, stays behind it in the same state."""
        index = bisect_left(self._starts, record.start, self._head)
        segments = self.segments(record)
        rest = Sent(record.start + size, record.end, record.sent_at)
        rest.transmissions = record.transmissions
        rest.transmission = record.transmission
        if record.transmission >= self._order_start + self._order_head:
            pieces = self._order[record.transmission - self._order_start]
            pieces.insert(pieces.index(record) + 1, rest)
        rest.state = record.state
        rest.delivered, rest.delivered_at = record.delivered, record.delivered_at
        rest.first_sent_at, rest.app_limited = record.first_sent_at, record.app_limited
        record.end = rest.start
        self._records.insert(index + 1, rest)
        self._starts.insert(index + 1, rest.start)
        if rest.state == LOST:
            self._queue_lost(rest.start)
        elif rest.state == SACKED:
            self.sacked_segments += self.segments(record) + self.segments(rest) - segments
        return rest

    def segments(self, record: Sent) -> int:
        """In how many segments a record travels."""
        text = record.end - record.start - (record.end > self.fin)
        return -(-text // self.mss) if text > self.mss else 1

    def is_burst(self, record: Sent) -> bool:
        """Whether it is more than one segment."""
        return record.end - record.start > self.mss + (record.end > self.fin)

    def on_mss(self, mss: int) -> None:
        """Segments have another size from now on; what has left stays as it was."""
        self.mss = mss
        if self.sacked_segments:
            self.sacked_segments = sum([self.segments(record) for record in self if record.state == SACKED])

    # RFC7413-09
    def retract(self, end: int) -> None:
        """What was sent from `end` on, and never reported, counts as never sent."""
        record = self.last
        while record is not None and record.end > end:
            if record.start < end:
                record = self.split(record, end - record.start)
            self.outstanding -= record.size
            self._set(record, ACKED)
            self._records.pop()
            self._starts.pop()
            record = self.last

    # Losses.

    def mark_too_long(self) -> bool:
        """What is on its way in segments longer than `mss` will not arrive; returns whether there was any.

        Neighbours that are lost become one record, which is cut anew when it leaves. Or each would leave as a full
        segment and a small one.
        """
        found = False
        for record in self:
            if record.state == OUT and self.is_burst(record):
                self.mark_lost(record)
                found = True
        if found:
            self._join_all_lost()
        return found

    def _join_all_lost(self) -> None:
        kept: list[Sent] = []
        for record in self:
            last = kept[-1] if kept else None
            if last is None or last.state != LOST or record.state != LOST or last.start == 0:
                kept.append(record)
            else:
                last.end = record.end
                last.transmissions = max(last.transmissions, record.transmissions)
        self._records = kept
        self._starts = [record.start for record in kept]
        self._head = 0

    def mark_lost(self, record: Sent) -> None:
        """That one is gone."""
        if record.state == OUT:
            self._set(record, LOST)
            self._queue_lost(record.start)

    def _queue_lost(self, start: int) -> None:
        if not self._lost:
            self._lost = []
        heapq.heappush(self._lost, start)

    def mark_all_lost(self) -> None:
        """Nothing outstanding is in the network any more."""
        for record in self:
            self.mark_lost(record)

    def forgive_lost(self) -> None:
        """Nothing was lost after all."""
        for record in self:
            if record.state == LOST:
                self._set(record, OUT)
        self._sort_anew()

    def forget_sacks(self) -> None:
        """The peer has thrown away what it had reported (RFC 2018 8): it must be sent again."""
        for record in self:
            if record.state == SACKED:
                self._set(record, OUT)
        self._lefts = self._rights = _NOTHING
        self._sort_anew()

    def _sort_anew(self) -> None:
        """Records are OUT again whose transmissions had been taken out of the order."""
        out = sorted((record for record in self if record.state == OUT), key=_by_transmission)
        self._order_start += len(self._order)
        self._order = [[record] for record in out]
        self._order_head = 0
        for number, record in enumerate(out, self._order_start):
            record.transmission = number

    def earliest_transmissions(self) -> Iterator[Sent]:
        """Records that are OUT, the one sent longest ago first; stop reading at the first that is of no interest."""
        order = self._order
        while self._order_head < len(order):
            number = self._order_start + self._order_head
            for record in order[self._order_head]:
                if record.state == OUT and record.transmission == number:
                    yield record
                    if record.state == OUT:
                        return  # it was left as it is: so are those sent later
            self._order_head += 1

    # Acknowledgments.

    def on_ack(self, una: int) -> list[Sent]:
        """Everything before `una` has arrived; returns the records that this ends and that were not SACKED before.

        Of a burst the head is cut off; a segment of which only the head is acknowledged is shortened.
        """
        delivered: list[Sent] = []
        records, head = self._records, self._head
        while head < len(records):
            record = records[head]
            if record.end > una:
                if record.start >= una:
                    break
                if not self.is_burst(record):
                    self._shorten(head, una)
                    break
                self.split(record, una - record.start)
            if record.state != SACKED:
                delivered.append(record)
            self.outstanding -= record.end - record.start
            self._set(record, ACKED)
            head += 1
        if head >= COMPACT or head == len(records):
            del records[:head], self._starts[:head]
            head = 0
        self._head = head
        self._forget_transmissions()
        if self._rights and self._lefts[0] < una:
            self._forget_ranges(una)
        return delivered

    def _forget_transmissions(self) -> None:
        """Step over the transmissions of which nothing is in the network any more."""
        order, start, head = self._order, self._order_start, self._order_head
        while head < len(order) and _is_over(order[head], start + head):
            head += 1
        if head >= COMPACT or head == len(order):
            del order[:head]
            self._order_start = start + head
            head = 0
        self._order_head = head

    # RFC2018-09
    def on_sack(self, left: int, right: int) -> list[Sent]:
        """The peer holds [left, right); returns the records that are SACKED now and were not before."""
        lefts, rights = self._lefts, self._rights
        first = bisect_left(rights, left)  # the first known range that touches it
        last = bisect_right(lefts, right)  # after the last one
        if first < last and lefts[first] <= left and right <= rights[first]:
            return []  # known
        if first == last and len(lefts) >= MAX_RANGES:
            return []
        if not lefts:
            lefts, rights = self._lefts, self._rights = [], []
        joined_left = min(left, lefts[first]) if first < last else left
        joined_right = max(right, rights[last - 1]) if first < last else right
        fresh: list[Sent] = []
        cursor = left
        for index in range(first, last):
            if lefts[index] > cursor:
                self._sack_records(cursor, lefts[index], joined_left, joined_right, fresh)
            cursor = max(cursor, rights[index])
        if cursor < right:
            self._sack_records(cursor, right, joined_left, joined_right, fresh)
        lefts[first:last] = [joined_left]
        rights[first:last] = [joined_right]
        return fresh

    def _sack_records(self, start: int, end: int, left: int, right: int, fresh: list[Sent]) -> None:
        """SACK the records that touch the newly reported [start, end) and lie within the known [left, right)."""
        index = max(bisect_right(self._starts, start, self._head) - 1, self._head)
        while index < len(self._records):
            record = self._records[index]
            if record.start >= end:
                return
            if record.state != SACKED and (left > record.start or record.end > right):
                if not self.is_burst(record):
                    index += 1
                    continue
                if left > record.start:
                    head = (left - record.start + self.mss - 1) // self.mss * self.mss
                    if head < record.end - record.start:
                        self.split(record, head)
                    index += 1
                    continue
                whole = (right - record.start) // self.mss * self.mss
                if not whole:
                    return
                self.split(record, whole)
            if record.state != SACKED:
                self._set(record, SACKED)
                fresh.append(record)
            index += 1

    def _forget_ranges(self, una: int) -> None:
        count = bisect_right(self._rights, una)
        del self._lefts[:count], self._rights[:count]
        if self._lefts and self._lefts[0] < una:
            self._lefts[0] = una

    def _shorten(self, index: int, una: int) -> None:
        record = self._records[index]
        gone = una - record.start
        record.start = self._starts[index] = una
        self.outstanding -= gone
        if record.state == LOST:
            self.lost_bytes -= gone
            self._queue_lost(una)
        elif record.state == SACKED:
            self.sacked_bytes -= gone

    def _set(self, record: Sent, state: int) -> None:
        """The one door for a record's state: keeps the sums."""
        size = record.end - record.start
        before = record.state
        if before == LOST:
            self.lost_bytes -= size
        elif before == SACKED:
            self.sacked_bytes -= size
            self.sacked_segments -= self.segments(record)
        if state == LOST:
            self.lost_bytes += size
        elif state == SACKED:
            self.sacked_bytes += size
            self.sacked_segments += self.segments(record)
        record.state = state


def _is_over(pieces: list[Sent], number: int) -> bool:
    """Whether nothing of the transmission with that number is in the network any more."""
    for record in pieces:  # noqa: SIM110  (a generator costs more)
        if record.state == OUT and record.transmission == number:
            return False
    return True


def _by_transmission(record: Sent) -> tuple[Time, int]:
    return record.sent_at, record.end
