"""CUBIC (RFC 9438): a window that grows by the time since the last loss, not by the round-trip time.

    W_cubic(t) = C * (t - K)^3 + W_max        K = cube root of ((W_max - cwnd_epoch) / C)

The curve rises fast after a loss, is flat around W_max, where the loss was, and then probes beyond it faster and
faster. Where Reno would be ahead (short round trips, small windows) the window follows W_est, an estimate of Reno's.
Slow start is HyStart++'s (RFC 9406) until it ends for the first time.

All in integers, so that every machine computes the same window: bytes, and milliseconds for t and K.
"""

from __future__ import annotations

from stack.tcp.congestion.base import AckSummary, CongestionControl
from stack.tcp.congestion.hystart import HyStart
from stack.wire.compiling import mypyc_attr
from stack.wire.units import MS, Time

BETA_NUMERATOR, BETA_DENOMINATOR = (7, 10)  #: RFC 9438 4.6: what a loss leaves of the window.
# RFC9438-12
C_TENTHS = 4  #: RFC 9438 5.1: C = 0.4 segments a second cubed.
CUBED = 10 * 1000**3  #: Tenths, and milliseconds cubed in a second cubed.
ALPHA_NUMERATOR, ALPHA_DENOMINATOR = (9, 17)  #: RFC 9438 4.3: 3 * (1 - beta) / (1 + beta).


# RFC 9293 MAY-18
@mypyc_attr(allow_interpreted_subclasses=True)
class Cubic(CongestionControl):
    """RFC 9438 with HyStart++."""

    __slots__ = (
        "_alpha_is_one",
        "_credit",
        "_cwnd_prior",
        "_epoch",
        "_hystart",
        "_k",
        "_last_ack_at",
        "_saved",
        "_saved_hystart",
        "_w_est",
        "_w_est_credit",
        "_w_max",
    )

    name = "cubic"

    def __init__(self, mss: int) -> None:
        super().__init__(mss)
        self._hystart: HyStart | None = HyStart()
        self._w_max = 0
        self._k = 0  # ms
        self._epoch: Time = -1  # when this congestion-avoidance stage began; -1: at the next ACK
        self._cwnd_prior = 0  # the window before the latest reduction
        self._w_est = 0
        self._w_est_credit = 0
        self._alpha_is_one = False
        self._credit = 0
        self._last_ack_at: Time = 0
        self._saved = (0, 0, 0, -1, 0, False)  # what an undone loss gives back
        self._saved_hystart: HyStart | None = None

    # Inputs.

    # RFC9438-01, RFC9438-06
    def on_ack(self, summary: AckSummary, now: Time) -> None:
        if self._epoch >= 0 and summary.app_limited:
            self._epoch += now - self._last_ack_at  # RFC 9438 4.2: time in which the window went unused doesn't count
        self._last_ack_at = now
        if self.in_slow_start:
            self._slow_start(summary)
        elif not summary.app_limited:
            self._avoid_congestion(summary, now)

    def on_loss(self, flight: int, now: Time) -> None:
        self._reduce(flight)

    # RFC9406-08, RFC9438-09
    def on_timeout(self, flight: int, first: bool, now: Time) -> None:
        if first:
            self._reduce(flight)
        # RFC 9438 4.8: what follows slow start begins at its window, without a memory of the one before.
        self._w_max = 0
        self._hystart = None
        self.cwnd = self.mss

    # RFC9438-10
    def on_undo(self, cwnd: int, ssthresh: int, now: Time) -> None:
        super().on_undo(cwnd, ssthresh, now)
        # RFC 9438 4.9.2: as if nothing had happened.
        self._w_max, self._cwnd_prior, self._k, self._epoch, self._w_est, self._alpha_is_one = self._saved
        self._hystart = self._saved_hystart

    def on_idle(self, now: Time) -> None:
        super().on_idle(now)
        self._epoch = -1

    def on_mss(self, mss: int) -> None:
        super().on_mss(mss)
        self._epoch = -1  # the curve begins anew, at this window

    # Slow start.

    # RFC9438-11
    def _slow_start(self, summary: AckSummary) -> None:
        hystart = self._hystart
        if hystart is None:
            if not summary.app_limited:
                self.cwnd += summary.acked if self.counts_fully else min(summary.acked, self.mss)
            return
        ends = hystart.on_ack(summary.una, summary.nxt, summary.rtt)
        if not summary.app_limited:
            self.cwnd += hystart.growth(summary.acked, self.mss, at_once=self.paced or self.counts_fully)
        if ends:
            self.ssthresh = self.cwnd
            self._hystart = None

    # Congestion avoidance.

    # RFC9438-02, RFC9438-04
    def _avoid_congestion(self, summary: AckSummary, now: Time) -> None:
        self._hystart = None
        if self._epoch < 0:
            self._begin_epoch(now)
        self._estimate_reno(summary.acked)
        elapsed = (now - self._epoch) // MS
        if self._curve(elapsed) < self._w_est:
            self.cwnd = max(self.cwnd, self._w_est)  # Reno-friendly region (4.3)
            return
        target = self._curve(elapsed + max(summary.srtt, 0) // MS)
        target = min(max(target, self.cwnd), self.cwnd * 3 // 2)
        # (target - cwnd) / cwnd for every segment acknowledged (4.4, 4.5), in bytes, the remainder kept.
        self._credit += (target - self.cwnd) * summary.acked
        step, self._credit = divmod(self._credit, self.cwnd)
        self.cwnd += step

    # RFC9438-02, RFC9438-09
    def _begin_epoch(self, now: Time) -> None:
        self._epoch = now
        self._credit = self._w_est_credit = 0
        self._w_est = self.cwnd
        self._alpha_is_one = False
        if self._w_max <= self.cwnd:
            self._w_max = self.cwnd
            self._k = 0
        else:
            self._k = cube_root((self._w_max - self.cwnd) * CUBED // (C_TENTHS * self.mss))

    # RFC9438-02
    def _curve(self, elapsed: int) -> int:
        """W_cubic at `elapsed` ms of this epoch, in bytes."""
        return C_TENTHS * self.mss * (elapsed - self._k) ** 3 // CUBED + self._w_max

    # RFC9438-03
    def _estimate_reno(self, acked: int) -> None:
        """W_est grows by alpha segments for each window acknowledged, by one once it is where the loss was (4.3)."""
        if self._w_est >= self._cwnd_prior:
            self._alpha_is_one = True
        if self._alpha_is_one:
            self._w_est_credit += self.mss * acked
            step, self._w_est_credit = divmod(self._w_est_credit, self.cwnd)
        else:
            self._w_est_credit += ALPHA_NUMERATOR * self.mss * acked // ALPHA_DENOMINATOR
            step, self._w_est_credit = divmod(self._w_est_credit, self.cwnd)
        self._w_est += step

    # RFC9406-06, RFC9438-05, RFC9438-06, RFC9438-08
    def _reduce(self, flight: int) -> None:
        """Multiplicative decrease (4.6) with fast convergence (4.7)."""
        self._saved = (self._w_max, self._cwnd_prior, self._k, self._epoch, self._w_est, self._alpha_is_one)
        self._saved_hystart = self._hystart
        window = min(self.cwnd, max(flight, self.mss))  # what was really used (4.6)
        self._cwnd_prior = window
        if window < self._w_max:
            self._w_max = window * (BETA_DENOMINATOR + BETA_NUMERATOR) // (2 * BETA_DENOMINATOR)
        else:
            self._w_max = window
        self.ssthresh = max(window * BETA_NUMERATOR // BETA_DENOMINATOR, 2 * self.mss)
        self._epoch = -1
        self._hystart = None


def cube_root(number: int) -> int:
    """The largest integer whose cube is not above `number`."""
    if number <= 0:
        return 0
    root = 1 << -(-number.bit_length() // 3)  # above the root; Newton's steps come down to it
    while True:
        step = (2 * root + number // (root * root)) // 3
        if step >= root:
            return root
        root = step
