"""The congestion window (RFC 5681 2 to 4.1), where `test_congestion` does not say it already."""

from __future__ import annotations

import itertools

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.congestion import AckSummary, CongestionControl, Cubic, NewReno
from stack.wire.units import SECOND
from tests.support.flight import MSS, NEWRENO, RTT, answer, cwnd, opened, segment, ssthresh, starts

CONTROLLERS = pytest.mark.parametrize("controller", [NewReno, Cubic])


def _ack(control: CongestionControl, acked: int, now: int = 0) -> None:
    control.on_ack(AckSummary(acked, control.cwnd, RTT, False, delivered=acked), now)


# RFC5681-01
@pytest.mark.parametrize("window", [500, 3000, 7500, 10_000, 30_000])
@pytest.mark.parametrize("congestion", ["newreno", "cubic"])
def test_never_beyond_either_window(window: int, congestion: str) -> None:
    """What was sent ends at the latest ACK and the smaller of both, in every round of slow start."""
    peer, user = opened(0, options=TcpOptions(congestion=congestion), window=window)
    user.write(60_000)
    for _ in range(5):
        edge = user.conn.snd.una + min(user.conn.snd.congestion.cwnd, window)
        assert all(seen.end <= edge for seen in peer.takes())
        peer.passes(RTT)
        peer.sends(f". 1:1(0) ack {user.conn.snd.nxt}")
    peer.takes()


# RFC5681-01, RFC5681-02
def test_silly_acks_let_nothing_more_go() -> None:
    """Old ACKs, ACKs of nothing, of what was never sent, and reports of it."""
    peer, user = opened(60_000)
    peer.passes(RTT)
    assert len(answer(peer, 5001)) == 6
    before = user.conn.snd.nxt
    for line in ("ack 1", "ack 4001", "ack 60001", "ack 5001 <sack 40001:50001>", "ack 5001 <sack 1:5001>"):
        peer.sends(f". 1:1(0) {line}")
        assert starts(peer.takes()) == []
    assert user.conn.snd.nxt == before


@pytest.mark.parametrize("sack", [True, False])
def test_acks_of_one_batch_do_not_shrink_what_was_in_flight(sack: bool) -> None:
    """Ten segments were out when the sixth was lost. Five ACKs and three duplicates are read at once: FlightSize is
    what was out before, for nothing could follow in between."""
    peer, user = opened(60_000, sack=sack)
    peer.passes(RTT)
    acks = [f". 1:1(0) ack {1001 + MSS * number}" for number in range(5)]
    blocks = [f" <sack {segment(6, count)}>" if sack else "" for count in (1, 2, 3)]
    peer.sends(*acks, *[f". 1:1(0) ack 5001{block}" for block in blocks])
    peer.takes()
    assert ssthresh(user) == 5


# RFC5681-06
@pytest.mark.parametrize("congestion", ["newreno", "cubic"])
def test_lost_syn_leaves_one_segment(congestion: str) -> None:
    control = {"newreno": NewReno, "cubic": Cubic}[congestion](MSS)
    control.on_handshake_loss()
    assert control.cwnd == MSS


# RFC5681-07
@CONTROLLERS
def test_smaller_segments_keep_their_number(controller: type[CongestionControl]) -> None:
    """The path's MTU has shrunk: the window in octets shrinks in proportion. When it grows, the window does not."""
    control = controller(MSS)
    control.on_mss(500)
    assert (control.cwnd, control.mss) == (5000, 500)
    control.on_mss(1000)
    assert (control.cwnd, control.mss) == (5000, 1000)


# RFC5681-08
@CONTROLLERS
def test_ssthresh_is_arbitrarily_high_at_first(controller: type[CongestionControl]) -> None:
    """Above any window that can be offered."""
    assert controller(MSS).ssthresh >= 65535 << 14


# RFC5681-11, RFC5681-12, RFC5681-13
@pytest.mark.parametrize("piece", [100, 1000, 2000, 5000])
def test_avoidance_adds_a_segment_for_each_window_of_octets(piece: int) -> None:
    """By octets that are acknowledged, not by ACKs."""
    control = NewReno(MSS)
    control.cwnd = control.ssthresh = 20 * MSS
    for window in range(20, 30):
        assert control.cwnd == window * MSS
        acked = 0
        while acked < window * MSS:
            _ack(control, min(piece, window * MSS - acked))
            acked += piece
    assert control.cwnd == 30 * MSS


# RFC5681-14
def test_avoidance_grows_windows_of_any_size() -> None:
    """SMSS * SMSS / cwnd would be zero: here it is 2 GB of window, and a segment for each of them all the same."""
    control = NewReno(MSS)
    control.cwnd = control.ssthresh = 2_000_000 * MSS
    for _ in range(2000):
        _ack(control, 1000 * MSS)
    assert control.cwnd == 2_000_001 * MSS


# RFC5681-09, RFC5681-15
@CONTROLLERS
@pytest.mark.parametrize("flight", [100, 10, 3, 1, 0])
def test_congestion_lowers_ssthresh(controller: type[CongestionControl], flight: int) -> None:
    control = controller(MSS)
    control.cwnd = 100 * MSS
    control.on_timeout(flight * MSS, True, 0)
    share = flight * 0.5 if controller is NewReno else flight * 0.7
    assert control.ssthresh == max(round(share * MSS), 2 * MSS)
    assert control.cwnd == MSS


# RFC5681-27
@pytest.mark.parametrize("congestion", ["newreno", "cubic"])
@pytest.mark.parametrize("sack", [False, True])
def test_idle_longer_than_the_rto_means_the_restart_window(congestion: str, sack: bool) -> None:
    """No more than the initial window; and a window that is smaller stays."""
    peer, user = opened(60_000, sack=sack, options=TcpOptions(congestion=congestion))
    while user.conn.snd.flight:
        peer.passes(RTT)
        for ack in range(user.conn.snd.una + 1000, user.conn.snd.nxt + 1, 1000):
            answer(peer, ack)
    assert cwnd(user) > 20
    peer.passes(SECOND)
    user.write(40_000)
    assert len(peer.takes()) == 10
    assert cwnd(user) == 10


# RFC5681-27
def test_short_pause_is_no_idle_time() -> None:
    peer, user = opened(20_000)
    while user.conn.snd.flight:
        peer.passes(RTT)
        for ack in range(user.conn.snd.una + 1000, user.conn.snd.nxt + 1, 1000):
            answer(peer, ack)
    window = cwnd(user)
    assert window > 10
    peer.passes(RTT)
    user.write(60_000)
    assert len(peer.takes()) == window


# RFC5681-27
def test_window_rests_while_the_peers_is_closed() -> None:
    """It is before sending that the idle time counts; what the persist timer asks is no sending."""
    peer, user = opened(20_000)
    while user.conn.snd.flight:
        peer.passes(RTT)
        for ack in range(user.conn.snd.una + 1000, user.conn.snd.nxt + 1, 1000):
            answer(peer, ack, window=0 if ack == 20_001 else 65535)
    window = cwnd(user)
    assert window > 10
    user.write(60_000)
    peer.passes(10 * SECOND)
    assert {seen.size for seen in peer.takes()} == {1}
    assert cwnd(user) == window
    answer(peer, 20_001, window=65535)
    assert cwnd(user) == 10


# RFC5681-27
def test_small_window_stays_small_while_idle() -> None:
    peer, user = opened(10_000, options=NEWRENO)
    peer.passes(RTT)
    answer(peer, 1, segment(1, 9))
    peer.passes(RTT)
    answer(peer, 10_001)
    assert (cwnd(user), ssthresh(user)) == (5, 5)
    peer.passes(10 * SECOND)
    user.write(20_000)
    assert len(peer.takes()) == 5


# RFC5681-03, RFC5681-10, RFC5681-02
@pytest.mark.parametrize("congestion", ["newreno"])
def test_slow_start_adds_at_most_a_segment_for_an_ack(congestion: str) -> None:
    """One that acknowledges four, one that acknowledges half of one."""
    peer, user = opened(60_000, options=TcpOptions(congestion=congestion))
    peer.passes(RTT)
    answer(peer, 4001)
    assert user.conn.snd.congestion.cwnd == 11 * MSS
    answer(peer, 4501)
    assert user.conn.snd.congestion.cwnd == 11 * MSS + 500


# RFC5681-03
@pytest.mark.parametrize("congestion", ["newreno", "cubic"])
def test_slow_start_and_then_avoidance(congestion: str) -> None:
    """After a time-out: below ssthresh the window doubles, from there on it grows by about a segment a round trip."""
    peer, user = opened(60_000, sack=False, options=TcpOptions(congestion=congestion), window=20_000)
    while not user.conn.info(peer.now).timeouts:
        assert peer.bench.step(peer.now + SECOND)
    sent = starts(peer.takes())
    windows = []
    for _ in range(9):
        peer.passes(RTT)
        fresh: list[int] = []
        for start in sent:
            fresh += answer(peer, max(start + MSS, user.conn.snd.una))
        sent = fresh
        windows.append(cwnd(user))
    threshold = ssthresh(user)
    assert windows[0] == 2
    below = [window for window in windows if window < threshold]
    assert all(later >= 1.5 * earlier for earlier, later in itertools.pairwise(below))
    above = [window for window in windows if window > threshold]
    assert len(above) >= 2
    assert all(0 <= later - earlier <= 1 for earlier, later in itertools.pairwise(above))
