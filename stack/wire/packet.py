"""What crosses the border between a host and a link.

A `Packet` is an IP packet in pieces: the headers in one buffer, the payload in the buffers where it already lies,
so that a link can hand all of them to one `writev`. With it goes the offload note: who computes the checksum, and
into how many wire segments a super-frame stands for.
"""

from __future__ import annotations

from typing import Final

Buffer = bytes | memoryview

VERIFY: Final = 0  #: The checksum is complete and nobody has checked it.
TRUSTED: Final = 1  #: Somebody whom we trust (the device) has checked it, or it never crossed a wire.
PARTIAL: Final = 2  #: The checksum field holds the pseudo-header's sum alone; whoever puts it on a wire completes it.


class Packet:
    """An IP packet: `head` (headers; a received one may hold the whole frame there), then `parts` of payload.

    `gso_size` is the payload bytes in each wire segment of a super-frame, 0 for an ordinary packet.
    """

    __slots__ = ("csum", "gso_size", "head", "parts")

    def __init__(self, head: bytes, parts: tuple[Buffer, ...] = (), gso_size: int = 0, csum: int = VERIFY) -> None:
        self.head = head
        self.parts = parts
        self.gso_size = gso_size
        self.csum = csum

    def __len__(self) -> int:
        size = len(self.head)
        for part in self.parts:
            size += len(part)
        return size

    def frame(self) -> bytes:
        """The packet as one run of bytes; no copy when it already is one."""
        return b"".join((self.head, *self.parts)) if self.parts else self.head

    def __repr__(self) -> str:
        return f"Packet({len(self)} bytes, gso_size={self.gso_size}, csum={self.csum})"
