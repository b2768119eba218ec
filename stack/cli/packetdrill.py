"""`tcpstack packetdrill`: conformance scripts against this stack, in virtual time."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich import box
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from stack.cli.options import mtu
from stack.cli.terminal import FAILURE, SUCCESS, USAGE, CommandError, console, print_json
from stack.sim.packetdrill.profiles import PROFILES
from stack.sim.packetdrill.report import Outcome, Verdict
from stack.sim.packetdrill.settings import IP_VERSIONS

DESCRIPTION = """\
Run packetdrill scripts against this stack: what comes in, what must go out, system calls, and when.
Time is virtual and nothing is sent anywhere, so no rights are needed, and a script takes
milliseconds. docs/packetdrill.md tells which parts of the language, and which commands in back
quotes, are understood.

A FILE is a script; of a DIRECTORY all files *.pkt in it and below are run.
"""

EPILOG = """\
A script that asks for what is not supported is counted as unsupported, with the place and the
reason. Python in a script is run: run no scripts that you would not run as programs.

Exit status: 0 when all scripts passed, 1 when not, 2 for wrong usage.

examples:
  tcpstack packetdrill handshake.pkt
  tcpstack packetdrill packetdrill/gtests/net/tcp --jobs 2 -D TFO_COOKIE=3021b9d889017eeb
  tcpstack packetdrill scripts --profile rfc --ip-version ipv6 --json
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's options."""
    parser = commands.add_parser(
        "packetdrill",
        help="run conformance scripts against this stack",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", metavar="FILE|DIRECTORY", nargs="+", type=Path, help="scripts to run")
    parser.add_argument("--json", action="store_true", help="print the results as one JSON object")
    parser.add_argument("--jobs", metavar="N", type=_jobs, default=1, help="processes (default: %(default)s)")
    parser.add_argument(
        "--profile",
        choices=sorted(PROFILES),
        default="linux",
        help="whose habits the stack has, before a script says anything (default: %(default)s)",
    )
    parser.add_argument(
        "--ip-version",
        choices=IP_VERSIONS,
        help="of scripts that don't say (default: ipv6 for FILEs named *v6.pkt, ipv4 for others)",
    )
    parser.add_argument(
        "--mtu", metavar="BYTES", type=mtu, default=1500, help="of scripts that don't say (default: %(default)s)"
    )
    parser.add_argument(
        "-D",
        "--define",
        metavar="NAME=VALUE",
        type=_definition,
        action="append",
        default=[],
        help="put VALUE in for the word NAME; may be repeated",
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="name every script, and show what its code has printed"
    )
    parser.set_defaults(run=run_packetdrill)


def run_packetdrill(arguments: argparse.Namespace) -> int:
    """The command."""
    files = find(arguments.paths)
    one = partial(
        run_file,
        profile=arguments.profile,
        defines=dict(arguments.define),
        ip_version=arguments.ip_version,
        mtu=arguments.mtu,
    )
    outcomes = []
    with watched(len(files)) as done:
        for outcome in run_all(one, files, arguments.jobs):
            outcomes.append(outcome)
            done(outcome)
    if arguments.json:
        print_json(summary(outcomes, arguments.profile))
    else:
        show(outcomes, verbose=arguments.verbose)
    return SUCCESS if all(outcome.passed for outcome in outcomes) else FAILURE


def find(paths: list[Path]) -> list[Path]:
    """The scripts that paths name, in order, each once."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            found.update(dict.fromkeys(sorted(path.rglob("*.pkt"))))
        elif path.is_file():
            found[path] = None
        else:
            raise CommandError(f"there is no {path}", status=USAGE)
    if not found:
        raise CommandError("there are no scripts (*.pkt) there", status=USAGE)
    return list(found)


def run_file(path: Path, *, profile: str, defines: dict[str, str], ip_version: str | None, mtu: int) -> Outcome:
    """Run one script from a file; comments in it may be in any encoding. `ip_version` None: as the file's name says."""
    from stack.sim.packetdrill.run import run_script  # with the parser, which other commands need not wait for

    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise CommandError(f"{path} can't be read: {error.strerror}") from None
    version = ip_version or ("ipv6" if path.stem.endswith("v6") else "ipv4")
    return run_script(text, profile, path=str(path), defines=defines, ip_version=version, mtu=mtu)


def run_all(one: Callable[[Path], Outcome], files: list[Path], jobs: int) -> Iterator[Outcome]:
    """Run scripts, in `jobs` processes at a time; outcomes come in the order of the files."""
    if jobs == 1 or len(files) == 1:
        yield from map(one, files)
        return
    with ProcessPoolExecutor(min(jobs, len(files))) as pool:
        yield from pool.map(one, files, chunksize=max(len(files) // (8 * jobs), 1))


@contextmanager
def watched(total: int) -> Iterator[Callable[[Outcome], None]]:
    """Something to call with each outcome; shows how far it is, where standard error is a terminal."""
    out = console(stderr=True)
    if not out.is_terminal or total == 1:
        yield lambda _outcome: None
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task("", total=total)

        def done(outcome: Outcome) -> None:
            bar.update(task, advance=1, description=outcome.path)

        yield done


# What is printed.


def summary(outcomes: list[Outcome], profile: str) -> dict[str, object]:
    """Everything, for JSON."""
    return {
        "profile": profile,
        "total": _counts(outcomes),
        "folders": {folder: _counts(inside) for folder, inside in by_folder(outcomes).items()},
        "scripts": [outcome.as_dict() for outcome in outcomes],
    }


def _counts(outcomes: list[Outcome]) -> dict[str, int]:
    counts = Counter(outcome.verdict for outcome in outcomes)
    return {"scripts": len(outcomes), **{verdict.value: counts[verdict] for verdict in Verdict}}


def by_folder(outcomes: list[Outcome]) -> dict[str, list[Outcome]]:
    """The outcomes of each folder that scripts lie in."""
    folders: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        folders.setdefault(str(Path(outcome.path).parent), []).append(outcome)
    return folders


def show(outcomes: list[Outcome], *, verbose: bool) -> None:
    """For a person: what went wrong, each with its ladder; then a table by folder."""
    out = console()
    for outcome in outcomes:
        if verbose or outcome.verdict is not Verdict.PASS:
            for line in outcome.lines():
                out.print(line, markup=False)
            if verbose:
                for line in outcome.printed:
                    out.print(f"    printed: {line}", markup=False)
            if outcome.verdict is Verdict.FAIL:
                out.print("")
    out.print(table(outcomes))


def table(outcomes: list[Outcome]) -> Table:
    """Results by folder, with the number of scripts that they are out of."""
    view = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    view.add_column("folder", no_wrap=True)
    for heading in ("scripts", *(verdict.value for verdict in Verdict), "pass/supported"):
        view.add_column(heading, justify="right", no_wrap=True, min_width=len(heading))
    folders = by_folder(outcomes)
    top = os.path.commonpath(map(os.path.abspath, folders)) if len(folders) > 1 else ""
    for folder, inside in folders.items():
        view.add_row(os.path.relpath(folder, top) if top else folder, *_row(inside))
    if len(folders) > 1:
        view.add_section()
        view.add_row("all", *_row(outcomes))
    return view


def _row(outcomes: list[Outcome]) -> list[str]:
    counts = Counter(outcome.verdict for outcome in outcomes)
    supported = len(outcomes) - counts[Verdict.UNSUPPORTED]
    share = f"{counts[Verdict.PASS] / supported:.0%}" if supported else "-"
    return [str(len(outcomes)), *(str(counts[verdict]) for verdict in Verdict), share]


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of processes")
    return int(text)


def _definition(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value
