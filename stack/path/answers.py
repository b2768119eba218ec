"""What a router says to the sender of a packet that it can't forward: ICMP errors (RFC 792, RFC 1812, RFC 4443)."""

from __future__ import annotations

from stack.wire import icmp, ip
from stack.wire.drop import WireError
from stack.wire.offload import complete
from stack.wire.packet import Packet

HOP_LIMIT = 64
QUOTE_V4, QUOTE_V6 = 548, 1232  #: Octets quoted: up to 576 in all (RFC 1812 4.3.2.3), or 1280 (RFC 4443 2.4 c).

Addresses = tuple[bytes, bytes]
"""A router's own, IPv4 and IPv6."""


def too_big(packet: Packet, mtu: int, source: Addresses | None = None) -> Packet | None:
    """The message that a packet was larger than the `mtu` of the next hop (RFC 1191 4, RFC 4443 3.2)."""
    unreachable = icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED
    return _error(packet, source, unreachable, (icmp.V6_PACKET_TOO_BIG, 0), mtu)


def time_exceeded(packet: Packet, source: Addresses | None = None) -> Packet | None:
    """The message that a packet's hop limit was used up."""
    return _error(packet, source, (icmp.TIME_EXCEEDED, 0), (icmp.V6_TIME_EXCEEDED, 0), 0)


def _error(
    packet: Packet, source: Addresses | None, v4: tuple[int, int], v6: tuple[int, int], rest: int
) -> Packet | None:
    """An ICMP error about a packet, from one of `source`, or else from where the packet was going.

    None about a packet that gets no such answer: an ICMP error itself (RFC 1122 3.2.2), or one beyond understanding.
    """
    frame = complete(packet).frame()
    try:
        header = ip.decode(frame)
    except WireError:
        return None
    is_v6 = header.version == 6
    protocol = ip.PROTO_ICMPV6 if is_v6 else ip.PROTO_ICMP
    if header.protocol == protocol and (
        header.start >= header.end or icmp.is_error(frame[header.start], header.version)
    ):
        return None
    local = header.dst if source is None else source[is_v6]
    kind, code = v6 if is_v6 else v4
    quote = frame[: QUOTE_V6 if is_v6 else QUOTE_V4]
    body = icmp.encode(icmp.Icmp(kind, code, rest, quote), local, header.src)
    return Packet(ip.encode(local, header.src, protocol, len(body), hop_limit=HOP_LIMIT) + body)
