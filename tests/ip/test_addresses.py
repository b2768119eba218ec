"""Which addresses are ours, which nobody can have, and where we talk from."""

from __future__ import annotations

import errno

import pytest

from stack.ip.addresses import AddressTable, is_valid_remote, is_valid_source
from stack.wire.address import parse_address


def table(*cidrs: str) -> AddressTable:
    made = AddressTable()
    for cidr in cidrs:
        made.add(cidr)
    return made


def test_add_and_remove() -> None:
    addresses = table("10.9.0.2/24", "fd00::2/64")
    assert addresses.cidrs() == ["10.9.0.2/24", "fd00::2/64"]
    assert addresses.is_local(parse_address("10.9.0.2"))
    assert addresses.is_local(parse_address("fd00::2"))
    assert not addresses.is_local(parse_address("10.9.0.1"))
    assert addresses.remove("10.9.0.2/24") == parse_address("10.9.0.2")
    assert addresses.remove("fd00::2") == parse_address("fd00::2")
    assert addresses.cidrs() == []
    with pytest.raises(ValueError, match="not an address of this host"):
        addresses.remove("10.9.0.2")


@pytest.mark.parametrize(
    "cidr",
    [
        "0.0.0.0/8", "127.0.0.1/8", "127.9.9.9/32", "224.0.0.1/4", "239.1.2.3/32",
        "10.9.0.255/24", "10.9.0.0/24", "10.9.0.3/30", "10.9.0.4/30",
        "::/64", "::1/128", "ff02::1/16", "::ffff:10.9.0.2/96",
        "10.9.0.2/33", "10.9.0/24", "fd00::2/129", "", "localhost",
    ],
)  # fmt: skip
def test_addresses_that_no_host_can_have(cidr: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        table(cidr)


@pytest.mark.parametrize("cidr", ["10.9.0.0/31", "10.9.0.1/31", "10.9.0.9/32", "fd00::/64", "fd00::ffff/112"])
def test_point_to_point_links_have_no_broadcast(cidr: str) -> None:
    """RFC 3021; and in IPv6 there is none at all."""
    assert table(cidr).cidrs() == [cidr]


def test_broadcasts() -> None:
    addresses = table("10.9.0.2/24", "10.9.0.130/25")
    assert addresses.is_broadcast(parse_address("255.255.255.255"))
    for text in ("10.9.0.255", "10.9.0.0", "10.9.0.128"):
        assert addresses.is_broadcast(parse_address(text)), text
    assert not addresses.is_broadcast(parse_address("10.9.1.255"))
    addresses.remove("10.9.0.130")
    assert not addresses.is_broadcast(parse_address("10.9.0.128"))
    assert addresses.is_broadcast(parse_address("10.9.0.255"))
    assert addresses.is_broadcast(parse_address("255.255.255.255"))


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("10.9.0.1", True), ("1.0.0.0", True), ("192.0.2.1", True), ("223.255.255.255", True),
        ("0.0.0.0", False), ("0.1.2.3", False), ("127.0.0.1", False), ("127.255.255.254", False),
        ("224.0.0.1", False), ("239.255.255.255", False), ("240.0.0.1", False), ("255.255.255.255", False),
        ("fd00::1", True), ("fe80::1", True), ("2001:db8::1", True), ("::2", True),
        ("::", False), ("::1", False), ("ff02::1", False), ("ff0e::1", False), ("::ffff:10.9.0.1", False),
    ],
)  # fmt: skip
def test_sources_and_remotes(text: str, valid: bool) -> None:
    assert is_valid_source(parse_address(text)) is valid
    assert is_valid_remote(parse_address(text)) is valid


@pytest.mark.parametrize(
    ("remote", "source"),
    [
        ("10.9.0.1", "10.9.0.2"),  # on its network
        ("10.9.7.1", "10.9.7.2"),  # the longer prefix, although it was added later
        ("10.8.0.1", "10.9.0.2"),  # neither: the first
        ("fd00::1", "fd00::2"),
        ("2001:db8::1", "fd00::2"),  # not from a link-local address
        ("fe80::1", "fe80::2"),
    ],
)
def test_source_for(remote: str, source: str) -> None:
    addresses = table("10.9.0.2/16", "10.9.7.2/24", "fe80::2/64", "fd00::2/64")
    assert addresses.source_for(parse_address(remote)) == parse_address(source)


def test_no_source() -> None:
    addresses = table("10.9.0.2/24")
    with pytest.raises(OSError, match="no IPv6 address") as caught:
        addresses.source_for(parse_address("fd00::1"))
    assert caught.value.errno == errno.ENETUNREACH
