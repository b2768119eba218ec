"""This stack as a contender: a host on a TUN device with one small service, such as an application would write it.

    python -m stack.observe.bench.ours CONTROL SERVICE FRAMES

It sends an empty object over the socket CONTROL when it listens, then answers what it is asked there, a JSON object a
message, and ends when that ends. `kept` is the service for idle connections: each echoes one message and is then kept
by no task, only by a list. The garbage collector is kept as in `tcpstack serve`.
"""

from __future__ import annotations

import gc
import itertools
import json
import math
import socket
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from stack.link.tun import TunLink
from stack.observe.bench.peer import BLOCK, PORT, REQUEST, RESPONSE
from stack.runtime.garbage import short_pauses
from stack.runtime.open import OpenHost, open_host
from stack.runtime.stream import TcpStream
from stack.tcp.config import TcpOptions

CIDR, KERNEL = "10.98.0.2/24", "10.98.0.1/24"
BACKLOG = 4096
TICK = 0.001  #: Seconds that the meter of the loop's lag sleeps.

Handler = Callable[[TcpStream], Awaitable[object]]


async def sink(stream: TcpStream) -> None:
    while await stream.receive_some(BLOCK):
        pass


async def source(stream: TcpStream) -> None:
    block = bytes(BLOCK)
    while True:
        await stream.send_all(block)


async def both(stream: TcpStream) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink, stream)
        await source(stream)


async def echo(stream: TcpStream) -> None:
    while data := await stream.receive_some(BLOCK):
        await stream.send_all(data)


async def respond(stream: TcpStream) -> None:
    if len(await stream.receive_some(REQUEST)) == REQUEST:
        await stream.send_all(bytes(RESPONSE))
        await stream.receive_some(1)


async def mixed(stream: TcpStream) -> None:
    """What the first message asks for: octets are echoed, `in` is a source, and `out` a sink."""
    match await stream.receive_some(BLOCK):
        case b"in":
            await source(stream)
        case data if data.startswith(b"out"):
            await sink(stream)
        case data:
            await stream.send_all(data)
            await echo(stream)


SERVICES: dict[str, Handler] = {
    "sink": sink,
    "source": source,
    "both": both,
    "echo": echo,
    "respond": respond,
    "mixed": mixed,
}


async def keep(host: OpenHost, kept: list[TcpStream], *, task_status: trio.TaskStatus[None]) -> None:
    """Take connections one after the other, and hold them."""
    [listener] = await host.open_tcp_listeners(PORT, backlog=BACKLOG)
    task_status.started()
    while True:
        stream = await listener.accept()
        await stream.send_all(await stream.receive_some())
        kept.append(stream)


async def serve(host: OpenHost, handler: Handler, *, task_status: trio.TaskStatus[Any]) -> None:
    """As `serve_tcp`, and that the peer goes away in the midst of it is no error."""
    await host.serve_tcp(handler, PORT, backlog=BACKLOG, on_error=forgive, task_status=task_status)


def forgive(_stream: TcpStream, error: Exception) -> None:
    """An error of a handler's is the program's end, unless it only says that the peer has gone."""
    _gone, rest = error.split(trio.BrokenResourceError) if isinstance(error, ExceptionGroup) else (None, error)
    if rest is not None and not isinstance(rest, trio.BrokenResourceError):
        raise rest


class Control:
    """What is asked for over the control socket."""

    def __init__(self, control: socket.socket, kept: list[TcpStream]) -> None:
        self.control = trio.socket.from_stdlib_socket(control)
        self.kept = kept
        self.watching = trio.CancelScope()
        self.late: list[float] = []

    async def obey(self, nursery: trio.Nursery) -> None:
        """Until nobody asks any more."""
        self.nursery = nursery
        answer: dict[str, Any] = {}  # the first one says that we listen
        while True:
            await self.control.send(json.dumps(answer).encode())
            message = await self.control.recv(1 << 16)
            if not message:
                return
            answer = getattr(self, "do_" + json.loads(message)["do"])()

    def do_trace(self) -> dict[str, Any]:
        """Count memory from now on."""
        gc.collect()
        tracemalloc.start()
        return {}

    def do_memory(self) -> dict[str, Any]:
        """Octets held in all, and connections."""
        gc.collect()
        return {"bytes": tracemalloc.get_traced_memory()[0], "kept": len(self.kept)}

    def do_watch(self) -> dict[str, Any]:
        """See how late the loop is, beside what was seen before."""
        self.watching = trio.CancelScope()
        self.nursery.start_soon(self._watch)
        return {}

    def do_lag(self) -> dict[str, Any]:
        """Watch no more. By how many seconds the loop was late while it was watched: median, 99 of 100, most."""
        self.watching.cancel()
        return {name: how_late(self.late, part) for name, part in (("p50", 0.5), ("p99", 0.99), ("most", 1.0))}

    async def _watch(self) -> None:
        """Sleep a moment again and again, and note by how much too long it was."""
        with self.watching:
            while True:
                due = trio.current_time() + TICK
                await trio.sleep_until(due)
                self.late.append(trio.current_time() - due)


def how_late(late: list[float], part: float) -> float:
    """The lateness in seconds that in `part` of all moments is not exceeded; NaN where there was none.

    `late` has by how much each sleep of a TICK was too long. It is moments that are counted, and not sleeps: how long
    would a task wait that is ready now? While the loop sleeps, not at all; when a pause of 160 ms has begun, 160 ms,
    and in its midst 80. Of all sleeps a pause is one, however long, and would never be seen among thousands of them.
    """
    if not late:
        return math.nan
    exceeding = (1 - part) * sum(TICK + each for each in late)
    # A pause exceeds a lateness for as long as it is longer than that. What all pauses together exceed it by is the
    # largest of what the longest one does, the two longest ones, and so on.
    longest = itertools.accumulate(sorted(late, reverse=True))
    return max(0.0, *((together - exceeding) / number for number, together in enumerate(longest, 1)))


async def main(control: str, service: str, frames: str) -> None:
    """Serve until nobody asks any more."""
    with socket.socket(fileno=int(control)) as asker:
        link = TunLink("tcpbench%d", kernel=KERNEL, offload=frames == "super")
        options = TcpOptions(nodelay=True)
        async with open_host(link, addresses=[CIDR], options=options, close_timeout=0) as host:
            kept: list[TcpStream] = []
            async with trio.open_nursery() as nursery:
                if service == "kept":
                    await nursery.start(keep, host, kept)
                else:
                    await nursery.start(serve, host, SERVICES[service])
                await Control(asker, kept).obey(nursery)
                nursery.cancel_scope.cancel()


if __name__ == "__main__":
    with short_pauses():
        trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
