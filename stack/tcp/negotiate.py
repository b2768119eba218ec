"""What two SYNs agree on: MSS, window scale, SACK, timestamps, ECN (RFC 9293 3.7.1, RFC 7323, RFC 2018, RFC 3168).

Each end offers in its SYN; an option is in force only if both SYNs carried it (the MSS is no agreement: each end
says what it can receive). The result is one small value that both the half-open record and the connection use.
"""

from __future__ import annotations

from functools import lru_cache

from stack.tcp.config import TcpOptions
from stack.wire.segment import ACK, CWR, ECE, Segment

# RFC 9293 MUST-15
DEFAULT_MSS_V4 = 536  #: RFC 9293 3.7.1, MUST-15: what a peer can receive that does not say.
DEFAULT_MSS_V6 = 1220
MIN_MSS = 216  #: A peer that asks for less gets this much; smaller ones only serve to cost us packets.
MAX_SHIFT = 14  #: RFC 7323 2.3.
TIMESTAMP_BYTES = 12  #: Ten of the option and two of padding, in every segment.


class Offer:
    """What our SYN, or SYN-ACK, says. Never changed: connections share it."""

    __slots__ = ("ecn", "mss", "sack", "timestamps", "wscale")

    def __init__(self, mss: int, wscale: int, sack: bool, timestamps: bool, ecn: str = "off") -> None:
        self.mss = mss
        self.wscale = wscale  # -1: not offered
        self.sack = sack
        self.timestamps = timestamps
        self.ecn = ecn  # request, accept or off

    def without_scaling(self) -> Offer:
        """The same to a peer that has not offered to scale windows."""
        return Offer(self.mss, -1, self.sack, self.timestamps, self.ecn)


# RFC 9293 MUST-14, MUST-67, SHLD-6, RFC7323-01
@lru_cache(64)
def offer(options: TcpOptions, mtu: int, headers: int) -> Offer:
    """What to offer on a link of that MTU; `headers` counts the fixed IP and TCP headers (40 or 60 bytes)."""
    mss = min(mtu - headers, 0xFFFF)
    if options.mss is not None:
        mss = min(mss, options.mss)
    shift = scale_for(options.receive_buffer) if options.window_scaling else -1
    return Offer(mss, shift, options.sack, options.timestamps, options.ecn)


# RFC7323-06
def scale_for(receive_buffer: int) -> int:
    """The least shift with which the window field can say that many bytes."""
    shift = 0
    while shift < MAX_SHIFT and receive_buffer > 0xFFFF << shift:
        shift += 1
    return shift


# RFC 9293 MUST-14, MUST-15, SHLD-8, RFC2018-02, RFC2883-05, RFC3168-01, RFC3168-04, RFC7323-02, RFC7323-06
class Agreement:
    """What holds on the connection once both SYNs are known.

    `peer_mss` is the MSS that the peer can receive, `snd_shift` and `rcv_shift` scale the windows it and we send
    (0 when scaling is off).
    """

    __slots__ = ("ecn", "peer_mss", "rcv_shift", "sack", "scaling", "snd_shift", "timestamps")

    def __init__(self, ours: Offer, syn: Segment, *, v6: bool) -> None:
        # A value of 0 is read as absent by the codec.
        peer_mss = syn.mss or (DEFAULT_MSS_V6 if v6 else DEFAULT_MSS_V4)
        self.peer_mss = max(peer_mss, MIN_MSS)
        self.scaling = ours.wscale >= 0 and syn.wscale >= 0
        self.snd_shift = min(syn.wscale, MAX_SHIFT) if self.scaling else 0
        self.rcv_shift = ours.wscale if self.scaling else 0
        self.sack = ours.sack and syn.sack_ok
        self.timestamps = ours.timestamps and syn.tsval >= 0
        # RFC 3168 6.1.1: a SYN asks with both flags, a SYN-ACK agrees with ECE alone. A crossing SYN asks for nothing.
        if syn.flags & ACK:
            self.ecn = ours.ecn == "request" and syn.flags & (ECE | CWR) == ECE
        else:
            self.ecn = ours.ecn != "off" and syn.flags & (ECE | CWR) == ECE | CWR


def header_bytes(address: bytes) -> int:
    """The fixed IP and TCP headers of that address's family: 40 or 60 bytes."""
    return 60 if len(address) == 16 else 40
