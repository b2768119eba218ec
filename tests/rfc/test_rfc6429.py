"""Connections that wait for a window (RFC 6429): the user may end them, whatever the peer says."""

from __future__ import annotations

from stack.tcp.state import State
from stack.wire.units import MINUTE, SECOND
from tests.support import states


# RFC6429-01
def test_user_may_abort_a_connection_that_waits_for_a_window() -> None:
    """4: an hour of answered probes is no reason to give up; the user's word is."""
    peer, user = states.established(window=0)
    user.write(10)
    end = peer.now + 60 * MINUTE
    while peer.bench.step(end):
        for _ in peer.takes():
            peer.sends(". 1:1(0) ack 1 win 0")
    assert user.state is State.ESTABLISHED
    user.abort()
    peer.sees_reset(2, ack=1)  # the peer may have taken the octet of the latest probe
    peer.sees_reset(1, ack=1)  # or not
    assert isinstance(user.error, ConnectionAbortedError)
    assert peer.host.connections() == []
    peer.sees_nothing(during=60 * SECOND)
