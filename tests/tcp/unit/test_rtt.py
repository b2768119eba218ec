"""The retransmission time-out, with numbers worked out by hand from RFC 6298."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.tcp.config import TcpOptions
from stack.tcp.rtt import RttEstimator
from stack.wire.units import MS, SECOND, US


def estimator(**changes: float) -> RttEstimator:
    return RttEstimator(TcpOptions().replace(**changes))


def test_before_the_first_sample() -> None:
    rtt = estimator()
    assert (rtt.srtt, rtt.rto) == (-1, 1 * SECOND)  # 2.1


def test_first_sample() -> None:
    rtt = estimator(min_rto=0.0)
    rtt.on_sample(100 * MS, 0)
    # 2.2: SRTT = R, RTTVAR = R/2, RTO = SRTT + 4 RTTVAR
    assert (rtt.srtt, rtt.rttvar, rtt.rto) == (100 * MS, 50 * MS, 300 * MS)


@pytest.mark.parametrize(
    ("samples", "srtt", "rttvar"),
    [
        # 2.3: RTTVAR = 3/4 RTTVAR + 1/4 |SRTT - R'|, then SRTT = 7/8 SRTT + 1/8 R', with the old SRTT in the former.
        ((100, 100), 100_000, 37_500),
        ((100, 180), 110_000, 57_500),
        ((100, 20), 90_000, 57_500),
        ((100, 180, 110), 110_000, 43_125),
        ((400, 240), 380_000, 190_000),
    ],
)
def test_later_samples(samples: tuple[int, ...], srtt: int, rttvar: int) -> None:
    rtt = estimator(min_rto=0.0)
    for sample in samples:
        rtt.on_sample(sample * MS, 0)
    assert (rtt.srtt // US, rtt.rttvar // US) == (srtt, rttvar)
    assert rtt.rto == rtt.srtt + 4 * rtt.rttvar
    assert rtt.minimum == min(samples) * MS


def test_floor() -> None:
    """A steady path's RTO does not fall onto its SRTT: 200 ms remain, in which a delayed ACK may come."""
    rtt = estimator()
    for _ in range(100):
        rtt.on_sample(30 * MS, 0)
    assert rtt.rto == 230 * MS


def test_clock_granularity_is_the_least_floor() -> None:
    rtt = estimator(min_rto=0.0)  # RTO = SRTT + max(G, 4 RTTVAR)
    for _ in range(100):
        rtt.on_sample(30 * MS, 0)
    assert rtt.rto == 31 * MS


def test_ceiling() -> None:
    rtt = estimator()
    rtt.on_sample(100 * SECOND, 0)
    assert rtt.rto == 60 * SECOND  # 2.5: at least 60 s


def test_backoff_of_a_syn() -> None:
    """1, 2, 4 ... 128 s: a SYN and seven repetitions wait 255 s in all."""
    rtt = estimator()
    waits = []
    for _ in range(9):
        waits.append(rtt.rto // SECOND)
        rtt.back_off()
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 128]


def test_backoff_of_data() -> None:
    rtt = estimator()
    rtt.on_sample(100 * MS, 0)
    rtt.in_handshake = False
    waits = []
    for _ in range(10):
        waits.append(rtt.rto // MS)
        rtt.back_off()
    assert waits == [300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 60000, 60000]
    rtt.on_sample(100 * MS, 0)  # a sample ends the backoff
    assert rtt.rto == 300 * MS


def test_lost_syn_means_three_seconds_for_data() -> None:
    rtt = estimator()
    rtt.back_off()
    rtt.on_handshake_loss()
    assert rtt.rto == 3 * SECOND  # 5.7


@given(st.lists(st.integers(0, 100 * SECOND), min_size=1, max_size=50))
def test_bounds(samples: list[int]) -> None:
    """However a peer forges its echoes, the RTO stays within reason (RFC 6298 2.4, 2.5)."""
    rtt = estimator()
    for sample in samples:
        rtt.on_sample(sample, 0)
        assert 200 * MS <= rtt.rto <= 60 * SECOND
        assert min(samples) - 7 <= rtt.srtt <= max(samples)  # the divisions round down
        assert rtt.rttvar >= 0
