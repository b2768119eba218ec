"""TcpStream: what applications see of one connection."""

from __future__ import annotations

import errno
import os

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from stack.runtime.stream import RECEIVE_BYTES, TcpStream
from stack.tcp.state import State
from tests.runtime.hosts import CLIENT, SERVER, pair, read_all, read_exactly, until

SMALL = {"send_buffer": 20_000, "receive_window": 10_000, "receive_buffer": 10_000}


# -- sending and receiving -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1447, 1448, 1449, 65536, 3_000_000])
async def test_bytes_arrive_in_order_and_once(autojump_clock, size):
    data = os.urandom(size)
    async with pair() as hosts, trio.open_nursery() as nursery:
        client, server = await hosts.connect()

        async def send() -> None:
            await client.send_all(data)
            await client.send_eof()

        nursery.start_soon(send)
        assert await read_all(server) == data


async def test_receive_some_returns_what_is_there(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect(nodelay=True)
        for piece in (b"one", b"two", b"three"):
            await client.send_all(piece)
        await until(lambda: server._conn.readable == 11)
        assert await server.receive_some(4) == b"onet"
        assert await server.receive_some() == b"wothree"


async def test_receive_some_has_a_limit_of_its_own(autojump_clock):
    async with pair(receive_window=1 << 20, receive_buffer=1 << 20) as hosts:
        client, server = await hosts.connect()
        await client.send_all(bytes(RECEIVE_BYTES + 1))
        await until(lambda: server._conn.readable > RECEIVE_BYTES)
        assert len(await server.receive_some()) == RECEIVE_BYTES


async def test_a_cancelled_receive_loses_nothing(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect()
        with trio.move_on_after(1) as scope:
            await server.receive_some()
        assert scope.cancelled_caught
        await client.send_all(b"later")
        with trio.CancelScope() as scope:
            scope.cancel()
            await server.receive_some()
        await until(lambda: server._conn.readable == 5)
        with trio.CancelScope() as scope:
            scope.cancel()
            await server.receive_some()
        assert await server.receive_some() == b"later"


async def test_bytes_are_kept_by_reference(autojump_clock):
    async with pair() as hosts:
        client, _ = await hosts.connect()
        hosts.cut()
        data = bytes(5000)
        await client.send_all(data)
        await client.send_all(memoryview(data)[1000:4000])
        assert [chunk.obj is data for chunk in client._conn.snd.buffer._chunks] == [True, True]


async def test_what_can_change_is_copied(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect()
        data = bytearray(b"before")
        await client.send_all(data)
        data[:] = b"after!"
        await client.send_all(memoryview(bytearray(b"+view"))[1:])
        with memoryview(b"+released later") as view:
            await client.send_all(view)
        await client.send_all(memoryview(b"+every second"[::-1])[::-1])
        await client.send_eof()
        assert await read_all(server) == b"beforeview+released later+every second"


@pytest.mark.parametrize("wrong", ["text", 5, None])
async def test_only_bytes_can_be_sent(autojump_clock, wrong):
    async with pair() as hosts:
        client, _ = await hosts.connect()
        with pytest.raises(TypeError):
            await client.send_all(wrong)


async def test_send_all_waits_while_the_buffer_is_full(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect(**SMALL)
        with trio.move_on_after(5) as scope:
            await client.send_all(bytes(100_000))
        assert scope.cancelled_caught
        assert client._conn.unacknowledged <= 20_000
        # What a cancelled send_all has queued is sent all the same, and nothing else of it.
        queued = client._conn.unacknowledged + server._conn.readable
        await client.send_eof()
        assert len(await read_all(server)) == queued


async def test_a_buffer_that_grows_lets_a_sender_go_on(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:
        client, _ = await hosts.connect(**SMALL)
        hosts.cut()
        done = trio.Event()

        async def send() -> None:
            await client.send_all(bytes(50_000))
            done.set()

        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        assert not done.is_set()
        client.set(send_buffer=200_000)
        await done.wait()


async def test_a_small_read_window_is_opened_by_reading(autojump_clock):
    """A reader that takes little at a time still gets everything: each read offers what it has freed."""
    async with pair() as hosts, trio.open_nursery() as nursery:
        client, server = await hosts.connect(**SMALL)
        nursery.start_soon(client.send_all, bytes(100_000))
        assert await read_exactly(server, 100_000) == bytes(100_000)


async def test_wait_send_all_might_not_block(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:
        client, server = await hosts.connect(**SMALL)
        with assert_checkpoints():
            await client.wait_send_all_might_not_block()
        for _ in range(3):
            with trio.move_on_after(1):
                await client.send_all(bytes(100_000))
        with trio.move_on_after(1) as scope:
            await client.wait_send_all_might_not_block()
        assert scope.cancelled_caught
        nursery.start_soon(read_exactly, server, 25_000)
        await client.wait_send_all_might_not_block()


# -- one at a time -------------------------------------------------------------------------------------------


async def test_two_tasks_can_not_send_at_once(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:
        client, _ = await hosts.connect(**SMALL)
        nursery.start_soon(client.send_all, bytes(100_000))
        await wait_all_tasks_blocked()
        for attempt in (client.send_all(b"x"), client.wait_send_all_might_not_block(), client.send_eof()):
            with pytest.raises(trio.BusyResourceError, match="another task is sending"):
                await attempt
        nursery.cancel_scope.cancel()


async def test_two_tasks_can_not_receive_at_once(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:
        client, _ = await hosts.connect()
        nursery.start_soon(client.receive_some)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="another task is receiving"):
            await client.receive_some()
        await client.send_all(b"but sending is another matter")
        nursery.cancel_scope.cancel()


# -- closing -------------------------------------------------------------------------------------------------


async def test_half_close_works_in_both_directions(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect()
        await client.send_eof()
        await client.send_eof()
        assert await server.receive_some() == b""
        assert await server.receive_some() == b""
        await wait_all_tasks_blocked()
        assert (client.state, server.state) == (State.FIN_WAIT_2, State.CLOSE_WAIT)
        with pytest.raises(trio.ClosedResourceError, match="end of file"):
            await client.send_all(b"x")
        await server.send_all(b"still here")
        await server.aclose()
        assert await read_all(client) == b"still here"
        await wait_all_tasks_blocked()
        assert client.state is State.TIME_WAIT
        assert server.state is State.CLOSED


async def test_aclose_returns_at_once_and_the_rest_is_sent_in_the_background(autojump_clock):
    data = os.urandom(200_000)
    async with pair() as hosts:
        client, server = await hosts.connect(send_buffer=300_000, receive_window=10_000, receive_buffer=10_000)
        await client.send_all(data)
        before = trio.current_time()
        with assert_checkpoints():
            await client.aclose()
        assert trio.current_time() == before
        assert client.closed
        assert client.state is State.FIN_WAIT_1
        await trio.sleep(100)
        assert await read_all(server) == data
        await server.aclose()
        await until(lambda: client.state is State.TIME_WAIT)


async def test_a_cancelled_aclose_closes(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect()
        with trio.CancelScope() as scope:
            scope.cancel()
            await client.aclose()
        assert await server.receive_some() == b""


async def test_closing_with_unread_data_resets(autojump_clock):
    """RFC 9293 3.6.1: the peer must learn that its data was lost."""
    async with pair() as hosts:
        client, server = await hosts.connect()
        await client.send_all(b"never read")
        await until(lambda: server._conn.readable > 0)
        await server.aclose()
        with pytest.raises(trio.BrokenResourceError) as caught:
            await client.receive_some()
        assert isinstance(caught.value.__cause__, ConnectionResetError)


async def test_data_after_close_is_answered_with_a_reset(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect()
        await server.aclose()
        assert await client.receive_some() == b""
        await client.send_all(b"too late")
        await until(lambda: client.state is State.CLOSED)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await client.send_all(b"x")
        assert isinstance(caught.value.__cause__, ConnectionResetError)


async def test_closing_wakes_the_tasks_that_use_the_stream(autojump_clock):
    async with pair() as hosts:
        for end in (TcpStream.aclose, trio.aclose_forcefully, TcpStream.close, TcpStream.abort):
            client, _ = await hosts.connect(**SMALL)

            async def expect_closed(call, *args) -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await call(*args)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(expect_closed, client.receive_some)
                nursery.start_soon(expect_closed, client.send_all, bytes(100_000))
                await wait_all_tasks_blocked()
                result = end(client)
                if result is not None:
                    await result
            for call in (client.receive_some(), client.send_all(b""), client.send_eof()):
                with pytest.raises(trio.ClosedResourceError, match="this stream was closed"):
                    await call
            with pytest.raises(trio.ClosedResourceError):
                await client.wait_send_all_might_not_block()


async def test_send_eof_on_a_stream_that_is_closed_meanwhile(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:
        client, _ = await hosts.connect()

        async def eof() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await client.send_eof()

        nursery.start_soon(eof)
        nursery.start_soon(client.aclose)


# -- breaking ------------------------------------------------------------------------------------------------


async def test_a_reset_breaks_the_stream_for_everybody(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect(**SMALL)

        async def expect_broken(call, *args) -> None:
            with pytest.raises(trio.BrokenResourceError, match="reset by peer") as caught:
                await call(*args)
            assert isinstance(caught.value.__cause__, ConnectionResetError)
            assert caught.value.__cause__.errno == errno.ECONNRESET

        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_broken, client.receive_some)
            nursery.start_soon(expect_broken, client.send_all, bytes(100_000))
            await wait_all_tasks_blocked()
            server.abort()
        await expect_broken(client.wait_send_all_might_not_block)
        await expect_broken(client.send_eof)
        await client.aclose()
        assert hosts.client.connections() == hosts.server.connections() == []


async def test_data_that_came_before_a_reset_is_still_delivered(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect()
        await server.send_all(b"last words")
        await until(lambda: client._conn.readable > 0)
        server.abort()
        await until(lambda: client.state is State.CLOSED)
        assert await client.receive_some() == b"last words"
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()


async def test_silence_breaks_the_stream_after_the_user_timeout(autojump_clock):
    async with pair() as hosts:
        client, _ = await hosts.connect()
        client.set(user_timeout=30.0)
        hosts.cut()
        before = trio.current_time()
        await client.send_all(b"is anybody there?")
        with pytest.raises(trio.BrokenResourceError) as caught:
            await client.receive_some()
        assert isinstance(caught.value.__cause__, TimeoutError)
        assert trio.current_time() - before == pytest.approx(30, abs=1)


async def test_abort_is_seen_as_a_reset(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect()
        client.abort()
        client.abort()
        assert client.state is State.CLOSED
        with pytest.raises(trio.BrokenResourceError) as caught:
            await server.receive_some()
        assert isinstance(caught.value.__cause__, ConnectionResetError)


async def test_abort_after_aclose_gives_up_what_was_queued(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect(**SMALL)
        await client.send_all(bytes(20_000))
        await client.aclose()
        client.abort()
        assert client.state is State.CLOSED
        with pytest.raises(trio.BrokenResourceError):
            await read_all(server)


# -- facts and options ---------------------------------------------------------------------------------------


async def test_facts(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect(port=7)
        assert client.remote_address == server.local_address == (SERVER, 7)
        assert client.local_address == server.remote_address
        assert client.local_address[0] == CLIENT
        assert client.state is server.state is State.ESTABLISHED
        assert f"peer {SERVER} port 7, ESTABLISHED" in repr(client)
        await client.send_all(b"12345")
        await server.receive_some()
        assert server.info().bytes_received == 5
        assert client.info().state == "ESTAB"
        assert not client.closed


async def test_options_can_be_changed(autojump_clock):
    async with pair() as hosts:
        client, _ = await hosts.connect()
        client.set(nodelay=True, ttl=9)
        assert client._conn.options.nodelay
        await client.send_all(b"x")
        assert hosts.client_wire.sent[-1].head[8] == 9
        with pytest.raises(TypeError):
            client.set(no_such_option=1)
        with pytest.raises(ValueError, match="ttl"):
            client.set(ttl=256)


async def test_keepalive_can_be_switched_on(autojump_clock):
    async with pair() as hosts:
        client, _ = await hosts.connect()
        client.set(keepalive=True, keepalive_idle=10, keepalive_interval=1, keepalive_probes=3)
        hosts.cut()
        before = trio.current_time()
        with pytest.raises(trio.BrokenResourceError) as caught:
            await client.receive_some()
        assert isinstance(caught.value.__cause__, TimeoutError)
        assert trio.current_time() - before == pytest.approx(13, abs=1)


async def test_the_fin_rides_on_the_last_segment(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect()
        before = len(hosts.client_wire.sent)
        await client.send_last(b"goodbye")
        assert len(hosts.client_wire.sent) == before + 1
        head = hosts.client_wire.sent[-1].head
        assert head[20 + 13] & 1  # FIN, in the flags of the TCP header behind 20 bytes of IPv4
        assert await server.receive_some() == b"goodbye"
        assert await server.receive_some() == b""
        with pytest.raises(trio.ClosedResourceError):
            await client.send_all(b"more")
        await server.send_last(b"")
        assert await client.receive_some() == b""


async def test_a_last_write_larger_than_the_buffer_ends_with_the_fin(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect()
        data = bytes(5_000_000)
        received = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_last, data)
            while piece := await server.receive_some():
                received += piece
        assert received == data
