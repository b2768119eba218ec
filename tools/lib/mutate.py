"""The command `tools/mutate`: chooses mutants, has them tried, and says what became of them.

How they are tried is in `mutation_lab.py`, what they are in `mutants.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from mutants import Mutant, mutants_of, sample
from mutation_lab import CORE, KILLED, TIMEOUT, Lab, digest
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

CHECKOUT = Path(__file__).resolve().parents[2]
TESTS = ("tests/tcp", "tests/host", "tests/security", "tests/properties", "tests/sim")


@contextmanager
def progress(out: Console, total: int) -> Iterator[Any]:
    """A bar where there is a terminal; a function that moves it."""
    if not out.is_terminal:
        yield lambda done: None if len(done) % 50 else out.print(f"{len(done)} of {total}", highlight=False)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=out) as bar:
        task = bar.add_task("", total=total)

        def move(done: list[Mutant]) -> None:
            alive = sum(mutant.outcome not in (KILLED, TIMEOUT) for mutant in done)
            bar.update(task, completed=len(done), description=f"{alive} survived")

        yield move


def results(done: list[Mutant], everything: dict[str, list[Mutant]], seconds: float) -> dict[str, Any]:
    files: dict[str, dict[str, Any]] = {}
    for file, mutants in sorted(everything.items()):
        outcomes = Counter(mutant.outcome for mutant in done if mutant.file == file)
        killed = outcomes[KILLED] + outcomes[TIMEOUT]
        row = {"mutants": len(mutants), "tried": outcomes.total(), "killed": killed}
        files[file] = {**row, "outcomes": dict(sorted(outcomes.items()))}
    killed = sum(row["killed"] for row in files.values())
    killers = Counter(mutant.by.split("::")[0] for mutant in done if mutant.outcome == KILLED)
    return {
        "mutants": sum(row["mutants"] for row in files.values()),
        "tried": len(done),
        "killed": killed,
        "percent": round(100 * killed / len(done), 1) if done else 0.0,
        "seconds": round(seconds, 1),
        "files": files,
        "killers": dict(killers.most_common()),
        "results": [asdict(mutant) for mutant in sorted(done, key=lambda mutant: (mutant.file, mutant.index))],
    }


def show(figures: dict[str, Any], out: Console) -> None:
    for file, row in figures["files"].items():
        if row["tried"]:
            share = 100 * row["killed"] / row["tried"]
            out.print(f"{file:<36} {row['killed']:>4} of {row['tried']:>4} {share:>6.1f} %", highlight=False)
    out.print(
        f"{figures['killed']} of {figures['tried']} mutants killed, {figures['percent']} %, "
        f"in {figures['seconds']:.0f} s; there are {figures['mutants']}",
        highlight=False,
    )


def copy_checkout(root: Path) -> None:
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.so")  # what is compiled can't be changed
    for name in ("stack", "tests", "tools", "docs"):
        shutil.copytree(CHECKOUT / name, root / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(CHECKOUT / name, root / name)


def choose(arguments: argparse.Namespace, root: Path) -> tuple[dict[str, list[Mutant]], list[Mutant]]:
    """All mutants by file, and those to try."""
    files = sorted(str(path.relative_to(root)) for path in (root / CORE).rglob("*.py"))
    if arguments.files:
        files = [file for file in files if any(part in file for part in arguments.files)]
    everything = {file: mutants for file in files if (mutants := mutants_of(root, file))}
    if not arguments.again:
        return everything, sample(everything, arguments.sample, arguments.seed)
    before = json.loads(Path(arguments.again).read_text())["results"]
    # By what they say and not by their number, for the files may have changed meanwhile.
    alive = {_identity(row) for row in before if row["outcome"] not in (KILLED, TIMEOUT)}
    return everything, [m for mutants in everything.values() for m in mutants if _identity(asdict(m)) in alive]


def _identity(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] for name in ("file", "function", "operator", "before", "after", "source"))


def run(arguments: argparse.Namespace, out: Console) -> int:
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tcpstack-mutate-") as directory:
        root = Path(directory).resolve() / "checkout"
        copy_checkout(root)
        tree = digest(root, CORE)
        everything, chosen = choose(arguments, root)
        out.print(f"{len(chosen)} mutants of {sum(map(len, everything.values()))}", highlight=False)
        os.chdir(root)
        options = ["-p", "no:cacheprovider", "-q", "--no-header", "--no-summary", "--show-capture=no"]
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), progress(out, len(chosen)) as move:
            lab = Lab(root, chosen, arguments, out, move)
            status = pytest.main([*options, *(arguments.tests or TESTS)], plugins=[lab])
        os.chdir(CHECKOUT)
    if lab.fault or not lab.items:
        out.print(
            f"[red]error:[/] {lab.fault or f'pytest could not import the tests (status {status})'}", highlight=False
        )
        return 2
    figures = results(lab.done, everything, time.monotonic() - begun)
    figures = {"seed": arguments.seed, "sample": arguments.sample, "tree": tree, **figures}
    if arguments.json:
        print(json.dumps(figures, indent=1))
    show(figures, out)
    return 0 if figures["percent"] >= arguments.bound else 1


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/mutate",
        description="Break a copy of stack/tcp on purpose, one small fault at a time: do the tests notice?",
        epilog="The exit status is 0 when --bound was reached, 1 when it was not, 2 when nothing could be tried.",
    )
    cores = len(os.sched_getaffinity(0))
    parser.add_argument(
        "--sample", metavar="N", type=int, default=400, help="how many mutants, 0 for all (default: %(default)s)"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=1, help="which sample (default: %(default)s)")
    parser.add_argument("--files", metavar="PART", nargs="+", help="only files with this in their path")
    parser.add_argument("--tests", metavar="PATH", nargs="+", help=f"what must notice (default: {' '.join(TESTS)})")
    parser.add_argument("--jobs", metavar="N", type=int, default=cores, help="processes (default: %(default)s)")
    parser.add_argument("--budget", metavar="SECONDS", type=float, default=0.0, help="begin no more mutants after that")
    parser.add_argument(
        "--patience",
        metavar="SECONDS",
        type=float,
        default=60.0,
        help="of tests for each mutant (default: %(default)g)",
    )
    parser.add_argument(
        "--bound", metavar="PERCENT", type=float, default=80.0, help="to be killed (default: %(default)g)"
    )
    parser.add_argument("--again", metavar="FILE", help="only what survived in these results of --json")
    parser.add_argument(
        "--map",
        metavar="FILE",
        type=os.path.abspath,
        help="keep here what was measured, and use it while nothing changes",
    )
    parser.add_argument("--json", action="store_true", help="print the results as one JSON object")
    arguments = parser.parse_args(argv)
    if arguments.sample < 0 or arguments.jobs < 1 or arguments.patience <= 0:
        parser.error("--jobs and --patience must be above 0, and --sample at least 0")
    return arguments


def interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    signal.signal(signal.SIGTERM, interrupt)
    return run(arguments, Console(stderr=True, soft_wrap=True))


if __name__ == "__main__":
    sys.exit(main())
