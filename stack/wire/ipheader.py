"""What both IP versions say about a packet, as one value; `stack.wire.ip` is the door to it.

It stands in a module of its own so that `ipv4` and `ipv6` can make it and `ip` can choose between them.
"""

from __future__ import annotations

from typing import Final

PROTO_ICMP: Final = 1
PROTO_TCP: Final = 6
PROTO_UDP: Final = 17
PROTO_ICMPV6: Final = 58


class IPHeader:
    """A decoded IP header; the frame it came from has been checked to hold everything it promises.

    `protocol` is the upper layer's, behind any IPv6 extension headers; its octets are `frame[start:end]`.
    `fragment` is True where the packet is a piece of a datagram: then only the first piece starts with the
    upper layer's header. `ident` is 0 and `dont_fragment` True for an IPv6 packet without a fragment header.
    """

    __slots__ = (
        "dont_fragment",
        "dst",
        "end",
        "fragment",
        "hop_limit",
        "ident",
        "protocol",
        "src",
        "start",
        "traffic_class",
        "version",
    )

    def __init__(
        self,
        version: int,
        src: bytes,
        dst: bytes,
        protocol: int,
        hop_limit: int,
        traffic_class: int,
        start: int,
        end: int,
        fragment: bool = False,
        ident: int = 0,
        dont_fragment: bool = True,
    ) -> None:
        self.version = version
        self.src = src
        self.dst = dst
        self.protocol = protocol
        self.hop_limit = hop_limit
        self.traffic_class = traffic_class
        self.start = start
        self.end = end
        self.fragment = fragment
        self.ident = ident
        self.dont_fragment = dont_fragment

    def __repr__(self) -> str:
        return (
            f"IPHeader(v{self.version} {self.src.hex()} > {self.dst.hex()} protocol={self.protocol} "
            f"payload={self.start}:{self.end}{' fragment' if self.fragment else ''})"
        )
