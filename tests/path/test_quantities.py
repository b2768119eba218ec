"""Quantities as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.path import quantities
from stack.wire.units import MINUTE, MS, SECOND, US


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("20ms", 20 * MS),
        ("1.5s", 1500 * MS),
        ("300us", 300 * US),
        ("300µs", 300 * US),
        ("7ns", 7),
        ("2min", 2 * MINUTE),
        (" 20 ms ", 20 * MS),
        ("20MS", 20 * MS),
        (".5ms", 500 * US),
        ("0", 0),
        ("0.1s", SECOND // 10),
        ("1.0000000004s", SECOND),
    ],
)
def test_durations(text: str, value: int) -> None:
    assert quantities.duration(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("50mbit", 50_000_000),
        ("64kbit", 64_000),
        ("1gbit", 10**9),
        ("2.5Gbit/s", 2_500_000_000),
        ("900bit", 900),
        ("0", 0),
    ],
)
def test_rates(text: str, value: int) -> None:
    assert quantities.rate(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("1500", 1500), ("64kB", 64_000), ("64KiB", 65_536), ("10MB", 10**7), ("1 GiB", 1 << 30), ("3bytes", 3)],
)
def test_sizes(text: str, value: int) -> None:
    assert quantities.size(text) == value


@pytest.mark.parametrize(("text", "value"), [("2%", 0.02), ("0.1%", 0.001), ("0.02", 0.02), ("1", 1.0), ("100%", 1.0)])
def test_probabilities(text: str, value: float) -> None:
    assert quantities.probability(text) == value


@pytest.mark.parametrize(
    ("read", "text", "says"),
    [
        (quantities.duration, "20", "20ms"),
        (quantities.duration, "soon", "a duration such as 20ms"),
        (quantities.duration, "20 parsecs", "a duration such as 20ms"),
        (quantities.duration, "-3ms", "a duration such as 20ms"),
        (quantities.duration, "99999999999s", "too much"),
        (quantities.rate, "50", "50mbit"),
        (quantities.rate, "50mbps", "bits or bytes"),
        (quantities.rate, "50MB", "bits or bytes"),
        (quantities.size, "64 furlongs", "a size such as 64kB"),
        (quantities.probability, "2", "write 2% if you mean percent"),
        (quantities.probability, "120%", "more than 1"),
        (quantities.probability, "2ms", "a probability such as 2%"),
        (quantities.probability, "half", "a probability such as 2%"),
    ],
)
def test_what_is_refused_and_what_is_said(read, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("%", "%")):
        read(text)


@given(st.integers(0, 10**15))
def test_a_formatted_duration_reads_as_the_same(value: int) -> None:
    assert quantities.duration(quantities.format_duration(value)) == value


@given(st.integers(0, 10**12))
def test_a_formatted_rate_reads_as_the_same(value: int) -> None:
    assert quantities.rate(quantities.format_rate(value)) == value
