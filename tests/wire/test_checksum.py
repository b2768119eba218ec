"""The Internet checksum against RFC 1071's own loop, with the two zeros told apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.wire.checksum import address_sum, checksum, fold, partial_sum, pseudo_header_sum, sum_buffers
from tests.wire.frames import DST4, DST6, SRC4, SRC6, ones_complement_sum


@given(st.binary(max_size=200))
def test_partial_sum_is_the_loop_of_rfc_1071(data: bytes) -> None:
    assert partial_sum(data) == ones_complement_sum(data)
    assert checksum(data) == ones_complement_sum(data) ^ 0xFFFF


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (bytes(20), 0),
        (b"\xff\xff", 0xFFFF),
        (b"\xff\xff\xff\xff", 0xFFFF),
        (b"\x80\x00\x7f\xff", 0xFFFF),
        (b"\x00\x01\xff\xff", 1),
        (b"\x00\x01\xf2\x03\xf4\xf5\xf6\xf7", 0xDDF2),  # RFC 1071 section 3's example
        (b"\x12", 0x1200),
    ],
)
def test_sums_worth_naming(data: bytes, expected: int) -> None:
    assert partial_sum(data) == expected
    assert partial_sum(memoryview(data)) == expected


def test_only_zero_folds_to_zero() -> None:
    assert [fold(value) for value in (0, 1, 65534, 65535, 65536, 131070)] == [0, 1, 65534, 65535, 1, 65535]


@given(st.binary(max_size=60), st.integers(0, 0xFFFF))
def test_a_start_is_one_more_word(data: bytes, start: int) -> None:
    assert partial_sum(data, start) == ones_complement_sum(start.to_bytes(2, "big") + data)


@given(st.lists(st.binary(max_size=9), max_size=6), st.integers(0, 0xFFFF))
def test_buffers_sum_as_if_joined(buffers: list[bytes], start: int) -> None:
    assert sum_buffers(buffers, start) == partial_sum(b"".join(buffers), start)


@pytest.mark.parametrize(("src", "dst"), [(SRC4, DST4), (SRC6, DST6)], ids=["ipv4", "ipv6"])
def test_pseudo_header(src: bytes, dst: bytes) -> None:
    if len(src) == 4:
        header = src + dst + b"\x00\x06" + (1480).to_bytes(2, "big")  # RFC 9293 3.1
    else:
        header = src + dst + (1480).to_bytes(4, "big") + b"\x00\x00\x00\x06"  # RFC 8200 8.1
    assert pseudo_header_sum(src, dst, 6, 1480) == ones_complement_sum(header)
    assert address_sum(src, dst) == ones_complement_sum(src + dst)


def test_a_length_over_16_bits_counts_as_two_words() -> None:
    header = SRC6 + DST6 + (70000).to_bytes(4, "big") + b"\x00\x00\x00\x06"
    assert pseudo_header_sum(SRC6, DST6, 6, 70000) == ones_complement_sum(header)
