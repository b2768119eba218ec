"""What the application has written and the peer has not acknowledged.

Keeps the very buffers that were written, without a copy: a write of 100 MB costs one reference. Octets are named by
their position in the stream of sequence numbers (the first is 1, the SYN being 0). Reading a range for a segment
gives slices of the buffers; a bisection finds the first, so that a retransmission from the middle costs no walk.
"""

from __future__ import annotations

from bisect import bisect_right

from stack.wire.packet import Buffer

COMPACT = 64  #: Acknowledged buffers are let go at once, but their list is only shortened so many at a time.


class SendBuffer:
    """Buffers holding the octets [start, end)."""

    __slots__ = ("_chunks", "_head", "_starts", "end", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        self._chunks: list[memoryview] = []
        self._starts: list[int] = []
        self._head = 0  # chunks before this index are acknowledged and empty

    def __len__(self) -> int:
        return self.end - self.start

    def append(self, data: Buffer) -> None:
        """Add octets at the end; the caller promises not to change them."""
        view = memoryview(data)
        if len(view):
            self._chunks.append(view)
            self._starts.append(self.end)
            self.end += len(view)

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
        if head >= COMPACT or head == len(chunks):
            del chunks[:head], self._starts[:head]
            head = 0
        self._head = head


_EMPTY = memoryview(b"")
