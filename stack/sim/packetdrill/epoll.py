"""epoll(7) over the sockets of a script: level-triggered, edge-triggered and one-shot.

An edge is something new: octets or a connection that arrived, an end, an error, or room to write where there was none.
Reading is none. What is reported on an edge is all that is true at that moment, not only what is new.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from stack.host.sockets import POLLERR, POLLHUP, POLLOUT, DatagramSocket, Socket

EPOLLONESHOT: Final = 1 << 30
EPOLLET: Final = 1 << 31
_ALWAYS: Final = POLLERR | POLLHUP
_FLAGS: Final = EPOLLONESHOT | EPOLLET | 1 << 29 | 1 << 28


class Data(NamedTuple):
    """What an event carries: which part of the union, and its value."""

    kind: str
    value: int


class Watch:
    """One socket that is watched."""

    __slots__ = ("_arrived", "_is_writable", "_socket", "data", "events", "is_new")

    def __init__(self, socket: Socket, events: int, data: Data) -> None:
        self._socket = socket
        self._arrived = self._arrivals()
        self._is_writable = bool(socket.poll() & POLLOUT)
        self.change(events, data)

    def change(self, events: int, data: Data) -> None:
        """EPOLL_CTL_ADD and EPOLL_CTL_MOD look at once."""
        self.events = events
        self.data = data
        self.is_new = True

    def _arrivals(self) -> tuple[object, ...]:
        socket = self._socket
        conn = socket.connection
        if conn is not None:
            return conn.rcv.received_bytes, conn.rcv.fin_received, conn.error is not None, conn.connected
        if isinstance(socket, DatagramSocket):
            return socket.arrivals, socket.poll() & ~POLLOUT
        return (socket.poll() & ~POLLOUT,)

    def observe(self) -> None:
        """Something may have happened."""
        is_writable = bool(self._socket.poll() & POLLOUT)
        arrived = self._arrivals()
        if arrived != self._arrived or (is_writable and not self._is_writable):
            self.is_new = True
        self._arrived = arrived
        self._is_writable = is_writable

    def take(self) -> int:
        """The events to report now, 0 for none."""
        if not self.events & ~_FLAGS or (self.events & EPOLLET and not self.is_new):
            return 0
        ready = self._socket.poll() & (self.events & ~_FLAGS | _ALWAYS)
        self.is_new = False
        if ready and self.events & EPOLLONESHOT:
            self.events &= _FLAGS
        return ready


class Epoll:
    """One epoll instance: what it watches, by the script's numbers."""

    def __init__(self) -> None:
        self.watches: dict[int, Watch] = {}

    def observe(self) -> None:
        for watch in self.watches.values():
            watch.observe()

    def take(self, limit: int) -> list[tuple[int, Data]]:
        """Up to `limit` events."""
        events: list[tuple[int, Data]] = []
        for watch in self.watches.values():
            if len(events) < limit:
                ready = watch.take()
                if ready:
                    events.append((ready, watch.data))
        return events
