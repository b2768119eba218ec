"""The server's side: one test at a time, for whoever comes first.

Each connection says with its first bytes what it belongs to. One that brings the cookie of the running test is
one of its data connections, as long as any are missing; any other one is a new client's control connection. While
there is a test it is turned away with ACCESS_DENIED, which the client reports as "busy".

    accept --cookie--> nobody's test: run it        (the same task then conducts the test)
                       the running test's: join it  (the test takes the connection over)
                       else: ACCESS_DENIED, close

Data connections count in the order in which they were accepted, which is the order in which the client opened
them: both sides number them by it, and with `--bidir` it decides which way each one goes. Trio starts tasks in any
order, so the accepting task hands out numbers.

Nothing that a client does reaches further than its own test: each ends with an error that the observer is told, and
the next client is welcome.
"""

from __future__ import annotations

import hmac
import itertools
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, NoReturn

import trio

from stack.apps.iperf3.flow import endpoints
from stack.apps.iperf3.measurement import Limits, Measurement, Observer, first
from stack.apps.iperf3.protocol import (
    COOKIE_SIZE,
    PARAMETERS_SIZE,
    RESULTS_SIZE,
    Code,
    Control,
    GoneError,
    Iperf3Error,
    Parameters,
    ProtocolError,
    State,
    parse_parameters,
    parse_results,
    patience,
)

MOST_STRANGERS = 256  #: Connections that have not said yet what they are; more are closed at once.

logger = logging.getLogger(__name__)


class Server:
    """Serves tests, one after the other. `interval` is in seconds, as for `Measurement`."""

    def __init__(
        self,
        *,
        observer: Observer | None = None,
        interval: float = 1.0,
        limits: Limits | None = None,
        buffers: tuple[int, int] = (0, 0),
    ) -> None:
        self.observer = observer or Observer()
        self.interval = interval
        self.limits = limits or Limits()
        self.buffers = buffers
        self.one_ended = trio.Event()  #: a test, and its connections are closed
        self._test: _Test | None = None
        self._strangers = 0
        self._numbers = itertools.count()

    async def serve(
        self,
        listeners: Sequence[trio.abc.Listener[Any]],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> NoReturn:
        """Serve whoever connects to one of these listeners, which are closed at the end."""
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(self._accept, listener, nursery)
            task_status.started()
        raise AssertionError("a listener ended without a reason")

    async def _accept(self, listener: trio.abc.Listener[Any], nursery: trio.Nursery) -> NoReturn:
        async with listener:
            while True:
                stream = await listener.accept()
                if self._strangers >= MOST_STRANGERS:
                    await trio.aclose_forcefully(stream)
                    continue
                self._strangers += 1
                nursery.start_soon(self._welcome, stream, next(self._numbers))

    async def _welcome(self, stream: trio.abc.HalfCloseableStream, number: int) -> None:
        """One connection, up to where it is known what it is; if it is a control connection, to the end."""
        joined = False
        try:
            cookie = await self._cookie(stream)
            if cookie is None:
                return
            test = self._test
            if test is None:
                await self._conduct(stream, cookie)
            elif test.join(cookie, stream, number):
                joined = True  # the test has it now
            else:
                await self._turn_away(stream)
        except Exception:  # a fault of ours
            logger.exception("a connection of an iperf3 client could not be served")
        finally:
            if not joined:
                await trio.aclose_forcefully(stream)

    async def _cookie(self, stream: trio.abc.HalfCloseableStream) -> bytes | None:
        try:
            async with patience(self.limits.cookie, "the client has said nothing {}"):
                return await Control(stream, "client").receive(COOKIE_SIZE)
        except GoneError:
            return None
        finally:
            self._strangers -= 1

    async def _turn_away(self, stream: trio.abc.HalfCloseableStream) -> None:
        """Say that there is a test already."""
        self.observer.refused(endpoints(stream)[1])
        control = Control(stream, "client")
        await self.tell(control, partial(control.send_state, State.ACCESS_DENIED))

    async def _conduct(self, stream: trio.abc.HalfCloseableStream, cookie: bytes) -> None:
        """A test, from its control connection to its end."""
        control = Control(stream, "client")
        test = self._test = _Test(self, control, cookie)
        test.measurement.control = endpoints(stream)[1]
        self.observer.accepted(test.measurement)
        last_word: Callable[[], Awaitable[None]] | None = partial(control.send_state, State.SERVER_TERMINATE)
        error = "this server was told to end"
        try:
            await test.run()
            last_word = None
        except Iperf3Error as reason:
            error = str(reason)
            last_word = partial(control.refuse, reason.code) if isinstance(reason, ProtocolError) else None
        finally:
            if self.end(test, error) and last_word is not None:
                await self.tell(control, last_word)
            await test.close()
            self.one_ended.set()

    def end(self, test: _Test, error: str = "") -> bool:
        """The test is over, and the next client may come. Only the first call counts; returns whether this is it."""
        if self._test is not test:
            return False
        self._test = None
        test.measurement.error = error
        test.measurement.finish()
        self.observer.ended(test.measurement)
        return True

    async def tell(self, control: Control, last_word: Callable[[], Awaitable[None]]) -> None:
        """Say something before closing, if that is possible soon, also when we are to end.

        What the client has still sent is read: closing before that would be a reset, which overtakes our words.
        """
        with trio.CancelScope(deadline=trio.current_time() + self.limits.linger, shield=True):
            try:
                await last_word()
                await control.stream.send_eof()
                while await control.stream.receive_some(PARAMETERS_SIZE):
                    pass
            except (Iperf3Error, trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # nobody wants to know


class _Test:
    """A test that the server runs."""

    def __init__(self, server: Server, control: Control, cookie: bytes) -> None:
        self.server = server
        self.control = control
        self.cookie = cookie
        self.limits = server.limits
        self.measurement = self._measure(Parameters())
        self._joined: list[tuple[int, trio.abc.HalfCloseableStream]] = []
        self._wanted = 0  # data connections
        self._complete = trio.Event()

    def _measure(self, parameters: Parameters) -> Measurement:
        server = self.server
        return Measurement(
            "server",
            parameters,
            cookie=self.cookie,
            interval=server.interval,
            limits=server.limits,
            observer=server.observer,
            buffers=server.buffers,
        )

    def join(self, cookie: bytes, stream: trio.abc.HalfCloseableStream, number: int) -> bool:
        """Take a data connection, if it is one of ours and one is missing."""
        if len(self._joined) >= self._wanted or not hmac.compare_digest(cookie, self.cookie):
            return False
        self._joined.append((number, stream))
        if len(self._joined) == self._wanted:
            self._complete.set()
        return True

    def has(self, stream: trio.abc.HalfCloseableStream) -> bool:
        """Whether this is one of our data connections."""
        return any(stream is joined for _, joined in self._joined)

    async def run(self) -> None:
        """The whole conversation. Raises `Iperf3Error`."""
        control, step = self.control, self.limits.step
        async with patience(step, "the client has sent no parameters {}"):
            await control.send_state(State.PARAM_EXCHANGE)
            parameters = parse_parameters(await control.receive_json(PARAMETERS_SIZE, Code.PARAMETERS))
        peer = self.measurement.control
        measurement = self.measurement = self._measure(parameters)
        measurement.control = peer
        async with patience(step, "not all data connections were opened {}"):
            self._wanted = parameters.flows
            await control.send_state(State.CREATE_STREAMS)
            # The client has nothing to say now, unless it ends.
            await first(self._complete.wait, partial(control.expect, State.TEST_END))
            if not self._complete.is_set():
                raise ProtocolError("the client ends a test that has not begun")
            for _, stream in sorted(self._joined, key=lambda item: item[0]):
                measurement.add(stream)
            await control.send_state(State.TEST_START)
            measurement.observer.started(measurement)
            await control.send_state(State.TEST_RUNNING)
        measurement.begin()
        await first(self._talk, *measurement.tasks())

    async def _talk(self) -> None:
        """From the running test to the end of the conversation."""
        control, step, measurement = self.control, self.limits.step, self.measurement
        parameters = measurement.parameters
        overtime = parameters.omit + parameters.time + step if parameters.time else math.inf
        async with patience(overtime, "the client has not ended its test {}"):
            await control.expect(State.TEST_END)
        await measurement.catch_up()
        measurement.finish()
        async with patience(step, "the client has sent no results {}"):
            await control.send_state(State.EXCHANGE_RESULTS)
            fields = await control.receive_json(RESULTS_SIZE, Code.RESULTS)
            measurement.check_remote(parse_results(fields, measurement.seconds))
            await control.send_json(measurement.results.as_json())
            # With the next byte the client may go and the next one come, even before we have seen this one go.
            self.server.end(self)
            await control.send_state(State.DISPLAY_RESULTS)
        with trio.move_on_after(self.limits.linger):
            try:
                await control.expect(State.IPERF_DONE)
            except Iperf3Error:
                return  # all has been said
        await measurement.linger()

    async def close(self) -> None:
        """Close all data connections, also those that were not to be measured yet."""
        await self.measurement.close()
        with trio.CancelScope(shield=True):
            for _, stream in self._joined:
                await trio.aclose_forcefully(stream)
