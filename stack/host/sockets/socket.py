"""One socket: its verbs, which never block, and what they refuse in which state (man 2, man 7 tcp).

An error that ended the connection waits until a call takes it; each is told once. Afterwards reading gives the end of
the stream, and writing EPIPE.

Opening is the business of `opening`, receiving of `reading`, options of `options`; all of them work on the fields here.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from stack.host.bindings import Binding
from stack.host.sockets import opening, options, reading
from stack.host.sockets.choices import Choices
from stack.host.sockets.constants import (
    MSG_EOR,
    MSG_FASTOPEN,
    MSG_MORE,
    MSG_OOB,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLNVAL,
    POLLOUT,
    POLLPRI,
    POLLRDHUP,
    POLLRDNORM,
    POLLWRNORM,
    SHUT_RDWR,
    SIOCATMARK,
    SIOCINQ,
    SIOCOUTQ,
    SIOCOUTQNSD,
)
from stack.host.sockets.failures import failure
from stack.host.sockets.names import Address, outside
from stack.host.sockets.options import Option
from stack.host.sockets.phases import BOTH, BROKEN, CONNECTED, CONNECTING, RECEIVING, SENDING, UNCONNECTED
from stack.host.sockets.reading import Control, Received
from stack.tcp.connection import Connection
from stack.tcp.info import Info
from stack.tcp.listener import Listener
from stack.tcp.state import LISTEN, SYN_RECEIVED, SYN_SENT
from stack.wire.packet import Buffer
from stack.wire.units import Time

if TYPE_CHECKING:
    from stack.host.sockets.sockets import Sockets


class Socket:
    """A TCP socket of either family, in non-blocking mode; made by `Sockets.socket` and `accept`.

    Every verb raises `OSError(EBADF)` after `close`. Of the attributes, `sockets`, `family`, `connection`, `listener`
    and `owner` are for everybody; the others are this package's.
    """

    __slots__ = (
        "_owner",
        "binding",
        "choices",
        "closed",
        "connection",
        "deferred",
        "error",
        "family",
        "last_port",
        "listener",
        "named",
        "phase",
        "reports",
        "shut",
        "sockets",
        "told",
        "urgent_taken",
    )

    def __init__(self, sockets: Sockets, family: int, choices: Choices) -> None:
        self.sockets: Sockets = sockets
        self.family: int = family
        self.choices: Choices = choices
        self.phase: int = UNCONNECTED
        self.closed: bool = False
        self.connection: Connection | None = None  #: the core's, from `connect` or `accept` on
        self.listener: Listener | None = None  #: the core's, from `listen` on
        self._owner: object | None = None
        self.binding: Binding | None = None
        self.named: tuple[bytes, int] | None = None  # what `bind` was told: the address stays, the port if it is not 0
        self.last_port = 0  # of the connection before
        self.deferred: tuple[bytes, int] | None = None  # whom the first data is to connect to (TCP_FASTOPEN_CONNECT)
        self.shut: int = 0
        self.error: int = 0  # an errno that belongs to no connection
        self.told: OSError | None = None  # the connection's error, once a call has taken it
        self.reports = 0  # of the connection's soft errors, those that were taken
        self.urgent_taken = 0  # the `urgent_mark` whose octet was read with MSG_OOB

    @property
    def owner(self) -> object | None:
        """What `Host.take_woken` leads to: the connection's and the listener's `owner` are kept equal to it."""
        return self._owner

    @owner.setter
    def owner(self, owner: object | None) -> None:
        self._owner = owner
        if self.connection is not None:
            self.connection.owner = owner
        if self.listener is not None:
            self.listener.owner = owner

    # Naming.

    def bind(self, address: Address) -> None:
        """Take a local address and port; port 0 takes a free one. The port stays reserved until `close`.

        `OSError`: EINVAL if it has a port already, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT for an address of another
        family.
        """
        self.check_open()
        opening.bind(self, address)

    def getsockname(self) -> Address:
        """The local address and port; the wildcard and 0 as long as they are open."""
        self.check_open()
        if self.connection is not None:
            host, port = self.connection.local
        else:
            host = self.named[0] if self.named is not None else b""
            port = self.binding.port if self.binding is not None else self.last_port
        return outside(self.family, host, port)

    def getpeername(self) -> Address:
        """The peer's address and port; `OSError(ENOTCONN)` without one."""
        self.check_open()
        conn = self.live
        if conn is None or conn.own_state is SYN_SENT:
            raise failure(errno.ENOTCONN)
        return outside(self.family, *conn.remote)

    # Opening.

    def listen(self, backlog: int = 128) -> None:
        """Take connections; repeated, it changes the backlog. `backlog` + 1 of them may wait for `accept`.

        `OSError`: EINVAL on a socket that has connected, EADDRINUSE.
        """
        self.check_open()
        opening.listen(self, backlog)

    def accept(self) -> tuple[Socket, Address]:
        """The connection that has waited longest, and its peer. Options are the listener's.

        `OSError`: EAGAIN when none waits, EINVAL on a socket that does not listen.
        """
        self.check_open()
        if self.listener is None:
            raise failure(errno.EINVAL)
        conn = self.listener.accept()
        if conn is None:
            raise failure(errno.EAGAIN)
        child = Socket(self.sockets, self.family, self.choices.copy())
        child.connection = conn
        child.phase = CONNECTED
        return child, outside(self.family, *conn.remote)

    def connect(self, address: Address | None) -> None:
        """Begin to connect: raises EINPROGRESS, then EALREADY until the handshake has come to an end.

        The first call after that returns if it succeeded, and raises its error if not (unless SO_ERROR has told it
        already: then ECONNABORTED); after success EISCONN. A socket whose attempt has failed may try again. None is an
        address of family AF_UNSPEC: a connection is reset, a listener ends, and the socket is as it was before.

        `OSError`, too: EAFNOSUPPORT, EADDRNOTAVAIL, EADDRINUSE, ENETUNREACH; EISCONN on a listener; EINVAL for port 0.
        """
        self.check_open()
        if address is None:
            opening.disconnect(self)
        else:
            opening.connect(self, address)

    # Sending.

    def send(self, data: Buffer | bytearray, flags: int = 0) -> int:
        """Queue as much of `data` as there is room for; returns how many octets that was.

        Flags: MSG_OOB, MSG_MORE, MSG_EOR, MSG_FASTOPEN (see `sendto`); others change nothing. `OSError`: EAGAIN without
        any room or before the handshake is complete, EPIPE on a socket that is not connected, or no longer for sending;
        before that, once, the error that ended the connection.
        """
        self.check_open()
        if flags & MSG_FASTOPEN or self.deferred is not None:
            return self._send_first(data, flags, None)
        return self._send(data, flags)

    def sendto(self, data: Buffer | bytearray, flags: int, address: Address | None) -> int:
        """As `send`. The address counts only with MSG_FASTOPEN, where it says whom to connect to (RFC 7413).

        As much of the data as a SYN carries goes with it. `OSError`, then: EINPROGRESS where no cookie is known, and so
        nothing went with it; EALREADY, EISCONN, and whatever `connect` raises; EOPNOTSUPP for None, which is AF_UNSPEC.
        """
        if not flags & MSG_FASTOPEN:
            return self.send(data, flags)
        self.check_open()
        if address is None:
            raise failure(errno.EOPNOTSUPP)
        return self._send_first(data, flags, address)

    def _send_first(self, data: Buffer | bytearray, flags: int, address: Address | None) -> int:
        if self.phase == CONNECTING and self.deferred is None:
            opening.tell_outcome(self)
            return self._send(data, flags)
        return opening.send_first(self, unchanging(data), address)

    def _send(self, data: Buffer | bytearray, flags: int) -> int:
        conn = self.live
        if conn is None or not self.can_send(conn):
            raise self.take_error(errno.EPIPE)
        if not conn.connected and self.phase == CONNECTING:
            raise failure(errno.EAGAIN)
        count = conn.write(
            unchanging(data),
            more=bool(flags & MSG_MORE),
            urgent=bool(flags & MSG_OOB),
            end_of_record=bool(flags & MSG_EOR),
        )
        if not count and len(data):
            raise failure(errno.EAGAIN)
        self.touch()
        return count

    def sendmsg(
        self,
        buffers: list[Buffer],
        control: list[Control] | None = None,
        flags: int = 0,
        address: Address | None = None,
    ) -> int:
        """As `sendto`, from several buffers. A control message is refused with EINVAL, for none means anything."""
        self.check_open()
        if control:
            raise failure(errno.EINVAL)
        data = buffers[0] if len(buffers) == 1 else b"".join(buffers)
        return self.send(data, flags) if address is None else self.sendto(data, flags, address)

    # Receiving.

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Up to `size` octets; b"" at the end of the stream.

        Flags: MSG_PEEK leaves them there; MSG_TRUNC throws them away and gives as many zeros; MSG_OOB gives the
        urgent octet; MSG_ERRQUEUE finds nothing; others change nothing. `OSError`: EAGAIN when nothing is there yet,
        ENOTCONN on a socket that never connected or listens, and once the error that ended the connection; with MSG_OOB
        EINVAL when there is no urgent octet to have.
        """
        self.check_open()
        return reading.recv(self, size, flags)

    def recvmsg(self, size: int, control_size: int = 0, flags: int = 0) -> Received:
        """As `recv`, with what TCP_INQ asks for in the control messages."""
        self.check_open()
        return reading.recvmsg(self, size, control_size, flags)

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, Address | None]:
        """As `recv`, and who has sent it: None where that is a stream, whose peer `getpeername` tells."""
        return self.recv(size, flags), None

    def recv_waits(self, size: int, flags: int = 0) -> bool:
        """Whether a blocking `recv` of `size` octets would still wait, or be refused only because it is not one.

        It waits for SO_RCVLOWAT octets, or with MSG_WAITALL for all, but not at the urgent mark, at the end of the
        stream, on an error, or when no more fit into the buffer.
        """
        self.check_open()
        return reading.waits(self, size, flags)

    # Ending.

    def shutdown(self, how: int = SHUT_RDWR) -> None:
        """End one direction or both: SHUT_RD, SHUT_WR, SHUT_RDWR. `OSError`: ENOTCONN, EINVAL for another `how`.

        Reading goes on until the buffer is empty. What arrives is then taken as before, except when both directions
        are shut: that resets the connection. A listener ends with SHUT_RD, an attempt to connect with either.
        """
        self.check_open()
        if not 0 <= how <= SHUT_RDWR:
            raise failure(errno.EINVAL)
        conn = self.live
        opening_up = conn is not None and (conn.own_state is SYN_SENT or conn.own_state is SYN_RECEIVED)
        if self.phase == CONNECTING:
            self.phase = BROKEN if conn is None or opening_up else CONNECTED
        bits = how + 1
        if self.listener is not None:
            if bits & RECEIVING:
                opening.disconnect(self)
        elif self.deferred is not None or (conn is not None and conn.own_state is SYN_SENT):
            opening.disconnect(self)
        else:
            self.shut |= bits
            if conn is None:
                raise failure(errno.ENOTCONN)
            if bits & SENDING:
                conn.close_write()
            if self.shut == BOTH and (conn.snd.fin_wanted or conn.close_queued):  # not if it was shut before `connect`
                conn.close_read(self.now)
            self.touch()

    def close(self) -> None:
        """Give the socket up. What is queued, and a FIN, are sent in the background. Harmless when repeated.

        Data that was not read makes it a reset, and so does SO_LINGER with a time of 0. A longer one, which makes a
        blocking close wait, changes nothing here: as on Linux, the background goes on after it.
        """
        if self.closed:
            return
        self.closed = True
        self.owner = None
        host = self.sockets.host
        conn = self.connection
        if self.listener is not None:
            host.close_listener(self.listener, self.now)
        if conn is not None:
            if self.choices.linger == (1, 0):
                conn.abort()
            else:
                conn.close(self.now)
            self.touch()
        if self.binding is not None:
            host.release(self.binding)

    # Options and facts.

    def setsockopt(self, level: int, name: int, value: Option) -> None:
        """Set an option. `OSError`: ENOPROTOOPT for one that does nothing here or can't be set, EINVAL for a value."""
        self.check_open()
        options.put(self, level, name, value)

    def getsockopt(self, level: int, name: int) -> Option:
        """The value of an option; SO_ERROR is taken by looking. `OSError`: ENOPROTOOPT, EOPNOTSUPP for the level."""
        self.check_open()
        return options.get(self, level, name)

    def ioctl(self, request: int) -> int:
        """SIOCINQ, SIOCOUTQ, SIOCOUTQNSD: octets unread, unacknowledged, unsent (a FIN counts as one); SIOCATMARK:
        whether the next octet is the urgent one.

        `OSError`: EINVAL on a listener, ENOTTY for another request.
        """
        self.check_open()
        conn = self.connection
        if request == SIOCATMARK:
            return int(conn is not None and conn.urgent_remaining == 1)
        if request not in (SIOCINQ, SIOCOUTQ, SIOCOUTQNSD):
            raise failure(errno.ENOTTY)
        if self.listener is not None:
            raise failure(errno.EINVAL)
        if conn is None or conn.own_state is SYN_SENT or conn.own_state is SYN_RECEIVED:
            return 0
        if request == SIOCINQ:
            return reading.before_mark(self, conn)
        if conn.finished:
            return 0
        return conn.unacknowledged if request == SIOCOUTQ else conn.unsent

    def poll(self) -> int:
        """The bits of poll(2) that are true now, POLLIN to POLLRDHUP; POLLNVAL after `close`."""
        if self.closed:
            return POLLNVAL
        if self.listener is not None:
            if self.listener.state is not LISTEN:
                return POLLHUP  # the host has ended it
            return POLLIN | POLLRDNORM if self.listener.acceptable else 0
        if self.deferred is not None:
            return POLLOUT | POLLWRNORM
        conn = self.connection
        shut = self.shut
        if conn is not None and conn.finished:
            shut = BOTH
        elif conn is not None and conn.rcv.fin_received:
            shut |= RECEIVING
        bits = 0
        if shut == BOTH or conn is None:
            bits |= POLLHUP
        if shut & RECEIVING:
            bits |= POLLIN | POLLRDNORM | POLLRDHUP
        if conn is None or conn.own_state is not SYN_SENT:
            if conn is not None and reading.is_readable(self, conn):
                bits |= POLLIN | POLLRDNORM
            if conn is None or shut & SENDING or conn.has_room:
                bits |= POLLOUT | POLLWRNORM
            if conn is not None and reading.has_urgent_octet(self, conn):
                bits |= POLLPRI
        if self.pending_error():
            bits |= POLLERR
        return bits

    def info(self) -> Info:
        """The connection's `tcp_info`; `OSError(ENOTCONN)` if there is none."""
        self.check_open()
        if self.connection is None:
            raise failure(errno.ENOTCONN)
        return self.connection.info(self.now)

    # What this package shares.

    @property
    def now(self) -> Time:
        return self.sockets.clock()

    @property
    def live(self) -> Connection | None:
        """The connection, unless it is over."""
        conn = self.connection
        return conn if conn is not None and not conn.finished else None

    def check_open(self) -> None:
        if self.closed:
            raise failure(errno.EBADF)

    def can_send(self, conn: Connection) -> bool:
        return not (self.shut & SENDING or conn.snd.fin_wanted or conn.close_queued)

    def touch(self) -> None:
        """A command was given to the connection."""
        if self.connection is not None:
            self.sockets.host.touch(self.connection, self.now)

    def pending_error(self) -> int:
        """The errno that the next call would raise; 0: none."""
        conn = self.connection
        if self.error or conn is None:
            return self.error
        error = conn.error
        if error is None or error is self.told:
            soft = conn.soft_error if self.choices.recverr and conn.reports > self.reports else None
            return 0 if soft is None else soft.errno or 0
        if error.errno == errno.ECONNRESET and conn.rcv.fin_received and not conn.snd.fin_wanted:
            return errno.EPIPE  # the peer had said that it sends no more, and now it receives no more either
        if error.errno == errno.ECONNABORTED and conn.reading_closed:
            return errno.ECONNRESET  # text came that nobody wants to read
        return error.errno or errno.EIO

    def take_error(self, otherwise: int = 0) -> OSError:
        """The pending error, which is then told, or else the one with the number `otherwise`."""
        number = self.pending_error()
        self.error = 0
        if self.connection is not None:
            self.told = self.connection.error
            self.reports = self.connection.reports
        return failure(number or otherwise)


def unchanging(data: Buffer | bytearray) -> Buffer:
    """The data itself if nobody can change it, else a copy: the connection keeps it until it is acknowledged."""
    return data if isinstance(data, bytes) else bytes(data)
