"""The seam between loss recovery and congestion control.

Recovery decides *what* was lost and *what* to send again; the controller decides *how much* may be in flight. It
owns two numbers, `cwnd` and `ssthresh`, in bytes, and is told about acknowledgments, losses and time-outs. To make
one's own: subclass, override the `on_` methods that matter, and pass the class as `TcpOptions(congestion=...)`.

During fast recovery the controller is not asked: `cwnd` then follows proportional rate reduction, or RFC 6582 without
SACK, from where it was down to the `ssthresh` that `on_loss` has chosen.
"""

from __future__ import annotations

from stack.wire.compiling import mypyc_attr
from stack.wire.units import Duration, Time

INITIAL_WINDOW_SEGMENTS = 10  #: RFC 6928: ten segments, and not more than max(2 * MSS, 14600) bytes.
# RFC5681-08
INFINITE_SSTHRESH = 1 << 30  #: RFC 5681 3.1: arbitrarily high at the start; also the largest window there is.


class AckSummary:
    """What one acknowledgment taught us: the value that flows from recovery over RTT to congestion control.

    `acked` counts the bytes newly acknowledged in order; `delivered` those and the newly reported ones; `flight` what
    was outstanding before. `rtt` is a sample in nanoseconds or -1, `rate` one of the delivery rate in bytes a second
    or -1, `srtt` the smoothed round trip. `app_limited` says that the window was not the limit, so that it must not
    grow for having gone unused. `una` and `nxt` are SND.UNA and SND.NXT after it, for counting rounds.
    """

    __slots__ = ("acked", "app_limited", "delivered", "flight", "nxt", "rate", "rtt", "srtt", "una")

    def __init__(
        self,
        acked: int,
        flight: int,
        rtt: Duration,
        app_limited: bool,
        *,
        delivered: int = 0,
        rate: int = -1,
        una: int = 0,
        nxt: int = 0,
        srtt: Duration = -1,
    ) -> None:
        self.acked = acked
        self.flight = flight
        self.rtt = rtt
        self.app_limited = app_limited
        self.delivered = delivered
        self.rate = rate
        self.una = una
        self.nxt = nxt
        self.srtt = srtt


@mypyc_attr(allow_interpreted_subclasses=True)
class CongestionControl:
    """Base class of all controllers; every method may be left as it is.

    `mss` is the sender's maximum segment size in bytes without options, `cwnd` the congestion window, `ssthresh`
    the slow-start threshold (RFC 5681 2). `pacing_rate` is in bytes a second; 0 leaves it to the window and the
    round-trip time. It matters only to connections that are paced (`paced`, set by the connection). `counts_fully`, set
    by it as well: in slow start an ACK adds all that it acknowledges (see `stack.tcp.habits`).
    """

    __slots__ = ("counts_fully", "cwnd", "mss", "paced", "pacing_rate", "ssthresh")

    name = "none"

    def __init__(self, mss: int) -> None:
        self.mss = mss
        self.cwnd = self.initial_window
        self.ssthresh = INFINITE_SSTHRESH
        self.paced = False
        self.counts_fully = False
        self.pacing_rate = 0

    # RFC5681-04, RFC6928-01, RFC6928-02
    @property
    def initial_window(self) -> int:
        """IW (RFC 6928), in bytes."""
        return min(INITIAL_WINDOW_SEGMENTS * self.mss, max(2 * self.mss, 14_600))

    @property
    def in_slow_start(self) -> bool:
        return self.cwnd < self.ssthresh

    # RFC5681-06, RFC6928-02
    def on_handshake_loss(self) -> None:
        """A SYN or SYN-ACK had to be sent again: start from one segment (RFC 5681 3.1)."""
        self.cwnd = self.mss

    # RFC5681-07
    def on_mss(self, mss: int) -> None:
        """The path takes segments of another size: of shorter ones the window holds as many as before (RFC 5681 3.1).

        It holds no more octets for longer ones, but always one. `ssthresh` stays: the path has as much room as ever.
        """
        if mss < self.mss:
            self.cwnd = self.cwnd * mss // self.mss
        self.cwnd = max(self.cwnd, mss)
        self.mss = mss

    def on_ack(self, summary: AckSummary, now: Time) -> None:
        """New data was acknowledged outside fast recovery."""

    # RFC5681-09, RFC5681-22
    def on_loss(self, flight: int, now: Time) -> None:
        """Fast recovery begins with `flight` bytes outstanding: choose `ssthresh`, which it will end at."""
        self.ssthresh = max(flight // 2, 2 * self.mss)

    # RFC9937-06
    def on_recovered(self, now: Time) -> None:
        """Fast recovery is over."""
        self.cwnd = self.ssthresh

    # RFC5681-09, RFC5681-15, RFC5681-16
    def on_timeout(self, flight: int, first: bool, now: Time) -> None:
        """The retransmission timer expired; `first` is false when it had expired for the same data before."""
        if first:
            self.ssthresh = max(flight // 2, 2 * self.mss)
        self.cwnd = self.mss

    # RFC3168-07, RFC9438-07
    def on_ecn(self, flight: int, now: Time) -> None:
        """The peer echoes a mark of congestion, for the first time in this round trip (RFC 3168 6.1.2)."""
        least = (
            self.cwnd <= 2 * self.mss
        )  # ssthresh stays at two segments, the window goes on down to one (RFC 9438 4.6)
        self.on_loss(flight, now)
        self.cwnd = self.mss if least else min(self.cwnd, self.ssthresh)

    def on_undo(self, cwnd: int, ssthresh: int, now: Time) -> None:
        """The latest loss or time-out was none: `cwnd` and `ssthresh` are what they were before it (RFC 4015)."""
        self.cwnd = max(self.cwnd, cwnd)
        self.ssthresh = max(self.ssthresh, ssthresh)

    # RFC5681-27
    def on_idle(self, now: Time) -> None:
        """Nothing was sent for longer than an RTO: the window says nothing any more (RFC 5681 4.1)."""
        self.cwnd = min(self.cwnd, self.initial_window)
