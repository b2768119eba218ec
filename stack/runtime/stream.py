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

    __slots__ = (
        "__weakref__",
        "_closed",
        "_closing",
        "_conn",
        "_driver",
        "_eof_sent",
        "_limit",
        "_receiving",
        "_reports_told",
        "_sending",
        "_trouble",
        "_urgent",
        "_urgent_told",
    )

    def __init__(self, conn: Connection, driver: Driver) -> None:
        self._conn = conn
        self._driver = driver
        self._closed = False
        self._eof_sent = False
        self._sending = Turn("another task is sending on this stream")
        self._receiving = Turn("another task is receiving from this stream")
        self._limit = RECEIVE_BYTES  # what the task that is receiving wants at most
        self._urgent: Turn | None = None  # who waits for urgent data; made when somebody does
        self._urgent_told = 0  # the mark that `wait_urgent` has told of
        self._trouble: Turn | None = None  # who waits for trouble on the path; made when somebody does
        self._reports_told = 0  # how many of its reports `wait_trouble` has told of
        self._closing: Turn | None = None  # `aclose` waits, because of `linger`
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

    @property
    def soft_error(self) -> OSError | None:
        """What the network has said about something that is still on its way, such as "no route to host".

        The connection goes on, since that may pass (RFC 9293 3.9.2.2). It is forgotten when the peer acknowledges
        something new; if the connection times out instead, this is the reason given.
        """
        return self._conn.soft_error

    @property
    def path_doubtful(self) -> bool:
        """Whether the same thing was sent again several times (`r1` of the options) without an answer."""
        return self._conn.path_doubtful

    # RFC 9293 MUST-47, SHLD-9
    async def wait_trouble(self) -> None:
        """Wait until there is a new soft error, or the path becomes doubtful: see `soft_error` and `path_doubtful`.

        Each report is told once, and several that came meanwhile are told as one. With the option `error_reports` off
        none comes. `trio.BrokenResourceError` if the connection ends instead, `trio.ClosedResourceError` after it was
        closed.
        """
        if self._trouble is None:
            self._trouble = Turn("another task is waiting for trouble on this stream")
        conn = self._conn
        with self._trouble:
            self._check_open()
            await trio.lowlevel.checkpoint_if_cancelled()
            if self._has_trouble():
                await trio.lowlevel.cancel_shielded_checkpoint()
            while not self._has_trouble():
                await self._trouble.wait()
                self._check_open()
            if conn.reports == self._reports_told:
                raise self._broken()
            self._reports_told = conn.reports

    def _has_trouble(self) -> bool:
        return self._conn.reports != self._reports_told or self._conn.finished

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

    async def send_urgent(self, data: bytes | bytearray | memoryview) -> None:
        """`send_all` for urgent data: everything up to its end is urgent, and nothing of it waits for more.

        The peer is told at once, even where its window is closed. For protocols that have urgent data already; a new
        one should not use it (RFC 9293 3.8.5, RFC 6093).
        """
        await self._send(data, last=False, urgent=True)

    async def _send(self, data: bytes | bytearray | memoryview, *, last: bool, urgent: bool = False) -> None:
        with self._sending:
            self._check_sendable()
            rest = memoryview(immutable(data))
            await trio.lowlevel.checkpoint_if_cancelled()
            rest = rest[self._write(rest, last=last, urgent=urgent) :]
            if not rest or self._has_room():
                await trio.lowlevel.cancel_shielded_checkpoint()
            while rest:
                if not self._has_room():  # there may be, where `notsent_lowat` is the limit and all of it has left
                    await self._sending.wait()
                self._check_open()
                rest = rest[self._write(rest, last=last, urgent=urgent) :]

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

    def _write(self, buffer: Buffer, *, last: bool = False, urgent: bool = False) -> int:
        """Queue as much as there is room for, and the FIN behind the last of it; returns how much that was."""
        if not buffer and not last:
            return 0
        conn = self._conn
        if conn.finished:
            raise self._broken()
        written = conn.write(buffer, urgent=urgent)
        if last and written == len(buffer):
            self._eof_sent = True
            conn.close_write()
        self._driver.touch(conn, self._driver.now())
        return written

    def _has_room(self) -> bool:
        """Whether a parked sender should look again: not for every acknowledgment, but when half of the
        buffer is free (which is when the core says that something has changed)."""
        return self._conn.finished or self._conn.has_room

    async def wait_connected(self) -> None:
        """Wait until the handshake is complete. Raises the `OSError` that ended it.

        Not for applications: they get a stream when it is connected.
        """
        conn = self._conn
        with self._sending:
            if conn.connected or conn.finished:
                await trio.lowlevel.checkpoint()
            while not conn.connected and not conn.finished:
                await self._sending.wait()
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
            self._limit = limit
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
        if conn.has_text(limit):
            now = self._driver.now()
            data = conn.read(limit, now)
            self._driver.touch_after_read(conn, now)  # the window may be open again
            return data
        if conn.at_eof:
            return b""
        if conn.finished:
            raise self._broken()
        return None

    @property
    def urgent_remaining(self) -> int:
        """How many of the bytes that will be received next are urgent, arrived or not; 0: none (RFC 9293 3.8.5).

        Urgent data is received with all other, in its place.
        """
        return self._conn.urgent_remaining

    async def wait_urgent(self) -> bool:
        """Wait until urgent data is announced, or more of it than this has told of before: True.

        The announcement may come long before the data. Meanwhile another task can receive; when both are woken it may
        be first, so that `urgent_remaining` is 0 by then. False at the end of the stream: none will come.
        """
        if self._urgent is None:
            self._urgent = Turn("another task is waiting for urgent data on this stream")
        with self._urgent:
            self._check_open()
            await trio.lowlevel.checkpoint_if_cancelled()
            if self._may_tell_urgent():
                await trio.lowlevel.cancel_shielded_checkpoint()
            while not self._may_tell_urgent():
                await self._urgent.wait()
                self._check_open()
            mark = self._conn.urgent_mark
            if mark > self._urgent_told:
                self._urgent_told = mark
                return True
            if self._conn.error is not None:
                raise self._broken()
            return False

    def _may_tell_urgent(self) -> bool:
        conn = self._conn
        return conn.urgent_mark > self._urgent_told or conn.finished or conn.rcv.fin_received

    # Closing.

    async def aclose(self) -> None:
        """Close both directions and return; what is queued, and the FIN, are sent in the background.

        Data that has not been read, or comes afterwards, makes it a reset. Cancelled, it still closes.

        With `linger` in the options it waits until the peer has acknowledged everything. If that fails, or takes longer
        than so many seconds, the connection is reset: `trio.BrokenResourceError`. With a linger of 0 it is reset at
        once, and that is no error.
        """
        lingers = not self._closed and bool(self._conn.options.linger)
        self.close()
        if lingers:
            await self._linger()
        else:
            await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """As `aclose`, in the background in every case; for who can't wait, or has no need to."""
        if not self._closed:
            now = self._driver.now()
            if self._conn.options.linger == 0 or self._conn.readable:
                self._driver.send_put_off(now)  # a reset follows
            self._let_go()
            self._conn.close(now)
            self._driver.touch(self._conn, now)

    async def _linger(self) -> None:
        conn = self._conn
        conn.owner = self
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            if not conn.lingers:
                await trio.lowlevel.cancel_shielded_checkpoint()
            self._closing = Turn("another task is closing this stream")
            while conn.lingers:
                await self._closing.wait()
        finally:
            conn.owner = self._closing = None
        if conn.error is not None and conn.unacknowledged:  # what ends it after that is not our business any more
            raise self._broken()

    def abort(self) -> None:
        """Reset the connection at once; what was queued and not sent is lost. Also after `aclose`."""
        now = self._driver.now()
        self._driver.send_put_off(now)
        self._let_go()
        self._conn.abort()
        self._driver.touch(self._conn, now)
        if self._closing is not None:
            self._closing.wake()

    def _let_go(self) -> None:
        """No task of the application has anything to do with this connection any more."""
        self._closed = True
        self._conn.owner = None
        self._sending.wake()
        self._receiving.wake()
        if self._urgent is not None:
            self._urgent.wake()
        if self._trouble is not None:
            self._trouble.wake()

    # For the driver.

    def wake(self) -> bool:
        """The connection has changed: let those go on who waited for that. Whether somebody has something to receive,
        and may answer."""
        conn = self._conn
        receives = self._receiving.held and (conn.has_text(self._limit) or conn.at_eof or conn.finished)
        if receives and self._receiving.waiting:
            self._receiving.wake()
        if self._urgent is not None and self._urgent.waiting and self._may_tell_urgent():
            self._urgent.wake()
        if self._trouble is not None and self._trouble.waiting and self._has_trouble():
            self._trouble.wake()
        if self._closing is not None and not conn.lingers:
            self._closing.wake()
        if self._sending.waiting and self._has_room():
            self._sending.wake()
        return receives

    def _broken(self) -> trio.BrokenResourceError:
        """What to raise for a connection that is over."""
        error = self._conn.error
        broken = trio.BrokenResourceError(error.strerror if error is not None else "the connection is over")
        broken.__cause__ = error
        return broken


def _readable(endpoint: Endpoint) -> tuple[str, int]:
    return format_address(endpoint[0]), endpoint[1]


def immutable(data: bytes | bytearray | memoryview) -> Buffer:
    """The data itself if nobody can change it, else a copy."""
    if isinstance(data, bytes):
        return data
    with memoryview(data) as view:  # TypeError for what holds no bytes
        if isinstance(view.obj, bytes) and view.c_contiguous:
            return memoryview(view).cast("B")
        return bytes(view)
