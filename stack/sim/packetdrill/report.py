"""What became of a script: passed, failed, or not for us; and what a person wants to know of a failure."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stack.sim.ladder import Story
from stack.sim.packetdrill.syntax import Place
from stack.wire.units import SECOND, Duration

if TYPE_CHECKING:
    from stack.host.trace import TraceEvent

Endpoint = tuple[bytes, int]


class Verdict(enum.Enum):
    PASS = "pass"
    FAIL = "fail"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one script. `elapsed` is in nanoseconds of its own time."""

    path: str
    verdict: Verdict
    place: Place | None = None  #: Of what was not as expected, or is not supported.
    message: str = ""
    source: str = ""  #: The text there.
    details: tuple[str, ...] = ()  #: What was expected, what came; lines.
    ladder: tuple[str, ...] = ()  #: All segments up to there; lines.
    printed: tuple[str, ...] = ()  #: What the script's own code has printed; lines.
    elapsed: Duration = 0

    @property
    def passed(self) -> bool:
        return self.verdict is Verdict.PASS

    def lines(self) -> list[str]:
        """For a person: `file:line:column: message`, the line, what was expected and came, the ladder."""
        if self.passed:
            return [f"{self.path}: pass"]
        where = self.path if self.place is None else str(self.place)
        what = "not supported: " if self.verdict is Verdict.UNSUPPORTED else ""
        lines = [f"{where}: {what}{self.message}"]
        lines += [f"    {line.strip()}" for line in self.source.splitlines()]
        lines += [f"    {line}" for line in self.details]
        if self.ladder:
            lines += ["", *self.ladder]
        return lines

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        fields: dict[str, object] = {"path": self.path, "verdict": self.verdict.value, "seconds": self.elapsed / SECOND}
        if self.place is not None:
            fields["line"], fields["column"] = self.place.line, self.place.column
        if self.message:
            fields["message"] = self.message
        if self.details:
            fields["details"] = list(self.details)
        if self.printed:
            fields["printed"] = list(self.printed)
        return fields


@dataclass(frozen=True, slots=True)
class Failure(Exception):  # noqa: N818
    """Something was not as the script has it."""

    place: Place
    message: str
    details: tuple[str, ...] = ()


def ladder(trace: Iterable[TraceEvent], local: Endpoint, remote: Endpoint, beginning: int) -> list[str]:
    """The segments of one connection, with the script's time; nothing where there were none.

    `beginning` is the host's time at the script's time 0.
    """
    story = Story("tcpstack", local, remote)
    story.peer = "script"
    for event in trace:
        if event.local == local and event.remote == remote:
            story.add(event.outgoing, event.segment, str(event.state), event.time - beginning)
    return story.lines() if story.steps else []
