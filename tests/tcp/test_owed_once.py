"""What is owed once is done once; and what ends exactly where something else begins."""

from __future__ import annotations

from stack.tcp.config import TcpOptions
from stack.tcp.half_open import Verdict
from stack.tcp.state import State
from stack.wire.segment import ACK
from stack.wire.units import MS
from tests.support import states
from tests.support.flight import PTO, RTT, answer, opened, starts
from tests.tcp.unit.test_half_open import ISS, half_open, segment
from tests.tcp.unit.test_repair import MSS, Flight

RTO = 200 * MS


def test_one_silence_draws_one_probe() -> None:
    """RFC 8985 7.2: the next needs a silence of its own."""
    peer, user = opened(5000)
    peer.sees("P. 4001:5001(1000) ack 1", after=PTO)
    peer.passes(RTT)
    answer(peer, 5001, "4001:5001")
    user.write(2000)
    assert starts(peer.takes()) == [5001, 6001]
    peer.passes(RTT)
    answer(peer, 7001)
    user.write(1000)
    assert starts(peer.takes()) == [7001]


def test_a_fin_follows_when_the_last_octet_was_taken_by_a_probe() -> None:
    peer, user = states.established(window=0)
    user.write(1)
    user.close_write()
    peer.sees("P. 1:2(1) ack 1", after=RTO)
    peer.sends(". 1:1(0) ack 2 win 100")
    peer.sees("F. 2:2(0) ack 1")
    peer.sends(". 1:1(0) ack 3 win 100")
    assert user.state is State.FIN_WAIT_2


def test_nothing_is_writable_after_close_write() -> None:
    _, user = states.established()
    assert user.conn.writable > 0
    user.close_write()
    assert user.conn.writable == 0


def test_whoever_holds_a_buried_connection_is_told() -> None:
    _, user = states.established()
    user.conn.changed = False
    user.conn.bury()
    assert user.conn.changed


def test_the_smallest_receive_window_is_one() -> None:
    assert TcpOptions(receive_window=1, receive_buffer=1).receive_window == 1


def test_third_segment_with_a_timestamp_of_nought() -> None:
    record = half_open(tsval=0)
    assert record.on_segment(segment(ACK, ack=ISS + 1, tsval=0), record.sent_at) is Verdict.COMPLETE


def test_window_that_was_full_once_does_not_grow_when_it_is_not() -> None:
    """RFC 5681 3.1 with RFC 7661: the first four segments filled it, and the one that followed did not."""
    flight = Flight(4, more=1)
    assert flight.acks(4, at=1100) == [4]
    before = flight.windows[0]
    assert before == 5
    flight.acks(5, at=1200)
    assert flight.windows[0] == before


def test_delivery_is_marked_where_the_application_was_the_limit() -> None:
    """Four segments in a window of four, then two in a larger one, then two after that pause."""
    flight = Flight(4, more=2)
    rate = flight.snd.repair.rate
    assert flight.acks(4, at=1100) == [4, 5]
    assert not rate.is_app_limited
    flight.now = 1110
    flight.snd.buffer.append(bytes(2 * MSS))
    assert flight.sent() == [6, 7]
    flight.acks(8, at=1210)
    assert rate.is_app_limited
