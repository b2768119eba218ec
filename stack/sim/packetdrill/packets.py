"""From a script's packets to octets for the stack, and from the stack's octets to values that a script's can meet.

Options are kept as they stand on the wire, in order and with their padding, because that is what a script describes.
Payloads are zeros in both directions, as in the original tool: what a script writes is zeros, and so must be what
leaves.

A super-frame is taken apart here into the segments that its device would have made of it, with the same rules as
`stack.wire.superframe`: its headers repeat, numbers go up, FIN and PSH are the last one's and CWR the first one's.
"""

from __future__ import annotations

import struct
from typing import Final

from stack.sim.packetdrill.syntax import (
    AccEcn,
    Eol,
    FastOpen,
    Md5,
    Mss,
    Nop,
    Sack,
    SackPermitted,
    TcpOption,
    Timestamps,
    WindowScale,
)
from stack.tcp.seq import MASK
from stack.wire import icmp, ip
from stack.wire.icmp import Icmp
from stack.wire.ip import PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP
from stack.wire.packet import TRUSTED, Packet
from stack.wire.segment import ACK, CWR, ECE, FIN, FLAG_LETTERS, PSH, RST, SYN, URG
from stack.wire.units import Time

AE: Final = 256  #: The bit beside CWR, once NS; the first of the three bits of ACE (RFC 9768).
LETTERS: Final = FLAG_LETTERS + "A"

EOL, NOP, MSS, WSCALE, SACK_PERMITTED, SACK, TIMESTAMPS, MD5, FAST_OPEN, EXPERIMENTAL = 0, 1, 2, 3, 4, 5, 8, 19, 34, 254
ACCECN_0, ACCECN_1 = 172, 174
FAST_OPEN_MAGIC: Final = b"\xf9\x89"

_TCP = struct.Struct("!HHIIHHHH")
_UDP = struct.Struct("!HHHH")
_ZEROS: Final = bytes(1 << 16)

RawOption = tuple[int, bytes]
"""Kind, and what follows the length; NOP and EOL have nothing."""

__all__ = ["ACK", "AE", "CWR", "ECE", "FIN", "PSH", "RST", "SYN", "URG"]


class Sent:
    """One packet that the stack has put on the wire, as a wire would carry it.

    `protocol` says which of the fields mean something: those of TCP, `message` for ICMP, `src_port`, `dst_port` and
    `length` for UDP. `message` is None where the octets are none that this stack can read.
    """

    __slots__ = (
        "ack",
        "dst",
        "dst_port",
        "flags",
        "flow_label",
        "hop_limit",
        "length",
        "message",
        "options",
        "protocol",
        "seq",
        "src",
        "src_port",
        "time",
        "traffic_class",
        "urgent",
        "version",
        "window",
        "zeros",
    )

    def __init__(self, time: Time, header: ip.IPHeader, flow_label: int) -> None:
        self.time = time
        self.version = header.version
        self.src = header.src
        self.dst = header.dst
        self.protocol = header.protocol
        self.hop_limit = header.hop_limit
        self.traffic_class = header.traffic_class
        self.flow_label = flow_label
        self.src_port = self.dst_port = 0
        self.seq = self.ack = self.flags = self.window = self.urgent = 0
        self.options: tuple[RawOption, ...] = ()
        self.length = 0
        self.zeros = True
        self.message: Icmp | None = None

    def piece(self, offset: int, length: int, *, is_last: bool) -> Sent:
        """The segment with `length` octets from `offset` of a super-frame's payload."""
        part = object.__new__(Sent)
        for name in Sent.__slots__:
            setattr(part, name, getattr(self, name))
        part.seq = (self.seq + offset) & MASK
        part.length = length
        if not is_last:
            part.flags &= ~(FIN | PSH)
        if offset:
            part.flags &= ~CWR
        return part


def read(packet: Packet, now: Time) -> list[Sent]:
    """What `packet` puts on the wire: one packet, or the segments of a super-frame."""
    head = packet.head
    header = ip.decode(head, len(packet) if packet.parts else 0)
    flow_label = int.from_bytes(head[1:4], "big") & 0xF_FFFF if header.version == 6 else 0
    sent = Sent(now, header, flow_label)
    if header.protocol == PROTO_TCP:
        _read_tcp(sent, packet, header.start)
    elif header.protocol in (PROTO_ICMP, PROTO_ICMPV6):
        sent.message = icmp.decode(packet.frame()[header.start : header.end], header.src, header.dst)
    elif header.protocol == PROTO_UDP:
        frame = packet.frame()
        sent.src_port, sent.dst_port, length, _ = _UDP.unpack_from(frame, header.start)
        sent.length = length - _UDP.size
        sent.zeros = not any(frame[header.start + _UDP.size :])
    size = packet.gso_size
    if not 0 < size < sent.length:
        return [sent]
    return [
        sent.piece(at, min(size, sent.length - at), is_last=at + size >= sent.length)
        for at in range(0, sent.length, size)
    ]


def _read_tcp(sent: Sent, packet: Packet, start: int) -> None:
    head = packet.head
    sent.src_port, sent.dst_port, sent.seq, sent.ack, word, sent.window, _, sent.urgent = _TCP.unpack_from(head, start)
    sent.flags = word & 0x1FF
    data = start + (word >> 12 << 2)
    sent.options = tuple(read_options(head[start + 20 : data]))
    parts = (head[data:], *packet.parts)
    sent.length = sum(map(len, parts))
    sent.zeros = all(part == _ZEROS[: len(part)] for part in parts)


def read_options(octets: bytes) -> list[RawOption]:
    """A header's options in order. What is cut short or malformed is one option with all that is left in it."""
    options = []
    at = 0
    while at < len(octets):
        kind = octets[at]
        if kind in (EOL, NOP):
            options.append((kind, b""))
            at += 1
            continue
        size = octets[at + 1] if at + 1 < len(octets) else 0
        if size < 2 or at + size > len(octets):
            options.append((kind, octets[at + 1 :]))
            break
        options.append((kind, octets[at + 2 : at + size]))
        at += size
    return options


def raw_option(option: TcpOption) -> RawOption:
    """A script's option as it stands on the wire, with the numbers that the script has."""
    match option:
        case Nop():
            return NOP, b""
        case Eol():
            return EOL, b""
        case Mss(value):
            return MSS, (value & 0xFFFF).to_bytes(2, "big")
        case WindowScale(shift):
            return WSCALE, bytes((shift & 0xFF,))
        case SackPermitted():
            return SACK_PERMITTED, b""
        case Sack(blocks):
            return SACK, b"".join((edge & MASK).to_bytes(4, "big") for block in blocks for edge in block)
        case Timestamps(val, ecr):
            return TIMESTAMPS, ((val & MASK) << 32 | ecr & MASK).to_bytes(8, "big")
        case FastOpen(cookie, experimental):
            return (EXPERIMENTAL, FAST_OPEN_MAGIC + cookie) if experimental else (FAST_OPEN, cookie)
        case Md5(digest):
            return MD5, digest
        case AccEcn(counters):
            kind = ACCECN_1 if counters and counters[0][0] == "e1b" else ACCECN_0
            return kind, b"".join((value & 0xFF_FFFF).to_bytes(3, "big") for _, value in counters)


def encode_options(options: list[RawOption]) -> bytes:
    """The octets of options, without any padding that is not among them."""
    return b"".join(
        bytes((kind,)) if kind in (EOL, NOP) else bytes((kind, len(data) + 2)) + data for kind, data in options
    )


def flag_bits(flags: str) -> int:
    """The nine bits that a script's letters, or its digit for ACE, stand for."""
    bits = 0
    for letter in flags:
        if letter.isdigit():
            ace = int(letter)
            bits |= (AE if ace & 4 else 0) | (CWR if ace & 2 else 0) | (ECE if ace & 1 else 0)
        else:
            bits |= 1 << LETTERS.index(letter)
    return bits


def flag_letters(bits: int) -> str:
    """As a script writes them: `P.`; `-` for none."""
    return "".join(letter for bit, letter in enumerate(LETTERS) if bits >> bit & 1) or "-"


def tcp_packet(
    source: tuple[bytes, int],
    target: tuple[bytes, int],
    *,
    seq: int,
    ack: int,
    flags: int,
    window: int,
    urgent: int,
    options: bytes,
    length: int,
    traffic_class: int,
    hop_limit: int,
    gso_size: int = 0,
) -> Packet:
    """A segment for the stack, with zeros for text. Its checksum counts as checked: a script can't give a wrong one."""
    word = (20 + len(options)) << 10 | flags
    header = _TCP.pack(source[1], target[1], seq & MASK, ack & MASK, word, window & 0xFFFF, 0, urgent)
    size = len(header) + len(options) + length
    head = ip.encode(source[0], target[0], PROTO_TCP, size, hop_limit=hop_limit, traffic_class=traffic_class)
    return Packet(head + header + options + bytes(length), gso_size=gso_size if length > gso_size else 0, csum=TRUSTED)


def icmp_packet(source: bytes, target: bytes, message: Icmp, *, hop_limit: int, traffic_class: int) -> Packet:
    """An ICMP message for the stack."""
    body = icmp.encode(message, source, target)
    protocol = PROTO_ICMP if len(source) == 4 else PROTO_ICMPV6
    head = ip.encode(source, target, protocol, len(body), hop_limit=hop_limit, traffic_class=traffic_class)
    return Packet(head + body)


def quote(source: tuple[bytes, int], target: tuple[bytes, int], *, protocol: int, rest: bytes, length: int) -> bytes:
    """What an ICMP error quotes: an IP header and the eight octets behind it. `length` is that of the whole payload."""
    return ip.encode(source[0], target[0], protocol, length) + rest
