"""TcpListener and serve_tcp."""

from __future__ import annotations

import errno
import gc
import logging
import weakref

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from stack.runtime.listener import TcpListener
from stack.runtime.stream import TcpStream
from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from tests.runtime.hosts import CLIENT, SERVER, SERVER6, pair, read_all, until

# -- listening -----------------------------------------------------------------------------------------------


async def test_connections_are_accepted_in_order(autojump_clock):
    async with pair() as hosts:
        with assert_checkpoints():
            [listener] = await hosts.server.open_tcp_listeners(80)
        first = await hosts.client.open_tcp_stream(SERVER, 80)
        second = await hosts.client.open_tcp_stream(SERVER6, 80)
        for client in (first, second):
            with assert_checkpoints():
                server = await listener.accept()
            assert server.remote_address == client.local_address


async def test_accept_waits_for_a_connection(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:
        [listener] = await hosts.server.open_tcp_listeners(80)
        accepted: list[TcpStream] = []

        async def accept() -> None:
            accepted.append(await listener.accept())

        nursery.start_soon(accept)
        await wait_all_tasks_blocked()
        assert not accepted
        client = await hosts.client.open_tcp_stream(SERVER, 80)
        await wait_all_tasks_blocked()
        assert [stream.remote_address for stream in accepted] == [client.local_address]


async def test_a_cancelled_accept_loses_nobody(autojump_clock):
    async with pair() as hosts:
        [listener] = await hosts.server.open_tcp_listeners(80)
        with trio.move_on_after(1) as scope:
            await listener.accept()
        assert scope.cancelled_caught
        client = await hosts.client.open_tcp_stream(SERVER, 80)
        with trio.CancelScope() as scope:
            scope.cancel()
            await listener.accept()
        assert scope.cancelled_caught
        assert (await listener.accept()).remote_address == client.local_address


async def test_two_tasks_can_not_accept_at_once(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:
        [listener] = await hosts.server.open_tcp_listeners(80)
        nursery.start_soon(listener.accept)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="accepting"):
            await listener.accept()
        nursery.cancel_scope.cancel()


async def test_closing_wakes_who_accepts_and_refuses_newcomers(autojump_clock):
    async with pair() as hosts:
        [listener] = await hosts.server.open_tcp_listeners(80)

        async def expect_closed() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await listener.accept()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_closed)
            await wait_all_tasks_blocked()
            with assert_checkpoints():
                await listener.aclose()
        await listener.aclose()
        await expect_closed()
        with pytest.raises(ConnectionRefusedError):
            await hosts.client.open_tcp_stream(SERVER, 80)


async def test_closing_resets_those_whom_nobody_accepted(autojump_clock):
    async with pair() as hosts:
        [listener] = await hosts.server.open_tcp_listeners(80)
        client = await hosts.client.open_tcp_stream(SERVER, 80)
        await listener.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
        assert hosts.server.connections() == []


async def test_closing_leaves_accepted_connections_alone(autojump_clock):
    async with pair() as hosts:
        [listener] = await hosts.server.open_tcp_listeners(80)
        client = await hosts.client.open_tcp_stream(SERVER, 80)
        server = await listener.accept()
        await listener.aclose()
        await server.send_all(b"still here")
        assert await client.receive_some() == b"still here"


async def test_ports(autojump_clock):
    async with pair() as hosts:
        [fixed] = await hosts.server.open_tcp_listeners(80, backlog=5)
        [free] = await hosts.server.open_tcp_listeners(0)
        assert (fixed.port, fixed.backlog) == (80, 5)
        assert free.port not in (0, 80)
        assert "all addresses port 80" in repr(fixed)
        with pytest.raises(OSError, match="listened on") as caught:
            await hosts.server.open_tcp_listeners(80)
        assert caught.value.errno == errno.EADDRINUSE
        await hosts.client.open_tcp_stream(SERVER, free.port)


async def test_one_address(autojump_clock):
    async with pair() as hosts:
        [listener] = await hosts.server.open_tcp_listeners(80, host=SERVER6)
        assert listener.address == SERVER6
        await hosts.client.open_tcp_stream(SERVER6, 80)
        with pytest.raises(ConnectionRefusedError):
            await hosts.client.open_tcp_stream(SERVER, 80)
        with pytest.raises(OSError, match="not an address of this host") as caught:
            await hosts.server.open_tcp_listeners(80, host=CLIENT)
        assert caught.value.errno == errno.EADDRNOTAVAIL


class Names(trio.abc.HostnameResolver):
    """A resolver that knows what a test tells it."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        await trio.lowlevel.checkpoint()
        return [(0, type, proto, "", (address, 0)) for address in self.addresses]

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


async def test_a_name_with_several_addresses_gives_several_listeners(autojump_clock):
    trio.socket.set_custom_hostname_resolver(Names(SERVER, SERVER6))
    async with pair() as hosts:
        listeners = await hosts.server.open_tcp_listeners(80, host="server.example")
        assert [listener.address for listener in listeners] == [SERVER, SERVER6]
        for listener in listeners:
            await listener.aclose()
        # When the second one fails, the first one is not left behind.
        trio.socket.set_custom_hostname_resolver(Names(SERVER, CLIENT))
        with pytest.raises(OSError, match="not an address of this host"):
            await hosts.server.open_tcp_listeners(80, host="server.example")
        with pytest.raises(ConnectionRefusedError):
            await hosts.client.open_tcp_stream(SERVER, 80)


async def test_options_go_to_the_accepted_connection(autojump_clock):
    async with pair() as hosts:
        [listener] = await hosts.server.open_tcp_listeners(80, options=TcpOptions(mss=700))
        client = await hosts.client.open_tcp_stream(SERVER, 80)
        assert client.info().snd_mss == 700 - 12  # timestamps take 12
        assert (await listener.accept())._conn.options.mss == 700


# -- serving -------------------------------------------------------------------------------------------------


async def echo(stream: TcpStream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def test_serve_tcp(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:
        [listener] = await nursery.start(hosts.server.serve_tcp, echo, 0)
        assert isinstance(listener, TcpListener)
        for _ in range(3):
            client = await hosts.client.open_tcp_stream(SERVER, listener.port)
            await client.send_all(b"hello")
            await client.send_eof()
            # The handler returns without closing; its stream is closed for it.
            assert await read_all(client) == b"hello"
        nursery.cancel_scope.cancel()
    assert hosts.server.connections() == []


async def test_a_server_that_waits_keeps_no_stream_alive(autojump_clock):
    alive: list[weakref.ref[TcpStream]] = []

    async def handler(stream: TcpStream) -> None:
        alive.append(weakref.ref(stream))
        await stream.receive_some()

    async with pair() as hosts, trio.open_nursery() as nursery:
        await nursery.start(hosts.server.serve_tcp, handler, 80)
        client = await hosts.client.open_tcp_stream(SERVER, 80)
        await client.aclose()
        await until(lambda: bool(alive) and hosts.server.connections() == [])
        gc.collect()
        assert [reference() for reference in alive] == [None]
        nursery.cancel_scope.cancel()


class HandlerError(Exception):
    pass


async def fail(stream: TcpStream) -> None:
    await stream.send_all(b"so far so good")
    await stream.receive_some()
    raise HandlerError("in the handler")


async def fail_in_a_nursery(stream: TcpStream) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail, stream)


@pytest.mark.parametrize("handler", [fail, fail_in_a_nursery])
async def test_a_failing_handler_resets_its_own_connection_and_nothing_else(autojump_clock, caplog, handler):
    async with pair() as hosts, trio.open_nursery() as nursery:
        await nursery.start(hosts.server.serve_tcp, handler, 80)
        bystander = await hosts.client.open_tcp_stream(SERVER, 80)
        client = await hosts.client.open_tcp_stream(SERVER, 80)
        assert await client.receive_some() == b"so far so good"
        await client.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError) as caught:
            await client.receive_some()
        assert isinstance(caught.value.__cause__, ConnectionResetError)
        assert bystander.state is State.ESTABLISHED
        await (await hosts.client.open_tcp_stream(SERVER, 80)).send_all(b"still serving")
        [record] = caplog.records
        assert (record.name, record.levelno) == ("stack", logging.ERROR)
        assert f"the handler of a connection from {CLIENT} port" in record.getMessage()
        assert "in the handler" in caplog.text
        assert "Traceback" in caplog.text
        nursery.cancel_scope.cancel()


async def test_a_handler_that_fails_after_closing_closes_in_the_ordinary_way(autojump_clock, caplog):
    async def handler(stream: TcpStream) -> None:
        await stream.send_all(b"complete")
        await stream.aclose()
        raise HandlerError

    async with pair() as hosts, trio.open_nursery() as nursery:
        await nursery.start(hosts.server.serve_tcp, handler, 80)
        client = await hosts.client.open_tcp_stream(SERVER, 80)
        assert await read_all(client) == b"complete"
        assert len(caplog.records) == 1
        nursery.cancel_scope.cancel()


async def test_on_error_replaces_the_log(autojump_clock, caplog):
    seen: list[tuple[tuple[str, int], Exception]] = []
    async with pair() as hosts, trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[object]) -> None:
            await hosts.server.serve_tcp(
                fail,
                80,
                on_error=lambda stream, error: seen.append((stream.remote_address, error)),
                task_status=task_status,
            )

        await nursery.start(serve)
        client = await hosts.client.open_tcp_stream(SERVER, 80)
        await client.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError):
            await read_all(client)
        nursery.cancel_scope.cancel()
    [(peer, error)] = seen
    assert peer == client.local_address
    assert isinstance(error, HandlerError)
    assert caplog.records == []


class Stop(BaseException):
    pass


async def serve_one(handler) -> None:
    """A server whose handler brings it down."""
    async with pair() as hosts, trio.open_nursery() as nursery:
        await nursery.start(hosts.server.serve_tcp, handler, 80)
        await hosts.client.open_tcp_stream(SERVER, 80)
        await trio.sleep_forever()


async def test_what_is_not_an_exception_passes_through(autojump_clock, caplog):
    async def handler(_: TcpStream) -> None:
        raise Stop

    with pytest.raises(BaseExceptionGroup) as caught:
        await serve_one(handler)
    assert caught.group_contains(Stop)
    assert caplog.records == []


async def test_a_group_is_split_between_the_log_and_the_server(autojump_clock, caplog):
    """A nursery in a handler gives one where a task failed while it was being cancelled."""

    async def handler(_: TcpStream) -> None:
        raise BaseExceptionGroup("both", [HandlerError("for the log"), Stop()])

    with pytest.raises(BaseExceptionGroup) as caught:
        await serve_one(handler)
    assert caught.group_contains(Stop)
    assert not caught.group_contains(HandlerError)
    assert "for the log" in caplog.text


async def test_a_cancelled_server_closes_its_connections_and_its_port(autojump_clock, caplog):
    async with pair() as hosts:
        async with trio.open_nursery() as nursery:
            await nursery.start(hosts.server.serve_tcp, echo, 80)
            client = await hosts.client.open_tcp_stream(SERVER, 80)
            await client.send_all(b"x")
            await client.receive_some()
            nursery.cancel_scope.cancel()
        assert await client.receive_some() == b""
        with pytest.raises(ConnectionRefusedError):
            await hosts.client.open_tcp_stream(SERVER, 80)
    assert caplog.records == []


async def test_handlers_can_run_in_another_nursery(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as outer:
        async with trio.open_nursery() as nursery:

            async def serve(task_status: trio.TaskStatus[object]) -> None:
                await hosts.server.serve_tcp(echo, 80, handler_nursery=outer, task_status=task_status)

            await nursery.start(serve)
            client = await hosts.client.open_tcp_stream(SERVER, 80)
            await client.send_all(b"x")
            await client.receive_some()
            nursery.cancel_scope.cancel()
        await client.send_all(b"the handler outlives its server")
        assert await client.receive_some() == b"the handler outlives its server"
        outer.cancel_scope.cancel()
