"""Ends of records: no segment holds both the end of a record and what is written after it (send(2), MSG_EOR)."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.wire.units import MS
from tests.support import states
from tests.support.flight import NEWRENO, PTO, RTT, opened
from tests.support.peer import Peer
from tests.support.user import User

SHORT = MS // 5  #: A round trip in which a super-frame leaves in one piece.
FULL = 10_000  #: What fills the initial window, so that what is written after it waits.


def waiting(nodelay: bool = False, max_payload: int = 0) -> tuple[Peer, User]:
    """A connection on which nothing leaves before the peer acknowledges `FULL` octets."""
    rtt = SHORT if max_payload else RTT
    return opened(FULL, options=NEWRENO.replace(nodelay=nodelay), max_payload=max_payload, rtt=rtt)


def left(peer: Peer) -> list[tuple[int, int, bool]]:
    """Where the segments that the host has sent begin, how long they are, and whether they push."""
    return [(item.start - FULL, item.size, item.line.startswith("P")) for item in peer.takes()]


@pytest.mark.parametrize("nodelay", [False, True])
def test_each_record_leaves_in_segments_of_its_own(nodelay: bool) -> None:
    """Only the last one of all may be held back by Nagle: something follows the others."""
    peer, user = waiting(nodelay)
    user.write(1500, end_of_record=True)
    user.write(300, end_of_record=True)
    user.write(300)
    user.write(100)
    peer.sends(f". 1:1(0) ack {FULL + 1}")
    seen = left(peer)
    assert seen[:3] == [(1, 1000, False), (1001, 500, True), (1501, 300, True)]
    assert len(seen) == (4 if nodelay else 3)
    if not nodelay:
        peer.sends(f". 1:1(0) ack {FULL + 1801}")
        seen += left(peer)
    assert seen[3:] == [(1801, 400, True)]


def test_super_frame_ends_with_its_record() -> None:
    peer, user = waiting(max_payload=60_000)
    peer.bench.whole = True
    user.write(4000, end_of_record=True)
    user.write(3000)
    peer.sends(f". 1:1(0) ack {FULL + 1}")
    assert left(peer) == [(1, 4000, True), (4001, 3000, True)]


def test_fin_rides_on_the_last_record_only() -> None:
    peer, user = waiting()
    user.write(300, end_of_record=True)
    user.write(200, end_of_record=True)
    user.close_write()
    peer.sends(f". 1:1(0) ack {FULL + 1}")
    peer.sees(f"P. {FULL + 1}:{FULL + 301}(300) ack 1", f"FP. {FULL + 301}:{FULL + 501}(200) ack 1")


def test_records_stay_apart_when_they_are_sent_again() -> None:
    """Small segments that were lost together would else leave as one."""
    peer, user = waiting()
    for _ in range(5):
        user.write(200, end_of_record=True)
    user.write(200)
    peer.sends(f". 1:1(0) ack {FULL + 1}")
    assert [size for _, size, _ in left(peer)] == [200] * 5
    peer.passes(RTT)
    peer.sends(f". 1:1(0) ack {FULL + 201} <sack {FULL + 801}:{FULL + 1001}>")
    again = [(start, size) for start, size, _ in left(peer) if start < 1001]
    assert again == [(201, 200), (401, 200), (601, 200)]


# RFC8985-12
def test_tail_loss_probe_ends_with_its_record() -> None:
    """It is the congestion window that lets nothing else go, and the probe that does not ask it."""
    peer, user = waiting()
    for size in (100, 200, 300):
        user.write(size, end_of_record=True)
    peer.sees(f"P. {FULL + 1}:{FULL + 101}(100) ack 1", after=PTO)


def test_record_that_was_not_taken_whole_has_not_ended() -> None:
    """The rest of it is still to come, and belongs to it."""
    options = TcpOptions(send_buffer=2500, send_space=2500, nodelay=True)
    peer, user = states.established(options=options)
    assert user.write(3000, end_of_record=True) == 2500
    peer.takes()
    assert user.conn.snd.pushing is None


def test_what_is_acknowledged_is_forgotten() -> None:
    peer, user = states.established()
    user.write(100, end_of_record=True)
    peer.sees("P. 1:101(100) ack 1")
    assert user.conn.snd.pushing is not None
    peer.sends(". 1:1(0) ack 101")
    assert user.conn.snd.pushing is None
