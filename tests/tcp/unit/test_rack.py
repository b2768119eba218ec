"""RACK by the steps of RFC 8985 6.2 and 6.3, with numbers worked out by hand.

Segments are 1000 octets; number n is [1 + 1000 n, 1001 + 1000 n). Times are in milliseconds.
"""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.rack import PERSISTENCE, Rack
from stack.tcp.recovery import LOST, Recovery, Sent
from stack.tcp.rtt import RttEstimator
from stack.tcp.timestamps import TICK
from stack.wire.units import MS, NEVER

MSS = 1000


def estimator(*samples: int) -> RttEstimator:
    rtt = RttEstimator(TcpOptions())
    for sample in samples:
        rtt.on_sample(sample * MS, 0)
    return rtt


class Bench:
    """A scoreboard and RACK, as `stack.tcp.repair` joins them; times in milliseconds."""

    def __init__(self, *sent_at: int, rtt: int = 100) -> None:
        self.recovery = Recovery()
        self.rack = Rack()
        self.rtt = estimator(rtt)
        for at in sent_at:
            self.send(at)

    def send(self, at: int) -> None:
        last = self.recovery.last
        start = last.end if last is not None else 1
        self.recovery.on_sent(start, start + MSS, at * MS)

    def resend(self, number: int, at: int) -> None:
        record = self.record(number)
        self.recovery.mark_lost(record)
        self.recovery.on_resent(record, at * MS)

    def record(self, number: int) -> Sent:
        (found,) = [record for record in self.recovery if record.start == 1 + number * MSS]
        return found

    def reports(self, *numbers: int, at: int, echo: int = -1) -> None:
        """The peer reports these, one after the other; `echo` is the time that its timestamp echoes."""
        for number in numbers:
            record = self.record(number)
            self.recovery.on_sack(record.start, record.end)
            self.rack.on_delivered(record, self.rtt, echo * MS // TICK if echo >= 0 else -1, at * MS)

    def window(self, *, repairing: bool = False) -> float:
        return self.rack.reordering_window(self.recovery, self.rtt, repairing=repairing) / MS

    def detect(self, at: int, window: float = 0) -> tuple[list[int], float | None]:
        """Which are lost now, and in how many milliseconds RACK wants to look again."""
        before = self.lost
        found, again = self.rack.detect(self.recovery, round(window * MS), at * MS)
        assert found == (self.lost != before)
        return self.lost, None if again == NEVER else again / MS - at

    @property
    def lost(self) -> list[int]:
        return [record.start // MSS for record in self.recovery if record.state == LOST]


# Steps 1 and 2: the most recent delivery.


def test_sent_before_the_latest_delivery_and_missing_is_lost() -> None:
    bench = Bench(0, 1, 2, 3)
    bench.reports(2, at=102)
    assert bench.detect(102) == ([0, 1], None)


def test_nothing_delivered_nothing_lost() -> None:
    bench = Bench(0, 1, 2, 3)
    assert bench.detect(10_000) == ([], None)


def test_sent_at_the_same_time_the_higher_number_was_sent_later() -> None:
    """6.2, RACK_sent_after: times first, then the end."""
    bench = Bench(0, 0, 0, 0)
    bench.reports(1, at=100)
    assert bench.detect(100) == ([0], None)


def test_older_delivery_says_how_late_the_others_may_be() -> None:
    """Step 2: RACK.rtt is that of whatever was delivered last, RACK.segment what was sent last."""
    bench = Bench(0, 10, 20, 30)
    bench.reports(2, at=120)
    bench.reports(0, at=125)
    assert bench.detect(125) == ([], 10)
    assert bench.detect(135) == ([1], None)


def test_lost_retransmission_is_found() -> None:
    """Counting duplicates can't: the retransmission was sent after the others, and later ones arrive."""
    bench = Bench(0, 0, 0, 0)
    bench.reports(1, at=100)
    assert bench.detect(100) == ([0], None)
    bench.resend(0, at=101)
    bench.send(102)
    assert bench.detect(150) == ([], None)
    bench.reports(4, at=202)  # sent 1 ms after the retransmission
    assert bench.detect(202) == ([0, 2, 3], None)


def test_ack_of_the_original_is_not_taken_for_one_of_the_retransmission() -> None:
    """Step 2: no round trip is shorter than the least one."""
    bench = Bench(0, 0, 0, rtt=100)
    bench.reports(1, at=100)
    bench.detect(100)
    bench.resend(0, at=101)
    bench.reports(0, at=110)  # 9 ms after it was sent again: the original was late
    assert bench.detect(110) == ([], None)  # 2 was sent before 101, but 101 has not arrived


@pytest.mark.parametrize(("echo", "lost"), [(0, []), (130, [2]), (-1, [2])])
def test_timestamp_tells_which_transmission_has_arrived(echo: int, lost: list[int]) -> None:
    """Step 2: an ACK that echoes less than the retransmission's time is for the original."""
    bench = Bench(0, 0, 0, rtt=20)
    bench.reports(1, at=100)
    bench.resend(0, at=130)
    bench.reports(0, at=160, echo=echo)
    assert bench.detect(160)[0] == lost


def test_echo_within_the_tick_of_the_retransmission_is_its_own() -> None:
    """The clock of the timestamps is coarser than ours."""
    bench = Bench(0, 0, 0, rtt=20)
    record = bench.record(0)
    bench.recovery.mark_lost(record)
    bench.recovery.on_resent(record, 130 * MS + TICK // 2)
    bench.reports(0, at=160, echo=130)
    assert bench.detect(160)[0] == [1, 2]


# Step 3: reordering.


def test_reordering_is_an_original_that_comes_late() -> None:
    bench = Bench(0, 1, 2)
    bench.reports(1, at=100)
    assert not bench.rack.reordering_seen
    bench.reports(0, at=101)
    assert bench.rack.reordering_seen
    assert bench.rack.reordering_segments == 1
    assert bench.rack.reordering_extent == 2 * MSS
    bench.reports(2, at=102)
    assert bench.rack.reordering_extent == 2 * MSS


def test_retransmission_that_comes_late_is_no_reordering() -> None:
    bench = Bench(0, 1, 2)
    bench.reports(1, at=100)
    bench.resend(0, at=101)
    bench.reports(0, at=201)
    assert not bench.rack.reordering_seen


# Step 4: the reordering window.


def test_window_is_a_quarter_of_the_least_round_trip() -> None:
    assert Bench(0, 1).window() == 25


def test_window_is_zero_once_there_is_evidence_of_loss() -> None:
    bench = Bench(0, 1, 2, 3, 4)
    assert bench.window(repairing=True) == 0
    bench.reports(1, 2, at=100)
    assert bench.window() == 25
    bench.reports(3, at=100)
    assert bench.window() == 0  # three reports


def test_window_stays_open_where_reordering_was_seen() -> None:
    bench = Bench(0, 1, 2, 3, 4)
    bench.reports(3, 2, 1, at=100)
    assert bench.window() == 25
    assert bench.window(repairing=True) == 25


def test_window_widens_with_each_round_trip_with_a_dsack_up_to_srtt() -> None:
    bench = Bench(0, 1)
    widths = []
    for number in range(6):
        bench.rack.on_dsack(1 + number * MSS, 1 + (number + 1) * MSS)
        widths.append(bench.window())
    assert widths == [50, 75, 100, 100, 100, 100]


def test_window_widens_once_in_a_round_trip() -> None:
    bench = Bench(0, 1)
    bench.rack.on_dsack(1, 10_001)
    bench.rack.on_dsack(5001, 12_001)
    assert bench.window() == 50
    bench.rack.on_dsack(10_001, 15_001)
    assert bench.window() == 75


def test_window_narrows_after_sixteen_recoveries() -> None:
    bench = Bench(0, 1)
    bench.rack.on_dsack(1, 10_001)
    for _ in range(PERSISTENCE - 1):
        bench.rack.on_recovered()
    assert bench.window() == 50
    bench.rack.on_recovered()
    assert bench.window() == 25


def test_dsack_starts_the_count_of_recoveries_anew() -> None:
    bench = Bench(0, 1)
    bench.rack.on_dsack(1, 10_001)
    for _ in range(PERSISTENCE - 1):
        bench.rack.on_recovered()
    bench.rack.on_dsack(10_001, 20_001)
    bench.rack.on_recovered()
    assert bench.window() == 75


# Step 5: who is lost, and when to look again.


def test_window_gives_time() -> None:
    """Sent at 0, delivered 100 ms later what was sent at 4: lost at 0 + 100 + 25."""
    bench = Bench(0, 4)
    bench.reports(1, at=104)
    assert bench.detect(104, window=25) == ([], 21)
    assert bench.detect(124, window=25) == ([], 1)
    assert bench.detect(125, window=25) == ([0], None)


def test_each_in_its_own_time() -> None:
    bench = Bench(0, 10, 20, 30)
    bench.reports(3, at=130)
    assert bench.detect(130, window=25) == ([0], 5)
    assert bench.detect(135, window=25) == ([0, 1], 10)
    assert bench.detect(145, window=25) == ([0, 1, 2], None)


def test_the_round_trip_that_counts_is_the_latest_deliverys() -> None:
    bench = Bench(0, 50)
    bench.reports(1, at=350)  # 300 ms
    assert bench.detect(350, window=25) == ([0], None)
    bench = Bench(0, 250)
    bench.reports(1, at=260)  # 10 ms
    assert bench.detect(260, window=25) == ([0], None)
    bench = Bench(240, 250)
    bench.reports(1, at=260)
    assert bench.detect(260, window=25) == ([], 15)


def test_detection_costs_what_it_finds() -> None:
    """One look at the first that is not due, however many are outstanding."""
    bench = Bench(*range(1000))
    bench.reports(999, at=1099)
    looked = []
    for record in bench.recovery.earliest_transmissions():
        looked.append(record)
    assert len(looked) == 1


# The retransmission timer (6.3).


def test_time_out_marks_the_first_and_what_has_had_its_time() -> None:
    bench = Bench(0, 0, 250, 290)
    bench.reports(1, at=100)
    bench.rack.mark_timed_out(bench.recovery, 0, 300 * MS)
    assert bench.lost == [0]  # 2 and 3 have not been out for a round trip of 100 ms
    bench.rack.mark_timed_out(bench.recovery, 0, 350 * MS)
    assert bench.lost == [0, 2]


def test_time_out_adds_the_window() -> None:
    bench = Bench(0, 0, 200)
    bench.reports(1, at=100)
    bench.rack.mark_timed_out(bench.recovery, 25 * MS, 320 * MS)
    assert bench.lost == [0]
    bench.rack.mark_timed_out(bench.recovery, 25 * MS, 325 * MS)
    assert bench.lost == [0, 2]
