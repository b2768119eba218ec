"""What a stream tells of the network while the connection goes on (RFC 9293 3.9.1.8, 3.8.3)."""

from __future__ import annotations

import errno

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from stack.link.impair import ImpairLink
from stack.link.memory import memory_links
from stack.path.answers import time_exceeded
from stack.path.config import PathConfig
from stack.runtime.open import open_host
from tests.runtime.hosts import pair


# RFC 9293 MUST-47
async def test_soft_error(autojump_clock):
    async with pair() as hosts:
        stream, _ = await hosts.connect()
        assert stream.soft_error is None
        hosts.cut()
        await stream.send_all(b"x")
        waited: list[OSError | None] = []

        async def wait() -> None:
            await stream.wait_trouble()
            waited.append(stream.soft_error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            assert waited == []
            answer = time_exceeded(hosts.client_wire.sent[-1])
            assert answer is not None
            assert hosts.server_wire.link.write(answer)
        [error] = waited
        assert error is not None
        assert error.errno == errno.EHOSTUNREACH
        assert not stream.path_doubtful


# RFC 9293 MUST-20, SHLD-9
async def test_doubtful_path(autojump_clock):
    async with pair() as hosts:
        stream, _ = await hosts.connect(user_timeout=60.0)
        hosts.cut()
        await stream.send_all(b"x")
        await stream.wait_trouble()
        assert stream.path_doubtful
        assert stream.soft_error is None
        assert trio.current_time() < 5
        with pytest.raises(trio.BrokenResourceError) as caught:
            await stream.wait_trouble()
        assert isinstance(caught.value.__cause__, TimeoutError)
        assert trio.current_time() == pytest.approx(60, abs=1)


async def test_what_was_reported_before_is_told_at_once(autojump_clock):
    async with pair() as hosts:
        stream, _ = await hosts.connect()
        hosts.cut()
        await stream.send_all(b"x")
        await trio.sleep(10)
        with assert_checkpoints():
            await stream.wait_trouble()
        assert stream.path_doubtful
        with trio.move_on_after(100) as scope:
            await stream.wait_trouble()
        assert scope.cancelled_caught


# RFC 9293 SHLD-20
async def test_reports_can_be_switched_off(autojump_clock):
    async with pair() as hosts:
        stream, _ = await hosts.connect()
        stream.set(error_reports=False)
        hosts.cut()
        await stream.send_all(b"x")
        with trio.move_on_after(100) as scope:
            await stream.wait_trouble()
        assert scope.cancelled_caught
        assert stream.path_doubtful  # it is still there for whoever looks


async def test_closing_ends_the_wait(autojump_clock):
    async with pair() as hosts:
        stream, _ = await hosts.connect()
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await stream.wait_trouble()

            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await stream.wait_trouble()
            await stream.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await stream.wait_trouble()


async def test_reset_ends_the_wait(autojump_clock):
    async with pair() as hosts:
        stream, other = await hosts.connect()
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(trio.BrokenResourceError):
                    await stream.wait_trouble()

            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            other.abort()


async def test_path_mtu_under_trio(autojump_clock):
    """What a router says about a too long packet makes the next ones shorter."""
    ours, theirs = memory_links()
    async with (
        open_host(ImpairLink(ours, PathConfig(mtu=1300)), addresses=["10.9.0.1/24"]) as client,
        open_host(theirs, addresses=["10.9.0.2/24"]) as server,
    ):
        [listener] = await server.open_tcp_listeners(80)
        stream = await client.open_tcp_stream("10.9.0.2", 80)
        other = await listener.accept()
        await stream.send_all(bytes(100_000))
        await stream.send_eof()
        got = 0
        while part := await other.receive_some():
            got += len(part)
        assert got == 100_000
        assert stream.info().pmtu == 1300
        assert trio.current_time() < 1
