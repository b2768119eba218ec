"""A TcpStream passes the tests that Trio has for streams."""

from __future__ import annotations

import trio
from trio.testing import check_half_closeable_stream

from stack.runtime.stream import TcpStream
from tests.runtime.hosts import Pair, pair


async def clogged(hosts: Pair) -> tuple[TcpStream, TcpStream]:
    """Two streams on which no byte can be sent before one is received."""
    streams = await hosts.connect(send_buffer=20_000, receive_window=10_000, receive_buffer=10_000)
    for stream in streams:
        for _ in range(3):  # a cancelled send leaves a full buffer, of which the peer may take a last piece
            with trio.move_on_after(1):
                await stream.send_all(bytes(100_000))
    return streams


async def test_it_is_a_half_closeable_stream(autojump_clock):
    async with pair() as hosts:
        await check_half_closeable_stream(hosts.connect, None)


async def test_it_is_a_half_closeable_stream_also_when_clogged(autojump_clock):
    async with pair() as hosts:
        await check_half_closeable_stream(hosts.connect, lambda: clogged(hosts))
