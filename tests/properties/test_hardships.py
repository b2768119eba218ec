"""Transfers under one hardship each: silence, a slow reader, lost handshakes and goodbyes, storms of duplicates.

What chance does to a connection is `test_worlds.py`'s; here the worst of it is chosen. The data must arrive all the
same, and what must fail must fail in time, with the right error, and leave nothing behind.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection
from stack.tcp.state import State
from stack.wire.segment import ACK, FIN, RST, SYN, Segment
from stack.wire.units import MINUTE, MS, SECOND, Duration
from tests.support.world import PORT, Path, Talker, World, address, check_empty

DATA = random.Random("hardships").randbytes(300_000)
REPLY = DATA[::-1][:100_000]

Swallow = Callable[[Segment, int], bool]


def first(count: int, what: Callable[[Segment], bool]) -> Swallow:
    """Lose the first so many segments of a kind."""
    left = [count]

    def swallow(seg: Segment, _: int) -> bool:
        hit = left[0] > 0 and what(seg)
        left[0] -= hit
        return hit

    return swallow


def is_syn(seg: Segment) -> bool:
    return seg.flags & SYN != 0


def is_plain_ack(seg: Segment) -> bool:
    return seg.length == 0 and seg.flags & (ACK | RST) == ACK


def has_fin(seg: Segment) -> bool:
    return seg.flags & FIN != 0


def has_text(seg: Segment) -> bool:
    return seg.size > 0


def pair(world: World, *, left: bytes = DATA, right: bytes = REPLY, closing: str = "half") -> tuple[Talker, Talker]:
    """A connection from left to right, with an application at each end."""
    listener = world.listen()
    talkers = (
        Talker(world.left, world.connect(), left, closing=closing),
        Talker(world.right, listener, right),
    )
    world.apps.extend(talkers)
    return talkers


def complete(world: World, talkers: tuple[Talker, Talker], limit: Duration) -> None:
    """Both streams arrive whole and both ends close in order."""
    world.run(lambda: all(talker.done for talker in talkers), limit)
    for talker, other in zip(talkers, reversed(talkers), strict=True):
        assert talker.conn is not None
        assert talker.conn.error is None, world.story()
        assert bytes(talker.received) == bytes(other.payload)
    check_empty(world)


def swallowing(left: Swallow | None = None, right: Swallow | None = None) -> tuple[Path, Path]:
    return Path(swallow=left), Path(swallow=right)


# No hardship at all.


@pytest.mark.parametrize("delay", [0, 1 * MS, 300 * MS])
def test_nothing_is_sent_twice_over_a_clean_path(delay: Duration) -> None:
    world = World(paths=(Path(delay=delay), Path(delay=delay)))
    talkers = pair(world)
    complete(world, talkers, 1 * MINUTE)
    for talker in talkers:
        assert talker.conn is not None
        assert talker.conn.info(0).total_retrans == 0, world.story()
    assert [side.host.counters.drops for side in world.sides] == [{}, {}]


def test_a_clean_path_is_used_up() -> None:
    """Slow start doubles each round trip: 3 MB over 100 ms take some ten of them, not hundreds."""
    world = World(paths=(Path(delay=50 * MS), Path(delay=50 * MS)))
    talkers = pair(world, left=DATA * 10, right=b"")
    complete(world, talkers, 3 * SECOND)


@pytest.mark.parametrize("without", ["timestamps", "window_scaling", "sack"])
@pytest.mark.parametrize("side", [0, 1])
def test_megabytes_although_one_end_lacks_an_option(without: str, side: int) -> None:
    poor = TcpOptions().replace(**{without: False})
    world = World(options=(poor, TcpOptions()) if side == 0 else (TcpOptions(), poor))
    complete(world, pair(world, left=DATA * 7, right=DATA * 3), 5 * MINUTE)


def test_fifty_connections_at_once_over_a_bad_path() -> None:
    path = Path(loss=0.05, duplication=0.02, corruption=0.01, jitter=20 * MS)
    world = World(seed="fifty", paths=(path, path))
    listener = world.listen()
    for index in range(50):
        payload = DATA[index * 1000 : index * 1000 + 8000]
        world.apps.append(Talker(world.left, world.connect(v6=index % 2 == 1), payload))
        world.apps.append(Talker(world.right, listener, payload[:3000]))
    world.run(lambda: all(talker.done for talker in world.apps), 30 * MINUTE)
    sent = sorted(bytes(talker.payload) for talker in world.apps)
    assert sorted(bytes(talker.received) for talker in world.apps) == sent
    assert [talker.conn.error for talker in world.apps if talker.conn is not None] == [None] * 100
    check_empty(world)


# Handshakes.


@pytest.mark.parametrize("count", [1, 2, 7])
def test_lost_syns(count: int) -> None:
    world = World(paths=swallowing(left=first(count, is_syn)))
    complete(world, pair(world), 10 * MINUTE)


def test_eight_lost_syns_are_a_time_out() -> None:
    world = World(paths=swallowing(left=is_syn_of_any))
    world.listen()
    conn = world.connect()
    world.run(lambda: conn.finished, 255 * SECOND)
    assert world.now >= 255 * SECOND  # three minutes at least: MUST-23
    assert isinstance(conn.error, TimeoutError)
    assert conn.error.errno == errno.ETIMEDOUT
    assert world.sent[0] == 8
    check_empty(world)


def is_syn_of_any(seg: Segment, _: int) -> bool:
    return is_syn(seg)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_lost_syn_acks(count: int) -> None:
    world = World(paths=swallowing(right=first(count, is_syn)))
    complete(world, pair(world), 10 * MINUTE)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_lost_third_segments(count: int) -> None:
    world = World(paths=swallowing(left=first(count, lambda seg: not is_syn(seg))))
    complete(world, pair(world), 10 * MINUTE)


def test_every_segment_comes_three_times() -> None:
    world = World(paths=(Path(duplication=1.0), Path(duplication=1.0)))
    complete(world, pair(world), 1 * MINUTE)


def test_crossing_syns_and_data_both_ways() -> None:
    world = World()
    talkers = crossing(world)
    complete(world, talkers, 1 * MINUTE)
    assert [side.host.counters.accepted for side in world.sides] == [0, 0]


@pytest.mark.parametrize("lost", [(1, 0), (0, 1), (1, 1), (2, 2), (3, 1)])
def test_crossing_syns_of_which_some_are_lost(lost: tuple[int, int]) -> None:
    world = World(paths=swallowing(first(lost[0], is_syn), first(lost[1], is_syn)))
    complete(world, crossing(world), 5 * MINUTE)


def crossing(world: World) -> tuple[Talker, Talker]:
    left = world.left.host.connect(address(1), PORT, world.at(world.left), local_port=PORT)
    right = world.right.host.connect(address(0), PORT, world.at(world.right), local_port=PORT)
    talkers = Talker(world.left, left, DATA), Talker(world.right, right, REPLY)
    world.apps.extend(talkers)
    return talkers


# Goodbyes.


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("count", [1, 3])
def test_lost_fins(side: int, count: int) -> None:
    lost = first(count, has_fin)
    world = World(paths=swallowing(lost if side == 0 else None, lost if side == 1 else None))
    complete(world, pair(world), 10 * MINUTE)


@pytest.mark.parametrize("count", [1, 4])
def test_lost_last_acks(count: int) -> None:
    """The one who closed first answers every FIN that comes again, from TIME-WAIT."""
    world = World()
    talkers = pair(world, left=b"question", right=b"answer")
    fins: list[int] = []

    def swallow(seg: Segment, _: int) -> bool:
        conn = talkers[0].conn
        assert conn is not None
        last = conn.state is State.TIME_WAIT and is_plain_ack(seg)
        fins.append(last)
        return last and sum(fins) <= count

    world.paths = swallowing(left=swallow)
    complete(world, talkers, 10 * MINUTE)
    assert sum(fins) == count + 1


def test_both_close_at_once() -> None:
    world = World()
    talkers = pair(world, left=b"", right=b"")
    world.run(lambda: all(t.conn is not None and t.conn.state is not State.ESTABLISHED for t in talkers), SECOND)
    complete(world, talkers, 10 * MINUTE)


def test_peer_vanishes_before_our_fin() -> None:
    """LAST-ACK with nobody there: retransmissions are exhausted after R2, and all is forgotten."""
    world = World(options=TcpOptions(r2=100))
    talkers = pair(world, left=b"bye", right=b"", closing="half")
    world.run(lambda: talkers[1].conn is not None and talkers[1].conn.at_eof, MINUTE)
    world.paths = (Path(loss=1.0), Path(loss=1.0))
    world.run(lambda: talkers[1].done, 5 * MINUTE)
    assert talkers[1].conn is not None
    assert isinstance(talkers[1].conn.error, TimeoutError)
    check_empty(world)


# Silence.


def test_outage_of_two_minutes() -> None:
    world = World()
    talkers = pair(world)
    world.run(lambda: len(talkers[1].received) > 50_000, MINUTE)
    world.paths = (Path(loss=1.0), Path(loss=1.0))
    world.run_for(2 * MINUTE)
    world.paths = (Path(), Path())
    complete(world, talkers, 3 * MINUTE)


def test_outage_for_good() -> None:
    """R2 is fifteen minutes; the retransmissions back off to one a minute."""
    world = World()
    talkers = pair(world)
    world.run(lambda: len(talkers[1].received) > 50_000, MINUTE)
    world.paths = (Path(loss=1.0), Path(loss=1.0))
    before, began = world.sent[0], world.now
    world.run(lambda: all(talker.done for talker in talkers), 16 * MINUTE)
    assert 15 * MINUTE <= world.now - began <= 15 * MINUTE + SECOND
    for talker in talkers:
        assert talker.conn is not None
        assert isinstance(talker.conn.error, TimeoutError)
    assert world.sent[0] - before < 600  # the window that was open when silence fell, and some twenty after it
    check_empty(world)


def test_user_timeout_is_earlier() -> None:
    world = World(options=TcpOptions(user_timeout=7.0))
    talkers = pair(world)
    world.run(lambda: len(talkers[1].received) > 50_000, MINUTE)
    world.paths = (Path(loss=1.0), Path(loss=1.0))
    began = world.now
    world.run(lambda: all(talker.done for talker in talkers), 8 * SECOND)
    assert world.now - began >= 7 * SECOND
    check_empty(world)


# Readers who take their time.


def test_reader_sleeps_for_ten_minutes() -> None:
    """A window of zero for that long: probes at growing intervals, each answered, and then everything arrives."""
    world = World()
    listener = world.listen()
    sleep = 10 * MINUTE
    talkers = (
        Talker(world.left, world.connect(), DATA),
        Talker(world.right, listener, b"", reads_from=world.now + sleep),
    )
    world.apps.extend(talkers)
    world.run_for(sleep - SECOND)
    conn = talkers[0].conn
    assert conn is not None
    assert conn.error is None
    assert conn.info(0).snd_wnd == 0
    before = world.sent[0]
    world.run_for(2 * SECOND)
    assert world.sent[0] > before
    complete(world, talkers, MINUTE)


def test_zero_window_probes_back_off() -> None:
    """Ten minutes of a closed window cost some fifteen probes, not thousands."""
    world = World()
    world.listen()
    talker = Talker(world.left, world.connect(), DATA)
    world.apps.append(talker)
    world.run_for(5 * SECOND)
    before = world.sent[0]
    times = []
    for _ in range(600):
        count = world.sent[0]
        world.run_for(SECOND)
        if world.sent[0] > count:
            times.append(world.now)
    assert 10 <= world.sent[0] - before <= 20
    gaps = [late - early for early, late in pairwise(times)]
    assert all(late >= early - SECOND for early, late in pairwise(gaps)), gaps
    assert max(gaps) <= 61 * SECOND
    assert talker.conn is not None
    assert talker.conn.error is None


def test_lost_window_update_is_found_out_by_probing() -> None:
    world = World()
    listener = world.listen()
    talkers = (
        Talker(world.left, world.connect(), DATA),
        Talker(world.right, listener, b"", reads_from=world.now + 30 * SECOND),
    )
    world.apps.extend(talkers)
    world.run_for(29 * SECOND)
    world.paths = swallowing(right=lambda seg, _: world.now < 40 * SECOND and is_plain_ack(seg) and seg.window > 0)
    complete(world, talkers, 5 * MINUTE)


@pytest.mark.parametrize("nodelay", [False, True])
def test_reader_of_single_octets(nodelay: bool) -> None:
    """Silly-window avoidance on both sides: an octet at a time read does not become an octet at a time sent."""
    world = World(options=TcpOptions(receive_window=4000, receive_buffer=4000, nodelay=nodelay))
    talkers = (
        Talker(world.left, world.connect(), DATA[:20_000]),
        Talker(world.right, world.listen(), b"", reads=(1,), read_pause=10 * MS),
    )
    world.apps.extend(talkers)
    complete(world, talkers, 20 * MINUTE)
    assert world.sent[0] < 100, world.story()  # 14 full segments would be least, 20,000 is silliness


def test_writer_of_single_octets_fills_segments() -> None:
    """Nagle: what is written while something is in flight goes together."""
    world = World(paths=(Path(delay=50 * MS), Path(delay=50 * MS)))
    talkers = (
        Talker(world.left, world.connect(), DATA[:3000], writes=(1,), write_pause=2 * MS),
        Talker(world.right, world.listen(), b""),
    )
    world.apps.extend(talkers)
    complete(world, talkers, MINUTE)
    assert world.sent[0] < 100, world.story()


# Resets.


def test_abort_in_the_middle() -> None:
    world = World()
    talkers = pair(world)
    world.run(lambda: len(talkers[1].received) > 50_000, MINUTE)
    conn = talkers[0].conn
    assert conn is not None
    conn.abort()
    world.left.host.touch(conn, world.at(world.left))
    world.run(lambda: talkers[1].done, SECOND)
    other = talkers[1].conn
    assert other is not None
    assert isinstance(other.error, ConnectionResetError)
    check_empty(world)


def test_host_that_forgot_resets_the_one_that_did_not() -> None:
    """RFC 9293 3.5.1: a peer that has crashed and come back answers what it doesn't know with a reset."""
    world = World()
    talkers = pair(world)
    world.run(lambda: len(talkers[1].received) > 50_000, MINUTE)
    fresh = World().right
    world.sides = (world.left, fresh)
    world.right = fresh
    world.apps = [talkers[0]]
    world.run(lambda: talkers[0].done, MINUTE)
    assert talkers[0].conn is not None
    assert isinstance(talkers[0].conn.error, ConnectionResetError)


def test_shut_down_resets_everyone() -> None:
    world = World()
    talkers = pair(world)
    world.run(lambda: len(talkers[1].received) > 50_000, MINUTE)
    world.right.host.shut_down(world.at(world.right))
    world.apps = [talkers[0]]
    world.run(lambda: talkers[0].done, MINUTE)
    assert talkers[0].conn is not None
    assert isinstance(talkers[0].conn.error, ConnectionResetError)
    check_empty(world)


def test_keepalive_finds_out_that_nobody_is_there() -> None:
    options = TcpOptions(keepalive=True, keepalive_idle=60.0, keepalive_interval=10.0, keepalive_probes=5)
    world = World(options=(options, TcpOptions()))
    world.listen()
    conn = world.connect()
    world.run(lambda: conn.connected, SECOND)
    world.run_for(10 * MINUTE)
    assert alive(conn)  # for ten minutes every probe was answered
    assert world.sent[0] <= 15
    world.paths = (Path(loss=1.0), Path(loss=1.0))
    began = world.now
    world.run(lambda: conn.finished, 3 * MINUTE)
    assert 50 * SECOND <= world.now - began <= 111 * SECOND
    assert isinstance(conn.error, TimeoutError)


def alive(conn: Connection) -> bool:
    return conn.state is State.ESTABLISHED and conn.error is None
