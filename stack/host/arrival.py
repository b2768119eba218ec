"""From a packet that has arrived to a segment, without touching its payload.

A link may hand over the headers in one buffer and the payload in others: a super-frame of 64 KiB, say, of which the
link has read the first bytes apart. Nobody has to copy such a payload to have it beside its headers: the headers alone
are decoded, and the buffers become the segment's text. That goes where the headers are the usual ones and somebody has
checked the sum; every other packet is made one run of bytes first.
"""

from __future__ import annotations

from typing import Final

from stack.wire import tcp
from stack.wire.drop import Drop, WireError
from stack.wire.ipheader import PROTO_TCP, IPHeader
from stack.wire.packet import VERIFY, Packet
from stack.wire.segment import Segment

# Octets of an IP and a TCP header without options.
_SHORTEST_IPV4: Final = 40
_SHORTEST_IPV6: Final = 60


def prepared(packet: Packet) -> Packet:
    """The packet with all its headers in `head`."""
    if packet.parts and (packet.csum == VERIFY or not _is_usual(packet.head)):
        return Packet(packet.frame(), (), packet.gso_size, packet.csum)
    return packet


def _is_usual(head: bytes) -> bool:
    """Whether an IP header without options or extensions stands there, and all of a TCP header behind it."""
    if len(head) >= _SHORTEST_IPV4 and head[0] == 0x45:
        start, protocol = 20, head[9]
    elif len(head) >= _SHORTEST_IPV6 and head[0] >> 4 == 6:
        start, protocol = 40, head[6]
    else:
        return False
    return protocol == PROTO_TCP and len(head) >= start + (head[start + 12] >> 4 << 2)


# RFC 9293 MUST-3
def segment(packet: Packet, header: IPHeader) -> Segment:
    """The segment in a packet that `prepared` gave; `WireError` where its checksum or its header is wrong."""
    frame = packet.head
    if packet.csum == VERIFY and not tcp.checksum_ok(frame, header):
        raise WireError(Drop.BAD_CHECKSUM, "TCP")
    seg = tcp.decode(frame, header.start, min(header.end, len(frame)))
    seg.gso_size = packet.gso_size
    missing = header.end - len(frame)
    for part in packet.parts:
        if missing <= 0:
            break  # what follows is a link's padding
        text = memoryview(part)[:missing]
        seg.parts += (text,)
        seg.size += len(text)
        missing -= len(text)
    return seg
