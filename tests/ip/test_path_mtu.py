"""What is believed of the MTU of a path, and for how long (RFC 1191, RFC 8201)."""

from __future__ import annotations

import pytest

from stack.ip.path_mtu import AGE, LEAST_V4, MAX_PATHS, PLATEAUS, PathMtus
from stack.wire.address import parse_address
from stack.wire.units import MINUTE, NEVER, SECOND

V4, V6 = parse_address("192.0.2.1"), parse_address("2001:db8::1")
NOW = 5 * SECOND


# RFC1191-01, RFC1191-02, RFC8201-05, RFC8201-06
@pytest.mark.parametrize(
    ("remote", "claimed", "length", "believed"),
    [
        (V4, 1400, 1500, 1400),
        (V4, 576, 1500, 576),
        (V4, 552, 1500, 552),
        (V4, 551, 1500, LEAST_V4),
        (V4, 296, 1500, LEAST_V4),
        (V4, 1499, 1500, 1499),
        (V4, 1500, 1500, 0),  # no less than what was thought
        (V4, 9000, 1500, 0),
        (V4, 65535, 1500, 0),
        (V4, 68, 1500, LEAST_V4),  # a path as narrow as that is beyond us
        (V4, 67, 1500, 0),  # no path is
        (V4, 1, 1500, 0),
        (V6, 1400, 1500, 1400),
        (V6, 1280, 1500, 1280),
        (V6, 1279, 1500, 0),
        (V6, 0, 1500, 0),
        (V6, 68, 1500, 0),
        (V6, 1500, 1500, 0),
        (V6, 1 << 31, 1500, 0),
    ],
)
def test_what_is_believed(remote: bytes, claimed: int, length: int, believed: int) -> None:
    assert PathMtus(1500).believable(remote, claimed, length) == believed


# RFC1191-01
@pytest.mark.parametrize(
    ("length", "believed"),
    [
        (65535, 1492),  # the length of a super-frame: what was on the wire is not longer than the path was thought
        (1500, 1492),
        (1493, 1492),
        (1492, 1006),
        (1007, 1006),
        (1006, LEAST_V4),
        (100, LEAST_V4),
        (67, 1492),  # nobody sends packets as short as that
        (0, 1492),
    ],
)
def test_routers_that_do_not_say(length: int, believed: int) -> None:
    """RFC 1191 5: from routers of before, the MTU is 0."""
    assert PathMtus(1500).believable(V4, 0, length) == believed


# RFC1191-01
def test_plateaus_one_after_the_other() -> None:
    paths = PathMtus(65535)
    found = []
    while mtu := paths.believable(V4, 0, 65535):
        paths.lower(V4, mtu, NOW)
        found.append(mtu)
    assert tuple(found) == (*PLATEAUS[1:], LEAST_V4)


def test_a_link_that_is_narrower_than_a_claim() -> None:
    paths = PathMtus(576)
    assert paths.mtu(V4) == 576
    assert paths.believable(V4, 1000, 576) == 0
    assert paths.believable(V6, 1280, 576) == 0
    assert paths.believable(V4, 560, 576) == 560
    assert paths.believable(V4, 100, 576) == LEAST_V4


# RFC1191-07
def test_estimates_by_destination() -> None:
    paths = PathMtus(1500)
    paths.lower(V4, 1400, NOW)
    assert paths.mtu(V4) == 1400
    assert paths.mtu(V6) == 1500
    assert paths.mtu(parse_address("192.0.2.2")) == 1500
    assert paths.believable(V4, 1400, 1500) == 0
    assert paths.believable(V4, 1450, 1500) == 0
    assert paths.believable(V4, 1300, 1500) == 1300


# RFC1191-03
def test_estimates_are_forgotten_after_ten_minutes() -> None:
    paths = PathMtus(1500)
    assert paths.next_timeout() == NEVER
    paths.lower(V4, 1400, NOW)
    paths.lower(V6, 1300, NOW + MINUTE)
    versions = [paths.version]
    assert paths.next_timeout() == NOW + AGE == NOW + 10 * MINUTE
    paths.on_timeout(NOW + AGE - 1)
    versions.append(paths.version)
    assert paths.mtu(V4) == 1400
    paths.on_timeout(NOW + AGE)
    versions.append(paths.version)
    assert (paths.mtu(V4), paths.mtu(V6)) == (1500, 1300)
    assert paths.next_timeout() == NOW + MINUTE + AGE
    paths.on_timeout(NOW + 2 * AGE)
    assert len(paths) == 0
    assert paths.next_timeout() == NEVER
    assert versions[0] == versions[1] < versions[2] < paths.version


# RFC1191-03
def test_another_complaint_begins_the_ten_minutes_anew() -> None:
    paths = PathMtus(1500)
    paths.lower(V4, 1400, NOW)
    paths.lower(V6, 1400, NOW + MINUTE)
    paths.lower(V4, 1300, NOW + 2 * MINUTE)
    paths.on_timeout(NOW + MINUTE + AGE)
    assert (paths.mtu(V4), paths.mtu(V6)) == (1300, 1500)
    assert paths.next_timeout() == NOW + 2 * MINUTE + AGE


def test_there_is_a_bound() -> None:
    """The one that would be forgotten next makes way, and everybody hears that something has changed."""
    paths = PathMtus(1500)
    for number in range(MAX_PATHS + 1):
        paths.lower(number.to_bytes(4, "big"), 1000, NOW + number)
    assert len(paths) == MAX_PATHS
    assert paths.version == MAX_PATHS + 1
    assert paths.mtu(bytes(4)) == 1500
    assert paths.mtu(bytes(3) + b"\x01") == 1000
