"""Two hosts joined by a pair of memory links, for tests in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from stack.link.memory import memory_links
from stack.link.protocol import Link
from stack.runtime.open import OpenHost, open_host
from stack.runtime.stream import TcpStream
from stack.tcp.config import TcpOptions
from stack.wire import ip, tcp
from stack.wire.packet import Packet
from stack.wire.segment import Segment

CLIENT, SERVER = "10.9.0.1", "10.9.0.2"
CLIENT6, SERVER6 = "fd00:9::1", "fd00:9::2"


class Wire:
    """A link around a link that a test can cut, in the direction of `write`."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.name, self.mtu, self.max_payload = link.name, link.mtu, link.max_payload
        self.cut = False
        self.sent: list[Packet] = []  # what the host wanted to send
        self.read_batch, self.close = link.read_batch, link.close
        self.wait_readable, self.wait_writable = link.wait_readable, link.wait_writable

    def write(self, packet: Packet) -> bool:
        taken = self.cut or self.link.write(packet)
        if taken:
            self.sent.append(packet)
        return taken


class Pair:
    """A client's and a server's host, and the wires that they send into."""

    def __init__(self, client: OpenHost, server: OpenHost, wires: tuple[Wire, Wire]) -> None:
        self.client = client
        self.server = server
        self.client_wire, self.server_wire = wires

    async def connect(self, port: int = 80, **options: Any) -> tuple[TcpStream, TcpStream]:
        """A stream of the client's, and the server's end of it."""
        chosen = TcpOptions(**options) if options else None
        [listener] = await self.server.open_tcp_listeners(port, options=chosen)
        try:
            stream = await self.client.open_tcp_stream(SERVER, port, options=chosen)
            return stream, await listener.accept()
        finally:
            await trio.aclose_forcefully(listener)

    def cut(self) -> None:
        """From now on everything is lost, both ways."""
        self.client_wire.cut = self.server_wire.cut = True


@asynccontextmanager
async def pair(capacity: int = 1000, mtu: int = 1500, **options: Any) -> AsyncIterator[Pair]:
    left, right = memory_links(mtu, capacity)
    wires = Wire(left), Wire(right)
    defaults = TcpOptions(**options)
    async with (
        open_host(wires[0], addresses=[CLIENT + "/24", CLIENT6 + "/64"], options=defaults) as client,
        open_host(wires[1], addresses=[SERVER + "/24", SERVER6 + "/64"], options=defaults) as server,
    ):
        yield Pair(client, server, wires)


def segment(packet: Packet) -> Segment:
    """What it carries."""
    frame = packet.frame()
    header = ip.decode(frame)
    return tcp.decode(frame, header.start, header.end)


async def read_all(stream: TcpStream) -> bytes:
    """Everything up to the end of the stream."""
    parts = []
    while part := await stream.receive_some():
        parts.append(part)
    return b"".join(parts)


async def read_exactly(stream: TcpStream, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = await stream.receive_some(size - len(parts))
        if not part:
            raise EOFError(f"{len(parts)} of {size} bytes")
        parts += part
    return parts


async def until(condition: Callable[[], bool]) -> None:
    """Let virtual time pass until something is so; a test that waits for what never comes ends with an error."""
    with trio.fail_after(10_000):
        while not condition():  # noqa: ASYNC110  (nothing to wait for, and virtual time costs nothing)
            await trio.sleep(0.001)
