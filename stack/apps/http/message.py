"""What both halves need of a message: its fields as a dictionary, its body as pieces."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

RECEIVE = 256 * 1024  #: Bytes asked of the stream at a time; a stream returns what it has.


def fields(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Names in lower case to values; repeated fields are joined by ", " (RFC 9110 5.3)."""
    joined: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("ascii").lower(), value.decode("latin-1")
        joined[key] = f"{joined[key]}, {text}" if key in joined else text
    return joined


class Pieces:
    """A body for `async for`, read with a call that returns b"" at its end.

    Not a generator: one that is left half-way would have to be closed by whoever left it.
    """

    def __init__(self, read: Callable[[], Awaitable[bytes]]) -> None:
        self._read = read

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._read()
        if not piece:
            raise StopAsyncIteration
        return piece
