"""The sender's scoreboard and pipe (RFC 2018 5 and 8, RFC 6675), and what the receiver's rules add to `test_receiving`.

Segment number n begins at 1000 * n + 1, and ten of them are in flight.
"""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.wire.segment import SYN
from stack.wire.units import MS, SECOND
from tests.support import states
from tests.support.flight import MSS, NEWRENO, RTO, RTT, answer, cwnd, opened, segment, ssthresh, starts


def _text(start: int, size: int = MSS) -> str:
    return f"P. {start}:{start + size}({size}) ack 1"


# The receiver (RFC 2018 2 to 4).


# RFC2018-01
def test_sack_is_permitted_on_syns_only() -> None:
    peer, user = states.established(sack=True)
    user.write(3000)
    segments = peer.takes()
    peer.sends(_text(1001))
    user.close()
    segments += peer.gathers(2 * SECOND)
    assert len(segments) > 4
    assert not any(seen.segment.sack_ok for seen in segments if not seen.flags & SYN)


# RFC2018-03, RFC2018-04
def test_data_carries_blocks_too() -> None:
    """Whatever acknowledges less than the highest that is held reports it, also when it has text of its own."""
    peer, user = states.established(sack=True)
    peer.sends(_text(2001))
    peer.sees(". 1:1(0) ack 1 <sack 2001:3001>")
    user.write(10)
    peer.sees("P. 1:11(10) ack 1 <sack 2001:3001>")


# RFC2018-05
@pytest.mark.parametrize("sack", [False, True])
def test_every_segment_with_new_data_behind_a_hole_is_acknowledged(sack: bool) -> None:
    peer, _ = states.established(sack=sack)
    for number in range(1, 30):
        peer.sends(_text(1 + MSS * number))
        peer.sees(f". 1:1(0) ack 1 <sack 1001:{1001 + MSS * number}>" if sack else ". 1:1(0) ack 1")


# RFC2018-06
def test_first_block_is_that_of_the_segment_that_came_unless_it_advances() -> None:
    peer, _ = states.established(sack=True)
    peer.sends(_text(1001), _text(5001))
    peer.takes()
    peer.sends(_text(3001))
    peer.sees(". 1:1(0) ack 1 <sack 3001:4001 5001:6001 1001:2001>")
    peer.sends(_text(1))
    peer.sees(". 1:1(0) ack 2001 <sack 3001:4001 5001:6001>")


# RFC2018-14
def test_only_what_is_held_is_reported() -> None:
    """A peer that opens more islands than we keep: what was reported once never has to be sent again."""
    peer, user = states.established(sack=True)
    reported: set[int] = set()
    for number in range(1100):
        start = 3 + 2 * number
        peer.sends(_text(start, 1))
        for seen in peer.takes():
            for left, right in seen.segment.sacks:
                reported.update(range((left - peer.iss) % (1 << 32), (right - peer.iss) % (1 << 32)))
    assert len(reported) > 1000
    everything = range(1, 2203)
    peer.sends(*[_text(number, 1) for number in everything if number not in reported])
    user.reads(len(everything))


# The scoreboard (RFC 2018 5, RFC 6675 4 and 5).


# RFC2018-09, RFC6675-06
def test_reports_are_remembered() -> None:
    """Holes 0, 2 and 4, told by two ACKs, of which each reports one end only: no other segment is sent again."""
    peer, _ = opened(10_000)
    peer.passes(RTT)
    resent = answer(peer, 1, segment(1))
    resent += answer(peer, 1, segment(3), segment(1))
    resent += answer(peer, 1, segment(5, 5))
    for _ in range(5):
        peer.passes(RTT)
        resent += answer(peer, resent[0] + 2 * MSS if len(resent) == 1 else 4001)
    assert sorted(set(resent)) == [1, 2001, 4001]


# RFC6675-06
def test_reports_on_segments_with_text_count() -> None:
    peer, user = opened(10_000)
    peer.passes(RTT)
    peer.sends("P. 1:101(100) ack 1 <sack 1001:4001>")
    assert starts(peer.takes()) == [1]
    assert user.conn.info(peer.now).sacked == 3


# RFC6675-06
def test_reports_beside_an_advancing_ack_count() -> None:
    peer, user = opened(10_000)
    peer.passes(RTT)
    assert answer(peer, 2001, segment(3, 3)) == [2001]
    assert user.conn.info(peer.now).sacked == 3


# RFC2018-13, RFC6675-01
def test_reported_data_is_kept_until_it_is_acknowledged() -> None:
    """The peer reports nine of ten, and throws them away: all of them can be sent again, down to the last octet."""
    peer, _ = opened(10_000)
    peer.passes(RTT)
    assert answer(peer, 1, segment(1, 9)) == [1]
    peer.passes(RTT)
    resent = answer(peer, 1001)  # without a report: nothing of it is left
    while 9001 not in resent:
        resent += starts(peer.gathers(RTO)) + answer(peer, resent[-1] + MSS if resent else 1001)
    assert {1001, 5001, 9001} <= set(resent)  # `Watch` has compared the octets


# RFC2018-11
def test_left_edge_is_sent_again_after_a_time_out_though_it_was_reported() -> None:
    """The peer has reported 1 to 9, got 0, and acknowledges only that: the left edge is one that it reported."""
    peer, user = opened(10_000)
    peer.passes(RTT)
    assert answer(peer, 1, segment(1, 9)) == [1]
    peer.passes(RTT)
    assert answer(peer, 1001) == []
    seen = peer.gathers(2 * RTO)
    assert starts(seen)[0] == 1001
    assert user.conn.info(peer.now).timeouts >= 1
    peer.passes(RTT)
    assert answer(peer, 2001) != [], "the other reports are void, too"


# RFC6675-13
def test_what_was_reported_is_not_sent_again_after_a_time_out() -> None:
    """All but 0 and 5 were reported; retransmissions are lost, the timer expires."""
    peer, user = opened(10_000)
    peer.passes(RTT)
    answer(peer, 1, segment(6, 4), segment(1, 4))
    resent = starts(peer.gathers(3 * RTO))
    assert user.conn.info(peer.now).timeouts >= 1
    peer.passes(RTT)
    resent += answer(peer, 5001, segment(6, 4))
    assert set(resent) <= {1, 5001}
    assert answer(peer, 10_001) == []


# RFC6675-03
def test_pipe_is_what_is_out_and_neither_reported_nor_lost() -> None:
    """Ten out. 5 to 7 are reported, so 0 to 4 are lost; 8 and 9 remain, and what recovery sends comes on top: three for
    the three that were delivered, and then the pipe is as full as ssthresh says."""
    peer, user = opened(10_000, window=10_000)
    records = user.conn.snd.repair.records
    assert records.pipe == 10 * MSS
    peer.passes(RTT)
    resent = answer(peer, 1, segment(5, 3))
    assert resent == [1, 1001, 2001]
    info = user.conn.info(peer.now)
    assert (info.unacked, info.sacked, info.lost) == (10, 3, 2)
    assert records.pipe == (2 + 3) * MSS == user.conn.snd.congestion.ssthresh


# RFC6675-04
def test_lost_data_goes_before_new_data_and_in_order() -> None:
    peer, _ = opened(60_000)
    peer.passes(RTT)
    assert answer(peer, 1, segment(6)) == [10_001]
    assert answer(peer, 1, segment(6, 2)) == [11_001]
    peer.passes(MS)
    sent = answer(peer, 1, segment(6, 3))
    peer.passes(MS)
    sent += answer(peer, 1, segment(6, 4))
    peer.passes(RTT - 2 * MS)
    sent += answer(peer, 1, segment(6, 5)) + answer(peer, 1, segment(6, 6))
    peer.passes(MS)
    sent += answer(peer, 1001, segment(6, 6))
    peer.passes(MS)
    sent += answer(peer, 2001, segment(6, 6))
    peer.passes(RTT)
    for ack in (3001, 4001, 5001):
        sent += answer(peer, ack, segment(6, 6))
    assert sent[:6] == [1, 1001, 2001, 3001, 4001, 5001], "new data only behind the last hole"
    assert len(sent) > 6
    assert all(start > 11_001 for start in sent[6:])


# RFC6675-07
def test_duplicates_count_from_the_latest_advance() -> None:
    """Two, then an ACK that advances, then two more: none of the two runs is long enough."""
    peer, _ = opened(10_000, sack=False, window=10_000)
    peer.passes(RTT)
    assert [answer(peer, 1) for _ in range(2)] == [[], []]
    assert answer(peer, 1001, window=9000) == []
    assert [answer(peer, 1001, window=9000) for _ in range(3)] == [[], [], [1001]]


# RFC6675-07
def test_duplicates_without_new_reports_do_not_count() -> None:
    peer, user = opened(10_000)
    peer.passes(RTT)
    for _ in range(10):
        assert answer(peer, 1, segment(1)) == []
    assert user.conn.info(peer.now).recoveries == 0


# RFC6675-09, RFC2018-12, RFC5681-09
def test_recovery_halves_what_was_in_flight_and_sends_the_first_hole() -> None:
    peer, user = opened(10_000)
    peer.passes(RTT)
    assert answer(peer, 1, segment(1, 3)) == [1]
    assert ssthresh(user) == 5
    answer(peer, 1, segment(1, 9))
    peer.passes(RTT)
    answer(peer, 10_001)
    assert (cwnd(user), ssthresh(user)) == (5, 5)


# RFC5681-22
def test_limited_transmit_is_left_out_when_the_window_is_halved_with_sack() -> None:
    """RFC 6675 5, step 4.2, says so once more: ten were in flight, and two left since for the first two duplicates."""
    peer, user = opened(60_000)
    peer.passes(RTT)
    assert answer(peer, 1, segment(1)) == [10_001]
    assert answer(peer, 1, segment(1, 2)) == [11_001]
    assert answer(peer, 1, segment(1, 3)) == [1]
    assert ssthresh(user) == 5


# RFC6675-10
def test_recovery_ends_with_what_was_sent_when_it_began() -> None:
    """Hole 0 begins it with 0 to 9 out. ACKs below 10001 leave the window to recovery, 10001 ends it."""
    peer, user = opened(60_000)
    peer.passes(RTT)
    answer(peer, 1, segment(1, 3))
    for count in range(4, 8):
        answer(peer, 1, segment(1, count))
    peer.passes(RTT)
    answer(peer, 8001)
    assert user.conn.snd.congestion.cwnd == ssthresh(user) * MSS or cwnd(user) <= ssthresh(user)
    before = ssthresh(user)
    answer(peer, 10_001)
    assert (cwnd(user), ssthresh(user)) == (5, before)
    assert user.conn.info(peer.now).recoveries == 1


# RFC6675-11
def test_reports_above_the_end_of_recovery_are_kept() -> None:
    """Hole 0, recovered; behind 9, hole 10 was told before: 11 to 13 are not sent again."""
    peer, user = opened(60_000)
    peer.passes(RTT)
    sent = answer(peer, 1, segment(1, 3))
    for count in range(4, 10):
        sent += answer(peer, 1, segment(1, count))
    assert {10_001, 11_001, 12_001} <= set(sent)
    peer.passes(RTT)
    answer(peer, 1, segment(11, 2), segment(1, 9))
    resent = answer(peer, 10_001, segment(11, 2))
    assert user.conn.info(peer.now).sacked == 2
    peer.passes(RTT)
    resent += starts(peer.takes()) + answer(peer, 10_001, segment(11, 3))
    resent += starts(peer.gathers(RTT))
    assert not {11_001, 12_001} & set(resent)


# RFC6675-14
def test_time_out_in_recovery_ends_it_and_no_new_one_begins_below_what_was_out() -> None:
    """The retransmission of 0 is lost. After the time-out, reports about 1 to 9 halve nothing again."""
    peer, user = opened(10_000)
    peer.passes(RTT)
    assert answer(peer, 1, segment(1, 3)) == [1]
    assert starts(peer.gathers(RTO + 10 * MS))[:1] == [1]
    info = user.conn.info(peer.now)
    assert (info.timeouts, info.snd_cwnd, info.recoveries) == (1, 1, 1)
    before = ssthresh(user)
    for count in range(4, 9):
        answer(peer, 1, segment(1, count))
    info = user.conn.info(peer.now)
    assert (info.recoveries, ssthresh(user)) == (1, before)


def test_sack_can_be_left_out() -> None:
    """Without agreement on it there is no scoreboard, and blocks mean nothing."""
    peer, user = opened(10_000, options=NEWRENO.replace(sack=False))
    peer.passes(RTT)
    answer(peer, 1, segment(1, 3))
    info = user.conn.info(peer.now)
    assert not info.sack
    assert (info.sacked, info.recoveries) == (0, 0)
    assert isinstance(TcpOptions().sack, bool)
