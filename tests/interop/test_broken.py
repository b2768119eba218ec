"""Peers in the kernel that refuse, reset, die or say nothing, and what the application hears of it."""

from __future__ import annotations

import errno
import socket
import struct
import sys

import pytest
import trio

from stack.runtime.stream import TcpStream
from stack.tcp.config import TcpOptions
from stack.wire.segment import SYN
from tests.interop import programs
from tests.interop.expert import RESET
from tests.interop.lab import Lab, content, on_a_wire, read_all, remaining
from tests.interop.programs import curl, finished
from tests.interop.site import serving

FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])

LINGER_0 = struct.pack("ii", 1, 0)

#: A peer that takes a little, says so, and then reads no more.
HALF_HEARTED = """
import socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
listener.set_inheritable(False)
sock = listener.accept()[0]
taken = 0
while taken < 300_000:
    taken += len(sock.recv(65536))
print("enough", flush=True)
sys.stdin.read()
"""


async def upload_until_broken(stream: TcpStream) -> trio.BrokenResourceError:
    """Send until that fails, and return what it failed with."""
    try:
        while True:
            await stream.send_all(bytes(1 << 20))
    except trio.BrokenResourceError as broken:
        return broken


async def expect_reset(lab: Lab, stream: TcpStream, broken: trio.BrokenResourceError) -> None:
    """It was the peer's reset; the stream stays broken in both directions, and nothing of it remains."""
    assert isinstance(broken.__cause__, ConnectionResetError)
    assert broken.__cause__.errno == errno.ECONNRESET
    for _ in range(2):
        with pytest.raises(trio.BrokenResourceError) as caught:
            await stream.send_all(b"x")
        assert isinstance(caught.value.__cause__, ConnectionResetError)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await stream.receive_some()
        assert isinstance(caught.value.__cause__, ConnectionResetError)
    await stream.aclose()
    assert lab.host.connections() == []
    assert lab.host.core.time_waits == 0


@FAMILIES
@on_a_wire(allow=RESET)
async def test_a_peer_that_closes_with_linger_0(lab: Lab, family: int) -> None:
    with programs.listening(lab.kernels(family)) as listener:
        stream = await lab.host.open_tcp_stream(lab.kernels(family), listener.getsockname()[1])
        peer = trio.socket.from_stdlib_socket(listener.accept()[0])
        broken: list[trio.BrokenResourceError] = []

        async def upload() -> None:
            broken.append(await upload_until_broken(stream))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload)
            assert await peer.recv(100_000)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
            peer.close()
    await expect_reset(lab, stream, broken[0])


@FAMILIES
@on_a_wire(allow=RESET)
async def test_a_peer_that_is_killed_while_we_upload(lab: Lab, family: int) -> None:
    with programs.listening(lab.kernels(family)) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-c", HALF_HEARTED, str(listener.fileno())]
        async with programs.running(command, pass_fds=[listener.fileno()]) as peer:
            listener.close()
            stream = await lab.host.open_tcp_stream(lab.kernels(family), port)
            broken: list[trio.BrokenResourceError] = []

            async def upload() -> None:
                broken.append(await upload_until_broken(stream))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(upload)
                assert peer.stdout is not None
                assert await peer.stdout.receive_some()
                await programs.kill(peer)
    await expect_reset(lab, stream, broken[0])


@FAMILIES
@on_a_wire(allow=RESET)
async def test_a_reset_while_we_wait_for_data(lab: Lab, family: int) -> None:
    """What came before the reset is still delivered."""
    with programs.listening(lab.kernels(family)) as listener:
        stream = await lab.host.open_tcp_stream(lab.kernels(family), listener.getsockname()[1])
        peer = listener.accept()[0]
    peer.sendall(b"last words")
    assert await stream.receive_some() == b"last words"
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
    async with trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(trio.BrokenResourceError) as caught:
                await stream.receive_some()
            await expect_reset(lab, stream, caught.value)

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        peer.close()


@FAMILIES
@on_a_wire(allow=RESET)
async def test_a_closed_port_refuses(lab: Lab, family: int) -> None:
    with programs.listening(lab.kernels(family)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError) as caught:
        await lab.host.open_tcp_stream(lab.kernels(family), port)
    assert caught.value.errno == errno.ECONNREFUSED
    del caught
    assert lab.host.connections() == []
    assert remaining() == []


@FAMILIES
@on_a_wire(allow=RESET)
async def test_our_closed_port_refuses(lab: Lab, family: int) -> None:
    refused = await finished("curl", *programs.CURL, f"{lab.url(family)}:81/")
    assert refused.status == 7, refused.stderr
    assert lab.host.counters.drops["no-connection"] == 1
    assert lab.host.counters.resets_out == 1


@FAMILIES
@on_a_wire()
async def test_a_silent_address_times_out(lab: Lab, family: int) -> None:
    """The kernel throws away what is sent there, and nobody says so."""
    prefix = 32 if family == 4 else 128
    programs.said("ip", f"-{family}", "route", "add", "blackhole", f"{lab.nobodys(family)}/{prefix}")
    syns, answers = 0, 0

    def count(event) -> None:
        nonlocal syns, answers
        syns += bool(event.outgoing and event.segment.flags & SYN)
        answers += not event.outgoing

    lab.on_each_segment = count
    begun = trio.current_time()
    with pytest.raises(TimeoutError) as caught:
        await lab.host.open_tcp_stream(lab.nobodys(family), 80, options=TcpOptions(connect_timeout=0.6))
    assert caught.value.errno == errno.ETIMEDOUT
    assert trio.current_time() - begun >= 0.6
    assert (syns, answers) == (1, 0)  # the second is due after a second
    assert lab.host.connections() == []
    assert lab.host.counters.icmp_in == 0


class Faults:
    """Stands in for the log, which would keep the streams of the handlers that failed."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, stream: TcpStream, error: Exception) -> None:
        self.seen.append(f"{type(error).__name__} in {stream.state}")


@FAMILIES
@on_a_wire(allow=RESET)
async def test_a_handler_that_raises_resets_its_own_connection(lab: Lab, family: int) -> None:
    async def handler(stream: TcpStream) -> None:
        head = await stream.receive_some()
        if b"/fault" in head:
            raise ZeroDivisionError
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await stream.send_eof()
        await read_all(stream)
        await stream.aclose()

    faults = Faults()
    async with serving(lab, handler, on_error=faults):
        for _ in range(2):
            failed = await finished("curl", *programs.CURL, f"{lab.url(family)}/fault")
            assert failed.status == 56, failed.stderr
            assert "reset by peer" in failed.stderr
            assert await curl(f"{lab.url(family)}/fine") == b"ok"
    assert faults.seen == ["ZeroDivisionError in ESTABLISHED"] * 2
    assert lab.host.counters.resets_out == 2


@FAMILIES
@on_a_wire(allow=RESET)
async def test_a_fault_in_the_midst_of_another_transfer(lab: Lab, family: int) -> None:
    """The one kernel socket hears ECONNRESET, the other gets all of its bytes."""
    data = content(1_000_000)

    async def handler(stream: TcpStream) -> None:
        if await stream.receive_some(1) == b"!":
            raise ZeroDivisionError
        await stream.send_all(data)
        await stream.aclose()

    faults = Faults()
    async with serving(lab, handler, on_error=faults):
        failing, other = await connected(lab.ours(family), 80), await connected(lab.ours(family), 80)
        with failing, other:
            await other.send(b"?")
            got = [await other.recv(1000)]
            await failing.send(b"!")
            with pytest.raises(ConnectionResetError):
                await failing.recv(1)
            while piece := await other.recv(1 << 20):
                got.append(piece)
    assert b"".join(got) == data
    assert faults.seen == ["ZeroDivisionError in ESTABLISHED"]


async def connected(address: str, port: int) -> trio.socket.SocketType:
    """A kernel socket that is connected to our host."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = trio.socket.socket(family, socket.SOCK_STREAM)
    await sock.connect((address, port))
    return sock
