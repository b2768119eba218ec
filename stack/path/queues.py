"""Who may wait at a bottleneck, and who is dropped or marked there.

Two kinds of discipline differ in when they decide. Drop-tail and RED look at a packet that arrives; since the queue is
first in, first out, its whole way is then known. CoDel looks at a packet that is about to leave, when it knows how long
it has waited; so its queue has to be played through (see `stack.path.pipe`).
"""

from __future__ import annotations

from math import isqrt

from stack.path.config import PathConfig
from stack.path.loss import Draw
from stack.wire.units import NEVER, SECOND, Duration, Time

PASS, MARK, DROP = 0, 1, 2  #: Verdicts. MARK: congestion; to be marked, and dropped where that can't be.

RED_WEIGHT = 0.002  #: Floyd and Jacobson 1993, 11: of the present queue in the moving average.


class DropTail:
    """Drops what finds the queue full."""

    __slots__ = ("limit_bytes", "limit_packets")

    def __init__(self, config: PathConfig) -> None:
        self.limit_bytes = config.limit_bytes
        self.limit_packets = config.queue_packets

    def on_arrival(self, size: int, queued_bytes: int, queued_packets: int, now: Time, draw: Draw) -> int:
        """The verdict on a packet of `size` bytes that finds so much waiting; PASS or DROP."""
        if self.limit_packets and queued_packets >= self.limit_packets:
            return DROP
        # A packet larger than the whole queue fits when nothing else waits, or it would never pass.
        if self.limit_bytes and queued_bytes + size > self.limit_bytes and queued_packets:
            return DROP
        return PASS


class Red(DropTail):
    """Random Early Detection in its gentle form: the longer the mean queue, the likelier a mark.

    The chance grows from 0 at `red_min` of the queue's room to `red_chance` at `red_max`, then to 1 at twice that. On
    the first part of the ramp marks are spread evenly: with a chance of p, the next one comes 1 to 1/p packets later,
    each equally likely.
    """

    __slots__ = ("_average", "_chance", "_count", "_idle_since", "_interval", "_max", "_min")

    def __init__(self, config: PathConfig) -> None:
        super().__init__(config)
        room = self.limit_bytes or self.limit_packets * 1500
        self._min = config.red_min * room
        self._max = config.red_max * room
        self._chance = config.red_chance
        # How long a typical packet takes: so many of them could have left while nothing waited.
        self._interval: Duration = max(1500 * 8 * SECOND // config.rate, 1)
        self._average = 0.0
        self._count = 0  # packets since the last mark
        self._idle_since: Time = 0

    def on_arrival(self, size: int, queued_bytes: int, queued_packets: int, now: Time, draw: Draw) -> int:
        self._measure(queued_bytes, now)
        if super().on_arrival(size, queued_bytes, queued_packets, now, draw) == DROP:
            self._count = 0
            return DROP
        chance = self._ramp()
        if chance <= 0:
            self._count = 0
            return PASS
        if chance >= 1:
            return DROP
        if chance > self._chance:
            return MARK if draw() < chance else PASS
        if draw() * (1 - self._count * chance) < chance:
            self._count = 0
            return MARK
        self._count += 1
        return PASS

    def _measure(self, queued_bytes: int, now: Time) -> None:
        if queued_bytes:
            self._average += RED_WEIGHT * (queued_bytes - self._average)
            self._idle_since = NEVER
        elif self._idle_since == NEVER:
            self._average += RED_WEIGHT * (0 - self._average)
            self._idle_since = now
        else:
            self._average *= _power(1 - RED_WEIGHT, (now - self._idle_since) // self._interval)
            self._idle_since = now

    def _ramp(self) -> float:
        average = self._average
        if average < self._min:
            return 0.0
        if average < self._max:
            return self._chance * (average - self._min) / (self._max - self._min)
        return self._chance + (1 - self._chance) * (average - self._max) / self._max


class CoDel:
    """Controlled Delay (RFC 8289): drops from the head when packets have waited longer than `target` for `interval`.

    The names are the RFC's, 5.3 to 5.6. Its control law, interval / sqrt(count), is computed in integers.
    """

    __slots__ = ("_count", "_drop_next", "_dropping", "_first_above", "_interval", "_last_count", "_target")

    def __init__(self, config: PathConfig) -> None:
        self._target = config.codel_target
        self._interval = max(config.codel_interval, 1)
        self._first_above: Time = 0
        self._drop_next: Time = 0
        self._count = 0
        self._last_count = 0
        self._dropping = False

    def on_departure(self, waited: Duration, queued_bytes: int, largest: int, now: Time) -> int:
        """The verdict on the packet at the head: PASS or MARK.

        `queued_bytes` wait behind it, and `largest` is the longest packet ever seen here: less than that much waiting
        is no standing queue. After a MARK that became a drop, the next packet is asked about at the same time.
        """
        above = self._is_above(waited, queued_bytes, largest, now)
        if self._dropping:
            if not above:
                self._dropping = False
            elif now >= self._drop_next:
                self._count += 1
                self._drop_next = self._control_law(self._drop_next)
                return MARK
        elif above:
            self._dropping = True
            # Where the last dropping state ended a short while ago, go on at the rate that worked then.
            delta = self._count - self._last_count
            recent = now - self._drop_next < 16 * self._interval
            self._count = delta if delta > 1 and recent else 1
            self._drop_next = self._control_law(now)
            self._last_count = self._count
            return MARK
        return PASS

    def on_empty(self) -> None:
        """Nothing waits any more."""
        self._first_above = 0
        self._dropping = False

    def _is_above(self, waited: Duration, queued_bytes: int, largest: int, now: Time) -> bool:
        if waited < self._target or queued_bytes <= largest:
            self._first_above = 0
            return False
        if not self._first_above:
            self._first_above = now + self._interval
            return False
        return now >= self._first_above

    def _control_law(self, start: Time) -> Time:
        return start + isqrt(self._interval * self._interval // self._count)


def _power(base: float, exponent: int) -> float:
    """`base` to a whole power by multiplications alone, which every machine rounds alike."""
    result = 1.0
    while exponent and base:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result
