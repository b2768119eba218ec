"""Completing partial checksums, wherever the packet's buffers are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.wire import ip, tcp
from stack.wire.offload import complete
from stack.wire.packet import PARTIAL, TRUSTED, VERIFY, Packet
from stack.wire.segment import ACK, Segment
from tests.wire.frames import (
    DST4,
    DST6,
    SRC4,
    SRC6,
    address_pairs,
    extension,
    ipv4_frame,
    ipv6_frame,
    ones_complement_sum,
    segments,
)


def outgoing(segment: Segment, src: bytes, dst: bytes) -> Packet:
    header = tcp.encode(segment, tcp.address_sum(src, dst))
    head = ip.encode(src, dst, ip.PROTO_TCP, len(header) + segment.size) + header
    return Packet(head, segment.parts, segment.gso_size, PARTIAL)


@given(segments(), address_pairs)
def test_the_checksum_comes_out_right_with_the_payload_left_alone(
    segment: Segment, addresses: tuple[bytes, bytes]
) -> None:
    segment.gso_size = 7
    packet = complete(outgoing(segment, *addresses))
    assert (packet.csum, packet.gso_size) == (VERIFY, 7)
    assert packet.parts is segment.parts
    frame = packet.frame()
    assert tcp.checksum_ok(frame, ip.decode(frame))


@given(segments(), address_pairs, st.integers(0, 9))
def test_a_whole_frame_with_padding_in_one_buffer(
    segment: Segment, addresses: tuple[bytes, bytes], padding: int
) -> None:
    frame = outgoing(segment, *addresses).frame() + b"\xee" * padding
    done = complete(Packet(frame, csum=PARTIAL)).frame()
    assert tcp.checksum_ok(done, ip.decode(done))
    assert done[len(done) - padding :] == b"\xee" * padding


@pytest.mark.parametrize("csum", [VERIFY, TRUSTED])
def test_others_are_the_same_object(csum: int) -> None:
    packet = Packet(b"not even a packet", csum=csum)
    assert complete(packet) is packet


@pytest.mark.parametrize(("src", "dst"), [(SRC4, DST4), (SRC6, DST6)], ids=["ipv4", "ipv6"])
def test_udp_never_gets_a_zero(src: bytes, dst: bytes) -> None:
    seen = set()
    for word in range(65536):
        partial = tcp.address_sum(src, dst) + 17 + 10
        udp = bytes((0, 1, 0, 2, 0, 10)) + (partial % 65535).to_bytes(2, "big") + word.to_bytes(2, "big")
        head = ip.encode(src, dst, ip.PROTO_UDP, 10) + udp
        done = complete(Packet(head, csum=PARTIAL)).head
        seen.add(done[-4:-2])
        if done[-4:-2] == b"\xff\xff":
            pseudo = src + dst + bytes((0, 17, 0, 10))
            assert ones_complement_sum(pseudo + done[-10:-4] + bytes(2) + done[-2:]) == 0xFFFF
    assert b"\x00\x00" not in seen
    assert b"\xff\xff" in seen


def test_ipv6_extension_headers_are_walked() -> None:
    segment = Segment(1, 2, 3, 4, ACK, 100, (b"abc",))
    upper = tcp.encode(segment, tcp.address_sum(SRC6, DST6)) + b"abc"
    head = ipv6_frame(extension(6, b"") + upper, next_header=60)
    done = complete(Packet(head, csum=PARTIAL)).head
    assert tcp.checksum_ok(done, ip.decode(done))


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x45" * 19, id="short-ipv4"),
        pytest.param(b"\x60" * 39, id="short-ipv6"),
        pytest.param(b"\x55" * 60, id="version-5"),
        pytest.param(ipv4_frame(bytes(17)), id="tcp-header-cut-before-the-end-of-the-checksum"),
        pytest.param(ipv4_frame(bytes(17), trailer=bytes(20)), id="checksum-field-in-the-padding"),
        pytest.param(ipv4_frame(bytes(40), protocol=47), id="another-protocol"),
        pytest.param(ipv6_frame(bytes(40), next_header=59), id="no-next-header"),
    ],
)
def test_what_has_no_checksum_field_is_left_alone(head: bytes) -> None:
    packet = Packet(head, csum=PARTIAL)
    assert complete(packet) is packet


@given(st.binary(max_size=100))
def test_nothing_raises(head: bytes) -> None:
    assert len(complete(Packet(head, csum=PARTIAL))) == len(head)
