"""The TCP header and its options (RFC 9293 3.1, 3.2).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    |          Source Port          |       Destination Port        |
    |                        Sequence Number                        |
    |                    Acknowledgment Number                      |
    | Offset| Rsrvd |C|E|U|A|P|R|S|F|            Window             |
    |           Checksum            |         Urgent Pointer        |
    |                 Options, if Offset > 5 ...                    |

Both directions have a fast path, because nearly every segment of a running connection has either no options
or exactly NOP, NOP, Timestamps.

The options of a SYN are written in one of two orders. Usually in Linux', in which they come in whole words: MSS; then
SACK-permitted with the timestamps, or either of them behind two NOPs; NOP and window scale; Fast Open, with NOPs behind
it. Or by kind, as FreeBSD has them: MSS, NOP, window scale, SACK-permitted, timestamps, Fast Open; timestamps begin two
octets behind a word's begin, and what is left of the last word is End of Option List and zeros.

Reading options is tolerant, for a segment that anyone can spoof must not cost a connection (a deviation from
the reset that MUST-7 suggests):
- an unknown kind is skipped by its length (MUST-6);
- a length below 2, or one that runs past the header, ends the reading; what was read before stands (MUST-7);
- a known kind with another length than its own is skipped by the length it gives;
- of an option that comes twice the first counts;
- MSS, window scale, SACK permitted and Fast Open count only on a SYN, SACK blocks only without one.
Whatever follows End of Option List is padding (MUST-69).

Outgoing segments carry a partial checksum: the folded sum of the pseudo-header in the checksum field, which
is what a device with checksum offload wants. `offload.complete` turns it into the full one.
"""

from __future__ import annotations

import struct
from typing import Final

from stack.wire.checksum import address_sum
from stack.wire.drop import Drop, WireError
from stack.wire.ipheader import PROTO_TCP, IPHeader
from stack.wire.packet import Buffer
from stack.wire.segment import SYN, FastOpenOption, Segment

__all__ = ["address_sum", "checksum_ok", "decode", "encode", "option_length"]

HEADER_LENGTH: Final = 20  #: Octets without options.
MAX_OPTIONS: Final = 40  #: Octets; the data offset counts to 15 words.
CHECKSUM_OFFSET: Final = 16  #: Where the checksum field stands in the header.

# Kinds (RFC 9293 3.2, RFC 7323, RFC 2018, RFC 7413) and the lengths that each may have.
EOL: Final = 0
NOP: Final = 1
MSS: Final = 2
WSCALE: Final = 3
SACK_PERMITTED: Final = 4
SACK: Final = 5
TIMESTAMPS: Final = 8
MSS_LENGTH: Final = 4
WSCALE_LENGTH: Final = 3
SACK_PERMITTED_LENGTH: Final = 2
TIMESTAMPS_LENGTH: Final = 10
FAST_OPEN: Final = 34
EXPERIMENT: Final = 254  #: Shared by experiments, which tell themselves apart by what follows (RFC 6994).
FAST_OPEN_MAGIC: Final = bytes((0xF9, 0x89))
MIN_COOKIE: Final = 4  #: RFC 7413 4.1.1; and an even number of octets.
MAX_COOKIE: Final = 16
MAX_SACK_BLOCKS: Final = 4  #: 2 + 8n octets within 40; three beside timestamps.

_HEADER = struct.Struct("!HHIIHHHH")
_HEADER_TS = struct.Struct("!HHIIHHHHIII")
_TS = struct.Struct("!III")
_TS_PREFIX = int.from_bytes((NOP, NOP, TIMESTAMPS, TIMESTAMPS_LENGTH), "big")
_SACK_PERMITTED_TS_PREFIX = int.from_bytes(
    (SACK_PERMITTED, SACK_PERMITTED_LENGTH, TIMESTAMPS, TIMESTAMPS_LENGTH), "big"
)
_U16 = struct.Struct("!H")
_TWO_U32 = struct.Struct("!II")
_BLOCKS = tuple(struct.Struct(f"!{2 * n}I") for n in range(MAX_SACK_BLOCKS + 1))


# RFC 9293 MUST-1
def decode(frame: Buffer, start: int, end: int) -> Segment:
    """The segment in `frame[start:end]`, which must lie within the frame. The checksum is not looked at.

    The payload is a view of `frame`, not a copy: who keeps it keeps the frame. Raises `WireError` for a
    header that is cut short or a data offset that can't be; nothing in the options raises.
    """
    if end - start < HEADER_LENGTH:
        raise WireError(Drop.TRUNCATED, f"{end - start} octets are no TCP header")
    src_port, dst_port, seq, ack, word, window, _, urgent = _HEADER.unpack_from(frame, start)
    length = word >> 12 << 2
    data = start + length
    if length < HEADER_LENGTH or data > end:
        raise WireError(Drop.BAD_DATA_OFFSET, f"data offset {word >> 12} in {end - start} octets")
    parts = (memoryview(frame)[data:end],) if data < end else ()
    # The four reserved bits are ignored (RFC 9293 3.1).
    segment = Segment(src_port, dst_port, seq, ack, word & 0xFF, window, parts, urgent=urgent)
    if length > HEADER_LENGTH:
        if length == 32:
            prefix, tsval, tsecr = _TS.unpack_from(frame, start + HEADER_LENGTH)
            if prefix == _TS_PREFIX:
                segment.tsval = tsval
                segment.tsecr = tsecr
                return segment
        _read_options(segment, frame, start + HEADER_LENGTH, data)
    return segment


# RFC 9293 MUST-2, MUST-65, RFC2018-01
def encode(seg: Segment, address_sum: int, *, by_kind: bool = False) -> bytes:
    """The header and options of a segment; its payload goes beside it. The checksum field is partial.

    `address_sum` is the function of that name of the two addresses; `by_kind` is the order of a SYN's options. SACK
    blocks that do not fit are left out, the last ones first. Raises `ValueError` for an option on a segment where
    the RFC forbids it: MSS (MUST-65), window scale, SACK permitted or Fast Open without SYN, SACK blocks with it;
    and for a cookie that no option can hold.
    """
    flags = seg.flags
    if flags & SYN:
        options = _syn_options_by_kind(seg) if by_kind else _syn_options(seg)
    else:
        if seg.mss or seg.sack_ok or seg.wscale >= 0 or seg.fastopen is not None:
            raise ValueError("MSS, window scale, SACK permitted and Fast Open belong on a SYN")
        if seg.sacks:
            options = _plain_options(seg)
        elif seg.tsval >= 0:
            value = address_sum + PROTO_TCP + 32 + seg.size
            return _HEADER_TS.pack(
                seg.src_port,
                seg.dst_port,
                seg.seq,
                seg.ack,
                0x8000 | flags,
                seg.window,
                value % 65535 or 65535,
                seg.urgent,
                _TS_PREFIX,
                seg.tsval,
                seg.tsecr,
            )
        else:
            options = b""
    length = HEADER_LENGTH + len(options)
    value = address_sum + PROTO_TCP + length + seg.size
    header = _HEADER.pack(
        seg.src_port,
        seg.dst_port,
        seg.seq,
        seg.ack,
        length << 10 | flags,
        seg.window,
        value % 65535 or 65535,
        seg.urgent,
    )
    return header + options


def option_length(seg: Segment) -> int:
    """How many octets of options `encode` will give this segment at most, padding included."""
    if seg.flags & SYN:
        timestamps = 12 if seg.tsval >= 0 else 4 if seg.sack_ok else 0
        cookie = 0 if seg.fastopen is None else len(_fast_open_option(seg.fastopen)) + 3 & ~3
        return (4 if seg.mss else 0) + timestamps + (4 if seg.wscale >= 0 else 0) + cookie
    length = 12 if seg.tsval >= 0 else 0
    return length + 4 + 8 * _fitting_blocks(seg) if seg.sacks else length


# RFC 9293 MUST-3
def checksum_ok(frame: bytes, header: IPHeader) -> bool:
    """Whether the TCP checksum of a received packet holds (RFC 9293 MUST-3)."""
    start, end = header.start, header.end
    value = int.from_bytes(frame[start:end], "big")
    if (end - start) & 1:
        value <<= 8
    value += int.from_bytes(header.src, "big") + int.from_bytes(header.dst, "big") + PROTO_TCP + end - start
    # The sum is never zero (the protocol), so divisible by 65535 means 0xffff.
    return value % 65535 == 0


# RFC 9293 MUST-4
def _syn_options(seg: Segment) -> bytes:
    """In the order in which Linux writes them, the one that every peer has met."""
    _check_syn(seg)
    options = b""
    if seg.mss:
        options += bytes((MSS, MSS_LENGTH)) + _U16.pack(seg.mss)
    if seg.tsval >= 0:
        options += _TS.pack(_SACK_PERMITTED_TS_PREFIX if seg.sack_ok else _TS_PREFIX, seg.tsval, seg.tsecr)
    elif seg.sack_ok:
        options += bytes((NOP, NOP, SACK_PERMITTED, SACK_PERMITTED_LENGTH))
    if seg.wscale >= 0:
        options += bytes((NOP, WSCALE, WSCALE_LENGTH, seg.wscale))
    if seg.fastopen is not None:
        option = _fast_open_option(seg.fastopen)
        options += option + bytes((NOP,)) * (-len(option) & 3)
    return options


# RFC 9293 MUST-69
def _syn_options_by_kind(seg: Segment) -> bytes:
    """In the order of their kinds."""
    _check_syn(seg)
    options = b""
    if seg.mss:
        options += bytes((MSS, MSS_LENGTH)) + _U16.pack(seg.mss)
    if seg.wscale >= 0:
        options += bytes((NOP, WSCALE, WSCALE_LENGTH, seg.wscale))
    if seg.sack_ok:
        options += bytes((SACK_PERMITTED, SACK_PERMITTED_LENGTH))
    if seg.tsval >= 0:
        options += bytes((NOP,)) * (2 - len(options) & 3)
        options += bytes((TIMESTAMPS, TIMESTAMPS_LENGTH)) + _TWO_U32.pack(seg.tsval, seg.tsecr)
    if seg.fastopen is not None:
        options += _fast_open_option(seg.fastopen)
    return options + bytes((EOL,)) * (-len(options) & 3)


def _check_syn(seg: Segment) -> None:
    if seg.sacks:
        raise ValueError("SACK blocks do not belong on a SYN")


def _fast_open_option(fastopen: FastOpenOption) -> bytes:
    cookie, experimental = fastopen
    if not _may_be_cookie(cookie):
        raise ValueError(f"a Fast Open option holds no cookie of {len(cookie)} octets")
    if experimental:
        return bytes((EXPERIMENT, 4 + len(cookie))) + FAST_OPEN_MAGIC + cookie
    return bytes((FAST_OPEN, 2 + len(cookie))) + cookie


def _may_be_cookie(cookie: bytes) -> bool:
    """RFC 7413 4.1.1: 4 to 16 octets, an even number of them; none at all ask for one."""
    return not cookie or (MIN_COOKIE <= len(cookie) <= MAX_COOKIE and not len(cookie) & 1)


def _plain_options(seg: Segment) -> bytes:
    timestamps = _TS.pack(_TS_PREFIX, seg.tsval, seg.tsecr) if seg.tsval >= 0 else b""
    count = _fitting_blocks(seg)
    edges = [edge for block in seg.sacks[:count] for edge in block]
    return timestamps + bytes((NOP, NOP, SACK, 2 + 8 * count)) + _BLOCKS[count].pack(*edges)


def _fitting_blocks(seg: Segment) -> int:
    return min(len(seg.sacks), MAX_SACK_BLOCKS - 1 if seg.tsval >= 0 else MAX_SACK_BLOCKS)


# RFC 9293 MUST-4, MUST-5, MUST-6, MUST-7, MUST-64, MUST-68, MUST-69
def _read_options(segment: Segment, frame: Buffer, at: int, end: int) -> None:
    syn = segment.flags & SYN
    while at < end:
        kind = frame[at]
        if kind == EOL:
            return
        if kind == NOP:
            at += 1
            continue
        if at + 1 >= end:
            return
        length = frame[at + 1]
        if length < 2 or at + length > end:
            return
        if kind == TIMESTAMPS:
            if length == TIMESTAMPS_LENGTH and segment.tsval < 0:
                segment.tsval, segment.tsecr = _TWO_U32.unpack_from(frame, at + 2)
        elif kind == SACK:
            if not syn and not segment.sacks and length & 7 == 2:
                edges = _BLOCKS[length >> 3].unpack_from(frame, at + 2)
                segment.sacks = tuple(zip(edges[::2], edges[1::2], strict=True))
        elif syn:
            _read_syn_option(segment, frame, at, kind, length)
        at += length


# RFC 9293 MUST-14, RFC7323-03
def _read_syn_option(segment: Segment, frame: Buffer, at: int, kind: int, length: int) -> None:
    if kind == MSS:
        # An MSS of 0 says nothing and counts as absent.
        if length == MSS_LENGTH and not segment.mss:
            segment.mss = _U16.unpack_from(frame, at + 2)[0]
    elif kind == WSCALE:
        # Kept as received; RFC 7323 2.3 has the connection use 14 for anything above.
        if length == WSCALE_LENGTH and segment.wscale < 0:
            segment.wscale = frame[at + 2]
    elif kind == SACK_PERMITTED:
        if length == SACK_PERMITTED_LENGTH:
            segment.sack_ok = True
    elif kind == FAST_OPEN:
        _read_fast_open(segment, bytes(frame[at + 2 : at + length]), False)
    elif kind == EXPERIMENT and frame[at + 2 : at + min(length, 4)] == FAST_OPEN_MAGIC:
        _read_fast_open(segment, bytes(frame[at + 4 : at + length]), True)


# RFC7413-02
def _read_fast_open(segment: Segment, cookie: bytes, experimental: bool) -> None:
    if segment.fastopen is None and _may_be_cookie(cookie):
        segment.fastopen = cookie, experimental
