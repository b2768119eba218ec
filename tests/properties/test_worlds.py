"""Every octet arrives once and in order, whatever the path does to the frames.

Each seed makes a world: two hosts with options, buffers and MTUs of their own, a pipe that loses, doubles, delays,
reorders and corrupts, and an application at each end that sends and reads in pieces of its own size and closes in its
own way. Both directions carry data at once. What must hold at every moment is checked by the world itself.

A failing seed is in the test's name and replays: `tools/test tests/properties -k seed-17]`. For other seeds than the
first ones, `TCPSTACK_SEEDS=1000-2000 tools/test tests/properties/test_worlds.py`.
"""

from __future__ import annotations

import hashlib
import os
import random

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection
from stack.tcp.habits import LINUX, RFC, Habits
from stack.tcp.listener import Listener
from stack.wire.units import MS, SECOND, US, Duration
from tests.support.world import Path, Side, Talker, World, check_empty, epochs_for_iss

LOCAL_PORT = 40_000
HOUR: Duration = 3600 * SECOND


def seeds() -> list[int]:
    first, _, last = os.environ.get("TCPSTACK_SEEDS", "0-199").partition("-")
    return list(range(int(first), int(last or first) + 1))


@pytest.mark.parametrize("seed", seeds(), ids="seed-{}".format)
def test_every_octet_once_and_in_order(seed: int) -> None:
    live(*make_world(seed, random.Random(seed)))


@pytest.mark.parametrize("seed", seeds()[::2], ids="seed-{}".format)
def test_so_they_do_with_the_habits_of_linux(seed: int) -> None:
    """Among these are receive buffers that hold more than the window ever says."""
    live(*make_world(seed, random.Random(seed), habits=LINUX))


def live(world: World, talkers: tuple[Talker, Talker]) -> None:
    """Until both applications have closed, and nothing is left of the connection."""
    world.run(lambda: all(talker.done for talker in talkers) or gave_up(talkers), limit=4 * HOUR)
    if gave_up(talkers):
        check_empty(world)
        return
    for talker, other in zip(talkers, reversed(talkers), strict=True):
        assert talker.conn is not None
        assert talker.conn.error is None, f"{talker.conn.error!r}\n{world.story()}"
        assert digest(talker.received) == digest(other.payload), world.story()
    check_empty(world)


def gave_up(talkers: tuple[Talker, Talker]) -> bool:
    """Every third segment of the handshake was lost for seven seconds: the listener forgot, and then said so."""
    left, right = talkers
    return right.conn is None and left.conn is not None and isinstance(left.conn.error, ConnectionResetError)


def make_world(seed: int, rnd: random.Random, habits: Habits = RFC) -> tuple[World, tuple[Talker, Talker]]:
    secrets = rnd.randbytes(16), rnd.randbytes(16)
    v6 = rnd.random() < 0.5
    options = make_options(rnd).replace(habits=habits), make_options(rnd).replace(habits=habits)
    least = min(min(chosen.send_buffer, chosen.receive_buffer) for chosen in options)
    # A tiny buffer makes each octet cost a frame and often a round trip or a time-out.
    size = 2_000 if least < 100 else 15_000 if least < 1500 else rnd.choice((3_000, 60_000, 60_000, 250_000))
    world = World(
        seed=f"world {seed}",
        paths=(make_path(rnd), make_path(rnd)),
        options=options,
        mtu=(rnd.choice((1280, 1500, 1500, 9000)), rnd.choice((1280, 1500, 1500, 9000))),
        epochs=make_epochs(rnd, secrets, v6, size),
        secrets=secrets,
    )
    listener = world.listen()
    conn = world.connect(v6=v6, local_port=LOCAL_PORT)
    closings = rnd.choice((("half", "half"), ("half", "last"), ("last", "half")))
    sides: list[tuple[Side, Connection | Listener]] = [(world.left, conn), (world.right, listener)]
    talkers = [
        Talker(
            side,
            get,
            rnd.randbytes(rnd.randrange(1, size)),
            closing=closing,
            writes=make_sizes(rnd, least),
            reads=make_sizes(rnd, least),
            write_pause=rnd.choice((0, 0, 100 * US, 50 * MS)),
            read_pause=rnd.choice((0, 0, 100 * US, 50 * MS)),
        )
        for (side, get), closing in zip(sides, closings, strict=True)
    ]
    world.apps.extend(talkers)
    return world, (talkers[0], talkers[1])


def make_path(rnd: random.Random) -> Path:
    severity = rnd.choice((0.0, 0.01, 0.05, 0.2))
    return Path(
        loss=rnd.random() * severity,
        duplication=rnd.random() * rnd.choice((0.0, severity)),
        corruption=rnd.random() * rnd.choice((0.0, severity / 4)),
        delay=rnd.choice((10 * US, 1 * MS, 20 * MS, 150 * MS)),
        jitter=rnd.choice((0, 0, 2 * MS, 50 * MS)),
    )


def make_options(rnd: random.Random) -> TcpOptions:
    receive_buffer = rnd.choice((1, 50, 700, 5_000, 65_535, 65_536, 1 << 20, 6 << 20))
    return TcpOptions(
        nodelay=rnd.random() < 0.3,
        timestamps=rnd.random() < 0.6,
        window_scaling=rnd.random() < 0.6,
        sack=rnd.random() < 0.6,
        send_buffer=rnd.choice((1, 100, 2_000, 65_536, 4 << 20, 4 << 20)),
        receive_buffer=receive_buffer,
        receive_window=max(receive_buffer // rnd.choice((1, 1, 4, 20)), 1),
        mss=rnd.choice((None, None, None, 300, 1000)),
        keepalive=rnd.random() < 0.2,
        keepalive_idle=1.0,
        delayed_ack=rnd.choice((0.0, 0.04, 0.4)),
        syn_retries=12,
        connect_timeout=rnd.choice((None, 3000.0)),
    )


def make_epochs(rnd: random.Random, secrets: tuple[bytes, bytes], v6: bool, size: int) -> tuple[Duration, Duration]:
    """Mostly such that sequence numbers pass 2^31 or 2^32 on the way, less the time until the right end answers."""
    wanted = tuple(
        (rnd.choice((1 << 31, 1 << 32)) - rnd.randrange(1, size) if rnd.random() < 0.8 else rnd.randrange(1 << 32))
        for _ in range(2)
    )
    return epochs_for_iss((wanted[0], wanted[1]), local_port=LOCAL_PORT, v6=v6, secrets=secrets)


def make_sizes(rnd: random.Random, least: int) -> tuple[int, ...]:
    if least < 1500 and rnd.random() < 0.3:
        return (1, 7)
    return rnd.choice(((1 << 20,), (4096,), (100, 1460, 20_000), (1459, 1460, 1461), (536,)))


def digest(data: bytes | bytearray | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()
