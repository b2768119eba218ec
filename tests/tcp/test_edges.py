"""Every edge between the eleven states, taken by segments, calls and time from CLOSED or LISTEN (RFC 9293 3.3.2).

The scenarios are in `tests.tcp.scenarios`. A test looks at the state before and after the event from outside, and at
the table of edges from inside: the first pair that was looked up after the event must be the one that the scenario
names. That every pair of the table has its scenario is a test, too, and so is that the table is RFC 9293's figure 5
and what its text adds.
"""

from __future__ import annotations

import itertools

import pytest

from stack.tcp import state as state_module
from stack.tcp.state import EDGES, Event, State, follow
from stack.wire.units import MINUTE, MS
from tests.support import states
from tests.support.peer import Peer
from tests.tcp.scenarios import (
    SCENARIOS,
    Scenario,
    active_open_of_a_listening_port,
    new_syn_in_time_wait,
    third_segment,
)

CLOSED, LISTEN, SYN_SENT, SYN_RECEIVED = State.CLOSED, State.LISTEN, State.SYN_SENT, State.SYN_RECEIVED
ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2 = State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2
CLOSE_WAIT, CLOSING, LAST_ACK, TIME_WAIT = State.CLOSE_WAIT, State.CLOSING, State.LAST_ACK, State.TIME_WAIT
Pair = tuple[State, Event]


class Recorder(dict[Pair, State]):
    """The table of edges, which remembers what was looked up in it."""

    def __init__(self) -> None:
        super().__init__(EDGES)
        self.taken: list[Pair] = []

    def __getitem__(self, pair: Pair) -> State:
        self.taken.append(pair)
        return super().__getitem__(pair)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(state_module, "EDGES", made)
    return made


# What all scenarios must show.


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_edge(scenario: Scenario, recorder: Recorder) -> None:
    script = scenario.script()
    subject = next(script)
    assert subject.state is scenario.state
    recorder.taken.clear()
    assert next(script, None) is None, "a script yields once"
    assert subject.state is scenario.target
    taken = recorder.taken
    if scenario.script in (third_segment, new_syn_in_time_wait) and taken[0] == (LISTEN, Event.RECV_SYN):
        del taken[0]  # the connection that is made of a half-open record becomes what that was
    assert taken[0] == (scenario.state, scenario.event)
    # The new connection takes an edge of its own then; and an active OPEN on a listening port makes a connection.
    assert len(taken) == 1 or scenario.script in (new_syn_in_time_wait, active_open_of_a_listening_port)


def test_every_edge_has_a_scenario() -> None:
    shown = {(scenario.state, scenario.event): scenario.target for scenario in SCENARIOS}
    assert shown == EDGES


def test_every_state_is_left_and_entered() -> None:
    assert {scenario.state for scenario in SCENARIOS} == set(State)
    assert {scenario.target for scenario in SCENARIOS} == set(State)


@pytest.mark.parametrize(
    ("state", "event"),
    [pair for pair in itertools.product(State, Event) if pair not in EDGES],
    ids=lambda part: str(part.value),
)
def test_no_other_edge_exists(state: State, event: Event) -> None:
    with pytest.raises(RuntimeError, match=f"no edge from {state}"):
        follow(state, event)


#: Figure 5, arrow by arrow. What its note 2 draws from FIN-WAIT-1 to TIME-WAIT goes through FIN-WAIT-2.
FIGURE_5 = {
    (CLOSED, LISTEN),
    (CLOSED, SYN_SENT),
    (LISTEN, CLOSED),
    (LISTEN, SYN_SENT),
    (LISTEN, SYN_RECEIVED),
    (SYN_SENT, CLOSED),
    (SYN_SENT, SYN_RECEIVED),
    (SYN_SENT, ESTABLISHED),
    (SYN_RECEIVED, LISTEN),  # note 1: a reset of a passive open
    (SYN_RECEIVED, ESTABLISHED),
    (SYN_RECEIVED, FIN_WAIT_1),
    (ESTABLISHED, FIN_WAIT_1),
    (ESTABLISHED, CLOSE_WAIT),
    (FIN_WAIT_1, FIN_WAIT_2),
    (FIN_WAIT_1, CLOSING),
    (FIN_WAIT_2, TIME_WAIT),
    (CLOSE_WAIT, LAST_ACK),
    (CLOSING, TIME_WAIT),
    (LAST_ACK, CLOSED),
    (TIME_WAIT, CLOSED),
}

#: What the figure leaves out (its introduction says so) and the text has: resets, aborts and time-outs end anything.
ENDS = {
    (state, CLOSED)
    for state in (SYN_SENT, SYN_RECEIVED, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, CLOSE_WAIT, CLOSING, LAST_ACK, TIME_WAIT)
}


def test_the_table_is_figure_5_and_the_ends() -> None:
    assert {(state, target) for (state, _), target in EDGES.items()} == FIGURE_5 | ENDS


# Segments that take two edges, in the order of the steps of 3.10.7.4.


def test_fin_that_acknowledges_ours(recorder: Recorder) -> None:
    peer, user = states.fin_wait_1()
    recorder.taken.clear()
    peer.sends("F. 1:1(0) ack 2")
    peer.sees(". 2:2(0) ack 2")
    assert user.state is TIME_WAIT
    assert recorder.taken == [(FIN_WAIT_1, Event.RECV_ACK_OF_FIN), (FIN_WAIT_2, Event.RECV_FIN)]


def test_fin_on_the_third_segment(recorder: Recorder) -> None:
    peer = states.half_open()
    recorder.taken.clear()
    peer.sends("F. 1:1(0) ack 1")
    peer.sees(". 1:1(0) ack 2")
    assert peer.accepts().state is CLOSE_WAIT
    assert recorder.taken[-2:] == [(SYN_RECEIVED, Event.RECV_ACK_OF_SYN), (ESTABLISHED, Event.RECV_FIN)]


def test_fin_on_the_second_segment(recorder: Recorder) -> None:
    peer, user = states.syn_sent()
    recorder.taken.clear()
    peer.sends("SF. 0:0(0) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 2")
    assert user.state is CLOSE_WAIT
    assert recorder.taken == [(SYN_SENT, Event.RECV_SYN_ACK), (ESTABLISHED, Event.RECV_FIN)]
    assert user.conn.at_eof


# States in which a reset changes nothing.


def test_reset_in_closed() -> None:
    peer = Peer()
    peer.sends("R 1:1(0)", "R. 1:1(0) ack 1")
    peer.sees_nothing()
    assert peer.state is CLOSED


def test_reset_in_listen() -> None:
    peer = Peer()
    peer.listens()
    peer.sends("R 1:1(0)", "R. 1:1(0) ack 1")
    peer.sees_nothing()
    assert peer.state is LISTEN


# Not RFC 9293's way but RFC 1337's, fix F1: old resets must not kill TIME-WAIT off early.
def test_reset_in_time_wait() -> None:
    peer, user = states.time_wait()
    peer.sends("R 2:2(0)", "R. 2:2(0) ack 2")
    peer.sees_nothing(during=MINUTE - MS)
    assert user.state is TIME_WAIT
