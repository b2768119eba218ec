"""Rows of RFC 9293 that no other test shows by the way."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire import ip
from stack.wire.segment import ECT_0
from stack.wire.units import MS
from tests.support import states
from tests.support.peer import Peer

RTO = 200 * MS  #: Of a connection whose round trip takes no time.


# RFC 9293 SHLD-6
@pytest.mark.parametrize(("v6", "most"), [(False, 1460), (True, 1440)])
@pytest.mark.parametrize("passive", [False, True])
def test_mss_of_a_link_that_takes_packets_of_several_sizes(v6: bool, most: int, passive: bool) -> None:
    """3.7.3: the link takes 64 KiB in a super-frame, and 1500 octets in a packet; the smallest of them counts."""
    peer = Peer(v6=v6, max_payload=65_000)
    if passive:
        peer.listens()
        peer.sends("S 0:0(0)")
        peer.sees(f"S. 0:0(0) ack 1 <mss {most}>")
    else:
        peer.connect()
        peer.sees(f"S 0:0(0) <mss {most},...>")


# RFC 9293 MAY-4
def test_identification_of_what_is_sent_again() -> None:
    """3.8.1: an identical retransmission may have the same; here all packets have, for none is ever in fragments."""
    peer, user = states.established()
    user.write(10)
    first = ip.decode(peer.sees("P. 1:11(10) ack 1").frame)
    again = ip.decode(peer.sees("P. 1:11(10) ack 1", after=RTO).frame)
    assert first.ident == again.ident
    assert again.dont_fragment


# RFC 9293 MAY-7
def test_old_data_beyond_a_window_that_has_shrunk_is_sent_again() -> None:
    """3.8.6: one segment of it for each RTO, which asks for the window as well as a probe does."""
    peer, user = states.established(window=5000)
    user.write(10_000)
    assert len(peer.takes()) == 5
    peer.sends(". 1:1(0) ack 1001 win 0")
    peer.sees(". 1001:2001(1000) ack 1", after=RTO)
    peer.sends(". 1:1(0) ack 1001 win 0")
    peer.sees(". 1001:2001(1000) ack 1", after=2 * RTO)
    peer.sends(". 1:1(0) ack 5001 win 1000")
    peer.sees(". 5001:6001(1000) ack 1")
    assert user.state is State.ESTABLISHED


# DiffServ (3.9.1.9).


def _codepoints(*frames: bytes) -> set[int]:
    """The differentiated services codepoints of these packets."""
    return {ip.decode(frame).traffic_class >> 2 for frame in frames}


# RFC1122-25
# RFC 9293 MUST-48, SHLD-22
@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("dscp", [0, 10, 46, 63])
def test_codepoint_is_the_users(dscp: int, v6: bool) -> None:
    """Of every segment of a connection: SYN, ACK, data, what is sent again, FIN, the ACKs of TIME-WAIT."""
    peer = Peer(v6=v6)
    user = peer.connect(options=TcpOptions(dscp=dscp))
    frames = [peer.sees("S 0:0(0) <...>").frame]
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    frames.append(peer.sees(". 1:1(0) ack 1").frame)
    user.write(10)
    frames.append(peer.sees("P. 1:11(10) ack 1").frame)
    frames.append(peer.sees("P. 1:11(10) ack 1", after=RTO).frame)
    user.close_write()
    frames.append(peer.sees("F. 11:11(0) ack 1").frame)
    peer.sends("F. 1:1(0) ack 12")
    frames.append(peer.sees(". 12:12(0) ack 2").frame)
    assert user.state is State.TIME_WAIT
    peer.sends("F. 1:1(0) ack 12")
    frames.append(peer.sees(". 12:12(0) ack 2").frame)
    assert _codepoints(*frames) == {dscp}


# RFC1122-25
# RFC 9293 MUST-48
def test_codepoint_of_a_passive_open() -> None:
    """The listener's: of the SYN-ACK, of the ACK for what is not acceptable, and of the connection."""
    peer = Peer()
    peer.listens(options=TcpOptions(dscp=34))
    peer.sends("S 0:0(0) <mss 1000>")
    frames = [peer.sees("S. 0:0(0) ack 1 <...>").frame]
    peer.sends(". 70000:70000(0) ack 1")
    frames.append(peer.sees(". 1:1(0) ack 1").frame)
    peer.sends("P. 1:11(10) ack 1")
    frames.append(peer.sees(". 1:1(0) ack 11").frame)
    assert _codepoints(*frames) == {34}


# RFC 9293 SHLD-21, SHLD-22
def test_codepoint_can_be_changed() -> None:
    """From the next segment on, also one that is sent again; whoever asks for a reset gets it with the latest."""
    peer, user = states.established(options=TcpOptions(dscp=10))
    user.write(10)
    assert _codepoints(peer.sees("P. 1:11(10) ack 1").frame) == {10}
    user.set_options(TcpOptions(dscp=46))
    assert _codepoints(peer.sees("P. 1:11(10) ack 1", after=RTO).frame) == {46}
    peer.sends("P. 1:11(10) ack 11")
    assert _codepoints(peer.sees(". 11:11(0) ack 11").frame) == {46}
    user.set_options(TcpOptions())
    user.abort()
    assert _codepoints(peer.takes()[0].frame) == {0}


# RFC 9293 SHLD-22
def test_codepoint_stands_beside_the_bits_of_ecn() -> None:
    """RFC 2474 3, RFC 3168 5: six bits are the user's, two are TCP's."""
    peer = Peer()
    user = peer.connect(options=TcpOptions(dscp=63, ecn="request"))
    assert ip.decode(peer.sees("SEW 0:0(0) <...>").frame).traffic_class == 63 << 2
    peer.sends("S.E 0:0(0) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 1")
    user.write(10)
    assert ip.decode(peer.sees("P. 1:11(10) ack 1").frame).traffic_class == 63 << 2 | ECT_0
