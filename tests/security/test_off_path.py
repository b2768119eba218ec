"""An attacker who sees nothing and guesses (RFC 5961), and what he could learn from us."""

from __future__ import annotations

import struct
from collections import Counter
from itertools import pairwise

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.state import CLOSED, ESTABLISHED, TIME_WAIT
from stack.wire.segment import ACK, FIN, PSH, RST, SYN
from stack.wire.units import MINUTE, MS, SECOND
from tests.security.target import SYN_OPTIONS, THEM4, Peer, Target, ip4, kinds, tcp_segment, timestamps
from tests.support.world import Path, Talker, World

SYN_TS = timestamps(5000) + SYN_OPTIONS


# Blind resets and SYNs.


# RFC5961-03
@pytest.mark.parametrize("seq", [2, 1001, 30_000])
@pytest.mark.parametrize("flags", [RST, RST | ACK])
def test_off_01_reset_in_the_window(seq: int, flags: int) -> None:
    peer = Target().established()
    (answer,) = peer.expect("A", flags, "bad-reset", seq=seq)
    assert peer.relative(answer.tcp) == (1, 1)
    assert peer.alive


# RFC5961-01
@pytest.mark.parametrize("seq", [0, -1000, 1 + 65_536 + 1, 1 << 31])
def test_off_02_reset_outside_the_window(seq: int) -> None:
    peer = Target().established()
    peer.expect("", RST, "out-of-window", seq=seq)
    assert peer.alive


# RFC5961-02
@pytest.mark.parametrize("payload", [b"", b"reason"])
def test_off_03_exact_reset(payload: bytes) -> None:
    peer = Target().established()
    peer.expect("", RST, seq=1, payload=payload)
    assert peer.conn.state is CLOSED
    assert isinstance(peer.conn.error, ConnectionResetError)
    assert peer.target.host.connections() == []


# RFC5961-05
@pytest.mark.parametrize("seq", [0, 1, 2, 1000, 1 << 20, 1 << 31])
@pytest.mark.parametrize("flags", [SYN, SYN | ACK])
def test_off_04_syn_on_a_connection(seq: int, flags: int) -> None:
    peer = Target().established()
    (answer,) = peer.send(flags, seq=seq)
    assert answer.kind == "A"
    assert peer.relative(answer.tcp) == (1, 1)
    assert peer.alive


# Challenges and their limit.


# RFC5961-07
def test_off_06_challenges_are_limited() -> None:
    peer = Target().established()
    answers = 0
    for _ in range(50):
        answers += len(peer.send(RST, seq=500))
        answers += len(peer.target.wait(40 * MS))
    assert 3 <= answers <= 5  # one in 500 ms


# RFC5961-07
def test_off_07_challenges_on_one_connection_tell_nothing_of_another() -> None:
    """CVE-2016-5696: no counter is shared."""
    counts = []
    for probes in (0, 500):
        target = Target()
        ours, theirs = target.established(sport=4000), target.established(sport=4001)
        count = 0
        for _ in range(20):
            for _ in range(probes // 20):
                theirs.send(RST, seq=500)
                theirs.send(SYN, seq=500)
            count += len(ours.send(RST, seq=500))
            target.wait(100 * MS)
        counts.append(count)
    assert counts[0] == counts[1]


# What could be guessed.


def isns(count: int) -> list[int]:
    target = Target(backlog=count)
    return [target.hit(ip4(tcp_segment(SYN, sport=sport)))[0].tcp.seq for sport in range(1000, 1000 + count)]


# RFC6528-02
# RFC 9293 MUST-9
def test_off_08_initial_sequence_numbers() -> None:
    """Neither the numbers nor the steps between them lean to a side."""
    found = isns(10_000)
    steps = [(b - a) & 0xFFFFFFFF for a, b in pairwise(found)]
    for sample in (found, steps):
        assert len(set(sample)) > len(sample) - 5
        for shift in (0, 8, 16, 24):
            octets = Counter(number >> shift & 0xFF for number in sample)
            expected = len(sample) / 256
            # 255 degrees of freedom: beyond 380 in one of 10^6 cases.
            assert sum((octets[value] - expected) ** 2 / expected for value in range(256)) < 380


def closed_first(target: Target, *, options: bytes = SYN_OPTIONS) -> Peer:
    """A connection that we have closed: it is in TIME-WAIT."""
    peer = target.established(options=options)
    assert kinds(peer.close()) == ["FA"]
    assert kinds(peer.send(FIN | ACK, ack=2)) == ["A"]
    assert peer.conn.state is TIME_WAIT
    return peer


# RFC6191-04
@pytest.mark.parametrize("after", [0, 1 * MS, 30 * SECOND])
def test_off_09_a_pair_used_again_starts_beyond_the_old_numbers(after: int) -> None:
    target = Target()
    peer = target.established()
    for _ in range(50):  # more than the clock of 4 us has counted meanwhile
        acked = peer.conn.snd.una
        peer.send(ACK, ack=acked)
        peer.write(bytes(60_000))
        while peer.conn.snd.una < peer.conn.snd.nxt:
            peer.send(ACK, ack=peer.conn.snd.nxt)
    last = peer.conn.snd.nxt
    peer.close()
    peer.send(FIN | ACK, ack=last + 1)
    assert target.host.time_waits == 1
    target.wait(after)
    (answer,) = target.hit(ip4(tcp_segment(SYN, seq=peer.isn + 1000, options=SYN_OPTIONS)))
    assert answer.kind == "SA"
    assert 0 < (answer.tcp.seq - peer.their_isn - last) & 0xFFFFFFFF < 1 << 31


def test_off_10_ephemeral_ports() -> None:
    """Those of one destination are spread and tell nothing about another's."""
    target = Target()
    ports = [target.host.connect(THEM4, port, target.now).local[1] for port in range(1, 1001)]
    assert len(set(ports)) > 950
    expected = 1000 / 16
    counts = Counter((port - 32_768) * 16 // 28_232 for port in ports)
    assert sum((counts[value] - expected) ** 2 / expected for value in range(16)) < 60  # 15 degrees: 10^-6
    quiet, busy = Target(), Target()
    for _ in range(100):
        busy.host.connect(THEM4, 443, busy.now)
    remote = bytes((10, 9, 0, 9))
    assert quiet.host.connect(remote, 443, 0).local == busy.host.connect(remote, 443, 0).local


# RFC1122-05
def test_off_11_identification() -> None:
    target = Target()
    peer = target.established()
    frames = [reply.frame for reply in peer.write(bytes(5000))]
    frames += [reply.frame for reply in target.hit(ip4(tcp_segment(ACK, dport=81)))]
    frames += [reply.frame for reply in target.hit(ip4(tcp_segment(SYN, sport=4001)))]
    assert len(frames) == 5
    for frame in frames:
        ident, flags = struct.unpack_from("!HH", frame, 4)
        assert (ident, flags) == (0, 0x4000)  # RFC 6864: atomic


# RFC7323-25
def test_off_12_timestamps_do_not_show_the_uptime() -> None:
    target = Target()
    values = []
    for last in range(1, 100):
        src = bytes((10, 8, 0, last))
        (answer,) = target.hit(ip4(tcp_segment(SYN, options=SYN_TS, src=src), src=src))
        values.append(answer.tcp.tsval)
    assert len(set(values)) == 99
    # Nor do they stand close together, as clocks without an offset of their own would.
    assert len({value >> 24 for value in values}) > 60


# RFC1337-01
@pytest.mark.parametrize("seq", [2, 1, 500])
def test_off_13_reset_in_time_wait(seq: int) -> None:
    target = Target()
    peer = closed_first(target)
    peer.expect("", RST, "time-wait", seq=seq, ack=2)
    target.wait(59 * SECOND)
    assert target.host.time_waits == 1
    target.wait(SECOND)
    assert target.host.time_waits == 0


def test_off_13_fins_without_end_hold_one_record() -> None:
    """Each starts the wait afresh, and none is remembered beside it."""
    target = Target()
    peer = closed_first(target)
    for _ in range(3000):
        assert kinds(peer.send(FIN | ACK, ack=2)) == ["A"]
        target.wait(MS)
    assert target.host.time_waits == 1
    wakes = []
    while (due := target.host.next_timeout()) < target.now + 1000 * SECOND:
        wakes.append(due)
        target.wait(due - target.now)
    assert len(wakes) <= 2
    assert target.host.time_waits == 0


def test_off_13_the_one_who_waits_longer_keeps_nobody_else() -> None:
    target = Target()
    first = closed_first(target)
    second = target.established(sport=4001)
    second.close()
    second.send(FIN | ACK, ack=2)
    target.wait(30 * SECOND)
    first.send(FIN | ACK, ack=2)  # starts the wait of the first afresh
    target.wait(30 * SECOND)
    assert (first.conn.state, second.conn.state) == (TIME_WAIT, CLOSED)
    target.wait(30 * SECOND)
    assert first.conn.state is CLOSED


@pytest.mark.parametrize("delay", [1 * MS, 20 * MS, 200 * MS])
def test_off_15_no_war_of_acks(delay: int) -> None:
    """Data forged towards both ends puts each ahead of the other: every ACK is for what was never sent."""
    world = World(paths=(Path(delay=delay), Path(delay=delay)))
    left = Talker(world.left, world.connect(), b"hello")
    right = Talker(world.right, world.listen(), b"hello", closing="last")
    left.closing = "last"
    world.apps = [left, right]
    world.run(lambda: len(left.received) == len(right.received) == 5, MINUTE)
    assert left.conn is not None
    assert right.conn is not None
    forged = []
    for victim, other in ((left.conn, right.conn), (right.conn, left.conn)):
        forged.append(
            tcp_segment(
                ACK | PSH,
                seq=other.iss + other.snd.nxt,
                ack=victim.iss + victim.snd.nxt,
                payload=b"forged",
                options=timestamps(other.ts.value(world.now)) if other.ts is not None else b"",
                sport=other.local[1],
                dport=victim.local[1],
                src=other.local[0],
                dst=victim.local[0],
            )
        )
    world.inject(world.left, ip4(forged[0], src=right.conn.local[0], dst=left.conn.local[0]))
    world.inject(world.right, ip4(forged[1], src=left.conn.local[0], dst=right.conn.local[0]))
    before = sum(world.sent)
    world.run_for(10 * SECOND)
    # An ACK every 50 ms at most from each, and none where the answer comes sooner than that.
    assert sum(world.sent) - before <= 4 if delay < 25 * MS else 60


def test_off_15_stray_segments_are_answered_rarely() -> None:
    peer = Target().established()
    answers = 0
    for _ in range(1000):
        answers += len(peer.send(ACK, seq=1_000_000))
        peer.target.wait(MS)
    assert answers <= 20


# Timestamps.


def with_timestamps() -> Peer:
    """TS.Recent is 5001."""
    return Target().established(options=SYN_TS)


# RFC7323-19
def test_tsp_01_timestamp_of_yesterday() -> None:
    peer = with_timestamps()
    old = timestamps(5001 - 86_400_000)
    peer.expect("A", ACK, "old-timestamp", payload=b"old", options=old)
    assert peer.read() == b""
    assert peer.alive


# RFC7323-17
@pytest.mark.parametrize(
    ("seq", "ack", "payload"),
    [
        (1000, 1, b"data"),  # in the window, but not what our last ACK asked for
        (1000, 1, b""),
        (100_000, 1, b"data"),  # out of the window
        (1, 2, b"data"),  # acknowledges what was never sent
        (1, 1 << 31, b""),
        (-1000, 1, b"data"),
    ],
)
def test_tsp_02_poisoned_timestamp(seq: int, ack: int, payload: bytes) -> None:
    """Were it taken, every segment of the real peer would be old."""
    peer = with_timestamps()
    peer.send(ACK, seq=seq, ack=ack, payload=payload, options=timestamps(5001 + (1 << 30)))
    assert peer.conn.ts is not None
    assert peer.conn.ts.recent == 5001
    assert peer.alive


# RFC7323-12, RFC7323-13
@pytest.mark.parametrize("payload", [b"", b"data"])
def test_tsp_03_segment_without_the_option(payload: bytes) -> None:
    """RFC 7323 3.2: dropped, except a RST."""
    peer = with_timestamps()
    peer.expect("", ACK, "old-timestamp", payload=payload, options=b"")
    assert peer.read() == b""
    assert peer.alive
    peer.expect("", RST, seq=5, options=b"")
    assert isinstance(peer.conn.error, ConnectionResetError)


@pytest.mark.parametrize("echo", [0, -1000, 1, 1 << 31, 5])
def test_tsp_05_forged_echo(echo: int) -> None:
    """The RTO stays between its floor and its ceiling, and no storm of repetitions follows."""
    peer = with_timestamps()
    target = peer.target
    for index in range(1, 50):
        peer.write(bytes(100))
        assert peer.conn.ts is not None
        forged = timestamps(5001 + index, peer.conn.ts.value(target.now) + echo)
        peer.send(ACK, ack=1 + 100 * index, options=forged)
    rto = peer.conn.rtt.rto
    assert 200 * MS <= rto <= 60 * SECOND
    peer.write(bytes(100))
    sent = target.wait(10 * SECOND)
    assert len(sent) <= 6


# RFC7323-14
@pytest.mark.parametrize("limit", [TcpOptions(timestamps=False)])
def test_tsp_03_option_that_was_not_agreed_on(limit: TcpOptions) -> None:
    target = Target(options=limit)
    peer = target.established(options=SYN_TS)
    peer.send(ACK, payload=b"x", options=timestamps(1))
    peer.send(ACK, seq=2, payload=b"y", options=timestamps(0))
    assert peer.read() == b"xy"
    assert peer.conn.state is ESTABLISHED
