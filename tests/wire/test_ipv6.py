"""The IPv6 header and the walk over extension headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.wire import ip, ipv6, tcp
from stack.wire.drop import Drop, WireError
from tests.wire.frames import DST6, SRC6, addresses6, extension, ipv6_frame, tcp_header, u8

HOP_BY_HOP, ROUTING, FRAGMENT, NONE, DESTINATION = 0, 43, 44, 59, 60
TCP = tcp_header(payload=b"GET")


def option(kind: int, data: bytes = b"") -> bytes:
    return bytes((kind, len(data))) + data


def routing(next_header: int, routing_type: int, segments_left: int, addresses: int = 1) -> bytes:
    return extension(next_header, bytes((routing_type, segments_left)) + bytes(4 + 16 * addresses))


def fragment(next_header: int, offset: int = 0, more: bool = False, ident: int = 99) -> bytes:
    return bytes((next_header, 0)) + (offset << 3 | more).to_bytes(2, "big") + ident.to_bytes(4, "big")


def chain(count: int) -> bytes:
    """So many destination-options headers of 8 octets, then TCP."""
    return extension(DESTINATION, b"") * (count - 1) + extension(6, b"") + TCP


def test_every_field() -> None:
    header = ip.decode(ipv6_frame(TCP))
    assert (header.version, header.src, header.dst, header.protocol, header.hop_limit) == (6, SRC6, DST6, 6, 64)
    assert (header.start, header.end) == (40, 40 + len(TCP))
    assert (header.fragment, header.dont_fragment, header.ident) == (False, True, 0)


REFUSED = [
    pytest.param(b"\x60", Drop.TRUNCATED, id="1-octet"),
    pytest.param(ipv6_frame()[:39], Drop.TRUNCATED, id="39-octets"),
    pytest.param(ipv6_frame(TCP, length=len(TCP) + 1), Drop.TRUNCATED, id="IP6-01-payload-length-past-the-frame"),
    pytest.param(ipv6_frame(TCP, length=65535), Drop.TRUNCATED, id="IP6-01-payload-length-65535"),
    pytest.param(ipv6_frame(chain(9), next_header=DESTINATION), Drop.BAD_OPTION, id="IP6-02-nine-headers"),
    pytest.param(ipv6_frame(chain(100), next_header=DESTINATION), Drop.BAD_OPTION, id="IP6-02-hundred-headers"),
    pytest.param(
        ipv6_frame(extension(6, option(0x1E, bytes(253))) + TCP, next_header=DESTINATION),
        Drop.BAD_OPTION,
        id="IP6-02-more-than-256-octets",
    ),
    pytest.param(
        ipv6_frame(extension(6, b"", length=255) + TCP, next_header=DESTINATION),
        Drop.TRUNCATED,
        id="IP6-03-length-255-past-the-packet",
    ),
    pytest.param(
        ipv6_frame(extension(6, b"", length=1), next_header=DESTINATION, trailer=bytes(64)),
        Drop.TRUNCATED,
        id="IP6-03-header-that-reaches-into-padding",
    ),
    pytest.param(ipv6_frame(extension(6, b"")[:7], next_header=DESTINATION), Drop.TRUNCATED, id="IP6-03-seven-octets"),
    pytest.param(ipv6_frame(next_header=HOP_BY_HOP), Drop.TRUNCATED, id="IP6-03-no-octets"),
    pytest.param(
        ipv6_frame(extension(HOP_BY_HOP, b"") + extension(6, b"") + TCP, next_header=DESTINATION),
        Drop.BAD_OPTION,
        id="IP6-05-hop-by-hop-second",
    ),
    pytest.param(
        ipv6_frame(extension(HOP_BY_HOP, b"") + extension(6, b"") + TCP, next_header=HOP_BY_HOP),
        Drop.BAD_OPTION,
        id="IP6-05-hop-by-hop-twice",
    ),
    *(
        pytest.param(
            ipv6_frame(extension(6, option(kind, b"1234")) + TCP, next_header=header),
            Drop.BAD_OPTION,
            id=f"IP6-06-action-{kind >> 6:02b}-in-{header}",
        )
        for kind in (0x5E, 0x9E, 0xDE)
        for header in (HOP_BY_HOP, DESTINATION)
    ),
    pytest.param(
        ipv6_frame(extension(6, bytes((0x1E, 5, 0, 0, 0, 0))) + TCP, next_header=DESTINATION),
        Drop.BAD_OPTION,
        id="IP6-06-option-past-its-header",
    ),
    pytest.param(
        ipv6_frame(extension(6, bytes((0, 0, 0, 0, 0, 0x1E))) + TCP, next_header=DESTINATION),
        Drop.BAD_OPTION,
        id="IP6-06-option-without-length",
    ),
    pytest.param(
        ipv6_frame(routing(6, 0, 1) + TCP, next_header=ROUTING), Drop.BAD_OPTION, id="IP6-07-type-0-segments-left-1"
    ),
    pytest.param(
        ipv6_frame(routing(6, 0, 0) + TCP, next_header=ROUTING), Drop.BAD_OPTION, id="IP6-07-type-0-segments-left-0"
    ),
    pytest.param(
        ipv6_frame(routing(6, 4, 1) + TCP, next_header=ROUTING), Drop.BAD_OPTION, id="IP6-07-type-4-segments-left-1"
    ),
    pytest.param(
        ipv6_frame(fragment(6, 8190) + bytes(100), next_header=FRAGMENT),
        Drop.BAD_HEADER,
        id="IP6-11-fragment-that-ends-past-65535",
    ),
    pytest.param(ipv6_frame(next_header=NONE), Drop.UNKNOWN_PROTOCOL, id="IP6-18-no-next-header"),
    pytest.param(
        ipv6_frame(extension(NONE, b""), next_header=DESTINATION), Drop.UNKNOWN_PROTOCOL, id="IP6-18-behind-options"
    ),
]


@pytest.mark.parametrize(("frame", "expected"), REFUSED)
def test_refused(frame: bytes, expected: Drop) -> None:
    with pytest.raises(WireError) as caught:
        ip.decode(frame)
    assert caught.value.reason is expected


def test_ipv6_decode_by_itself_refuses_ipv4() -> None:
    with pytest.raises(WireError) as caught:
        ipv6.decode(b"\x45" + bytes(39))
    assert caught.value.reason is Drop.BAD_VERSION


def test_ip6_01_payload_length_below_a_tcp_header() -> None:
    frame = ipv6_frame(TCP, length=10)
    header = ip.decode(frame)
    with pytest.raises(WireError) as caught:
        tcp.decode(frame, header.start, header.end)
    assert caught.value.reason is Drop.TRUNCATED


SKIPPED = [
    pytest.param(HOP_BY_HOP, extension(6, b""), id="empty-hop-by-hop"),
    pytest.param(HOP_BY_HOP, extension(6, option(0x1E, b"1234")), id="IP6-06-action-00"),
    pytest.param(HOP_BY_HOP, extension(6, option(5, b"\x00\x00")), id="router-alert"),
    pytest.param(DESTINATION, extension(6, bytes(6)), id="six-pad1"),
    pytest.param(DESTINATION, extension(6, option(0x1E, bytes(252))), id="IP6-02-256-octets"),
    pytest.param(DESTINATION, chain(8)[: -len(TCP)], id="IP6-02-eight-headers"),
    pytest.param(ROUTING, routing(6, 4, 0), id="IP6-07-nothing-left-to-route"),
    pytest.param(HOP_BY_HOP, extension(DESTINATION, b"") + extension(6, b""), id="hop-by-hop-first"),
]


@pytest.mark.parametrize(("first", "headers"), SKIPPED)
def test_skipped(first: int, headers: bytes) -> None:
    frame = ipv6_frame(headers + TCP, next_header=first, trailer=b"\xee" * 6)
    header = ip.decode(frame)
    assert (header.protocol, header.start, header.end) == (6, 40 + len(headers), len(frame) - 6)
    assert tcp.decode(frame, header.start, header.end).payload == b"GET"


@pytest.mark.parametrize("reserved", [0, 2, 4, 6])
def test_ip6_09_an_atomic_fragment_is_a_whole_packet(reserved: int) -> None:
    header_octets = bytearray(fragment(DESTINATION))
    header_octets[3] |= reserved
    frame = ipv6_frame(bytes(header_octets) + extension(6, b"") + TCP, next_header=FRAGMENT)
    header = ip.decode(frame)
    assert (header.fragment, header.protocol, header.start, header.ident) == (False, 6, 56, 99)


@pytest.mark.parametrize(("offset", "more"), [(0, True), (1, False), (185, True)])
def test_a_fragment_ends_the_walk(offset: int, more: bool) -> None:
    # What looks like a destination-options header is the middle of something.
    frame = ipv6_frame(fragment(DESTINATION, offset, more) + b"\xff" * 16, next_header=FRAGMENT)
    header = ip.decode(frame)
    assert (header.fragment, header.protocol, header.start, header.ident) == (True, DESTINATION, 48, 99)
    assert repr(header).endswith("protocol=60 payload=48:64 fragment)")


@pytest.mark.parametrize("protocol", [253, 4, 41, 51, 58])
def test_ip6_18_other_protocols_are_named(protocol: int) -> None:
    assert ip.decode(ipv6_frame(b"12345678", next_header=protocol)).protocol == protocol


@given(addresses6, addresses6, u8.filter(lambda p: p not in (0, 43, 44, 59, 60)), st.integers(0, 65535), u8, u8)
def test_what_we_encode_decodes(
    src: bytes, dst: bytes, protocol: int, length: int, hop_limit: int, traffic_class: int
) -> None:
    head = ip.encode(src, dst, protocol, length, hop_limit=hop_limit, traffic_class=traffic_class)
    assert len(head) == 40
    back = ip.decode(head + bytes(length))
    assert (back.src, back.dst, back.protocol, back.hop_limit) == (src, dst, protocol, hop_limit)
    assert (back.traffic_class, back.start, back.end) == (traffic_class, 40, 40 + length)


def test_too_long_is_the_callers_fault() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        ip.encode(SRC6, DST6, 6, 65536)
