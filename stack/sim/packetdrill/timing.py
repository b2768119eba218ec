"""When an event is due, and whether what happened was in time."""

from __future__ import annotations

from dataclasses import dataclass

from stack.sim.packetdrill.report import Failure
from stack.sim.packetdrill.settings import Settings
from stack.sim.packetdrill.syntax import Call, Direction, Event, IcmpPacket, TcpPacket, UdpPacket, WhenKind
from stack.wire.units import SECOND, Duration


@dataclass(frozen=True, slots=True)
class Moment:
    """From when to when something is due, in the script's time. `any_time`: whenever it happens."""

    start: Duration
    end: Duration
    any_time: bool = False
    tolerance: Duration = 0
    offset: Duration = 0  #: What relative times were counted from.


def is_anchored(event: Event | None) -> bool:
    """Whether a relative time counts from this event's own time, not from the moment when it was over."""
    if event is None or not isinstance(event.action, TcpPacket | UdpPacket | IcmpPacket):
        return False
    return event.action.direction is Direction.IN


class Clock:
    """Gives each event its moment. An event that is late does not move those that follow at absolute times."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._last: Event | None = None
        self._last_start: Duration = 0

    def next(self, event: Event, now: Duration) -> Moment:
        """The moment of the next event."""
        last, when = self._last, event.when
        offset = 0
        if when.kind is not WhenKind.ABSOLUTE:
            both = is_anchored(last) and is_anchored(event)
            offset = self._last_start if both else now
        start = offset + when.start
        end = start if when.end is None else offset + when.end
        since = 0 if last is None else start - self._last_start
        if when.kind is WhenKind.ABSOLUTE and last is not None and last.when.kind is WhenKind.ABSOLUTE and since < 0:
            raise Failure(event.place, "time goes backwards")
        self._last, self._last_start = event, start
        return Moment(start, end, when.kind is WhenKind.ANY, self.tolerance(since), offset)

    def tolerance(self, since: Duration) -> Duration:
        """How far from its time something may be that is due so long after the event before."""
        return max(self._settings.tolerance, round(self._settings.tolerance_share * since))

    def until(self, call: Call, moment: Moment) -> Moment | None:
        """When a call must return; None for one that does not block."""
        if call.until is None:
            return None
        end = call.until + moment.offset
        return Moment(end, end, moment.any_time, self.tolerance(end - moment.start))

    @staticmethod
    def is_in_time(moment: Moment, at: Duration) -> bool:
        return moment.any_time or moment.start - moment.tolerance <= at <= moment.end + moment.tolerance

    def check(self, moment: Moment, at: Duration, event: Event, what: str) -> None:
        """`Failure` unless what happened at `at` was in time."""
        if not self.is_in_time(moment, at):
            raise Failure(event.place, f"{what} happened at {at / SECOND:.6f} s", (moment_words(moment),))


def moment_words(moment: Moment) -> str:
    """When something was due, in words."""
    due = f"{moment.start / SECOND:.6f}"
    if moment.end != moment.start:
        due += f" to {moment.end / SECOND:.6f}"
    return f"due at {due} s, give or take {moment.tolerance / SECOND:.6f} s"
