"""The options of a socket (socket(7), ip(7), ipv6(7), tcp(7)): one `Setting` for each that has an effect here.

Most of them are a field of `TcpOptions` in other units. What is refused, and what getsockopt tells, is as on Linux; the
bounds of values are Linux', too. An option that is not in the table is refused with ENOPROTOOPT.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from stack.host.sockets import constants as c
from stack.host.sockets.failures import failure
from stack.host.sockets.opening import MAX_BACKLOG
from stack.host.sockets.phases import UNCONNECTED
from stack.tcp.config import FASTOPEN_KEY
from stack.tcp.congestion import ALGORITHMS
from stack.tcp.info import Info

if TYPE_CHECKING:
    from stack.host.sockets.socket import Socket

Option = int | str | bytes | tuple[int, int] | Info
"""Values of options: TCP_CONGESTION is a name, SO_LINGER a pair (on or off, seconds), TCP_FASTOPEN_KEY 16 or 32 octets,
TCP_INFO an `Info`; all others are ints."""

MAX_BUFFER: Final = 4 << 20  #: What SO_SNDBUF and SO_RCVBUF may ask for; net.core.wmem_max since Linux 6.17.
MIN_SEND_BUFFER: Final = 4608  #: What Linux makes of less, doubled already.
MIN_RECEIVE_BUFFER: Final = 2304
MAX_KEEPALIVE: Final = 32767  #: Seconds.
MAX_PROBES: Final = 127
MAX_LINGER2: Final = 120  #: Seconds.
LEAST_LINGER2: Final = 0.001  #: Instead of none at all, which a negative value asks for.
LEAST_SEGMENT: Final = 88
LARGEST_SEGMENT: Final = 32767
DEFAULT_SEGMENT: Final = 536  #: What TCP_MAXSEG tells before there is a connection (RFC 9293 3.7.1).
MAX_MARK: Final = 1 << 30  #: Octets never sent that TCP_NOTSENT_LOWAT counts.
IP_PMTUDISC_OMIT: Final = 5  #: The last value of IP_MTU_DISCOVER.
INT_MAX: Final = (1 << 31) - 1

Getter = Callable[["Socket"], Option]
Setter = Callable[["Socket", int], None]
AnySetter = Callable[["Socket", Option], None]


class Setting:
    """One option. `number` is called with an int, `put` with whatever was given; without either it can't be set."""

    __slots__ = ("get", "number", "put")

    def __init__(self, get: Getter, number: Setter | None = None, put: AnySetter | None = None) -> None:
        self.get = get
        self.number = number
        self.put = put


Settings = dict[tuple[int, int], Setting]
"""By level and name."""


def put(sock: Socket, level: int, name: int, value: Option, settings: Settings | None = None) -> None:
    """See `Socket.setsockopt`; `settings` are TCP's unless it says others."""
    setting = _find(sock, level, name, settings)
    if setting is None or (setting.number is None and setting.put is None):
        raise failure(errno.ENOPROTOOPT)
    if setting.number is None:
        assert setting.put is not None
        setting.put(sock, value)
    elif isinstance(value, int):
        setting.number(sock, (value + INT_MAX + 1) % (1 << 32) - INT_MAX - 1)  # an int of C's
    else:
        raise failure(errno.EINVAL)


def get(sock: Socket, level: int, name: int, settings: Settings | None = None) -> Option:
    """See `Socket.getsockopt`; `settings` as with `put`."""
    setting = _find(sock, level, name, settings)
    if setting is not None:
        return setting.get(sock)
    own = c.IPPROTO_TCP if settings is None else c.IPPROTO_UDP
    if level in (c.SOL_SOCKET, c.IPPROTO_IP, own) or _is_v6(sock, level):
        raise failure(errno.ENOPROTOOPT)
    raise failure(errno.EOPNOTSUPP)


def _is_v6(sock: Socket, level: int) -> bool:
    return level == c.IPPROTO_IPV6 and sock.family == c.AF_INET6


def _find(sock: Socket, level: int, name: int, settings: Settings | None) -> Setting | None:
    if level == c.IPPROTO_IPV6 and not _is_v6(sock, level):
        return None
    return (SETTINGS if settings is None else settings).get((level, name))


def change(sock: Socket, **fields: object) -> None:
    """Tell the core of new `TcpOptions`, wherever it keeps them."""
    options = sock.choices.options = sock.choices.options.replace(**fields)
    if sock.binding is not None:
        sock.binding.options = options
    if sock.listener is not None:
        sock.listener.options = options
    if sock.connection is not None:
        sock.connection.set_options(options, sock.now)
        sock.touch()


# Kinds of settings.


def _switch(field: str) -> Setting:
    """On or off: a bool of `TcpOptions`."""

    def get(sock: Socket) -> int:
        return int(getattr(sock.choices.options, field))

    def put(sock: Socket, value: int) -> None:
        change(sock, **{field: bool(value)})

    return Setting(get, put)


def _choice(name: str) -> Setting:
    """On or off: a bool of `Choices`."""

    def get(sock: Socket) -> int:
        return int(getattr(sock.choices, name))

    def put(sock: Socket, value: int) -> None:
        setattr(sock.choices, name, bool(value))

    return Setting(get, put)


def _number(field: str, low: int, high: int) -> Setting:
    """A number of `TcpOptions` with bounds."""

    def get(sock: Socket) -> int:
        return int(getattr(sock.choices.options, field))

    def put(sock: Socket, value: int) -> None:
        change(sock, **{field: bounded(value, low, high)})

    return Setting(get, put)


def bounded(value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise failure(errno.EINVAL)
    return value


# SOL_SOCKET.


def _get_error(sock: Socket) -> int:
    number = sock.take_error().errno or 0
    if not number and sock.connection is not None:
        soft = sock.connection.take_soft_error()
        number = 0 if soft is None else soft.errno or 0
    return number


def _get_linger(sock: Socket) -> tuple[int, int]:
    return sock.choices.linger


def _put_linger(sock: Socket, value: Option) -> None:
    if not isinstance(value, tuple):
        raise failure(errno.EINVAL)
    on, time = value
    sock.choices.linger = (1, time) if on else (0, sock.choices.linger[1])


def _get_send_buffer(sock: Socket) -> int:
    conn = sock.connection
    return conn.send_limit if conn is not None else sock.choices.options.send_space


def _put_send_buffer(sock: Socket, value: int) -> None:
    size = max(2 * min(value, MAX_BUFFER) if value >= 0 else 2 * MAX_BUFFER, MIN_SEND_BUFFER)
    change(sock, send_buffer=size, send_space=size)


def _get_receive_buffer(sock: Socket) -> int:
    conn = sock.connection
    if conn is not None and not sock.choices.window_clamp:
        return 2 * conn.rcv.capacity
    return 2 * sock.choices.receive_window


def _put_receive_buffer(sock: Socket, value: int) -> None:
    size = max(2 * min(value, MAX_BUFFER) if value >= 0 else 2 * MAX_BUFFER, MIN_RECEIVE_BUFFER) // 2
    sock.choices.receive_window = sock.choices.receive_buffer = size
    _resize_receive_buffer(sock)


def _resize_receive_buffer(sock: Socket) -> None:
    choices = sock.choices
    clamp = choices.window_clamp or INT_MAX
    size = min(choices.receive_buffer, clamp)
    change(
        sock,
        receive_window=min(choices.receive_window, clamp),
        receive_buffer=size,
        receive_lowat=min(choices.options.receive_lowat, size),
    )


def _put_low_water(sock: Socket, value: int) -> None:
    if value < 0:
        value = INT_MAX
    change(sock, receive_lowat=max(min(value, sock.choices.options.receive_buffer), 1))


# IPPROTO_IP and IPPROTO_IPV6.


def _put_hops(low: int) -> Setter:
    def put(sock: Socket, value: int) -> None:
        default = sock.sockets.options.ttl
        change(sock, ttl=default if value == -1 else bounded(value, low, 255))

    return put


def _get_class(sock: Socket) -> int:
    return sock.choices.options.dscp << 2


def _put_type_of_service(sock: Socket, value: int) -> None:
    change(sock, dscp=(value & 0xFF) >> 2)  # the two bits below belong to ECN


def _put_traffic_class(sock: Socket, value: int) -> None:
    change(sock, dscp=bounded(max(value, 0) if value >= -1 else value, 0, 255) >> 2)


def _get_mtu(sock: Socket) -> int:
    conn = sock.live
    if conn is None:
        raise failure(errno.ENOTCONN)
    return sock.sockets.host.path_mtu(conn.remote[0])


def _get_mtu_discovery(sock: Socket) -> int:
    return c.IP_PMTUDISC_WANT


def _put_mtu_discovery(sock: Socket, value: int) -> None:
    # Packets always say that they must not be fragmented, and that is what these two mean to TCP.
    if bounded(value, c.IP_PMTUDISC_DONT, IP_PMTUDISC_OMIT) not in (c.IP_PMTUDISC_WANT, c.IP_PMTUDISC_DO):
        raise failure(errno.ENOPROTOOPT)


def _put_v6only(sock: Socket, value: int) -> None:
    if sock.binding is not None or sock.phase != UNCONNECTED:
        raise failure(errno.EINVAL)
    sock.choices.v6only = bool(value)


# IPPROTO_TCP.


def _put_nodelay(sock: Socket, value: int) -> None:
    change(sock, nodelay=bool(value))
    if value and sock.connection is not None:
        sock.connection.push()  # also what MSG_MORE or a cork holds back, each time anew
        sock.touch()


def _get_segment(sock: Socket) -> int:
    if sock.live is not None:
        return sock.live.snd.mss
    return sock.choices.options.mss or DEFAULT_SEGMENT


def _put_segment(sock: Socket, value: int) -> None:
    change(sock, mss=bounded(value, LEAST_SEGMENT, LARGEST_SEGMENT) if value else None)


def _get_linger2(sock: Socket) -> int:
    return -1 if sock.choices.linger2 < 0 else int(sock.choices.options.fin_wait_2_timeout)


def _put_linger2(sock: Socket, value: int) -> None:
    sock.choices.linger2 = max(min(value, MAX_LINGER2), -1)
    default = sock.sockets.options.fin_wait_2_timeout
    change(sock, fin_wait_2_timeout=max(sock.choices.linger2, LEAST_LINGER2) if value else default)


def _get_defer_accept(sock: Socket) -> int:
    return (1 << sock.choices.options.defer_accept) - 1


def _put_defer_accept(sock: Socket, value: int) -> None:
    """Seconds become so many SYN-ACKs as are sent in them, at 0, 1, 3, 7, ... s."""
    change(sock, defer_accept=min(max(value, 0), INT_MAX).bit_length())


def _get_clamp(sock: Socket) -> int:
    return sock.choices.window_clamp


def _put_clamp(sock: Socket, value: int) -> None:
    if value == 0 and sock.live is not None:
        raise failure(errno.EINVAL)
    sock.choices.window_clamp = max(value, MIN_RECEIVE_BUFFER // 2) if value else 0
    _resize_receive_buffer(sock)


def _get_quick_ack(sock: Socket) -> int:
    return int(sock.connection is None or sock.connection.rcv.quick > 0)


def _put_quick_ack(sock: Socket, value: int) -> None:
    if sock.connection is not None:
        sock.connection.quick_ack(bool(value))
        sock.touch()


def _get_congestion(sock: Socket) -> str:
    name = sock.choices.options.congestion
    return _LINUX_NAMES.get(name, name) if isinstance(name, str) else name.__name__


def _put_congestion(sock: Socket, value: Option) -> None:
    if not isinstance(value, str):
        raise failure(errno.EINVAL)
    name = "newreno" if value == "reno" else value
    if name not in ALGORITHMS:
        raise failure(errno.ENOENT)
    change(sock, congestion=name)


_LINUX_NAMES: dict[str, str] = {"newreno": "reno"}


def _get_user_timeout(sock: Socket) -> int:
    timeout = sock.choices.options.user_timeout
    return 0 if timeout is None else round(1000 * timeout)


def _put_user_timeout(sock: Socket, value: int) -> None:
    change(sock, user_timeout=bounded(value, 0, INT_MAX) / 1000 or None)


def _get_unsent_low_water(sock: Socket) -> int:
    return sock.choices.unsent_mark


def _put_unsent_low_water(sock: Socket, value: int) -> None:
    """0 is the host's own mark; a negative one, unsigned to Linux, is too large to be one."""
    sock.choices.unsent_mark = value
    default = sock.sockets.options.notsent_lowat
    change(sock, notsent_lowat=default if value == 0 else value if 0 < value <= MAX_MARK else None)


def _put_fastopen(sock: Socket, value: int) -> None:
    _check_unconnected(sock)
    value = min(bounded(value, 0, INT_MAX), MAX_BACKLOG)
    if value:
        change(sock, fastopen=True, fastopen_queue=value)
    else:
        change(sock, fastopen=False)


def _get_fastopen(sock: Socket) -> int:
    options = sock.choices.options
    return options.fastopen_queue if options.fastopen else 0


def _put_fastopen_connect(sock: Socket, value: int) -> None:
    if sock.live is not None or sock.listener is not None:
        raise failure(errno.EINVAL)
    sock.choices.fastopen_connect = bool(bounded(value, 0, 1))


def _put_without_cookie(sock: Socket, value: int) -> None:
    _check_unconnected(sock)
    change(sock, fastopen_cookies=not bounded(value, 0, 1))


def _put_fastopen_keys(sock: Socket, value: Option) -> None:
    if not isinstance(value, bytes) or len(value) not in (FASTOPEN_KEY, 2 * FASTOPEN_KEY):
        raise failure(errno.EINVAL)
    change(sock, fastopen_keys=tuple([value[at : at + FASTOPEN_KEY] for at in range(0, len(value), FASTOPEN_KEY)]))


def _get_fastopen_keys(sock: Socket) -> bytes:
    return b"".join(sock.choices.options.fastopen_keys or sock.sockets.host.fastopen_keys)


def _check_unconnected(sock: Socket) -> None:
    if sock.live is not None:
        raise failure(errno.EINVAL)


_FACTS: dict[int, Getter] = {
    c.SO_TYPE: lambda sock: c.SOCK_STREAM,
    c.SO_DOMAIN: lambda sock: sock.family,
    c.SO_PROTOCOL: lambda sock: c.IPPROTO_TCP,
    c.SO_ACCEPTCONN: lambda sock: int(sock.listener is not None),
    c.SO_ERROR: _get_error,
}

SETTINGS: Settings = {
    **{(c.SOL_SOCKET, name): Setting(getter) for name, getter in _FACTS.items()},
    (c.SOL_SOCKET, c.SO_REUSEADDR): _switch("reuse_address"),
    (c.SOL_SOCKET, c.SO_REUSEPORT): _switch("reuse_port"),
    (c.SOL_SOCKET, c.SO_KEEPALIVE): _switch("keepalive"),
    (c.SOL_SOCKET, c.SO_OOBINLINE): _choice("oob_inline"),
    (c.SOL_SOCKET, c.SO_LINGER): Setting(_get_linger, put=_put_linger),
    (c.SOL_SOCKET, c.SO_SNDBUF): Setting(_get_send_buffer, _put_send_buffer),
    (c.SOL_SOCKET, c.SO_RCVBUF): Setting(_get_receive_buffer, _put_receive_buffer),
    (c.SOL_SOCKET, c.SO_RCVLOWAT): Setting(lambda sock: sock.choices.options.receive_lowat, _put_low_water),
    (c.IPPROTO_IP, c.IP_TTL): Setting(lambda sock: sock.choices.options.ttl, _put_hops(1)),
    (c.IPPROTO_IP, c.IP_TOS): Setting(_get_class, _put_type_of_service),
    (c.IPPROTO_IP, c.IP_MTU): Setting(_get_mtu),
    (c.IPPROTO_IP, c.IP_MTU_DISCOVER): Setting(_get_mtu_discovery, _put_mtu_discovery),
    (c.IPPROTO_IP, c.IP_RECVERR): _choice("recverr"),
    (c.IPPROTO_IPV6, c.IPV6_UNICAST_HOPS): Setting(lambda sock: sock.choices.options.ttl, _put_hops(1)),
    (c.IPPROTO_IPV6, c.IPV6_TCLASS): Setting(_get_class, _put_traffic_class),
    (c.IPPROTO_IPV6, c.IPV6_MTU): Setting(_get_mtu),
    (c.IPPROTO_IPV6, c.IPV6_MTU_DISCOVER): Setting(_get_mtu_discovery, _put_mtu_discovery),
    (c.IPPROTO_IPV6, c.IPV6_RECVERR): _choice("recverr"),
    (c.IPPROTO_IPV6, c.IPV6_V6ONLY): Setting(lambda sock: int(sock.choices.v6only), _put_v6only),
    (c.IPPROTO_TCP, c.TCP_NODELAY): Setting(lambda sock: int(sock.choices.options.nodelay), _put_nodelay),
    (c.IPPROTO_TCP, c.TCP_CORK): _switch("cork"),
    (c.IPPROTO_TCP, c.TCP_MAXSEG): Setting(_get_segment, _put_segment),
    (c.IPPROTO_TCP, c.TCP_KEEPIDLE): _number("keepalive_idle", 1, MAX_KEEPALIVE),
    (c.IPPROTO_TCP, c.TCP_KEEPINTVL): _number("keepalive_interval", 1, MAX_KEEPALIVE),
    (c.IPPROTO_TCP, c.TCP_KEEPCNT): _number("keepalive_probes", 1, MAX_PROBES),
    (c.IPPROTO_TCP, c.TCP_SYNCNT): _number("syn_retries", 1, MAX_PROBES),
    (c.IPPROTO_TCP, c.TCP_LINGER2): Setting(_get_linger2, _put_linger2),
    (c.IPPROTO_TCP, c.TCP_DEFER_ACCEPT): Setting(_get_defer_accept, _put_defer_accept),
    (c.IPPROTO_TCP, c.TCP_WINDOW_CLAMP): Setting(_get_clamp, _put_clamp),
    (c.IPPROTO_TCP, c.TCP_INFO): Setting(lambda sock: sock.info()),
    (c.IPPROTO_TCP, c.TCP_QUICKACK): Setting(_get_quick_ack, _put_quick_ack),
    (c.IPPROTO_TCP, c.TCP_CONGESTION): Setting(_get_congestion, put=_put_congestion),
    (c.IPPROTO_TCP, c.TCP_USER_TIMEOUT): Setting(_get_user_timeout, _put_user_timeout),
    (c.IPPROTO_TCP, c.TCP_NOTSENT_LOWAT): Setting(_get_unsent_low_water, _put_unsent_low_water),
    (c.IPPROTO_TCP, c.TCP_INQ): _choice("inq"),
    (c.IPPROTO_TCP, c.TCP_FASTOPEN): Setting(_get_fastopen, _put_fastopen),
    (c.IPPROTO_TCP, c.TCP_FASTOPEN_CONNECT): Setting(
        lambda sock: int(sock.choices.fastopen_connect), _put_fastopen_connect
    ),
    (c.IPPROTO_TCP, c.TCP_FASTOPEN_KEY): Setting(_get_fastopen_keys, put=_put_fastopen_keys),
    (c.IPPROTO_TCP, c.TCP_FASTOPEN_NO_COOKIE): Setting(
        lambda sock: int(not sock.choices.options.fastopen_cookies), _put_without_cookie
    ),
}
