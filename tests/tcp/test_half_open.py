"""SYN-RECEIVED of a passive open, and LISTEN (RFC 9293 3.10.7.2, 3.10.7.4)."""

from __future__ import annotations

import pytest

from stack.tcp.state import State
from stack.wire.units import SECOND
from tests.support import states
from tests.support.peer import Peer


def test_repeated_syn_is_answered_again() -> None:
    peer = states.half_open()
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <mss 1460>")
    peer.sends(". 1:1(0) ack 1")
    assert peer.accepts().state is State.ESTABLISHED


def test_segment_outside_the_window_of_a_half_open_connection_is_acknowledged() -> None:
    """3.10.7.4, first: <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>."""
    peer = states.half_open()
    peer.sends(". 70000:70000(0) ack 1")
    peer.sees(". 1:1(0) ack 1")
    assert peer.state is State.SYN_RECEIVED


def test_reset_outside_the_window_of_a_half_open_connection_is_dropped() -> None:
    peer = states.half_open()
    peer.sends("R 70000:70000(0)", "R 0:0(0)")
    peer.sees_nothing()
    assert peer.state is State.SYN_RECEIVED


def test_reset_in_the_window_of_a_half_open_connection_is_challenged() -> None:
    peer = states.half_open()
    peer.sends("R 2:2(0)")
    peer.sees(". 1:1(0) ack 1")
    assert peer.state is State.SYN_RECEIVED
    peer.sends("R 1:1(0)")
    assert peer.state is State.LISTEN


def test_new_syn_in_the_window_of_a_half_open_connection_leads_back_to_listen() -> None:
    """3.10.7.4, fourth: a passive open that meets another SYN in its window returns to LISTEN.

    A challenge instead serves as well, because a peer that has started again answers it with an exact reset.
    """
    peer = states.half_open()
    peer.sends("S 100:100(0) <mss 1000>")
    if peer.state is State.SYN_RECEIVED:
        peer.sees(". 1:1(0) ack 1")
        peer.sends("R 1:1(0)")
    assert peer.state is State.LISTEN
    peer.again(iss=peer.iss + 100)
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <...>")
    peer.sends(". 1:1(0) ack 1")
    assert peer.accepts().state is State.ESTABLISHED


# RFC4987-04
def test_syn_ack_is_sent_three_times() -> None:
    """The stated deviation: at 0, 1 and 3 s; at 63 s the record is gone and late segments are reset."""
    peer = states.half_open()
    peer.sees("S. 0:0(0) ack 1 <mss 1460>", after=1 * SECOND)
    peer.sees("S. 0:0(0) ack 1 <mss 1460>", after=2 * SECOND)
    peer.sees_nothing(during=60 * SECOND)
    assert peer.state is State.LISTEN
    peer.sends(". 1:1(0) ack 1")
    peer.sees("R 1:1(0)")


@pytest.mark.parametrize("after", [1, 3, 9, 21, 45, 59])
def test_peer_that_believes_itself_connected_is_waited_for(after: int) -> None:
    """Its third segment is lost, and its data three times, sent again with an RTO of 3 s that doubles."""
    peer = states.half_open()
    peer.sees("S. 0:0(0) ack 1 <mss 1460>", after=1 * SECOND)
    peer.sees("S. 0:0(0) ack 1 <mss 1460>", after=2 * SECOND)
    peer.sees_nothing(during=after * SECOND)
    peer.sends("P. 1:11(10) ack 1")
    assert peer.accepts().state is State.ESTABLISHED
    peer.sees(". 1:1(0) ack 11")


# LISTEN (3.10.7.2).


def test_listener_ignores_what_is_neither_syn_nor_ack() -> None:
    peer = Peer()
    peer.listens()
    peer.sends("P 1:11(10)", "F 1:1(0)", "- 1:1(0)")
    peer.sees_nothing()
    assert peer.state is State.LISTEN


@pytest.mark.parametrize("line", ["SF 0:0(0) <mss 1000>", "SFP 0:10(10) <mss 1000>", "SR 0:0(0) <mss 1000>"])
def test_listener_ignores_a_syn_with_fin_or_reset(line: str) -> None:
    """No TCP that means well sends these; Linux is silent, too."""
    peer = Peer()
    peer.listens()
    peer.sends(line)
    peer.sees_nothing()
    assert peer.state is State.LISTEN


def test_listener_resets_an_ack() -> None:
    peer = Peer()
    peer.listens()
    for line in (". 1:1(0) ack 77", "P. 1:11(10) ack 77", "F. 1:1(0) ack 77", "S. 1:1(0) ack 77"):
        peer.sends(line)
        peer.sees("R 77:77(0)")
    assert peer.state is State.LISTEN
