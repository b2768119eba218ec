"""Frames built by hand, octet for octet, so that a test can say what is wrong with one; and Hypothesis strategies.

Nothing here uses the encoders under test, except where a test asks for "what we send".
"""

from __future__ import annotations

import struct

from hypothesis import strategies as st

from stack.wire.segment import ACK, SYN, Segment

SRC4, DST4 = bytes((10, 9, 0, 1)), bytes((10, 9, 0, 2))
SRC6, DST6 = bytes.fromhex("fd00" + "00" * 13 + "01"), bytes.fromhex("fd00" + "00" * 13 + "02")


def ones_complement_sum(data: bytes) -> int:
    """RFC 1071's loop, as slow and plain as it is written there."""
    if len(data) % 2:
        data += b"\x00"
    total = 0
    for (word,) in struct.iter_unpack("!H", data):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


def ipv4_frame(
    payload: bytes = b"",
    *,
    version: int = 4,
    ihl: int | None = None,
    options: bytes = b"",
    total: int | None = None,
    flags: int = 0x4000,
    protocol: int = 6,
    checksum: int | None = None,
    trailer: bytes = b"",
) -> bytes:
    """An IPv4 packet from SRC4 to DST4 with whatever is asked for, true or false; the checksum fits the rest."""
    if ihl is None:
        ihl = 5 + len(options) // 4
    if total is None:
        total = 20 + len(options) + len(payload)
    fields = (version << 4 | ihl, 0, total, 7, flags, 64, protocol)
    header = struct.pack("!BBHHHBBH4s4s", *fields, 0, SRC4, DST4) + options
    if checksum is None:
        # What a receiver sums is the header as the IHL has it, padding it with payload where that is short.
        checksum = ones_complement_sum((header + payload)[: ihl * 4]) ^ 0xFFFF
    return header[:10] + checksum.to_bytes(2, "big") + header[12:] + payload + trailer


def ipv6_frame(
    payload: bytes = b"", *, version: int = 6, length: int | None = None, next_header: int = 6, trailer: bytes = b""
) -> bytes:
    """An IPv6 packet from SRC6 to DST6; extension headers are part of the payload."""
    if length is None:
        length = len(payload)
    return struct.pack("!IHBB16s16s", version << 28, length, next_header, 64, SRC6, DST6) + payload + trailer


def extension(next_header: int, body: bytes, length: int | None = None) -> bytes:
    """An extension header; `body` is what follows its two first octets, padded with PadN to a multiple of 8."""
    padding = -(len(body) + 2) % 8
    if padding == 1:
        body += b"\x00"
    elif padding:
        body += bytes((1, padding - 2)) + bytes(padding - 2)
    if length is None:
        length = (len(body) + 2) // 8 - 1
    return bytes((next_header, length)) + body


def tcp_header(
    *, options: bytes = b"", flags: int = ACK, offset: int | None = None, reserved: int = 0, payload: bytes = b""
) -> bytes:
    """A TCP header from port 4000 to 80 with these options as they stand; the checksum is 0."""
    if offset is None:
        offset = 5 + len(options) // 4
    word = offset << 12 | reserved << 8 | flags
    return struct.pack("!HHIIHHHH", 4000, 80, 0xFFFFFFF0, 5, word, 65535, 0, 0) + options + payload


FIELDS = (
    *("src_port", "dst_port", "seq", "ack", "flags", "window", "urgent", "size"),
    *("mss", "wscale", "sack_ok", "sacks", "tsval", "tsecr", "fastopen"),
)


def fields(segment: Segment) -> dict[str, object]:
    """All that a frame says about a segment, comparable."""
    return {name: getattr(segment, name) for name in FIELDS} | {"payload": segment.payload}


u8, u16, u32 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32))
addresses4 = st.binary(min_size=4, max_size=4)
addresses6 = st.binary(min_size=16, max_size=16)
address_pairs = st.tuples(addresses4, addresses4) | st.tuples(addresses6, addresses6)
cookies = st.sampled_from((0, 4, 6, 8, 10, 12, 14, 16)).flatmap(lambda size: st.binary(min_size=size, max_size=size))
fast_open = st.none() | st.tuples(cookies, st.booleans())
sack_blocks = st.lists(st.tuples(u32, u32), max_size=4).map(tuple)


@st.composite
def segments(draw: st.DrawFn, max_payload: int = 40) -> Segment:
    """Segments such as a connection makes: options only where the RFC has them."""
    flags = draw(u8)
    syn = bool(flags & SYN)
    tsval = draw(st.just(-1) | u32)
    return Segment(
        draw(u16),
        draw(u16),
        draw(u32),
        draw(u32),
        flags,
        draw(u16),
        tuple(draw(st.lists(st.binary(min_size=1, max_size=max_payload // 2), max_size=2))),
        urgent=draw(u16),
        mss=draw(u16) if syn else 0,
        wscale=draw(st.integers(-1, 255)) if syn else -1,
        sack_ok=draw(st.booleans()) if syn else False,
        sacks=() if syn else draw(sack_blocks)[: 3 if tsval >= 0 else 4],
        tsval=tsval,
        tsecr=draw(u32) if tsval >= 0 else 0,
        fastopen=draw(fast_open) if syn else None,
    )
