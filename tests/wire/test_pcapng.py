"""Captures: what scapy's reader, our own reader and the format's text make of them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.utils import PcapNgReader, PcapNgWriter

from stack.wire import pcapng
from stack.wire.pcapng import CapturedPacket, Interface, Section, Statistics, read
from tests.wire.frames import ipv4_frame, tcp_header

TIME = 1_700_000_000_123_456_789
START = pcapng.section_header() + pcapng.interface_description("tun0")

comments = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**64 - 1),
            st.binary(max_size=50),
            st.none() | st.booleans(),
            st.none() | comments,
            st.none() | st.integers(0, 2**32 - 1),
        ),
        max_size=5,
    )
)
def test_what_we_write_we_read(
    packets: list[tuple[int, bytes, bool | None, str | None, int | None]],
) -> None:
    capture = START
    for time, data, outbound, comment, length in packets:
        capture += pcapng.enhanced_packet(0, time, data, length, comment=comment, outbound=outbound)
    assert len(capture) % 4 == 0
    section, interface, *blocks = read(capture)
    assert isinstance(section, Section)
    assert isinstance(interface, Interface)
    assert [
        (block.time, block.data, block.outbound, block.comment, block.original_length)
        for block in blocks
        if isinstance(block, CapturedPacket)
    ] == [
        (time, data, outbound, comment or "", len(data) if length is None else length)
        for time, data, outbound, comment, length in packets
    ]


def test_scapy_reads_it(tmp_path: Path) -> None:
    frames = [ipv4_frame(tcp_header(payload=payload)) for payload in (b"", b"a", b"ab", b"abc", b"abcd")]
    capture = START + b"".join(
        pcapng.enhanced_packet(0, TIME + n, frame, comment=f"ESTAB {n} \u00e9", outbound=n % 2 == 0)
        for n, frame in enumerate(frames)
    )
    capture += pcapng.interface_statistics(0, TIME + 9, received=5, dropped=0)
    path = tmp_path / "a.pcapng"
    path.write_bytes(capture)
    with PcapNgReader(str(path)) as reader:
        packets = list(reader)
    assert [bytes(packet) for packet in packets] == frames
    assert all(isinstance(packet, IP) and packet[TCP].sport == 4000 for packet in packets)
    assert [packet.direction for packet in packets] == [2, 1, 2, 1, 2]
    assert [packet.sniffed_on for packet in packets] == ["tun0"] * 5
    assert [packet.comments for packet in packets] == [[f"ESTAB {n} \u00e9".encode()] for n in range(5)]
    assert [round(packet.time * 10**9) for packet in packets] == [TIME + n for n in range(5)]


def test_the_blocks_octet_for_octet() -> None:
    """The layout of the draft, section 4, written out."""
    assert pcapng.section_header(application="x") == bytes.fromhex(
        "0a0d0d0a 28000000 4d3c2b1a 0100 0000 ffffffffffffffff"  # type, length, byte order, version, any length
        "0400 0100 78000000 0000 0000 28000000"  # shb_userappl, end of options, length
    )
    assert pcapng.interface_description("tun0") == bytes.fromhex(
        "01000000 28000000 6500 0000 00000000"  # raw IP, no limit
        "0200 0400 74756e30 0900 0100 09000000 0000 0000 28000000"  # if_name, if_tsresol
    )
    assert pcapng.enhanced_packet(1, 2 << 32 | 3, b"abc", 9, comment="hi", outbound=True) == bytes.fromhex(
        "06000000 38000000 01000000 02000000 03000000 03000000 09000000 61626300"
        "0100 0200 68690000 0200 0400 02000000 0000 0000 38000000"  # opt_comment, epb_flags
    )
    assert pcapng.enhanced_packet(0, 1, b"abcd") == bytes.fromhex(
        "06000000 24000000 00000000 00000000 01000000 04000000 04000000 61626364 24000000"
    )
    assert pcapng.interface_statistics(0, 1, start_ns=2, received=3, dropped=4, comment="c") == bytes.fromhex(
        "05000000 54000000 00000000 00000000 01000000 0100 0100 63000000"
        "0200 0800 00000000 02000000 0300 0800 00000000 01000000"  # isb_starttime, isb_endtime
        "0400 0800 03000000 00000000 0500 0800 04000000 00000000"  # isb_ifrecv, isb_ifdrop
        "0000 0000 54000000"
    )


def test_names_and_comments_come_back() -> None:
    capture = pcapng.section_header(application="a", os="o", hardware="h", comment="section")
    capture += pcapng.interface_description("tun0", pcapng.LINKTYPE_ETHERNET, 9, 96, description="d")
    capture += pcapng.interface_statistics(0, TIME, received=7, comment="done")
    section, interface, statistics = read(capture)
    assert isinstance(section, Section)
    assert (section.application, section.comment) == ("a", "section")
    assert isinstance(interface, Interface)
    assert (interface.name, interface.linktype, interface.snaplen) == ("tun0", 1, 96)
    assert interface.resolution == 10**9
    assert isinstance(statistics, Statistics)
    assert (statistics.interface, statistics.time, statistics.comment) == (0, TIME, "done")
    assert (statistics.received, statistics.dropped) == (7, None)
    (_, _, statistics) = read(START + pcapng.interface_statistics(0, TIME, dropped=2))
    assert isinstance(statistics, Statistics)
    assert (statistics.received, statistics.dropped) == (None, 2)


@pytest.mark.parametrize("text", ["x" * 70000, "\u20ac" * 30000])
def test_a_comment_that_is_too_long_is_cut_between_characters(text: str) -> None:
    *_, packet = read(START + pcapng.enhanced_packet(0, TIME, b"abc", comment=text, outbound=False))
    assert isinstance(packet, CapturedPacket)
    assert text.startswith(packet.comment)
    assert 65535 - 3 < len(packet.comment.encode()) <= 65535
    assert (packet.data, packet.outbound) == (b"abc", False)


# --- what others write -----------------------------------------------------------------------------------------


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    length = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + length + body + length


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(resolution: int | None = None, order: str = "<") -> bytes:
    options = b"" if resolution is None else struct.pack(order + "HHB3x", 9, 1, resolution)
    return block(1, struct.pack(order + "HHI", 101, 0, 0) + options, order)


def captured(ticks: int, data: bytes = b"abcd", order: str = "<", options: bytes = b"", number: int = 0) -> bytes:
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(6, head + data + options, order)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("resolution", "ticks", "time"),
    [
        (None, 1_700_000_000_123_456, 1_700_000_000_123_456_000),  # microseconds, unless the file says otherwise
        (9, TIME, TIME),
        (3, 1_700_000_000_123, 1_700_000_000_123_000_000),
        (0x80 | 10, 1024 + 512, 1_500_000_000),
    ],
)
def test_either_byte_order_and_any_resolution(order: str, resolution: int | None, ticks: int, time: int) -> None:
    capture = section(order) + interface(resolution, order) + captured(ticks, order=order)
    *_, packet = read(capture)
    assert isinstance(packet, CapturedPacket)
    assert (packet.time, packet.data, packet.outbound, packet.comment) == (time, b"abcd", None, "")


def test_a_second_section_starts_anew() -> None:
    capture = section("<") + interface() + captured(1) + section(">") + interface(9, ">") + captured(7, order=">")
    packets = [block for block in read(capture) if isinstance(block, CapturedPacket)]
    assert [packet.time for packet in packets] == [1000, 7]


def test_unknown_blocks_and_directions_are_skipped() -> None:
    flags = struct.pack("<HHI", 2, 4, 0)
    capture = section() + block(0xBAD, b"1234") + interface() + captured(1, options=flags)
    kinds = [type(found) for found in read(capture)]
    assert kinds == [Section, Interface, CapturedPacket]
    *_, packet = read(capture)
    assert isinstance(packet, CapturedPacket)
    assert packet.outbound is None


MALFORMED = [
    pytest.param(b"1234", "cut short", id="four-octets"),
    pytest.param(b"\x0a\x0d\x0d\x0a" + bytes(24), "not a pcapng", id="no-byte-order"),
    pytest.param(START[:-4], "octets at", id="cut-in-a-block"),
    pytest.param(START[:-4] + b"\x24\x00\x00\x00", "two lengths", id="two-lengths"),
    pytest.param(section() + struct.pack("<III", 6, 13, 13), "of 13 octets", id="odd-length"),
    pytest.param(section() + struct.pack("<III", 6, 8, 8), "of 8 octets", id="length-8"),
    pytest.param(section() + struct.pack("<III", 6, 1 << 25, 0), "octets at", id="huge"),
    pytest.param(section() + captured(1), "malformed", id="no-interface"),
    pytest.param(START + captured(1, number=1), "malformed", id="interface-never-described"),
    pytest.param(START + block(6, bytes(4)), "malformed", id="short-packet-block"),
    pytest.param(START + block(6, struct.pack("<5I", 0, 0, 0, 9, 9)), "malformed", id="longer-than-its-block"),
    pytest.param(START + block(6, struct.pack("<5IHH", 0, 0, 0, 0, 0, 1, 9)), "malformed", id="long-option"),
    pytest.param(START + captured(1, options=b"\x02\x00\x02\x00\x01\x00\x00\x00"), "malformed", id="flags-of-2"),
    pytest.param(section() + block(1, struct.pack("<HHIHH", 1, 0, 0, 9, 0)), "malformed", id="no-resolution"),
]


@pytest.mark.parametrize(("capture", "why"), MALFORMED)
def test_malformed(capture: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        list(read(capture))


@given(st.binary(max_size=60), st.sampled_from([b"", section(), START]))
def test_arbitrary_octets_raise_nothing_else(data: bytes, start: bytes) -> None:
    try:
        blocks = list(read(start + data))
    except ValueError:
        return
    assert len(blocks) <= 2 + len(data) // 12


@given(st.data())
def test_spoilt_captures_raise_nothing_else(data: st.DataObject) -> None:
    capture = bytearray(START + pcapng.enhanced_packet(0, TIME, b"abc", comment="x", outbound=True))
    for _ in range(data.draw(st.integers(1, 3))):
        capture[data.draw(st.integers(0, len(capture) - 1))] = data.draw(st.integers(0, 255))
    try:
        blocks = list(read(bytes(capture)))
    except ValueError:
        return
    assert len(blocks) <= 3


def test_scapy_writes_and_we_read(tmp_path: Path) -> None:
    packet = IP(src="10.9.0.1", dst="10.9.0.2") / TCP()
    packet.time = 1_700_000_000.5
    packet.comment = "hello"
    path = tmp_path / "a.pcapng"
    with PcapNgWriter(str(path)) as writer:
        writer.write(packet)
    found = [block for block in read(path.read_bytes()) if isinstance(block, CapturedPacket)]
    assert [(p.data, p.time, p.comment) for p in found] == [(bytes(packet), 1_700_000_000_500_000_000, "hello")]
