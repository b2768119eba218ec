"""UDP's header (RFC 768), as much of it as a host needs on which nobody takes datagrams.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    |          Source Port          |       Destination Port        |
    |            Length             |           Checksum            |

The length counts header and text, and may be less than what the IP packet carries. A checksum of zero says that there
is none, which only IPv4 allows.
"""

from __future__ import annotations

from typing import Final

from stack.wire.checksum import partial_sum, pseudo_header_sum
from stack.wire.drop import Drop, WireError
from stack.wire.ipheader import PROTO_UDP, IPHeader

HEADER_LENGTH: Final = 8


def check(frame: bytes, header: IPHeader, *, vouched: bool) -> None:
    """`WireError` unless a whole datagram stands behind the IP header; `vouched`: its checksum is not looked at."""
    start = header.start
    if header.end - start < HEADER_LENGTH:
        raise WireError(Drop.TRUNCATED, f"{header.end - start} octets are no datagram")
    length = int.from_bytes(frame[start + 4 : start + 6], "big")
    if length < HEADER_LENGTH:
        raise WireError(Drop.BAD_HEADER, f"a datagram can't have {length} octets")
    if length > header.end - start:
        raise WireError(Drop.TRUNCATED, f"a datagram of {length} octets in {header.end - start}")
    if vouched or (header.version == 4 and frame[start + 6 : start + 8] == b"\0\0"):
        return
    # RFC 8200 8.1: over IPv6 zero is no checksum. It is refused like any that is wrong, for a right one is never zero.
    summed = pseudo_header_sum(header.src, header.dst, PROTO_UDP, length)
    if frame[start + 6 : start + 8] == b"\0\0" or partial_sum(frame[start : start + length], summed) != 0xFFFF:
        raise WireError(Drop.BAD_CHECKSUM, "UDP")
