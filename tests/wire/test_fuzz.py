"""Whatever the octets: a codec returns a value or raises `WireError`, and ends.

Arbitrary octets seldom get past the first check, so most of these start from a good frame and spoil it.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stack.wire import icmp, ip, tcp
from stack.wire.drop import WireError
from stack.wire.segment import Segment
from tests.wire.frames import DST6, SRC6, extension, ipv4_frame, ipv6_frame, tcp_header


def swallow(frame: bytes) -> None:
    """Take a frame as far in as it goes, as a host does."""
    try:
        header = ip.decode(frame)
        assert 0 < header.start <= header.end <= len(frame)
        data = frame[header.start : header.end]
        if header.protocol in (ip.PROTO_ICMP, ip.PROTO_ICMPV6):
            message = icmp.decode(data, header.src, header.dst)
            icmp.quoted(message.payload, header.version)
        else:
            tcp.checksum_ok(frame, header)
            segment = tcp.decode(frame, header.start, header.end)
            assert segment.size <= len(data) - 20
            assert len(segment.sacks) <= 4
    except WireError:
        pass


@given(st.binary(max_size=120))
def test_arbitrary_octets(frame: bytes) -> None:
    swallow(frame)
    swallow(b"\x45" + frame)
    swallow(b"\x60" + frame)


@given(st.binary(max_size=40), st.integers(0, 255), st.binary(max_size=80))
def test_ipv4_with_arbitrary_options_and_payload(options: bytes, protocol: int, payload: bytes) -> None:
    options = options[: len(options) // 4 * 4]
    swallow(ipv4_frame(payload, options=options, protocol=protocol))


@given(st.lists(st.tuples(st.sampled_from([0, 43, 44, 60]), st.binary(max_size=30)), max_size=12), st.binary())
def test_ipv6_with_arbitrary_extension_headers(headers: list[tuple[int, bytes]], rest: bytes) -> None:
    kinds = [kind for kind, _ in headers] + [6]
    octets = b"".join(extension(kinds[n + 1], body) for n, (_, body) in enumerate(headers))
    swallow(ipv6_frame(octets + tcp_header(payload=rest), next_header=kinds[0]))
    swallow(ipv6_frame(octets, next_header=kinds[0]))


@given(st.binary(min_size=4, max_size=40), st.integers(0, 255), st.binary(max_size=20))
def test_tcp_with_arbitrary_options(options: bytes, flags: int, payload: bytes) -> None:
    options = options[: len(options) // 4 * 4]
    header = tcp_header(options=options, flags=flags, payload=payload)
    segment = tcp.decode(header, 0, len(header))
    assert isinstance(segment, Segment)
    assert segment.payload == payload


@given(st.data())
def test_good_frames_with_a_few_octets_changed_or_cut(data: st.DataObject) -> None:
    timestamps = bytes((1, 1, 8, 10)) + bytes(8)
    good = data.draw(
        st.sampled_from(
            [
                ipv4_frame(tcp_header(options=timestamps, payload=b"abc"), options=bytes((148, 4, 0, 0))),
                ipv6_frame(extension(60, b"1234") + extension(6, b"") + tcp_header(), next_header=0),
                ipv4_frame(icmp.encode(icmp.Icmp(3, 3, 0, ipv4_frame(tcp_header()))), protocol=1),
                ipv6_frame(icmp.encode(icmp.Icmp(1, 4, 0, ipv6_frame(tcp_header())), SRC6, DST6), next_header=58),
            ]
        )
    )
    frame = bytearray(good)
    for _ in range(data.draw(st.integers(0, 3))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    swallow(bytes(frame[: data.draw(st.integers(0, len(frame)))]))
    swallow(bytes(frame))


@given(st.binary(max_size=100), st.sampled_from([4, 6]))
def test_arbitrary_quotes(payload: bytes, version: int) -> None:
    for start in (b"", bytes((version << 4 | 5,))):
        try:
            icmp.quoted(start + payload, version)
        except WireError:
            continue


def test_the_longest_walks_end() -> None:
    """One pass over 40 octets of options, and over eight headers: nothing here can be made to cost more."""
    swallow(ipv4_frame(tcp_header(options=b"\x01" * 40), options=b"\x01" * 40))
    swallow(ipv6_frame(extension(60, bytes(30)) * 2000, next_header=60))
