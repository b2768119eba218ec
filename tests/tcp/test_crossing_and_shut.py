"""Text on the SYN-ACK of a crossing open; a FIN and a reset for a window that is closed (RFC 9293 3.10.7.4)."""

from __future__ import annotations

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from tests.support import states


def test_text_of_a_crossing_syn_ack_is_the_first() -> None:
    """Figure 7, with text: it begins behind the SYN."""
    peer, user = states.syn_received()
    peer.sends("S. 0:10(10) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 11")
    assert user.state is State.ESTABLISHED
    user.reads(10)


def test_a_bare_fin_for_a_closed_window_waits() -> None:
    """It occupies a number, and there is no room for one: the peer hears where we stand, and sends it again."""
    peer, user = states.established(options=TcpOptions(receive_window=2000, receive_buffer=2000))
    peer.sends("P. 1:1001(1000) ack 1", "P. 1001:2001(1000) ack 1")
    peer.sees(". 1:1(0) ack 2001 win 0")
    peer.sends("F. 2001:2001(0) ack 1")
    peer.sees(". 1:1(0) ack 2001 win 0")
    assert user.state is State.ESTABLISHED
    user.reads(2000)
    peer.takes()
    peer.sends("F. 2001:2001(0) ack 1")
    peer.sees(". 1:1(0) ack 2002")
    assert user.state is State.CLOSE_WAIT


def test_a_reset_needs_no_window() -> None:
    """MUST-66: whatever it carries, only its number counts."""
    for line in ("R 2001:2001(0)", "R 2001:2011(10)"):
        peer, user = states.established(options=TcpOptions(receive_window=2000, receive_buffer=2000))
        peer.sends("P. 1:1001(1000) ack 1", "P. 1001:2001(1000) ack 1")
        peer.sees(". 1:1(0) ack 2001 win 0")
        peer.sends(line)
        assert user.state is State.CLOSED
        assert isinstance(user.error, ConnectionResetError)
