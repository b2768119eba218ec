"""Who makes a script's calls: its open files, by the script's numbers, and what the arguments of calls stand for.

The sockets of `stack.host.sockets` never block. A call that blocks is a generator here (`Steps`): it yields the latest
time at which it wants to look again (NEVER: whenever something has happened), and ends with what the call returns.
Whether it may block is what O_NONBLOCK and MSG_DONTWAIT say, as for a process; a script's `...` only says when it
expects it to return.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Generator
from typing import Final, NamedTuple

from stack.host.sockets import (
    AF_INET,
    AF_INET6,
    POLLERR,
    POLLHUP,
    POLLOUT,
    SO_ERROR,
    SOL_SOCKET,
    Address,
    DatagramSocket,
    Socket,
)
from stack.sim.packetdrill.bench import Bench
from stack.sim.packetdrill.environment import Environment
from stack.sim.packetdrill.epoll import Epoll
from stack.sim.packetdrill.expressions import Arguments
from stack.sim.packetdrill.flows import Flow, Flows
from stack.sim.packetdrill.settings import Settings
from stack.sim.packetdrill.syntax import Ellipsis, Expression, SockAddr
from stack.wire.address import format_address, is_v4_mapped, parse_address
from stack.wire.units import NEVER, Duration

ENDED: Final = POLLERR | POLLHUP


class Returned(NamedTuple):
    """What a call gives. `file` is what its number is to stand for; `verify` says what else is not as expected."""

    value: int
    file: File | None = None
    verify: Callable[[], str | None] | None = None


Steps = Generator[Duration, None, Returned]


class File:
    """What a number of a script stands for: a socket or an epoll."""

    __slots__ = ("epoll", "hidden", "nonblocking", "socket")

    def __init__(self, socket: Socket | None = None, *, epoll: Epoll | None = None, nonblocking: bool = False) -> None:
        self.socket = socket
        self.epoll = epoll
        self.nonblocking = nonblocking
        self.hidden: File | None = None  #: What the number stood for before, and will again after close().

    @property
    def was_accepted(self) -> bool:
        return self.socket is not None and self.socket.connection is not None


class Process:
    """Whoever makes the calls of one script."""

    def __init__(self, bench: Bench, flows: Flows, settings: Settings, environment: Environment) -> None:
        self.bench = bench
        self.flows = flows
        self.settings = settings
        self.environment = environment
        self.files: dict[int, File] = {}

    def observe(self) -> None:
        """Something has happened: let the epolls look."""
        for file in self.files.values():
            if file.epoll is not None:
                file.epoll.observe()

    def open(self, fd: int, file: File) -> None:
        """Let a number stand for a new file; accept() alone may give one again that is in use, as in the original."""
        file.hidden = self.files.get(fd)
        self.files[fd] = file
        if isinstance(file.socket, DatagramSocket):
            self.flows.talks.on_socket(fd, file.socket)
        elif file.socket is not None and not file.was_accepted:
            self.flows.on_socket(fd)

    def close(self, fd: int) -> None:
        """A number stands for nothing any more, or for what it stood for before."""
        hidden = self.files.pop(fd).hidden
        if hidden is not None:
            self.files[fd] = hidden
        for file in self.files.values():
            if file.epoll is not None:
                file.epoll.watches.pop(fd, None)

    def socket_of(self, fd: int) -> Socket | None:
        file = self.files.get(fd)
        return None if file is None else file.socket

    def socket_under(self, flow: Flow) -> Socket | None:
        """The socket of a connection; None for one that nobody has accepted, and after close()."""
        return self.socket_of(flow.fd)

    # What arguments stand for.

    def file(self, arguments: Arguments, index: int = 0) -> File:
        """`OSError(EBADF)` for a number that stands for nothing."""
        file = self.files.get(arguments.number(index))
        if file is None:
            raise OSError(errno.EBADF, "no such file")
        return file

    def socket(self, arguments: Arguments, index: int = 0) -> tuple[File, Socket]:
        file = self.file(arguments, index)
        if file.socket is None:
            raise OSError(errno.ENOTSOCK, "not a socket")
        return file, file.socket

    def local(self, arguments: Arguments, part: Expression) -> Address | None:
        """An address of ours: `...` is the script's own; None for no address."""
        return self._address(arguments, part, self.settings.local, self.settings.bind_port)

    def connecting(self, arguments: Arguments, part: Expression) -> Address | None:
        """The address that a call is about to connect or send to, None for AF_UNSPEC; the flows are told."""
        address = self._address(arguments, part, self.settings.remote, self.settings.connect_port)
        fd, remote = arguments.number(0), None if address is None else endpoint(address)
        if isinstance(self.socket_of(fd), DatagramSocket):
            self.flows.talks.on_target(fd, remote)
        else:
            self.flows.on_connect(fd, remote)
        return address

    def _address(self, arguments: Arguments, part: Expression, address: bytes, port: int) -> Address | None:
        if isinstance(part, Ellipsis):
            return self._to_socket(address, port)
        if isinstance(part, SockAddr):
            return self._to_socket(parse_address(part.address), part.port)
        family = arguments.value(part)
        if family in (AF_INET, AF_INET6):
            return self._to_socket(bytes(4 if family == AF_INET else 16), 0)
        return None

    def _to_socket(self, address: bytes, port: int) -> Address:
        text = format_address(address)
        if not self.settings.v6_sockets:
            return text, port
        return (f"::ffff:{text}" if len(address) == 4 else text), port, 0, 0


def endpoint(address: Address) -> tuple[bytes, int]:
    """A socket's address as packets have it."""
    octets = parse_address(address[0])
    return (octets[12:] if is_v4_mapped(octets) else octets), address[1]


def connected(socket: Socket) -> Generator[Duration, None, None]:
    """Wait until a connection is there, or raise what has prevented it."""
    while not socket.poll() & (POLLOUT | ENDED):
        yield NEVER
    error = socket.getsockopt(SOL_SOCKET, SO_ERROR)
    if isinstance(error, int) and error:
        raise OSError(error, "not connected")
