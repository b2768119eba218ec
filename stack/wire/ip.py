"""The IP layer's header, whichever version: decoding looks at the version nibble, encoding at the addresses.

Past `decode` nobody checks lengths again: `frame[header.start:header.end]` is the upper layer's, whole and
without the padding that a link may have added.
"""

from __future__ import annotations

from stack.wire import ipv4, ipv6
from stack.wire.drop import Drop, WireError
from stack.wire.ipheader import PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP, IPHeader

__all__ = ["PROTO_ICMP", "PROTO_ICMPV6", "PROTO_TCP", "PROTO_UDP", "IPHeader", "decode", "encode"]


# RFC1122-01
def decode(frame: bytes, size: int = 0) -> IPHeader:
    """The header of a whole received packet; `WireError` for anything malformed or forbidden.

    `size` is the packet's length where `frame` holds only its headers, all of them.
    """
    if not frame:
        raise WireError(Drop.TRUNCATED, "an empty frame")
    version = frame[0] >> 4
    if version == 4:
        return ipv4.decode(frame, size)
    if version == 6:
        return ipv6.decode(frame, size)
    raise WireError(Drop.BAD_VERSION, f"version {version}")


def encode(
    src: bytes,
    dst: bytes,
    protocol: int,
    length: int,
    *,
    hop_limit: int = 64,
    traffic_class: int = 0,
    ident: int = 0,
    dont_fragment: bool = True,
) -> bytes:
    """A header for `length` octets of payload, IPv4 or IPv6 by the addresses' length.

    `ident` and `dont_fragment` mean nothing to IPv6. Raises `ValueError` where the packet would be too long.
    """
    if len(src) == 4:
        return ipv4.encode(src, dst, protocol, length, hop_limit, traffic_class, ident, dont_fragment)
    return ipv6.encode(src, dst, protocol, length, hop_limit, traffic_class)
