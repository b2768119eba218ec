"""Round trips where there is little to measure: a receiver's echoes, the answer to a SYN, paths of microseconds."""

from __future__ import annotations

from stack.tcp.config import TcpOptions
from stack.tcp.congestion.hystart import MIN_RTT_THRESH, N_RTT_SAMPLE, HyStart
from stack.tcp.receiver import Receiver
from stack.tcp.rtt import RttEstimator
from stack.tcp.tlp import TailLossProbe
from stack.wire.units import MS, US
from tests.support import states
from tests.tcp.unit.test_half_open import NOW, half_open


def test_an_echo_within_the_tick_is_a_sample() -> None:
    """0 ms is a short round trip, and no lack of one: the next sample counts an eighth."""
    rcv = Receiver(TcpOptions(), 1000)
    rcv.on_echo(0)
    rcv.on_echo(8 * MS)
    assert rcv.rtt == 1 * MS


def test_the_answer_to_a_syn_is_timed_from_when_it_leaves() -> None:
    record = half_open()
    record.syn_ack(NOW + 70 * MS)
    assert record.sent_at == NOW + 70 * MS
    assert record.sent == 2


def test_text_that_echoes_an_ack_is_a_sample_of_the_receivers() -> None:
    """The first of those that echo it: a second segment of the same batch says nothing new."""
    peer, user = states.established(timestamps=True)
    for wait, measured in ((10 * MS, 10 * MS), (26 * MS, 12 * MS)):
        peer.passes(wait)
        begin = user.conn.rcv.nxt
        peer.sends(*[f"P. {start}:{start + 1000}(1000) ack 1" for start in (begin, begin + 1000)])
        assert user.conn.rcv.rtt == measured
        peer.takes()


def test_probes_on_a_path_of_microseconds_leave_time_for_delayed_acks() -> None:
    rtt = RttEstimator(TcpOptions())
    rtt.on_sample(50 * US, 0)
    assert TailLossProbe().timeout(rtt, 2000, 1000) == 60 * MS


def test_slow_start_hears_of_a_queue_where_the_first_round_took_no_time() -> None:
    """HyStart++ compares with the round before, also where that measured 0."""
    hystart = HyStart()
    hystart.on_ack(1, 100, 0)
    hystart.on_ack(100, 200, 0)
    for _ in range(N_RTT_SAMPLE):
        assert not hystart.in_css
        hystart.on_ack(150, 200, MIN_RTT_THRESH)
    assert hystart.in_css
