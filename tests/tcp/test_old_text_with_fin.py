"""Text that was here before, and a FIN behind it that was not; and segments for what is over."""

from __future__ import annotations

import pytest

from stack.tcp.state import State
from stack.wire.drop import Drop
from stack.wire.segment import ACK, PSH, Segment
from tests.support import states


def test_it_resets_nothing_after_close() -> None:
    """The application has read all that there was: there is no new text that it would miss (RFC 9293 3.6.1)."""
    peer, user = states.established()
    peer.sends("P. 1:1001(1000) ack 1")
    peer.takes()
    user.reads(1000)
    user.close()
    peer.sees("F. 1:1(0) ack 1001")
    peer.sends("FP. 1:1001(1000) ack 2")
    peer.sees(". 2:2(0) ack 1002")
    assert peer.state is State.TIME_WAIT


@pytest.mark.parametrize("orderly", [False, True], ids=["CLOSED", "TIME-WAIT"])
def test_what_is_over_takes_nothing(orderly: bool) -> None:
    """The host asks the connection no more; if it did, it would learn nothing."""
    peer, user = states.established()
    conn = user.conn
    if orderly:
        user.close_write()
        peer.sees("F. 1:1(0) ack 1")
        peer.sends("F. 1:1(0) ack 2")
    else:
        user.abort()
    peer.takes()
    drops = dict(conn.drops)
    conn.on_segment(
        Segment(conn.remote[1], conn.local[1], conn.irs + 5, conn.iss + 1, ACK | PSH, 1000, (bytes(10),)), peer.now
    )
    assert conn.poll_transmit(peer.now) is None
    assert conn.drops == drops
    assert conn.rcv.reassembly is None


def test_text_behind_the_fin_is_counted() -> None:
    peer, user = states.established()
    peer.sends("F. 1:1(0) ack 1")
    peer.takes()
    peer.sends("P. 2:12(10) ack 1")
    peer.sees(". 1:1(0) ack 2")
    assert user.conn.drops.get(Drop.AFTER_CLOSE) == 1


def test_text_that_nobody_will_read_is_counted() -> None:
    """And answered with a reset (RFC 9293 3.6.1)."""
    peer, user = states.established()
    user.close()
    peer.sees("F. 1:1(0) ack 1")
    peer.sends("P. 1:11(10) ack 2")
    peer.sees("R. 2:2(0) ack 1")
    assert user.conn.drops.get(Drop.AFTER_CLOSE) == 1
