"""ICMP for both families (RFC 792, RFC 4443): one shape of message, two registers of types.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    |     Type      |     Code      |          Checksum             |
    |     rest: identifier and sequence, MTU, pointer, or unused    |
    |     payload: echo data, or the packet that an error is about  |

The two differ in their numbers and in that ICMPv6 sums a pseudo-header too, so who gives addresses of 16
octets means ICMPv6. An error quotes the start of the packet that caused it; `quoted` reads as much of that as
tells whose packet it was. A quote has travelled twice and may be cut anywhere: its lengths and checksums are
not believed.
"""

from __future__ import annotations

import struct
from typing import Final

from stack.wire import ipv4, ipv6
from stack.wire.checksum import checksum, partial_sum, pseudo_header_sum
from stack.wire.drop import Drop, WireError
from stack.wire.ipheader import PROTO_ICMPV6, IPHeader
from stack.wire.packet import Buffer

HEADER_LENGTH: Final = 8

# ICMP types (RFC 792) and the codes of UNREACHABLE (RFC 1122 3.2.2.1).
ECHO_REPLY: Final = 0
UNREACHABLE: Final = 3
SOURCE_QUENCH: Final = 4
REDIRECT: Final = 5
ECHO_REQUEST: Final = 8
TIME_EXCEEDED: Final = 11
PARAMETER_PROBLEM: Final = 12
NET_UNREACHABLE: Final = 0
HOST_UNREACHABLE: Final = 1
PROTOCOL_UNREACHABLE: Final = 2
PORT_UNREACHABLE: Final = 3
FRAGMENTATION_NEEDED: Final = 4
SOURCE_ROUTE_FAILED: Final = 5
NET_UNKNOWN: Final = 6
HOST_UNKNOWN: Final = 7
SOURCE_ISOLATED: Final = 8
NET_PROHIBITED: Final = 9
NET_UNREACHABLE_FOR_TOS: Final = 11
ADMIN_PROHIBITED: Final = 13

# ICMPv6 types (RFC 4443, RFC 4861) and the codes of V6_UNREACHABLE.
V6_UNREACHABLE: Final = 1
V6_PACKET_TOO_BIG: Final = 2
V6_TIME_EXCEEDED: Final = 3
V6_PARAMETER_PROBLEM: Final = 4
V6_ECHO_REQUEST: Final = 128
V6_ECHO_REPLY: Final = 129
V6_ROUTER_SOLICITATION: Final = 133
V6_ROUTER_ADVERTISEMENT: Final = 134
V6_NEIGHBOUR_SOLICITATION: Final = 135
V6_NEIGHBOUR_ADVERTISEMENT: Final = 136
V6_REDIRECT: Final = 137
V6_NO_ROUTE: Final = 0
V6_ADMIN_PROHIBITED: Final = 1
V6_BEYOND_SCOPE: Final = 2
V6_ADDRESS_UNREACHABLE: Final = 3
V6_PORT_UNREACHABLE: Final = 4
V6_POLICY_FAILED: Final = 5
V6_ROUTE_REJECTED: Final = 6

_V4_ERRORS = frozenset((UNREACHABLE, SOURCE_QUENCH, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM))
_HEADER = struct.Struct("!BBHI")
_QUOTE = struct.Struct("!HHI")


class Icmp:
    """A message. `rest` is the 32-bit number behind the checksum; what it holds depends on the type.

    Echo: identifier in the high half, sequence in the low one. Fragmentation needed: the next hop's MTU in
    the low half. ICMPv6 packet too big: the MTU.
    """

    __slots__ = ("code", "payload", "rest", "type")

    def __init__(self, type: int, code: int, rest: int = 0, payload: bytes = b"") -> None:
        self.type = type
        self.code = code
        self.rest = rest
        self.payload = payload

    def __repr__(self) -> str:
        return f"Icmp(type={self.type} code={self.code} rest={self.rest:#x} {len(self.payload)} bytes)"


class Quote:
    """Whose packet an ICMP error is about: the packet as sent, so `src` is the one who gets the error.

    Ports and `seq` are the first eight octets behind the IP header, as TCP lays them out. Where `protocol` is
    ICMP and the quoted message an echo, `seq` holds its identifier and sequence (the message's `rest`). `length` is
    what the packet says of its own length, in octets.
    """

    __slots__ = ("dst", "dst_port", "length", "protocol", "seq", "src", "src_port", "version")

    def __init__(
        self, version: int, src: bytes, dst: bytes, protocol: int, src_port: int, dst_port: int, seq: int, length: int
    ) -> None:
        self.version = version
        self.src = src
        self.dst = dst
        self.protocol = protocol
        self.src_port = src_port
        self.dst_port = dst_port
        self.seq = seq
        self.length = length


def decode(data: Buffer, src: bytes | None = None, dst: bytes | None = None) -> Icmp:
    """The message in `data` (what the IP header carries), ICMPv6 where the addresses have 16 octets.

    Raises `WireError` for a message that is cut short or has a wrong checksum.
    """
    if len(data) < HEADER_LENGTH:
        raise WireError(Drop.TRUNCATED, f"{len(data)} octets are no ICMP message")
    if partial_sum(data, _start(src, dst, len(data))) != 0xFFFF:
        raise WireError(Drop.BAD_CHECKSUM, "ICMP")
    kind, code, _, rest = _HEADER.unpack_from(data)
    return Icmp(kind, code, rest, bytes(data[HEADER_LENGTH:]))


def encode(msg: Icmp, src: bytes | None = None, dst: bytes | None = None) -> bytes:
    """The octets of a message with its checksum, ICMPv6 where the addresses have 16 octets."""
    start = _start(src, dst, HEADER_LENGTH + len(msg.payload))
    value = checksum(msg.payload, start + (msg.type << 8) + msg.code + msg.rest)
    return _HEADER.pack(msg.type, msg.code, value, msg.rest) + msg.payload


def is_error(type: int, version: int) -> bool:
    """Whether a type is an error or a redirect: it quotes a packet, and no error answers it."""
    return type in _V4_ERRORS if version == 4 else type < 128 or type == V6_REDIRECT


def quoted(payload: bytes, version: int) -> Quote:
    """Whose packet the payload of an error quotes; `version` is that of the packet which brought the error.

    Raises `WireError` where the quote is too short to tell, is of the other version, or is of a fragment that
    doesn't hold the ports.
    """
    if not payload or payload[0] >> 4 != version:
        raise WireError(Drop.BAD_VERSION, "the packet quoted by an ICMP error")
    header = _quoted_v4(payload) if version == 4 else _quoted_v6(payload)
    if header.start + 8 > len(payload):
        raise WireError(Drop.TRUNCATED, "the packet quoted by an ICMP error")
    src_port, dst_port, seq = _QUOTE.unpack_from(payload, header.start)
    length = int.from_bytes(payload[2:4] if version == 4 else payload[4:6], "big")
    if version == 6:
        length += ipv6.HEADER_LENGTH
    return Quote(version, header.src, header.dst, header.protocol, src_port, dst_port, seq, length)


def _start(src: bytes | None, dst: bytes | None, length: int) -> int:
    """The sum to start from: ICMPv6 counts a pseudo-header (RFC 4443 2.3), ICMP doesn't."""
    if src is None or dst is None or len(src) == 4:
        return 0
    return pseudo_header_sum(src, dst, PROTO_ICMPV6, length)


def _quoted_v4(payload: bytes) -> IPHeader:
    start = (payload[0] & 15) << 2
    if start < ipv4.HEADER_LENGTH:
        raise WireError(Drop.BAD_HEADER, "the packet quoted by an ICMP error")
    if len(payload) < start:
        raise WireError(Drop.TRUNCATED, "the packet quoted by an ICMP error")
    if int.from_bytes(payload[6:8], "big") & 0x1FFF:
        raise WireError(Drop.FRAGMENT, "quoted by an ICMP error")
    src, dst = payload[12:16], payload[16:20]
    return IPHeader(4, src, dst, payload[9], payload[8], payload[1], start, len(payload))


def _quoted_v6(payload: bytes) -> IPHeader:
    start = ipv6.HEADER_LENGTH
    if len(payload) < start:
        raise WireError(Drop.TRUNCATED, "the packet quoted by an ICMP error")
    header = IPHeader(6, payload[8:24], payload[24:40], payload[6], payload[7], 0, start, len(payload))
    ipv6.walk_extensions(payload, header)
    if header.fragment and int.from_bytes(payload[header.start - 6 : header.start - 4], "big") & 0xFFF8:
        raise WireError(Drop.FRAGMENT, "quoted by an ICMP error")
    return header
