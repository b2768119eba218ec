"""Without timestamps, and before the handshake is over: what is measured, and what is not asked."""

from __future__ import annotations

from stack.tcp.config import TcpOptions
from stack.wire.units import MS, SECOND
from tests.support import states
from tests.support.peer import Peer


def test_a_window_full_of_text_measures_the_round_trip() -> None:
    """The receiver's, where nothing is echoed."""
    peer, user = states.established(options=TcpOptions(receive_window=2000, receive_buffer=2000))
    peer.sends("P. 1:1001(1000) ack 1")
    user.reads(1000)
    peer.takes()
    assert user.conn.rcv.rtt == -1
    peer.passes(30 * MS)
    peer.sends("P. 1001:2001(1000) ack 1")
    assert user.conn.rcv.rtt == 30 * MS
    peer.takes()


def test_a_crossing_open_is_not_probed() -> None:
    """RFC 8985 7.2 is about data. The SYN-ACK goes out again by its timer, which backs off."""
    peer = Peer()
    peer.connect()
    peer.sees("S 0:0(0) <...>")
    peer.sends("S 0:0(0) <mss 1000,sackOK>")
    peer.sees("S. 0:0(0) ack 1 <...>")
    peer.sees("S. 0:0(0) ack 1 <...>", after=1 * SECOND)
    peer.sees("S. 0:0(0) ack 1 <...>", after=2 * SECOND)
    peer.sees("S. 0:0(0) ack 1 <...>", after=4 * SECOND)
