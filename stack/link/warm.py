"""Keeping memory that is used again and again.

A reader of super-frames allocates a few megabytes in a burst and frees them a millisecond later. glibc gives free
memory at the end of its heap back to the kernel as soon as that is more than 128 KiB, and asks for it again with the
next burst; then every page is a fault, and is cleared. Measured with bursts of 64 reads of 64 KiB: 30 us a frame, and 1
where the memory stayed, which is as good as a pool of buffers and spares the copy out of it.

glibc learns: whoever frees a block that was so large that it had pages of its own will probably do so again, and so
from then on blocks up to that size come from the heap, and twice as much may lie free at its end (mallopt(3),
M_MMAP_THRESHOLD). Allocating and freeing one such block, never touched and so never there, teaches it that once and for
all, with no call into the C library. Other allocators don't notice.
"""

from __future__ import annotations

BURST = 16 << 20
"""Octets: the block's size. A batch of 64 super-frames is 4 MiB, a receive buffer with what waits to be read about
twice 6 MiB. Up to twice `BURST` may stay with the process when it has become idle; glibc learns nothing from over 32
MiB."""

_done = False


def keep_memory_warm() -> None:
    """Have this process keep what it frees, up to 32 MiB, for what it allocates next. Once is enough."""
    global _done
    if not _done:
        _done = True
        block = bytes(BURST)  # not `bytearray`, which would write to it
        del block
