"""What iperf3 peers may say: everything that can't be right is refused, in words, and ends one test only."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
import trio.testing

from stack.apps.iperf3 import (
    BusyError,
    Client,
    GoneError,
    Iperf3Error,
    Parameters,
    ProtocolError,
    ServerError,
    TerminatedError,
)
from stack.apps.iperf3.protocol import (
    COOKIE_SIZE,
    PARAMETERS_SIZE,
    Code,
    Control,
    FlowResult,
    Results,
    State,
    flow_number,
    make_cookie,
    parse_parameters,
    parse_results,
)
from tests.apps.iperf3_peers import LIMITS, PARAMETERS, Network, up_to, world

#: As the real client 3.12 sends them.
REAL = {
    "tcp": True,
    "omit": 0,
    "time": 10,
    "num": 0,
    "blockcount": 0,
    "parallel": 1,
    "len": 131072,
    "pacing_timer": 1000,
    "client_version": "3.12",
}
REAL_RESULTS = {
    "cpu_util_total": 18.29,
    "cpu_util_user": 0,
    "cpu_util_system": 18.29,
    "sender_has_retransmits": 18446744073709551615,
    "congestion_used": "bbr",
    "streams": [
        {
            "id": 1,
            "bytes": 844755648,
            "retransmits": 18446744073709551615,
            "jitter": 0,
            "errors": 0,
            "packets": 0,
            "start_time": 0,
            "end_time": 1.044872,
        }
    ],
}


def test_cookies() -> None:
    cookie = make_cookie()
    assert len(cookie) == COOKIE_SIZE
    assert cookie.endswith(b"\0")
    assert cookie[:-1].isalnum()
    assert make_cookie() != cookie


def test_data_connections_are_numbered_as_the_real_program_does() -> None:
    assert [flow_number(index) for index in range(5)] == [1, 3, 4, 5, 6]


# --- Parameters -----------------------------------------------------------------------------------------------------


def test_parameters_of_the_real_client() -> None:
    assert parse_parameters(REAL) == Parameters(version="3.12")
    assert parse_parameters(REAL | {"time": 0, "num": 1.5e9}) == Parameters(time=0, size=1_500_000_000, version="3.12")
    assert parse_parameters(REAL | {"reverse": True, "parallel": 8, "MSS": 1400, "nodelay": True}) == Parameters(
        reverse=True, parallel=8, mss=1400, nodelay=True, version="3.12"
    )


@pytest.mark.parametrize(
    "parameters",
    [
        Parameters(),
        Parameters(time=0, size=123),
        Parameters(time=0, blocks=5, length=1000, bidirectional=True, parallel=128),
        Parameters(omit=3, reverse=True, rate=10**9, nodelay=True, mss=1400, window=65536, tos=16),
        Parameters(congestion="cubic", version="x"),
    ],
)
def test_what_we_send_we_understand(parameters: Parameters) -> None:
    assert parse_parameters(json.loads(json.dumps(parameters.as_json()))) == parameters


def test_options_that_are_off_are_left_out() -> None:
    fields = Parameters(version="3.12").as_json()
    assert fields == REAL
    assert Parameters(time=0.5).as_json()["time"] == 1  # whole seconds


IMPOSSIBLE: list[tuple[dict[str, Any], Code]] = [
    ({"udp": True}, Code.NOT_IMPLEMENTED),
    ({"sctp": True}, Code.NOT_IMPLEMENTED),
    ({"tcp": False}, Code.NOT_IMPLEMENTED),
    ({"time": -1}, Code.DURATION),
    ({"time": 86_401}, Code.DURATION),
    ({"time": "10"}, Code.DURATION),
    ({"time": None}, Code.DURATION),
    ({"time": [1]}, Code.DURATION),
    ({"time": 10**400}, Code.DURATION),
    ({"parallel": 0}, Code.NUMBER_OF_STREAMS),
    ({"parallel": 129}, Code.NUMBER_OF_STREAMS),
    ({"parallel": 1.5}, Code.NUMBER_OF_STREAMS),
    ({"parallel": True}, Code.NUMBER_OF_STREAMS),
    ({"len": 0}, Code.BLOCK_SIZE),
    ({"len": (1 << 20) + 1}, Code.BLOCK_SIZE),
    ({"len": -5}, Code.BLOCK_SIZE),
    ({"omit": 601}, Code.OMIT),
    ({"num": -1}, Code.PARAMETERS),
    ({"num": 1e300}, Code.PARAMETERS),
    ({"bandwidth": {}}, Code.PARAMETERS),
    ({"TOS": 256}, Code.PARAMETERS),
    ({"reverse": True, "bidirectional": True}, Code.PARAMETERS),
]


@pytest.mark.parametrize(("change", "code"), IMPOSSIBLE)
def test_impossible_parameters(change: dict[str, Any], code: Code) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_parameters(REAL | change)
    assert caught.value.code is code


def test_words_of_the_peer_are_cut_and_cleaned() -> None:
    parameters = parse_parameters(REAL | {"client_version": "a\x1b[31m\n" + "b" * 1000, "congestion": 5})
    assert parameters.version.startswith("a[31mb")
    assert len(parameters.version) <= 100
    assert parameters.congestion == ""


# --- Results --------------------------------------------------------------------------------------------------------


def test_results_of_the_real_program() -> None:
    results = parse_results(REAL_RESULTS, 1.0)
    assert results == Results((18.29, 0.0, 18.29), "bbr", {1: FlowResult(1, 844755648, None, 1.044872)})


def test_results_that_we_send_we_understand() -> None:
    results = Results((1.5, 1.0, 0.5), "cubic", {1: FlowResult(1, 5, 3, 2.5), 3: FlowResult(3, 6, None, 2.5)})
    assert parse_results(json.loads(json.dumps(results.as_json())), 9.0) == results
    assert results.as_json()["sender_has_retransmits"] == 1
    assert Results().as_json()["sender_has_retransmits"] == -1


def test_results_may_lack_times() -> None:
    assert parse_results({"streams": [{"id": 1, "bytes": 5}]}, 2.5).flows[1].seconds == 2.5


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"streams": 5},
        {"streams": [5]},
        {"streams": [{"id": -1}]},
        {"streams": [{"id": 1, "bytes": "x"}]},
        {"streams": [{"id": 1, "bytes": 1, "end_time": -1}]},
        {"streams": [{"id": 1, "bytes": 1}] * 257},
        {"streams": [], "cpu_util_total": "all"},
    ],
)
def test_impossible_results(fields: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_results(fields, 1.0)
    assert caught.value.code is Code.RESULTS


# --- The control connection -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        (b"\xff", BusyError, "another test"),
        (b"\xfe" + struct.pack("!ii", 142, 0), ServerError, "142: it wants a user name"),
        (b"\xfe" + struct.pack("!ii", 99999, 1), ServerError, "error 99999$"),
        (b"\x0b", TerminatedError, "the server has ended"),
        (b"\x02", ProtocolError, "has sent TEST_RUNNING, where TEST_START was to come"),
        (b"H", ProtocolError, "has sent state 72, where TEST_START"),
        (b"", GoneError, "has closed"),
        (b"\xfe\0", GoneError, "has closed"),
    ],
)
async def test_states_that_were_not_expected(said: bytes, error: type[Iperf3Error], words: str) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(said)
    await theirs.send_eof()
    with pytest.raises(error, match=words):
        await Control(ours, "server").expect(State.TEST_START)


def test_no_byte_of_a_control_connection_waits_for_an_acknowledgment() -> None:
    changes: dict[str, object] = {}

    class OurStream:
        set = staticmethod(changes.update)

    Control(OurStream(), "server")  # type: ignore[arg-type]
    assert changes == {"nodelay": True}


async def test_a_client_can_not_turn_its_server_away() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(b"\xff\xfe")
    for name in ("ACCESS_DENIED", "SERVER_ERROR"):
        with pytest.raises(ProtocolError, match=f"the client has sent {name}"):
            await Control(ours, "client").expect(State.TEST_END)


def framed(text: bytes) -> bytes:
    return struct.pack("!I", len(text)) + text


NO_JSON = [
    framed(b""),
    framed(b"{"),
    framed(b"hello"),
    framed(b"[1]"),
    framed(b"5"),
    framed(b"null"),
    framed(b"\xff\xfe\xfd"),
    framed(b'{"time": NaN}'),
    framed(b'{"time": -Infinity}'),
    framed(b'{"time": 1e999}'),
    framed(b'{"time": ' + b"9" * 10_000 + b"}"),
    framed(b"[" * 60_000),
    framed(b'{"a":' * 10_000),
    framed(b" " * PARAMETERS_SIZE),
    struct.pack("!I", PARAMETERS_SIZE + 1),
    struct.pack("!I", 0xFFFFFFFF) + b"x" * 100_000,
    struct.pack("!I", 0x80000000),
    b"GET / HTTP/1.1\r\n\r\n",
]


@pytest.mark.parametrize("said", NO_JSON, ids=lambda said: repr(said[:14]))
async def test_what_is_no_json_is_refused_and_the_server_goes_on(said: bytes, autojump_clock: object) -> None:
    async with world() as net:
        control = await net.stranger()
        await control.expect(State.PARAM_EXCHANGE)
        await control.send(said)
        with pytest.raises(ServerError) as caught:
            await control.expect(State.CREATE_STREAMS)
        assert caught.value.code == (Code.DURATION if b"1e999" in said else Code.PARAMETERS)
        assert len(net.log.errors[0]) < 200
        await net.works()


@pytest.mark.parametrize(("change", "code"), IMPOSSIBLE)
async def test_impossible_parameters_are_answered(change: dict[str, Any], code: Code, autojump_clock: object) -> None:
    async with world() as net:
        control = await net.stranger()
        await control.expect(State.PARAM_EXCHANGE)
        await control.send_json(REAL | change)
        with pytest.raises(ServerError) as caught:
            await control.expect(State.CREATE_STREAMS)
        assert caught.value.code == code
        await net.works()


@pytest.mark.parametrize("said", NO_JSON[:13], ids=lambda said: repr(said[:14]))
async def test_results_that_are_no_json(said: bytes, autojump_clock: object) -> None:
    async with world() as net:
        control = await net.stranger(cookie := make_cookie())
        await up_to(State.EXCHANGE_RESULTS, control, net.network.connect, cookie)
        await control.send(said)
        with pytest.raises(ServerError, match="error 117"):
            await control.expect(State.DISPLAY_RESULTS)
        await net.works()


async def test_nonsense_instead_of_a_state(autojump_clock: object) -> None:
    async with world() as net:
        for value in range(-128, 128):
            if value in (State.TEST_END, State.CLIENT_TERMINATE, State.SERVER_TERMINATE):
                continue
            control = await net.stranger(cookie := make_cookie())
            await up_to(State.TEST_RUNNING, control, net.network.connect, cookie)
            await control.send(struct.pack("!b", value) * 100)
            with pytest.raises(ServerError, match="error 110: it did not expect our message"):
                await control.expect(State.EXCHANGE_RESULTS)
            await control.stream.aclose()
        assert all("where TEST_END was to come" in error for error in net.log.errors)
        await net.works()


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        (b"\xff", BusyError, "another test"),
        (b"\x0a", ProtocolError, "CREATE_STREAMS, where PARAM_EXCHANGE"),
        (b"\x09\xfe" + struct.pack("!ii", 6, 0), ServerError, "too many streams"),
        (b"\x09\x0a\x01\x02\xfe" + struct.pack("!ii", 200, 0), ServerError, "a data connection failed"),
        (b"\x09\x0a\x01\x02\x0b", TerminatedError, "has ended the test"),
        (b"\x09\x0a\x01\x02\x04", ProtocolError, "TEST_END, where EXCHANGE_RESULTS"),
        (b"\x09\x0a\x01\x02\x0d", ProtocolError, "ends a test that was not over"),
        (b"SSH-2.0-OpenSSH\r\n", ProtocolError, "state 83"),
    ],
)
async def test_servers_that_say_something_else(
    said: bytes, error: type[Iperf3Error], words: str, autojump_clock: object
) -> None:
    with pytest.raises(error, match=words):
        await served_with(said, Parameters(time=10, rate=8_000))


@pytest.mark.parametrize(
    "said", [framed(b"{"), framed(b"{}"), framed(b'{"streams":[]}'), struct.pack("!I", 1 << 30), *NO_JSON[:8]]
)
async def test_servers_with_impossible_results(said: bytes, autojump_clock: object) -> None:
    with pytest.raises(ProtocolError, match=r"JSON|results|stream"):
        await served_with(b"\x09\x0a\x01\x02", PARAMETERS, after=b"\x0d" + said + b"\x0e")


async def served_with(said: bytes, parameters: Parameters, after: bytes = b"") -> None:
    """Run a client against a server that says so from the beginning, and `after` at the end of the test."""
    network = Network()
    heard: list[bytes] = []

    async def server() -> None:
        control = await network.listener.accept()
        await control.send_all(said)
        while piece := await control.receive_some():
            heard.append(bytes(piece))
            if piece == b"\x04":
                await control.send_all(after)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server)
        try:
            await Client(network.connect, parameters, limits=LIMITS).run()
        except Iperf3Error as error:
            nursery.cancel_scope.cancel()
            caught = error
    raise caught
