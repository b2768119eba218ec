"""How iperf3 tests end: in order, and when a peer vanishes, is silent or talks nonsense."""

from __future__ import annotations

import contextlib

import pytest
import trio
import trio.testing

from stack.apps.iperf3 import BusyError, Client, GoneError, Parameters, ServerError, TerminatedError
from stack.apps.iperf3.measurement import first
from stack.apps.iperf3.protocol import Code, Control, State, make_cookie
from tests.apps.iperf3_peers import (
    BLOCK,
    LIMITS,
    PARAMETERS,
    PER_SECOND,
    RATE,
    TIMED,
    Log,
    Network,
    begun,
    up_to,
    world,
)

# --- How it ends ----------------------------------------------------------------------------------------------------


async def test_the_end_of_the_servers_data_comes_before_its_results(autojump_clock: object) -> None:
    """The real client waits for a block to be complete, or for the end, before it listens to us again."""
    async with world() as net:
        control = await net.stranger(cookie := make_cookie())
        stream = await begun(net, control, cookie, Parameters(reverse=True, rate=RATE, length=BLOCK))
        await trio.sleep(1)
        await control.send_state(State.TEST_END)
        with trio.fail_after(1):
            while await stream.receive_some(BLOCK):
                pass
        await control.expect(State.EXCHANGE_RESULTS)
        await control.stream.aclose()


async def test_the_server_reads_what_is_on_its_way_when_all_is_said(autojump_clock: object) -> None:
    async with world() as net:
        control = await net.stranger(cookie := make_cookie())
        [stream] = await up_to(State.EXCHANGE_RESULTS, control, net.network.connect, cookie)
        await control.send_json({"streams": [{"id": 1, "bytes": BLOCK}]})
        await control.receive_json(10_000, Code.RESULTS)
        await control.expect(State.DISPLAY_RESULTS)
        await control.send_state(State.IPERF_DONE)
        for _ in range(3):
            await trio.testing.wait_all_tasks_blocked()
            await stream.send_all(bytes(BLOCK))
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert net.server.one_ended.is_set()
        assert net.log.all_ended[0].flows[0].size == BLOCK  # only what came in time


async def test_the_client_reads_what_is_on_its_way_when_all_is_said(autojump_clock: object) -> None:
    network = Network()

    async def server() -> None:
        control = Control(await network.listener.accept(), "client")
        await control.receive(37)
        await control.send_state(State.PARAM_EXCHANGE)
        await control.receive_json(10_000, Code.PARAMETERS)
        await control.send_state(State.CREATE_STREAMS)
        stream = await network.listener.accept()
        await control.send_state(State.TEST_START)
        await control.send_state(State.TEST_RUNNING)
        await stream.send_all(bytes(BLOCK))
        await control.expect(State.TEST_END)
        await control.send_state(State.EXCHANGE_RESULTS)
        await control.receive_json(10_000, Code.RESULTS)
        await control.send_json({"streams": [{"id": 1, "bytes": BLOCK}]})
        await control.send_state(State.DISPLAY_RESULTS)
        await control.expect(State.IPERF_DONE)
        for _ in range(3):
            await trio.testing.wait_all_tasks_blocked()
            await stream.send_all(bytes(BLOCK))
        await stream.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server)
        client = Client(network.connect, Parameters(time=0, size=BLOCK, length=BLOCK, reverse=True), limits=LIMITS)
        await client.run()
    assert client.measurement.flows[0].size == BLOCK


async def test_what_the_peer_says_comes_before_what_its_connections_do() -> None:
    async def broken() -> None:
        raise GoneError("a connection broke")

    async def said() -> None:
        raise TerminatedError("the server has ended the test")

    for _ in range(20):  # Trio runs them in any order
        with pytest.raises(TerminatedError):
            await first(broken, broken, said, broken)


# --- Peers that vanish or talk nonsense -----------------------------------------------------------------------------

STEPS = [State.PARAM_EXCHANGE, State.CREATE_STREAMS, State.TEST_RUNNING, State.EXCHANGE_RESULTS]


@pytest.mark.parametrize("step", STEPS)
async def test_a_client_that_vanishes_ends_its_own_test(step: State, autojump_clock: object) -> None:
    async with world() as net:
        cookie = make_cookie()
        control = await net.stranger(cookie)
        streams = await up_to(step, control, net.network.connect, cookie)
        for stream in [control.stream, *streams]:
            await trio.aclose_forcefully(stream)
        await trio.testing.wait_all_tasks_blocked()
        [error] = net.log.errors
        assert "the client has closed the connection" in error or "broke" in error
        await net.works()


@pytest.mark.parametrize("step", STEPS)
async def test_a_client_that_falls_silent_ends_its_own_test(step: State, autojump_clock: object) -> None:
    async with world() as net:
        cookie = make_cookie()
        control = await net.stranger(cookie)
        start = trio.current_time()
        await up_to(step, control, net.network.connect, cookie)
        await trio.sleep(2 * LIMITS.idle + 5)
        [error] = net.log.errors
        assert error.endswith(" s")
        assert net.log.all_ended[0].made
        assert trio.current_time() - start < 3 * LIMITS.idle
        await net.works()


async def test_a_client_that_never_ends_its_test_makes_room_for_others(autojump_clock: object) -> None:
    """It sends a little now and then, long after the ten seconds that it has asked for."""
    async with world() as net, trio.open_nursery() as nursery:
        control = await net.stranger(cookie := make_cookie())
        start = trio.current_time()
        stream = await begun(net, control, cookie, Parameters(time=10, omit=2, length=BLOCK))

        async def trickle() -> None:
            with contextlib.suppress(trio.BrokenResourceError):
                while True:
                    await stream.send_all(b"x")
                    await trio.sleep(5)

        nursery.start_soon(trickle)
        await trio.sleep_until(start + 41)
        assert not net.log.errors
        await trio.sleep_until(start + 43)
        assert net.log.errors == ["the client has not ended its test within 42 s"]
        await net.works()


async def test_a_data_connection_that_breaks_ends_the_test(autojump_clock: object) -> None:
    async with world() as net:
        control = await net.stranger(cookie := make_cookie())
        stream = await begun(net, control, cookie, Parameters(time=10, reverse=True, rate=RATE, length=BLOCK))
        await trio.sleep(1)
        await stream.aclose()
        await trio.sleep(LIMITS.linger + 1)
        [error] = net.log.errors
        assert error.startswith("data connection 1 broke")
        await net.works()


async def test_whoever_says_nothing_does_not_stand_in_the_way(autojump_clock: object) -> None:
    async with world() as net:
        silent = [await net.network.connect() for _ in range(100)]
        short = await net.stranger(b"too short")
        await trio.testing.wait_all_tasks_blocked()
        await net.works()
        await trio.sleep(LIMITS.cookie + 1)
        for stream in [*silent, short.stream]:
            assert await stream.receive_some() == b""
        assert net.log.errors == [""]


async def test_there_is_a_limit_for_those_who_say_nothing(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stack.apps.iperf3.server.MOST_STRANGERS", 3)
    async with world() as net:
        silent = [await net.network.connect() for _ in range(4)]
        assert await silent[3].receive_some() == b""
        await trio.sleep(LIMITS.cookie + 1)
        await net.works()


async def test_data_connections_of_others_are_turned_away(autojump_clock: object) -> None:
    async with world() as net:
        cookie = make_cookie()
        control = await net.stranger(cookie)
        await up_to(State.CREATE_STREAMS, control, net.network.connect, cookie)
        other = await net.stranger()
        with pytest.raises(BusyError):
            await other.expect(State.TEST_START)
        data = await net.stranger(cookie)
        await control.expect(State.TEST_START)
        surplus = await net.stranger(cookie)
        with pytest.raises(BusyError):
            await surplus.expect(State.TEST_START)
        await control.expect(State.TEST_RUNNING)
        await data.send(bytes(BLOCK))
        await control.send_state(State.TEST_END)
        await control.expect(State.EXCHANGE_RESULTS)
        assert len(net.log.begun[0].flows) == 1
        await control.stream.aclose()


async def test_a_client_ends_what_has_not_begun(autojump_clock: object) -> None:
    async with world() as net:
        control = await net.stranger(cookie := make_cookie())
        await up_to(State.CREATE_STREAMS, control, net.network.connect, cookie)
        await control.send_state(State.TEST_END)
        await trio.sleep(LIMITS.linger + 1)
        assert net.log.errors == ["the client ends a test that has not begun"]
        await net.works()


async def test_results_about_something_else_are_refused(autojump_clock: object) -> None:
    async with world() as net:
        control = await net.stranger(cookie := make_cookie())
        await up_to(State.EXCHANGE_RESULTS, control, net.network.connect, cookie)
        await control.send_json({"streams": [{"id": 77, "bytes": 1}]})
        with pytest.raises(ServerError, match="error 117: it could not read our results"):
            await control.expect(State.DISPLAY_RESULTS)
        assert net.log.errors == ["the results are about other streams than ours"]
        await net.works()


async def test_a_fault_of_ours_ends_one_test(
    autojump_clock: object, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world() as net:
        with monkeypatch.context() as patch:

            def fault(_fields: object) -> Parameters:
                raise ZeroDivisionError("a fault")

            patch.setattr("stack.apps.iperf3.server.parse_parameters", fault)
            with pytest.raises(TerminatedError):
                await net.client(**TIMED).run()
        assert "a fault" in caplog.text
        await net.works()


# --- The client and servers of all kinds ----------------------------------------------------------------------------


@pytest.mark.parametrize("step", [None, *STEPS])
@pytest.mark.parametrize("ending", ["closes", "is silent"])
async def test_a_server_that_vanishes(step: State | None, ending: str, autojump_clock: object) -> None:
    network = Network()

    async def server() -> None:
        controls = [Control(await network.listener.accept(), "client")]
        await controls[0].receive(37)
        for state in [] if step is None else [State.PARAM_EXCHANGE, *STEPS[1 : STEPS.index(step) + 1]]:
            if state is State.TEST_RUNNING:
                controls.append(Control(await network.listener.accept(), "client"))
                await controls[0].send_state(State.TEST_START)
            await controls[0].send_state(state)
            if state is State.TEST_RUNNING and step is not state:
                await controls[0].expect(State.TEST_END)
            if state is State.PARAM_EXCHANGE and step is not state:
                await controls[0].receive_json(10_000, Code.PARAMETERS)
        if ending == "is silent":
            await trio.sleep(400)
        for control in controls:
            await trio.aclose_forcefully(control.stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server)
        client = Client(network.connect, PARAMETERS, limits=LIMITS)
        with pytest.raises(GoneError, match=r"the server has|data connection"):
            await client.run()
        nursery.cancel_scope.cancel()
    assert client.measurement.error


async def test_a_server_that_vanishes_in_the_midst_leaves_what_was_measured(autojump_clock: object) -> None:
    network, log = Network(), Log()
    client = Client(network.connect, Parameters(**TIMED), limits=LIMITS)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_silent_server, network, log)
        with pytest.raises(GoneError, match="the server has closed the connection"):
            await client.run()
    assert client.measurement.flows[0].size == pytest.approx(PER_SECOND, abs=2 * BLOCK)


async def _silent_server(network: Network, _log: Log) -> None:
    control = Control(await network.listener.accept(), "client")
    await control.receive(37)
    await control.send_state(State.PARAM_EXCHANGE)
    await control.send_state(State.CREATE_STREAMS)
    stream = await network.listener.accept()
    await control.send_state(State.TEST_START)
    await control.send_state(State.TEST_RUNNING)
    with trio.move_on_after(1):
        while await stream.receive_some(100_000):
            pass
    await control.stream.aclose()
    await trio.sleep(1)


async def test_nobody_there() -> None:
    async def refused() -> trio.abc.HalfCloseableStream:
        raise ConnectionRefusedError("nobody")

    client = Client(refused, Parameters(), observer=(log := Log()))
    with pytest.raises(ConnectionRefusedError):
        await client.run()
    assert log.errors == ["nobody"]
    assert not client.measurement.finished
