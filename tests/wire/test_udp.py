"""UDP's header (RFC 768), against Scapy's and by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6

from stack.wire import ip, udp
from stack.wire.address import format_address, parse_address
from stack.wire.drop import Drop, WireError
from stack.wire.ip import PROTO_UDP

A4, B4 = parse_address("10.9.0.1"), parse_address("10.9.0.2")
A6, B6 = parse_address("fd00::1"), parse_address("fd00::2")


def packet(octets: bytes, *, v6: bool = False) -> tuple[bytes, ip.IPHeader]:
    source, target = (A6, B6) if v6 else (A4, B4)
    frame = ip.encode(source, target, PROTO_UDP, len(octets)) + octets
    return frame, ip.decode(frame)


@given(text=st.binary(max_size=1000), ports=st.tuples(st.integers(0, 65535), st.integers(0, 65535)), v6=st.booleans())
def test_what_is_encoded_is_what_scapy_makes_and_is_read_again(text: bytes, ports: tuple[int, int], v6: bool) -> None:
    source, target = (A6, B6) if v6 else (A4, B4)
    octets = udp.encode(source, target, *ports, text) + text
    layer = IPv6 if v6 else IP
    wanted = layer(src=format_address(source), dst=format_address(target)) / UDP(sport=ports[0], dport=ports[1]) / text
    assert octets == bytes(wanted)[40 if v6 else 20 :]
    frame, header = packet(octets, v6=v6)
    read = udp.decode(frame, header, vouched=False)
    assert (read.src_port, read.dst_port, read.text) == (*ports, text)


@pytest.mark.parametrize(("source", "target"), [(A4, B4), (A6, B6)])
def test_checksum_that_comes_out_as_zero_is_sent_as_all_ones(source: bytes, target: bytes) -> None:
    """RFC 768; RFC 8200 8.1."""
    value = int.from_bytes(udp.encode(source, target, 1, 2, bytes(2))[6:8], "big")
    text = value.to_bytes(2, "big")  # fills up what is missing
    octets = udp.encode(source, target, 1, 2, text) + text
    assert octets[6:8] == b"\xff\xff"
    frame, header = packet(octets, v6=len(source) == 16)
    assert udp.decode(frame, header, vouched=False).text == text


@pytest.mark.parametrize("v6", [False, True])
def test_any_octet_that_is_changed_is_noticed(v6: bool) -> None:
    source, target = (A6, B6) if v6 else (A4, B4)
    octets = udp.encode(source, target, 5353, 53, b"text") + b"text"
    for index in (0, 1, 2, 3, 6, 7, 8, 11):
        changed = octets[:index] + bytes((octets[index] ^ 0x40,)) + octets[index + 1 :]
        frame, header = packet(changed, v6=v6)
        with pytest.raises(WireError) as refused:
            udp.decode(frame, header, vouched=False)
        assert refused.value.reason is Drop.BAD_CHECKSUM
        udp.decode(frame, header, vouched=True)


def test_no_checksum_is_for_ipv4_alone() -> None:
    octets = bytes.fromhex("0001 0002 000c 0000") + b"text"
    assert udp.decode(*packet(octets), vouched=False).text == b"text"
    with pytest.raises(WireError) as refused:
        udp.decode(*packet(octets, v6=True), vouched=False)
    assert refused.value.reason is Drop.BAD_CHECKSUM


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", Drop.TRUNCATED),
        (bytes(7), Drop.TRUNCATED),
        (bytes(8), Drop.BAD_HEADER),
        (bytes.fromhex("0001 0002 0007 0000"), Drop.BAD_HEADER),
        (bytes.fromhex("0001 0002 0009 0000"), Drop.TRUNCATED),
    ],
)
def test_lengths_that_cannot_be(octets: bytes, reason: Drop) -> None:
    with pytest.raises(WireError) as refused:
        udp.decode(*packet(octets), vouched=True)
    assert refused.value.reason is reason


def test_what_follows_the_datagram_is_not_read() -> None:
    octets = bytes.fromhex("0001 0002 000a 0000") + b"text"
    assert udp.decode(*packet(octets), vouched=False).text == b"te"
