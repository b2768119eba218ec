"""The server's half of a connection: requests come in, a handler answers each, h11 keeps both sides honest.

One task serves one connection. The waits have limits: for the first byte of a request (idle), from there to
the end of its head, for each piece of a body, for each piece of an answer to be taken. An answer that is
worth reading is never thrown away by our own close: a TCP that closes with unread data sends a reset, which
overtakes what the peer has not read yet (RFC 9112 9.6). So we half-close, read what still comes for a while,
then close.

    idle --first byte--> head --complete--> handler --answer sent, body read--> idle
      |                    |                   |
      +--time-out: close   +--408, linger      +--"close" on either side, or a body left unread: linger, close
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

import h11
import trio

from stack.apps.http.message import RECEIVE, Pieces, fields

logger = logging.getLogger(__name__)

UNREAD_BODY = 64 * 1024  #: Bytes of an unwanted body that cost less to read than a new connection.

Header = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a server waits, in seconds."""

    idle: float = 60.0  #: for the first byte of the next request
    head: float = 15.0  #: from that byte to the end of the request's head
    body: float = 30.0  #: for each next piece of a request's body
    send: float = 300.0  #: for each piece of an answer; long, as a full send buffer waits until half of it is free
    linger: float = 5.0  #: for each next piece after our FIN; six times that in all, as nginx does


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """One answered request, for a log."""

    method: str
    target: str
    status: int
    bytes_sent: int  #: of the answer's body
    bytes_received: int  #: of the request's body


class Exchange:
    """One request and its answer.

    A handler reads `body()` if it wants it, then calls `respond`, or `start` once and `send` for each piece.
    """

    def __init__(self, wire: _Wire, request: h11.Request) -> None:
        self._wire = wire
        self.method = request.method.decode("ascii")
        self.target = request.target.decode("latin-1")
        self.headers = fields(request.headers)  #: by name in lower case
        self.status = 0  #: of the answer, once it has started
        self.bytes_sent = 0
        self.bytes_received = 0

    def body(self) -> Pieces:
        """The request's body, piece by piece. A client that waits to be asked for it is (RFC 9110 10.1.1)."""
        return Pieces(self._read_body)

    async def _read_body(self) -> bytes:
        while self._wire.http.their_state is h11.SEND_BODY:
            if self._wire.http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
                await self._wire.send(go_on)
            event = await self._wire.next_body_event()
            if isinstance(event, h11.Data):
                self.bytes_received += len(event.data)
                return bytes(event.data)
        return b""

    async def respond(self, status: int, body: bytes = b"", headers: Iterable[Header] = ()) -> None:
        """A whole answer in one call; Content-Length is added where the status allows one."""
        extra = [] if status in (204, 304) else [("content-length", str(len(body)))]
        await self.start(status, [*headers, *extra])
        await self.send(body)

    async def fail(self, status: int, detail: str = "", headers: Iterable[Header] = ()) -> None:
        """A refusal, as one line of text."""
        text = f"{status} {HTTPStatus(status).phrase}{': ' if detail else ''}{detail}\n".encode()
        await self.respond(status, text, [("content-type", "text/plain; charset=utf-8"), *headers])

    async def start(self, status: int, headers: Iterable[Header]) -> None:
        """Begin the answer with its head, which goes out with the first piece of the body.

        Date is added, and `Connection: close` where the request's body stays unread.
        """
        head = [("date", formatdate(usegmt=True)), ("server", "tcpstack"), *headers]
        if self._leaves_body_unread():
            head.append(("connection", "close"))
        self.status = status
        reason = HTTPStatus(status).phrase.encode()
        await self._wire.send(h11.Response(status_code=status, headers=head, reason=reason))

    async def send(self, data: bytes) -> None:
        """Send a piece of the answer's body; nothing where the method was HEAD."""
        if data and self.method != "HEAD":
            await self._wire.send(h11.Data(data=data))
            self.bytes_sent += len(data)

    async def finish(self) -> None:
        """End the answer. The server calls it after the handler."""
        if self._wire.http.our_state is h11.SEND_BODY:
            await self._wire.send(h11.EndOfMessage())

    def _leaves_body_unread(self) -> bool:
        # A body still to come costs less than a new connection only if it is short and surely comes.
        http = self._wire.http
        if http.their_state is not h11.SEND_BODY:
            return False
        length = self.headers.get("content-length", "")
        return http.they_are_waiting_for_100_continue or not length or int(length) > UNREAD_BODY


Handler = Callable[[Exchange], Awaitable[None]]
Log = Callable[[LogRecord], None]


async def serve_http(
    stream: trio.abc.HalfCloseableStream,
    handler: Handler,
    *,
    limits: Limits | None = None,
    log: Log | None = None,
) -> None:
    """Serve one connection until either side closes it, then close the stream.

    An `Exception` from the handler is logged with its traceback and answered with 500. Once an answer has
    begun it can only be cut off: the exception passes through and the stream stays open, for whoever serves
    the connections to reset this one, as `serve_tcp` does.
    """
    wire = _Wire(stream, limits or Limits())
    try:
        while (request := await wire.next_request()) is not None:
            await _answer(wire, Exchange(wire, request), handler, log)
            if not wire.next_cycle():
                break
        if wire.owes_linger:
            await wire.linger()
    except h11.RemoteProtocolError as error:
        await wire.refuse(error.error_status_hint, str(error))
    except _TooSlowError:
        await wire.refuse(408, "the request took too long")
    except trio.BrokenResourceError:
        pass  # The peer is gone, as it may be at any time.
    await stream.aclose()


async def _answer(wire: _Wire, exchange: Exchange, handler: Handler, log: Log | None) -> None:
    try:
        try:
            await handler(exchange)
        except (h11.RemoteProtocolError, trio.BrokenResourceError, _TooSlowError):
            raise
        except Exception:
            if wire.http.our_state is not h11.SEND_RESPONSE:
                raise
            logger.exception("the handler of %s %r failed", exchange.method, exchange.target)
            await exchange.fail(500)
        if wire.http.our_state is h11.SEND_RESPONSE:
            await exchange.fail(500, "the handler gave no answer")
        await exchange.finish()
    finally:
        if log is not None:
            log(
                LogRecord(
                    method=exchange.method,
                    target=exchange.target,
                    status=exchange.status,
                    bytes_sent=exchange.bytes_sent,
                    bytes_received=exchange.bytes_received,
                )
            )
    await wire.drop_unread_body()


def _has_body(request: h11.Request) -> bool:
    head = fields(request.headers)
    return "transfer-encoding" in head or int(head.get("content-length", "0")) > 0


async def _cut_off(stream: trio.abc.HalfCloseableStream) -> None:
    """End a connection whose peer takes nothing: what is queued for it would wait in vain."""
    abort = getattr(stream, "abort", None)  # our own streams can reset; others are closed at once
    if abort is not None:
        abort()
    await trio.aclose_forcefully(stream)


class _TooSlowError(Exception):
    """The peer let a limit pass while it owed us a request's bytes."""


class _Wire:
    """A stream and h11's view of it, with the limits applied at each wait."""

    def __init__(self, stream: trio.abc.HalfCloseableStream, limits: Limits) -> None:
        self.stream = stream
        self.limits = limits
        self.http = h11.Connection(h11.SERVER)
        self._held: list[bytes] = []  # what waits for the next piece
        self._holds_body = False

    async def next_request(self) -> h11.Request | None:
        """The next request's head; None at the end of the connection, or when nothing came for too long."""
        begun = bool(self.http.trailing_data[0])  # a pipelined request may wait here already
        with trio.move_on_after(self.limits.head if begun else self.limits.idle) as scope:
            while True:
                event = self.http.next_event()
                if isinstance(event, h11.Request):
                    if not _has_body(event):
                        self.http.next_event()  # EndOfMessage, which waits for nothing
                    return event
                if event is not h11.NEED_DATA:  # ConnectionClosed: between requests that is how it ends
                    return None
                data = await self.stream.receive_some(RECEIVE)
                if data and not begun:
                    begun = True
                    scope.deadline = trio.current_time() + self.limits.head
                self.http.receive_data(bytes(data))
        if begun:
            raise _TooSlowError
        return None

    async def next_body_event(self) -> h11.Event:
        while not isinstance(event := self.http.next_event(), h11.Event):
            with trio.move_on_after(self.limits.body) as scope:
                self.http.receive_data(bytes(await self.stream.receive_some(RECEIVE)))
            if scope.cancelled_caught:
                raise _TooSlowError
        return event

    async def drop_unread_body(self) -> None:
        """Read the rest of a short body that the handler left, so that the next request can follow."""
        while self.http.our_state is h11.DONE and self.http.their_state is h11.SEND_BODY:
            await self.next_body_event()

    async def send(self, event: h11.Event) -> None:
        """Send what the event is on the wire.

        An answer's head waits for the first piece of its body: apart they would be two small segments, and
        Nagle's algorithm would keep the second until the peer's delayed ACK for the first (RFC 9293 3.7.4).

        When the connection ends with this answer, each piece waits for the next, for whoever sent `close` has to
        close first (RFC 9112 9.6): our FIN must leave with the last piece, or a quick client's will come before it.
        """
        pieces = self.http.send_with_data_passthrough(event) or ()
        if isinstance(event, h11.Response):
            self._held, self._holds_body = list(pieces), False
            return
        closing = self.http.their_state in (h11.MUST_CLOSE, h11.CLOSED)
        if closing and isinstance(event, h11.Data):
            if self._holds_body:
                await self._put(b"".join(self._held), last=False)
                self._held = []
            self._held += pieces
            self._holds_body = True
            return
        data, self._held = b"".join([*self._held, *pieces]), []
        if data or closing:
            await self._put(data, last=closing)

    async def _put(self, data: bytes, *, last: bool) -> None:
        with trio.move_on_after(self.limits.send) as scope:
            send_last = getattr(self.stream, "send_last", None) if last else None
            if send_last is not None:
                await send_last(data)
            else:
                await self.stream.send_all(data)
        if scope.cancelled_caught:
            await _cut_off(self.stream)
            raise trio.BrokenResourceError("the peer took nothing of the answer for too long")

    def next_cycle(self) -> bool:
        """Make ready for the next request, if the rules of persistence (RFC 9112 9.3) allow one."""
        if self.http.our_state is h11.DONE and self.http.their_state is h11.DONE:
            self.http.start_next_cycle()
            return True
        return False

    @property
    def owes_linger(self) -> bool:
        """Whether an answer may still be under way to a peer that has not closed its side."""
        return self.http.their_state is not h11.CLOSED

    async def refuse(self, status: int, detail: str) -> None:
        """Answer what is not a request, if an answer has not begun, and end the connection."""
        try:
            if self.http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                text = f"{status} {HTTPStatus(status).phrase}: {detail}\n".encode()
                headers = [
                    ("date", formatdate(usegmt=True)),
                    ("content-type", "text/plain; charset=utf-8"),
                    ("content-length", str(len(text))),
                    ("connection", "close"),
                ]
                reason = HTTPStatus(status).phrase.encode()
                await self.send(h11.Response(status_code=status, headers=headers, reason=reason))
                await self.send(h11.Data(data=text))
                await self.send(h11.EndOfMessage())
            await self.linger()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def linger(self) -> None:
        """Half-close, then read and drop what still comes, until the peer closes or lets the limit pass."""
        await self.stream.send_eof()
        with trio.move_on_after(6 * self.limits.linger):
            while True:
                with trio.move_on_after(self.limits.linger) as scope:
                    if not await self.stream.receive_some(RECEIVE):
                        return
                if scope.cancelled_caught:
                    return
