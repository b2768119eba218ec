"""The driver: back-pressure, fairness, deadlines, and faults that must not spread."""

from __future__ import annotations

import logging
import os
import signal
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from stack.link.memory import memory_links
from stack.runtime import driver as driver_module
from stack.runtime.open import open_host
from stack.runtime.stream import TcpStream
from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire.packet import Packet
from stack.wire.segment import RST
from tests.runtime.hosts import CLIENT, SERVER, pair, read_all, read_exactly, segment, until


async def test_a_link_that_blocks_keeps_its_packet_and_the_order(autojump_clock):
    """With room for two packets in each direction everything still arrives, once and in order."""
    data = os.urandom(500_000)
    async with pair(capacity=2) as hosts, trio.open_nursery() as nursery:
        client, server = await hosts.connect()
        nursery.start_soon(client.send_all, data)
        assert await read_exactly(server, len(data)) == data
        assert client.info().total_retrans == 0


async def test_nothing_is_pulled_while_the_link_would_block(autojump_clock):
    async with pair() as hosts:
        client, _ = await hosts.connect()
        offered: list[Packet] = []
        room = trio.Event()
        really_write = hosts.client_wire.write

        def refuse(packet: Packet) -> bool:
            offered.append(packet)
            return False

        async def wait_for_room() -> None:
            await room.wait()

        hosts.client_wire.write = refuse
        hosts.client_wire.wait_writable = wait_for_room
        await client.send_all(bytes(10_000))
        await client.send_all(bytes(10_000))
        await wait_all_tasks_blocked()
        assert len(offered) == 1
        room, false_hope = trio.Event(), room
        false_hope.set()
        await wait_all_tasks_blocked()
        assert len(offered) == 2
        assert offered[0] is offered[1]
        hosts.client_wire.write = really_write
        room.set()
        await until(lambda: client._conn.unacknowledged == 0)
        assert hosts.client_wire.sent.count(offered[0]) == 1


async def test_many_senders_together_leave_the_reader_its_turn(autojump_clock):
    """Whoever sends, and however many they are, no more than a share goes out before answers are read."""
    async with pair() as hosts:
        streams = [(await hosts.connect())[0] for _ in range(10)]
        sent = len(hosts.client_wire.sent)
        data = bytes(10 * 1448)  # an initial window, so that nothing but the share holds it up
        for stream in streams:
            assert stream._write(data) == len(data)
        # Some of the share went for the last handshake.
        assert driver_module.SHARE - 10 <= len(hosts.client_wire.sent) - sent <= driver_module.SHARE
        await until(lambda: not any(stream._conn.unacknowledged for stream in streams))
        assert len(hosts.client_wire.sent) - sent == 100


async def test_an_answer_takes_the_acknowledgment_with_it(autojump_clock):
    """Also while the receiver acknowledges at once, and in whichever order Trio runs the reader and the task."""
    async with pair() as hosts, trio.open_nursery() as nursery:
        client, server = await hosts.connect()

        async def echo() -> None:
            while data := await server.receive_some():
                await server.send_all(data)

        nursery.start_soon(echo)
        for _ in range(20):
            await wait_all_tasks_blocked()
            sent = len(hosts.server_wire.sent)
            await client.send_all(b"question")
            assert await read_exactly(client, 8) == b"question"
            assert len(hosts.server_wire.sent) == sent + 1
        await client.aclose()


async def test_a_task_that_receives_may_answer_whether_it_waits_or_not(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect()
        with server._receiving:
            assert not server.wake()
            await client.send_all(b"x")
            await wait_all_tasks_blocked()
            assert server.wake()
        assert not server.wake()


async def test_a_task_that_says_nothing_does_not_hold_up_the_acknowledgment(autojump_clock):
    async with pair() as hosts:
        client, server = await hosts.connect()
        await wait_all_tasks_blocked()
        before = trio.current_time()
        await client.send_all(b"x")
        await server.receive_some()
        await wait_all_tasks_blocked()
        assert client.info().unacked == 0
        assert trio.current_time() == before


async def test_the_handshake_waits_for_nobody(autojump_clock):
    """When a stream is there, its last segment has left: the next call may be one that blocks the process."""
    async with pair() as hosts:
        [listener] = await hosts.server.open_tcp_listeners(80)
        await hosts.client.open_tcp_stream(SERVER, 80)
        assert len(hosts.client_wire.sent) == 2
        await listener.accept()


async def test_the_handshake_waits_for_no_other_connection(autojump_clock):
    """The batch with the SYN-ACK has something for a reader, too, whose turn comes later or earlier."""
    async with pair() as hosts:
        bystander, other_end = await hosts.connect()
        [listener] = await hosts.server.open_tcp_listeners(81)
        really_read = hosts.client_wire.read_batch

        async def connect() -> None:
            stream = await hosts.client.open_tcp_stream(SERVER, 81)
            sent = [segment(packet) for packet in hosts.client_wire.sent]
            assert sum(each.src_port == stream.local_address[1] for each in sent) == 2
            await stream.aclose()

        for _ in range(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bystander.receive_some)
                await wait_all_tasks_blocked()
                hosts.client_wire.read_batch = lambda limit: []
                nursery.start_soon(connect)
                for _ in range(10):
                    await trio.lowlevel.checkpoint()
                await other_end.send_all(b"x")
                hosts.client_wire.read_batch = really_read
            await (await listener.accept()).aclose()


@pytest.mark.parametrize("end", [TcpStream.abort, TcpStream.close])
async def test_what_was_read_is_acknowledged_before_a_reset(autojump_clock, end):
    async with pair() as hosts, trio.open_nursery() as nursery:
        client, server = await hosts.connect(linger=5.0)

        async def read_and_reset() -> None:
            if end is TcpStream.abort:
                await read_all(server)
            else:
                await server.receive_some(1)  # what is unread makes it a reset
            end(server)

        nursery.start_soon(read_and_reset)
        await wait_all_tasks_blocked()
        sent = len(hosts.server_wire.sent)
        await client.send_last(b"hello")
        await client.aclose()  # waits until all is acknowledged, and is content with that
        assert [segment(packet).flags & RST for packet in hosts.server_wire.sent[sent:]] == [0, RST]


async def test_leaving_the_host_acknowledges_what_was_read(autojump_clock):
    left, right = memory_links(1500, 1000)
    async with open_host(left, addresses=[CLIENT + "/24"]) as host, trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[None]) -> None:
            async with open_host(right, addresses=[SERVER + "/24"]) as server:
                [listener] = await server.open_tcp_listeners(80)
                task_status.started()
                assert await read_all(await listener.accept()) == b"hello"

        await nursery.start(serve)
        stream = await host.open_tcp_stream(SERVER, 80, options=TcpOptions(linger=5.0))
        await wait_all_tasks_blocked()
        await stream.send_all(b"hello")
        await stream.aclose()


async def test_nothing_is_put_off_for_long_while_every_batch_wakes_somebody(autojump_clock, monkeypatch):
    async with pair() as hosts:
        driver = hosts.server._driver
        monkeypatch.setattr(driver, "_wake_tasks", lambda: True)  # somebody who has nothing to send
        really_read = hosts.server_wire.read_batch
        requests = 0
        most_put_off = 0

        def read_one(limit: int) -> list[Packet]:
            nonlocal requests, most_put_off
            batch: list[Packet] = really_read(min(limit, 1))
            requests += len(batch)
            most_put_off = max(most_put_off, requests - len(hosts.server_wire.sent))
            return batch

        hosts.server_wire.read_batch = read_one
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(hosts.client.ping, SERVER)
        assert requests == len(hosts.server_wire.sent) == 20
        assert most_put_off == driver_module.TURNS


async def test_deadlines_are_kept_to_the_nanosecond_of_the_core(autojump_clock):
    """A lost segment is sent again after the RTO, not before and not much after, by the clock of Trio."""
    async with pair() as hosts:
        client, _ = await hosts.connect()
        await trio.sleep(1000 / 3)  # a time that no float holds exactly
        hosts.cut()
        await client.send_all(b"x")
        await wait_all_tasks_blocked()
        sent = len(hosts.client_wire.sent)
        at = trio.current_time()
        rto = client.info().rto / 1e6
        await until(lambda: len(hosts.client_wire.sent) > sent)
        assert trio.current_time() - at == pytest.approx(rto, abs=0.0021)


@pytest.mark.parametrize(
    ("size", "reads"), [(1, 1), (driver_module.BATCH - 1, 1), (driver_module.BATCH, driver_module.CATCH_UP)]
)
async def test_a_deadline_waits_for_a_queue_but_not_for_a_trickle(autojump_clock, monkeypatch, size, reads):
    """What has arrived comes first, but where packets keep coming, a deadline has its turn all the same."""
    async with pair() as hosts:
        await hosts.connect()
        await wait_all_tasks_blocked()
        batches = [[hosts.client_wire.sent[-1]] * size] * 1000
        monkeypatch.setattr(hosts.server_wire, "read_batch", lambda limit: batches.pop())
        await hosts.server._driver._catch_up()
        assert len(batches) == 1000 - reads
        monkeypatch.undo()


async def test_a_timer_moved_earlier_rings_earlier(autojump_clock):
    async with pair() as hosts:
        client, _ = await hosts.connect(keepalive=True)  # a deadline far away
        client.set(keepalive_idle=5)
        sent = len(hosts.client_wire.sent)
        await until(lambda: len(hosts.client_wire.sent) > sent)
        assert trio.current_time() == pytest.approx(5, abs=0.01)


async def test_time_never_goes_back(autojump_clock):
    async with pair() as hosts:
        seen = []
        for _ in range(50):
            seen.append(hosts.client.now())
            await trio.sleep(1 / 7)
        assert seen == sorted(seen)


def test_time_stands_still_when_trio_has_ended():
    kept: list[Any] = []

    async def main() -> None:
        async with pair() as hosts:
            client, _ = await hosts.connect()
            kept.extend([hosts.client, client])
            await trio.sleep(1)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    host, stream = kept
    assert host.now() == 1_000_000_000
    assert stream.info().state == "UNCONN"


@pytest.mark.interpreted
async def test_a_frame_that_breaks_the_host_is_logged_and_the_next_one_is_handled(autojump_clock, caplog):
    async with pair() as hosts:
        client, server = await hosts.connect()
        receive = hosts.server.core.receive
        seen = 0

        def faulty(packet: Packet, now: int) -> None:
            nonlocal seen
            seen += 1
            if seen == 1:
                raise ZeroDivisionError("in the host")
            receive(packet, now)

        hosts.server.core.receive = faulty
        await client.send_all(b"x")
        assert await server.receive_some() == b"x"  # retransmitted
        assert seen > 1
    [record] = [record for record in caplog.records if record.name == "stack"]
    assert record.levelno == logging.ERROR
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.interpreted
async def test_a_fault_inside_a_connection_is_logged_and_ends_that_one(autojump_clock, caplog):
    async with pair() as hosts:
        client, server = await hosts.connect()
        bystander, _ = await hosts.connect(port=81)
        fault: Any = object()
        server._conn.ts = fault  # no fault of ours is known, so one is made
        await client.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
        assert bystander.state is State.ESTABLISHED
    assert "internal error" in caplog.text


@pytest.mark.interpreted
@pytest.mark.parametrize("method", ["poll_transmit", "on_timeout"])
async def test_a_fault_of_the_host_never_ends_its_tasks(autojump_clock, caplog, method):
    async with pair() as hosts:
        client, server = await hosts.connect()
        core = hosts.client.core
        genuine = getattr(core, method)

        def faulty(now: int) -> None:
            setattr(core, method, genuine)
            raise ZeroDivisionError("in the host")

        setattr(core, method, faulty)
        hosts.cut()  # so that a deadline must be kept
        await client.send_all(b"x")
        await until(lambda: "ZeroDivisionError" in caplog.text)
        hosts.client_wire.cut = hosts.server_wire.cut = False
        assert await server.receive_some() == b"x"


@pytest.mark.interpreted
async def test_faults_while_leaving_still_close_the_link(autojump_clock, caplog):
    async with pair() as hosts:

        def faulty(now: int) -> None:
            raise ZeroDivisionError("in the host")

        hosts.client.core.shut_down = faulty
    assert "closing the host on memory0" in caplog.text
    assert "closed" in repr(hosts.client_wire.link)


@pytest.mark.interpreted
def test_control_c_in_a_task_of_the_driver_comes_out_of_the_body():
    """It is raised where it can be handled, not in the middle of the host."""
    where = []

    async def main() -> None:
        async with pair() as hosts:
            client, _ = await hosts.connect()
            receive = hosts.server.core.receive

            def interrupted(packet: Packet, now: int) -> None:
                os.kill(os.getpid(), signal.SIGINT)
                receive(packet, now)
                where.append("the packet was handled")

            hosts.server.core.receive = interrupted
            await client.send_all(b"x")
            try:
                await trio.sleep_forever()
            except KeyboardInterrupt:
                where.append("body")
                raise

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert where[:2] == ["the packet was handled", "body"]
