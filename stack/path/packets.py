"""What a path may change in a packet: its ECN field, its hop limit, one bit of it.

A packet is shared by its copies (a duplicate, the sender's retransmission), so none is changed in place: every function
gives a new one. Headers stand in `Packet.head`; the payload is not touched.
"""

from __future__ import annotations

from stack.wire.packet import Packet
from stack.wire.superframe import as_sent

NOT_ECT, ECT_1, ECT_0, CE = 0, 1, 2, 3  #: RFC 3168 5: the two bits of the ECN field.


def ecn(packet: Packet) -> int:
    """The ECN field; `NOT_ECT` for what is no IP packet."""
    head = packet.head
    if len(head) < 20:
        return NOT_ECT
    return head[1] & 3 if head[0] >> 4 == 4 else head[1] >> 4 & 3


def with_ce(packet: Packet) -> Packet:
    """The packet with Congestion Experienced marked, and IPv4's header checksum adjusted."""
    if packet.head[0] >> 4 == 4:
        return _with_octet(packet, 1, packet.head[1] | CE)
    return _with_octet(packet, 1, packet.head[1] | CE << 4)


def hop_limit(packet: Packet) -> int:
    """IPv4's time to live, IPv6's hop limit."""
    return packet.head[8] if packet.head[0] >> 4 == 4 else packet.head[7]


def with_hop_limit(packet: Packet, value: int) -> Packet:
    """The packet with another hop limit, and IPv4's header checksum adjusted."""
    return _with_octet(packet, 8 if packet.head[0] >> 4 == 4 else 7, value)


def may_fragment(packet: Packet) -> bool:
    """Whether a router may cut it in pieces: an IPv4 packet without DF."""
    head = packet.head
    return len(head) >= 20 and head[0] >> 4 == 4 and not head[6] & 0x40


def flipped(packet: Packet, bit: int) -> Packet:
    """The packet as a wire carries it, but for one bit, counted from the first of the first octet.

    The checksum is completed before, and is to be verified: so a receiver notices, wherever the bit is covered by one.
    """
    frame = bytearray(as_sent(packet).frame())
    frame[bit >> 3] ^= 0x80 >> (bit & 7)
    return Packet(bytes(frame))


def _with_octet(packet: Packet, at: int, value: int) -> Packet:
    head = bytearray(packet.head)
    if head[0] >> 4 == 4:
        # Adjusted and not made anew (RFC 1624): a header that was damaged on the way must stay so.
        change = head[at] - value if at & 1 else head[at] - value << 8
        checksum = (int.from_bytes(head[10:12], "big") + change) % 65535
        head[10:12] = checksum.to_bytes(2, "big")
    head[at] = value
    return Packet(bytes(head), packet.parts, packet.gso_size, packet.csum)
