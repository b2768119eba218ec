"""How far the congestion window was used in the last round trip, for stacks that let it grow ahead of its use.

RFC 5681 4.1 and RFC 9438 4.2 want no growth of a window that does not limit the sender. Whether it does is seen from
each attempt to send; Linux looks at a whole round trip: a window that was the limit once counts as used until the
round is over, and in slow start one that is less than twice what was in flight does, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stack.tcp.congestion import CongestionControl

if TYPE_CHECKING:
    from stack.tcp.repair import AckNews


class Usage:
    """The present round trip's."""

    __slots__ = ("_flight", "_limited", "_round_end")

    def __init__(self) -> None:
        self._flight = 0  # the most octets in flight at once
        self._limited = False  # whether the window was what stopped the sender
        self._round_end = 0  # SND.NXT when it began

    def on_ack(self, news: AckNews, congestion: CongestionControl, *, limited: bool) -> bool:
        """Whether the window may grow for this ACK; `limited`: it has stopped the latest attempt to send."""
        flight = news.nxt - news.una
        if news.una >= self._round_end or limited or (not self._limited and flight > self._flight):
            self._limited = limited
            self._flight = flight
            self._round_end = news.nxt
        return self._limited or (congestion.in_slow_start and congestion.cwnd < 2 * self._flight)
