"""The real iperf3 with ours, over a TUN device: each as the client of the other, in every direction.

What one side says that it has sent or received, the other one has heard and repeats. How fast it was is not looked at.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import trio

from stack.apps.iperf3 import Client, GoneError, Measurement, Parameters, Server, TerminatedError
from stack.apps.iperf3.report import tree
from stack.link.tun import TunLink
from stack.runtime.open import OpenHost, open_host
from tests.apps.iperf3_peers import Log
from tests.interop import programs
from tests.interop.lab import HANG, Lab, on_a_wire

_networks = itertools.count(1)

#: What newer versions than 3.12 have in their tree: of Linux, of UDP, or of options that we don't have.
NEWER = {
    "reorder",
    "fqrate",
    "interval",
    "gso",
    "gro",
    "gso_dg_size",
    "gso_bf_size",
    "gro_bf_size",
    "server_output_text",
}


@dataclass
class Site:
    """A device, our host on it, and our server on that."""

    host: OpenHost
    number: int
    server: Server
    log: Log

    def ours(self, family: int) -> str:
        return f"10.88.{self.number}.2" if family == 4 else f"fd88:{self.number:x}::2"

    def kernels(self, family: int) -> str:
        return f"10.88.{self.number}.1" if family == 4 else f"fd88:{self.number:x}::1"

    async def real(self, family: int, *arguments: str) -> tuple[dict[str, Any], Measurement]:
        """A test of the real client with our server: its report, and what our side has measured."""
        done = await programs.finished("iperf3", "--json", "--client", self.ours(family), *arguments)
        report = json.loads(done.stdout)
        assert "error" not in report, report["error"]
        assert done.status == 0
        return report, self.log.all_ended[-1]

    async def client(self, family: int, port: int, **parameters: Any) -> Measurement:
        """A test of our client."""
        open_stream = partial(self.host.open_tcp_stream, self.kernels(family), port)
        return await Client(open_stream, Parameters(**parameters)).run()


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    programs.program("iperf3")
    number = next(_networks)
    with trio.fail_after(HANG):
        link = TunLink(f"tcpsip{os.getpid() % 100_000}-%d", kernel=[f"10.88.{number}.1/24", f"fd88:{number:x}::1/64"])
        async with open_host(link, addresses=[f"10.88.{number}.2/24", f"fd88:{number:x}::2/64"]) as host:
            log = Log()
            server = Server(observer=log)
            listeners = await host.open_tcp_listeners(5201)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.serve, listeners)
                yield Site(host, number, server, log)
                nursery.cancel_scope.cancel()


@asynccontextmanager
async def real_server(address: str, *arguments: str) -> AsyncIterator[tuple[trio.Process, int]]:
    """The real server on the kernel's TCP, for one test; and its port."""
    port = next(_ports)
    command = [programs.program("iperf3"), "--server", "--one-off", "--json", "--forceflush", *arguments]
    async with programs.running([*command, "--bind", address, "--port", str(port)]) as process:
        listening = f"sport = :{port}"
        while not programs.ss("--listening", listening):
            assert process.poll() is None
            await trio.lowlevel.checkpoint()
        yield process, port


_ports = itertools.count(5300)


async def told(process: trio.Process) -> dict[str, Any]:
    """What a real server reports when it ends."""
    assert process.stdout is not None
    text = b""
    async for piece in process.stdout:
        text += piece
    return dict(json.loads(text))


def check(report: dict[str, Any], measurement: Measurement) -> None:
    """The real program and we have the same numbers."""
    assert measurement.error == ""
    assert measurement.remote is not None
    assert len(report["end"]["streams"]) == len(measurement.flows)
    for stream, flow in zip(report["end"]["streams"], measurement.flows, strict=True):
        mine, its = measurement.results.flows[flow.number], measurement.remote.flows[flow.number]
        assert mine.size == flow.size
        sent, got = (mine, its) if flow.sending else (its, mine)
        assert stream["sender"]["bytes"] in (sent.size, 0)  # a real server's own report lacks the client's side
        assert stream["receiver"]["bytes"] in (got.size, 0)
        assert stream["sender" if not flow.sending else "receiver"]["bytes"] > 0
        assert flow.size > 0
    assert sum(s.size for i in measurement.intervals for s in i.samples if not i.omitted) == sum(
        flow.size for flow in measurement.flows
    )


FAMILIES = pytest.mark.parametrize("family", [4, 6])

TESTS: list[tuple[list[str], dict[str, Any]]] = [
    (["-t", "1"], {"time": 1.0}),
    (["-t", "1", "-R"], {"time": 1.0, "reverse": True}),
    (["-t", "1", "-P", "8"], {"time": 1.0, "parallel": 8}),
    (["-t", "1", "-P", "8", "-R"], {"time": 1.0, "parallel": 8, "reverse": True}),
    (["-t", "1", "--bidir", "-P", "2"], {"time": 1.0, "bidirectional": True, "parallel": 2}),
    (["-t", "1", "-O", "1", "-R"], {"time": 1.0, "omit": 1, "reverse": True}),
    (["-t", "1", "-b", "8M", "-l", "10000"], {"time": 1.0, "rate": 8_000_000, "length": 10_000}),
    (["-n", "5M"], {"time": 0, "size": 5 << 20}),
    (["-n", "5M", "-R", "-P", "3"], {"time": 0, "size": 5 << 20, "parallel": 3, "reverse": True}),
    (["-n", "1000001", "-R"], {"time": 0, "size": 1_000_001, "reverse": True}),
    (["-k", "40"], {"time": 0, "blocks": 40}),
    (["-k", "40", "-R"], {"time": 0, "blocks": 40, "reverse": True}),
]
EACH_TEST = pytest.mark.parametrize(("arguments", "parameters"), TESTS, ids=[" ".join(test[0]) for test in TESTS])


@EACH_TEST
@FAMILIES
async def test_the_real_client(family: int, arguments: list[str], parameters: dict[str, Any]) -> None:
    async with site() as here:
        report, measurement = await here.real(family, *arguments)
    check(report, measurement)
    wanted = measurement.parameters
    for name, value in parameters.items():
        assert getattr(wanted, name) == value
    if wanted.limit:
        # All of it has been received; the real client sends whole blocks.
        total = sum(flow.size for flow in measurement.flows)
        # The real client may begin one block more of each stream before it sees that it has sent enough.
        assert total <= wanted.limit + wanted.parallel * wanted.length
        if not (wanted.blocks and wanted.reverse):  # as a receiver, the real client takes each read for a block
            assert total >= wanted.limit
            assert report["end"]["sum_received"]["bytes"] >= wanted.limit
    assert report["end"]["cpu_utilization_percent"]["remote_total"] == pytest.approx(measurement.results.cpu[0])
    if wanted.reverse:
        assert report["end"]["sender_tcp_congestion"] == "cubic"
        assert "retransmits" in report["end"]["sum_sent"]


@EACH_TEST
@FAMILIES
async def test_the_real_server(family: int, arguments: list[str], parameters: dict[str, Any]) -> None:
    async with site() as here, real_server(here.kernels(family)) as (process, port):
        measurement = await here.client(family, port, **parameters)
        report = await told(process)
    assert "error" not in report
    check(report, measurement)
    if measurement.parameters.limit and not measurement.parameters.reverse:
        assert sum(flow.size for flow in measurement.flows) == measurement.parameters.limit
    for name in ("reverse", "omit"):
        assert report["start"]["test_start"][name] == parameters.get(name, 0)
    assert report["start"]["test_start"]["num_streams"] == parameters.get("parallel", 1)
    mine = tree(measurement)
    assert mine["start"]["cookie"] == report["start"]["cookie"]
    assert mine["end"]["cpu_utilization_percent"]["remote_total"] >= 0


@pytest.mark.parametrize(
    ("arguments", "parameters"), [TESTS[0], TESTS[1], TESTS[4]], ids=["forward", "reverse", "bidir"]
)
async def test_trees_of_the_same_shape(arguments: list[str], parameters: dict[str, Any]) -> None:
    """Whatever a program finds in the real one's report, it finds in ours: as a client, and as a server."""
    async with site() as here, real_server(here.kernels(4)) as (process, port):
        real_client, our_server = await here.real(4, *arguments)
        our_client = await here.client(4, port, **parameters)
        real_servers = await told(process)
    assert names(real_client) - names(tree(our_client)) - NEWER == set()
    assert names(real_servers) - names(tree(our_server)) - NEWER == set()
    assert paths(real_client) == paths(tree(our_client), only=names(real_client))
    assert kinds(real_client) == kinds(tree(our_client), only=names(real_client))


def walk(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All leaves and objects, with the items of a list under one path."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield (*path, name), item
            yield from walk(item, (*path, name))
    elif isinstance(value, list):
        for item in value:
            yield from walk(item, path)


def names(report: dict[str, Any]) -> set[str]:
    return {path[-1] for path, _ in walk(report)}


def paths(report: dict[str, Any], only: set[str] | None = None) -> set[tuple[str, ...]]:
    return {path for path, _ in walk(report) if not set(path) & NEWER and (only is None or path[-1] in only)}


def kinds(report: dict[str, Any], only: set[str] | None = None) -> dict[tuple[str, ...], str]:
    """Of what type each leaf is; whole numbers and others are one type in JSON."""
    numbers = {int: "number", float: "number"}
    return {
        path: numbers.get(type(item), type(item).__name__)
        for path, item in walk(report)
        if not set(path) & NEWER and (only is None or path[-1] in only)
    }


async def test_one_test_after_another_and_one_at_a_time() -> None:
    async with site() as here:
        for _ in range(3):
            await here.real(4, "-n", "100K")
        async with programs.running(
            [programs.program("iperf3"), "-c", here.ours(4), "-t", "60", "-b", "1M", "--forceflush"]
        ) as first:
            await here.log.until(lambda: len(here.log.begun) == 4)
            done = await programs.finished("iperf3", "--client", here.ours(6), "-t", "1")
            assert done.status == 1
            assert "busy" in done.stderr
            assert here.log.turned_away == 1
            first.send_signal(signal.SIGINT)
            await first.wait()
        await here.real(6, "-n", "100K")
        assert here.log.errors == ["", "", "", "the client has ended the test", ""]


@pytest.mark.parametrize("direction", [[], ["-R"], ["--bidir"]], ids=["forward", "reverse", "bidir"])
async def test_a_client_that_is_killed(direction: list[str]) -> None:
    async with site() as here:
        command = [programs.program("iperf3"), "-c", here.ours(4), "-t", "60", "-P", "4", *direction]
        async with programs.running(command) as process:
            await here.log.until(lambda: bool(here.log.intervals))
            process.kill()
            await process.wait()
            await here.log.until(lambda: bool(here.log.all_ended))
        [error] = here.log.errors
        assert "closed the connection" in error or "broke" in error
        await here.real(4, "-n", "100K")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
async def test_a_server_that_ends_in_the_midst(number: signal.Signals) -> None:
    async with site() as here, real_server(here.kernels(6)) as (process, port):
        open_stream = partial(here.host.open_tcp_stream, here.kernels(6), port)
        log = Log()
        client = Client(open_stream, Parameters(time=60, parallel=2), observer=log, interval=0.1)

        async def end_it() -> None:
            await log.until(lambda: bool(log.intervals))
            process.send_signal(number)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end_it)
            with pytest.raises(TerminatedError if number == signal.SIGINT else GoneError):
                await client.run()
    assert client.measurement.finished
    assert sum(flow.size for flow in client.measurement.flows) > 0


async def test_what_we_do_not_measure_is_refused_in_words() -> None:
    async with site() as here:
        done = await programs.finished("iperf3", "--client", here.ours(4), "--udp", "-t", "1")
        assert done.status == 1
        assert "not implemented" in done.stderr
        await here.real(4, "-n", "100K")


async def test_a_real_server_that_does_not_want_to() -> None:
    """It has a limit, and says so only in its own output."""
    limit = ["--server-bitrate-limit", "1M"]
    async with site() as here, real_server(here.kernels(4), *limit) as (process, port):
        with pytest.raises(GoneError, match="the server has closed the connection"):
            await here.client(4, port, rate=10_000_000)
        assert "larger than server limit" in (await told(process))["error"]


@on_a_wire()
async def test_it_is_clean_on_the_wire(lab: Lab) -> None:
    """An amount that fits the buffers, both ways: the real client is content, and so is tshark."""
    programs.program("iperf3")
    log = Log()
    server = Server(observer=log)
    listeners = await lab.host.open_tcp_listeners(5201)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, listeners)
        for direction in ([], ["-R"]):
            done = await programs.finished("iperf3", "--json", "-c", lab.ours(), "-n", "1M", "-P", "2", *direction)
            assert done.status == 0, done.stdout
        await lab.until_closed()
        nursery.cancel_scope.cancel()
    assert log.errors == ["", ""]
