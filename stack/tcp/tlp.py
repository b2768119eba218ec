"""Tail loss probes (RFC 8985 7).

When the last segments of a flight are lost, nothing comes back that could tell. So after two round trips of silence
one segment is sent, new data if there is some, else the last one once more: what the peer answers gives RACK its
evidence, and a time-out with all that follows from it is avoided. A probe that itself repairs the only loss would hide
that there was one; then the window is reduced as for any loss, unless a D-SACK tells that the peer had it already.

Deviation: a probe waits 60 ms at least (`Habits.least_probe_wait`), and RFC 8985 7.2 knows no floor. But a Linux peer
whose application does not read delays its ACKs by 40 ms, also for more than one segment; on a path of microseconds
every such pause would draw a probe for nothing.
"""

from __future__ import annotations

from stack.tcp.habits import RFC
from stack.tcp.rtt import RttEstimator
from stack.wire.units import MS, Duration

WORST_DELAYED_ACK: Duration = 200 * MS  #: RFC 8985 7.2: what a lone segment may have to wait for its ACK.
WITHOUT_RTT: Duration = 1000 * MS  #: RFC 8985 7.2: before there is an estimate.
SLACK: Duration = 2 * MS  #: Trio wakes at whole milliseconds; a probe that is due with the ACK would be for nothing.


class TailLossProbe:
    """The probe that is out, if one is."""

    __slots__ = ("end", "least", "retransmitted", "sampled")

    def __init__(self, least: Duration = RFC.least_probe_wait) -> None:
        self.least = least  # what a probe waits, however short the round trip is
        self.end = -1  # SND.NXT when the probe left; -1: none is out
        self.retransmitted = False
        self.sampled = True  # a round trip was measured since the last probe (7.3)

    # RFC8985-11
    @property
    def may_probe(self) -> bool:
        return self.end < 0 and self.sampled

    # RFC8985-10
    def timeout(self, rtt: RttEstimator, flight: int, mss: int) -> Duration:
        """PTO (7.2)."""
        if rtt.srtt < 0:
            return WITHOUT_RTT
        pto = max(2 * rtt.srtt + SLACK, self.least)
        return pto + WORST_DELAYED_ACK if flight <= mss else pto

    def on_sent(self, end: int, *, retransmitted: bool) -> None:
        """The probe leaves."""
        self.end = end
        self.retransmitted = retransmitted
        self.sampled = False

    # RFC8985-14
    def on_ack(self, ack: int, *, dsack: bool, moved: bool, anything_sacked: bool) -> bool:
        """An ACK came (7.4); true when the probe has repaired a loss that nobody else knows of."""
        if self.end < 0 or ack < self.end:
            return False
        if not self.retransmitted or dsack:
            self.end = -1  # nothing was lost, or the original has arrived as well
            return False
        if moved and ack > self.end:
            self.end = -1
            return True
        if not moved and not anything_sacked:
            self.end = -1  # a duplicate ACK for the probe: the original had arrived
        return False
