"""The retransmission timer (RFC 6298), where `test_retransmission` and the estimator's own tests don't say it yet."""

from __future__ import annotations

import itertools

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.rtt import GRANULARITY, RttEstimator
from stack.wire.units import MS, SECOND, US, Duration
from tests.support.flight import NEWRENO, RTO, RTT, answer, cwnd, opened, ssthresh, starts


def _estimator(*samples: Duration, **options: float) -> RttEstimator:
    rtt = RttEstimator(TcpOptions().replace(**options))
    for sample in samples:
        rtt.on_sample(sample, 0)
    return rtt


# RFC6298-08
def test_variance_of_nothing_counts_as_the_granularity() -> None:
    """2.2: RTO = SRTT + max (G, K * RTTVAR). A path of 50 us that never varies."""
    rtt = _estimator(*[50 * US] * 200, min_rto=0.0)
    assert 4 * rtt.rttvar < GRANULARITY
    assert rtt.rto == rtt.srtt + GRANULARITY


# RFC6298-04
def test_floor_that_the_rfc_asks_for_can_be_chosen() -> None:
    """2.4 says one second in all; ours lies above SRTT, which is no less."""
    peer, _ = opened(3000, sack=False, options=NEWRENO.replace(min_rto=1.0))
    assert starts([peer.sees(". 1:1001(1000) ack 1", after=RTT + SECOND)]) == [1]


# RFC6298-05
def test_ceiling_is_a_minute_at_least() -> None:
    assert _estimator(500 * SECOND).rto >= 60 * SECOND


# RFC6298-07
@pytest.mark.parametrize("timestamps", [False, True])
def test_each_round_trip_is_measured(timestamps: bool) -> None:
    """The path becomes longer, from 100 to 200 ms: after each round the estimate has moved."""
    peer, user = opened(60_000, timestamps=timestamps)
    estimates = [user.conn.rtt.srtt]
    for _ in range(3):
        peer.passes(2 * RTT)
        answer(peer, user.conn.snd.nxt)
        estimates.append(user.conn.rtt.srtt)
    assert all(later - earlier > 5 * MS for earlier, later in itertools.pairwise(estimates))


# RFC6298-07
def test_window_full_of_lost_segments_is_measured_again_afterwards() -> None:
    """Karn's rule leaves out what was sent twice; the first that was sent once gives a sample and ends the back-off."""
    peer, user = opened(60_000, sack=False)
    for _ in range(2):
        peer.gathers(2 * RTO)
    backed_off = user.conn.rtt.rto
    assert backed_off >= 4 * RTO
    answer(peer, 10_001)
    assert user.conn.rtt.rto == backed_off
    peer.passes(RTT)
    answer(peer, user.conn.snd.nxt)
    assert user.conn.rtt.rto < RTO + 10 * MS


# RFC6298-09
def test_no_time_out_earlier_than_one_rto_after_the_segment_left() -> None:
    """Segments leave every 17 ms and are acknowledged all but the last; then the peer is silent. Whenever it falls
    silent, what is sent again first left an RTO ago, or longer."""
    for exchanges in range(1, 30):
        peer, user = opened(0, sack=False, options=NEWRENO.replace(nodelay=True))
        left: dict[int, int] = {}
        for _ in range(exchanges):
            user.write(1000)
            left |= {seen.start: seen.time for seen in peer.takes()}
            if user.conn.snd.flight > 1000:
                answer(peer, user.conn.snd.nxt - 1000)
            peer.passes(17 * MS)
        rto = user.conn.rtt.rto
        again = peer.gathers(SECOND)[0]
        assert again.time - left[again.start] >= rto


# RFC6298-10, RFC6298-13
def test_timer_starts_again_with_the_doubled_rto() -> None:
    """5.5, 5.6: after each expiry it runs for twice as long."""
    peer, _ = opened(3000, sack=False)
    for number in range(5):
        peer.sees(". 1:1001(1000) ack 1", after=RTO << number)


# RFC6298-11
def test_earliest_segment_is_sent_again_when_later_ones_are_acknowledged() -> None:
    """5.4: whatever was reported behind it."""
    peer, _ = opened(10_000, window=10_000)
    peer.passes(RTT)
    assert answer(peer, 1, "5001:10001")[0] == 1
    assert starts(peer.gathers(2 * RTO))[0] == 1


# RFC5681-16, RFC5681-15, RFC5681-09
@pytest.mark.parametrize("congestion", ["newreno", "cubic"])
@pytest.mark.parametrize("sack", [False, True])
def test_expiry_leaves_the_loss_window(congestion: str, sack: bool) -> None:
    """One segment, ssthresh half (or 0.7 of) what was in flight; once for the same data, however often it expires."""
    peer, user = opened(10_000, sack=sack, options=TcpOptions(congestion=congestion), window=10_000)
    while user.conn.info(peer.now).retransmits < 1:
        assert peer.bench.step(peer.now + SECOND)
    peer.takes()
    threshold = 5 if congestion == "newreno" else 7
    assert (cwnd(user), ssthresh(user)) == (1, threshold)
    peer.gathers(10 * RTO)
    assert user.conn.info(peer.now).retransmits > 2
    assert (cwnd(user), ssthresh(user)) == (1, threshold)


# RFC5681-16
def test_more_than_one_segment_goes_only_as_acks_come() -> None:
    peer, user = opened(10_000, sack=False)
    assert starts(peer.gathers(RTO)) == [1]
    peer.sees_nothing(during=2 * RTO - MS)
    assert user.conn.info(peer.now).timeouts == 1
