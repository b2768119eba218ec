"""A passive OPEN: a port that accepts connections, with its two queues (RFC 9293 3.10.1, 3.10.7.2).

A SYN makes a half-open record, counted in the SYN queue; the third segment makes a connection, which waits in the
accept queue until the application takes it. Both queues are bounded. A SYN that finds the first full takes the place
of the record that has waited longest since its last SYN-ACK; where all are younger than that, it is dropped. A third
segment that finds the second full is dropped too, and since the peer believes to be connected, its data or our
repeated SYN-ACK brings another chance.
"""

from __future__ import annotations

from collections import deque

from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection
from stack.tcp.fast_open import Queue
from stack.tcp.half_open import LastWaits
from stack.tcp.state import CLOSED, LISTEN, Event, State, follow

MIN_SYN_QUEUE = 256  #: A SYN queue is never shorter than that: handshakes of distant peers overlap.


class Listener:
    """A listening port; made by `Host.listen`."""

    __slots__ = (
        "_ready",
        "address",
        "backlog",
        "fast_opens",
        "group",
        "half_open",
        "last_waits",
        "options",
        "owner",
        "port",
        "state",
    )

    def __init__(self, address: bytes, port: int, backlog: int, options: TcpOptions) -> None:
        self.state: State = follow(CLOSED, Event.PASSIVE_OPEN)
        self.address = address  # b"": all addresses of the host; four or sixteen zeros: all of one family
        self.port = port
        self.backlog = backlog
        self.options = options
        self.owner: object | None = None
        self.half_open = 0
        self.last_waits = LastWaits()
        self.fast_opens = Queue()
        self.group: list[Listener] | None = None  # all who share this place with `reuse_port`, this one too
        self._ready: deque[Connection] = deque()

    def accept(self) -> Connection | None:
        """The connection that has waited longest, or None."""
        return self._ready.popleft() if self._ready else None

    @property
    def acceptable(self) -> int:
        """Connections that wait to be taken."""
        return len(self._ready)

    @property
    def syn_queue_full(self) -> bool:
        return self.half_open >= max(self.backlog, MIN_SYN_QUEUE)

    @property
    def accept_queue_full(self) -> bool:
        return len(self._ready) >= self.backlog

    def push(self, conn: Connection) -> None:
        """A handshake is complete."""
        self._ready.append(conn)

    def share(self, other: Listener) -> None:
        """Another listens at the same place: each gets the connections of some peers."""
        if self.group is None:
            self.group = [self]
        self.group.append(other)
        other.group = self.group

    def unshare(self) -> Listener | None:
        """Leave the place to the others; returns one of them."""
        group, self.group = self.group, None
        if not group:
            return None
        group.remove(self)
        return group[0] if group else None

    def leave(self, event: Event) -> list[Connection]:
        """LISTEN ends, by CLOSE or an active OPEN from the same port; returns those who were never taken."""
        if self.state is not LISTEN:
            return []
        self.state = follow(self.state, event)
        waiting = list(self._ready)
        self._ready.clear()
        return waiting
