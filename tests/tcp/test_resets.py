"""Resets: which are sent (RFC 9293 3.5.2), which are believed (3.5.3, RFC 5961 3.2), and challenge ACKs."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire.units import MINUTE, SECOND
from tests.support import states
from tests.support.peer import Peer
from tests.support.states import Reach

#: Each synchronised state with the numbers that are next in it: SND.NXT and RCV.NXT.
SYNCHRONISED = [
    pytest.param(states.established, 1, 1, id="ESTABLISHED"),
    pytest.param(states.fin_wait_1, 2, 1, id="FIN-WAIT-1"),
    pytest.param(states.fin_wait_2, 2, 1, id="FIN-WAIT-2"),
    pytest.param(states.close_wait, 1, 2, id="CLOSE-WAIT"),
    pytest.param(states.closing, 2, 2, id="CLOSING"),
    pytest.param(states.last_ack, 2, 2, id="LAST-ACK"),
    pytest.param(states.time_wait, 2, 2, id="TIME-WAIT"),
]
SYNCHRONISED_BUT_TIME_WAIT = SYNCHRONISED[:-1]


# Group 1 of 3.5.2: no connection.


# RFC1122-14
@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("S 5:5(0)", "R. 0:0(0) ack 6"),
        ("S 5:15(10)", "R. 0:0(0) ack 16"),
        ("P 5:15(10)", "R. 0:0(0) ack 15"),
        ("F 5:8(3)", "R. 0:0(0) ack 9"),
        ("- 5:5(0)", "R. 0:0(0) ack 5"),
        ("S. 5:5(0) ack 77", "R 77:77(0)"),
        (". 5:5(0) ack 77", "R 77:77(0)"),
        ("FP. 5:15(10) ack 77", "R 77:77(0)"),
    ],
)
def test_closed_port(line: str, answer: str, v6: bool) -> None:
    """3.10.7.1: <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>, or <SEQ=SEG.ACK><CTL=RST>."""
    peer = Peer(v6=v6)
    peer.sends(line)
    peer.sees(answer)
    peer.sees_nothing()


@pytest.mark.parametrize("line", ["R 5:5(0)", "R. 5:5(0) ack 77", "SR 5:5(0)", "R. 5:15(10) ack 77"])
def test_resets_are_never_answered(line: str) -> None:
    peer = Peer()
    peer.sends(line)
    peer.listens()
    peer.sends(line)
    peer.sees_nothing()


# Group 3 of 3.5.2: synchronised states answer with an ACK and stay as they are.


@pytest.mark.parametrize(("reach", "snd_nxt", "rcv_nxt"), SYNCHRONISED)
@pytest.mark.parametrize("line", ["P. 200000:200010(10) ack 1", "P. 4294960000:4294960010(10) ack 1"])
def test_unacceptable_segment_is_answered_with_an_ack(reach: Reach, snd_nxt: int, rcv_nxt: int, line: str) -> None:
    peer, user = reach()
    before = user.state
    peer.sends(line)
    peer.sees(f". {snd_nxt}:{snd_nxt}(0) ack {rcv_nxt}")
    assert user.state is before


# RFC5961-06
# RFC 9293 MAY-12
@pytest.mark.parametrize(("reach", "snd_nxt", "rcv_nxt"), SYNCHRONISED_BUT_TIME_WAIT)
def test_ack_of_what_was_never_sent_is_answered_with_an_ack(reach: Reach, snd_nxt: int, rcv_nxt: int) -> None:
    """3.10.7.4, fifth; RFC 5961 5.2 for the other end of the range."""
    peer, user = reach()
    before = user.state
    for beyond in (snd_nxt + 1, snd_nxt + 100_000, 4294800000):
        peer.sends(f"P. {rcv_nxt}:{rcv_nxt + 10}(10) ack {beyond}")
        peer.sees(f". {snd_nxt}:{snd_nxt}(0) ack {rcv_nxt}")
        peer.passes(SECOND // 10)
        peer.takes()
    assert user.state is before
    assert user.conn.readable == 0


# RFC5961-06
# RFC 9293 MAY-12
def test_old_ack_within_the_largest_window_is_accepted() -> None:
    """RFC 5961 5.2: from SND.UNA - MAX.SND.WND on."""
    peer, user = states.established(window=1000)
    user.write(2000)
    peer.sees(". 1:1001(1000) ack 1")
    peer.sends(". 1:1(0) ack 1001")
    peer.sees("P. 1001:2001(1000) ack 1")
    peer.sends(". 1:1(0) ack 2001")
    peer.sends("P. 1:11(10) ack 1001")
    peer.sees(". 2001:2001(0) ack 11")
    peer.sends("P. 11:21(10) ack 1000")  # 1001 below SND.UNA
    peer.sees(". 2001:2001(0) ack 11")
    user.reads(10)
    assert user.conn.readable == 0


@pytest.mark.parametrize(("reach", "snd_nxt", "rcv_nxt"), SYNCHRONISED)
def test_segment_without_ack_is_dropped(reach: Reach, snd_nxt: int, rcv_nxt: int) -> None:
    """3.10.7.4, fifth: "if the ACK bit is off, drop the segment and return"."""
    peer, user = reach()
    before = user.state
    peer.sends(f"P {rcv_nxt}:{rcv_nxt + 10}(10)")
    if before is not State.TIME_WAIT:
        peer.sees_nothing()
    assert user.state is before
    assert user.conn.readable == 0


# Resets received (3.5.3, 3.10.7.4 second; RFC 5961 3.2).


# RFC5961-02
@pytest.mark.parametrize(("reach", "snd_nxt", "rcv_nxt"), SYNCHRONISED_BUT_TIME_WAIT)
def test_exact_reset(reach: Reach, snd_nxt: int, rcv_nxt: int) -> None:
    peer, user = reach()
    peer.sends(f"R {rcv_nxt}:{rcv_nxt}(0)")
    peer.sees_nothing(during=MINUTE)
    assert user.state is State.CLOSED
    assert peer.host.connections() == []


# RFC 9293 SHLD-2
@pytest.mark.parametrize(("reach", "snd_nxt", "rcv_nxt"), SYNCHRONISED_BUT_TIME_WAIT)
def test_reset_with_data(reach: Reach, snd_nxt: int, rcv_nxt: int) -> None:
    peer, user = reach()
    peer.sends(f"R. {rcv_nxt}:{rcv_nxt + 20}(20) ack 1")
    peer.sees_nothing(during=MINUTE)
    assert user.state is State.CLOSED


# RFC5961-03, RFC5961-08
@pytest.mark.parametrize(("reach", "snd_nxt", "rcv_nxt"), SYNCHRONISED_BUT_TIME_WAIT)
def test_reset_elsewhere_in_the_window_is_challenged(reach: Reach, snd_nxt: int, rcv_nxt: int) -> None:
    """<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>, and a peer that means it resets with that very number."""
    peer, user = reach()
    before = user.state
    peer.sends(f"R {rcv_nxt + 1}:{rcv_nxt + 1}(0)")
    peer.sees(f". {snd_nxt}:{snd_nxt}(0) ack {rcv_nxt}")
    assert user.state is before
    peer.sends(f"R {rcv_nxt}:{rcv_nxt}(0)")
    assert user.state is State.CLOSED


# RFC5961-01
@pytest.mark.parametrize(("reach", "snd_nxt", "rcv_nxt"), SYNCHRONISED)
def test_reset_outside_the_window_is_dropped_silently(reach: Reach, snd_nxt: int, rcv_nxt: int) -> None:
    peer, user = reach()
    before = user.state
    for outside in (rcv_nxt - 1, rcv_nxt + 65536, 4294960000, rcv_nxt + (1 << 31)):
        peer.sends(f"R {outside}:{outside}(0)")
    peer.sees_nothing()
    assert user.state is before


# RFC5961-03
def test_reset_at_the_last_number_of_the_window_is_challenged() -> None:
    peer, user = states.established()
    peer.sends("R 65535:65535(0)")  # the window is 65535 from 1 on
    peer.sees(". 1:1(0) ack 1")
    assert user.state is State.ESTABLISHED


# RFC 9293 MUST-66: a zero window keeps out text, and no resets
@pytest.mark.parametrize("line", ["R 2001:2001(0)", "R. 2001:2001(0) ack 1", "R. 2001:2011(10) ack 1"])
def test_reset_passes_a_closed_window(line: str) -> None:
    peer, user = states.established(options=TcpOptions(receive_window=2000, receive_buffer=2000))
    peer.sends("P. 1:1001(1000) ack 1", "P. 1001:2001(1000) ack 1")
    peer.sees(". 1:1(0) ack 2001 win 0")
    peer.sends(line)
    assert user.state is State.CLOSED


def test_reset_passes_a_full_accept_queue() -> None:
    """A connection that nobody has taken yet is reset like any other."""
    peer, _ = states.established(passive=True)
    other = Peer(bench=peer.bench, port=40001)
    other.listener = peer.listener
    other.sends("S 0:0(0) <mss 1000>")
    other.sees("S. 0:0(0) ack 1 <...>")
    other.sends(". 1:1(0) ack 1")
    other.sends("R 1:1(0)")
    user = other.accepts()
    assert user.state is State.CLOSED
    assert isinstance(user.error, ConnectionResetError)


# Challenge ACKs and their limit (RFC 5961 7).


# RFC5961-05, RFC5961-08
@pytest.mark.parametrize(("reach", "snd_nxt", "rcv_nxt"), SYNCHRONISED)
@pytest.mark.parametrize("offset", [0, 100, -2000, 100_000])
def test_syn_is_challenged_whatever_its_number(reach: Reach, snd_nxt: int, rcv_nxt: int, offset: int) -> None:
    """RFC 5961 4.2: "irrespective of the sequence number"."""
    peer, user = reach()
    before = user.state
    number = (rcv_nxt + offset) % (1 << 32)
    peer.sends(f"S {number}:{number}(0) <mss 1000>")
    peer.sees(f". {snd_nxt}:{snd_nxt}(0) ack {rcv_nxt}")
    assert user.state is before


def test_syn_after_the_handshake_changes_nothing() -> None:
    peer, user = states.established()
    peer.sends("S. 1:11(10) ack 1 win 5 <mss 100,wscale 3>")
    peer.sees(". 1:1(0) ack 1")
    assert user.conn.readable == 0
    user.write(1000)
    peer.sees("P. 1:1001(1000) ack 1")


FLOODS = {
    "RST in the window": "R {0}:{0}(0)",
    "SYN in the window": "S {0}:{0}(0) <mss 1000>",
    "SYN outside the window": "S 1{0}:1{0}(0) <mss 1000>",
    "SYN,ACK of the handshake": "S. 0:0(0) ack 1 <mss 1000>",
}


# RFC5961-07
@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
def test_challenges_are_limited(flood: str) -> None:
    """RFC 5961 7: a limit, 10 in 5 seconds by way of example, and not one that others can count.

    A hundred bad segments within ten seconds draw at least one challenge and at most twenty.
    """
    peer, user = states.established()
    answers = 0
    for number in range(100):
        peer.sends(flood.format(20000 + number))
        answers += len(peer.takes())
        peer.passes(SECOND // 10)
    assert 1 <= answers <= 20
    assert user.state is State.ESTABLISHED


@pytest.mark.parametrize("line", ["P. 1:11(10) ack 2", "S 4294960000:4294960000(0) <mss 1000>"])
def test_answers_from_time_wait_are_limited(line: str) -> None:
    peer, user = states.time_wait()
    answers = 0
    for _ in range(100):
        peer.sends(line)
        answers += len(peer.takes())
        peer.passes(SECOND // 10)
    assert 1 <= answers <= 20
    assert user.state is State.TIME_WAIT


def test_war_of_acks_dies_out() -> None:
    """Two ends that disagree about numbers would answer each other's empty segments for ever."""
    peer, user = states.established()
    answers = 0
    for _ in range(1000):
        peer.sends(". 4294960000:4294960000(0) ack 1")
        answers += len(peer.takes())
        peer.passes(SECOND // 1000)
    assert 1 <= answers <= 50
    assert user.state is State.ESTABLISHED


# RFC5961-07
def test_challenges_of_one_connection_are_not_counted_by_another() -> None:
    """CVE-2016-5696: a limit that connections share tells one peer about another."""
    peer, _ = states.established()
    other = Peer(bench=peer.bench, host_port=40001, port=80)
    user = other.connect(local_port=40001)
    other.sees("S 0:0(0) <...>")
    other.sends("S. 0:0(0) ack 1 <mss 1000>")
    other.sees(". 1:1(0) ack 1")
    for number in range(50):
        peer.sends(f"R {100 + number}:{100 + number}(0)")
        peer.takes()
    other.sends("R 100:100(0)")
    other.sees(". 1:1(0) ack 1")
    assert user.state is State.ESTABLISHED


def test_exact_reset_is_believed_whatever_was_challenged() -> None:
    peer, user = states.established()
    for number in range(50):
        peer.sends(f"R {100 + number}:{100 + number}(0)")
    peer.takes()
    peer.sends("R 1:1(0)")
    assert user.state is State.CLOSED


def test_resets_for_closed_ports_are_limited() -> None:
    """A flood is not answered in kind, and a while later the host answers again."""
    peer = Peer()
    for number in range(5000):
        peer.sends(f"S {number}:{number}(0)")
    assert 100 <= len(peer.takes()) < 5000
    peer.passes(SECOND)
    peer.sends("S 5:5(0)")
    peer.sees("R. 0:0(0) ack 6")
