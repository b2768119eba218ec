"""Limits, and just within them: options at their bounds, a window rounded up, a connection that is buried."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from tests.support import states
from tests.tcp.unit.test_receiver import receiver, text


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("ttl", 1, 255),
        ("dscp", 0, 63),
        ("send_buffer", 1, 1 << 30),
        ("send_space", 1, 1 << 30),
        ("keepalive_idle", 0.001, 1e6),
        ("keepalive_interval", 0.001, 1e6),
        ("keepalive_probes", 1, 1000),
        ("connect_timeout", 0.001, 1e6),
        ("syn_retries", 0, 100),
        ("user_timeout", 0.001, 1e7),
        ("r2", 1, 1e6),
        ("fin_wait_2_timeout", 0.001, 1e6),
        ("msl", 0, 1e4),
        ("mss", 64, 65535),
        ("initial_rto", 0.001, 60),
        ("min_rto", 0, 60),
        ("max_rto", 0.001, 1e4),
        ("delayed_ack", 0, 0.499),
    ],
)
def test_bounds_themselves_are_allowed(name: str, least: float, most: float) -> None:
    for value in (least, most):
        assert getattr(TcpOptions().replace(**{name: value}), name) == value


# RFC7323-08
def test_what_rounding_up_has_offered_is_accepted() -> None:
    """9995 octets can't be said in units of 16. There is room for 10,000, and the peer may use all of it."""
    rcv = receiver(10_000, shift=4)
    assert text(rcv, 1, 5)
    rcv.read(5, 0, -1)
    offered = rcv.offer() << 4
    assert offered == 10_000
    assert rcv.edge == rcv.nxt + offered


def test_a_connection_that_is_buried_says_nothing_more() -> None:
    """Not even the reset that it owed."""
    peer, user = states.established()
    conn = user.conn
    conn.abort()
    conn.bury()
    assert conn.poll_transmit(peer.now) is None
    assert conn.finished
