"""Runs the soak of `stack.sim.soak` over many seeds on all cores, with a progress bar and a summary.

A worker that never comes back from one seed is interrupted after a while; that counts as a failure of that seed, like
any other, so that a run of a million always ends.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from stack.sim.draw import draw
from stack.sim.ladder import Ladders
from stack.sim.soak import Outcome, Soak, run_seed

CHUNK = 25  #: Seeds that a worker takes at a time.
SHOWN = 20  #: Failures that are told as they come; the summary has them all.


class Hang(BaseException):
    """A seed took longer than anyone will wait. No `Exception`, so that nothing on the way takes it for its own."""


def run_seeds(seeds: range, patience: float) -> list[Outcome]:
    """In a worker: the outcomes of some seeds."""
    return [run_patiently(seed, patience) for seed in seeds]


def run_patiently(seed: int, patience: float) -> Outcome:
    def give_up(number: int, frame: FrameType | None) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, give_up)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, patience)
            return run_seed(seed)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Hang:
        return Outcome(seed, "hang", f"not done after {patience:g} s of real time")


class Summary:
    """What all outcomes come to."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.kinds: Counter[str] = Counter()
        self.failures: list[Outcome] = []
        self.totals: Counter[str] = Counter()
        self.virtual_time = 0.0
        self.slowest = (0.0, -1)  # seconds from the last fault to the end, and the seed
        self.started = time.monotonic()

    @property
    def seeds(self) -> int:
        return self.kinds.total()

    def add(self, outcome: Outcome) -> None:
        figures = outcome.figures
        self.kinds[outcome.kind] += 1
        if not outcome.is_right:
            self.failures.append(outcome)
        for name in ("events", "packets", "lost", "octets", "segments_again"):
            self.totals[name] += getattr(figures, name)
        self.virtual_time += figures.virtual_time
        self.slowest = max(self.slowest, (figures.after_faults, outcome.seed))

    def as_dict(self) -> dict[str, Any]:
        seconds = time.monotonic() - self.started
        return {
            "from": self.first,
            "seeds": self.seeds,
            "right": self.seeds - len(self.failures),
            "kinds": dict(sorted(self.kinds.items())),
            "failures": [{**outcome.as_dict(), "replay": replay(outcome.seed)} for outcome in self.failures],
            "totals": dict(self.totals),
            "virtual_seconds": round(self.virtual_time, 3),
            "seconds": round(seconds, 3),
            "seeds_per_second": round(self.seeds / seconds, 1),
            "packets_per_second": round(self.totals["packets"] / seconds),
            "slowest": {"seconds_after_the_last_fault": self.slowest[0], "seed": self.slowest[1]},
        }


def replay(seed: int) -> str:
    """The command that shows one seed."""
    return f"tools/soak --from {seed} --seeds 1 --ladder"


def run_all(arguments: argparse.Namespace, out: Console) -> Summary:
    """Spread the seeds over the workers until all are done, or the time is over."""
    summary = Summary(arguments.first)
    end = arguments.first + arguments.seeds
    chunks = (range(start, min(start + CHUNK, end)) for start in range(arguments.first, end, CHUNK))
    deadline = summary.started + arguments.budget if arguments.budget else None
    with progress(out, arguments.seeds) as bar, ProcessPoolExecutor(arguments.jobs) as pool:
        running: dict[Future[list[Outcome]], range] = {}
        try:
            while True:
                while len(running) < 2 * arguments.jobs and not (deadline and time.monotonic() > deadline):
                    chunk = next(chunks, None)
                    if chunk is None:
                        break
                    running[pool.submit(run_seeds, chunk, arguments.patience)] = chunk
                if not running:
                    return summary
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    for outcome in outcomes_of(future, running.pop(future)):
                        summary.add(outcome)
                        if not outcome.is_right and len(summary.failures) <= SHOWN:
                            show_failure(outcome, out)
                bar(summary)
        except KeyboardInterrupt:
            out.print("interrupted; what was done so far:")
            for future in running:
                future.cancel()
            return summary


def outcomes_of(future: Future[list[Outcome]], chunk: range) -> list[Outcome]:
    try:
        return future.result()
    except BrokenProcessPool:
        return [Outcome(seed, "crash", f"the worker with seeds {chunk[0]} to {chunk[-1]} died") for seed in chunk]


@contextmanager
def progress(out: Console, seeds: int) -> Iterator[Any]:
    """A bar where there is a terminal; a function that moves it."""
    if not out.is_terminal:
        yield lambda summary: None
        return
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out) as bar:
        task = bar.add_task("", total=seeds)

        def move(summary: Summary) -> None:
            failures = len(summary.failures)
            text = f"[red]{failures} failed" if failures else "[green]all right"
            bar.update(task, completed=summary.seeds, description=text)

        yield move


def show_failure(outcome: Outcome, out: Console) -> None:
    out.print(f"[red]seed {outcome.seed}[/]: {outcome.kind}", highlight=False)
    out.print(f"  {outcome.detail}", markup=False, highlight=False)
    out.print(f"  {replay(outcome.seed)}", markup=False, highlight=False)


def show_summary(summary: Summary, out: Console) -> None:
    figures = summary.as_dict()
    totals = summary.totals
    for kind, count in summary.kinds.most_common():
        out.print(f"{count:>10,}  {kind}", highlight=False)
    out.print(
        f"{summary.seeds:,} seeds from {summary.first} in {figures['seconds']:.1f} s "
        f"({figures['seeds_per_second']:,} a second, {figures['packets_per_second']:,} packets a second); "
        f"{summary.virtual_time / 3600:,.0f} virtual hours, {totals['octets'] / 1e6:,.0f} MB, "
        f"{totals['packets']:,} packets, {totals['lost']:,} of them lost, "
        f"{totals['segments_again']:,} segments sent again",
        highlight=False,
    )
    after, seed = summary.slowest
    if seed >= 0:
        out.print(f"longest from the last fault to the end: {after:.1f} s (seed {seed})", highlight=False)
    if len(summary.failures) > SHOWN:
        out.print("all failed seeds:", ", ".join(str(outcome.seed) for outcome in summary.failures), highlight=False)


def show_ladders(arguments: argparse.Namespace) -> bool:
    """Replay seeds one after the other, with everything that can be seen."""
    right = True
    width = Console().width
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        soak = Soak(draw(seed))
        ladders = Ladders(soak.client)
        soak.world.observers.insert(0, ladders)  # before the one that may end the run
        outcome = soak.run()
        print(json.dumps(soak.drawn.as_dict(), indent=2))
        print("\n".join(ladders.lines(width=max(width, 100), fold=arguments.fold)))
        print(f"seed {seed}: {outcome.kind}", outcome.detail, sep="\n" if outcome.detail else "")
        right = right and outcome.is_right
    return right


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/soak",
        description="Transfers through hostile paths in virtual time, each drawn from a seed and checked.",
        epilog="The exit status is 0 when every seed came out right, 1 otherwise.",
    )
    parser.add_argument("--seeds", metavar="N", type=int, default=2000, help="how many (default: %(default)s)")
    parser.add_argument("--from", metavar="S", type=int, default=0, dest="first", help="the first (default: 0)")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument(
        "--jobs", metavar="J", type=int, default=cores, help="processes (default: one a core, %(default)s)"
    )
    parser.add_argument(
        "--budget", metavar="SECONDS", type=float, default=0.0, help="begin no more seeds after that time"
    )
    parser.add_argument(
        "--patience", metavar="SECONDS", type=float, default=120.0, help="that one seed may take (default: %(default)g)"
    )
    parser.add_argument("--json", action="store_true", help="print the results as one JSON object")
    parser.add_argument("--ladder", action="store_true", help="replay the seeds one by one, with scenario and ladder")
    parser.add_argument("--fold", metavar="N", type=int, default=0, help="shorten runs of more plain steps than that")
    arguments = parser.parse_args(argv)
    if arguments.seeds < 1 or arguments.jobs < 1 or arguments.first < 0 or arguments.patience <= 0:
        parser.error("--seeds, --jobs and --patience must be above 0, and --from at least 0")
    return arguments


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    if arguments.ladder:
        return 0 if show_ladders(arguments) else 1
    out = Console(stderr=True, soft_wrap=True)
    summary = run_all(arguments, out)
    if arguments.json:
        print(json.dumps(summary.as_dict()))
    else:
        show_summary(summary, out)
    return 1 if summary.failures else 0


if __name__ == "__main__":
    sys.exit(main())
