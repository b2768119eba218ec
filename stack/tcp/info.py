"""What a connection tells about itself, in the names and units of Linux' `tcp_info` and `ss -ti`.

Times are in microseconds and windows in segments, as there; everything else about this stack counts nanoseconds and
bytes, so the conversion is done here, at the door. Values in bytes have `bytes` in their name.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from stack.tcp.fast_open import Opening
from stack.tcp.negotiate import header_bytes
from stack.tcp.recovery import OUT
from stack.tcp.repair import LOSS, RECOVERY
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
    pmtu: int  #: bytes, the largest packet that the path is believed to take
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
    syn_data: bool  #: data came with the SYN and was taken (RFC 7413)
    unacked: int  #: segments outstanding
    ca_state: str  #: "open", "disorder" (something is missing), "cwr" (reduced for a mark), "recovery" or "loss"
    lost: int  #: segments believed lost and not yet sent again
    retrans: int  #: segments sent again and believed to be on their way
    sacked: int  #: segments that the peer has reported
    reordering: int  #: segments that came after one that was sent later, ever
    reordering_extent: int  #: how far before the end of what had come one of them was, at most, in segments
    delivered: int  #: bytes that the peer has acknowledged or reported, ever
    delivered_segments: int  #: the same in segments, as they were first sent; the SYN is one
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
    last_ack_recv: int  #: ms ago, any segment

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
        pmtu=conn.mss_limit + header_bytes(conn.local[0]),
        rcv_mss=rcv.mss,
        advmss=conn.offer.mss,
        snd_cwnd=snd.congestion.cwnd // mss,
        snd_ssthresh=snd.congestion.ssthresh // mss,
        snd_wnd=snd.wnd,
        rcv_wnd=rcv.wnd,
        rcv_space=rcv.capacity,
        snd_wscale=conn.snd_shift,
        rcv_wscale=rcv.shift,
        timestamps=conn.ts is not None,
        sack=rcv.sack,
        ecn=conn.ecn,
        syn_data=conn.fast_open is not None and conn.fast_open.acknowledged,
        unacked=-(-snd.flight // mss),
        ca_state=_ca_state(conn),
        lost=-(-records.lost_bytes // mss),
        retrans=_retransmitted(conn),
        sacked=records.sacked_segments,
        reordering=snd.repair.rack.reordering_segments if snd.repair.rack is not None else 0,
        reordering_extent=-(-snd.repair.rack.reordering_extent // mss) if snd.repair.rack is not None else 0,
        delivered=snd.repair.rate.delivered,
        delivered_segments=_delivered_segments(conn),
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
        last_ack_recv=(now - conn.heard_at) // MS if conn.segs_in else -1,
    )


def _ca_state(conn: Connection) -> str:
    """How the sender stands, in the words of Linux' congestion states."""
    repair = conn.snd.repair
    if repair.phase == RECOVERY:
        return "recovery"
    if repair.phase == LOSS:
        return "loss"
    if repair.is_reduced_for_mark(conn.snd.una):
        return "cwr"
    return "disorder" if repair.records.sacked_bytes or repair.dupacks else "open"


def _retransmitted(conn: Connection) -> int:
    """Segments in the network that are not there for the first time."""
    records = conn.snd.repair.records
    if not conn.snd.retransmitted_segments:
        return 0
    return sum([records.segments(record) for record in records if record.state == OUT and record.transmissions > 1])


def _delivered_segments(conn: Connection) -> int:
    """As Linux counts: a SYN and the data that came with it are one."""
    together = isinstance(conn.fast_open, Opening) and conn.fast_open.acknowledged
    return conn.snd.repair.delivered_segments - together
