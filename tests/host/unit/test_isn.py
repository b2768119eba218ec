"""Initial sequence numbers (RFC 6528) and timestamp offsets (RFC 7323 7.1)."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from stack.host.isn import Numbers
from stack.wire.units import SECOND, US

SECRET = b"0123456789abcdef"


def keys(count: int) -> list[bytes]:
    """As of connections from one address to successive ports: the ones that an attacker can make."""
    return [bytes((10, 9, 0, 2, 10, 9, 0, 1)) + index.to_bytes(4, "big") for index in range(count)]


def test_secret_must_be_long() -> None:
    with pytest.raises(ValueError, match="16"):
        Numbers(b"0123456789abcde")


def test_same_secret_and_time_give_the_same_numbers() -> None:
    assert Numbers(SECRET).isn(b"key", 5) == Numbers(SECRET).isn(b"key", 5)
    assert Numbers(SECRET).isn(b"key", 5) != Numbers(b"another secret..").isn(b"key", 5)


# RFC 9293 MUST-8
def test_clock_of_four_microseconds() -> None:
    """RFC 9293 MUST-8: the number of a pair of endpoints grows by one every 4 us, and wraps after 4.77 hours."""
    numbers = Numbers(SECRET)
    start = numbers.isn(b"key", 0)
    for ticks in (1, 2, 1000, 250_000, (1 << 32) - 1):
        assert numbers.isn(b"key", ticks * 4 * US) == (start + ticks) & 0xFFFFFFFF
        assert numbers.isn(b"key", ticks * 4 * US - 1) == (start + ticks - 1) & 0xFFFFFFFF
    assert numbers.isn(b"key", (1 << 32) * 4 * US) == start


# RFC6528-02
# RFC 9293 MUST-9
def test_numbers_of_other_pairs_tell_nothing() -> None:
    """Neither the numbers nor their differences repeat or lean to a side."""
    numbers = Numbers(SECRET)
    found = [numbers.isn(key, SECOND) for key in keys(10_000)]
    assert len(set(found)) >= 9_995  # 11.6 pairs of 10,000 meet by chance in 2^32 / 1000
    differences = [(b - a) & 0xFFFFFFFF for a, b in pairwise(found)]
    assert len(set(differences)) >= 9_990
    for sample in (found, differences):
        for shift in (0, 8, 16, 24):
            octets = Counter(number >> shift & 0xFF for number in sample)
            # 255 degrees of freedom: chi-square is beyond 380 in one of 10^6 cases.
            expected = len(sample) / 256
            assert sum((octets[value] - expected) ** 2 / expected for value in range(256)) < 380


def test_uses_are_kept_apart() -> None:
    numbers = Numbers(SECRET)
    local, remote = bytes((10, 9, 0, 2)), bytes((10, 9, 0, 1))
    found = {
        numbers.isn(local + remote, 0),
        numbers.timestamp_offset(local, remote),
        numbers.timestamp_offset(remote, local),
        numbers.keyed(b"port-f", local + remote),
        numbers.keyed(b"port-g", local + remote),
    }
    assert len(found) == 5


def test_timestamp_offset_depends_on_addresses_only() -> None:
    """It must not step back from one connection of a pair of hosts to the next (RFC 6191)."""
    numbers = Numbers(SECRET)
    local = bytes((10, 9, 0, 2))
    offsets = {numbers.timestamp_offset(local, bytes((10, 9, 1, last))) for last in range(200)}
    assert len(offsets) == 200
