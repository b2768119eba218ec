"""Window scaling and timestamps (RFC 7323), where the tests of the handshake and of PAWS do not say it already."""

from __future__ import annotations

import pytest

from stack.tcp.state import State
from stack.wire.units import MS
from tests.support import states
from tests.support.peer import Peer


# RFC7323-07
@pytest.mark.parametrize("field", [4, 3], ids=["rounded down", "and taken back"])
def test_window_that_shrinks_in_units_of_its_scale(field: int) -> None:
    """2.4: the peer's field counts kibioctets, so that what it says after an ACK may end before what it said once."""
    peer, user = states.established(wscale=10)
    peer.sends(". 1:1(0) ack 1 win 5")
    user.write(20_000)
    assert [seen.start for seen in peer.takes()] == [1, 1001, 2001, 3001, 4001]
    peer.sends(f". 1:1(0) ack 1001 win {field}")  # the edge moves left: from 5121 to 5097, or to 4073
    peer.sees_nothing()
    assert user.conn.snd.usable == 1001 + (field << 10) - 5001
    peer.sends(". 1:1(0) ack 5001 win 5")
    assert [seen.start for seen in peer.takes()] == [5001, 6001, 7001, 8001, 9001]
    assert user.state is State.ESTABLISHED


# RFC7323-08, RFC7323-09
def test_text_up_to_the_largest_edge_ever_offered_is_taken() -> None:
    """2.4: with 100 octets unread the window is no multiple of 128, and its field says less than was offered before.
    But the peer may have sent what it was offered then."""
    peer, user = states.established(wscale=0, sack=True)
    assert peer.watch.host_shift == 7
    assert peer.watch.host_edge == 65_537
    peer.sends("P. 1:101(100) ack 1")
    seen = peer.sees(". 1:1(0) ack 101")
    assert seen.edge < 65_537, "the field can't say it"
    peer.sends("P. 64537:65537(1000) ack 1")
    peer.sees(". 1:1(0) ack 101 <sack 64537:65537>")
    peer.sends("P. 65537:65547(10) ack 1")  # and not beyond
    peer.sees(". 1:1(0) ack 101 <...>")
    assert user.conn.readable == 100
    assert peer.host.counters.drops == {"out-of-window": 1}


# RFC7323-10
def test_echo_of_a_syn_means_nothing() -> None:
    """3.2: TSecr counts only beside ACK. Ours is 0 there; what stands in the peer's is not looked at."""
    peer = Peer(timestamps=True)
    peer.connect()
    assert peer.sees("S 0:0(0) <...>").segment.tsecr == 0

    peer = Peer()
    peer.listens()
    peer.passes(50 * MS)
    peer.sends("S 0:0(0) <mss 1000,TS val 5 ecr 4294967290>")
    peer.sees("S. 0:0(0) ack 1 <mss 1460,TS val 0 ecr 5>")
    peer.passes(30 * MS)
    peer.sends(". 1:1(0) ack 1 <TS val 6 ecr 0>")
    info = peer.accepts().conn.info(peer.now)
    assert info.rtt == 30_000, "of the handshake, and not of that echo"
