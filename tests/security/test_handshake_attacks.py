"""SYNs that lead nowhere, handshakes that somebody forges, and floods of either."""

from __future__ import annotations

import sys
import tracemalloc

import pytest

from stack.host.engine import RESETS_PER_SECOND
from stack.tcp.state import ESTABLISHED, SYN_RECEIVED, SYN_SENT
from stack.wire.segment import ACK, FIN, PSH, RST, SYN
from stack.wire.units import MS, SECOND
from tests.security.target import SYN_OPTIONS, THEM4, US4, Target, ip4, kinds, tcp_segment


def test_syn_04_data_on_a_syn() -> None:
    """Not delivered before the handshake is complete, nor kept: it comes again."""
    target = Target()
    (answer,) = target.expect(ip4(tcp_segment(SYN, payload=bytes(100), options=SYN_OPTIONS)), "SA")
    assert answer.tcp.ack == 1
    assert target.listener.accept() is None
    target.expect(ip4(tcp_segment(ACK, seq=1, ack=answer.tcp.seq + 1)), "")
    conn = target.listener.accept()
    assert conn is not None
    assert conn.readable == 0


def test_syn_04_data_on_syns_is_not_held() -> None:
    target = Target(backlog=300)
    tracemalloc.start()
    try:
        for sport in range(1000, 1300):
            target.hit(ip4(tcp_segment(SYN, payload=bytes(1400), sport=sport)))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert target.host.half_open == 300
    assert held < 300 * 1200  # records, keys and table; the frames would be 1,440 more each


def test_syn_05_accept_queue_is_bounded() -> None:
    target = Target(backlog=100)
    answers = {}
    for sport in range(1000, 1400):
        found = target.hit(ip4(tcp_segment(SYN, sport=sport)))
        if found:
            answers[sport] = found[0].tcp.seq
    for sport, iss in answers.items():
        target.hit(ip4(tcp_segment(ACK, seq=1, ack=iss + 1, sport=sport)))
    assert target.listener.acceptable == 100
    assert len(target.host.connections()) == 100
    assert target.host.counters.drops["accept-queue-full"] == len(answers) - 100
    target.wait(64 * SECOND)
    assert target.host.half_open == 0
    # Once the application takes them, it goes on.
    while target.listener.accept() is not None:
        pass
    target.established(sport=5000)


def test_syn_05_third_segment_gets_another_chance() -> None:
    """The queue was full when it came; there is room when our repeated SYN,ACK brings it again."""
    target = Target(backlog=1)
    first = target.hit(ip4(tcp_segment(SYN, sport=1)))[0].tcp.seq
    second = target.hit(ip4(tcp_segment(SYN, sport=2)))[0].tcp.seq
    target.expect(ip4(tcp_segment(ACK, seq=1, ack=first + 1, sport=1)), "")
    target.expect(ip4(tcp_segment(ACK, seq=1, ack=second + 1, sport=2)), "", "accept-queue-full")
    assert target.listener.accept() is not None
    assert kinds([reply for _, reply in target.wait(SECOND)]) == ["SA"]
    target.expect(ip4(tcp_segment(ACK, seq=1, ack=second + 1, sport=2)), "")
    assert target.listener.accept() is not None


def test_syn_queue_is_bounded() -> None:
    """A flood finds the queue full; the port answers again three seconds after it, and a minute later all is gone."""
    target = Target()
    answered = sum(len(target.hit(ip4(tcp_segment(SYN, sport=sport)))) for sport in range(1000, 11_000))
    assert answered == target.host.half_open == 256
    assert target.host.counters.drops == {"syn-queue-full": 10_000 - 256}
    target.wait(3 * SECOND)
    target.established()
    assert target.host.half_open == 255
    target.wait(60 * SECOND)
    assert target.host.half_open == 0


def test_syn_queue_serves_a_distant_peer_through_a_flood() -> None:
    """80 SYNs a second fill the queue in three; who needs longer for an answer than the first SYN-ACK waits gets in."""
    target = Target()
    answers = 0
    for sport in range(10_000, 11_600, 16):
        (honest,) = target.hit(ip4(tcp_segment(SYN, sport=sport)))
        for spoofed in range(1, 16):
            answers += len(target.hit(ip4(tcp_segment(SYN, sport=sport + spoofed))))
            answers += len(target.wait(SECOND // 80))
            assert target.host.half_open <= 256
        answers += len(target.wait(SECOND // 80 + 1700 * MS))
        target.hit(ip4(tcp_segment(ACK, seq=1, ack=honest.tcp.seq + 1, sport=sport)))
        assert target.listener.accept() is not None
    assert set(target.host.counters.drops) == {"syn-queue-evicted"}
    assert answers <= 3 * 1600  # nobody is answered more than three times


def test_syn_06_three_answers_to_one_syn() -> None:
    target = Target()
    syn = ip4(tcp_segment(SYN, options=SYN_OPTIONS))
    began = target.now
    sent = [(began, reply) for reply in target.hit(syn)] + target.wait(100 * SECOND)
    assert [(time - began) // SECOND for time, _ in sent] == [0, 1, 3]
    assert all(len(reply.frame) <= len(syn) for _, reply in sent)
    assert target.host.half_open == 0


@pytest.mark.parametrize("flags", [ACK, ACK | PSH, ACK | FIN])
@pytest.mark.parametrize("payload", [b"", b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"])
def test_syn_07_one_reset_to_what_has_no_handshake(flags: int, payload: bytes) -> None:
    target = Target()
    (answer,) = target.expect(ip4(tcp_segment(flags, ack=77, payload=payload)), "R", "no-connection")
    assert len(answer.frame) == 40
    assert answer.tcp.seq == 77
    assert target.wait(100 * SECOND) == []


def test_syn_07_resets_are_limited() -> None:
    target = Target()
    frame = ip4(tcp_segment(ACK, ack=1))
    assert sum(len(target.hit(frame)) for _ in range(3 * RESETS_PER_SECOND)) == RESETS_PER_SECOND
    assert target.host.counters.drops == {"no-connection": 3 * RESETS_PER_SECOND}
    target.wait(SECOND)
    target.expect(frame, "R", "no-connection")


def test_syn_08_crossing_syns() -> None:
    target = Target()
    conn = target.host.connect(THEM4, 4000, target.now, local_port=5000)
    (syn,) = target.replies()
    assert syn.kind == "S"
    (answer,) = target.expect(ip4(tcp_segment(SYN, seq=99, dport=5000)), "SA")
    assert (answer.tcp.seq, answer.tcp.ack) == (syn.tcp.seq, 100)
    assert conn.state is SYN_RECEIVED
    target.expect(ip4(tcp_segment(SYN | ACK, seq=99, ack=syn.tcp.seq + 1, dport=5000)), "")
    assert conn.state is ESTABLISHED


def test_syn_08_connection_to_ourselves() -> None:
    target = Target()
    with pytest.raises(OSError, match="itself"):
        target.host.connect(US4, 80, target.now, local_port=80)
    assert target.replies() == []


@pytest.mark.parametrize(
    ("flags", "ack", "reason"),
    [
        (RST, 0, "bad-reset"),  # no ACK
        (RST | ACK, 0, "bad-ack"),
        (RST | ACK, 2, "bad-ack"),
        (RST | ACK, 1 << 31, "bad-ack"),
    ],
)
def test_syn_10_resets_that_know_nothing(flags: int, ack: int, reason: str) -> None:
    target = Target()
    conn = target.host.connect(THEM4, 4000, target.now, local_port=5000)
    (syn,) = target.replies()
    target.expect(ip4(tcp_segment(flags, ack=syn.tcp.seq + ack, dport=5000)), "", reason)
    assert conn.state is SYN_SENT
    target.expect(ip4(tcp_segment(RST | ACK, ack=syn.tcp.seq + 1, dport=5000)), "")
    assert isinstance(conn.error, ConnectionRefusedError)


@pytest.mark.parametrize("flags", [ACK, SYN | ACK, FIN | ACK])
def test_syn_10_wrong_acks_are_reset(flags: int) -> None:
    """RFC 9293 3.10.7.3: someone remembers a connection that we don't."""
    target = Target()
    conn = target.host.connect(THEM4, 4000, target.now, local_port=5000)
    (syn,) = target.replies()
    frame = ip4(tcp_segment(flags, ack=syn.tcp.seq + 5, dport=5000))
    (answer,) = target.expect(frame, "R", "bad-ack")
    assert answer.tcp.seq == (syn.tcp.seq + 5) & 0xFFFFFFFF
    assert conn.state is SYN_SENT


def abandon(target: Target, step: int, sport: int) -> None:
    """Begin a connection and leave it at some step."""
    (answer,) = target.hit(ip4(tcp_segment(SYN, sport=sport)))
    iss = answer.tcp.seq
    if step == 0:
        return
    if step == 1:
        target.hit(ip4(tcp_segment(RST, seq=1, sport=sport)))
        return
    target.hit(ip4(tcp_segment(ACK, seq=1, ack=iss + 1, sport=sport)))
    conn = target.listener.accept()
    assert conn is not None
    if step == 2:
        target.hit(ip4(tcp_segment(RST, seq=1, sport=sport)))
        return
    if step == 3:
        target.hit(ip4(tcp_segment(FIN | ACK, seq=1, ack=iss + 1, sport=sport)))
    conn.close(target.now)
    target.host.touch(conn, target.now)
    target.replies()
    if step == 4:
        target.hit(ip4(tcp_segment(FIN | ACK, seq=1, ack=iss + 2, sport=sport)))


@pytest.mark.parametrize("step", range(6))
def test_syn_12_abandoned_handshakes_leave_nothing(step: int) -> None:
    target = Target()

    def round_() -> int:
        for sport in range(1000, 1200):
            abandon(target, step, sport)
        target.wait(1000 * SECOND)
        assert (len(target.host.connections()), target.host.half_open, target.host.time_waits) == (0, 0, 0)
        return sys.getallocatedblocks()

    baseline = round_()
    for _ in range(4):
        after = round_()
    assert after <= baseline + 800  # of as many connections, each of which is a dozen objects


def test_syn_12_a_flood_of_syn_and_reset_is_forgotten() -> None:
    """What is gone leaves at most an entry in a queue, and not for long."""
    target = Target()
    for sport in range(1000, 6000):
        target.hit(ip4(tcp_segment(SYN, sport=sport)))
        target.hit(ip4(tcp_segment(RST, seq=1, sport=sport)))
    assert target.host.half_open == 0
    target.wait(1100 * MS)
    assert target.host.next_timeout() > target.now + 1000 * SECOND
