"""The state that the other end of a connection must be in, as far as our end can tell (RFC 9293 3.3.2).

Seen are the segments that we sent and those that arrived. What the peer sends shows what it has done and what it has
received. What we send counts as received only when an answer shows it, except for an ACK, to which no answer comes:
that is taken as delivered. So the state is what a reader of the RFC would write on the peer's side of the ladder; it
may be ahead of the truth by one lost ACK, and is never taken for more than an illustration.

    peer's FIN, our ACK                             FIN-WAIT-1, FIN-WAIT-2
    our FIN, acknowledged                           CLOSE-WAIT, or TIME-WAIT after its own FIN
    our FIN, then our ACK of a FIN that crossed it  CLOSING on the way, then TIME-WAIT
"""

from __future__ import annotations

from stack.tcp.seq import MASK, precedes
from stack.tcp.state import State
from stack.wire.segment import ACK, FIN, RST, SYN, Segment

_OUR_FIN_ARRIVED = {
    State.ESTABLISHED: State.CLOSE_WAIT,
    State.FIN_WAIT_1: State.CLOSING,
    State.FIN_WAIT_2: State.TIME_WAIT,
}
_FIN_SENT = {
    State.SYN_RECEIVED: State.FIN_WAIT_1,
    State.ESTABLISHED: State.FIN_WAIT_1,
    State.CLOSE_WAIT: State.LAST_ACK,
}
_FIN_ACKNOWLEDGED = {
    State.FIN_WAIT_1: State.FIN_WAIT_2,
    State.CLOSING: State.TIME_WAIT,
    State.LAST_ACK: State.CLOSED,
}


class ImpliedPeer:
    """The peer of one connection: feed it every segment, in the order in which they were seen."""

    __slots__ = ("_our_fin", "_peer_fin", "_syn_sent", "state")

    def __init__(self) -> None:
        self.state = State.CLOSED
        self._syn_sent = False  # we have sent a SYN, with or without ACK
        self._our_fin = -1  # the number that acknowledges our FIN; -1 before we sent it
        self._peer_fin = -1  # likewise of the peer's

    def on_received(self, seg: Segment) -> State:
        """A segment arrived from the peer; returns its state after sending it."""
        flags = seg.flags
        if flags & RST:
            self.state = State.CLOSED
        elif flags & SYN:
            self._on_peer_syn(flags)
        elif flags & ACK:
            if self._syn_sent and self.state in (State.SYN_SENT, State.SYN_RECEIVED):
                self.state = State.ESTABLISHED
            if self._our_fin >= 0 and not precedes(seg.ack, self._our_fin):
                self.state = _OUR_FIN_ARRIVED.get(self.state, self.state)
        if flags & FIN and not flags & RST:
            self._peer_fin = (seg.seq + seg.length) & MASK
            self.state = _FIN_SENT.get(self.state, self.state)
        return self.state

    def on_sent(self, seg: Segment) -> State:
        """We sent a segment; returns the peer's state as far as it is implied by that."""
        flags = seg.flags
        if flags & RST:
            self.state = State.CLOSED
            return self.state
        if flags & SYN:
            self._on_our_syn(flags)
        elif flags & ACK:
            self._on_our_ack(seg.ack)
        if flags & FIN:
            self._our_fin = (seg.seq + seg.length) & MASK
        return self.state

    def _on_peer_syn(self, flags: int) -> None:
        if flags & ACK:
            if self.state in (State.CLOSED, State.LISTEN, State.SYN_SENT):
                self.state = State.SYN_RECEIVED
        elif self.state in (State.CLOSED, State.LISTEN, State.TIME_WAIT):
            self.state = State.SYN_SENT
            self._our_fin = self._peer_fin = -1

    def _on_our_syn(self, flags: int) -> None:
        self._syn_sent = True
        if flags & ACK:
            return
        if self.state is State.CLOSED:  # until it answers, it is taken to listen
            self.state = State.LISTEN

    def _on_our_ack(self, ack: int) -> None:
        if self.state is State.SYN_RECEIVED:
            self.state = State.ESTABLISHED
        if self._peer_fin < 0 or precedes(ack, self._peer_fin):
            return
        if self.state is State.FIN_WAIT_1 and self._our_fin >= 0:
            self.state = State.CLOSING  # our FIN went before this ACK, so it has arrived before it
        self.state = _FIN_ACKNOWLEDGED.get(self.state, self.state)
