"""Fast retransmit and fast recovery without SACK (RFC 5681 3.2, RFC 6582), and limited transmit (RFC 3042).

Ten segments are in flight, ssthresh is five after a loss, and all ACKs come 100 ms after.
"""

from __future__ import annotations

import pytest

from stack.wire.units import MS
from tests.support.flight import MSS, RTO, RTT, answer, cwnd, opened, segment, ssthresh, starts
from tests.support.peer import Peer
from tests.support.user import User


def _recovering(write: int = 60_000, *, duplicates: int = 3, window: int = 65535) -> tuple[Peer, User, list[int]]:
    """0 was lost; so many duplicates have come; and what was sent on them."""
    peer, user = opened(write, sack=False, window=window)
    peer.passes(RTT)
    sent: list[int] = []
    for _ in range(duplicates):
        sent += answer(peer, 1)
    return peer, user, sent


# Limited transmit.


# RFC3042-01, RFC5681-20
def test_first_two_duplicates_let_a_new_segment_go_each() -> None:
    peer, user = opened(60_000, sack=False)
    peer.passes(RTT)
    assert [answer(peer, 1) for _ in range(2)] == [[10_001], [11_001]]
    assert user.conn.snd.congestion.cwnd == 10 * MSS
    assert user.conn.snd.flight == 12 * MSS, "cwnd and two segments"


# RFC3042-01, RFC5681-20
def test_limited_transmit_stays_within_the_peers_window() -> None:
    _, _, sent = _recovering(duplicates=2, window=11_000)
    assert sent == [10_001]


# RFC5681-21
def test_limited_transmit_leaves_cwnd_alone() -> None:
    """And so it is no credit: after an ACK of two, two are let go, and no four."""
    peer, user, _ = _recovering(duplicates=2)
    assert cwnd(user) == 10
    assert len(answer(peer, 2001)) == 1  # 10 and one of slow start, less 10 in flight
    assert cwnd(user) == 11


# RFC5681-21
def test_limited_transmit_needs_new_reports_with_sack() -> None:
    peer, _ = opened(60_000)
    peer.passes(RTT)
    assert answer(peer, 1, segment(4)) == [10_001]
    assert answer(peer, 1, segment(4)) == []
    assert answer(peer, 1) == []
    assert answer(peer, 1, segment(4, 2)) == [11_001]


# Fast retransmit (RFC 5681 3.2).


# RFC5681-19, RFC5681-23, RFC5681-22
def test_third_duplicate_resends_and_inflates() -> None:
    _, user, sent = _recovering()
    assert sent == [10_001, 11_001, 1]
    assert (cwnd(user), ssthresh(user)) == (8, 5)


# RFC5681-22
@pytest.mark.parametrize(("write", "expected"), [(60_000, 5), (8000, 4), (4000, 2), (3001, 2)])
def test_ssthresh_is_half_of_what_was_in_flight_and_two_at_least(write: int, expected: int) -> None:
    _, user, _ = _recovering(write)
    assert user.conn.info(user.peer.now).recoveries == 1
    assert ssthresh(user) == expected


# RFC5681-24, RFC5681-25
def test_further_duplicates_inflate_and_let_new_data_go() -> None:
    peer, user, _ = _recovering()
    for number in range(1, 5):
        assert answer(peer, 1) == []
        assert cwnd(user) == 8 + number
    assert answer(peer, 1) == [12_001]  # 13 segments of window, 12 in flight


# RFC5681-25
def test_inflated_window_does_not_pass_the_peers() -> None:
    _, _, sent = _recovering(duplicates=9, window=10_000)
    assert sent == [1]


# RFC5681-26, RFC6582-03
def test_full_ack_deflates_to_ssthresh() -> None:
    """min(ssthresh, max(FlightSize, SMSS) + SMSS): with four in flight both are five, with none it is two."""
    peer, user, sent = _recovering(duplicates=9)
    assert sent[-1] == 13_001
    peer.passes(RTT)
    answer(peer, 12_001)
    assert (cwnd(user), ssthresh(user)) == (3, 5)


# RFC5681-26, RFC6582-03
def test_full_ack_ends_recovery() -> None:
    """The next ACK grows the window by what slow start, and then avoidance, allow, not by what recovery did."""
    peer, user, _ = _recovering(duplicates=9)
    peer.passes(RTT)
    answer(peer, 12_001)
    before = cwnd(user)
    peer.passes(RTT)
    answer(peer, 13_001)
    assert cwnd(user) <= before + 1
    assert user.conn.info(peer.now).recoveries == 1


# NewReno (RFC 6582 3.2).


# RFC6582-01
def test_duplicates_that_cover_no_more_than_recover_start_nothing() -> None:
    """Recover is 12000, the highest octet sent when recovery began."""
    peer, user, _ = _recovering()
    peer.passes(RTT)
    answer(peer, 12_001)
    sent = [start for _ in range(5) for start in answer(peer, 12_001)]
    assert 12_001 not in sent[1:]
    assert user.conn.info(peer.now).recoveries == 1
    answer(peer, 13_001)
    for _ in range(3):
        answer(peer, 13_001)
    assert user.conn.info(peer.now).recoveries == 2


# RFC6582-02
def test_partial_ack_resends_the_next_hole_and_deflates() -> None:
    """Window 14, less four acknowledged, and one back."""
    peer, user, _ = _recovering(duplicates=9)
    peer.passes(RTT)
    sent = answer(peer, 4001)
    assert sent[0] == 4001
    assert cwnd(user) == 14 - 4 + 1
    # 14 were sent, 4 acknowledged: 10 in flight, and so one more new segment.
    assert sent[1:] == [14_001]


# RFC6582-02
def test_partial_ack_of_less_than_a_segment_adds_nothing_back() -> None:
    peer, user, _ = _recovering(duplicates=9)
    before = user.conn.snd.congestion.cwnd
    peer.passes(RTT)
    assert answer(peer, 501) != []
    assert user.conn.snd.congestion.cwnd == before - 500


# RFC6582-04
def test_every_partial_ack_starts_the_timer_again() -> None:
    """Slow but steady: two holes, and the time-out comes 300 ms after the second partial ACK, not after the first."""
    peer, user, _ = _recovering(10_000, duplicates=7)
    for ack in (3001, 6001):
        peer.passes(RTO // 2)
        assert answer(peer, ack)[0] == ack
    peer.sees(". 6001:7001(1000) ack 1", after=RTO)
    assert user.conn.info(peer.now).timeouts == 1


# RFC6582-05
def test_time_out_leaves_recovery_and_moves_recover() -> None:
    """Recover is then the highest that was sent, with what recovery had sent: duplicates below it start nothing."""
    peer, user, sent = _recovering(duplicates=9)
    peer.passes(RTT)
    highest = max(sent) + MSS
    while not user.conn.info(peer.now).timeouts:
        assert peer.bench.step(peer.now + RTO)
    assert starts(peer.takes()) == [1]
    assert cwnd(user) == 1
    peer.passes(RTT)
    answer(peer, 10_001)
    for _ in range(5):
        answer(peer, 10_001)
    assert user.conn.info(peer.now).recoveries == 1
    answer(peer, highest)
    assert user.conn.info(peer.now).recoveries == 1


# RFC5681-31
@pytest.mark.parametrize("sack", [False, True])
def test_losses_in_two_windows_halve_twice(sack: bool) -> None:
    peer, user = opened(60_000, sack=sack)
    peer.passes(RTT)
    for count in range(1, 10):
        answer(peer, 1, *([segment(1, count)] if sack else []))
    first = ssthresh(user)
    peer.passes(RTT)
    answer(peer, 12_001)
    peer.passes(RTT)
    answer(peer, 14_001)
    peer.passes(RTT)
    for count in (1, 2, 3):
        answer(peer, 14_001, *([segment(15, count)] if sack else []))
    assert user.conn.info(peer.now).recoveries == 2
    assert ssthresh(user) <= max(first // 2, 2)


# RFC5681-31, RFC5681-15
@pytest.mark.parametrize("sack", [False, True])
def test_time_out_in_recovery_lowers_ssthresh_to_half_of_what_is_in_flight(sack: bool) -> None:
    """0 was sent again by duplicates, and lost again. Meanwhile 8 of 10 were acknowledged: two are in flight when the
    timer expires, for a segment that the timer has not sent before, and half of two is less than ssthresh. It MUST be
    no more than max(FlightSize / 2, 2 * SMSS) (RFC 5681 3.1), and lowered twice for a lost retransmission (4.3)."""
    peer, user = opened(10_000, sack=sack)
    peer.passes(RTT)
    for count in (1, 2, 3):
        answer(peer, 1, *([segment(1, count)] if sack else []))
    assert ssthresh(user) == 5
    peer.passes(RTT)
    answer(peer, 8001)
    while not user.conn.info(peer.now).timeouts:
        assert peer.bench.step(peer.now + RTO)
    peer.takes()
    assert ssthresh(user) == 2
    assert cwnd(user) == 1


# RFC5681-18
def test_filling_a_hole_is_acknowledged_at_once() -> None:
    """The receiver's part; ACKs would be delayed by 40 ms otherwise."""
    peer, _ = opened(0, sack=False)
    for number in range(40):
        peer.sends(f"P. {1 + 1460 * number}:{1461 + 1460 * number}(1460) ack 1")
        peer.takes()
    peer.passes(100 * MS)
    peer.takes()
    base = 1 + 1460 * 40
    peer.sends(f"P. {base + 1000}:{base + 2000}(1000) ack 1")
    peer.sees(f". 1:1(0) ack {base}")
    peer.sends(f"P. {base}:{base + 500}(500) ack 1")
    peer.sees(f". 1:1(0) ack {base + 500}")
    peer.sends(f"P. {base + 500}:{base + 1000}(500) ack 1")
    peer.sees(f". 1:1(0) ack {base + 2000}")
