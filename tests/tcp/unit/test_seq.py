"""Sequence numbers in and out of their 32 bits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.tcp.seq import HALF, MASK, precedes, unwrap, wrap

wires = st.integers(0, MASK)
numbers = st.integers(0, 1 << 40)


@given(zero=wires, number=numbers)
def test_wrap_and_unwrap_are_inverse(zero: int, number: int) -> None:
    assert unwrap(wrap(number, zero), zero, near=number) == number


@given(zero=wires, number=numbers, distance=st.integers(-HALF + 1, HALF - 1))
def test_unwrap_finds_what_is_within_half_the_circle(zero: int, number: int, distance: int) -> None:
    assert unwrap(wrap(number + distance, zero), zero, near=number) == number + distance


@given(wire=wires, zero=wires, near=numbers)
def test_unwrap_is_the_nearest_of_all_that_wrap_alike(wire: int, zero: int, near: int) -> None:
    found = unwrap(wire, zero, near)
    assert wrap(found, zero) == wire
    assert -HALF <= found - near < HALF


@pytest.mark.parametrize(
    ("wire", "zero", "near", "number"),
    [
        (0, 0xFFFFFFFF, 0, 1),  # the first octet after a SYN just below the wrap
        (0xFFFFFFFE, 0xFFFFFFFF, 0, -1),  # before the SYN: negative, for whoever checks to refuse
        (5, 0xFFFFFFF0, 21, 21),
        (5, 0xFFFFFFF0, 21 + (1 << 32), 21 + (1 << 32)),  # the second time round
        (HALF, 0, 0, -HALF),  # just as far either way: counts as old
        (HALF - 1, 0, 0, HALF - 1),
    ],
)
def test_unwrap_by_hand(wire: int, zero: int, near: int, number: int) -> None:
    assert unwrap(wire, zero, near) == number


@given(a=wires, distance=st.integers(1, HALF - 1))
def test_precedes(a: int, distance: int) -> None:
    b = (a + distance) & MASK
    assert precedes(a, b)
    assert not precedes(b, a)
    assert not precedes(a, a)
