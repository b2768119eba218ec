"""What a repair goes back to if it turns out to have been for nothing, and what tells whether it was.

Made when a repair begins. It keeps the window of before, and which segments the repair has sent again. The peer's
timestamps show which transmission it answers (Eifel, RFC 3522); its D-SACKs, that what was sent again had arrived
already (RFC 2883, RFC 3708). When to look, and what follows, is `stack.tcp.repair`'s.
"""

from __future__ import annotations

from stack.tcp.recovery import Recovery, Sent
from stack.tcp.timestamps import TICK
from stack.wire.units import Time


class Undo:
    """The latest repair's."""

    __slots__ = (
        "_first_resent",
        "_first_tick",
        "_missing",
        "cwnd",
        "of_recovery",
        "resent",
        "ssthresh",
        "una",
        "until",
    )

    def __init__(self, una: int, cwnd: int, ssthresh: int) -> None:
        self.una = una  # SND.UNA when the repair began; -1: it can't be undone any more
        self.cwnd = cwnd
        self.ssthresh = ssthresh
        self.of_recovery = False  # whether it was a fast recovery, and not a time-out
        self.until = 0  # SND.NXT when the repair was over: an ACK beyond it says no more about the repair
        self.resent: dict[int, tuple[int, int]] = {}  # what `_missing` counts: start, end and how often
        self._missing = 0  # octets sent again, less those that the peer says it had
        self._first_resent = -1  # what this repair sent again first, and in which tick of our clock; -1: nothing yet
        self._first_tick = -1

    @property
    def has_resent(self) -> bool:
        return self._first_tick >= 0

    @property
    def all_came_twice(self) -> bool:
        """Whether the peer had everything that was sent again."""
        return self._first_tick >= 0 and self._missing == 0

    def answers_original(self, una: int, echo_tick: int) -> bool:
        """Whether an ACK that moves `una`, and echoes a tick of our clock, is for what this repair sent again first.

        It must be that: an ACK for a retransmission of the repair before also echoes a tick from before this one, and
        says nothing about it.
        """
        return una == self._first_resent and 0 <= echo_tick < self._first_tick

    def on_resent(self, record: Sent, records: Recovery, mss: int, now: Time) -> None:
        """A record leaves again. Each segment of it counts by itself: so the peer reports what it has twice."""
        self._missing += record.size
        start = record.start
        while start < record.end:
            end = start + mss
            if end + (record.end > records.fin) >= record.end:
                end = record.end
            _, times = self.resent.get(start, (0, 0))
            self.resent[start] = end, times + 1
            start = end
        if self._first_tick < 0:
            self._first_resent = record.start
            self._first_tick = now // TICK

    def take_back(self, left: int, right: int) -> bool:
        """The peer has [left, right) twice. What of it was not sent again, the network has doubled (RFC 3708 3).

        Returns whether that begins with something that was sent again.
        """
        start = left
        found = start in self.resent
        while start in self.resent:
            end, times = self.resent[start]
            if end > right:
                break
            if times > 1:
                self.resent[start] = end, times - 1
            else:
                del self.resent[start]
            self._missing -= end - start
            start = end
        return found
