"""Reassembly against a model that keeps each octet in a dict, and the bounds on what a peer can make it hold."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stack.tcp.reassembly import MAX_BLOCKS, MAX_RANGES, Reassembly

SPACE = 120


class ReassemblyMachine(RuleBasedStateMachine):
    """`octets` maps numbers to octets; what stands there first stays. `recent` orders the numbers by last touch."""

    @initialize()
    def begin(self) -> None:
        self.queue = Reassembly()
        self.octets: dict[int, int] = {}
        self.touched: dict[int, int] = {}
        self.time = 0
        self.taken = 0

    @rule(start=st.integers(1, SPACE), data=st.binary(min_size=1, max_size=30))
    def insert(self, start: int, data: bytes) -> None:
        start += self.taken
        self.time += 1
        assert self.queue.insert(start, memoryview(data))
        for number, octet in enumerate(data, start):
            self.octets.setdefault(number, octet)
        for left, right in self.ranges():
            if left <= start <= right:
                self.touched.update(dict.fromkeys(range(left, right), self.time))

    @rule(skip=st.integers(0, 40))
    def take(self, skip: int) -> None:
        upto = self.taken + skip
        end = upto
        expected = bytearray()
        while end in self.octets:
            expected.append(self.octets[end])
            end += 1
        found, chunks = self.queue.take(upto)
        assert (found, b"".join(chunks)) == (end, bytes(expected))
        self.taken = end
        for number in [number for number in self.octets if number < end]:
            del self.octets[number], self.touched[number]
        # A range that began before `upto` and reached it was taken whole; one that ended before it, too.

    @invariant()
    def size(self) -> None:
        assert self.queue.size == len(self.octets)
        assert len(self.queue) == len(self.ranges())

    @invariant()
    def ends(self) -> None:
        if self.octets:
            assert self.queue.start == min(self.octets)
        assert self.queue.end == (max(self.octets) + 1 if self.octets else 0)

    @invariant()
    def blocks(self) -> None:
        """Most recently touched first (RFC 2018 4)."""
        ranges = sorted(self.ranges(), key=lambda block: -self.touched[block[0]])
        assert list(self.queue.blocks()) == ranges[:MAX_BLOCKS]

    def ranges(self) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        for number in sorted(self.octets):
            if found and found[-1][1] == number:
                found[-1] = (found[-1][0], number + 1)
            else:
                found.append((number, number + 1))
        return found


TestReassembly = ReassemblyMachine.TestCase
TestReassembly.settings = settings(stateful_step_count=40, max_examples=150, deadline=None)


def test_first_octet_stays_wherever_the_overlap_is() -> None:
    queue = Reassembly()
    queue.insert(10, memoryview(b"BBBB"))
    queue.insert(20, memoryview(b"CC"))
    queue.insert(8, memoryview(b"a" * 20))
    upto, chunks = queue.take(8)
    assert (upto, b"".join(chunks)) == (28, b"aaBBBBaaaaaaCCaaaaaa")


def test_number_of_ranges_is_bounded() -> None:
    queue = Reassembly()
    assert all(queue.insert(2 * index, memoryview(b"x")) for index in range(1, MAX_RANGES + 1))
    assert not queue.insert(2 * MAX_RANGES + 2, memoryview(b"x"))
    assert len(queue) == queue.size == MAX_RANGES
    assert queue.insert(3, memoryview(b"y"))  # joins two
    assert queue.insert(2 * MAX_RANGES + 2, memoryview(b"x"))


def numbers_of(order: str) -> list[int]:
    numbers = list(range(2, 20_002))
    if order == "odd octets, then even ones":
        blocks = [numbers[at : at + 1000] for at in range(0, len(numbers), 1000)]
        return [number for block in blocks for number in block[::2] + block[1::2]]
    return numbers[::-1] if order == "backwards" else numbers


@pytest.mark.parametrize("size", [1, 1460])
@pytest.mark.parametrize("order", ["forwards", "odd octets, then even ones", "backwards"])
def test_single_octets_cost_little_more_than_themselves(order: str, size: int) -> None:
    """Each frame brings few new octets: memory is at most twice what is held, and something for each range."""
    queue = Reassembly()
    tracemalloc.start()
    try:
        for number in numbers_of(order):
            queue.insert(number, memoryview(bytes(40 + size))[40:])
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held <= 2 * queue.size + 300 * MAX_RANGES, f"{held} octets of memory for {queue.size}"


def test_all_orders_of_segments_give_the_same_stream() -> None:
    text = bytes(range(200))
    rnd = random.Random("orders")
    for _ in range(200):
        cuts = sorted(rnd.sample(range(1, 200), 6))
        pieces = [(a, text[a:b]) for a, b in zip([0, *cuts], [*cuts, 200], strict=True)]
        pieces += [(a, text[a : a + 9]) for a in rnd.sample(range(1, 190), 4)]
        rnd.shuffle(pieces)
        queue, upto, got = Reassembly(), 0, b""
        for start, piece in pieces:
            queue.insert(start, memoryview(piece))
            upto, chunks = queue.take(upto)
            got += b"".join(chunks)
        assert got == text
        assert len(queue) == queue.size == 0
        assert queue.blocks() == ()
