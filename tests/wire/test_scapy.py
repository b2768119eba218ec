"""The codecs against scapy, in both directions.

Scapy was written by other people from the same documents. It reads what we build and finds the same fields
and the same checksum; we read what it builds and find what was put in.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, ICMPerror, IPerror, TCPerror
from scapy.layers.inet6 import (
    HBHOptUnknown,
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.packet import Packet as Scapy
from scapy.packet import Raw

from stack.wire import icmp, ip, tcp
from stack.wire.address import format_address
from stack.wire.icmp import Icmp
from stack.wire.offload import complete
from stack.wire.packet import PARTIAL, Packet
from stack.wire.segment import ACK, SYN, Segment
from tests.wire.frames import addresses4, addresses6, fields, sack_blocks, segments, u8, u16, u32

payloads = st.binary(max_size=40)


def text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def network(src: bytes, dst: bytes, **fields: Any) -> Scapy:
    """Scapy's IP or IPv6 header between two addresses."""
    return (IP if len(src) == 4 else IPv6)(src=text(src), dst=text(dst), **fields)


def rebuilt(packet: Scapy) -> bytes:
    """The octets that scapy makes of a packet when it computes lengths and checksums itself."""
    packet = packet.copy()
    layer = packet
    while layer:
        # Below an error lies a quote, in which nothing is ours to compute.
        if isinstance(layer, (IPerror, TCPerror, ICMPerror)):
            break
        for name in ("len", "plen", "chksum", "cksum", "dataofs", "ihl"):
            if name in getattr(layer, "fields", {}):
                delattr(layer, name)
        layer = layer.payload
    return bytes(packet)


pairs = st.tuples(addresses4, addresses4) | st.tuples(addresses6, addresses6)


# --- IP --------------------------------------------------------------------------------------------------------


@given(addresses4, addresses4, u8, u8, u8, u16, st.sampled_from([0, 2, 4, 1, 3]), st.integers(0, 99), payloads)
def test_ipv4_from_scapy(
    src: bytes, dst: bytes, tos: int, ttl: int, proto: int, ident: int, flags: int, frag: int, payload: bytes
) -> None:
    frame = bytes(network(src, dst, tos=tos, ttl=ttl, proto=proto, id=ident, flags=flags, frag=frag) / Raw(payload))
    header = ip.decode(frame)
    assert (header.version, header.src, header.dst, header.protocol) == (4, src, dst, proto)
    assert (header.traffic_class, header.hop_limit, header.ident) == (tos, ttl, ident)
    assert (header.dont_fragment, header.fragment) == (bool(flags & 2), bool(flags & 1 or frag))
    assert frame[header.start : header.end] == payload


@given(addresses4, addresses4, u8, payloads, u8, u8, u16, st.booleans())
def test_ipv4_to_scapy(
    src: bytes, dst: bytes, proto: int, payload: bytes, ttl: int, tos: int, ident: int, df: bool
) -> None:
    head = ip.encode(src, dst, proto, len(payload), hop_limit=ttl, traffic_class=tos, ident=ident, dont_fragment=df)
    theirs = network(src, dst, proto=proto, ttl=ttl, tos=tos, id=ident, flags="DF" if df else 0)
    assert head + payload == bytes(theirs / Raw(payload))


@given(addresses6, addresses6, u8, u8, st.sampled_from([6, 17, 58, 253]), payloads)
def test_ipv6_both_ways(src: bytes, dst: bytes, tc: int, hlim: int, nh: int, payload: bytes) -> None:
    frame = bytes(network(src, dst, tc=tc, hlim=hlim, nh=nh) / Raw(payload))
    assert ip.encode(src, dst, nh, len(payload), hop_limit=hlim, traffic_class=tc) + payload == frame
    header = ip.decode(frame)
    assert (header.src, header.dst, header.protocol) == (src, dst, nh)
    assert (header.traffic_class, header.hop_limit) == (tc, hlim)
    assert frame[header.start : header.end] == payload


EXTENSIONS = [
    IPv6ExtHdrHopByHop(options=[HBHOptUnknown(otype=0x1E, optdata=b"skip me")]),
    IPv6ExtHdrDestOpt(options=[HBHOptUnknown(otype=0x3E, optdata=b"and me"), HBHOptUnknown(otype=0x0B)]),
    IPv6ExtHdrFragment(id=77),
    IPv6ExtHdrDestOpt(),
]


@given(st.sets(st.integers(0, len(EXTENSIONS) - 1)), u32, st.booleans())
def test_ipv6_extension_headers_from_scapy(chosen: set[int], seq: int, padded: bool) -> None:
    packet = IPv6(src="fd00::1", dst="fd00::2")
    for index in sorted(chosen):
        packet = packet / EXTENSIONS[index]
    frame = bytes(packet / TCP(seq=seq, flags="A") / Raw(b"abc"))
    header = ip.decode(frame + b"\xee" * padded)
    assert header.ident == (77 if 2 in chosen else 0)
    assert tcp.checksum_ok(frame, header)
    segment = tcp.decode(frame, header.start, header.end)
    assert (segment.seq, segment.payload) == (seq, b"abc")


# --- TCP -------------------------------------------------------------------------------------------------------


def scapy_options(segment: Segment) -> list[tuple[str | int, Any]]:
    """The segment's options as scapy writes them."""
    options: list[tuple[str | int, Any]] = []
    if segment.mss:
        options.append(("MSS", segment.mss))
    if segment.sack_ok:
        options.append(("SAckOK", b""))
    if segment.tsval >= 0:
        options.append(("Timestamp", (segment.tsval, segment.tsecr)))
    if segment.wscale >= 0:
        options.append(("WScale", segment.wscale))
    if segment.fastopen is not None:
        cookie, experimental = segment.fastopen
        if experimental:
            options.append((254, b"\xf9\x89" + cookie))
        else:
            options.append(("TFO", struct.unpack("!II", cookie) if len(cookie) == 8 else cookie))
    if segment.sacks:
        options.append(("SAck", tuple(edge for block in segment.sacks for edge in block)))
    return options


def scapy_tcp(segment: Segment, options: list[tuple[str | int, Any]]) -> Scapy:
    return TCP(
        sport=segment.src_port,
        dport=segment.dst_port,
        seq=segment.seq,
        ack=segment.ack,
        flags=segment.flags,
        window=segment.window,
        urgptr=segment.urgent,
        options=options,
    ) / Raw(segment.payload)


@given(segments(), pairs)
def test_tcp_to_scapy(segment: Segment, addresses: tuple[bytes, bytes]) -> None:
    src, dst = addresses
    header = tcp.encode(segment, tcp.address_sum(src, dst))
    head = ip.encode(src, dst, ip.PROTO_TCP, len(header) + segment.size) + header
    frame = complete(Packet(head, segment.parts, csum=PARTIAL)).frame()
    theirs = network(src, dst).__class__(frame)
    layer = theirs[TCP]
    assert (layer.sport, layer.dport, layer.seq, layer.ack) == (
        segment.src_port,
        segment.dst_port,
        segment.seq,
        segment.ack,
    )
    assert (int(layer.flags), layer.window, layer.urgptr) == (segment.flags, segment.window, segment.urgent)
    assert bytes(layer.payload) == segment.payload
    assert [option for option in layer.options if option[0] != "NOP"] == scapy_options(segment)
    assert rebuilt(theirs) == frame


@given(segments(), pairs, st.data())
def test_tcp_from_scapy_in_any_order_and_alignment(
    segment: Segment, addresses: tuple[bytes, bytes], data: st.DataObject
) -> None:
    options = data.draw(st.permutations(scapy_options(segment)))
    # Room that is left goes to NOPs and an unknown option, at any place.
    room = 40 - sum(len(value) for value in option_octets(segment))
    for _ in range(data.draw(st.integers(0, min(room, 4)))):
        options.insert(data.draw(st.integers(0, len(options))), ("NOP", None))
        room -= 1
    if room >= 5:
        options.insert(data.draw(st.integers(0, len(options))), (253, b"abc"))
    frame = bytes(network(*addresses, **protocol(addresses[0], 6)) / scapy_tcp(segment, options))
    header = ip.decode(frame)
    assert tcp.checksum_ok(frame, header)
    assert fields(tcp.decode(frame, header.start, header.end)) == fields(segment)


def option_octets(segment: Segment) -> list[bytes]:
    cookie, _ = segment.fastopen or (b"", False)
    lengths = {"MSS": 4, "SAckOK": 2, "Timestamp": 10, "WScale": 3, "SAck": 2 + 8 * len(segment.sacks)}
    lengths |= {"TFO": 2 + len(cookie), "254": 4 + len(cookie)}
    return [bytes(lengths[str(name)]) for name, _ in scapy_options(segment)]


def protocol(address: bytes, number: int) -> dict[str, Any]:
    return {"proto": number} if len(address) == 4 else {"nh": number}


@given(sack_blocks, st.booleans(), u32)
def test_sack_blocks_both_ways(blocks: tuple[tuple[int, int], ...], timestamps: bool, tsval: int) -> None:
    kept = blocks[: 3 if timestamps else 4]
    segment = Segment(1, 2, 3, 4, ACK, 100, sacks=blocks, tsval=tsval if timestamps else -1)
    options = TCP(tcp.encode(segment, 0)).options
    assert [value for name, value in options if name == "SAck"] == [sum(kept, ())][: len(kept)]


def test_the_syn_of_linux() -> None:
    options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (99, 0)), ("NOP", None), ("WScale", 10)]
    frame = bytes(IP(src="10.9.0.1", dst="10.9.0.2", flags="DF") / TCP(flags="S", window=64240, options=options))
    segment = tcp.decode(frame, 20, len(frame))
    assert (segment.flags, segment.window, segment.mss, segment.wscale) == (SYN, 64240, 1460, 10)
    assert (segment.sack_ok, segment.tsval, segment.tsecr) == (True, 99, 0)
    segment.parts = ()
    assert tcp.encode(segment, 0)[20:] == frame[40:]


# --- ICMP ------------------------------------------------------------------------------------------------------


@given(st.sampled_from([8, 0]), u16, u16, payloads)
def test_echo_both_ways(kind: int, ident: int, seq: int, payload: bytes) -> None:
    theirs = bytes(ICMP(type=kind, id=ident, seq=seq) / Raw(payload))
    assert icmp.encode(Icmp(kind, 0, ident << 16 | seq, payload)) == theirs
    back = icmp.decode(theirs)
    assert (back.type, back.code, back.rest, back.payload) == (kind, 0, ident << 16 | seq, payload)


@given(st.sampled_from([ICMPv6EchoRequest, ICMPv6EchoReply]), addresses6, addresses6, u16, u16, payloads)
def test_echo_v6_both_ways(layer: Any, src: bytes, dst: bytes, ident: int, seq: int, payload: bytes) -> None:
    frame = bytes(network(src, dst) / layer(id=ident, seq=seq, data=payload))
    header = ip.decode(frame)
    message = icmp.decode(frame[header.start : header.end], src, dst)
    assert (message.code, message.rest, message.payload) == (0, ident << 16 | seq, payload)
    assert message.type == (icmp.V6_ECHO_REQUEST if layer is ICMPv6EchoRequest else icmp.V6_ECHO_REPLY)
    assert icmp.encode(message, src, dst) == frame[40:]


ERRORS = [
    pytest.param(ICMP(type=3, code=3), id="port-unreachable"),
    pytest.param(ICMP(type=3, code=4, nexthopmtu=1000), id="fragmentation-needed"),
    pytest.param(ICMP(type=4), id="ICM-08-source-quench"),
    pytest.param(ICMP(type=5, gw="10.9.0.9"), id="ICM-12-redirect"),
    pytest.param(ICMP(type=11), id="time-exceeded"),
    pytest.param(ICMP(type=12, ptr=20), id="parameter-problem"),
    pytest.param(ICMPv6DestUnreach(code=4), id="v6-port-unreachable"),
    pytest.param(ICMPv6PacketTooBig(mtu=1280), id="v6-packet-too-big"),
    pytest.param(ICMPv6TimeExceeded(), id="v6-time-exceeded"),
    pytest.param(ICMPv6ParamProblem(code=1, ptr=40), id="v6-parameter-problem"),
]


@pytest.mark.parametrize("error", ERRORS)
@given(data=st.data(), seq=u32, kept=st.integers(28, 80))
def test_errors_and_what_they_quote(error: Scapy, data: st.DataObject, seq: int, kept: int) -> None:
    v4 = isinstance(error, ICMP)
    addresses = addresses4 if v4 else addresses6
    router, ours, theirs = data.draw(st.tuples(addresses, addresses, addresses))
    about = bytes(network(ours, theirs) / TCP(sport=4000, dport=80, seq=seq) / Raw(b"GET / HTTP/1.1\r\n\r\n"))
    about = about[: kept if v4 else kept + 20]
    frame = bytes(network(router, ours, **protocol(router, 1 if v4 else 58)) / error / Raw(about))
    header = ip.decode(frame)
    message = icmp.decode(frame[header.start : header.end], router, ours)
    assert (message.type, message.code) == (error.type, error.code)
    assert icmp.is_error(message.type, header.version)
    if error.type == 3 and v4:
        assert message.rest & 0xFFFF == error.nexthopmtu
    elif error.type == 2:
        assert message.rest == error.mtu
    quote = icmp.quoted(message.payload, header.version)
    assert (quote.version, quote.src, quote.dst, quote.protocol) == (header.version, ours, theirs, 6)
    assert (quote.src_port, quote.dst_port, quote.seq) == (4000, 80, seq)
    assert icmp.encode(message, router, ours) == frame[header.start :]


@given(addresses4, addresses4)
def test_an_error_of_ours_is_read_by_scapy(src: bytes, dst: bytes) -> None:
    about = bytes(network(dst, src) / TCP(sport=4000, dport=81, seq=7))
    body = icmp.encode(Icmp(icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, 0, about))
    frame = ip.encode(src, dst, ip.PROTO_ICMP, len(body)) + body
    layer = IP(frame)
    assert (layer[ICMP].type, layer[ICMP].code) == (3, 3)
    assert (layer[IPerror].src, layer[TCPerror].dport) == (format_address(dst), 81)
    assert rebuilt(layer) == frame
