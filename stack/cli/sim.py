"""`tcpstack sim`: a scenario in virtual time, and what became of it."""

from __future__ import annotations

import argparse
import runpy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from stack.cli.options import add_pcap_option
from stack.cli.terminal import FAILURE, SUCCESS, USAGE, CommandError, console, print_json
from stack.path.quantities import format_rate
from stack.path.stats import Fate
from stack.sim.ladder import Ladders
from stack.sim.nodes import SimHost
from stack.sim.scenario import DEFAULT_LIMIT, Scenario, ScenarioError, load
from stack.sim.world import World
from stack.wire.address import parse_cidr
from stack.wire.ladder import format_size
from stack.wire.units import SECOND

DESCRIPTION = """\
Run a scenario in virtual time: hosts, paths, applications, and nothing that sleeps. The same seed
gives the same packets at the same nanoseconds.

FILE is a scenario in TOML, the name of a bundled one (--list), or a Python file with a function
build(world), which may return a function that says when it is over. docs/sim.md tells how to write
one.
"""

EXAMPLES = """\
examples:
  tcpstack sim --list
  tcpstack sim third-packet --ladder
  tcpstack sim loss --seed 5 --pcap loss.pcapng
  tcpstack sim my-path.toml --json
"""

SHOWN_EVERY = 5000  #: Events between two looks at the clock, where somebody watches.


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's options."""
    parser = commands.add_parser(
        "sim",
        help="run a scenario in virtual time",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "scenario", metavar="FILE", nargs="?", help="a .toml or .py file, or the name of a bundled scenario"
    )
    parser.add_argument("--list", action="store_true", help="name the bundled scenarios")
    parser.add_argument("--seed", metavar="N", type=int, help="another seed than the scenario's own")
    parser.add_argument("--ladder", action="store_true", help="print the segments of all connections of one host")
    parser.add_argument(
        "--at", metavar="HOST", help="whose segments and packets are shown and captured (default: the first host's)"
    )
    parser.add_argument("--fold", metavar="N", type=int, default=0, help="shorten runs of more plain steps in a ladder")
    parser.add_argument("--json", action="store_true", help="print the results as one JSON object")
    add_pcap_option(parser)
    parser.set_defaults(run=run_sim)


def run_sim(arguments: argparse.Namespace) -> int:
    """The command; 1 when the scenario was not over within its limit."""
    if arguments.list:
        return list_scenarios(as_json=arguments.json)
    if arguments.scenario is None:
        raise CommandError("which scenario?", "give a file, or the name of one that --list shows", status=USAGE)
    scenario = open_scenario(arguments.scenario, arguments.seed)
    host = find_host(scenario.world, arguments.at)
    ladders = Ladders(host)
    if arguments.ladder:
        scenario.world.observe(ladders)
    with capture(scenario.world, arguments.pcap, host), watched(scenario):
        is_over = scenario.run()
    if arguments.json:
        print_json({"title": scenario.title, "over": is_over, **scenario.world.report()})
    else:
        show(scenario, is_over, ladders, arguments.fold)
    return SUCCESS if is_over else FAILURE


def list_scenarios(*, as_json: bool) -> int:
    """The bundled ones, with their titles."""
    titles = {name: load(text).title for name, text in bundled().items()}
    if as_json:
        print_json(titles)
        return SUCCESS
    width = max(map(len, titles))
    for name, title in titles.items():
        print(f"{name:<{width}}  {title}")
    return SUCCESS


def bundled() -> dict[str, str]:
    """The texts of the bundled scenarios, by name."""
    folder = resources.files("stack.sim") / "scenarios"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return {file.name.removesuffix(".toml"): file.read_text(encoding="utf-8") for file in files}


def open_scenario(name: str, seed: int | None) -> Scenario:
    """The scenario in a file, or the bundled one of that name."""
    path = Path(name)
    if path.suffix == ".py" and path.is_file():
        return load_python(path, seed)
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{name} can't be read: {error}") from None
    elif name in bundled():
        text = bundled()[name]
    else:
        raise CommandError(f"there is no scenario {name}", "tcpstack sim --list names those that come with it")
    try:
        return load(text, seed=seed)
    except ScenarioError as error:
        raise CommandError(f"{name}: {error}", status=USAGE) from None


def load_python(path: Path, seed: int | None) -> Scenario:
    """The scenario that a Python file builds. What goes wrong in there keeps its traceback."""
    names = runpy.run_path(str(path))
    build = names.get("build")
    if not callable(build):
        raise CommandError(f"{path} has no function build(world)", status=USAGE)
    world = World(seed if seed is not None else int(names.get("SEED", 0)))
    limit = names.get("LIMIT", DEFAULT_LIMIT // SECOND)
    title = str(names.get("TITLE", path.stem))
    scenario = Scenario(world, title=title, limit=round(float(limit) * SECOND))
    is_over: Callable[[], object] | None = build(world)
    if callable(is_over):
        scenario.is_over = is_over
    return scenario


def find_host(world: World, name: str | None) -> SimHost:
    """The host of that name, or the first."""
    hosts = {host.name: host for host in world.hosts}
    if not hosts:
        raise CommandError("there are no hosts in this scenario", status=USAGE)
    if name is not None and name not in hosts:
        raise CommandError(f"there is no host {name}", f"there is {', '.join(hosts)}", status=USAGE)
    return next(iter(hosts.values())) if name is None else hosts[name]


@contextmanager
def capture(world: World, path: Path | None, host: SimHost) -> Iterator[None]:
    """Write a host's packets to a file, if one was named."""
    if path is None:
        yield
        return
    try:
        file = open(path, "wb")  # noqa: SIM115
    except OSError as error:
        raise CommandError(f"can't write the capture {path}: {error.strerror}") from error
    with file:
        world.capture(file.write, host)
        yield


@contextmanager
def watched(scenario: Scenario) -> Iterator[None]:
    """Show how far the world's clock is, where standard error is a terminal."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield
        return
    is_over, world = scenario.is_over, scenario.world
    shown = 0
    with out.status("") as status:

        def look() -> object:
            nonlocal shown
            if world.events >= shown:
                shown = world.events + SHOWN_EVERY
                status.update(f"{world.now / SECOND:.3f} s of {scenario.limit / SECOND:g} s, {world.events:,} events")
            return is_over()

        scenario.is_over = look
        yield


def show(scenario: Scenario, is_over: bool, ladders: Ladders, fold: int) -> None:
    """What became of it, for a person."""
    out = console()
    world = scenario.world
    out.print(f"[bold]{scenario.title}[/]" if scenario.title else "", markup=bool(scenario.title))
    end = "over" if is_over else f"[bold red]not over within {scenario.limit / SECOND:g} s[/]"
    out.print(f"seed {world.seed}, {end} after {world.now / SECOND:.6f} s, {world.events:,} events")
    if ladders.stories:
        out.print("")
        for line in ladders.lines(width=max(out.width, 100), fold=fold):
            out.print(line, markup=False)
    out.print(ends_table(world))
    out.print(pipes_table(world))


def ends_table(world: World) -> Table:
    """What every application has sent and received."""
    names = {address: host.name for host in world.hosts for address in _addresses(host)}
    table = Table(title="ends of connections", box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    for heading in ("host", "app", "peer"):
        table.add_column(heading, no_wrap=True)
    for heading in ("sent", "received", "took s", "MB/s in", "RTT ms", "again"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("end")
    for host in world.hosts:
        for app in host.apps:
            address, port = app.conn.remote
            table.add_row(*_end_row(app.report(), f"{names.get(address, '?')}:{port}"))
    return table


def pipes_table(world: World) -> Table:
    """What befell the packets in every direction of every pipe, without what befell none."""
    table = Table(title="pipes", box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    fates = [fate for fate in Fate if any(conduit.pipe.stats[fate] for conduit in world.conduits)]
    table.add_column("from>to", no_wrap=True)
    for heading in ("rate", "used", "packets", "arrived", *(fate.value.replace("_", " ") for fate in fates)):
        table.add_column(heading, justify="right")
    for conduit in world.conduits:
        stats, rate = conduit.pipe.stats, conduit.pipe.config.rate
        used = 8 * stats.delivered_bytes * SECOND / (rate * world.now) if rate and world.now else None
        counts = [f"{stats[fate]:,}" for fate in fates]
        table.add_row(
            conduit.name,
            format_rate(rate) if rate else "-",
            f"{used:.0%}" if used is not None else "-",
            f"{stats.entered:,}",
            f"{stats.delivered:,}",
            *counts,
        )
    return table


def _addresses(host: SimHost) -> list[bytes]:
    return [parse_cidr(cidr)[0] for cidr in host.core.addresses]


def _end_row(report: dict[str, Any], peer: str) -> list[str]:
    speed, info = report["received_per_second"], report["info"]
    took = None if report["finished"] is None else report["finished"] - report["started"]
    return [
        report["host"],
        report["app"],
        peer,
        format_size(report["sent"]),
        format_size(report["received"]),
        f"{took:.3f}" if took is not None else "-",
        f"{speed / 1e6:.3f}" if speed else "-",
        f"{info['rtt'] / 1000:.1f}" if info["rtt"] else "-",
        str(info["total_retrans"]),
        report["error"] or ("ok" if report["finished"] is not None else report["state"]),
    ]
