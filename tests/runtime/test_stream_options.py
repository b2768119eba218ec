"""What a stream makes of urgent data, corks, low-water marks and lingering."""

from __future__ import annotations

import os

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from stack.runtime.stream import TcpStream
from stack.tcp.state import State
from tests.runtime.hosts import pair, read_all, read_exactly, until

SMALL = {"send_buffer": 20_000, "receive_window": 10_000, "receive_buffer": 10_000}


# -- urgent data ---------------------------------------------------------------------------------------------


# RFC 9293 MUST-30, MUST-32, MUST-33
async def test_urgent_data_is_announced_and_stays_in_line(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect()
        assert server.urgent_remaining == 0
        await client.send_all(b"before")
        await client.send_urgent(b"now!")
        assert await server.wait_urgent()
        assert server.urgent_remaining == 10
        await client.send_all(b"after")
        assert await read_exactly(server, 8) == b"beforeno"
        assert server.urgent_remaining == 2
        assert await read_exactly(server, 7) == b"w!after"
        assert server.urgent_remaining == 0


# RFC 9293 MUST-32
async def test_news_wakes_while_another_task_receives(autojump_clock):
    """Each time that the mark advances, and not for what was told of."""
    told: list[float] = []

    async def listen(stream: TcpStream) -> None:
        while await stream.wait_urgent():
            told.append(trio.current_time() - begun)

    async with pair() as hosts, trio.open_nursery() as nursery:
        client, server = await hosts.connect()
        begun = trio.current_time()
        nursery.start_soon(listen, server)
        nursery.start_soon(read_all, server)
        for _ in range(3):
            await trio.sleep(1)
            await client.send_all(b"some")
            await trio.sleep(1)
            await client.send_urgent(b"thing")
        await trio.sleep(1)
        await client.send_eof()
    assert told == pytest.approx([2, 4, 6], abs=0.01)


async def test_urgent_data_in_front_of_a_closed_window(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:
        client, server = await hosts.connect(**SMALL)
        with trio.move_on_after(5):
            await client.send_all(bytes(15_000))
        nursery.start_soon(client.send_urgent, b"stop")
        with trio.fail_after(0.1):
            assert await server.wait_urgent()
        assert server.urgent_remaining == 15_004
        assert await read_exactly(server, 15_004) == bytes(15_000) + b"stop"


async def test_no_urgent_data_will_come(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect()
        await client.send_eof()
        assert not await server.wait_urgent()
        server.abort()
        with pytest.raises(trio.BrokenResourceError):
            await client.wait_urgent()
        with pytest.raises(trio.ClosedResourceError):
            await server.wait_urgent()


async def test_wait_urgent_is_for_one_task_and_ends_with_the_stream(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:
        _, server = await hosts.connect()

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await server.wait_urgent()

        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="waiting for urgent data"):
            await server.wait_urgent()
        await server.aclose()


async def test_wait_urgent_is_a_checkpoint(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect()
        await client.send_urgent(b"!")
        await until(lambda: server.urgent_remaining > 0)
        with trio.CancelScope() as scope:
            scope.cancel()
            await server.wait_urgent()
        assert scope.cancelled_caught
        with assert_checkpoints():
            assert await server.wait_urgent()


# -- corks and low-water marks -------------------------------------------------------------------------------


async def test_cork(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect(cork=True, nodelay=True)
        sent = len(hosts.client_wire.sent)
        for piece in (b"head", b" and ", b"body"):
            await client.send_all(piece)
            await trio.sleep(0.01)
        assert len(hosts.client_wire.sent) == sent
        client.set(cork=False)
        assert len(hosts.client_wire.sent) == sent + 1
        assert await server.receive_some() == b"head and body"


async def test_little_is_queued_where_little_may_wait(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:
        client, server = await hosts.connect(notsent_lowat=4000, receive_window=10_000, receive_buffer=10_000)
        nursery.start_soon(client.send_all, bytes(100_000))
        await trio.sleep(1)
        assert client._conn.unsent <= 4000
        for _ in range(20):
            assert await read_exactly(server, 5000) == bytes(5000)
            assert client._conn.unsent <= 4000


async def test_send_all_is_a_checkpoint_also_where_all_leaves_at_once(autojump_clock):
    async with pair() as hosts:
        client, _ = await hosts.connect(notsent_lowat=1)
        with assert_checkpoints():
            await client.send_all(bytes(5000))
        assert client._conn.unacknowledged == 5000


async def test_wait_send_all_might_not_block_keeps_to_the_mark(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:
        client, server = await hosts.connect(notsent_lowat=4000, receive_window=10_000, receive_buffer=10_000)
        with trio.move_on_after(1):
            await client.send_all(bytes(100_000))
        with trio.move_on_after(1) as scope:
            await client.wait_send_all_might_not_block()
        assert scope.cancelled_caught
        nursery.start_soon(read_exactly, server, 10_000)
        await client.wait_send_all_might_not_block()
        assert client._conn.unsent < 2000


async def test_reader_waits_for_enough(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:
        client, server = await hosts.connect(receive_lowat=1000, nodelay=True)

        async def send() -> None:
            for _ in range(20):
                await client.send_all(bytes(60))
                await trio.sleep(1)
            await client.send_eof()

        nursery.start_soon(send)
        begun = trio.current_time()
        assert len(await server.receive_some()) == 17 * 60
        assert trio.current_time() - begun > 15
        assert len(await server.receive_some(60)) == 60  # less is enough for who wants less
        assert trio.current_time() - begun < 18
        assert len(await server.receive_some()) == 2 * 60  # and at the end
        assert await server.receive_some() == b""


# -- closing -------------------------------------------------------------------------------------------------


async def test_aclose_waits_until_everything_is_acknowledged(autojump_clock):
    data = os.urandom(200_000)
    received: list[bytes] = []

    async def receive(stream: TcpStream) -> None:
        await trio.sleep(3)
        received.append(await read_all(stream))

    async with pair() as hosts, trio.open_nursery() as nursery:
        client, server = await hosts.connect(linger=10.0, receive_window=10_000, receive_buffer=10_000)
        nursery.start_soon(receive, server)
        await client.send_all(data)
        begun = trio.current_time()
        await client.aclose()
        assert trio.current_time() - begun >= 3
        assert not client._conn.lingers
        await client.aclose()  # again: at once
    assert received == [data]


async def test_aclose_tells_that_the_time_was_too_short(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect(linger=2.5, receive_window=10_000, receive_buffer=10_000)
        await client.send_all(bytes(50_000))
        begun = trio.current_time()
        with pytest.raises(trio.BrokenResourceError, match="timed out"):
            await client.aclose()
        assert trio.current_time() - begun == pytest.approx(2.5, abs=0.01)
        assert client.state is State.CLOSED
        with pytest.raises(trio.BrokenResourceError):
            await read_all(server)


async def test_aclose_tells_that_the_peer_has_reset(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:
        client, server = await hosts.connect(linger=100.0, receive_window=10_000, receive_buffer=10_000)
        await client.send_all(bytes(50_000))

        async def close() -> None:
            with pytest.raises(trio.BrokenResourceError, match="reset"):
                await client.aclose()

        nursery.start_soon(close)
        await trio.sleep(1)
        server.abort()


async def test_aclose_with_nothing_to_wait_for(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect(linger=10.0)
        hosts.cut()
        server.abort()
        with assert_checkpoints(), pytest.raises(trio.BrokenResourceError, match="timed out"):
            await client.aclose()
        with assert_checkpoints():
            await client.aclose()


async def test_cancelled_while_it_lingers(autojump_clock):
    """What is queued goes on its way, in the time that it has."""
    async with pair() as hosts:
        client, server = await hosts.connect(linger=10.0, receive_window=10_000, receive_buffer=10_000)
        await client.send_all(bytes(50_000))
        with trio.move_on_after(1) as scope:
            await client.aclose()
        assert scope.cancelled_caught
        assert client.state is State.FIN_WAIT_1
        assert client._conn.owner is None
        assert await read_all(server) == bytes(50_000)


async def test_close_does_not_linger(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect(linger=10.0, receive_window=10_000, receive_buffer=10_000)
        await client.send_all(bytes(50_000))
        client.close()
        client.close()
        assert client.closed
        assert client.state is State.FIN_WAIT_1
        assert await read_all(server) == bytes(50_000)


async def test_abort_while_it_lingers(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:
        client, _ = await hosts.connect(linger=1000.0, receive_window=10_000, receive_buffer=10_000)
        await client.send_all(bytes(50_000))

        async def close() -> None:
            with pytest.raises(trio.BrokenResourceError, match="aborted"):
                await client.aclose()

        begun = trio.current_time()
        nursery.start_soon(close)
        await trio.sleep(1)
        client.abort()
    assert trio.current_time() - begun < 10


async def test_linger_of_zero_resets(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect(linger=0.0)
        with assert_checkpoints():
            await client.aclose()
        assert client.state is State.CLOSED
        with pytest.raises(trio.BrokenResourceError, match="reset"):
            await server.receive_some()
