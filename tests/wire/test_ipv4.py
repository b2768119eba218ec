"""The IPv4 header: what is accepted, what is refused and under which reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.wire import ip, ipv4, tcp
from stack.wire.drop import Drop, WireError
from tests.wire.frames import DST4, SRC4, addresses4, ipv4_frame, ones_complement_sum, tcp_header, u8, u16

SOURCE_ROUTE = bytes((3, 7, 4, 10, 9, 0, 9, 1))  # without its kind: length 7, pointer 4, one hop, NOP
RECORD_ROUTE = bytes((7, 7, 4, 0, 0, 0, 0, 0))
ROUTER_ALERT = bytes((148, 4, 0, 0))


def reason(frame: bytes) -> Drop:
    with pytest.raises(WireError) as caught:
        ip.decode(frame)
    return caught.value.reason


def test_every_field() -> None:
    header = ip.decode(ipv4_frame(b"payload"))
    assert (header.version, header.src, header.dst) == (4, SRC4, DST4)
    assert (header.protocol, header.hop_limit, header.traffic_class, header.ident) == (6, 64, 0, 7)
    assert (header.start, header.end) == (20, 27)
    assert (header.fragment, header.dont_fragment) == (False, True)
    assert repr(header) == "IPHeader(v4 0a090001 > 0a090002 protocol=6 payload=20:27)"


REFUSED = [
    pytest.param(b"", Drop.TRUNCATED, id="IP4-01-empty"),
    pytest.param(ipv4_frame()[:1], Drop.TRUNCATED, id="IP4-01-1-octet"),
    pytest.param(ipv4_frame()[:19], Drop.TRUNCATED, id="IP4-01-19-octets"),
    pytest.param(ipv4_frame(bytes(40), version=5), Drop.BAD_VERSION, id="IP4-02-version-5"),
    pytest.param(ipv4_frame(bytes(40), version=0), Drop.BAD_VERSION, id="IP4-02-version-0"),
    pytest.param(ipv4_frame(bytes(40), version=15), Drop.BAD_VERSION, id="IP4-02-version-15"),
    pytest.param(ipv4_frame(bytes(40), ihl=4), Drop.BAD_HEADER, id="IP4-03-ihl-4"),
    pytest.param(ipv4_frame(bytes(40), ihl=0), Drop.BAD_HEADER, id="IP4-03-ihl-0"),
    pytest.param(ipv4_frame(bytes(20), ihl=15), Drop.TRUNCATED, id="IP4-03-ihl-15-past-the-frame"),
    pytest.param(ipv4_frame(b"abc", total=24), Drop.TRUNCATED, id="IP4-05-total-length-one-too-large"),
    pytest.param(ipv4_frame(b"abc", total=65535), Drop.TRUNCATED, id="IP4-05-total-length-65535"),
    pytest.param(ipv4_frame(b"abc", total=19), Drop.BAD_HEADER, id="total-length-below-the-header"),
    pytest.param(ipv4_frame(b"abc", total=0), Drop.BAD_HEADER, id="total-length-0"),
    pytest.param(
        ipv4_frame(b"abc", options=ROUTER_ALERT, total=23), Drop.BAD_HEADER, id="total-length-inside-the-options"
    ),
    pytest.param(ipv4_frame(checksum=0xABCD), Drop.BAD_CHECKSUM, id="IP4-07-wrong-checksum"),
    pytest.param(ipv4_frame(checksum=0), Drop.BAD_CHECKSUM, id="IP4-07-checksum-0"),
    pytest.param(ipv4_frame(options=bytes((0x44, 0, 5, 0))), Drop.BAD_OPTION, id="IP4-08-option-of-length-0"),
    pytest.param(ipv4_frame(options=bytes((0x94, 1, 0, 0))), Drop.BAD_OPTION, id="IP4-08-option-of-length-1"),
    pytest.param(
        ipv4_frame(bytes(40), options=bytes((0x94, 5, 0, 0))), Drop.BAD_OPTION, id="IP4-10-option-past-the-header"
    ),
    pytest.param(
        ipv4_frame(bytes(40), options=bytes((1, 1, 1, 0x94))), Drop.BAD_OPTION, id="IP4-10-option-without-length"
    ),
    pytest.param(
        ipv4_frame(options=bytes((7, 7, 3, 0, 0, 0, 0, 0))), Drop.BAD_OPTION, id="IP4-10-record-route-pointer-3"
    ),
    pytest.param(ipv4_frame(options=bytes((1, 1, 7, 2))), Drop.BAD_OPTION, id="IP4-10-record-route-no-pointer"),
    pytest.param(ipv4_frame(options=bytes((68, 4, 4, 0))), Drop.BAD_OPTION, id="timestamp-pointer-4"),
    pytest.param(ipv4_frame(options=b"\x83" + SOURCE_ROUTE[1:]), Drop.BAD_OPTION, id="IP4-11-loose-source-route"),
    pytest.param(ipv4_frame(options=b"\x89" + SOURCE_ROUTE[1:]), Drop.BAD_OPTION, id="IP4-11-strict-source-route"),
    pytest.param(ipv4_frame(options=bytes((1, 131, 3, 4))), Drop.BAD_OPTION, id="IP4-11-source-route-that-is-used-up"),
    pytest.param(ipv4_frame(bytes(100), flags=0x1FFF), Drop.BAD_HEADER, id="fragment-that-ends-past-65535"),
]


@pytest.mark.parametrize(("frame", "expected"), REFUSED)
def test_refused(frame: bytes, expected: Drop) -> None:
    assert reason(frame) is expected


def test_ipv4_decode_by_itself_refuses_ipv6() -> None:
    with pytest.raises(WireError) as caught:
        ipv4.decode(b"\x60" + bytes(39))
    assert caught.value.reason is Drop.BAD_VERSION


@pytest.mark.parametrize("padding", [1, 6, 46])
def test_ip4_06_trailing_padding_is_no_payload(padding: int) -> None:
    frame = ipv4_frame(tcp_header(), trailer=b"\xee" * padding)
    header = ip.decode(frame)
    assert header.end == 40
    assert tcp.decode(frame, header.start, header.end).size == 0


# RFC1122-07
# RFC 9293 MUST-50
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(bytes((1,)) * 40, id="IP4-12-forty-nops"),
        pytest.param(bytes(40), id="end-of-list-at-once"),
        pytest.param(ROUTER_ALERT, id="router-alert"),
        pytest.param(RECORD_ROUTE, id="record-route"),
        pytest.param(bytes((68, 8, 5, 0, 0, 0, 0, 0)), id="timestamp"),
        pytest.param(bytes((130, 11)) + bytes(9) + b"\x00", id="security"),
        pytest.param(bytes((0x5E, 3, 9, 1)), id="never-assigned"),
        pytest.param(bytes((1, 0, 131, 3)), id="a-source-route-behind-the-end"),
    ],
)
def test_other_options_are_ignored(options: bytes) -> None:
    frame = ipv4_frame(tcp_header(payload=b"GET"), options=options)
    header = ip.decode(frame)
    assert (header.start, header.end, header.protocol) == (20 + len(options), len(frame), 6)
    assert tcp.decode(frame, header.start, header.end).payload == b"GET"


@pytest.mark.parametrize("protocol", [4, 41, 253])
def test_ip4_13_ip4_14_other_protocols_are_named_not_opened(protocol: int) -> None:
    inner = ipv4_frame(tcp_header())
    for _ in range(32):
        inner = ipv4_frame(inner, protocol=protocol)
    header = ip.decode(inner)
    assert (header.protocol, header.start, header.end) == (protocol, 20, len(inner))


@pytest.mark.parametrize(
    ("flags", "fragment", "dont_fragment"),
    [
        (0x0000, False, False),
        (0x4000, False, True),
        (0x8000, False, False),  # the reserved bit means nothing
        (0x2000, True, False),
        (0x6000, True, True),
        (0x0001, True, False),
        (0x1000, True, False),
    ],
)
def test_fragments_are_told(flags: int, fragment: bool, dont_fragment: bool) -> None:
    header = ip.decode(ipv4_frame(b"12345678", flags=flags))
    assert (header.fragment, header.dont_fragment) == (fragment, dont_fragment)


@given(addresses4, addresses4, u8, st.integers(0, 65515), u8, u8, u16, st.booleans())
def test_what_we_encode_checks(
    src: bytes, dst: bytes, protocol: int, length: int, hop_limit: int, tos: int, ident: int, df: bool
) -> None:
    header = ip.encode(
        src, dst, protocol, length, hop_limit=hop_limit, traffic_class=tos, ident=ident, dont_fragment=df
    )
    assert len(header) == 20
    assert ones_complement_sum(header) == 0xFFFF
    assert header[10:12] != b"\xff\xff"
    back = ip.decode(header + bytes(length))
    assert (back.src, back.dst, back.protocol, back.hop_limit) == (src, dst, protocol, hop_limit)
    assert (back.traffic_class, back.ident, back.dont_fragment) == (tos, ident, df)
    assert (back.start, back.end, back.fragment) == (20, 20 + length, False)


def test_a_header_checksum_may_come_out_as_zero_and_may_be_sent_as_ffff() -> None:
    zero = [frame for i in range(65536) if (frame := ip.encode(SRC4, DST4, 6, 0, ident=i))[10:12] == b"\x00\x00"]
    assert len(zero) == 1
    for field in (b"\x00\x00", b"\xff\xff"):
        assert ip.decode(zero[0][:10] + field + zero[0][12:]).src == SRC4


def test_too_long_is_the_callers_fault() -> None:
    assert len(ip.encode(SRC4, DST4, 6, 65515)) == 20
    with pytest.raises(ValueError, match="do not fit"):
        ip.encode(SRC4, DST4, 6, 65516)
