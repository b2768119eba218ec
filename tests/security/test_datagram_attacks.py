"""Datagrams: malformed ones, too many, and errors of ours that would amplify or betray."""

from __future__ import annotations

import struct

import pytest

from stack.host.echo import DESTINATIONS, ERRORS_PER_DESTINATION, ERRORS_PER_SECOND, ErrorLimit
from stack.host.isn import Numbers
from stack.wire.address import parse_address
from stack.wire.units import SECOND
from tests.security.target import PORT, THEM4, THEM6, US6, Target, ip4, ip6, ones_complement_sum

OTHER4 = parse_address("10.9.0.77")


def datagram(
    port: int, *, text: bytes = b"", length: int | None = None, summed: tuple[bytes, bytes] | None = None
) -> bytes:
    """UDP, with a checksum if the addresses are given."""
    octets = struct.pack("!HHHH", 4000, port, 8 + len(text) if length is None else length, 0) + text
    if summed is None:
        return octets
    pseudo = b"".join(summed) + struct.pack("!II", len(octets), 17)
    return octets[:6] + (ones_complement_sum(pseudo + octets) ^ 0xFFFF).to_bytes(2, "big")


def host(number: int) -> bytes:
    return parse_address(f"10.9.{1 + number // 250}.{1 + number % 250}")


def probe(port: int, source: bytes = THEM4) -> bytes:
    return ip4(datagram(port), src=source, protocol=17)


def test_icm_11_limit_of_one_destination_is_its_own() -> None:
    """Whether a probe has drawn an error is the same for all ports; others in another's name use up nothing of it."""
    target = Target()
    target.host.bind_datagrams(53)
    for port in range(1000, 1000 + ERRORS_PER_DESTINATION):
        target.expect(probe(port, OTHER4), "icmp", "port-unreachable")
    target.expect(probe(PORT, OTHER4), "", "icmp-rate-limited")
    (error,) = target.expect(probe(PORT), "icmp", "port-unreachable")
    assert len(error.frame) == 28 + 28
    target.wait(SECOND)
    target.expect(probe(PORT, OTHER4), "icmp", "port-unreachable")


@pytest.mark.parametrize("secret", [b"a secret of the target", b"a secret of another one"])
def test_icm_11_common_limit_cannot_be_counted(secret: bytes) -> None:
    """Probes of closed and of open ports, in the names of many, leave as much of it as nobody can know."""
    answered = 0
    target = Target(secret=secret)
    for number in range(3000):
        answered += len(target.hit(probe(4000 + number, host(number))))
    assert ERRORS_PER_SECOND * 0.9 < answered < ERRORS_PER_SECOND * 1.1
    assert answered != ERRORS_PER_SECOND
    assert target.host.counters.drops["icmp-rate-limited"] == 3000 - answered


def test_icm_11_limit_keeps_no_more_than_so_many() -> None:
    limit = ErrorLimit(Numbers(bytes(32)))
    for number in range(20_000):
        limit.take(number.to_bytes(16, "little"), number * SECOND)
    assert len(limit._destinations) <= DESTINATIONS


def test_udp_02_unread_socket_is_bounded() -> None:
    """What has come first stays."""
    target = Target()
    port = target.host.bind_datagrams(53)
    for number in range(10_000):
        target.hit(ip4(datagram(53, text=number.to_bytes(2, "big") * (number % 500)), protocol=17))
    assert port.unread <= port.receive_buffer
    assert target.host.counters.drops["datagram-queue-full"] > 9_000
    assert port.read() == (b"", (THEM4, 4000))
    assert port.read() == (b"\x00\x01", (THEM4, 4000))
    for _ in range(10_000):
        target.hit(ip4(datagram(53), protocol=17))
    assert port.unread <= port.receive_buffer


def test_udp_03_groups_for_an_open_port() -> None:
    target = Target()
    port = target.host.bind_datagrams(53)
    target.expect(ip4(datagram(53), src=parse_address("224.0.0.1"), protocol=17), "", "martian")
    target.expect(ip4(datagram(53), dst=parse_address("10.9.0.255"), protocol=17), "", "broadcast")
    assert not port.readable


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
