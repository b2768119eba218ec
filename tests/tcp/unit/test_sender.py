"""The sending half alone: what goes out when, within both windows; and its books, whatever the peer says."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stack.tcp.config import TcpOptions
from stack.tcp.congestion import CongestionControl, Cubic, NewReno
from stack.tcp.recovery import LOST, OUT, SACKED
from stack.tcp.repair import OPEN, RECOVERY
from stack.tcp.rtt import RttEstimator
from stack.tcp.sender import Sender
from stack.tcp.timestamps import TICK
from stack.wire.units import MS, SECOND, Duration, Time

MSS = 1000
Blocks = Sequence[tuple[int, int]]


def sender(
    wnd: int = 20_000,
    *,
    nodelay: bool = False,
    cwnd: int = 10 * MSS,
    fresh: bool = False,
    sack: bool = False,
    control: type[CongestionControl] = NewReno,
    max_payload: int = 0,
) -> Sender:
    """As after a handshake; `fresh`: before it."""
    snd = Sender(RttEstimator(TcpOptions()), control(MSS), MSS, nodelay=nodelay)
    snd.congestion.cwnd = cwnd
    if not fresh:
        assert snd.next_chunk(0) == (0, 1)
        snd.agree(snd.congestion, MSS, sack=sack, max_payload=max_payload)
        acknowledge(snd, 1, 10 * MS)
        snd.on_window(wnd, 1, 1)
        snd.congestion.cwnd = cwnd
    return snd


def acknowledge(
    snd: Sender, ack: int, now: Time, echoed: Duration = -1, *, blocks: Blocks = (), duplicate: bool = False
) -> None:
    """An ACK arrives; `echoed` is how old the timestamp is that it echoes, if it does."""
    tick = -1 if echoed < 0 else now // TICK - echoed // TICK
    snd.on_ack(ack, list(blocks), now, duplicate=duplicate, echoed=echoed, echo_tick=tick)


def duplicate_ack(snd: Sender, now: Time) -> None:
    acknowledge(snd, snd.una, now, duplicate=True)


def sent(snd: Sender, now: Time = 20 * MS) -> list[tuple[int, int]]:
    """All that leaves now."""
    chunks = []
    while (chunk := snd.next_chunk(now)) is not None:
        chunks.append(chunk)
        assert len(chunks) < 1000
    return chunks


class SenderMachine(RuleBasedStateMachine):
    """A sender and what its peer may say; the model is what was written and the highest number acknowledged."""

    @initialize(
        nodelay=st.booleans(),
        wnd=st.integers(0, 30_000),
        cwnd=st.integers(1, 30),
        sack=st.booleans(),
        control=st.sampled_from([NewReno, Cubic]),
        max_payload=st.sampled_from([0, 4 * MSS + 1, 65_000]),
    )
    def begin(
        self, nodelay: bool, wnd: int, cwnd: int, sack: bool, control: type[CongestionControl], max_payload: int
    ) -> None:
        self.snd = sender(wnd, nodelay=nodelay, cwnd=cwnd * MSS, sack=sack, control=control, max_payload=max_payload)
        self.now = 20 * MS
        self.seq = 1  # of the peer's segments
        self.written = 0
        self.closed = False
        self.una = 1

    @precondition(lambda self: not self.closed)
    @rule(size=st.one_of(st.integers(1, 30), st.integers(MSS - 1, MSS + 1), st.integers(1, 30_000)))
    def write(self, size: int) -> None:
        self.snd.buffer.append(bytes(size))
        self.written += size

    @rule()
    def close(self) -> None:
        self.closed = self.snd.fin_wanted = True

    @rule()
    def poll(self) -> None:
        for _ in range(200):
            snd, repair = self.snd, self.snd.repair
            nxt, forced, pipe = snd.nxt, repair.force, repair.records.pipe
            chunk = snd.next_chunk(self.now)
            if chunk is None:
                return
            start, end = chunk
            fin = end == self.written + 2
            size = end - start - fin
            assert 0 <= size <= (MSS if forced else snd.max_burst)
            assert not fin or self.closed
            assert snd.una <= start < end <= self.written + 2
            if start < nxt:
                assert end <= nxt
                assert forced or start < snd.una + snd.wnd
                assert forced or pipe + size <= snd.congestion.cwnd + 1 or not pipe
            else:
                assert start == nxt
                assert end <= snd.una + snd.wnd
                limited_transmit = 2 * MSS if repair.dupacks and repair.phase == OPEN else 0  # RFC 3042
                # A FIN alone goes whatever is in flight, and something must be.
                assert pipe + size <= snd.congestion.cwnd + limited_transmit or nxt == snd.una or not size
                if size % MSS and not snd.nodelay and not snd.fin_wanted and (size > MSS or snd.una < nxt):
                    raise AssertionError("a small segment while something is in flight")
        raise AssertionError("output without end")

    def _blocks(self, data: st.DataObject) -> list[tuple[int, int]]:
        """Reports of what was sent, of what was not, and of nonsense."""
        if not self.snd.repair.sack:
            return []
        edge = st.one_of(st.integers(-50, self.snd.max + 50), st.sampled_from(self._edges()))
        return data.draw(st.lists(st.tuples(edge, edge), max_size=4))

    def _edges(self) -> list[int]:
        return [self.una, *[record.end for record in self.snd.repair.records]]

    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        if self.snd.una == self.snd.max:
            return
        ack = data.draw(st.integers(self.snd.una + 1, self.snd.max))
        self.now += data.draw(st.sampled_from([1, 5 * MS, SECOND]))
        echoed = data.draw(st.sampled_from([-1, 0, 3 * MS, 10_000 * SECOND]))
        acknowledge(self.snd, ack, self.now, echoed, blocks=self._blocks(data))
        self.una = ack

    @rule(times=st.integers(1, 5), data=st.data())
    def duplicates(self, times: int, data: st.DataObject) -> None:
        for _ in range(times):
            if self.snd.outstanding:
                acknowledge(self.snd, self.una, self.now, blocks=self._blocks(data), duplicate=data.draw(st.booleans()))

    @rule(data=st.data())
    def mark(self, data: st.DataObject) -> None:
        ack = data.draw(st.integers(self.snd.una, self.snd.nxt))
        if self.snd.on_mark(ack, self.now):
            self.snd.repair.hold(self.now)
        before = self.snd.congestion.cwnd
        assert not self.snd.on_mark(ack, self.now)
        assert self.snd.congestion.cwnd == before  # once a round trip

    @rule(wnd=st.one_of(st.just(0), st.integers(0, 2 * MSS), st.integers(0, 1 << 30)))
    def window(self, wnd: int) -> None:
        self.seq += 1
        self.snd.on_window(wnd, self.seq, self.snd.una)
        assert self.snd.wnd == wnd
        assert self.snd.max_wnd >= wnd

    @rule(wnd=st.integers(0, 1 << 30))
    def old_window(self, wnd: int) -> None:
        before = self.snd.wnd
        assert not self.snd.on_window(wnd, self.seq - 1, self.snd.una)
        assert self.snd.wnd == before

    @precondition(lambda self: self.snd.outstanding)
    @rule()
    def time_out(self) -> None:
        self.now += self.snd.rtt.rto
        self.snd.on_retransmission_timeout(self.now)
        assert self.snd.repair.records.pipe == 0 or self.snd.repair.sack
        start, end = self.snd.next_chunk(self.now) or (0, 0)
        assert start == self.snd.una < end  # MUST: the earliest goes again, whatever the windows say

    @precondition(lambda self: self.snd.repair.reorder_at < self.now + SECOND)
    @rule()
    def reorder_time_out(self) -> None:
        self.now = max(self.now, self.snd.repair.reorder_at)
        self.snd.on_reorder_timeout(self.now)
        assert self.snd.repair.reorder_at > self.now

    @precondition(lambda self: self.snd.wants_tail_loss_probe)
    @rule()
    def tail_loss_probe(self) -> None:
        snd, nxt = self.snd, self.snd.nxt
        chunk = snd.tail_loss_probe(self.now)
        if chunk is None:
            return
        start, end = chunk
        assert end - start <= MSS + 1
        assert (start == nxt and end <= snd.una + snd.wnd) or end == nxt == snd.nxt
        assert snd.tail_loss_probe(self.now) is None  # one at a time

    @precondition(lambda self: self.snd.blocked_by_window)
    @rule(use=st.booleans())
    def persist(self, use: bool) -> None:
        snd = self.snd
        nxt = snd.nxt
        if use and snd.override(self.now) is not None:
            assert nxt < snd.nxt <= snd.una + snd.wnd
            return
        if snd.pending:
            assert snd.zero_window_probe() == (nxt, nxt + 1)
        assert snd.nxt == nxt

    @invariant()
    def numbers(self) -> None:
        snd = self.snd
        assert self.una == snd.una <= snd.nxt <= snd.max <= self.written + 2
        assert snd.max <= snd.nxt + 1
        assert snd.buffer.end == self.written + 1
        assert snd.buffer.start == min(snd.una, snd.buffer.end)
        assert snd.fin_acked == (snd.una == self.written + 2 and self.closed)

    @invariant()
    def books(self) -> None:
        records = self.snd.repair.records
        assert records.outstanding == self.snd.flight
        assert 0 <= records.lost_bytes <= records.outstanding
        assert records.pipe == sum(r.size for r in records if r.state not in (LOST, SACKED)) >= 0
        assert records.sacked_segments == sum(records.segments(r) for r in records if r.state == SACKED)
        # Whatever is out is found by RACK: it stands where its transmission does.
        order = [(number, record) for number, pieces in enumerate(records._order) for record in pieces]
        found = [record for number, record in order if record.transmission == records._order_start + number]
        assert {id(record) for record in records if record.state == OUT} <= {id(record) for record in found}
        assert len({id(record) for record in found}) == len(found)

    @invariant()
    def windows(self) -> None:
        assert self.snd.congestion.cwnd >= MSS


TestSender = SenderMachine.TestCase
TestSender.settings = settings(stateful_step_count=50, max_examples=200, deadline=None)


# The handshake.


def test_data_waits_for_the_handshake() -> None:
    snd = sender(fresh=True)
    snd.buffer.append(bytes(100))
    assert sent(snd) == [(0, 1)]
    acknowledge(snd, 1, 30 * MS)
    snd.on_window(1000, 1, 1)
    assert sent(snd) == [(1, 101)]


# Windows.


def test_both_windows_limit() -> None:
    snd = sender(wnd=3500, cwnd=10 * MSS)
    snd.buffer.append(bytes(20_000))
    assert sent(snd) == [(1, 1001), (1001, 2001), (2001, 3001)]
    snd = sender(wnd=35_000, cwnd=4 * MSS)
    snd.buffer.append(bytes(20_000))
    assert sent(snd) == [(1, 1001), (1001, 2001), (2001, 3001), (3001, 4001)]


@pytest.mark.parametrize(
    ("wl", "segment", "taken"),
    [
        ((100, 1), (101, 1), True),  # newer number
        ((100, 1), (100, 1), True),  # same number, same ACK: an update of its own
        ((100, 1), (99, 1), False),  # older number
        ((100, 2), (100, 1), False),  # same number, older ACK
        ((100, 1), (99, 2), True),  # older number, but it acknowledges something new
    ],
)
def test_which_window_is_newer(wl: tuple[int, int], segment: tuple[int, int], taken: bool) -> None:
    snd = sender()
    snd.una, (snd.wl1, snd.wl2) = wl[1], wl
    before = snd.wnd
    snd.on_window(777, *segment)
    assert snd.wnd == (777 if taken else before)


def test_shrunk_window_stops_new_data_only() -> None:
    """MUST-34: what is outside now is not sent, what was sent stays, and nothing falls over."""
    snd = sender(wnd=5000)
    snd.buffer.append(bytes(8000))
    assert len(sent(snd)) == 5
    snd.on_window(2000, 2, 1)
    assert snd.usable == -3000
    assert sent(snd) == []
    acknowledge(snd, 3001, 30 * MS)
    assert sent(snd) == []
    snd.on_window(4000, 3, 3001)
    assert sent(snd) == [(5001, 6001), (6001, 7001)]


# Silly windows and Nagle.


def test_sender_avoids_silly_windows() -> None:
    """MUST-38: less than a segment and less than half the peer's buffer is not worth sending."""
    snd = sender(wnd=10_000)
    snd.buffer.append(bytes(50_000))
    sent(snd)
    acknowledge(snd, snd.nxt, 30 * MS)
    snd.on_window(999, 2, snd.una)
    assert sent(snd) == []
    assert snd.blocked_by_window
    snd.on_window(1000, 3, snd.una)
    assert [end - start for start, end in sent(snd)] == [1000]


def test_half_of_a_small_buffer_is_worth_it() -> None:
    snd = sender(wnd=600)
    snd.buffer.append(bytes(5000))
    assert sent(snd) == [(1, 601)]
    acknowledge(snd, 601, 30 * MS)
    snd.on_window(299, 2, 601)
    assert sent(snd) == []
    snd.on_window(300, 3, 601)
    assert sent(snd) == [(601, 901)]


def test_override_uses_what_there_is() -> None:
    snd = sender(wnd=10_000)
    snd.buffer.append(bytes(9_000))
    sent(snd)
    acknowledge(snd, 9_001, 30 * MS)
    snd.on_window(50, 2, 9_001)
    snd.buffer.append(bytes(500))
    assert sent(snd) == []
    assert snd.override(40 * MS) == (9_001, 9_051)
    assert snd.override(40 * MS) is None


def test_nagle() -> None:
    snd = sender()
    snd.buffer.append(bytes(10))
    assert sent(snd) == [(1, 11)]
    snd.buffer.append(bytes(10))
    assert sent(snd) == []  # one small segment is in flight
    snd.buffer.append(bytes(985))
    assert sent(snd) == []  # 995
    snd.buffer.append(bytes(5))
    assert sent(snd) == [(11, 1011)]
    snd.buffer.append(bytes(10))
    acknowledge(snd, 1011, 30 * MS)
    assert sent(snd) == [(1011, 1021)]


def test_nagle_off_and_nagle_at_the_end() -> None:
    snd = sender(nodelay=True)
    for _ in range(3):
        snd.buffer.append(bytes(10))
        assert len(sent(snd)) == 1
    snd = sender()
    snd.buffer.append(bytes(10))
    sent(snd)
    snd.buffer.append(bytes(10))
    snd.fin_wanted = True  # nothing will join what waits
    assert sent(snd) == [(11, 22)]


# The FIN.


def test_fin_rides_on_the_last_octets() -> None:
    snd = sender()
    snd.buffer.append(bytes(1500))
    snd.fin_wanted = True
    assert sent(snd) == [(1, 1001), (1001, 1502)]
    assert snd.fin_sent
    assert not snd.fin_acked
    acknowledge(snd, 1502, 30 * MS)
    assert snd.fin_acked


def test_fin_rides_on_a_full_segment() -> None:
    snd = sender()
    snd.buffer.append(bytes(1000))
    snd.fin_wanted = True
    assert sent(snd) == [(1, 1002)]
    snd.on_retransmission_timeout(SECOND)
    assert sent(snd) == [(1, 1002)]  # and rides again when it is lost


def test_fin_alone() -> None:
    snd = sender()
    snd.fin_wanted = True
    assert sent(snd) == [(1, 2)]
    assert sent(snd) == []


def test_fin_needs_room_in_the_window() -> None:
    snd = sender(wnd=100)
    snd.buffer.append(bytes(100))
    snd.fin_wanted = True
    assert sent(snd) == [(1, 101)]
    acknowledge(snd, 101, 30 * MS)
    snd.on_window(0, 2, 101)
    assert sent(snd) == []
    assert snd.blocked_by_window
    assert snd.zero_window_probe() == (101, 102)
    acknowledge(snd, 102, 50 * MS)  # a probe of the FIN that was taken
    assert snd.fin_acked


# Loss.


def lossy(segments: int = 8) -> Sender:
    snd = sender(wnd=100_000, cwnd=segments * MSS)
    snd.buffer.append(bytes(20 * MSS))
    assert len(sent(snd)) == segments
    return snd


def test_fast_retransmit_on_the_third_duplicate() -> None:
    snd = lossy()
    duplicate_ack(snd, 30 * MS)
    assert sent(snd) == [(8001, 9001)]  # limited transmit (RFC 3042)
    duplicate_ack(snd, 30 * MS)
    assert sent(snd) == [(9001, 10_001)]
    duplicate_ack(snd, 30 * MS)
    assert sent(snd)[0] == (1, 1001)
    assert snd.repair.phase == RECOVERY
    assert snd.congestion.ssthresh == 4 * MSS  # half of what was in flight before those two


def test_partial_ack_fills_the_next_hole() -> None:
    snd = lossy()
    for _ in range(3):
        duplicate_ack(snd, 30 * MS)
    sent(snd)
    acknowledge(snd, 3001, 40 * MS)
    assert sent(snd)[0] == (3001, 4001)
    assert snd.repair.phase == RECOVERY
    acknowledge(snd, snd.repair.recover, 50 * MS)
    assert snd.repair.phase != RECOVERY


def test_no_second_fast_retransmit_for_what_a_time_out_has_sent_again() -> None:
    """RFC 6582 3.2, step 2: duplicates that our own retransmissions cause say nothing."""
    snd = lossy()
    snd.on_retransmission_timeout(SECOND)
    sent(snd, SECOND)
    before = snd.congestion.cwnd
    for _ in range(6):
        duplicate_ack(snd, SECOND)
    assert snd.repair.phase != RECOVERY
    assert snd.congestion.cwnd == before


def test_time_out_sends_all_again_as_the_window_opens() -> None:
    """After the second; whether the first was needed is asked with new data (RFC 5682)."""
    snd = lossy()
    snd.on_retransmission_timeout(SECOND)
    assert sent(snd, SECOND) == [(1, 1001)]
    snd.on_retransmission_timeout(2 * SECOND)
    assert sent(snd, 2 * SECOND) == [(1, 1001)]
    acknowledge(snd, 1001, 2 * SECOND + 10 * MS)
    assert sent(snd, 2 * SECOND) == [(1001, 2001), (2001, 3001)]
    acknowledge(snd, 8001, 2 * SECOND + 20 * MS)  # the rest had arrived
    assert all(start >= 8001 for start, _ in sent(snd, 2 * SECOND))


def test_closed_window_is_no_congestion() -> None:
    snd = lossy()
    snd.on_window(0, 2, 1)
    cwnd, ssthresh = snd.congestion.cwnd, snd.congestion.ssthresh
    snd.on_retransmission_timeout(SECOND)
    assert (snd.congestion.cwnd, snd.congestion.ssthresh) == (cwnd, ssthresh)
    assert sent(snd, SECOND) == [(1, 1001)]  # one goes nevertheless, to ask


def test_lost_data_goes_before_new_data() -> None:
    snd = lossy()
    for _ in range(20):
        duplicate_ack(snd, 30 * MS)
    first = sent(snd)
    assert first[0] == (1, 1001)
    assert all(start >= 8001 for start, _ in first[1:])


def test_idle_connection_starts_slowly_again() -> None:
    """RFC 5681 4.1: after an RTO of silence what was learned about the path is stale."""
    snd = sender(wnd=1 << 20, cwnd=50 * MSS)
    snd.buffer.append(bytes(50 * MSS))
    assert len(sent(snd)) == 50
    acknowledge(snd, snd.nxt, 30 * MS)
    snd.buffer.append(bytes(50 * MSS))
    assert len(sent(snd, 10 * SECOND)) == 10


# Round trips.


def test_timestamps_give_a_sample_where_karn_gives_none() -> None:
    snd = lossy(1)
    srtt = snd.rtt.srtt
    snd.on_retransmission_timeout(SECOND)
    sent(snd, SECOND)
    acknowledge(snd, 1001, SECOND + 30 * MS)
    assert snd.rtt.srtt == srtt  # Karn
    snd = lossy(1)
    snd.on_retransmission_timeout(SECOND)
    sent(snd, SECOND)
    acknowledge(snd, 1001, SECOND + 30 * MS, 30 * MS)  # the echo names the second
    assert snd.rtt.srtt == srtt + (30 * MS - srtt) // 8


def test_echo_of_the_first_of_two_is_no_sample() -> None:
    snd = lossy(1)
    srtt = snd.rtt.srtt
    snd.on_retransmission_timeout(SECOND)
    sent(snd, SECOND)
    acknowledge(snd, 1001, SECOND + 30 * MS, SECOND + 10 * MS)
    assert snd.rtt.srtt == srtt
