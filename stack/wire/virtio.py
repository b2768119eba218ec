"""The virtio-net header: how a device and its user tell each other what is left to do (VIRTIO 1.2, 5.1.6).

A TUN device that was asked for it puts these ten octets before each packet, in the machine's byte order:

    0       1          2         4          6            8             10
    | flags | gso_type | hdr_len | gso_size | csum_start | csum_offset | the packet ...

`flags` says that the checksum at `csum_start` + `csum_offset` is partial and nobody has ever seen the packet on a wire
(NEEDS_CSUM), or that it is full and was checked (DATA_VALID). `gso_type` says that the packet is a super-frame: one
header and the payload of many wire packets, `gso_size` octets in each. In this project that is a `Packet`'s offload
note.

What comes from a device is checked here and believed only where it fits the packet: `hdr_len` is not even looked at,
lengths are the packet's own, and a note that contradicts the packet gets it refused. A checksum counts as vouched for
only if the note points at the one that belongs to the packet's TCP or UDP header; with another one the host looks for
itself.
"""

from __future__ import annotations

import struct
from typing import Final

from stack.wire import ipv4, ipv6, tcp
from stack.wire.drop import Drop, WireError
from stack.wire.ipheader import PROTO_TCP, PROTO_UDP
from stack.wire.offload import UDP_CHECKSUM_OFFSET, upper_layer
from stack.wire.packet import PARTIAL, TRUSTED, VERIFY, Packet
from stack.wire.segment import CWR

LENGTH: Final = 10  #: Octets of the header; devices may be set to have longer ones, whose rest means nothing to us.

# Bits of `flags`.
NEEDS_CSUM: Final = 1
DATA_VALID: Final = 2
# Values of `gso_type`; others (UDP) nobody asked for.
GSO_NONE: Final = 0
GSO_TCPV4: Final = 1
GSO_TCPV6: Final = 4
GSO_ECN: Final = 0x80  #: A bit of `gso_type`: CWR is set, and is to be in the first wire packet alone.

MAX_PAYLOAD = 65_535 - ipv4.HEADER_LENGTH - tcp.HEADER_LENGTH - tcp.MAX_OPTIONS
"""TCP payload of the largest super-frame with any options: 16 bits hold IPv4's length with its header. IPv6's counts
what follows its header, so more would fit there (20 octets); it is not worth a second figure."""

COPIED: Final = 4096
"""Octets; a packet that is longer is not copied to get rid of the header, but cut in two: head and payload."""

_HEADER = struct.Struct("=BBHHHH")
_NOTHING = bytes(LENGTH)
_PLAIN_TCP4 = _HEADER.pack(NEEDS_CSUM, GSO_NONE, 0, 0, ipv4.HEADER_LENGTH, tcp.CHECKSUM_OFFSET)
_PLAIN_TCP6 = _HEADER.pack(NEEDS_CSUM, GSO_NONE, 0, 0, ipv6.HEADER_LENGTH, tcp.CHECKSUM_OFFSET)
# Where these fields stand in a TCP header.
_FLAGS: Final = 13
_DATA_OFFSET: Final = 12


def decode(frame: bytes, size: int = LENGTH) -> Packet:
    """What a device gave: a header of `size` octets (at least 10) and a packet.

    The packet's `csum` is PARTIAL for NEEDS_CSUM, TRUSTED for DATA_VALID, else VERIFY. A long one has its payload as a
    view of `frame` in `parts`, and its headers in `head`. Raises `WireError` where the header contradicts the packet or
    itself; what is wrong with the packet alone is left for others to find.
    """
    length = len(frame) - size
    if length <= 0:
        raise WireError(Drop.TRUNCATED, "no packet behind the virtio-net header")
    flags, gso_type, _, gso_size, start, offset = _HEADER.unpack_from(frame)
    csum = VERIFY
    if flags & NEEDS_CSUM:
        if start + offset + 2 > length:
            raise WireError(Drop.BAD_OFFLOAD, f"a checksum at {start} + {offset} in {length} octets")
        if _is_checksum(frame, size, start, offset):
            csum = PARTIAL
    elif flags & DATA_VALID:
        csum = TRUSTED
    if not gso_type:
        if length <= COPIED:
            return Packet(frame[size:], (), 0, csum)
        gso_size = 0
    elif not gso_size or gso_type & ~GSO_ECN != (GSO_TCPV4 if frame[size] >> 4 == 4 else GSO_TCPV6):
        raise WireError(Drop.BAD_OFFLOAD, f"GSO type {gso_type}, size {gso_size} in an IPv{frame[size] >> 4} packet")
    data = _payload(frame, size, start if csum == PARTIAL and offset == tcp.CHECKSUM_OFFSET else 0)
    if not data:
        if gso_type:
            raise WireError(Drop.BAD_OFFLOAD, "a super-frame that is not a whole TCP segment")
        return Packet(frame[size:], (), 0, csum)
    if len(frame) - data <= gso_size:
        gso_size = 0  # one wire packet, and so no super-frame
    return Packet(frame[size:data], (memoryview(frame)[data:],), gso_size, csum)


def encode(packet: Packet) -> bytes:
    """The header to hand a packet to a device with; ten octets.

    A super-frame is announced as one only where it is TCP and stands for more than one wire packet.
    """
    head = packet.head
    gso_size = packet.gso_size
    # Nearly all that a host sends: TCP right behind an IP header without options.
    if len(head) >= 40 and head[0] == 0x45 and head[9] == PROTO_TCP:
        if not gso_size and packet.csum == PARTIAL:
            return _PLAIN_TCP4
        start, offset = ipv4.HEADER_LENGTH, tcp.CHECKSUM_OFFSET
    elif len(head) >= 60 and head[0] >> 4 == 6 and head[6] == PROTO_TCP:
        if not gso_size and packet.csum == PARTIAL:
            return _PLAIN_TCP6
        start, offset = ipv6.HEADER_LENGTH, tcp.CHECKSUM_OFFSET
    else:
        found = upper_layer(head)
        if found is None:
            return _NOTHING
        start = found[1]
        offset = tcp.CHECKSUM_OFFSET if found[0] == PROTO_TCP else UDP_CHECKSUM_OFFSET
        if start + offset + 2 > len(head):
            return _NOTHING
    gso_type = header = 0
    if gso_size and offset == tcp.CHECKSUM_OFFSET:
        header = start + (head[start + _DATA_OFFSET] >> 4 << 2)
        if len(packet) - header > gso_size:
            gso_type = (GSO_TCPV4 if head[0] >> 4 == 4 else GSO_TCPV6) | (GSO_ECN if head[start + _FLAGS] & CWR else 0)
    if not gso_type:
        header = gso_size = 0
    if packet.csum != PARTIAL:
        return _HEADER.pack(0, gso_type, header, gso_size, 0, 0)
    return _HEADER.pack(NEEDS_CSUM, gso_type, header, gso_size, start, offset)


def _is_checksum(frame: bytes, size: int, start: int, offset: int) -> bool:
    """Whether the packet's TCP or UDP header starts at `start`, and has its checksum at `offset`."""
    first = frame[size]
    if first == 0x45 and start == ipv4.HEADER_LENGTH:
        protocol = frame[size + 9]
    elif first >> 4 == 6 and start == ipv6.HEADER_LENGTH:
        protocol = frame[size + 6]
    else:
        found = upper_layer(frame[size : size + start])
        if found is None or found[1] != start:
            return False
        protocol = found[0]
    if protocol == PROTO_TCP:
        return offset == tcp.CHECKSUM_OFFSET
    return protocol == PROTO_UDP and offset == UDP_CHECKSUM_OFFSET


def _payload(frame: bytes, size: int, start: int) -> int:
    """Where in `frame` the TCP payload begins that ends with it; 0 where there is none.

    `start` is where TCP's header begins in the packet, 0 where that is not known.
    """
    length = len(frame) - size
    if not start:
        found = upper_layer(frame[size : size + ipv6.HEADER_LENGTH + ipv6.MAX_EXTENSION_OCTETS])
        if found is None or found[0] != PROTO_TCP:
            return 0
        start = found[1]
    if start + tcp.HEADER_LENGTH > length:
        return 0
    if frame[size] >> 4 == 4:
        end = frame[size + 2] << 8 | frame[size + 3]
    else:
        end = ipv6.HEADER_LENGTH + (frame[size + 4] << 8 | frame[size + 5])
    header = frame[size + start + _DATA_OFFSET] >> 4 << 2
    if end != length or header < tcp.HEADER_LENGTH or start + header >= length:
        return 0
    return size + start + header
