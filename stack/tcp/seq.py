"""Sequence numbers, unwrapped at the door.

On the wire a sequence number is a residue modulo 2^32, and comparing two of them needs care (RFC 9293 3.4). Inside
a connection it is a plain int counted from the initial sequence number, which is 0: the SYN, the first octet of
data is 1, and `<` means `<`. `unwrap` turns a wire number into that int, `wrap` turns it back.
"""

from __future__ import annotations

from typing import Final

MASK: Final = 0xFFFF_FFFF
HALF: Final = 0x8000_0000


def wrap(number: int, zero: int) -> int:
    """The wire number of `number`, where `zero` is the initial sequence number on the wire."""
    return (zero + number) & MASK


def unwrap(wire: int, zero: int, near: int) -> int:
    """The int that stands for `wire` and lies closest to `near`: within 2^31 of it, possibly negative."""
    distance = (wire - zero - near) & MASK
    return near + distance - (distance >= HALF) * (MASK + 1)


def precedes(a: int, b: int) -> bool:
    """Whether wire number `a` comes before `b`, for records that keep wire numbers."""
    return (a - b) & MASK >= HALF
