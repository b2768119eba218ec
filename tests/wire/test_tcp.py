"""The TCP header and its options, row by row."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.wire import ip, tcp
from stack.wire.drop import Drop, WireError
from stack.wire.offload import complete
from stack.wire.packet import PARTIAL, Packet
from stack.wire.segment import ACK, FIN, PSH, RST, SYN, URG, Segment
from tests.wire.frames import (
    DST4,
    DST6,
    SRC4,
    SRC6,
    address_pairs,
    fields,
    ipv4_frame,
    ones_complement_sum,
    segments,
    tcp_header,
    u8,
)

MSS_1460, MSS_100 = bytes((2, 4, 5, 180)), bytes((2, 4, 0, 100))
WSCALE_7, WSCALE_2 = bytes((3, 3, 7)), bytes((3, 3, 2))
SACK_OK = bytes((4, 2))
TIMESTAMPS = bytes((8, 10, 0, 0, 0, 1, 0, 0, 0, 2))
TIMESTAMPS_9 = bytes((8, 10, 0, 0, 0, 9, 0, 0, 0, 9))
UNKNOWN = bytes((253, 5, 1, 2, 3))
NOP, EOL = b"\x01", b"\x00"


def sack(*blocks: tuple[int, int]) -> bytes:
    return bytes((5, 2 + 8 * len(blocks))) + b"".join(struct.pack("!II", *block) for block in blocks)


def decode(options: bytes = b"", flags: int = SYN, payload: bytes = b"") -> Segment:
    """Decode a segment with these options, filled up with NOPs, embedded in other octets."""
    options += NOP * (-len(options) % 4)
    header = tcp_header(options=options, flags=flags, payload=payload)
    return tcp.decode(b"\xff" * 20 + header + b"\xff" * 40, 20, 20 + len(header))


def options_of(segment: Segment) -> tuple[int, int, bool, tuple[tuple[int, int], ...], int, int]:
    return segment.mss, segment.wscale, segment.sack_ok, segment.sacks, segment.tsval, segment.tsecr


NONE = (0, -1, False, (), -1, 0)


def frame_of(segment: Segment, src: bytes, dst: bytes) -> bytes:
    """The bytes on the wire, as host and link make them."""
    header = tcp.encode(segment, tcp.address_sum(src, dst))
    head = ip.encode(src, dst, ip.PROTO_TCP, len(header) + segment.size) + header
    return complete(Packet(head, segment.parts, csum=PARTIAL)).frame()


# --- the header ------------------------------------------------------------------------------------------------


def test_every_field() -> None:
    segment = decode(flags=0xFF, payload=b"abc")
    assert (segment.src_port, segment.dst_port, segment.seq, segment.ack) == (4000, 80, 0xFFFFFFF0, 5)
    assert (segment.flags, segment.urgent, segment.payload, segment.size) == (0xFF, 0, b"abc", 3)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        *(
            pytest.param(tcp_header()[:length], Drop.TRUNCATED, id=f"TCH-01-{length}-octets")
            for length in (0, 5, 12, 19)
        ),
        pytest.param(tcp_header(offset=4), Drop.BAD_DATA_OFFSET, id="TCH-02-offset-4"),
        pytest.param(tcp_header(offset=0), Drop.BAD_DATA_OFFSET, id="TCH-02-offset-0"),
        pytest.param(tcp_header(offset=15), Drop.BAD_DATA_OFFSET, id="TCH-02-offset-15-past-the-end"),
        pytest.param(tcp_header(offset=6, payload=b"abc"), Drop.BAD_DATA_OFFSET, id="TCH-02-one-octet-past"),
    ],
)
def test_refused(header: bytes, expected: Drop) -> None:
    # What follows the segment in the frame must not be taken for more of it.
    with pytest.raises(WireError) as caught:
        tcp.decode(b"\xff" * 20 + header + b"\xff" * 60, 20, 20 + len(header))
    assert caught.value.reason is expected


# RFC 9293 MUST-1
@pytest.mark.parametrize("window", [0, 0x7FFF, 0x8000, 0xFFFF])
def test_window_is_unsigned(window: int) -> None:
    frame = frame_of(Segment(1, 2, 3, 4, ACK, window), SRC4, DST4)
    assert tcp.decode(frame, 20, len(frame)).window == window


@pytest.mark.parametrize("reserved", range(16))
def test_tch_10_reserved_bits_are_ignored(reserved: int) -> None:
    header = tcp_header(flags=ACK | PSH, reserved=reserved, payload=b"abc")
    assert fields(tcp.decode(header, 0, len(header))) == fields(decode(flags=ACK | PSH, payload=b"abc"))


@pytest.mark.parametrize("flags", [0, FIN | PSH | URG, FIN, SYN | FIN, SYN | RST, 0xFF, RST])
def test_tch_04_05_06_08_odd_flags_reach_the_connection_as_they_are(flags: int) -> None:
    assert decode(flags=flags).flags == flags


def test_payload_is_a_view_of_the_frame() -> None:
    header = tcp_header(payload=b"abc")
    (part,) = tcp.decode(header, 0, len(header)).parts
    assert isinstance(part, memoryview)
    assert part.obj is header
    assert decode().parts == ()


# --- the checksum ----------------------------------------------------------------------------------------------


# RFC 9293 MUST-2
@given(segments(), address_pairs)
def test_every_segment_carries_a_correct_checksum(segment: Segment, addresses: tuple[bytes, bytes]) -> None:
    src, dst = addresses
    frame = frame_of(segment, src, dst)
    header = ip.decode(frame)
    length = header.end - header.start
    pseudo = src + dst + length.to_bytes(4, "big") + b"\x00\x00\x00\x06"
    assert ones_complement_sum(pseudo + frame[header.start :]) == 0xFFFF
    assert frame[header.start + 16 : header.start + 18] != b"\xff\xff"  # the pseudo-header is never all zero


# RFC 9293 MUST-3
@given(segments(), address_pairs, st.data())
def test_tch_03_any_single_changed_bit_is_noticed(
    segment: Segment, addresses: tuple[bytes, bytes], data: st.DataObject
) -> None:
    frame = bytearray(frame_of(segment, *addresses))
    header = ip.decode(bytes(frame))
    assert tcp.checksum_ok(bytes(frame), header)
    bit = data.draw(st.integers(header.start * 8, header.end * 8 - 1))
    frame[bit // 8] ^= 1 << bit % 8
    assert not tcp.checksum_ok(bytes(frame), header)


# RFC 9293 MUST-3
@pytest.mark.parametrize(("src", "dst"), [(SRC4, DST4), (SRC6, DST6)], ids=["ipv4", "ipv6"])
def test_tch_03_a_checksum_without_the_pseudo_header_is_wrong(src: bytes, dst: bytes) -> None:
    segment = tcp_header(payload=b"abc")
    value = ones_complement_sum(segment) ^ 0xFFFF
    frame = ip.encode(src, dst, 6, len(segment)) + segment[:16] + value.to_bytes(2, "big") + segment[18:]
    assert not tcp.checksum_ok(frame, ip.decode(frame))


@pytest.mark.parametrize(("src", "dst"), [(SRC4, DST4), (SRC6, DST6)], ids=["ipv4", "ipv6"])
def test_ip6_14_a_checksum_field_of_zero_is_a_value_like_any_other(src: bytes, dst: bytes) -> None:
    """Zero does not mean "not computed" to TCP: it is right in one case of 65535, where 0xffff is right too."""
    right = 0
    for seq in range(65536):
        frame = frame_of(Segment(4000, 80, seq, 5, ACK, 100, (b"odd",)), src, dst)
        header = ip.decode(frame)
        at = header.start + 16
        zeroed = frame[:at] + b"\x00\x00" + frame[at + 2 :]
        if frame == zeroed:
            right += 1
            assert tcp.checksum_ok(frame[:at] + b"\xff\xff" + frame[at + 2 :], header)
        elif seq % 1000 == 0:
            assert not tcp.checksum_ok(zeroed, header)
    assert right == 1


@pytest.mark.parametrize("padding", [1, 6])
def test_link_padding_is_not_summed(padding: int) -> None:
    frame = frame_of(Segment(4000, 80, 1, 5, ACK, 100, (b"odd",)), SRC4, DST4) + b"\xee" * padding
    assert tcp.checksum_ok(frame, ip.decode(frame))


# --- options in ------------------------------------------------------------------------------------------------


# RFC 9293 MUST-4
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(MSS_1460, id="MSS"),
        pytest.param(NOP * 3 + MSS_1460, id="NOP-MSS"),
        pytest.param(MSS_1460 + EOL * 4, id="MSS-EOL"),
        pytest.param(NOP * 8 + MSS_1460 + NOP * 3 + EOL, id="NOP-MSS-NOP-EOL"),
    ],
)
def test_end_of_list_no_operation_and_mss(options: bytes) -> None:
    assert options_of(decode(options)) == (1460, -1, False, (), -1, 0)


# RFC 9293 MUST-5
@pytest.mark.parametrize("flags", [0, ACK, ACK | PSH, ACK | FIN, RST, RST | ACK, SYN, SYN | ACK])
@pytest.mark.parametrize("options", [NOP * 2 + TIMESTAMPS, TIMESTAMPS + NOP * 2, UNKNOWN + TIMESTAMPS])
def test_options_are_read_on_every_segment(flags: int, options: bytes) -> None:
    segment = decode(options, flags, payload=b"abc")
    assert (segment.tsval, segment.tsecr, segment.payload) == (1, 2, b"abc")


# RFC 9293 MUST-64
@pytest.mark.parametrize("shift", range(4))
def test_options_need_no_alignment(shift: int) -> None:
    syn = decode(NOP * shift + TIMESTAMPS + WSCALE_7 + MSS_1460 + SACK_OK)
    assert options_of(syn) == (1460, 7, True, (), 1, 2)
    later = decode(NOP * shift + sack((10, 20), (30, 40)) + TIMESTAMPS, ACK)
    assert options_of(later) == (0, -1, False, ((10, 20), (30, 40)), 1, 2)


# RFC 9293 MUST-6, MUST-68
@given(
    st.integers(0, 255).filter(lambda kind: kind not in (0, 1, 2, 3, 4, 5, 8, 34, 254)),
    st.binary(max_size=9),
    st.permutations([MSS_1460, WSCALE_7, SACK_OK, TIMESTAMPS]),
    st.integers(0, 4),
)
def test_opt_13_an_unknown_option_changes_nothing(kind: int, data: bytes, known: list[bytes], position: int) -> None:
    unknown = bytes((kind, 2 + len(data))) + data
    with_it = decode(b"".join([*known[:position], unknown, *known[position:]]))
    assert fields(with_it) == fields(decode(b"".join(known)))


# RFC 9293 MUST-7
@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(bytes((253, 0)), id="OPT-01-unknown-of-length-0"),
        pytest.param(bytes((253, 1)), id="OPT-02-unknown-of-length-1"),
        pytest.param(bytes((2, 0, 5, 180)), id="OPT-01-MSS-of-length-0"),
        pytest.param(bytes((8, 1)), id="OPT-02-timestamps-of-length-1"),
        pytest.param(bytes((253, 40)), id="OPT-04-unknown-past-the-header"),
        pytest.param(bytes((4, 200)), id="OPT-05-SACK-permitted-of-length-200"),
    ],
)
@pytest.mark.parametrize("flags", [SYN, ACK])
def test_an_illegal_length_ends_the_options_and_harms_nothing(bad: bytes, flags: int) -> None:
    """OPT-14: the same on a running connection: what came before stands, what comes after is unread."""
    segment = decode(TIMESTAMPS + bad + TIMESTAMPS_9 + MSS_1460, flags, payload=b"abc")
    assert options_of(segment) == (0, -1, False, (), 1, 2)
    assert segment.payload == b"abc"
    assert options_of(decode(bad + MSS_1460 + TIMESTAMPS, flags)) == NONE


# RFC 9293 MUST-7
@pytest.mark.parametrize("cut", [bytes((2, 4, 5)), bytes((2, 4)), bytes((2,)), bytes((8, 10, 0, 0)), bytes((5, 10))])
def test_opt_04_an_option_cut_by_the_end_takes_nothing_from_the_payload(cut: bytes) -> None:
    options = NOP * (-len(cut) % 4) + cut
    header = tcp_header(options=options, flags=SYN, payload=bytes((0xB4, 0xB4)) * 6)
    segment = tcp.decode(header, 0, len(header))
    assert options_of(segment) == NONE
    assert segment.size == 12


# RFC 9293 MUST-68
@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(bytes((2, 3, 5)), id="OPT-05-MSS-3"),
        pytest.param(bytes((2, 2)), id="OPT-05-MSS-2"),
        pytest.param(bytes((2, 5, 5, 180, 0)), id="OPT-05-MSS-5"),
        pytest.param(bytes((3, 4, 7, 0)), id="OPT-05-WScale-4"),
        pytest.param(bytes((3, 2)), id="OPT-05-WScale-2"),
        pytest.param(bytes((4, 3, 0)), id="OPT-05-SACK-permitted-3"),
        pytest.param(bytes((8, 3, 1)), id="OPT-05-timestamps-3"),
        pytest.param(bytes((8, 11)) + bytes(9), id="OPT-05-timestamps-11"),
    ],
)
def test_a_known_option_with_a_wrong_length_is_skipped_by_it(wrong: bytes) -> None:
    assert options_of(decode(wrong)) == NONE
    syn = decode(wrong + MSS_1460 + WSCALE_7 + SACK_OK + TIMESTAMPS)
    assert options_of(syn) == (1460, 7, True, (), 1, 2)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(MSS_1460 + MSS_100, (1460, -1, False, (), -1, 0), id="OPT-06-MSS"),
        pytest.param(WSCALE_7 + WSCALE_2, (0, 7, False, (), -1, 0), id="OPT-06-WScale"),
        pytest.param(TIMESTAMPS + TIMESTAMPS_9, (0, -1, False, (), 1, 2), id="OPT-06-timestamps"),
        pytest.param(SACK_OK + SACK_OK, (0, -1, True, (), -1, 0), id="OPT-06-SACK-permitted"),
    ],
)
def test_the_first_of_two_counts(options: bytes, expected: tuple[object, ...]) -> None:
    assert options_of(decode(options)) == expected


def test_opt_06_the_first_of_two_sack_options_counts() -> None:
    assert decode(sack((1, 2)) + sack((3, 4), (5, 6)), ACK).sacks == ((1, 2),)


@pytest.mark.parametrize("mss", [0, 1, 8, 65535])
def test_opt_07_opt_08_mss_is_kept_as_it_came_and_zero_is_absent(mss: int) -> None:
    assert decode(bytes((2, 4)) + mss.to_bytes(2, "big")).mss == mss


@pytest.mark.parametrize("shift", [0, 14, 15, 255])
def test_opt_09_window_scale_is_kept_as_it_came(shift: int) -> None:
    assert decode(bytes((3, 3, shift))).wscale == shift


@pytest.mark.parametrize("flags", [ACK, ACK | FIN, RST, 0])
def test_opt_10_mss_window_scale_and_sack_permitted_need_a_syn(flags: int) -> None:
    segment = decode(MSS_1460 + WSCALE_7 + SACK_OK + TIMESTAMPS, flags)
    assert options_of(segment) == (0, -1, False, (), 1, 2)


# RFC 9293 MUST-69
@pytest.mark.parametrize(
    ("options", "mss"),
    [
        pytest.param(EOL * 40, 0, id="OPT-11-forty-EOL"),
        pytest.param(NOP * 40, 0, id="OPT-11-forty-NOP"),
        pytest.param(MSS_1460 + EOL + MSS_100 + b"\xff" * 31, 1460, id="OPT-11-garbage-after-EOL"),
        pytest.param(EOL + MSS_1460 + NOP * 3, 0, id="OPT-11-an-option-after-EOL"),
    ],
)
def test_whatever_follows_the_end_of_the_list_is_padding(options: bytes, mss: int) -> None:
    assert options_of(decode(options)) == (mss, -1, False, (), -1, 0)


@pytest.mark.parametrize(
    ("options", "flags", "count"),
    [
        pytest.param(sack((1, 2)), SYN, 0, id="OPT-12-on-a-SYN"),
        pytest.param(sack((1, 2)), SYN | ACK, 0, id="OPT-12-on-a-SYN-ACK"),
        pytest.param(sack((1, 2))[:-1] + NOP, ACK, 1, id="an-edge-is-any-octets"),
        pytest.param(bytes((5, 9)) + bytes(7), ACK, 0, id="OPT-12-length-9"),
        pytest.param(bytes((5, 2)), ACK, 0, id="OPT-12-no-block"),
        pytest.param(bytes((5, 11)) + bytes(9), ACK, 0, id="OPT-12-length-11"),
        pytest.param(sack((1, 2), (3, 4), (5, 6), (7, 8)), ACK, 4, id="four-blocks"),
        pytest.param(TIMESTAMPS + NOP * 2 + bytes((5, 34)) + bytes(24), ACK, 0, id="OPT-12-timestamps-and-four"),
    ],
)
def test_sack_blocks(options: bytes, flags: int, count: int) -> None:
    assert len(decode(options, flags).sacks) == count


# --- options out -----------------------------------------------------------------------------------------------


@given(segments(), address_pairs)
def test_what_we_encode_we_decode(segment: Segment, addresses: tuple[bytes, bytes]) -> None:
    frame = frame_of(segment, *addresses)
    header = ip.decode(frame)
    assert fields(tcp.decode(frame, header.start, header.end)) == fields(segment)


@given(segments())
def test_option_length_is_what_encode_writes(segment: Segment) -> None:
    header = tcp.encode(segment, 0)
    assert len(header) == 20 + tcp.option_length(segment)
    assert len(header) % 4 == 0
    assert len(header) == (header[12] >> 4) * 4 <= 60


def test_a_syn_is_laid_out_as_linux_lays_it_out() -> None:
    syn = Segment(1, 2, 3, 0, SYN, 64240, mss=1460, wscale=7, sack_ok=True, tsval=1, tsecr=2)
    assert tcp.encode(syn, 0)[20:] == MSS_1460 + SACK_OK + TIMESTAMPS + NOP + WSCALE_7
    syn.sack_ok = False
    assert tcp.encode(syn, 0)[20:] == MSS_1460 + NOP * 2 + TIMESTAMPS + NOP + WSCALE_7
    syn.sack_ok, syn.tsval = True, -1
    assert tcp.encode(syn, 0)[20:] == MSS_1460 + NOP * 2 + SACK_OK + NOP + WSCALE_7
    syn.sack_ok = False
    assert tcp.encode(syn, 0)[20:] == MSS_1460 + NOP + WSCALE_7


def test_sack_blocks_that_do_not_fit_are_left_out_from_the_end() -> None:
    blocks = tuple((n, n + 1) for n in range(0, 60, 10))
    segment = Segment(1, 2, 3, 4, ACK, 100, sacks=blocks, tsval=1, tsecr=2)
    assert tcp.encode(segment, 0)[20:] == NOP * 2 + TIMESTAMPS + NOP * 2 + sack(*blocks[:3])
    segment.tsval = -1
    assert tcp.encode(segment, 0)[20:] == NOP * 2 + sack(*blocks[:4])


# RFC 9293 MUST-65
@given(segments(), u8.filter(lambda flags: not flags & SYN))
def test_no_segment_without_syn_carries_an_mss(segment: Segment, flags: int) -> None:
    segment.flags = flags
    if segment.mss or segment.sack_ok or segment.wscale >= 0:
        with pytest.raises(ValueError, match="belong on a SYN"):
            tcp.encode(segment, 0)
    else:
        options = tcp.encode(segment, 0)[20:]
        assert options[:4] in (b"", NOP * 2 + TIMESTAMPS[:2], NOP * 2 + bytes((5, 2 + 8 * len(segment.sacks))))


# RFC 9293 MUST-65
@pytest.mark.parametrize("option", [{"mss": 1460}, {"wscale": 0}, {"sack_ok": True}])
def test_each_option_of_a_syn_is_refused_elsewhere(option: dict[str, int]) -> None:
    segment = Segment(1, 2, 3, 4, ACK, 100)
    for name, value in option.items():
        setattr(segment, name, value)
    with pytest.raises(ValueError, match="belong on a SYN"):
        tcp.encode(segment, 0)


def test_sack_blocks_on_a_syn_are_the_callers_fault() -> None:
    with pytest.raises(ValueError, match="do not belong on a SYN"):
        tcp.encode(Segment(1, 2, 3, 4, SYN, 100, sacks=((1, 2),)), 0)


def test_the_checksum_field_holds_the_folded_pseudo_header() -> None:
    segment = Segment(1, 2, 3, 4, ACK, 100, (b"abc",), tsval=1, tsecr=2)
    header = tcp.encode(segment, tcp.address_sum(SRC4, DST4))
    assert int.from_bytes(header[16:18], "big") == ones_complement_sum(SRC4 + DST4 + bytes((0, 6, 0, 35)))


def test_a_tcp_segment_in_a_frame_with_ip_options() -> None:
    frame = ipv4_frame(tcp_header(payload=b"abc"), options=NOP * 8)
    header = ip.decode(frame)
    assert tcp.decode(frame, header.start, header.end).payload == b"abc"
