"""One connection of the server: persistence, closing, time-outs, refusals. Virtual time, no network."""

from __future__ import annotations

import contextlib
import logging

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from stack.apps.http import Exchange, Limits, LogRecord, serve_http
from tests.apps.helpers import Peer, http_handler, talking_to


async def hello(exchange: Exchange) -> None:
    await exchange.respond(200, b"hello", [("content-type", "text/plain")])


async def count(exchange: Exchange) -> None:
    size = 0
    async for piece in exchange.body():
        size += len(piece)
    await exchange.respond(200, str(size).encode())


async def test_an_answer() -> None:
    async with talking_to(http_handler(hello)) as peer:
        reply = await peer.asks("GET / HTTP/1.1\nHost: x")
        assert (reply.status, reply.body) == (200, b"hello")
        assert reply.headers["content-length"] == "5"
        assert reply.headers["content-type"] == "text/plain"
        assert reply.headers["date"].endswith("GMT")
        assert "connection" not in reply.headers


async def test_many_requests_on_one_connection() -> None:
    async with talking_to(http_handler(hello)) as peer:
        for _ in range(50):
            assert (await peer.asks("GET / HTTP/1.1\nHost: x")).body == b"hello"


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def name(exchange: Exchange) -> None:
        await exchange.respond(200, exchange.target.encode())

    async with talking_to(http_handler(name)) as peer:
        await peer.says("GET /a HTTP/1.1\nHost: x\n\nGET /b HTTP/1.1\nHost: x\n\nGET /c HTTP/1.1\nHost: x\n\n")
        assert [(await peer.hears()).body for _ in range(3)] == [b"/a", b"/b", b"/c"]


async def test_connection_close_from_the_client(autojump_clock: trio.testing.MockClock) -> None:
    async with talking_to(http_handler(hello)) as peer:
        reply = await peer.asks("GET / HTTP/1.1\nHost: x\nConnection: close")
        assert reply.headers["connection"] == "close"
        await peer.hears_the_end()
        assert trio.current_time() < 5  # our end came at once, before the time to linger was over


async def test_connection_close_from_the_server() -> None:
    async def last(exchange: Exchange) -> None:
        await exchange.respond(200, b"bye", [("connection", "close")])

    async with talking_to(http_handler(last)) as peer:
        assert (await peer.asks("GET / HTTP/1.1\nHost: x")).body == b"bye"
        await peer.hears_the_end()


async def test_http_1_0_gets_one_answer_delimited_by_the_end() -> None:
    async def unsized(exchange: Exchange) -> None:
        await exchange.start(200, [])
        await exchange.send(b"one")
        await exchange.send(b"two")

    async with talking_to(http_handler(unsized)) as peer:
        reply = await peer.asks("GET / HTTP/1.0")
        assert reply.body == b"onetwo"
        assert "transfer-encoding" not in reply.headers
        await peer.hears_the_end()


async def test_an_unsized_answer_is_chunked_and_the_connection_goes_on() -> None:
    async def unsized(exchange: Exchange) -> None:
        await exchange.start(200, [])
        await exchange.send(b"one")

    async with talking_to(http_handler(unsized)) as peer:
        for _ in range(2):
            reply = await peer.asks("GET / HTTP/1.1\nHost: x")
            assert reply.headers["transfer-encoding"] == "chunked"
            assert reply.body == b"one"


async def test_head_has_the_length_and_no_body() -> None:
    async with talking_to(http_handler(hello)) as peer:
        for _ in range(2):
            reply = await peer.asks("HEAD / HTTP/1.1\nHost: x")
            assert (reply.headers["content-length"], reply.body) == ("5", b"")


async def test_a_request_then_fin_is_answered() -> None:
    async with talking_to(http_handler(hello)) as peer:
        await peer.says("GET / HTTP/1.1\nHost: x\n\n")
        await peer.stream.send_eof()
        assert (await peer.hears()).body == b"hello"
        await peer.hears_the_end()


async def test_body_of_known_length() -> None:
    async with talking_to(http_handler(count)) as peer:
        for size in (0, 1, 100_000):
            await peer.says(f"PUT / HTTP/1.1\nHost: x\nContent-Length: {size}\n\n".encode().replace(b"\n", b"\r\n"))
            await peer.says(b"x" * size)
            assert (await peer.hears()).body == str(size).encode()


async def test_body_in_chunks() -> None:
    async with talking_to(http_handler(count)) as peer:
        await peer.says("PUT / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n3\nabc\n2\nde\n0\n\n")
        assert (await peer.hears()).body == b"5"


async def test_a_client_that_waits_is_asked_for_its_body() -> None:
    async with talking_to(http_handler(count)) as peer:
        await peer.says("PUT / HTTP/1.1\nHost: x\nContent-Length: 5\nExpect: 100-continue\n\n")
        assert (await peer.stream.receive_some()).startswith(b"HTTP/1.1 100 ")
        await peer.says(b"12345")
        reply = await peer.hears()
        assert (reply.status, reply.body) == (200, b"5")


async def test_a_client_that_waits_and_is_refused_hears_no_100_and_the_connection_closes() -> None:
    async with talking_to(http_handler(hello)) as peer:
        await peer.says("PUT / HTTP/1.1\nHost: x\nContent-Length: 5\nExpect: 100-continue\n\n")
        reply = await peer.hears()
        assert (reply.status, reply.before) == (200, [])
        assert reply.headers["connection"] == "close"
        await peer.hears_the_end()


async def test_a_short_unwanted_body_keeps_the_connection() -> None:
    async with talking_to(http_handler(hello)) as peer:
        for _ in range(2):
            await peer.says("PUT / HTTP/1.1\nHost: x\nContent-Length: 5\n\nabcde")
            reply = await peer.hears()
            assert reply.body == b"hello"
            assert "connection" not in reply.headers


async def test_a_long_unwanted_body_is_read_and_dropped_before_the_close() -> None:
    async with talking_to(http_handler(hello)) as peer:
        await peer.says("PUT / HTTP/1.1\nHost: x\nContent-Length: 10000000\n\n")
        for _ in range(100):
            await peer.says(b"x" * 100_000)
        reply = await peer.hears()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        await peer.hears_the_end()


async def test_silence_before_a_request_closes_without_a_word(autojump_clock: trio.testing.MockClock) -> None:
    async with talking_to(http_handler(hello, limits=Limits(idle=60))) as peer:
        await peer.hears_the_end()
        assert trio.current_time() == pytest.approx(60)


async def test_silence_between_requests(autojump_clock: trio.testing.MockClock) -> None:
    async with talking_to(http_handler(hello, limits=Limits(idle=60))) as peer:
        await trio.sleep(59)
        await peer.asks("GET / HTTP/1.1\nHost: x")
        await trio.sleep(59)
        await peer.asks("GET / HTTP/1.1\nHost: x")
        await peer.hears_the_end()
        assert trio.current_time() == pytest.approx(59 + 59 + 60)


async def test_a_head_that_never_ends_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    async with talking_to(http_handler(hello, limits=Limits(idle=60, head=15))) as peer:
        await trio.sleep(50)
        await peer.says("GET / HTTP/1.1\n")
        await trio.sleep(14)
        await peer.says("Host: x\n")  # a byte now and then doesn't help
        reply = await peer.hears()
        assert reply.status == 408
        assert trio.current_time() == pytest.approx(50 + 15)
        await peer.hears_the_end()


async def test_a_body_that_stops_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    async with talking_to(http_handler(count, limits=Limits(body=30))) as peer:
        await peer.says("PUT / HTTP/1.1\nHost: x\nContent-Length: 100\n\n")
        await trio.sleep(29)
        await peer.says(b"x")
        assert (await peer.hears()).status == 408
        assert trio.current_time() == pytest.approx(29 + 30)


async def test_a_peer_that_never_closes_is_left_after_lingering(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with talking_to(http_handler(hello, limits=Limits(linger=5))) as peer:
        await peer.asks("GET / HTTP/1.1\nHost: x\nConnection: close")
        await peer.hears_the_end()
        await trio.sleep(4)
        await peer.says(b"still there")
        await trio.sleep(4)
        await peer.says(b"and there")
        await trio.sleep(6)
        with pytest.raises(trio.BrokenResourceError):
            await peer.says(b"nobody reads this")


async def test_a_peer_that_talks_on_for_ever_is_left_too(autojump_clock: trio.testing.MockClock) -> None:
    async with talking_to(http_handler(hello, limits=Limits(linger=5))) as peer:
        await peer.asks("GET / HTTP/1.1\nHost: x\nConnection: close")
        for _ in range(30):
            await peer.says(b"more")
            await trio.sleep(1)
        with pytest.raises(trio.BrokenResourceError):
            await peer.says(b"more")


async def test_a_peer_that_reads_nothing_is_cut_off(autojump_clock: trio.testing.MockClock) -> None:
    resets: list[str] = []

    class Clogged(trio.abc.HalfCloseableStream):
        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            return b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

        async def send_all(self, data: object) -> None:
            await trio.sleep_forever()

        async def wait_send_all_might_not_block(self) -> None:
            await trio.sleep_forever()

        async def send_eof(self) -> None:
            raise AssertionError("not to a peer that reads nothing")

        def abort(self) -> None:
            resets.append("reset")

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

    await serve_http(Clogged(), hello, limits=Limits(send=60))
    assert resets == ["reset"]
    assert trio.current_time() == pytest.approx(60)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("nonsense\n\n", 400),
        ("GET / HTTP/1.1\n\n", 400),  # no Host: RFC 9112 3.2
        ("GET / HTTP/1.1\nHost: x\nContent-Length: x\n\n", 400),
        ("GET / HTTP/1.1\nHost: x\nContent-Length: 1\nContent-Length: 2\n\n", 400),
        ("GET / HTTP/1.1\nHost: x\nTransfer-Encoding: gzip\n\n", 501),
        ("GET / HTTP/1.1\nHost: x\nLong: " + "x" * 70_000, 431),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # how TLS begins
    ],
)
async def test_what_is_no_request_is_refused(sent: str, status: int) -> None:
    async with talking_to(http_handler(hello)) as peer:
        await peer.says(sent)
        reply = await peer.hears()
        assert reply.status == status
        assert reply.headers["connection"] == "close"
        await peer.hears_the_end()


async def test_a_body_cut_short_is_no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    async with talking_to(http_handler(count)) as peer:
        await peer.says("PUT / HTTP/1.1\nHost: x\nContent-Length: 100\n\nabc")
        await peer.stream.send_eof()
        assert (await peer.hears()).status == 400
        await peer.hears_the_end()
    assert not caplog.records


async def test_a_peer_that_vanishes_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async def much(exchange: Exchange) -> None:
        await exchange.start(200, [])
        while True:
            await exchange.send(b"x" * 1000)

    async with talking_to(http_handler(much)) as peer:
        await peer.says("GET / HTTP/1.1\nHost: x\n\n")
        await peer.stream.receive_some(10)
        await peer.stream.aclose()
    assert not caplog.records


async def test_a_failing_handler_is_a_500_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(exchange: Exchange) -> None:
        raise RuntimeError("by intention")

    async with talking_to(http_handler(fails)) as peer:
        for _ in range(2):
            assert (await peer.asks("GET /what HTTP/1.1\nHost: x")).status == 500
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert "by intention" in caplog.text
    assert "/what" in caplog.text


async def test_a_handler_that_says_nothing_is_a_500() -> None:
    async def silent(exchange: Exchange) -> None:
        pass

    async with talking_to(http_handler(silent)) as peer:
        assert (await peer.asks("GET / HTTP/1.1\nHost: x")).status == 500


async def test_a_handler_that_fails_late_leaves_the_stream_to_be_reset() -> None:
    async def fails(exchange: Exchange) -> None:
        await exchange.start(200, [("content-length", "10")])
        await exchange.send(b"abc")
        raise RuntimeError("by intention")

    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    with pytest.raises(RuntimeError, match="by intention"):
        await serve_http(ours, fails)
    await ours.send_all(b"it is still open")


async def test_every_request_is_logged() -> None:
    log: list[LogRecord] = []
    async with talking_to(http_handler(count, log=log.append)) as peer:
        await peer.says("PUT /a HTTP/1.1\nHost: x\nContent-Length: 5\n\nabcde")
        await peer.hears()
        await peer.asks("HEAD /b HTTP/1.1\nHost: x")
    assert log == [
        LogRecord(method="PUT", target="/a", status=200, bytes_sent=1, bytes_received=5),
        LogRecord(method="HEAD", target="/b", status=200, bytes_sent=0, bytes_received=0),
    ]


async def test_repeated_headers_are_joined() -> None:
    async def show(exchange: Exchange) -> None:
        await exchange.respond(200, exchange.headers["x-a"].encode())

    async with talking_to(http_handler(show)) as peer:
        assert (await peer.asks("GET / HTTP/1.1\nHost: x\nX-A: 1\nX-A: 2")).body == b"1, 2"


async def test_cancelling_ends_the_connection(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    with trio.move_on_after(1) as scope:
        await serve_http(ours, hello)
    assert scope.cancelled_caught
    await Peer(theirs).says("GET / HTTP/1.1\n")  # the stream is its owner's again


async def test_an_upgrade_that_we_do_not_speak_is_ignored() -> None:
    async with talking_to(http_handler(hello)) as peer:
        head = "GET / HTTP/1.1\nHost: x\nConnection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMA"
        for _ in range(2):
            assert (await peer.asks(head)).body == b"hello"


PIECES = st.one_of(
    st.binary(max_size=50),
    st.sampled_from(
        [
            b"GET / HTTP/1.1\r\n",
            b"PUT / HTTP/1.0\r\n",
            b"Host: x\r\n",
            b"\r\n",
            b"\n",
            b"Content-Length: 3\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"3\r\nabc\r\n",
            b"0\r\n\r\n",
            b"Expect: 100-continue\r\n",
            b"abc",
        ]
    ),
)


@given(st.lists(PIECES, max_size=12))
def test_nothing_that_a_peer_sends_raises(pieces: list[bytes]) -> None:
    async def converse() -> None:
        async with talking_to(http_handler(count)) as peer:
            with contextlib.suppress(trio.BrokenResourceError):
                for piece in pieces:
                    await peer.says(piece)
                await peer.stream.send_eof()
            while await peer.stream.receive_some():
                pass

    trio.run(converse, clock=trio.testing.MockClock(autojump_threshold=0))
