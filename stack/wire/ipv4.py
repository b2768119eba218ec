"""The IPv4 header (RFC 791).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    |Version|  IHL  |    DSCP   |ECN|         Total Length          |
    |         Identification        |0|D|M|     Fragment Offset     |
    |  Time to Live |    Protocol   |        Header Checksum        |
    |                         Source Address                        |
    |                      Destination Address                      |
    |                    Options, if IHL > 5 ...                    |

Checks come in the order of trust: the header must be there, its checksum must hold, and only then do its
length fields mean anything. Options are walked once, to refuse what is malformed and what asks for a source
route (RFC 7126 4.3 and 4.4); nothing in them is obeyed, and nothing is ever written back into a frame.
"""

from __future__ import annotations

import struct
from typing import Final

from stack.wire.drop import Drop, WireError
from stack.wire.ipheader import IPHeader

HEADER_LENGTH: Final = 20  #: Octets without options; all that this host sends.
MAX_LENGTH: Final = 65535  #: The largest Total Length.

OPTION_END: Final = 0
OPTION_NOP: Final = 1
OPTION_RECORD_ROUTE: Final = 7
OPTION_TIMESTAMP: Final = 68
# loose and strict source and record route
OPTION_LSRR: Final = 131
OPTION_SSRR: Final = 137

_DONT_FRAGMENT: Final = 0x4000
_MORE_FRAGMENTS: Final = 0x2000
_OFFSET: Final = 0x1FFF
_HEADER = struct.Struct("!BBHHHBBH4s4s")


# RFC1122-02
def decode(frame: bytes, size: int = 0) -> IPHeader:
    """The header of a whole received packet; `WireError` for anything malformed or forbidden (`size`: `ip.decode`)."""
    if len(frame) < HEADER_LENGTH:
        raise WireError(Drop.TRUNCATED, f"{len(frame)} octets are no IPv4 header")
    first, traffic_class, total, ident, flags, hop_limit, protocol, _, src, dst = _HEADER.unpack_from(frame)
    start = (first & 15) << 2
    if first != 0x45:
        if first >> 4 != 4:
            raise WireError(Drop.BAD_VERSION, f"version {first >> 4}")
        if start < HEADER_LENGTH:
            raise WireError(Drop.BAD_HEADER, f"IHL {first & 15}")
        if start > len(frame):
            raise WireError(Drop.TRUNCATED, f"IHL {first & 15} in {len(frame)} octets")
    # A valid header sums to 0xffff. It is never all zero (the version), so divisible by 65535 says just that.
    if int.from_bytes(frame[:start], "big") % 65535:
        raise WireError(Drop.BAD_CHECKSUM, "IPv4 header")
    if total < start:
        raise WireError(Drop.BAD_HEADER, f"total length {total} in a header of {start}")
    if total > (size or len(frame)):
        raise WireError(Drop.TRUNCATED, f"total length {total} in {size or len(frame)} octets")
    if start > HEADER_LENGTH:
        _check_options(frame, start)
    offset = (flags & _OFFSET) << 3
    if offset + total - start > MAX_LENGTH:
        raise WireError(Drop.BAD_HEADER, f"a fragment that ends at {offset + total - start}")
    return IPHeader(
        4,
        src,
        dst,
        protocol,
        hop_limit,
        traffic_class,
        start,
        total,
        flags & (_MORE_FRAGMENTS | _OFFSET) != 0,
        ident,
        flags & _DONT_FRAGMENT != 0,
    )


def encode(
    src: bytes,
    dst: bytes,
    protocol: int,
    length: int,
    hop_limit: int = 64,
    traffic_class: int = 0,
    ident: int = 0,
    dont_fragment: bool = True,
) -> bytes:
    """A header without options for `length` octets of payload; `ValueError` over 65535 octets in all."""
    total = HEADER_LENGTH + length
    if total > MAX_LENGTH:
        raise ValueError(f"{length} octets do not fit an IPv4 packet")
    flags = _DONT_FRAGMENT if dont_fragment else 0
    # All fields but the checksum, as 16-bit words; an address counts as its two words (see `checksum`).
    value = 0x4500 + traffic_class + total + ident + flags + (hop_limit << 8) + protocol
    value += int.from_bytes(src, "big") + int.from_bytes(dst, "big")
    checksum = 0xFFFF - (value % 65535 or 65535)
    return _HEADER.pack(0x45, traffic_class, total, ident, flags, hop_limit, protocol, checksum, src, dst)


# RFC 9293 MUST-50, RFC1122-07
def _check_options(frame: bytes, end: int) -> None:
    """Walk the options once; malformed ones and source routes raise. RFC 9293 MUST-50: others are ignored."""
    at = HEADER_LENGTH
    while at < end:
        kind = frame[at]
        if kind == OPTION_END:
            return
        if kind == OPTION_NOP:
            at += 1
            continue
        length = frame[at + 1] if at + 1 < end else 0
        if length < 2 or at + length > end:
            raise WireError(Drop.BAD_OPTION, f"IPv4 option {kind} of length {length}")
        if kind in (OPTION_LSRR, OPTION_SSRR):
            raise WireError(Drop.BAD_OPTION, "source route")
        # RFC 791 3.1: the pointer is counted from 1, and the room for data starts behind the fixed part.
        least = 4 if kind == OPTION_RECORD_ROUTE else 5 if kind == OPTION_TIMESTAMP else 0
        if least and (length < least - 1 or frame[at + 2] < least):
            raise WireError(Drop.BAD_OPTION, f"IPv4 option {kind} with a bad pointer")
        at += length
