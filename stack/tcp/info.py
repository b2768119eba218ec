"""What a connection tells about itself, in the names and units of Linux' `tcp_info` and `ss -ti`.

Times are in microseconds and windows in segments, as there; everything else about this stack counts nanoseconds and
bytes, so the conversion is done here, at the door. Values in bytes have `bytes` in their name.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from stack.wire.units import MS, US, Time

if TYPE_CHECKING:
    from stack.tcp.connection import Connection


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


def snapshot(conn: Connection, now: Time) -> Info:
    """What is true of a connection now."""
    snd, rcv, rtt, mss = conn.snd, conn.rcv, conn.rtt, conn.snd.mss
    records = snd.repair.records
    return Info(
        state=conn.state.ss,
        congestion=snd.congestion.name,
        rto=rtt.rto // US,
        rtt=max(rtt.srtt, 0) // US,
        rttvar=rtt.rttvar // US,
        min_rtt=max(rtt.minimum, 0) // US,
        snd_mss=mss,
        rcv_mss=rcv.mss,
        advmss=conn.offer.mss,
        snd_cwnd=snd.congestion.cwnd // mss,
        snd_ssthresh=snd.congestion.ssthresh // mss,
        snd_wnd=snd.wnd,
        rcv_wnd=rcv.wnd,
        rcv_space=rcv.limit,
        snd_wscale=conn.snd_shift,
        rcv_wscale=rcv.shift,
        timestamps=conn.ts is not None,
        sack=rcv.sack,
        ecn=conn.ecn,
        unacked=-(-snd.flight // mss),
        lost=-(-records.lost_bytes // mss),
        sacked=records.sacked_segments,
        reordering=snd.repair.rack.reordering_segments if snd.repair.rack is not None else 0,
        delivered=snd.repair.rate.delivered,
        delivery_rate=max(snd.repair.rate.rate, 0),
        delivery_rate_app_limited=snd.repair.rate.is_app_limited,
        pacing_rate=snd.pacing_rate if snd.paced else 0,
        recoveries=snd.repair.recoveries,
        timeouts=snd.repair.timeouts,
        spurious=snd.repair.spurious,
        retransmits=conn.retries,
        total_retrans=snd.retransmitted_segments,
        segs_out=conn.segs_out,
        segs_in=conn.segs_in,
        data_segs_out=conn.data_segs_out,
        data_segs_in=conn.data_segs_in,
        bytes_sent=conn.sent_bytes,
        bytes_retrans=snd.retransmitted_bytes,
        bytes_acked=min(max(snd.una - 1, 0), snd.buffer.end - 1),
        bytes_received=rcv.received_bytes,
        notsent_bytes=snd.buffer.end - min(snd.nxt, snd.buffer.end),
        last_data_sent=(now - conn.last_data_out) // MS if conn.last_data_out >= 0 else -1,
        last_data_recv=(now - conn.last_data_in) // MS if conn.last_data_in >= 0 else -1,
    )
