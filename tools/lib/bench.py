"""Measures this stack beside the kernel's: what a figure is worth shows only beside another of the same run.

`impaired`: a transfer through a path that loses, delays, repeats and damages packets, with this stack at one end and
the kernel's at the other, and the same between two kernels. Each kernel is a process in a network namespace of its own
(`peer.py`), the packets from its TUN device come to this process, and go through one `ImpairLink` in all cases:

    ours       this stack <---> ImpairLink <---> TUN | kernel
    kernel     kernel | TUN <---> ImpairLink <---> TUN | kernel

The path gives the packets of a direction the same fates in the same order (its seed is the run's). So that both meet
the same losses, as long as they behave alike, the link is around the device of this stack's peer, and of the same
kernel's when another one takes this stack's place.

A time runs from the moment when the sender's connection is established until the receiver has read to the end: that
a handshake loses a SYN costs a second here as there, and would only be noise. Whoever sends opens the connection.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import itertools
import json
import math
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from stack.cli.terminal import EXPECTED, describe, only_error
from stack.link.impair import ImpairLink
from stack.link.protocol import Link
from stack.link.tun import TunLink
from stack.path.config import PathConfig, parse
from stack.runtime.open import OpenHost, open_host
from stack.runtime.stream import TcpStream
from stack.wire.units import SECOND
from tools.lib import peers
from tools.lib.peer import content

PEER = Path(__file__).with_name("peer.py")

MOST_MEDIAN = 1.5  #: What the median of all ratios may be,
MOST_RATIO = 3.0  #: and what each of them.
LIMIT = 300.0  #: Seconds after which a transfer counts as failed.
BATCH = 64  #: Packets relayed before anybody else has a turn.

DELAY = "delay=5ms"  #: Each way: a round trip of 10 ms.
CONDITIONS = {
    "loss0": "",
    "loss1": "loss=1%",
    "loss5": "loss=5%",
    "loss10": "loss=10%",
    "reorder": "reorder=30%",
    "duplicate": "duplicate=30%",
    "corrupt": "corrupt=5%",
    "mixed": "loss=10%,reorder=30%,duplicate=30%,corrupt=5%",
}
FAMILIES = ("ipv4", "ipv6")
ROLES = ("sender", "receiver")


class TransferError(Exception):
    """A transfer went wrong; says how."""


def addresses(number: int) -> dict[str, str]:
    """The addresses of one end, by family. All pairs are alike: each lives in namespaces of its own."""
    return {"ipv4": f"10.98.0.{number}", "ipv6": f"fd98::{number}"}


def cidrs(number: int) -> list[str]:
    ours = addresses(number)
    return [ours["ipv4"] + "/24", ours["ipv6"] + "/64"]


# The kernels. -------------------------------------------------------------------------------------------------------


class Kernel:
    """A kernel of its own; `link` is the far end of its only wire."""

    def __init__(self, number: int, congestion: str) -> None:
        self.addresses = addresses(number)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = ["unshare", "--net", "--", sys.executable, "-P", str(PEER), str(theirs.fileno()), congestion]
            self._process = subprocess.Popen([*command, *cidrs(number)], pass_fds=[theirs.fileno()])

    def link(self) -> TunLink:
        """Waits until it is ready. The link is the caller's."""
        _, descriptors, _, _ = socket.recv_fds(self._control, 1 << 16, 1)
        if not descriptors:
            raise TransferError("the kernel's side could not be made")
        return TunLink(fd=descriptors[0])

    def close(self) -> None:
        """End the process, and its namespace with it."""
        self._control.close()
        self._process.kill()
        self._process.wait()

    async def ask(self, **message: Any) -> None:
        """Have something done; the answer comes when it is."""
        self._control.setblocking(False)
        await trio.socket.from_stdlib_socket(self._control.dup()).send(json.dumps(message).encode())

    async def answer(self) -> dict[str, Any]:
        """What came of it."""
        answer = await trio.socket.from_stdlib_socket(self._control.dup()).recv(1 << 16)
        if not answer:
            raise TransferError("the kernel's side has ended")
        return dict(json.loads(answer))


# Transfers. ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Transfer:
    """What is to be measured, apart from who does it."""

    family: str
    role: str  #: of this stack, and of the kernel that takes its place
    path: PathConfig
    seed: int
    data: bytes
    congestion: str  #: the kernel's

    def check(self, size: int, digest: str) -> None:
        if size != len(self.data):
            raise TransferError(f"{size} of {len(self.data)} octets arrived")
        if digest != hashlib.sha256(self.data).hexdigest():
            raise TransferError("other octets arrived than were sent")


@dataclass(frozen=True)
class Sample:
    """One transfer that went right."""

    seconds: float
    details: dict[str, Any] = field(default_factory=dict)


def measure(transfer: Transfer, *, ours: bool) -> Sample:
    """One transfer, on wires of its own, between a kernel and this stack or another kernel. Raises `TransferError`."""
    with ExitStack() as stack:
        numbers = (1,) if ours else (1, 2)
        kernels = [stack.enter_context(closing(Kernel(number, transfer.congestion))) for number in numbers]
        links = [stack.enter_context(closing(kernel.link())) for kernel in kernels]
        run = _between_kernels if not ours else _ours_sends if transfer.role == "sender" else _ours_receives
        try:
            return trio.run(_limited, run, transfer, kernels, links)
        except BaseException as caught:
            error = only_error(caught)  # a nursery wraps it
            if isinstance(error, trio.TooSlowError):
                raise TransferError(f"not done after {LIMIT:g} s") from caught
            if isinstance(error, EXPECTED):
                raise TransferError(describe(error)) from caught
            raise error from caught


async def _limited(run: Any, transfer: Transfer, kernels: list[Kernel], links: list[TunLink]) -> Sample:
    wire = ImpairLink(links[0], transfer.path, seed=transfer.seed)
    with trio.fail_after(LIMIT):
        sample: Sample = await run(transfer, kernels, wire, *links[1:])
    sample.details["path"] = {"in": wire.inbound.stats.as_dict(), "out": wire.outbound.stats.as_dict()}
    return sample


async def _between_kernels(transfer: Transfer, kernels: list[Kernel], wire: Link, far: Link) -> Sample:
    receiver, sender = kernels if transfer.role == "sender" else reversed(kernels)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_relay, wire, far)
        nursery.start_soon(_relay, far, wire)
        address = receiver.addresses[transfer.family]
        await receiver.ask(do="listen", address=address)
        port = (await receiver.answer())["port"]
        await receiver.ask(do="receive")
        await sender.ask(do="send", address=address, port=port, size=len(transfer.data))
        sent, received = await sender.answer(), await receiver.answer()
        nursery.cancel_scope.cancel()
    transfer.check(received.pop("size"), received.pop("sha256"))
    return _sample(sent["asked"], sent["connected"], received["ended"], sender=sent, receiver=received)


async def _relay(source: Link, target: Link) -> None:
    """Carry packets, as they come."""
    while True:
        batch = source.read_batch(BATCH)
        for packet in batch:
            while not target.write(packet):
                await target.wait_writable()
        if not batch:
            await source.wait_readable()
        else:
            await trio.lowlevel.checkpoint()


async def _ours_sends(transfer: Transfer, kernels: list[Kernel], wire: Link) -> Sample:
    [receiver] = kernels
    async with open_host(wire, addresses=cidrs(2)) as host:
        address = receiver.addresses[transfer.family]
        await receiver.ask(do="listen", address=address)
        port = (await receiver.answer())["port"]
        await receiver.ask(do="receive")
        asked = time.monotonic_ns()
        async with await _connected(host, address, port) as stream:
            connected = time.monotonic_ns()
            await stream.send_all(transfer.data)
            await stream.send_eof()
            received = await receiver.answer()
            info = stream.info().as_dict()
    transfer.check(received.pop("size"), received.pop("sha256"))
    return _sample(asked, connected, received["ended"], sender=info, receiver=received)


async def _connected(host: OpenHost, address: str, port: int) -> TcpStream:
    """A damaged SYN may make the kernel complain of what we never sent; then once more."""
    for _ in range(3):
        try:
            return await host.open_tcp_stream(address, port)
        except OSError:
            continue
    raise TransferError("no connection came about")


async def _ours_receives(transfer: Transfer, kernels: list[Kernel], wire: Link) -> Sample:
    [sender] = kernels
    async with open_host(wire, addresses=cidrs(2)) as host:
        [listener] = await host.open_tcp_listeners(80)
        address = addresses(2)[transfer.family]
        await sender.ask(do="send", address=address, port=80, size=len(transfer.data))
        async with listener, await listener.accept() as stream:
            pieces = [piece async for piece in stream]
            ended = time.monotonic_ns()
            info = stream.info().as_dict()
        sent = await sender.answer()
    received = b"".join(pieces)
    transfer.check(len(received), hashlib.sha256(received).hexdigest())
    return _sample(sent["asked"], sent["connected"], ended, sender=sent, receiver=info)


def _sample(asked: int, connected: int, ended: int, **details: Any) -> Sample:
    return Sample((ended - connected) / SECOND, {"handshake": (connected - asked) / SECOND, **details})


# Results. -----------------------------------------------------------------------------------------------------------


@dataclass
class Series:
    """The same transfer, several times."""

    samples: list[Sample] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def times(self) -> list[float]:
        return [sample.seconds for sample in self.samples]

    @property
    def median(self) -> float:
        return statistics.median(self.times) if self.samples and not self.errors else math.nan

    def __str__(self) -> str:
        if self.errors:
            return f"{len(self.errors)} failed"
        if len(self.samples) < 2:
            return f"{self.median:.2f} s" if self.samples else "-"
        return f"{self.median:.2f} s ({min(self.times):.2f}-{max(self.times):.2f})"

    def as_dict(self) -> dict[str, Any]:
        return {
            "seconds": self.median if self.samples and not self.errors else None,
            "errors": self.errors,
            "samples": [{"seconds": sample.seconds, **sample.details} for sample in self.samples],
        }


@dataclass(frozen=True)
class Cell:
    """One line of the table."""

    condition: str
    family: str
    role: str
    ours: Series = field(default_factory=Series)
    kernels: Series = field(default_factory=Series)

    @property
    def name(self) -> str:
        return f"{self.condition}-{self.family}-{self.role}"

    @property
    def ratio(self) -> float:
        """Our time by the kernels'; nan where there is none."""
        return self.ours.median / self.kernels.median

    def is_within(self, most: float) -> bool:
        """A cell without a ratio is not."""
        return self.ratio <= most

    def matches(self, patterns: list[str]) -> bool:
        """Whether all words of one of them are in the name."""
        words = set(self.name.split("-"))
        return not patterns or any(set(pattern.split("-")) <= words for pattern in patterns)


class Results:
    """All cells that were asked for."""

    def __init__(self, only: list[str]) -> None:
        every = [Cell(*names) for names in itertools.product(CONDITIONS, FAMILIES, ROLES)]
        self.cells = [cell for cell in every if cell.matches(only)]
        self.interrupted = False

    def measured(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.ours.samples or cell.ours.errors or cell.kernels.errors]

    @property
    def median(self) -> float:
        ratios = [cell.ratio for cell in self.measured() if not math.isnan(cell.ratio)]
        return statistics.median(ratios) if ratios else math.nan

    @property
    def worst(self) -> Cell:
        return max(self.measured(), key=lambda cell: math.inf if math.isnan(cell.ratio) else cell.ratio)

    @property
    def are_good(self) -> bool:
        cells = self.measured()
        return (
            bool(cells)
            and not self.interrupted
            and self.median <= MOST_MEDIAN
            and all(cell.is_within(MOST_RATIO) for cell in cells)
        )

    def as_dict(self) -> dict[str, Any]:
        def number(value: float) -> float | None:
            return None if math.isnan(value) else round(value, 3)

        cells = self.measured()
        return {
            "cells": [
                {
                    "name": cell.name,
                    "path": CONDITIONS[cell.condition],
                    "ratio": number(cell.ratio),
                    "ours": cell.ours.as_dict(),
                    "kernel": cell.kernels.as_dict(),
                }
                for cell in cells
            ],
            "median_ratio": number(self.median),
            "worst": self.worst.name if cells else None,
            "worst_ratio": number(self.worst.ratio) if cells else None,
            "good": self.are_good,
        }


def show(results: Results, arguments: argparse.Namespace, out: Console) -> None:
    """The table and its summary."""
    cells = results.measured()
    if not cells:
        return
    several = f", medians of {arguments.runs} runs and their range" if arguments.runs > 1 else ""
    table = Table(title=f"{arguments.size:,} bytes, a round trip of 10 ms{several}", title_justify="left")
    for column in ("each way", "IP", "we are the", "this stack", "two kernels", "ratio"):
        table.add_column(column, justify="right" if column == "ratio" else "left")
    for cell in cells:
        colour = "" if cell.is_within(MOST_MEDIAN) else "yellow" if cell.is_within(MOST_RATIO) else "red"
        words = [cell.condition, cell.family, cell.role, str(cell.ours), str(cell.kernels), ratio(cell.ratio)]
        table.add_row(*words, style=colour)
    out.print(table)
    worst = results.worst
    algorithms = {sample.details["sender"]["congestion"] for cell in cells for sample in cell.kernels.samples}
    out.print(
        f"median ratio {ratio(results.median)} (at most {MOST_MEDIAN} wanted), "
        f"worst {ratio(worst.ratio)} (at most {MOST_RATIO:g}): {worst.name}; the kernel's congestion control: "
        f"{', '.join(sorted(algorithms)) or 'unknown'}",
        highlight=False,
    )
    for cell in cells:
        for error in dict.fromkeys([*cell.ours.errors, *(f"two kernels: {text}" for text in cell.kernels.errors)]):
            out.print(f"[red]{cell.name}[/]: {error}", highlight=False)


def ratio(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


# The command. -------------------------------------------------------------------------------------------------------


def impaired(arguments: argparse.Namespace, out: Console) -> Results:
    """Measure all cells, run by run."""
    results = Results(arguments.only)
    data = content(arguments.size)
    with progress(out, 2 * len(results.cells) * arguments.runs) as move:
        try:
            for run, cell in itertools.product(range(arguments.runs), results.cells):
                path = parse(",".join(filter(None, (DELAY, CONDITIONS[cell.condition]))))
                transfer = Transfer(cell.family, cell.role, path, arguments.seed + run, data, arguments.congestion)
                for series in (cell.ours, cell.kernels):
                    move(cell.name, 0)
                    try:
                        series.samples.append(measure(transfer, ours=series is cell.ours))
                    except TransferError as error:
                        series.errors.append(str(error))
                    move(cell.name, 1)
        except KeyboardInterrupt:
            results.interrupted = True
            out.print("interrupted; what was done so far:")
    return results


@contextmanager
def progress(out: Console, total: int) -> Iterator[Callable[[str, int], None]]:
    """A bar where there is a terminal; a function that moves it, and says what is next."""
    if not out.is_terminal:
        yield lambda what, steps: None
        return
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda what, steps: bar.update(task, advance=steps, description=what)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/bench", description="Measures this stack beside the kernel's.")
    benches = parser.add_subparsers(title="benchmarks", metavar="WHAT", required=True)
    bench = benches.add_parser(
        "impaired",
        help="transfers through a bad path, with this stack at one end or the kernel at both",
        description="Transfers through a path that loses, reorders, repeats and damages packets, with this stack at "
        "one end and the kernel's at the other, and between two kernels: completion times and their ratio.",
        epilog=f"Exit status: 0 when the median of the ratios is at most {MOST_MEDIAN} and none is above "
        f"{MOST_RATIO:g}, 1 otherwise. Cells: {', '.join(CONDITIONS)}, each with -{', -'.join((*FAMILIES, *ROLES))}.",
    )
    bench.add_argument("--size", metavar="BYTES", type=int, default=5_000_000, help="(default: %(default)s)")
    bench.add_argument("--runs", metavar="N", type=int, default=3, help="of each cell (default: %(default)s)")
    bench.add_argument(
        "--only",
        metavar="CELL",
        action="append",
        default=[],
        help="cells that have all these words in their names, as loss5, mixed-ipv6 or sender; may be repeated",
    )
    bench.add_argument("--seed", metavar="N", type=int, default=1, help="of the first run (default: %(default)s)")
    bench.add_argument(
        "--congestion", metavar="NAME", default="cubic", help="the kernel's congestion control (default: %(default)s)"
    )
    bench.add_argument("--json", action="store_true", help="print the results as one JSON object")
    bench.set_defaults(run=impaired, command=None)
    peers.add_parser(benches)
    arguments = parser.parse_args(argv)
    if arguments.command is not None:
        return arguments
    if arguments.size < 1 or arguments.runs < 1:
        bench.error("--size and --runs must be above 0")
    if not Results(arguments.only).cells:
        bench.error(f"no cell has such a name: {', '.join(arguments.only)}")
    return arguments


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    if not os.environ.get("TCPSTACK_SANDBOX"):
        print("error: this needs a network of its own: run tools/bench", file=sys.stderr)
        return 2
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with Ctrl-C ignored
    out = Console(stderr=True, soft_wrap=True)
    if arguments.command is not None:
        status: int = arguments.command(arguments, functools.partial(progress, out))
        return status
    results: Results = arguments.run(arguments, out)
    if arguments.json:
        print(json.dumps(results.as_dict()))
    else:
        show(results, arguments, Console())
    return 128 + signal.SIGINT if results.interrupted else 0 if results.are_good else 1


if __name__ == "__main__":
    sys.exit(main())
