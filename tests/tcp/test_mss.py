"""The maximum segment size (RFC 9293 3.7.1, RFC 6691): what is offered, what is sent, and what bounds both."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire import ip
from stack.wire.segment import SYN
from stack.wire.units import SECOND
from tests.support import states
from tests.support.peer import Peer
from tests.support.user import User

FAMILIES = pytest.mark.parametrize("v6", [False, True], ids=["ipv4", "ipv6"])
ROLES = pytest.mark.parametrize("passive", [False, True], ids=["active", "passive"])
TIMESTAMPS = pytest.mark.parametrize("timestamps", [False, True], ids=["plain", "timestamps"])


def sizes(peer: Peer, user: User, size: int) -> list[int]:
    """The user writes; how much each segment carries."""
    user.write(size)
    return [seen.size for seen in peer.takes() if seen.size]


# What the application says (TCP_MAXSEG).


# RFC 9293 MUST-14, MUST-16
@FAMILIES
@ROLES
@TIMESTAMPS
@pytest.mark.parametrize(("own", "peers", "expected"), [(700, 1400, 700), (1400, 700, 700), (700, 700, 700)])
def test_own_bound_holds_both_ways(
    own: int, peers: int, expected: int, timestamps: bool, passive: bool, v6: bool
) -> None:
    """It is offered, so that the peer sends no more, and it is not exceeded, whatever the peer takes."""
    options = TcpOptions(mss=own)
    peer = Peer(v6=v6, timestamps=timestamps)
    offered = f"<mss {peers},TS val 0 ecr 0>" if timestamps else f"<mss {peers}>"
    if passive:
        peer.listens(options=options)
        peer.sends(f"S 0:0(0) {offered}")
        assert peer.sees("S. 0:0(0) ack 1 <...>").segment.mss == own
        peer.sends(". 1:1(0) ack 1")
        user = peer.accepts()
        peer.takes()
    else:
        user = peer.connect(options=options)
        assert peer.sees("S 0:0(0) <...>").segment.mss == own
        peer.sends(f"S. 0:0(0) ack 1 {offered}")
        peer.sees(". 1:1(0) ack 1")
    room = expected - (12 if timestamps else 0)
    assert sizes(peer, user, 3 * room) == [room, room, room]
    info = user.conn.info(peer.now)
    assert (info.snd_mss, info.advmss) == (room, own)


@pytest.mark.parametrize("own", [64, 100, 215])
def test_own_bound_may_be_as_small_as_the_application_likes(own: int) -> None:
    """The floor is there for peers, who might want to cost us something."""
    peer, user = states.established(options=TcpOptions(mss=own), mss=1400)
    assert sizes(peer, user, 3 * own) == [own, own, own]


def test_own_bound_does_not_lift_what_the_link_takes() -> None:
    peer, user = states.established(options=TcpOptions(mss=9000), mss=9000)
    assert user.conn.info(peer.now).advmss == 1460
    assert sizes(peer, user, 2920) == [1460, 1460]


def test_own_bound_is_read_when_the_connection_is_opened() -> None:
    peer, user = states.established(mss=1400)
    user.set_options(TcpOptions(mss=700))
    assert sizes(peer, user, 2800) == [1400, 1400]


def test_super_frames_hold_segments_of_that_size() -> None:
    peer, user = states.established(options=TcpOptions(mss=700), mss=1400, max_payload=60_000)
    peer.bench.whole = True
    user.write(7000)
    [burst] = peer.takes()
    assert (burst.size, burst.segment.gso_size) == (7000, 700)


# What is offered.


# RFC 9293 MUST-67, SHLD-5, SHLD-6, MAY-3
@FAMILIES
@ROLES
@pytest.mark.parametrize("mtu", [576, 1280, 1500])
def test_offer_counts_the_fixed_headers_only(mtu: int, passive: bool, v6: bool) -> None:
    """RFC 6691: options of either layer are the sender's business; here timestamps are agreed on."""
    peer = Peer(v6=v6, mtu=mtu, timestamps=True)
    most = mtu - (60 if v6 else 40)
    if passive:
        peer.listens()
        peer.sends("S 0:0(0) <mss 1400,TS val 0 ecr 0>")
        seen = [peer.sees("S. 0:0(0) ack 1 <...>"), peer.sees("S. 0:0(0) ack 1 <...>", after=SECOND)]
    else:
        peer.connect()
        seen = [peer.sees("S 0:0(0) <...>"), peer.sees("S 0:0(0) <...>", after=SECOND)]
    assert [item.segment.mss for item in seen] == [most, most]
    assert all(item.segment.tsval >= 0 for item in seen)


# RFC 9293 MUST-65
@ROLES
def test_only_syns_carry_it(passive: bool) -> None:
    """Through a whole connection with data both ways, a retransmission and both FINs."""
    peer = Peer()
    seen = []
    if passive:
        peer.listens()
        peer.sends("S 0:0(0) <mss 1000>")
        seen += peer.takes()
        peer.sends(". 1:1(0) ack 1")
        user = peer.accepts()
    else:
        user = peer.connect()
        seen += peer.takes()
        peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    seen += peer.takes()
    user.write(2000)
    peer.sends("P. 1:101(100) ack 1")
    seen += peer.takes()
    seen += peer.gathers(SECOND)
    peer.sends(". 101:101(0) ack 2001")
    user.reads(100)
    user.close()
    seen += peer.takes()
    peer.sends("F. 101:101(0) ack 2002")
    seen += peer.takes()
    assert user.state is State.TIME_WAIT
    assert len(seen) > 6
    assert [bool(item.segment.mss) for item in seen] == [bool(item.flags & SYN) for item in seen]


# RFC 9293 MUST-65
def test_one_on_another_segment_is_ignored() -> None:
    peer, user = states.established(mss=1000)
    peer.sends(". 1:1(0) ack 1 <mss 300>")
    assert sizes(peer, user, 2000) == [1000, 1000]


# What is sent.


# RFC 9293 MUST-15, MUST-16
@FAMILIES
@ROLES
@TIMESTAMPS
def test_peer_that_does_not_say(timestamps: bool, passive: bool, v6: bool) -> None:
    """536 or 1220, of which the options of each segment are a part (RFC 6691)."""
    peer, user = states.established(v6=v6, passive=passive, timestamps=timestamps, mss=0)
    room = (1220 if v6 else 536) - (12 if timestamps else 0)
    assert sizes(peer, user, 2 * room) == [room, room]


# RFC 9293 MUST-15
def test_link_that_takes_less_than_the_default() -> None:
    peer, user = states.established(v6=True, mss=0, mtu=1000)
    assert sizes(peer, user, 1880) == [940, 940]


# RFC 9293 MUST-16
@pytest.mark.parametrize(("mss", "expected"), [(0, 536), (1, 216), (8, 216), (215, 216), (216, 216), (217, 217)])
@ROLES
def test_tiny_offers(mss: int, expected: int, passive: bool) -> None:
    """0 is read as no offer; less than 216 serves nobody but who wants to cost us packets (CVE-2019-11479)."""
    line = f"<mss {mss}>"
    peer = Peer()
    if passive:
        peer.listens()
        peer.sends(f"S 0:0(0) {line}")
        peer.sees("S. 0:0(0) ack 1 <...>")
        peer.sends(". 1:1(0) ack 1")
        user = peer.accepts()
    else:
        user = peer.connect()
        peer.sees("S 0:0(0) <...>")
        peer.sends(f"S. 0:0(0) ack 1 {line}")
        peer.sees(". 1:1(0) ack 1")
    assert sizes(peer, user, 2 * expected) == [expected, expected]


# RFC 9293 MUST-16
@FAMILIES
def test_no_packet_is_longer_than_the_link_whatever_it_carries(v6: bool) -> None:
    """Timestamps and SACK blocks beside text: every frame fits, and none has IP options."""
    peer, user = states.established(v6=v6, mss=65_000, sack=True, timestamps=True)
    for number in range(3):
        start = 2001 + 2000 * number
        peer.sends(f"P. {start}:{start + 1000}(1000) ack 1")
    peer.takes()
    user.write(20_000)
    frames = [seen.frame for seen in peer.takes() if seen.size]
    assert frames
    for frame in frames:
        header = ip.decode(frame)
        assert len(frame) <= 1500
        assert header.start == (40 if v6 else 20)
