"""The client's half: requests over a connection that is kept while both sides allow it.

    async with HttpClient(host.open_tcp_stream) as client:
        async with client.get("http://10.9.0.1/file") as response:
            async for piece in response.body():
                ...

One client speaks to one server at a time and keeps at most one idle connection; a request elsewhere, or after
a body left unread, opens another. An answer shorter than it promised is an error, never a short file. When
the server has said "close" it goes first (RFC 9112 9.6), so that the waiting of TIME-WAIT stays with it.
"""

from __future__ import annotations

import contextlib
import re
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import h11
import trio

from stack.apps.http.message import RECEIVE, Pieces, fields

MAX_REDIRECTS = 10  #: Enough for any server that means to arrive; RFC 9110 15.4 asks for some limit.
CLOSE_WAIT = 1.0  #: Seconds that a server which said "close" gets to close first.

_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+(%[a-z0-9._-]+)?")  # a name, or an address with or without a zone

OpenStream = Callable[[str, int], Awaitable[trio.abc.HalfCloseableStream]]


class HttpError(Exception):
    """The exchange failed in a way that is HTTP's, not the connection's."""


class UnsupportedURLError(HttpError, ValueError):
    """The URL is not one that this client can fetch."""


class TooManyRedirectsError(HttpError):
    """The server sent us round for longer than is sensible."""


class TruncatedError(HttpError):
    """The connection ended within a body: `received` bytes came, of `expected` (None: it was not said)."""

    def __init__(self, received: int, expected: int | None) -> None:
        if expected is not None:
            super().__init__(f"received {received} of {expected} bytes")
        else:
            super().__init__(f"received {received} bytes, and then the connection ended within the body")
        self.received = received
        self.expected = expected


@dataclass(frozen=True, slots=True)
class URL:
    """An http URL, taken apart and made fit for the wire."""

    host: str  #: as `open_stream` wants it: an IPv6 address without brackets
    port: int
    target: str  #: path and query, percent-encoded
    text: str  #: the whole, without a fragment

    @property
    def authority(self) -> str:
        """The Host header (RFC 9110 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 80 else f"{host}:{self.port}"


def parse_url(text: str) -> URL:
    """Take a URL apart; raises `UnsupportedURLError` with the reason in words."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UnsupportedURLError(f"{text!r} is not a URL: {error}") from error
    _check(parts, text)
    if not host or port == 0:
        raise UnsupportedURLError(f"{text!r} names no {'host' if not host else 'usable port'}")
    try:
        host = host if ":" in host or host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise UnsupportedURLError(f"{host!r} is not a host name: {error}") from error
    if not _HOST.fullmatch(host):
        raise UnsupportedURLError(f"{host!r} is not a host name")
    # "%" is left alone: what is encoded already must not be encoded twice.
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?") if parts.query else ""
    url = URL(host, port or 80, path + query, "")
    return URL(url.host, url.port, url.target, f"http://{url.authority}{url.target}")


def _redirected(place: URL, location: str) -> URL:
    try:
        text = urljoin(place.text, location)
    except ValueError as error:
        raise UnsupportedURLError(f"redirected to {location!r}, which is not a URL: {error}") from error
    return parse_url(text)


def _check(parts: SplitResult, text: str) -> None:
    if parts.scheme == "https":
        raise UnsupportedURLError(f"{text}: https is not supported, this client speaks plain http only")
    if parts.scheme != "http":
        raise UnsupportedURLError(f"{text}: only http URLs can be fetched, not {parts.scheme}")
    if "@" in parts.netloc:
        raise UnsupportedURLError(f"{text}: a user name in a URL is not supported")


class Response:
    """The head of an answer, and its body to be read once."""

    def __init__(self, connection: _Connection, head: h11.Response, url: URL, method: str) -> None:
        self._connection = connection
        self.url = url.text
        self.status = head.status_code
        self.reason = head.reason.decode("latin-1")
        self.headers = fields(head.headers)  #: by name in lower case
        length = self.headers.get("content-length")
        chunked = "transfer-encoding" in self.headers
        no_body = method == "HEAD" or self.status in (204, 304)
        #: Bytes that the body will have; None where only its end tells.
        self.length = 0 if no_body else int(length) if length is not None and not chunked else None
        self.received = 0  #: bytes of the body so far

    @property
    def stream(self) -> trio.abc.HalfCloseableStream:
        """The stream below, to ask for its `info()`."""
        return self._connection.stream

    def body(self) -> Pieces:
        """The body, piece by piece. Raises `TruncatedError` where the connection ends before it does."""
        return Pieces(self._read_body)

    async def _read_body(self) -> bytes:
        try:
            event = await self._connection.next_event()
        except (h11.RemoteProtocolError, trio.BrokenResourceError) as error:
            if isinstance(error, h11.RemoteProtocolError) and not self._connection.ended:
                raise HttpError(f"the server broke the protocol: {error}") from error
            raise TruncatedError(self.received, self.length) from error
        if not isinstance(event, h11.Data):
            return b""
        self.received += len(event.data)
        return bytes(event.data)

    async def read(self, limit: int = 16 * 1024 * 1024) -> bytes:
        """The whole body; `HttpError` where it exceeds `limit` bytes."""
        pieces = []
        async for piece in self.body():
            pieces.append(piece)
            if self.received > limit:
                raise HttpError(f"the body is longer than {limit} bytes")
        return b"".join(pieces)


class HttpClient:
    """Fetches URLs over streams from `open_stream(host, port)`; closes what is left on leaving its block.

    `timeout` is in seconds, for each wait: the answer's head, each next piece of its body. Connecting is
    limited by `open_stream` itself. `close` asks for `Connection: close` with every request.
    """

    def __init__(self, open_stream: OpenStream, *, timeout: float = 60.0, close: bool = False) -> None:
        self._open_stream = open_stream
        self._timeout = timeout
        self._close = close
        self._kept: _Connection | None = None

    async def __aenter__(self) -> HttpClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection that was kept, if any."""
        kept, self._kept = self._kept, None
        if kept is not None:
            await kept.stream.aclose()

    @contextlib.asynccontextmanager
    async def get(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        max_redirects: int = MAX_REDIRECTS,
    ) -> AsyncIterator[Response]:
        """Send a GET (or HEAD, OPTIONS: a method without a body), follow redirects, and give the last answer.

        Raises `UnsupportedURLError`, `TooManyRedirectsError`, `HttpError`, `TimeoutError` when nothing comes
        for too long, and what `open_stream` raises. An answer of any status is an answer, not an error.
        """
        place = parse_url(url)
        for _ in range(max_redirects + 1):
            async with self._exchange(place, method, headers or {}) as response:
                location = response.headers.get("location")
                if response.status not in (301, 302, 303, 307, 308) or location is None or max_redirects == 0:
                    yield response
                    return
                async for _piece in response.body():
                    pass
            place = _redirected(place, location)
        raise TooManyRedirectsError(f"more than {max_redirects} redirects, the last to {place.text}")

    @contextlib.asynccontextmanager
    async def _exchange(self, url: URL, method: str, headers: Mapping[str, str]) -> AsyncIterator[Response]:
        request = self._request(url, method, headers)
        connection, head = await self._send(url, request)
        try:
            yield Response(connection, head, url, method)
        except BaseException:
            await trio.aclose_forcefully(connection.stream)
            raise
        if connection.reusable():
            self._kept = connection
        else:
            await connection.aclose()

    def _request(self, url: URL, method: str, headers: Mapping[str, str]) -> h11.Request:
        head = {"host": url.authority, "user-agent": "tcpstack", "accept": "*/*"}
        head["accept-encoding"] = "identity"  # what is asked for is a file, byte for byte
        if self._close:
            head["connection"] = "close"
        head |= {name.lower(): value for name, value in headers.items()}
        return h11.Request(method=method, target=url.target, headers=list(head.items()))

    async def _send(self, url: URL, request: h11.Request) -> tuple[_Connection, h11.Response]:
        """Send on the connection that was kept, or else on a new one.

        A server may close an idle connection at the moment when we use it; then nothing of an answer comes,
        and all our methods may safely be sent again (RFC 9112 9.3.1).
        """
        kept, self._kept = self._kept, None
        if kept is not None:
            if (kept.host, kept.port) == (url.host, url.port):
                with contextlib.suppress(_StaleError):
                    return kept, await kept.ask(request)
            await kept.stream.aclose()
        stream = await self._open_stream(url.host, url.port)
        connection = _Connection(stream, url, self._timeout)
        try:
            return connection, await connection.ask(request)
        except _StaleError as error:
            raise HttpError("the server closed the connection without an answer") from error.__cause__


class _StaleError(Exception):
    """The connection ended before a byte of the answer came."""


class _Connection:
    """A stream to one server, h11's view of it, and the time-out at each wait."""

    def __init__(self, stream: trio.abc.HalfCloseableStream, url: URL, timeout: float) -> None:
        self.stream = stream
        self.host, self.port = url.host, url.port
        self.ended = False  #: the server sent its FIN
        self._http = h11.Connection(h11.CLIENT)
        self._timeout = timeout
        self._began = False

    async def ask(self, request: h11.Request) -> h11.Response:
        """Send a request without a body and wait for the final answer's head; where it fails, close."""
        self._began = False
        try:
            await self._send(request)
            await self._send(h11.EndOfMessage())
            while True:
                event = await self.next_event()
                if isinstance(event, h11.Response):
                    return event
        except (h11.RemoteProtocolError, trio.BrokenResourceError) as error:
            await trio.aclose_forcefully(self.stream)
            if isinstance(error, h11.RemoteProtocolError) and not self.ended:
                raise HttpError(f"the server broke the protocol: {error}") from error
            if self._began:
                raise HttpError("the connection ended within the head of the answer") from error
            raise _StaleError from error
        except BaseException:
            await trio.aclose_forcefully(self.stream)
            raise

    async def next_event(self) -> h11.Event:
        while not isinstance(event := self._http.next_event(), h11.Event):
            with trio.move_on_after(self._timeout) as scope:
                data = await self.stream.receive_some(RECEIVE)
                self.ended = not data
                self._began |= bool(data)
                self._http.receive_data(bytes(data))
            if scope.cancelled_caught:
                raise TimeoutError(f"the server sent nothing for {self._timeout:g} s")
        return event

    async def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            with trio.move_on_after(self._timeout) as scope:
                await self.stream.send_all(data)
            if scope.cancelled_caught:
                raise TimeoutError(f"the server took nothing for {self._timeout:g} s")

    def reusable(self) -> bool:
        """Make ready for the next request, if both sides allow one and the answer was read to its end."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return not self.ended
        return False

    async def aclose(self) -> None:
        """Close; a server that said "close", and has sent all, may do so first."""
        if self._http.their_state is h11.MUST_CLOSE and not self.ended:
            with trio.move_on_after(CLOSE_WAIT), contextlib.suppress(trio.BrokenResourceError):
                while await self.stream.receive_some(RECEIVE):
                    pass
        await self.stream.aclose()
