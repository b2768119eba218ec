"""HyStart++ by RFC 9406 4.2 and 4.3: rounds of ten ACKs, round-trip times in milliseconds."""

from __future__ import annotations

import pytest

from stack.tcp.congestion.hystart import CSS_ROUNDS, HyStart, L
from stack.wire.units import MS

MSS = 1000
ROUND = 10  #: ACKs of a segment each, one window.


class SlowStart:
    """ACKs arrive, each for one segment, and the next window's worth is sent on them."""

    def __init__(self) -> None:
        self.hystart = HyStart()
        self.acked = 0
        self.ended = False

    def acks(self, count: int, rtt: float) -> None:
        for _ in range(count):
            self.acked += 1
            self.ended |= self.hystart.on_ack(self.acked, self.acked + ROUND, round(rtt * MS) if rtt >= 0 else -1)

    @property
    def css(self) -> bool:
        """Whether it is in conservative slow start."""
        return self.hystart.in_css


@pytest.mark.parametrize(
    ("before", "after", "css"),
    [
        (100, 112, False),  # a threshold of an eighth: 12.5
        (100, 112.5, True),
        (8, 11.9, False),  # at least 4
        (8, 12, True),
        (400, 415.9, False),  # at most 16
        (400, 416, True),
    ],
)
def test_delay_that_grows_by_the_threshold_ends_the_doubling(before: float, after: float, css: bool) -> None:
    slow = SlowStart()
    slow.acks(3 * ROUND, before)
    assert not slow.css
    slow.acks(2 * ROUND, after)
    assert slow.css is css
    assert not slow.ended


def test_the_least_of_a_round_counts() -> None:
    """A queue delays all of a round; jitter delays some."""
    slow = SlowStart()
    slow.acks(3 * ROUND, 100)
    for _ in range(5):
        slow.acks(ROUND - 1, 200)
        slow.acks(1, 100)
    assert not slow.css


def test_eight_samples_are_needed() -> None:
    slow = SlowStart()
    slow.acks(3 * ROUND, 100)
    for _ in range(5):
        slow.acks(ROUND - 7, -1)
        slow.acks(7, 200)
    assert not slow.css


def test_steady_delay_goes_on_for_ever() -> None:
    slow = SlowStart()
    slow.acks(100 * ROUND, 100)
    assert not slow.css
    assert not slow.ended


def conservative() -> SlowStart:
    """Just gone over to conservative slow start, in the middle of a round."""
    slow = SlowStart()
    slow.acks(3 * ROUND, 100)
    while not slow.css:
        slow.acks(1, 200)
    return slow


def test_conservative_slow_start_lasts_five_rounds() -> None:
    """4.2: the round in which it began counts as one."""
    slow = conservative()
    slow.acks((CSS_ROUNDS - 1) * ROUND, 200)
    assert not slow.ended
    slow.acks(ROUND, 200)
    assert slow.ended


def test_delay_that_was_noise_lets_it_double_again() -> None:
    slow = conservative()
    slow.acks(2 * ROUND, 100)
    assert not slow.css
    slow.acks(20 * ROUND, 100)
    assert not slow.ended


def test_conservative_growth_is_a_quarter() -> None:
    slow = conservative()
    assert slow.hystart.growth(2 * MSS, MSS, at_once=False) == MSS // 2
    assert SlowStart().hystart.growth(2 * MSS, MSS, at_once=False) == 2 * MSS


def test_one_ack_adds_no_more_than_eight_segments_unless_paced() -> None:
    hystart = HyStart()
    assert hystart.growth(20 * MSS, MSS, at_once=False) == L * MSS
    assert hystart.growth(20 * MSS, MSS, at_once=True) == 20 * MSS
