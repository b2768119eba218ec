"""CUBIC against a model of RFC 9438 in floating point, and its numbers by hand."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.tcp.congestion import AckSummary, Cubic
from stack.tcp.congestion.cubic import cube_root
from stack.wire.units import MS, SECOND, Time

MSS = 1000
BETA = 0.7
C = 0.4
ALPHA = 3 * (1 - BETA) / (1 + BETA)


class Model:
    """RFC 9438 4.1 to 4.7, in segments and seconds, from the first loss on."""

    def __init__(self) -> None:
        self.cwnd = self.w_max = self.cwnd_prior = 0.0
        self.epoch = -1.0

    def loss(self, cwnd: float) -> None:
        self.cwnd_prior = cwnd
        self.w_max = cwnd * (1 + BETA) / 2 if cwnd < self.w_max else cwnd  # 4.7
        self.cwnd = max(cwnd * BETA, 2)
        self.epoch = -1

    def ack(self, acked: float, rtt: float, now: float) -> None:
        if self.epoch < 0:
            self.epoch = now
            self.w_est = self.cwnd
            self.w_max = max(self.w_max, self.cwnd)
            self.k = math.cbrt((self.w_max - self.cwnd) / C)
        alpha = ALPHA if self.w_est < self.cwnd_prior else 1
        self.w_est += alpha * acked / self.cwnd
        elapsed = now - self.epoch
        if self.curve(elapsed) < self.w_est:
            self.cwnd = max(self.cwnd, self.w_est)
            return
        target = min(max(self.curve(elapsed + rtt), self.cwnd), 1.5 * self.cwnd)
        self.cwnd += (target - self.cwnd) / self.cwnd * acked

    def curve(self, elapsed: float) -> float:
        return C * (elapsed - self.k) ** 3 + self.w_max


class Path:
    """A controller in congestion avoidance and the model beside it, fed with the same ACKs."""

    def __init__(self, cwnd: int, rtt: int, mss: int = MSS) -> None:
        self.cubic = Cubic(mss)
        self.cubic.cwnd = cwnd * mss
        self.model = Model()
        self.mss = mss
        self.rtt = rtt
        self.now: Time = 0
        self.lose()

    @property
    def cwnd(self) -> float:
        return self.cubic.cwnd / self.mss

    def lose(self) -> None:
        self.model.loss(self.cwnd)
        self.cubic.on_loss(self.cubic.cwnd, self.now)
        self.cubic.on_recovered(self.now)

    def ack(self, acked: int, *, app_limited: bool = False) -> None:
        self.cubic.on_ack(summary(acked, self.rtt, app_limited=app_limited), self.now)
        if not app_limited:
            self.model.ack(acked / self.mss, self.rtt / 1000, self.now / SECOND)

    def rounds(self, count: int) -> None:
        """Full windows, acknowledged two segments at a time."""
        for _ in range(count):
            acks = max(self.cubic.cwnd // (2 * self.mss), 1)
            for _ in range(acks):
                self.now += self.rtt * MS // acks
                self.ack(2 * self.mss)

    def agrees(self, within: float = 0.01) -> None:
        assert self.cwnd == pytest.approx(self.model.cwnd, rel=within)


def summary(acked: int, rtt: int = -1, *, app_limited: bool = False, una: int = 0, nxt: int = 0) -> AckSummary:
    took = rtt * MS if rtt >= 0 else -1
    return AckSummary(acked, 0, took, app_limited, una=una, nxt=nxt, srtt=took)


# Against the model.


@pytest.mark.parametrize("rtt", [1, 10, 50, 100, 300])
@pytest.mark.parametrize("cwnd", [4, 20, 100, 1000])
def test_window_is_the_models(cwnd: int, rtt: int) -> None:
    """From one loss through the plateau and beyond it; in the Reno-friendly region, too, where the path is short."""
    path = Path(cwnd, rtt)
    for _ in range(10):
        path.rounds(8)
        path.agrees()


@pytest.mark.parametrize("mss", [500, 1448, 8948])
def test_segments_of_any_size(mss: int) -> None:
    path = Path(50, 100, mss)
    path.rounds(100)
    path.agrees()


@given(
    st.integers(4, 500),
    st.sampled_from([5, 20, 100, 250]),
    st.lists(st.integers(1, 25), min_size=1, max_size=5),
)
def test_window_is_the_models_over_several_losses(cwnd: int, rtt: int, losses: list[int]) -> None:
    path = Path(cwnd, rtt)
    for rounds in losses:
        path.rounds(rounds)
        path.agrees(0.02)
        path.model.cwnd = path.cwnd  # what rounding has made of it until now is not the next epoch's matter
        path.lose()


# By hand.


def test_loss_leaves_seven_tenths() -> None:
    """4.6; and never less than two segments."""
    cubic = Cubic(MSS)
    cubic.cwnd = 100 * MSS
    cubic.on_loss(100 * MSS, 0)
    assert cubic.ssthresh == 70 * MSS
    cubic.on_recovered(0)
    assert cubic.cwnd == 70 * MSS
    cubic.cwnd = 2 * MSS
    cubic.on_loss(2 * MSS, 0)
    assert cubic.ssthresh == 2 * MSS


def test_what_was_not_used_does_not_count() -> None:
    """4.6: a window larger than what was in flight says nothing about the path."""
    cubic = Cubic(MSS)
    cubic.cwnd = 100 * MSS
    cubic.on_loss(20 * MSS, 0)
    assert cubic.ssthresh == 14 * MSS


def test_window_is_back_where_the_loss_was_after_k() -> None:
    """W_max 100, cwnd 70: K = cbrt(30 / 0.4) = 4.217 s. At 6.3 s it is 0.4 * 2.083^3 = 3.6 segments more, and
    the window heads for where the curve is a round trip later, 5.4 more.
    """
    path = Path(100, 300)
    path.rounds(14)
    assert path.cwnd == pytest.approx(100, abs=0.5)
    path.rounds(7)
    assert 103.6 <= path.cwnd <= 105.4


def test_concave_then_convex() -> None:
    path = Path(100, 100)
    sizes = []
    for _ in range(8):
        path.rounds(10)
        sizes.append(path.cwnd)
    steps = [after - before for before, after in itertools.pairwise(sizes)]
    least = steps.index(min(steps))
    assert steps[:least] == sorted(steps[:least], reverse=True)
    assert steps[least:] == sorted(steps[least:])
    assert 2 <= least <= 4  # the plateau is at K


def test_fast_convergence() -> None:
    """4.7: who loses below the last maximum makes room for others; 80 * (1 + 0.7) / 2 = 68."""
    path = Path(100, 100)
    path.cubic.cwnd = 80 * MSS
    path.lose()
    path.rounds(60)  # K = cbrt((68 - 56) / 0.4) = 3.1 s
    assert path.model.w_max == 68
    path.agrees()


def test_window_grows_by_half_a_window_a_round_at_most() -> None:
    """4.2: the target is at most 1.5 cwnd, however long it took."""
    cubic = Cubic(MSS)
    cubic.cwnd = 100 * MSS
    cubic.on_loss(100 * MSS, 0)
    cubic.on_recovered(0)
    cubic.on_ack(summary(MSS, 100), 0)
    before = cubic.cwnd
    cubic.on_ack(summary(before, 100), 100 * SECOND)
    assert before < cubic.cwnd <= before * 3 // 2


def test_short_paths_follow_reno() -> None:
    """4.3: with 1 ms of round trip the curve is too slow; 9/17 of a segment a round until W_max, then one."""
    path = Path(20, 1)
    path.rounds(10)
    assert path.cwnd == pytest.approx(14 + 10 * 9 / 17, abs=0.5)
    while path.cwnd < 21:
        path.rounds(1)
    before = path.cwnd
    path.rounds(10)
    assert path.cwnd == pytest.approx(before + 10, abs=0.5)


def test_after_a_time_out_nothing_is_remembered() -> None:
    """4.8: slow start from one segment to ssthresh, then a curve that begins flat."""
    cubic = Cubic(MSS)
    cubic.cwnd = 100 * MSS
    cubic.on_timeout(100 * MSS, True, 0)
    assert (cubic.cwnd, cubic.ssthresh) == (MSS, 70 * MSS)
    now = 0
    while cubic.in_slow_start:
        before = cubic.cwnd
        cubic.on_ack(summary(2 * MSS, 10), now)
        assert cubic.cwnd == before + MSS  # RFC 5681 3.1: at most one segment an ACK
    cubic.on_ack(summary(MSS, 10), now)
    assert cubic.cwnd - 70 * MSS <= MSS
    cubic.on_timeout(10 * MSS, False, 0)
    assert (cubic.cwnd, cubic.ssthresh) == (MSS, 70 * MSS)


def test_undo_restores_the_curve() -> None:
    """4.9.1, 4.9.2: as if the loss had not been, W_max included."""
    path, other = Path(100, 100), Path(100, 100)
    path.rounds(20)
    other.rounds(20)
    cwnd, ssthresh = path.cubic.cwnd, path.cubic.ssthresh
    path.cubic.on_loss(cwnd, path.now)
    path.cubic.on_undo(cwnd, ssthresh, path.now)
    assert (path.cubic.cwnd, path.cubic.ssthresh) == (cwnd, ssthresh)
    path.lose()
    other.lose()
    path.rounds(20)
    other.rounds(20)
    assert path.cubic.cwnd == other.cubic.cwnd


def test_mark_is_a_loss_that_needs_no_recovery() -> None:
    """4.6: down to one segment, while ssthresh stays at two."""
    cubic = Cubic(MSS)
    cubic.cwnd = 100 * MSS
    cubic.on_ecn(100 * MSS, 0)
    assert (cubic.cwnd, cubic.ssthresh) == (70 * MSS, 70 * MSS)
    cubic.cwnd = 2 * MSS
    cubic.on_ecn(2 * MSS, 0)
    assert (cubic.cwnd, cubic.ssthresh) == (MSS, 2 * MSS)


# Windows that are not used.


def test_window_that_is_not_used_does_not_grow() -> None:
    path = Path(100, 100)
    path.rounds(10)
    before = path.cubic.cwnd
    for _ in range(100):
        path.now += SECOND
        path.ack(MSS, app_limited=True)
    assert path.cubic.cwnd == before


def test_time_in_which_it_was_not_used_does_not_count() -> None:
    """4.2: or the window would jump when the application comes back."""
    path = Path(100, 100)
    path.rounds(10)
    for _ in range(30):
        path.now += 100 * MS
        path.ack(MSS, app_limited=True)
    other = Path(100, 100)
    other.rounds(10)
    path.rounds(20)
    other.rounds(20)
    assert path.cwnd == pytest.approx(other.cwnd, rel=0.002)


def test_unused_window_does_not_grow_in_slow_start() -> None:
    cubic = Cubic(MSS)
    for number in range(50):
        cubic.on_ack(summary(MSS, 100, app_limited=True, una=number, nxt=number + 1), number * 100 * MS)
    assert cubic.cwnd == 10 * MSS


# Slow start is HyStart++'s, once.


def slow_start(cubic: Cubic, rounds: int, rtt: int, una: int = 0) -> int:
    for _ in range(rounds):
        nxt = una + cubic.cwnd
        for _ in range(cubic.cwnd // MSS):
            una += MSS
            cubic.on_ack(summary(MSS, rtt, una=una, nxt=nxt + MSS), una)
    return una


def test_slow_start_doubles_while_the_delay_is_steady() -> None:
    cubic = Cubic(MSS)
    slow_start(cubic, 4, 50)
    assert cubic.cwnd == 160 * MSS
    assert cubic.in_slow_start


def test_slow_start_ends_before_a_loss_where_the_delay_grows() -> None:
    cubic = Cubic(MSS)
    una = slow_start(cubic, 3, 50)
    before = cubic.cwnd
    for number in range(12):
        una = slow_start(cubic, 1, 60 + number, una)
    assert not cubic.in_slow_start
    assert cubic.ssthresh < 1 << 20
    assert cubic.cwnd < 8 * before


# Arithmetic.


@given(st.integers(0, 1 << 200))
def test_cube_root(number: int) -> None:
    root = cube_root(number)
    assert root**3 <= number < (root + 1) ** 3


def test_cube_root_of_cubes() -> None:
    assert [cube_root(number**3) for number in range(1000)] == list(range(1000))
    assert cube_root(-1) == 0


events = st.one_of(
    st.tuples(st.just("ack"), st.integers(1, 1 << 20)),
    st.tuples(st.just("idle ack"), st.integers(1, 1 << 20)),
    st.tuples(st.just("loss"), st.integers(0, 1 << 30)),
    st.tuples(st.just("mark"), st.integers(0, 1 << 30)),
    st.tuples(st.just("timeout"), st.integers(0, 1 << 30)),
    st.tuples(st.just("idle"), st.just(0)),
    st.tuples(st.just("wait"), st.integers(0, 1000 * SECOND)),
)


@given(st.lists(events, max_size=60))
def test_window_stays_sane(steps: list[tuple[str, int]]) -> None:
    """Never less than a segment; one ACK adds no more than it acknowledges, or half a window."""
    cubic = Cubic(MSS)
    now = una = 0
    for kind, size in steps:
        before = cubic.cwnd
        if kind == "wait":
            now += size
        elif kind in ("ack", "idle ack"):
            una += size
            cubic.on_ack(summary(size, 100, app_limited=kind == "idle ack", una=una, nxt=una + before), now)
            assert before <= cubic.cwnd <= before + max(size, before // 2)
        elif kind == "loss":
            cubic.on_loss(size, now)
            cubic.on_recovered(now)
        elif kind == "mark":
            cubic.on_ecn(size, now)
        elif kind == "idle":
            cubic.on_idle(now)
        else:
            cubic.on_timeout(size, True, now)
        assert cubic.cwnd >= MSS
        assert cubic.ssthresh >= 2 * MSS
        if kind not in ("ack", "loss"):
            assert cubic.cwnd <= before
