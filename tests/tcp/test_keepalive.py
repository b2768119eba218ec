"""Keep-alive (RFC 9293 3.8.4)."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire.units import MINUTE, MS, SECOND
from tests.support import states

HOUR = 60 * MINUTE
KEEP = TcpOptions(keepalive=True, keepalive_idle=100.0, keepalive_interval=10.0, keepalive_probes=4)
PROBE = ". 0:0(0) ack 1"  #: SEG.SEQ = SND.NXT - 1 and no data: the peer must answer.


# RFC1122-21
# RFC 9293 MUST-25
@pytest.mark.parametrize("passive", [False, True])
def test_off_by_default(passive: bool) -> None:
    peer, user = states.established(passive=passive)
    peer.sees_nothing(during=100 * HOUR)
    assert user.state is State.ESTABLISHED


# RFC 9293 MUST-24
def test_switched_on_and_off_for_one_connection() -> None:
    peer, user = states.established()
    user.set_options(KEEP)
    peer.sees(PROBE, after=100 * SECOND)
    peer.sends(". 1:1(0) ack 1")
    user.set_options(TcpOptions())
    peer.sees_nothing(during=100 * HOUR)
    assert user.state is State.ESTABLISHED


# RFC 9293 MUST-24
def test_switched_on_when_opening() -> None:
    peer, _ = states.established(options=KEEP)
    peer.sees(PROBE, after=100 * SECOND)
    passive, _ = states.established(options=KEEP, passive=True)
    passive.sees(PROBE, after=100 * SECOND)


# RFC 9293 MUST-26
def test_only_when_nothing_was_received_for_the_interval() -> None:
    peer, _ = states.established(options=KEEP)
    for number in range(5):
        peer.sees_nothing(during=99 * SECOND)
        start = 1 + 10 * number
        peer.sends(f"P. {start}:{start + 10}(10) ack 1")  # data
        peer.sees(f". 1:1(0) ack {start + 10}")
    for _ in range(5):
        peer.sees_nothing(during=99 * SECOND)
        peer.sends(". 51:51(0) ack 1")  # or an ACK
    peer.sees(". 0:0(0) ack 51", after=100 * SECOND)


# RFC 9293 MUST-26
def test_only_when_nothing_is_outstanding() -> None:
    """The retransmission timer asks already: all that is sent is the data."""
    peer, user = states.established(options=KEEP)
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    for item in peer.gathers(300 * SECOND):
        assert item.line.startswith("P. 1:11(10) ack 1"), item.line
    assert user.state is State.ESTABLISHED


# RFC 9293 MUST-26
def test_only_when_nothing_waits_for_a_window() -> None:
    """The persist timer asks already."""
    peer, user = states.established(options=KEEP, window=0)
    user.write(10)
    for item in peer.gathers(300 * SECOND):
        assert item.line.startswith(". 1:2(1) ack 1"), item.line


# RFC 9293 MUST-27
@pytest.mark.parametrize("idle", [1, 60, 7200, 100_000])
def test_interval_is_configurable(idle: int) -> None:
    peer, _ = states.established(options=TcpOptions(keepalive=True, keepalive_idle=float(idle)))
    peer.sees(PROBE, after=idle * SECOND)


# RFC1122-21
# RFC 9293 MUST-28
def test_default_interval_is_at_least_two_hours() -> None:
    peer, _ = states.established(options=TcpOptions(keepalive=True))
    peer.sees_nothing(during=2 * HOUR - MS)
    assert peer.waits(PROBE, limit=HOUR) >= 0


# RFC 9293 MUST-29
def test_one_unanswered_probe_means_nothing() -> None:
    peer, user = states.established(options=KEEP)
    peer.sees(PROBE, after=100 * SECOND)
    for _ in range(3):
        assert user.state is State.ESTABLISHED
        peer.sees(PROBE, after=10 * SECOND)
    peer.sends(". 1:1(0) ack 1")
    peer.sees_nothing(during=100 * SECOND - MS)
    assert user.state is State.ESTABLISHED
    peer.sees(PROBE, after=MS)


def test_many_unanswered_probes_end_the_connection() -> None:
    peer, user = states.established(options=KEEP)
    peer.sees(PROBE, after=100 * SECOND)
    for _ in range(3):
        peer.sees(PROBE, after=10 * SECOND)
    peer.sees_nothing(during=10 * SECOND)
    assert user.state is State.CLOSED
    assert isinstance(user.error, TimeoutError)


# RFC 9293 SHLD-12, MAY-5
def test_probe_carries_no_data() -> None:
    peer, user = states.established(options=KEEP)
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    peer.sends(". 1:1(0) ack 11")
    assert peer.sees(". 10:10(0) ack 1", after=100 * SECOND).size == 0


def test_probe_of_the_peer_is_answered() -> None:
    """3.8.4: empty, or with one garbage octet; both below the window."""
    peer, user = states.established()
    peer.sends("P. 1:11(10) ack 1")
    peer.sees(". 1:1(0) ack 11")
    peer.sends(". 10:10(0) ack 1")
    peer.sees(". 1:1(0) ack 11")
    peer.sends(". 10:11(1) ack 1", payload=b"?")
    peer.sees(". 1:1(0) ack 11")
    user.reads(10)


def test_peer_that_has_forgotten_us_resets() -> None:
    peer, user = states.established(options=KEEP)
    peer.sees(PROBE, after=100 * SECOND)
    peer.sends("R 1:1(0)")
    assert isinstance(user.error, ConnectionResetError)


@pytest.mark.parametrize(
    ("reach", "probe"), [(states.fin_wait_2, ". 1:1(0) ack 1"), (states.close_wait, ". 0:0(0) ack 2")]
)
def test_half_closed_connections_are_kept_alive(reach: states.Reach, probe: str) -> None:
    peer, _ = reach(options=KEEP)
    peer.sees(probe, after=100 * SECOND)


def test_time_wait_is_not_kept_alive() -> None:
    peer, _ = states.time_wait(options=TcpOptions(keepalive=True, keepalive_idle=1.0))
    peer.sees_nothing(during=10 * MINUTE)
