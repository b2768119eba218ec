"""Datagrams for a host without UDP: malformed ones, and errors of ours that would amplify or betray."""

from __future__ import annotations

import struct

import pytest

from stack.host.echo import ERRORS_PER_SECOND
from stack.wire.address import parse_address
from stack.wire.units import SECOND
from tests.security.target import PORT, THEM4, THEM6, US6, Target, ip4, ip6, ones_complement_sum

OTHER4 = parse_address("10.9.0.77")


def datagram(port: int, *, length: int = 8, summed: tuple[bytes, bytes] | None = None) -> bytes:
    """UDP without text; with a checksum if the addresses are given."""
    octets = struct.pack("!HHHH", 4000, port, length, 0)
    if summed is None:
        return octets
    pseudo = b"".join(summed) + struct.pack("!II", len(octets), 17)
    return octets[:6] + (ones_complement_sum(pseudo + octets) ^ 0xFFFF).to_bytes(2, "big")


def test_icm_11_limit_of_errors_tells_nothing() -> None:
    """Whether a probe has drawn an error is the same for all ports, also for that where TCP listens."""
    target = Target()
    for port in range(ERRORS_PER_SECOND):
        target.expect(ip4(datagram(port), src=OTHER4 if port & 1 else THEM4, protocol=17), "icmp", "port-unreachable")
    target.expect(ip4(datagram(PORT), protocol=17), "", "icmp-rate-limited")
    target.wait(SECOND)
    (error,) = target.expect(ip4(datagram(PORT), protocol=17), "icmp", "port-unreachable")
    assert len(error.frame) == 28 + 28


@pytest.mark.parametrize("size", range(8))
def test_udp_01_less_than_a_datagram(size: int) -> None:
    Target().expect(ip4(datagram(53)[:size], protocol=17), "", "truncated")
    Target().expect(ip6(datagram(53)[:size], next_header=17), "", "truncated")


@pytest.mark.parametrize(("length", "reason"), [(0, "bad-header"), (7, "bad-header"), (9, "truncated")])
def test_udp_01_lengths_that_cannot_be(length: int, reason: str) -> None:
    Target().expect(ip4(datagram(53, length=length), protocol=17), "", reason)
    Target().expect(ip6(datagram(53, length=length), next_header=17), "", reason)


def test_udp_01_no_checksum_over_ipv6() -> None:
    Target().expect(ip6(datagram(53), next_header=17), "", "bad-checksum")
    Target().expect(ip6(datagram(53, summed=(THEM6, US6)), next_header=17), "icmp", "port-unreachable")


@pytest.mark.parametrize("group", ["10.9.0.255", "255.255.255.255", "224.0.0.1"])
def test_udp_03_groups(group: str) -> None:
    address = parse_address(group)
    Target().expect(ip4(datagram(53), src=address, protocol=17), "", "martian")
    Target().expect(ip4(datagram(53), dst=address, protocol=17), "", "broadcast")


def test_udp_03_groups_of_ipv6() -> None:
    address = parse_address("ff02::1")
    Target().expect(ip6(datagram(53, summed=(address, US6)), src=address, next_header=17), "", "martian")
    Target().expect(ip6(datagram(53, summed=(THEM6, address)), dst=address, next_header=17), "", "broadcast")
