"""open_host: coming in, and leaving in every way there is."""

from __future__ import annotations

import errno
import io
import logging
import os

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from stack.link.capture import CaptureLink
from stack.link.memory import memory_links
from stack.link.protocol import LinkClosedError, LinkError
from stack.runtime.open import open_host
from stack.tcp.state import State
from stack.wire import ip, pcapng, tcp
from stack.wire.packet import Packet
from stack.wire.segment import FIN, RST, Segment
from tests.runtime.hosts import CLIENT, SERVER, Wire, pair, read_all, until


def segments(wire: Wire) -> list[Segment]:
    """The TCP segments that a host has sent."""
    frames = [packet.frame() for packet in wire.sent]
    return [tcp.decode(frame, header.start, header.end) for frame in frames for header in [ip.decode(frame)]]


def resets(wire: Wire) -> int:
    return sum(bool(segment.flags & RST) for segment in segments(wire))


# -- coming in -----------------------------------------------------------------------------------------------


async def test_addresses(autojump_clock):
    link, _ = memory_links()
    async with open_host(link, addresses="10.9.0.1/24") as host:
        host.add_address("fd00::1/64")
        assert host.addresses == ["10.9.0.1/24", "fd00::1/64"]
        assert "10.9.0.1/24, fd00::1/64 on memory0" in repr(host)
        host.remove_address("10.9.0.1")
        assert host.addresses == ["fd00::1/64"]
        with pytest.raises(ValueError, match="127"):
            host.add_address("127.0.0.1/8")


async def test_an_impossible_address_closes_the_link(autojump_clock):
    link, _ = memory_links()
    with pytest.raises(ValueError, match="broadcast"):
        async with open_host(link, addresses=["10.9.0.255/24"]):
            raise AssertionError("unreachable")
    with pytest.raises(LinkClosedError):
        link.read_batch(1)


async def test_an_address_that_the_link_refuses(autojump_clock):
    class Choosy(Wire):
        def check_address(self, address: str) -> None:
            if address.startswith("10."):
                raise LinkError(errno.EADDRINUSE, f"{address} is taken")

    link = Choosy(memory_links()[0])
    with pytest.raises(LinkError, match="is taken"):
        async with open_host(link, addresses=["10.9.0.1/24"]):
            raise AssertionError("unreachable")
    async with open_host(Choosy(memory_links()[0]), addresses=["192.0.2.1/24"]) as host:
        with pytest.raises(LinkError, match="is taken"):
            host.add_address("10.9.0.1/24")


async def test_a_capture_that_can_not_be_written_closes_the_link(autojump_clock, tmp_path):
    link, _ = memory_links()
    with pytest.raises(FileNotFoundError):
        async with open_host(link, addresses=["10.9.0.1/24"], capture=tmp_path / "missing" / "x.pcapng"):
            raise AssertionError("unreachable")
    with pytest.raises(LinkClosedError):
        link.read_batch(1)


async def test_the_capture_tells_the_states(autojump_clock):
    left, right = memory_links()
    file = io.BytesIO()
    async with (
        open_host(left, addresses=[CLIENT + "/24"], capture=file) as client,
        open_host(right, addresses=[SERVER + "/24"]) as server,
    ):
        [listener] = await server.open_tcp_listeners(80)
        stream = await client.open_tcp_stream(SERVER, 80)
        peer = await listener.accept()
        await stream.aclose()
        await until(lambda: stream.state is State.FIN_WAIT_2)
        await peer.aclose()
        await until(lambda: stream.state is State.TIME_WAIT)
    packets = [block for block in pcapng.read(file.getvalue()) if isinstance(block, pcapng.CapturedPacket)]
    assert [(packet.outbound, packet.comment) for packet in packets] == [
        (True, "SYN-SENT"),
        (False, "SYN-SENT"),
        (True, "ESTAB"),
        (True, "FIN-WAIT-1"),
        (False, "FIN-WAIT-1"),
        (False, "FIN-WAIT-2"),
        (True, "TIME-WAIT"),
    ]


async def test_a_describing_capture_keeps_its_words(autojump_clock):
    file = io.BytesIO()
    link = CaptureLink(memory_links()[0], file, describe=lambda packet, outgoing: "my words")
    async with open_host(link, addresses=[CLIENT + "/24"]) as host:
        with trio.move_on_after(0.1):
            await host.open_tcp_stream(SERVER, 80)
    assert [block.comment for block in pcapng.read(file.getvalue()) if isinstance(block, pcapng.CapturedPacket)] == [
        "my words"
    ]


# -- leaving in the ordinary way -----------------------------------------------------------------------------


async def test_leaving_waits_for_queued_data_and_the_four_way_close(autojump_clock):
    data = os.urandom(300_000)
    async with pair() as hosts:
        received: list[bytes] = []

        async def serve() -> None:
            [listener] = await hosts.server.open_tcp_listeners(80)
            stream = await listener.accept()
            await trio.sleep(1)
            received.append(await read_all(stream))
            await stream.aclose()

        link, far = memory_links()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            await wait_all_tasks_blocked()
            hosts.client.add_address("10.9.0.7/24")
            stream = await hosts.client.open_tcp_stream(SERVER, 80)
            await stream.send_all(data)
            await stream.aclose()
            await hosts.client._driver.drain(5)
            assert received == [data]
            assert stream.state is State.TIME_WAIT
    assert resets(hosts.client_wire) == 0
    assert trio.current_time() == pytest.approx(1, abs=0.1)
    link.close()
    far.close()


async def test_leaving_waits_no_longer_than_close_timeout_and_then_resets(autojump_clock):
    left, right = memory_links()
    wire = Wire(left)
    async with open_host(right, addresses=[SERVER + "/24"]) as server:
        async with open_host(wire, addresses=[CLIENT + "/24"], close_timeout=2.0) as client:
            [listener] = await server.open_tcp_listeners(80)
            stream = await client.open_tcp_stream(SERVER, 80)
            peer = await listener.accept()
            await stream.aclose()  # and the peer does not close its side
        assert trio.current_time() == pytest.approx(2, abs=0.1)
        assert resets(wire) == 1
        assert await peer.receive_some() == b""
        with pytest.raises(trio.BrokenResourceError):
            await peer.send_all(b"x")


async def test_queued_data_that_the_peer_does_not_take_is_given_up_after_close_timeout(autojump_clock):
    left, right = memory_links()
    wire = Wire(left)
    async with open_host(right, addresses=[SERVER + "/24"]) as server:
        async with open_host(wire, addresses=[CLIENT + "/24"], close_timeout=2.0) as client:
            await server.open_tcp_listeners(80)
            stream = await client.open_tcp_stream(SERVER, 80)
            await stream.send_all(bytes(200_000))  # the peer, who doesn't read, has no room for that
            await stream.aclose()
        assert trio.current_time() == pytest.approx(2, abs=0.1)
        assert resets(wire) == 1
        assert stream.state is State.CLOSED


async def test_what_is_still_open_is_reset_without_waiting(autojump_clock):
    left, right = memory_links()
    wire = Wire(left)
    async with open_host(right, addresses=[SERVER + "/24"]) as server:
        async with open_host(wire, addresses=[CLIENT + "/24"]) as client:
            [listener] = await server.open_tcp_listeners(80)
            stream = await client.open_tcp_stream(SERVER, 80)
            peer = await listener.accept()
        assert trio.current_time() == 0
        assert [bool(segment.flags & FIN) for segment in segments(wire)] == [False, False, False]
        with pytest.raises(trio.BrokenResourceError):
            await peer.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()


async def test_after_leaving_nothing_can_be_opened(autojump_clock):
    link, _ = memory_links()
    async with open_host(link, addresses=[CLIENT + "/24"]) as host:
        [listener] = await host.open_tcp_listeners(80)
    for attempt in (
        host.open_tcp_stream(SERVER, 80),
        host.open_tcp_listeners(81),
        host.ping(SERVER),
        listener.accept(),
    ):
        with pytest.raises(trio.ClosedResourceError):
            await attempt
    await listener.aclose()
    with pytest.raises(LinkClosedError):
        link.read_batch(1)


async def test_leaving_wakes_the_tasks_that_still_use_the_host(autojump_clock):
    ended = []
    async with trio.open_nursery() as nursery, pair() as hosts:
        client, _ = await hosts.connect()
        [listener] = await hosts.client.open_tcp_listeners(81)

        async def expect(error, call, *args) -> None:
            with pytest.raises(error):
                await call(*args)
            ended.append(error)

        nursery.start_soon(expect, trio.BrokenResourceError, client.receive_some)
        nursery.start_soon(expect, trio.ClosedResourceError, listener.accept)
        nursery.start_soon(expect, trio.ClosedResourceError, hosts.client.ping, "10.9.0.99")
        await wait_all_tasks_blocked()
    assert len(ended) == 3


# -- leaving by an exception ---------------------------------------------------------------------------------


class BodyError(Exception):
    pass


async def leave_by(error: BaseException, wire: Wire) -> None:
    async with open_host(wire, addresses=[CLIENT + "/24"]) as client:
        stream = await client.open_tcp_stream(SERVER, 80)
        await stream.send_all(bytes(200_000))
        await stream.aclose()
        raise error


async def test_an_exception_resets_at_once_and_comes_out_as_it_is(autojump_clock):
    left, right = memory_links()
    wire = Wire(left)
    async with open_host(right, addresses=[SERVER + "/24"]) as server:
        [listener] = await server.open_tcp_listeners(80)
        with pytest.raises(BodyError, match="as it is"):
            await leave_by(BodyError("as it is"), wire)
        assert trio.current_time() == 0
        assert resets(wire) == 1
        with pytest.raises(trio.BrokenResourceError):
            await read_all(await listener.accept())
    with pytest.raises(LinkClosedError):
        left.read_batch(1)


async def test_cancellation_resets_at_once(autojump_clock):
    left, right = memory_links()
    wire = Wire(left)
    async with open_host(right, addresses=[SERVER + "/24"]) as server:
        await server.open_tcp_listeners(80)
        with trio.CancelScope() as scope:
            async with open_host(wire, addresses=[CLIENT + "/24"]) as client:
                stream = await client.open_tcp_stream(SERVER, 80)
                await stream.send_all(bytes(200_000))
                await stream.aclose()
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert trio.current_time() == 0
        assert resets(wire) == 1


async def test_cancellation_while_leaving_resets_at_once(autojump_clock):
    left, right = memory_links()
    wire = Wire(left)
    async with open_host(right, addresses=[SERVER + "/24"]) as server:
        await server.open_tcp_listeners(80)
        with trio.move_on_after(1) as scope:
            async with open_host(wire, addresses=[CLIENT + "/24"]) as client:
                stream = await client.open_tcp_stream(SERVER, 80)
                await stream.send_all(bytes(200_000))
                await stream.aclose()
        assert scope.cancelled_caught
        assert trio.current_time() == 1
        assert resets(wire) == 1


async def test_an_exception_in_a_cancelled_scope_is_not_lost(autojump_clock):
    link, _ = memory_links()

    async def body(scope: trio.CancelScope) -> None:
        async with open_host(link, addresses=[CLIENT + "/24"]):
            scope.cancel()
            raise BodyError

    with trio.CancelScope() as scope, pytest.raises(BodyError):
        await body(scope)


# -- the link ends by itself ---------------------------------------------------------------------------------


async def test_a_link_that_ends_takes_everything_with_it(autojump_clock, caplog):
    ended = []
    async with pair() as hosts:
        client, _ = await hosts.connect()
        [listener] = await hosts.client.open_tcp_listeners(81)

        async def expect(error, call, *args) -> None:
            with pytest.raises(error) as caught:
                await call(*args)
            ended.append(caught.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect, trio.BrokenResourceError, client.receive_some)
            nursery.start_soon(expect, LinkClosedError, listener.accept)
            nursery.start_soon(expect, LinkClosedError, hosts.client.ping, "10.9.0.99")
            nursery.start_soon(expect, ConnectionAbortedError, hosts.client.open_tcp_stream, "10.9.0.99", 80)
            await wait_all_tasks_blocked()
            hosts.client_wire.link.close()
        assert len(ended) == 4
        [broken] = [error for error in ended if isinstance(error, trio.BrokenResourceError)]
        assert isinstance(broken.__cause__, ConnectionAbortedError)
        assert "memory0 is closed" in str(broken)
        for attempt in (
            hosts.client.open_tcp_stream(SERVER, 80),
            hosts.client.open_tcp_listeners(82),
            hosts.client.ping(SERVER),
            listener.accept(),
        ):
            with pytest.raises(LinkClosedError, match="memory0 is closed"):
                await attempt
        with pytest.raises(trio.BrokenResourceError):
            await client.send_all(b"x")
        await client.aclose()
        await listener.aclose()
        assert hosts.client.connections() == []
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "the link of this host has ended: memory0 is closed" in caplog.text


async def test_a_link_that_ends_while_we_send(autojump_clock, caplog):
    async with pair() as hosts:
        client, _ = await hosts.connect()

        def gone(packet: Packet) -> bool:
            raise LinkClosedError(errno.EBADFD, "the device is gone")

        hosts.client_wire.write = gone
        await client.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError, match="the device is gone"):
            await client.receive_some()
    assert "the device is gone" in caplog.text


async def test_leaving_does_not_wait_for_a_link_that_has_ended(autojump_clock):
    async with pair() as hosts:
        client, _ = await hosts.connect()
        await client.send_all(bytes(200_000))
        await client.aclose()
        hosts.client_wire.link.close()
        await wait_all_tasks_blocked()
    assert trio.current_time() == 0


async def test_a_fault_of_a_link_is_its_end_and_nothing_worse(autojump_clock, caplog):
    async with pair() as hosts:
        client, server = await hosts.connect()

        def faulty(limit: int) -> list[Packet]:
            raise ZeroDivisionError("in the link")

        hosts.client_wire.read_batch = faulty
        await server.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError, match="memory0 failed: in the link"):
            await client.receive_some()
    assert "ZeroDivisionError" in caplog.text
