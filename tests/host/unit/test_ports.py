"""Ephemeral ports (RFC 6056): unpredictable, spread, and each destination's in turn."""

from __future__ import annotations

import errno
from collections import Counter

import pytest

from stack.host.isn import Numbers
from stack.host.ports import FIRST, LAST, PortChooser

LOCAL, REMOTE = bytes((10, 9, 0, 2)), bytes((10, 9, 0, 1))


def chooser(secret: bytes = b"0123456789abcdef") -> PortChooser:
    return PortChooser(Numbers(secret))


def always(_: int) -> bool:
    return True


def test_range() -> None:
    assert LAST - FIRST + 1 >= 16_384
    ports = chooser()
    for index in range(2000):
        remote = index.to_bytes(4, "big")
        assert FIRST <= ports.choose(LOCAL, remote, 80, always) <= LAST


def test_one_destination_uses_all_ports_before_one_comes_again() -> None:
    """So that a port rests while the far end may still be in TIME-WAIT."""
    ports = chooser()
    count = LAST - FIRST + 1
    chosen = [ports.choose(LOCAL, REMOTE, 80, always) for _ in range(count)]
    assert sorted(chosen) == list(range(FIRST, LAST + 1))
    assert [ports.choose(LOCAL, REMOTE, 80, always) for _ in range(10)] == chosen[:10]


def test_first_ports_of_many_destinations_are_spread() -> None:
    ports = chooser()
    found = Counter(
        (ports.choose(LOCAL, index.to_bytes(4, "big"), 443, always) - FIRST) * 64 // (LAST - FIRST + 1)
        for index in range(10_000)
    )
    expected = 10_000 / 64
    # 63 degrees of freedom: chi-square is beyond 130 in one of 10^6 cases.
    assert sum((found[value] - expected) ** 2 / expected for value in range(64)) < 130


@pytest.mark.parametrize("other", [(LOCAL, REMOTE, 81), (LOCAL, bytes((10, 9, 0, 3)), 80), (REMOTE, LOCAL, 80)])
def test_one_destination_says_nothing_about_another(other: tuple[bytes, bytes, int]) -> None:
    """RFC 6056 3.3.4: probing one destination does not show how many connections another gets."""
    quiet, busy = chooser(), chooser()
    for _ in range(50):
        busy.choose(LOCAL, REMOTE, 80, always)
    assert quiet.choose(*other, always) == busy.choose(*other, always)


def test_another_secret_gives_other_ports() -> None:
    ours = [chooser().choose(LOCAL, bytes((10, 9, 1, last)), 80, always) for last in range(50)]
    theirs = [chooser(b"another secret..").choose(LOCAL, bytes((10, 9, 1, last)), 80, always) for last in range(50)]
    assert sum(a == b for a, b in zip(ours, theirs, strict=True)) <= 1


def test_ports_in_use_are_passed_over() -> None:
    ports = chooser()
    first = ports.choose(LOCAL, REMOTE, 80, always)
    taken = set(range(FIRST, LAST + 1)) - {first}
    assert chooser().choose(LOCAL, REMOTE, 80, lambda port: port not in taken) == first


def test_none_left() -> None:
    with pytest.raises(OSError, match="in use") as caught:
        chooser().choose(LOCAL, REMOTE, 80, lambda _: False)
    assert caught.value.errno == errno.EADDRNOTAVAIL
