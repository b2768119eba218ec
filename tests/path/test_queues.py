"""Queues: who waits, who is dropped, who is marked."""

from __future__ import annotations

import random
from itertools import pairwise
from math import sqrt

import pytest

from stack.path.config import PathConfig, parse
from stack.path.packets import ECT_0
from stack.path.pipe import Pipe
from stack.path.queues import DROP, MARK, PASS, CoDel, DropTail, Red
from stack.path.stats import Fate
from stack.wire.packet import Packet
from stack.wire.units import MS, NEVER, SECOND, US, Time
from tests.path.frames import sized, tcp_packet


def draw_never() -> float:
    raise AssertionError("drawn")


# Drop-tail. -------------------------------------------------------------------------------------------------------


def test_drop_tail_counts_bytes_packets_or_both() -> None:
    queue = DropTail(PathConfig(rate=10**6, queue_bytes=3000, queue_packets=2))
    assert queue.on_arrival(1000, 2000, 1, 0, draw_never) == PASS
    assert queue.on_arrival(1001, 2000, 1, 0, draw_never) == DROP
    assert queue.on_arrival(100, 200, 2, 0, draw_never) == DROP


def test_a_packet_larger_than_the_queue_passes_an_empty_one() -> None:
    queue = DropTail(PathConfig(rate=10**6, queue_bytes=500))
    assert queue.on_arrival(1500, 0, 0, 0, draw_never) == PASS
    assert queue.on_arrival(1500, 1, 1, 0, draw_never) == DROP


@pytest.mark.parametrize("limit", ["queue=10", "queue=10kB", "queue=10ms"])
def test_a_full_queue_of_a_pipe(limit: str) -> None:
    pipe = Pipe(parse(f"rate=8mbit,{limit}"), draw_never)  # 1000 bytes take a millisecond
    for mark in range(30):
        pipe.push(sized(1000, mark), 0)
    assert pipe.backlog(0) == (10, 10_000)
    assert pipe.stats[Fate.QUEUE_FULL] == 19  # one is being sent, ten wait
    pipe.push(sized(1000), MS)  # the second has begun: there is room for one
    pipe.push(sized(1000), MS)
    assert pipe.stats[Fate.QUEUE_FULL] == 20


# CoDel. -----------------------------------------------------------------------------------------------------------


def overload(pipe: Pipe, gap: Time, until: Time, packet: Packet) -> tuple[list[Time], list[Time]]:
    """Push at even gaps; returns when packets were dropped or marked, and how long each delivered one took."""
    acted: list[Time] = []
    waits: list[Time] = []
    pushed: dict[int, Time] = {}
    pipe.observer = lambda fate, packet, now: acted.append(now)
    now = 0
    number = 0
    while now < until or pipe.next_timeout() < NEVER:
        due = pipe.next_timeout()
        if due <= now or now >= until:
            waits += [due - pushed[int.from_bytes(got.head[24:28], "big")] for got in pipe.pop(due)]
            continue
        number += 1
        pushed[number] = now
        head = packet.head[:24] + number.to_bytes(4, "big") + packet.head[28:]
        pipe.push(Packet(head, packet.parts), now)
        now += gap
    return acted, waits


def test_codel_lets_a_queue_pass_that_goes_away_within_an_interval() -> None:
    pipe = Pipe(parse("rate=8mbit,aqm=codel,queue=1MB"), draw_never)
    for mark in range(90):  # 90 ms of queue, gone before 100 ms have passed
        pipe.push(sized(1000, mark), 0)
    while pipe.next_timeout() < NEVER:
        pipe.pop(pipe.next_timeout())
    assert pipe.stats.delivered == 90


def test_codel_never_drops_below_its_target() -> None:
    acted, waits = overload(Pipe(parse("rate=8mbit,aqm=codel"), draw_never), 1001 * US, 5 * SECOND, sized(1000))
    assert acted == []
    assert max(waits) == MS


@pytest.mark.parametrize("ecn", [False, True])
def test_codels_law(ecn: bool) -> None:
    """Under steady overload the n-th drop follows the one before by interval / sqrt(n) (RFC 8289 3.3)."""
    pipe = Pipe(PathConfig(rate=8_000_000, aqm="codel", queue_bytes=10**7, ecn=ecn), draw_never)
    packet = tcp_packet(bytes(948), ecn=ECT_0 if ecn else 0)
    acted, _ = overload(pipe, 900 * US, 3 * SECOND, packet)
    gaps = [later - earlier for earlier, later in pairwise(acted)][:40]
    for count, gap in enumerate(gaps, start=1):
        assert gap == pytest.approx(100 * MS / sqrt(count), abs=1001 * US)  # to the packet
    # The first comes once packets have waited longer than 5 ms for 100 ms.
    assert 145 * MS < acted[0] < 165 * MS
    assert pipe.stats[Fate.MARKED if ecn else Fate.DROPPED_BY_AQM] == len(acted)
    assert pipe.stats.lost == (0 if ecn else len(acted))


def test_codel_holds_a_queue_near_its_target_against_a_sender_that_gives_way() -> None:
    """A sender with AIMD at 40 ms: the queue that it keeps is short, and the bottleneck is busy."""
    medians = {}
    for aqm in ("codel", "droptail"):
        pipe = Pipe(parse(f"rate=8mbit,aqm={aqm},queue=1MB"), draw_never)
        waits = reno_like(pipe, rtt=40 * MS, rounds=600)
        assert len(waits) > 0.75 * 600 * 40
        late = sorted(waits[len(waits) // 2 :])
        medians[aqm] = late[len(late) // 2]
    assert medians["codel"] < 25 * MS
    assert medians["droptail"] > 500 * MS


def reno_like(pipe: Pipe, rtt: Time, rounds: int) -> list[Time]:
    """Each round trip: one window of packets, evenly spread; halved after a drop, else one packet more."""
    dropped: list[Time] = []
    pipe.observer = lambda fate, packet, now: dropped.append(now)
    waits: list[Time] = []
    pushed: list[Time] = []
    window = 10
    now: Time = 0
    for _ in range(rounds):
        losses = len(dropped)
        for _ in range(window):
            while pipe.next_timeout() <= now:
                due = pipe.next_timeout()
                waits += [due - pushed[int.from_bytes(got.head[24:28], "big")] for got in pipe.pop(due)]
            packet = sized(1000, len(pushed))
            pushed.append(now)
            pipe.push(packet, now)
            now += rtt // window
        window = max(window // 2, 1) if len(dropped) > losses else window + 1
    return waits


def test_codel_starts_where_it_left_off() -> None:
    codel = CoDel(PathConfig(rate=10**6, aqm="codel"))
    acted = drive(codel, waited=50 * MS, start=0, until=2 * SECOND)
    codel.on_departure(0, 0, 1500, 2 * SECOND)  # the queue is short for a moment
    again = drive(codel, waited=50 * MS, start=2 * SECOND + MS, until=3 * SECOND)
    gap = again[1] - again[0]
    assert gap < acted[1] - acted[0]
    assert gap == pytest.approx(acted[-1] - acted[-2], rel=0.3)


def drive(codel: CoDel, waited: Time, start: Time, until: Time) -> list[Time]:
    return [now for now in range(start, until, 100 * US) if codel.on_departure(waited, 50_000, 1500, now) == MARK]


def test_codel_forgets_when_nothing_waits() -> None:
    codel = CoDel(PathConfig(rate=10**6, aqm="codel"))
    assert drive(codel, 50 * MS, 0, 99 * MS) == []
    codel.on_empty()
    assert drive(codel, 50 * MS, 99 * MS, 198 * MS) == []
    assert drive(codel, 50 * MS, 198 * MS, 200 * MS) != []


def test_codel_leaves_the_last_packets_alone() -> None:
    codel = CoDel(PathConfig(rate=10**6, aqm="codel"))
    verdicts = {codel.on_departure(SECOND, 1500, 1500, now) for now in range(0, SECOND, MS)}
    assert verdicts == {PASS}


# RED. -------------------------------------------------------------------------------------------------------------

RED = PathConfig(rate=12_000_000, aqm="red", queue_bytes=600_000)  # begins at 100,000 bytes, ramps to 300,000


def settle(red: Red, queued: int, seed: int = 1) -> list[int]:
    """The verdicts on a long run of packets that always find so much waiting, once the mean has settled."""
    draw = random.Random(seed).random
    for now in range(5000):
        red.on_arrival(1500, queued, queued // 1500, now, draw)
    return [red.on_arrival(1500, queued, queued // 1500, now, draw) for now in range(20_000)]


@pytest.mark.parametrize(
    ("queued", "share"),
    [(90_000, 0.0), (150_000, 0.025), (200_000, 0.05), (299_000, 0.0995), (450_000, 0.1 + 0.9 * 0.5)],
)
def test_reds_ramp(queued: int, share: float) -> None:
    verdicts = settle(Red(RED), queued)
    # On the first part marks are 1 to 1/p packets apart, (1 + 1/p) / 2 in the mean.
    expected = 2 * share / (1 + share) if share < 0.1 else share
    assert verdicts.count(MARK) / len(verdicts) == pytest.approx(expected, rel=0.07, abs=1e-9)
    assert verdicts.count(DROP) == 0


def test_red_drops_everything_when_the_mean_is_beyond_its_ramp() -> None:
    assert set(settle(Red(PathConfig(rate=10**7, aqm="red", queue_bytes=600_000, red_max=0.3)), 590_000)) == {DROP}


def test_red_drops_what_finds_the_queue_full() -> None:
    assert Red(RED).on_arrival(1500, 599_000, 400, 0, draw_never) == DROP


def test_red_forgets_while_nothing_waits() -> None:
    red = Red(RED)
    assert MARK in settle(red, 250_000)
    red.on_arrival(1500, 0, 0, 0, random.Random(1).random)  # the queue is empty, but the mean isn't yet
    assert red.on_arrival(1500, 0, 0, 10 * SECOND, draw_never) == PASS
    assert settle_mean(red) < 1


def settle_mean(red: Red) -> float:
    return red._average


def test_reds_marks_are_spread() -> None:
    """With the count, a mark never comes later than 1/p packets after the last one."""
    verdicts = settle(Red(RED), 200_000)
    marks = [index for index, verdict in enumerate(verdicts) if verdict == MARK]
    assert max(later - earlier for earlier, later in pairwise(marks)) <= 21


def test_red_counts_packets_where_the_limit_does() -> None:
    red = Red(PathConfig(rate=10**7, aqm="red", queue_packets=400))
    assert MARK in settle(red, 200_000)
