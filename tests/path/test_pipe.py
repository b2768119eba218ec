"""One direction of a path: order of events, exact times, long runs."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stack.path.config import PathConfig, parse, path_config
from stack.path.packets import CE, ECT_0, ecn
from stack.path.pipe import Pipe
from stack.path.stats import Fate
from stack.wire.offload import complete
from stack.wire.packet import PARTIAL, VERIFY, Packet
from stack.wire.segment import ACK, FIN
from stack.wire.units import MS, NEVER, SECOND, US, Time
from tests.path.frames import read, sized, tcp_packet


def make(line: str = "", seed: int = 1, **fields: object) -> Pipe:
    config = parse(line) if line else path_config(**fields)
    return Pipe(config, random.Random(seed).random)


def drain(pipe: Pipe) -> list[tuple[Time, Packet]]:
    """Everything that is under way, with the time of its arrival."""
    arrived = []
    while (due := pipe.next_timeout()) < NEVER:
        arrived += [(due, packet) for packet in pipe.pop(due)]
    return arrived


def run(pipe: Pipe, times: Iterable[Time], packet: Packet) -> list[tuple[Time, Packet]]:
    """Push the same packet at each of these times, taking out what arrives meanwhile."""
    arrived = []
    for now in times:
        while pipe.next_timeout() <= now:
            due = pipe.next_timeout()
            arrived += [(due, packet) for packet in pipe.pop(due)]
        pipe.push(packet, now)
    return arrived + drain(pipe)


def seqs(arrived: list[tuple[Time, Packet]]) -> list[int]:
    return [read(packet)[1].seq for _, packet in arrived]


def test_a_perfect_path_hands_over_at_once_and_changes_nothing() -> None:
    pipe = make()
    packet = tcp_packet(b"abc")
    assert pipe.next_timeout() == NEVER
    pipe.push(packet, 5)
    assert pipe.next_timeout() == 5
    assert pipe.pop(5) == [packet]
    assert packet.csum == PARTIAL
    assert pipe.next_timeout() == NEVER


def test_delay_is_exact_and_keeps_the_order() -> None:
    pipe = make("delay=20ms")
    first, second = sized(100, 1), sized(100, 2)
    pipe.push(first, 0)
    pipe.push(second, 0)
    assert pipe.pop(20 * MS - 1) == []
    assert pipe.pop(20 * MS) == [first, second]


def test_a_super_frame_is_split_at_the_entrance() -> None:
    pipe = make("drop=2")
    pipe.push(tcp_packet(b"x" * 2500, flags=ACK | FIN, gso_size=1000), 0)
    arrived = [read(packet)[1] for packet in pipe.pop(0)]
    assert [(seg.seq, seg.size, seg.flags) for seg in arrived] == [(1000, 1000, ACK), (3000, 500, ACK | FIN)]
    assert pipe.stats.entered == 3


# Rate. ------------------------------------------------------------------------------------------------------------


def test_each_packet_takes_its_bits_at_the_rate() -> None:
    pipe = make("rate=8mbit,delay=1ms")  # a byte a microsecond
    arrived = run(pipe, [0, 0, 10 * MS], sized(1500))
    assert [time for time, _ in arrived] == [MS + 1500 * US, MS + 3000 * US, 11 * MS + 1500 * US]


def test_overhead_counts_at_the_rate_only() -> None:
    pipe = make("rate=8mbit,overhead=38")
    assert [time for time, _ in run(pipe, [0], sized(1500))] == [1538 * US]
    assert pipe.stats.delivered_bytes == 1500


@given(rate=st.integers(10_000, 10**10), sizes=st.lists(st.integers(60, 1500), min_size=200, max_size=200))
@settings(max_examples=25)
def test_the_long_run_rate_is_exact(rate: int, sizes: list[int]) -> None:
    pipe = make(rate=rate, queue="1GB")
    for size in sizes:
        pipe.push(Packet(b"\x45" + bytes(size - 1)), 0)
    last = drain(pipe)[-1][0]
    assert last == sum(sizes) * 8 * SECOND // rate


def test_rate_and_delay_of_a_long_run_with_everything_else_off() -> None:
    pipe = make("rate=50mbit,delay=20ms")
    interval = 1500 * 8 * SECOND // 25_000_000  # half the rate
    arrived = run(pipe, range(0, 10_000 * interval, interval), sized(1500))
    delays = {time - index * interval for index, (time, _) in enumerate(arrived)}
    assert delays == {20 * MS + 240 * US}


# Jitter and order. ------------------------------------------------------------------------------------------------


def test_jitter_is_even_around_the_delay() -> None:
    pipe = make("delay=20ms,jitter=5ms")
    arrived = run(pipe, range(0, 20_000 * SECOND, SECOND), sized(100))
    delays = [time - index * SECOND for index, (time, _) in enumerate(arrived)]
    assert min(delays) >= 15 * MS
    assert max(delays) <= 25 * MS
    assert sum(delays) / len(delays) == pytest.approx(20 * MS, rel=0.002)
    assert sum(delay < 17 * MS for delay in delays) / len(delays) == pytest.approx(0.2, abs=0.01)


def test_jitter_reorders_unless_it_must_not() -> None:
    for ordered in (False, True):
        pipe = make(delay=20 * MS, jitter=5 * MS, ordered=ordered)
        for mark in range(500):
            pipe.push(sized(100, mark), mark * MS)
        assert (seqs(drain(pipe)) == list(range(500))) is ordered


def test_reordered_packets_come_late_and_the_others_on_time() -> None:
    pipe = make("delay=20ms,reorder=3%")
    arrived = run(pipe, range(0, 20_000 * SECOND, SECOND), sized(100))
    delays = [time - index * SECOND for index, (time, _) in enumerate(arrived)]
    late = [delay for delay in delays if delay != 20 * MS]
    assert len(late) / len(delays) == pytest.approx(0.03, rel=0.06)
    assert len(late) == pipe.stats[Fate.REORDERED]
    assert 20 * MS < min(late) <= max(late) <= 30 * MS  # by up to half the delay: a quarter of the round trip
    assert sum(late) / len(late) == pytest.approx(25 * MS, rel=0.02)


def test_a_reordered_packet_is_overtaken() -> None:
    pipe = make("delay=20ms,reorder=10%")
    for mark in range(200):
        pipe.push(sized(100, mark), mark * MS)
    order = seqs(drain(pipe))
    assert sorted(order) == list(range(200))
    assert order != list(range(200))


# Loss and other damage. -------------------------------------------------------------------------------------------


def test_a_lost_packet_takes_no_time_at_the_bottleneck() -> None:
    pipe = make("rate=8mbit,drop=1")
    assert [time for time, _ in run(pipe, [0, 0], sized(1000))] == [1000 * US]
    assert pipe.stats[Fate.LOST] == 1
    assert pipe.stats.lost_bytes == 1000


def test_a_duplicate_follows_and_takes_its_own_time() -> None:
    pipe = make("rate=8mbit,duplicate=100%")
    assert [time for time, _ in run(pipe, [0], sized(1000))] == [1000 * US, 2000 * US]
    assert (pipe.stats.entered, pipe.stats.delivered, pipe.stats[Fate.DUPLICATED]) == (1, 2, 1)


def test_a_share_is_corrupted_in_one_bit_each_and_the_others_are_whole() -> None:
    pipe = make("corrupt=10%")
    packet = tcp_packet(b"x" * 100)
    arrived = run(pipe, range(2000), packet)
    sent = int.from_bytes(complete(packet).frame(), "big")
    damaged = [got for _, got in arrived if got is not packet]
    bits = [(int.from_bytes(got.frame(), "big") ^ sent).bit_count() for got in damaged]
    assert set(bits) == {1}
    assert all(got.csum == VERIFY for got in damaged)
    assert len(damaged) == pipe.stats[Fate.CORRUPTED]
    assert len(damaged) / 2000 == pytest.approx(0.1, rel=0.1)


def test_every_bit_may_be_the_one() -> None:
    pipe = make("corrupt=100%")
    packet = tcp_packet(b"x" * 8)
    sent = int.from_bytes(complete(packet).frame(), "big")
    arrived = run(pipe, range(8000), packet)
    flips = {int.from_bytes(got.frame(), "big") ^ sent for _, got in arrived}
    assert flips == {1 << bit for bit in range(8 * len(packet))}


def test_statistics_balance() -> None:
    pipe = make("loss=5%,burst=2,duplicate=3%,corrupt=1%,reorder=4%,rate=8mbit,queue=5,delay=3ms,jitter=1ms,mtu=1000")
    rnd = random.Random(5)
    now = 0
    for _ in range(3000):
        now += rnd.randrange(1000) * US
        pipe.push(sized(rnd.choice([60, 500, 1000, 1001])), now)
    stats = pipe.stats
    assert stats.entered + stats[Fate.DUPLICATED] == stats.delivered + stats.lost + pipe.under_way()
    drain(pipe)
    assert stats.entered + stats[Fate.DUPLICATED] == stats.delivered + stats.lost
    assert all(stats[fate] for fate in (Fate.LOST, Fate.QUEUE_FULL, Fate.TOO_BIG, Fate.CORRUPTED, Fate.REORDERED))
    assert stats.as_dict()["lost"] == stats[Fate.LOST]


# MTU and outages. -------------------------------------------------------------------------------------------------


def test_what_is_too_big_is_told_and_dropped() -> None:
    told = []
    pipe = make("mtu=1000")
    pipe.on_too_big = lambda packet, mtu, now: told.append((len(packet), mtu, now))
    for packet in (sized(1000), sized(1001)):
        pipe.push(packet, 7)
    assert [len(packet) for packet in pipe.pop(7)] == [1000]
    assert told == [(1001, 1000, 7)]
    assert pipe.stats[Fate.TOO_BIG] == 1


def test_nobody_need_be_told() -> None:
    pipe = make("mtu=1000")
    pipe.push(tcp_packet(b"x" * 2000, v6=True), 0)
    assert pipe.pop(0) == []


def test_what_may_be_cut_in_pieces_passes() -> None:
    pipe = make("mtu=1000")
    pipe.push(tcp_packet(b"x" * 2000, dont_fragment=False), 0)
    assert len(pipe.pop(0)) == 1


def test_while_down_nothing_enters_and_what_is_under_way_arrives() -> None:
    pipe = make("delay=500ms,down=1s+2s/5s+1s")
    times = [0, 999 * MS, SECOND, 3 * SECOND - 1, 3 * SECOND, 5 * SECOND, 6 * SECOND]
    passed = [time - 500 * MS for time, _ in run(pipe, times, sized(60))]
    assert passed == [0, 999 * MS, 3 * SECOND, 6 * SECOND]
    assert pipe.stats[Fate.DOWN] == 3


def test_flapping_counts_from_the_start_of_the_pipe() -> None:
    pipe = Pipe(parse("flap=10s/2s"), random.Random(1).random, start=100 * SECOND)
    times = [100 * SECOND + second * SECOND for second in range(25)]
    passed = [time // SECOND - 100 for time, _ in run(pipe, times, sized(60))]
    assert passed == [*range(8), *range(10, 18), *range(20, 25)]


# Change. ----------------------------------------------------------------------------------------------------------


def test_reconfiguring_leaves_alone_what_is_under_way() -> None:
    pipe = make("delay=20ms")
    pipe.push(sized(60, 1), 0)
    pipe.reconfigure(parse("delay=1ms"), 5 * MS)
    pipe.push(sized(60, 2), 5 * MS)
    arrived = drain(pipe)
    assert [time for time, _ in arrived] == [6 * MS, 20 * MS]
    assert seqs(arrived) == [2, 1]


@pytest.mark.parametrize("aqm", ["droptail", "codel"])
@pytest.mark.parametrize("after", ["", "rate=80mbit", "rate=80mbit,aqm=codel", "rate=80mbit,aqm=red"])
def test_reconfiguring_loses_nothing(aqm: str, after: str) -> None:
    pipe = make(f"rate=8mbit,aqm={aqm}")
    for mark in range(10):
        pipe.push(sized(1000, mark), 0)
    pipe.reconfigure(parse(after), 500 * US)
    pipe.push(sized(1000, 10), 600 * US)
    pipe.push(sized(1000, 11), 10 * SECOND)
    assert sorted(seqs(drain(pipe))) == list(range(12))
    assert pipe.backlog(20 * SECOND) == (0, 0)


def test_the_backlog_is_what_waits() -> None:
    for aqm in ("droptail", "codel"):
        pipe = make(f"rate=8mbit,aqm={aqm}")
        for _ in range(4):
            pipe.push(sized(1000), 0)
        assert pipe.backlog(0) == (3, 3000)  # one is being sent
        assert pipe.backlog(1500 * US) == (2, 2000)
        assert pipe.backlog(9 * MS) == (0, 0)


# Observers, and repeatability. ------------------------------------------------------------------------------------


def test_an_observer_hears_of_everything_that_befalls_a_packet() -> None:
    heard = []
    pipe = make("rate=8mbit,drop=2,queue=1,delay=1ms")
    pipe.observer = lambda fate, packet, now: heard.append((fate, len(packet), now))
    for size in (100, 200, 300, 400):
        pipe.push(sized(size), 5)
    assert heard == [(Fate.LOST, 200, 5), (Fate.QUEUE_FULL, 400, 5)]


def test_marks_reach_the_receiver() -> None:
    config = PathConfig(rate=8_000_000, aqm="codel", ecn=True, queue_bytes=10**6)
    pipe = Pipe(config, random.Random(1).random)
    arrived = run(pipe, range(0, 2000 * 500 * US, 500 * US), tcp_packet(b"x" * 948, ecn=ECT_0))
    marked = [packet for _, packet in arrived if ecn(packet) == CE]
    assert len(marked) == pipe.stats[Fate.MARKED] > 10
    assert pipe.stats.lost == 0
    for packet in marked[:3]:
        assert read(complete(packet))[0].traffic_class == CE


HOSTILE = (
    "rate=8mbit,queue=20,aqm={},delay=5ms,jitter=2ms,loss=5%,burst=3,duplicate=5%,reorder=5%,corrupt=2%,flap=200ms/10ms"
)


@pytest.mark.parametrize("aqm", ["droptail", "codel", "red"])
def test_the_same_seed_gives_the_same_fates(aqm: str) -> None:
    def once(seed: int) -> list[tuple[Time, bytes]]:
        pipe = make(HOSTILE.format(aqm), seed)
        return [(time, packet.frame()) for time, packet in run(pipe, range(0, SECOND, 900 * US), sized(1000))]

    assert once(1) == once(1)
    assert once(1) != once(2)


@pytest.mark.parametrize(
    ("aqm", "digest"),
    [("droptail", "1a53897915f1e84a"), ("codel", "e802e8ef225ae2fb"), ("red", "cfb4ecfc4e41ae45")],
)
def test_what_a_seed_gives_is_a_promise(aqm: str, digest: str) -> None:
    """These fates were written down once. No version of Python, no machine and no release of ours changes them."""
    pipe = make(HOSTILE.format(aqm), seed=20)
    arrived = run(pipe, range(0, 2 * SECOND, 900 * US), sized(1000))
    text = "".join(f"{time} {packet.frame().hex()}\n" for time, packet in arrived)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == digest
