"""Loss recovery as a whole, by what the sender sends: how it begins, goes on, ends, and is undone when it was in vain.

Ten segments of 1000 octets are in flight, sent at 1000 ms over a path of 100 ms; number n begins at 1 + 1000 n.
NewReno's numbers are used: a loss halves.
"""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.congestion import NewReno
from stack.tcp.repair import LOSS, OPEN, RECOVERY
from stack.tcp.rtt import RttEstimator
from stack.tcp.sender import Sender
from stack.tcp.timestamps import TICK
from stack.wire.units import MS, NEVER, SECOND

MSS = 1000
START = 1000
RTT = 100


class Flight:
    """A sender with data in flight and more waiting, and the peer's end of it; times in milliseconds."""

    def __init__(self, segments: int = 10, *, more: int = 100, sack: bool = True, wnd: int = 1 << 20) -> None:
        self.snd = Sender(RttEstimator(TcpOptions()), NewReno(MSS), MSS, nodelay=False)
        self.now = 0
        assert self.snd.next_chunk(0) == (0, 1)
        self.snd.agree(self.snd.congestion, MSS, sack=sack)
        self.now = RTT
        self.acks_octet(1)
        self.snd.on_window(wnd, 1, 1)
        self.snd.congestion.cwnd = segments * MSS
        self.snd.buffer.append(bytes((segments + more) * MSS))
        self.now = START
        self.snd.idle_since = START * MS  # as if it had not been idle
        assert self.sent() == list(range(segments))

    def acks_octet(self, ack: int, *blocks: tuple[int, int], echo: int = -1) -> None:
        """`echo` is the time whose timestamp the peer echoes."""
        now = self.now * MS
        tick = -1 if echo < 0 else echo * MS // TICK
        self.snd.on_ack(
            ack,
            list(blocks),
            now,
            duplicate=ack == self.snd.una,
            echoed=-1 if echo < 0 else (now // TICK - tick) * TICK,
            echo_tick=tick,
        )

    def acks(self, number: int, *blocks: tuple[int, int], at: int = -1, echo: int = -1) -> list[int]:
        """The peer has everything before segment `number`, and from each block's first to before its second.

        Returns the segments that leave then.
        """
        self.now = max(self.now, at)
        reported = [(1 + first * MSS, 1 + last * MSS) for first, last in blocks]
        self.acks_octet(1 + number * MSS, *reported, echo=echo)
        return self.sent()

    def sent(self) -> list[int]:
        chunks = []
        while (chunk := self.snd.next_chunk(self.now * MS)) is not None:
            chunks.append(chunk[0] // MSS)
            assert len(chunks) < 1000
        return chunks

    def times_out(self, at: int = -1) -> list[int]:
        self.now = max(self.now, at)
        self.snd.on_retransmission_timeout(self.now * MS)
        return self.sent()

    @property
    def phase(self) -> int:
        return self.snd.repair.phase

    @property
    def windows(self) -> tuple[int, int]:
        """cwnd and ssthresh, in segments."""
        control = self.snd.congestion
        return control.cwnd // MSS, control.ssthresh // MSS

    @property
    def counts(self) -> tuple[int, int, int]:
        repair = self.snd.repair
        return repair.recoveries, repair.timeouts, repair.spurious


# Recovery with SACK.


def test_reports_let_new_data_go_until_there_is_evidence() -> None:
    """Limited transmit (RFC 3042): a report takes a segment out of the pipe."""
    flight = Flight()
    assert flight.acks(0, (1, 2), at=1100) == [10]
    assert flight.acks(0, (1, 3)) == [11]
    assert flight.phase == OPEN
    assert flight.snd.repair.reorder_at == 1125 * MS  # a quarter of the least round trip


def test_three_reports_begin_a_recovery() -> None:
    flight = Flight()
    assert flight.acks(0, (1, 4), at=1100)[0] == 0
    assert flight.phase == RECOVERY
    assert flight.windows[1] == 5
    assert flight.counts == (1, 0, 0)


def test_one_report_begins_a_recovery_when_its_time_has_come() -> None:
    flight = Flight(more=0)
    assert flight.acks(0, (9, 10), at=1100) == []
    flight.now = 1125
    flight.snd.on_reorder_timeout(1125 * MS)
    assert flight.phase == RECOVERY
    assert flight.sent()[0] == 0
    assert flight.snd.repair.reorder_at == NEVER


def test_a_recovery_reduces_the_window_once_whatever_else_is_lost() -> None:
    flight = Flight(20)
    flight.acks(0, (1, 4), at=1100)
    ssthresh = flight.windows[1]
    flight.acks(0, (1, 4), (5, 9), (10, 20), at=1101)
    flight.acks(4, (5, 9), (10, 20), at=1200)
    assert flight.windows[1] == ssthresh
    assert flight.counts == (1, 0, 0)


def test_recovery_ends_at_ssthresh() -> None:
    flight = Flight(20, more=0)
    flight.acks(0, (1, 4), at=1100)
    for last in range(5, 21):
        flight.acks(0, (1, last), at=1100 + last)
    flight.acks(20, at=1200)
    assert flight.phase == OPEN
    assert flight.windows == (10, 10)
    assert not flight.snd.outstanding


def test_single_loss_costs_one_retransmission_and_no_time_out() -> None:
    flight = Flight(10)
    sent = flight.acks(0, (1, 4), at=1100)
    for last in range(5, 11):
        sent += flight.acks(0, (1, last))
    assert sent.count(0) == 1
    assert all(number == 0 or number >= 10 for number in sent)
    flight.acks(10, at=1200)
    assert flight.snd.retransmitted_segments == 1


def test_a_report_that_repeats_itself_is_no_news() -> None:
    flight = Flight()
    flight.acks(0, (1, 2), at=1100)
    cwnd, pipe = flight.windows, flight.snd.repair.records.pipe
    for _ in range(10):
        assert flight.acks(0, (1, 2)) == []
    assert (flight.windows, flight.snd.repair.records.pipe) == (cwnd, pipe)
    assert flight.snd.repair.dupacks == 1


@pytest.mark.parametrize("block", [(50, 60), (-20, -10), (3, 3), (5, 4), (9, 40)])
def test_reports_of_what_was_never_sent_mean_nothing(block: tuple[int, int]) -> None:
    flight = Flight()
    for _ in range(5):
        assert flight.acks(0, block, at=1100) == []
    assert flight.snd.repair.records.pipe == 10 * MSS
    assert flight.phase == OPEN


# Recovery without SACK (RFC 6582).


def test_duplicates_begin_a_recovery_and_partial_acks_carry_it_on() -> None:
    flight = Flight(sack=False)
    assert [flight.acks(0, at=1100) for _ in range(3)] == [[10], [11], [0]]  # limited transmit, then the repair
    assert flight.windows == (8, 5)
    assert flight.acks(4, at=1200)[0] == 4  # the next hole
    assert flight.phase == RECOVERY
    flight.acks(12, at=1300)
    assert flight.phase == OPEN
    assert flight.counts == (1, 0, 0)


def test_full_ack_leaves_no_burst() -> None:
    """RFC 6582 3.2, step 3: min(ssthresh, max(FlightSize, SMSS) + SMSS), and this ACK grows nothing."""
    flight = Flight(sack=False, more=2)
    for _ in range(3):
        flight.acks(0, at=1100)
    assert flight.acks(12, at=1200) == []
    assert flight.windows == (2, 5)


# Time-outs.


def test_time_out_begins_with_one_segment() -> None:
    flight = Flight()
    assert flight.times_out(2000) == [0]
    assert flight.phase == LOSS
    assert flight.windows == (1, 5)
    assert flight.counts == (0, 1, 0)


def test_second_time_out_for_the_same_lowers_ssthresh_no_further() -> None:
    flight = Flight()
    flight.times_out(2000)
    assert flight.times_out(3000) == [0]
    assert flight.windows == (1, 5)


def test_time_out_during_recovery_sends_the_first_again() -> None:
    flight = Flight(more=0)
    flight.acks(0, (1, 4), at=1100)
    assert flight.times_out(2000) == [0]
    assert flight.phase == LOSS
    assert flight.windows[0] == 1
    assert flight.windows[1] <= 5


def test_reports_survive_a_time_out() -> None:
    flight = Flight(more=0)
    flight.acks(0, (2, 4), at=1100)
    flight.times_out(2000)
    sent = flight.acks(1, (2, 4), at=2100)
    assert 2 not in sent
    assert 3 not in sent


def test_reneging_is_found_at_the_time_out() -> None:
    """RFC 2018 8: the first is reported and yet not acknowledged, so all that was reported must be sent again."""
    flight = Flight(more=0)
    flight.acks(0, (0, 10), at=1100)
    assert flight.snd.repair.records.pipe == 0
    sent = flight.times_out(2000)
    for number in range(1, 10):
        sent += flight.acks(number, at=2000 + number * RTT)
    assert sorted(set(sent)) == list(range(10))
    flight.acks(10, at=4000)
    assert not flight.snd.outstanding


# Undo by timestamps (Eifel, RFC 3522).


def test_eifel_gives_the_window_back() -> None:
    """The first ACK after the retransmission echoes the original."""
    flight = Flight()
    flight.acks(0, (1, 4), at=1100)
    flight.acks(10, at=1110, echo=START)
    assert flight.counts == (1, 0, 1)
    assert flight.phase == OPEN
    assert flight.windows[0] >= 10
    assert flight.windows[1] > 1000


def test_eifel_after_a_time_out() -> None:
    flight = Flight()
    flight.times_out(2000)
    flight.acks(1, at=2010, echo=START)
    assert flight.counts == (0, 1, 1)
    assert flight.windows[0] >= 10
    assert flight.snd.repair.records.lost_bytes == 0


def test_echo_of_the_retransmission_undoes_nothing() -> None:
    flight = Flight()
    flight.acks(0, (1, 4), at=1100)
    flight.acks(10, at=1200, echo=1100)
    assert flight.counts == (1, 0, 0)
    assert flight.windows[1] == 5


def test_eifel_needs_an_ack_that_advances() -> None:
    """Reports echo the latest that came in order, which is old by nature (RFC 7323 4.3)."""
    flight = Flight()
    flight.acks(0, (1, 4), at=1100, echo=START - 1)
    flight.acks(0, (1, 6), at=1110, echo=START - 1)
    assert flight.counts == (1, 0, 0)


# Undo by D-SACK (RFC 2883, RFC 3708).


def test_dsack_for_all_that_was_sent_again_gives_the_window_back() -> None:
    flight = Flight()
    flight.acks(0, (1, 4), at=1100)
    flight.acks(10, at=1110)  # the original was late
    assert flight.counts == (1, 0, 0)
    flight.acks(10, (0, 1), at=1200)
    assert flight.counts == (1, 0, 1)
    assert flight.windows[0] >= 10


def test_dsack_for_a_part_of_what_was_sent_again_undoes_nothing() -> None:
    flight = Flight(20)
    assert flight.acks(0, (2, 6), at=1100)[:2] == [0, 1]
    flight.acks(20, (0, 1), at=1200)
    assert flight.counts == (1, 0, 0)
    flight.acks(20, (1, 2), at=1201)
    assert flight.counts == (1, 0, 1)


def test_dsack_for_what_was_never_sent_again_undoes_nothing() -> None:
    """The network can duplicate, too."""
    flight = Flight()
    flight.acks(0, (1, 4), at=1100)
    flight.acks(0, (1, 2), (1, 5), at=1101)
    flight.acks(10, at=1200)
    assert flight.counts == (1, 0, 0)


def test_dsack_widens_the_reordering_window() -> None:
    flight = Flight()
    flight.acks(0, (1, 2), at=1100)
    assert flight.snd.repair.reorder_at == 1125 * MS
    flight.acks(0, (1, 2), (1, 3), at=1100)  # 1 once more, within the next block
    flight.acks(0, (1, 3), at=1100)
    rack = flight.snd.repair.rack
    assert rack is not None
    assert rack.reordering_window(flight.snd.repair.records, flight.snd.rtt, repairing=False) == 50 * MS


# Undo by new data (F-RTO, RFC 5682).


def test_f_rto_asks_with_new_data_and_sends_nothing_else_again() -> None:
    """2.1, step 2b."""
    flight = Flight(sack=False)
    assert flight.times_out(2000) == [0]
    assert flight.acks(1, at=2010) == [10, 11]
    assert flight.phase == LOSS


@pytest.mark.parametrize("sack", [False, True])
def test_f_rto_finds_a_time_out_that_was_not_needed(sack: bool) -> None:
    """Step 3b: another ACK advances, though nothing that it covers was sent again."""
    flight = Flight(sack=sack)
    flight.times_out(2000)
    flight.acks(1, at=2010)
    flight.acks(2, at=2011)
    assert flight.counts == (0, 1, 1)
    assert flight.windows[0] >= 10
    assert flight.snd.repair.records.lost_bytes == 0
    sent = [number for ack in range(3, 11) for number in flight.acks(ack, at=2010 + ack)]
    assert all(number >= 12 for number in sent)


def test_f_rto_finds_a_time_out_that_was_needed() -> None:
    """Step 3a: a duplicate; at most three segments of window, and what is lost is sent again at once."""
    flight = Flight(sack=False)
    flight.times_out(2000)
    flight.acks(1, at=2010)
    assert flight.acks(1, at=2110) == [1]
    assert flight.windows == (3, 5)
    assert flight.counts == (0, 1, 0)


def test_f_rto_duplicate_before_any_progress() -> None:
    """Step 2a: back to the conventional way, with one segment of window."""
    flight = Flight(sack=False)
    flight.times_out(2000)
    assert flight.acks(0, at=2010) == []
    assert flight.windows == (1, 5)
    assert flight.acks(1, at=2100) == [1, 2]


def test_f_rto_reports_of_the_new_data_show_no_original() -> None:
    """RFC 5682 3.1: only what was sent before the time-out counts."""
    flight = Flight()
    flight.times_out(2000)
    assert flight.acks(1, at=2100) == [10, 11]
    assert flight.acks(1, (10, 11), at=2200)[0] == 1
    assert flight.counts == (0, 1, 0)
    assert flight.phase == LOSS


def test_f_rto_reports_of_originals_show_that_the_time_out_was_not_needed() -> None:
    """RFC 5682 3.1: with SACK, an original behind another hole is enough."""
    flight = Flight()
    flight.times_out(2000)
    flight.acks(1, at=2010)
    flight.acks(1, (2, 3), at=2011)
    assert flight.counts == (0, 1, 1)


def test_f_rto_without_new_data() -> None:
    """Nothing to ask with: conventional recovery."""
    flight = Flight(sack=False, more=0)
    flight.times_out(2000)
    assert flight.acks(1, at=2100) == [1, 2]


def test_f_rto_is_not_used_for_a_repeated_time_out() -> None:
    flight = Flight(sack=False)
    flight.times_out(2000)
    flight.times_out(3000)
    assert flight.acks(1, at=3100) == [1, 2]


# Marks (RFC 3168 6.1.2).


def test_mark_halves_the_window_and_sends_nothing_again() -> None:
    flight = Flight()
    flight.snd.on_mark(flight.snd.nxt, 1100 * MS)
    assert flight.snd.repair.reduced  # which the peer is to be told
    assert flight.windows == (5, 5)
    assert flight.phase == OPEN
    assert flight.sent() == []
    assert flight.snd.retransmitted_segments == 0


def test_mark_counts_once_a_round_trip() -> None:
    flight = Flight()
    flight.snd.on_mark(flight.snd.nxt, 1100 * MS)
    flight.snd.on_mark(flight.snd.nxt, 1101 * MS)
    flight.acks(5, at=1102)
    flight.snd.on_mark(flight.snd.nxt, 1102 * MS)
    assert flight.windows[1] == 5
    flight.acks(10, at=1103)
    flight.snd.on_mark(flight.snd.nxt, 1200 * MS)
    assert flight.windows[1] < 5


def test_mark_during_recovery_reduces_nothing_more() -> None:
    flight = Flight(20)
    flight.acks(0, (1, 4), at=1100)
    ssthresh = flight.windows[1]
    flight.snd.on_mark(flight.snd.nxt, 1101 * MS)
    assert flight.snd.repair.reduced  # the peer is told all the same
    assert flight.windows[1] == ssthresh


def test_acks_with_a_mark_grow_nothing() -> None:
    flight = Flight()
    before = flight.snd.congestion.cwnd
    flight.now = 1100
    flight.snd.on_ack(1001, [], 1100 * MS, duplicate=False, echoed=-1, echo_tick=-1, marked=True)
    assert flight.snd.congestion.cwnd == before
    flight.sent()
    flight.snd.on_ack(2001, [], 1101 * MS, duplicate=False, echoed=-1, echo_tick=-1)
    assert flight.snd.congestion.cwnd > before


# Round trips.


def test_retransmissions_give_no_sample_without_timestamps() -> None:
    """Karn (RFC 6298 3): nor does what else the same ACK covers, which may have waited for them."""
    flight = Flight(more=0)
    flight.acks(0, (1, 4), at=1100)
    srtt = flight.snd.rtt.srtt
    flight.acks(10, at=1500)
    assert flight.snd.rtt.srtt == srtt


def test_least_round_trip_is_that_of_the_last_minutes() -> None:
    rtt = RttEstimator(TcpOptions())
    rtt.on_sample(10 * MS, 0)
    rtt.on_sample(50 * MS, 30 * SECOND)
    assert rtt.minimum == 10 * MS
    rtt.on_sample(50 * MS, 61 * SECOND)
    assert rtt.minimum == 10 * MS  # of the window before
    rtt.on_sample(50 * MS, 122 * SECOND)
    assert rtt.minimum == 50 * MS
