"""An iperf3 client and server of ours with each other: what is measured, in virtual time."""

from __future__ import annotations

from functools import partial

import pytest
import trio
import trio.testing

from stack.apps.iperf3 import (
    BusyError,
    Client,
    Measurement,
    Parameters,
    Server,
    ServerError,
    TerminatedError,
)
from stack.apps.iperf3.measurement import MOST_SAMPLES
from stack.apps.iperf3.protocol import Control, State, make_cookie
from stack.runtime.stream import TcpStream
from stack.tcp.config import TcpOptions
from tests.apps.iperf3_peers import BLOCK, LIMITS, PER_SECOND, RATE, TIMED, Log, Network, begun, world
from tests.runtime.hosts import SERVER, SERVER6, pair


def sizes(measurement: Measurement) -> dict[int, tuple[bool, int]]:
    """By number: whether we sent, and how much."""
    return {flow.number: (flow.sending, flow.size) for flow in measurement.flows}


def check_agreement(ours: Measurement, theirs: Measurement) -> None:
    """Each side has what the other one says about itself."""
    for one, other in ((ours, theirs), (theirs, ours)):
        assert one.error == ""
        assert one.remote is not None
        assert one.remote.flows == other.results.flows
        assert one.cookie == other.cookie


async def test_the_client_sends(autojump_clock: object) -> None:
    async with world() as net:
        ours, theirs = await net.measure(**TIMED)
    check_agreement(ours, theirs)
    [flow] = ours.flows
    assert (flow.number, flow.sending) == (1, True)
    # The block of the last moment may be on its way.
    assert 3 * PER_SECOND <= flow.size <= 3 * PER_SECOND + BLOCK
    assert sizes(theirs)[1] in [(False, flow.size), (False, flow.size - BLOCK)]
    assert ours.seconds == pytest.approx(3)
    assert [sample.size for interval in ours.intervals for sample in interval.samples] == pytest.approx(
        [PER_SECOND] * 3, abs=BLOCK
    )
    assert [(round(i.samples[0].start, 6), round(i.samples[0].end, 6)) for i in theirs.intervals] == [
        (0, 1),
        (1, 2),
        (2, 3),
    ]


async def test_the_server_sends(autojump_clock: object) -> None:
    async with world() as net:
        ours, theirs = await net.measure(reverse=True, parallel=3, **TIMED)
    check_agreement(ours, theirs)
    assert list(sizes(ours)) == [1, 3, 4]
    for sending, size in sizes(ours).values():
        assert (sending, size) == (False, pytest.approx(3 * PER_SECOND, abs=BLOCK))
    assert all(sending for sending, _ in sizes(theirs).values())


async def test_both_send_on_connections_of_their_own(autojump_clock: object) -> None:
    async with world() as net:
        ours, theirs = await net.measure(bidirectional=True, parallel=2, **TIMED)
    check_agreement(ours, theirs)
    assert [flow.sending for flow in ours.flows] == [True, True, False, False]
    assert [flow.sending for flow in theirs.flows] == [False, False, True, True]
    assert list(sizes(ours)) == [1, 3, 4, 5]
    assert all(flow.size == pytest.approx(3 * PER_SECOND, abs=BLOCK) for flow in ours.flows)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("parallel", [1, 8])
@pytest.mark.parametrize("size", [1, 9_999, 10_000, 1_234_567])
async def test_so_many_bytes(size: int, parallel: int, reverse: bool, autojump_clock: object) -> None:
    async with world() as net:
        ours, theirs = await net.measure(time=0, size=size, length=BLOCK, parallel=parallel, reverse=reverse)
    check_agreement(ours, theirs)
    here, there = (sum(flow.size for flow in side.flows) for side in (ours, theirs))
    if reverse:  # a server sends whole blocks
        assert size <= here <= there < size + BLOCK
    else:
        assert here == there == size


@pytest.mark.parametrize("reverse", [False, True])
async def test_so_many_blocks(reverse: bool, autojump_clock: object) -> None:
    async with world() as net:
        ours, theirs = await net.measure(time=0, blocks=7, length=BLOCK, reverse=reverse)
    check_agreement(ours, theirs)
    assert ours.flows[0].size == theirs.flows[0].size == 7 * BLOCK


@pytest.mark.parametrize("reverse", [False, True])
async def test_the_first_seconds_can_be_left_out(reverse: bool, autojump_clock: object) -> None:
    async with world() as net:
        start = trio.current_time()
        ours, theirs = await net.measure(omit=2, reverse=reverse, **TIMED)
        assert trio.current_time() - start == pytest.approx(5, abs=0.1)
    check_agreement(ours, theirs)
    for side in (ours, theirs):
        assert side.flows[0].size == pytest.approx(3 * PER_SECOND, abs=2 * BLOCK)
        assert side.seconds == pytest.approx(3, abs=0.01)
        assert [interval.omitted for interval in side.intervals] == [True, True, False, False, False]
        counted = sum(i.samples[0].size for i in side.intervals if not i.omitted)
        assert counted == side.flows[0].size


@pytest.mark.parametrize("reverse", [False, True])
async def test_an_amount_after_the_omitted_seconds(reverse: bool, autojump_clock: object) -> None:
    async with world() as net:
        client = net.client(time=0, size=500_000, omit=2, rate=RATE, length=BLOCK, reverse=reverse)
        ours = await client.run()
    assert ours.flows[0].size == pytest.approx(500_000, abs=BLOCK)


async def test_with_omitted_seconds_the_server_sends_until_it_is_told_to_stop(autojump_clock: object) -> None:
    """The client begins to count at another byte than the server, and might miss some for ever."""
    async with world() as net:
        control = await net.stranger(cookie := make_cookie())
        stream = await begun(net, control, cookie, Parameters(size=500_000, omit=2, reverse=True, rate=RATE))
        received = 0
        with trio.fail_after(10):
            while received < 4_000_000:
                received += len(await stream.receive_some(BLOCK))
        await control.stream.aclose()


async def test_intervals_add_up_to_the_whole(autojump_clock: object) -> None:
    async with world() as net:
        client = Client(
            net.network.connect,
            Parameters(time=2.3, rate=RATE, length=BLOCK, parallel=2),
            observer=(log := Log()),
            interval=0.5,
            limits=LIMITS,
        )
        ours = await client.run()
    for flow in ours.flows:
        assert sum(s.size for i in ours.intervals for s in i.samples if s.flow is flow) == flow.size
    assert log.intervals == ours.intervals
    assert [round(i.samples[0].end, 6) for i in ours.intervals] == [0.5, 1.0, 1.5, 2.0, 2.3]


async def test_an_interval_that_ends_with_the_test_is_not_cut_in_two(autojump_clock: object) -> None:
    assert 3 * 0.7 < 2.1  # by the rounding of floats
    async with world() as net:
        parameters = Parameters(time=2.1, rate=RATE, length=BLOCK)
        ours = await Client(net.network.connect, parameters, interval=0.7, limits=LIMITS).run()
    assert [round(i.samples[0].end, 6) for i in ours.intervals] == [0.7, 1.4, 2.1]


async def test_one_interval_only(autojump_clock: object) -> None:
    async with world() as net:
        client = Client(net.network.connect, Parameters(**TIMED), interval=0, limits=LIMITS)
        ours = await client.run()
    assert [round(i.samples[0].end, 6) for i in ours.intervals] == [3.0]


async def test_the_report_of_a_long_test_is_bounded(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_SAMPLES > 3600
    monkeypatch.setattr("stack.apps.iperf3.measurement.MOST_SAMPLES", 4)
    async with world() as net:
        client = Client(
            net.network.connect, Parameters(time=6, rate=RATE, length=BLOCK), observer=(log := Log()), limits=LIMITS
        )
        ours = await client.run()
    assert len(ours.intervals) == 4
    assert len(log.intervals) == 6
    assert ours.flows[0].size == pytest.approx(6 * PER_SECOND, abs=BLOCK)


async def test_one_test_after_another(autojump_clock: object) -> None:
    async with world() as net:
        for _ in range(5):
            await net.works()
        assert net.log.errors == [""] * 5
        assert net.server.one_ended.is_set()


async def test_a_second_client_is_turned_away(autojump_clock: object) -> None:
    async with world() as net:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(net.client(**TIMED).run)
            await trio.sleep(1)
            with pytest.raises(BusyError, match="running another test"):
                await net.client(**TIMED).run()
            assert net.log.turned_away == 1
        assert net.log.errors == [""]
        await net.works()


async def test_data_connections_count_in_the_order_in_which_they_were_opened(autojump_clock: object) -> None:
    """Even when their cookies come in another order: both sides number them alike."""
    async with world() as net:
        cookie = make_cookie()
        control = await net.stranger(cookie)
        parameters = Parameters(time=0, size=BLOCK, length=BLOCK, parallel=5)
        await control.expect(State.PARAM_EXCHANGE)
        await control.send_json(parameters.as_json())
        await control.expect(State.CREATE_STREAMS)
        streams = [await net.network.connect() for _ in range(5)]
        await trio.testing.wait_all_tasks_blocked()
        for stream in reversed(streams):
            await stream.send_all(cookie)
            await trio.testing.wait_all_tasks_blocked()
        await control.expect(State.TEST_START)
        await control.expect(State.TEST_RUNNING)
        for size, stream in enumerate(streams, start=1):
            await stream.send_all(bytes(size))
        await trio.testing.wait_all_tasks_blocked()
        assert [flow.counted for flow in net.log.begun[0].flows] == [1, 2, 3, 4, 5]
        await control.stream.aclose()


async def test_an_interrupted_client_keeps_what_it_has_and_tells_the_server(autojump_clock: object) -> None:
    async with world() as net:
        client = net.client(time=100, rate=RATE, length=BLOCK)
        with trio.move_on_after(2.5):
            await client.run()
        measurement = client.measurement
        assert measurement.error == "interrupted"
        assert measurement.finished
        assert measurement.seconds == pytest.approx(2.5)
        assert measurement.flows[0].size == pytest.approx(2.5 * PER_SECOND, abs=2 * BLOCK)
        assert len(measurement.intervals) == 3
        await net.works()
        assert net.log.errors == ["the client has ended the test", ""]


async def test_a_server_that_is_to_end_tells_its_client(autojump_clock: object) -> None:
    network, log = Network(), Log()
    client = Client(network.connect, Parameters(time=100, rate=RATE, length=BLOCK), limits=LIMITS)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(_server, network, log)

        async def end() -> None:
            await trio.sleep(2)
            server.cancel()

        nursery.start_soon(end)
        with pytest.raises(TerminatedError, match="the server has ended the test"):
            await client.run()
    assert log.errors == ["this server was told to end"]
    assert client.measurement.flows[0].size == pytest.approx(2 * PER_SECOND, abs=2 * BLOCK)
    assert log.all_ended[0].flows[0].size == pytest.approx(2 * PER_SECOND, abs=2 * BLOCK)


async def _server(network: Network, log: Log, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await Server(observer=log, limits=LIMITS).serve([network.listener])


# --- Over real streams --------------------------------------------------------------------------------------------


async def test_over_sockets_of_the_kernel() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    log = Log()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Server(observer=log).serve, listeners)
        for parameters in (
            Parameters(time=0, size=20_000_000, parallel=4),
            Parameters(time=0, size=20_000_000, parallel=4, reverse=True),
            Parameters(time=0.3),
            Parameters(time=0.3, bidirectional=True),
        ):
            client = Client(partial(trio.open_tcp_stream, "127.0.0.1", port), parameters)
            ours = await client.run()
            theirs = log.all_ended[-1]
            check_agreement(ours, theirs)
            for flow, other in zip(ours.flows, theirs.flows, strict=True):  # nobody gets more than was sent
                assert flow.size >= other.size if flow.sending else other.size >= flow.size
            moved = sum(flow.size for flow in ours.flows)
            assert moved >= 20_000_000 if parameters.size else moved > 0
            assert ours.flows[0].remote == ("127.0.0.1", port)
            assert ours.results.flows[1].retransmits is None  # not known
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("address", [SERVER, SERVER6])
@pytest.mark.parametrize("reverse", [False, True])
async def test_over_this_stack(address: str, reverse: bool, autojump_clock: object) -> None:
    async with pair() as hosts, trio.open_nursery() as nursery:
        log = Log()
        listeners = await hosts.server.open_tcp_listeners(5201)
        server = Server(observer=log, limits=LIMITS)
        nursery.start_soon(server.serve, listeners)
        parameters = Parameters(time=0, size=3_000_000, parallel=3, nodelay=True, reverse=reverse)
        ours = await Client(
            lambda: hosts.client.open_tcp_stream(address, 5201, options=TcpOptions(congestion="newreno")),
            parameters,
            limits=LIMITS,
        ).run()
        await server.one_ended.wait()
        nursery.cancel_scope.cancel()
    theirs = log.all_ended[0]
    check_agreement(ours, theirs)
    moved = [sum(flow.size for flow in side.flows) for side in (ours, theirs)]
    assert min(moved) >= 3_000_000
    assert reverse or moved == [3_000_000] * 2
    sender = theirs if reverse else ours
    assert sender.results.congestion == ("cubic" if reverse else "newreno")
    assert all(flow.retransmits == 0 for flow in sender.flows)
    [path] = {sample.path.mtu for i in sender.intervals for sample in i.samples if sample.path is not None}
    assert path == 1500
    # All has arrived, so every connection ends with FINs, and none with a reset.
    assert reverse or hosts.client.counters.resets_out == hosts.server.counters.resets_out == 0


@pytest.mark.parametrize(
    ("wanted", "used"),
    [("reno", "newreno"), ("newreno", "newreno"), ("cubic", "cubic"), ("vegas", "cubic"), ("", "cubic")],
)
async def test_the_server_sends_as_the_client_wants_it(wanted: str, used: str, autojump_clock: object) -> None:
    async with pair() as hosts, trio.open_nursery() as nursery:
        log = Log()
        server = Server(observer=log, limits=LIMITS)
        nursery.start_soon(server.serve, await hosts.server.open_tcp_listeners(5201))
        parameters = Parameters(time=0, size=100_000, reverse=True, congestion=wanted, tos=0xB8)
        client = Client(lambda: hosts.client.open_tcp_stream(SERVER, 5201), parameters, limits=LIMITS)
        ours = await client.run()
        await server.one_ended.wait()
        nursery.cancel_scope.cancel()
    assert ours.remote is not None
    assert ours.remote.congestion == used
    [flow] = log.all_ended[0].flows
    assert isinstance(flow.stream, TcpStream)
    assert flow.stream._conn.options.dscp == 0xB8 >> 2


@pytest.mark.parametrize(("asked", "buffer"), [(0, 6 << 20), (100_000, 100_000), (1, 2048), (1 << 31, 1 << 30)])
async def test_the_server_has_the_buffers_that_the_client_wants(
    asked: int, buffer: int, autojump_clock: object
) -> None:
    async with pair() as hosts, trio.open_nursery() as nursery:
        log = Log()
        server = Server(observer=log, limits=LIMITS)
        nursery.start_soon(server.serve, await hosts.server.open_tcp_listeners(5201))
        parameters = Parameters(time=0, size=300_000, window=asked)
        client = Client(lambda: hosts.client.open_tcp_stream(SERVER, 5201), parameters, limits=LIMITS)
        await client.run()
        await server.one_ended.wait()
        nursery.cancel_scope.cancel()
    [flow] = log.all_ended[0].flows
    assert isinstance(flow.stream, TcpStream)
    assert flow.stream._conn.rcv.max_limit == buffer
    assert flow.counted == 300_000


def test_a_congestion_control_goes_by_the_name_that_linux_has_for_it() -> None:
    assert Parameters(congestion="newreno").as_json()["congestion"] == "reno"
    assert Parameters(congestion="cubic").as_json()["congestion"] == "cubic"


async def test_a_refusal_is_no_reset(autojump_clock: object) -> None:
    """A client that has sent more than was read gets the answer, and the end of the connection behind it."""
    async with pair() as hosts, trio.open_nursery() as nursery:
        server = Server(limits=LIMITS)
        nursery.start_soon(server.serve, await hosts.server.open_tcp_listeners(5201))
        control = Control(await hosts.client.open_tcp_stream(SERVER, 5201), "server")
        await control.send(make_cookie())
        await control.expect(State.PARAM_EXCHANGE)
        await control.send(b"\xff" * 500_000)
        with pytest.raises(ServerError, match="114"):
            await control.expect(State.CREATE_STREAMS)
        assert await control.stream.receive_some(1) == b""
        await control.stream.aclose()
        await server.one_ended.wait()
        assert hosts.server.counters.resets_out == 0
        nursery.cancel_scope.cancel()
