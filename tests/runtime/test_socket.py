"""Sockets under Trio: what waits, what wakes, what is cancelled; the rest is `tests/host/test_sockets*.py`'s."""

from __future__ import annotations

import errno
import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from stack import socket
from stack.link.protocol import LinkClosedError
from stack.runtime.socket import Socket
from stack.socket import (
    AF_INET6,
    IPPROTO_TCP,
    MSG_DONTWAIT,
    MSG_ERRQUEUE,
    MSG_FASTOPEN,
    MSG_OOB,
    MSG_WAITALL,
    SHUT_RD,
    SHUT_RDWR,
    SHUT_WR,
    SIOCINQ,
    SO_RCVLOWAT,
    SO_SNDBUF,
    SOL_SOCKET,
    TCP_FASTOPEN,
    TCP_FASTOPEN_CONNECT,
    TCP_INQ,
    TCP_NODELAY,
    TCP_SYNCNT,
)
from tests.runtime.hosts import SERVER, SERVER6, Pair, pair, until


@contextmanager
def refuses(code: int) -> Iterator[None]:
    with pytest.raises(OSError, match=r".") as refused:
        yield
    assert refused.value.errno == code


async def listening(hosts: Pair, port: int = 80) -> Socket:
    listener = hosts.server.socket()
    await listener.bind((SERVER, port))
    listener.listen()
    return listener


async def connected(hosts: Pair) -> tuple[Socket, Socket]:
    """A client's socket, and the server's end of it."""
    with await listening(hosts) as listener:
        client = hosts.client.socket()
        await client.connect((SERVER, 80))
        child, _ = await listener.accept()
        return client, child


async def test_talk(autojump_clock):
    async with pair() as hosts:
        listener = await listening(hosts)
        client = hosts.client.socket()
        with assert_checkpoints():
            await client.connect((SERVER, 80))
        with assert_checkpoints():
            child, address = await listener.accept()
        assert address == client.getsockname() == child.getpeername()
        with assert_checkpoints():
            assert await client.send(b"hello") == 5
        with assert_checkpoints():
            assert await child.recv(10) == b"hello"
        assert await client.send(b"again") == 5
        await until(child.is_readable)
        with assert_checkpoints():
            assert await child.recv(2) == b"ag"
        assert child.ioctl(SIOCINQ) == 3
        client.shutdown(SHUT_WR)
        assert await child.recv(10) == b"ain"
        assert await child.recv(10) == b""
        assert child.info().bytes_received == 10
        child.close()
        assert await client.recv(1) == b""


async def test_version_6(autojump_clock):
    async with pair() as hosts:
        listener = hosts.server.socket(AF_INET6)
        await listener.bind(("::", 80))
        listener.listen()
        client = hosts.client.socket(AF_INET6)
        await client.connect((SERVER6, 80, 0, 0))
        other = hosts.client.socket()
        await other.connect((SERVER, 80))
        assert client.family == AF_INET6
        for expected in (client.getsockname(), ("::ffff:" + other.getsockname()[0], other.getsockname()[1], 0, 0)):
            child, address = await listener.accept()
            assert child.getpeername() == address == expected


async def test_options(autojump_clock):
    async with pair() as hosts:
        client, _ = await connected(hosts)
        client.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        assert client.getsockopt(IPPROTO_TCP, TCP_NODELAY) == 1
        with refuses(errno.ENOPROTOOPT):
            client.setsockopt(SOL_SOCKET, 9999, 1)


async def test_refused(autojump_clock):
    async with pair() as hosts:
        client = hosts.client.socket()
        with refuses(errno.ECONNREFUSED):
            await client.connect((SERVER, 81))
        await listening(hosts, 82)
        await client.connect((SERVER, 82))


async def test_datagrams_cannot_be_awaited(autojump_clock):
    async with pair() as hosts:
        with refuses(errno.EPROTONOSUPPORT):
            hosts.client.socket(type=socket.SOCK_DGRAM)


async def test_nobody_answers(autojump_clock):
    async with pair() as hosts:
        hosts.cut()
        client = hosts.client.socket()
        client.setsockopt(IPPROTO_TCP, TCP_SYNCNT, 2)
        with refuses(errno.ETIMEDOUT):
            await client.connect((SERVER, 80))


async def test_a_cancelled_connect_closes(autojump_clock):
    async with pair() as hosts:
        hosts.cut()
        client = hosts.client.socket()
        with trio.move_on_after(1) as scope:
            await client.connect((SERVER, 80))
        assert scope.cancelled_caught
        assert client.core.closed
        assert hosts.client.connections() == []


async def test_connect_that_is_shut_down_ends(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:
        hosts.cut()
        client = hosts.client.socket()

        async def connect() -> None:
            with refuses(errno.ECONNRESET):
                await client.connect((SERVER, 80))

        nursery.start_soon(connect)
        await wait_all_tasks_blocked()
        client.shutdown(SHUT_RDWR)


async def test_sender_waits_for_room(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:
        client, child = await connected(hosts)
        client.setsockopt(SOL_SOCKET, SO_SNDBUF, 5000)
        child.setsockopt(SOL_SOCKET, socket.SO_RCVBUF, 5000)
        sent = 0

        async def send() -> None:
            nonlocal sent
            while sent < 300_000:
                sent += await client.send(bytes(20_000))
            client.shutdown(SHUT_WR)

        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        assert sent < 300_000
        with pytest.raises(trio.BusyResourceError):
            await client.send(b"x")
        received = 0
        while data := await child.recv(4000):
            received += len(data)
        assert received == sent >= 300_000


async def test_one_task_at_a_time_receives(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:
        client, child = await connected(hosts)
        nursery.start_soon(child.recv, 10)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await child.recv(10)
        await client.send(b"x")


async def test_a_cancelled_recv_loses_nothing(autojump_clock):
    async with pair() as hosts:
        client, child = await connected(hosts)
        with trio.move_on_after(1) as scope:
            await child.recv(10)
        assert scope.cancelled_caught
        await client.send(b"hello")
        with trio.CancelScope() as scope:
            scope.cancel()
            await child.recv(10)
        assert await child.recv(10) == b"hello"


async def test_recv_waits_for_the_low_water_mark(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:
        client, child = await connected(hosts)
        child.setsockopt(SOL_SOCKET, SO_RCVLOWAT, 4)
        received = []

        async def receive(size: int, flags: int) -> None:
            received.append(await child.recv(size, flags))

        nursery.start_soon(receive, 100, 0)
        await client.send(b"abc")
        await trio.sleep(1)
        assert received == []
        await client.send(b"de")
        await until(lambda: bool(received))
        nursery.start_soon(receive, 6, MSG_WAITALL)
        await client.send(b"12345")
        await trio.sleep(1)
        assert received == [b"abcde"]
        await client.send(b"67")
        await until(lambda: len(received) == 2)
        assert received[1] == b"123456"
        assert await child.recv(10, MSG_DONTWAIT) == b"7"
        nursery.start_soon(receive, 10, MSG_WAITALL)
        await client.send(b"end")
        client.shutdown(SHUT_WR)
        await until(lambda: len(received) == 3)
        assert received[2] == b"end"


async def test_what_never_waits(autojump_clock):
    async with pair() as hosts:
        client, child = await connected(hosts)
        for flags in (MSG_DONTWAIT, MSG_ERRQUEUE):
            with refuses(errno.EAGAIN):
                await child.recv(10, flags)
        with refuses(errno.EINVAL):
            await child.recv(10, MSG_OOB)
        child.setsockopt(IPPROTO_TCP, TCP_INQ, 1)
        await client.send(b"hello", MSG_OOB)
        await until(child.is_readable)
        received = await child.recvmsg(10, 100)
        assert received.data == b"hell"
        assert received.control == [(IPPROTO_TCP, TCP_INQ, b"\1\0\0\0")]
        assert await child.recv(1, MSG_OOB) == b"o"
        client.setsockopt(SOL_SOCKET, SO_SNDBUF, 1)
        hosts.cut()
        with refuses(errno.EAGAIN):
            for _ in range(1000):
                await client.send(bytes(10_000), MSG_DONTWAIT)


async def test_closing_wakes_those_who_wait(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:
        listener = await listening(hosts)
        _, child = await connected_to(hosts, listener)

        async def waits(call) -> None:
            with pytest.raises(trio.ClosedResourceError):
                await call()

        nursery.start_soon(waits, listener.accept)
        nursery.start_soon(waits, lambda: child.recv(1))
        await wait_all_tasks_blocked()
        listener.close()
        child.close()
        await wait_all_tasks_blocked()
        for call in (listener.accept, lambda: child.recv(1), lambda: child.send(b"x")):
            with refuses(errno.EBADF):
                await call()


async def connected_to(hosts: Pair, listener: Socket) -> tuple[Socket, Socket]:
    client = hosts.client.socket()
    await client.connect((SERVER, 80))
    return client, (await listener.accept())[0]


async def test_shutdown_wakes_who_reads(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:
        _, child = await connected(hosts)
        received = []

        async def receive() -> None:
            received.append(await child.recv(1))

        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        child.shutdown(SHUT_RD)
        await wait_all_tasks_blocked()
        assert received == [b""]


async def test_shutdown_of_a_listener_ends_accept(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:
        listener = await listening(hosts)

        async def accept() -> None:
            with refuses(errno.EINVAL):
                await listener.accept()

        nursery.start_soon(accept)
        await wait_all_tasks_blocked()
        listener.shutdown(SHUT_RD)


async def test_host_that_is_left_ends_everything(autojump_clock):
    async with trio.open_nursery() as nursery:
        async with pair() as hosts:
            listener = await listening(hosts)
            client, child = await connected_to(hosts, listener)

            async def accept() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await listener.accept()

            async def receive() -> None:
                with refuses(errno.ECONNABORTED):
                    await child.recv(1)

            nursery.start_soon(accept)
            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
        with pytest.raises(trio.ClosedResourceError):
            hosts.server.socket()
        with pytest.raises(trio.ClosedResourceError):
            await hosts.client.open_tcp_stream(SERVER, 80)
        client.close()


async def test_link_that_ends_is_told(autojump_clock, caplog):
    async with pair() as hosts:
        client = hosts.client.socket()
        await listening(hosts)
        await client.connect((SERVER, 80))
        await wait_all_tasks_blocked()
        hosts.client_wire.link.close()
        hosts.server_wire.link.close()
        with refuses(errno.ECONNABORTED):
            await client.recv(1)
        with pytest.raises(LinkClosedError):
            await client.bind(("0.0.0.0", 0))


async def test_fast_open(autojump_clock):
    async with pair() as hosts:
        listener = await listening(hosts)
        listener.setsockopt(IPPROTO_TCP, TCP_FASTOPEN, 5)
        for data in (b"asks for a cookie", b"uses it"):
            client = hosts.client.socket()
            assert await client.sendto(data, MSG_FASTOPEN, (SERVER, 80)) == len(data)
            child, _ = await listener.accept()
            assert await child.recv(100) == data
            await wait_all_tasks_blocked()
        assert client.info().syn_data
        deferred = hosts.client.socket()
        deferred.setsockopt(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
        with assert_checkpoints():
            await deferred.connect((SERVER, 80))
        assert await deferred.send(b"hello") == 5
        child, _ = await listener.accept()
        assert await child.recv(100) == b"hello"
        await wait_all_tasks_blocked()
        assert deferred.info().syn_data


async def test_repr_and_block(autojump_clock):
    async with pair() as hosts:
        with hosts.client.socket() as sock:
            await sock.bind(("0.0.0.0", 99))
            assert repr(sock) == "<Socket ('0.0.0.0', 99)>"
        assert repr(sock) == "<Socket closed>"


async def test_closed_sockets_are_no_cycles(autojump_clock):
    async with pair() as hosts:
        client, child = await connected(hosts)
        client.close()
        child.close()
        await trio.sleep(200)
        watched = [weakref.ref(client), weakref.ref(child)]
        gc.disable()
        try:
            del client, child
            assert [each() for each in watched] == [None, None]
        finally:
            gc.enable()
