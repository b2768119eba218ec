"""Thousands of connections on one host: turns, timers, and what those cost that are silent."""

from __future__ import annotations

from collections import Counter

import pytest

from stack.host.timeouts import AT_ONCE
from stack.tcp.config import TcpOptions
from stack.tcp.state import ESTABLISHED
from stack.wire.segment import ACK, PSH, RST
from stack.wire.units import MS, NEVER, SECOND
from tests.host.crowd import MSS, Crowd, ports


def test_ten_thousand_connections_at_once() -> None:
    crowd = Crowd(backlog=10_000)
    peers = crowd.establish(10_000)
    host = crowd.host
    assert len(host.connections()) == 10_000
    for peer in peers[::100]:  # each is there, and is told apart from the others
        crowd.arrive(peer, ACK | PSH, payload=b"%d" % peer.port)
        assert peer.conn is not None
        assert peer.conn.read(100, crowd.now) == b"%d" % peer.port
        assert peer.conn.state is ESTABLISHED
        host.touch(peer.conn, crowd.now)
    assert sorted(ports(crowd.answers())) == sorted(peer.port for peer in peers[::100])
    host.shut_down(crowd.now)
    resets = crowd.answers()
    assert {seg.flags & RST for seg in resets} == {RST}
    assert sorted(ports(resets)) == [peer.port for peer in peers]
    assert host.connections() == []
    assert host.next_timeout() >= NEVER


def test_the_silent_ask_for_nothing() -> None:
    """No deadline, nothing to send and nobody to wake: the driver has no reason to come back."""
    crowd = Crowd(backlog=1000)
    peers = crowd.establish(1000)
    for peer in peers:
        crowd.arrive(peer, ACK | PSH, payload=b"?")
        assert peer.conn is not None
        assert peer.conn.read(10, crowd.now) == b"?"
        crowd.write(peer, b"!")
        crowd.answers()
        peer.rcv_nxt = (peer.rcv_nxt + 1) & 0xFFFF_FFFF
        crowd.arrive(peer, ACK)
        assert crowd.answers() == []
    visits = 0
    while (due := crowd.host.next_timeout()) < NEVER:
        crowd.now = due
        crowd.host.on_timeout(due)
        visits += 1
    assert crowd.answers() == []
    assert visits <= len(peers)  # each was promised one visit when it sent, and nobody comes twice
    assert crowd.now <= 1002 * SECOND


def test_each_of_a_thousand_flows_gets_its_turn() -> None:
    crowd = Crowd(backlog=1000)
    peers = crowd.establish(1000)
    for peer in peers:
        crowd.write(peer, bytes(5 * MSS))
    order = ports(crowd.answers())
    everybody = {peer.port for peer in peers}
    assert len(order) == 5000
    for turn in range(5):
        assert set(order[1000 * turn : 1000 * (turn + 1)]) == everybody


@pytest.mark.parametrize("max_payload", [0, 64_000], ids=["segments", "super-frames"])
def test_bulk_flows_do_not_hold_up_a_ping_pong(max_payload: int) -> None:
    """What is written while eight flows have all the windows they want leaves after one packet of each."""
    crowd = Crowd(backlog=20, options=TcpOptions(nodelay=True, send_space=4 << 20), max_payload=max_payload)
    bulk = crowd.establish(8)
    (ping,) = crowd.establish(1, first=5000)
    for peer in bulk:
        assert peer.conn is not None
        peer.conn.snd.congestion.cwnd = 1 << 30
        peer.conn.snd.on_window(4 << 20, 1, 1)
        crowd.write(peer, bytes(4 << 20))
    out = 0
    for _ in range(20):
        for _ in range(5):
            packet = crowd.host.poll_transmit(crowd.now)
            assert packet is not None
            assert (len(packet) > 10_000) is (max_payload > 0)
        crowd.write(ping, b"!")
        waited = 0
        while (packet := crowd.host.poll_transmit(crowd.now)) is not None:
            waited += 1
            if len(packet) == 41:
                break
        assert packet is not None
        assert waited <= len(bulk) + 1
        out += 1
        ping.rcv_nxt = (ping.rcv_nxt + 1) & 0xFFFF_FFFF
        crowd.now += MS
        crowd.arrive(ping, ACK)
    assert out == 20


def test_deadlines_that_come_all_at_once() -> None:
    """Keep-alives of thousands are due at one moment: they are served in parts, and what arrives is not held up."""
    crowd = Crowd(backlog=3000, options=TcpOptions(keepalive=True, keepalive_idle=60))
    peers = crowd.establish(2500)
    crowd.now += 60 * SECOND
    asked: Counter[int] = Counter()
    for expected in (AT_ONCE, AT_ONCE, 500, 0):
        assert (crowd.host.next_timeout() <= crowd.now) is (expected > 0)
        crowd.host.on_timeout(crowd.now)
        probes = ports(crowd.answers())
        assert len(probes) == expected
        asked.update(probes)
    assert asked == Counter(peer.port for peer in peers)


def test_timers_of_thousands_are_moved_without_leaving_a_trace() -> None:
    crowd = Crowd(backlog=2000, options=TcpOptions(keepalive=True))
    peers = crowd.establish(1000)
    timeouts = crowd.host._timeouts
    for _ in range(5):
        for peer in peers:
            crowd.arrive(peer, ACK | PSH, payload=b"x")
            assert peer.conn is not None
            peer.conn.read(10, crowd.now)
            crowd.host.touch(peer.conn, crowd.now)
        crowd.answers()
        crowd.now += 10 * MS
        crowd.host.on_timeout(crowd.now)
        assert len(timeouts) <= 2 * len(peers) + 16
