"""HyStart++: leaving slow start before it overflows the path (RFC 9406).

Slow start doubles until something is lost, and by then a whole window is. A queue that builds up shows earlier, in the
round-trip time: when the least of a round has grown by an eighth over the round before, slow start becomes
*conservative*: the window grows at a quarter of the pace for five rounds. If the delay then falls again, it was noise
and slow start goes on; else congestion avoidance begins where the window stands.
"""

from __future__ import annotations

from stack.wire.units import MS, Duration

MIN_RTT_THRESH: Duration = 4 * MS  #: RFC 9406 4.3, like all that follow.
MAX_RTT_THRESH: Duration = 16 * MS
MIN_RTT_DIVISOR = 8
N_RTT_SAMPLE = 8
CSS_GROWTH_DIVISOR = 4
CSS_ROUNDS = 5
L = 8  #: Segments that one ACK may add without pacing.


class HyStart:
    """Rounds and their least round-trip times, during the first slow start of a connection."""

    __slots__ = ("_baseline", "_css_rounds", "_current", "_last", "_round_end", "_samples", "in_css")

    def __init__(self) -> None:
        self.in_css = False
        self._round_end = -1  # SND.NXT when this round began; -1: the first has not
        self._last: Duration = -1
        self._current: Duration = -1
        self._samples = 0
        self._baseline: Duration = -1
        self._css_rounds = 0

    # RFC9406-01, RFC9406-02, RFC9406-03, RFC9406-05
    def on_ack(self, ack: int, snd_nxt: int, rtt: Duration) -> bool:
        """New data was acknowledged; true when slow start must end now."""
        if rtt >= 0:
            self._samples += 1
            if self._current < 0 or rtt < self._current:
                self._current = rtt
        if self.in_css:
            if self._samples >= N_RTT_SAMPLE and self._current < self._baseline:
                self.in_css = False  # the delay was not from a queue of ours
                self._baseline = -1
        elif self._samples >= N_RTT_SAMPLE and self._last >= 0:
            threshold = max(MIN_RTT_THRESH, min(self._last // MIN_RTT_DIVISOR, MAX_RTT_THRESH))
            if self._current >= self._last + threshold:
                self.in_css = True
                self._baseline = self._current
                self._css_rounds = 0
        if self._round_end < 0:
            self._round_end = snd_nxt  # a lone ACK makes no round
        elif ack >= self._round_end:
            return self._on_round(snd_nxt)
        return False

    # RFC9406-02, RFC9406-05
    def _on_round(self, snd_nxt: int) -> bool:
        self._round_end = snd_nxt
        self._last = self._current
        self._current = -1
        self._samples = 0
        if self.in_css:
            self._css_rounds += 1
            if self._css_rounds >= CSS_ROUNDS:
                return True
        return False

    # RFC9406-04, RFC9406-07
    def growth(self, acked: int, mss: int, *, at_once: bool) -> int:
        """How much the window grows in slow start for `acked` bytes; `at_once`: all of them may count."""
        allowed = acked if at_once else min(acked, L * mss)
        return allowed // CSS_GROWTH_DIVISOR if self.in_css else allowed
