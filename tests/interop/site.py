"""Our HTTP server on a lab's host, and the demand that it leaves nothing behind."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from stack.apps.http import LogRecord, serve_directory
from stack.runtime.open import OnError
from stack.runtime.stream import TcpStream
from stack.tcp.config import TcpOptions
from tests.interop.lab import Lab, remaining

OPTIONS = TcpOptions(nodelay=True)  #: As `tcpstack serve` has it, and nginx.


@asynccontextmanager
async def serving(
    lab: Lab,
    handler: Callable[[TcpStream], Awaitable[object]],
    port: int = 80,
    *,
    on_error: OnError | None = None,
) -> AsyncIterator[None]:
    """Serve connections. On leaving, each must end by itself, and no trace of any must be left in memory."""
    async with trio.open_nursery() as nursery, trio.open_nursery() as handlers:
        serve = functools.partial(lab.host.serve_tcp, handler, port, handler_nursery=handlers)
        await nursery.start(functools.partial(serve, options=OPTIONS, on_error=on_error))
        yield
        await lab.until_closed()
        nursery.cancel_scope.cancel()
    assert remaining() == []


@asynccontextmanager
async def serving_files(lab: Lab, root: Path, *, allow_put: bool = False) -> AsyncIterator[list[LogRecord]]:
    """The files below `root` on port 80; gives the log of requests."""
    log: list[LogRecord] = []
    async with serving(lab, serve_directory(root, allow_put=allow_put, log=log.append)):
        yield log
