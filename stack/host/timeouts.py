"""When the host must be woken for its connections: one lazy heap.

A connection's deadline moves with every segment. Moving an entry in a heap costs; leaving it and looking again when
it comes up does not. So an entry is pushed only when a connection wants to be woken *earlier* than it was promised;
one that comes up too early is pushed again for the connection's present deadline.

What lives a constant time needs no heap: see `stack.host.handshakes` and `stack.host.time_waits`.
"""

from __future__ import annotations

import heapq

from stack.tcp.connection import Connection
from stack.wire.units import NEVER, Time

AT_ONCE = 1000  #: Connections told of their deadlines in one go; the others' turn comes after what has arrived.
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
        """Connections whose own deadline has passed, `AT_ONCE` at most. The others' entries are renewed."""
        due: list[Connection] = []
        heap = self._heap
        while heap and heap[0][0] <= now and len(due) < AT_ONCE:
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
