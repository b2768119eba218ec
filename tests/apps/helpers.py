"""A conversation with a server over a pair of streams in memory, and files to serve."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import h11
import trio
import trio.testing

from stack.apps.http import Exchange, Limits, LogRecord, serve_http

StreamHandler = Callable[[trio.abc.HalfCloseableStream], Awaitable[None]]


@dataclass
class Reply:
    """An answer as the peer saw it."""

    status: int
    headers: dict[str, str]
    body: bytes
    before: list[int] = field(default_factory=list)  #: informational answers that came first


class Peer:
    """The client's end of a connection: raw bytes out, whole answers in."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream
        self._left = b""
        self.ended = False

    async def says(self, text: str | bytes) -> None:
        await self.stream.send_all(text.replace("\n", "\r\n").encode() if isinstance(text, str) else text)

    async def hears(self, method: str = "GET") -> Reply:
        """The next answer, read by h11 from what comes."""
        http = h11.Connection(h11.CLIENT)
        http.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        http.send(h11.EndOfMessage())
        if self._left:
            http.receive_data(self._left)
        reply = Reply(0, {}, b"")
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(bytes(await self.stream.receive_some()))
            elif isinstance(event, h11.InformationalResponse):
                reply.before.append(event.status_code)
            elif isinstance(event, h11.Response):
                reply.status = event.status_code
                reply.headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
            elif isinstance(event, h11.Data):
                reply.body += bytes(event.data)
            else:
                assert isinstance(event, h11.EndOfMessage), event
                self._left = http.trailing_data[0]
                return reply

    async def asks(self, head: str) -> Reply:
        """Send a head (a blank line is added) and hear the answer."""
        await self.says(head.strip("\n") + "\n\n")
        return await self.hears(head.split()[0])

    async def hears_the_end(self) -> None:
        assert not self._left
        assert await self.stream.receive_some() == b""


@contextlib.asynccontextmanager
async def talking_to(handler: StreamHandler) -> AsyncIterator[Peer]:
    """A peer of a connection that `handler` serves; on leaving, the peer closes and the handler must end."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(handler, ours)
        yield Peer(theirs)
        await theirs.aclose()


def http_handler(
    answer: Callable[[Exchange], Awaitable[None]],
    *,
    limits: Limits | None = None,
    log: Callable[[LogRecord], None] | None = None,
) -> StreamHandler:
    async def handler(stream: trio.abc.HalfCloseableStream) -> None:
        await serve_http(stream, answer, limits=limits, log=log)

    return handler
