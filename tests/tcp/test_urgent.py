"""Urgent data (RFC 9293 3.8.5, 3.10.7.4; RFC 6093): the pointer out and in; the data stays in line."""

from __future__ import annotations

import pytest
from scapy.layers import inet

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire.packet import TRUSTED, Packet
from stack.wire.segment import URG
from stack.wire.units import SECOND
from tests.support import states
from tests.support.peer import Peer, Seen
from tests.support.user import User

FAR = 65_535  #: The largest distance that the pointer can say.


# Sending.


# RFC 9293 MUST-30, MUST-62
def test_pointer_is_the_number_of_the_octet_that_follows() -> None:
    peer, user = states.established()
    user.write(3)
    peer.sees("P. 1:4(3) ack 1")
    user.write(5, urgent=True)
    peer.sees("PU. 4:9(5) ack 1 urg 5")
    peer.sends(". 1:1(0) ack 9")
    user.write(7)
    peer.sees("P. 9:16(7) ack 1")


# RFC 9293 MUST-62
def test_what_another_decoder_says_of_the_segment() -> None:
    peer, user = states.established()
    user.write(5, urgent=True)
    seen = peer.sees("PU. 1:6(5) ack 1 urg 5")
    layer = inet.IP(seen.frame)[inet.TCP]
    assert (str(layer.flags), layer.urgptr, len(bytes(layer.payload))) == ("PAU", 5, 5)


# RFC 9293 MUST-31
@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 5000])
def test_urgent_data_of_any_length(size: int) -> None:
    """Each segment that begins before its end has the distance to it."""
    peer, user = states.established()
    user.write(size, urgent=True)
    user.write(10)  # behind it, and not urgent
    taken = [item for _ in range(4) for item in _acknowledged(peer)]
    assert sum(item.size for item in taken) == size + 10
    for item in taken:
        assert _pointer(item) == (1 + size if item.start < 1 + size else 0), item.line


def _acknowledged(peer: Peer) -> list[Seen]:
    taken = peer.takes()
    if taken:
        peer.sends(f". 1:1(0) ack {taken[-1].end}")
    return taken


def _pointer(item: Seen) -> int:
    """The number at which a segment's pointer points; 0 without URG."""
    assert item.segment.urgent == 0 or item.flags & URG
    return item.start + item.segment.urgent if item.flags & URG else 0


def test_urgent_data_does_not_wait_for_nagle() -> None:
    peer, user = states.established()
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    user.write(10)
    peer.sees_nothing()
    user.write(10, urgent=True)
    peer.sees("PU. 11:31(20) ack 1 urg 20")
    user.write(5)  # still in urgent mode: what follows may be told at once
    peer.sees("P. 31:36(5) ack 1")
    peer.sends(". 1:1(0) ack 36")
    user.write(5)
    peer.sees("P. 36:41(5) ack 1")
    user.write(5)
    peer.sees_nothing()


def test_second_urgent_write_moves_the_pointer() -> None:
    peer, user = states.established()
    user.write(5, urgent=True)
    peer.sees("PU. 1:6(5) ack 1 urg 5")
    user.write(5, urgent=True)
    peer.sees("PU. 6:11(5) ack 1 urg 5")
    peer.passes(0)
    peer.sends(". 1:1(0) ack 6")
    peer.sees("PU. 6:11(5) ack 1 urg 5", after=_until_resent(peer))


def _until_resent(peer: Peer) -> int:
    """The time until the host wants to be woken."""
    return peer.host.next_timeout() - peer.now


# RFC 9293 MUST-30
def test_what_is_sent_again_is_urgent_again() -> None:
    """And points at the present end of the urgent data, also on what was not urgent when it left first."""
    peer, user = states.established()
    user.write(1000)
    peer.sees("P. 1:1001(1000) ack 1")
    user.write(2, urgent=True)
    peer.sees("PU. 1001:1003(2) ack 1 urg 2")
    peer.sees("U. 1:1001(1000) ack 1 urg 1002", after=_until_resent(peer))
    peer.sends(". 1:1(0) ack 1003")
    user.write(1)
    peer.sees("P. 1003:1004(1) ack 1")
    peer.sees("P. 1003:1004(1) ack 1", after=_until_resent(peer))


# RFC 9293 MUST-30
def test_closed_window_does_not_keep_it_from_the_peer() -> None:
    """An empty segment tells at once, and so do the probes of the window."""
    peer, user = states.established(window=0)
    user.write(10)
    peer.sees_nothing()
    user.write(5, urgent=True)
    peer.sees("U. 1:1(0) ack 1 urg 15")
    peer.sees_nothing()
    peer.waits("U. 1:2(1) ack 1 urg 15", limit=2 * SECOND)
    peer.sends(". 1:1(0) ack 1 win 0")
    peer.waits("U. 1:2(1) ack 1 urg 15", limit=4 * SECOND)
    peer.sends(". 1:1(0) ack 2 win 1000")
    peer.sees("PU. 2:16(14) ack 1 urg 14")


def test_it_is_told_once() -> None:
    """Not by an empty segment, where one with text has told already."""
    peer, user = states.established(window=2000)
    user.write(5000, urgent=True)
    peer.sees("U. 1:1001(1000) ack 1 urg 5000", "U. 1001:2001(1000) ack 1 urg 4000")
    peer.sees_nothing()


def test_congestion_window_does_not_keep_it_from_the_peer() -> None:
    peer, user = states.established()
    user.write(12_000)
    assert [item.size for item in peer.takes()] == [1000] * 10
    user.write(5, urgent=True)
    peer.sees("U. 10001:10001(0) ack 1 urg 2005")
    peer.sends(". 1:1(0) ack 4001")
    peer.sees(
        "U. 10001:11001(1000) ack 1 urg 2005", "U. 11001:12001(1000) ack 1 urg 1005", "PU. 12001:12006(5) ack 1 urg 5"
    )


def test_before_the_handshake_is_over_it_waits() -> None:
    peer, user = states.syn_sent()
    user.write(5, urgent=True)
    peer.sees_nothing()
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    peer.sees("PU. 1:6(5) ack 1 urg 5")


# RFC 9293 MUST-31, MUST-62
def test_end_that_is_farther_away_than_the_pointer_reaches() -> None:
    """The largest distance is said, but never one that points among what was sent: no octet there ends urgent data."""
    peer, user = states.established(window=65_535, wscale=4)
    user.conn.snd.congestion.cwnd = 1 << 20
    user.write(150_000, urgent=True)
    end = 150_001
    told = sent = 1
    while sent < end:
        for item in peer.takes():
            told = max(told, _pointer(item))
            sent = max(sent, item.end)
            if item.flags & URG:
                assert _pointer(item) == end or (item.segment.urgent == FAR and _pointer(item) > item.end), item.line
            # By the time that an octet leaves, the peer was told of what follows it.
            assert told > sent or told == end == sent
        peer.sends(f". 1:1(0) ack {sent}")
    peer.sees_nothing()


def test_largest_distance_must_point_beyond_what_was_sent() -> None:
    """At 85 segments of 771 octets it would end just there, and the octet before it is not urgent."""
    peer, user = states.established(window=FAR, mss=771)
    user.conn.snd.congestion.cwnd = 1 << 20
    user.write(150_000, urgent=True)
    taken = peer.takes()
    assert (len(taken), taken[-1].end) == (85, 1 + FAR)
    resent = peer.gathers(_until_resent(peer))
    assert [(item.start, item.flags & URG) for item in resent] == [(1, 0)]


def test_old_segment_that_is_sent_again_points_nowhere_among_what_was_sent() -> None:
    peer, user = states.established(window=65_535, wscale=4)
    user.conn.snd.congestion.cwnd = 1 << 20
    peer.sends(". 1:1(0) ack 1")  # now with a scaled window
    user.write(150_000, urgent=True)
    assert peer.takes()[-1].end == 150_001
    resent = peer.gathers(_until_resent(peer))
    assert [(item.start, item.flags & URG) for item in resent] == [(1, 0)]


def test_part_that_the_buffer_took_is_urgent() -> None:
    """The rest is written later, and moves the pointer then."""
    peer, user = states.established(options=TcpOptions(send_buffer=500))
    assert user.write(700, urgent=True) == 500
    peer.sees("PU. 1:501(500) ack 1 urg 500")
    assert user.write(200, urgent=True) == 0
    peer.sends(". 1:1(0) ack 501")
    user.write(200, urgent=True)
    peer.sees("PU. 501:701(200) ack 1 urg 200")


def test_nothing_is_not_urgent() -> None:
    peer, user = states.established()
    user.write(b"", urgent=True)
    peer.sees_nothing()
    user.write(5)
    peer.sees("P. 1:6(5) ack 1")


def test_fin_behind_urgent_data() -> None:
    peer, user = states.established()
    user.write(5, urgent=True)
    peer.sees("PU. 1:6(5) ack 1 urg 5")
    user.close_write()
    peer.sees("F. 6:6(0) ack 1")
    peer.sends(". 1:1(0) ack 6")
    peer.sees("F. 6:6(0) ack 1", after=_until_resent(peer))


# Super-frames: whoever cuts one repeats its pointer, which is right for its first segment only.


def test_urgent_data_leaves_in_single_segments() -> None:
    peer, user = states.established(max_payload=60_000)
    user.write(4000)
    assert [item.size for item in peer.takes()] == [1000] * 4
    peer.sends(". 1:1(0) ack 4001")
    peer.bench.whole = True
    user.write(3000, urgent=True)
    user.write(3000)
    taken = peer.takes()
    assert [(item.size, item.segment.gso_size) for item in taken] == [(1000, 0)] * 6
    assert [_pointer(item) for item in taken] == [7001] * 3 + [0] * 3
    peer.sends(". 1:1(0) ack 7001")
    user.write(4000)  # urgent mode is over
    assert [item.size for item in peer.takes()] == [4000]


def test_burst_that_was_lost_is_sent_again_in_single_segments() -> None:
    peer, user = states.established(max_payload=60_000, sack=True)
    peer.bench.whole = True
    user.write(4000)
    assert [item.size for item in peer.takes()] == [4000]
    user.write(1000, urgent=True)
    peer.sees("PU. 4001:5001(1000) ack 1 urg 1000")
    peer.sends(". 1:1(0) ack 1 <sack 4001:5001>")
    resent = peer.gathers(2 * SECOND)
    assert resent
    assert all(item.size <= 1000 and _pointer(item) == 5001 for item in resent)


# Receiving.


def marks(user: User) -> tuple[int, int]:
    return user.conn.urgent_mark, user.conn.urgent_remaining


# RFC 9293 MUST-30, MUST-32, MUST-33
def test_mark_and_what_remains() -> None:
    peer, user = states.established()
    assert marks(user) == (0, 0)
    peer.sends("PU. 1:11(10) ack 1 urg 4")
    peer.takes()
    assert marks(user) == (4, 4)
    user.reads(3)
    assert marks(user) == (4, 1)
    user.reads(1)
    assert marks(user) == (4, 0)
    user.reads(6)
    assert marks(user) == (4, 0)


class Owner:
    """Counts how often the host says that something has changed."""

    def __init__(self, user: User) -> None:
        self.user = user
        user.conn.owner = self
        self.news()

    def news(self) -> bool:
        """Whether there was any since it was asked last."""
        return bool(self.user.peer.host.take_woken())


# RFC 9293 MUST-32
def test_news_when_the_pointer_appears_and_when_it_advances() -> None:
    """Before any octet has come, too; not when it is told again."""
    peer, user = states.established()
    owner = Owner(user)
    peer.sends("U. 1:1(0) ack 1 urg 100")
    assert owner.news()
    assert marks(user) == (100, 100)
    for line in ("U. 1:1(0) ack 1 urg 100", "U. 1:1(0) ack 1 urg 60", ". 1:1(0) ack 1"):
        peer.sends(line)
        assert not owner.news()
    peer.sends("U. 1:1(0) ack 1 urg 101")
    assert owner.news()
    assert marks(user) == (101, 101)


# RFC 9293 MUST-32
def test_no_news_of_what_is_consumed() -> None:
    peer, user = states.established()
    peer.sends("P. 1:11(10) ack 1")
    peer.takes()
    user.reads(10)
    owner = Owner(user)
    peer.sends("U. 11:11(0) ack 1 urg 0")
    assert not owner.news()
    assert user.conn.urgent_remaining == 0


# RFC 9293 MUST-31, MUST-33
def test_urgent_data_over_many_segments() -> None:
    peer, user = states.established()
    for start in range(1, 50_001, 1000):
        peer.sends(f"PU. {start}:{start + 1000}(1000) ack 1 urg {50_001 - start}")
        peer.takes()
        assert marks(user) == (50_000, 50_000 - user.consumed)
        user.reads(700)
        peer.takes()
    user.reads(user.conn.readable)
    assert marks(user) == (50_000, 0)


# RFC 9293 MUST-66
def test_urgent_where_the_window_is_closed() -> None:
    peer, user = states.established(options=TcpOptions(receive_window=2000, receive_buffer=2000))
    peer.sends("P. 1:1001(1000) ack 1", "P. 1001:2001(1000) ack 1")
    peer.sees(". 1:1(0) ack 2001 win 0")
    peer.sends("U. 2001:2001(0) ack 1 urg 7")
    assert marks(user) == (2007, 2007)
    peer.sends("U. 2001:2002(1) ack 1 urg 9")  # with the octet of a probe, which is refused
    peer.sees(". 1:1(0) ack 2001 win 0")
    assert marks(user) == (2009, 2009)
    user.reads(2000)


@pytest.mark.parametrize("line", ["U. 70000:70000(0) ack 1 urg 5", "U. 70000:70010(10) ack 1 urg 5", "U 1:1(0) urg 5"])
def test_pointer_of_a_segment_that_is_not_taken(line: str) -> None:
    """Beyond the window, or without an ACK."""
    peer, user = states.established()
    peer.sends(line)
    peer.takes()
    assert marks(user) == (0, 0)


def test_pointer_of_a_segment_that_comes_too_early() -> None:
    """It lies in the window, so what it says is known before the octets between can be read."""
    peer, user = states.established()
    peer.sends("PU. 101:111(10) ack 1 urg 5")
    assert marks(user) == (105, 105)
    peer.sends("P. 1:101(100) ack 1")
    peer.takes()
    user.reads(110)
    assert marks(user) == (105, 0)


@pytest.mark.parametrize("pointer", [0, 1, FAR])
def test_hostile_pointers_are_bounded(pointer: int) -> None:
    """At most the farthest segment in the window, and the farthest distance."""
    peer, user = states.established()
    edge = user.conn.rcv.edge
    for start in (1, edge // 2, edge, edge + 1, 1 << 31, (1 << 32) - 1):
        peer.sends(f"U. {start}:{start}(0) ack 1 urg {pointer}")
        peer.takes()
        assert user.conn.urgent_mark <= edge - 1 + pointer
    peer.sends("P. 1:101(100) ack 1")
    peer.takes()
    user.reads(100)


def test_no_urgent_octet_lies_beyond_the_fin() -> None:
    peer, user = states.established()
    peer.sends("FPU. 1:11(10) ack 1 urg 500")
    peer.takes()
    assert marks(user) == (10, 10)
    user.reads(10)
    assert marks(user) == (10, 0)
    assert user.conn.at_eof


# Sixth step of 3.10.7.4, and of 3.10.7.3.


@pytest.mark.parametrize("reach", [states.established, states.fin_wait_1, states.fin_wait_2])
def test_states_in_which_urgent_data_may_come(reach: states.Reach) -> None:
    peer, user = reach()
    ack = 1 if reach is states.established else 2
    peer.sends(f"PU. 1:11(10) ack {ack} urg 10")
    peer.takes()
    assert marks(user) == (10, 10)


@pytest.mark.parametrize(
    "reach", [states.close_wait, states.closing, states.last_ack, states.time_wait, states.syn_received]
)
def test_states_in_which_it_is_ignored(reach: states.Reach) -> None:
    """The peer has said that nothing follows; or has not answered our SYN, but says nothing of it here."""
    peer, user = reach()
    before, owner = user.state, Owner(user)
    peer.sends("U. 2:2(0) ack 0 urg 10" if reach is states.syn_received else "U. 2:2(0) ack 1 urg 10")
    peer.takes()
    assert marks(user) == (0, 0)
    assert not owner.news()
    assert user.state is before


def test_urgent_third_segment() -> None:
    peer = states.half_open()
    peer.sends("PU. 1:11(10) ack 1 urg 10")
    user = peer.accepts()
    peer.takes()
    assert marks(user) == (10, 10)
    user.reads(10)


def test_urgent_on_a_syn_ack() -> None:
    """3.10.7.3 goes on at the sixth step. The SYN has a number, and comes before the first octet."""
    peer, user = states.syn_sent()
    peer.sends("SU. 0:0(0) ack 1 urg 6 <mss 1000>")
    peer.sees(". 1:1(0) ack 1")
    assert marks(user) == (5, 5)


def test_nobody_is_told_who_has_closed() -> None:
    peer, user = states.established()
    user.close()
    peer.takes()
    owner = Owner(user)
    peer.sends("U. 1:1(0) ack 1 urg 10")
    assert not owner.news()
    assert user.state is State.FIN_WAIT_1


def test_super_frame_with_urg() -> None:
    """Whoever made it of segments has kept the first one's header: its pointer counts from there."""
    peer, user = states.established()
    frame = peer.packet("PU. 1:4001(4000) ack 1 urg 1500").frame()
    peer.bench.deliver(Packet(frame, gso_size=1000, csum=TRUSTED))
    peer.takes()
    assert marks(user) == (1500, 1500)
    user.reads(4000)
    assert user.conn.data_segs_in == 4
