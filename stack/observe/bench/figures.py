"""Which samples make a figure, and what it is compared with.

A row has the median of this stack's samples with their range, the median of the ceiling's, and the ratio of the two
medians. Samples of all contenders are taken in turn, so a machine that is slow for a minute is slow for all of them.

The ceilings are checked against each other, too: on one machine or the next, the loop and the forwarder stand in much
the same relation. Where they do not, something about the run is odd (another load on the machine, one core, a kernel
without offloads), and its ratios say less.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from stack.observe.bench.samples import LOADS, steps

Sample = dict[str, Any]
Series = tuple[str, str]
"""A contender and a load."""

CONTENDERS = ("ours", "loop", "forward")
MOST_OFF = 0.3  #: What the ceilings' relation may be off.
LONG = 3  #: Runs at most of what takes ten seconds and varies little.


def rate(sample: Sample) -> float:
    return float(sample["bytes"] / sample["seconds"] / 1e6)


def often(sample: Sample) -> float:
    return float(sample["count"] / sample["seconds"])


def cpu(sample: Sample) -> float:
    return float(sample["cpu"] / (sample["bytes"] / 1e9))


def part(name: str, factor: float = 1.0) -> Callable[[Sample], float]:
    """A value that the sample has, in other units."""
    return lambda sample: float(sample[name] * factor)


@dataclass(frozen=True, slots=True)
class Figure:
    """A row of the table."""

    name: str
    unit: str
    load: str
    value: Callable[[Sample], float]
    ceiling: str = ""  #: the contender, "" for none
    basis: Callable[[Sample], float] | None = None  #: without such a contender: a value of the same samples
    group: str = ""  #: another name, which several have


FIGURES = (
    Figure("recv", "MB/s", "recv", rate, "forward"),
    Figure("send", "MB/s", "send", rate, "forward"),
    Figure("bidirectional", "MB/s", "bidirectional", rate, "forward"),
    Figure("recv-8", "MB/s", "recv-8", rate, "forward"),
    Figure("send-8", "MB/s", "send-8", rate, "forward"),
    Figure("recv-plain", "MB/s", "recv-plain", rate, "loop"),
    Figure("send-plain", "MB/s", "send-plain", rate, "loop"),
    Figure("latency", "1/s", "latency", often, "loop"),
    Figure("latency-p50", "us", "latency", part("p50", 1e6), "loop", group="latency"),
    Figure("latency-p99", "us", "latency", part("p99", 1e6), "loop", group="latency"),
    Figure("busy-recv-p99", "us", "busy-recv", part("p99", 1e6), "forward", group="busy"),
    Figure("busy-send-p99", "us", "busy-send", part("p99", 1e6), "forward", group="busy"),
    Figure("connections-1", "1/s", "connections-1", often, "forward", group="connections"),
    Figure("connections-32", "1/s", "connections-32", often, "forward", group="connections"),
    Figure("cpu-recv", "s/GB", "recv", cpu, "loop", group="cpu"),
    Figure("cpu-send", "s/GB", "send", cpu, "loop", group="cpu"),
    Figure("memory", "bytes", "memory", part("each")),
)


def scale_figures(flows: int) -> Iterator[Figure]:
    """The rows of `scale`, whose numbers depend on how many flows there are at most."""
    few, *more, most = (str(number) for number in steps(flows))
    basis = part(few, 1e6)
    for number in (few, *more):
        yield Figure(f"scale-{number}", "us/packet", "scale", part(number, 1e6), basis=basis, group="scale")
    yield Figure("scale", "us/packet", "scale", part(most, 1e6), basis=basis)
    yield Figure("idle-cpu", "ms/s", "scale", part("idle", 1e3), group="scale")
    yield Figure("lag-p99", "ms", "scale", lambda sample: float(sample["lag"]["p99"] * 1e3), group="scale")


@dataclass(frozen=True, slots=True)
class Relation:
    """What two ceilings should be to each other: the loop's value over the forwarder's."""

    load: str
    unit: str
    value: Callable[[Sample], float]
    usual: float  #: as measured when the design was made


RELATIONS = (
    Relation("recv", "MB/s", rate, 1.3),
    Relation("recv-plain", "MB/s", rate, 0.74),
    Relation("latency", "1/s", often, 2.1),
)


@dataclass(frozen=True, slots=True)
class Compared:
    """What the two ceilings are, as medians: where their relation is off, this says whose fault it may be."""

    relation: Relation
    loop: float
    forwarder: float

    @property
    def value(self) -> float:
        """What they are to each other."""
        return self.loop / self.forwarder

    @property
    def is_off(self) -> bool:
        """Whether that is another relation than it should be."""
        return not 1 - MOST_OFF <= self.value / self.relation.usual <= 1 + MOST_OFF

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.relation.load,
            "unit": self.relation.unit,
            "loop": rounded(self.loop),
            "forwarder": rounded(self.forwarder),
            "loop_over_forwarder": rounded(self.value),
            "usual": self.relation.usual,
            "good": not self.is_off,
        }


@dataclass(slots=True)
class Results:
    """All samples of a run, and the rows that they make."""

    figures: tuple[Figure, ...]
    ceilings: bool = True  #: whether their programs are there
    helper: bool = True  #: whether connections.c is compiled: without it those of `connections` would be Python's speed
    samples: dict[Series, list[Sample]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def series(self) -> list[Series]:
        """What is to be measured, contenders of a load one after the other."""
        wanted = {("ours", figure.load) for figure in self.figures}
        if self.ceilings:
            wanted |= {(figure.ceiling, figure.load) for figure in self.figures if figure.ceiling}
            named = {figure.name for figure in self.figures}
            wanted |= {(who, each.load) for each in RELATIONS if each.load in named for who in ("loop", "forward")}
        if not self.helper:
            wanted -= {("forward", name) for name, load in LOADS.items() if load.asked == "connections"}
        loads = list(dict.fromkeys(figure.load for figure in self.figures))
        return sorted(wanted, key=lambda series: (loads.index(series[1]), CONTENDERS.index(series[0])))

    def plan(self, runs: int) -> list[Series]:
        """The same, run by run, every other run with the contenders the other way round."""
        forth = self.series()
        groups = [
            [series for series in forth if series[1] == load] for load in dict.fromkeys(load for _, load in forth)
        ]
        back = [series for group in groups for series in reversed(group)]
        return [
            series
            for run in range(runs)
            for series in (back if run % 2 else forth)
            if run < LONG or series[1] not in ("memory", "scale")
        ]

    def add(self, series: Series, sample: Sample) -> None:
        self.samples.setdefault(series, []).append(sample)

    def values(self, contender: str, load: str, value: Callable[[Sample], float]) -> list[float]:
        return [value(sample) for sample in self.samples.get((contender, load), [])]

    def complaints(self) -> list[tuple[str, str]]:
        """What this stack's process said on its standard error, by load; it should have nothing to say there."""
        found = [
            (load, one.get("said", "")) for (who, load), taken in self.samples.items() for one in taken if who == "ours"
        ]
        return list(dict.fromkeys(pair for pair in found if pair[1]))

    def rows(self) -> list[Row]:
        """A row for each figure; one that could not be measured has no numbers."""
        rows = []
        for figure in self.figures:
            ours = self.values("ours", figure.load, figure.value)
            if figure.basis is not None:
                ceiling = self.values("ours", figure.load, figure.basis)
            else:
                ceiling = self.values(figure.ceiling, figure.load, figure.value)
            rows.append(Row(figure, ours, ceiling))
        return rows

    def relations(self) -> list[Compared]:
        """Those of which both sides were measured."""
        found = []
        for relation in RELATIONS:
            loop = self.values("loop", relation.load, relation.value)
            forward = self.values("forward", relation.load, relation.value)
            if loop and forward:
                found.append(Compared(relation, statistics.median(loop), statistics.median(forward)))
        return found


@dataclass(frozen=True, slots=True)
class Row:
    """A figure with its numbers."""

    figure: Figure
    ours: list[float]
    ceilings: list[float]

    @property
    def value(self) -> float:
        """The median, or NaN."""
        return statistics.median(self.ours) if self.ours else math.nan

    @property
    def ceiling(self) -> float:
        """Its median, or NaN."""
        return statistics.median(self.ceilings) if self.ceilings else math.nan

    @property
    def ratio(self) -> float:
        """NaN where there is nothing to compare with."""
        return self.value / self.ceiling if self.ceiling else math.nan

    def as_dict(self) -> dict[str, Any]:
        """For JSON; what there is not is None."""
        numbers = {
            "value": self.value,
            "ceiling": self.ceiling,
            "ratio": self.ratio,
            "min": min(self.ours, default=math.nan),
            "max": max(self.ours, default=math.nan),
        }
        known = {name: None if math.isnan(number) else rounded(number) for name, number in numbers.items()}
        return {"name": self.figure.name, "value": known.pop("value"), "unit": self.figure.unit, **known}


def rounded(number: float) -> float:
    """To five figures: nothing here is more exact."""
    return float(f"{number:.5g}")


def choose(names: Collection[str], flows: int) -> tuple[Figure, ...]:
    """The figures of these names or groups, all for none. Raises `ValueError` for a name that nothing has."""
    every = (*FIGURES, *scale_figures(flows))
    known = {name for figure in every for name in (figure.name, figure.group) if name}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"there is no figure {', '.join(unknown)}; there are {', '.join(f.name for f in every)}")
    return tuple(figure for figure in every if not names or figure.name in names or figure.group in names)
