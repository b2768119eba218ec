"""SipHash-2-4 (Aumasson and Bernstein, 2012): a short keyed hash that nobody can guess without the key.

The library's own keyed hashes are other functions; this one is for values that must be the same elsewhere. It takes
about eight microseconds.
"""

from __future__ import annotations

import struct
from typing import Final

KEY_LENGTH: Final = 16
HASH_LENGTH: Final = 8

_WORD: Final = (1 << 64) - 1
_KEY = struct.Struct("<QQ")


def siphash(data: bytes, key: bytes) -> bytes:
    """The hash of `data`, 8 octets, under a key of 16."""
    low, high = _KEY.unpack(key)
    v0, v1 = low ^ 0x736F6D6570736575, high ^ 0x646F72616E646F6D
    v2, v3 = low ^ 0x6C7967656E657261, high ^ 0x7465646279746573
    padded = data + bytes(7 - len(data) % 8) + bytes((len(data) & 0xFF,))
    for (word,) in struct.iter_unpack("<Q", padded):
        v0, v1, v2, v3 = _rounds(2, v0, v1, v2, v3 ^ word)
        v0 ^= word
    v0, v1, v2, v3 = _rounds(4, v0, v1, v2 ^ 0xFF, v3)
    return (v0 ^ v1 ^ v2 ^ v3).to_bytes(HASH_LENGTH, "little")


def _rounds(count: int, v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    for _ in range(count):
        v0 = (v0 + v1) & _WORD
        v2 = (v2 + v3) & _WORD
        v1 = _rotated(v1, 13) ^ v0
        v3 = _rotated(v3, 16) ^ v2
        v0 = (_rotated(v0, 32) + v3) & _WORD
        v2 = (v2 + v1) & _WORD
        v3 = _rotated(v3, 21) ^ v0
        v1 = _rotated(v1, 17) ^ v2
        v2 = _rotated(v2, 32)
    return v0, v1, v2, v3


def _rotated(value: int, by: int) -> int:
    return (value << by | value >> (64 - by)) & _WORD
