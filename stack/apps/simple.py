"""The small services that every stack is tried with: echo, discard and character generator.

Each is a handler of one connection, for `serve_tcp`, and works on any Trio stream. Back-pressure is the
stream's: none of them holds more than one piece in memory.
"""

from __future__ import annotations

import trio

RECEIVE = 256 * 1024  #: Bytes asked of the stream at a time; a stream returns what it has.

ECHO_PORT, DISCARD_PORT, CHARGEN_PORT = 7, 9, 19  #: assigned in RFC 862, 863 and 864

_PRINTABLE = bytes(range(0x20, 0x7F))
_LINE = 72  #: characters in a line of RFC 864's suggested pattern


async def echo(stream: trio.abc.HalfCloseableStream) -> None:
    """Send back all that comes, until the peer's end of data (RFC 862)."""
    try:
        while data := await stream.receive_some(RECEIVE):
            await stream.send_all(data)
        await stream.send_eof()
    except trio.BrokenResourceError:
        pass  # The peer is gone, as it may be at any time.
    await stream.aclose()


async def discard(stream: trio.abc.HalfCloseableStream) -> None:
    """Read and forget, until the peer's end of data (RFC 863)."""
    try:
        while await stream.receive_some(RECEIVE):
            pass
    except trio.BrokenResourceError:
        pass
    await stream.aclose()


async def chargen(stream: trio.abc.HalfCloseableStream) -> None:
    """Send lines of printable characters, each starting one further, until the peer closes (RFC 864).

    What the peer sends is thrown away; its end of data, or a reset, ends the service.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_generate, stream, nursery.cancel_scope)
        try:
            while await stream.receive_some(RECEIVE):
                pass
        except trio.BrokenResourceError:
            pass
        nursery.cancel_scope.cancel()
    await stream.aclose()


async def _generate(stream: trio.abc.HalfCloseableStream, scope: trio.CancelScope) -> None:
    pattern = chargen_pattern()
    try:
        while True:
            await stream.send_all(pattern)
    except trio.BrokenResourceError:
        scope.cancel()


def chargen_pattern() -> bytes:
    """One full turn of the pattern: as many lines as there are characters, so that repeating it goes on."""
    ring = _PRINTABLE * 2
    return b"".join(ring[at : at + _LINE] + b"\r\n" for at in range(len(_PRINTABLE)))
