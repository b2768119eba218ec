"""What a connection tells about itself, in the names and units of Linux' `tcp_info` and `ss -ti`.

Times are in microseconds and windows in segments, as there; everything else about this stack counts nanoseconds and
bytes, so the conversion is done here, at the door. Values in bytes have `bytes` in their name.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Info:
    """A snapshot of one connection; see tcp(7) and `struct tcp_info`."""

    state: str
    congestion: str
    rto: int  #: us
    rtt: int  #: SRTT, us; 0 before the first sample
    rttvar: int  #: us
    min_rtt: int  #: us
    snd_mss: int  #: bytes
    rcv_mss: int  #: bytes
    advmss: int  #: bytes, the MSS that we offered
    snd_cwnd: int  #: segments
    snd_ssthresh: int  #: segments
    snd_wnd: int  #: bytes, the peer's window
    rcv_wnd: int  #: bytes, the window we last offered
    rcv_space: int  #: bytes, the receive buffer's present size
    snd_wscale: int
    rcv_wscale: int
    timestamps: bool
    sack: bool
    ecn: bool
    unacked: int  #: segments outstanding
    lost: int  #: segments believed lost and not yet sent again
    sacked: int  #: segments that the peer has reported
    reordering: int  #: segments that came after one that was sent later, ever
    delivered: int  #: bytes that the peer has acknowledged or reported, ever
    delivery_rate: int  #: bytes a second, by the latest sample
    delivery_rate_app_limited: bool  #: whether the application, not the path, limited that sample
    pacing_rate: int  #: bytes a second; 0: not paced
    recoveries: int  #: fast recoveries, ever
    timeouts: int  #: expiries of the retransmission timer, ever
    spurious: int  #: recoveries and time-outs that were undone
    retransmits: int  #: expiries of the retransmission timer since the last progress
    total_retrans: int  #: segments sent again, ever
    segs_out: int
    segs_in: int
    data_segs_out: int
    data_segs_in: int
    bytes_sent: int  #: payload, with retransmissions
    bytes_retrans: int
    bytes_acked: int
    bytes_received: int
    notsent_bytes: int
    last_data_sent: int  #: ms ago
    last_data_recv: int  #: ms ago

    def as_dict(self) -> dict[str, int | str | bool]:
        """The same as a plain dict, for JSON."""
        return asdict(self)
