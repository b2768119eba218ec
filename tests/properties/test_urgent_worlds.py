"""The stream is whole and urgent marks get through, whatever is said with the writes and whatever befalls the frames.

Each seed makes a world: urgent writes, writes that announce more, corks that come and go, low-water marks, and a path
that loses, doubles and reorders. Nothing may be held back for ever, and in the end each side must know where the last
urgent data of the other ended.
"""

from __future__ import annotations

import random

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection
from stack.wire.units import MS, SECOND, US, Duration, Time
from tests.support.world import Path, Talker, World, check_empty

HOUR: Duration = 3600 * SECOND


class Speaker(Talker):
    """Says something about its writes, and looks at the marks."""

    urgent_end = 0  # where its own urgent data ends
    mark = 0  # the largest that it has seen of the other's

    def _write(self, conn: Connection, world: World) -> bool:
        rnd = world.random
        did = False
        while self.written < len(self.payload) and conn.writable:
            if world.now < self._resumes[0]:
                self.wakes = min(self.wakes, self._resumes[0])
                break
            if rnd.random() < 0.1:
                conn.set_options(conn.options.replace(cork=rnd.random() < 0.5), world.at(self.side))
            piece = self.payload[self.written : self.written + rnd.choice(self._sizes[0])]
            urgent = rnd.random() < 0.1
            self.written += conn.write(piece, urgent=urgent, more=rnd.random() < 0.2)
            if urgent:
                self.urgent_end = self.written
            did = True
            self._pause(world, 0)
        return did

    def _read(self, conn: Connection, world: World, now: Time) -> bool:
        self._look(conn)
        did = super()._read(conn, world, now) if conn.has_text(1 << 20) else False
        self._look(conn)
        return did

    def _look(self, conn: Connection) -> None:
        assert conn.urgent_mark >= self.mark
        self.mark = conn.urgent_mark
        assert conn.urgent_remaining == max(self.mark - len(self.received), 0)


@pytest.mark.parametrize("seed", range(120), ids="seed-{}".format)
def test_every_octet_and_every_mark(seed: int) -> None:
    rnd = random.Random(seed)
    world = World(
        seed=f"urgent {seed}",
        paths=(_path(rnd), _path(rnd)),
        options=(_options(rnd), _options(rnd)),
    )
    listener = world.listen()
    sizes = ((1, 100), (1460, 5000), (100, 1460, 20_000), (1, 70_000))
    left, right = (
        Speaker(
            side,
            get,
            rnd.randbytes(rnd.choice((3000, 60_000, 250_000))),
            writes=rnd.choice(sizes[1:] if seed % 4 else sizes),
            reads=rnd.choice(((1 << 20,), (4096,))),
            write_pause=rnd.choice((0, 100 * US, 5 * MS)),
        )
        for side, get in ((world.left, world.connect()), (world.right, listener))
    )
    world.apps.extend((left, right))
    world.run(lambda: left.done and right.done, limit=4 * HOUR)
    for one, other in ((left, right), (right, left)):
        assert one.conn is not None
        assert one.conn.error is None, f"{one.conn.error!r}\n{world.story()}"
        assert bytes(one.received) == bytes(other.payload), world.story()
        assert one.mark == other.urgent_end, world.story()
    check_empty(world)


def _path(rnd: random.Random) -> Path:
    severity = rnd.choice((0.0, 0.02, 0.1))
    return Path(
        loss=rnd.random() * severity,
        duplication=rnd.random() * severity,
        delay=rnd.choice((100 * US, 10 * MS)),
        jitter=rnd.choice((0, 2 * MS, 20 * MS)),
    )


def _options(rnd: random.Random) -> TcpOptions:
    receive_buffer = rnd.choice((700, 5_000, 65_536, 1 << 20))
    return TcpOptions(
        nodelay=rnd.random() < 0.3,
        cork=rnd.random() < 0.3,
        sack=rnd.random() < 0.6,
        timestamps=rnd.random() < 0.6,
        send_buffer=rnd.choice((2_000, 65_536, 4 << 20)),
        notsent_lowat=rnd.choice((None, None, 1, 3000, 100_000)),
        receive_buffer=receive_buffer,
        receive_window=max(receive_buffer // rnd.choice((1, 4)), 1),
        receive_lowat=rnd.choice((1, 1, 100, receive_buffer)),
        syn_retries=12,
    )
