"""The Internet checksum (RFC 1071), as arithmetic on big integers.

The ones-complement sum of 16-bit words is the value of the whole buffer, read as one number, modulo 2^16 - 1:
2^16 is 1 there, so every word counts the same wherever it stands. Python turns a buffer into a number and
divides it at C speed (2 us for 1460 bytes), so no loop over words is needed.

One thing needs care. Modulo 65535 the values 0x0000 and 0xffff are the same, but a ones-complement sum tells
them apart: it is 0x0000 only where every bit summed is zero, and everything else that is divisible by 65535
gives 0xffff. `fold` keeps to that. A TCP checksum therefore never comes out as 0xffff (its pseudo-header is
never all zero), and a valid packet always sums to 0xffff, whichever of the two a sender wrote in the field.
"""

from __future__ import annotations

from collections.abc import Iterable

from stack.wire.packet import Buffer


def fold(value: int) -> int:
    """The 16-bit ones-complement form of a non-negative number of any size; 0 only for 0."""
    return value % 65535 or (65535 if value else 0)


def partial_sum(data: Buffer, start: int = 0) -> int:
    """`start` plus the ones-complement sum of `data`, folded and not complemented.

    An odd last octet counts as the high half of a word, as if a zero octet followed.
    """
    value = int.from_bytes(data, "big")
    if len(data) & 1:
        value <<= 8
    return fold(start + value)


def sum_buffers(buffers: Iterable[Buffer], start: int = 0) -> int:
    """`partial_sum` of the buffers laid end to end, without joining them; odd lengths may stand anywhere."""
    # Whether a buffer's last octet is the high or the low half of its word depends only on where it ends.
    end = 0
    for buffer in buffers:
        end += len(buffer)
        value = int.from_bytes(buffer, "big")
        start += value << 8 if end & 1 else value
    return fold(start)


def checksum(data: Buffer, start: int = 0) -> int:
    """What the checksum field holds: the complement of `partial_sum`, the field itself counted as zero."""
    return partial_sum(data, start) ^ 0xFFFF


def address_sum(src: bytes, dst: bytes) -> int:
    """The addresses' share of a pseudo-header, folded; constant for a connection."""
    return fold(int.from_bytes(src, "big") + int.from_bytes(dst, "big"))


def pseudo_header_sum(src: bytes, dst: bytes, protocol: int, length: int) -> int:
    """The folded sum of the pseudo-header of RFC 9293 3.1 (IPv4) or RFC 8200 8.1 (IPv6).

    `length` is the octets of the upper layer's header and data.
    """
    return fold(int.from_bytes(src, "big") + int.from_bytes(dst, "big") + protocol + length)
