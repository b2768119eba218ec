"""Proportional rate reduction, by the formulas of RFC 9937 (RFC 6937) with numbers worked out by hand.

In segments of 1000 octets. `cwnd` less `pipe` is what may be sent: the RFC's sndcnt.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.tcp.prr import Prr

MSS = 1000


class Recovery:
    """A recovery that sends whatever it may; counts in segments, delivered one by one."""

    def __init__(self, flight: int, pipe: int, ssthresh: int) -> None:
        self.prr = Prr(flight * MSS)
        self.pipe = pipe * MSS
        self.ssthresh = ssthresh * MSS

    def ack(self, delivered: int = 1, *, lost: int = 0, safe: bool = False, unsent: int = 1 << 30) -> int:
        """So many arrive, and so many are found lost; how many segments are sent on that."""
        self.pipe -= (delivered + lost) * MSS
        cwnd = self.prr.cwnd(delivered * MSS, self.pipe, self.ssthresh, MSS, safe_ack=safe)
        sent = min(max(cwnd - self.pipe, 0) // MSS, unsent)
        for _ in range(sent):
            self.prr.on_sent(MSS)
            self.pipe += MSS
        return sent


def test_sending_goes_on_evenly_at_half_the_pace() -> None:
    """RecoverFS 20, ssthresh 10: ceil(prr_delivered * 10 / 20) - prr_out."""
    recovery = Recovery(20, 19, 10)
    total = 0
    for delivered in range(1, 16):
        sent = recovery.ack()
        total += sent
        assert sent <= 1
        assert total == max(delivered // 2, 1)


def test_sending_goes_on_evenly_at_seven_tenths() -> None:
    """CUBIC's factor: seven for every ten."""
    recovery = Recovery(100, 99, 70)
    sent = [recovery.ack() for _ in range(90)]
    assert [sum(sent[at : at + 10]) for at in range(0, 90, 10)] == [7] * 9
    assert max(sent) == 1


def test_the_retransmission_that_begins_it_is_sent_at_once() -> None:
    """Also where the formula gives nothing: prr_out is 0."""
    recovery = Recovery(20, 17, 2)
    assert recovery.ack(1) == 1
    assert recovery.ack(1) == 0


def test_after_heavy_losses_no_more_is_sent_than_was_delivered() -> None:
    """pipe <= ssthresh, and the ACK reports more losses: packet conservation."""
    recovery = Recovery(20, 19, 10)
    recovery.ack(1, lost=12)
    assert recovery.pipe == 7 * MSS
    assert [recovery.ack() for _ in range(5)] == [1] * 5
    assert recovery.pipe == 7 * MSS


def test_safe_acks_slow_start_back_up_to_ssthresh() -> None:
    """pipe <= ssthresh, and the ACK advances without reporting another loss: one segment more for each."""
    recovery = Recovery(20, 19, 10)
    recovery.ack(1, lost=14)
    assert recovery.pipe == 5 * MSS
    assert [recovery.ack(safe=True) for _ in range(6)] == [2, 2, 2, 2, 2, 1]
    assert recovery.pipe == 10 * MSS


def test_what_was_not_used_is_made_up_for_later() -> None:
    """prr_delivered - prr_out: the application paused, or a burst of ACKs was lost."""
    recovery = Recovery(20, 10, 10)
    recovery.ack(unsent=1)
    for _ in range(4):
        assert recovery.ack(unsent=0) == 0
    assert recovery.ack() == 5
    assert recovery.pipe == 10 * MSS


def test_window_ends_at_ssthresh() -> None:
    recovery = Recovery(20, 19, 10)
    for _ in range(19):
        recovery.ack()
    assert recovery.pipe == 10 * MSS


@pytest.mark.parametrize("flight", [0, 1])
def test_tiny_flights(flight: int) -> None:
    prr = Prr(flight)
    assert prr.cwnd(0, 0, 2 * MSS, MSS, safe_ack=False) == MSS


acks = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.booleans()), max_size=80)


@given(st.integers(2, 100), st.floats(0.1, 1.0), acks)
def test_pipe_ends_between_what_conservation_and_ssthresh_say(
    flight: int, factor: float, events: list[tuple[int, int, bool]]
) -> None:
    """Whatever arrives and gets lost: never above what was there, and not above ssthresh once it was below it."""
    ssthresh = max(int(flight * factor), 2)
    recovery = Recovery(flight, flight - 1, ssthresh)
    forced = 1  # the retransmission that begins it goes whatever the formulas say
    for delivered, lost, safe in events:
        before = recovery.pipe // MSS
        delivered = min(delivered, before)
        lost = min(lost, before - delivered)
        sent = recovery.ack(delivered, lost=lost, safe=safe)
        pipe = recovery.pipe // MSS
        assert pipe <= max(before, ssthresh) + forced
        if before - delivered - lost <= ssthresh:
            assert pipe <= ssthresh + forced
        forced = 0 if sent else forced
