"""Tail loss probes (RFC 8985 7). SRTT is the handshake's 100 ms; a probe goes 2 ms late, so as not to cross an ACK."""

from __future__ import annotations

from stack.tcp.tlp import WORST_DELAYED_ACK
from stack.wire.units import MS, SECOND
from tests.support.flight import NEWRENO, PTO, RTO, RTT, answer, cwnd, opened, segment, ssthresh, starts
from tests.support.peer import Peer
from tests.support.user import User


def _probed(write: int = 5000) -> tuple[Peer, User]:
    """Five segments, silence, and the last of them sent again."""
    peer, user = opened(write)
    peer.sees(f"P. {write - 999}:{write + 1}(1000) ack 1", after=PTO)
    return peer, user


# RFC8985-10
def test_probe_after_two_round_trips() -> None:
    _probed()


# RFC8985-10
def test_probe_time_counts_from_the_last_new_data() -> None:
    """More data 50 ms later: the probe for both goes 202 ms after that, but not later than RTO after the first."""
    peer, user = opened(3000)
    peer.passes(50 * MS)
    user.write(1000)
    peer.takes()
    peer.sees("P. 3001:4001(1000) ack 1", after=PTO)


# RFC8985-10
def test_probe_time_counts_from_the_last_advance() -> None:
    peer, _ = opened(5000)
    peer.passes(RTT)
    answer(peer, 3001)
    peer.sees("P. 4001:5001(1000) ack 1", after=PTO)


# RFC8985-10
def test_lone_segment_may_wait_for_a_delayed_ack() -> None:
    """A worst delayed ACK is added. Here RTO is far away: its least is 1 s."""
    peer, _ = opened(1000, options=NEWRENO.replace(min_rto=1.0))
    peer.sees("P. 1:1001(1000) ack 1", after=PTO + WORST_DELAYED_ACK)
    peer.sees("P. 1:1001(1000) ack 1", after=RTT + SECOND)


# RFC8985-10
def test_probe_goes_no_later_than_the_time_out_would() -> None:
    """RFC 8985 7.2: a PTO beyond the RTO's expiry is cut to it. A lone lost segment is repaired by a probe then, and
    not by a time-out, with all that follows."""
    peer, user = opened(1000)
    peer.sees("P. 1:1001(1000) ack 1", after=RTO)
    assert user.conn.info(peer.now).timeouts == 0


# RFC8985-10
def test_probe_without_a_round_trip_measured() -> None:
    """One second. The SYN was sent twice, so that nothing was measured, and RTO is 3 s."""
    peer = Peer()
    user = peer.connect(options=NEWRENO)
    peer.sees("S 0:0(0) <...>")
    peer.sees("S 0:0(0) <...>", after=1 * SECOND)
    peer.sends("S. 0:0(0) ack 1 <mss 1000,sackOK>")
    peer.sees(". 1:1(0) ack 1")
    user.write(1000)
    peer.sees("P. 1:1001(1000) ack 1")
    peer.sees("P. 1:1001(1000) ack 1", after=1 * SECOND)
    assert user.conn.info(peer.now).timeouts == 1, "that of the SYN"


# RFC8985-10
def test_no_probe_while_something_is_reported() -> None:
    """RACK has evidence then, and its own timer."""
    peer, user = opened(5000)
    peer.passes(RTT)
    answer(peer, 1, segment(4))
    peer.gathers(RTT // 4)
    resent = user.conn.info(peer.now).total_retrans
    assert resent >= 1
    assert starts(peer.gathers(RTO - RTT))[-1:] != [4001]


# RFC8985-10
def test_no_probe_in_recovery() -> None:
    """Without reports left: 0 was lost, is sent again, and nothing comes back. The next is the time-out."""
    peer, user = opened(4000)
    peer.passes(RTT)
    answer(peer, 1, segment(1, 3))
    peer.sees_nothing(during=RTO - MS)  # since it was sent again (RFC 6298 5)
    peer.sees(". 1:1001(1000) ack 1", after=MS)
    assert user.conn.info(peer.now).timeouts == 1


# RFC8985-11, RFC8985-13
def test_one_probe_then_the_time_out() -> None:
    """The timer starts again with the probe: 300 ms, and then it backs off."""
    peer, user = _probed()
    peer.sees(". 1:1001(1000) ack 1", after=RTO)
    assert user.conn.info(peer.now).timeouts == 1
    peer.sees(". 1:1001(1000) ack 1", after=2 * RTO)


# RFC8985-11
def test_no_probe_without_a_sample_since_the_last_one() -> None:
    """The probe was answered with a D-SACK: no sample, for the segment was sent twice. The next is the time-out."""
    peer, user = _probed(1000 * 2)
    user.write(1000)
    peer.takes()
    peer.passes(MS)
    answer(peer, 2001, segment(1))
    peer.sees("P. 2001:3001(1000) ack 1", after=RTO)
    assert user.conn.info(peer.now).timeouts == 1


# RFC8985-12
def test_probe_is_new_data_where_there_is_some() -> None:
    """The congestion window is full, and does not count."""
    peer, user = opened(20_000)
    peer.sees(". 10001:11001(1000) ack 1", after=PTO)
    assert user.conn.info(peer.now).total_retrans == 0


# RFC8985-12
def test_probe_is_old_data_where_the_window_is_full() -> None:
    peer, user = opened(20_000, window=10_000)
    peer.sees(". 9001:10001(1000) ack 1", after=PTO)
    assert user.conn.info(peer.now).total_retrans == 1


def test_tail_loss_is_repaired_without_a_time_out() -> None:
    """3 and 4 of five are lost; the report of the probe, which is 4 again, lets RACK find 3."""
    peer, user = opened(5000)
    peer.passes(RTT)
    answer(peer, 3001)
    peer.sees("P. 4001:5001(1000) ack 1", after=PTO)
    peer.passes(RTT)
    resent = answer(peer, 3001, segment(4)) or starts(peer.gathers(RTT // 4))
    assert resent == [3001]
    peer.passes(RTT)
    answer(peer, 5001)
    assert (user.conn.info(peer.now).timeouts, ssthresh(user)) == (0, 2)


# RFC8985-14
def test_probe_that_repaired_a_loss_counts_as_congestion() -> None:
    """4 was lost, and the probe brought it; nothing was reported. The next data's ACK tells: the window is halved."""
    peer, user = _probed()
    peer.passes(RTT)
    answer(peer, 5001)
    user.write(10_000)
    peer.takes()
    peer.passes(RTT)
    before = cwnd(user)
    answer(peer, 7001)
    assert ssthresh(user) <= before // 2 + 1
    assert cwnd(user) <= before // 2 + 1


def test_loss_that_the_probe_repaired_is_one_of_the_whole_flight() -> None:
    """4 was lost, five more segments are out, and the ACKs for all come in one batch."""
    peer, user = opened(5000)
    peer.sees("P. 4001:5001(1000) ack 1", after=PTO)
    user.write(5000)
    assert len(starts(peer.takes())) == 5
    peer.sends(*[f". 1:1(0) ack {1001 + 1000 * number}" for number in range(10)])
    assert ssthresh(user) == 5


# RFC8985-14
def test_probe_that_repaired_nothing_counts_for_nothing() -> None:
    """A D-SACK: 4 had arrived, only the ACK was late or lost."""
    peer, user = _probed()
    peer.passes(RTT)
    answer(peer, 5001, segment(4))
    user.write(10_000)
    peer.takes()
    peer.passes(RTT)
    answer(peer, 7001)
    assert ssthresh(user) > 10


# RFC8985-14
def test_late_ack_and_then_the_dsack_of_the_probe() -> None:
    """First the ACK of the original, which leaves nothing outstanding; then the D-SACK for the probe. No loss."""
    peer, user = _probed()
    peer.passes(20 * MS)
    answer(peer, 5001)
    peer.passes(80 * MS)
    answer(peer, 5001, segment(4))
    user.write(10_000)
    peer.takes()
    peer.passes(RTT)
    answer(peer, 7001)
    assert ssthresh(user) > 10


# RFC8985-14
def test_late_ack_and_then_a_duplicate_for_the_probe() -> None:
    """The same with a peer that knows no D-SACK (RFC 8985 7.4.2: an ACK of TLP.end_seq that says nothing else)."""
    peer, user = _probed()
    user.write(1000)
    assert starts(peer.takes()) == [5001]
    peer.passes(20 * MS)
    answer(peer, 5001)
    peer.passes(80 * MS)
    answer(peer, 5001)
    peer.passes(RTT)
    answer(peer, 6001)
    user.write(2000)
    peer.takes()
    peer.passes(RTT)
    answer(peer, 8001)
    assert ssthresh(user) > 10


# RFC8985-14
def test_new_data_as_probe_hides_no_loss() -> None:
    peer, user = opened(11_000)
    peer.sees("P. 10001:11001(1000) ack 1", after=PTO)
    peer.passes(RTT)
    answer(peer, 11_001)
    user.write(2000)
    peer.takes()
    peer.passes(RTT)
    answer(peer, 13_001)
    assert ssthresh(user) > 10


# RFC8985-15
def test_ack_of_everything_stops_probe_and_time_out() -> None:
    peer, _ = opened(5000)
    peer.passes(PTO - MS)
    answer(peer, 5001)
    peer.sees_nothing(during=60 * SECOND)


# RFC8985-15
def test_time_out_ends_the_probe() -> None:
    """After it neither the probe nor RACK asks again before the doubled RTO."""
    peer, _ = _probed()
    peer.sees(". 1:1001(1000) ack 1", after=RTO)
    peer.sees_nothing(during=2 * RTO - MS)


def test_fin_is_probed_too() -> None:
    peer, user = opened(3000)
    user.close_write()
    peer.sees("F. 3001:3001(0) ack 1")
    peer.sees("F. 3001:3001(0) ack 1", after=PTO)


def test_idle_connection_is_not_probed() -> None:
    peer, _ = opened(3000)
    peer.passes(RTT)
    answer(peer, 3001)
    peer.sees_nothing(during=60 * SECOND)
