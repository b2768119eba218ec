"""Urgent data with a kernel at the other end: it says out-of-band data, and takes the last octet for all of it."""

from __future__ import annotations

import array
import fcntl
import os
import select
import signal
import socket

import pytest
import trio

from stack.runtime.stream import TcpStream
from stack.tcp.config import TcpOptions
from stack.wire.segment import URG
from tests.interop.lab import Lab, content, on_a_wire
from tests.interop.peers import pair, record

FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
SIOCATMARK = 0x8905


def at_mark(peer: trio.SocketStream) -> bool:
    """What sockatmark(3) says of the kernel's end."""
    answer = array.array("i", [0])
    fcntl.ioctl(peer.socket.fileno(), SIOCATMARK, answer)
    return bool(answer[0])


async def exceptional(peer: trio.SocketStream) -> None:
    """Wait until the kernel has been told of urgent data (POLLPRI)."""
    poll = select.poll()
    poll.register(peer.socket.fileno(), select.POLLPRI)
    while not await trio.to_thread.run_sync(poll.poll, 1000, abandon_on_cancel=True):
        pass


async def received(stream: TcpStream | trio.SocketStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await stream.receive_some(size - len(data))
    return data


# RFC 9293 MUST-30, MUST-62
@FAMILIES
@on_a_wire()
async def test_the_kernel_finds_our_urgent_octet(lab: Lab, family: int) -> None:
    stream, peer = await pair(lab, family)
    async with stream, peer:
        await stream.send_all(b"before")
        await stream.send_urgent(b"!")
        await exceptional(peer)
        assert await peer.socket.recv(1, socket.MSG_OOB) == b"!"
        await stream.send_all(b"after")
        assert await peer.receive_some() == b"before"  # no further than to the mark
        assert at_mark(peer)
        assert await peer.receive_some() == b"after"
        assert not at_mark(peer)


# RFC 9293 MUST-30, MUST-31
@FAMILIES
@on_a_wire()
async def test_the_kernel_has_it_in_line_if_it_is_asked_to(lab: Lab, family: int) -> None:
    stream, peer = await pair(lab, family)
    async with stream, peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        data = content(5000)
        await stream.send_urgent(data)
        await stream.send_all(b"after")
        await exceptional(peer)
        assert await received(peer, 4999) == data[:4999]
        assert at_mark(peer)
        assert await received(peer, 6) == data[4999:] + b"after"


# RFC 9293 MUST-30, MUST-32, MUST-33
@FAMILIES
@on_a_wire()
async def test_we_are_told_of_the_kernels_urgent_octet(lab: Lab, family: int) -> None:
    stream, peer = await pair(lab, family)
    async with stream, peer:
        await peer.socket.send(b"before")
        await peer.socket.send(b"!", socket.MSG_OOB)
        assert await stream.wait_urgent()
        assert stream.urgent_remaining == 7
        await peer.socket.send(b"after")
        assert await received(stream, 12) == b"before!after"
        assert stream.urgent_remaining == 0
        await peer.socket.send(b"?", socket.MSG_OOB)
        assert await stream.wait_urgent()
        assert await received(stream, 1) == b"?"


@FAMILIES
@on_a_wire()
async def test_the_kernel_is_told_although_its_window_is_closed(lab: Lab, family: int) -> None:
    """Its signal comes at once; the octet itself must wait like all others."""
    stream, peer = await pair(lab, family, kernel_buffer=4096)
    data = content(100_000)
    async with stream, peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        fcntl.fcntl(peer.socket.fileno(), fcntl.F_SETOWN, os.getpid())
        await stream.send_all(data)
        await lab.until(lambda: stream.info().snd_wnd == 0 and stream.info().unacked == 0)
        events = record(lab)
        with trio.open_signal_receiver(signal.SIGURG) as signals:
            await stream.send_urgent(b"!")
            async for _ in signals:
                break
        assert any(event.segment.flags & URG and not event.segment.size for event in events if event.outgoing)
        await stream.send_all(b"after")
        assert await received(peer, len(data) + 6) == data + b"!after"


# RFC 9293 MUST-32
@FAMILIES
@on_a_wire()
async def test_we_are_told_although_our_window_is_closed(lab: Lab, family: int) -> None:
    stream, peer = await pair(lab, family, options=TcpOptions(receive_window=8000, receive_buffer=8000))
    async with stream, peer, trio.open_nursery() as nursery:
        data = content(20_000)
        nursery.start_soon(peer.send_all, data)
        await lab.until(lambda: stream.info().rcv_wnd < 500)

        async def urge() -> None:
            await peer.socket.send(b"!", socket.MSG_OOB)

        await trio.sleep(0.1)
        nursery.start_soon(urge)
        assert await stream.wait_urgent()
        assert stream.urgent_remaining == 20_001
        assert await received(stream, 20_001) == data + b"!"


@FAMILIES
@on_a_wire()
async def test_urgent_data_in_the_midst_of_much_other(lab: Lab, family: int) -> None:
    """Super-frames before and behind it, both ways, and segments of its own for what is urgent."""
    stream, peer = await pair(lab, family)
    ours, theirs = content(3_000_000), content(3_000_001)
    async with stream, peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        events = record(lab)

        async def send() -> None:
            for start in range(0, len(ours), 300_000):
                await stream.send_all(ours[start : start + 299_999])
                await stream.send_urgent(ours[start + 299_999 : start + 300_000])

        async def send_theirs() -> None:
            for start in range(0, len(theirs), 300_000):
                await peer.send_all(theirs[start : start + 299_999])
                if start + 299_999 < len(theirs):
                    await peer.socket.send(theirs[start + 299_999 : start + 300_000], socket.MSG_OOB)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            nursery.start_soon(send_theirs)
            got: list[bytes] = []

            async def receive_theirs() -> None:
                got.append(await received(stream, len(theirs)))

            nursery.start_soon(receive_theirs)
            assert await received(peer, len(ours)) == ours
        assert got == [theirs]
        assert stream.urgent_remaining == 0
        assert not any(event.segment.flags & URG and event.segment.gso_size for event in events if event.outgoing)
        assert any(event.segment.flags & URG for event in events if event.outgoing)
        assert any(event.segment.flags & URG for event in events if not event.outgoing)
