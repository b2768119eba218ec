"""When the host must be woken: one lazy heap for connections, FIFOs for what lives a constant time.

A connection's deadline moves with every segment. Moving an entry in a heap costs; leaving it and looking again when
it comes up does not. So an entry is pushed only when a connection wants to be woken *earlier* than it was promised;
one that comes up too early is pushed again for the connection's present deadline.

Half-open records and TIME-WAIT each wait for a constant time, so a queue in order of entry is in order of expiry.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Generic, TypeVar

from stack.tcp.connection import Connection
from stack.wire.units import NEVER, Duration, Time

SLACK = 16  #: Stale entries that are not worth a sweep.


class ConnectionTimeouts:
    """The lazy heap."""

    __slots__ = ("_count", "_heap", "_stale")

    def __init__(self) -> None:
        self._heap: list[tuple[Time, int, Connection]] = []
        self._count = 0  # breaks ties, so that connections are never compared
        self._stale = 0  # entries that an earlier one of the same connection has replaced, or whose connection is gone

    def __len__(self) -> int:
        return len(self._heap)

    def watch(self, conn: Connection) -> None:
        """Come back when `conn` wants; cheap when that was promised already."""
        due = conn.next_timeout()
        if due < conn.deadline:
            self.forget(conn)
            conn.deadline = due
            self._count += 1
            heapq.heappush(self._heap, (due, self._count, conn))

    def forget(self, conn: Connection) -> None:
        """Take back what was promised to `conn`. Its entry is swept out when stale ones are the majority."""
        if conn.deadline == NEVER:
            return
        conn.deadline = NEVER
        self._stale += 1
        if 2 * self._stale > len(self._heap) + SLACK:
            live = {id(entry[2]): entry for entry in self._heap if entry[0] == entry[2].deadline}
            self._heap = list(live.values())
            heapq.heapify(self._heap)
            self._stale = 0

    def earliest(self) -> Time:
        """When the first entry comes up; a connection may turn out to want nothing then."""
        return self._heap[0][0] if self._heap else NEVER

    def take_due(self, now: Time) -> list[Connection]:
        """Connections whose own deadline has passed. The others' entries are renewed."""
        due: list[Connection] = []
        heap = self._heap
        while heap and heap[0][0] <= now:
            deadline, _, conn = heapq.heappop(heap)
            if deadline != conn.deadline:
                self._stale -= 1
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

    def clear(self) -> None:
        self._entries.clear()
