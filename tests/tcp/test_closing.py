"""Closing a connection (RFC 9293 3.6, 3.10.4, 3.10.5, 3.10.7.4): FINs from either side, crossing, lost and repeated."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.errors import ClosedError
from stack.tcp.state import State
from stack.wire.units import MINUTE, MS, SECOND
from tests.support import states

TWO_MSL = 60 * SECOND


@pytest.mark.parametrize("v6", [False, True])
def test_normal_close(v6: bool) -> None:  # figure 12, the host as TCP peer A
    peer, user = states.established(v6=v6)
    user.close()
    peer.sees("F. 1:1(0) ack 1")
    peer.sends(". 1:1(0) ack 2")
    assert user.state is State.FIN_WAIT_2
    peer.sends("F. 1:1(0) ack 2")
    peer.sees(". 2:2(0) ack 2")
    assert user.state is State.TIME_WAIT
    peer.sees_nothing(during=TWO_MSL)
    assert user.state is State.CLOSED
    assert user.error is None


@pytest.mark.parametrize("v6", [False, True])
def test_normal_close_by_the_peer(v6: bool) -> None:  # figure 12, the host as TCP peer B
    peer, user = states.established(passive=True, v6=v6)
    peer.sends("F. 1:1(0) ack 1")
    peer.sees(". 1:1(0) ack 2")
    assert user.conn.at_eof
    user.close()
    peer.sees("F. 1:1(0) ack 2")
    assert user.state is State.LAST_ACK
    peer.sends(". 2:2(0) ack 2")
    assert user.state is State.CLOSED
    assert user.error is None


def test_simultaneous_close() -> None:  # figure 13
    peer, user = states.established()
    user.close()
    peer.sees("F. 1:1(0) ack 1")
    peer.sends("F. 1:1(0) ack 1")
    peer.sees(". 2:2(0) ack 2")
    assert user.state is State.CLOSING
    peer.sends(". 2:2(0) ack 2")
    assert user.state is State.TIME_WAIT
    peer.sees_nothing(during=TWO_MSL)
    assert user.state is State.CLOSED
    assert user.error is None


def test_fin_follows_what_is_queued() -> None:
    """3.10.4: "queue this until all preceding SENDs have been segmentized"."""
    peer, user = states.established()
    user.write(1500)
    peer.sees(". 1:1001(1000) ack 1")
    user.close_write()
    seen = peer.takes()
    peer.sends(". 1:1(0) ack 1001")
    seen += peer.takes()
    assert [item.line.split(" win")[0] for item in seen] == ["FP. 1001:1501(500) ack 1"]
    peer.sends(". 1:1(0) ack 1502")
    assert user.state is State.FIN_WAIT_2


# RFC 9293 MUST-12
def test_user_learns_whether_the_peer_has_closed_or_aborted() -> None:
    peer, user = states.established()
    peer.sends("P. 1:11(10) ack 1", "F. 11:11(0) ack 1")
    peer.sees(". 1:1(0) ack 12")
    assert not user.conn.at_eof
    user.reads(10)
    assert user.conn.at_eof
    assert user.read() == b""
    assert user.error is None

    peer, user = states.established()
    peer.sends("P. 1:11(10) ack 1", "R 11:11(0)")
    user.reads(10)  # what came before is still there
    assert not user.conn.at_eof
    assert isinstance(user.error, ConnectionResetError)
    with pytest.raises(ConnectionResetError):
        user.read()
    with pytest.raises(ConnectionResetError):
        user.write(10)


# Half close.


# RFC1122-15
def test_data_flows_on_after_our_fin() -> None:
    peer, user = states.fin_wait_2()
    for number in range(5):
        start = 1 + 1000 * number
        peer.sends(f"P. {start}:{start + 1000}(1000) ack 2")
        peer.sees(f". 2:2(0) ack {start + 1000}")
    user.reads(5000)
    with pytest.raises(ClosedError):
        user.write(1)
    peer.passes(10 * MINUTE)  # there is no limit while somebody may read
    peer.sends("F. 5001:5001(0) ack 2")
    peer.sees(". 2:2(0) ack 5002")
    assert user.conn.at_eof
    assert user.state is State.TIME_WAIT


def test_data_is_acknowledged_in_fin_wait_1() -> None:
    peer, user = states.fin_wait_1()
    peer.sends("P. 1:11(10) ack 1")
    peer.sees(". 2:2(0) ack 11")
    user.reads(10)
    assert user.state is State.FIN_WAIT_1


# RFC1122-15
def test_data_flows_on_after_their_fin() -> None:
    peer, user = states.close_wait()
    for number in range(5):
        start = 1 + 1000 * number
        user.write(1000)
        peer.sees(f"P. {start}:{start + 1000}(1000) ack 2")
        peer.sends(f". 2:2(0) ack {start + 1000}")
    peer.sees_nothing(during=10 * MINUTE)
    assert user.state is State.CLOSE_WAIT
    user.close()
    peer.sees("F. 5001:5001(0) ack 2")
    peer.sends(". 2:2(0) ack 5002")
    assert user.state is State.CLOSED
    assert user.error is None


def test_last_ack_begins_when_the_fin_leaves() -> None:
    """3.10.4, CLOSE-WAIT: queue until all preceding SENDs have been segmentized, then send a FIN, enter LAST-ACK."""
    peer, user = states.established(window=1000)
    peer.sends("F. 1:1(0) ack 1")
    peer.sees(". 1:1(0) ack 2")
    user.write(2000)
    peer.sees(". 1:1001(1000) ack 2")
    user.close_write()
    peer.sees_nothing()
    assert user.state is State.CLOSE_WAIT
    peer.sends(". 2:2(0) ack 1001 win 3000")
    peer.sees("FP. 1001:2001(1000) ack 2")
    assert user.state is State.LAST_ACK


def test_repeated_fin_in_close_wait_is_acknowledged() -> None:
    peer, user = states.close_wait()
    peer.sends("F. 1:1(0) ack 1")
    peer.sees(". 1:1(0) ack 2")
    assert user.state is State.CLOSE_WAIT


@pytest.mark.parametrize("reach", [states.closing, states.last_ack])
def test_repeated_fin_after_ours_is_acknowledged(reach: states.Reach) -> None:
    peer, user = reach()
    before = user.state
    peer.sends("F. 1:1(0) ack 1")
    peer.sees(". 2:2(0) ack 2")
    assert user.state is before


def test_repeated_fin_that_acknowledges_ours_ends_last_ack() -> None:
    """The ACK field of a segment outside the window counts for nothing; a plain ACK follows."""
    peer, user = states.last_ack()
    peer.sends(". 2:2(0) ack 2")
    assert user.state is State.CLOSED


def test_text_after_their_fin_is_ignored() -> None:
    """3.10.7.4, seventh: "This should not occur"."""
    peer, user = states.close_wait()
    peer.sends("P. 2:12(10) ack 1")
    peer.takes()
    assert user.conn.readable == 0
    assert user.state is State.CLOSE_WAIT
    user.write(10)
    peer.sees("P. 1:11(10) ack 2")


def test_data_before_a_fin_that_came_early() -> None:
    """A FIN counts only when everything before it is here."""
    peer, user = states.established()
    peer.sends("F. 11:11(0) ack 1")
    peer.sees(". 1:1(0) ack 1")
    assert user.state is State.ESTABLISHED
    peer.sends("P. 1:11(10) ack 1")
    peer.sees(". 1:1(0) ack 12")
    assert user.state is State.CLOSE_WAIT
    user.reads(10)
    assert user.conn.at_eof


# LAST-ACK's three ends are in test_edges; here their conversations.


def test_lost_fin_is_sent_again() -> None:
    peer, user = states.last_ack()
    peer.sees("F. 1:1(0) ack 2", after=200 * MS)
    peer.sees("F. 1:1(0) ack 2", after=400 * MS)
    peer.sends(". 2:2(0) ack 2")
    peer.sees_nothing(during=MINUTE)
    assert user.state is State.CLOSED
    assert user.error is None


@pytest.mark.parametrize("reach", [states.last_ack, states.closing])
def test_last_ack_ends_with_a_reset(reach: states.Reach) -> None:
    """3.10.7.4, second: enter CLOSED, delete the TCB; a user who has closed is told of no error."""
    peer, user = reach()
    user.close()
    peer.sends("R 2:2(0)")
    peer.sees_nothing(during=MINUTE)
    assert user.state is State.CLOSED
    assert user.error is None
    assert peer.host.connections() == []


def test_lost_fin_on_data_is_sent_again_with_it() -> None:
    peer, user = states.established()
    user.write(1000)
    peer.sees("P. 1:1001(1000) ack 1")
    user.write(10)
    user.close_write()
    assert user.state is State.FIN_WAIT_1
    peer.takes()
    peer.sends(". 1:1(0) ack 1001")
    peer.takes()
    again = peer.gathers(400 * MS)
    assert again[-1].line.startswith("FP. 1001:1011(10) ack 1")
    peer.sends(". 1:1(0) ack 1012")
    assert user.state is State.FIN_WAIT_2


def test_peer_that_closes_long_after_us_finds_nobody() -> None:
    """The user is gone and FIN-WAIT-2 is over: a reset tells the peer."""
    peer, user = states.fin_wait_2(options=TcpOptions(fin_wait_2_timeout=30.0))
    user.close()
    peer.sees_nothing(during=30 * SECOND)
    assert user.state is State.CLOSED
    assert user.error is None
    peer.sends("F. 1:1(0) ack 2")
    peer.sees("R 2:2(0)")


def test_lost_fin_with_data_is_sent_again_whole() -> None:
    peer, user = states.established()
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    user.close()
    peer.sees("F. 11:11(0) ack 1")
    peer.sees("FP. 1:11(10) ack 1", after=200 * MS)
    peer.sends(". 1:1(0) ack 12")
    assert user.state is State.FIN_WAIT_2


# Close that loses data (3.6.1, SHLD-3).


# RFC 9293 SHLD-3
def test_close_with_unread_data_resets() -> None:
    peer, user = states.established()
    peer.sends("P. 1:11(10) ack 1")
    peer.sees(". 1:1(0) ack 11")
    user.close()
    peer.sees_reset(1, ack=11)
    assert user.state is State.CLOSED


# RFC 9293 SHLD-3, MAY-1
@pytest.mark.parametrize("acked", [False, True])
def test_data_after_close_resets(acked: bool) -> None:
    peer, user = states.established()
    user.close()
    peer.sees("F. 1:1(0) ack 1")
    peer.sends(f"P. 1:11(10) ack {2 if acked else 1}")
    peer.sees_reset(2, ack=1)
    assert user.state is State.CLOSED


def test_half_close_with_unread_data_does_not_reset() -> None:
    peer, user = states.established()
    peer.sends("P. 1:11(10) ack 1")
    peer.sees(". 1:1(0) ack 11")
    user.close_write()
    peer.sees("F. 1:1(0) ack 11")
    user.reads(10)


def test_close_is_harmless_when_repeated() -> None:
    peer, user = states.established()
    user.close()
    peer.sees("F. 1:1(0) ack 1")
    user.close()
    user.close_write()
    peer.sees_nothing()
    with pytest.raises(ClosedError):
        user.read()


# RFC 9293 MAY-1
@pytest.mark.parametrize("reach", [states.established, states.close_wait])
def test_close_after_reading_alone_was_ended(reach: states.Reach) -> None:
    """Nothing is left to read, and still a FIN is owed."""
    peer, user = reach()
    user.conn.close_read(peer.now)
    peer.sees_nothing()
    user.close()
    peer.sees(f"F. 1:1(0) ack {user.conn.rcv.nxt}")
    user.close()
    peer.sees_nothing()


def test_commands_after_close() -> None:
    """3.10.2, 3.10.3: "connection closing"."""
    _, user = states.established()
    user.close()
    with pytest.raises(ClosedError):
        user.write(1)
    with pytest.raises(ClosedError):
        user.read()


def test_abort_throws_away_what_is_queued() -> None:
    """3.10.5: "all segments queued for transmission ... should be flushed"."""
    peer, user = states.established(window=1000)
    user.write(5000)
    peer.sees(". 1:1001(1000) ack 1")
    user.abort()
    peer.sees_reset(1001, ack=1)
    peer.sends(". 1:1(0) ack 1001 win 65535")
    peer.sees("R 1001:1001(0)")
    assert isinstance(user.error, ConnectionAbortedError)
    with pytest.raises(ConnectionAbortedError):
        user.read()


def test_abort_is_harmless_when_repeated() -> None:
    peer, user = states.established()
    user.abort()
    peer.sees_reset(1, ack=1)
    user.abort()
    user.close()
    user.close_write()
    peer.sees_nothing(during=MINUTE)
    assert user.state is State.CLOSED


def test_fin_that_waits_for_a_closed_window_is_probed_for() -> None:
    """LAST-ACK begins with the probe, for that is the FIN."""
    peer, user = states.established(window=0)
    peer.sends("F. 1:1(0) ack 1 win 0")
    peer.sees(". 1:1(0) ack 2")
    user.close()
    assert user.state is State.CLOSE_WAIT
    peer.sees("F. 1:1(0) ack 2", after=200 * MS)
    assert user.state is State.LAST_ACK
    peer.sees("F. 1:1(0) ack 2", after=400 * MS)
    peer.sends(". 2:2(0) ack 2 win 0")
    assert user.state is State.CLOSED
    assert user.error is None


def test_close_waits_for_a_closed_window() -> None:
    """The FIN takes a number, so it waits for the window; a probe asks (3.8.6.1)."""
    peer, user = states.established(window=0)
    user.close_write()
    assert user.state is State.FIN_WAIT_1
    peer.sees_nothing()
    peer.sees("F. 1:1(0) ack 1", after=200 * MS)
    peer.sends(". 1:1(0) ack 1 win 0")
    peer.sends(". 1:1(0) ack 1 win 1000")
    peer.sees("F. 1:1(0) ack 1")
    peer.sends(". 1:1(0) ack 2")
    assert user.state is State.FIN_WAIT_2
