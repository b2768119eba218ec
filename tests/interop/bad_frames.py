"""Frames that no healthy host sends, each with the reason under which it must be counted.

They are built with scapy, which knows nothing of our codecs. Frames of one kind differ in one thing from a good one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.packet import Packet as Scapy
from scapy.packet import Raw

from stack.wire.drop import Drop

PORT = 80  #: Somebody listens there.
CLOSED_PORT = 81

_ports = itertools.count(2000)  #: each frame is of a flow of its own, for us and for tshark


@dataclass(frozen=True)
class Bad:
    """A frame, what is wrong with it, and under which reason it is dropped."""

    name: str
    frame: bytes
    reason: Drop


def bad_frames(family: int, kernel: str, ours: str) -> list[Bad]:
    """All kinds, from the kernel's address to ours."""
    kinds = _ipv4(kernel, ours) if family == 4 else _ipv6(kernel, ours)
    return [*_truncated(family, kernel, ours), *kinds, *_tcp(family, kernel, ours), *_icmp(family, kernel, ours)]


def network(family: int, kernel: str, ours: str, **fields: Any) -> Scapy:
    """A network header from the kernel's address to ours."""
    if family == 4:
        return IP(src=kernel, dst=ours, **fields)
    return IPv6(src=kernel, dst=ours, **fields)


def _syn(port: int = CLOSED_PORT, **fields: Any) -> Scapy:
    return TCP(**{"sport": next(_ports), "dport": port, "seq": 7, "flags": "S", **fields})


def _truncated(family: int, kernel: str, ours: str) -> Iterator[Bad]:
    """A good frame cut after each of its octets."""
    options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]
    whole = bytes(network(family, kernel, ours) / _syn(options=options) / b"data")
    for length in range(1, len(whole)):
        yield Bad(f"cut after {length}", whole[:length], Drop.TRUNCATED)


def _ipv4(kernel: str, ours: str) -> Iterator[Bad]:
    def frame(**fields: Any) -> bytes:
        return bytes(IP(**{"src": kernel, "dst": ours, **fields}) / _syn())

    yield Bad("version 0", frame(version=0), Drop.BAD_VERSION)
    yield Bad("version 5", frame(version=5), Drop.BAD_VERSION)
    yield Bad("version 15", frame(version=15), Drop.BAD_VERSION)
    yield Bad("version 6 on an IPv4 packet", frame(version=6), Drop.TRUNCATED)
    for ihl in range(5):
        yield Bad(f"IHL {ihl}", frame(ihl=ihl), Drop.BAD_HEADER)
    yield Bad("IHL beyond the frame", frame(ihl=15), Drop.TRUNCATED)
    yield Bad("header checksum", frame(chksum=0x1234), Drop.BAD_CHECKSUM)
    yield Bad("total length 0", frame(len=0), Drop.BAD_HEADER)
    yield Bad("total length less than the header", frame(len=19), Drop.BAD_HEADER)
    yield Bad("total length of the header alone", frame(len=20), Drop.BAD_CHECKSUM)  # TCP's, of nothing
    yield Bad("total length beyond the frame", frame(len=41), Drop.TRUNCATED)
    yield Bad("total length 65535", frame(len=65535), Drop.TRUNCATED)
    for name, options in {
        "loose source route": b"\x83\x07\x04\x0a\x09\x00\x05\x00",
        "strict source route": b"\x89\x07\x04\x0a\x09\x00\x05\x00",
        "option of length 0": b"\x44\x00\x00\x00",
        "option of length 1": b"\x44\x01\x00\x00",
        "option beyond the header": b"\x44\x08\x05\x00",
        "option without a length": b"\x01\x01\x01\x44",
        "record route with a bad pointer": b"\x07\x07\x02\x00\x00\x00\x00\x00",
    }.items():
        octets = frame(ihl=5 + len(options) // 4, len=40 + len(options), chksum=0)
        header = _ipv4_summed(octets[:20] + options)
        yield Bad(name, header + octets[20:], Drop.BAD_OPTION)
    yield Bad("first fragment", frame(flags="MF"), Drop.FRAGMENT)
    yield Bad("last fragment", frame(frag=100), Drop.FRAGMENT)
    yield Bad("fragment beyond the largest packet", frame(frag=0x1FFF, len=60) + bytes(20), Drop.BAD_HEADER)
    for source in ("127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0", ours):
        yield Bad(f"from {source}", frame(src=source), Drop.MARTIAN)
    network_part = ours.rpartition(".")[0]
    yield Bad("from the network's broadcast address", frame(src=f"{network_part}.255"), Drop.MARTIAN)
    for target in ("255.255.255.255", "224.0.0.1", f"{network_part}.255"):
        yield Bad(f"TCP to {target}", frame(dst=target), Drop.BROADCAST)
    yield Bad("to somebody else", frame(dst=f"{network_part}.77"), Drop.NOT_FOR_US)
    yield Bad("UDP", bytes(IP(src=kernel, dst=ours) / UDP(dport=53) / b"x"), Drop.PORT_UNREACHABLE)
    yield Bad("protocol 253", frame(proto=253), Drop.UNKNOWN_PROTOCOL)
    yield Bad("ICMPv6 in IPv4", frame(proto=58), Drop.UNKNOWN_PROTOCOL)


def _without_checksum(header: bytes) -> bytes:
    return header[:10] + b"\0\0" + header[12:]


def _ipv4_summed(header: bytes) -> bytes:
    """The header with a checksum that is right, whatever else is not."""
    header = _without_checksum(header)
    total = sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, len(header), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + (total ^ 0xFFFF).to_bytes(2, "big") + header[12:]


def _ipv6(kernel: str, ours: str) -> Iterator[Bad]:
    def frame(*extensions: Scapy, **fields: Any) -> bytes:
        packet: Scapy = IPv6(**{"src": kernel, "dst": ours, **fields})
        for extension in extensions:
            packet /= extension
        return bytes(packet / _syn())

    yield Bad("version 0", frame(version=0), Drop.BAD_VERSION)
    yield Bad("version 7", frame(version=7), Drop.BAD_VERSION)
    yield Bad("payload length beyond the frame", frame(plen=21), Drop.TRUNCATED)
    yield Bad("payload length 65535", frame(plen=65535), Drop.TRUNCATED)
    yield Bad("payload length 0", frame(plen=0), Drop.BAD_CHECKSUM)  # TCP's, of nothing
    padding = IPv6ExtHdrDestOpt()
    yield Bad("nine extension headers", frame(*[padding.copy() for _ in range(9)]), Drop.BAD_OPTION)
    yield Bad("hop-by-hop options in second place", frame(padding, IPv6ExtHdrHopByHop()), Drop.BAD_OPTION)
    for kind in (0x40, 0x80, 0xC0):
        unknown = Raw(bytes((6, 0, kind, 4)) + bytes(4))
        yield Bad(f"unknown option {kind:#x}", frame(unknown, nh=60), Drop.BAD_OPTION)
    yield Bad("option beyond its header", frame(Raw(bytes((6, 0, 1, 9)) + bytes(4)), nh=0), Drop.BAD_OPTION)
    yield Bad("extension header beyond the frame", frame(Raw(bytes((6, 200)) + bytes(6)), nh=60), Drop.TRUNCATED)
    yield Bad("routing header 0", frame(IPv6ExtHdrRouting(addresses=["fd00::9"])), Drop.BAD_OPTION)
    yield Bad("segments left", frame(Raw(bytes((6, 0, 4, 1)) + bytes(4)), nh=43), Drop.BAD_OPTION)
    yield Bad("first fragment", frame(IPv6ExtHdrFragment(m=1, id=7)), Drop.FRAGMENT)
    yield Bad("last fragment", frame(IPv6ExtHdrFragment(offset=100, id=7)), Drop.FRAGMENT)
    yield Bad("fragment beyond the largest packet", frame(IPv6ExtHdrFragment(offset=0x1FFF)), Drop.BAD_HEADER)
    yield Bad("no next header", frame(nh=59), Drop.UNKNOWN_PROTOCOL)
    yield Bad("ICMP in IPv6", frame(nh=1), Drop.UNKNOWN_PROTOCOL)
    yield Bad("UDP", bytes(IPv6(src=kernel, dst=ours) / UDP(dport=53) / b"x"), Drop.PORT_UNREACHABLE)
    for source in ("::1", "::", "ff02::1", "::ffff:10.9.0.1", ours):
        yield Bad(f"from {source}", frame(src=source), Drop.MARTIAN)
    yield Bad("TCP to a group", frame(dst="ff02::1"), Drop.BROADCAST)
    yield Bad("to somebody else", frame(dst=ours.rpartition(":")[0] + ":77"), Drop.NOT_FOR_US)


def _tcp(family: int, kernel: str, ours: str) -> Iterator[Bad]:
    def frame(segment: Scapy, payload: bytes = b"") -> bytes:
        return bytes(network(family, kernel, ours) / segment / payload)

    yield Bad("TCP checksum", frame(_syn(PORT, chksum=0x1234)), Drop.BAD_CHECKSUM)
    yield Bad("TCP checksum of 0", frame(_syn(PORT, chksum=0), b"x"), Drop.BAD_CHECKSUM)
    for offset in range(5):
        yield Bad(f"data offset {offset}", frame(_syn(PORT, dataofs=offset)), Drop.BAD_DATA_OFFSET)
    yield Bad("data offset beyond the segment", frame(_syn(PORT, dataofs=15), bytes(39)), Drop.BAD_DATA_OFFSET)
    short = bytes(network(family, kernel, ours) / Raw(b"\x07\x00\x00\x50" + bytes(15)))
    if family == 4:
        short = _ipv4_summed(short[:9] + b"\x06" + short[10:20]) + short[20:]
        short = short[:36] + (0xFFFF - _tcp_sum(short, 20)).to_bytes(2, "big") + short[38:]
    else:
        short = short[:6] + b"\x06" + short[7:]
        short = short[:56] + (0xFFFF - _tcp_sum(short, 40)).to_bytes(2, "big") + short[58:]
    yield Bad("a TCP header of 19 octets", short, Drop.TRUNCATED)
    yield Bad("SYN with FIN to a listener", frame(_syn(PORT, flags="SF")), Drop.BAD_FLAGS)
    for flags in ("", "F", "P", "FPU"):
        yield Bad(f"flags {flags or 'none'} to a listener", frame(_syn(PORT, flags=flags)), Drop.NO_CONNECTION)
    for flags in ("A", "SA", "FA", "R", "RA", "SRA"):
        yield Bad(f"flags {flags} to a listener", frame(_syn(PORT, flags=flags, ack=99)), Drop.NO_CONNECTION)
    for flags in ("S", "", "F", "A", "R", "SFRPAUEC"):
        yield Bad(f"flags {flags or 'none'} to a closed port", frame(_syn(flags=flags)), Drop.NO_CONNECTION)
    yield Bad("port 0", frame(_syn(0)), Drop.NO_CONNECTION)
    yield Bad("options that end nowhere", frame(_syn(options=[(8, b""), (3, b"")]), b"x"), Drop.NO_CONNECTION)


def _tcp_sum(frame: bytes, start: int) -> int:
    """The ones' complement sum of a segment and its pseudo-header, as the receiver makes it."""
    segment = frame[start:]
    data = frame[12 if start == 20 else 8 : start] + len(segment).to_bytes(4, "big") + b"\0\0\0\x06" + segment
    data += b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _icmp(family: int, kernel: str, ours: str) -> Iterator[Bad]:
    def frame(message: Scapy) -> bytes:
        return bytes(network(family, kernel, ours) / message)

    stranger = bytes(network(family, ours, kernel) / _syn())  # what we would have sent, had we
    if family == 4:
        yield Bad("ICMP checksum", frame(ICMP(type=8, chksum=0x1234)), Drop.BAD_CHECKSUM)
        yield Bad("reply that nobody asked for", frame(ICMP(type=0, id=1, seq=1)), Drop.ICMP_UNMATCHED)
        yield Bad("timestamp request", frame(ICMP(type=13)), Drop.ICMP_IGNORED)
        yield Bad("redirect", frame(ICMP(type=5) / stranger), Drop.ICMP_IGNORED)
        unreachable = ICMP(type=3, code=3)
        short = network(4, kernel, ours, proto=1) / Raw(b"\x08\x00\xf7\xff\x00\x00\x00")
    else:
        yield Bad("ICMPv6 checksum", frame(ICMPv6EchoRequest(cksum=0x1234)), Drop.BAD_CHECKSUM)
        yield Bad("reply that nobody asked for", frame(ICMPv6EchoReply(id=1, seq=1)), Drop.ICMP_UNMATCHED)
        yield Bad("neighbour solicitation", frame(ICMPv6ND_NS(tgt=ours)), Drop.ICMP_IGNORED)
        yield Bad("router advertisement", frame(ICMPv6ND_RA()), Drop.ICMP_IGNORED)
        unreachable = ICMPv6DestUnreach(code=4)
        short = network(6, kernel, ours, nh=58) / Raw(b"\x80\x00\x00\x00\x00\x00\x00")
    yield Bad("error about a stranger", frame(unreachable / Raw(stranger)), Drop.ICMP_UNMATCHED)
    yield Bad("error about nothing", frame(unreachable), Drop.BAD_VERSION)
    yield Bad("error about the start of a header", frame(unreachable / Raw(stranger[:19])), Drop.TRUNCATED)
    yield Bad("error about a header alone", frame(unreachable / Raw(stranger[: len(stranger) - 20])), Drop.TRUNCATED)
    yield Bad("an ICMP header of 7 octets", bytes(short), Drop.TRUNCATED)
