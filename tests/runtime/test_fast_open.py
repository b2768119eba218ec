"""Fast Open for applications: `early_data` at one end, a listener with `fastopen` at the other."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from stack.tcp.config import TcpOptions
from tests.runtime.hosts import CLIENT, SERVER, SERVER6, pair, read_all, read_exactly, segment

FAST = TcpOptions(fastopen=True)


# RFC7413-07
@pytest.mark.parametrize("address", [SERVER, SERVER6])
async def test_the_second_stream_takes_its_first_bytes_along(autojump_clock, address):
    async with pair() as hosts, trio.open_nursery() as nursery:

        async def answer(stream):
            question = await read_exactly(stream, 8)
            await stream.send_all(question * 2)
            await stream.aclose()

        await nursery.start(partial(hosts.server.serve_tcp, answer, 80, options=FAST))
        for fast in (False, True, True):
            stream = await hosts.client.open_tcp_stream(address, 80, early_data=b"question")
            assert stream.info().syn_data is fast
            assert await read_all(stream) == b"questionquestion"
            await stream.aclose()
        nursery.cancel_scope.cancel()
    assert hosts.server.counters.fast_opens == 2


# RFC7413-07
async def test_the_answer_may_be_there_with_the_connection(autojump_clock):
    async with pair() as hosts:
        [listener] = await hosts.server.open_tcp_listeners(80, options=FAST)
        await hosts.client.open_tcp_stream(SERVER, 80, early_data=b"x")
        await wait_all_tasks_blocked()
        hosts.client_wire.sent.clear()
        async with trio.open_nursery() as nursery:

            async def serve():
                await listener.accept()
                stream = await listener.accept()
                assert stream.remote_address[0] == CLIENT
                await stream.send_all(await read_exactly(stream, 8))

            nursery.start_soon(serve)
            stream = await hosts.client.open_tcp_stream(SERVER, 80, early_data=b"question")
        assert await read_exactly(stream, 8) == b"question"
        assert segment(hosts.client_wire.sent[0]).payload == b"question"


# RFC7413-01, RFC7413-11
async def test_nothing_of_it_without_early_data(autojump_clock):
    async with pair() as hosts:
        await hosts.server.open_tcp_listeners(80, options=FAST)
        await hosts.client.open_tcp_stream(SERVER, 80)
        assert segment(hosts.client_wire.sent[0]).fastopen is None
        await hosts.client.open_tcp_stream(SERVER, 80, options=FAST)
        assert any(segment(packet).fastopen == (b"", False) for packet in hosts.client_wire.sent)


async def test_more_than_a_syn_or_the_send_buffer_holds(autojump_clock):
    data = bytes(range(256)) * 4000
    async with pair() as hosts:
        [listener] = await hosts.server.open_tcp_listeners(80, options=FAST)
        for early_data in (b"x", data, bytearray(data), memoryview(data)):
            async with trio.open_nursery() as nursery:
                received: list[bytes] = []

                async def serve(received=received):
                    received.append(await read_all(await listener.accept()))

                nursery.start_soon(serve)
                options = TcpOptions(send_buffer=50_000, send_space=50_000)
                stream = await hosts.client.open_tcp_stream(SERVER, 80, options=options, early_data=early_data)
                await stream.send_all(b"and more")
                await stream.send_eof()
            assert received == [bytes(early_data) + b"and more"]


async def test_early_data_for_a_server_that_refuses(autojump_clock):
    async with pair() as hosts:
        with pytest.raises(ConnectionRefusedError):
            await hosts.client.open_tcp_stream(SERVER, 80, early_data=b"question")


async def test_a_handler_that_fails_ends_its_connection(autojump_clock):
    async with pair() as hosts, trio.open_nursery() as nursery:

        async def fail(stream):
            if stream.info().syn_data:
                raise RuntimeError("on purpose")

        failures = []

        def note(stream, error):
            failures.append(error)

        await nursery.start(partial(hosts.server.serve_tcp, fail, 80, options=FAST, on_error=note))
        await hosts.client.open_tcp_stream(SERVER, 80, early_data=b"x")
        with pytest.raises((ConnectionResetError, ConnectionRefusedError, trio.BrokenResourceError)):
            await (await hosts.client.open_tcp_stream(SERVER, 80, early_data=b"x")).receive_some()
        assert [str(error) for error in failures] == ["on purpose"]
        nursery.cancel_scope.cancel()
