"""TIME-WAIT (RFC 9293 3.6.1, 3.10.7.4; RFC 6191): how long, what restarts it, and which SYN ends it early."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire.units import MS, SECOND
from tests.support import states
from tests.support.peer import Peer

TWO_MSL = 60 * SECOND


# RFC1122-15
# RFC 9293 MUST-13
@pytest.mark.parametrize("msl", [30.0, 120.0])
def test_time_wait_lasts_two_msl(msl: float) -> None:
    peer = Peer(options=TcpOptions(msl=msl))
    user = peer.connect()
    peer.sees("S 0:0(0) <...>")
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 1")
    user.close()
    peer.sees("F. 1:1(0) ack 1")
    peer.sends("F. 1:1(0) ack 2")
    peer.sees(". 2:2(0) ack 2")
    wait = round(2 * msl) * SECOND
    peer.sees_nothing(during=wait - MS)
    assert user.state is State.TIME_WAIT
    assert peer.host.time_waits == 1
    peer.sees_nothing(during=MS)
    assert user.state is State.CLOSED
    assert peer.host.time_waits == 0
    peer.sends("F. 1:1(0) ack 2")
    peer.sees("R 2:2(0)")  # nobody knows it any more


def test_repeated_fin_restarts_two_msl() -> None:
    """3.10.7.4, eighth, TIME-WAIT: acknowledge it and start the time-wait timer afresh."""
    peer, user = states.time_wait()
    for _ in range(3):
        peer.sees_nothing(during=TWO_MSL - SECOND)
        peer.sends("F. 1:1(0) ack 2")
        peer.sees(". 2:2(0) ack 2")
    peer.sees_nothing(during=TWO_MSL - MS)
    assert user.state is State.TIME_WAIT
    peer.sees_nothing(during=MS)
    assert user.state is State.CLOSED


def test_repeated_fin_with_the_last_data_restarts_two_msl() -> None:
    peer, user = states.fin_wait_2()
    peer.sends("FP. 1:11(10) ack 2")
    peer.sees(". 2:2(0) ack 12")
    assert user.state is State.TIME_WAIT
    user.reads(10)
    peer.passes(50 * SECOND)
    peer.sends("FP. 1:11(10) ack 2")
    peer.sees(". 2:2(0) ack 12")
    peer.sees_nothing(during=TWO_MSL - MS)
    assert user.state is State.TIME_WAIT


def test_repeated_fin_is_acknowledged_with_timestamps() -> None:
    """RFC 7323 3.2 holds until the end; an old one does not count."""
    peer, user = states.fin_wait_2(timestamps=True)
    peer.sends("F. 1:1(0) ack 2 <TS val 1000 ecr 0>")
    peer.sees(". 2:2(0) ack 2 <TS val 0 ecr 1000>")
    peer.passes(5 * SECOND)
    peer.sends("F. 1:1(0) ack 2 <TS val 1000 ecr 0>")
    peer.sees(". 2:2(0) ack 2 <TS val 5000 ecr 1000>")
    assert user.state is State.TIME_WAIT


def test_other_segments_do_not_restart_two_msl() -> None:
    peer, user = states.time_wait()
    peer.passes(50 * SECOND)
    peer.sends(". 2:2(0) ack 2", "P. 1:11(10) ack 2", "P. 2:12(10) ack 2", "S 77:77(0)")
    peer.takes()
    peer.sees_nothing(during=10 * SECOND)
    assert user.state is State.CLOSED


def test_bare_ack_in_time_wait_needs_no_answer() -> None:
    peer, _ = states.time_wait()
    peer.sends(". 2:2(0) ack 2")
    peer.sees_nothing()


def test_old_data_in_time_wait_is_acknowledged() -> None:
    """3.10.7.4, first: what is not acceptable is answered with an ACK."""
    peer, _ = states.time_wait()
    peer.sends("P. 1:11(10) ack 2")
    peer.sees(". 2:2(0) ack 2")


def test_time_wait_is_told_from_the_connection_that_the_user_holds() -> None:
    peer, user = states.fin_wait_2()
    peer.sends("FP. 1:11(10) ack 2")
    peer.sees(". 2:2(0) ack 12")
    assert user.conn.finished
    assert peer.host.connections() == []
    peer.passes(TWO_MSL)
    user.reads(10)  # reading goes on after the end
    assert user.conn.at_eof


# RFC6191-04
# RFC 9293 MAY-2
def test_new_syn_reopens_from_time_wait_with_a_larger_number() -> None:
    """3.6.1, MAY-2 (1): our new ISS is beyond the largest number of the old connection."""
    peer, _ = states.time_wait()
    last = (peer.host_base + 2) & 0xFFFFFFFF
    peer.listens()
    peer.again(iss=peer.iss + 100)
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <...>")
    assert 0 < (peer.host_base - last) & 0xFFFFFFFF < 1 << 31
    peer.sends(". 1:1(0) ack 1")
    assert peer.accepts().state is State.ESTABLISHED


# RFC 9293 MAY-2
def test_reset_of_a_reopened_connection_leads_back_to_time_wait() -> None:
    """3.6.1, MAY-2 (2): the SYN was an old duplicate, and the peer says so. The 2 MSL have gone on."""
    peer, user = states.time_wait()
    old = peer.iss, peer.host_iss
    peer.passes(20 * SECOND)
    peer.listens()
    peer.again(iss=peer.iss + 100)
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <...>")
    assert (peer.state, user.state) == (State.SYN_RECEIVED, State.TIME_WAIT)
    peer.sends("R 1:1(0)")
    assert (peer.state, user.state) == (State.TIME_WAIT, State.TIME_WAIT)
    peer.iss, peer.host_iss = old
    peer.sends("F. 1:1(0) ack 2")
    peer.sees(". 2:2(0) ack 2")
    peer.sees_nothing(during=TWO_MSL - MS)
    assert user.state is State.TIME_WAIT
    peer.sees_nothing(during=MS)
    assert user.state is State.CLOSED


# RFC 9293 MAY-2
def test_so_does_a_handshake_that_nobody_completes() -> None:
    """TIME-WAIT that lasts longer than the handshake is there afterwards."""
    peer = Peer(options=TcpOptions(msl=120.0))
    user = peer.connect()
    peer.sees("S 0:0(0) <...>")
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 1")
    user.close()
    peer.sees("F. 1:1(0) ack 1")
    peer.sends("F. 1:1(0) ack 2")
    peer.sees(". 2:2(0) ack 2")
    peer.listens()
    peer.again(iss=peer.iss + 100)
    peer.sends("S 0:0(0) <mss 1000>")
    peer.gathers(2 * 60 * SECOND)
    assert peer.host.half_open == 0
    assert user.state is State.TIME_WAIT
    peer.passes(2 * 60 * SECOND)
    assert (user.state, peer.host.time_waits) == (State.CLOSED, 0)


# RFC 9293 MAY-2
def test_complete_handshake_ends_the_old_time_wait() -> None:
    peer, user = states.time_wait()
    peer.listens()
    peer.again(iss=peer.iss + 100)
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <...>")
    assert peer.host.time_waits == 1
    peer.sends(". 1:1(0) ack 1")
    assert (user.state, peer.host.time_waits) == (State.CLOSED, 0)
    again = peer.accepts()
    assert again.state is State.ESTABLISHED
    peer.passes(TWO_MSL)
    assert again.state is State.ESTABLISHED


def test_time_wait_may_end_while_a_handshake_is_under_way() -> None:
    peer, user = states.time_wait()
    peer.listens()
    peer.passes(TWO_MSL - 2 * SECOND)
    peer.again(iss=peer.iss + 100)
    peer.sends("S 0:0(0) <mss 1000>")
    peer.gathers(5 * SECOND)
    assert (user.state, peer.state) == (State.CLOSED, State.SYN_RECEIVED)
    peer.sends(". 1:1(0) ack 1")
    assert peer.accepts().state is State.ESTABLISHED


def test_what_no_listener_would_take_ends_no_time_wait() -> None:
    """A FIN beside the SYN."""
    peer, user = states.time_wait()
    peer.listens()
    peer.sends("SF 100000:100000(0) <mss 1000>")
    peer.sees_nothing()
    assert (peer.state, user.state) == (State.TIME_WAIT, State.TIME_WAIT)


# RFC6191-03
def test_old_syn_does_not_reopen() -> None:
    peer, user = states.time_wait()
    peer.listens()
    peer.sends("S 4294960000:4294960000(0) <mss 1000>")
    assert user.state is State.TIME_WAIT
    peer.sees_nothing()
    assert peer.host.half_open == 0
    assert peer.host.counters.drops == {"time-wait": 1}


def test_syn_without_a_listener_does_not_end_time_wait() -> None:
    peer, user = states.time_wait()
    peer.sends("S 100000:100000(0) <mss 1000>")
    peer.sees(". 2:2(0) ack 2")
    assert user.state is State.TIME_WAIT


# RFC6191-01, RFC6191-02
# RFC 9293 SHLD-4, MAY-2
@pytest.mark.parametrize(
    ("tsval", "seq", "reopens"),
    [
        (1001, 100000, True),  # a newer timestamp is enough
        (1001, 4294960000, True),
        (1000, 100000, True),  # the same one, and a larger number
        (1000, 4294960000, False),
        (999, 100000, False),  # an older one: old, whatever its number
    ],
)
def test_timestamps_tell_whether_a_syn_reopens(tsval: int, seq: int, reopens: bool) -> None:
    """RFC 6191 2, both incarnations with timestamps (SHLD-4)."""
    peer, user = states.fin_wait_2(timestamps=True)
    peer.sends("F. 1:1(0) ack 2 <TS val 1000 ecr 0>")
    peer.sees(". 2:2(0) ack 2")
    peer.listens()
    peer.sends(f"S {seq}:{seq}(0) <mss 1000,TS val {tsval} ecr 0>")
    assert bool(peer.takes()) is reopens  # else silence
    assert (peer.state is State.SYN_RECEIVED) is reopens
    assert user.state is State.TIME_WAIT  # until the handshake is complete


# RFC6191-03
@pytest.mark.parametrize(("seq", "reopens"), [(100000, True), (4294960000, False)])
def test_syn_that_lacks_the_timestamps_of_the_old_connection(seq: int, reopens: bool) -> None:
    """RFC 6191 2: then its number decides."""
    peer, _ = states.fin_wait_2(timestamps=True)
    peer.sends("F. 1:1(0) ack 2 <TS val 1000 ecr 0>")
    peer.sees(". 2:2(0) ack 2")
    peer.listens()
    peer.sends(f"S {seq}:{seq}(0) <mss 1000>", plain=True)
    assert bool(peer.takes()) is reopens
    assert (peer.state is State.SYN_RECEIVED) is reopens


def test_syn_with_timestamps_that_the_old_connection_lacked() -> None:
    """RFC 6191 2: the previous incarnation without, the new one with timestamps: honoured, whatever its number."""
    peer, _ = states.time_wait()
    peer.listens()
    peer.sends("S 4294960000:4294960000(0) <mss 1000,TS val 5 ecr 0>")
    assert peer.state is State.SYN_RECEIVED


# RFC6191-04
def test_numbers_and_timestamps_grow_from_one_incarnation_to_the_next() -> None:
    """Of our own connections, so that a peer in TIME-WAIT lets the next one in."""
    peer = Peer(timestamps=True)
    last_number = last_tsval = -1
    for _ in range(3):
        user = peer.connect()
        syn = peer.sees("S 0:0(0) <...>").segment
        if last_number >= 0:
            assert 0 < (syn.seq - last_number) & 0xFFFFFFFF < 1 << 31
            assert 0 < (syn.tsval - last_tsval) & 0xFFFFFFFF < 1 << 31
        peer.sends("S. 0:0(0) ack 1 <mss 1400>")
        peer.sees(". 1:1(0) ack 1")
        user.write(1000)
        peer.takes()
        peer.sends("F. 1:1(0) ack 1001")
        peer.sees(". 1001:1001(0) ack 2")
        user.close()
        fin = peer.sees("F. 1001:1001(0) ack 2").segment
        last_number, last_tsval = fin.seq + 1 & 0xFFFFFFFF, fin.tsval
        peer.sends(". 2:2(0) ack 1002")
        assert user.state is State.CLOSED
        peer.passes(5 * MS)
        peer.again()
