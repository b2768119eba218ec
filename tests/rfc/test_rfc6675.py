"""Where recovery with SACK ends, and what a time-out does not forget (RFC 6675 5, 5.1)."""

from __future__ import annotations

from stack.wire.units import MS
from tests.support.flight import RTO, RTT, answer, cwnd, opened, segment, ssthresh, starts


# RFC6675-09, RFC6675-10
def test_loss_before_the_recovery_point_belongs_to_the_recovery_and_one_behind_it_begins_another() -> None:
    """0 is lost with 0 to 9 out. 9, lost as well, is repaired without a second reduction; what is sent after everything
    was acknowledged is a loss of its own."""
    peer, user = opened(60_000)
    peer.passes(RTT)
    assert answer(peer, 1, segment(1, 3)) == [1]
    first = ssthresh(user)
    for count in range(4, 9):
        answer(peer, 1, segment(1, count))
    peer.passes(RTT)
    assert 9001 in answer(peer, 9001, segment(10, 2))
    assert (user.conn.info(peer.now).recoveries, ssthresh(user)) == (1, first)
    peer.passes(RTT)
    flight = answer(peer, user.conn.snd.nxt)  # everything: beyond the recovery point
    assert len(flight) >= 4
    peer.passes(RTT)
    lost = flight[0] // 1000
    assert flight[0] in answer(peer, flight[0], segment(lost + 1, 3))
    assert user.conn.info(peer.now).recoveries == 2
    assert ssthresh(user) < first


# RFC6675-13
def test_what_was_reported_before_a_time_out_is_remembered_though_it_is_not_reported_again() -> None:
    """All but 0 and 5 were reported. After the time-out 0 is sent again, and acknowledged up to 5 without any block."""
    peer, user = opened(10_000)
    peer.passes(RTT)
    answer(peer, 1, segment(6, 4), segment(1, 4))
    peer.gathers(3 * RTO)
    assert user.conn.info(peer.now).timeouts >= 1
    peer.passes(RTT)
    resent = answer(peer, 5001) + starts(peer.gathers(RTT))
    assert set(resent) == {5001}
    assert answer(peer, 10_001) == []


# RFC6675-14
def test_time_out_in_recovery_leaves_its_pace_behind() -> None:
    """Recovery is over with it: from one segment the window grows as in slow start, and not as PRR would have it."""
    peer, user = opened(10_000)
    peer.passes(RTT)
    assert answer(peer, 1, segment(1, 3)) == [1]
    peer.gathers(RTO + 10 * MS)
    assert cwnd(user) == 1
    peer.passes(RTT)
    answer(peer, 4001)
    assert cwnd(user) == 2
    peer.passes(RTT)
    answer(peer, 5001)
    assert cwnd(user) == 3
