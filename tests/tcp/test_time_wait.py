"""TIME-WAIT (RFC 9293 3.6.1, 3.10.7.4; RFC 6191): how long, what restarts it, and which SYN ends it early."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire.units import MS, SECOND
from tests.support import states
from tests.support.peer import Peer

TWO_MSL = 60 * SECOND


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


def test_reset_of_a_reopened_connection_leads_to_listen() -> None:
    """Not what 3.6.1, MAY-2 (2) says, which would come back to TIME-WAIT, but the deviation that `TimeWait` states."""
    peer, user = states.time_wait()
    peer.listens()
    peer.again(iss=peer.iss + 100)
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <...>")
    peer.sends("R 1:1(0)")
    assert peer.state is State.LISTEN
    assert user.state is State.CLOSED


def test_old_syn_does_not_reopen() -> None:
    peer, user = states.time_wait()
    peer.listens()
    peer.sends("S 4294960000:4294960000(0) <mss 1000>")
    assert user.state is State.TIME_WAIT
    peer.takes()  # an ACK (RFC 5961 4.2), or silence (RFC 6191 2)
    assert peer.host.half_open == 0


def test_syn_without_a_listener_does_not_end_time_wait() -> None:
    peer, user = states.time_wait()
    peer.sends("S 100000:100000(0) <mss 1000>")
    peer.sees(". 2:2(0) ack 2")
    assert user.state is State.TIME_WAIT


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
    peer.takes()
    assert (peer.state is State.SYN_RECEIVED) is reopens
    assert (user.state is State.TIME_WAIT) is not reopens


@pytest.mark.parametrize(("seq", "reopens"), [(100000, True), (4294960000, False)])
def test_syn_that_lacks_the_timestamps_of_the_old_connection(seq: int, reopens: bool) -> None:
    """RFC 6191 2: then its number decides."""
    peer, _ = states.fin_wait_2(timestamps=True)
    peer.sends("F. 1:1(0) ack 2 <TS val 1000 ecr 0>")
    peer.sees(". 2:2(0) ack 2")
    peer.listens()
    peer.sends(f"S {seq}:{seq}(0) <mss 1000>", plain=True)
    peer.takes()
    assert (peer.state is State.SYN_RECEIVED) is reopens


def test_syn_with_timestamps_that_the_old_connection_lacked() -> None:
    """RFC 6191 2: the previous incarnation without, the new one with timestamps: honoured, whatever its number."""
    peer, _ = states.time_wait()
    peer.listens()
    peer.sends("S 4294960000:4294960000(0) <mss 1000,TS val 5 ecr 0>")
    assert peer.state is State.SYN_RECEIVED
