"""How a socket receives: in order, at the urgent mark, at the end, and with an error (recv(2), tcp(7)).

The core delivers urgent data in line (RFC 6093). A Berkeley socket knows one urgent octet, the last one before the
mark, and takes it out of the stream unless SO_OOBINLINE is set: reading stops before it, the next call passes over it,
and only MSG_OOB gives it. A later mark makes it an ordinary octet, if it was not passed by then. In line, reading stops
before it, too, and the next call begins with it.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from stack.host.sockets.constants import (
    IPPROTO_TCP,
    MSG_CTRUNC,
    MSG_ERRQUEUE,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    MSG_WAITALL,
    TCP_CM_INQ,
)
from stack.host.sockets.failures import failure
from stack.host.sockets.names import Address
from stack.host.sockets.phases import RECEIVING
from stack.tcp.connection import Connection

if TYPE_CHECKING:
    from stack.host.sockets.socket import Socket

Control = tuple[int, int, bytes]
"""A control message: level, type, and data in the machine's byte order, as in Python's `socket.recvmsg`."""

CONTROL_BYTES: Final = 20  #: A control message with an int: a header of 16, and 4.
ENOUGH: Final = 1 << 30  #: Octets that nobody reads at once.


class Received(NamedTuple):
    """What `recvmsg` gives, in the order of Python's own."""

    data: bytes
    control: list[Control]
    flags: int  #: MSG_OOB, MSG_TRUNC, MSG_CTRUNC, as recvmsg(2) leaves them in msg_flags
    address: Address | None  #: of a datagram; None for a stream, which tells its peer by `getpeername`


def recv(sock: Socket, size: int, flags: int) -> bytes:
    """See `Socket.recv`."""
    if flags & MSG_ERRQUEUE:
        raise failure(errno.EAGAIN)
    if sock.listener is not None:
        raise failure(errno.ENOTCONN)
    if flags & MSG_OOB:
        return _urgent_octet(sock, size, flags)
    conn = sock.connection
    if conn is None:
        if sock.pending_error() or not sock.shut & RECEIVING:
            raise sock.take_error(errno.EAGAIN if sock.deferred is not None else errno.ENOTCONN)
        return b""
    skip, limit = _up_to_mark(sock, conn)
    if conn.readable > skip:
        limit = min(size, limit)
        if flags & MSG_PEEK:
            data = conn.peek(limit, skip)
        else:
            if skip:
                conn.read(skip, sock.now)
            data = conn.read(limit, sock.now)
            sock.touch()  # reading may open the window
        return bytes(len(data)) if flags & MSG_TRUNC else data
    if skip and conn.readable and not flags & MSG_PEEK:
        conn.read(skip, sock.now)
    if conn.rcv.fin_received:
        return b""
    if sock.pending_error():
        raise sock.take_error()
    if conn.finished or sock.shut & RECEIVING:
        return b""
    raise failure(errno.EAGAIN)


def recvmsg(sock: Socket, size: int, control_size: int, flags: int) -> Received:
    """See `Socket.recvmsg`."""
    data = recv(sock, size, flags)
    conn = sock.connection
    control: list[Control] = []
    left = flags & MSG_OOB
    if flags & MSG_OOB and not size:
        left |= MSG_TRUNC
    if sock.choices.inq and conn is not None:
        if control_size >= CONTROL_BYTES:
            unread = conn.readable + conn.rcv.fin_received
            control = [(IPPROTO_TCP, TCP_CM_INQ, struct.pack("=i", unread))]
        else:
            left |= MSG_CTRUNC
    return Received(data, control, left, None)


def waits(sock: Socket, size: int, flags: int) -> bool:
    """See `Socket.recv_waits`."""
    conn = sock.connection
    if flags & (MSG_OOB | MSG_ERRQUEUE) or sock.shut & RECEIVING or sock.pending_error():
        return False
    if conn is None:
        return sock.deferred is not None
    if conn.finished or conn.rcv.fin_received:
        return False
    skip, limit = _up_to_mark(sock, conn)
    available = conn.readable - skip
    wanted = min(size if flags & MSG_WAITALL else conn.options.receive_lowat, size, limit)
    return available < max(wanted, 1) and conn.rcv.wnd >= conn.rcv.mss


def before_mark(sock: Socket, conn: Connection) -> int:
    """SIOCINQ: octets that can be read, up to an urgent one that is not in line."""
    remaining = conn.urgent_remaining
    if remaining and not sock.choices.oob_inline and remaining <= conn.readable:
        return remaining - 1
    return conn.readable


def is_readable(sock: Socket, conn: Connection) -> bool:
    """Whether there is enough to read to say so (POLLIN)."""
    skip, _ = _up_to_mark(sock, conn)
    if skip:
        return conn.readable - skip >= conn.options.receive_lowat
    return conn.has_text(ENOUGH)


def has_urgent_octet(sock: Socket, conn: Connection) -> bool:
    """Whether the urgent octet is here, and MSG_OOB would give it (POLLPRI)."""
    remaining = conn.urgent_remaining
    return 0 < remaining <= conn.readable and conn.urgent_mark != sock.urgent_taken


def _up_to_mark(sock: Socket, conn: Connection) -> tuple[int, int]:
    """How many octets the next read passes over, and how many it then gives at most."""
    remaining = conn.urgent_remaining
    if remaining > 1:
        return 0, remaining - 1
    return int(remaining == 1 and not sock.choices.oob_inline), ENOUGH


def _urgent_octet(sock: Socket, size: int, flags: int) -> bytes:
    conn = sock.connection
    if conn is None or sock.choices.oob_inline or not conn.urgent_remaining or conn.urgent_mark == sock.urgent_taken:
        raise failure(errno.EINVAL)
    if conn.finished and not conn.rcv.fin_received:
        raise failure(errno.ENOTCONN)
    if has_urgent_octet(sock, conn):
        octet = conn.peek(1, conn.urgent_remaining - 1)
        if not flags & MSG_PEEK:
            sock.urgent_taken = conn.urgent_mark
        return octet[:size]
    if conn.finished or conn.rcv.fin_received or sock.shut & RECEIVING:
        return b""
    raise failure(errno.EAGAIN)
