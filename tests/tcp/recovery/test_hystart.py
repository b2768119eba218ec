"""HyStart++ (RFC 9406 4.2, 4.3): rounds, the delay that grows, and conservative slow start.

A round is driven by hand: so many ACKs with a round trip each, the last of which acknowledges the round's end.
"""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.congestion import AckSummary, Cubic
from stack.tcp.congestion.hystart import HyStart
from stack.wire.units import MS, Duration
from tests.support.flight import RTT, answer, cwnd, opened, segment, ssthresh

MSS = 1000
SAMPLES = 8


class Rounds:
    """A sender in its first slow start; `number` counts rounds, each of which ends at number * 1000."""

    def __init__(self) -> None:
        self.hystart = HyStart()
        self.number = 0
        self.hystart.on_ack(0, 1000, -1)  # the first round ends at 1000

    def passes(self, rtt: Duration, *, samples: int = SAMPLES) -> bool:
        """A whole round; whether slow start has ended with it."""
        for _ in range(samples - 1):
            assert not self.acks(rtt)
        return self.ends(rtt)

    def acks(self, rtt: Duration) -> bool:
        """An ACK within the round."""
        return self.hystart.on_ack(self.number * 1000 + 500, self.number * 1000 + 1500, rtt)

    def ends(self, rtt: Duration) -> bool:
        """The ACK of the round's end."""
        self.number += 1
        return self.hystart.on_ack(self.number * 1000, (self.number + 1) * 1000, rtt)


# RFC9406-01, RFC9406-03
@pytest.mark.parametrize(
    ("before", "after", "leaves"),
    [
        (100, 112, False),  # an eighth of 100 is 12.5
        (100, 113, True),
        (10, 13, False),  # at least 4
        (10, 14, True),
        (400, 415, False),  # at most 16
        (400, 416, True),
        (100, 100, False),
        (100, 50, False),
    ],
)
def test_round_that_took_longer_leaves_slow_start(before: int, after: int, leaves: bool) -> None:
    rounds = Rounds()
    rounds.passes(before * MS)
    rounds.passes(after * MS)
    assert rounds.hystart.in_css is leaves


# RFC9406-01
@pytest.mark.parametrize(("samples", "leaves"), [(7, False), (8, True)])
def test_eight_samples_are_needed(samples: int, leaves: bool) -> None:
    rounds = Rounds()
    rounds.passes(100 * MS)
    for _ in range(samples):
        rounds.acks(200 * MS)
    assert rounds.hystart.in_css is leaves


# RFC9406-01
def test_least_of_a_round_counts() -> None:
    """One fast ACK among slow ones: no queue that stands."""
    rounds = Rounds()
    rounds.passes(100 * MS)
    rounds.acks(101 * MS)
    rounds.passes(200 * MS)
    assert not rounds.hystart.in_css


# RFC9406-01
def test_acks_without_a_sample_do_not_count() -> None:
    rounds = Rounds()
    rounds.passes(100 * MS)
    for _ in range(20):
        rounds.acks(-1)
    rounds.passes(200 * MS, samples=7)
    assert not rounds.hystart.in_css


# RFC9406-02
def test_round_ends_when_what_was_sent_at_its_start_is_acknowledged() -> None:
    """Samples of 100 ms belong to the first round up to 1000, and do not lower the least of the second."""
    rounds = Rounds()
    for _ in range(SAMPLES):
        rounds.acks(100 * MS)
    assert not rounds.ends(100 * MS)
    for _ in range(SAMPLES):
        assert not rounds.hystart.in_css
        rounds.acks(150 * MS)
    assert rounds.hystart.in_css


# RFC9406-04
def test_conservative_slow_start_grows_by_a_quarter() -> None:
    rounds = Rounds()
    assert rounds.hystart.growth(MSS, MSS, at_once=False) == MSS
    rounds.passes(100 * MS)
    rounds.passes(200 * MS)
    assert rounds.hystart.growth(MSS, MSS, at_once=False) == MSS // 4


# RFC9406-05
def test_delay_that_falls_resumes_slow_start() -> None:
    """Below the baseline, which is the least round trip of the round that left."""
    rounds = Rounds()
    rounds.passes(100 * MS)
    rounds.passes(200 * MS)
    rounds.passes(200 * MS)
    assert rounds.hystart.in_css
    rounds.passes(199 * MS)
    assert not rounds.hystart.in_css
    assert rounds.hystart.growth(MSS, MSS, at_once=False) == MSS


# RFC9406-05
def test_delay_that_falls_in_too_few_samples_does_not() -> None:
    rounds = Rounds()
    rounds.passes(100 * MS)
    rounds.passes(200 * MS)
    rounds.passes(150 * MS, samples=7)
    assert rounds.hystart.in_css


# RFC9406-05
def test_five_rounds_of_delay_end_slow_start() -> None:
    """RFC 9406 4.2: the part of a round in which it was noticed counts as one of them."""
    rounds = Rounds()
    rounds.passes(100 * MS)
    for _ in range(SAMPLES):
        rounds.acks(200 * MS)
    assert rounds.hystart.in_css
    ended = [rounds.ends(200 * MS)]
    ended += [rounds.passes(200 * MS) for _ in range(4)]
    assert ended == [False, False, False, False, True]


# RFC9406-05
def test_window_of_that_moment_is_the_threshold() -> None:
    control = Cubic(MSS)
    number = 0
    while control.in_slow_start:
        assert number < 2000
        rtt = 100 * MS if number < 20 else 200 * MS
        una = number * MSS
        control.on_ack(AckSummary(MSS, control.cwnd, rtt, False, delivered=MSS, una=una, nxt=una + control.cwnd), 0)
        number += 1
    assert control.ssthresh == control.cwnd
    assert control.cwnd < (10 + number) * MSS // 2, "slow start would be far beyond it"


# RFC9406-06
@pytest.mark.parametrize("event", ["loss", "mark"])
@pytest.mark.parametrize("conservative", [False, True])
def test_loss_or_mark_ends_it_with_the_usual_threshold(event: str, conservative: bool) -> None:
    control = Cubic(MSS)
    for rtt in (100, 200 if conservative else 100):
        for number in range(SAMPLES + 1):
            una = (rtt * 100 + number) * MSS
            control.on_ack(AckSummary(10, control.cwnd, rtt * MS, False, una=una, nxt=una + 5 * MSS), 0)
    before = control.cwnd
    if event == "loss":
        control.on_loss(control.cwnd, 0)
        control.on_recovered(0)
    else:
        control.on_ecn(control.cwnd, 0)
    assert control.ssthresh == control.cwnd == before * 7 // 10
    assert not control.in_slow_start


# RFC9406-06
def test_loss_in_slow_start_on_the_wire() -> None:
    peer, user = opened(60_000, options=TcpOptions(congestion="cubic"))
    peer.passes(RTT)
    answer(peer, 1, segment(1, 9))
    peer.passes(RTT)
    answer(peer, user.conn.snd.repair.recover)
    assert (cwnd(user), ssthresh(user)) == (7, 7)


# RFC9406-07
@pytest.mark.parametrize(("acked", "paced", "grows"), [(8, False, 8), (9, False, 8), (100, False, 8), (100, True, 100)])
def test_one_ack_grows_the_window_by_eight_segments_at_most_unless_paced(acked: int, paced: bool, grows: int) -> None:
    assert HyStart().growth(acked * MSS, MSS, at_once=paced) == grows * MSS


# RFC9406-08
def test_only_the_first_slow_start_is_watched() -> None:
    """After a time-out a queue may stand that is not of our making: round trips say nothing, and slow start goes on."""
    control = Cubic(MSS)
    control.cwnd = 200 * MSS
    control.on_timeout(200 * MSS, True, 0)
    threshold = control.ssthresh
    number = 0
    while control.in_slow_start:
        rtt = 100 * MS if number < 20 else 300 * MS
        una = number * MSS
        control.on_ack(AckSummary(MSS, control.cwnd, rtt, False, delivered=MSS, una=una, nxt=una + control.cwnd), 0)
        number += 1
    assert control.cwnd >= threshold == control.ssthresh
