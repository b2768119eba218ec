"""The SYN queue at its bound: who makes way for a new SYN, and who does not (RFC 4987 3.3)."""

from __future__ import annotations

import sys

import pytest

from stack.host.host import Host
from stack.tcp.half_open import HalfOpen
from stack.tcp.listener import Listener
from stack.tcp.state import ESTABLISHED
from stack.wire.segment import ACK, FIN, RST, SYN
from stack.wire.units import MS, NEVER, SECOND, Duration
from tests.host.crowd import Crowd, Member, ports
from tests.security.target import Target, ip4, tcp_segment

BOUND = 256


def passes(crowd: Crowd, duration: Duration) -> list[int]:
    """Time; whom the SYN-ACKs of that time were for."""
    end = crowd.now + duration
    seen: list[int] = []
    while (due := crowd.host.next_timeout()) <= end and due < NEVER:
        crowd.now = due
        crowd.host.on_timeout(due)
        seen += ports(crowd.answers())
    crowd.now = end
    return seen


def full(crowd: Crowd) -> list[Member]:
    """A queue that is full of records in their last wait, ten milliseconds between them."""
    peers = []
    for port in range(1024, 1024 + BOUND):
        peers += crowd.begin(1, first=port)
        passes(crowd, 10 * MS)
    passes(crowd, 3 * SECOND)
    assert crowd.host.half_open == BOUND
    return peers


def evicted(host: Host) -> int:
    return host.counters.drops.get("syn-queue-evicted", 0)


def refused(host: Host) -> int:
    return host.counters.drops.get("syn-queue-full", 0)


def last_waits(listener: Listener) -> list[HalfOpen]:
    """The records in their last wait, oldest first; the links hold in both directions."""
    found: list[HalfOpen] = []
    record = listener.last_waits.oldest
    while record is not None:
        assert record.older is (found[-1] if found else None)
        found.append(record)
        record = record.newer
    return found


def is_waited_for(crowd: Crowd, peer: Member) -> bool:
    """Whether the third segment still makes a connection; else it is reset."""
    crowd.arrive(peer, ACK)
    conn = crowd.listener.accept()
    if conn is None:
        assert [seg.flags & RST for seg in crowd.answers()] == [RST]
        return False
    assert conn.state is ESTABLISHED
    assert crowd.answers() == []
    return True


# RFC4987-01
def test_oldest_makes_way_in_order() -> None:
    crowd = Crowd(backlog=1)
    peers = full(crowd)
    for count in range(1, 6):
        crowd.begin(1, first=5000 + count)
        assert crowd.host.half_open == crowd.listener.half_open == BOUND
        assert evicted(crowd.host) == count
    assert refused(crowd.host) == 0
    assert [is_waited_for(crowd, peer) for peer in peers[:8]] == [False] * 5 + [True] * 3
    assert len(last_waits(crowd.listener)) == BOUND - 8


def test_young_ones_do_not_make_way() -> None:
    """Neither after the first SYN-ACK nor after the second."""
    crowd = Crowd(backlog=1)
    peers = crowd.begin(BOUND)
    for wait in (0, 1 * SECOND, 2 * SECOND - MS):
        passes(crowd, wait)
        before = refused(crowd.host)
        crowd.arrive(Member(5000, -1), SYN)
        assert crowd.answers() == []
        assert refused(crowd.host) == before + 1
    assert evicted(crowd.host) == 0
    passes(crowd, MS)  # now all have had their three
    crowd.begin(1, first=5000)
    assert evicted(crowd.host) == 1
    assert [is_waited_for(crowd, peer) for peer in peers[:3]] == [False, True, True]


def test_queue_that_has_room_evicts_nobody() -> None:
    crowd = Crowd(backlog=BOUND + 1)
    peers = full(crowd)
    crowd.begin(1, first=5000)
    assert crowd.host.half_open == BOUND + 1
    assert crowd.host.counters.drops == {}
    assert is_waited_for(crowd, peers[0])


def test_who_is_let_go_is_not_told() -> None:
    """There may be nobody at that address: only what arrives from there is answered."""
    crowd = Crowd(backlog=1)
    full(crowd)
    crowd.begin(1, first=5000)  # asserts that there is one answer, the SYN-ACK
    assert passes(crowd, 3 * SECOND) == [5000, 5000]
    assert passes(crowd, 60 * SECOND) == []
    assert crowd.host.half_open == len(last_waits(crowd.listener)) == 0
    assert crowd.host.next_timeout() >= NEVER


def test_repeated_syn_moves_a_record_behind_the_others() -> None:
    crowd = Crowd(backlog=1)
    peers = full(crowd)
    again = Member(peers[0].port, -1)
    crowd.arrive(again, SYN)
    assert ports(crowd.answers()) == [peers[0].port]
    crowd.begin(1, first=5000)
    assert [is_waited_for(crowd, peer) for peer in peers[:2]] == [True, False]
    assert passes(crowd, 59 * SECOND) == [5000, 5000]


def test_repeated_syn_of_a_young_one_leaves_it_young() -> None:
    crowd = Crowd(backlog=1)
    peers = full(crowd)
    (young,) = crowd.begin(1, first=5000)
    crowd.arrive(Member(5000, -1), SYN)
    assert ports(crowd.answers()) == [5000]
    assert 5000 not in [peer.port for peer in peers]
    assert len(last_waits(crowd.listener)) == BOUND - 1
    assert is_waited_for(crowd, young)


@pytest.mark.parametrize("flags", [ACK, RST])
def test_who_has_left_is_not_let_go_again(flags: int) -> None:
    crowd = Crowd(backlog=1)
    peers = full(crowd)
    crowd.arrive(peers[0], flags)
    crowd.listener.accept()
    assert len(last_waits(crowd.listener)) == crowd.host.half_open == BOUND - 1
    crowd.begin(2, first=5000)
    assert evicted(crowd.host) == 1
    assert [is_waited_for(crowd, peer) for peer in peers[1:3]] == [False, True]


def test_flood_of_one_listener_costs_another_nothing() -> None:
    """Though the other's records are older."""
    target = Target()
    other = target.host.listen(81)
    (answer,) = target.hit(ip4(tcp_segment(SYN, dport=81)))
    for sport in range(1000, 1000 + BOUND):
        target.hit(ip4(tcp_segment(SYN, sport=sport)))
    target.wait(3 * SECOND)
    for sport in range(5000, 5000 + BOUND):
        assert target.hit(ip4(tcp_segment(SYN, sport=sport)))
    assert target.host.counters.drops == {"syn-queue-evicted": BOUND}
    assert (target.listener.half_open, other.half_open) == (BOUND, 1)
    target.hit(ip4(tcp_segment(ACK, seq=1, ack=answer.tcp.seq + 1, dport=81)))
    assert other.acceptable == 1


def test_new_syn_in_time_wait_takes_a_place_too() -> None:
    crowd = Crowd(backlog=1)
    (old,) = crowd.establish(1, first=900, tsval=1)
    crowd.close(old)
    crowd.answers()
    old.rcv_nxt = (old.rcv_nxt + 1) & 0xFFFF_FFFF
    crowd.arrive(old, ACK | FIN)
    crowd.answers()
    peers = full(crowd)
    assert crowd.host.time_waits == 1
    stale = Member(900, 0)  # an older timestamp: no new connection
    crowd.arrive(stale, SYN)
    crowd.answers()
    assert (crowd.host.time_waits, evicted(crowd.host)) == (1, 0)
    crowd.begin(1, first=900, tsval=2)
    assert (crowd.host.time_waits, evicted(crowd.host)) == (1, 1)  # it goes when the handshake is complete
    assert [is_waited_for(crowd, peer) for peer in peers[:2]] == [False, True]


def test_closing_forgets_the_last_waits() -> None:
    crowd = Crowd(backlog=1)
    full(crowd)
    crowd.host.close_listener(crowd.listener, crowd.now)
    assert len(crowd.answers()) == BOUND
    assert len(last_waits(crowd.listener)) == crowd.host.half_open == 0


def test_flood_of_any_length_leaves_nothing() -> None:
    crowd = Crowd(backlog=1)

    def flood() -> int:
        for port in range(2000, 12_000):
            crowd.arrive(Member(port, -1), SYN)
            crowd.answers()
            passes(crowd, 12 * MS)
        assert crowd.host.half_open == BOUND
        passes(crowd, 70 * SECOND)
        assert crowd.host.half_open == 0
        return sys.getallocatedblocks()

    before = flood()
    assert flood() <= before + 100
