"""One test as either side runs it: data connections that are kept busy, and what is counted meanwhile.

A `Flow` is a data connection in one direction. Its task does nothing but move blocks and add up their bytes:
the sender sends one and the same block again and again, the receiver takes what is there. All else is read off
those counters: by `keep_intervals` once a second, by `finish` at the end. So the meter costs a few additions
for each 128 KiB.

    begin ------ omitted ------ counting starts anew ------ finish ------ closed
                                 |  interval  |  interval ..|

The time is Trio's. What happens after `finish` is not counted: receivers go on reading, because the peer may be
stuck in sending until its side has ended the test, too; senders stop.

What the streams tell about themselves (`info`, as those of this stack have it) gives retransmissions, windows
and round trips; with other streams these are left out.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio

from stack.apps.iperf3.flow import NO_ENDPOINT, Endpoint, Flow, Interval
from stack.apps.iperf3.protocol import (
    LINUX_NAMES,
    Code,
    FlowResult,
    GoneError,
    Parameters,
    ProtocolError,
    Results,
    flow_number,
    make_cookie,
)
from stack.tcp.config import TcpOptions
from stack.tcp.congestion import ALGORITHMS

RECEIVE = 256 * 1024  #: Bytes asked of a stream at a time; what comes stays in the processor's cache.
OUR_NAMES = {theirs: ours for ours, theirs in LINUX_NAMES.items()}
GATHER = 256 * 1024  #: Bytes of blocks that are sent together.
LEAST_BUFFER, MOST_BUFFER = 2048, 1 << 30  #: Bytes that a client may ask for, as Linux would have it, or nearly.
MOST_SAMPLES = 100_000  #: Kept of a test for its report, some 20 MB: 128 flows for 13 minutes, or one for a day.

Task = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long is waited, in seconds."""

    step: float = 30.0  #: for each next thing that the peer has to say
    cookie: float = 10.0  #: for a new connection to say what it belongs to
    idle: float = 120.0  #: while data should flow and none does
    linger: float = 1.0  #: for the peer to close, when everything has been said


class Measurement:
    """A test: what is measured, and what came of it so far.

    `role` is "client" or "server". Whoever runs it calls `add` for each data connection, `begin`, and `finish`;
    `tasks` are to run in between, and end only by errors.
    """

    def __init__(
        self,
        role: str,
        parameters: Parameters,
        *,
        cookie: bytes = b"",
        interval: float = 1.0,
        limits: Limits | None = None,
        observer: Observer | None = None,
        buffers: tuple[int, int] = (0, 0),
    ) -> None:
        self.role = role
        self.parameters = parameters
        self.cookie = cookie or make_cookie()
        self.interval = interval  #: seconds; 0: all of it is one interval
        self.limits = limits or Limits()
        self.observer = observer or Observer()
        self.buffers = buffers  #: bytes for sending and receiving, for the report
        self.made = time.time()
        self.control: Endpoint = NO_ENDPOINT  #: the peer's end of the control connection
        self.flows: list[Flow] = []
        self.intervals: list[Interval] = []  #: the first ones, as many as `MOST_SAMPLES` allows
        self.running = False
        self.finished = False
        self.seconds = 0.0  #: how long it took; set by `finish`
        self.results = Results()  #: ours; set by `finish`
        self.remote: Results | None = None  #: the peer's
        self.error = ""  #: why it ended before its time
        self.enough = trio.Event()  #: as many bytes were transferred as were asked for
        self._start = 0.0  # when the counting began
        self._interval_start = 0.0
        self._omitting = False
        self._left = parameters.limit  # bytes that our senders may still begin to send
        self._block = b""
        self._samples = 0
        self._cpu = (0.0, 0.0, 0.0)

    # Before.

    def sends(self, index: int) -> bool:
        """Whether we are the sender on the data connection that was opened as `index`-th."""
        reverse = self.parameters.reverse or (self.parameters.bidirectional and index >= self.parameters.parallel)
        return reverse is (self.role == "server")

    def add(self, stream: trio.abc.HalfCloseableStream) -> Flow:
        """The next data connection, in the order in which the client opens them."""
        index = len(self.flows)
        flow = Flow(flow_number(index), stream, sending=self.sends(index))
        change = getattr(stream, "set", None)
        if change is not None:
            change(**self._wishes())
        self.flows.append(flow)
        return flow

    def _wishes(self) -> dict[str, Any]:
        """What the client wants of each data connection, as options of our streams. As with the real program, a
        congestion control that is not to be had is no reason to refuse; the results say which one it was."""
        parameters = self.parameters
        wishes: dict[str, Any] = {"nodelay": parameters.nodelay}
        name = OUR_NAMES.get(parameters.congestion, parameters.congestion)
        if name in ALGORITHMS:
            wishes["congestion"] = name
        if parameters.tos:
            wishes["dscp"] = parameters.tos >> 2
        if parameters.window:
            size = min(max(parameters.window, LEAST_BUFFER), MOST_BUFFER)
            wishes |= {"send_buffer": size, "send_space": size, "receive_buffer": size}
            wishes["receive_window"] = min(size, TcpOptions().receive_window)
        return {option: value for option, value in wishes.items() if value}

    def begin(self) -> None:
        """The clock runs."""
        self.running = True
        self._omitting = self.parameters.omit > 0
        self._cpu = _processor()
        if any(flow.sending for flow in self.flows):
            self._block = os.urandom(self._gathered())  # no link between us compresses that
        self._restart()

    def _gathered(self) -> int:
        """Bytes that are sent at once: blocks together where nobody could tell, since each turn of the loop costs."""
        parameters = self.parameters
        if parameters.rate or parameters.nodelay:
            return parameters.length
        return max(GATHER // parameters.length, 1) * parameters.length

    def _restart(self) -> None:
        self._start = self._interval_start = trio.current_time()
        for flow in self.flows:
            flow.restart()

    # Meanwhile.

    def tasks(self) -> list[Task]:
        """What is to run from `begin` until the peer has said all that it has to say."""
        pumps = [partial(self._send if flow.sending else self._receive, flow) for flow in self.flows]
        return [self._keep_intervals, self._watch_idle, *pumps]

    async def _send(self, flow: Flow) -> None:
        """Send until told to stop."""
        async with self._contained(flow):
            with flow.sends:
                await self._send_blocks(flow)
            if self.role == "server":
                # The real client, when it receives, waits for each block to be complete; the end of the data wakes it.
                await flow.stream.send_eof()
        await trio.sleep_forever()

    async def _send_blocks(self, flow: Flow) -> None:
        send_all, rate = flow.stream.send_all, self.parameters.rate
        while piece := self._next_piece():
            flow.begun = len(piece)
            await send_all(piece)
            flow.begun = 0
            flow.counted += len(piece)
            if rate:
                await trio.sleep_until(self._start + flow.so_far() * 8 / rate)
        if self._moved() >= self.parameters.limit:
            self.enough.set()
        await trio.sleep_forever()

    def _next_piece(self) -> bytes | memoryview:
        """A block or some, or as much as is still to be sent; nothing after the last byte.

        With seconds omitted the two sides don't begin to count at the same byte, so only the client's count ends
        the test. The server sends whole blocks: the real client waits for them.
        """
        block = self._block
        is_client = self.role == "client"
        if not self.parameters.limit or self._omitting or (self.parameters.omit and not is_client):
            return block
        size = min(self._left, len(block))
        self._left -= size
        if not is_client:
            length = self.parameters.length
            size = -(-size // length) * length
        return block if size == len(block) else memoryview(block)[:size]

    async def _receive(self, flow: Flow) -> None:
        """Take what comes, until the peer ends it."""
        limit = self.parameters.limit
        async with self._contained(flow):
            receive_some = flow.stream.receive_some
            while data := await receive_some(RECEIVE):
                flow.counted += len(data)
                if limit and not self._omitting and self._moved(sent=False) >= limit:
                    self.enough.set()
        flow.ended.set()
        await trio.sleep_forever()

    @asynccontextmanager
    async def _contained(self, flow: Flow) -> AsyncIterator[None]:
        """A connection that breaks while data should flow ends the test; later it is what happens to them all."""
        try:
            yield
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            flow.ended.set()
            if not self.finished:
                await trio.sleep(self.limits.linger)  # the control connection may say why
            if not self.finished:
                raise GoneError(f"data connection {flow.number} broke: {error.__cause__ or error}") from error

    def _moved(self, *, sent: bool = True) -> int:
        """Bytes that count, in one direction."""
        return sum(flow.so_far() for flow in self.flows if flow.sending is sent)

    async def _keep_intervals(self) -> None:
        """Close an interval whenever its time has come; the last one is `finish`'s."""
        if self._omitting:
            await self._keep_until(self._start + self.parameters.omit)
            self._close_interval(trio.current_time())
            self._omitting = False
            self._restart()
        await self._keep_until(self._start + self.parameters.time if self.parameters.time else float("inf"))
        await trio.sleep_forever()

    async def _keep_until(self, end: float) -> None:
        if not self.interval:
            await trio.sleep_until(end)
            return
        number = 1
        while (due := self._start + number * self.interval) < end - self.interval / 10:
            await trio.sleep_until(due)
            if self.finished:
                return
            self._close_interval(trio.current_time())
            number += 1
        await trio.sleep_until(end)

    def _close_interval(self, now: float) -> None:
        start, end = self._interval_start - self._start, now - self._start
        self._interval_start = now
        samples = [flow.sample(start, end, omitted=self._omitting) for flow in self.flows]
        interval = Interval(samples, self._omitting)
        self._samples += len(samples)
        if self._samples <= MOST_SAMPLES:
            self.intervals.append(interval)
        self.observer.interval(self, interval)

    async def _watch_idle(self) -> None:
        """A peer that has vanished says nothing, not even that."""
        while not self.finished:
            before = sum(flow.counted for flow in self.flows)
            await trio.sleep(self.limits.idle)
            if not self.finished and before == sum(flow.counted for flow in self.flows):
                raise GoneError(f"no data for {self.limits.idle:g} s")
        await trio.sleep_forever()

    async def wait_for_end(self) -> None:
        """As the client: until it was long enough, or enough."""
        parameters = self.parameters
        if parameters.limit:
            await self.enough.wait()
        elif parameters.time:
            await trio.sleep_until(self._start + parameters.omit + parameters.time)
        else:
            await trio.sleep_forever()

    # Afterwards.

    async def catch_up(self) -> None:
        """As the receiver of a known amount: wait a moment for the rest of it, which the end has overtaken."""
        if self.parameters.limit and not any(flow.sending for flow in self.flows):
            with trio.move_on_after(self.limits.linger):
                await self.enough.wait()

    def finish(self) -> None:
        """Stop the clock. Harmless when repeated, and before `begin`."""
        if self.finished or not self.running:
            return
        if self._omitting:  # it ended before it began: what there is counts
            self._omitting = False
        for flow in self.flows:
            flow.count_begun()
        now = trio.current_time()
        self.seconds = now - self._start
        if not self._samples or now > self._interval_start:
            self._close_interval(now)
        self.finished = True
        self.running = False
        for flow in self.flows:
            flow.finish()
        infos = [flow.info() for flow in self.flows]
        self.results = Results(
            _utilisation(self._cpu, _processor()),
            next((info.congestion for info in infos if info is not None), ""),
            {flow.number: FlowResult(flow.number, flow.size, flow.retransmits, self.seconds) for flow in self.flows},
        )

    def check_remote(self, remote: Results) -> None:
        """Take the peer's results, which must be about our flows. Raises `ProtocolError`."""
        if remote.flows.keys() != self.results.flows.keys():
            raise ProtocolError("the results are about other streams than ours", Code.RESULTS)
        self.remote = remote

    async def linger(self) -> None:
        """Read to the end what is still coming, for a moment: closing before that is a reset, not a close."""
        with trio.move_on_after(self.limits.linger):
            for flow in self.flows:
                if not flow.sending:
                    await flow.ended.wait()

    async def close(self) -> None:
        """Close all data connections, at once; also when we are cancelled."""
        with trio.CancelScope(shield=True):
            for flow in self.flows:
                await flow.close()


class Observer:
    """Is told what happens. Does nothing: override what is of interest."""

    def accepted(self, measurement: Measurement) -> None:
        """As the server: a client has come; what it wants is not known yet."""

    def started(self, measurement: Measurement) -> None:
        """All connections are there; data begins to flow."""

    def interval(self, measurement: Measurement, interval: Interval) -> None:
        """An interval is over."""

    def ended(self, measurement: Measurement) -> None:
        """The test is over. `error` says whether before its time."""

    def refused(self, peer: Endpoint) -> None:
        """As the server: a client was turned away, because there is a test already."""


async def first(*tasks: Task) -> None:
    """Run tasks side by side until one of them returns or raises, and raise that one's exception."""
    failures: list[Exception] = []

    async def run(task: Task) -> None:
        try:
            await task()
        except Exception as error:
            failures.append(error)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for task in tasks:
            nursery.start_soon(run, task)
    if failures:
        # The peer's own words come before what a connection that breaks is taken for.
        raise next((error for error in failures if not isinstance(error, GoneError)), failures[0])


def _processor() -> tuple[float, float, float]:
    """Seconds: by the clock, of this process in the program, and in the kernel."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), usage.ru_utime, usage.ru_stime


def _utilisation(before: tuple[float, float, float], after: tuple[float, float, float]) -> tuple[float, float, float]:
    """Per cent of one processor: in all, in the program, in the kernel."""
    elapsed, user, system = (late - early for early, late in zip(before, after, strict=True))
    if elapsed <= 0:
        return 0.0, 0.0, 0.0
    return 100 * (user + system) / elapsed, 100 * user / elapsed, 100 * system / elapsed
