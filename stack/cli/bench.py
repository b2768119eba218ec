"""`tcpstack bench`: how fast this stack is here, beside what is possible here, measured in the same minutes."""

from __future__ import annotations

import argparse
import functools
import json
import math
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import box
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from stack.cli import sandbox
from stack.cli.terminal import FAILURE, SUCCESS, USAGE, CommandError, console, run_plain
from stack.observe.bench import machine
from stack.observe.bench.figures import Results, choose
from stack.observe.bench.samples import CEILINGS, SPARE, Plan, SampleError, compiled, take
from stack.wire.compiling import is_compiled

DESCRIPTION = """\
Measure this stack against the kernel's sockets over a TUN device, in a sandbox of its own, each figure beside its
ceiling: the least possible loop in Python on the same device, or another kernel behind a bare forwarder. Contenders
take turns; a figure is the median of several runs. Needs no root, and two cores to say much.
"""

EPILOG = """\
The ceilings are programs of their own (tools/ceilings); two are compiled with cc when it is there. Lower is better for
us, s/GB, bytes, us/packet, ms/s and ms. Exit status: 0 when everything was measured, 1 when not, 130 on Ctrl-C.
"""

WARM_PART = 0.3  #: Of the seconds of a sample, before it begins: windows grow, and caches fill.
PROGRAMS = ("unshare", "nsenter", "setpriv", "taskset")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's options."""
    parser = commands.add_parser(
        "bench",
        help="measure throughput, latency, connections and memory beside their ceilings",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("--json", action="store_true", help="print the results as one JSON object")
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        default=[],
        help="this figure only, or those of this kind (latency, busy, connections, cpu, scale); may be repeated",
    )
    parser.add_argument("--runs", metavar="N", type=number, default=5, help="of each sample (default: %(default)s)")
    parser.add_argument(
        "--seconds", metavar="S", type=seconds, default=1.0, help="that a sample takes (default: %(default)s)"
    )
    parser.add_argument(
        "--connections",
        metavar="N",
        type=_connections,
        default=10_000,
        help="open at once for memory and scale (default: %(default)s)",
    )
    parser.add_argument(
        "--ceilings",
        metavar="DIR",
        type=Path,
        help="where their programs are (default: tools/ceilings of the checkout, or those of the package)",
    )
    parser.set_defaults(run=run_bench)


def run_bench(arguments: argparse.Namespace) -> int:
    """The command: outside it moves into the sandbox, inside it measures."""
    files = machine.allow_files(arguments.connections + SPARE)
    flows = min(arguments.connections, files - SPARE)
    try:
        figures = choose(arguments.only, flows)
    except ValueError as error:
        raise CommandError(str(error), status=USAGE) from None
    for program in PROGRAMS:
        if shutil.which(program) is None:
            raise CommandError(f"{program} is not installed", "install it: apt install util-linux")
    sandbox.enter(_again(arguments), "bench")
    _obey_signals()
    ceilings = _ceilings(arguments.ceilings)
    results = Results(figures, ceilings=ceilings is not None)
    facts, notes = machine.facts(), machine.notes()
    if not is_compiled():
        notes.append("interpreted: see docs/compiled.md for the form that is meant to be measured")
    if ceilings is None:
        notes.append("the ceilings are not here (tools/ceilings, --ceilings): without them the figures stand alone")
    if flows < arguments.connections and any(figure.load == "scale" for figure in figures):
        notes.append(f"scale has {flows:,} flows at most: a process may not have more files open (ulimit -Hn)")
    interrupted = False
    with compiled(ceilings) as (forwarder, helper, said):
        results.helper = bool(helper)
        plan = Plan(
            cores=machine.cores(),
            seconds=arguments.seconds,
            warm=WARM_PART * arguments.seconds,
            connections=arguments.connections,
            flows=flows,
            files=files,
            ceilings=ceilings,
            forwarder=forwarder,
            helper=helper,
        )
        try:
            _measure(results, plan, arguments.runs)
        except KeyboardInterrupt:
            interrupted = True
            notes.append("interrupted: these are the samples so far")
    said += [f"{load}: this stack said: {words}" for load, words in results.complaints()]
    status = run_plain(functools.partial(_tell, results, facts, [*notes, *said], arguments.json))
    if interrupted:
        raise KeyboardInterrupt
    return status


def _tell(results: Results, facts: dict[str, Any], notes: list[str], as_json: bool) -> int:
    """Print it all; returns the exit status."""
    summary = _summary(results, facts, notes)
    if as_json:
        print(json.dumps(summary), flush=True)
    else:
        _show(results, summary)
    return FAILURE if results.errors else SUCCESS


def _obey_signals() -> None:
    """Ctrl-C interrupts, though a shell starts background jobs with it ignored; the others end it in order, too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))


def _again(arguments: argparse.Namespace) -> list[str]:
    """The same command line, for the process inside."""
    again = ["bench", "--runs", str(arguments.runs), "--seconds", str(arguments.seconds)]
    again += ["--connections", str(arguments.connections)]
    again += ["--json"] if arguments.json else []
    again += ["--ceilings", str(arguments.ceilings.absolute())] if arguments.ceilings is not None else []
    for name in arguments.only:
        again += ["--only", name]
    return again


def _ceilings(given: Path | None) -> Path | None:
    """The directory of the programs, if there is one."""
    if given is not None and not (given / "loop.py").is_file():
        raise CommandError(f"the ceilings are not in {given}", "name the checkout's directory tools/ceilings")
    places = (given,) if given is not None else CEILINGS
    return next((place for place in places if (place / "loop.py").is_file()), None)


def _measure(results: Results, plan: Plan, runs: int) -> None:
    """All samples. One that fails is told, and the others go on."""
    planned = results.plan(runs)
    with _progress(len(planned)) as move:
        for contender, load in planned:
            move(f"{load}: {CONTENDER_WORDS[contender]}", 0)
            try:
                results.add((contender, load), take(plan, contender, load))
            except SampleError as error:
                results.errors.append(f"{load}, {CONTENDER_WORDS[contender]}: {error}")
            move("", 1)


CONTENDER_WORDS = {"ours": "this stack", "loop": "the least loop", "forward": "the forwarder"}


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str, int], None]]:
    """A function that moves a bar, where there is a terminal for it."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield lambda what, steps: None
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=out, transient=True, refresh_per_second=2) as bar:
        task = bar.add_task("", total=total)
        yield lambda what, steps: bar.update(task, advance=steps, description=what)


def _summary(results: Results, facts: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """For JSON."""
    return {
        "results": [row.as_dict() for row in results.rows()],
        "machine": facts,
        "compiled": is_compiled(),
        "relations": [compared.as_dict() for compared in results.relations()],
        "notes": notes,
        "errors": list(dict.fromkeys(results.errors)),
    }


def _show(results: Results, summary: dict[str, Any]) -> None:
    """The table, and what to think of it."""
    out, facts = console(), summary["machine"]
    form = "compiled" if summary["compiled"] else "interpreted"
    title = f"{facts['cpu']}, Linux {facts['kernel']}, {facts['python']}; {form}"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.add_column("figure", no_wrap=True)
    for heading in ("median", "range", "unit", "ceiling", "ratio"):
        table.add_column(heading, justify="left" if heading == "unit" else "right", no_wrap=True)
    table.add_column("ceiling of", no_wrap=True)
    for row in results.rows():
        spread = f"{_text(min(row.ours))}-{_text(max(row.ours))}" if row.ours else "-"
        of = CONTENDER_WORDS.get(row.figure.ceiling, "10 flows") if row.ceilings else "-"
        numbers = (_text(row.value), spread, row.figure.unit, _text(row.ceiling), _ratio(row.ratio))
        table.add_row(row.figure.name, *numbers, of)
    out.print(table)
    for relation in summary["relations"]:
        both = f"loop {_text(relation['loop'])}, forwarder {_text(relation['forwarder'])} {relation['unit']}"
        text = f"{relation['name']}: {both}: {relation['loop_over_forwarder']:.2f}, usually {relation['usual']:g}"
        off = "more than 30 % off: one of them was disturbed, or this machine is another kind"
        out.print(text if relation["good"] else f"[yellow]{text}; {off}[/]")
    for note in summary["notes"]:
        out.print("[yellow]note:[/] ", end="")
        out.print(note, markup=False)
    for error in summary["errors"]:
        out.print("[red]failed:[/] ", end="")
        out.print(error, markup=False)


def _text(number: float) -> str:
    """Three or four figures of it."""
    if math.isnan(number):
        return "-"
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.3f}"


def _ratio(number: float) -> str:
    return "-" if math.isnan(number) else f"{number:.2f}"


def number(text: str) -> int:
    """How many runs, for argparse."""
    if not text.isdecimal() or not 0 < int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1000")
    return int(text)


def _connections(text: str) -> int:
    if not text.isdecimal() or not 20 <= int(text) <= 60_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 20 to 60000")
    return int(text)


def seconds(text: str) -> float:
    """How long a sample takes, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.01 <= value <= 600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.01 to 600")
    return value
