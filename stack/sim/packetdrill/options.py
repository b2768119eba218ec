"""getsockopt and setsockopt of a script: C's buffers on one side, the values of the socket facade on the other."""

from __future__ import annotations

import errno
from collections.abc import Callable

from stack.host.sockets import (
    IPPROTO_TCP,
    SO_RCVBUF,
    SO_SNDBUF,
    SOL_SOCKET,
    TCP_CONGESTION,
    TCP_FASTOPEN,
    TCP_FASTOPEN_CONNECT,
    Option,
    Socket,
)
from stack.sim.packetdrill.environment import Environment
from stack.sim.packetdrill.expressions import Arguments
from stack.sim.packetdrill.symbols import SYMBOLS
from stack.sim.packetdrill.syntax import Array, Expression, Linger, String, Word
from stack.sim.packetdrill.sysctls import FASTOPEN_CLIENT, FASTOPEN_SERVER

_BUFFERS = ((SOL_SOCKET, SO_RCVBUF), (SOL_SOCKET, SO_SNDBUF))
_IP_LEVELS = (SYMBOLS["SOL_IP"], SYMBOLS["SOL_IPV6"])
_INT = 4  #: Octets of an int.
MAX_VALUE = 4096  #: Octets of the longest value of an option.


def set_option(arguments: Arguments, socket: Socket, environment: Environment) -> None:
    """setsockopt(2): `OSError` as the call gives; `Unsupported` for an option that is not there."""
    level, name = arguments.number(1), arguments.number(2)
    if level == IPPROTO_TCP:
        if name == TCP_FASTOPEN_CONNECT and not environment.fastopen & FASTOPEN_CLIENT:
            raise OSError(errno.EOPNOTSUPP, "Fast Open is off")
        if name == TCP_FASTOPEN and not environment.fastopen & FASTOPEN_SERVER:
            return  # it may be said, and has no effect
    value, size = _value(arguments, arguments[3]), arguments.number(4)
    if isinstance(value, bytes):
        if not 0 <= size <= MAX_VALUE:
            raise OSError(errno.EINVAL, "no value is so long")
        value = value[:size].ljust(size, b"\0")
    elif isinstance(value, int) and size < _INT and level not in _IP_LEVELS:
        raise OSError(errno.EINVAL, "too short for an int")
    try:
        socket.setsockopt(level, name, _as_option(value, is_name=(level, name) == (IPPROTO_TCP, TCP_CONGESTION)))
    except OSError as error:
        raise _or_unsupported(arguments, error) from None


def get_option(arguments: Arguments, socket: Socket, environment: Environment) -> Callable[[], str | None]:
    """getsockopt(2); what is returned says how its value differs from the script's."""
    level, name = arguments.number(1), arguments.number(2)
    part, size = arguments[3], arguments.boxed(4)
    try:
        came = socket.getsockopt(level, name)
    except OSError as error:
        raise _or_unsupported(arguments, error) from None
    if isinstance(came, int) and (level, name) in _BUFFERS and not environment.doubles_buffers:
        came //= 2

    def verify() -> str | None:
        return _difference(arguments, part, size, came)

    return verify


def _difference(arguments: Arguments, part: Expression, size: int, came: Option) -> str | None:
    if isinstance(part, String):
        octets = came.encode() if isinstance(came, str) else came
        if not isinstance(octets, bytes):
            raise arguments.unsupported(part, f"the value of {_name(arguments)}")
        wanted = part.value.rstrip(b"\0")
        same = octets.startswith(wanted) if part.prefix else octets[:size].rstrip(b"\0") == wanted
        return None if same else f"expected {wanted!r}, came {octets!r}"
    if isinstance(part, Linger):
        same = came == (part.onoff, part.linger)
        return None if same else f"expected {(part.onoff, part.linger)}, came {came!r}"
    if not isinstance(came, int):
        raise arguments.unsupported(part, f"the value of {_name(arguments)}")
    if size != _INT:
        return f"the size: expected {size}, came {_INT}"
    expected = arguments.boxed(3)
    return None if (expected ^ came) & 0xFFFF_FFFF == 0 else f"expected [{expected}], came [{came}]"


def _value(arguments: Arguments, part: Expression) -> int | bytes | tuple[int, int]:
    if isinstance(part, String):
        return part.value
    if isinstance(part, Linger):
        return part.onoff, part.linger
    if isinstance(part, Array):
        return arguments.boxed(3)
    if arguments.value(part) == 0:
        raise OSError(errno.EFAULT, "no value")
    raise arguments.bad(part, "a value is [n], a string or {onoff=1, linger=2}")


def _as_option(value: int | bytes | tuple[int, int], *, is_name: bool) -> Option:
    if is_name and isinstance(value, bytes):
        return value.rstrip(b"\0").decode("latin-1")
    return value


def _or_unsupported(arguments: Arguments, error: OSError) -> Exception:
    """The error, unless it says that the option is none of this stack's and the script knows nothing of that."""
    expected = arguments.call.errno
    if error.errno != errno.ENOPROTOOPT or (expected is not None and expected.name == "ENOPROTOOPT"):
        return error
    return arguments.unsupported(arguments[2], f"the socket option {_name(arguments)}")


def _name(arguments: Arguments) -> str:
    part = arguments[2]
    return part.name if isinstance(part, Word) else str(arguments.number(2))
