"""NewReno: slow start and congestion avoidance (RFC 5681).

Below `ssthresh` the window grows by what each ACK acknowledges, at most one segment an ACK; above it, by one
segment for each window's worth acknowledged, counted in bytes (RFC 5681 3.1). A loss halves what is in flight. How the
window moves during fast recovery is not the controller's: see `stack.tcp.prr` and `stack.tcp.inflation`.
"""

from __future__ import annotations

from stack.tcp.congestion.base import AckSummary, CongestionControl
from stack.wire.compiling import mypyc_attr
from stack.wire.units import Time


# RFC 9293 MUST-19, RFC5681-02
@mypyc_attr(allow_interpreted_subclasses=True)
class NewReno(CongestionControl):
    """RFC 5681."""

    __slots__ = ("_credit",)

    name = "newreno"

    def __init__(self, mss: int) -> None:
        super().__init__(mss)
        self._credit = 0  # bytes acknowledged towards the next increment in congestion avoidance

    # RFC5681-03, RFC5681-05, RFC5681-10, RFC5681-11, RFC5681-12, RFC5681-13, RFC5681-14
    def on_ack(self, summary: AckSummary, now: Time) -> None:
        if summary.app_limited:
            return
        if self.in_slow_start:
            # RFC 5681 3.1, equation 2: at most one segment an ACK, so that dividing ACKs gains nothing.
            self.cwnd += summary.acked if self.counts_fully else min(summary.acked, self.mss)
            return
        self._credit += summary.acked
        if self._credit >= self.cwnd:
            self._credit -= self.cwnd
            self.cwnd += self.mss

    def on_loss(self, flight: int, now: Time) -> None:
        super().on_loss(flight, now)
        self._credit = 0

    def on_timeout(self, flight: int, first: bool, now: Time) -> None:
        super().on_timeout(flight, first, now)
        self._credit = 0
