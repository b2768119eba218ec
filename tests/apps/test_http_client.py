"""The client against answers written by hand, and against our own server. Streams in memory, virtual time."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from stack.apps.http import (
    Exchange,
    HttpClient,
    HttpError,
    TooManyRedirectsError,
    TruncatedError,
    UnsupportedURLError,
    serve_http,
)
from stack.apps.http.client import parse_url

Stream = trio.abc.HalfCloseableStream


class Net:
    """Opens streams to a server, and remembers where to."""

    def __init__(self, nursery: trio.Nursery, server: Callable[[Stream], Awaitable[None]]) -> None:
        self.nursery = nursery
        self.server = server
        self.opened: list[tuple[str, int]] = []

    async def open(self, host: str, port: int) -> Stream:
        self.opened.append((host, port))
        ours, theirs = trio.testing.memory_stream_pair()
        self.nursery.start_soon(self.server, theirs)
        await trio.lowlevel.checkpoint()
        return ours


def says(*answers: str | bytes, then: str = "close") -> Callable[[Stream], Awaitable[None]]:
    """A server that gives these answers, one for each request that it reads, and then closes or waits."""

    async def server(stream: Stream) -> None:
        for answer in answers:
            heard = b""
            while b"\r\n\r\n" not in heard:
                piece = await stream.receive_some()
                if not piece:
                    return
                heard += bytes(piece)
            raw = answer.replace("\n", "\r\n").encode() if isinstance(answer, str) else answer
            await stream.send_all(raw)
        if then == "close":
            await stream.aclose()
        else:
            while await stream.receive_some():
                pass

    return server


def answers(handler: Callable[[Exchange], Awaitable[None]]) -> Callable[[Stream], Awaitable[None]]:
    async def server(stream: Stream) -> None:
        await serve_http(stream, handler)

    return server


async def echo_request(exchange: Exchange) -> None:
    text = "\n".join([f"{exchange.method} {exchange.target}", *sorted(map(": ".join, exchange.headers.items()))])
    await exchange.respond(200, text.encode())


OK = "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"


@pytest.fixture
async def net(nursery: trio.Nursery) -> Callable[[Callable[[Stream], Awaitable[None]]], Net]:
    return lambda server: Net(nursery, server)


MakeNet = Callable[[Callable[[Stream], Awaitable[None]]], Net]


async def test_a_request_as_it_arrives(net: MakeNet) -> None:
    world = net(answers(echo_request))
    async with (
        HttpClient(world.open) as client,
        client.get("http://[fd00::1]:8080/a b?c=d#e", headers={"X-A": "1"}) as response,
    ):
        assert (response.status, response.reason) == (200, "OK")
        assert response.url == "http://[fd00::1]:8080/a%20b?c=d"
        assert (await response.read()).decode().split("\n") == [
            "GET /a%20b?c=d",
            "accept-encoding: identity",
            "accept: */*",
            "host: [fd00::1]:8080",
            "user-agent: tcpstack",
            "x-a: 1",
        ]
    assert world.opened == [("fd00::1", 8080)]


async def test_the_connection_is_kept(net: MakeNet) -> None:
    world = net(answers(echo_request))
    async with HttpClient(world.open) as client:
        for _ in range(50):
            async with client.get("http://h/") as response:
                await response.read()
        async with client.get("http://other/") as response:
            await response.read()
    assert world.opened == [("h", 80), ("other", 80)]


async def test_close_on_either_side_opens_another(net: MakeNet) -> None:
    world = net(says("HTTP/1.1 200 OK\nConnection: close\nContent-Length: 5\n\nhello"))
    async with HttpClient(world.open) as client:
        for _ in range(2):
            async with client.get("http://h/") as response:
                assert await response.read() == b"hello"
    assert len(world.opened) == 2
    world = net(answers(echo_request))
    async with HttpClient(world.open, close=True) as client:
        for _ in range(2):
            async with client.get("http://h/") as response:
                assert b"connection: close" in await response.read()
    assert len(world.opened) == 2


async def test_a_body_left_unread_opens_another(net: MakeNet) -> None:
    world = net(answers(echo_request))
    async with HttpClient(world.open) as client:
        for _ in range(2):
            async with client.get("http://h/") as response:
                assert response.status == 200
    assert len(world.opened) == 2


async def test_a_kept_connection_that_the_server_closed_is_replaced(net: MakeNet) -> None:
    world = net(says(OK))
    async with HttpClient(world.open) as client:
        for _ in range(3):
            async with client.get("http://h/") as response:
                assert await response.read() == b"hello"
    assert len(world.opened) == 3


async def test_the_server_that_said_close_goes_first(net: MakeNet, autojump_clock: trio.testing.MockClock) -> None:
    closed: list[float] = []

    async def server(stream: Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        await trio.sleep(0.5)
        await stream.send_eof()
        assert await stream.receive_some() == b""
        closed.append(trio.current_time())

    async with HttpClient(net(server).open) as client, client.get("http://h/") as response:
        assert await response.read() == b""
    await trio.testing.wait_all_tasks_blocked()
    assert closed == [pytest.approx(0.5)]


async def test_a_server_that_said_close_and_does_not_is_left(
    net: MakeNet, autojump_clock: trio.testing.MockClock
) -> None:
    world = net(says("HTTP/1.1 200 OK\nConnection: close\nContent-Length: 0\n\n", then="wait"))
    async with HttpClient(world.open) as client, client.get("http://h/") as response:
        await response.read()
    assert trio.current_time() == pytest.approx(1)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK, b"hello"),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n2\nde\n0\n\n", b"abcde"),
        ("HTTP/1.0 200 OK\n\nuntil the end", b"until the end"),
        ("HTTP/1.1 204 No Content\n\n", b""),
        ("HTTP/1.1 100 Continue\n\nHTTP/1.1 103 Early Hints\nLink: x\n\n" + OK, b"hello"),
        ("HTTP/1.1 404 Not Found\nContent-Length: 2\n\nno", b"no"),
    ],
)
async def test_bodies(net: MakeNet, answer: str, body: bytes) -> None:
    async with HttpClient(net(says(answer)).open) as client, client.get("http://h/") as response:
        assert await response.read() == body
        assert response.received == len(body)


async def test_head_has_no_body(net: MakeNet) -> None:
    world = net(says("HTTP/1.1 200 OK\nContent-Length: 5\n\n", "HTTP/1.1 200 OK\nContent-Length: 6\n\n"))
    async with HttpClient(world.open) as client:
        for length in ("5", "6"):
            async with client.get("http://h/", method="HEAD") as response:
                assert (response.headers["content-length"], response.length) == (length, 0)
                assert await response.read() == b""
    assert len(world.opened) == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("HTTP/1.1 200 OK\nContent-Length: 10\n\nabc", "received 3 of 10 bytes"),
        ("HTTP/1.1 200 OK\nContent-Length: 10\n\n", "received 0 of 10 bytes"),
        (
            "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nab",
            "received 2 bytes, and then the connection ended within the body",
        ),
        (
            "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n",
            "received 3 bytes, and then the connection ended within the body",
        ),
    ],
)
async def test_a_body_cut_short(net: MakeNet, answer: str, message: str) -> None:
    async with HttpClient(net(says(answer)).open) as client:
        with pytest.raises(TruncatedError, match=f"^{message}$"):
            async with client.get("http://h/") as response:
                await response.read()


async def test_a_reset_within_the_body_says_how_far_it_came(net: MakeNet) -> None:
    class Resets(trio.abc.HalfCloseableStream):
        answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"]  # noqa: RUF012

        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            if self.answers:
                return self.answers.pop()
            raise trio.BrokenResourceError("reset") from ConnectionResetError()

        async def send_all(self, data: object) -> None:
            await trio.lowlevel.checkpoint()

        async def wait_send_all_might_not_block(self) -> None:
            await trio.lowlevel.checkpoint()

        async def send_eof(self) -> None:
            await trio.lowlevel.checkpoint()

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

    async def open_stream(host: str, port: int) -> Stream:
        return Resets()

    async with HttpClient(open_stream) as client:
        with pytest.raises(TruncatedError, match="received 3 of 10 bytes") as caught:
            async with client.get("http://h/") as response:
                await response.read()
    assert isinstance(caught.value.__cause__, trio.BrokenResourceError)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "without an answer"),
        (b"HTTP/1.1 200 O", "within the head"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "broke the protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "broke the protocol"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "broke the protocol"),
    ],
)
async def test_what_is_no_answer(net: MakeNet, answer: bytes, message: str) -> None:
    world = net(says(answer, then="wait" if b"\r\n\r\n" in answer else "close"))
    async with HttpClient(world.open) as client:
        with pytest.raises(HttpError, match=message):
            async with client.get("http://h/") as response:
                await response.read()


async def test_silence(net: MakeNet, autojump_clock: trio.testing.MockClock) -> None:
    for answer in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"):
        start = trio.current_time()
        async with HttpClient(net(says(answer, then="wait")).open, timeout=20) as client:
            with pytest.raises(TimeoutError, match="sent nothing for 20 s"):
                async with client.get("http://h/") as response:
                    await response.read()
        assert trio.current_time() - start == pytest.approx(20)


async def test_redirects(net: MakeNet) -> None:
    async def handler(exchange: Exchange) -> None:
        places = {"/a": "/b?x", "/b?x": "http://other:81/c", "/c": "d/e"}
        if exchange.target in places:
            await exchange.respond(302, b"this way", [("location", places[exchange.target])])
        else:
            await exchange.respond(200, exchange.target.encode())

    world = net(answers(handler))
    async with HttpClient(world.open) as client, client.get("http://h/a") as response:
        assert response.url == "http://other:81/d/e"
        assert await response.read() == b"/d/e"
    assert world.opened == [("h", 80), ("other", 81)]


async def test_redirects_without_end(net: MakeNet) -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.respond(301, headers=[("location", exchange.target + "x")])

    async with HttpClient(net(answers(handler)).open) as client:
        with pytest.raises(TooManyRedirectsError, match="more than 3"):
            async with client.get("http://h/", max_redirects=3):
                pass
        async with client.get("http://h/", max_redirects=0) as response:
            assert response.status == 301


async def test_a_redirect_to_https_says_why_it_ends(net: MakeNet) -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.respond(301, headers=[("location", "https://h/")])

    async with HttpClient(net(answers(handler)).open) as client:
        with pytest.raises(UnsupportedURLError, match="https is not supported"):
            async with client.get("http://h/"):
                pass


async def test_a_redirect_to_nonsense(net: MakeNet) -> None:
    world = net(says("HTTP/1.1 301 Gone\nLocation: http://[/\nContent-Length: 0\n\n"))
    async with HttpClient(world.open) as client:
        with pytest.raises(UnsupportedURLError, match="not a URL"):
            async with client.get("http://h/"):
                pass


async def test_a_body_longer_than_wanted(net: MakeNet) -> None:
    async with HttpClient(net(says(OK)).open) as client:
        with pytest.raises(HttpError, match="longer than 4"):
            async with client.get("http://h/") as response:
                await response.read(4)


@pytest.mark.parametrize(
    ("text", "host", "port", "target", "authority"),
    [
        ("http://10.9.0.1/", "10.9.0.1", 80, "/", "10.9.0.1"),
        ("http://10.9.0.1", "10.9.0.1", 80, "/", "10.9.0.1"),
        ("10.9.0.1/x", "10.9.0.1", 80, "/x", "10.9.0.1"),
        ("http://10.9.0.1:80/", "10.9.0.1", 80, "/", "10.9.0.1"),
        ("http://10.9.0.1:81/", "10.9.0.1", 81, "/", "10.9.0.1:81"),
        ("http://[fd00::1]/", "fd00::1", 80, "/", "[fd00::1]"),
        ("http://[fd00::1]:81/", "fd00::1", 81, "/", "[fd00::1]:81"),
        ("http://h?a=b", "h", 80, "/?a=b", "h"),
        ("http://h/a%20b/%C3%A9", "h", 80, "/a%20b/%C3%A9", "h"),
        ("http://h/é b", "h", 80, "/%C3%A9%20b", "h"),
        ("http://bücher.example/", "xn--bcher-kva.example", 80, "/", "xn--bcher-kva.example"),
    ],
)
def test_urls(text: str, host: str, port: int, target: str, authority: str) -> None:
    url = parse_url(text)
    assert (url.host, url.port, url.target, url.authority) == (host, port, target, authority)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("https://h/", "https is not supported"),
        ("ftp://h/", "only http"),
        ("http:///x", "names no host"),
        ("http://h:0/", "usable port"),
        ("http://h:99999/", "not a URL"),
        ("http://h:x/", "not a URL"),
        ("http://[fd00::1/", "not a URL"),
        ("http://user@h/", "user name"),
        ("http://\u2100/", "not a URL"),
        ("http://a b/", "not a host name"),
        ("http://a\x01/", "not a host name"),
        ("http://" + "é" * 70, "not a host name"),
        ("", "names no host"),
    ],
)
def test_urls_refused(text: str, message: str) -> None:
    with pytest.raises(UnsupportedURLError, match=message):
        parse_url(text)


PIECES = st.one_of(
    st.binary(max_size=50),
    st.sampled_from(
        [
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.0 301 Moved\r\n",
            b"HTTP/1.1 100 Continue\r\n",
            b"HTTP/1.1 101 Switching\r\n",
            b"Location: /x\r\n",
            b"Location: http://[\r\n",
            b"Content-Length: 3\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Connection: close\r\n",
            b"\r\n",
            b"3\r\nabc\r\n",
            b"0\r\n\r\n",
            b"abc",
        ]
    ),
)


@given(st.lists(PIECES, max_size=12))
def test_whatever_a_server_sends_is_an_answer_or_an_http_error(pieces: list[bytes]) -> None:
    async def converse() -> None:
        async with trio.open_nursery() as nursery:
            world = Net(nursery, says(b"".join(pieces)))
            async with HttpClient(world.open) as client:
                with contextlib.suppress(HttpError):
                    async with client.get("http://h/") as response:
                        await response.read()
            nursery.cancel_scope.cancel()

    trio.run(converse, clock=trio.testing.MockClock(autojump_threshold=0))
