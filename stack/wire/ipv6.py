"""The IPv6 header and its extension headers (RFC 8200).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    |Version| Traffic Class |           Flow Label                  |
    |         Payload Length        |  Next Header  |   Hop Limit   |
    |                    Source Address (16 octets)                 |
    |                  Destination Address (16 octets)              |
    |                  Extension headers ...                        |

Extension headers are walked in a loop with two bounds, their number and their octets (RFC 8504 5.3 lets a
host choose them), so that no packet costs more than a few steps. An end host with one address per packet
needs nothing that they say: options that want to be understood and are not get the packet dropped, a routing
header is accepted only where it has nothing left to route, and the fragment header ends the walk unless it
fragments nothing (RFC 6946).
"""

from __future__ import annotations

import struct
from typing import Final

from stack.wire.drop import Drop, WireError
from stack.wire.ipheader import IPHeader

HEADER_LENGTH: Final = 40  #: Octets without extension headers; all that this host sends.
MAX_PAYLOAD: Final = 65535  #: The largest Payload Length.

HOP_BY_HOP: Final = 0
ROUTING: Final = 43
FRAGMENT: Final = 44
NO_NEXT_HEADER: Final = 59
DESTINATION: Final = 60

MAX_EXTENSION_HEADERS: Final = 8  #: In one packet. Nobody needs more than four; 100 are an attack.
MAX_EXTENSION_OCTETS: Final = 256  #: In one packet, all extension headers together.

_HEADER = struct.Struct("!IHBB16s16s")
_FRAGMENT = struct.Struct("!BBHI")
_EXTENSIONS = frozenset((HOP_BY_HOP, ROUTING, FRAGMENT, NO_NEXT_HEADER, DESTINATION))
_PAD1 = 0


def decode(frame: bytes, size: int = 0) -> IPHeader:
    """The header of a whole received packet; `WireError` for anything malformed or forbidden (`size`: `ip.decode`)."""
    if len(frame) < HEADER_LENGTH:
        raise WireError(Drop.TRUNCATED, f"{len(frame)} octets are no IPv6 header")
    first, length, protocol, hop_limit, src, dst = _HEADER.unpack_from(frame)
    if first >> 28 != 6:
        raise WireError(Drop.BAD_VERSION, f"version {first >> 28}")
    end = HEADER_LENGTH + length
    if end > (size or len(frame)):
        raise WireError(Drop.TRUNCATED, f"payload length {length} in {size or len(frame)} octets")
    header = IPHeader(6, src, dst, protocol, hop_limit, first >> 20 & 0xFF, HEADER_LENGTH, end)
    if protocol in _EXTENSIONS:
        walk_extensions(frame, header)
    return header


def encode(src: bytes, dst: bytes, protocol: int, length: int, hop_limit: int = 64, traffic_class: int = 0) -> bytes:
    """A header without extensions for `length` octets of payload; `ValueError` over 65535 of them."""
    if length > MAX_PAYLOAD:
        raise ValueError(f"{length} octets do not fit an IPv6 packet")
    return _HEADER.pack(0x6000_0000 | traffic_class << 20, length, protocol, hop_limit, src, dst)


def walk_extensions(frame: bytes, header: IPHeader) -> None:
    """Move `header` (its protocol, start and fragment fields) past the extension headers of `frame`.

    Raises `WireError` for what is malformed, forbidden or too much. A fragment ends the walk: what follows it
    is the middle of something.
    """
    protocol, at, end = header.protocol, header.start, header.end
    limit = at + MAX_EXTENSION_OCTETS
    seen = 0
    while protocol in _EXTENSIONS:
        if protocol == NO_NEXT_HEADER:
            raise WireError(Drop.UNKNOWN_PROTOCOL, "no next header")
        if seen == MAX_EXTENSION_HEADERS:
            raise WireError(Drop.BAD_OPTION, f"more than {seen} extension headers")
        if at + 8 > end:
            raise WireError(Drop.TRUNCATED, f"extension header {protocol}")
        length = 8 if protocol == FRAGMENT else (frame[at + 1] + 1) << 3
        if at + length > end:
            raise WireError(Drop.TRUNCATED, f"extension header {protocol} of {length} octets")
        if at + length > limit:
            raise WireError(Drop.BAD_OPTION, f"more than {MAX_EXTENSION_OCTETS} octets of extension headers")
        if protocol == FRAGMENT:
            _read_fragment(frame, at, header)
        elif protocol == ROUTING:
            _check_routing(frame, at)
        else:
            # RFC 8200 4.1: hop-by-hop options stand right behind the IPv6 header or nowhere.
            if protocol == HOP_BY_HOP and seen:
                raise WireError(Drop.BAD_OPTION, "hop-by-hop options not in first place")
            _check_options(frame, at + 2, at + length)
        protocol = frame[at]
        at += length
        seen += 1
        if header.fragment:
            break
    header.protocol = protocol
    header.start = at


def _read_fragment(frame: bytes, at: int, header: IPHeader) -> None:
    _, _, offset, header.ident = _FRAGMENT.unpack_from(frame, at)
    header.dont_fragment = False
    header.fragment = offset & 0xFFF9 != 0
    # RFC 8200 4.5: a piece must not end beyond the largest payload.
    if (offset & 0xFFF8) + header.end - at - 8 > MAX_PAYLOAD:
        raise WireError(Drop.BAD_HEADER, "a fragment that ends past 65535")


def _check_routing(frame: bytes, at: int) -> None:
    """RFC 5095: type 0 is dead. RFC 8200 4.4: others are skipped where nothing is left to visit."""
    routing_type, segments_left = frame[at + 2], frame[at + 3]
    if routing_type == 0 or segments_left:
        raise WireError(Drop.BAD_OPTION, f"routing header type {routing_type}, {segments_left} segments left")


def _check_options(frame: bytes, at: int, end: int) -> None:
    """Walk hop-by-hop or destination options. RFC 8200 4.2: the top two bits of an unknown one are an order.

    Only the two kinds of padding are known here. 00 asks to skip; the other three all ask to discard, and
    differ in whether the source hears of it, which this host leaves out.
    """
    while at < end:
        kind = frame[at]
        if kind == _PAD1:
            at += 1
            continue
        if at + 2 > end or at + 2 + frame[at + 1] > end:
            raise WireError(Drop.BAD_OPTION, f"IPv6 option {kind} runs past its header")
        if kind >> 6:
            raise WireError(Drop.BAD_OPTION, f"IPv6 option {kind} is unknown")
        at += 2 + frame[at + 1]
