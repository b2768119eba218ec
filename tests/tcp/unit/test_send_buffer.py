"""The send buffer against the plainest model: one bytes object."""

from __future__ import annotations

import weakref

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stack.tcp.send_buffer import BLOCK, SMALL, SendBuffer

pieces = st.one_of(
    st.binary(max_size=20),
    st.integers(0, 4).flatmap(lambda n: st.binary(min_size=SMALL - 2 + n, max_size=SMALL - 2 + n)),
    st.integers(1, 3 * BLOCK).map(lambda n: bytes(range(251)) * (n // 251 + 1)),
)


class SendBufferMachine(RuleBasedStateMachine):
    """Everything that was ever written stands in `written`; position 1 is its first octet."""

    @initialize(start=st.sampled_from([1, 1 << 33]))
    def begin(self, start: int) -> None:
        self.start = start
        self.buffer = SendBuffer(start)
        self.written = b""
        self.slices: list[tuple[int, int, tuple[bytes | memoryview, ...]]] = []

    @rule(data=pieces)
    def append(self, data: bytes) -> None:
        self.buffer.append(data)
        self.written += data

    @rule(data=st.binary(min_size=1, max_size=2 * SMALL), skip=st.integers(0, 9))
    def append_view(self, data: bytes, skip: int) -> None:
        self.buffer.append(memoryview(data)[skip:])
        self.written += data[skip:]

    @precondition(lambda self: len(self.buffer) > 0)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        start = data.draw(st.integers(self.buffer.start, self.buffer.end - 1))
        end = data.draw(st.integers(start + 1, self.buffer.end))
        parts = self.buffer.slices(start, end)
        assert b"".join(parts) == self.expected(start, end)
        self.slices.append((start, end, parts))

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        upto = data.draw(st.integers(self.start - 1, self.buffer.end + 2))
        before = self.buffer.start
        self.buffer.release(upto)
        assert self.buffer.start == min(max(upto, before), self.buffer.end)

    @invariant()
    def counts(self) -> None:
        assert self.buffer.end == self.start + len(self.written)
        assert len(self.buffer) == self.buffer.end - self.buffer.start >= 0

    @invariant()
    def what_was_handed_out_does_not_change(self) -> None:
        for start, end, parts in self.slices:
            assert b"".join(parts) == self.expected(start, end)

    def expected(self, start: int, end: int) -> bytes:
        return self.written[start - self.start : end - self.start]


TestSendBuffer = SendBufferMachine.TestCase
TestSendBuffer.settings = settings(stateful_step_count=30, deadline=None)


class Payload(bytearray):
    """Octets that a weak reference can watch."""


def test_large_writes_are_not_copied() -> None:
    buffer, data = SendBuffer(1), Payload(100_000)
    buffer.append(memoryview(data))
    (part,) = buffer.slices(5_000, 6_000)
    assert isinstance(part, memoryview)
    assert part.obj is data


def test_acknowledged_buffers_are_let_go_at_once() -> None:
    buffer = SendBuffer(1)
    held = [Payload(5_000) for _ in range(10)]
    watched = [weakref.ref(data) for data in held]
    for data in held:
        buffer.append(memoryview(data))
    del held, data
    buffer.release(1 + 5 * 5_000 + 1)
    assert [ref() is None for ref in watched] == [True] * 5 + [False] * 5


@pytest.mark.parametrize("size", [1, 10, 500])
def test_small_writes_share_blocks(size: int) -> None:
    """A hundred thousand octets in small writes are some dozen blocks, not as many objects as there were writes."""
    buffer = SendBuffer(1)
    for _ in range(100_000 // size):
        buffer.append(bytes(size))
    assert len(buffer.slices(1, buffer.end)) <= 100_000 // (BLOCK - size) + 1
