"""Dead peers, found without ICMP: the user timeout (RFC 5482, RFC 9293 3.8.3), with and without SACK and its probes."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire.checksum import checksum, partial_sum, pseudo_header_sum
from stack.wire.ip import PROTO_TCP
from stack.wire.units import MS, SECOND, Duration
from tests.support import states
from tests.support.flight import RTT, answer, opened, segment
from tests.support.peer import Peer
from tests.support.user import User


# RFC5482-01
@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize("seconds", [0.25, 1.0, 30.0, 3600.0])
def test_silence_ends_the_connection_at_the_users_time(seconds: float, sack: bool) -> None:
    """Whatever probes and time-outs happen before."""
    peer, user = opened(5000, sack=sack, options=TcpOptions(user_timeout=seconds))
    start = peer.now
    while user.state is not State.CLOSED:
        assert peer.bench.step(start + 7200 * SECOND)
    peer.takes()
    assert abs(peer.now - start - round(seconds * SECOND)) <= MS
    assert isinstance(user.error, TimeoutError)


# RFC5482-01
def test_default_is_not_below_a_hundred_seconds() -> None:
    assert TcpOptions().user_timeout is None
    assert TcpOptions().r2 >= 100


def _with_option(frame: bytes, option: bytes) -> bytes:
    """The IPv4 packet with another option in its TCP header, which had none."""
    packet = bytearray(frame[:40] + option + frame[40:])
    packet[2:4] = len(packet).to_bytes(2, "big")
    packet[32] = (20 + len(option)) << 2
    packet[10:12] = packet[36:38] = bytes(2)
    packet[10:12] = checksum(bytes(packet[:20])).to_bytes(2, "big")
    pseudo = pseudo_header_sum(bytes(packet[12:16]), bytes(packet[16:20]), PROTO_TCP, len(packet) - 20)
    packet[36:38] = (0xFFFF - partial_sum(bytes(packet[20:]), pseudo)).to_bytes(2, "big")
    return bytes(packet)


# RFC5482-01
def test_option_is_neither_minded_nor_sent() -> None:
    """Kind 28: one minute. What it comes with is taken, and the time is the user's all the same."""
    peer, user = states.established(options=TcpOptions(user_timeout=10.0))
    frame = _with_option(peer.packet("P. 1:11(10) ack 1").frame(), bytes([28, 4, 0x80, 1]))
    peer.bench.deliver(frame)
    peer.takes()
    user.reads(10)
    user.write(10)
    seen = peer.sees("P. 1:11(10) ack 11")
    assert (seen.frame[32] >> 4) * 4 == 20, "no options"
    start = peer.now
    while user.state is not State.CLOSED:
        assert peer.bench.step(start + 60 * SECOND)
    assert peer.now - start == 10 * SECOND


@pytest.mark.parametrize("sack", [False, True])
def test_progress_puts_the_end_off(sack: bool) -> None:
    """A path that lets through one segment in nine seconds: slow, but no dead peer."""
    peer, user = opened(5000, sack=sack, options=TcpOptions(user_timeout=10.0))
    for number in range(1, 6):
        peer.gathers(9 * SECOND)
        assert user.state is State.ESTABLISHED
        answer(peer, 1 + 1000 * number)
    peer.gathers(60 * SECOND)
    assert user.state is State.ESTABLISHED


def test_reports_alone_are_no_progress() -> None:
    """A middlebox that answers with the same ACK and lets nothing through keeps nothing alive for ever."""
    peer, user = opened(5000, options=TcpOptions(user_timeout=10.0))
    for _ in range(20):
        peer.gathers(SECOND)
        if user.state is State.CLOSED:
            break
        peer.sends(f". 1:1(0) ack 1 <sack {segment(1)}>")
        peer.takes()
    assert user.state is State.CLOSED


def test_time_of_the_handshake_is_bounded_too() -> None:
    peer = Peer()
    user = peer.connect(options=TcpOptions(user_timeout=2.0))
    start = peer.now
    while user.state is not State.CLOSED:
        assert peer.bench.step(start + 60 * SECOND)
    peer.takes()
    assert peer.now - start == 2 * SECOND
    assert RTT < 2 * SECOND


# Windows that stay closed, and keep-alive: as TCP_USER_TIMEOUT of Linux has it.


def answers_probes(peer: Peer, user: User, *, during: Duration, ack: int = 1) -> Duration:
    """The peer answers everything, and its window stays closed; how long the connection lasted, or `during`."""
    start = peer.now
    while user.state is not State.CLOSED and peer.bench.step(start + during):
        for _ in peer.takes():
            peer.sends(f". 1:1(0) ack {ack} win 0")
    return peer.now - start


# RFC 9293 MUST-21
@pytest.mark.parametrize("seconds", [1.0, 20.0, 600.0])
def test_data_that_waits_for_a_window_does_not_wait_longer(seconds: float) -> None:
    """The peer is there, and says wait; but nothing was delivered for as long as the user allows.

    R2 is no reason to give up then (MUST-37), what the user says is one.
    """
    peer, user = states.established(window=0, options=TcpOptions(user_timeout=seconds, r2=1.0))
    user.write(10)
    assert answers_probes(peer, user, during=7200 * SECOND) == round(seconds * SECOND)
    assert isinstance(user.error, TimeoutError)


def test_the_wait_begins_anew_when_the_window_was_open() -> None:
    peer, user = states.established(window=0, options=TcpOptions(user_timeout=20.0))
    user.write(10)
    for number in range(5):
        assert answers_probes(peer, user, during=15 * SECOND, ack=1 + number) == 15 * SECOND
        peer.sends(f". 1:1(0) ack {1 + number} win 1")
        peer.takes()
        peer.sends(f". 1:1(0) ack {2 + number} win 0")
        peer.takes()
    assert user.state is State.ESTABLISHED


def test_an_octet_that_a_probe_has_brought_is_progress() -> None:
    peer, user = states.established(window=0, options=TcpOptions(user_timeout=20.0))
    user.write(100)
    taken = 0
    end = peer.now + 200 * SECOND
    while user.state is not State.CLOSED and peer.bench.step(end):
        for item in peer.takes():
            taken = max(taken, item.end - 1)
            peer.sends(f". 1:1(0) ack {1 + taken} win 0")
            assert peer.now < end
        if taken > 4:
            break
    assert user.state is State.ESTABLISHED
    answers_probes(peer, user, during=21 * SECOND, ack=1 + taken)
    assert user.state is State.CLOSED


def test_data_in_flight_to_a_window_that_has_closed_does_not_wait_longer() -> None:
    peer, user = opened(5000, options=TcpOptions(user_timeout=20.0))
    peer.sends(". 1:1(0) ack 1001 win 0")
    assert answers_probes(peer, user, during=600 * SECOND, ack=1001) == 20 * SECOND
    assert isinstance(user.error, TimeoutError)


def test_a_closed_window_with_nothing_to_send_hurts_nobody() -> None:
    peer, user = states.established(window=0, options=TcpOptions(user_timeout=20.0))
    peer.sees_nothing(during=600 * SECOND)
    assert user.state is State.ESTABLISHED


KEEP = TcpOptions(keepalive=True, keepalive_idle=100.0, keepalive_interval=10.0, keepalive_probes=4)


@pytest.mark.parametrize(
    ("user_timeout", "ends"),
    [
        (None, 140.0),  # after the last of the probes
        (115.0, 115.0),  # silence since the peer was heard, whatever the number of probes
        (300.0, 300.0),
        (50.0, 110.0),  # but not before a probe had its time
    ],
)
def test_keep_alive_lasts_as_long_as_the_user_says(user_timeout: float | None, ends: float) -> None:
    peer, user = states.established(options=KEEP.replace(user_timeout=user_timeout))
    start = peer.now
    while user.state is not State.CLOSED and peer.bench.step(start + 1000 * SECOND):
        peer.takes()
    assert peer.now - start == round(ends * SECOND)
    assert isinstance(user.error, TimeoutError)


def test_keep_alive_that_is_answered_goes_on() -> None:
    peer, user = states.established(options=KEEP.replace(user_timeout=50.0))
    for _ in range(5):
        peer.sees(". 0:0(0) ack 1", after=100 * SECOND)
        peer.sends(". 1:1(0) ack 1")
    assert user.state is State.ESTABLISHED


# RFC 9293 MUST-21
@pytest.mark.parametrize(("waited", "ends"), [(5, 10), (30, 30)])
def test_a_change_counts_for_what_waits_already(waited: int, ends: int) -> None:
    """From the beginning of the wait, and at once if it has lasted longer."""
    peer, user = opened(5000, options=TcpOptions(user_timeout=1000.0))
    start = peer.now
    peer.gathers(waited * SECOND)
    user.set_options(TcpOptions(user_timeout=10.0))
    while user.state is not State.CLOSED and peer.bench.step(start + 1000 * SECOND):
        peer.takes()
    assert abs(peer.now - start - ends * SECOND) <= MS


# RFC 9293 MUST-21
@pytest.mark.parametrize(("waited", "ends"), [(5, 10), (30, 30)])
def test_a_change_counts_for_a_window_that_is_closed_already(waited: int, ends: int) -> None:
    peer, user = states.established(window=0, options=TcpOptions(user_timeout=1000.0))
    user.write(10)
    start = peer.now
    answers_probes(peer, user, during=waited * SECOND)
    user.set_options(TcpOptions(user_timeout=10.0))
    answers_probes(peer, user, during=1000 * SECOND)
    assert abs(peer.now - start - ends * SECOND) <= MS
