"""A listening port as a Trio listener."""

from __future__ import annotations

import trio

from stack.runtime.driver import Driver
from stack.runtime.stream import TcpStream
from stack.runtime.waiting import Turn
from stack.tcp.listener import Listener
from stack.wire.address import format_address


class TcpListener(trio.abc.Listener[TcpStream]):
    """Connections to one port, on one address of the host or on all; made by `OpenHost.open_tcp_listeners`."""

    def __init__(self, listener: Listener, driver: Driver) -> None:
        self._listener = listener
        self._driver = driver
        self._closed = False
        self._accepting = Turn("another task is accepting from this listener")
        listener.owner = self

    @property
    def address(self) -> str | None:
        """The address that it answers on; None for all of the host's."""
        return format_address(self._listener.address) if self._listener.address else None

    @property
    def port(self) -> int:
        """The port, also when 0 was asked for."""
        return self._listener.port

    @property
    def backlog(self) -> int:
        """How many connections may wait to be accepted."""
        return self._listener.backlog

    async def accept(self) -> TcpStream:
        """The next connection, as soon as there is one. When cancelled, it stays for the next call."""
        with self._accepting:
            await trio.lowlevel.checkpoint_if_cancelled()
            stream = self._next()
            if stream is not None:
                await trio.lowlevel.cancel_shielded_checkpoint()
            while stream is None:
                self._driver.check_open()
                await self._accepting.wait()
                stream = self._next()
            return stream

    def _next(self) -> TcpStream | None:
        """The next connection, None if there is none yet."""
        if self._closed:
            raise trio.ClosedResourceError("this listener was closed")
        conn = self._listener.accept()
        return None if conn is None else TcpStream(conn, self._driver)

    async def aclose(self) -> None:
        """Stop listening. Connections that nobody has accepted are reset."""
        if not self._closed:
            self._closed = True
            self._listener.owner = None
            self._accepting.wake()
            now = self._driver.now()
            self._driver.host.close_listener(self._listener, now)
            self._driver.settle(now)
        await trio.lowlevel.checkpoint()

    def wake(self) -> bool:
        """There is somebody to accept, or nobody will come any more. Who accepts has nothing to answer yet."""
        self._accepting.wake()
        return False

    def __repr__(self) -> str:
        return f"<TcpListener {self.address or 'all addresses'} port {self.port}>"
