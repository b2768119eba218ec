"""Segments and packets on one line, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.wire import icmp, ip, tcp
from stack.wire.icmp import Icmp
from stack.wire.notation import format_flags, format_packet, format_segment, parse_segment
from stack.wire.segment import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG, Segment
from tests.wire.frames import (
    DST4,
    DST6,
    SRC4,
    SRC6,
    fields,
    ipv4_frame,
    ipv6_frame,
    segments,
    tcp_header,
    u16,
    u32,
)

LINES = [
    (
        Segment(0, 0, 0, 0, SYN, 64240, mss=1460, sack_ok=True, tsval=7, tsecr=0, wscale=10),
        "S 0:0(0) win 64240 <mss 1460,sackOK,TS val 7 ecr 0,wscale 10>",
    ),
    (
        Segment(0, 0, 0, 1, SYN | ACK, 65535, mss=1460, sack_ok=True, tsval=1, tsecr=7, wscale=7),
        "S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK,TS val 1 ecr 7,wscale 7>",
    ),
    (Segment(0, 0, 1, 1, ACK, 502), ". 1:1(0) ack 1 win 502"),
    (Segment(0, 0, 1, 1, PSH | ACK, 502, (bytes(70), bytes(8))), "P. 1:79(78) ack 1 win 502"),
    (Segment(0, 0, 79, 1, FIN | ACK, 502), "F. 79:79(0) ack 1 win 502"),
    (Segment(0, 0, 79, 0, RST, 0), "R 79:79(0) win 0"),
    (Segment(0, 0, 79, 5, RST, 0), "R 79:79(0) ack 5 win 0"),
    (Segment(0, 0, 4294967295, 1, ACK, 1, (bytes(2),)), ". 4294967295:1(2) ack 1 win 1"),
    (Segment(0, 0, 1, 1, ACK | URG, 1, urgent=9), ".U 1:1(0) ack 1 win 1 urg 9"),
    (Segment(0, 0, 1, 1, ACK | URG, 1), ".U 1:1(0) ack 1 win 1 urg 0"),
    (Segment(0, 0, 1, 0, 0, 1), "- 1:1(0) win 1"),
    (Segment(0, 0, 1, 0, 255, 1), "FSRP.UEW 1:1(0) ack 0 win 1 urg 0"),
    (
        Segment(0, 0, 1, 1, ACK, 1, sacks=((1461, 2921), (4381, 5841)), tsval=3, tsecr=4),
        ". 1:1(0) ack 1 win 1 <TS val 3 ecr 4,sack 1461:2921 4381:5841>",
    ),
    (Segment(0, 0, 0, 0, SYN, 9, mss=1460, fastopen=(b"", False)), "S 0:0(0) win 9 <mss 1460,FO>"),
    (
        Segment(0, 0, 0, 0, SYN, 9, (bytes(7),), wscale=8, fastopen=(bytes.fromhex("0a1b2c3d"), False)),
        "S 0:7(7) win 9 <wscale 8,FO 0a1b2c3d>",
    ),
    (Segment(0, 0, 0, 0, SYN, 9, fastopen=(b"", True)), "S 0:0(0) win 9 <FOEXP>"),
    (Segment(0, 0, 0, 0, SYN, 9, fastopen=(bytes(16), True)), f"S 0:0(0) win 9 <FOEXP {'00' * 16}>"),
]


@pytest.mark.parametrize(("segment", "line"), LINES, ids=[line for _, line in LINES])
def test_lines(segment: Segment, line: str) -> None:
    assert format_segment(segment) == line
    assert fields(parse_segment(line)) == fields(segment)


def zeroed(segment: Segment) -> dict[str, object]:
    """A segment as a line shows it: without ports and the payload's octets, which the line does not have."""
    return fields(segment) | {"src_port": 0, "dst_port": 0, "payload": bytes(segment.size)}


@given(segments())
def test_a_line_holds_all_that_a_header_says(segment: Segment) -> None:
    assert fields(parse_segment(format_segment(segment))) == zeroed(segment)


@given(segments(), u32, u32)
def test_bases_are_taken_off_and_put_on_again(segment: Segment, seq_base: int, ack_base: int) -> None:
    line = format_segment(segment, seq_base, ack_base)
    assert fields(parse_segment(line, seq_base, ack_base)) == zeroed(segment)


def test_relative_numbers_go_through_the_wrap() -> None:
    segment = Segment(0, 0, 2, 0xFFFFFFFF, ACK, 1, (bytes(10),), sacks=((0, 8),))
    line = format_segment(segment, seq_base=0xFFFFFFFE, ack_base=0xFFFFFFFA)
    assert line == ". 4:14(10) ack 5 win 1 <sack 6:14>"


@given(u16, u16)
def test_ports_are_given_beside_the_line(src_port: int, dst_port: int) -> None:
    segment = parse_segment(". 1:1(0) ack 1", src_port=src_port, dst_port=dst_port)
    assert (segment.src_port, segment.dst_port) == (src_port, dst_port)


@pytest.mark.parametrize(
    "text",
    [
        "S  0:0(0)   win 100  <mss 1460 , nop,nop, sackOK , nop,wscale 7>",
        " S 0:0(0) win 100 <sackOK,wscale 7,mss 1460,eol>",
    ],
)
def test_spaces_order_and_padding_are_free(text: str) -> None:
    assert format_segment(parse_segment(text)) == "S 0:0(0) win 100 <mss 1460,sackOK,wscale 7>"


def test_window_ack_and_options_may_be_left_out() -> None:
    expected = zeroed(Segment(0, 0, 1, 0, ACK, 0))
    for text in (". 1:1(0)", ". 1:1(0) <>", ". 1:1(0) ack 0 win 0 urg 0 < >"):
        assert fields(parse_segment(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "S 0:0",
        "X 0:0(0)",
        "S 0:1(4294967297)",
        "S 0:65536(65536)",
        "S 4294967296:4294967296(0)",
        "S 0:0(0) win 65536",
        "S 0:0(0) win -1",
        "S 0:0(0) ack 4294967296",
        "S 0:0(0) <mss>",
        "S 0:0(0) <mss 65536>",
        "S 0:0(0) <mss 1460 1>",
        "S 0:0(0) <wscale 256>",
        "S 0:0(0) <wscale ten>",
        "S 0:0(0) <sackOK 1>",
        "S 0:0(0) <nop 1>",
        "S 0:0(0) <TS val 1>",
        "S 0:0(0) <TS val 1 ecr 4294967296>",
        "S 0:0(0) <md5 0>",
        ". 0:0(0) <sack 1-2>",
        ". 0:0(0) <sack 1:4294967296>",
        "S 0:0(0) <mss 1\u0661>",
        "S 0:\u0660(0)",
        ". 0:0(0) win " + "9" * 5000,
    ],
)
def test_lines_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        parse_segment(text)


def test_a_length_that_does_not_fit_its_ends() -> None:
    with pytest.raises(ValueError, match="0 plus 4 is not 5"):
        parse_segment("S 0:5(4)")


def test_flags() -> None:
    assert [format_flags(flag) for flag in (FIN, SYN, RST, PSH, ACK, URG, ECE, CWR)] == list("FSRP.UEW")
    assert format_flags(SYN | ACK) == "S."
    assert format_flags(0) == "-"


# --- packets ---------------------------------------------------------------------------------------------------


def packet(payload: bytes, protocol: int) -> bytes:
    return ipv4_frame(payload, protocol=protocol)


def packet6(payload: bytes, protocol: int) -> bytes:
    return ipv6_frame(payload, next_header=protocol)


def error4(kind: int, code: int, rest: int, about: bytes) -> bytes:
    return packet(icmp.encode(Icmp(kind, code, rest, about)), ip.PROTO_ICMP)


def error6(kind: int, code: int, rest: int, about: bytes) -> bytes:
    return packet6(icmp.encode(Icmp(kind, code, rest, about), SRC6, DST6), ip.PROTO_ICMPV6)


TCP4, TCP6 = packet(tcp_header(payload=b"abc"), 6), packet6(tcp_header(payload=b"abc"), 6)
UDP4 = packet(bytes(20), 17)

PACKETS = [
    (TCP4, "10.9.0.1:4000 > 10.9.0.2:80 . 4294967280:4294967283(3) ack 5 win 65535"),
    (TCP6, "[fd00::1]:4000 > [fd00::2]:80 . 4294967280:4294967283(3) ack 5 win 65535"),
    (UDP4, "10.9.0.1 > 10.9.0.2 protocol 17, 20 octets"),
    (packet6(bytes(20), 17), "fd00::1 > fd00::2 protocol 17, 20 octets"),
    (ipv4_frame(bytes(8), flags=0x2001), "10.9.0.1 > 10.9.0.2 fragment of protocol 6, 8 octets"),
    (error4(8, 0, 7 << 16 | 1, b"ping"), "10.9.0.1 > 10.9.0.2 icmp echo request id 7 seq 1, 4 octets"),
    (error6(129, 0, 7 << 16 | 1, b"ping"), "fd00::1 > fd00::2 icmpv6 echo reply id 7 seq 1, 4 octets"),
    (
        error4(3, 3, 0, TCP4[:28]),
        "10.9.0.1 > 10.9.0.2 icmp unreachable code 3 about 10.9.0.1:4000 > 10.9.0.2:80 seq 4294967280",
    ),
    (
        error4(3, 4, 1000, TCP4),
        "10.9.0.1 > 10.9.0.2 icmp unreachable code 4 mtu 1000 about 10.9.0.1:4000 > 10.9.0.2:80 seq 4294967280",
    ),
    (
        error6(2, 0, 1280, TCP6),
        "fd00::1 > fd00::2 icmpv6 packet too big code 0 mtu 1280 about [fd00::1]:4000 > [fd00::2]:80 seq 4294967280",
    ),
    (error4(3, 3, 0, UDP4), "10.9.0.1 > 10.9.0.2 icmp unreachable code 3 about protocol 17"),
    (error4(11, 0, 0, b""), "10.9.0.1 > 10.9.0.2 icmp time exceeded code 0"),
    (error6(100, 1, 0, b""), "fd00::1 > fd00::2 icmpv6 type 100 code 1"),
    (error6(133, 0, 0, b"1234"), "fd00::1 > fd00::2 icmpv6 router solicitation, 4 octets"),
    (error4(13, 0, 0, bytes(12)), "10.9.0.1 > 10.9.0.2 icmp type 13, 12 octets"),
    (packet(icmp.encode(Icmp(128, 0), SRC6, DST6), 58), "10.9.0.1 > 10.9.0.2 protocol 58, 8 octets"),
    (
        packet(b"\x08\x00\x00\x00\x00\x00\x00\x00", 1),
        "undecodable, 28 octets (bad-checksum: ICMP): 4500001c 00074000 400126c6 0a090001 0a090002",
    ),
    (packet(b"abc", 6), "undecodable, 23 octets (truncated: 3 octets are no TCP header): 45000017 00074000 "),
    (b"", "undecodable, 0 octets (truncated: an empty frame)"),
    (b"\x50", "undecodable, 1 octets (bad-version: version 5): 50"),
]


@pytest.mark.parametrize(("frame", "line"), PACKETS, ids=[line for _, line in PACKETS])
def test_packets(frame: bytes, line: str) -> None:
    assert format_packet(frame).startswith(line)
    assert format_packet(frame) == format_packet(frame).strip()


@given(segments(), st.sampled_from([(SRC4, DST4), (SRC6, DST6)]))
def test_the_line_of_a_packet_ends_with_that_of_its_segment(segment: Segment, addresses: tuple[bytes, bytes]) -> None:
    header = tcp.encode(segment, tcp.address_sum(*addresses))
    head = ip.encode(*addresses, ip.PROTO_TCP, len(header) + segment.size) + header
    line = format_packet(head + segment.payload)
    assert line.split(" ", 3)[3] == format_segment(segment)


@given(st.binary(max_size=100), st.sampled_from([b"", b"\x45", b"\x60"]))
def test_every_frame_has_one_line(frame: bytes, start: bytes) -> None:
    line = format_packet(start + frame)
    assert line
    assert "\n" not in line
