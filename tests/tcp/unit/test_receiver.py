"""The receiving half alone: the window, when it moves and grows, what is acknowledged when, and what is held."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stack.tcp.config import TcpOptions
from stack.tcp.receiver import MAX_DUPLICATE_ACKS, QUICK_ACKS, Receiver
from stack.wire.units import MS, SECOND, Time

MSS = 1000
RTT = 10 * MS


def receiver(window: int = 10_000, limit: int | None = None, shift: int = 0, sack: bool = True) -> Receiver:
    """As after a handshake: the peer's SYN was 0, and the window is offered."""
    rcv = Receiver(TcpOptions(receive_window=window, receive_buffer=window if limit is None else limit), MSS)
    rcv.shift, rcv.sack = shift, sack
    rcv.nxt = 1
    rcv.edge = 1 + min(window, 0xFFFF)
    return rcv


def text(rcv: Receiver, seq: int, size: int, now: int = RTT) -> bool:
    """Octets as a frame brings them, with the number of each as its value."""
    frame = bytes(54) + bytes(number & 0xFF for number in range(seq, seq + size))
    return rcv.on_text(seq, memoryview(frame)[54:], now)


def numbers(start: int, end: int) -> bytes:
    return bytes(number & 0xFF for number in range(start, end))


class ReceiverMachine(RuleBasedStateMachine):
    """Text within the window in any order, reads of any size, ACKs now and then; octets say their own number."""

    @initialize(window=st.integers(2, 5000), shift=st.integers(0, 6), growth=st.integers(1, 50))
    def begin(self, window: int, shift: int, growth: int) -> None:
        self.rcv = receiver(window, limit=window * growth, shift=shift)
        self.rcv.limit = max(window, 2 << shift)
        self.rcv.max_limit = max(self.rcv.max_limit, self.rcv.limit)
        self.now = RTT
        self.read = 1
        self.edge = self.rcv.edge
        self.offered = 0  # the right edge as the peer knows it

    @precondition(lambda self: self.rcv.wnd > 0)
    @rule(data=st.data(), size=st.integers(1, 2000))
    def arrive(self, data: st.DataObject, size: int) -> None:
        seq = data.draw(st.integers(self.rcv.nxt, self.rcv.edge - 1))
        self.now += 1
        assert text(self.rcv, seq, min(size, self.rcv.edge - seq), self.now)

    @rule()
    def arrive_in_order(self) -> None:
        size = min(self.rcv.wnd, 1000)
        if size:
            assert text(self.rcv, self.rcv.nxt, size, self.now)

    @rule(limit=st.integers(1, 6000), after=st.sampled_from([0, RTT]))
    def application_reads(self, limit: int, after: int) -> None:
        self.now += after
        expected = min(limit, self.rcv.buffered)
        data = self.rcv.read(limit, self.now, RTT)
        assert data == numbers(self.read, self.read + expected)
        self.read += expected

    @rule()
    def acknowledge(self) -> None:
        field = self.rcv.offer()
        assert 0 <= field <= 0xFFFF
        edge = self.rcv.nxt + (field << self.rcv.shift)
        assert edge <= self.rcv.edge
        # RFC 7323 2.4: only what rounding costs may be taken back.
        assert edge > self.offered - (1 << self.rcv.shift)
        self.offered = max(self.offered, edge)
        self.rcv.on_ack_sent()
        assert not self.rcv.window_update_due(), "an update is due right after one: ACKs without end"

    @invariant()
    def window_never_moves_left(self) -> None:
        assert self.rcv.edge >= self.edge
        self.edge = self.rcv.edge

    @invariant()
    def what_was_offered_has_room(self) -> None:
        rcv = self.rcv
        assert rcv.buffered == rcv.nxt - self.read
        assert rcv.edge - self.read <= rcv.limit <= rcv.max_limit
        assert rcv.wnd >= 0

    @invariant()
    def held_within_the_window(self) -> None:
        if self.rcv.reassembly is not None:
            assert self.rcv.nxt < self.rcv.reassembly.start < self.rcv.reassembly.end <= self.rcv.edge


TestReceiver = ReceiverMachine.TestCase
TestReceiver.settings = settings(stateful_step_count=40, max_examples=150, deadline=None)


# Silly windows (RFC 9293 3.8.6.2.2).


def test_small_reads_move_no_edge() -> None:
    """MUST-39: the edge moves by a segment or half the buffer, or not at all."""
    rcv = receiver(window=10_000)
    text(rcv, 1, 10_000)
    assert rcv.offer() == 0
    for read in range(100, 1000, 100):
        rcv.read(100, RTT, RTT)
        assert rcv.offer() == 0, read
    rcv.read(100, RTT, RTT)
    assert rcv.offer() == 1000


def test_half_of_a_tiny_buffer_is_enough() -> None:
    rcv = receiver(window=100)
    text(rcv, 1, 100)
    assert rcv.offer() == 0
    rcv.read(49, RTT, RTT)
    assert rcv.offer() == 0
    rcv.read(1, RTT, RTT)
    assert rcv.window_update_due()
    assert rcv.offer() == 50


def test_update_is_due_when_the_peer_knows_of_half_at_most() -> None:
    rcv = receiver(window=10_000)
    text(rcv, 1, 6_000)
    rcv.offer()
    rcv.on_ack_sent()
    assert not rcv.window_update_due()
    rcv.read(3_999, RTT, RTT)  # 7,999 free, 4,000 offered
    assert not rcv.window_update_due()
    rcv.read(1, RTT, RTT)
    assert rcv.window_update_due()


@pytest.mark.parametrize("window", [1, 2, 3, 65_535, 65_536, 200_000, 1 << 20])
@pytest.mark.parametrize("shift", [0, 3, 7])
def test_one_update_satisfies(window: int, shift: int) -> None:
    """Whatever is free and whatever the scale can say: once the peer was told, nothing more is due."""
    for filled in {0, 1, window // 2, min(window, 0xFFFF)}:
        rcv = receiver(window=window, shift=shift)
        if filled:
            text(rcv, 1, filled)
        for read in (0, filled):
            if read:
                rcv.read(read, RTT, RTT)
            rcv.offer()
            rcv.on_ack_sent()
            assert not rcv.window_update_due(), (filled, read)


# Right-sizing.


def fill(rcv: Receiver, seq: int, now: Time) -> int:
    """The peer uses its window, in full segments from `seq` on; where the next one begins."""
    while rcv.wnd >= MSS:
        text(rcv, seq, MSS, now)
        seq += MSS
    return seq


def transfer(rcv: Receiver, total: int, *, read: bool) -> None:
    """A sender that fills the window each round trip, as slow start soon does."""
    now = RTT
    seq = 1
    while seq < total and rcv.wnd:
        for _ in range(rcv.wnd // MSS or 1):
            size = min(MSS, rcv.wnd)
            text(rcv, seq, size, now)
            seq += size
            if read:
                rcv.read(1 << 30, now, RTT)
        now += RTT
        rcv.offer()
        rcv.on_ack_sent()


def test_buffer_grows_to_megabytes_with_a_fast_reader() -> None:
    rcv = receiver(window=64 << 10, limit=6 << 20, shift=7)
    transfer(rcv, 30_000_000, read=True)
    assert rcv.limit == 6 << 20
    assert rcv.wnd >= 5 << 20


def test_buffer_does_not_grow_without_a_reader() -> None:
    rcv = receiver(window=64 << 10, limit=6 << 20, shift=7)
    transfer(rcv, 30_000_000, read=False)
    assert rcv.limit == 64 << 10
    assert rcv.buffered <= rcv.limit


def test_buffer_does_not_grow_with_a_slow_reader() -> None:
    """A kilobyte a round trip asks for no megabytes, although each of them is read at once."""
    rcv = receiver(window=64 << 10, limit=6 << 20, shift=7)
    now = RTT
    for index in range(1000):
        text(rcv, 1 + index * MSS, MSS, now)
        rcv.read(1 << 30, now, RTT)
        rcv.offer()
        now += RTT
    assert rcv.limit == 64 << 10


def test_what_a_reader_took_while_it_lagged_is_not_one_round_trip() -> None:
    """It is slow for thirty seconds; then the peer pauses, and for once nothing waits."""
    rcv = receiver(window=64 << 10, limit=6 << 20, shift=7)
    now, seq = RTT, 1
    text(rcv, seq, 60 * MSS, now)
    seq += 60 * MSS
    for _ in range(3000):
        text(rcv, seq, MSS, now)
        seq += MSS
        rcv.read(MSS, now, RTT)
        rcv.offer()
        now += RTT
    rcv.read(1 << 30, now, RTT)
    assert not rcv.buffered
    assert rcv.limit == 64 << 10


def test_a_reader_that_seldom_comes_and_takes_all_gets_a_larger_buffer() -> None:
    """Twenty round trips between two reads, in which the window closes: it is the window that is in the way."""
    rcv = receiver(window=64 << 10, limit=6 << 20, shift=7)
    now, seq = RTT, 1
    for _ in range(20):
        seq = fill(rcv, seq, now)
        now += 20 * RTT
        rcv.read(1 << 30, now, RTT)
        rcv.offer()
    assert rcv.limit == 6 << 20


@pytest.mark.parametrize(("reads", "grows"), [(40 << 10, False), (8 << 10, True)])
def test_buffer_does_not_grow_for_a_reader_that_lags(reads: int, grows: bool) -> None:
    """One read a round trip takes a part of what has come, and the rest waits; small reads that take all."""
    rcv = receiver(window=64 << 10, limit=6 << 20, shift=7)
    now, seq = RTT, 1
    for _ in range(100):
        seq = fill(rcv, seq, now)
        rcv.read(reads, now, RTT)
        while grows and rcv.buffered:
            rcv.read(reads, now, RTT)
        rcv.offer()
        now += RTT
    assert (rcv.limit > 64 << 10) == grows


# When to acknowledge.


def test_quick_acks_then_every_second_segment() -> None:
    rcv = receiver(window=60_000)
    asked = []
    for index in range(QUICK_ACKS + 6):
        text(rcv, 1 + index * MSS, MSS)
        asked.append(rcv.ack_now)
        if rcv.ack_now:
            rcv.on_ack_sent()
    assert asked == [True] * QUICK_ACKS + [False, True, False, True, False, True]


def test_small_segments_may_wait() -> None:
    rcv = receiver()
    rcv.quick = 0
    for index in range(10):
        text(rcv, 1 + index, 1)
        assert (rcv.ack_now, rcv.ack_soon) == (False, True)


def test_out_of_order_arrivals_get_an_ack_each_with_their_own_blocks() -> None:
    rcv = receiver()
    rcv.quick = 0
    text(rcv, 2001, 1000)
    text(rcv, 4001, 1000)
    text(rcv, 6001, 1000)
    assert rcv.duplicate_acks == [
        ((2001, 3001),),
        ((4001, 5001), (2001, 3001)),
        ((6001, 7001), (4001, 5001), (2001, 3001)),
    ]
    assert rcv.ack_now


def test_filling_a_gap_asks_for_an_ack_at_once() -> None:
    rcv = receiver()
    rcv.quick = 0
    text(rcv, 2001, 1000)
    rcv.duplicate_acks.clear()
    rcv.on_ack_sent()
    text(rcv, 1, 500)  # a part of it only
    assert rcv.ack_now
    rcv.on_ack_sent()
    text(rcv, 501, 1500)
    assert rcv.ack_now
    assert (rcv.nxt, rcv.reassembly) == (3001, None)


def test_acks_owed_are_bounded() -> None:
    rcv = receiver(window=60_000)
    for index in range(1000):
        text(rcv, 3 + 2 * index, 1)
    assert len(rcv.duplicate_acks) == MAX_DUPLICATE_ACKS


@pytest.mark.parametrize(("sack", "segments", "owed"), [(False, 1, 1), (False, 2, 2), (False, 10, 3), (True, 10, 1)])
def test_a_super_frame_out_of_order_is_as_many_segments(sack: bool, segments: int, owed: int) -> None:
    """Up to three, which start a fast retransmit (RFC 5681 3.2); with SACK the blocks tell."""
    rcv = receiver(window=60_000, sack=sack)
    rcv.on_text(2001, memoryview(bytes(segments * 1000)), 0, segments)
    assert len(rcv.duplicate_acks) == owed


def test_no_blocks_without_sack() -> None:
    rcv = receiver(sack=False)
    text(rcv, 2001, 1000)
    assert rcv.blocks() == ()
    assert rcv.duplicate_acks == [()]


# The end of the stream.


def test_fin_in_order() -> None:
    rcv = receiver()
    text(rcv, 1, 10)
    assert rcv.on_fin(11)
    assert rcv.take_fin()
    assert rcv.fin_received
    assert rcv.nxt == 12


def test_fin_before_the_text_waits_for_it() -> None:
    rcv = receiver()
    assert rcv.on_fin(11)
    assert not rcv.take_fin()
    text(rcv, 1, 10)
    assert rcv.take_fin()


def test_first_fin_decides() -> None:
    rcv = receiver()
    assert rcv.on_fin(11)
    assert not rcv.on_fin(21)
    assert not rcv.on_fin(6)
    text(rcv, 1, 10)
    assert rcv.take_fin()


@pytest.mark.parametrize("held", [(1, 10), (5, 20)])
def test_fin_below_text_that_is_here_is_refused(held: tuple[int, int]) -> None:
    rcv = receiver()
    text(rcv, *held)
    assert not rcv.on_fin(7)
    assert not rcv.fin_received


def test_fin_through_a_closed_window() -> None:
    """It takes a number but no room: the window's edge makes way for it."""
    rcv = receiver(window=10)
    text(rcv, 1, 10)
    assert rcv.wnd == 0
    assert rcv.on_fin(11)
    assert rcv.take_fin()
    assert rcv.wnd == 0


# What is held.


@pytest.mark.parametrize("frame", [41, 1500, 65_576])
def test_single_octets_keep_no_frames(frame: int) -> None:
    """SYS-03: memory is at most twice the payload, and a constant."""
    rcv = receiver(window=60_000)
    tracemalloc.start()
    try:
        for number in range(1, 20_001):
            rcv.on_text(number, memoryview(bytes(frame))[-1:], RTT)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert rcv.buffered == 20_000
    assert held <= 2 * 20_000 + 20_000


def test_discard_frees_everything() -> None:
    rcv = receiver(window=60_000)
    tracemalloc.start()
    try:
        text(rcv, 1, 20_000)
        text(rcv, 30_001, 20_000)
        rcv.discard()
        rcv.duplicate_acks.clear()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert rcv.buffered == 0
    assert held < 5_000


def test_round_trip_is_learned_anew_when_a_queue_fills() -> None:
    """A receiver that went on believing in the handshake's round trip would hold back a sender that meets a queue."""
    receiver = Receiver(TcpOptions(), 1460)
    receiver.on_echo(-1)  # what can't be says nothing
    assert receiver.rtt == -1
    receiver.on_echo(20 * MS)
    assert receiver.rtt == 20 * MS
    for _ in range(50):
        receiver.on_echo(80 * MS)
    assert 79 * MS <= receiver.rtt <= 80 * MS


def test_round_trip_without_timestamps_is_the_time_of_a_window() -> None:
    receiver = Receiver(TcpOptions(), 1460)
    receiver.nxt, receiver.edge = 1, 1001
    receiver.on_window(SECOND)
    assert receiver.rtt == -1
    receiver.nxt, receiver.edge = 500, 1500
    receiver.on_window(SECOND + 10 * MS)  # half of it
    assert receiver.rtt == -1
    receiver.nxt, receiver.edge = 1001, 2001
    receiver.on_window(SECOND + 40 * MS)
    assert receiver.rtt == 40 * MS
