"""Connections with the kernel's own sockets, and what is seen of them."""

from __future__ import annotations

import socket

import trio

from stack.host.trace import TraceEvent
from stack.runtime.stream import TcpStream
from stack.tcp.config import TcpOptions
from tests.interop.lab import Lab
from tests.interop.links import Gate


def kernel_socket(address: str) -> socket.socket:
    """A TCP socket of the kernel's, of the family of an address."""
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock


async def pair(
    lab: Lab, family: int, *, options: TcpOptions | None = None, kernel_buffer: int = 0
) -> tuple[TcpStream, trio.SocketStream]:
    """A connection that we have opened, both its ends."""
    with kernel_socket(lab.kernels(family)) as listener:
        if kernel_buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, kernel_buffer)
        listener.bind((lab.kernels(family), 0))
        listener.listen()
        stream = await lab.host.open_tcp_stream(lab.kernels(family), listener.getsockname()[1], options=options)
        return stream, trio.SocketStream(trio.socket.from_stdlib_socket(listener.accept()[0]))


def record(lab: Lab) -> list[TraceEvent]:
    """All segments from now on."""
    events: list[TraceEvent] = []
    lab.on_each_segment = events.append
    return events


def pure_acks(events: list[TraceEvent]) -> list[TraceEvent]:
    """Ours among them that carry nothing."""
    return [event for event in events if event.outgoing and not event.segment.length]


def gate_of(lab: Lab) -> Gate:
    """The link around the device's."""
    gate = getattr(lab.host.link, "link", None)  # inside the capture
    assert isinstance(gate, Gate)
    return gate
