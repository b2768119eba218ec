"""The system calls of a script: those that open, close and ask here, the others beside it; `start` makes one."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final

from stack.host.sockets import AF_INET, AF_INET6, SIOCINQ, SO_LINGER, SOL_SOCKET, DatagramSocket, Socket
from stack.sim.packetdrill import polling, transfers
from stack.sim.packetdrill.expressions import Arguments
from stack.sim.packetdrill.options import get_option, set_option
from stack.sim.packetdrill.process import File, Process, Returned, Steps, connected, endpoint
from stack.sim.packetdrill.symbols import SYMBOLS
from stack.wire.units import NEVER, SECOND

SOCK_NONBLOCK: Final = SYMBOLS["SOCK_NONBLOCK"]
SOCK_FLAGS: Final = SOCK_NONBLOCK | SYMBOLS["SOCK_CLOEXEC"]
OTHER_TYPES: Final = (SYMBOLS["SOCK_RAW"], SYMBOLS["SOCK_SEQPACKET"])
OTHER_PROTOCOLS: Final = (SYMBOLS["IPPROTO_SCTP"], 136)  #: And UDP-Lite.
O_RDWR: Final = SYMBOLS["O_RDWR"]
O_NONBLOCK: Final = SYMBOLS["O_NONBLOCK"]
FIONREAD: Final = SYMBOLS["FIONREAD"]
FIONBIO: Final = SYMBOLS["FIONBIO"]


def start(process: Process, arguments: Arguments) -> Returned | Steps:
    """Make a call: what it gives, or for one that may block its steps, of which none is done yet.

    `OSError` is what the call fails with, `Unsupported` means that there is no such call here.
    """
    method = CALLS.get(arguments.call.name)
    if method is None:
        raise arguments.unsupported(None, f"the call {arguments.call.name}()")
    return method(process, arguments)


# Opening.


def socket(process: Process, arguments: Arguments) -> Returned:
    arguments.expect(3)
    usual = AF_INET6 if process.settings.v6_sockets else AF_INET
    family = usual if arguments.is_open(0) else arguments.number(0)
    kind, protocol = arguments.number(1), arguments.number(2)
    if kind & ~SOCK_FLAGS in OTHER_TYPES or protocol in OTHER_PROTOCOLS:
        raise arguments.unsupported(arguments[1], "sockets that are not TCP's or UDP's")
    made = process.bench.sockets.socket(family, kind & ~SOCK_FLAGS, protocol)
    return Returned(0, File(made, nonblocking=bool(kind & SOCK_NONBLOCK)))


def bind(process: Process, arguments: Arguments) -> Returned:
    arguments.expect(3)
    _, sock = process.socket(arguments)
    address = process.local(arguments, arguments[1])
    if address is None:
        raise OSError(errno.EAFNOSUPPORT, "no address")
    sock.bind(address)
    return Returned(0)


def listen(process: Process, arguments: Arguments) -> Returned:
    arguments.expect(2)
    _, sock = process.socket(arguments)
    sock.listen(arguments.number(1))
    process.flows.on_listen(arguments.number(0))
    return Returned(0)


def accept(process: Process, arguments: Arguments) -> Steps:
    arguments.expect(3)
    return _accept(process, arguments, 0)


def accept4(process: Process, arguments: Arguments) -> Steps:
    arguments.expect(4)
    return _accept(process, arguments, arguments.number(3))


def _accept(process: Process, arguments: Arguments, flags: int) -> Steps:
    file, sock = process.socket(arguments)
    while True:
        try:
            accepted, address = sock.accept()
            break
        except BlockingIOError:
            if file.nonblocking:
                raise
        yield NEVER
    process.flows.on_accept(arguments.value(arguments.call.result), endpoint(address))
    return Returned(0, File(accepted, nonblocking=bool(flags & SOCK_NONBLOCK)))


def connect(process: Process, arguments: Arguments) -> Steps:
    arguments.expect(3)
    file, sock = process.socket(arguments)
    address = process.connecting(arguments, arguments[1])
    try:
        sock.connect(address)
    except BlockingIOError:
        if file.nonblocking:
            raise
        yield from connected(sock)
    return Returned(0)


# Ending.


def shutdown(process: Process, arguments: Arguments) -> Returned:
    arguments.expect(2)
    _, sock = process.socket(arguments)
    sock.shutdown(arguments.number(1))
    return Returned(0)


def close(process: Process, arguments: Arguments) -> Steps:
    """With SO_LINGER and a time it waits until everything is acknowledged, but no longer than that."""
    arguments.expect(1)
    fd = arguments.number(0)
    sock = process.file(arguments).socket
    process.close(fd)
    if sock is None:
        return Returned(0)
    conn, patience = sock.connection, _linger_time(sock)
    sock.close()
    process.flows.on_close(fd)
    until = process.bench.now + patience * SECOND
    while conn is not None and conn.lingers and process.bench.now < until:
        yield until
    return Returned(0)


def _linger_time(sock: Socket) -> int:
    """Seconds that close() waits."""
    if isinstance(sock, DatagramSocket):
        return 0
    linger = sock.getsockopt(SOL_SOCKET, SO_LINGER)
    return linger[1] if isinstance(linger, tuple) and linger[0] else 0


# Options.


def fcntl(process: Process, arguments: Arguments) -> Returned:
    arguments.expect(2, 3)
    file = process.file(arguments)
    command = arguments.number(1)
    if command == SYMBOLS["F_GETFL"]:
        return Returned(O_RDWR | (O_NONBLOCK if file.nonblocking else 0))
    if command == SYMBOLS["F_SETFL"]:
        arguments.expect(3)
        file.nonblocking = bool(arguments.number(2) & O_NONBLOCK)
    elif command not in (SYMBOLS["F_GETFD"], SYMBOLS["F_SETFD"]):
        raise arguments.unsupported(arguments[1], "fcntl() other than of flags")
    return Returned(0)


def ioctl(process: Process, arguments: Arguments) -> Returned:
    arguments.expect(2, 3)
    file, sock = process.socket(arguments)
    request = arguments.number(1)
    if request == FIONBIO:
        arguments.expect(3)
        file.nonblocking = bool(arguments.boxed(2))
        return Returned(0)
    value = sock.ioctl(SIOCINQ if request == FIONREAD else request)

    def verify() -> str | None:
        if len(arguments) < 3 or arguments.boxed(2) == value:
            return None
        return f"expected [{arguments.boxed(2)}], came [{value}]"

    return Returned(0, verify=verify)


def setsockopt(process: Process, arguments: Arguments) -> Returned:
    arguments.expect(5)
    _, sock = process.socket(arguments)
    set_option(arguments, sock, process.environment)
    return Returned(0)


def getsockopt(process: Process, arguments: Arguments) -> Returned:
    arguments.expect(5)
    _, sock = process.socket(arguments)
    return Returned(0, verify=get_option(arguments, sock, process.environment))


CALLS: Final[dict[str, Callable[[Process, Arguments], Returned | Steps]]] = {
    method.__name__: method
    for method in (
        socket,
        bind,
        listen,
        accept,
        accept4,
        connect,
        shutdown,
        close,
        fcntl,
        ioctl,
        setsockopt,
        getsockopt,
        transfers.read,
        transfers.readv,
        transfers.recv,
        transfers.recvfrom,
        transfers.recvmsg,
        transfers.write,
        transfers.writev,
        transfers.send,
        transfers.sendto,
        transfers.sendmsg,
        polling.poll,
        polling.epoll_create,
        polling.epoll_create1,
        polling.epoll_ctl,
        polling.epoll_wait,
    )
}
