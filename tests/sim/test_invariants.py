"""The invariants: what they find in connections that were damaged on purpose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stack.host.trace import TraceEvent
from stack.sim.apps import Bulk, Sink
from stack.sim.invariants import Conduct, Inspector, InvariantError
from stack.sim.nodes import SimHost
from stack.sim.world import World
from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection
from stack.tcp.habits import LINUX
from stack.tcp.recovery import LOST
from stack.tcp.state import State
from stack.wire.notation import parse_segment
from stack.wire.units import NEVER


def talking() -> tuple[World, SimHost, Connection]:
    """A world in the middle of a transfer: data outstanding, more waiting, a gap at the receiver."""
    world = World(1)
    client, server = world.host("client"), world.host("server", options=TcpOptions(receive_buffer=100_000))
    world.pipe(client, server, delay="10ms", rate="10mbit", drop=8, back={"drop": ()})
    server.serve(80, Sink)
    app = client.connect(server, 80, Bulk(1_000_000))
    world.run_until("50ms")
    return world, client, app.conn


def test_a_healthy_connection_has_nothing_wrong_with_it() -> None:
    world, _, conn = talking()
    inspector = Inspector()
    for host in world.hosts:
        inspector.check_host(host)
    assert conn.snd.outstanding
    assert world.hosts[1].core.connections()[0].rcv.reassembly is not None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda conn: setattr(conn.snd, "una", conn.snd.nxt + 1), "are not in order"),
        (lambda conn: setattr(conn.snd, "max", conn.snd.nxt - 1), "are not in order"),
        (lambda conn: setattr(conn, "options", TcpOptions(send_buffer=10)), "octets in a send buffer of 10"),
        (lambda conn: setattr(conn.snd.congestion, "cwnd", 10), "congestion window of 10 is less than a segment"),
        (lambda conn: setattr(conn.snd.repair.records, "outstanding", 10), "10 octets outstanding, but"),
        (lambda conn: conn.snd.repair.records._records.pop(conn.snd.repair.records._head), "records do not join"),
        (lambda conn: conn.snd.repair.records._records.pop(), "but .* outstanding"),
        (lambda conn: setattr(conn.snd.repair.records.last, "state", LOST), "are in the network by the records"),
        (lambda conn: setattr(conn.rcv, "edge", conn.rcv.nxt - 1), "beyond the window's edge"),
        (lambda conn: setattr(conn.rcv, "buffered", 1 << 30), "octets held in a receive buffer"),
        (lambda conn: setattr(conn.rcv, "limit", 1 << 30), "has outgrown its bound"),
        (lambda conn: setattr(conn.timers, "retransmit", NEVER), "data is outstanding and no timer runs"),
        (lambda conn: setattr(conn.timers, "delayed_ack", 1), "the host would sleep until"),
    ],
)
def test_what_is_damaged_is_found(change: Callable[[Connection], Any], says: str) -> None:
    _, client, conn = talking()
    change(conn)
    with pytest.raises(InvariantError, match=says) as caught:
        Inspector().check_host(client)
    assert str(caught.value).startswith("client, <Connection")


def test_waiting_data_without_a_timer_is_found() -> None:
    world = World(1)
    client = world.host("client")
    server = world.host("server", options=TcpOptions(receive_buffer=5000, receive_window=5000))
    world.pipe(client, server, delay="10ms")
    server.core.listen(80)  # nobody reads
    app = client.connect(server, 80, Bulk(50_000))
    world.run_until("100s")
    Inspector().check_host(client)
    app.conn.timers.persist = NEVER
    with pytest.raises(InvariantError, match="data waits, nothing is outstanding and no timer runs"):
        Inspector().check_host(client)


def test_a_buffer_may_hold_more_than_the_window() -> None:
    """Where what waits unread has room of its own, as on Linux."""
    world = World(1)
    client = world.host("client")
    options = TcpOptions(receive_window=200_000, receive_buffer=200_000, habits=LINUX)
    server = world.host("server", options=options)
    world.pipe(client, server, delay="10ms")
    server.core.listen(80)  # nobody reads
    client.connect(server, 80, Bulk(500_000))
    world.run_until("10s")
    (conn,) = server.core.connections()
    assert conn.rcv.limit < conn.rcv.buffered <= conn.rcv.capacity
    Inspector().check_host(server)
    conn.rcv.space = conn.rcv.buffered - 1
    with pytest.raises(InvariantError, match="octets held in a receive buffer of"):
        Inspector().check_host(server)


@pytest.mark.parametrize(("name", "says"), [("nxt", "RCV.NXT went back"), ("edge", "the window's edge went back from")])
def test_what_goes_back_is_found(name: str, says: str) -> None:
    _, client, conn = talking()
    inspector = Inspector()
    inspector.check_host(client)
    setattr(conn.rcv, name, getattr(conn.rcv, name) - 1)
    with pytest.raises(InvariantError, match=says):
        inspector.check_host(client)


LEFT, RIGHT = (bytes((10, 0, 0, 1)), 4000), (bytes((10, 0, 0, 2)), 80)
SYNS = [
    "> S 100:100(0) win 1000 <mss 1000,wscale 2>",
    "< S. 500:500(0) ack 101 win 2000 <mss 600,wscale 3>",
    "> . 101:101(0) ack 501 win 500",
]


def say(*lines: str) -> None:
    """Let both ends say these lines; `>` is the left one."""
    world = World(1)
    hosts = (world.host("left"), world.host("right"))
    conduct = Conduct()
    for line in lines:
        index = 0 if line[0] == ">" else 1
        ends = (LEFT, RIGHT) if index == 0 else (RIGHT, LEFT)
        event = TraceEvent(0, True, *ends, parse_segment(line[2:]), State.ESTABLISHED)
        conduct.on_segment(hosts[index], event, 0)


@pytest.mark.parametrize(
    "lines",
    [
        ["> P. 101:701(600) ack 501 win 500", "< . 501:501(0) ack 701 win 250"],  # what was offered, and 75 less a unit
        ["> P. 101:102(1) ack 501 win 500", "> P. 2101:2102(1) ack 501 win 500"],  # the second is a probe
        ["< F. 501:501(0) ack 101 win 250", "> . 101:101(0) ack 502 win 0"],  # nothing more can come
        ["> R 3000:3000(0) win 0"],
        ["> F. 101:101(0) ack 501 win 500"],
        ["> S 9000:9000(0) win 1000 <mss 1000>", "> . 101:101(0) ack 501 win 1"],  # another connection
    ],
)
def test_good_conduct(lines: list[str]) -> None:
    say(*SYNS, *lines)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["> P. 101:702(601) ack 501 win 500"], "601 octets and options of 0 to a peer that takes 600"),
        (["> P. 101:701(600) ack 501 win 500 <TS val 1 ecr 1>"], "600 octets and options of 12"),
        (["> P. 1901:2301(400) ack 501 win 500"], "400 octets into a window of 200"),
        (["> . 101:101(0) ack 501 win 499"], "the window's edge went back from 2001 to 1997"),
        (["> P. 101:301(200) ack 501 win 500", "< . 501:501(0) ack 301 win 1"], "the window's edge went back"),
    ],
)
def test_bad_conduct(lines: list[str], says: str) -> None:
    with pytest.raises(InvariantError, match=says):
        say(*SYNS, *lines)


def test_a_whole_transfer_is_good_conduct() -> None:
    fresh = World(2)
    client, server = fresh.host("client"), fresh.host("server")
    fresh.pipe(client, server, delay="5ms", loss="5%", duplicate="5%", reorder="5%")
    fresh.observe(Conduct())
    inspector = Inspector()
    for host in fresh.hosts:
        host.inspect = inspector.check_host
    service = server.serve(80, Sink)
    client.connect(server, 80, Bulk(200_000))
    fresh.run_until(lambda: service.apps and service.app.is_done, "60s")
    assert service.app.received == 200_000
