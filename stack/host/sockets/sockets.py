"""What one process sees: a host, a clock, and the sockets that it makes."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final

from stack.host.host import Host
from stack.host.sockets.choices import Choices
from stack.host.sockets.constants import AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, SOCK_DGRAM, SOCK_STREAM
from stack.host.sockets.datagrams import DatagramSocket
from stack.host.sockets.failures import failure
from stack.host.sockets.socket import Socket
from stack.wire.units import Time

MAX_TYPE: Final = 10  #: Beyond these, a type or protocol is no number at all.
MAX_PROTOCOL: Final = 262


class Sockets:
    """Makes sockets on `host`. `clock` tells the present time, in nanoseconds, whenever one of them does something.

    A socket begins with the host's options, except that it shares its port with nobody.
    """

    __slots__ = ("clock", "host", "options")

    def __init__(self, host: Host, clock: Callable[[], Time]) -> None:
        self.host = host
        self.clock = clock
        self.options = host.options.replace(reuse_address=False, reuse_port=False)

    def socket(self, family: int = AF_INET, type: int = SOCK_STREAM, protocol: int = 0) -> Socket:
        """A new socket, as socket(2). AF_INET6 takes IPv4-mapped addresses too, unless IPV6_V6ONLY.

        With SOCK_DGRAM it is a `DatagramSocket`. `OSError`: EAFNOSUPPORT for another family, EPROTONOSUPPORT for
        another protocol than TCP or UDP, ESOCKTNOSUPPORT for other types, EINVAL for numbers that mean nothing.
        """
        if type not in range(MAX_TYPE + 1):
            raise failure(errno.EINVAL)
        if family not in (AF_INET, AF_INET6):
            raise failure(errno.EAFNOSUPPORT)
        if protocol not in range(MAX_PROTOCOL + 1):
            raise failure(errno.EINVAL)
        if type == SOCK_DGRAM and protocol in (0, IPPROTO_UDP):
            return DatagramSocket(self, family, Choices(self.options))
        if type == SOCK_DGRAM:
            raise failure(errno.EPROTONOSUPPORT)
        if type != SOCK_STREAM:
            raise failure(errno.ESOCKTNOSUPPORT)
        if protocol not in (0, IPPROTO_TCP):
            raise failure(errno.EPROTONOSUPPORT)
        return Socket(self, family, Choices(self.options))
