"""NewReno: slow start, congestion avoidance, fast recovery (RFC 5681, RFC 6582).

Below `ssthresh` the window grows by what each ACK acknowledges, at most one segment an ACK; above it, by one
segment for each window's worth acknowledged, counted in bytes (RFC 5681 3.1). Three duplicate ACKs halve it. In
fast recovery every further duplicate ACK says that a segment has left the network, and inflates the window by one
segment; a partial ACK deflates it by what it acknowledges; the full ACK brings it down to `ssthresh`.
"""

from __future__ import annotations

from stack.tcp.congestion.base import AckSummary, CongestionControl
from stack.wire.units import Time


class NewReno(CongestionControl):
    """RFC 5681 with RFC 6582's modification of fast recovery."""

    __slots__ = ("_ceiling", "_credit")

    name = "newreno"

    def __init__(self, mss: int) -> None:
        super().__init__(mss)
        self._credit = 0  # bytes acknowledged towards the next increment in congestion avoidance
        self._ceiling = 0  # of the inflation in recovery

    def on_ack(self, summary: AckSummary, now: Time) -> None:
        if summary.app_limited:
            return
        if self.in_slow_start:
            # RFC 5681 3.1, equation 2: at most one segment an ACK, so that dividing ACKs gains nothing.
            self.cwnd += min(summary.acked, self.mss)
            return
        self._credit += summary.acked
        if self._credit >= self.cwnd:
            self._credit -= self.cwnd
            self.cwnd += self.mss

    def on_loss(self, flight: int, now: Time) -> None:
        self.ssthresh = max(flight // 2, 2 * self.mss)  # RFC 5681 3.1, equation 4
        self.cwnd = self.ssthresh + 3 * self.mss
        # RFC 5681 3.2, step 4: no more segments can have left than were there, however many duplicates claim it.
        self._ceiling = self.ssthresh + flight
        self._credit = 0

    def on_duplicate_ack(self) -> None:
        self.cwnd = max(self.cwnd, min(self.cwnd + self.mss, self._ceiling))

    def on_partial_ack(self, acked: int) -> None:
        # RFC 6582 3.2, step 3: deflate by what was acknowledged, add one segment back if that was at least one.
        self.cwnd = max(self.cwnd - acked, 0) + (self.mss if acked >= self.mss else 0)
        self.cwnd = max(self.cwnd, self.mss)

    def on_recovered(self, flight: int, now: Time) -> None:
        # RFC 6582 3.2, step 3, first choice: no burst of new data when little is in flight.
        self.cwnd = min(self.ssthresh, max(flight, self.mss) + self.mss)

    def on_timeout(self, flight: int, first: bool, now: Time) -> None:
        # RFC 5681 3.1: ssthresh is not lowered again when the same data times out again.
        if first:
            self.ssthresh = max(flight // 2, 2 * self.mss)
        self.cwnd = self.mss
        self._credit = 0
