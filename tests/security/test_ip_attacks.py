"""Hostile IP packets: malformed headers, options, extension headers, and addresses that nobody can have."""

from __future__ import annotations

import struct

import pytest

from stack.wire.address import parse_address
from stack.wire.segment import ACK, SYN
from tests.security.target import (
    SYN_OPTIONS,
    THEM6,
    US4,
    US6,
    Target,
    icmp4,
    icmp6,
    ip4,
    ip6,
    kinds,
    tcp_segment,
)

SYN_SEGMENT = tcp_segment(SYN, options=SYN_OPTIONS)
SYN6_SEGMENT = tcp_segment(SYN, options=SYN_OPTIONS, src=THEM6, dst=US6)


# IPv4 headers.


@pytest.mark.parametrize("size", [0, 1, 19])
@pytest.mark.parametrize("first", [0x45, 0x60])
def test_ip4_01_short_frames(size: int, first: int) -> None:
    target = Target()
    target.expect(bytes([first] + [0] * 18)[:size], "", "truncated")
    target.expect(ip4(SYN_SEGMENT), "SA")  # and the loop goes on


# RFC1122-01
@pytest.mark.parametrize("version", [0, 5, 15])
def test_ip4_02_wrong_version(version: int) -> None:
    Target().expect(ip4(SYN_SEGMENT, version=version), "", "bad-version")


@pytest.mark.parametrize(("ihl", "reason"), [(4, "bad-header"), (0, "bad-header"), (15, "truncated")])
def test_ip4_03_header_length(ihl: int, reason: str) -> None:
    Target().expect(ip4(SYN_SEGMENT[:16], ihl=ihl), "", reason)


@pytest.mark.parametrize("extra", [1, 20, 1000, 65_000])
def test_ip4_05_total_length_beyond_the_frame(extra: int) -> None:
    Target().expect(ip4(SYN_SEGMENT, total=20 + len(SYN_SEGMENT) + extra), "", "truncated")


def test_ip4_05_echo_does_not_read_beyond_the_frame() -> None:
    ping = icmp4(8, 0, 1, b"x" * 8)
    Target().expect(ip4(ping, protocol=1, total=20 + len(ping) + 500), "", "truncated")


@pytest.mark.parametrize("padding", [1, 6, 46])
def test_ip4_06_padding_is_no_payload(padding: int) -> None:
    target = Target()
    peer = target.established()
    frame = peer.frame(ACK, payload=b"abc") + b"P" * padding
    assert kinds(target.hit(frame)) == ["A"]
    assert peer.read() == b"abc"
    target.hit(peer.frame(ACK, seq=4) + b"P" * padding)
    assert peer.read() == b""


# RFC1122-02
@pytest.mark.parametrize("error", [1, 0x8000, 0xFFFF])
def test_ip4_07_header_checksum(error: int) -> None:
    Target().expect(ip4(SYN_SEGMENT, checksum_error=error), "", "bad-checksum")


def test_ip4_08_option_of_length_zero() -> None:
    Target().expect(ip4(SYN_SEGMENT, options=b"\x44\x00\x00\x00"), "", "bad-option")


@pytest.mark.parametrize(
    "options",
    [
        b"\x44\x05\x05\x00",  # runs past the header
        b"\x01\x01\x01\x44",  # cut after its kind
        b"\x07\x07\x03\x00\x00\x00\x00\x00",  # record route, pointer 3
        b"\x44\x08\x04\x00\x00\x00\x00\x00",  # timestamp, pointer 4
        b"\x83\xff\x04\x00",
    ],
)
def test_ip4_10_option_past_the_header(options: bytes) -> None:
    Target().expect(ip4(SYN_SEGMENT, options=options), "", "bad-option")


@pytest.mark.parametrize("kind", [0x83, 0x89])
def test_ip4_11_source_routes(kind: int) -> None:
    for target_address in (US4, parse_address("10.9.0.7")):
        options = bytes((kind, 7, 4)) + parse_address("10.9.0.9") + b"\x00"
        Target().expect(ip4(SYN_SEGMENT, dst=target_address, options=options), "", "bad-option")
    ping = icmp4(8, 0, 1, b"x" * 8)
    Target().expect(ip4(ping, protocol=1, options=options), "", "bad-option")


# RFC1122-07
def test_ip4_12_forty_nops() -> None:
    Target().expect(ip4(SYN_SEGMENT, options=b"\x01" * 40), "SA")


@pytest.mark.parametrize("depth", [1, 32])
def test_ip4_13_tunnelled_packets(depth: int) -> None:
    inner = ip4(SYN_SEGMENT)
    for _ in range(depth):
        inner = ip4(inner, protocol=4)
    Target().expect(inner, "", "unknown-protocol")
    Target().expect(ip4(ip6(SYN6_SEGMENT), protocol=41), "", "unknown-protocol")
    Target().expect(ip6(ip4(SYN_SEGMENT), next_header=4), "", "unknown-protocol")


def test_ip4_14_unknown_protocol() -> None:
    Target().expect(ip4(b"x" * 40, protocol=253), "", "unknown-protocol")
    Target().expect(ip4(b"x" * 40, protocol=253, dst=parse_address("10.9.0.255")), "", "broadcast")


# Addresses.


# RFC1122-03
@pytest.mark.parametrize(
    "source", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "10.9.0.255", "10.9.0.0"]
)
def test_adr_01_martian_sources(source: str) -> None:
    src = parse_address(source)
    target = Target()
    target.expect(ip4(tcp_segment(SYN, src=src), src=src), "", "martian")
    target.expect(ip4(tcp_segment(ACK, src=src), src=src), "", "martian")
    target.expect(ip4(icmp4(8, 0, 1, b"x"), src=src, protocol=1), "", "martian")


def test_adr_02_land() -> None:
    target = Target()
    for sport in (80, 81):
        target.expect(ip4(tcp_segment(SYN, sport=sport, src=US4), src=US4), "", "martian")
    target.expect(ip6(tcp_segment(SYN, sport=80, src=US6, dst=US6), src=US6), "", "martian")
    assert target.wait(60 * 10**9) == []


# RFC1122-23
@pytest.mark.parametrize("group", ["10.9.0.255", "10.9.0.0", "255.255.255.255", "224.0.0.1", "239.1.2.3"])
@pytest.mark.parametrize("flags", [SYN, ACK])
@pytest.mark.parametrize("dport", [80, 81])
def test_adr_03_segments_to_groups(group: str, flags: int, dport: int) -> None:
    dst = parse_address(group)
    Target().expect(ip4(tcp_segment(flags, dst=dst, dport=dport), dst=dst), "", "broadcast")


def test_adr_03_segments_to_ipv6_groups() -> None:
    dst = parse_address("ff02::1")
    Target().expect(ip6(tcp_segment(SYN, src=THEM6, dst=dst), dst=dst), "", "broadcast")


@pytest.mark.parametrize("group", ["10.9.0.255", "255.255.255.255", "224.0.0.1"])
def test_adr_06_smurf(group: str) -> None:
    target = Target()
    target.expect(ip4(icmp4(8, 0, 1, b"x" * 56), dst=parse_address(group), protocol=1), "", "broadcast")
    dst = parse_address("ff02::1")
    target.expect(ip6(icmp6(128, 0, 1, b"x" * 56, dst=dst), dst=dst, next_header=58), "", "broadcast")


def test_adr_08_port_zero() -> None:
    target = Target()
    target.expect(ip4(tcp_segment(SYN, dport=0)), "RA", "no-connection")
    target.expect(ip4(tcp_segment(SYN, sport=0)), "SA")
    target.expect(ip4(tcp_segment(ACK, sport=0, dport=0)), "R", "no-connection")


# IPv6.


def extension(next_header: int, body: bytes = b"", length: int | None = None) -> bytes:
    """An extension header: options or what else, padded with PadN."""
    padding = -(len(body) + 2) % 8
    body += bytes((1, padding - 2)) + bytes(padding - 2) if padding > 1 else bytes(padding)
    return bytes((next_header, (len(body) + 2) // 8 - 1 if length is None else length)) + body


@pytest.mark.parametrize(("length", "reason"), [(1000, "truncated"), (65_535, "truncated"), (10, "bad-checksum")])
def test_ip6_01_payload_length(length: int, reason: str) -> None:
    """Ten octets that are left of a segment have the wrong checksum, before they are too short."""
    Target().expect(ip6(SYN6_SEGMENT, length=length), "", reason)


@pytest.mark.parametrize(
    ("count", "answer", "drops"), [(4, "SA", ()), (8, "SA", ()), (9, "", ("bad-option",)), (100, "", ("bad-option",))]
)
def test_ip6_02_chains_of_headers(count: int, answer: str, drops: tuple[str, ...]) -> None:
    chain = extension(60) * (count - 1) + extension(6)
    Target().expect(ip6(chain + SYN6_SEGMENT, next_header=60), answer, *drops)


def test_ip6_02_one_long_header() -> None:
    chain = extension(6, bytes(2) + b"\x01\xfe" + bytes(254) + bytes(10))
    Target().expect(ip6(chain + SYN6_SEGMENT, next_header=60), "", "bad-option")


@pytest.mark.parametrize("kind", [0, 43, 60])
def test_ip6_03_header_past_the_packet(kind: int) -> None:
    Target().expect(ip6(extension(6, length=255) + SYN6_SEGMENT, next_header=kind), "", "truncated")


def test_ip6_05_hop_by_hop_not_in_first_place() -> None:
    target = Target()
    target.expect(ip6(extension(6) + SYN6_SEGMENT, next_header=0), "SA")
    target.expect(ip6(extension(0) + extension(6) + SYN6_SEGMENT, next_header=60), "", "bad-option")


@pytest.mark.parametrize(
    ("kind", "answer", "drops"),
    [(0x1E, "SA", ()), (0x5E, "", ("bad-option",)), (0x9E, "", ("bad-option",)), (0xDE, "", ("bad-option",))],
)
def test_ip6_06_unknown_options(kind: int, answer: str, drops: tuple[str, ...]) -> None:
    """The errors that the last two ask for are left out: dropped is dropped."""
    for header in (0, 60):
        option = bytes((kind, 2, 0, 0))
        Target().expect(ip6(extension(6, option) + SYN6_SEGMENT, next_header=header), answer, *drops)


@pytest.mark.parametrize(("routing_type", "left"), [(0, 1), (0, 0), (2, 1), (4, 3)])
def test_ip6_07_routing_headers(routing_type: int, left: int) -> None:
    body = bytes((routing_type, left)) + bytes(4) + THEM6
    Target().expect(ip6(extension(6, body) + SYN6_SEGMENT, next_header=43), "", "bad-option")


@pytest.mark.parametrize("source", ["::", "::1", "ff02::1", "::ffff:10.9.0.1"])
def test_ip6_13_martian_sources(source: str) -> None:
    src = parse_address(source)
    Target().expect(ip6(tcp_segment(SYN, src=src, dst=US6), src=src), "", "martian")


def test_ip6_14_checksum_of_zero() -> None:
    frame = bytearray(ip6(SYN6_SEGMENT))
    frame[56:58] = b"\x00\x00"
    Target().expect(bytes(frame), "", "bad-checksum")


@pytest.mark.parametrize("size", [1453, 9000, 65_527])
def test_ip6_15_echo_too_large_to_answer(size: int) -> None:
    """The reply would not fit the link, and is neither cut nor wrapped."""
    frame = ip6(icmp6(128, 0, 1, bytes(size)), next_header=58)
    Target().expect(frame, "", "too-long")


def test_ip6_15_largest_echo_is_answered_whole() -> None:
    (reply,) = Target().expect(ip6(icmp6(128, 0, 1, bytes(1452)), next_header=58), "icmp")
    assert len(reply.frame) == 1500


@pytest.mark.parametrize("next_header", [59, 253])
def test_ip6_18_no_next_header(next_header: int) -> None:
    Target().expect(ip6(SYN6_SEGMENT, next_header=next_header), "", "unknown-protocol")


def fragment4(payload: bytes, *, offset: int, more: bool) -> bytes:
    return ip4(payload, flags=offset | (0x2000 if more else 0))


def test_frg_01_fragments_are_dropped_and_counted() -> None:
    """This host does not reassemble: TCP avoids fragments, and nothing else is here. Nothing is kept of them either."""
    target = Target()
    target.expect(fragment4(SYN_SEGMENT[:8], offset=0, more=True), "", "fragment")
    target.expect(fragment4(SYN_SEGMENT[8:], offset=1, more=False), "", "fragment")
    fragment = struct.pack("!BBHI", 6, 0, 8 | 1, 1)
    target.expect(ip6(fragment + SYN6_SEGMENT, next_header=44), "", "fragment")


def test_frg_03_ping_of_death() -> None:
    Target().expect(fragment4(bytes(100), offset=0x1FFF, more=False), "", "bad-header")


def test_ip6_09_atomic_fragment_is_a_whole_packet() -> None:
    atomic = struct.pack("!BBHI", 6, 0, 0, 1)
    Target().expect(ip6(atomic + SYN6_SEGMENT, next_header=44), "SA")


def test_ip6_11_fragment_past_the_end() -> None:
    fragment = struct.pack("!BBHI", 6, 0, 8190 << 3, 1)
    Target().expect(ip6(fragment + bytes(100), next_header=44), "", "bad-header")
