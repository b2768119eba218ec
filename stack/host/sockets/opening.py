"""How a socket gets a name, listens, connects, and is disconnected again (bind(2), listen(2), connect(2))."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from stack.host.bindings import Binding
from stack.host.sockets.constants import AF_INET
from stack.host.sockets.failures import failure
from stack.host.sockets.names import Address, inside
from stack.host.sockets.phases import BROKEN, CONNECTED, CONNECTING, UNCONNECTED
from stack.tcp.closing import SENDS_RESET
from stack.tcp.config import TcpOptions
from stack.tcp.state import SYN_SENT
from stack.wire.address import format_address

if TYPE_CHECKING:
    from stack.host.sockets.socket import Socket
    from stack.wire.packet import Buffer

MAX_BACKLOG: Final = 4096  #: Linux' net.core.somaxconn; a negative backlog means it, too.


def bind(sock: Socket, address: Address) -> None:
    """See `Socket.bind`."""
    if sock.binding is not None or sock.listener is not None or sock.live is not None or sock.deferred is not None:
        raise failure(errno.EINVAL)
    where, port = local_end(sock, address)
    sock.binding = _bind(sock, where, port)
    sock.named = where, port


def local_end(sock: Socket, address: Address) -> tuple[bytes, int]:
    """What `bind` is to take: an address, or the wildcard that the socket means, and a port. `OSError(EINVAL)`."""
    host, port = inside(sock.family, address)
    if sock.family == AF_INET or len(host) == 4:
        if sock.family != AF_INET and sock.choices.v6only:
            raise failure(errno.EINVAL)
        return host, port
    return (host if any(host) or sock.choices.v6only else b""), port


def _bind(sock: Socket, where: bytes, port: int) -> Binding:
    return sock.sockets.host.bind(port, address=where or None, options=sock.choices.options)


def listen(sock: Socket, backlog: int) -> None:
    """See `Socket.listen`."""
    if sock.phase != UNCONNECTED or sock.live is not None or sock.deferred is not None:
        raise failure(errno.EINVAL)
    length = min(backlog, MAX_BACKLOG) if backlog >= 0 else MAX_BACKLOG
    if sock.listener is not None:
        sock.listener.backlog = length + 1
        return
    if sock.binding is None:
        sock.binding = _bind(sock, sock.named[0] if sock.named is not None else wildcard(sock), 0)
    sock.listener = sock.sockets.host.listen_bound(sock.binding, backlog=length + 1)
    sock.listener.owner = sock.owner


def wildcard(sock: Socket) -> bytes:
    """All addresses that the socket may have."""
    if sock.family == AF_INET:
        return bytes(4)
    return bytes(16) if sock.choices.v6only else b""


def connect(sock: Socket, address: Address) -> None:
    """See `Socket.connect`."""
    if sock.phase == CONNECTING:
        tell_outcome(sock)
        return
    remote, port = _destination(sock, address)
    options = _with_fast_open(sock, sock.choices.fastopen_connect)
    if options.fastopen and _fastopen_room(sock, remote, port):
        sock.deferred = remote, port
        sock.phase = CONNECTING
        return
    _open(sock, remote, port, options)
    sock.touch()
    raise failure(errno.EINPROGRESS)


def _destination(sock: Socket, address: Address) -> tuple[bytes, int]:
    if sock.phase == BROKEN:
        raise failure(errno.EINVAL)
    if sock.phase == CONNECTED or sock.listener is not None or sock.live is not None:
        raise failure(errno.EISCONN)
    remote, port = inside(sock.family, address)
    if sock.family != AF_INET and len(remote) == 4 and sock.choices.v6only:
        raise failure(errno.ENETUNREACH)
    if port == 0:
        raise failure(errno.EINVAL)
    return remote, port


def tell_outcome(sock: Socket) -> None:
    """A `connect` after the first: what became of that."""
    conn = sock.live
    if sock.deferred is not None:
        raise failure(errno.EISCONN)
    if conn is None:
        error = sock.take_error(errno.ECONNABORTED)
        disconnect(sock)
        raise error
    if not conn.connected:
        raise failure(errno.EALREADY)
    sock.phase = CONNECTED


def _open(sock: Socket, remote: bytes, port: int, options: TcpOptions) -> None:
    host = sock.sockets.host
    named = sock.named
    if named is not None and any(named[0]):
        options = options.replace(local_address=format_address(named[0]))
    local_port = sock.binding.port if sock.binding is not None else 0
    try:
        conn = host.connect(remote, port, sock.now, options=options, local_port=local_port)
    except OSError as refusal:
        if refusal.errno == errno.EADDRINUSE:  # the pair of endpoints: what else could be
            raise failure(errno.EADDRNOTAVAIL) from refusal
        if refusal.errno == errno.EINVAL:  # a group, or an address of no host
            raise failure(errno.ENETUNREACH) from refusal
        raise
    conn.owner = sock.owner
    sock.connection = conn
    sock.phase = CONNECTING
    sock.error = 0
    sock.told = None


def disconnect(sock: Socket) -> None:
    """connect(2) to AF_UNSPEC, and what ends a failed attempt: the socket is as before `connect` or `listen`."""
    host = sock.sockets.host
    if sock.listener is not None:
        host.close_listener(sock.listener, sock.now)
        sock.listener = None
    conn = sock.connection
    sock.error = sock.pending_error()
    if conn is not None:
        if conn.own_state in SENDS_RESET or conn.own_state is SYN_SENT:
            sock.error = errno.ECONNRESET
        sock.last_port = conn.local[1]
        conn.owner = None
        conn.abort()
        sock.touch()
        sock.connection = None
    if sock.binding is not None:
        sock.binding.listening = False
        if sock.named is None or sock.named[1] == 0:  # nobody asked for just this port
            sock.last_port = sock.binding.port
            host.release(sock.binding)
            sock.binding = None
    sock.deferred = None
    sock.phase = UNCONNECTED
    sock.shut = 0
    sock.told = None
    sock.reports = 0
    sock.urgent_taken = 0


# Fast Open (RFC 7413).


def send_first(sock: Socket, data: Buffer, address: Address | None) -> int:
    """Connect, and send as much of `data` as goes with the SYN: see `Socket.sendto`."""
    if sock.deferred is not None:
        remote, port = sock.deferred
    else:
        if address is None:
            raise failure(errno.EINVAL)
        remote, port = _destination(sock, address)
    options = _with_fast_open(sock, True)
    room = _fastopen_room(sock, remote, port)
    _open(sock, remote, port, options)
    sock.deferred = None
    count = 0
    if sock.connection is not None and room:
        count = sock.connection.write(data[:room])
    sock.touch()
    if not count:
        raise failure(errno.EINPROGRESS)
    return count


def _fastopen_room(sock: Socket, remote: bytes, port: int) -> int:
    """Octets that a SYN to there would carry; 0: no cookie is known."""
    return sock.sockets.host.fastopen_room(remote, port, sock.now, options=_with_fast_open(sock, True))


def _with_fast_open(sock: Socket, on: bool) -> TcpOptions:
    options = sock.choices.options
    return options if options.fastopen is on else options.replace(fastopen=on)
