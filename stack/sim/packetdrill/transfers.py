"""The calls that send and receive. Whatever is sent is zeros."""

from __future__ import annotations

import errno
from typing import Final

from stack.host.sockets import MSG_DONTWAIT, MSG_FASTOPEN, MSG_WAITALL, POLLIN, POLLOUT, Address, DatagramSocket, Socket
from stack.sim.packetdrill.expressions import Arguments
from stack.sim.packetdrill.process import ENDED, File, Process, Returned, Steps, connected
from stack.sim.packetdrill.symbols import SYMBOLS
from stack.sim.packetdrill.syntax import Array, Cmsg, Expression, IoVec, MsgHdr
from stack.sim.packetdrill.sysctls import FASTOPEN_CLIENT
from stack.tcp.state import SYN_SENT
from stack.wire.units import NEVER

MAX_BUFFER: Final = 1 << 30  #: Octets in one call; a script that wants more wants nothing of this.
CONTROL_ROOM: Final = 1024  #: Octets for control messages.
_ZEROS: Final = bytes(1 << 20)


def _may_block(file: File, flags: int) -> bool:
    return not file.nonblocking and not flags & MSG_DONTWAIT


def _refuse(arguments: Arguments, flags: int) -> None:
    """Flags that ask for what is not here."""
    if flags & SYMBOLS["MSG_ZEROCOPY"]:
        raise arguments.unsupported(None, "MSG_ZEROCOPY")
    if flags & SYMBOLS["MSG_ERRQUEUE"]:
        raise arguments.unsupported(None, "the error queue (MSG_ERRQUEUE)")


def _vector(arguments: Arguments, part: Expression) -> int:
    """The size of the buffers in `[{..., 5}, {..., 6}]` together."""
    if not isinstance(part, Array):
        raise arguments.bad(part, "a list of buffers belongs here")
    size = 0
    for item in part.items:
        if not isinstance(item, IoVec):
            raise arguments.bad(item, "a buffer, {..., size}, belongs here")
        size += arguments.value(item.length)
    return size


def _message(arguments: Arguments) -> MsgHdr:
    part = arguments[1]
    if not isinstance(part, MsgHdr):
        raise arguments.bad(part, "a message header belongs here")
    if len(part.iov.items) != part.iov_count:
        raise arguments.bad(part, f"{len(part.iov.items)} buffers, but msg_iov({part.iov_count})")
    return part


# Receiving.


def read(process: Process, arguments: Arguments) -> Steps:
    arguments.expect(3)
    return _receive(process, arguments, arguments.number(2), 0)


def readv(process: Process, arguments: Arguments) -> Steps:
    arguments.expect(3)
    return _receive(process, arguments, _vector(arguments, arguments[1]), 0, has_buffer=True)


def recv(process: Process, arguments: Arguments) -> Steps:
    arguments.expect(4)
    return _receive(process, arguments, arguments.number(2), arguments.number(3))


def recvfrom(process: Process, arguments: Arguments) -> Steps:
    arguments.expect(6)
    return _receive(process, arguments, arguments.number(2), arguments.number(3))


def _receive(process: Process, arguments: Arguments, size: int, flags: int, *, has_buffer: bool = False) -> Steps:
    file, socket = process.socket(arguments)
    _refuse(arguments, flags)
    if size < 0:
        raise OSError(errno.EINVAL, "less than nothing")
    if not has_buffer and arguments.is_null(1) and socket.poll() & POLLIN and size:
        raise OSError(errno.EFAULT, "no buffer")
    may_block = _may_block(file, flags)
    if isinstance(socket, DatagramSocket):
        flags &= ~MSG_WAITALL  # one call, one datagram
    received = 0
    while True:
        try:
            piece = len(socket.recv(size - received, flags))
            received += piece
            if not piece or received >= size or not flags & MSG_WAITALL or not may_block:
                return Returned(received)
        except BlockingIOError:
            if not may_block:
                raise
        except OSError:
            if not received:
                raise
            return Returned(received)
        yield NEVER


def recvmsg(process: Process, arguments: Arguments) -> Steps:
    arguments.expect(3)
    file, socket = process.socket(arguments)
    message, flags = _message(arguments), arguments.number(2)
    _refuse(arguments, flags)
    size = _vector(arguments, message.iov)
    expected = [_control(arguments, item) for item in message.control.items] if message.control else []
    while True:
        try:
            received = socket.recvmsg(size, CONTROL_ROOM, flags)
            break
        except BlockingIOError:
            if not _may_block(file, flags):
                raise
        yield NEVER

    def verify() -> str | None:
        wanted = arguments.value(message.flags)
        if received.flags != wanted:
            return f"msg_flags: expected {wanted:#x}, came {received.flags:#x}"
        came = [(level, kind, int.from_bytes(data, "little")) for level, kind, data in received.control]
        if came != expected:
            return f"msg_control (level, type, data): expected {expected}, came {came}"
        return None

    return Returned(len(received.data), verify=verify)


def _control(arguments: Arguments, part: Expression) -> tuple[int, int, int]:
    if not isinstance(part, Cmsg):
        raise arguments.bad(part, "a control message belongs here")
    return arguments.value(part.level), arguments.value(part.type), arguments.value(part.data)


# Sending.


def write(process: Process, arguments: Arguments) -> Steps:
    arguments.expect(3)
    return _send_buffer(process, arguments, 0)


def send(process: Process, arguments: Arguments) -> Steps:
    arguments.expect(4)
    return _send_buffer(process, arguments, arguments.number(3))


def sendto(process: Process, arguments: Arguments) -> Steps:
    arguments.expect(6)
    process.socket(arguments)
    address = process.connecting(arguments, arguments[4])
    return (yield from _send_buffer(process, arguments, arguments.number(3), address))


def writev(process: Process, arguments: Arguments) -> Steps:
    arguments.expect(3)
    return _send_vector(process, arguments, arguments[1], 0)


def sendmsg(process: Process, arguments: Arguments) -> Steps:
    arguments.expect(3)
    process.socket(arguments)
    message = _message(arguments)
    if arguments.value(message.flags):
        raise arguments.bad(message, "msg_flags means nothing to sendmsg()")
    if message.control is not None and message.control.items:
        raise arguments.unsupported(message.control, "control messages of sendmsg()")
    address = process.connecting(arguments, message.name)
    return (yield from _send_vector(process, arguments, message.iov, arguments.number(2), address))


def _send_vector(
    process: Process, arguments: Arguments, part: Expression, flags: int, address: Address | None = None
) -> Steps:
    data = _zeros(arguments, part, _vector(arguments, part))
    return (yield from _send(process, arguments, data, flags, address))


def _send_buffer(process: Process, arguments: Arguments, flags: int, address: Address | None = None) -> Steps:
    process.socket(arguments)
    size = arguments.number(2)
    if arguments.is_null(1) and size:
        raise OSError(errno.EFAULT, "no buffer")
    return (yield from _send(process, arguments, _zeros(arguments, arguments[2], size), flags, address))


def _zeros(arguments: Arguments, part: Expression, size: int) -> memoryview:
    if not 0 <= size <= MAX_BUFFER:
        raise arguments.unsupported(part, f"a buffer of {size} octets")
    return memoryview(_ZEROS if size <= len(_ZEROS) else bytes(size))[:size]


def _send(process: Process, arguments: Arguments, data: memoryview, flags: int, address: Address | None) -> Steps:
    file, socket = process.socket(arguments)
    _refuse(arguments, flags)
    if isinstance(socket, DatagramSocket):
        return (yield from _send_datagram(socket, data, flags, address, _may_block(file, flags)))
    if flags & MSG_FASTOPEN and not process.environment.fastopen & FASTOPEN_CLIENT:
        raise OSError(errno.EOPNOTSUPP, "Fast Open is off")
    may_block = _may_block(file, flags)
    sent = 0
    try:
        sent = socket.sendto(data, flags, address) if flags & MSG_FASTOPEN else socket.send(data, flags)
    except BlockingIOError:
        if not may_block:
            raise
    if not may_block:
        return Returned(sent)
    if _is_opening(socket):
        # Fast Open: the call waits for the connection, too. What it has left to write goes with the third segment:
        # kernels hold that back while somebody waits to write.
        process.bench.eager = True
        try:
            yield from connected(socket)
        finally:
            process.bench.eager = False
    flags &= ~MSG_FASTOPEN
    while sent < len(data):
        try:
            sent += socket.send(data[sent:], flags)
        except BlockingIOError:
            yield NEVER
            while not socket.poll() & (POLLOUT | ENDED):
                yield NEVER
        except OSError:
            if not sent:
                raise
            break
    return Returned(sent)


def _send_datagram(
    socket: DatagramSocket, data: memoryview, flags: int, address: Address | None, may_block: bool
) -> Steps:
    while True:
        try:
            return Returned(socket.sendto(data, flags, address))
        except BlockingIOError:
            if not may_block:
                raise
        yield NEVER


def _is_opening(socket: Socket) -> bool:
    conn = socket.connection
    return conn is not None and conn.own_state is SYN_SENT
