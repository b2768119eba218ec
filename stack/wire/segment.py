"""One TCP segment as a value (RFC 9293 3.1), always legal once it exists.

Numbers are as on the wire: sequence and acknowledgment modulo 2^32, the window unscaled. A plain class with
slots, because one is made for every frame: building one costs 0.15 us interpreted, a frozen dataclass four times
that. A connection never changes a segment that it received.
"""

from __future__ import annotations

from typing import Final

from stack.wire.packet import Buffer

FIN: Final = 1
SYN: Final = 2
RST: Final = 4
PSH: Final = 8
ACK: Final = 16
URG: Final = 32
ECE: Final = 64
CWR: Final = 128

#: Codepoints of the ECN field in the IP header (RFC 3168 5).
NOT_ECT: Final = 0
ECT_1: Final = 1
ECT_0: Final = 2
CE: Final = 3

FLAG_LETTERS: Final = "FSRP.UEW"  #: One letter a bit, lowest first, as tcpdump prints them.

FastOpenOption = tuple[bytes, bool]
"""A Fast Open option: the cookie, b"" where one is asked for, and whether it came, or is to go, in the experimental
form (RFC 7413 4.1.1)."""


class Segment:
    """A TCP segment.

    `parts` holds the payload's buffers and `size` their bytes. Options that are absent read as `mss` 0, `wscale`
    -1, `sack_ok` False, `sacks` empty, `tsval` -1 and `fastopen` None. `gso_size` is the payload bytes in each wire
    segment where this one stands for several, else 0. `ecn` is the codepoint in the IP header around it: the host sets
    it on what arrives, and writes it on what leaves.
    """

    __slots__ = (
        "ack",
        "dst_port",
        "ecn",
        "fastopen",
        "flags",
        "gso_size",
        "mss",
        "parts",
        "sack_ok",
        "sacks",
        "seq",
        "size",
        "src_port",
        "tsecr",
        "tsval",
        "urgent",
        "window",
        "wscale",
    )

    def __init__(
        self,
        src_port: int,
        dst_port: int,
        seq: int,
        ack: int,
        flags: int,
        window: int,
        parts: tuple[Buffer, ...] = (),
        *,
        urgent: int = 0,
        mss: int = 0,
        wscale: int = -1,
        sack_ok: bool = False,
        sacks: tuple[tuple[int, int], ...] = (),
        tsval: int = -1,
        tsecr: int = 0,
        gso_size: int = 0,
        ecn: int = NOT_ECT,
        fastopen: FastOpenOption | None = None,
    ) -> None:
        self.src_port = src_port
        self.dst_port = dst_port
        self.seq = seq
        self.ack = ack
        self.flags = flags
        self.window = window
        self.parts = parts
        size = 0
        for part in parts:
            size += len(part)
        self.size = size
        self.urgent = urgent
        self.mss = mss
        self.wscale = wscale
        self.sack_ok = sack_ok
        self.sacks = sacks
        self.tsval = tsval
        self.tsecr = tsecr
        self.gso_size = gso_size
        self.ecn = ecn
        self.fastopen = fastopen

    @property
    def length(self) -> int:
        """SEG.LEN: payload octets, and one each for SYN and FIN."""
        flags = self.flags
        return self.size + ((flags & SYN) >> 1) + (flags & FIN)

    @property
    def segments(self) -> int:
        """How many segments of a wire this one stands for."""
        gso_size = self.gso_size
        return -(-self.size // gso_size) if 0 < gso_size < self.size else 1

    @property
    def payload(self) -> bytes:
        """The payload as one run of bytes (copies)."""
        return b"".join(self.parts)

    def __repr__(self) -> str:
        flags = "".join(letter for bit, letter in enumerate(FLAG_LETTERS) if self.flags >> bit & 1)
        return f"Segment({flags or '-'} seq={self.seq} ack={self.ack} len={self.size} win={self.window})"
