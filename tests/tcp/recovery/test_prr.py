"""Proportional rate reduction (RFC 9937, before it RFC 6937), with the variables by hand and on the wire."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.prr import Prr
from stack.wire.units import MS
from tests.support.flight import MSS, RTT, answer, cwnd, opened, segment, ssthresh, starts

SSTHRESH = 10 * MSS


def _entered(flight: int = 20 * MSS) -> Prr:
    """Recovery under way, whose fast retransmit has left."""
    prr = Prr(flight)
    prr.on_sent(MSS)
    return prr


# RFC9937-03
def test_above_ssthresh_a_share_of_what_was_delivered_leaves() -> None:
    """ceil(prr_delivered * ssthresh / RecoverFS) - prr_out: every second segment, when the window is halved."""
    prr = _entered()
    pipe = 19 * MSS
    sent = []
    for _ in range(8):
        pipe -= MSS
        count = prr.cwnd(MSS, pipe, SSTHRESH, MSS, safe_ack=False) - pipe
        while count >= MSS:
            prr.on_sent(MSS)
            pipe += MSS
            count -= MSS
        sent.append(pipe)
    # Delivered 1 to 8 let out 0.5, 1 ... 4 in all, of which 1 had left; whole segments leave.
    assert sent == [MSS * number for number in (18, 17, 16, 16, 15, 15, 14, 14)]


# RFC9937-03
@pytest.mark.parametrize(
    ("delivered", "flight", "expected"),
    [(1, 20_000, 1), (999, 20_000, 500), (3000, 7000, 4286), (20_000, 20_000, 10_000)],
)
def test_share_is_rounded_up_in_octets(delivered: int, flight: int, expected: int) -> None:
    prr = Prr(flight)
    prr.on_sent(1)  # so that the fast retransmit is not forced
    pipe = SSTHRESH + 1
    assert prr.cwnd(delivered, pipe, SSTHRESH, MSS, safe_ack=False) - pipe == expected - 1


# RFC9937-04
def test_below_ssthresh_as_much_leaves_as_was_delivered() -> None:
    """Conservative: no more than this ACK says has left, if nothing is owed."""
    prr = _entered()
    prr.cwnd(MSS, 4 * MSS, SSTHRESH, MSS, safe_ack=False)
    assert prr.cwnd(2 * MSS, 3 * MSS, SSTHRESH, MSS, safe_ack=False) == 3 * MSS + 2 * MSS


# RFC9937-04
def test_below_ssthresh_what_was_not_made_up_for_is() -> None:
    """Six delivered, one out: five may leave."""
    prr = _entered()
    prr.cwnd(5 * MSS, 2 * MSS, SSTHRESH, MSS, safe_ack=False)
    assert prr.cwnd(MSS, 2 * MSS, SSTHRESH, MSS, safe_ack=False) == 2 * MSS + 5 * MSS


# RFC9937-04, RFC9937-08
def test_below_ssthresh_a_safe_ack_adds_a_segment() -> None:
    prr = _entered()
    prr.cwnd(MSS, 4 * MSS, SSTHRESH, MSS, safe_ack=False)
    assert prr.cwnd(MSS, 3 * MSS, SSTHRESH, MSS, safe_ack=True) == 3 * MSS + 2 * MSS


# RFC9937-05
def test_never_beyond_ssthresh() -> None:
    prr = _entered()
    assert prr.cwnd(9 * MSS, SSTHRESH - MSS, SSTHRESH, MSS, safe_ack=True) == SSTHRESH


# RFC9937-05
@pytest.mark.parametrize("pipe", [0, 9 * MSS, 19 * MSS])
def test_fast_retransmit_may_always_leave(pipe: int) -> None:
    assert Prr(20 * MSS).cwnd(0, pipe, SSTHRESH, MSS, safe_ack=False) >= pipe + MSS


# RFC9937-05
def test_nothing_is_forced_once_something_has_left() -> None:
    assert _entered().cwnd(0, 19 * MSS, SSTHRESH, MSS, safe_ack=False) == 19 * MSS


# RFC9937-07
def test_small_deliveries_add_up() -> None:
    """A hundred ACKs of ten octets let as much leave as one of a thousand."""
    prr, whole = _entered(), _entered()
    for _ in range(400):
        window = prr.cwnd(10, 15 * MSS, SSTHRESH, MSS, safe_ack=False)
    assert window == whole.cwnd(4000, 15 * MSS, SSTHRESH, MSS, safe_ack=False)


# On the wire: ten in flight, and NewReno's ssthresh is five.


# RFC9937-01, RFC9937-02
def test_recover_fs_is_the_flight_when_recovery_began() -> None:
    """Ten in flight; one ACK reports 1 to 3, and shows 0 lost. RecoverFS is 10, for the three count as delivered by it:
    sndcnt = ceil(3 * 5 / 10) segments, which is 1500 octets."""
    peer, user = opened(60_000)
    peer.passes(RTT)
    assert answer(peer, 1, segment(1, 3)) == [1]
    # cwnd = pipe + sndcnt; 6 were out, not reported and not lost.
    assert user.conn.snd.congestion.cwnd == 6 * MSS + 1500


# RFC9937-01
def test_recover_fs_leaves_out_what_was_reported_before() -> None:
    """Twelve in flight at the third report, of which two had been reported before: RecoverFS is 10."""
    peer, user = opened(60_000)
    peer.passes(RTT)
    for count in (1, 2, 3):
        answer(peer, 1, segment(1, count))
    assert answer(peer, 1, segment(1, 4)) == []
    congestion, pipe = user.conn.snd.congestion, 12 - 4
    share = -(-2 * congestion.ssthresh // 10)
    assert congestion.cwnd == pipe * MSS + max(share - MSS, 0)
    assert answer(peer, 1, segment(1, 5)) == []
    assert congestion.cwnd == (12 - 1 - 5 + 1) * MSS + 1500 - MSS, "half of three, of which one has left"


# RFC9937-02, RFC9937-03
@pytest.mark.parametrize("congestion", ["newreno", "cubic"])
def test_sending_goes_on_evenly_and_ends_at_ssthresh(congestion: str) -> None:
    """One loss in ten, reported one by one: about every second report lets one leave, and none lets a burst go."""
    peer, user = opened(60_000, options=TcpOptions(congestion=congestion))
    peer.passes(RTT)
    bursts = []
    for count in range(1, 10):
        bursts.append(len(answer(peer, 1, segment(1, count))))
        peer.passes(MS // 10)
    assert max(bursts) <= 1
    peer.passes(RTT)
    answer(peer, 10_001)
    info = user.conn.info(peer.now)
    assert info.snd_cwnd == info.snd_ssthresh
    assert info.unacked - info.sacked - info.lost <= info.snd_ssthresh


# RFC9937-06
def test_window_is_ssthresh_when_recovery_ends() -> None:
    """Not more, though the ACK that ends it acknowledges ten, and is no ACK of slow start or avoidance."""
    peer, user = opened(60_000)
    peer.passes(RTT)
    answer(peer, 1, segment(1, 3))
    peer.passes(RTT)
    answer(peer, user.conn.snd.repair.recover)
    assert user.conn.snd.congestion.cwnd == user.conn.snd.congestion.ssthresh


# RFC9937-08, RFC6675-12
def test_ack_that_advances_and_shows_no_loss_is_safe() -> None:
    """Below ssthresh: 0 to 5 are lost and 6 to 9 reported, so four leave. An ACK of the first lets one go for what it
    says was delivered, and one more."""
    peer, user = opened(10_000)
    peer.passes(RTT)
    assert answer(peer, 1, segment(6, 4)) == [1, 1001, 2001, 3001]
    peer.passes(RTT)
    assert answer(peer, 1001, segment(6, 4)) == [4001, 5001]
    assert cwnd(user) <= ssthresh(user)


# RFC9937-08, RFC6675-12
def test_ack_that_shows_another_loss_is_not_safe() -> None:
    """0 to 2 are lost, and one leaves. Then an ACK of 0 reports 9, and so shows that 6 to 8 are lost: nothing is in the
    network. Five were delivered and one has left: four may leave, and none on top."""
    peer, _ = opened(10_000)
    peer.passes(RTT)
    assert answer(peer, 1, segment(3, 3)) == [1]
    peer.passes(RTT)
    assert answer(peer, 1001, segment(9), segment(3, 3)) == [1001, 2001, 6001, 7001]


# RFC9937-06
def test_reordering_timer_begins_recovery_with_one_segment() -> None:
    """No ACK, nothing delivered: the fast retransmit alone leaves, whatever else is lost."""
    peer, _ = opened(10_000)
    peer.passes(RTT)
    answer(peer, 1, segment(8, 2))
    assert starts(peer.gathers(RTT // 4)) == [1]
