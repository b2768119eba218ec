"""What holds back a segment that is not full, and what lets it go: `cork`, `more`, and Nagle beside them (tcp(7))."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.wire.units import MS, SECOND
from tests.support import states

CORKED = TcpOptions(cork=True)
ROUND_TRIP = 10 * MS
HELD = 210 * MS  #: An RTO after the handshake's round trip of 10 ms.


@pytest.mark.parametrize("passive", [False, True])
@pytest.mark.parametrize("nodelay", [False, True])
def test_corked_writes_leave_together_when_the_cork_is_drawn(nodelay: bool, passive: bool) -> None:
    options = CORKED.replace(nodelay=nodelay)
    peer, user = states.established(options=options, passive=passive)
    user.write(40)
    peer.sees_nothing(during=50 * MS)
    user.write(40)
    peer.sees_nothing(during=50 * MS)
    user.set_options(options.replace(cork=False))
    peer.sees("P. 1:81(80) ack 1")
    peer.sends(". 1:1(0) ack 81")
    user.write(5)
    peer.sees("P. 81:86(5) ack 1")


def test_full_segments_are_not_held_back() -> None:
    peer, user = states.established(options=CORKED)
    user.write(2500)
    peer.sees(". 1:1001(1000) ack 1", ". 1001:2001(1000) ack 1")
    peer.sends(". 1:1(0) ack 2001")
    peer.sees_nothing()
    user.write(500)
    peer.sees("P. 2001:3001(1000) ack 1")


def test_nor_are_super_frames() -> None:
    peer, user = states.established(options=CORKED, max_payload=60_000)
    peer.bench.whole = True
    user.write(4500)
    assert [item.size for item in peer.takes()] == [4000]
    peer.sends(". 1:1(0) ack 4001")
    peer.sees_nothing()


def test_cork_holds_for_one_rto_at_most() -> None:
    """Linux does so, too, and calls it a ceiling of 200 ms."""
    peer, user = states.established(options=CORKED, rtt=ROUND_TRIP)
    user.write(40)
    peer.sees_nothing(during=100 * MS)
    user.write(40)
    peer.sees("P. 1:81(80) ack 1", after=HELD - 100 * MS)
    peer.sends(". 1:1(0) ack 81")
    user.write(40)
    peer.sees("P. 81:121(40) ack 1", after=peer.host.next_timeout() - peer.now)
    peer.sends(". 1:1(0) ack 121")
    peer.sees_nothing(during=SECOND)


@pytest.mark.parametrize("rtt", [0, 950 * MS], ids=["short path", "long path"])
def test_cork_never_holds_for_more_than_a_second(rtt: int) -> None:
    peer, user = states.established(options=CORKED, rtt=rtt)
    user.write(40)
    assert peer.waits("P. 1:41(40) ack 1", limit=SECOND) >= 200 * MS


def test_time_counts_from_when_nothing_is_in_flight() -> None:
    """As long as something is, an ACK will come, and full segments may form."""
    peer, user = states.established(options=CORKED, rtt=ROUND_TRIP)
    user.write(1040)
    peer.sees(". 1:1001(1000) ack 1")
    peer.sees_nothing(during=ROUND_TRIP)
    peer.sends(". 1:1(0) ack 1001")
    assert 200 * MS < peer.waits("P. 1001:1041(40) ack 1", limit=SECOND) < 220 * MS


def test_nodelay_lets_go_what_is_held_back_and_the_cork_stays() -> None:
    peer, user = states.established(options=CORKED)
    user.write(40)
    user.set_options(CORKED.replace(nodelay=True))
    peer.sees("P. 1:41(40) ack 1")
    peer.sends(". 1:1(0) ack 41")
    user.write(40)
    peer.sees_nothing()
    user.conn.push()  # what a socket does when it is asked for once more
    user.flush()
    peer.sees("P. 41:81(40) ack 1")


def test_other_options_leave_the_cork_in_its_place() -> None:
    options = CORKED.replace(nodelay=True)
    peer, user = states.established(options=options)
    user.write(40)
    user.set_options(options.replace(ttl=9))
    peer.sees_nothing()


def test_fin_lets_go_what_is_held_back() -> None:
    peer, user = states.established(options=CORKED)
    user.write(40)
    user.close_write()
    peer.sees("FP. 1:41(40) ack 1")


def test_urgent_data_lets_go_what_is_held_back() -> None:
    peer, user = states.established(options=CORKED)
    user.write(40)
    user.write(1, urgent=True)
    peer.sees("PU. 1:42(41) ack 1 urg 41")
    peer.sends(". 1:1(0) ack 42")
    user.write(40)
    peer.sees_nothing()


def test_to_put_the_cork_in_holds_back_what_nagle_does() -> None:
    peer, user = states.established()
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    user.write(10)
    user.set_options(CORKED)
    peer.sends(". 1:1(0) ack 11")
    peer.sees_nothing()
    user.set_options(TcpOptions())
    peer.sees("P. 11:21(10) ack 1")


def test_small_window_is_not_kept_waiting_by_a_cork() -> None:
    """What the peer's window cuts short, no write can make longer."""
    peer, user = states.established(options=CORKED, window=600)
    user.write(1000)
    peer.sees(". 1:601(600) ack 1")


@pytest.mark.parametrize("limit", [{"send_buffer": 500}, {"notsent_lowat": 500}], ids=str)
def test_full_buffer_lets_go_what_is_held_back(limit: dict[str, int]) -> None:
    """The application can't make the segment larger, so nothing is worth waiting for. As in Linux."""
    peer, user = states.established(options=CORKED.replace(**limit))
    user.write(400)
    peer.sees_nothing()
    assert user.write(100) == 100
    peer.sees("P. 1:501(500) ack 1")
    peer.sends(". 1:1(0) ack 501")
    user.write(300, more=True)
    peer.sees_nothing()
    user.write(200, more=True)
    peer.sees("P. 501:1001(500) ack 1")


# MSG_MORE.


@pytest.mark.parametrize("nodelay", [False, True])
def test_more_waits_for_the_next_write(nodelay: bool) -> None:
    peer, user = states.established(options=TcpOptions(nodelay=nodelay))
    for size in (100, 160, 495):
        user.write(size, more=True)
        peer.sees_nothing(during=20 * MS)
    user.write(5)
    peer.sees("P. 1:761(760) ack 1")


@pytest.mark.parametrize("nodelay", [False, True])
def test_more_waits_for_one_rto_at_most(nodelay: bool) -> None:
    """Then it is the end for now, and PSH says so."""
    peer, user = states.established(options=TcpOptions(nodelay=nodelay), rtt=ROUND_TRIP)
    user.write(40, more=True)
    peer.sees("P. 1:41(40) ack 1", after=HELD)


def test_more_waits_for_an_ack_at_most() -> None:
    """As in Linux; and as more was announced, there is no PSH."""
    peer, user = states.established(options=TcpOptions(nodelay=True))
    user.write(3100, more=True)
    peer.sees(". 1:1001(1000) ack 1", ". 1001:2001(1000) ack 1", ". 2001:3001(1000) ack 1")
    user.write(50, more=True)
    peer.sees_nothing()
    peer.sends(". 1:1(0) ack 2001")
    peer.sees(". 3001:3151(150) ack 1")
    for size in (1, 2, 3, 4):
        user.write(size, more=True)
    peer.sees_nothing()
    peer.sends(". 1:1(0) ack 3151")
    peer.sees(". 3151:3161(10) ack 1")


def test_after_the_ack_nagle_decides() -> None:
    peer, user = states.established()
    user.write(2100, more=True)
    peer.sees(". 1:1001(1000) ack 1", ". 1001:2001(1000) ack 1")
    peer.sends(". 1:1(0) ack 1001")
    peer.sees_nothing()
    peer.sends(". 1:1(0) ack 2001")
    peer.sees(". 2001:2101(100) ack 1")


def test_nodelay_lets_go_what_more_holds_back() -> None:
    peer, user = states.established()
    user.write(40, more=True)
    user.write(40, more=True)
    user.set_options(TcpOptions(nodelay=True))
    peer.sees(". 1:81(80) ack 1")


def test_other_options_leave_it_held_back() -> None:
    peer, user = states.established()
    user.write(40, more=True)
    user.set_options(TcpOptions(ttl=9))
    peer.sees_nothing()


def test_write_of_nothing_says_nothing() -> None:
    peer, user = states.established()
    user.write(40, more=True)
    user.write(b"")
    peer.sees_nothing()
    user.write(b"", more=True)
    user.write(b"x")
    peer.sees("P. 1:42(41) ack 1")


def test_nothing_is_kept_of_what_matters_no_more() -> None:
    """A connection whose application says nothing pays for nothing."""
    peer, user = states.established()
    user.write(40, more=True)
    assert user.conn.snd.pushing is not None
    user.write(40)
    assert user.conn.snd.pushing is None
    user.write(1, urgent=True)
    peer.takes()
    assert user.conn.snd.pushing is not None
    peer.sends(". 1:1(0) ack 82")
    assert user.conn.snd.pushing is None
