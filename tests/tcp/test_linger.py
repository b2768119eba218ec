"""Lingering close (socket(7), SO_LINGER): what is left behind has so much time; and FIN-WAIT-2 has its own."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire.units import NEVER, SECOND
from tests.support import states

FIVE = TcpOptions(linger=5.0)
AT_ONCE = TcpOptions(linger=0.0)


# Zero: a reset.


@pytest.mark.parametrize("reach", [states.established, states.fin_wait_1, states.fin_wait_2, states.close_wait])
def test_linger_of_zero_resets(reach: states.Reach) -> None:
    peer, user = reach(options=AT_ONCE)
    sent = 1 if reach is states.established or reach is states.close_wait else 2
    user.close()
    peer.sees_reset(sent, ack=2 if reach is states.close_wait else 1)
    assert user.state is State.CLOSED
    assert isinstance(user.error, ConnectionAbortedError)
    peer.sees_nothing(during=100 * SECOND)


def test_what_is_queued_is_lost() -> None:
    peer, user = states.established(options=AT_ONCE, window=1000)
    user.write(5000)
    peer.sees(". 1:1001(1000) ack 1")
    user.close()
    peer.sees_reset(1001, ack=1)
    assert not user.conn.lingers
    peer.sees_nothing(during=100 * SECOND)


@pytest.mark.parametrize("reach", [states.closing, states.last_ack])
def test_both_have_closed_already(reach: states.Reach) -> None:
    """As ABORT does there (3.10.5): no reset."""
    peer, user = reach(options=AT_ONCE)
    user.close()
    peer.sees_nothing(during=100 * SECOND)
    assert user.state is State.CLOSED


def test_time_wait_stays() -> None:
    peer, user = states.time_wait(options=AT_ONCE)
    user.close()
    peer.sees_nothing()
    assert user.state is State.TIME_WAIT


def test_handshake_ends() -> None:
    peer, user = states.syn_sent(options=AT_ONCE)
    user.close()
    assert user.state is State.CLOSED
    peer.sees_nothing(during=100 * SECOND)


def test_half_close_is_no_close() -> None:
    peer, user = states.established(options=AT_ONCE)
    user.close_write()
    peer.sees("F. 1:1(0) ack 1")


# Some time.


@pytest.mark.parametrize("first", ["write", "read"])
def test_both_directions_were_ended_before(first: str) -> None:
    """The time begins with CLOSE, and not again when that is repeated."""
    peer, user = states.established(options=FIVE)
    user.write(100)
    if first == "write":
        user.conn.close_write()
    user.conn.close_read(peer.now)
    user.conn.close_write()
    user.flush()
    peer.gathers(3 * SECOND)
    started = peer.now
    user.close()
    sent = peer.gathers(3 * SECOND)
    user.close()
    sent += peer.gathers(100 * SECOND)
    assert [item.time - started for item in sent if item.flags & 4] == [5 * SECOND]
    assert user.state is State.CLOSED
    assert isinstance(user.error, TimeoutError)


def test_both_directions_were_ended_before_and_no_time_is_left() -> None:
    peer, user = states.fin_wait_1(options=AT_ONCE)
    user.conn.close_read(peer.now)
    user.close()
    peer.sees_reset(2, ack=1)
    assert user.state is State.CLOSED


def test_end_of_both_directions_is_not_yet_a_close() -> None:
    """Whoever shuts both while the SYNs cross has no time set by that, and the handshake's limit ends with it."""
    peer, user = states.syn_received(options=FIVE.replace(connect_timeout=3.0))
    user.conn.close_write()
    user.conn.close_read(peer.now)
    user.flush()
    peer.takes()
    peer.sends(". 1:1(0) ack 1")
    sent = peer.takes() + peer.gathers(20 * SECOND)
    assert not [item for item in sent if item.flags & 4]
    assert user.state is State.FIN_WAIT_1


def test_everything_acknowledged_in_time() -> None:
    peer, user = states.established(options=FIVE)
    user.write(500)
    peer.sees("P. 1:501(500) ack 1")
    user.close()
    peer.sees("F. 501:501(0) ack 1")
    peer.passes(0)
    assert user.conn.lingers
    peer.sends(". 1:1(0) ack 502")
    assert not user.conn.lingers
    assert user.state is State.FIN_WAIT_2
    peer.sees_nothing(during=10 * SECOND)
    peer.sends("F. 1:1(0) ack 502")
    peer.sees(". 502:502(0) ack 2")
    assert (user.state, user.error) == (State.TIME_WAIT, None)


def test_nothing_acknowledged_in_time() -> None:
    """The peer learns that something was lost, and so does whoever has closed."""
    peer, user = states.established(options=FIVE, window=300)
    user.write(500)
    peer.sees(". 1:301(300) ack 1")
    user.close()
    started = peer.now
    peer.sends(". 1:1(0) ack 301 win 0")
    sent = peer.gathers(4 * SECOND)
    assert all(item.size <= 1 for item in sent)  # probes
    peer.sends(". 1:1(0) ack 301 win 0")
    assert user.state is State.FIN_WAIT_1
    sent = peer.gathers(5 * SECOND)
    resets = [item for item in sent if item.flags & 4]
    assert {item.time - started for item in resets} == {5 * SECOND}
    assert 301 in [item.start for item in resets]
    assert user.state is State.CLOSED
    assert isinstance(user.error, TimeoutError)
    assert not user.conn.lingers


@pytest.mark.parametrize("reach", [states.close_wait, states.closing, states.last_ack, states.fin_wait_1])
def test_other_states_in_which_something_is_left_behind(reach: states.Reach) -> None:
    peer, user = reach(options=FIVE)
    started = peer.now
    user.close()
    sent = peer.gathers(100 * SECOND)
    assert [item.time - started for item in sent if item.flags & 4] == [5 * SECOND]
    assert sent[-1].flags & 4
    assert user.state is State.CLOSED
    assert isinstance(user.error, TimeoutError)


def test_fin_acknowledged_in_last_ack() -> None:
    peer, user = states.close_wait(options=FIVE)
    user.close()
    peer.sees("F. 1:1(0) ack 2")
    peer.sends(". 2:2(0) ack 2")
    assert (user.state, user.error) == (State.CLOSED, None)
    peer.sees_nothing(during=10 * SECOND)


def test_crossing_fins() -> None:
    peer, user = states.established(options=FIVE)
    user.close()
    peer.sees("F. 1:1(0) ack 1")
    peer.sends("F. 1:1(0) ack 1")
    peer.sees(". 2:2(0) ack 2")
    peer.sends(". 2:2(0) ack 2")
    assert user.state is State.TIME_WAIT
    peer.sees_nothing(during=10 * SECOND)
    assert user.error is None


def test_closed_while_the_syns_cross() -> None:
    """The handshake's limit does not count any more, and its end does not end the waiting."""
    peer, user = states.syn_received(options=FIVE.replace(connect_timeout=3.0))
    user.write(100)
    user.close()
    started = peer.now
    peer.passes(0)
    peer.sends(". 1:1(0) ack 1")
    peer.sees("FP. 1:101(100) ack 1")
    sent = peer.gathers(100 * SECOND)
    assert [item.time - started for item in sent if item.flags & 4] == [5 * SECOND]
    assert isinstance(user.error, TimeoutError)


def test_handshake_that_never_ends() -> None:
    peer, user = states.syn_received(options=FIVE)
    user.write(100)
    user.close()
    sent = peer.gathers(100 * SECOND)
    assert sent[-1].flags & 4
    assert user.state is State.CLOSED


@pytest.mark.parametrize("reach", [states.syn_sent, states.time_wait])
def test_nothing_is_left_behind(reach: states.Reach) -> None:
    _, user = reach(options=FIVE)
    user.close()
    assert user.conn.next_timeout() == NEVER


def test_unread_data_is_a_reset_as_ever() -> None:
    peer, user = states.established(options=FIVE)
    peer.sends("P. 1:11(10) ack 1")
    peer.takes()
    user.close()
    peer.sees_reset(1, ack=11)


def test_without_linger_only_the_peers_silence_ends_it() -> None:
    peer, user = states.established()
    user.close()
    peer.gathers(60 * SECOND)
    assert user.state is State.FIN_WAIT_1


def test_linger_of_now_counts_when_closing() -> None:
    peer, user = states.established()
    user.set_options(FIVE)
    user.close()
    sent = peer.gathers(60 * SECOND)
    assert sent[-1].flags & 4
    assert user.state is State.CLOSED


# FIN-WAIT-2 (tcp(7), TCP_LINGER2).


@pytest.mark.parametrize("linger", [None, 200.0])
def test_fin_wait_2_has_a_time_of_its_own_which_can_be_changed(linger: float | None) -> None:
    peer, user = states.established(options=TcpOptions(linger=linger))
    user.set_options(TcpOptions(linger=linger, fin_wait_2_timeout=7.0))
    user.close()
    peer.sees("F. 1:1(0) ack 1")
    peer.sends(". 1:1(0) ack 2")
    peer.sees_nothing(during=6 * SECOND)
    assert user.state is State.FIN_WAIT_2
    peer.sees_nothing(during=SECOND)
    assert (user.state, user.error) == (State.CLOSED, None)
