"""What an application says about how its writes hang together: a small value that the sender has while it matters.

A connection whose application says nothing of the kind has none: that costs it one test for each segment. It is kept
by `stack.tcp.cork`; what it means for a segment is `Sender`'s, `stack.tcp.transmit`'s and `stack.tcp.urgent`'s.
"""

from __future__ import annotations

from bisect import bisect_right


class Pushing:
    """The latest that was said."""

    __slots__ = ("ends", "holds", "more", "owed", "up")

    def __init__(self) -> None:
        self.holds = False  # a segment that is not full waits, even when nothing is in flight
        self.more = False  # the latest write is not the end of what the application has to say
        self.up = 0  # SND.UP: the number of the octet that follows the urgent data; 0: there was none
        self.owed = False  # the peer has not been told of SND.UP
        self.ends: list[int] = []  # where records end, as far as that is not acknowledged: no segment goes across

    def within_record(self, start: int, size: int) -> int:
        """So many of `size` octets from `start` belong to the same record."""
        index = bisect_right(self.ends, start)
        return size if index == len(self.ends) else min(size, self.ends[index] - start)

    def is_end(self, number: int) -> bool:
        """Whether a record ends before the octet of that number."""
        index = bisect_right(self.ends, number)
        return index > 0 and self.ends[index - 1] == number
