"""When the host must be woken: one lazy heap for connections, FIFOs for what lives a constant time.

A connection's deadline moves with every segment. Moving an entry in a heap costs; leaving it and looking again when
it comes up does not. So an entry is pushed only when a connection wants to be woken *earlier* than it was promised;
one that comes up too early is pushed again for the connection's present deadline.

A half-open record waits for a constant time, so a queue in order of entry is in order of expiry.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Generic, TypeVar

from stack.tcp.connection import Connection
from stack.wire.units import NEVER, Duration, Time

SLACK = 16  #: Stale entries that are not worth a sweep.


class ConnectionTimeouts:
    """The lazy heap. Its entries name their connection by a number, so that a stale one keeps nothing alive."""

    __slots__ = ("_count", "_heap", "_promised")

    def __init__(self) -> None:
        self._heap: list[tuple[Time, int]] = []
        self._promised: dict[int, Connection] = {}  # the entries that count, one for each connection at most
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def watch(self, conn: Connection) -> None:
        """Come back when `conn` wants; cheap when that was promised already."""
        due = conn.next_timeout()
        if due < conn.deadline:
            self.forget(conn)
            self._count += 1
            self._promised[self._count] = conn
            conn.deadline, conn.promise = due, self._count
            heapq.heappush(self._heap, (due, self._count))

    def forget(self, conn: Connection) -> None:
        """Take back what was promised to `conn`. Its entry is swept out when stale ones are the majority."""
        if conn.deadline == NEVER:
            return
        conn.deadline = NEVER
        del self._promised[conn.promise]
        if len(self._heap) > 2 * len(self._promised) + SLACK:
            self._heap[:] = [entry for entry in self._heap if entry[1] in self._promised]
            heapq.heapify(self._heap)

    def earliest(self) -> Time:
        """When the first entry comes up; a connection may turn out to want nothing then."""
        return self._heap[0][0] if self._heap else NEVER

    def take_due(self, now: Time) -> list[Connection]:
        """Connections whose own deadline has passed. The others' entries are renewed."""
        due: list[Connection] = []
        heap = self._heap
        while heap and heap[0][0] <= now:
            _, number = heapq.heappop(heap)
            conn = self._promised.pop(number, None)
            if conn is None:
                continue
            conn.deadline = NEVER
            if conn.next_timeout() <= now:
                due.append(conn)
            else:
                self.watch(conn)
        return due


Record = TypeVar("Record")


class ExpiryQueue(Generic[Record]):
    """Entries (expiry, record) in order; who expires is decided when the entry comes up."""

    __slots__ = ("_entries", "lasts")

    def __init__(self, lasts: Duration) -> None:
        self.lasts = lasts
        self._entries: deque[tuple[Time, Record]] = deque()

    def add(self, record: Record, now: Time) -> None:
        self._entries.append((now + self.lasts, record))

    def earliest(self) -> Time:
        return self._entries[0][0] if self._entries else NEVER

    def take_due(self, now: Time) -> list[Record]:
        """The records whose entries have come up."""
        due: list[Record] = []
        while self._entries and self._entries[0][0] <= now:
            due.append(self._entries.popleft()[1])
        return due
