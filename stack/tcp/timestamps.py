"""The timestamps option (RFC 7323): our clock, the peer's latest value, and PAWS.

Our clock ticks in milliseconds (RFC 7323 5.4 allows 1 ms to 1 s) from an offset that depends on the pair of
addresses and a secret, so that it reveals no uptime and yet grows from one connection of the pair to the next,
which a peer's TIME-WAIT needs to let a new one in (RFC 6191).

Values are 32 bits wide and compared modulo 2^32, here and nowhere else.
"""

from __future__ import annotations

from stack.tcp.seq import HALF, MASK
from stack.wire.units import MS, SECOND, Duration, Time

# RFC7323-22
TICK: Duration = MS
# RFC7323-23
EXPIRY: Duration = 24 * 86_400 * SECOND  #: RFC 7323 5.5: after 24 days TS.Recent says nothing any more.


# RFC7323-15
def clock(offset: int, now: Time) -> int:
    """TSval for a segment that leaves now."""
    return (now // TICK + offset) & MASK


def is_older(a: int, b: int) -> bool:
    """Whether timestamp `a` was made before `b`."""
    return (a - b) & MASK >= HALF


class Timestamps:
    """State of the option on one connection that has negotiated it."""

    __slots__ = ("offset", "recent", "recent_at")

    def __init__(self, offset: int, recent: int, now: Time) -> None:
        self.offset = offset
        self.recent = recent  # TS.Recent: what we echo
        self.recent_at = now

    def value(self, now: Time) -> int:
        """TSval for a segment that leaves now."""
        return clock(self.offset, now)

    def elapsed(self, echo: int, now: Time) -> Duration:
        """How long ago we sent the segment that the peer echoes, to the tick; -1 if that can't be."""
        ticks = (self.value(now) - echo) & MASK
        return ticks * TICK if ticks < HALF else -1

    # RFC7323-19, RFC7323-23
    def is_old(self, value: int, now: Time) -> bool:
        """PAWS (RFC 7323 5.3 R1): whether a segment with this TSval is an old duplicate."""
        return is_older(value, self.recent) and now - self.recent_at <= EXPIRY

    # RFC7323-10, RFC7323-17, RFC7323-18
    def on_segment(self, value: int, starts_in_order: bool, now: Time) -> None:
        """Take TSval as TS.Recent when the segment covers Last.ACK.sent (RFC 7323 4.3, 2)."""
        if starts_in_order and (not is_older(value, self.recent) or now - self.recent_at > EXPIRY):
            self.recent = value
            self.recent_at = now
