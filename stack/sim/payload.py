"""Octets to send, as many as one likes, without keeping them.

A payload repeats a block of pseudo-random octets whose length is a prime number, so that no two segments of a stream
hold the same octets for a long way, and what is lost, doubled or exchanged shows. Slices are views of that block: a
gigabyte costs 64 KiB.
"""

from __future__ import annotations

import random
from functools import lru_cache

BLOCK = 65_521  #: Octets; the largest prime below 2^16.


@lru_cache(maxsize=64)
def _block(seed: int) -> memoryview:
    return memoryview(random.Random(seed).getrandbits(8 * BLOCK).to_bytes(BLOCK, "little"))


class Payload:
    """`size` octets, the same for the same seed."""

    __slots__ = ("_block", "size")

    def __init__(self, size: int, seed: int = 0) -> None:
        self.size = size
        self._block = _block(seed)

    def piece(self, start: int, most: int) -> memoryview:
        """Octets from `start` on: at most so many, at least one if there are any left."""
        offset = start % BLOCK
        return self._block[offset : offset + min(most, self.size - start, BLOCK - offset)]
