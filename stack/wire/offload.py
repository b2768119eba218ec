"""What a link does for a device without offload, and a capture for its reader.

A host leaves the checksum of an outgoing segment partial: the field holds the sum of the pseudo-header.
Summed with everything behind it and complemented, that is the checksum; so completing needs no addresses,
only the place where the upper layer starts.
"""

from __future__ import annotations

from stack.wire import ipv4, ipv6, tcp
from stack.wire.checksum import sum_buffers
from stack.wire.drop import WireError
from stack.wire.ipheader import PROTO_TCP, PROTO_UDP, IPHeader
from stack.wire.packet import PARTIAL, VERIFY, Packet

UDP_CHECKSUM_OFFSET = 6  #: Where the checksum field stands in a UDP header.


# RFC 9293 MUST-2
def complete(packet: Packet) -> Packet:
    """A packet whose checksum is full; the same object unless it was `PARTIAL`.

    The payload is not copied. A packet in which no TCP or UDP checksum can be found is returned as it is: it
    may come from a device, and nothing from there raises.
    """
    if packet.csum != PARTIAL:
        return packet
    head = packet.head
    found = upper_layer(head)
    if found is None:
        return packet
    protocol, start, end = found
    field = start + (tcp.CHECKSUM_OFFSET if protocol == PROTO_TCP else UDP_CHECKSUM_OFFSET)
    if field + 2 > min(end, len(head)):
        return packet
    # What lies in `head` past the packet's own length is a link's padding, and not part of the sum.
    checksum = sum_buffers((head[start:end], *packet.parts)) ^ 0xFFFF
    if not checksum and protocol == PROTO_UDP:
        checksum = 0xFFFF  # RFC 768: zero would say that there is none
    head = head[:field] + checksum.to_bytes(2, "big") + head[field + 2 :]
    return Packet(head, packet.parts, packet.gso_size, VERIFY)


def upper_layer(head: bytes) -> tuple[int, int, int] | None:
    """Protocol, start and end of the TCP or UDP header and data, going only by what `head` holds."""
    version = head[0] >> 4 if head else 0
    if version == 4 and len(head) >= ipv4.HEADER_LENGTH:
        protocol, start, end = head[9], (head[0] & 15) << 2, int.from_bytes(head[2:4], "big")
    elif version == 6 and len(head) >= ipv6.HEADER_LENGTH:
        end = ipv6.HEADER_LENGTH + int.from_bytes(head[4:6], "big")
        header = IPHeader(6, head[8:24], head[24:40], head[6], head[7], 0, ipv6.HEADER_LENGTH, len(head))
        try:
            ipv6.walk_extensions(head, header)
        except WireError:
            return None
        protocol, start = header.protocol, header.start
    else:
        return None
    return (protocol, start, end) if protocol in (PROTO_TCP, PROTO_UDP) else None
