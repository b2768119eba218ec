"""What counts from its own beginning, on a host that has run for long or a connection that has been there before."""

from __future__ import annotations

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.tcp.time_wait import TimeWait
from stack.wire.drop import Drop
from stack.wire.segment import ACK, PSH
from stack.wire.units import MINUTE, MS, SECOND
from tests.support import states
from tests.support.peer import Peer
from tests.tcp.unit.test_time_wait import NOW, RCV_NXT, segment, time_wait

RTO = 200 * MS


def test_patience_with_a_handshake_counts_from_the_open() -> None:
    peer = Peer()
    peer.passes(60 * MINUTE)
    user = peer.connect(options=TcpOptions(user_timeout=10.0))
    peer.sees("S 0:0(0) <...>")
    peer.sees("S 0:0(0) <...>", after=1 * SECOND)
    assert user.state is State.SYN_SENT


def test_probes_start_afresh_after_one_whose_octet_was_taken() -> None:
    peer, user = states.established(window=0)
    user.write(10)
    peer.sees(". 1:2(1) ack 1", after=RTO)
    peer.sees(". 1:2(1) ack 1", after=2 * RTO)
    peer.sends(". 1:1(0) ack 2 win 9")
    peer.sees("P. 2:11(9) ack 1")
    peer.sends(". 1:1(0) ack 11 win 0")
    user.write(10)
    peer.sees(". 11:12(1) ack 1", after=RTO)


def test_a_segment_that_says_nothing_is_counted_while_a_syn_waits() -> None:
    peer, user = states.syn_sent()
    peer.sends("P 1:11(10)")
    peer.sees_nothing()
    assert user.conn.drops.get(Drop.NO_ACK) == 1
    assert user.state is State.SYN_SENT


def test_time_wait_answers_strays_twice_a_second() -> None:
    record: TimeWait = time_wait()
    stray = segment(ACK | PSH, RCV_NXT - 100, size=50)
    assert not isinstance(record.on_segment(stray, NOW), Drop)
    assert record.on_segment(stray, NOW + 500 * MS - 1) is Drop.OUT_OF_WINDOW
    assert not isinstance(record.on_segment(stray, NOW + 500 * MS), Drop)


def test_a_timestamp_of_nought_is_one() -> None:
    """The peer's clock passes the wrap."""
    peer, _ = states.established(timestamps=True)
    while peer.clock:
        peer.passes(1 * MS)
    peer.sends("P. 1:1001(1000) ack 1")
    peer.sees(". 1:1(0) ack 1001")
    assert peer.last is not None
    assert peer.last.segment.tsecr == 0
