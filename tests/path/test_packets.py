"""What a path may change in a packet."""

from __future__ import annotations

import pytest

from stack.path.packets import CE, ECT_0, ECT_1, NOT_ECT, ecn, flipped, hop_limit, may_fragment, with_ce, with_hop_limit
from stack.wire import ip
from stack.wire.drop import WireError
from stack.wire.offload import complete
from stack.wire.packet import TRUSTED, VERIFY, Packet
from tests.path.frames import read, tcp_packet

BOTH = pytest.mark.parametrize("v6", [False, True])


@BOTH
@pytest.mark.parametrize("field", [NOT_ECT, ECT_0, ECT_1, CE])
def test_the_ecn_field(v6: bool, field: int) -> None:
    packet = tcp_packet(v6=v6, ecn=field | 0b101000)
    assert ecn(packet) == field
    marked = with_ce(packet)
    assert ecn(marked) == CE
    header, _ = read(complete(marked))
    assert header.traffic_class == 0b101011
    assert ecn(packet) == field  # the original is not changed


@BOTH
@pytest.mark.parametrize("limit", [0, 1, 63, 255])
def test_the_hop_limit(v6: bool, limit: int) -> None:
    packet = tcp_packet(b"abc", v6=v6)
    changed = with_hop_limit(packet, limit)
    header, seg = read(complete(changed))
    assert (header.hop_limit, seg.payload, hop_limit(changed), hop_limit(packet)) == (limit, b"abc", limit, 64)


def test_a_damaged_ipv4_header_stays_damaged() -> None:
    frame = bytearray(complete(tcp_packet(b"abc")).frame())
    frame[5] ^= 1
    for change in (with_ce, lambda packet: with_hop_limit(packet, 9)):
        with pytest.raises(WireError, match="IPv4 header"):
            ip.decode(change(Packet(bytes(frame))).frame())


@BOTH
@pytest.mark.parametrize("csum", ["partial", "trusted"])
def test_a_flipped_bit_is_one_bit_of_the_complete_packet(v6: bool, csum: str) -> None:
    packet = tcp_packet(b"abcdef", v6=v6)
    if csum == "trusted":
        packet = Packet(packet.frame(), csum=TRUSTED)
    sent = complete(tcp_packet(b"abcdef", v6=v6)).frame()
    for bit in range(8 * len(sent)):
        damaged = flipped(packet, bit)
        assert damaged.csum == VERIFY
        difference = int.from_bytes(damaged.frame(), "big") ^ int.from_bytes(sent, "big")
        assert difference == 1 << (8 * len(sent) - 1 - bit)
        if v6 and (4 <= bit < 32 or 56 <= bit < 64):
            continue  # traffic class, flow label and hop limit: IPv6 protects none of them, and TCP uses none
        with pytest.raises(ValueError, match=r"."):
            read(damaged)


def test_who_may_be_cut_in_pieces() -> None:
    assert may_fragment(tcp_packet(dont_fragment=False))
    assert not may_fragment(tcp_packet())
    assert not may_fragment(tcp_packet(v6=True, dont_fragment=False))
    assert not may_fragment(Packet(b"\x45"))


def test_what_is_no_ip_packet_has_no_ecn() -> None:
    assert ecn(Packet(b"\x45\x03")) == NOT_ECT
