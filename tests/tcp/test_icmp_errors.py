"""What the application hears of the network: soft errors (RFC 9293 3.9.1.8, 3.9.2.2) and R1 (3.8.3)."""

from __future__ import annotations

import errno

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire import icmp
from stack.wire.units import MINUTE, MS, SECOND
from tests.support import states
from tests.support.peer import Peer
from tests.support.user import User

HOST_UNREACHABLE = icmp.UNREACHABLE, icmp.HOST_UNREACHABLE


def in_flight(options: TcpOptions | None = None, *, v6: bool = False) -> tuple[Peer, User]:
    """A connection with ten octets on their way."""
    peer, user = states.established(options=options, v6=v6)
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    return peer, user


def told(peer: Peer, user: User) -> bool:
    """Whether the application was woken since the last look."""
    return user.conn in peer.host.take_woken()


def waits(peer: Peer, user: User) -> None:
    """From now on the application hears of what changes."""
    user.conn.owner = object()
    peer.host.take_woken()


# Soft errors.

SOFT = [
    (False, icmp.UNREACHABLE, 0, errno.ENETUNREACH),
    (False, icmp.UNREACHABLE, 1, errno.EHOSTUNREACH),
    (False, icmp.UNREACHABLE, 2, errno.ENOPROTOOPT),
    (False, icmp.UNREACHABLE, 3, errno.ECONNREFUSED),
    (False, icmp.UNREACHABLE, 5, errno.EOPNOTSUPP),
    (False, icmp.UNREACHABLE, 7, errno.EHOSTDOWN),
    (False, icmp.UNREACHABLE, 8, errno.ENONET),
    (False, icmp.UNREACHABLE, 13, errno.EHOSTUNREACH),
    (False, icmp.TIME_EXCEEDED, 0, errno.EHOSTUNREACH),
    (False, icmp.TIME_EXCEEDED, 1, errno.EHOSTUNREACH),
    (False, icmp.PARAMETER_PROBLEM, 0, errno.EPROTO),
    (True, icmp.V6_UNREACHABLE, 0, errno.ENETUNREACH),
    (True, icmp.V6_UNREACHABLE, 1, errno.EACCES),
    (True, icmp.V6_UNREACHABLE, 3, errno.EHOSTUNREACH),
    (True, icmp.V6_UNREACHABLE, 4, errno.ECONNREFUSED),
    (True, icmp.V6_TIME_EXCEEDED, 0, errno.EHOSTUNREACH),
    (True, icmp.V6_PARAMETER_PROBLEM, 0, errno.EPROTO),
    (True, icmp.V6_PARAMETER_PROBLEM, 1, errno.EPROTO),
    (True, icmp.V6_PARAMETER_PROBLEM, 2, errno.EPROTO),
]


# RFC 9293 MUST-47, MUST-54, MUST-56, SHLD-25
# RFC1122-22, RFC1122-24
@pytest.mark.parametrize(("v6", "kind", "code", "number"), SOFT)
def test_soft_error_is_told_at_once(v6: bool, kind: int, code: int, number: int) -> None:
    """By the errno that Linux gives, and the connection goes on."""
    peer, user = in_flight(v6=v6)
    waits(peer, user)
    peer.sends_icmp(kind, code)
    assert told(peer, user)
    assert user.conn.soft_error is not None
    assert user.conn.soft_error.errno == number
    assert user.conn.reports == 1
    assert (user.state, user.error) == (State.ESTABLISHED, None)
    peer.sends(". 1:1(0) ack 11")
    user.write(10)
    peer.sees("P. 11:21(10) ack 1")


# RFC 9293 MUST-47
def test_each_one_is_told() -> None:
    """Also of the same kind: a report is new when their number has grown."""
    peer, user = in_flight()
    waits(peer, user)
    for number in (1, 2, 3):
        peer.sends_icmp(*HOST_UNREACHABLE)
        assert told(peer, user)
        assert user.conn.reports == number


# RFC 9293 MUST-47
def test_soft_error_of_a_connection_being_opened() -> None:
    peer, user = states.syn_sent()
    waits(peer, user)
    peer.sends_icmp(*HOST_UNREACHABLE)
    assert told(peer, user)
    assert user.state is State.SYN_SENT
    assert user.conn.soft_error is not None
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 1")
    assert user.conn.soft_error is None


# RFC 9293 MUST-47
def test_soft_error_can_be_taken() -> None:
    """As SO_ERROR does it: the next asker finds nothing, and a time-out is a time-out."""
    peer, user = in_flight(TcpOptions(user_timeout=20.0))
    peer.sends_icmp(*HOST_UNREACHABLE)
    error = user.conn.take_soft_error()
    assert error is not None
    assert error.errno == errno.EHOSTUNREACH
    assert user.conn.take_soft_error() is None
    peer.gathers(20 * SECOND)
    assert isinstance(user.error, TimeoutError)


def test_progress_ends_what_it_told() -> None:
    """As in Linux: something has passed the place of the trouble. That it was told stays known."""
    peer, user = in_flight()
    peer.sends_icmp(*HOST_UNREACHABLE)
    peer.sends(". 1:1(0) ack 11")
    assert user.conn.soft_error is None
    assert user.conn.reports == 1


# RFC 9293 SHLD-20
# RFC1122-24
def test_reports_can_be_switched_off() -> None:
    """Then only the end of the connection tells, if it comes to that."""
    peer, user = in_flight(TcpOptions(error_reports=False, user_timeout=20.0))
    waits(peer, user)
    peer.sends_icmp(*HOST_UNREACHABLE)
    assert not told(peer, user)
    assert user.conn.reports == 0
    peer.gathers(19 * SECOND)
    assert not told(peer, user)
    peer.gathers(SECOND)
    assert told(peer, user)
    assert user.error is not None
    assert user.error.errno == errno.EHOSTUNREACH


# RFC 9293 SHLD-20
def test_reports_can_be_switched_off_later() -> None:
    peer, user = in_flight()
    user.set_options(TcpOptions(error_reports=False))
    waits(peer, user)
    peer.sends_icmp(*HOST_UNREACHABLE)
    assert not told(peer, user)


@pytest.mark.parametrize("offset", [-1, 10, 1 << 31])
def test_what_quotes_nothing_in_flight_is_not_told(offset: int) -> None:
    """RFC 5927 4.1."""
    peer, user = in_flight()
    waits(peer, user)
    assert peer.last is not None
    frame = bytearray(peer.last.frame)
    number = int.from_bytes(frame[24:28], "big") + offset
    frame[24:28] = (number & 0xFFFF_FFFF).to_bytes(4, "big")
    peer.sends_icmp(*HOST_UNREACHABLE, about=bytes(frame))
    assert not told(peer, user)
    assert user.conn.soft_error is None


@pytest.mark.parametrize(("ends", "state"), [(False, State.SYN_SENT), (True, State.CLOSED)])
def test_soft_errors_may_end_an_opening(ends: bool, state: State) -> None:
    """RFC 5461 4.1: what most systems do, so that another address can be tried at once. It must be asked for."""
    peer, user = states.syn_sent(options=TcpOptions(soft_errors_end_opening=ends))
    peer.sends_icmp(*HOST_UNREACHABLE)
    assert user.state is state
    assert (user.error is not None) is ends
    if user.error is not None:
        assert user.error.errno == errno.EHOSTUNREACH


@pytest.mark.parametrize("code", [icmp.HOST_UNREACHABLE, icmp.PORT_UNREACHABLE])
@pytest.mark.parametrize("ends", [False, True])
def test_they_may_end_a_passive_opening(ends: bool, code: int) -> None:
    """The peer's third segment then finds nobody."""
    peer = states.half_open(options=TcpOptions(soft_errors_end_opening=ends))
    peer.sends_icmp(icmp.UNREACHABLE, code)
    assert peer.state is (State.LISTEN if ends else State.SYN_RECEIVED)
    assert peer.host.half_open == (0 if ends else 1)
    peer.sends(". 1:1(0) ack 1")
    if ends:
        peer.sees("R 1:1(0)")
    else:
        assert peer.accepts().state is State.ESTABLISHED


def test_a_complaint_about_length_ends_no_passive_opening() -> None:
    """A SYN-ACK is as short as a segment can be: the next one may well get through."""
    peer = states.half_open(options=TcpOptions(soft_errors_end_opening=True))
    peer.sends_icmp(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, 576)
    assert peer.state is State.SYN_RECEIVED
    assert peer.host.path_mtu(peer.address) == 1500
    peer.sends(". 1:1(0) ack 1")
    assert peer.accepts().state is State.ESTABLISHED


def test_a_passive_opening_knows_its_own_number() -> None:
    peer = states.half_open(options=TcpOptions(soft_errors_end_opening=True))
    assert peer.last is not None
    frame = bytearray(peer.last.frame)
    frame[27] ^= 1
    peer.sends_icmp(*HOST_UNREACHABLE, about=bytes(frame))
    assert peer.state is State.SYN_RECEIVED
    assert peer.host.counters.drops == {"icmp-unmatched": 1}


def test_a_simultaneous_opening_ends_likewise() -> None:
    peer, user = states.syn_received(options=TcpOptions(soft_errors_end_opening=True))
    peer.sends_icmp(*HOST_UNREACHABLE)
    assert user.state is State.CLOSED
    peer.sees_nothing()


def test_but_not_a_connection_that_is_open() -> None:
    peer, user = in_flight(TcpOptions(soft_errors_end_opening=True))
    peer.sends_icmp(*HOST_UNREACHABLE)
    assert user.state is State.ESTABLISHED


# R1 (3.8.3).


# RFC 9293 MUST-20, SHLD-9, SHLD-10
# RFC1122-20
def test_third_retransmission_is_told_to_ip_and_to_the_application() -> None:
    peer, user = in_flight(TcpOptions(user_timeout=100.0))
    waits(peer, user)
    for number in range(1, 6):
        peer.waits("P. 1:11(10) ack 1", limit=MINUTE)
        reached = number >= 3
        assert user.conn.path_doubtful is reached
        assert told(peer, user) is (number == 3)
        assert peer.host.counters.path_doubts == int(reached)
        assert user.conn.reports == int(reached)
        assert user.state is State.ESTABLISHED
    peer.gathers(100 * SECOND)  # R2
    assert user.state is State.CLOSED
    assert isinstance(user.error, TimeoutError)
    assert peer.host.counters.path_doubts == 1


# RFC 9293 MUST-20
def test_progress_ends_the_doubt() -> None:
    peer, user = in_flight()
    peer.gathers(10 * SECOND)
    assert user.conn.path_doubtful
    peer.sends(". 1:1(0) ack 11")
    assert not user.conn.path_doubtful
    user.write(10)
    peer.sees("P. 11:21(10) ack 1")
    peer.gathers(60 * SECOND)
    assert user.conn.path_doubtful
    assert peer.host.counters.path_doubts == 2
    assert user.conn.reports == 2


# RFC 9293 MUST-20, SHLD-10
@pytest.mark.parametrize("r1", [1, 3, 7])
def test_r1_can_be_chosen(r1: int) -> None:
    peer, user = in_flight(TcpOptions(r1=r1))
    for number in range(1, 9):
        assert user.conn.path_doubtful is (number > r1)
        peer.waits("P. 1:11(10) ack 1", limit=2 * MINUTE)


def test_r1_is_three_retransmissions_unless_chosen() -> None:
    assert TcpOptions().r1 == 3
    with pytest.raises(ValueError, match="r1"):
        TcpOptions(r1=0)


# RFC 9293 MUST-22, SHLD-9
def test_syn_has_its_r1_too() -> None:
    peer = Peer()
    user = peer.connect()
    waits(peer, user)
    peer.sees("S 0:0(0) <...>")
    for wait in (1, 2):
        peer.sees("S 0:0(0) <...>", after=wait * SECOND)
        assert not told(peer, user)
    peer.sees("S 0:0(0) <...>", after=4 * SECOND)
    assert told(peer, user)
    assert user.conn.path_doubtful
    assert peer.host.counters.path_doubts == 1


# RFC 9293 MUST-20, SHLD-20
def test_ip_hears_of_r1_also_where_the_application_does_not() -> None:
    peer, user = in_flight(TcpOptions(error_reports=False))
    waits(peer, user)
    peer.gathers(10 * SECOND)
    assert not told(peer, user)
    assert user.conn.reports == 0
    assert peer.host.counters.path_doubts == 1
    assert user.conn.path_doubtful


def test_probes_of_a_closed_window_make_no_path_doubtful() -> None:
    """The peer answers, and says wait."""
    peer, user = states.established(window=0)
    user.write(10)
    for _ in range(6):
        peer.waits(". 1:2(1) ack 1", limit=MINUTE)
        peer.sends(". 1:1(0) ack 1 win 0")
    assert not user.conn.path_doubtful
    assert peer.host.counters.path_doubts == 0


# RFC 9293 MUST-54
def test_error_that_quotes_the_start_of_a_segment_is_enough() -> None:
    """Eight octets behind the IP header, as RFC 792 has it."""
    peer, user = in_flight()
    assert peer.last is not None
    peer.sends_icmp(*HOST_UNREACHABLE, about=peer.last.frame[:28])
    assert user.conn.reports == 1
    peer.passes(MS)
