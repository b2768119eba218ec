"""What a connection costs that does nothing, and that nothing is left for the garbage collector.

Bytes by tracemalloc, with keys, tables and timers; the interpreter's, so that a compiled core can only be better.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import trio

from stack.link.memory import memory_links
from stack.runtime.open import open_host
from stack.runtime.stream import TcpStream
from stack.tcp import receiver, recovery
from stack.tcp.config import TcpOptions
from stack.tcp.state import CLOSED, TIME_WAIT
from stack.wire.segment import ACK, FIN, PSH
from stack.wire.units import MINUTE, MS, NEVER, SECOND
from tests.host.crowd import MSS, Crowd, Member

IDLE = 5 << 10  #: A connection with its stream. Asked for are 8 KiB at most; 4.1 were measured.
HALF_OPEN = 400  #: 512 at most; 326 for IPv6, 302 for IPv4.
AFTERWARDS = 360  #: In TIME-WAIT. 400 at most; 303.


def held_by(make: Callable[[], object]) -> int:
    """Octets that are still allocated when `make` has returned, its result among them."""
    tracemalloc.start()
    try:
        made = make()
        held = tracemalloc.get_traced_memory()[0]
        del made
    finally:
        tracemalloc.stop()
    return held


@contextmanager
def nothing_for_the_collector() -> Iterator[None]:
    """Whatever the block lets go must be freed at once: a collection afterwards finds nothing."""
    gc.collect()
    gc.disable()
    try:
        yield
        assert gc.collect() == 0
    finally:
        gc.enable()


# Bytes.


@pytest.mark.parametrize("tsval", [-1, 1 << 31], ids=["plain", "timestamps"])
@pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])
def test_half_open_record(v6: bool, tsval: int) -> None:
    crowd = Crowd(backlog=3000, v6=v6)
    crowd.begin(200, tsval=tsval)
    forget = list[Member].clear  # what our side of it costs doesn't count
    known = crowd.host.half_open
    held = held_by(lambda: forget(crowd.begin(2000, first=5000, tsval=tsval)))
    assert crowd.host.half_open == known + 2000
    assert held <= 2000 * HALF_OPEN
    for _ in range(3):
        crowd.now = crowd.host.next_timeout() + SECOND
        crowd.host.on_timeout(crowd.now)
    assert crowd.host.half_open == 0


@pytest.mark.parametrize("tsval", [-1, 1 << 31], ids=["plain", "timestamps"])
@pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])
def test_time_wait_record(v6: bool, tsval: int) -> None:
    crowd = Crowd(backlog=100, v6=v6)

    def churn(first: int, count: int) -> None:
        for port in range(first, first + count):
            (peer,) = crowd.establish(1, first=port, tsval=tsval)
            conn = peer.conn
            assert conn is not None
            crowd.close(peer)
            (fin,) = crowd.answers()
            peer.rcv_nxt = (fin.seq + 1) & 0xFFFF_FFFF
            crowd.arrive(peer, ACK | FIN)
            assert conn.state is TIME_WAIT
            crowd.answers()

    churn(1024, 100)
    held = held_by(lambda: churn(5000, 2000))
    assert crowd.host.time_waits == 2100
    assert held <= 2000 * AFTERWARDS
    crowd.now += MINUTE
    while crowd.host.next_timeout() <= crowd.now:
        crowd.host.on_timeout(crowd.now)
    assert crowd.host.time_waits == 0
    assert crowd.host.next_timeout() >= NEVER


async def test_idle_connection_with_its_stream(autojump_clock: trio.testing.MockClock) -> None:
    """After an echo of 1 KiB; both ends are ours."""
    here, there = memory_links()
    kept: list[TcpStream] = []
    async with (
        open_host(here, addresses=["10.9.0.1/24"]) as client,
        open_host(there, addresses=["10.9.0.2/24"]) as server,
    ):
        (listener,) = await server.open_tcp_listeners(80)

        async def echo() -> tuple[TcpStream, TcpStream]:
            ours = await client.open_tcp_stream("10.9.0.2", 80)
            theirs = await listener.accept()
            await ours.send_all(bytes(1024))
            await theirs.send_all(await theirs.receive_some())
            assert len(await ours.receive_some()) == 1024
            return ours, theirs

        for _ in range(10):
            kept.extend(await echo())
        await trio.sleep(1)
        tracemalloc.start()
        try:
            for _ in range(150):
                kept.extend(await echo())
            await trio.sleep(1)  # until the last ACK has left, and the timers are off
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert len(client.connections()) == len(server.connections()) == 160
        assert held <= 300 * IDLE
        for stream in kept:
            stream.abort()


# Cycles.


def test_opening_and_closing_leaves_no_cycles() -> None:
    crowd = Crowd(backlog=300)

    def cycle(first: int) -> None:
        for peer in crowd.establish(200, first=first, tsval=1):
            crowd.arrive(peer, ACK | PSH, payload=b"hello")
            conn, peer.conn = peer.conn, None
            assert conn is not None
            assert conn.read(100, crowd.now) == b"hello"
            conn.write(b"world")
            conn.close(crowd.now)
            crowd.host.touch(conn, crowd.now)
            crowd.answers()
            peer.rcv_nxt = (peer.rcv_nxt + 6) & 0xFFFF_FFFF
            crowd.arrive(peer, ACK | FIN)
            crowd.answers()
            if peer.port % 2:
                conn.abort()
                assert conn.state is CLOSED
                crowd.host.touch(conn, crowd.now)
        crowd.host.take_woken()
        crowd.now += MINUTE
        crowd.host.on_timeout(crowd.now)

    cycle(1024)
    with nothing_for_the_collector():
        cycle(5000)
    assert crowd.host.connections() == []
    assert crowd.host.time_waits == 0


@pytest.mark.parametrize("congestion", ["cubic", "newreno"])
def test_bulk_transfer_with_losses_leaves_no_cycles(congestion: str) -> None:
    crowd = Crowd(backlog=10, options=TcpOptions(congestion=congestion, send_space=1 << 20))

    def transfer(first: int) -> None:
        (peer,) = crowd.establish(1, first=first)
        crowd.write(peer, bytes(200 * MSS))
        conn = peer.conn
        assert conn is not None
        held: dict[int, int] = {}  # what the peer has got out of order
        for round_trip in range(200):
            crowd.now += 50 * MS
            crowd.host.on_timeout(crowd.now)
            for count, seg in enumerate(crowd.answers()):
                if count == 0 and round_trip % 5 == 4:
                    continue  # lost
                held[seg.seq] = end = (seg.seq + seg.size) & 0xFFFF_FFFF
                early = seg.seq != peer.rcv_nxt
                while peer.rcv_nxt in held:
                    peer.rcv_nxt = held.pop(peer.rcv_nxt)
                crowd.arrive(peer, ACK, sacks=((seg.seq, end),) if early else ())
        assert conn.unacknowledged == 0
        assert conn.snd.retransmitted_segments
        conn.abort()
        crowd.host.touch(conn, crowd.now)
        crowd.answers()
        crowd.host.take_woken()

    transfer(1024)
    with nothing_for_the_collector():
        transfer(5000)
    assert crowd.host.connections() == []
    # What all connections share for want of anything of their own has stayed empty.
    assert [len(shared) for shared in (recovery._NOTHING, receiver._NONE_OWED)] == [0, 0]


async def test_streams_leave_no_cycles(autojump_clock: trio.testing.MockClock) -> None:
    here, there = memory_links()
    async with (
        open_host(here, addresses=["10.9.0.1/24"]) as client,
        open_host(there, addresses=["10.9.0.2/24"]) as server,
    ):
        (listener,) = await server.open_tcp_listeners(80)

        async def transfer(size: int) -> None:
            ours = await client.open_tcp_stream("10.9.0.2", 80)
            theirs = await listener.accept()
            await ours.send_all(bytes(size))
            await ours.send_eof()
            while await theirs.receive_some():
                pass
            await theirs.aclose()
            assert await ours.receive_some() == b""
            await ours.aclose()
            await trio.sleep(0.1)

        await transfer(1000)
        with nothing_for_the_collector():
            for _ in range(50):
                await transfer(1000)
            await transfer(200_000)
