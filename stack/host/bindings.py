"""Local ports that were taken by name: bind(2) without, or before, a listener or a connection.

A port has users: bindings, listeners, connections, and connections in TIME-WAIT. Two of them get in each other's way
if one address could be meant by both, unless they have agreed: both by `reuse_address`, and the one that was there
first does not listen; or both by `reuse_port`. These are Linux' rules (socket(7)); a BSD's differ. A connection gets no
port that is bound, unless it is its own.

Addresses here are raw octets. A wildcard is four or sixteen zeros for all addresses of one family, and b"" for all
of both.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from stack.host.handshakes import Handshakes
from stack.host.ports import PortChooser
from stack.host.time_waits import TimeWaits
from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection
from stack.tcp.flow import local_end


class Binding:
    """A port that is taken on one address or on several; made by `Host.bind`."""

    __slots__ = ("address", "listening", "options", "port")

    def __init__(self, address: bytes, port: int, options: TcpOptions, *, listening: bool = False) -> None:
        self.address = address
        self.port = port
        self.options = options
        self.listening = listening

    def conflicts(self, other: Binding) -> bool:
        """Whether this one can't be where `other` is already."""
        if self is other or self.port != other.port or not overlap(self.address, other.address):
            return False
        ours, theirs = self.options, other.options
        if ours.reuse_address and theirs.reuse_address and not other.listening:
            return False
        return not (ours.reuse_port and theirs.reuse_port)


class Bindings:
    """The bindings of one host, by port, and a view on the other users of its ports."""

    __slots__ = ("_by_port", "_connections", "_handshakes", "_ports", "_time_waits")

    def __init__(
        self,
        ports: PortChooser,
        connections: dict[bytes, Connection],
        handshakes: Handshakes,
        time_waits: TimeWaits,
    ) -> None:
        self._ports = ports
        self._connections = connections
        self._handshakes = handshakes
        self._time_waits = time_waits
        self._by_port: dict[int, list[Binding]] = {}

    def __contains__(self, port: int) -> bool:
        return port in self._by_port

    def bind(self, port: int, address: bytes, options: TcpOptions) -> Binding:
        """Take a port, or one that nobody uses if it is 0. `OSError`: EADDRINUSE."""
        if port == 0:
            taken = {user.port for user in self._users() if overlap(address, user.address)}
            port = self._ports.choose(address, b"", 0, lambda candidate: candidate not in taken)
        binding = Binding(address, port, options)
        self._check(binding)
        self._by_port.setdefault(port, []).append(binding)
        return binding

    def release(self, binding: Binding) -> None:
        """Give it back. Harmless when repeated."""
        there = self._by_port.get(binding.port, [])
        if binding in there:
            there.remove(binding)
            if not there:
                del self._by_port[binding.port]

    def listen(self, binding: Binding) -> None:
        """It is to listen. `OSError(EADDRINUSE)` if another listens there already."""
        self._check(binding)
        binding.listening = True

    def check_listener(self, port: int, address: bytes, options: TcpOptions) -> None:
        """Whether somebody may listen there without having bound the port. `OSError(EADDRINUSE)`."""
        binding = Binding(address, port, options)
        for other in self._by_port.get(port, ()):
            if binding.conflicts(other):
                raise _in_use(port)

    def _check(self, binding: Binding) -> None:
        for user in self._users():
            if binding.conflicts(user):
                raise _in_use(binding.port)

    def _users(self) -> Iterator[Binding]:
        for bindings in self._by_port.values():
            yield from bindings
        for listener in self._handshakes.listeners():
            yield Binding(listener.address, listener.port, listener.options, listening=True)
        for conn in self._connections.values():
            yield Binding(conn.local[0], conn.local[1], conn.options)
        for record in self._time_waits.records.values():
            address, port = local_end(record.key)
            yield Binding(address, port, record.options)


def overlap(first: bytes, second: bytes) -> bool:
    """Whether two addresses, or wildcards, have an address in common."""
    if not first or not second:
        return True
    return len(first) == len(second) and (first == second or not any(first) or not any(second))


def _in_use(port: int) -> OSError:
    return OSError(errno.EADDRINUSE, f"port {port} is in use")
