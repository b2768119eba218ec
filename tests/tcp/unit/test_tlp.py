"""Tail loss probes by RFC 8985 7: when, what, and what the answer means; then with the sender around them."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.congestion import NewReno
from stack.tcp.repair import OPEN, RECOVERY
from stack.tcp.rtt import RttEstimator
from stack.tcp.sender import Sender
from stack.tcp.tlp import SLACK, WITHOUT_RTT, WORST_DELAYED_ACK, TailLossProbe
from stack.wire.units import MS

MSS = 1000
RTT = 100 * MS


def estimator(*samples: int) -> RttEstimator:
    rtt = RttEstimator(TcpOptions())
    for sample in samples:
        rtt.on_sample(sample, 0)
    return rtt


# When (7.2).


def test_two_round_trips_of_silence() -> None:
    assert TailLossProbe().timeout(estimator(RTT), 2 * MSS, MSS) == 2 * RTT + SLACK


def test_lone_segment_waits_for_a_delayed_ack_as_well() -> None:
    assert TailLossProbe().timeout(estimator(RTT), MSS, MSS) == 2 * RTT + SLACK + WORST_DELAYED_ACK
    assert TailLossProbe().timeout(estimator(RTT), 10, MSS) == 2 * RTT + SLACK + WORST_DELAYED_ACK


def test_a_second_without_an_estimate() -> None:
    assert TailLossProbe().timeout(estimator(), 2 * MSS, MSS) == WITHOUT_RTT


# What the answer means (7.4).


def probe(*, retransmitted: bool) -> TailLossProbe:
    """One is out, with SND.NXT at 10,001."""
    tlp = TailLossProbe()
    tlp.on_sent(10_001, retransmitted=retransmitted)
    assert not tlp.may_probe
    return tlp


@pytest.mark.parametrize(
    ("retransmitted", "ack", "dsack", "moved", "sacked", "repaired", "still_out"),
    [
        (True, 9001, False, True, False, False, True),  # not yet
        (True, 10_001, False, True, False, False, True),  # nobody knows whether it was the original or the probe
        (True, 10_001, True, False, False, False, False),  # both have arrived
        (True, 10_001, False, False, False, False, False),  # a duplicate ACK: both have arrived
        (True, 10_001, False, False, True, False, True),  # it reports something else
        (True, 11_001, False, True, False, True, False),  # beyond it, and no word of a duplicate: there was a loss
        (True, 11_001, True, True, False, False, False),
        (False, 10_001, False, True, False, False, False),  # new data: it tells by itself
        (False, 11_001, False, True, False, False, False),
    ],
)
def test_answers(
    retransmitted: bool, ack: int, dsack: bool, moved: bool, sacked: bool, repaired: bool, still_out: bool
) -> None:
    tlp = probe(retransmitted=retransmitted)
    assert tlp.on_ack(ack, dsack=dsack, moved=moved, anything_sacked=sacked) is repaired
    assert (tlp.end >= 0) is still_out


def test_answers_to_nothing() -> None:
    assert not TailLossProbe().on_ack(11_001, dsack=False, moved=True, anything_sacked=False)


def test_no_further_probe_before_a_round_trip_is_measured() -> None:
    """7.3."""
    tlp = probe(retransmitted=False)
    tlp.on_ack(10_001, dsack=False, moved=True, anything_sacked=False)
    assert not tlp.may_probe
    tlp.sampled = True
    assert tlp.may_probe


# With a sender.


class Tail:
    """A sender with so many segments in flight at 1 s, all that its application has written, or `more` behind them."""

    def __init__(self, segments: int = 3, *, more: int = 0, cwnd: int = 10, wnd: int = 1 << 20) -> None:
        self.snd = Sender(estimator(), NewReno(MSS), MSS, nodelay=False)
        assert self.snd.next_chunk(0) == (0, 1)
        self.snd.agree(self.snd.congestion, MSS, sack=True)
        self.now = RTT
        self.ack(1)
        self.snd.on_window(wnd, 1, 1)
        self.snd.congestion.cwnd = cwnd * MSS
        self.snd.buffer.append(bytes(segments * MSS))
        assert len(self.sent()) == segments
        self.snd.buffer.append(bytes(more))

    def ack(self, ack: int, *blocks: tuple[int, int]) -> None:
        duplicate = ack == self.snd.una
        self.snd.on_ack(ack, list(blocks), self.now, duplicate=duplicate, echoed=-1, echo_tick=-1)

    def sent(self) -> list[int]:
        found = []
        while (chunk := self.snd.next_chunk(self.now)) is not None:
            found.append(chunk[0])
        return found

    def probe(self) -> tuple[int, int] | None:
        self.now += 3 * RTT
        return self.snd.tail_loss_probe(self.now)

    @property
    def cwnd(self) -> int:
        return self.snd.congestion.cwnd // MSS


def test_probe_is_the_last_segment_again() -> None:
    tail = Tail()
    assert tail.probe() == (2001, 3001)
    assert tail.snd.retransmitted_segments == 1
    assert not tail.snd.wants_tail_loss_probe


def test_probe_is_new_data_if_there_is_some_though_the_window_is_full() -> None:
    """7.3: cwnd does not hold it back, nor does Nagle."""
    tail = Tail(more=10, cwnd=3)
    assert tail.sent() == []
    assert tail.probe() == (3001, 3011)
    assert tail.snd.retransmitted_segments == 0


def test_peers_window_holds_new_data_back() -> None:
    tail = Tail(more=1000, wnd=3000)
    assert tail.probe() == (2001, 3001)


def test_probe_finds_what_was_lost_before_it() -> None:
    """The report of the probe is the evidence; then everything goes as with any loss, and no time-out."""
    tail = Tail(4)
    tail.probe()
    tail.now += RTT
    tail.ack(1, (3001, 4001))
    tail.now = tail.snd.repair.reorder_at if tail.snd.repair.phase == OPEN else tail.now
    tail.snd.on_reorder_timeout(tail.now)
    assert tail.snd.repair.phase == RECOVERY
    assert tail.sent() == [1]
    tail.now += RTT
    tail.ack(1001, (3001, 4001))
    assert tail.sent() == [1001, 2001]
    tail.now += RTT
    tail.ack(4001)
    assert not tail.snd.outstanding
    assert tail.snd.repair.timeouts == 0


def test_probe_that_repaired_a_loss_costs_what_a_loss_costs() -> None:
    """7.4.2: nothing else would tell that there was one."""
    tail = Tail(10)
    tail.probe()
    tail.now += RTT
    tail.ack(10_001)
    assert tail.cwnd >= 10
    tail.snd.buffer.append(bytes(1000))
    tail.sent()
    tail.now += RTT
    tail.ack(11_001)
    assert tail.cwnd < 10
    assert tail.snd.repair.phase == OPEN


def test_probe_that_was_not_needed_costs_nothing() -> None:
    tail = Tail(10)
    tail.probe()
    tail.now += MS
    tail.ack(10_001)  # the ACK was only late
    tail.now += RTT
    tail.ack(10_001, (9001, 10_001))  # D-SACK: the probe came, too
    tail.snd.buffer.append(bytes(1000))
    tail.sent()
    tail.now += RTT
    tail.ack(11_001)
    assert tail.cwnd >= 10


def test_probe_that_was_not_needed_costs_nothing_without_dsack_either() -> None:
    """7.4.2: a duplicate ACK without a report says the same."""
    tail = Tail(10)
    tail.probe()
    tail.now += MS
    tail.ack(10_001)
    tail.now += RTT
    tail.ack(10_001)
    tail.snd.buffer.append(bytes(1000))
    tail.sent()
    tail.now += RTT
    tail.ack(11_001)
    assert tail.cwnd >= 10


def test_no_probe_while_anything_is_reported_or_under_repair() -> None:
    tail = Tail(10)
    tail.now += RTT
    tail.ack(1, (9001, 10_001))
    assert not tail.snd.wants_tail_loss_probe  # RACK's timer asks
    tail = Tail(10)
    tail.snd.on_retransmission_timeout(tail.now + 5 * RTT)
    assert not tail.snd.wants_tail_loss_probe


def test_no_probe_without_sack() -> None:
    """7.1: the answer would say nothing."""
    tail = Tail()
    tail.snd.repair.tlp = None
    assert not tail.snd.wants_tail_loss_probe
    assert tail.probe() is None


def test_time_out_forgets_the_probe() -> None:
    tail = Tail()
    tail.probe()
    tail.now += 10 * RTT
    tail.snd.on_retransmission_timeout(tail.now)
    assert tail.sent() == [1]
    tail.now += RTT
    tail.ack(3001)
    tail.snd.buffer.append(bytes(1000))
    tail.sent()
    cwnd = tail.cwnd
    tail.ack(4001)
    assert tail.cwnd >= cwnd
