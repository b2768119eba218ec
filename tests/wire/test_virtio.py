"""The virtio-net header, read and written: what is believed, what is refused, and that nothing raises by accident."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.wire import ip, tcp, virtio
from stack.wire.drop import Drop, WireError
from stack.wire.offload import complete
from stack.wire.packet import PARTIAL, TRUSTED, VERIFY, Packet
from stack.wire.segment import ACK, CWR, PSH, Segment
from stack.wire.superframe import split
from stack.wire.virtio import DATA_VALID, GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM
from tests.wire.frames import DST4, DST6, SRC4, SRC6, address_pairs, extension, ipv4_frame, ipv6_frame, segments

FAMILIES = pytest.mark.parametrize(("src", "dst"), [(SRC4, DST4), (SRC6, DST6)], ids=["ipv4", "ipv6"])


def note(
    flags: int = 0, gso_type: int = 0, hdr_len: int = 0, gso_size: int = 0, start: int = 0, offset: int = 0
) -> bytes:
    """A header, octet for octet."""
    return struct.pack("=BBHHHH", flags, gso_type, hdr_len, gso_size, start, offset)


def outgoing(
    size: int, src: bytes = SRC4, dst: bytes = DST4, *, gso_size: int = 0, flags: int = ACK, csum: int = PARTIAL
) -> Packet:
    """A segment as a host sends it, with timestamps."""
    payload = bytes(number & 0xFF for number in range(size))
    segment = Segment(80, 4000, 1, 2, flags, 100, (payload,) if size else (), tsval=5, tsecr=6)
    header = tcp.encode(segment, tcp.address_sum(src, dst))
    return Packet(ip.encode(src, dst, ip.PROTO_TCP, len(header) + size) + header, segment.parts, gso_size, csum)


def tcp_start(packet: Packet) -> int:
    return 20 if packet.head[0] >> 4 == 4 else 40


def reason(frame: bytes, size: int = virtio.LENGTH) -> Drop:
    with pytest.raises(WireError) as caught:
        virtio.decode(frame, size)
    return caught.value.reason


# -- what we say ---------------------------------------------------------------------------------------------


@FAMILIES
def test_a_partial_checksum_is_announced(src, dst):
    packet = outgoing(100, src, dst)
    assert virtio.encode(packet) == note(NEEDS_CSUM, start=tcp_start(packet), offset=16)


@FAMILIES
@pytest.mark.parametrize("flags", [ACK, ACK | CWR], ids=["plain", "cwr"])
def test_a_super_frame_is_announced(src, dst, flags):
    packet = outgoing(5000, src, dst, gso_size=1448, flags=flags)
    start = tcp_start(packet)
    kind = (GSO_TCPV4 if start == 20 else GSO_TCPV6) | (GSO_ECN if flags & CWR else 0)
    assert virtio.encode(packet) == note(NEEDS_CSUM, kind, start + 32, 1448, start, 16)


@pytest.mark.parametrize("size", [0, 1, 1448])
def test_what_fits_one_wire_packet_is_no_super_frame(size):
    assert virtio.encode(outgoing(size, gso_size=1448)) == note(NEEDS_CSUM, start=20, offset=16)


@pytest.mark.parametrize("csum", [VERIFY, TRUSTED])
def test_a_full_checksum_stays_as_it_is(csum):
    assert virtio.encode(outgoing(100, csum=csum)) == bytes(10)
    assert virtio.encode(outgoing(5000, gso_size=1448, csum=csum)) == note(0, GSO_TCPV4, 52, 1448)


def test_udp_and_extension_headers_are_found():
    udp = Packet(ip.encode(SRC4, DST4, ip.PROTO_UDP, 12) + bytes(12), csum=PARTIAL)
    assert virtio.encode(udp) == note(NEEDS_CSUM, start=20, offset=6)
    behind = Packet(ipv6_frame(extension(6, b"") + bytes(20), next_header=60), csum=PARTIAL)
    assert virtio.encode(behind) == note(NEEDS_CSUM, start=48, offset=16)


@pytest.mark.parametrize(
    "head",
    [b"", b"\x45" * 19, bytes(60), ipv4_frame(bytes(17)), ipv4_frame(bytes(40), protocol=47), b"\x60" * 39],
    ids=["empty", "short", "version-0", "tcp-cut-short", "another-protocol", "short-ipv6"],
)
def test_what_has_no_checksum_goes_as_it_is(head):
    assert virtio.encode(Packet(head, gso_size=1, csum=PARTIAL)) == bytes(10)


def test_the_largest_super_frame_fits_either_family():
    for src, dst in ((SRC4, DST4), (SRC6, DST6)):
        assert ip.encode(src, dst, ip.PROTO_TCP, 60 + virtio.MAX_PAYLOAD)


# -- what we are told ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_flags", "csum"),
    [(0, VERIFY), (DATA_VALID, TRUSTED), (NEEDS_CSUM, PARTIAL), (NEEDS_CSUM | DATA_VALID, PARTIAL)],
)
@FAMILIES
def test_who_vouches_for_the_checksum(src, dst, given_flags, csum):
    packet = outgoing(1000, src, dst)
    start = tcp_start(packet) if given_flags & NEEDS_CSUM else 0
    got = virtio.decode(note(given_flags, start=start, offset=16) + packet.frame())
    assert (got.frame(), got.csum, got.gso_size) == (packet.frame(), csum, 0)


@pytest.mark.parametrize(
    ("start", "offset"),
    [(0, 0), (0, 36), (10, 26), (20, 6), (24, 12), (36, 0), (21, 16)],
)
def test_nobody_vouches_for_tcp_by_another_checksum(start, offset):
    """Such as a tunnel's; the host looks for itself."""
    frame = outgoing(1000).frame()
    assert virtio.decode(note(NEEDS_CSUM, start=start, offset=offset) + frame).csum == VERIFY


def test_ip_options_and_extensions_do_not_hide_the_checksum():
    upper = outgoing(3).frame()[20:]
    options = ipv4_frame(upper, options=b"\x01" * 8)
    assert virtio.decode(note(NEEDS_CSUM, start=28, offset=16) + options).csum == PARTIAL
    behind = ipv6_frame(extension(6, b"") + upper, next_header=60)
    assert virtio.decode(note(NEEDS_CSUM, start=48, offset=16) + behind).csum == PARTIAL
    assert virtio.decode(note(NEEDS_CSUM, start=40, offset=16) + behind).csum == VERIFY


def test_udp_is_vouched_for_too():
    frame = ip.encode(SRC4, DST4, ip.PROTO_UDP, 12) + bytes(12)
    assert virtio.decode(note(NEEDS_CSUM, start=20, offset=6) + frame).csum == PARTIAL
    assert virtio.decode(note(NEEDS_CSUM, start=20, offset=16 - 8) + frame).csum == VERIFY


@pytest.mark.parametrize(("start", "offset"), [(20, 119), (139, 0), (65535, 65535), (0, 139)])
def test_a_checksum_beyond_the_packet_is_refused(start, offset):
    frame = ipv4_frame(bytes(120))
    assert reason(note(NEEDS_CSUM, start=start, offset=offset) + frame) is Drop.BAD_OFFLOAD


@FAMILIES
@pytest.mark.parametrize("flags", [ACK, ACK | CWR | PSH], ids=["plain", "cwr"])
@pytest.mark.parametrize("longer", [0, 2], ids=["10", "12"])
def test_a_super_frame_comes_in_two_pieces_without_a_copy(src, dst, flags, longer):
    packet = outgoing(60_000, src, dst, gso_size=1448, flags=flags)
    frame = virtio.encode(packet) + bytes(longer) + packet.frame()
    got = virtio.decode(frame, 10 + longer)
    assert (got.head, got.gso_size, got.csum) == (packet.head, 1448, PARTIAL)
    [payload] = got.parts
    assert isinstance(payload, memoryview)
    assert payload.obj is frame
    assert payload == packet.parts[0]


def test_hdr_len_is_not_looked_at():
    packet = outgoing(5000, gso_size=1448)
    for lie in (0, 20, 65535):
        got = virtio.decode(note(NEEDS_CSUM, GSO_TCPV4, lie, 1448, 20, 16) + packet.frame())
        assert (got.head, got.gso_size) == (packet.head, 1448)


@pytest.mark.parametrize(("flags", "csum"), [(0, VERIFY), (DATA_VALID, TRUSTED)])
def test_a_super_frame_without_a_partial_checksum(flags, csum):
    packet = outgoing(5000, gso_size=1448)
    got = virtio.decode(note(flags, GSO_TCPV4, 0, 1448) + packet.frame())
    assert (got.head, got.gso_size, got.csum) == (packet.head, 1448, csum)


@pytest.mark.parametrize("gso_size", [5000, 5001, 65535])
def test_a_super_frame_of_one_wire_packet_is_none(gso_size):
    assert virtio.decode(note(NEEDS_CSUM, GSO_TCPV4, 0, gso_size, 20, 16) + outgoing(5000).frame()).gso_size == 0


def test_a_long_packet_that_is_no_super_frame_is_cut_too():
    packet = outgoing(8000)
    got = virtio.decode(note(NEEDS_CSUM, GSO_NONE, 0, 1448, 20, 16) + packet.frame())
    assert (got.head, len(got.parts), got.gso_size) == (packet.head, 1, 0)
    short = outgoing(3000)
    assert virtio.decode(virtio.encode(short) + short.frame()).parts == ()


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(outgoing(5000).frame() + b"padding", id="padding"),
        pytest.param(outgoing(5000).frame()[:-1], id="cut-short"),
        pytest.param(ipv4_frame(bytes(5000), protocol=17), id="udp"),
        pytest.param(ipv4_frame(bytes(5000)), id="data-offset-0"),
        pytest.param(ipv4_frame(bytes(5000), ihl=0), id="ihl-0"),
        pytest.param(bytes(5000), id="version-0"),
        pytest.param(ipv6_frame(bytes(5000), next_header=59), id="no-next-header"),
    ],
)
def test_what_cannot_be_cut_comes_whole(frame):
    got = virtio.decode(note() + frame)
    assert (got.head, got.parts) == (frame, ())


LONG_UDP = ipv4_frame(b"\x50" * 5000, protocol=17)  #: At TCP's data offset stands what TCP might have there.


def test_a_long_datagram_comes_whole():
    got = virtio.decode(note(NEEDS_CSUM, start=20, offset=6) + LONG_UDP)
    assert (got.head, got.parts, got.csum) == (LONG_UDP, (), PARTIAL)


SUPER4, SUPER6 = outgoing(5000).frame(), outgoing(5000, SRC6, DST6).frame()


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(note(NEEDS_CSUM, GSO_TCPV4, 52, 0, 20, 16) + SUPER4, id="size-0"),
        pytest.param(note(NEEDS_CSUM, GSO_TCPV6, 52, 1448, 20, 16) + SUPER4, id="type-of-ipv6"),
        pytest.param(note(NEEDS_CSUM, GSO_TCPV4, 72, 1448, 40, 16) + SUPER6, id="type-of-ipv4"),
        pytest.param(note(NEEDS_CSUM, 3, 52, 1448, 20, 16) + SUPER4, id="ufo"),
        pytest.param(note(NEEDS_CSUM, 5, 52, 1448, 20, 16) + SUPER4, id="uso"),
        pytest.param(note(NEEDS_CSUM, GSO_ECN, 52, 1448, 20, 16) + SUPER4, id="ecn-alone"),
        pytest.param(note(NEEDS_CSUM, 0x7F, 52, 1448, 20, 16) + SUPER4, id="unknown"),
        pytest.param(note(NEEDS_CSUM, GSO_TCPV4, 28, 1448, 20, 6) + LONG_UDP, id="udp"),
        pytest.param(note(NEEDS_CSUM, GSO_TCPV4, 52, 1448, 20, 16) + SUPER4[:-1], id="cut-short"),
        pytest.param(note(NEEDS_CSUM, GSO_TCPV4, 52, 1448, 20, 16) + SUPER4 + b"x", id="padding"),
        pytest.param(note(NEEDS_CSUM, GSO_TCPV4, 52, 1448, 20, 16) + outgoing(0).frame(), id="no-payload"),
        pytest.param(note(NEEDS_CSUM, GSO_TCPV4, 40, 1448, 20, 16) + ipv4_frame(bytes(5000)), id="data-offset-0"),
        pytest.param(note(0, GSO_TCPV4, 40, 1448) + ipv4_frame(bytes(19)), id="tcp-header-cut-short"),
        pytest.param(note(0, GSO_TCPV4, 40, 1448) + b"\x45", id="one-octet"),
    ],
)
def test_a_contradiction_is_refused(frame):
    assert reason(frame) is Drop.BAD_OFFLOAD


@pytest.mark.parametrize("size", [10, 12])
def test_a_header_and_nothing_behind_it(size):
    for length in range(size + 1):
        assert reason(bytes(length), size) is Drop.TRUNCATED


# -- both ways -----------------------------------------------------------------------------------------------


@given(segments(max_payload=4000), address_pairs, st.integers(0, 3000))
def test_what_is_written_is_read(segment: Segment, addresses: tuple[bytes, bytes], gso_size: int) -> None:
    header = tcp.encode(segment, tcp.address_sum(*addresses))
    head = ip.encode(*addresses, ip.PROTO_TCP, len(header) + segment.size) + header
    packet = Packet(head, segment.parts, gso_size, PARTIAL)
    got = virtio.decode(virtio.encode(packet) + packet.frame())
    assert (got.frame(), got.csum) == (packet.frame(), PARTIAL)
    assert got.gso_size == (gso_size if segment.size > gso_size else 0)
    assert complete(got).frame() == complete(packet).frame()
    assert [piece.frame() for piece in split(got)] == [piece.frame() for piece in split(packet)]


@given(st.binary(max_size=200), st.integers(10, 14))
def test_nothing_else_raises(frame: bytes, size: int) -> None:
    try:
        packet = virtio.decode(frame, size)
    except WireError:
        return
    assert packet.frame() == frame[size:]


@given(st.data(), st.booleans())
def test_nothing_else_raises_for_what_looks_right(data: st.DataObject, v6: bool) -> None:
    """A right packet with a few octets changed, and a note with any numbers: not one length is believed."""
    frame = bytearray(outgoing(data.draw(st.integers(0, 5000)), *((SRC6, DST6) if v6 else (SRC4, DST4))).frame())
    for _ in range(data.draw(st.integers(0, 3))):
        frame[data.draw(st.integers(0, min(len(frame), 80) - 1))] = data.draw(st.integers(0, 255))
    number = st.one_of(st.integers(0, 100), st.integers(0, 65535))
    kinds = st.sampled_from([GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_TCPV4 | GSO_ECN, 3])
    header = note(data.draw(st.integers(0, 3)), data.draw(kinds), *[data.draw(number) for _ in range(4)])
    try:
        packet = virtio.decode(header + bytes(frame))
    except WireError:
        return
    assert packet.frame() == frame
    assert 0 <= packet.gso_size < max(len(frame), 1)


@given(st.binary(max_size=120), st.integers(0, 65535), st.sampled_from([VERIFY, TRUSTED, PARTIAL]))
def test_writing_never_raises(head: bytes, gso_size: int, csum: int) -> None:
    assert len(virtio.encode(Packet(head, (), gso_size, csum))) == 10
