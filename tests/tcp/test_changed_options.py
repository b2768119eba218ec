"""Options that are changed on a living connection."""

from __future__ import annotations

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire.units import SECOND
from tests.support import states

KEEP = TcpOptions(keepalive=True, keepalive_idle=100.0, keepalive_interval=10.0, keepalive_probes=4)
PROBE = ". 0:0(0) ack 1"
SMALL = TcpOptions(receive_window=10_000, receive_buffer=10_000)


def test_the_receive_buffer_may_grow_further() -> None:
    _, user = states.established(options=SMALL)
    assert user.conn.rcv.max_limit == 10_000
    user.set_options(SMALL.replace(receive_buffer=50_000))
    assert user.conn.rcv.max_limit == 50_000


def test_it_may_shrink_and_what_was_offered_is_accepted() -> None:
    """The window's right edge stays until what was read makes it move on."""
    peer, user = states.established(options=SMALL)
    edge = user.conn.rcv.edge
    assert edge == 10_001
    user.set_options(SMALL.replace(receive_window=5000, receive_buffer=5000))
    peer.sends(*[f". {start}:{start + 1000}(1000) ack 1" for start in range(1, edge, 1000)])
    assert all(seen.edge == edge for seen in peer.takes())
    user.reads(4000)
    peer.sees_nothing()
    user.reads(6000)
    assert peer.sees(". 1:1(0) ack 10001").edge == edge + 5000


def test_asking_for_keep_alive_again_begins_to_count_again() -> None:
    """Three of four probes were not answered; from then on there are four more."""
    peer, user = states.established(options=KEEP)
    peer.sees(PROBE, after=100 * SECOND)
    for _ in range(2):
        peer.sees(PROBE, after=10 * SECOND)
    user.set_options(KEEP)
    peer.sees(PROBE, after=100 * SECOND)
    for _ in range(3):
        peer.sees(PROBE, after=10 * SECOND)
    peer.sees_nothing(during=10 * SECOND)
    assert user.state is State.CLOSED
