"""Samples of the delivery rate: how fast the path really carries our data (draft-cheng-iccrg-delivery-rate-estimation).

Each transmission notes how much had been delivered when it left, and when; its acknowledgment then tells how much was
delivered in between. The interval is the longer of what it took to send that much and to have it acknowledged, for
ACKs bunch up and sending may pause. A sample taken while the application had nothing to send is marked: it says only
that the path is at least so fast.
"""

from __future__ import annotations

from stack.tcp.recovery import Sent
from stack.wire.units import SECOND, Duration, Time


class DeliveryRate:
    """`delivered` bytes in all, and the rate that the latest ACK showed (bytes a second; -1: none)."""

    __slots__ = (
        "_app_limited_until",
        "_best",
        "_delivered_at",
        "_first_sent_at",
        "delivered",
        "is_app_limited",
        "rate",
    )

    def __init__(self) -> None:
        self.delivered = 0
        self.rate = -1
        self.is_app_limited = False
        self._delivered_at: Time = 0
        self._first_sent_at: Time = 0
        self._app_limited_until = 0
        self._best: Sent | None = None

    def on_sent(self, record: Sent, pipe_before: int, now: Time) -> None:
        """A record leaves, for the first time or again."""
        if pipe_before <= 0:
            self._first_sent_at = self._delivered_at = now
        record.delivered = self.delivered
        record.delivered_at = self._delivered_at
        record.first_sent_at = self._first_sent_at
        record.app_limited = self._app_limited_until > 0

    def on_app_limited(self, pipe: int) -> None:
        """Nothing more to send while the window would let it: what is out now gives lower bounds only."""
        self._app_limited_until = max(self.delivered + pipe, 1)

    def on_delivered(self, record: Sent) -> None:
        """A record was acknowledged or reported: the one sent last gives the sample."""
        best = self._best
        if (
            best is None
            or record.delivered > best.delivered
            or (record.delivered == best.delivered and record.sent_at > best.sent_at)
        ):
            self._best = record

    def sample(self, delivered: int, min_rtt: Duration, now: Time) -> None:
        """The ACK has been taken in; `delivered` bytes came of it."""
        self.rate = -1
        if delivered <= 0:
            return
        self.delivered += delivered
        self._delivered_at = now
        if self._app_limited_until and self.delivered > self._app_limited_until:
            self._app_limited_until = 0
        record, self._best = self._best, None
        if record is None:
            return
        self._first_sent_at = record.sent_at
        self.is_app_limited = record.app_limited
        interval = max(record.sent_at - record.first_sent_at, now - record.delivered_at)
        if interval > 0 and interval >= min_rtt:
            self.rate = (self.delivered - record.delivered) * SECOND // interval
