"""Dead peers, found without ICMP: the user timeout (RFC 5482, RFC 9293 3.8.3), with and without SACK and its probes."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire.checksum import checksum, partial_sum, pseudo_header_sum
from stack.wire.ip import PROTO_TCP
from stack.wire.units import MS, SECOND
from tests.support import states
from tests.support.flight import RTT, answer, opened, segment
from tests.support.peer import Peer


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
