"""What ICMP errors mean to TCP, and the limit on answers."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.ip.icmp import TokenBucket, claimed_mtu, meaning
from stack.wire.units import MS, SECOND

NOTHING = None


@pytest.mark.parametrize(
    ("version", "kind", "code", "expected"),
    [
        (4, 3, 0, (errno.ENETUNREACH, False)),
        (4, 3, 1, (errno.EHOSTUNREACH, False)),
        (4, 3, 2, (errno.ENOPROTOOPT, True)),
        (4, 3, 3, (errno.ECONNREFUSED, True)),
        (4, 3, 4, (errno.EMSGSIZE, False)),
        (4, 3, 5, (errno.EOPNOTSUPP, False)),
        (4, 3, 6, (errno.ENETUNREACH, False)),
        (4, 3, 7, (errno.EHOSTDOWN, False)),
        (4, 3, 8, (errno.ENONET, False)),
        (4, 3, 9, (errno.ENETUNREACH, False)),
        (4, 3, 10, (errno.EHOSTUNREACH, False)),
        (4, 3, 11, (errno.ENETUNREACH, False)),
        (4, 3, 12, (errno.EHOSTUNREACH, False)),
        (4, 3, 14, (errno.EHOSTUNREACH, False)),
        (4, 3, 15, (errno.EHOSTUNREACH, False)),
        (4, 3, 13, (errno.EHOSTUNREACH, False)),
        (4, 3, 255, (errno.EHOSTUNREACH, False)),
        (4, 4, 0, NOTHING),  # source quench: RFC 6633
        (4, 5, 1, NOTHING),  # redirect
        (4, 11, 0, (errno.EHOSTUNREACH, False)),
        (4, 11, 1, (errno.EHOSTUNREACH, False)),
        (4, 12, 0, (errno.EPROTO, False)),
        (4, 0, 0, NOTHING), (4, 8, 0, NOTHING), (4, 13, 0, NOTHING), (4, 255, 255, NOTHING),
        (6, 1, 0, (errno.ENETUNREACH, False)),
        (6, 1, 1, (errno.EACCES, False)),
        (6, 1, 2, (errno.EHOSTUNREACH, False)),
        (6, 1, 3, (errno.EHOSTUNREACH, False)),
        (6, 1, 4, (errno.ECONNREFUSED, True)),
        (6, 1, 5, (errno.EACCES, False)),
        (6, 1, 6, (errno.EACCES, False)),
        (6, 1, 200, (errno.EHOSTUNREACH, False)),
        (6, 2, 0, (errno.EMSGSIZE, False)),
        (6, 3, 0, (errno.EHOSTUNREACH, False)),
        (6, 4, 0, (errno.EPROTO, False)),
        (6, 4, 1, (errno.EPROTO, False)),
        (6, 4, 2, (errno.EPROTO, False)),
        (6, 127, 0, NOTHING), (6, 128, 0, NOTHING), (6, 137, 0, NOTHING), (6, 0, 0, NOTHING),
    ],
)  # fmt: skip
def test_meaning(version: int, kind: int, code: int, expected: tuple[int, bool] | None) -> None:
    what = meaning(kind, code, version)
    assert (None if what is None else (what.code, what.hard)) == expected


@pytest.mark.parametrize(
    ("version", "kind", "code", "rest", "expected"),
    [
        (4, 3, 4, 1400, 1400),
        (4, 3, 4, 0xABCD_0578, 1400),  # the half before it is unused
        (4, 3, 4, 0, 0),
        (4, 3, 3, 1400, -1),
        (4, 11, 4, 1400, -1),
        (4, 2, 0, 1400, -1),
        (6, 2, 0, 1400, 1400),
        (6, 2, 9, 1400, 1400),  # the code is to be ignored (RFC 4443 3.2)
        (6, 2, 0, 1 << 20, 1 << 20),
        (6, 3, 4, 1400, -1),
        (6, 1, 4, 1400, -1),
    ],
)
def test_claimed_mtu(version: int, kind: int, code: int, rest: int, expected: int) -> None:
    assert claimed_mtu(kind, code, rest, version) == expected


@given(st.sampled_from([4, 6]), st.integers(0, 255), st.integers(0, 255))
def test_every_message_has_a_meaning_or_none(version: int, kind: int, code: int) -> None:
    what = meaning(kind, code, version)
    assert what is None or what.code in errno.errorcode


def test_bucket_starts_full_and_refills() -> None:
    bucket = TokenBucket(10)
    start = 5 * SECOND
    assert [bucket.take(start) for _ in range(12)] == [True] * 10 + [False] * 2
    assert not bucket.take(start + 99 * MS)
    assert bucket.take(start + 100 * MS)
    assert not bucket.take(start + 199 * MS)
    assert [bucket.take(start + 500 * MS) for _ in range(5)] == [True] * 4 + [False]


def test_bucket_holds_no_more_than_a_burst() -> None:
    bucket = TokenBucket(10)
    bucket.take(0)
    assert sum(bucket.take(1000 * SECOND) for _ in range(100)) == 10


@given(st.integers(1, 1000), st.lists(st.integers(0, SECOND // 10), min_size=1, max_size=200))
def test_bucket_against_its_definition(rate: int, gaps: list[int]) -> None:
    """In any stretch of time at most a burst, and the rate for the time that passed; and never less than is due."""
    bucket, now, taken = TokenBucket(rate), 0, []
    for gap in gaps:
        now += gap
        if bucket.take(now):
            taken.append(now)
        else:
            recent = [time for time in taken if now - time <= SECOND + SECOND // rate]
            assert len(recent) >= rate // 2 or rate == 1
    for index, first in enumerate(taken):
        allowed = rate + 1 + (taken[-1] - first) * rate / SECOND + 1
        assert len(taken) - index <= allowed
