"""What the application has written and the peer has not acknowledged.

Keeps the very buffers that were written, without a copy: a write of 100 MB costs one reference. Octets are named by
their position in the stream of sequence numbers (the first is 1, the SYN being 0). Reading a range for a segment
gives slices of the buffers; a bisection finds the first, so that a retransmission from the middle costs no walk.

Small writes are the exception: a reference costs 200 bytes, so they are copied together into blocks. A block has its
full length from the start, because one that grows could move under the slices of it that are on their way.
"""

from __future__ import annotations

from bisect import bisect_right

from stack.wire.packet import Buffer

COMPACT = 64  #: Acknowledged buffers are let go at once, but their list is only shortened so many at a time.


SMALL = 1024  #: Octets; shorter writes are copied into a block.
BLOCK = 8192  #: Octets in a block.


class SendBuffer:
    """Buffers holding the octets [start, end)."""

    __slots__ = ("_block", "_block_used", "_chunks", "_head", "_starts", "end", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        self._chunks: list[memoryview] = []
        self._starts: list[int] = []
        self._head = 0  # chunks before this index are acknowledged and empty
        self._block: memoryview | None = None  # the last chunk is a slice of it and may be extended
        self._block_used = 0

    def __len__(self) -> int:
        return self.end - self.start

    # RFC 9293 MAY-16
    def append(self, data: Buffer) -> None:
        """Add octets at the end; the caller promises not to change them."""
        view = memoryview(data)
        if len(view) < SMALL:
            self._append_small(view)
        else:
            self._block = None
            self._add_chunk(view)

    def _add_chunk(self, view: memoryview) -> None:
        self._chunks.append(view)
        self._starts.append(self.end)
        self.end += len(view)

    def _append_small(self, view: memoryview) -> None:
        size = len(view)
        block = self._block
        if not size:
            return
        if block is None or self._block_used + size > BLOCK:
            block = self._block = memoryview(bytearray(BLOCK))
            self._block_used = 0
            self._add_chunk(block[:0])
        used = self._block_used
        block[used : used + size] = view
        self._block_used = used + size
        self._chunks[-1] = block[: used + size]
        self.end += size

    def slices(self, start: int, end: int) -> tuple[Buffer, ...]:
        """The octets [start, end), which must be held, as slices of the buffers."""
        index = bisect_right(self._starts, start) - 1
        offset = start - self._starts[index]
        chunk = self._chunks[index]
        if end - start <= len(chunk) - offset:
            return (chunk[offset : offset + end - start],)
        parts: list[Buffer] = []
        missing = end - start
        while missing > 0:
            part = self._chunks[index][offset : offset + missing]
            parts.append(part)
            missing -= len(part)
            index += 1
            offset = 0
        return tuple(parts)

    def release(self, upto: int) -> None:
        """Forget the octets before `upto`: they were acknowledged."""
        self.start = min(max(upto, self.start), self.end)
        head = self._head
        chunks = self._chunks
        while head < len(chunks) and self._starts[head] + len(chunks[head]) <= self.start:
            chunks[head] = _EMPTY  # lets the application's buffer go
            head += 1
        if head == len(chunks):
            self._block = None
        if head >= COMPACT or head == len(chunks):
            del chunks[:head], self._starts[:head]
            head = 0
        self._head = head


_EMPTY = memoryview(b"")
