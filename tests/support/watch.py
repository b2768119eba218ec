"""What holds for every segment that a TCP sends, whatever the test is about.

A `Watch` sits at the peer's end of one connection and sees both directions. It keeps no state of the connection, only
what can be read off the wire: what was offered, what was promised, what was written.
"""

from __future__ import annotations

from stack.wire.segment import ACK, RST, SYN, Segment

MASK = 0xFFFF_FFFF
HEADER = 20
LEAST_MSS = 216  #: `stack.tcp.negotiate.MIN_MSS`, a stated limit: a peer that asks for less gets this much.


class Watch:
    """The rules of one connection; `check` gives the first one that a segment of the host breaks, or ""."""

    def __init__(self, *, v6: bool) -> None:
        self.written = bytearray()  # what the host's user has written, from sequence number ISS + 1
        self._default_mss = 1220 if v6 else 536
        self._host_syn: Segment | None = None
        self._peer_syn: Segment | None = None
        self.host_edge = -1  # right edge of the host's window, the largest offered
        self._peer_edge = -1
        self._abandoned = False

    @property
    def scaled(self) -> bool:
        """Whether both SYNs carried the window scale option."""
        return bool(self._host_syn and self._peer_syn and self._host_syn.wscale >= 0 and self._peer_syn.wscale >= 0)

    @property
    def timestamps(self) -> bool:
        """Whether both SYNs carried the timestamps option."""
        return bool(self._host_syn and self._peer_syn and self._host_syn.tsval >= 0 and self._peer_syn.tsval >= 0)

    @property
    def host_shift(self) -> int:
        return min(self._host_syn.wscale, 14) if self.scaled and self._host_syn else 0

    @property
    def peer_shift(self) -> int:
        return min(self._peer_syn.wscale, 14) if self.scaled and self._peer_syn else 0

    def on_peer(self, seg: Segment, ack: int) -> None:
        """The peer sends `seg`; `ack` is its relative acknowledgment number."""
        if seg.flags & SYN and self._peer_syn is None:
            self._peer_syn = seg
        shift = 0 if seg.flags & SYN else self.peer_shift
        edge = (ack if seg.flags & ACK else 1) + (seg.window << shift)
        if ack < 1 << 31:
            self._peer_edge = max(self._peer_edge, edge)

    def on_host(self, seg: Segment, start: int, ack: int, frame: bytes, header_end: int) -> str:
        """The host sends `seg`, relative numbers `start` and `ack`. What is wrong with it, or ""."""
        if seg.flags & SYN and self._host_syn is None:
            self._host_syn = seg
        if seg.flags & RST:
            return "a reset with data" if seg.size else ""
        return (
            self._check_options(seg)
            or self._check_size(seg, header_end)
            or self._check_text(seg, start)
            or self._check_window(seg, ack)
        )

    def _check_options(self, seg: Segment) -> str:
        if not seg.flags & SYN:
            if seg.mss or seg.wscale >= 0 or seg.sack_ok:
                return "an option that belongs on a SYN only (RFC 9293 3.2, RFC 7323 2.2, RFC 2018 2)"
            if self._peer_syn is not None and (seg.tsval >= 0) != self.timestamps:
                return "timestamps where they were not agreed on, or none where they were (RFC 7323 3.2)"
            if seg.sacks and not (self._peer_syn and self._peer_syn.sack_ok):
                return "SACK blocks for a peer that did not permit them (RFC 2018 3)"
        return ""

    def _check_size(self, seg: Segment, header_end: int) -> str:
        if not seg.size or seg.flags & SYN:  # how much goes with a SYN, no segment of the peer's says
            return ""
        offered = self._peer_syn.mss if self._peer_syn else 0
        most = max(offered or self._default_mss, LEAST_MSS)
        options = header_end - HEADER
        size = seg.gso_size or seg.size  # of one segment, if there are several in a super-frame
        if size + options > most:
            return f"{size} octets and {options} of options for an MSS of {most} (RFC 9293 3.7.1, MUST-16)"
        return ""

    def _check_text(self, seg: Segment, start: int) -> str:
        if not seg.size:
            return ""
        first = start if seg.flags & SYN else start - 1  # index into the stream
        if seg.payload != bytes(self.written[first : first + seg.size]):
            return "octets that the user has not written there"
        if self._peer_edge >= 0 and start + seg.size > self._peer_edge and seg.size > 1:
            return f"text beyond the largest edge offered, {self._peer_edge} (RFC 9293 3.8.6)"
        return ""

    def _check_window(self, seg: Segment, ack: int) -> str:
        if not seg.flags & ACK:
            return ""
        shift = 0 if seg.flags & SYN else self.host_shift
        edge = ack + (seg.window << shift)
        # Less than a unit of the scale may be lost in rounding (RFC 7323 2.4).
        if edge + (1 << shift) <= self.host_edge and ack < 1 << 31:
            return f"the window's right edge moved left, from {self.host_edge} to {edge} (RFC 9293 3.8.6, SHLD-14)"
        self.host_edge = max(self.host_edge, edge)
        return ""
