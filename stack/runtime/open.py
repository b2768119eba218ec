"""A host on a link, for applications: `async with open_host(link, addresses=[...]) as host`.

Inside the block the host answers on its addresses, and streams and listeners can be opened. Leaving it in the
ordinary way waits a little for what applications left behind (queued data, FINs and the peers' answers), then
resets what is left; leaving it by an exception, or being cancelled, resets at once. The link is closed in
every case.

Names are resolved by the system's resolver, in a thread of Trio's. Where a name has several addresses, they
are tried in turn, a new one every 250 ms or as soon as one fails, and the first that answers wins (RFC 8305,
without its sorting); addresses of a family that this host doesn't have are left out.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import BinaryIO, NoReturn

import trio

from stack.host.counters import Counters
from stack.host.echo import Ping
from stack.host.host import Host
from stack.host.sockets import AF_INET, SOCK_DGRAM, SOCK_STREAM, Sockets
from stack.link.capture import CaptureLink
from stack.link.protocol import Link
from stack.runtime.driver import Driver, log
from stack.runtime.listener import TcpListener
from stack.runtime.socket import Socket
from stack.runtime.stream import TcpStream, immutable
from stack.runtime.waiting import Turn
from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection
from stack.wire.address import format_address, parse_address, parse_cidr
from stack.wire.packet import Buffer, Packet

STAGGER = 0.25  #: Seconds before the next address is tried beside the last one (RFC 8305 5, and Trio's).
BACKLOG = 128  #: Connections that may wait to be accepted.

Handler = Callable[[TcpStream], Awaitable[object]]
OnError = Callable[[TcpStream, Exception], object]
"""Called with the stream and what its handler raised, before the connection is reset."""


@asynccontextmanager
async def open_host(
    link: Link,
    *,
    addresses: Sequence[str],
    options: TcpOptions | None = None,
    close_timeout: float = 5.0,
    capture: str | os.PathLike[str] | BinaryIO | None = None,
) -> AsyncIterator[OpenHost]:
    """Run a host with these addresses ("10.9.0.2/24", "fd00::2/64") on `link`, which is closed at the end.

    `options` are the defaults of all its connections. `close_timeout` is in seconds. `capture` is where to
    write a pcapng file: a path, or a binary file that stays open. Raises `ValueError` for an address that no
    host can have, `LinkError` for one that this link can't carry, and `OSError` if the capture can't be
    written.
    """
    try:
        core = Host(secret=os.urandom(32), mtu=link.mtu, options=options, max_payload=link.max_payload)
        _add_addresses(core, link, [addresses] if isinstance(addresses, str) else addresses)
        if capture is not None:
            link = CaptureLink(link, capture)
        if isinstance(link, CaptureLink) and link.describe is None:
            link.describe = lambda packet, outgoing: _state_in_words(core, packet, outgoing)
    except BaseException:
        link.close()
        raise
    driver = Driver(core, link)
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            driver.start(nursery)
            try:
                yield OpenHost(driver)
                await driver.drain(close_timeout)
            except BaseException as error:
                # Kept apart from the nursery, which would wrap it in a group. The tasks in there raise
                # nothing.
                failure = error
            finally:
                driver.close()
                nursery.cancel_scope.cancel()
    finally:
        if failure is not None:
            raise failure


class OpenHost:
    """A running host; what `open_host` gives. `core` is the sans-IO host inside, for whoever wants to look."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.core: Host = driver.host
        self.link: Link = driver.link
        self._sockets = Sockets(self.core, driver.now)

    def __repr__(self) -> str:
        return f"<OpenHost {', '.join(self.addresses)} on {self.link.name}>"

    # Facts.

    @property
    def addresses(self) -> list[str]:
        """The host's addresses with their prefixes."""
        return self.core.addresses

    @property
    def counters(self) -> Counters:
        """What the host has counted since it was opened."""
        return self.core.counters

    def connections(self) -> list[Connection]:
        """All connections; half-open ones and TIME-WAIT are only counted, by `core.half_open` and
        `core.time_waits`."""
        return self.core.connections()

    def now(self) -> int:
        """The host's time in nanoseconds, as `Connection.info` wants it."""
        return self._driver.now()

    def add_address(self, cidr: str) -> None:
        """Answer on one more address. `ValueError`, `LinkError` as for `open_host`."""
        _add_addresses(self.core, self.link, [cidr])

    def remove_address(self, address: str) -> None:
        """Stop answering on an address, given with or without its prefix."""
        self.core.remove_address(address)

    # Connections.

    async def open_tcp_stream(
        self,
        host: str,
        port: int,
        *,
        options: TcpOptions | None = None,
        local_port: int = 0,
        early_data: bytes | bytearray | memoryview = b"",
    ) -> TcpStream:
        """Connect to `port` on `host`, a name or an address.

        `early_data` is sent first, and with the SYN if the server has given us a cookie at an earlier connection
        (RFC 7413): that saves a round trip. It then may reach the server's application twice, in rare cases, or more
        than one of its addresses where `host` is a name, so it must be something that does no harm when repeated, such
        as a request that only reads.

        Raises what connect(2) would: `ConnectionRefusedError`, `TimeoutError`, `OSError` with EHOSTUNREACH,
        ENETUNREACH, EADDRNOTAVAIL or EADDRINUSE; `socket.gaierror` where the name can't be resolved;
        `LinkError` when the link has gone. If several addresses failed in different ways, an `OSError` from a
        group of their errors.
        """
        self._driver.check_open()
        candidates = await self._resolve(host)
        early_data = immutable(early_data)
        if early_data:
            options = (options if options is not None else self.core.options).replace(fastopen=True)
        if len(candidates) == 1:
            return await self._connect(candidates[0], port, options, local_port, early_data)
        return await self._connect_first(candidates, host, port, options, local_port, early_data)

    async def open_tcp_listeners(
        self, port: int, *, host: str | None = None, backlog: int | None = None, options: TcpOptions | None = None
    ) -> list[TcpListener]:
        """Listen on `port` (0: one that is free), on all addresses of this host, or on those that `host`
        names.

        With `TcpOptions(fastopen=True)` a stream may be accepted while its handshake is under way, with the data
        that came with the SYN (RFC 7413); such data may come twice, on two streams, in rare cases.

        Raises `OSError`: EADDRINUSE, EADDRNOTAVAIL.
        """
        self._driver.check_open()
        where: list[bytes | None] = [None]
        if host is None:
            await trio.lowlevel.checkpoint()
        else:
            where = list(await self._resolve(host))
        made: list[TcpListener] = []
        try:
            for address in where:
                core = self.core.listen(
                    port, address=address, backlog=BACKLOG if backlog is None else backlog, options=options
                )
                made.append(TcpListener(core, self._driver))
        except BaseException:
            for listener in made:
                await trio.aclose_forcefully(listener)
            raise
        return made

    async def serve_tcp(
        self,
        handler: Handler,
        port: int,
        *,
        host: str | None = None,
        backlog: int | None = None,
        options: TcpOptions | None = None,
        handler_nursery: trio.Nursery | None = None,
        on_error: OnError | None = None,
        task_status: trio.TaskStatus[list[TcpListener]] = trio.TASK_STATUS_IGNORED,
    ) -> NoReturn:
        """Listen, and run `handler(stream)` in a task of its own for each connection; as `trio.serve_tcp`.

        One thing differs: an `Exception` from a handler ends its own connection and nothing else. It is
        logged with its traceback, or handed to `on_error(stream, exception)` instead, and the connection is
        reset unless the handler had closed it. `Cancelled` and other BaseExceptions pass through.
        """
        listeners = await self.open_tcp_listeners(port, host=host, backlog=backlog, options=options)
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(_serve, listener, handler_nursery or nursery, handler, on_error or _log_error)
            task_status.started(listeners)
        raise AssertionError("a listener ended without a reason")

    def socket(self, family: int = AF_INET, type: int = SOCK_STREAM, protocol: int = 0) -> Socket:
        """A socket on this host, in the manner of `trio.socket.socket`; see `stack.runtime.socket`.

        Raises `OSError`: EAFNOSUPPORT, EPROTONOSUPPORT (also for SOCK_DGRAM: these are TCP's alone).
        """
        self._driver.check_open()
        if type == SOCK_DGRAM:
            raise OSError(errno.EPROTONOSUPPORT, "datagrams can't be awaited")
        return Socket(self._sockets.socket(family, type, protocol), self._driver)

    async def ping(self, host: str, *, size: int = 56, hop_limit: int = 64, timeout: float | None = None) -> Ping:
        """Send an echo request with `size` octets and wait for the answer; the result has `rtt`, in
        nanoseconds.

        Raises `TimeoutError` after `timeout` seconds, the `OSError` that an ICMP error stands for, and
        EMSGSIZE for a size that doesn't fit the link.
        """
        self._driver.check_open()
        [address, *_] = await self._resolve(host)
        now = self._driver.now()
        ping = self.core.ping(address, now, size=size, hop_limit=hop_limit)
        waiter = Turn("another task waits for this reply")
        ping.owner = waiter
        self._driver.pings.add(waiter)
        try:
            self._driver.settle(now)
            with waiter, trio.move_on_after(float("inf") if timeout is None else timeout):
                while ping.rtt is None and ping.error is None:
                    self._driver.check_open()
                    await waiter.wait()
        finally:
            self._driver.pings.discard(waiter)
            self.core.forget_ping(ping)
            ping.owner = None
        if ping.error is not None:
            raise ping.error
        if ping.rtt is None:
            raise TimeoutError(errno.ETIMEDOUT, f"no answer from {format_address(address)}")
        return ping

    # ------------------------------------------------------------------------------------------------------------

    async def _resolve(self, host: str) -> list[bytes]:
        """The addresses of a name that this host can talk to or own, in the resolver's order but with the
        first two of different families where there are both (RFC 8305 4). A checkpoint, always."""
        try:
            found = [parse_address(host)]
        except ValueError:
            answers = await trio.socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            found = list(dict.fromkeys(parse_address(str(answer[4][0])) for answer in answers))
        else:
            await trio.lowlevel.checkpoint()
        families = {len(parse_cidr(cidr)[0]) for cidr in self.core.addresses}
        usable = [address for address in found if len(address) in families]
        if not usable:
            family = " and ".join(sorted({"IPv6" if len(address) == 16 else "IPv4" for address in found}))
            raise OSError(errno.ENETUNREACH, f"{host} has only {family}, and this host has no address of that family")
        other = next((at for at, address in enumerate(usable) if len(address) != len(usable[0])), 0)
        if other:
            usable.insert(1, usable.pop(other))
        return usable

    async def _connect(
        self, address: bytes, port: int, options: TcpOptions | None, local_port: int, early_data: Buffer
    ) -> TcpStream:
        """One attempt. Cancelled or failed, it leaves nothing behind."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._driver.check_open()
        now = self._driver.now()
        conn = self.core.connect(address, port, now, options=options, local_port=local_port)
        stream = TcpStream(conn, self._driver)
        try:
            rest = memoryview(early_data)[conn.write(early_data) :]
            self._driver.settle(now)
            await stream.wait_connected()
            self._driver.send_put_off(self._driver.now())  # the handshake's last segment: the next call may block
            if rest:
                await stream.send_all(rest)
        except BaseException:
            stream.abort()
            raise
        return stream

    async def _connect_first(
        self,
        addresses: list[bytes],
        host: str,
        port: int,
        options: TcpOptions | None,
        local_port: int,
        early_data: Buffer,
    ) -> TcpStream:
        winners: list[TcpStream] = []
        errors: list[OSError] = []

        async def attempt(address: bytes, failed: trio.Event) -> None:
            try:
                winners.append(await self._connect(address, port, options, local_port, early_data))
            except OSError as error:
                errors.append(error)
                failed.set()
            else:
                nursery.cancel_scope.cancel()

        try:
            async with trio.open_nursery() as nursery:
                for address in addresses:
                    failed = trio.Event()
                    nursery.start_soon(attempt, address, failed)
                    with trio.move_on_after(STAGGER):
                        await failed.wait()
        except BaseException:
            for stream in winners:
                stream.abort()
            raise
        if winners:
            for loser in winners[1:]:  # connected in the same moment
                loser.abort()
            return winners[0]
        if len({error.errno for error in errors}) == 1:
            raise errors[0]
        text = f"all attempts to connect to {host} port {port} failed"
        raise OSError(errors[0].errno, text) from ExceptionGroup(text, errors)


def _add_addresses(core: Host, link: Link, addresses: Sequence[str]) -> None:
    check = getattr(link, "check_address", None)
    for cidr in addresses:
        if check is not None:
            check(cidr)
        core.add_address(cidr)


def _state_in_words(core: Host, packet: Packet, outgoing: bool) -> str | None:
    state = core.state_of(packet, outgoing)
    return state.ss if state is not None else None


async def _serve(listener: TcpListener, nursery: trio.Nursery, handler: Handler, on_error: OnError) -> NoReturn:
    """Like trio.serve_listeners, which keeps the last stream alive in a variable until the next one comes."""
    async with listener:
        while True:
            nursery.start_soon(_handle, await listener.accept(), handler, on_error)


async def _handle(stream: TcpStream, handler: Handler, on_error: OnError) -> None:
    """One connection, whose exceptions are kept from the server."""
    try:
        await handler(stream)
    except Exception as error:
        _end(stream, error, on_error)
    except BaseExceptionGroup as group:
        # A nursery of the handler's that was cancelled while a task of it failed: each part goes its own way.
        errors, rest = group.split(Exception)
        if isinstance(errors, ExceptionGroup):
            _end(stream, errors, on_error)
        if rest is not None:
            raise rest from None
    finally:
        stream.close()


def _end(stream: TcpStream, error: Exception, on_error: OnError) -> None:
    try:
        on_error(stream, error)
    finally:
        if not stream.closed:
            stream.abort()


def _log_error(stream: TcpStream, error: Exception) -> None:
    address, port = stream.remote_address
    log.error("the handler of a connection from %s port %d failed", address, port, exc_info=error)
