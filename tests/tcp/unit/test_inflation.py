"""The window of fast recovery without SACK, worked out by hand from RFC 5681 3.2 and RFC 6582 3.2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.tcp.inflation import Inflation

MSS = 1000


def test_begins_at_ssthresh_and_three_that_have_left() -> None:
    assert Inflation(10 * MSS, 20 * MSS, MSS).cwnd == 13 * MSS


def test_each_further_duplicate_says_that_one_has_left() -> None:
    inflation = Inflation(10 * MSS, 20 * MSS, MSS)
    for _ in range(5):
        inflation.on_duplicate_ack(MSS)
    assert inflation.cwnd == 18 * MSS


def test_partial_ack_takes_back_what_it_acknowledges() -> None:
    """RFC 6582 3.2, step 3: and adds a segment back if that was at least one."""
    inflation = Inflation(10 * MSS, 20 * MSS, MSS)
    for _ in range(5):
        inflation.on_duplicate_ack(MSS)
    inflation.on_partial_ack(4 * MSS, MSS)
    assert inflation.cwnd == 15 * MSS
    inflation.on_partial_ack(300, MSS)
    assert inflation.cwnd == 15 * MSS - 300
    inflation.on_partial_ack(100 * MSS, MSS)
    assert inflation.cwnd == MSS


@pytest.mark.parametrize(("flight", "cwnd"), [(0, 2), (3, 4), (9, 10), (30, 10)])
def test_end(flight: int, cwnd: int) -> None:
    """min(ssthresh, max(FlightSize, SMSS) + SMSS): no burst."""
    assert Inflation(10 * MSS, 20 * MSS, MSS).at_end(10 * MSS, flight * MSS, MSS) == cwnd * MSS


def test_inflation_has_a_ceiling() -> None:
    """CC-04: no more segments can have left the network than were in it."""
    inflation = Inflation(10 * MSS, 20 * MSS, MSS)
    for _ in range(10_000):
        inflation.on_duplicate_ack(MSS)
    assert inflation.cwnd == 30 * MSS


@given(st.integers(2, 100), st.integers(0, 200), st.lists(st.one_of(st.none(), st.integers(1, 1 << 20)), max_size=60))
def test_window_stays_sane(ssthresh: int, flight: int, events: list[int | None]) -> None:
    """Between a segment and the ceiling, whatever the peer says; None is a duplicate, a number a partial ACK."""
    inflation = Inflation(ssthresh * MSS, flight * MSS, MSS)
    for acked in events:
        if acked is None:
            inflation.on_duplicate_ack(MSS)
        else:
            inflation.on_partial_ack(acked, MSS)
        assert MSS <= inflation.cwnd <= max(ssthresh + flight, ssthresh + 3) * MSS
