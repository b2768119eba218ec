"""UDP's header (RFC 768).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    |          Source Port          |       Destination Port        |
    |            Length             |           Checksum            |

The length counts header and text, and may be less than what the IP packet carries. A checksum of zero says that there
is none, which only IPv4 allows; one that comes out as zero is sent as 0xFFFF, which sums to the same. A source port of
zero says that no answer is wanted.
"""

from __future__ import annotations

import struct
from typing import Final

from stack.wire.checksum import partial_sum, pseudo_header_sum, sum_buffers
from stack.wire.drop import Drop, WireError
from stack.wire.ipheader import PROTO_UDP, IPHeader
from stack.wire.packet import Buffer

HEADER_LENGTH: Final = 8
MAX_TEXT: Final = 65_507  #: Octets of text in the longest datagram of IPv4; IPv6 has room for 20 more.

_HEADER = struct.Struct("!HHHH")


class Datagram:
    """A received datagram: its ports and its text."""

    __slots__ = ("dst_port", "src_port", "text")

    def __init__(self, src_port: int, dst_port: int, text: bytes) -> None:
        self.src_port = src_port
        self.dst_port = dst_port
        self.text = text

    def __repr__(self) -> str:
        return f"Datagram({self.src_port} > {self.dst_port}, {len(self.text)} octets)"


def decode(frame: bytes, header: IPHeader, *, vouched: bool) -> Datagram:
    """The datagram behind the IP header; `vouched`: its checksum is not looked at. `WireError` for what is none."""
    start = header.start
    if header.end - start < HEADER_LENGTH:
        raise WireError(Drop.TRUNCATED, f"{header.end - start} octets are no datagram")
    src_port, dst_port, length, value = _HEADER.unpack_from(frame, start)
    if length < HEADER_LENGTH:
        raise WireError(Drop.BAD_HEADER, f"a datagram can't have {length} octets")
    if length > header.end - start:
        raise WireError(Drop.TRUNCATED, f"a datagram of {length} octets in {header.end - start}")
    # RFC 8200 8.1: over IPv6 zero is no checksum. It is refused like any that is wrong, for a right one is never zero.
    if not vouched and (value or header.version == 6):
        summed = pseudo_header_sum(header.src, header.dst, PROTO_UDP, length)
        if not value or partial_sum(frame[start : start + length], summed) != 0xFFFF:
            raise WireError(Drop.BAD_CHECKSUM, "UDP")
    return Datagram(src_port, dst_port, frame[start + HEADER_LENGTH : start + length])


def encode(src: bytes, dst: bytes, src_port: int, dst_port: int, text: Buffer) -> bytes:
    """The header for a text between two addresses, with its checksum (RFC 1122 4.1.3.4: always with one)."""
    length = HEADER_LENGTH + len(text)
    head = _HEADER.pack(src_port, dst_port, length, 0)
    value = sum_buffers((head, text), pseudo_header_sum(src, dst, PROTO_UDP, length)) ^ 0xFFFF
    return head[:6] + (value or 0xFFFF).to_bytes(2, "big")
