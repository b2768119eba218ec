"""How long a window that is too small to be worth using may stay unused (RFC 9293 3.8.6.2.1): 0.1 to 1 second."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.wire.units import MS, Duration
from tests.support import states


@pytest.mark.parametrize(("rtt", "wait"), [(0, 100 * MS), (800 * MS, 1000 * MS)], ids=["at least", "at most"])
def test_override_time(rtt: Duration, wait: Duration) -> None:
    """One RTO, which is a millisecond here, or seconds, within these bounds."""
    peer, user = states.established(options=TcpOptions(min_rto=0.0), window=1500, rtt=rtt)
    user.write(1000)
    peer.sees("P. 1:1001(1000) ack 1")
    if rtt:
        peer.passes(rtt)
    peer.sends(". 1:1(0) ack 1001 win 300")
    user.write(5000)
    peer.sees_nothing()
    peer.sees(". 1001:1301(300) ack 1", after=wait)
