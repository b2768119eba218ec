"""Addresses as sockets spell them, (host, port) or (host, port, flow, scope), and as the core does: raw octets.

A socket of AF_INET6 spells an IPv4 address as ::ffff:10.9.0.2 (RFC 4291 2.5.5.2). No packet carries that form: inside
it is four octets. The wildcard of such a socket means both families, b"" in the core, unless IPV6_V6ONLY is set.
"""

from __future__ import annotations

import errno

from stack.host.sockets.constants import AF_INET
from stack.host.sockets.failures import failure
from stack.wire.address import format_address, is_v4_mapped, parse_address

Address = tuple[str, int] | tuple[str, int, int, int]
"""A host and a port, and for AF_INET6 a flow label and a scope, both of them 0 where they come from here.

The host is numeric; "" is the wildcard. An AF_INET6 socket that talks IPv4 has "::ffff:10.9.0.2"."""

_MAPPED = bytes(10) + b"\xff\xff"


def inside(family: int, address: Address) -> tuple[bytes, int]:
    """The octets of the host, four of them if it is an IPv4 one in any form, and the port.

    `ValueError` for a host that is not numeric; `OSError`: EAFNOSUPPORT for one of another family, EINVAL for no port.
    """
    host, port = address[0], address[1]
    size = 4 if family == AF_INET else 16
    octets = parse_address(host) if host else bytes(size)
    if len(octets) != size:
        raise failure(errno.EAFNOSUPPORT)
    if not 0 <= port < 65536:
        raise failure(errno.EINVAL)
    return octets[12:] if is_v4_mapped(octets) else octets, port


def outside(family: int, host: bytes, port: int) -> Address:
    """What an application sees; b"" is the wildcard."""
    if family == AF_INET:
        return format_address(host or bytes(4)), port
    if len(host) == 4:
        host = _MAPPED + host
    return format_address(host or bytes(16)), port, 0, 0
