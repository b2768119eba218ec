"""The client's side of a test.

    client = Client(open_stream, Parameters(time=10, parallel=8))
    await client.run()
    client.measurement.results, client.measurement.remote

`open_stream` gives a new connection to the server, of any kind of stream; the first one is the control connection,
the others carry data. Whatever happens, and also when `run` is cancelled, `measurement` holds what was measured until
then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import NoReturn

import trio

from stack.apps.iperf3.flow import endpoints
from stack.apps.iperf3.measurement import Limits, Measurement, Observer, first
from stack.apps.iperf3.protocol import (
    RESULTS_SIZE,
    BusyError,
    Code,
    Control,
    Iperf3Error,
    Parameters,
    ProtocolError,
    ServerError,
    State,
    TerminatedError,
    parse_results,
    patience,
    send,
)

OpenStream = Callable[[], Awaitable[trio.abc.HalfCloseableStream]]


class Client:
    """One test. `interval` is in seconds, as for `Measurement`."""

    def __init__(
        self,
        open_stream: OpenStream,
        parameters: Parameters,
        *,
        observer: Observer | None = None,
        interval: float = 1.0,
        limits: Limits | None = None,
        buffers: tuple[int, int] = (0, 0),
    ) -> None:
        self.open_stream = open_stream
        self.limits = limits or Limits()
        self.measurement = Measurement(
            "client", parameters, interval=interval, limits=limits, observer=observer, buffers=buffers
        )

    async def run(self) -> Measurement:
        """Measure. Raises `Iperf3Error`, and whatever `open_stream` raises."""
        measurement = self.measurement
        error, told_to = "interrupted", False
        control: Control | None = None
        try:
            control = Control(await self.open_stream(), "server")
            measurement.control = endpoints(control.stream)[1]
            await self._prepare(control)
            await first(partial(self._talk, control), *measurement.tasks())
            error = ""
        except Exception as reason:
            error, told_to = str(reason), isinstance(reason, (BusyError, ServerError, TerminatedError))
            raise
        finally:
            measurement.error = error
            measurement.finish()
            if error and control is not None and not told_to:
                await self._give_up(control)
            await measurement.close()
            if control is not None:
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(control.stream)
            measurement.observer.ended(measurement)
        return measurement

    async def _prepare(self, control: Control) -> None:
        """Up to where data begins to flow."""
        measurement, step = self.measurement, self.limits.step
        # The real server says nothing either while another client is about to tell it what to measure.
        async with patience(step, "the server has said nothing {}: is it an iperf3 server, and a free one?"):
            await control.send(measurement.cookie)
            await control.expect(State.PARAM_EXCHANGE)
        async with patience(step, "the server has not answered our parameters {}"):
            await control.send_json(measurement.parameters.as_json())
            await control.expect(State.CREATE_STREAMS)
        for _ in range(measurement.parameters.flows):
            stream = await self.open_stream()
            measurement.add(stream)
            async with patience(step, "a data connection has taken nothing {}"):
                await send(stream, measurement.cookie, "server")
        async with patience(step, "the server has not begun the test {}"):
            await control.expect(State.TEST_START)
            measurement.observer.started(measurement)
            await control.expect(State.TEST_RUNNING)
        measurement.begin()

    async def _talk(self, control: Control) -> None:
        """From the running test to the end of the conversation."""
        measurement = self.measurement
        await first(measurement.wait_for_end, partial(self._watch, control))
        measurement.finish()
        async with patience(self.limits.step, "the server has sent no results {}"):
            await control.send_state(State.TEST_END)
            await control.expect(State.EXCHANGE_RESULTS)
            await control.send_json(measurement.results.as_json())
            fields = await control.receive_json(RESULTS_SIZE, Code.RESULTS)
            measurement.check_remote(parse_results(fields, measurement.seconds))
            await control.expect(State.DISPLAY_RESULTS)
            await control.send_state(State.IPERF_DONE)
        await measurement.linger()

    async def _watch(self, control: Control) -> NoReturn:
        """During the test the server has nothing to say, unless it ends."""
        await control.expect(State.EXCHANGE_RESULTS)
        raise ProtocolError("the server ends a test that was not over")

    async def _give_up(self, control: Control) -> None:
        """Tell the server that we end, if that is possible soon, also when we are cancelled."""
        scope = trio.CancelScope(deadline=trio.current_time() + self.limits.linger, shield=True)
        with scope, suppress(Iperf3Error):  # then it knows
            await control.send_state(State.CLIENT_TERMINATE)
