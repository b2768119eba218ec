"""ICMP and ICMPv6: messages, and the packets that errors quote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.wire import icmp, ip
from stack.wire.drop import Drop, WireError
from stack.wire.icmp import Icmp
from tests.wire.frames import DST4, DST6, SRC4, SRC6, extension, ipv4_frame, ipv6_frame, tcp_header, u8, u32

messages = st.builds(Icmp, u8, u8, u32, st.binary(max_size=40))


@given(messages, st.sampled_from([(None, None), (SRC4, DST4), (SRC6, DST6)]))
def test_what_we_encode_we_decode(message: Icmp, addresses: tuple[bytes | None, bytes | None]) -> None:
    octets = icmp.encode(message, *addresses)
    back = icmp.decode(octets, *addresses)
    assert (back.type, back.code, back.rest, back.payload) == (
        message.type,
        message.code,
        message.rest,
        message.payload,
    )


def test_only_icmpv6_sums_a_pseudo_header() -> None:
    message = Icmp(icmp.ECHO_REQUEST, 0, 1 << 16 | 2, b"ping")
    assert icmp.encode(message) == icmp.encode(message, SRC4, DST4)
    assert icmp.encode(message) == bytes.fromhex("0800 192c 0001 0002") + b"ping"
    assert icmp.encode(message) != icmp.encode(message, SRC6, DST6)


@pytest.mark.parametrize("addresses", [(SRC4, DST4), (SRC6, DST6)], ids=["ipv4", "ipv6"])
def test_refused(addresses: tuple[bytes, bytes]) -> None:
    octets = icmp.encode(Icmp(8, 0, 7, b"ping"), *addresses)
    for length in (0, 1, 7):
        with pytest.raises(WireError) as caught:
            icmp.decode(octets[:length], *addresses)
        assert caught.value.reason is Drop.TRUNCATED
    for at in range(len(octets)):
        changed = octets[:at] + bytes((octets[at] ^ 0x10,)) + octets[at + 1 :]
        with pytest.raises(WireError) as caught:
            icmp.decode(changed, *addresses)
        assert caught.value.reason is Drop.BAD_CHECKSUM


def test_a_message_of_zeros_is_not_its_own_checksum() -> None:
    """Summed, it gives the positive zero, which no correct message gives; its checksum is 0xffff."""
    assert icmp.encode(Icmp(0, 0)) == b"\x00\x00\xff\xff\x00\x00\x00\x00"
    with pytest.raises(WireError) as caught:
        icmp.decode(bytes(8))
    assert caught.value.reason is Drop.BAD_CHECKSUM


def test_icm_13_the_payload_ends_with_the_ip_packet() -> None:
    frame = ipv4_frame(icmp.encode(Icmp(8, 0, 7, b"ping")), protocol=1, trailer=b"secret")
    header = ip.decode(frame)
    assert icmp.decode(memoryview(frame)[header.start : header.end]).payload == b"ping"


def test_a_message_prints_short() -> None:
    assert repr(Icmp(8, 0, 7, b"ping")) == "Icmp(type=8 code=0 rest=0x7 4 bytes)"


ERRORS4, ERRORS6 = {3, 4, 5, 11, 12}, {*range(128), 137}


@pytest.mark.parametrize(("version", "errors"), [(4, ERRORS4), (6, ERRORS6)])
def test_icm_10_which_types_are_errors(version: int, errors: set[int]) -> None:
    assert {kind for kind in range(256) if icmp.is_error(kind, version)} == errors


# --- quotes ----------------------------------------------------------------------------------------------------

TCP = tcp_header(payload=b"GET / HTTP/1.1")


@pytest.mark.parametrize("kept", [28, 33, 54])
@pytest.mark.parametrize("options", [b"", b"\x01" * 40])
def test_a_quoted_ipv4_packet_may_be_cut(kept: int, options: bytes) -> None:
    quote = icmp.quoted(ipv4_frame(TCP, options=options)[: kept + len(options)], 4)
    assert (quote.version, quote.src, quote.dst, quote.protocol) == (4, SRC4, DST4, 6)
    assert (quote.src_port, quote.dst_port, quote.seq) == (4000, 80, 0xFFFFFFF0)


def test_the_lengths_and_the_checksum_of_a_quote_are_not_believed() -> None:
    """Routers have counted the hop limit down, and some rewrite the total length."""
    assert icmp.quoted(ipv4_frame(TCP, total=0, checksum=1), 4).dst_port == 80
    assert icmp.quoted(ipv6_frame(TCP, length=65535), 6).dst_port == 80


def test_a_quoted_packet_tells_its_length() -> None:
    """As it was sent, whatever is left of it."""
    assert icmp.quoted(ipv4_frame(TCP + bytes(1000))[:28], 4).length == 20 + len(TCP) + 1000
    assert icmp.quoted(ipv6_frame(TCP + bytes(1000))[:48], 6).length == 40 + len(TCP) + 1000


def test_a_quoted_echo_shows_its_identifier_and_sequence() -> None:
    quote = icmp.quoted(ipv4_frame(icmp.encode(Icmp(8, 0, 0x1234_0007, b"ping")), protocol=1), 4)
    assert (quote.protocol, quote.seq) == (1, 0x1234_0007)


@pytest.mark.parametrize("kept", [48, 60])
def test_a_quoted_ipv6_packet_may_be_cut(kept: int) -> None:
    quote = icmp.quoted(ipv6_frame(TCP)[:kept], 6)
    assert (quote.version, quote.src, quote.dst, quote.protocol) == (6, SRC6, DST6, 6)
    assert (quote.src_port, quote.dst_port, quote.seq) == (4000, 80, 0xFFFFFFF0)


def test_a_quoted_ipv6_packet_may_have_extension_headers() -> None:
    quote = icmp.quoted(ipv6_frame(extension(6, b"") + TCP, next_header=60), 6)
    assert (quote.protocol, quote.src_port, quote.dst_port) == (6, 4000, 80)


def fragment6(offset: int) -> bytes:
    return ipv6_frame(bytes((6, 0)) + (offset << 3 | 1).to_bytes(2, "big") + bytes(4) + TCP, next_header=44)


def test_the_first_fragment_holds_the_ports_and_no_other_does() -> None:
    assert icmp.quoted(ipv4_frame(TCP, flags=0x2000), 4).dst_port == 80
    assert icmp.quoted(fragment6(0), 6).dst_port == 80
    for payload, version in ((ipv4_frame(TCP, flags=0x2001), 4), (fragment6(1), 6)):
        with pytest.raises(WireError) as caught:
            icmp.quoted(payload, version)
        assert caught.value.reason is Drop.FRAGMENT


@pytest.mark.parametrize(
    ("payload", "version", "expected"),
    [
        (b"", 4, Drop.BAD_VERSION),
        (ipv4_frame(TCP), 6, Drop.BAD_VERSION),
        (ipv6_frame(TCP), 4, Drop.BAD_VERSION),
        (ipv4_frame(TCP)[:19], 4, Drop.TRUNCATED),
        (ipv4_frame(TCP)[:27], 4, Drop.TRUNCATED),
        (ipv4_frame(TCP, ihl=4), 4, Drop.BAD_HEADER),
        (ipv6_frame(TCP)[:39], 6, Drop.TRUNCATED),
        (ipv6_frame(TCP)[:47], 6, Drop.TRUNCATED),
        (ipv6_frame(TCP, next_header=59), 6, Drop.UNKNOWN_PROTOCOL),
    ],
)
def test_quotes_that_do_not_tell(payload: bytes, version: int, expected: Drop) -> None:
    with pytest.raises(WireError) as caught:
        icmp.quoted(payload, version)
    assert caught.value.reason is expected
