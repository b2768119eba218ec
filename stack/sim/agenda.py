"""Virtual time: what happens next, and nothing in between.

Whoever wants to be called puts itself down for a time. Each has one appointment: an earlier one replaces a later one,
whose entry stays in the heap until it comes up and is passed over. What is due at the same nanosecond happens in the
order in which it was put down, so that a run depends on nothing but what the world says.
"""

from __future__ import annotations

import heapq

from stack.wire.units import NEVER, Time


class Wakeable:
    """Something that can be called at a time."""

    __slots__ = ("due",)

    def __init__(self) -> None:
        self.due: Time = NEVER  # of its appointment

    def wake(self, now: Time) -> None:
        """The appointment has come."""
        raise NotImplementedError


class Agenda:
    """The appointments of a world, and its clock."""

    __slots__ = ("_count", "_heap", "events", "now")

    def __init__(self) -> None:
        self.now: Time = 0
        self.events = 0  # appointments that were kept
        self._heap: list[tuple[Time, int, Wakeable]] = []
        self._count = 0

    def put_down(self, who: Wakeable, when: Time) -> None:
        """Call `who` at `when`, unless it is to be called before that anyway."""
        if when < who.due:
            who.due = when
            self._count += 1
            heapq.heappush(self._heap, (when, self._count, who))

    def next_time(self) -> Time:
        """When something happens next; NEVER if nothing ever will."""
        heap = self._heap
        while heap and heap[0][2].due != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else NEVER

    def step(self) -> None:
        """Let the next thing happen; `next_time` has said that there is one."""
        when, _, who = heapq.heappop(self._heap)
        if when > self.now:
            self.now = when
        self.events += 1
        who.due = NEVER
        who.wake(self.now)
