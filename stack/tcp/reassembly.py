"""Reassembly of out-of-order data (RFC 9293 3.10.7.4, seventh; RFC 2018).

Holds disjoint ranges [start, end) beyond RCV.NXT in order of their start, and remembers in which order they were
last touched, because a SACK option reports the most recent one first. Where segments overlap, the octets that came
first stay: whatever a peer sends later cannot change what we have said that we hold.

The number of ranges is bounded. A segment that would open one range too many is refused; the peer sends it again.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from stack.tcp.chunks import Held, join, keep

MAX_RANGES = 1024  #: A window of 6 MiB with every fourth segment missing; each costs some 300 bytes beside its data.
MAX_BLOCKS = 4  #: What the options field can carry (RFC 2018 3).


class Range:
    """Octets [start, end) in the buffers of `chunks`."""

    __slots__ = ("chunks", "end", "start")

    def __init__(self, start: int, end: int, chunks: list[Held]) -> None:
        self.start = start
        self.end = end
        self.chunks = chunks


# RFC 9293 SHLD-31
class Reassembly:
    """The queue of what came too early."""

    __slots__ = ("_ends", "_ranges", "_recent", "size")

    def __init__(self) -> None:
        self._ranges: list[Range] = []
        self._ends: list[int] = []  # the same ranges' ends, for bisection
        self._recent: list[Range] = []  # most recently touched first
        self.size = 0  # octets held

    def __len__(self) -> int:
        return len(self._ranges)

    @property
    def start(self) -> int:
        """The number of the first octet held; there must be one."""
        return self._ranges[0].start

    @property
    def end(self) -> int:
        """The number after the last octet held."""
        return self._ends[-1] if self._ends else 0

    def insert(self, start: int, data: memoryview) -> bool:
        """Keep `data`, which begins at `start`; false when the bound on ranges refuses it."""
        end = start + len(data)
        ranges = self._ranges
        first = last = bisect_left(self._ends, start)  # the first range that ends at or after our start
        while last < len(ranges) and ranges[last].start <= end:
            last += 1
        if first == last:
            if len(ranges) >= MAX_RANGES:
                return False
            touched = Range(start, end, [])
            keep(touched.chunks, data)
            ranges.insert(first, touched)
            self._ends.insert(first, end)
            self.size += len(data)
        else:
            touched = self._merge(start, data, first, last)
        self._recent.insert(0, touched)
        return True

    def _merge(self, start: int, data: memoryview, first: int, last: int) -> Range:
        """Join ranges[first:last], all of which touch the new data, filling the gaps between them from it."""
        end = start + len(data)
        joined = self._ranges[first:last]
        touched = joined[0]
        chunks: list[Held] = []
        cursor = start
        if touched.start <= start:
            chunks = touched.chunks  # grows in place: the usual case of a range that is being filled
            cursor = touched.end
        for held in joined[1:] if chunks else joined:
            if held.start > cursor:
                keep(chunks, data[cursor - start : held.start - start])
                self.size += held.start - cursor
            join(chunks, held.chunks)
            cursor = held.end
        if cursor < end:
            keep(chunks, data[cursor - start :])
            self.size += end - cursor
            cursor = end
        merged = Range(min(start, touched.start), cursor, chunks)
        self._ranges[first:last] = [merged]
        self._ends[first:last] = [cursor]
        for held in joined:
            self._recent.remove(held)
        return merged

    # RFC2883-02, RFC2883-03
    def overlap(self, start: int, end: int) -> tuple[int, int] | None:
        """The first part of [start, end) that is here already; the range that holds it becomes the most recent."""
        index = bisect_right(self._ends, start)
        if index == len(self._ranges) or self._ranges[index].start >= end:
            return None
        held = self._ranges[index]
        self._recent.remove(held)
        self._recent.insert(0, held)
        return max(start, held.start), min(end, held.end)

    def take(self, upto: int) -> tuple[int, list[Held]]:
        """Remove what has come in order: the octets from `upto` on, without a gap.

        Returns the number of the first octet still missing and the buffers. What lies before `upto` has arrived
        another way and is dropped.
        """
        taken: list[Held] = []
        count = 0
        for held in self._ranges:
            if held.start > upto:
                break
            count += 1
            self._recent.remove(held)
            self.size -= held.end - held.start
            if held.end > upto:
                taken.extend(_without_head(held.chunks, upto - held.start))
                upto = held.end
        del self._ranges[:count], self._ends[:count]
        return upto, taken

    # RFC2018-06, RFC2018-07, RFC2018-08
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """The ranges for a SACK option, most recently touched first (RFC 2018 4)."""
        return tuple([(held.start, held.end) for held in self._recent[:MAX_BLOCKS]])


def _without_head(chunks: list[Held], skip: int) -> list[Held]:
    """The same octets less the first `skip`."""
    for index, chunk in enumerate(chunks):
        if skip < len(chunk):
            return [chunk[skip:], *chunks[index + 1 :]] if skip else chunks[index:]
        skip -= len(chunk)
    return []
