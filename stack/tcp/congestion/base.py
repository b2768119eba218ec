"""The seam between loss recovery and congestion control.

Recovery decides *what* was lost and *what* to send again; the controller decides *how much* may be in flight. It
owns two numbers, `cwnd` and `ssthresh`, in bytes, and is told about acknowledgments, losses and time-outs. To make
one's own: subclass, override the `on_` methods that matter, and pass the class as `TcpOptions(congestion=...)`.
"""

from __future__ import annotations

from stack.wire.units import Duration, Time

INITIAL_WINDOW_SEGMENTS = 10  #: RFC 6928: ten segments, and not more than max(2 * MSS, 14600) bytes.
INFINITE_SSTHRESH = 1 << 30  #: RFC 5681 3.1: arbitrarily high at the start; also the largest window there is.


class AckSummary:
    """What one acknowledgment taught us: the value that flows from recovery over RTT to congestion control.

    `acked` counts the bytes newly acknowledged; `flight` those that were outstanding before; `rtt` is a sample in
    nanoseconds or -1; `app_limited` says that the window was not the limit since the last acknowledgment, so that
    it must not grow for having gone unused.
    """

    __slots__ = ("acked", "app_limited", "flight", "rtt")

    def __init__(self, acked: int, flight: int, rtt: Duration, app_limited: bool) -> None:
        self.acked = acked
        self.flight = flight
        self.rtt = rtt
        self.app_limited = app_limited


class CongestionControl:
    """Base class of all controllers; every method may be left as it is.

    `mss` is the sender's maximum segment size in bytes without options, `cwnd` the congestion window, `ssthresh`
    the slow-start threshold (RFC 5681 2).
    """

    __slots__ = ("cwnd", "mss", "ssthresh")

    name = "none"

    def __init__(self, mss: int) -> None:
        self.mss = mss
        self.cwnd = self.initial_window
        self.ssthresh = INFINITE_SSTHRESH

    @property
    def initial_window(self) -> int:
        """IW (RFC 6928), in bytes."""
        return min(INITIAL_WINDOW_SEGMENTS * self.mss, max(2 * self.mss, 14_600))

    @property
    def in_slow_start(self) -> bool:
        return self.cwnd < self.ssthresh

    def on_handshake_loss(self) -> None:
        """A SYN or SYN-ACK had to be sent again: start from one segment (RFC 5681 3.1)."""
        self.cwnd = self.mss

    def on_ack(self, summary: AckSummary, now: Time) -> None:
        """New data was acknowledged outside recovery."""

    def on_loss(self, flight: int, now: Time) -> None:
        """Fast retransmit begins: `flight` bytes were outstanding."""

    def on_duplicate_ack(self) -> None:
        """One more duplicate ACK during recovery without SACK."""

    def on_partial_ack(self, acked: int) -> None:
        """New data was acknowledged during recovery, but not all that was outstanding when it began."""

    def on_recovered(self, flight: int, now: Time) -> None:
        """Recovery is over; `flight` bytes are outstanding."""

    def on_timeout(self, flight: int, first: bool, now: Time) -> None:
        """The retransmission timer expired; `first` is false when it had expired for the same data before."""

    def on_idle(self, now: Time) -> None:
        """Nothing was sent for longer than an RTO: the window says nothing any more (RFC 5681 4.1)."""
        self.cwnd = min(self.cwnd, self.initial_window)
