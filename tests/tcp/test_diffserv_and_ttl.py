"""DiffServ and hop limit of what belongs to no open connection; and of what is received (RFC 9293 3.9.1.9, 3.9.2)."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire import ip
from stack.wire.checksum import checksum
from stack.wire.packet import Packet
from tests.support import states
from tests.support.peer import Peer, Seen

MINE = TcpOptions(dscp=34, ttl=9)
OTHER = TcpOptions(dscp=10, ttl=77)


def fields(seen: Seen) -> tuple[int, int]:
    """The codepoint and the hop limit."""
    header = ip.decode(seen.frame)
    return header.traffic_class >> 2, header.hop_limit


# RFC 9293 MUST-48, MUST-49, SHLD-21
def test_changed_in_time_wait() -> None:
    """The record that answers then has the connection's latest."""
    peer, user = states.time_wait(options=MINE)
    peer.sends("F. 1:1(0) ack 2")
    assert fields(peer.sees(". 2:2(0) ack 2")) == (34, 9)
    user.set_options(OTHER)
    peer.sends("F. 1:1(0) ack 2")
    assert fields(peer.sees(". 2:2(0) ack 2")) == (10, 77)


# RFC 9293 MUST-48, MUST-49
@pytest.mark.parametrize("v6", [False, True])
def test_all_that_a_half_open_connection_says(v6: bool) -> None:
    """The SYN-ACK and its repetitions, an ACK, resets: as its listener's connections will."""
    peer = Peer(v6=v6)
    listener = peer.listens(options=MINE)
    peer.sends("S 0:0(0) <mss 1000>")
    seen = [peer.sees("S. 0:0(0) ack 1 <...>")]
    peer.sends("S 0:0(0) <mss 1000>")
    seen.append(peer.sees("S. 0:0(0) ack 1 <...>"))
    peer.sends(". 70000:70000(0) ack 1")
    seen.append(peer.sees(". 1:1(0) ack 1"))
    peer.sends(". 1:1(0) ack 77")
    seen += peer.takes()
    peer.host.close_listener(listener, peer.now)
    peer.bench.flush()
    seen += peer.takes()
    assert len(seen) == 5
    assert {fields(item) for item in seen} == {(34, 9)}


# RFC 9293 MUST-49
def test_a_reset_for_nobody_has_the_hosts() -> None:
    peer = Peer(options=MINE)
    peer.sends("S 0:0(0) <mss 1000>")
    assert fields(peer.sees("R. 0:0(0) ack 1")) == (34, 9)


def marked(packet: Packet, traffic_class: int, hop_limit: int) -> bytes:
    """An IPv4 packet with these fields."""
    frame = bytearray(packet.frame())
    frame[1], frame[8] = traffic_class, hop_limit
    frame[10:12] = bytes(2)
    frame[10:12] = checksum(bytes(frame[:20])).to_bytes(2, "big")
    return bytes(frame)


# RFC1122-06
# RFC 9293 SHLD-22
@pytest.mark.parametrize("dscp", [0, 8, 46, 63])
@pytest.mark.parametrize("hop_limit", [0, 1, 255])
def test_what_is_received_does_not_matter(dscp: int, hop_limit: int) -> None:
    """Neither for what is taken, nor for what is sent: also where it changes from segment to segment."""
    peer = Peer()
    peer.listens(options=MINE)
    peer.bench.deliver(marked(peer.packet("S 0:0(0) <mss 1000>"), dscp << 2, hop_limit))
    seen = [peer.sees("S. 0:0(0) ack 1 <...>")]
    peer.bench.deliver(marked(peer.packet(". 1:1(0) ack 1"), 0, 64))
    user = peer.accepts()
    peer.bench.deliver(marked(peer.packet("P. 1:11(10) ack 1"), dscp << 2, hop_limit))
    seen.append(peer.sees(". 1:1(0) ack 11"))
    peer.bench.deliver(marked(peer.packet("P. 11:21(10) ack 1"), (63 - dscp) << 2, 255 - hop_limit))
    seen.append(peer.sees(". 1:1(0) ack 21"))
    user.reads(20)
    user.write(10)
    seen.append(peer.sees("P. 1:11(10) ack 21"))
    assert user.state is State.ESTABLISHED
    assert {fields(item) for item in seen} == {(34, 9)}
