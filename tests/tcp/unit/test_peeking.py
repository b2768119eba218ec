"""Looking at what has arrived without taking it, and not wanting any more of it."""

from __future__ import annotations

import pytest

from stack.tcp.errors import ClosedError
from stack.tcp.state import State
from stack.wire.units import MS, SECOND
from tests.support import states
from tests.support.stream import octets


@pytest.mark.parametrize("skip", [0, 1, 9, 10, 15, 29, 30, 31])
@pytest.mark.parametrize("limit", [0, 1, 10, 11, 30, 100])
def test_peek(skip: int, limit: int) -> None:
    """Across the borders of segments, and beyond the end."""
    peer, user = states.established()
    for start in (1, 11, 21):
        peer.sends(f". {start}:{start + 10}(10) ack 1")
    peer.takes()
    stream = octets("peer", 0, 30)
    assert user.conn.peek(limit, skip) == stream[skip : skip + limit]
    assert user.conn.readable == 30
    user.reads(30)
    assert user.conn.peek(limit, skip) == b""


def test_peek_after_a_part_was_read() -> None:
    peer, user = states.established()
    peer.sends(". 1:21(20) ack 1")
    peer.takes()
    user.reads(5)
    assert user.conn.peek(100) == octets("peer", 5, 15)


def test_who_has_closed_both_directions_may_read_what_is_there() -> None:
    peer, user = states.established()
    peer.sends(". 1:11(10) ack 1")
    peer.takes()
    user.close_write()
    user.conn.close_read(peer.now)
    user.conn.close_read(peer.now)
    peer.sees("F. 1:1(0) ack 11")
    user.reads(10)
    with pytest.raises(ClosedError):
        user.conn.read(1, peer.now)
    peer.sends(". 11:12(1) ack 2")
    peer.sees_reset(2, ack=11)
    assert user.state is State.CLOSED


def test_who_does_not_read_any_more_does_not_wait_for_ever() -> None:
    peer, user = states.fin_wait_2()
    user.conn.close_read(peer.now)
    user.flush()
    peer.passes(60 * SECOND)
    assert user.state is State.CLOSED
    assert user.error is None


def test_quick_ack_is_asked_for_and_taken_back() -> None:
    peer, user = states.established()
    user.conn.quick_ack(False)
    peer.sends("P. 1:2(1) ack 1")
    peer.sees_nothing()
    user.conn.quick_ack(True)
    user.flush()
    peer.sees(". 1:1(0) ack 2")
    user.conn.quick_ack(True)
    user.flush()
    peer.sees_nothing()
    user.conn.quick_ack(False)
    peer.sends("P. 2:3(1) ack 1")
    peer.sees(". 1:1(0) ack 3", after=40 * MS)
