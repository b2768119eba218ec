"""Routers, and what they answer."""

from __future__ import annotations

from typing import Any

import pytest

from stack.path.answers import time_exceeded, too_big
from stack.path.stats import Fate
from stack.sim.apps import Bulk, Sink
from stack.sim.nodes import Router, SimHost
from stack.sim.world import World
from stack.tcp.config import TcpOptions
from stack.wire import icmp, ip
from stack.wire.drop import Drop
from stack.wire.packet import Packet
from stack.wire.units import MS, Time
from tests.path.frames import tcp_packet


def chain(*between: dict[str, Any]) -> tuple[World, SimHost, SimHost, list[Router]]:
    """client - r1 - r2 - ... - server, with these paths between them."""
    world = World(1)
    client, server = world.host("client"), world.host("server")
    routers = [world.router(f"r{number}") for number in range(1, len(between))]
    nodes = [client, *routers, server]
    for left, right, path in zip(nodes, nodes[1:], between, strict=False):
        world.pipe(left, right, **path)
    return world, client, server, routers


def watch(host: SimHost) -> list[tuple[Time, ip.IPHeader, bytes]]:
    """What arrives at a host from now on."""
    arrived = []

    def tap(packet: Packet, outgoing: bool, now: Time) -> None:
        if not outgoing:
            frame = packet.frame()
            header = ip.decode(frame)
            arrived.append((now, header, frame[header.start : header.end]))

    host.tap = tap
    return arrived


@pytest.mark.parametrize("v6", [False, True])
def test_routers_forward_and_count_the_hop_limit_down(v6: bool) -> None:
    world, client, server, _ = chain({"delay": "1ms"}, {"delay": "2ms"}, {"delay": "3ms"})
    arrived = watch(server)
    service = server.serve(80, Sink)
    app = client.connect(server, 80, Bulk(100_000), v6=v6)
    world.run_until(lambda: service.apps and service.app.is_done)
    assert service.app.received_digest == app.sent_digest
    assert app.connected == 12 * MS
    assert {header.hop_limit for _, header, _ in arrived} == {62}


@pytest.mark.parametrize("v6", [False, True])
def test_a_hop_limit_that_is_used_up_is_told_to_the_sender(v6: bool) -> None:
    world, client, server, routers = chain({"delay": "1ms"}, {"delay": "1ms"}, {"delay": "1ms"})
    arrived = watch(client)
    server.serve(80, Sink)
    client.connect(server, 80, Bulk(10), v6=v6, options=TcpOptions(ttl=2))
    world.run_until("100ms")
    ((now, header, data),) = arrived
    assert now == 4 * MS
    assert header.src == routers[1].addresses[v6]
    message = icmp.decode(data, header.src, header.dst)
    assert message.type == (icmp.V6_TIME_EXCEEDED if v6 else icmp.TIME_EXCEEDED)
    assert icmp.quoted(message.payload, header.version).dst_port == 80


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("at_once", [False, True])
def test_a_packet_too_big_is_told_to_the_sender(v6: bool, at_once: bool) -> None:
    """By the router before the narrow path; where that begins at the host itself, as if there were a router on it."""
    narrow: dict[str, Any] = {"delay": "1ms", "mtu": 1300}
    paths: list[dict[str, Any]] = [narrow] if at_once else [{"delay": "1ms"}, narrow]
    world, client, server, routers = chain(*paths)
    arrived = watch(client)
    service = server.serve(80, Sink)
    client.connect(server, 80, Bulk(5000), v6=v6)
    world.run_until("20ms")
    answers = [(header, data) for _, header, data in arrived if header.protocol != ip.PROTO_TCP]
    header, data = answers[0]
    assert header.src == (server.address(v6=v6) if at_once else routers[0].addresses[v6])
    message = icmp.decode(data, header.src, header.dst)
    if v6:
        assert (message.type, message.code, message.rest) == (icmp.V6_PACKET_TOO_BIG, 0, 1300)
    else:
        assert (message.type, message.code, message.rest) == (icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, 1300)
    quote = icmp.quoted(message.payload, header.version)
    assert (quote.src, quote.dst, quote.dst_port) == (client.address(v6=v6), server.address(v6=v6), 80)
    assert len(data) <= (1240 if v6 else 556)
    assert world.conduits[0 if at_once else 2].pipe.stats[Fate.TOO_BIG] > 0
    assert service.app.received == 5000  # in shorter packets


def test_a_silent_path_tells_nobody() -> None:
    world = World(1)
    client, server = world.host("client"), world.host("server")
    world.pipe(client, server, mtu=1300, silent=True)
    arrived = watch(client)
    server.serve(80, Sink)
    client.connect(server, 80, Bulk(5000))
    world.run_until("20ms")
    assert {header.protocol for _, header, _ in arrived} == {ip.PROTO_TCP}


def test_no_error_answers_an_error_or_what_is_no_packet() -> None:
    about = too_big(tcp_packet(b"x" * 2000), 1300)
    assert about is not None
    assert too_big(about, 100) is None
    assert time_exceeded(about) is None
    assert too_big(Packet(b"\x45" * 40), 100) is None
    source, target = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
    ping = icmp.encode(icmp.Icmp(icmp.ECHO_REQUEST, 0, 1, bytes(100)))
    assert too_big(Packet(ip.encode(source, target, ip.PROTO_ICMP, len(ping)) + ping), 100) is not None
    assert too_big(Packet(ip.encode(source, target, ip.PROTO_ICMP, 0)), 100) is None


def test_packets_for_nobody_are_counted() -> None:
    world, client, _, routers = chain({}, {})
    client.connect("10.99.0.1", 80, Bulk(10))
    world.run_until("100ms")
    assert routers[0].no_route == 1


def test_routers_know_the_shortest_way() -> None:
    world = World(1)
    client, server = world.host("client"), world.host("server")
    near, far, beyond = world.router("near"), world.router("far"), world.router("beyond")
    world.pipe(client, near)
    world.pipe(near, beyond, delay="1ms")
    world.pipe(beyond, far, delay="1ms")
    world.pipe(near, far, delay="10ms")
    world.pipe(far, server)
    server.serve(80, Sink)
    app = client.connect(server, 80, Bulk(10))
    world.run_until(lambda: app.conn.connected, "1s")
    assert world.now == 20 * MS  # one hop of 10 ms is shorter than two of 1 ms


def test_what_is_added_later_is_found() -> None:
    world, client, _, routers = chain({}, {})
    world.run_until("1ms")
    late = world.host("late")
    world.pipe(routers[0], late)
    service = late.serve(80, Sink)
    client.connect(late, 80, Bulk(10))
    world.run_until(lambda: service.apps and service.app.is_done)
    assert service.app.received == 10


def test_a_host_without_a_link_speaks_into_the_void() -> None:
    world = World(1)
    client = world.host("client")
    app = client.connect("10.0.0.9", 80, Bulk(10), options=TcpOptions(connect_timeout=5.0))
    world.run_until(lambda: app.is_done, "10s")
    assert isinstance(app.error, TimeoutError)


def test_a_corrupted_packet_is_refused_by_who_gets_it() -> None:
    for verify in (False, True):
        world = World(1, verify=verify)
        client, server = world.host("client"), world.host("server")
        world.pipe(client, server, corrupt="20%", delay="1ms", back={"corrupt": 0.0})
        service = server.serve(80, Sink)
        client.connect(server, 80, Bulk(100_000))
        world.run_until(lambda: service.apps and service.app.is_done)  # noqa: B023
        assert server.core.counters.by_reason[Drop.BAD_CHECKSUM] > 5
        assert "client" in repr(client)
        assert "client>server" in repr(world.conduits[0])
