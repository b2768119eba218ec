"""A scenario for every edge between the eleven states, from CLOSED or LISTEN by segments, calls and time.

Each names a state, an event and where that leads; its script drives a host into the state, yields whoever knows the
state, and makes the event happen. `test_edges` runs them and says what they must show.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from stack.tcp.config import TcpOptions
from stack.tcp.state import Event, State
from stack.wire import icmp
from stack.wire.units import MINUTE, MS, SECOND, seconds
from tests.support import states
from tests.support.peer import Peer

CLOSED, LISTEN, SYN_SENT, SYN_RECEIVED = State.CLOSED, State.LISTEN, State.SYN_SENT, State.SYN_RECEIVED
ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2 = State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2
CLOSE_WAIT, CLOSING, LAST_ACK, TIME_WAIT = State.CLOSE_WAIT, State.CLOSING, State.LAST_ACK, State.TIME_WAIT

R2 = TcpOptions(user_timeout=20.0)  #: Twenty seconds until a connection gives up.


class HasState(Protocol):
    @property
    def state(self) -> State: ...


Script = Callable[[], Iterator[HasState]]


class Scenario(NamedTuple):
    """In `state`, `event` leads to `target`; `script` shows it."""

    state: State
    event: Event
    target: State
    script: Script

    def __str__(self) -> str:
        return f"{self.state}, {self.event.value} ({self.script.__name__})"


SCENARIOS: list[Scenario] = []


def edge(state: State, event: Event, target: State) -> Callable[[Script], Script]:
    """Put a script into the table of scenarios."""

    def add(script: Script) -> Script:
        SCENARIOS.append(Scenario(state, event, target, script))
        return script

    return add


# Opening.


@edge(CLOSED, Event.PASSIVE_OPEN, LISTEN)
def passive_open() -> Iterator[HasState]:
    peer = Peer()
    peer.align()
    yield peer
    peer.listens()
    peer.sees_nothing()


@edge(CLOSED, Event.ACTIVE_OPEN, SYN_SENT)
def active_open() -> Iterator[HasState]:
    peer = Peer(host_port=40000, port=80)
    peer.align()
    yield peer
    peer.connect()
    peer.sees("S 0:0(0) <mss 1460,...>")


@edge(LISTEN, Event.ACTIVE_OPEN, SYN_SENT)
def active_open_of_a_listening_port() -> Iterator[HasState]:
    peer = Peer()
    listener = peer.listens()
    yield peer
    peer.host.connect_from(listener, peer.address, peer.port, peer.now)
    peer.bench.flush()
    peer.sees("S 0:0(0) <mss 1460,...>")
    assert listener.state is not LISTEN


@edge(LISTEN, Event.RECV_SYN, SYN_RECEIVED)
def syn_for_a_listener() -> Iterator[HasState]:
    peer = Peer()
    peer.listens()
    yield peer
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <mss 1460>")


@edge(LISTEN, Event.CLOSE, CLOSED)
def close_of_a_listener() -> Iterator[HasState]:
    peer = Peer()
    listener = peer.listens()
    yield peer
    peer.host.close_listener(listener, peer.now)
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("R. 0:0(0) ack 1")


@edge(SYN_SENT, Event.RECV_SYN_ACK, ESTABLISHED)
def second_segment() -> Iterator[HasState]:
    peer, user = states.syn_sent()
    yield user
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 1")


@edge(SYN_SENT, Event.RECV_SYN, SYN_RECEIVED)
def crossing_syn() -> Iterator[HasState]:
    peer, user = states.syn_sent()
    yield user
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <mss 1460,...>")


@edge(SYN_RECEIVED, Event.RECV_ACK_OF_SYN, ESTABLISHED)
def crossing_syn_ack() -> Iterator[HasState]:
    peer, user = states.syn_received()
    yield user
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")


@edge(SYN_RECEIVED, Event.RECV_ACK_OF_SYN, ESTABLISHED)
def third_segment() -> Iterator[HasState]:
    peer = states.half_open()
    yield peer
    peer.sends(". 1:1(0) ack 1")
    peer.sees_nothing()
    assert peer.accepts().state is ESTABLISHED


@edge(SYN_RECEIVED, Event.RETURN_TO_LISTEN, LISTEN)
def reset_of_a_passive_open() -> Iterator[HasState]:
    peer = states.half_open()
    yield peer
    peer.sends("R 1:1(0)")
    peer.sees_nothing(during=MINUTE)


@edge(SYN_RECEIVED, Event.RETURN_TO_LISTEN, LISTEN)
def time_out_of_a_passive_open() -> Iterator[HasState]:
    peer = states.half_open()
    yield peer
    peer.sees("S. 0:0(0) ack 1 <...>", after=1 * SECOND)
    peer.sees("S. 0:0(0) ack 1 <...>", after=2 * SECOND)
    peer.sees_nothing(during=60 * SECOND - MS)
    assert peer.state is SYN_RECEIVED
    peer.passes(MS)


# Closing.


@edge(SYN_SENT, Event.CLOSE, CLOSED)
def close_before_the_answer() -> Iterator[HasState]:
    peer, user = states.syn_sent()
    yield user
    user.close()
    peer.sees_nothing(during=5 * MINUTE)


@edge(SYN_RECEIVED, Event.CLOSE, FIN_WAIT_1)
def close_in_the_handshake() -> Iterator[HasState]:
    peer, user = states.syn_received()
    yield user
    user.close_write()
    peer.sees("F. 1:1(0) ack 1")


@edge(ESTABLISHED, Event.CLOSE, FIN_WAIT_1)
def close_first() -> Iterator[HasState]:
    peer, user = states.established()
    yield user
    user.close_write()
    peer.sees("F. 1:1(0) ack 1")


@edge(ESTABLISHED, Event.RECV_FIN, CLOSE_WAIT)
def peer_closes_first() -> Iterator[HasState]:
    peer, user = states.established()
    yield user
    peer.sends("F. 1:1(0) ack 1")
    peer.sees(". 1:1(0) ack 2")
    assert user.conn.at_eof


@edge(FIN_WAIT_1, Event.RECV_ACK_OF_FIN, FIN_WAIT_2)
def ack_of_our_fin() -> Iterator[HasState]:
    peer, user = states.fin_wait_1()
    yield user
    peer.sends(". 1:1(0) ack 2")
    peer.sees_nothing(during=MINUTE)


@edge(FIN_WAIT_1, Event.RECV_FIN, CLOSING)
def crossing_fin() -> Iterator[HasState]:
    peer, user = states.fin_wait_1()
    yield user
    peer.sends("F. 1:1(0) ack 1")
    peer.sees(". 2:2(0) ack 2")


@edge(FIN_WAIT_2, Event.RECV_FIN, TIME_WAIT)
def the_other_fin() -> Iterator[HasState]:
    peer, user = states.fin_wait_2()
    yield user
    peer.sends("F. 1:1(0) ack 2")
    peer.sees(". 2:2(0) ack 2")


@edge(CLOSE_WAIT, Event.SEND_FIN, LAST_ACK)
def close_second() -> Iterator[HasState]:
    peer, user = states.close_wait()
    yield user
    user.close_write()
    peer.sees("F. 1:1(0) ack 2")


@edge(CLOSING, Event.RECV_ACK_OF_FIN, TIME_WAIT)
def ack_after_crossing_fins() -> Iterator[HasState]:
    peer, user = states.closing()
    yield user
    peer.sends(". 2:2(0) ack 2")
    peer.sees_nothing()


@edge(LAST_ACK, Event.RECV_ACK_OF_FIN, CLOSED)
def the_last_ack() -> Iterator[HasState]:
    peer, user = states.last_ack()
    yield user
    peer.sends(". 2:2(0) ack 2")
    peer.sees_nothing(during=MINUTE)
    assert user.error is None


@edge(TIME_WAIT, Event.TWO_MSL, CLOSED)
def two_msl() -> Iterator[HasState]:
    peer, user = states.time_wait()
    yield user
    peer.sees_nothing(during=2 * seconds(30) - MS)
    assert user.state is TIME_WAIT
    peer.passes(MS)


@edge(TIME_WAIT, Event.RECV_SYN, CLOSED)
def new_syn_in_time_wait() -> Iterator[HasState]:
    """The old connection is over when the handshake of the new one is complete."""
    peer, user = states.time_wait()
    peer.listens()
    peer.again(iss=peer.iss + 100_000)
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <...>")
    yield user
    peer.sends(". 1:1(0) ack 1")
    assert peer.accepts().state is ESTABLISHED


# Resets.


@edge(SYN_SENT, Event.RECV_RST, CLOSED)
def refused() -> Iterator[HasState]:
    peer, user = states.syn_sent()
    yield user
    peer.sends("R. 0:0(0) ack 1")
    assert isinstance(user.error, ConnectionRefusedError)


@edge(SYN_RECEIVED, Event.RECV_RST, CLOSED)
def reset_of_an_active_open() -> Iterator[HasState]:
    peer, user = states.syn_received()
    yield user
    peer.sends("R 1:1(0)")
    assert isinstance(user.error, ConnectionRefusedError)


@edge(ESTABLISHED, Event.RECV_RST, CLOSED)
def reset_in_established() -> Iterator[HasState]:
    peer, user = states.established()
    yield user
    peer.sends("R 1:1(0)")
    assert isinstance(user.error, ConnectionResetError)


@edge(FIN_WAIT_1, Event.RECV_RST, CLOSED)
def reset_in_fin_wait_1() -> Iterator[HasState]:
    peer, user = states.fin_wait_1()
    yield user
    peer.sends("R 1:1(0)")
    assert isinstance(user.error, ConnectionResetError)


@edge(FIN_WAIT_2, Event.RECV_RST, CLOSED)
def reset_in_fin_wait_2() -> Iterator[HasState]:
    peer, user = states.fin_wait_2()
    yield user
    peer.sends("R 1:1(0)")
    assert isinstance(user.error, ConnectionResetError)


@edge(CLOSE_WAIT, Event.RECV_RST, CLOSED)
def reset_in_close_wait() -> Iterator[HasState]:
    peer, user = states.close_wait()
    yield user
    peer.sends("R 2:2(0)")
    assert isinstance(user.error, ConnectionResetError)


@edge(CLOSING, Event.RECV_RST, CLOSED)
def reset_in_closing() -> Iterator[HasState]:
    peer, user = states.closing()
    yield user
    peer.sends("R 2:2(0)")


@edge(LAST_ACK, Event.RECV_RST, CLOSED)
def reset_in_last_ack() -> Iterator[HasState]:
    peer, user = states.last_ack()
    yield user
    peer.sends("R 2:2(0)")


# Aborts: with a reset to the peer where 3.10.5 says so.


@edge(SYN_SENT, Event.ABORT, CLOSED)
def abort_in_syn_sent() -> Iterator[HasState]:
    peer, user = states.syn_sent()
    yield user
    user.abort()
    peer.sees_nothing(during=5 * MINUTE)


@edge(SYN_RECEIVED, Event.ABORT, CLOSED)
def abort_in_syn_received() -> Iterator[HasState]:
    peer, user = states.syn_received()
    yield user
    user.abort()
    peer.sees_reset(1, ack=1)
    peer.sees_nothing(during=5 * MINUTE)


@edge(ESTABLISHED, Event.ABORT, CLOSED)
def abort_in_established() -> Iterator[HasState]:
    peer, user = states.established()
    user.write(1500)
    peer.sees(". 1:1001(1000) ack 1")
    yield user
    user.abort()
    peer.sees_reset(1001, ack=1)
    peer.sees_nothing(during=5 * MINUTE)


@edge(FIN_WAIT_1, Event.ABORT, CLOSED)
def abort_in_fin_wait_1() -> Iterator[HasState]:
    peer, user = states.fin_wait_1()
    yield user
    user.abort()
    peer.sees_reset(2, ack=1)
    peer.sees_nothing(during=5 * MINUTE)


@edge(FIN_WAIT_2, Event.ABORT, CLOSED)
def abort_in_fin_wait_2() -> Iterator[HasState]:
    peer, user = states.fin_wait_2()
    yield user
    user.abort()
    peer.sees_reset(2, ack=1)
    peer.sees_nothing(during=5 * MINUTE)


@edge(CLOSE_WAIT, Event.ABORT, CLOSED)
def abort_in_close_wait() -> Iterator[HasState]:
    peer, user = states.close_wait()
    yield user
    user.abort()
    peer.sees_reset(1, ack=2)
    peer.sees_nothing(during=5 * MINUTE)


@edge(CLOSING, Event.ABORT, CLOSED)
def abort_in_closing() -> Iterator[HasState]:
    peer, user = states.closing()
    yield user
    user.abort()
    peer.sees_nothing(during=5 * MINUTE)


@edge(LAST_ACK, Event.ABORT, CLOSED)
def abort_in_last_ack() -> Iterator[HasState]:
    peer, user = states.last_ack()
    yield user
    user.abort()
    peer.sees_nothing(during=5 * MINUTE)


@edge(TIME_WAIT, Event.ABORT, CLOSED)
def abort_in_time_wait() -> Iterator[HasState]:
    peer, user = states.time_wait()
    yield user
    user.abort()
    peer.sees_nothing(during=5 * MINUTE)


# Time-outs (3.10.8).


@edge(SYN_SENT, Event.TIMEOUT, CLOSED)
def nobody_answers() -> Iterator[HasState]:
    peer, user = states.syn_sent()
    yield user
    peer.repeats("S 0:0(0)", during=255 * SECOND - MS)
    assert user.state is SYN_SENT
    peer.sees_nothing(during=MS)
    assert isinstance(user.error, TimeoutError)


@edge(SYN_RECEIVED, Event.TIMEOUT, CLOSED)
def no_ack_of_our_crossing_syn() -> Iterator[HasState]:
    peer, user = states.syn_received(options=R2)
    yield user
    peer.repeats("S. 0:0(0) ack 1", during=20 * SECOND)
    assert isinstance(user.error, TimeoutError)


@edge(ESTABLISHED, Event.TIMEOUT, CLOSED)
def no_ack_of_data() -> Iterator[HasState]:
    peer, user = states.established(options=R2)
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    yield user
    peer.repeats("P. 1:11(10) ack 1", during=20 * SECOND - MS)
    assert user.state is ESTABLISHED
    peer.sees_nothing(during=MS)
    assert isinstance(user.error, TimeoutError)


@edge(FIN_WAIT_1, Event.TIMEOUT, CLOSED)
def no_ack_of_our_fin() -> Iterator[HasState]:
    peer, user = states.fin_wait_1(options=R2)
    yield user
    peer.repeats("F. 1:1(0) ack 1", during=20 * SECOND)
    assert isinstance(user.error, TimeoutError)


@edge(FIN_WAIT_2, Event.TIMEOUT, CLOSED)
def no_fin_for_a_user_who_is_gone() -> Iterator[HasState]:
    peer, user = states.fin_wait_2(options=TcpOptions(fin_wait_2_timeout=30.0))
    yield user
    user.close()
    peer.sees_nothing(during=30 * SECOND - MS)
    assert user.state is FIN_WAIT_2
    peer.passes(MS)


@edge(CLOSE_WAIT, Event.TIMEOUT, CLOSED)
def no_ack_of_data_after_their_fin() -> Iterator[HasState]:
    peer, user = states.close_wait(options=R2)
    user.write(10)
    peer.sees("P. 1:11(10) ack 2")
    yield user
    peer.repeats("P. 1:11(10) ack 2", during=20 * SECOND)
    assert isinstance(user.error, TimeoutError)


@edge(CLOSING, Event.TIMEOUT, CLOSED)
def no_ack_after_crossing_fins() -> Iterator[HasState]:
    peer, user = states.closing(options=R2)
    yield user
    peer.repeats("F. 1:1(0) ack 2", during=20 * SECOND)
    assert isinstance(user.error, TimeoutError)


@edge(LAST_ACK, Event.TIMEOUT, CLOSED)
def no_last_ack() -> Iterator[HasState]:
    peer, user = states.last_ack(options=R2)
    yield user
    peer.repeats("F. 1:1(0) ack 2", during=20 * SECOND)
    assert isinstance(user.error, TimeoutError)


# ICMP.


@edge(SYN_SENT, Event.RECV_ERROR, CLOSED)
def hard_error_for_a_syn() -> Iterator[HasState]:
    peer, user = states.syn_sent()
    yield user
    peer.sends_icmp(icmp.UNREACHABLE, icmp.PROTOCOL_UNREACHABLE)
    assert user.error is not None
    assert user.error.errno == errno.ENOPROTOOPT
    peer.sees_nothing(during=5 * MINUTE)


@edge(SYN_RECEIVED, Event.RECV_ERROR, CLOSED)
def error_for_a_syn_ack_where_that_is_wanted() -> Iterator[HasState]:
    peer, user = states.syn_received(options=TcpOptions(soft_errors_end_opening=True))
    yield user
    peer.sends_icmp(icmp.UNREACHABLE, icmp.HOST_UNREACHABLE)
    assert user.error is not None
    assert user.error.errno == errno.EHOSTUNREACH
    peer.sees_nothing(during=5 * MINUTE)
