"""A shift of 0 is an offer of window scaling like any other (RFC 7323 2.2); and windows too small for their shift."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.negotiate import Agreement, Offer
from stack.wire.segment import SYN, Segment
from tests.support import states


# RFC7323-01
@pytest.mark.parametrize(("ours", "theirs"), [(0, 7), (7, 0), (0, 0)])
def test_either_end_may_offer_it(ours: int, theirs: int) -> None:
    agreed = Agreement(Offer(1460, ours, True, True), Segment(1, 2, 0, 0, SYN, 1000, wscale=theirs), v6=False)
    assert agreed.scaling
    assert (agreed.snd_shift, agreed.rcv_shift) == (theirs, ours)


# RFC7323-02
@pytest.mark.parametrize(("ours", "theirs"), [(-1, 7), (7, -1)])
def test_neither_can_alone(ours: int, theirs: int) -> None:
    agreed = Agreement(Offer(1460, ours, True, True), Segment(1, 2, 0, 0, SYN, 1000, wscale=theirs), v6=False)
    assert not agreed.scaling
    assert (agreed.snd_shift, agreed.rcv_shift) == (0, 0)


def test_a_buffer_is_two_units_of_the_scale_at_least() -> None:
    """Less can't be said in scaled units: the window would be 0 for ever."""
    options = TcpOptions(receive_window=100, receive_buffer=6 << 20)
    _, user = states.established(options=options, wscale=7)
    assert user.conn.rcv.shift > 5
    assert user.conn.rcv.limit == 2 << user.conn.rcv.shift
