"""One connection as a Trio stream.

A stream adds to a `Connection` what the core can't have: tasks that wait. It keeps no data and no queue of
its own. A call looks at the connection's level-triggered getters, does what it can at once, and otherwise
parks its one task until `wake`, which the driver calls when something has changed, finds that it is worth
another look.

What the connection's errors become, once, here:

    the peer's reset, our abort, a time-out    trio.BrokenResourceError, from the OSError
    use after aclose, abort or send_eof        trio.ClosedResourceError
    a second task doing the same               trio.BusyResourceError
"""

from __future__ import annotations

import errno
import operator

import trio

from stack.runtime.driver import Driver
from stack.runtime.waiting import Turn
from stack.tcp.connection import Connection, Endpoint
from stack.tcp.info import Info
from stack.tcp.state import State
from stack.wire.address import format_address
from stack.wire.packet import Buffer

RECEIVE_BYTES = 256 << 10  #: What `receive_some` returns at most unless told: it stays in a cache of the processor.


class TcpStream(trio.abc.HalfCloseableStream):
    """A connection; made by `OpenHost.open_tcp_stream` and `TcpListener.accept`."""

    __slots__ = ("__weakref__", "_closed", "_conn", "_driver", "_eof_sent", "_receiving", "_sending")

    def __init__(self, conn: Connection, driver: Driver) -> None:
        self._conn = conn
        self._driver = driver
        self._closed = False
        self._eof_sent = False
        self._sending = Turn("another task is sending on this stream")
        self._receiving = Turn("another task is receiving from this stream")
        conn.owner = self

    # Facts.

    @property
    def state(self) -> State:
        """The connection's state; prints as in the RFC ("FIN-WAIT-1")."""
        return self._conn.state

    @property
    def local_address(self) -> tuple[str, int]:
        """Our address and port."""
        return _readable(self._conn.local)

    @property
    def remote_address(self) -> tuple[str, int]:
        """The peer's address and port."""
        return _readable(self._conn.remote)

    @property
    def closed(self) -> bool:
        """Whether this side has closed or aborted it."""
        return self._closed

    def info(self) -> Info:
        """What the connection knows about itself, in the names and units of `tcp_info`."""
        return self._conn.info(self._driver.now())

    def set(self, **changes: object) -> None:
        """Change options of this connection, by their names in `TcpOptions`.

        Those that only matter when a connection is opened are kept and have no effect. `TypeError` for a name
        that is no option, `ValueError` for an impossible value.
        """
        conn = self._conn
        now = self._driver.now()
        conn.set_options(conn.options.replace(**changes), now)
        self._driver.touch(conn, now)
        self.wake()  # the buffers may have grown

    def __repr__(self) -> str:
        (local, port), (remote, remote_port) = self.local_address, self.remote_address
        return f"<TcpStream {local} port {port}, peer {remote} port {remote_port}, {self.state}>"

    # Sending.

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Queue `data` for sending; waits while the send buffer is full, not for the peer to receive it.

        `bytes` are kept by reference, anything mutable is copied. When cancelled, some of it may have been
        queued.
        """
        await self._send(data, last=False)

    async def send_last(self, data: bytes | bytearray | memoryview) -> None:
        """`send_all` and `send_eof` in one: the FIN rides on the last segment instead of following it.

        For a protocol in which the sender of the last message closes first, as in HTTP with `Connection: close`:
        a FIN that follows may find that the peer, who has everything, was quicker.
        """
        await self._send(data, last=True)

    async def _send(self, data: bytes | bytearray | memoryview, *, last: bool) -> None:
        with self._sending:
            self._check_sendable()
            rest = memoryview(_immutable(data))
            await trio.lowlevel.checkpoint_if_cancelled()
            rest = rest[self._write(rest, last=last) :]
            if not rest:
                await trio.lowlevel.cancel_shielded_checkpoint()
            while rest:
                await self._sending.wait()
                self._check_open()
                rest = rest[self._write(rest, last=last) :]

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until half of the send buffer is free. `trio.BrokenResourceError` if it never will be."""
        with self._sending:
            self._check_sendable()
            await trio.lowlevel.checkpoint_if_cancelled()
            if self._has_room():
                await trio.lowlevel.cancel_shielded_checkpoint()
            while not self._has_room():
                await self._sending.wait()
                self._check_open()
            if self._conn.finished:
                raise self._broken()

    async def send_eof(self) -> None:
        """Close our direction: the peer reads to the end, and may go on sending. Harmless when repeated."""
        with self._sending:
            self._check_open()
            await trio.lowlevel.checkpoint()
            self._check_open()
            if self._eof_sent:
                return
            if self._conn.error is not None:
                raise self._broken()
            self._eof_sent = True
            self._conn.close_write()
            self._driver.touch(self._conn, self._driver.now())

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed")

    def _check_sendable(self) -> None:
        self._check_open()
        if self._eof_sent:
            raise trio.ClosedResourceError("this stream has sent its end of file")

    def _write(self, buffer: Buffer, *, last: bool = False) -> int:
        """Queue as much as there is room for, and the FIN behind the last of it; returns how much that was."""
        if not buffer and not last:
            return 0
        conn = self._conn
        if conn.finished:
            raise self._broken()
        written = conn.write(buffer)
        if last and written == len(buffer):
            self._eof_sent = True
            conn.close_write()
        self._driver.touch(conn, self._driver.now())
        return written

    def _has_room(self) -> bool:
        """Whether a parked sender should look again: not for every acknowledgment, but when half of the
        buffer is free (which is when the core says that something has changed)."""
        conn = self._conn
        return conn.finished or conn.writable >= max(conn.options.send_buffer // 2, 1)

    async def wait_connected(self) -> None:
        """Wait until the handshake is complete. Raises the `OSError` that ended it.

        Not for applications: they get a stream when it is connected.
        """
        conn = self._conn
        with self._sending:
            while not conn.connected and not conn.finished:
                await self._sending.wait()
            await trio.lowlevel.cancel_shielded_checkpoint()
        if not conn.connected:
            raise conn.error or ConnectionAbortedError(errno.ECONNABORTED, "connection aborted")

    # Receiving.

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has arrived, at least one byte and at most `max_bytes`; waits for it; b"" at the end of the
        stream.

        Data that came before a reset is still delivered. When cancelled, nothing has been taken.
        """
        limit = RECEIVE_BYTES if max_bytes is None else operator.index(max_bytes)
        if limit < 1:
            raise ValueError("max_bytes must be at least 1")
        with self._receiving:
            self._check_open()
            await trio.lowlevel.checkpoint_if_cancelled()
            data = self._read(limit)
            if data is not None:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return data
            while data is None:
                await self._receiving.wait()
                self._check_open()
                data = self._read(limit)
            return data

    def _read(self, limit: int) -> bytes | None:
        """Up to `limit` octets, b"" at the end, None if there is nothing yet."""
        conn = self._conn
        if conn.readable:
            now = self._driver.now()
            data = conn.read(limit, now)
            self._driver.touch(conn, now)  # reading may open the window
            return data
        if conn.at_eof:
            return b""
        if conn.finished:
            raise self._broken()
        return None

    # Closing.

    async def aclose(self) -> None:
        """Close both directions and return; what is queued, and the FIN, are sent in the background.

        Data that has not been read, or comes afterwards, makes it a reset. Cancelled, it still closes.
        """
        if not self._closed:
            self._let_go()
            now = self._driver.now()
            self._conn.close(now)
            self._driver.touch(self._conn, now)
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        """Reset the connection at once; what was queued and not sent is lost. Also after `aclose`."""
        self._let_go()
        self._conn.abort()
        self._driver.touch(self._conn, self._driver.now())

    def _let_go(self) -> None:
        """No task of the application has anything to do with this connection any more."""
        self._closed = True
        self._conn.owner = None
        self._sending.wake()
        self._receiving.wake()

    # For the driver.

    def wake(self) -> None:
        """The connection has changed: let those go on who waited for that."""
        conn = self._conn
        if self._receiving.waiting and (conn.readable or conn.at_eof or conn.finished):
            self._receiving.wake()
        if self._sending.waiting and self._has_room():
            self._sending.wake()

    def _broken(self) -> trio.BrokenResourceError:
        """What to raise for a connection that is over."""
        error = self._conn.error
        broken = trio.BrokenResourceError(error.strerror if error is not None else "the connection is over")
        broken.__cause__ = error
        return broken


def _readable(endpoint: Endpoint) -> tuple[str, int]:
    return format_address(endpoint[0]), endpoint[1]


def _immutable(data: bytes | bytearray | memoryview) -> Buffer:
    """The data itself if nobody can change it, else a copy."""
    if isinstance(data, bytes):
        return data
    with memoryview(data) as view:  # TypeError for what holds no bytes
        if isinstance(view.obj, bytes) and view.c_contiguous:
            return memoryview(view).cast("B")
        return bytes(view)
