"""Addresses as text and as octets."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given

from stack.wire import address
from tests.wire.frames import addresses4, addresses6


@given(addresses4)
def test_ipv4_text_is_what_inet_ntop_writes(octets: bytes) -> None:
    assert address.format_address(octets) == socket.inet_ntop(socket.AF_INET, octets)
    assert address.parse_address(address.format_address(octets)) == octets


@given(addresses6)
def test_ipv6_text_reads_back(octets: bytes) -> None:
    text = address.format_address(octets)
    assert address.parse_address(text) == octets
    assert socket.inet_pton(socket.AF_INET6, text) == octets


@pytest.mark.parametrize(
    "text", ["0.0.0.0", "255.255.255.255", "::", "::1", "fd00::2", "2001:db8::1:0:0:1", "::ffff:10.9.0.1"]
)
def test_the_usual_form_survives(text: str) -> None:
    assert address.format_address(address.parse_address(text)) == text


def test_a_zone_is_dropped() -> None:
    assert address.parse_address("fe80::1%tun0") == address.parse_address("fe80::1")


@pytest.mark.parametrize("text", ["", "10.9.0", "10.9.0.256", "fd00::2::1", "example.org", "10.9.0.1/24"])
def test_what_is_no_address_raises(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear"):
        address.parse_address(text)


@pytest.mark.parametrize("length", [0, 3, 5, 15, 17])
def test_octets_that_are_no_address_raise(length: int) -> None:
    with pytest.raises(ValueError, match="4 or 16"):
        address.format_address(bytes(length))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.9.0.2/24", (bytes((10, 9, 0, 2)), 24)),
        ("10.9.0.2", (bytes((10, 9, 0, 2)), 32)),
        ("fd00::2/64", (address.parse_address("fd00::2"), 64)),
        ("fd00::2", (address.parse_address("fd00::2"), 128)),
    ],
)
def test_cidr(text: str, expected: tuple[bytes, int]) -> None:
    assert address.parse_cidr(text) == expected


@pytest.mark.parametrize("text", ["10.9.0.2/33", "fd00::2/129", "10.9.0.2/", "/24"])
def test_a_bad_cidr_raises(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear"):
        address.parse_cidr(text)


def test_endpoints() -> None:
    assert address.format_endpoint(bytes((10, 9, 0, 2)), 80) == "10.9.0.2:80"
    assert address.format_endpoint(address.parse_address("fd00::2"), 80) == "[fd00::2]:80"


#: Address, then which of multicast, unspecified, loopback and v4-mapped it is.
KINDS = [
    ("10.9.0.2", ""),
    ("223.255.255.255", ""),
    ("224.0.0.1", "multicast"),
    ("239.255.255.255", "multicast"),
    ("240.0.0.1", ""),
    ("0.0.0.0", "unspecified"),
    ("0.0.0.1", ""),
    ("127.0.0.1", "loopback"),
    ("127.255.0.1", "loopback"),
    ("fd00::2", ""),
    ("fe80::1", ""),
    ("ff02::1", "multicast"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("7f00::1", ""),
    ("e000::1", ""),
    ("::ffff:10.9.0.1", "v4_mapped"),
]


@pytest.mark.parametrize(("text", "kind"), KINDS)
def test_kinds(text: str, kind: str) -> None:
    octets = address.parse_address(text)
    tests = {
        "multicast": address.is_multicast,
        "unspecified": address.is_unspecified,
        "loopback": address.is_loopback,
        "v4_mapped": address.is_v4_mapped,
    }
    assert [name for name, test in tests.items() if test(octets)] == ([kind] if kind else [])
