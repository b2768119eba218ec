"""Pacing: what the window allows is spread over the round trip, in bursts of a millisecond, with exact bills."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.congestion import NewReno
from stack.tcp.rtt import RttEstimator
from stack.tcp.sender import PACING_TICK, Sender
from stack.wire.units import MS, NEVER, SECOND

MSS = 1000
RTT = 100 * MS


def paced(cwnd: int = 100, *, ssthresh: int = 1 << 20, rate: int = 0) -> Sender:
    """After a handshake of 100 ms, with much to send."""
    snd = Sender(RttEstimator(TcpOptions()), NewReno(MSS), MSS, nodelay=False, paced=True)
    assert snd.next_chunk(0) == (0, 1)
    snd.on_ack(1, [], RTT, duplicate=False, echoed=-1, echo_tick=-1)
    snd.on_window(1 << 30, 1, 1)
    snd.congestion.cwnd, snd.congestion.ssthresh = cwnd * MSS, ssthresh * MSS
    snd.congestion.pacing_rate = rate
    snd.buffer.append(bytes(10_000 * MSS))
    return snd


def departures(snd: Sender, start: int, until: int) -> list[int]:
    """When each segment leaves, if we come back whenever pacing asks for it; in milliseconds."""
    now, times = start, []
    while now <= until:
        while snd.next_chunk(now) is not None:
            times.append(now // MS)
        if snd.pace_at == NEVER:
            break
        assert snd.pace_at > now + PACING_TICK
        now = snd.pace_at
    return times


@pytest.mark.parametrize(("ssthresh", "percent"), [(1 << 20, 200), (1, 120)])
def test_rate_is_a_window_a_round_trip_and_some(ssthresh: int, percent: int) -> None:
    """Twice in slow start, where the window doubles in a round trip; 1.2 times later."""
    assert paced(100, ssthresh=ssthresh).pacing_rate == 100 * MSS * 10 * percent // 100


def test_window_leaves_spread_over_the_round_trip() -> None:
    """100 segments at 1.2 windows a round trip: in 83 ms, and never more than two in a tick."""
    times = departures(paced(100, ssthresh=1), RTT, RTT + RTT)
    assert len(times) == 100
    assert 80 <= times[-1] - times[0] <= 84
    assert max(times.count(time) for time in times) <= 3


def test_long_run_rate_is_exact() -> None:
    """Bursts of a tick are billed to the nanosecond."""
    snd = paced(1 << 20, rate=3_000_000)
    times = departures(snd, RTT, RTT + SECOND)
    assert len(times) == pytest.approx(3000, abs=5)


def test_controller_may_choose_the_rate() -> None:
    assert paced(rate=12_345).pacing_rate == 12_345


def test_silence_is_not_saved_up() -> None:
    snd = paced(1 << 20, rate=1_000_000)
    assert len([time for time in departures(snd, RTT, RTT + 10 * MS) if time <= 110]) <= 12
    burst = 0
    while snd.next_chunk(5 * SECOND) is not None:
        burst += 1
    assert burst == 2  # what is due within a tick, and the one that is due now


def test_nothing_holds_back_before_the_first_round_trip() -> None:
    snd = Sender(RttEstimator(TcpOptions()), NewReno(MSS), MSS, nodelay=False, paced=True)
    assert snd.pacing_rate == 0
    assert snd.next_chunk(0) == (0, 1)
    assert snd.pace_at == NEVER
