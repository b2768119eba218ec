"""Captures in the pcapng format (IETF draft-ietf-opsawg-pcapng), which Wireshark reads and writes.

A capture is a section header, a description of each interface, then a block for each packet, and perhaps
counts at the end. Every block is its type, its length, a body, and its length again; strings and numbers that
a block may do without follow its fixed part as options, each with a code, a length and padding to 32 bits.

    section_header() + interface_description("tun0") + enhanced_packet(0, time, frame, comment="ESTAB") + ...

We write little-endian, times in nanoseconds since 1970, and raw IP packets (link type 101). `read` is for our
own tests and tools. It takes either byte order and any resolution, and skips blocks that it doesn't know.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

LINKTYPE_ETHERNET = 1
LINKTYPE_RAW = 101  #: The packet starts with its IPv4 or IPv6 header.

SECTION_HEADER, INTERFACE_DESCRIPTION, STATISTICS, ENHANCED_PACKET = 0x0A0D0D0A, 1, 5, 6
MAX_BLOCK = 1 << 24  #: Octets; what `read` believes to be a block.

_BYTE_ORDER = 0x1A2B3C4D
# Option codes; those from 2 on mean something else in each kind of block.
_END, _COMMENT = 0, 1
_SHB_HARDWARE, _SHB_OS, _SHB_APPLICATION = 2, 3, 4
_IF_NAME, _IF_DESCRIPTION, _IF_TSRESOL = 2, 3, 9
_EPB_FLAGS = 2
_ISB_STARTTIME, _ISB_ENDTIME, _ISB_IFRECV, _ISB_IFDROP = 2, 3, 4, 5
_INBOUND, _OUTBOUND, _DIRECTION = 1, 2, 3
_MAX_OPTION = 0xFFFF

_PACKET = struct.Struct("<IIIIIII")
_FLAGS = struct.Struct("<HHI")


class Section:
    """The head of a capture. `comment` and `application` are empty where the file has none."""

    __slots__ = ("application", "comment")

    def __init__(self, application: str, comment: str) -> None:
        self.application = application
        self.comment = comment


class Interface:
    """Where packets were seen. Times are counted in units of 1/`resolution` seconds."""

    __slots__ = ("linktype", "name", "resolution", "snaplen")

    def __init__(self, name: str, linktype: int, snaplen: int, resolution: int) -> None:
        self.name = name
        self.linktype = linktype
        self.snaplen = snaplen
        self.resolution = resolution


class CapturedPacket:
    """A packet as it was captured; `outbound` is None where nobody noted its direction, the time in ns."""

    __slots__ = ("comment", "data", "interface", "original_length", "outbound", "time")

    def __init__(
        self, interface: int, time: int, data: bytes, original_length: int, outbound: bool | None, comment: str
    ) -> None:
        self.interface = interface
        self.time = time
        self.data = data
        self.original_length = original_length
        self.outbound = outbound
        self.comment = comment


class Statistics:
    """Counts at the end of a capture; None where the file doesn't say."""

    __slots__ = ("comment", "dropped", "interface", "received", "time")

    def __init__(self, interface: int, time: int, received: int | None, dropped: int | None, comment: str) -> None:
        self.interface = interface
        self.time = time
        self.received = received
        self.dropped = dropped
        self.comment = comment


Block = Section | Interface | CapturedPacket | Statistics


def section_header(*, application: str = "tcpstack", os: str = "", hardware: str = "", comment: str = "") -> bytes:
    """The block that a capture starts with."""
    options = [
        _text_option(_COMMENT, comment),
        _text_option(_SHB_HARDWARE, hardware),
        _text_option(_SHB_OS, os),
        _text_option(_SHB_APPLICATION, application),
    ]
    # Version 1.0, and a section of a length that nobody knows yet.
    return _block(SECTION_HEADER, struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1), options)


def interface_description(
    name: str, linktype: int = LINKTYPE_RAW, tsresol: int = 9, snaplen: int = 0, *, description: str = ""
) -> bytes:
    """The block for an interface; they are counted from 0 in the order in which they are written.

    `tsresol` is the number of decimals of a second in the times, `snaplen` the most octets captured of a
    packet, 0 for no limit.
    """
    options = [
        _text_option(_IF_NAME, name),
        _text_option(_IF_DESCRIPTION, description),
        _option(_IF_TSRESOL, bytes((tsresol,))),
    ]
    return _block(INTERFACE_DESCRIPTION, struct.pack("<HHI", linktype, 0, snaplen), options)


def enhanced_packet(
    interface: int,
    time_ns: int,
    data: bytes,
    original_length: int | None = None,
    *,
    comment: str | None = None,
    outbound: bool | None = None,
) -> bytes:
    """The block for a packet captured at `time_ns` nanoseconds since 1970 (or the interface's other unit).

    `original_length` is the packet's, where `data` is only its start. A comment of more than 65535 octets of
    UTF-8 is cut.
    """
    length = len(data)
    if original_length is None:
        original_length = length
    options = b""
    if comment:
        options = _text_option(_COMMENT, comment)
    if outbound is not None:
        options += _FLAGS.pack(_EPB_FLAGS, 4, _OUTBOUND if outbound else _INBOUND)
    if options:
        options += b"\x00\x00\x00\x00"  # the end of the options
    padding = bytes(-length & 3)
    total = 32 + length + len(padding) + len(options)
    # Written out instead of by `_block`, since this is done for every packet.
    head = _PACKET.pack(
        ENHANCED_PACKET, total, interface, time_ns >> 32, time_ns & 0xFFFF_FFFF, length, original_length
    )
    return b"".join((head, data, padding, options, total.to_bytes(4, "little")))


def interface_statistics(
    interface: int,
    time_ns: int,
    *,
    start_ns: int | None = None,
    received: int | None = None,
    dropped: int | None = None,
    comment: str = "",
) -> bytes:
    """The block that closes an interface: packets that it received, and how many of them the capture lacks."""
    options = [_text_option(_COMMENT, comment)]
    if start_ns is not None:
        options.append(_option(_ISB_STARTTIME, _split(start_ns)))
    options.append(_option(_ISB_ENDTIME, _split(time_ns)))
    if received is not None:
        options.append(_option(_ISB_IFRECV, received.to_bytes(8, "little")))
    if dropped is not None:
        options.append(_option(_ISB_IFDROP, dropped.to_bytes(8, "little")))
    return _block(STATISTICS, struct.pack("<I", interface) + _split(time_ns), options)


def read(data: bytes) -> Iterator[Block]:
    """The blocks of a capture, in order. `ValueError` where it isn't one, or ends in the middle of a block."""
    order = "<"
    interfaces: list[Interface] = []
    at = 0
    while at < len(data):
        if len(data) - at < 12:
            raise ValueError(f"a block is cut short at {at}")
        if data[at : at + 4] == b"\x0a\x0d\x0d\x0a":
            # The same in both byte orders, so that the next field can say which one follows.
            order = _byte_order(data[at + 8 : at + 12])
            interfaces = []
        kind, total = struct.unpack_from(order + "II", data, at)
        if total & 3 or not 12 <= total <= MAX_BLOCK or at + total > len(data):
            raise ValueError(f"a block of {total} octets at {at}")
        if struct.unpack_from(order + "I", data, at + total - 4)[0] != total:
            raise ValueError(f"the block at {at} has two lengths")
        try:
            block = _read_block(kind, data[at + 8 : at + total - 4], order, interfaces)
        except (struct.error, IndexError) as error:
            raise ValueError(f"the block at {at} is malformed: {error}") from None
        if isinstance(block, Interface):
            interfaces.append(block)
        if block is not None:
            yield block
        at += total


def _block(kind: int, fixed: bytes, options: list[bytes]) -> bytes:
    body = fixed + b"".join(options) + b"\x00\x00\x00\x00"
    total = 12 + len(body)
    return struct.pack("<II", kind, total) + body + struct.pack("<I", total)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) & 3)


def _text_option(code: int, text: str) -> bytes:
    """An option of UTF-8, nothing for an empty string; text that is too long is cut between characters."""
    value = text.encode("utf-8", "replace")
    if len(value) > _MAX_OPTION:
        value = value[:_MAX_OPTION].decode("utf-8", "ignore").encode()
    return _option(code, value) if value else b""


def _split(time: int) -> bytes:
    """A time as two words, the high one first whatever the byte order."""
    return struct.pack("<II", time >> 32, time & 0xFFFF_FFFF)


def _byte_order(magic: bytes) -> str:
    for order in "<>":
        if struct.unpack(order + "I", magic)[0] == _BYTE_ORDER:
            return order
    raise ValueError("not a pcapng section header")


def _read_block(kind: int, body: bytes, order: str, interfaces: list[Interface]) -> Block | None:
    if kind == SECTION_HEADER:
        options = _read_options(body, 16, order)
        return Section(_text(options, _SHB_APPLICATION), _text(options, _COMMENT))
    if kind == INTERFACE_DESCRIPTION:
        linktype, _, snaplen = struct.unpack_from(order + "HHI", body)
        options = _read_options(body, 8, order)
        exponent = options.get(_IF_TSRESOL, b"\x06")[0]
        resolution = 1 << (exponent & 0x7F) if exponent & 0x80 else 10**exponent
        return Interface(_text(options, _IF_NAME), linktype, snaplen, resolution)
    if kind == ENHANCED_PACKET:
        interface, high, low, captured, original = struct.unpack_from(order + "IIIII", body)
        if 20 + captured > len(body):
            raise IndexError(f"{captured} octets captured")
        options = _read_options(body, 20 + (captured + 3 & ~3), order)
        outbound = None
        if _EPB_FLAGS in options:
            direction = struct.unpack(order + "I", options[_EPB_FLAGS])[0] & _DIRECTION
            outbound = {_INBOUND: False, _OUTBOUND: True}.get(direction)
        time = _nanoseconds(high << 32 | low, interfaces[interface])
        data = body[20 : 20 + captured]
        return CapturedPacket(interface, time, data, original, outbound, _text(options, _COMMENT))
    if kind == STATISTICS:
        interface, high, low = struct.unpack_from(order + "III", body)
        options = _read_options(body, 12, order)
        time = _nanoseconds(high << 32 | low, interfaces[interface])
        received, dropped = (_count(options, code, order) for code in (_ISB_IFRECV, _ISB_IFDROP))
        return Statistics(interface, time, received, dropped, _text(options, _COMMENT))
    return None


def _read_options(body: bytes, at: int, order: str) -> dict[int, bytes]:
    """The options behind a block's fixed part, the first of each kind."""
    options: dict[int, bytes] = {}
    while at < len(body):
        code, length = struct.unpack_from(order + "HH", body, at)
        if code == _END:
            break
        at += 4
        if at + length > len(body):
            raise IndexError(f"option {code} of {length} octets")
        options.setdefault(code, body[at : at + length])
        at += length + 3 & ~3
    return options


def _text(options: dict[int, bytes], code: int) -> str:
    return options.get(code, b"").decode("utf-8", "replace")


def _count(options: dict[int, bytes], code: int, order: str) -> int | None:
    value = options.get(code)
    return None if value is None else int(struct.unpack(order + "Q", value)[0])


def _nanoseconds(ticks: int, interface: Interface) -> int:
    return ticks * 1_000_000_000 // interface.resolution
