"""NewReno's arithmetic, worked out by hand from RFC 5681."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.tcp.congestion import AckSummary, NewReno

MSS = 1000


def acked(size: int, *, flight: int = 100 * MSS, app_limited: bool = False) -> AckSummary:
    return AckSummary(size, flight, -1, app_limited)


def in_avoidance(cwnd: int) -> NewReno:
    control = NewReno(MSS)
    control.cwnd = control.ssthresh = cwnd
    return control


@pytest.mark.parametrize(
    ("mss", "window"),
    [(536, 5360), (1000, 10_000), (1460, 14_600), (2000, 14_600), (8960, 17_920), (65_483, 130_966)],
)
def test_initial_window(mss: int, window: int) -> None:
    """RFC 6928 2: min (10*MSS, max (2*MSS, 14600))."""
    assert NewReno(mss).cwnd == window


def test_slow_start_doubles_each_round() -> None:
    control = NewReno(MSS)
    for expected in (20, 40, 80):
        for _ in range(control.cwnd // MSS):
            control.on_ack(acked(MSS), 0)
        assert control.cwnd == expected * MSS


def test_slow_start_counts_at_most_a_segment_an_ack() -> None:
    control = NewReno(MSS)
    control.on_ack(acked(5 * MSS), 0)
    assert control.cwnd == 11 * MSS
    control.on_ack(acked(10), 0)
    assert control.cwnd == 11 * MSS + 10


@pytest.mark.parametrize("piece", [1, 10, 100, 1000])
def test_dividing_acks_gains_nothing(piece: int) -> None:
    """Savage et al.: what counts is bytes acknowledged, not ACKs."""
    control, avoiding = NewReno(MSS), in_avoidance(10 * MSS)
    for _ in range(10 * MSS // piece):
        control.on_ack(acked(piece), 0)
        avoiding.on_ack(acked(piece), 0)
    assert control.cwnd == 20 * MSS
    assert avoiding.cwnd == 11 * MSS


def test_avoidance_adds_a_segment_each_window() -> None:
    control = in_avoidance(10 * MSS)
    for round_ in range(1, 6):
        for _ in range(control.cwnd // MSS):
            control.on_ack(acked(MSS), 0)
        assert control.cwnd == (10 + round_) * MSS


def test_unused_window_does_not_grow() -> None:
    control = NewReno(MSS)
    control.on_ack(acked(MSS, app_limited=True), 0)
    assert control.cwnd == 10 * MSS


def test_loss_halves_what_is_in_flight() -> None:
    """RFC 5681 3.1, equation 4; how the window gets there is for whoever repairs the loss to say."""
    control = NewReno(MSS)
    control.cwnd = 20 * MSS
    control.on_loss(20 * MSS, 0)
    assert (control.ssthresh, control.cwnd) == (10 * MSS, 20 * MSS)
    control.on_recovered(0)
    assert control.cwnd == 10 * MSS
    control.on_loss(3 * MSS, 0)
    assert control.ssthresh == 2 * MSS


def test_mark_halves_at_once() -> None:
    """RFC 3168 6.1.2; at two segments it goes on down to one, with ssthresh at two."""
    control = NewReno(MSS)
    control.cwnd = 20 * MSS
    control.on_ecn(20 * MSS, 0)
    assert (control.ssthresh, control.cwnd) == (10 * MSS, 10 * MSS)
    control.cwnd = 2 * MSS
    control.on_ecn(2 * MSS, 0)
    assert (control.ssthresh, control.cwnd) == (2 * MSS, MSS)


def test_undo_gives_back_what_was_there_and_no_less() -> None:
    control = NewReno(MSS)
    control.on_timeout(10 * MSS, True, 0)
    control.on_undo(10 * MSS, 1 << 30, 0)
    assert (control.cwnd, control.ssthresh) == (10 * MSS, 1 << 30)
    control.cwnd = 15 * MSS
    control.on_undo(10 * MSS, 5 * MSS, 0)
    assert (control.cwnd, control.ssthresh) == (15 * MSS, 1 << 30)


def test_idle_leaves_the_initial_window() -> None:
    """RFC 5681 4.1: never more than before."""
    control = NewReno(MSS)
    control.cwnd = 50 * MSS
    control.on_idle(0)
    assert control.cwnd == 10 * MSS
    control.cwnd = 3 * MSS
    control.on_idle(0)
    assert control.cwnd == 3 * MSS


def test_smaller_segments_keep_their_number() -> None:
    control = NewReno(MSS)
    control.cwnd = 20 * MSS
    control.on_mss(500)
    assert (control.mss, control.cwnd) == (500, 20 * 500)
    control.on_mss(1000)
    assert (control.mss, control.cwnd) == (1000, 20 * 500)


@pytest.mark.parametrize(("flight", "ssthresh"), [(20 * MSS, 10 * MSS), (3 * MSS, 2 * MSS), (0, 2 * MSS)])
def test_time_out(flight: int, ssthresh: int) -> None:
    control = NewReno(MSS)
    control.on_timeout(flight, True, 0)
    assert (control.ssthresh, control.cwnd) == (ssthresh, MSS)
    control.on_timeout(MSS, False, 0)  # the same data again
    assert (control.ssthresh, control.cwnd) == (ssthresh, MSS)


def test_lost_syn() -> None:
    control = NewReno(MSS)
    control.on_handshake_loss()
    assert control.cwnd == MSS


events = st.one_of(
    st.tuples(st.just("ack"), st.integers(1, 1 << 20)),
    st.tuples(st.just("loss"), st.integers(0, 1 << 30)),
    st.tuples(st.just("mark"), st.integers(0, 1 << 30)),
    st.tuples(st.just("recovered"), st.just(0)),
    st.tuples(st.just("timeout"), st.integers(0, 1 << 30)),
)


@given(st.lists(events, max_size=60))
def test_window_stays_sane(steps: list[tuple[str, int]]) -> None:
    """Never less than a segment, and at most a segment more by one event."""
    control = NewReno(MSS)
    for kind, size in steps:
        before = control.cwnd
        if kind == "ack":
            control.on_ack(acked(size), 0)
        elif kind == "loss":
            control.on_loss(size, 0)
        elif kind == "mark":
            control.on_ecn(size, 0)
            assert control.cwnd <= before
        elif kind == "recovered":
            control.on_recovered(0)
            before = max(before, control.ssthresh)
        else:
            control.on_timeout(size, True, 0)
            assert control.cwnd == MSS
        assert MSS <= control.cwnd <= before + MSS
        assert control.ssthresh >= 2 * MSS
