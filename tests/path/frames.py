"""Packets for the tests of paths, made by the codecs that hosts use."""

from __future__ import annotations

from stack.wire import ip, tcp
from stack.wire.offload import complete
from stack.wire.packet import PARTIAL, Packet
from stack.wire.segment import ACK, Segment

V4 = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
V6 = bytes.fromhex("fd00" + "00" * 13 + "01"), bytes.fromhex("fd00" + "00" * 13 + "02")


def tcp_packet(
    payload: bytes = b"",
    *,
    v6: bool = False,
    seq: int = 1000,
    flags: int = ACK,
    ecn: int = 0,
    gso_size: int = 0,
    ident: int = 0,
    dont_fragment: bool = True,
    tsval: int = 7,
    parts: tuple[bytes, ...] | None = None,
) -> Packet:
    """A packet as a host hands it to its link: headers apart from payload, checksum partial."""
    source, target = V6 if v6 else V4
    seg = Segment(4000, 80, seq, 5000, flags, 1024, (payload,) if payload else (), tsval=tsval, tsecr=3)
    header = tcp.encode(seg, tcp.address_sum(source, target))
    length = len(header) + len(payload)
    head = ip.encode(source, target, ip.PROTO_TCP, length, traffic_class=ecn, ident=ident, dont_fragment=dont_fragment)
    return Packet(head + header, seg.parts if parts is None else parts, gso_size, PARTIAL)


def sized(size: int, mark: int = 0) -> Packet:
    """A whole packet of so many bytes in all, at least 52; `mark` is its sequence number."""
    return complete(tcp_packet(bytes(size - 52), seq=mark))


def read(packet: Packet) -> tuple[ip.IPHeader, Segment]:
    """The headers of a packet whose checksums are right; `WireError` or `ValueError` where they aren't."""
    frame = packet.frame()
    header = ip.decode(frame)
    if header.protocol != ip.PROTO_TCP:
        raise ValueError("not TCP")
    if not tcp.checksum_ok(frame, header):
        raise ValueError("a wrong TCP checksum")
    return header, tcp.decode(frame, header.start, header.end)
