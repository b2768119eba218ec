"""CUBIC: where the curve begins after a time-out, and what a pause does to it."""

from __future__ import annotations

import pytest

from stack.wire.units import MS, SECOND
from tests.tcp.unit.test_cubic import MSS, Path, summary


def test_the_time_to_the_plateau_is_forgotten_too() -> None:
    """RFC 9438 4.8: W_max is the window itself then, and K is 0, although the epoch before had one of seconds."""
    path = Path(100, 100)
    path.rounds(2)
    before = path.cwnd
    path.cubic.on_timeout(path.cubic.cwnd, True, path.now)
    while path.cubic.in_slow_start:
        path.cubic.on_ack(summary(MSS, 100), path.now)
    path.model.loss(before)
    path.model.cwnd, path.model.w_max = path.cwnd, 0.0
    for _ in range(6):
        path.rounds(5)
        path.agrees()


def test_a_pause_on_a_host_that_has_run_for_long_does_not_count() -> None:
    """RFC 9438 4.2: the curve goes on where it was."""
    paths = [Path(100, 100), Path(100, 100)]
    for pause, path in enumerate(paths):
        path.now = 3600 * SECOND
        path.rounds(10)
        for _ in range(30 * pause):
            path.now += 100 * MS
            path.ack(MSS, app_limited=True)
        path.rounds(40)
    assert paths[0].cwnd == pytest.approx(paths[1].cwnd, rel=0.002)
