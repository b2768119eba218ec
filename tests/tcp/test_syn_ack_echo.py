"""A SYN-ACK must echo a timestamp of one of our SYNs, or none (as in Linux and FreeBSD; RFC 7323 asks nothing)."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire.units import MS, SECOND
from tests.support.peer import MASK, Peer

SYN_ACK = "S. 0:0(0) ack 1 <mss 1000,TS val 5 ecr {}>"


@pytest.mark.parametrize("echo", [1, 9999, MASK, 1 << 31])
def test_an_echo_of_no_clock_of_ours_is_answered_with_a_reset(echo: int) -> None:
    peer = Peer()
    user = peer.connect()
    peer.sees("S 0:0(0) <...>")
    peer.sends(SYN_ACK.format(echo))
    peer.sees_reset(1)
    assert user.state is State.SYN_SENT
    assert peer.host.counters.drops == {"old-timestamp": 1}
    peer.sends(SYN_ACK.format(0))
    peer.sees(". 1:1(0) ack 1")
    assert user.state is State.ESTABLISHED


@pytest.mark.parametrize("echo", [0, 1000])
def test_each_syn_may_be_echoed(echo: int) -> None:
    peer = Peer()
    user = peer.connect()
    peer.sees("S 0:0(0) <...>")
    peer.sees("S 0:0(0) <...>", after=1 * SECOND)
    peer.passes(30 * MS)
    peer.sends(SYN_ACK.format(echo))
    peer.sees(". 1:1(0) ack 1")
    assert user.state is State.ESTABLISHED


def test_who_echoes_nothing_is_believed() -> None:
    peer = Peer()
    user = peer.connect()
    peer.sees("S 0:0(0) <...>")
    assert peer.host_clock
    peer.sends(SYN_ACK.format(-peer.host_clock & MASK))
    peer.sees(". 1:1(0) ack 1")
    assert user.state is State.ESTABLISHED


def test_it_is_not_looked_at_where_we_offer_none() -> None:
    peer = Peer()
    user = peer.connect(options=TcpOptions(timestamps=False))
    peer.sees("S 0:0(0) <...>")
    peer.sends(SYN_ACK.format(9999))
    peer.sees(". 1:1(0) ack 1")
    assert user.state is State.ESTABLISHED
