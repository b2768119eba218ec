"""Connections that are opened fast, one after the other, over a path that loses, doubles, delays and reorders.

Each seed makes a world in which the left host opens several connections to the right one with data for the SYN, and
both applications speak as soon as they may. What the SYN could carry depends on what became of the connections before.
On each connection every octet arrives once and in order. A SYN that is doubled so late that the connection of the first
one is over makes another one at the listener (RFC 7413 6.1): that is allowed, and comes to nothing.
"""

from __future__ import annotations

import random

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection
from stack.tcp.listener import Listener
from stack.wire.segment import SYN, Segment
from stack.wire.units import MINUTE, MS, SECOND, US
from tests.support.world import Path, Side, Talker, World, check_empty

CONNECTIONS = 5
FIRST_PORT = 40_000


class EarlyTalker(Talker):
    """Writes a part of its payload before the SYN leaves."""

    def __init__(self, side: Side, conn: Connection, payload: bytes, early: int) -> None:
        super().__init__(side, conn, payload)
        self.written = conn.write(self.payload[:early])


class Server(Talker):
    """Takes the one connection from a certain port, and no other."""

    def __init__(self, side: Side, listener: Listener, payload: bytes, port: int) -> None:
        super().__init__(side, listener, payload)
        self.port = port
        self.others: list[Connection] = []

    def act(self, world: World) -> None:
        while self.conn is None and self.listener is not None:
            conn = self.listener.accept()
            if conn is None:
                return
            if conn.remote[1] == self.port:
                self.conn = conn
            else:
                self.others.append(conn)
        super().act(world)


def make_path(rnd: random.Random, *, hard_on_syns: bool) -> Path:
    dice = random.Random(rnd.random())

    def swallow(seg: Segment, _: int) -> bool:
        return bool(seg.flags & SYN) and hard_on_syns and dice.random() < 0.4

    severity = rnd.choice((0.0, 0.05, 0.2))
    return Path(
        loss=rnd.random() * severity,
        duplication=rnd.choice((0.0, 0.3, 0.6)),
        delay=rnd.choice((10 * US, 5 * MS, 100 * MS)),
        jitter=rnd.choice((0, 2 * MS, 50 * MS)),
        swallow=swallow,
    )


def make_options(rnd: random.Random, *, cookies: bool) -> TcpOptions:
    window = rnd.choice((200, 1000, 65_535, 65_536))
    return TcpOptions(
        fastopen=True,
        fastopen_cookies=cookies,
        fastopen_pause=rnd.choice((0.0, 60.0)),
        fastopen_queue=rnd.choice((1, 16)),
        timestamps=rnd.random() < 0.5,
        sack=rnd.random() < 0.7,
        window_scaling=rnd.random() < 0.7,
        nodelay=rnd.random() < 0.5,
        receive_window=window,
        receive_buffer=max(window, rnd.choice((200, 65_536))),
        mss=rnd.choice((None, None, 300)),
        syn_retries=12,
    )


# RFC7413-07, RFC7413-08, RFC7413-09
@pytest.mark.parametrize("seed", range(150), ids="seed-{}".format)
def test_every_octet_once_and_in_order(seed: int) -> None:
    rnd = random.Random(f"fast open {seed}")
    cookies = rnd.random() < 0.7
    world = World(
        seed=f"fast open {seed}",
        paths=(make_path(rnd, hard_on_syns=rnd.random() < 0.4), make_path(rnd, hard_on_syns=rnd.random() < 0.4)),
        options=(make_options(rnd, cookies=cookies), make_options(rnd, cookies=cookies)),
        mtu=(rnd.choice((1280, 1500)), rnd.choice((1280, 1500))),
    )
    listener = world.listen()
    for port in range(FIRST_PORT, FIRST_PORT + CONNECTIONS):
        payloads = rnd.randbytes(rnd.randrange(1, 6000)), rnd.randbytes(rnd.randrange(1, 6000))
        conn = world.connect(local_port=port)
        left = EarlyTalker(world.left, conn, payloads[0], rnd.randrange(len(payloads[0]) + 1))
        right = Server(world.right, listener, payloads[1], port)
        world.apps[:] = [left, right]
        world.run(lambda left=left, right=right: left.done and right.done, 60 * MINUTE)  # type: ignore[misc]
        for talker, sent in ((left, payloads[1]), (right, payloads[0])):
            assert talker.conn is not None
            assert talker.conn.error is None, world.story()
            assert bytes(talker.received) == sent, world.story()
        assert all(other.error is not None or other.own_state.value != "ESTABLISHED" for other in right.others)
        world.run_for(10 * SECOND)
    world.apps.clear()
    world.right.host.close_listener(listener, world.at(world.right))
    check_empty(world)


def test_data_goes_with_the_syn_on_a_clean_path() -> None:
    """So that the property above is known to be about something."""
    options = TcpOptions(fastopen=True)
    world = World(options=(options, options))
    listener = world.listen()
    taken = []
    for port in (1000, 1001, 1002):
        left = EarlyTalker(world.left, world.connect(local_port=port), b"question" * 100, 800)
        right = Server(world.right, listener, b"answer" * 1000, port)
        world.apps[:] = [left, right]
        world.run(lambda left=left, right=right: left.done and right.done, MINUTE)  # type: ignore[misc]
        assert left.conn is not None
        assert right.conn is not None
        taken.append((left.conn.info(0).syn_data, right.conn.info(0).syn_data))
    assert taken == [(False, False), (True, True), (True, True)]
    assert world.right.host.counters.fast_opens == 2
