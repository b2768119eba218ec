"""RACK: loss detection by time (RFC 8985 6).

The peer's reports tell which transmission it received last, in the order in which we sent them. Whatever we sent
earlier than that, and is still missing, is lost, unless the path reorders. So:

    RACK.segment   the delivered transmission that was sent last: (xmit_at, end)
    RACK.rtt       how long it took
    reo_wnd        how much later than RACK.segment an earlier one may come

A record is lost when it was sent before RACK.segment and RACK.rtt + reo_wnd have passed since. For those whose time has
not come a timer is set. The window is 0 until reordering is seen, once there is evidence of loss (three segments
reported, or recovery under way); else it starts at a quarter of the least round trip, widens by as much with each round
trip in which a D-SACK tells that we were too hasty, at most to SRTT, and narrows after 16 recoveries without one.

It works on retransmissions, on the tail of a flight and under reordering, where counting duplicates does not.
"""

from __future__ import annotations

from stack.tcp.recovery import Recovery, Sent
from stack.tcp.rtt import RttEstimator
from stack.tcp.timestamps import TICK
from stack.wire.units import NEVER, Duration, Time

DUPLICATE_THRESHOLD = 3  #: Segments reported that are evidence of a loss (RFC 8985 3.3.2, RFC 5681 3.2).
PERSISTENCE = 16  #: Recoveries after which a widened window is forgotten.


class Rack:
    """RACK's variables for one connection; numbers as in the sender."""

    __slots__ = (
        "_dsack_round",
        "_end",
        "_highest_delivered",
        "_multiplier",
        "_persist",
        "_rtt",
        "_xmit_at",
        "reordering_extent",
        "reordering_seen",
        "reordering_segments",
    )

    def __init__(self) -> None:
        self._xmit_at: Time = -1
        self._end = 0
        self._rtt: Duration = 0
        self._highest_delivered = 0  # RACK.fack
        self.reordering_seen = False
        self.reordering_segments = 0  # how many came after one that was sent later
        self.reordering_extent = 0  # octets from one of those to the end of what had come before it, at most
        self._multiplier = 1
        self._persist = 0
        self._dsack_round = -1  # SND.NXT when the window was last widened; -1: not in this round

    # RFC8985-07
    def on_delivered(self, record: Sent, rtt: RttEstimator, echo_tick: int, now: Time) -> None:
        """One more record was acknowledged or reported (6.2, steps 1 to 3).

        `echo_tick` is the tick in which we sent what the peer's timestamp echoes, or -1: it says nothing (the ACK that
        reports out-of-order data echoes what came in order before, RFC 7323 4.3).
        """
        if record.transmissions == 1:
            if record.end < self._highest_delivered:
                self.reordering_seen = True
                self.reordering_segments += 1
                self.reordering_extent = max(self.reordering_extent, self._highest_delivered - record.start)
            else:
                self._highest_delivered = record.end
        took = now - record.sent_at
        if record.transmissions > 1 and (took < rtt.minimum or 0 <= echo_tick < record.sent_at // TICK):
            return  # the ACK is for an earlier transmission of it
        if record.transmissions > 1:
            self._highest_delivered = max(self._highest_delivered, record.end)
        self._rtt = took  # also of one that was sent earlier: it tells how late the others may be
        if (record.sent_at, record.end) > (self._xmit_at, self._end):
            self._xmit_at, self._end = record.sent_at, record.end

    # RFC8985-04
    def on_dsack(self, snd_una: int, snd_nxt: int) -> None:
        """The peer received something twice: the window was too narrow, at most once a round trip (6.2, step 4)."""
        if self._dsack_round < 0 or snd_una >= self._dsack_round:
            self._dsack_round = snd_nxt
            self._multiplier += 1
            self._persist = PERSISTENCE

    # RFC8985-04
    def on_recovered(self) -> None:
        """A recovery is over; after enough of them the window narrows again."""
        if self._persist > 0:
            self._persist -= 1
            if self._persist == 0:
                self._multiplier = 1

    # RFC8985-03, RFC8985-05
    def reordering_window(self, recovery: Recovery, rtt: RttEstimator, *, repairing: bool) -> Duration:
        """RACK.reo_wnd (6.2, step 4)."""
        if not self.reordering_seen and (repairing or recovery.sacked_segments >= DUPLICATE_THRESHOLD):
            return 0
        return min(self._multiplier * max(rtt.minimum, 0) // 4, max(rtt.srtt, 0))

    # RFC8985-08, RFC8985-09
    def detect(self, recovery: Recovery, window: Duration, now: Time) -> tuple[bool, Time]:
        """Mark what is lost (6.2, step 5). Returns whether anything was, and when to look again, or NEVER."""
        found = False
        allowed = self._rtt + window
        for record in recovery.earliest_transmissions():
            if (record.sent_at, record.end) >= (self._xmit_at, self._end):
                break
            if now - record.sent_at < allowed:
                return found, record.sent_at + allowed
            recovery.mark_lost(record)
            found = True
        return found, NEVER

    # RFC6675-13, RFC8985-16
    def mark_timed_out(self, recovery: Recovery, window: Duration, now: Time) -> None:
        """The retransmission timer expired (6.3): the first is lost, and whatever has had its time."""
        first = recovery.first
        for record in recovery:
            if record is first or now - record.sent_at >= self._rtt + window:
                recovery.mark_lost(record)
