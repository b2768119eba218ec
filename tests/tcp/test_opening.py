"""Opening a connection (RFC 9293 3.5, 3.10.7.1 to 3.10.7.3): the handshake and its figures."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire.units import MINUTE, MS, SECOND
from tests.support import states
from tests.support.peer import HOST_ISS, Peer


@pytest.mark.parametrize("v6", [False, True])
def test_active_open(v6: bool) -> None:  # figure 6, the host as TCP peer A
    peer = Peer(v6=v6)
    user = peer.connect()
    peer.sees(f"S 0:0(0) win 65535 <mss {1440 if v6 else 1460},sackOK,TS val 0 ecr 0,wscale 7>")
    assert not user.conn.connected
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 1")
    assert user.state is State.ESTABLISHED
    assert user.conn.connected
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")


@pytest.mark.parametrize("v6", [False, True])
def test_passive_open(v6: bool) -> None:  # figure 6, the host as TCP peer B
    peer = Peer(v6=v6)
    listener = peer.listens()
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees(f"S. 0:0(0) ack 1 win 65535 <mss {1440 if v6 else 1460}>")
    assert listener.accept() is None
    peer.sends(". 1:1(0) ack 1")
    user = peer.accepts()
    assert user.state is State.ESTABLISHED
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")


def test_initial_numbers_lie_below_the_wrap() -> None:
    """What these tests take for granted: that they cross from 2^32 - 1 to 0."""
    active, _ = states.established()
    passive, _ = states.established(passive=True)
    assert active.host_iss == passive.host_iss == HOST_ISS
    assert 1 << 32 > HOST_ISS > (1 << 32) - 10
    assert 1 << 32 > active.iss > (1 << 32) - 10


# RFC 9293 MUST-10
def test_simultaneous_open() -> None:  # figure 7
    peer = Peer()
    user = peer.connect()
    peer.sees("S 0:0(0) <mss 1460,...>")
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <mss 1460,...>")
    assert user.state is State.SYN_RECEIVED
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    assert user.state is State.ESTABLISHED
    assert user.conn.connected
    peer.takes()  # an ACK is allowed here
    peer.sends("P. 1:11(10) ack 1")
    peer.sees(". 1:1(0) ack 11")
    user.reads(10)
    user.write(10)
    peer.sees("P. 1:11(10) ack 11")


def test_simultaneous_open_completed_by_a_plain_ack() -> None:
    peer, user = states.syn_received()
    peer.sends(". 1:1(0) ack 1")
    peer.sees_nothing()
    assert user.state is State.ESTABLISHED


def test_simultaneous_open_completed_by_data() -> None:
    peer, user = states.syn_received()
    peer.sends("P. 1:11(10) ack 1")
    peer.sees(". 1:1(0) ack 11")
    user.reads(10)


def test_crossing_syn_ack_is_repeated() -> None:
    """The crossing SYN was sent at 0 and 0, so it backs off from there."""
    peer, user = states.syn_received()
    peer.sees("S. 0:0(0) ack 1 <mss 1460,...>", after=1 * SECOND)
    peer.sees("S. 0:0(0) ack 1 <mss 1460,...>", after=2 * SECOND)
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    assert user.state is State.ESTABLISHED


def test_simultaneous_open_ends_orderly_when_closed_in_between() -> None:
    """CLOSE in SYN-RECEIVED with nothing to send: the FIN goes out, and the handshake is completed on the way."""
    peer, user = states.syn_received()
    user.close_write()
    peer.sees("F. 1:1(0) ack 1")
    peer.sends(". 1:1(0) ack 1")
    assert user.state is State.FIN_WAIT_1
    peer.sends("P. 1:11(10) ack 2")
    peer.sees(". 2:2(0) ack 11")
    assert user.state is State.FIN_WAIT_2
    user.reads(10)
    peer.sends("F. 11:11(0) ack 2")
    peer.sees(". 2:2(0) ack 12")
    assert user.state is State.TIME_WAIT
    assert user.error is None


def test_close_in_syn_received_waits_for_data_that_is_queued() -> None:
    """RFC 9293 3.10.4: with pending data the FIN is queued until ESTABLISHED."""
    peer, user = states.syn_received()
    user.write(10)
    peer.sees_nothing()
    user.close_write()
    assert user.state is State.SYN_RECEIVED
    peer.sends(". 1:1(0) ack 1")
    peer.sees("FP. 1:11(10) ack 1")
    assert user.state is State.FIN_WAIT_1


# RFC 9293 MUST-11
def test_reset_leads_a_passive_open_back_to_listen_and_an_active_one_to_closed() -> None:
    """3.10.7.4, second: both are in SYN-RECEIVED, and the same reset means different things to them."""
    passive = states.half_open()
    passive.sends("R 1:1(0)")
    assert passive.state is State.LISTEN
    assert passive.listener is not None
    assert passive.listener.accept() is None, "the user of a passive open need not be informed"
    passive.sends("S 0:0(0) <mss 1000>")
    assert passive.state is State.SYN_RECEIVED

    active, user = states.syn_received()
    active.sends("R 1:1(0)")
    assert user.state is State.CLOSED
    assert isinstance(user.error, ConnectionRefusedError)


def test_old_duplicate_syn_gets_reset() -> None:  # figure 8, the host as TCP peer B
    peer = Peer()
    peer.listens()
    peer.sends("S 4294967196:4294967196(0) <mss 1000>")  # the old one: 100 below the peer's real ISS
    peer.sees("S. 0:0(0) ack 4294967197 <...>")
    peer.sends("R 4294967197:4294967197(0)")  # A says that this is not what it sent
    assert peer.state is State.LISTEN
    peer.again(iss=peer.iss)
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <...>")
    peer.sends(". 1:1(0) ack 1")
    assert peer.accepts().state is State.ESTABLISHED


def test_answer_to_an_old_duplicate_syn_is_reset() -> None:  # figure 8, the host as TCP peer A
    peer, user = states.syn_sent()
    for wrong in (4294967197, 0, 2):  # below, at, and beyond what our SYN may be answered with
        peer.sends(f"S. 300:300(0) ack {wrong}")
        peer.sees(f"R {wrong}:{wrong}(0)")
        assert user.state is State.SYN_SENT
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 1")
    assert user.state is State.ESTABLISHED


def test_half_open_connection_is_discovered_by_a_new_syn() -> None:  # figure 9, the host as TCP peer B
    peer, user = states.established()
    peer.sends("S 400:400(0) <mss 1000>")  # A has crashed and starts again
    peer.sees(". 1:1(0) ack 1")
    assert user.state is State.ESTABLISHED
    peer.sends("R 1:1(0)")  # to A, which is in SYN-SENT, that ACK means nothing
    assert user.state is State.CLOSED
    assert isinstance(user.error, ConnectionResetError)


def test_half_open_connection_answers_our_new_syn() -> None:  # figure 9, the host as TCP peer A
    peer, user = states.syn_sent()
    peer.sends(". 300:300(0) ack 100")
    peer.sees("R 100:100(0)")
    assert user.state is State.SYN_SENT
    peer.sees("S 0:0(0) <...>", after=1 * SECOND)  # and now B is in LISTEN, or CLOSED


def test_half_open_connection_is_discovered_by_data() -> None:  # figure 10, the host as TCP peer A
    peer = Peer()
    peer.sends("P. 300:310(10) ack 100")
    peer.sees("R 100:100(0)")


def test_data_that_meets_a_crashed_peer() -> None:  # figure 10, the host as TCP peer B
    peer, user = states.established()
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    peer.sends("R 1:1(0)")  # <SEQ=SEG.ACK><CTL=RST>
    assert user.state is State.CLOSED
    assert isinstance(user.error, ConnectionResetError)


def test_old_duplicate_syn_meets_two_passive_sockets() -> None:  # figure 11, the host as TCP peer B
    peer = Peer()
    peer.listens()
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <...>")
    peer.sends("R 1:1(0)")
    assert peer.state is State.LISTEN
    peer.sees_nothing(during=MINUTE)


def test_answer_to_an_old_duplicate_syn_meets_a_listener() -> None:  # figure 11, the host as TCP peer A
    peer = Peer()
    peer.listens()
    peer.sends("S. 0:0(0) ack 1001")
    peer.sees("R 1001:1001(0)")
    assert peer.state is State.LISTEN


# The third segment.


def test_data_on_the_third_segment() -> None:
    peer = states.half_open()
    peer.sends("P. 1:11(10) ack 1")
    peer.sees(". 1:1(0) ack 11")
    peer.accepts().reads(10)


def test_data_and_fin_on_the_third_segment() -> None:
    peer = states.half_open()
    peer.sends("FP. 1:11(10) ack 1")
    peer.sees(". 1:1(0) ack 12")
    user = peer.accepts()
    assert user.state is State.CLOSE_WAIT
    user.reads(10)
    assert user.conn.at_eof


def test_lost_third_segment_is_made_up_for_by_data() -> None:
    peer = states.half_open()
    peer.sends("P. 1001:2001(1000) ack 1")  # and the first data is late
    peer.sees(". 1:1(0) ack 1")
    peer.sends("P. 1:1001(1000) ack 1")
    peer.sees(". 1:1(0) ack 2001")
    peer.accepts().reads(2000)


def test_window_of_the_third_segment_counts() -> None:
    peer = Peer()
    peer.listens()
    peer.sends("S 0:0(0) win 65535 <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <...>")
    peer.sends(". 1:1(0) ack 1 win 700")
    peer.accepts().write(3000)
    peer.sees(". 1:701(700) ack 1")
    peer.sees_nothing()


def test_wrong_ack_on_the_third_segment_is_reset() -> None:
    """3.10.7.4, fifth, SYN-RECEIVED: <SEQ=SEG.ACK><CTL=RST>, and the handshake goes on."""
    peer = states.half_open()
    for wrong in (0, 2, 5000):
        peer.sends(f". 1:1(0) ack {wrong}")
        peer.sees(f"R {wrong}:{wrong}(0)")
    assert peer.state is State.SYN_RECEIVED
    peer.sends(". 1:1(0) ack 1")
    assert peer.accepts().state is State.ESTABLISHED


def test_wrong_ack_after_crossing_syns_is_reset() -> None:
    peer, user = states.syn_received()
    for wrong in (0, 2, 5000):
        peer.sends(f". 1:1(0) ack {wrong}")
        peer.sees(f"R {wrong}:{wrong}(0)")
    assert user.state is State.SYN_RECEIVED


def test_third_segment_that_begins_before_the_window() -> None:
    """3.10.7.4, first: what straddles the boundary between old and new counts with its new part."""
    peer = states.half_open()
    peer.sends("P. 0:11(11) ack 1")
    peer.sees(". 1:1(0) ack 11")
    peer.accepts().reads(10)


# Simultaneous open, while our SYN is not acknowledged (3.10.7.4 holds for SYN-RECEIVED, too).


@pytest.mark.parametrize(
    "line",
    [
        "S 0:0(0) <mss 1000>",  # once more: our SYN-ACK was lost
        "P. 70000:70010(10) ack 1",  # not acceptable
        "R 500:500(0)",  # in the window, not exact
        "S 500:500(0) <mss 1000>",  # "otherwise, handle per the directions for synchronized states"
    ],
)
def test_crossing_syns_are_followed_by_something_odd(line: str) -> None:
    """An acknowledgment is sent, be it a plain one or that of the SYN-ACK; nothing else happens."""
    peer, user = states.syn_received()
    peer.sends(line)
    seen = peer.takes()
    assert [(item.ack, item.flags & 4) for item in seen] == [(1, 0)]
    assert user.state is State.SYN_RECEIVED
    peer.sends(". 1:1(0) ack 1")
    assert user.state is State.ESTABLISHED


def test_reset_outside_the_window_after_crossing_syns_is_dropped() -> None:
    peer, user = states.syn_received()
    peer.sends("R 0:0(0)", "R 70000:70000(0)")
    peer.sees_nothing()
    assert user.state is State.SYN_RECEIVED


def test_third_segment_without_ack_is_dropped() -> None:
    peer = states.half_open()
    peer.sends("P 1:11(10)")
    peer.sees_nothing()
    assert peer.state is State.SYN_RECEIVED


# SYN-SENT.


# RFC1122-16, RFC1122-20
# RFC 9293 MUST-22, MUST-23
def test_syn_schedule() -> None:
    """The stated schedule: eight SYNs in all, failure at 255 s."""
    peer = Peer()
    user = peer.connect()
    peer.sees("S 0:0(0) <mss 1460,...>")
    for wait in (1, 2, 4, 8, 16, 32, 64):
        peer.sees("S 0:0(0) <mss 1460,sackOK,wscale 7,...>", after=wait * SECOND)
    peer.sees_nothing(during=128 * SECOND - MS)
    assert user.state is State.SYN_SENT
    peer.sees_nothing(during=MS)
    assert user.state is State.CLOSED
    assert isinstance(user.error, TimeoutError)


def test_answer_that_comes_after_the_user_has_gone_is_reset() -> None:
    peer, user = states.syn_sent()
    user.close()
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    peer.sees("R 1:1(0)")


def test_connect_timeout_counts_crossing_syns() -> None:
    peer, user = states.syn_received(options=TcpOptions(connect_timeout=2.5))
    peer.repeats("S. 0:0(0) ack 1", during=2500 * MS)
    assert isinstance(user.error, TimeoutError)


def test_connect_timeout() -> None:
    peer = Peer()
    user = peer.connect(options=TcpOptions(connect_timeout=2.5))
    peer.sees("S 0:0(0) <...>")
    peer.sees("S 0:0(0) <...>", after=1 * SECOND)
    peer.sees_nothing(during=1500 * MS - 1)
    assert user.state is State.SYN_SENT
    peer.sees_nothing(during=1)
    assert isinstance(user.error, TimeoutError)


def test_connect_timeout_ends_with_the_handshake() -> None:
    peer = Peer()
    user = peer.connect(options=TcpOptions(connect_timeout=2.5))
    peer.sees("S 0:0(0) <...>")
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 1")
    peer.sees_nothing(during=MINUTE)
    assert user.state is State.ESTABLISHED


# RFC5961-04
@pytest.mark.parametrize("line", ["R 0:0(0)", "R 1:1(0)", "R. 0:0(0) ack 0", "R. 0:0(0) ack 2"])
def test_reset_that_does_not_acknowledge_our_syn_is_dropped(line: str) -> None:
    """3.10.7.3, second, and RFC 5961 3.2: in SYN-SENT only the ACK tells that a reset is meant for us."""
    peer, user = states.syn_sent()
    peer.sends(line)
    peer.sees_nothing()
    assert user.state is State.SYN_SENT


def test_segment_without_syn_or_reset_is_dropped_in_syn_sent() -> None:
    peer, user = states.syn_sent()
    peer.sends(". 1:1(0) ack 1", "P 1:11(10)", "F 1:1(0)")
    peer.sees_nothing()
    assert user.state is State.SYN_SENT


def test_data_on_the_second_segment() -> None:
    """3.10.7.3, fourth: other controls or text are processed from the sixth step on."""
    peer, user = states.syn_sent()
    peer.sends("S. 0:10(10) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 11")
    user.reads(10)


def test_data_on_a_syn_comes_again() -> None:
    """It may be kept or not; what is not acknowledged the peer sends again."""
    peer = Peer()
    peer.listens()
    peer.sends("S 0:10(10) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <...>")
    peer.sends("P. 1:11(10) ack 1")
    peer.sees(". 1:1(0) ack 11")
    peer.accepts().reads(10)


def test_data_written_before_the_handshake_is_sent_after_it() -> None:
    """3.10.2: SEND in SYN-SENT queues."""
    peer, user = states.syn_sent()
    assert user.write(1500) == 1500
    peer.sees_nothing()
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    peer.sees(". 1:1001(1000) ack 1")
    peer.sends(". 1:1(0) ack 1001")
    peer.sees("P. 1001:1501(500) ack 1")


def test_half_close_asked_for_before_the_handshake_comes_after_it() -> None:
    peer, user = states.syn_sent()
    user.write(10)
    user.close_write()
    assert user.state is State.SYN_SENT
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    peer.sees("FP. 1:11(10) ack 1")
    assert user.state is State.FIN_WAIT_1


def test_second_segment_that_comes_twice_is_acknowledged_again() -> None:
    """Our third segment was lost; SYN in ESTABLISHED is challenged, which serves (RFC 5961 4.2)."""
    peer, user = states.established()
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 1")
    assert user.state is State.ESTABLISHED
