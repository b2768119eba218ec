"""The eleven states and the table of edges between them (RFC 9293 3.3.2, figure 5, and 3.10).

A connection changes its state in one place only, by naming an event and looking the pair up in `EDGES`; a pair
that is not in the table is a fault of ours and raises. What the figure leaves to the text is in the table too:
resets, aborts, time-outs, and the way back to LISTEN of a passive open that came to nothing.

An arriving FIN that also acknowledges ours takes two edges, FIN-WAIT-1 to FIN-WAIT-2 to TIME-WAIT, in the order of
the steps of 3.10.7.4; likewise a FIN on the third segment of the handshake.
"""

from __future__ import annotations

import enum
from typing import Final


class State(enum.Enum):
    """A state of a connection; prints as in the RFC."""

    CLOSED = "CLOSED"
    LISTEN = "LISTEN"
    SYN_SENT = "SYN-SENT"
    SYN_RECEIVED = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    FIN_WAIT_1 = "FIN-WAIT-1"
    FIN_WAIT_2 = "FIN-WAIT-2"
    CLOSE_WAIT = "CLOSE-WAIT"
    CLOSING = "CLOSING"
    LAST_ACK = "LAST-ACK"
    TIME_WAIT = "TIME-WAIT"

    __hash__ = object.__hash__  # Enum's own is Python code, and states are looked up for every segment

    def __str__(self) -> str:
        return str(self.value)

    @property
    def ss(self) -> str:
        """The state in the words of `ss`."""
        return _SS_WORDS.get(self, str(self.value))


_SS_WORDS = {State.CLOSED: "UNCONN", State.SYN_RECEIVED: "SYN-RECV", State.ESTABLISHED: "ESTAB"}


class Event(enum.Enum):
    """What moves a connection from one state to another."""

    PASSIVE_OPEN = "passive OPEN"
    ACTIVE_OPEN = "active OPEN"
    CLOSE = "CLOSE"
    ABORT = "ABORT"
    SEND_FIN = "send FIN"  # a CLOSE in CLOSE-WAIT whose queued data has gone out (3.10.4)
    RECV_SYN = "receive SYN"
    RECV_SYN_ACK = "receive SYN,ACK"
    RECV_ACK_OF_SYN = "receive ACK of SYN"
    RECV_FIN = "receive FIN"
    RECV_ACK_OF_FIN = "receive ACK of FIN"
    RECV_RST = "receive RST"
    RECV_ERROR = "receive ICMP error"
    RETURN_TO_LISTEN = "reset or time-out of a passive open"
    TIMEOUT = "retransmissions exhausted or user time-out"
    TWO_MSL = "2 MSL over"


CLOSED: Final = State.CLOSED
LISTEN: Final = State.LISTEN
SYN_SENT: Final = State.SYN_SENT
SYN_RECEIVED: Final = State.SYN_RECEIVED
ESTABLISHED: Final = State.ESTABLISHED
FIN_WAIT_1: Final = State.FIN_WAIT_1
FIN_WAIT_2: Final = State.FIN_WAIT_2
CLOSE_WAIT: Final = State.CLOSE_WAIT
CLOSING: Final = State.CLOSING
LAST_ACK: Final = State.LAST_ACK
TIME_WAIT: Final = State.TIME_WAIT

EDGES: dict[tuple[State, Event], State] = {
    # Opening.
    (CLOSED, Event.PASSIVE_OPEN): LISTEN,
    (CLOSED, Event.ACTIVE_OPEN): SYN_SENT,
    (LISTEN, Event.ACTIVE_OPEN): SYN_SENT,
    (LISTEN, Event.RECV_SYN): SYN_RECEIVED,
    (LISTEN, Event.CLOSE): CLOSED,
    (SYN_SENT, Event.RECV_SYN): SYN_RECEIVED,
    (SYN_SENT, Event.RECV_SYN_ACK): ESTABLISHED,
    (SYN_RECEIVED, Event.RECV_ACK_OF_SYN): ESTABLISHED,
    (SYN_RECEIVED, Event.RETURN_TO_LISTEN): LISTEN,
    # Closing.
    (SYN_SENT, Event.CLOSE): CLOSED,
    (SYN_RECEIVED, Event.CLOSE): FIN_WAIT_1,
    (ESTABLISHED, Event.CLOSE): FIN_WAIT_1,
    (ESTABLISHED, Event.RECV_FIN): CLOSE_WAIT,
    (FIN_WAIT_1, Event.RECV_ACK_OF_FIN): FIN_WAIT_2,
    (FIN_WAIT_1, Event.RECV_FIN): CLOSING,
    (FIN_WAIT_2, Event.RECV_FIN): TIME_WAIT,
    (CLOSE_WAIT, Event.SEND_FIN): LAST_ACK,
    (CLOSING, Event.RECV_ACK_OF_FIN): TIME_WAIT,
    (LAST_ACK, Event.RECV_ACK_OF_FIN): CLOSED,
    (TIME_WAIT, Event.TWO_MSL): CLOSED,
    # A new SYN may reopen from TIME-WAIT (3.6.1, MAY-2; RFC 6191): the old record makes way for a half-open one.
    (TIME_WAIT, Event.RECV_SYN): CLOSED,
    # Ends that are no close.
    (SYN_SENT, Event.RECV_ERROR): CLOSED,
    (SYN_RECEIVED, Event.RECV_ERROR): CLOSED,
    **{
        (state, event): CLOSED
        for state in (
            SYN_SENT,
            SYN_RECEIVED,
            ESTABLISHED,
            FIN_WAIT_1,
            FIN_WAIT_2,
            CLOSE_WAIT,
            CLOSING,
            LAST_ACK,
        )
        for event in (Event.RECV_RST, Event.ABORT, Event.TIMEOUT)
    },
    (TIME_WAIT, Event.ABORT): CLOSED,
}
"""Where each event leads from each state; no other change of state exists."""

SYNCHRONISED: Final = frozenset(
    (ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, CLOSE_WAIT, CLOSING, LAST_ACK, TIME_WAIT),
)
"""States in which both ends have agreed on sequence numbers (RFC 9293 3.3.2)."""

CAN_SEND: Final = frozenset((SYN_SENT, SYN_RECEIVED, ESTABLISHED, CLOSE_WAIT))
"""States in which the application may still hand over data."""

CAN_RECEIVE: Final = frozenset((ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2))
"""States in which arriving text is taken (3.10.7.4, seventh)."""


def follow(state: State, event: Event) -> State:
    """The state that `event` leads to; `RuntimeError` when there is no such edge."""
    try:
        return EDGES[state, event]
    except KeyError:
        raise RuntimeError(f"no edge from {state} on {event.value!r}") from None
