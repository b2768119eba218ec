"""Keeping received octets without keeping much else.

A payload arrives as a view into its frame. Keeping the view costs no copy, but an object of 184 bytes and the frame
behind it; a peer that sends one octet at a time could make us hold hundreds of times what it sent. So small payloads
are copied together into blocks, and one that is a small part of a large frame is copied out of it.
"""

from __future__ import annotations

Held = bytes | bytearray | memoryview
"""What the queues of received octets consist of."""

SMALL = 1024  #: Octets; below that a copy is cheaper than an object of its own.
BLOCK = 8192  #: Octets; small payloads go into one block until it is that long.


def keep(chunks: list[Held], data: memoryview) -> None:
    """Add received octets to the end of a queue."""
    size = len(data)
    if size < SMALL:
        last = chunks[-1] if chunks else None
        if isinstance(last, bytearray) and len(last) < BLOCK:
            last += data
        else:
            chunks.append(bytearray(data))
        return
    frame = data.obj
    if isinstance(frame, bytes) and 2 * size < len(frame):
        data = memoryview(bytes(data))
    chunks.append(data)


def join(chunks: list[Held], more: list[Held]) -> None:
    """Add a queue to the end of another; blocks that meet become one where both are short."""
    if chunks and more:
        last, first = chunks[-1], more[0]
        if isinstance(last, bytearray) and isinstance(first, bytearray) and len(last) + len(first) <= BLOCK:
            last += first
            chunks.extend(more[1:])
            return
    chunks.extend(more)
