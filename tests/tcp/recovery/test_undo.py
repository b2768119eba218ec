"""Repairs that were for nothing: F-RTO (RFC 5682), Eifel (RFC 3522, RFC 4015), D-SACK (RFC 2883, RFC 3708).

Ten segments are in flight, segment n at 1000 * n + 1. "Undone" means that the window is what it was.
"""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.wire.units import MS, SECOND, Duration
from tests.support.flight import MSS, NEWRENO, PTO, RTO, RTT, answer, cwnd, opened, segment, ssthresh, starts
from tests.support.peer import Peer
from tests.support.user import User

ALGORITHMS = ("newreno", "cubic")


def _timed_out(write: int, *, sack: bool = False, window: int = 65535) -> tuple[Peer, User]:
    """Silence for ten segments; the first is sent again."""
    peer, user = opened(write, sack=sack, window=window)
    while not user.conn.info(peer.now).timeouts:
        assert peer.bench.step(peer.now + SECOND)
    assert starts(peer.takes())[-1:] == [1]
    return peer, user


def _spurious(user: User) -> int:
    return user.conn.info(user.peer.now).spurious


# F-RTO (RFC 5682 2.1): steps 1, 2b, 3b.


# RFC5682-01
def test_time_out_was_for_nothing() -> None:
    """The first ACK advances: two new segments ask. The second advances, too: the originals were only late."""
    peer, user = _timed_out(60_000)
    assert (cwnd(user), ssthresh(user)) == (1, 5)
    assert answer(peer, 1001) == [10_001, 11_001]
    assert _spurious(user) == 0
    sent = answer(peer, 2001)
    assert _spurious(user) == 1
    assert ssthresh(user) > 10
    assert all(start > 11_001 for start in sent), "goes on with new data"
    for ack in range(3001, 12_002, 1000):
        sent = answer(peer, ack)
        assert all(start > 11_001 for start in sent)
    assert user.conn.info(peer.now).total_retrans == 1


# RFC5682-01
def test_duplicate_first_is_the_conventional_way() -> None:
    """Step 2a: it was lost. Slow start sends everything again."""
    peer, user = _timed_out(60_000)
    assert answer(peer, 1) == [], "the window is one segment, and that is out"
    peer.passes(RTT)
    assert answer(peer, 1001) == [1001, 2001]
    assert (_spurious(user), ssthresh(user)) == (0, 5)


# RFC5682-01
def test_duplicate_second_is_the_conventional_way() -> None:
    """Step 3a: the new data was out of order, so something before it was lost; the window is three segments at most."""
    peer, user = _timed_out(60_000)
    assert answer(peer, 1001) == [10_001, 11_001]
    peer.passes(RTT)
    sent = answer(peer, 1001)
    assert cwnd(user) <= 3
    assert sent[:1] == [1001]
    assert _spurious(user) == 0


# RFC5682-01
def test_first_ack_alone_decides_nothing() -> None:
    """0 and 2 to 9 were lost, 1 was held: what was sent again fills the hole, and the ACK covers 1, which was sent
    once. Only the next ACK could tell that the time-out was for nothing; it does not (RFC 5682 2.1, step 2)."""
    peer, user = _timed_out(60_000)
    peer.passes(RTT)
    answer(peer, 2001)
    assert (_spurious(user), ssthresh(user)) == (0, 5)


# RFC5682-01
@pytest.mark.parametrize("sack", [False, True])
def test_nothing_new_to_send_means_the_conventional_way(sack: bool) -> None:
    """Step 2b: without new data, step 3 is not entered. 3 was held, and its report lost on the way; it is covered when
    1 and 2 come again, by an ACK that shows nothing about the time-out."""
    peer, user = _timed_out(10_000, sack=sack)
    peer.passes(RTT)
    assert answer(peer, 1001) == [1001, 2001]
    peer.passes(RTT)
    answer(peer, 2001)
    assert answer(peer, 4001) != []
    assert (_spurious(user), ssthresh(user)) == (0, 5)


# RFC5682-01
def test_closed_window_means_the_conventional_way() -> None:
    peer, user = _timed_out(60_000, window=10_000)
    peer.passes(RTT)
    peer.sends(". 1:1(0) ack 1001 win 9000")
    assert starts(peer.takes()) == [1001, 2001]
    peer.passes(RTT)
    answer(peer, 2001, window=8000)
    answer(peer, 4001, window=6000)
    assert (_spurious(user), ssthresh(user)) == (0, 5)


# RFC5682-01
def test_ack_of_everything_decides_nothing() -> None:
    """Step 2a: it may be the answer to the retransmission, of the only segment that was lost."""
    peer, user = _timed_out(10_000)
    peer.passes(RTT)
    answer(peer, 10_001)
    assert (_spurious(user), ssthresh(user)) == (0, 5)


# RFC5682-01
def test_reports_of_originals_tell_it_with_sack() -> None:
    """RFC 5682 3: the second ACK covers, or reports, something that was sent once, before the time-out."""
    peer, user = _timed_out(60_000, sack=True)
    before = user.conn.snd.nxt
    sent = answer(peer, 1001)
    assert sent == [before, before + MSS]
    answer(peer, 2001)
    assert _spurious(user) == 1
    assert ssthresh(user) > 10


# Eifel: detection (RFC 3522 3.2), response (RFC 4015 3.2).


@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize("congestion", ALGORITHMS)
def test_echo_of_the_original_undoes_a_time_out(congestion: str, sack: bool) -> None:
    options = TcpOptions(congestion=congestion)
    peer, user = opened(10_000, sack=sack, timestamps=True, options=options)
    while not user.conn.info(peer.now).timeouts:
        assert peer.bench.step(peer.now + SECOND)
    peer.takes()
    peer.passes(5 * MS)
    peer.sends(f". 1:1(0) ack 1001 <TS val {(peer.now - peer.bench.origin) // MS} ecr {RTT // MS}>")
    assert starts(peer.takes()) == [], "what is late is not lost, and nothing new waits"
    assert _spurious(user) == 1
    assert cwnd(user) in (10, 11), "what it was, and what slow start adds for this ACK"
    assert ssthresh(user) > 10


@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize(("timeouts", "after", "stays"), [(4, RTT, False), (3, RTT, True), (4, 2 * SECOND, True)])
def test_undone_time_outs_of_an_outage_leave_no_back_off(
    sack: bool, timeouts: int, after: Duration, stays: bool
) -> None:
    """Sixteen times the RTO, and then an answer as soon as ever: what is still missing must not wait so long again. But
    where the answer is late, or the RTO is not that large, the path may have become slower."""
    peer, user = opened(10_000, sack=sack, timestamps=True)
    while user.conn.info(peer.now).timeouts < timeouts:
        assert peer.bench.step(peer.now + 10 * SECOND)
    backed_off = RTO << timeouts
    assert user.conn.rtt.rto == backed_off
    peer.takes()
    peer.passes(after)
    peer.sends(f". 1:1(0) ack 1001 <TS val {(peer.now - peer.bench.origin) // MS} ecr {RTT // MS}>")
    assert _spurious(user) == 1
    assert user.conn.rtt.rto == (backed_off if stays else RTO)


@pytest.mark.parametrize("congestion", ALGORITHMS)
def test_echo_of_the_original_undoes_fast_recovery(congestion: str) -> None:
    """0 was late by 5 ms, 1 to 9 came before it."""
    peer, user = opened(10_000, timestamps=True, options=TcpOptions(congestion=congestion))
    peer.passes(RTT)
    assert answer(peer, 1, segment(1, 9)) == [1]
    peer.passes(5 * MS)
    peer.sends(f". 1:1(0) ack 10001 <TS val {2 * RTT // MS + 5} ecr {RTT // MS}>")
    assert (_spurious(user), cwnd(user)) == (1, 10)
    assert ssthresh(user) > 10


def test_echo_of_the_retransmission_undoes_nothing() -> None:
    peer, user = opened(10_000, timestamps=True)
    peer.passes(RTT)
    answer(peer, 1, segment(1, 9))
    peer.passes(RTT)
    answer(peer, 10_001)  # echoes the latest
    assert (_spurious(user), cwnd(user), ssthresh(user)) == (0, 5, 5)


def test_echo_within_the_same_tick_undoes_nothing() -> None:
    """Original and retransmission have the same timestamp: nobody can tell."""
    peer, user = opened(10_000, timestamps=True)
    peer.passes(RTT)
    tick = (peer.now - peer.bench.origin) // MS
    answer(peer, 1, segment(1, 9))
    peer.sends(f". 1:1(0) ack 10001 <TS val {tick} ecr {tick}>")
    assert (_spurious(user), ssthresh(user)) == (0, 5)


@pytest.mark.parametrize("timestamps", [False, True])
def test_late_segment_that_was_not_sent_again_costs_nothing(timestamps: bool) -> None:
    """Two ACKs of one batch: the first shows 0 lost, the second acknowledges it, and nothing had left in between."""
    peer, user = opened(10_000, timestamps=timestamps)
    peer.passes(RTT)
    peer.sends(". 1:1(0) ack 1 <sack 1001:10001>", ". 1:1(0) ack 10001")
    assert starts(peer.takes()) == []
    assert user.conn.info(peer.now).total_retrans == 0
    assert cwnd(user) >= 10
    assert ssthresh(user) > 10


# D-SACK.


@pytest.mark.parametrize("congestion", ALGORITHMS)
def test_dsack_for_all_that_was_sent_again_undoes_recovery(congestion: str) -> None:
    peer, user = opened(20_000, options=TcpOptions(congestion=congestion))
    peer.passes(RTT)
    sent = answer(peer, 1, segment(1, 9))
    assert sent[0] == 1
    peer.passes(5 * MS)
    sent += answer(peer, 10_001)
    peer.passes(RTT)
    answer(peer, 10_001, segment(0))
    assert _spurious(user) == 1
    assert cwnd(user) >= 10
    assert ssthresh(user) > 10
    rack = user.conn.snd.repair.rack
    assert rack is not None
    assert rack.reordering_seen, "0 came after what was sent later"


def test_dsack_after_newer_data_undoes_recovery() -> None:
    """What was sent again may itself be late: its report comes after the ACK of data that was sent in the recovery."""
    peer, user = opened(40_000)
    peer.passes(RTT)
    answer(peer, 1, segment(1, 9))
    peer.passes(5 * MS)
    answer(peer, 10_001)
    ended_at = user.conn.snd.nxt
    peer.passes(RTT)
    answer(peer, ended_at)
    peer.passes(RTT)
    answer(peer, ended_at + 2 * MSS, segment(0))
    assert _spurious(user) == 1
    assert ssthresh(user) > 10


# RFC9438-10
def test_undo_keeps_a_window_that_is_larger_by_now() -> None:
    peer, user = opened(60_000, options=TcpOptions())
    control = user.conn.snd.congestion
    control.cwnd = 50 * MSS
    control.on_undo(10 * MSS, 20 * MSS, peer.now)
    assert control.cwnd == 50 * MSS


def test_dsack_for_one_of_two_undoes_nothing() -> None:
    """0 and 1 were sent again; of 0 the original had come, 1 was lost."""
    peer, user = opened(20_000)
    peer.passes(RTT)
    sent = answer(peer, 1, segment(2, 8))
    assert sent[:2] == [1, 1001]
    peer.passes(RTT)
    answer(peer, 1001)
    answer(peer, 10_001, segment(0))
    peer.passes(RTT)
    assert _spurious(user) == 0
    assert ssthresh(user) == 5


def test_one_dsack_for_what_was_sent_again_twice_undoes_nothing() -> None:
    """0 was sent again, found lost, and sent again: one of the three came twice, so one was lost."""
    peer, user = opened(20_000)
    peer.passes(RTT)
    sent = answer(peer, 1, segment(1, 3))
    peer.passes(MS)
    sent += answer(peer, 1, segment(1, 9))
    peer.passes(RTT)
    sent += answer(peer, 1, f"1001:{sent[-1] + MSS}")
    assert sent.count(1) == 2
    peer.passes(RTT)
    answer(peer, user.conn.snd.nxt - MSS, segment(0))
    assert _spurious(user) == 0


def test_time_out_in_recovery_is_undone_with_it() -> None:
    """The original of 0 was very late: neither the recovery nor the time-out after it was needed, and the window is
    what it was before both."""
    peer, user = opened(10_000, sack=False, timestamps=True)
    peer.passes(RTT)
    for _ in range(3):
        peer.sends(f". 1:1(0) ack 1 <TS val {2 * RTT // MS} ecr {RTT // MS}>")
    assert starts(peer.takes()) == [1]
    assert starts(peer.gathers(RTO)) == [1]
    assert (cwnd(user), user.conn.info(peer.now).timeouts) == (1, 1)
    peer.sends(f". 1:1(0) ack 10001 <TS val {(peer.now - peer.bench.origin) // MS} ecr {RTT // MS}>")
    assert _spurious(user) == 1
    assert cwnd(user) >= 10
    assert ssthresh(user) > 10


def test_duplicate_made_by_the_network_undoes_nothing() -> None:
    """0 was lost, sent again, and arrived. 5 arrived twice, but was sent once: so the network has made a copy (RFC 2883
    5.1), which says nothing about what was sent again."""
    peer, user = opened(20_000)
    peer.passes(RTT)
    answer(peer, 1, segment(1, 9))
    answer(peer, 1, segment(5), segment(1, 9))
    peer.passes(RTT)
    answer(peer, 10_001)
    assert (_spurious(user), ssthresh(user)) == (0, 5)


def test_duplicate_of_long_ago_made_by_the_network_undoes_nothing() -> None:
    """The same, long after recovery: the window that a real loss has taken stays taken."""
    peer, user = opened(20_000)
    peer.passes(RTT)
    sent = answer(peer, 1, segment(1, 9))
    peer.passes(RTT)
    sent += answer(peer, 10_001)
    peer.passes(RTT)
    answer(peer, 12_001, segment(10))
    assert (_spurious(user), ssthresh(user)) == (0, 5)


def test_undone_recovery_forgives_what_was_lost() -> None:
    """Nothing is sent again that had only been believed lost."""
    peer, user = opened(10_000, timestamps=True)
    peer.passes(RTT)
    sent = answer(peer, 1, segment(6, 4))
    assert 0 < len(sent) < 6
    peer.passes(5 * MS)
    peer.sends(f". 1:1(0) ack 1001 <TS val {2 * RTT // MS + 5} ecr {RTT // MS},sack 6001:10001>")
    assert starts(peer.takes()) == []
    info = user.conn.info(peer.now)
    assert (info.spurious, info.lost) == (1, 0)


def test_tail_probe_is_no_repair() -> None:
    """A D-SACK for a probe undoes no earlier reduction."""
    peer, user = opened(10_000, options=NEWRENO)
    peer.passes(RTT)
    answer(peer, 1, segment(1, 9))
    peer.passes(RTT)
    answer(peer, 10_001)
    user.write(3000)
    assert starts(peer.takes()) == [10_001, 11_001, 12_001]
    assert starts(peer.gathers(PTO + RTO // 10)) == [12_001]
    answer(peer, 13_001, segment(12))
    user.write(1000)
    peer.takes()
    answer(peer, 14_001)
    assert (_spurious(user), ssthresh(user)) == (0, 5)
