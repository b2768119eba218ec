"""Sockets of a running host, awaitable, in the manner of `trio.socket`; made by `OpenHost.socket`.

They are `stack.host.sockets.Socket`s with the same names, options and errnos. What would raise `BlockingIOError`
there waits here, and what can wait is awaited and a checkpoint:

    from stack import socket

    with host.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        await sock.connect(("10.9.0.1", 80))
        await sock.send(b"GET / HTTP/1.0\\r\\n\\r\\n")
        while data := await sock.recv(65536):
            ...

As with `trio.socket`: hosts are numeric, `send` may take only a part, one task at a time may wait for each direction
(`trio.BusyResourceError`), closing wakes those who wait (`trio.ClosedResourceError`), and a `connect` that is cancelled
closes the socket. Who wants streams takes `OpenHost.open_tcp_stream`, which costs less for each call.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

import trio

from stack.host import sockets
from stack.host.sockets import (
    MSG_DONTWAIT,
    MSG_ERRQUEUE,
    MSG_FASTOPEN,
    MSG_OOB,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLPRI,
    SHUT_RDWR,
)
from stack.host.sockets import Socket as Core
from stack.runtime.driver import Driver
from stack.runtime.waiting import Turn
from stack.tcp.info import Info
from stack.wire.packet import Buffer

FOR_READING = POLLIN | POLLPRI | POLLERR | POLLHUP
FOR_WRITING = POLLOUT | POLLERR | POLLHUP

Result = TypeVar("Result")


class Socket:
    """A TCP socket whose verbs wait; `core` is the one inside that never does."""

    __slots__ = ("__weakref__", "_driver", "_receiving", "_sending", "core")

    def __init__(self, core: Core, driver: Driver) -> None:
        self.core = core
        self._driver = driver
        self._sending = Turn("another task is connecting or sending on this socket")
        self._receiving = Turn("another task is accepting or receiving on this socket")
        core.owner = self

    # What never waits, as `stack.host.sockets.Socket` tells it.

    @property
    def family(self) -> int:
        return self.core.family

    def getsockname(self) -> sockets.Address:
        """The local address and port."""
        return self.core.getsockname()

    def getpeername(self) -> sockets.Address:
        """The peer's address and port; `OSError(ENOTCONN)`."""
        return self.core.getpeername()

    def listen(self, backlog: int = 128) -> None:
        """Take connections; `OSError`: EINVAL, EADDRINUSE."""
        self._driver.check_open()
        self.core.listen(backlog)

    def shutdown(self, how: int = SHUT_RDWR) -> None:
        """End one direction or both; `OSError`: ENOTCONN, EINVAL."""
        try:
            self.core.shutdown(how)
        finally:
            self._settle()
            self.wake()

    def setsockopt(self, level: int, name: int, value: sockets.Option) -> None:
        """Set an option; `OSError`: ENOPROTOOPT, EINVAL."""
        self.core.setsockopt(level, name, value)
        self._settle()
        self.wake()

    def getsockopt(self, level: int, name: int) -> sockets.Option:
        """The value of an option; `OSError`: ENOPROTOOPT, EOPNOTSUPP."""
        return self.core.getsockopt(level, name)

    def ioctl(self, request: int) -> int:
        """SIOCINQ, SIOCOUTQ, SIOCOUTQNSD, SIOCATMARK; `OSError`: EINVAL, ENOTTY."""
        return self.core.ioctl(request)

    def info(self) -> Info:
        """The connection's `tcp_info`; `OSError(ENOTCONN)`."""
        return self.core.info()

    def is_readable(self) -> bool:
        """Whether `recv` or `accept` would give something, the end or an error without waiting."""
        return bool(self.core.poll() & (POLLIN | POLLERR | POLLHUP))

    def close(self) -> None:
        """Give it up; what is queued is sent in the background. Harmless when repeated."""
        self.core.close()
        self._settle()
        self._sending.wake()
        self._receiving.wake()

    def __enter__(self) -> Socket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Socket {'closed' if self.core.closed else self.getsockname()}>"

    # What may wait.

    async def bind(self, address: sockets.Address) -> None:
        """Take a local address and port; `OSError`: EINVAL, EADDRINUSE, EADDRNOTAVAIL."""
        await trio.lowlevel.checkpoint()
        self._driver.check_open()
        self.core.bind(address)

    async def connect(self, address: sockets.Address) -> None:
        """Connect. `OSError`: ECONNREFUSED, ETIMEDOUT, and whatever the core's `connect` refuses.

        Cancelled, it closes the socket.
        """
        with self._sending:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._driver.check_open()
            if self._begin(address):
                await trio.lowlevel.cancel_shielded_checkpoint()
                return
            try:
                while not self.core.poll() & FOR_WRITING:
                    await self._wait(self._sending)
            except BaseException:
                self.close()
                raise
            if self.core.connection is None:  # another task has shut it down
                raise self.core.take_error(errno.ECONNABORTED)
            self.core.connect(address)  # tells what became of it

    def _begin(self, address: sockets.Address) -> bool:
        """Whether there is nothing to wait for, because the first data is to connect (TCP_FASTOPEN_CONNECT)."""
        try:
            self.core.connect(address)
        except BlockingIOError:
            self._settle()
            return False
        return True

    async def accept(self) -> tuple[Socket, sockets.Address]:
        """The next connection, and its peer; `OSError(EINVAL)` on a socket that does not listen."""
        core, address = await self._until_done(self._receiving, self.core.accept)
        return Socket(core, self._driver), address

    async def send(self, data: Buffer | bytearray, flags: int = 0) -> int:
        """Queue as much as there is room for, at least one octet. `OSError`: EPIPE, ECONNRESET, ..."""
        return await self._send(flags, lambda present: self.core.send(data, present))

    async def sendto(self, data: Buffer | bytearray, flags: int, address: sockets.Address | None) -> int:
        """As `send`; with MSG_FASTOPEN, connects to the address and sends with the SYN what that carries."""
        return await self._send(flags, lambda present: self.core.sendto(data, present, address))

    async def _send(self, flags: int, verb: Callable[[int], int]) -> int:
        pending = flags

        def attempt() -> int:
            nonlocal pending
            present, pending = pending, pending & ~MSG_FASTOPEN  # if nothing went with the SYN, it is sent afterwards
            return verb(present)

        return await self._until_done(self._sending, attempt, waits=not flags & MSG_DONTWAIT)

    async def recv(self, size: int, flags: int = 0) -> bytes:
        """What has arrived, up to `size` octets; b"" at the end.

        It waits for SO_RCVLOWAT octets, or with MSG_WAITALL for all, as far as they fit into the buffer.
        """
        return (await self.recvmsg(size, 0, flags)).data

    async def recvmsg(self, size: int, control_size: int = 0, flags: int = 0) -> sockets.Received:
        """As `recv`, with control messages."""
        waits = not flags & (MSG_DONTWAIT | MSG_OOB | MSG_ERRQUEUE)

        def receive() -> sockets.Received:
            if waits and self.core.recv_waits(size, flags):
                raise BlockingIOError
            return self.core.recvmsg(size, control_size, flags)

        return await self._until_done(self._receiving, receive, waits=waits)

    async def _until_done(self, turn: Turn, verb: Callable[[], Result], *, waits: bool = True) -> Result:
        """Do it as soon as it does not block. Cancelled, it has not been done."""
        with turn:
            await trio.lowlevel.checkpoint_if_cancelled()
            waited = False
            while True:
                try:
                    result = verb()
                except BlockingIOError:
                    self._settle()
                    if not waits:
                        raise
                else:
                    self._settle()
                    break
                self._driver.check_open()
                waited = True
                await self._wait(turn)
            if not waited:
                await trio.lowlevel.cancel_shielded_checkpoint()
            return result

    async def _wait(self, turn: Turn) -> None:
        await turn.wait()
        if self.core.closed:
            raise trio.ClosedResourceError("this socket was closed")

    def _settle(self) -> None:
        self._driver.settle(self._driver.now())

    def wake(self) -> bool:
        """For the driver: the connection or the listener has changed. No ACK waits: a socket's calls settle at once."""
        bits = self.core.poll()
        if self._receiving.waiting and bits & FOR_READING:
            self._receiving.wake()
        if self._sending.waiting and bits & FOR_WRITING:
            self._sending.wake()
        return False
