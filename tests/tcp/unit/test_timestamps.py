"""The timestamps option's arithmetic, which is modulo 2^32, and PAWS (RFC 7323 5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.tcp.timestamps import EXPIRY, Timestamps, clock, is_older
from stack.wire.units import MS, SECOND

DAY = 86_400 * SECOND
values = st.integers(0, 0xFFFFFFFF)


@given(value=values, ahead=st.integers(1, 0x7FFFFFFF))
def test_older_within_half_the_circle(value: int, ahead: int) -> None:
    later = (value + ahead) & 0xFFFFFFFF
    assert is_older(value, later)
    assert not is_older(later, value)
    assert not is_older(value, value)


# RFC7323-15, RFC7323-22
def test_clock_ticks_in_milliseconds_and_wraps() -> None:
    assert clock(5, 0) == 5
    assert clock(5, 999_999) == 5
    assert clock(5, 1 * MS) == 6
    assert clock(0xFFFFFFFF, 1 * MS) == 0


# RFC7323-19, RFC7323-23
@pytest.mark.parametrize(
    ("tsval", "after", "old"),
    [
        (1000, 0, False),  # the same again
        (1001, 0, False),
        (999, 0, True),
        (1000 + 0x7FFFFFFF, 0, False),
        ((1000 - 0x80000000) & 0xFFFFFFFF, 0, True),
        (999, 24 * DAY, True),
        (999, 24 * DAY + 1, False),  # 5.5: TS.Recent is too old to judge anything
    ],
)
def test_paws(tsval: int, after: int, old: bool) -> None:
    assert EXPIRY == 24 * DAY
    ts = Timestamps(0, 1000, 0)
    assert ts.is_old(tsval, after) is old


def test_paws_across_the_wrap() -> None:
    ts = Timestamps(0, 0xFFFFFFF0, 0)
    assert not ts.is_old(10, 0)
    ts.on_segment(10, True, 0)
    assert ts.recent == 10
    assert ts.is_old(0xFFFFFFFF, 0)


# RFC7323-17
def test_recent_comes_from_the_segment_that_the_last_ack_asked_for() -> None:
    """4.3: not from one beyond Last.ACK.sent, or the echo would hide the delay of an ACK and let a forger poison it."""
    ts = Timestamps(0, 1000, 0)
    ts.on_segment(5000, False, 1)
    assert (ts.recent, ts.recent_at) == (1000, 0)
    ts.on_segment(1010, True, 2)
    assert (ts.recent, ts.recent_at) == (1010, 2)
    ts.on_segment(1005, True, 3)  # never backwards
    assert (ts.recent, ts.recent_at) == (1010, 2)
    ts.on_segment(1005, True, 2 + 24 * DAY + 1)
    assert ts.recent == 1005


@given(offset=values, sent=st.integers(0, 10**15), took=st.integers(0, 10**12))
def test_elapsed_to_the_tick(offset: int, sent: int, took: int) -> None:
    ts = Timestamps(offset, 0, 0)
    measured = ts.elapsed(ts.value(sent), sent + took)
    assert abs(measured - took) < MS
    assert measured >= 0


def test_elapsed_of_an_echo_from_the_future() -> None:
    ts = Timestamps(0, 0, 0)
    assert ts.elapsed(1, 0) == -1
    assert ts.elapsed(0x80000001, 0) == 0x7FFFFFFF * MS  # a forgery that can't be told from a very old one
