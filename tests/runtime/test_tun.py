"""A host on a TUN device: the runtime against the kernel's own sockets, and a device that goes away."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from pyroute2 import IPRoute

from stack.link.protocol import LinkClosedError, LinkError
from stack.link.tun import TunLink
from stack.runtime.open import OpenHost, open_host
from tests.runtime.hosts import read_all

KERNEL, KERNEL6 = "10.9.0.1", "fd00:9::1"
OURS, OURS6 = "10.9.0.2", "fd00:9::2"


@asynccontextmanager
async def host_on_tun(**options: Any) -> AsyncIterator[OpenHost]:
    link = TunLink(kernel=[KERNEL + "/24", KERNEL6 + "/64"])
    async with open_host(link, addresses=[OURS + "/24", OURS6 + "/64"], **options) as host:
        yield host
    assert link.errors == {}


async def echo(stream) -> None:
    async for data in stream:
        await stream.send_all(data)


@pytest.mark.parametrize("address", [OURS, OURS6])
@pytest.mark.parametrize("size", [1, 1460, 2_000_000])
async def test_the_kernel_connects_to_us(address, size):
    data = os.urandom(size)
    async with host_on_tun() as host, trio.open_nursery() as nursery:
        await nursery.start(host.serve_tcp, echo, 7)
        async with await trio.open_tcp_stream(address, 7) as kernel:
            nursery.start_soon(kernel.send_all, data)
            received = bytearray()
            while len(received) < size:
                received += await kernel.receive_some()
            assert received == data
            await kernel.send_eof()
            assert await kernel.receive_some() == b""
        # The kernel's own chatter; and what it sends again, as a tail loss probe, when it finds us slow.
        assert host.counters.drops.keys() <= {"not-for-us", "martian", "broadcast", "out-of-window"}
        assert isinstance(host.link, TunLink)
        assert host.link.drops() == 0
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("address", [KERNEL, KERNEL6])
async def test_we_connect_to_the_kernel(address):
    data = os.urandom(2_000_000)
    async with host_on_tun() as host, trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host=address)

        async def serve() -> None:
            async with await listener.accept() as kernel:
                await kernel.send_all(data)

        nursery.start_soon(serve)
        stream = await host.open_tcp_stream(address, listener.socket.getsockname()[1])
        assert await read_all(stream) == data
        await stream.aclose()
        await listener.aclose()
        assert stream.info().total_retrans == 0


async def test_what_the_kernel_refuses():
    async with host_on_tun() as host:
        with pytest.raises(ConnectionRefusedError):
            await host.open_tcp_stream(KERNEL, 9)
        with pytest.raises(ConnectionRefusedError):
            await host.open_tcp_stream(KERNEL6, 9)


async def test_a_peer_that_lingers_for_no_time_breaks_the_stream():
    async with host_on_tun() as host:
        [listener] = await trio.open_tcp_listeners(0, host=KERNEL)
        stream = await host.open_tcp_stream(KERNEL, listener.socket.getsockname()[1])
        kernel = await listener.accept()
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await kernel.aclose()
        with pytest.raises(trio.BrokenResourceError) as caught:
            await stream.receive_some()
        assert isinstance(caught.value.__cause__, ConnectionResetError)
        await listener.aclose()


@pytest.mark.parametrize("address", [KERNEL, KERNEL6])
async def test_the_kernel_answers_a_ping(address):
    async with host_on_tun() as host:
        ping = await host.ping(address)
        assert ping.rtt is not None
        assert ping.rtt > 0
        assert ping.hop_limit == 64


async def test_leaving_takes_the_device_away():
    async with host_on_tun() as host:
        name = host.link.name
        assert name in [device for _, device in socket.if_nameindex()]
    assert name not in [device for _, device in socket.if_nameindex()]


async def test_the_kernels_own_address_is_refused():
    link = TunLink(kernel=KERNEL + "/24")
    with pytest.raises(LinkError, match="the kernel's own address") as caught:
        async with open_host(link, addresses=[KERNEL + "/24"]):
            raise AssertionError("unreachable")
    assert caught.value.errno == errno.EADDRINUSE
    assert link.fileno() == -1


async def test_a_device_that_is_removed_ends_every_connection(caplog):
    async with host_on_tun() as host:
        [listener] = await trio.open_tcp_listeners(0, host=KERNEL)
        stream = await host.open_tcp_stream(KERNEL, listener.socket.getsockname()[1])
        [served] = await host.open_tcp_listeners(80)
        ended = []

        async def expect(error, call, *args) -> None:
            with pytest.raises(error, match="was removed"):
                await call(*args)
            ended.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect, trio.BrokenResourceError, stream.receive_some)
            nursery.start_soon(expect, LinkClosedError, served.accept)
            await trio.testing.wait_all_tasks_blocked()
            with IPRoute() as ipr:
                ipr.link("del", index=socket.if_nametoindex(host.link.name))
        assert len(ended) == 2
        await expect(LinkClosedError, host.open_tcp_stream, KERNEL, 80)
        await listener.aclose()
    assert "was removed" in caplog.text
