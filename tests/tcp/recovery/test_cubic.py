"""CUBIC (RFC 9438): the window over time, computed here in floats from the RFC's equations."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.congestion import AckSummary, Cubic
from stack.wire.units import MS, SECOND, Duration, Time
from tests.support.flight import RTT, answer, cwnd, opened, segment, ssthresh, starts

MSS = 1000
C = 0.4
BETA = 0.7
LONG: Duration = 200 * MS  #: A round trip so long that the curve, not Reno, decides.


def _ack(control: Cubic, now: Time, *, rtt: Duration = LONG, acked: int = MSS, app_limited: bool = False) -> None:
    control.on_ack(AckSummary(acked, control.cwnd, rtt, app_limited, delivered=acked, srtt=rtt), now)


def _in_avoidance(window: int, *, w_max: int | None = None) -> Cubic:
    """At a window in segments, after a loss at `w_max` segments, or without a memory of one."""
    control = Cubic(MSS)
    control.cwnd = (w_max or window) * MSS
    control.on_loss(control.cwnd, 0)
    if w_max is None:
        control.on_timeout(control.cwnd, False, 0)
    control.cwnd = control.ssthresh = window * MSS
    return control


def _rounds(control: Cubic, start: Time, stop: Time, *, rtt: Duration = LONG) -> None:
    """Every segment of a window is acknowledged, spread over the round trip."""
    now = start
    while now < stop:
        step = max(rtt * MSS // control.cwnd, 1)
        now += step
        _ack(control, now, rtt=rtt)


def _curve(seconds: float, w_max: float, cwnd_epoch: float) -> float:
    """W_cubic(t) in segments (equations 1 and 2)."""
    k: float = ((w_max - cwnd_epoch) / C) ** (1 / 3)
    return float(C * (seconds - k) ** 3 + w_max)


def _follows(control: Cubic, w_max: float, cwnd_epoch: float) -> None:
    """From now on the window is on that curve: half way to the plateau, and on it."""
    k = ((w_max - cwnd_epoch) / C) ** (1 / 3)
    _ack(control, 0)
    half = round(k / 2 * SECOND)
    _rounds(control, 0, half)
    assert abs(control.cwnd / MSS - _curve(k / 2, w_max, cwnd_epoch)) <= 0.03 * w_max
    _rounds(control, half, 2 * half)
    assert abs(control.cwnd / MSS - w_max) <= 0.015 * w_max


# RFC9438-02, RFC9438-04, RFC9438-12
# RFC 9293 MAY-18
@pytest.mark.parametrize("seconds", [1, 3, 5, 7, 9, 12])
def test_window_follows_the_curve(seconds: int) -> None:
    """Concave up to W_max, convex beyond it. A window grows towards what the curve says one round trip ahead, so that
    it is on the curve, give or take a round trip's growth."""
    control = _in_avoidance(140, w_max=200)
    _ack(control, 0)
    _rounds(control, 0, seconds * SECOND)
    expected = _curve(seconds, 200, 140)
    ahead = _curve(seconds + LONG / SECOND, 200, 140)
    assert expected * 0.97 <= control.cwnd / MSS <= ahead * 1.02 + 1


# RFC9438-02
def test_plateau_lies_at_the_window_of_the_loss() -> None:
    """K = cubic_root((200 - 140) / 0.4), which is 5.3 s: around then the window is W_max, and hardly moves."""
    control = _in_avoidance(140, w_max=200)
    _ack(control, 0)
    _rounds(control, 0, 5 * SECOND)
    before = control.cwnd
    _rounds(control, 5 * SECOND, 5 * SECOND + 600 * MS)
    assert abs(before - 200 * MSS) < 2 * MSS
    assert control.cwnd - before < MSS


# RFC9438-02
def test_target_is_at_most_one_and_a_half_windows() -> None:
    """However far the curve is ahead: one round trip adds half a window at most."""
    control = _in_avoidance(100, w_max=100)
    _ack(control, 0)
    before = control.cwnd
    acked = 0
    while acked < before:
        _ack(control, 60 * SECOND)
        acked += MSS
    assert 1.35 * before <= control.cwnd <= 1.5 * before + MSS


# RFC9438-02
def test_window_does_not_fall_while_nothing_is_lost() -> None:
    """The target is never below cwnd, even where the curve is."""
    control = _in_avoidance(199, w_max=200)
    for number in range(1000):
        before = control.cwnd
        _ack(control, number * MS)
        assert control.cwnd >= before


# RFC9438-04
def test_each_segment_adds_its_share_of_the_way_to_the_target() -> None:
    """(target - cwnd) / cwnd for an ACK of a segment, and five times that for an ACK of five."""
    one, five = _in_avoidance(140, w_max=200), _in_avoidance(140, w_max=200)
    for control in (one, five):
        _ack(control, 0, acked=1)
    before = one.cwnd
    target = _curve(0.5 + 0.2, 200, 140) * MSS
    _ack(one, 500 * MS)
    _ack(five, 500 * MS, acked=5 * MSS)
    share = (target - before) * MSS / before
    assert abs(one.cwnd - before - share) <= 0.03 * share + 2
    assert abs(five.cwnd - before - 5 * share) <= 0.03 * 5 * share + 2


# RFC9438-03
def test_reno_friendly_region() -> None:
    """A short round trip and a small window: W_est grows by alpha = 3 * 0.3 / 1.7 of a segment a window, and is the
    window, as long as it is below the one before the loss; then by a whole one."""
    control = _in_avoidance(14, w_max=20)
    _ack(control, 0, rtt=1 * MS)
    windows = []
    now = 0
    for _ in range(24):
        acked, goal = 0, control.cwnd
        while acked < goal:
            now += 1 * MS * MSS // goal
            _ack(control, now, rtt=1 * MS)
            acked += MSS
        windows.append(control.cwnd / MSS)
    alpha = 3 * (1 - BETA) / (1 + BETA)
    assert abs(windows[9] - (14 + 10 * alpha)) < 0.6
    late = windows[-1] - windows[-6]
    assert abs(late - 5) < 0.5, "a segment a round trip, like Reno"


# RFC9438-01
def test_time_without_data_to_send_does_not_count() -> None:
    """Ten seconds in which the window was not used, in the middle of two seconds in which it was."""
    busy, idle = _in_avoidance(140, w_max=200), _in_avoidance(140, w_max=200)
    for control in (busy, idle):
        _ack(control, 0)
        _rounds(control, 0, SECOND)
    for number in range(1, 101):
        _ack(idle, SECOND + number * 100 * MS, app_limited=True)
    _rounds(busy, SECOND, 2 * SECOND)
    _rounds(idle, 11 * SECOND, 12 * SECOND)
    assert abs(busy.cwnd - idle.cwnd) <= 2 * MSS


# RFC9438-06
def test_unused_window_does_not_grow() -> None:
    control = _in_avoidance(140, w_max=200)
    for number in range(1000):
        _ack(control, number * 10 * MS, app_limited=True)
    assert control.cwnd == 140 * MSS


# RFC9438-06
def test_loss_in_an_unused_window_counts_what_was_in_flight() -> None:
    control = _in_avoidance(140, w_max=200)
    control.on_loss(20 * MSS, 0)
    assert control.ssthresh == 14 * MSS


# RFC9438-05
@pytest.mark.parametrize(("window", "expected"), [(100, 70), (10, 7), (3, 2.1), (2, 2), (1, 2)])
def test_loss_leaves_seven_tenths_and_two_segments_at_least(window: int, expected: float) -> None:
    control = _in_avoidance(window)
    control.on_loss(window * MSS, 0)
    assert control.ssthresh == expected * MSS


# RFC9438-05
def test_ssthresh_is_set_when_recovery_begins() -> None:
    """And cwnd with it, from this very ACK on, at the pace of PRR: one leaves, though nine were delivered at once."""
    peer, user = opened(60_000, options=TcpOptions(congestion="cubic"))
    peer.passes(RTT)
    answer(peer, 1, segment(1, 3))
    assert ssthresh(user) == 7
    assert cwnd(user) < 10
    peer.passes(RTT)
    answer(peer, user.conn.snd.repair.recover)
    assert cwnd(user) == 7


# RFC9438-07
def test_marks_reduce_down_to_one_segment() -> None:
    control = _in_avoidance(8)
    windows = []
    for _ in range(6):
        control.on_ecn(control.cwnd, 0)
        windows.append(control.cwnd)
        assert control.ssthresh >= 2 * MSS
    assert windows[-1] == MSS
    assert windows == sorted(windows, reverse=True)


# RFC9438-08
def test_fast_convergence() -> None:
    """A loss at 100 after one at 200: W_max becomes 85, and the plateau lies there."""
    control = _in_avoidance(100, w_max=200)
    control.on_loss(100 * MSS, 0)
    control.on_recovered(0)
    assert control.cwnd == 70 * MSS
    _follows(control, 85, 70)


# RFC9438-08
def test_no_convergence_when_the_window_is_larger_than_before() -> None:
    control = _in_avoidance(140, w_max=100)
    control.on_loss(140 * MSS, 0)
    control.on_recovered(0)
    _follows(control, 140, 98)


# RFC9438-09
def test_after_a_time_out_avoidance_begins_without_a_memory() -> None:
    """cwnd is the loss window; at ssthresh K is 0 and W_max is cwnd: the convex part begins at once."""
    control = _in_avoidance(140, w_max=200)
    control.on_timeout(140 * MSS, True, 0)
    assert (control.cwnd, control.ssthresh) == (MSS, 98 * MSS)
    now = 0
    while control.cwnd < control.ssthresh:
        now += MS
        _ack(control, now)
    begun = control.cwnd / MSS
    _ack(control, now)
    _rounds(control, now, now + 6 * SECOND)
    expected = begun + C * 6**3
    assert 0.95 * expected <= control.cwnd / MSS <= 1.1 * expected


# RFC9438-09
def test_second_time_out_of_the_same_data_leaves_ssthresh() -> None:
    control = _in_avoidance(140, w_max=200)
    control.on_timeout(140 * MSS, True, 0)
    control.on_timeout(MSS, False, 0)
    assert (control.cwnd, control.ssthresh) == (MSS, 98 * MSS)


# RFC9438-10
@pytest.mark.parametrize("by_time_out", [False, True])
def test_undo_restores_the_curve(by_time_out: bool) -> None:
    """After a loss that was none the plateau is where it was, 200, not where fast convergence had put it."""
    control = _in_avoidance(140, w_max=200)
    _ack(control, 0)
    before = control.cwnd, control.ssthresh
    if by_time_out:
        control.on_timeout(140 * MSS, True, 0)
    else:
        control.on_loss(140 * MSS, 0)
        control.cwnd = control.ssthresh
    control.on_undo(*before, 0)
    assert (control.cwnd, control.ssthresh) == before
    _follows(control, 200, 140)


# RFC9438-11
def test_slow_start_below_ssthresh() -> None:
    """HyStart++ at first, which grows by what each ACK acknowledges; the plain one later."""
    control = Cubic(MSS)
    for _ in range(10):
        _ack(control, 0)
    assert control.cwnd == 20 * MSS
    control.on_timeout(20 * MSS, True, 0)
    for _ in range(10):
        _ack(control, 0)
    assert control.cwnd == 11 * MSS


# RFC9438-11
def test_slow_start_on_the_wire() -> None:
    peer, _ = opened(60_000, options=TcpOptions(congestion="cubic"))
    peer.passes(RTT)
    sent = []
    for ack in range(1001, 10_002, 1000):
        sent += answer(peer, ack)
    assert len(sent) == 20
    assert starts(peer.takes()) == []
