"""A network of streams in memory for tests of iperf3, and peers that say what a test wants them to say."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
import trio.testing

from stack.apps.iperf3 import Client, Interval, Limits, Measurement, Observer, Parameters, Server
from stack.apps.iperf3.protocol import Control, State, make_cookie

LIMITS = Limits(step=30, cookie=10, idle=120, linger=1)

#: 100 blocks of 10,000 bytes a second, so that virtual time passes and every count is known.
RATE, BLOCK, PER_SECOND = 8_000_000, 10_000, 1_000_000

TIMED: dict[str, Any] = {"time": 3.0, "rate": RATE, "length": BLOCK}

Stream = trio.abc.HalfCloseableStream


class Listener(trio.abc.Listener[Stream]):
    """Accepts what `Network.connect` connects."""

    def __init__(self, streams: trio.MemoryReceiveChannel[Stream]) -> None:
        self.streams = streams

    async def accept(self) -> Stream:
        return await self.streams.receive()

    async def aclose(self) -> None:
        await self.streams.aclose()


class Network:
    """Where one server listens."""

    def __init__(self) -> None:
        self._backlog, streams = trio.open_memory_channel[Stream](math.inf)
        self.listener = Listener(streams)

    async def connect(self) -> Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        await self._backlog.send(theirs)
        return ours


@dataclass
class Log(Observer):
    """All that an observer is told."""

    begun: list[Measurement] = field(default_factory=list)
    all_ended: list[Measurement] = field(default_factory=list)
    intervals: list[Interval] = field(default_factory=list)
    turned_away: int = 0
    _told: trio.Event = field(default_factory=trio.Event)

    def started(self, measurement: Measurement) -> None:
        self.begun.append(measurement)
        self._tell()

    def interval(self, measurement: Measurement, interval: Interval) -> None:
        self.intervals.append(interval)
        self._tell()

    def ended(self, measurement: Measurement) -> None:
        self.all_ended.append(measurement)
        self._tell()

    def refused(self, peer: tuple[str, int]) -> None:
        self.turned_away += 1
        self._tell()

    def _tell(self) -> None:
        self._told.set()
        self._told = trio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is true; it is looked at after everything that is told."""
        while not condition():
            await self._told.wait()

    @property
    def errors(self) -> list[str]:
        return [measurement.error for measurement in self.all_ended]


@dataclass
class World:
    """A server that runs, and what it tells."""

    network: Network
    server: Server
    log: Log
    nursery: trio.Nursery

    def client(self, limits: Limits = LIMITS, **parameters: Any) -> Client:
        return Client(self.network.connect, Parameters(**parameters), observer=Log(), limits=limits)

    async def measure(self, **parameters: Any) -> tuple[Measurement, Measurement]:
        """A whole test: the client's view and the server's."""
        ours = await self.client(**parameters).run()
        return ours, self.log.all_ended[-1]

    async def stranger(self, cookie: bytes | None = None) -> Control:
        """A raw client that has said its cookie."""
        control = Control(await self.network.connect(), "server")
        await control.send(make_cookie() if cookie is None else cookie)
        return control

    async def works(self) -> None:
        """The server serves the next client."""
        ours, theirs = await self.measure(time=0, size=50_000)
        assert (ours.error, theirs.error) == ("", "")
        assert ours.results.flows[1].size == theirs.results.flows[1].size == 50_000


@asynccontextmanager
async def world(limits: Limits = LIMITS) -> AsyncIterator[World]:
    network, log = Network(), Log()
    server = Server(observer=log, limits=limits)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, [network.listener])
        yield World(network, server, log, nursery)
        nursery.cancel_scope.cancel()


PARAMETERS = Parameters(time=0, size=BLOCK, length=BLOCK)


async def up_to(state: State, control: Control, open_stream: Any, cookie: bytes) -> list[Stream]:
    """As a client of one stream, follow the protocol until the server has entered `state`; the data streams."""
    streams = []
    await control.expect(State.PARAM_EXCHANGE)
    if state is not State.PARAM_EXCHANGE:
        await control.send_json(PARAMETERS.as_json())
        await control.expect(State.CREATE_STREAMS)
    if state not in (State.PARAM_EXCHANGE, State.CREATE_STREAMS):
        streams.append(await open_stream())
        await streams[0].send_all(cookie)
        await control.expect(State.TEST_START)
        await control.expect(State.TEST_RUNNING)
        if state is not State.TEST_RUNNING:
            await streams[0].send_all(bytes(BLOCK))
            await control.send_state(State.TEST_END)
            await control.expect(State.EXCHANGE_RESULTS)
    return streams


async def begun(net: World, control: Control, cookie: bytes, parameters: Parameters) -> Stream:
    """As a raw client, have a test of one stream begun."""
    await control.expect(State.PARAM_EXCHANGE)
    await control.send_json(parameters.as_json())
    await control.expect(State.CREATE_STREAMS)
    stream = await net.network.connect()
    await stream.send_all(cookie)
    await control.expect(State.TEST_START)
    await control.expect(State.TEST_RUNNING)
    return stream
