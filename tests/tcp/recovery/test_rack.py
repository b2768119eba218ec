"""RACK: losses found by time (RFC 8985 3 and 6).

The least round trip is the handshake's, 100 ms, so that the reordering window begins at 25 ms.
"""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.rack import Rack
from stack.tcp.recovery import Recovery
from stack.tcp.rtt import RttEstimator
from stack.wire.units import MS, SECOND, US, Duration
from tests.support.flight import NEWRENO, PTO, RTO, RTT, answer, cwnd, opened, segment, ssthresh, starts
from tests.support.peer import Peer
from tests.support.user import User

WINDOW = RTT // 4


def _reordered() -> tuple[Peer, User]:
    """0 came after 1, and nothing was lost; 2 to 11 are in flight since now."""
    peer, user = opened(2000)
    peer.passes(RTT)
    answer(peer, 1, segment(1))
    peer.passes(MS)
    answer(peer, 2001)
    assert user.conn.info(peer.now).reordering == 1
    _flight(peer, user, 2)
    return peer, user


def _flight(peer: Peer, user: User, first: int) -> None:
    user.write(10_000)
    assert starts(peer.takes()) == [1 + 1000 * number for number in range(first, first + 10)]


# RFC8985-01
def test_without_sack_time_tells_nothing() -> None:
    """Two duplicates: with SACK that is evidence, after a while; without it only the retransmission timer acts."""
    peer, user = opened(10_000, window=10_000)
    peer.passes(RTT)
    answer(peer, 1, segment(1, 2))
    peer.sees(". 1:1001(1000) ack 1", after=WINDOW)

    peer, user = opened(10_000, sack=False, window=10_000)
    peer.passes(RTT)
    assert answer(peer, 1) + answer(peer, 1) == []
    peer.sees(". 1:1001(1000) ack 1", after=RTO - RTT)
    assert user.conn.info(peer.now).timeouts == 1


# RFC8985-02, RFC8985-08
def test_lost_retransmission_is_found() -> None:
    """0 is sent again at 100 ms, and lost again. What was sent after that arrives: so 0 is lost, and no time-out."""
    peer, user = opened(60_000)
    peer.passes(RTT)
    assert answer(peer, 1, segment(1, 3))[0] == 1
    peer.passes(MS)
    fresh = answer(peer, 1, segment(1, 9))
    assert fresh
    assert 1 not in fresh, "what was reported left before it did"
    peer.passes(RTT)
    assert answer(peer, 1, f"1001:{fresh[-1] + 1000}")[0] == 1
    assert user.conn.info(peer.now).timeouts == 0


# RFC8985-02
def test_times_are_finer_than_a_quarter_of_the_round_trip() -> None:
    """A path of 40 us: its window is 10 us, and a segment is found after that, not after a tick of anything."""
    peer, _ = opened(2000, rtt=40 * US)
    peer.passes(40 * US)
    answer(peer, 1, segment(1))
    peer.sees(". 1:1001(1000) ack 1", after=10 * US)


# RFC8985-03
@pytest.mark.parametrize(("reported", "wait"), [(1, WINDOW), (2, WINDOW), (3, 0), (9, 0)])
def test_reordering_window_before_any_reordering(reported: int, wait: Duration) -> None:
    """Three that are reported are evidence of loss; fewer get a quarter of the least round trip."""
    peer, _ = opened(10_000, window=10_000)
    peer.passes(RTT)
    peer.sends(f". 1:1(0) ack 1 <sack {segment(1, reported)}>")
    peer.sees(". 1:1001(1000) ack 1", after=wait or None)


# RFC8985-03
def test_no_reordering_window_in_recovery() -> None:
    """Recovery is under way for 0. A single report behind 4 is enough for 4."""
    peer, user = opened(10_000, window=10_000)
    peer.passes(RTT)
    answer(peer, 1, segment(1, 3))
    answer(peer, 1, segment(5), segment(1, 3))
    assert user.conn.info(peer.now).lost == 1


# RFC8985-03, RFC8985-17
def test_counting_reports_is_no_rule_once_reordering_was_seen() -> None:
    """Nine reports, and 2 is sent again only when the window has passed."""
    peer, _ = _reordered()
    peer.passes(RTT)
    for count in range(1, 10):
        assert answer(peer, 2001, segment(3, count)) == []
    peer.sees(". 2001:3001(1000) ack 1", after=WINDOW)


# RFC8985-17
def test_reordering_within_the_window_costs_nothing() -> None:
    peer, user = _reordered()
    peer.passes(RTT)
    answer(peer, 2001, segment(3, 9))
    peer.passes(WINDOW - MS)
    answer(peer, 12_001)
    assert (user.conn.info(peer.now).recoveries, user.conn.info(peer.now).total_retrans) == (0, 0)


def test_lost_acks_are_no_reordering() -> None:
    """RFC 8985 6.2, step 3, is about the order of delivery. One ACK that reports 3 and 1 for the first time tells
    nothing about that: the ACK that would have reported 1 was lost."""
    peer, user = opened(10_000)
    peer.passes(RTT)
    answer(peer, 1, segment(3), segment(1))
    assert user.conn.info(peer.now).reordering == 0


# RFC8985-04
def test_window_widens_with_each_round_that_has_a_dsack() -> None:
    """2 was late, and sent again for nothing, as a D-SACK says. From then on 12 has two quarters."""
    peer, user = _reordered()
    peer.passes(RTT)
    answer(peer, 2001, segment(3, 9))
    peer.sees(". 2001:3001(1000) ack 1", after=WINDOW)
    answer(peer, 12_001)
    peer.passes(RTT)
    user.write(4000)
    assert len(peer.takes()) == 4
    answer(peer, 12_001, segment(2))
    peer.passes(RTT)
    answer(peer, 12_001, segment(13, 3))
    peer.sees(". 12001:13001(1000) ack 1", after=2 * WINDOW)


def _estimator(*samples: Duration) -> RttEstimator:
    rtt = RttEstimator(TcpOptions())
    for sample in samples:
        rtt.on_sample(sample, 0)
    return rtt


def _window(rack: Rack, rtt: RttEstimator) -> Duration:
    rack.reordering_seen = True
    return rack.reordering_window(Recovery(), rtt, repairing=False)


# RFC8985-04
def test_window_widens_once_in_a_round_trip_and_is_forgotten_after_sixteen_recoveries() -> None:
    rack, rtt = Rack(), _estimator(100 * MS)
    rack.on_dsack(1, 10_001)
    rack.on_dsack(5001, 12_001)  # the same round
    assert _window(rack, rtt) == 50 * MS
    rack.on_dsack(10_001, 20_001)
    assert _window(rack, rtt) == 75 * MS
    for _ in range(15):
        rack.on_recovered()
    assert _window(rack, rtt) == 75 * MS
    rack.on_dsack(20_001, 30_001)  # begins the count again
    for _ in range(15):
        rack.on_recovered()
    assert _window(rack, rtt) == 100 * MS
    rack.on_recovered()
    assert _window(rack, rtt) == 25 * MS


# RFC8985-04
def test_recoveries_by_time_out_count_towards_forgetting() -> None:
    """RFC 8985 6.2, step 4: on "exiting Fast or RTO recovery"."""
    peer, user = opened(1000)
    rack = user.conn.snd.repair.rack
    assert rack is not None
    rack.on_dsack(1, 1)
    for number in range(16):
        while not user.conn.info(peer.now).retransmits:
            assert peer.bench.step(peer.now + 100 * SECOND)
        peer.takes()
        answer(peer, 1001 + 1000 * number)
        user.write(1000)
    assert user.conn.info(peer.now).timeouts >= 16
    assert _window(rack, _estimator(100 * MS)) == 25 * MS


# RFC8985-05
def test_window_is_at_most_srtt() -> None:
    rack, rtt = Rack(), _estimator(100 * MS)
    for number in range(1, 50):
        rack.on_dsack(number, number)
    assert _window(rack, rtt) == rtt.srtt == 100 * MS


# RFC8985-06
def test_least_round_trip_is_that_of_the_last_minutes() -> None:
    """A path that has become longer: the old least is forgotten, after a minute at least and two at most."""
    rtt = RttEstimator(TcpOptions())
    rtt.on_sample(10 * MS, 0)
    rtt.on_sample(50 * MS, 30 * SECOND)
    assert rtt.minimum == 10 * MS
    for second in range(31, 122):
        rtt.on_sample(50 * MS, second * SECOND)
    assert rtt.minimum == 50 * MS
    rtt.on_sample(20 * MS, 122 * SECOND)
    assert rtt.minimum == 20 * MS


# RFC8985-07
@pytest.mark.parametrize("timestamps", [False, True])
def test_ack_of_the_late_original_says_nothing_about_the_retransmission(timestamps: bool) -> None:
    """0 is sent again at 100 ms; 5 ms later comes the ACK of the original. If it counted as that of the
    retransmission, 4 to 9, sent long before, would all be lost."""
    peer, user = opened(10_000, timestamps=timestamps)
    peer.passes(RTT)
    late = f". 1:1(0) ack 4001 <TS val {(RTT + 5 * MS) // MS} ecr {RTT // MS}>" if timestamps else ". 1:1(0) ack 4001"
    assert answer(peer, 1, segment(1, 3)) == [1]
    peer.passes(5 * MS)
    peer.sends(late)
    assert starts(peer.takes()) == []
    assert user.conn.info(peer.now).lost == 0


# RFC8985-08
def test_only_what_was_sent_before_what_was_delivered_is_lost() -> None:
    """3 to 5 are delivered: 0 to 2 are lost; 6 to 9, which left at the same time and behind them, are not."""
    peer, user = opened(10_000, window=10_000)
    peer.passes(RTT)
    resent = answer(peer, 1, segment(3, 3))
    assert len(resent) + user.conn.info(peer.now).lost == 3
    for _ in range(3):
        peer.passes(RTT)
        resent += answer(peer, resent[-1] + 1000, segment(3, 3))
    assert resent[:3] == [1, 1001, 2001]
    assert user.conn.info(peer.now).timeouts == 0


# RFC8985-08
def test_what_came_late_says_how_late_the_others_may_be() -> None:
    """RACK.rtt is that of whatever was delivered last (RFC 8985 6.2, step 2): 4 after 100 ms, then 3 after 120 ms. So 2
    has until 120 ms and the window have passed."""
    peer, _ = _reordered()
    peer.passes(RTT)
    answer(peer, 2001, segment(4, 8))
    peer.passes(20 * MS)
    answer(peer, 2001, segment(3, 9))
    peer.sees(". 2001:3001(1000) ack 1", after=WINDOW)


# RFC8985-09
def test_timer_finds_what_is_lost_when_no_more_acks_come() -> None:
    """And it is set for each: 0 left 30 ms before 1 and has had its time, 1 has not, when 2 is delivered."""
    peer, user = opened(1000)
    peer.passes(30 * MS)
    user.write(2000)
    peer.takes()
    peer.passes(RTT)
    assert answer(peer, 1, segment(2)) == [1]
    peer.sees(". 1001:2001(1000) ack 1", after=WINDOW)


# RFC8985-15
def test_answer_stops_the_timer() -> None:
    peer, user = opened(10_000, window=10_000)
    peer.passes(RTT)
    answer(peer, 1, segment(1))
    peer.passes(WINDOW - MS)
    answer(peer, 10_001, window=10_000)
    peer.sees_nothing(during=60 * SECOND)
    assert user.conn.info(peer.now).total_retrans == 0


# RFC8985-16
def test_time_out_spares_what_was_sent_lately() -> None:
    """0 to 4 left at 0, and 4 once more as a probe at 202 ms; 5 leaves at 450 ms. The time-out comes at 502 ms: all but
    5 have had their 100 ms."""
    peer, user = opened(5000)
    peer.sees("P. 4001:5001(1000) ack 1", after=PTO)
    peer.passes(450 * MS - PTO)
    user.write(1000)
    peer.takes()
    assert starts(peer.gathers(RTO + PTO - 450 * MS)) == [1]
    info = user.conn.info(peer.now)
    assert (info.timeouts, info.lost, info.unacked) == (1, 4, 6)


# RFC8985-18
def test_what_is_lost_waits_for_the_window() -> None:
    """Nine of ten are lost, and the delivery of the last tells: one is sent again for it, not nine."""
    peer, user = opened(10_000)
    peer.passes(RTT)
    answer(peer, 1, segment(9))
    seen = starts(peer.gathers(WINDOW))
    assert seen == [1]
    assert (ssthresh(user), cwnd(user)) == (5, 1)
    peer.passes(RTT)
    assert answer(peer, 1001, segment(9)) == [1001, 2001]


# RFC8985-18
def test_cubic_waits_for_the_window_too() -> None:
    peer, _ = opened(10_000, options=NEWRENO.replace(congestion="cubic"))
    peer.passes(RTT)
    answer(peer, 1, segment(9))
    assert starts(peer.gathers(WINDOW)) == [1]
