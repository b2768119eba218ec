"""`tools/bench peers`: other stacks from Debian's packages under the loads of `tcpstack bench`, in the same minutes.

Who is installed takes part; nothing is fetched. All have the same peer (kernel sockets) and one core:

    this stack      with super-frames, as it comes, and without; compiled where a C compiler is there (tools/bench)
    lwIP            liblwip-dev: a host on the TUN device with lwIP's raw API (lwip.c), compiled when it is wanted
    slirp4netns     slirp4netns: libslirp behind a TAP device, which passes what it gets on to a kernel's sockets
    pasta           passt: the same by another stack

The last two end the TCP of the peer, too, but are no end themselves: what they do with sockets costs them, and is what
they are for. Their far sockets are on the peer's core. They know no super-frames, so both are measured with MTU 1500,
and with 65520, which is what takes their place.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from stack.cli.bench import number, seconds
from stack.cli.terminal import FAILURE, SUCCESS, CommandError, console, report
from stack.observe.bench import machine
from stack.observe.bench.figures import Sample, cpu, often, rate, rounded
from stack.observe.bench.samples import (
    FAR,
    NEAR,
    STARTERS,
    Child,
    Load,
    Plan,
    Processes,
    SampleError,
    compiled,
    device,
    take,
    within,
)
from stack.wire.compiling import form, is_compiled

CEILINGS = Path(__file__).resolve().parents[1] / "ceilings"
LWIP = Path(__file__).with_name("lwip.c")
LWIP_HEADERS = ("/usr/include/lwip", "/usr/local/include/lwip")
MTUS = ("1500", "65520")  #: Of devices that know no super-frames; where large ones are wanted, a large MTU is set.
SLIRP_GATEWAY = "10.0.2.2"  #: Where slirp4netns has the loopback of its own side.
PASTA_OURS, PASTA_GATEWAY = "10.97.0.1", "10.97.0.254"  #: pasta copies the addresses of its own side; the same there.
READY = 10.0  #: Seconds that pasta may take to begin.


@dataclass(frozen=True)
class Column:
    """Something that is measured, with offload or without."""

    name: str
    load: str
    plain: str
    value: Callable[[Sample], float]


COLUMNS = (
    Column("in MB/s", "recv", "recv-plain", rate),
    Column("out MB/s", "send", "send-plain", rate),
    Column("round trips/s", "latency", "latency", often),
    Column("conn/s, 1", "connections-1", "connections-1", often),
    Column("conn/s, 32", "connections-32", "connections-32", often),
    Column("CPU s/GB in", "recv", "recv-plain", cpu),
    Column("CPU s/GB out", "send", "send-plain", cpu),
)


@dataclass
class Contender:
    """Somebody who takes part: a name in `STARTERS`, and what was measured, by load."""

    name: str
    starter: str
    has_offload: bool = False
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def load(self, column: Column) -> str:
        return column.load if self.has_offload else column.plain

    @property
    def loads(self) -> list[str]:
        """In the order of the columns; it is as many for everybody."""
        return list(dict.fromkeys(map(self.load, COLUMNS)))

    def values(self) -> dict[str, list[float]]:
        """For each column, that of each sample."""
        return {
            column.name: [column.value(sample) for sample in self.samples.get(self.load(column), [])]
            for column in COLUMNS
        }


# Starting them. -----------------------------------------------------------------------------------------------------


def start_lwip(program: str) -> Callable[[Processes, Load, Child], Child]:
    """How the compiled program is started."""

    def start(processes: Processes, load: Load, peer: Child) -> Child:
        command = [*device(peer, "plain", NEAR), program, FAR, load.service]
        child = processes.start(processes.plan.cores[0], *command, controlled=False, listened=True)
        child.wait_for_lines(1)
        return child

    return start


def start_slirp(mtu: str, processes: Processes, load: Load, peer: Child) -> Child:
    """Between the peer's namespace and that of a second kernel."""
    far = far_kernel(processes, load, "link set lo up")
    options = [f"--mtu={mtu}", "--configure", "--netns-type=path", "--ready-fd=1"]
    command = within(far, "slirp4netns", *options, f"/proc/{peer.pid}/ns/net", "tcpbench0")
    child = processes.start(processes.plan.cores[0], *command, controlled=False, listened=True)
    child.wait_for_lines(1)
    child.address = SLIRP_GATEWAY
    return child


def start_pasta(mtu: str, processes: Processes, load: Load, peer: Child) -> Child:
    """The same. It wants a way out to copy, and a namespace that has a name in the file system."""
    far = far_kernel(
        processes,
        load,
        "link set lo up",
        "tuntap add out0 mode tap",
        f"addr add {PASTA_OURS}/24 dev out0",
        "link set out0 up",
        f"route add default via {PASTA_GATEWAY}",
    )
    folder = Path(processes.leaving.enter_context(tempfile.TemporaryDirectory(prefix="tcpstack-bench-")))
    name, ready = folder / "net", folder / "pid"
    name.touch()
    subprocess.run(["mount", "--bind", f"/proc/{peer.pid}/ns/net", name], check=True)
    processes.leaving.callback(lambda: subprocess.run(["umount", name], check=True))
    options = ["--foreground", "--config-net", "--mtu", mtu, "--runas", "0", "--netns-only", "--ipv4-only"]
    options += [word for kind in ("tcp-ports", "udp-ports", "tcp-ns", "udp-ns") for word in (f"--{kind}", "none")]
    command = within(far, "pasta", *options, "--pid", str(ready), "--netns", str(name))
    child = processes.start(processes.plan.cores[0], *command, controlled=False)
    limit = time.monotonic() + READY
    while not ready.is_file():
        if child.process.poll() is not None or time.monotonic() > limit:
            raise SampleError("pasta does not start")
        time.sleep(0.01)
    child.address = PASTA_GATEWAY
    return child


def far_kernel(processes: Processes, load: Load, *settings: str) -> Child:
    """The kernel whose sockets a program passes everything on to; each setting is a command of `ip`."""
    far = processes.peer(processes.plan.cores[1])
    for setting in settings:
        ran = subprocess.run(within(far, "ip", *setting.split()), capture_output=True, text=True, check=False)
        if ran.returncode:
            raise SampleError(ran.stderr.strip())
    far.ask("serve", what=load.service, helper=processes.plan.helper)
    return far


def find(folder: Path) -> tuple[list[Contender], list[str]]:
    """Who takes part, and what there is to say about the others."""
    found = [Contender("this stack", "ours", has_offload=True), Contender("this stack, no offload", "ours")]
    missing = []
    program = folder / "lwip"
    includes = [f"-I{path}" for path in LWIP_HEADERS]
    compiler = shutil.which("cc")
    if (
        compiler
        and not subprocess.run(
            [compiler, "-O2", *includes, "-o", program, LWIP, "-llwip"], capture_output=True, check=False
        ).returncode
    ):
        STARTERS["lwip"] = start_lwip(str(program))
        found.append(Contender("lwIP", "lwip"))
    else:
        missing.append("liblwip-dev (and cc)")
    for name, package, starter in (("slirp4netns", "slirp4netns", start_slirp), ("pasta", "passt", start_pasta)):
        if shutil.which(name):
            for mtu in MTUS:
                STARTERS[f"{name}, MTU {mtu}"] = functools.partial(starter, mtu)
                found.append(Contender(f"{name}, MTU {mtu}", f"{name}, MTU {mtu}"))
        else:
            missing.append(package)
    return found, [f"not installed, so not measured: {', '.join(missing)}"] if missing else []


# The command. -------------------------------------------------------------------------------------------------------


def add_parser(benches: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    bench = benches.add_parser(
        "peers",
        help="other stacks from Debian's packages, under the loads of `tcpstack bench`",
        description="Measures lwIP, slirp4netns and pasta beside this stack, whichever are installed: "
        "apt install liblwip-dev slirp4netns passt.",
    )
    bench.add_argument("--runs", metavar="N", type=number, default=3, help="of each sample (default: %(default)s)")
    bench.add_argument("--seconds", metavar="S", type=seconds, default=1.0, help="of a sample (default: %(default)s)")
    bench.add_argument(
        "--only", metavar="NAME", action="append", default=[], help="one of them, as pasta; may be repeated"
    )
    bench.add_argument("--json", action="store_true", help="print the results as one JSON object")
    bench.set_defaults(command=main)


def main(arguments: argparse.Namespace, progress: Callable[[int], Any]) -> int:
    """Measure all, run by run; `progress` gives a context manager with a function that moves a bar."""
    facts, notes, errors = machine.facts(), machine.notes(), []
    if not is_compiled():
        notes.append("interpreted: see docs/compiled.md for the form that is meant to be measured")
    interrupted = False
    with ExitStack() as leaving:
        forwarder, helper, said = leaving.enter_context(compiled(CEILINGS))
        folder = leaving.enter_context(tempfile.TemporaryDirectory(prefix="tcpstack-bench-"))
        contenders, missing = find(Path(folder))
        if arguments.only:
            contenders = [who for who in contenders if who.name.partition(",")[0] in arguments.only]
            if not contenders:
                return report(CommandError(f"none of these is here: {', '.join(arguments.only)}", "; ".join(missing)))
        notes += said + missing
        plan = Plan(
            cores=machine.cores(),
            seconds=arguments.seconds,
            warm=arguments.seconds * 0.3,
            connections=0,
            flows=0,
            files=0,
            ceilings=CEILINGS,
            forwarder=forwarder,
            helper=helper,
        )
        planned = [(who, load) for _, who, load in order(contenders, arguments.runs)]
        move = leaving.enter_context(progress(len(planned)))
        try:
            for who, load in planned:
                move(f"{who.name}: {load}", 0)
                try:
                    who.samples.setdefault(load, []).append(take(plan, who.starter, load))
                except SampleError as error:
                    errors.append(f"{who.name}, {load}: {error}")
                move("", 1)
        except KeyboardInterrupt:
            interrupted = True
            notes.append("interrupted: these are the samples so far")
    summary = {
        "contenders": {who.name: {name: row(values) for name, values in who.values().items()} for who in contenders},
        "machine": facts,
        "runs": arguments.runs,
        "compiled": is_compiled(),
        "notes": notes,
        "errors": list(dict.fromkeys(errors)),
    }
    if arguments.json:
        print(json.dumps(summary))
    else:
        show(contenders, summary)
    return 128 + signal.SIGINT if interrupted else FAILURE if errors else SUCCESS


def order(contenders: list[Contender], runs: int) -> list[tuple[int, Contender, str]]:
    """Run by run, and in a run one kind of load after the other, so that those who are compared take turns."""
    kinds = max((len(who.loads) for who in contenders), default=0)
    return [
        (run, who, who.loads[kind])
        for run in range(runs)
        for kind in range(kinds)
        for who in (contenders[::-1] if run % 2 else contenders)
    ]


def row(values: list[float]) -> dict[str, float | None]:
    """For JSON."""
    if not values:
        return {"value": None, "min": None, "max": None}
    numbers = {"value": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: rounded(number) for name, number in numbers.items()}


def show(contenders: list[Contender], summary: dict[str, Any]) -> None:
    out, facts = console(), summary["machine"]
    runs = f"medians of {summary['runs']} runs" if summary["runs"] > 1 else "one run"
    title = f"{facts['cpu']}, Linux {facts['kernel']}, {facts['python']}; this stack is {form()}; {runs}"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.add_column("who", no_wrap=True, min_width=24)
    for column in COLUMNS:
        table.add_column(column.name, justify="right", overflow="fold")
    for who in contenders:
        medians = [statistics.median(values) if values else math.nan for values in who.values().values()]
        table.add_row(who.name, *("-" if math.isnan(number) else _plain(number) for number in medians))
    out.print(table)
    for note in summary["notes"]:
        out.print("[yellow]note:[/] ", end="")
        out.print(note, markup=False)
    for error in summary["errors"]:
        out.print("[red]failed:[/] ", end="")
        out.print(error, markup=False)


def _plain(number: float) -> str:
    """Three digits of it, or all before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
