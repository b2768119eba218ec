"""From a super-frame to the packets that it stands for, as a device with TCP segmentation offload makes them.

    head                      payload, cut every gso_size octets
    [IP][TCP seq flags] [............|............|............|.....]
    [IP][TCP seq      ] [............]
             [IP][TCP seq+1g        ] [............]
                                           ...        and FIN, PSH on the last

Each packet repeats the headers. What differs: the sequence number; FIN and PSH, which only the last one has; CWR, which
only the first one has (RFC 3168 6.1.2: once per reduction of the window); the urgent pointer, which counts from each
one's number, and URG where urgent data is left (devices repeat both, so nobody should send them such a super-frame);
the lengths; the identification of an IPv4 packet, which counts up; and both checksums, which are made anew. So the
result is what a wire would have carried, and a receiver has to verify it.
"""

from __future__ import annotations

from typing import Final

from stack.wire import ipv4, ipv6, tcp
from stack.wire.checksum import checksum, pseudo_header_sum, sum_buffers
from stack.wire.drop import WireError
from stack.wire.ipheader import PROTO_TCP, IPHeader
from stack.wire.offload import complete
from stack.wire.packet import TRUSTED, VERIFY, Packet
from stack.wire.segment import CWR, FIN, PSH, URG

_MASK: Final = 0xFFFF_FFFF
# Where these fields stand in a TCP header.
_SEQ: Final = 4
_FLAGS: Final = 13
_URGENT: Final = 18


def split(packet: Packet) -> list[Packet]:
    """The wire packets of a super-frame, in order; of an ordinary packet, that packet alone, with its checksum full.

    A super-frame that is not TCP, or not whole, is returned as it is: it may come from a device, and nothing from
    there raises.
    """
    size = packet.gso_size
    if not size:
        return [complete(packet)]
    frame = packet.frame()
    found = _tcp_header(frame)
    if found is None:
        return [packet]
    start, payload, end = found
    if end - payload <= size:
        return [as_sent(Packet(frame, csum=TRUSTED))]
    data = memoryview(frame)
    cuts = range(payload, end, size)
    last = len(cuts) - 1
    return [
        _piece(frame, start, payload, data[cut : min(cut + size, end)], number, cut - payload, number == last)
        for number, cut in enumerate(cuts)
    ]


def as_sent(packet: Packet) -> Packet:
    """An ordinary packet as a wire would carry it: with its checksum full, and to be verified.

    The checksum of a `TRUSTED` packet is made anew, since nobody has promised that the field holds it.
    """
    if packet.csum != TRUSTED:
        return complete(packet)
    frame = packet.frame()
    found = _tcp_header(frame)
    if found is None:
        return Packet(frame)
    start, payload, end = found
    header = _with_checksum(frame, frame[start:payload], memoryview(frame)[payload:end])
    return Packet(b"".join((frame[:start], header, frame[payload:])))


def _tcp_header(frame: bytes) -> tuple[int, int, int] | None:
    """Where TCP's header and its payload start and where that ends; None where there is no whole TCP segment."""
    version = frame[0] >> 4 if frame else 0
    if version == 4 and len(frame) >= ipv4.HEADER_LENGTH:
        protocol, start, end = frame[9], (frame[0] & 15) << 2, int.from_bytes(frame[2:4], "big")
    elif version == 6 and len(frame) >= ipv6.HEADER_LENGTH:
        end = ipv6.HEADER_LENGTH + int.from_bytes(frame[4:6], "big")
        header = IPHeader(6, frame[8:24], frame[24:40], frame[6], frame[7], 0, ipv6.HEADER_LENGTH, len(frame))
        try:
            ipv6.walk_extensions(frame, header)
        except WireError:
            return None
        protocol, start = header.protocol, header.start
    else:
        return None
    if protocol != PROTO_TCP or start < ipv4.HEADER_LENGTH or start + tcp.HEADER_LENGTH > end or end > len(frame):
        return None
    payload = start + (frame[start + 12] >> 4 << 2)
    return (start, payload, end) if start + tcp.HEADER_LENGTH <= payload <= end else None


def _piece(frame: bytes, start: int, payload: int, data: memoryview, number: int, offset: int, is_last: bool) -> Packet:
    """The packet with `data`, which lies `offset` octets into the payload and is the `number`th, from 0."""
    header = bytearray(frame[start:payload])
    seq = int.from_bytes(header[_SEQ : _SEQ + 4], "big")
    header[_SEQ : _SEQ + 4] = ((seq + offset) & _MASK).to_bytes(4, "big")
    if not is_last:
        header[_FLAGS] &= ~(FIN | PSH) & 0xFF
    if number:
        header[_FLAGS] &= ~CWR & 0xFF
    if header[_FLAGS] & URG and offset:
        _point(header, int.from_bytes(header[_URGENT : _URGENT + 2], "big") - offset)
    head = _network_header(frame, start, payload - start + len(data), number)
    return Packet(head + _with_checksum(frame, header, data), (data,), csum=VERIFY)


def _point(header: bytearray, distance: int) -> None:
    """Say that urgent data ends `distance` octets on; nothing if that is behind."""
    if distance <= 0:
        header[_FLAGS] &= ~URG & 0xFF
    header[_URGENT : _URGENT + 2] = max(distance, 0).to_bytes(2, "big")


def _network_header(frame: bytes, start: int, length: int, number: int) -> bytes:
    """The IP header for `length` octets of TCP."""
    header = bytearray(frame[:start])
    if header[0] >> 4 == 6:
        header[4:6] = (start - ipv6.HEADER_LENGTH + length).to_bytes(2, "big")
        return bytes(header)
    ident = int.from_bytes(header[4:6], "big")
    header[2:4] = (start + length).to_bytes(2, "big")
    header[4:6] = ((ident + number) & 0xFFFF).to_bytes(2, "big")
    header[10:12] = b"\x00\x00"
    header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
    return bytes(header)


def _with_checksum(frame: bytes, header: bytes | bytearray, data: memoryview) -> bytes:
    """The TCP header with the checksum for itself and `data`, between the addresses of `frame`."""
    at = 12 if frame[0] >> 4 == 4 else 8
    size = 4 if frame[0] >> 4 == 4 else 16
    source, target = frame[at : at + size], frame[at + size : at + 2 * size]
    header = bytearray(header)
    header[tcp.CHECKSUM_OFFSET : tcp.CHECKSUM_OFFSET + 2] = b"\x00\x00"
    start = pseudo_header_sum(source, target, PROTO_TCP, len(header) + len(data))
    total = sum_buffers((bytes(header), data), start) ^ 0xFFFF
    header[tcp.CHECKSUM_OFFSET : tcp.CHECKSUM_OFFSET + 2] = total.to_bytes(2, "big")
    return bytes(header)
