"""The receiver's window (RFC 9293 3.8.6, 3.8.6.2.2): sliding, silly windows, closed ones, and a buffer that grows."""

from __future__ import annotations

import random

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire.units import MS, SECOND, Duration
from tests.support import states
from tests.support.peer import Peer
from tests.support.user import User

FULL = 1460  #: The MSS that the host has offered (RMSS).


def text(start: int, size: int = 1000, *, fin: bool = False) -> str:
    """A line for the peer's octets from `start` on."""
    return f"{'F' if fin else ''}P. {start}:{start + size}({size}) ack 1"


def _small(size: int, **arguments: bool) -> tuple[Peer, User]:
    """A connection with a receive buffer of `size` octets."""
    return states.established(options=TcpOptions(receive_window=size, receive_buffer=size), **arguments)


def test_window_slides() -> None:
    peer, user = _small(10_000)
    peer.sends(text(1))
    peer.sees(". 1:1(0) ack 1001 win 9000")
    peer.sends(text(1001))
    peer.sees(". 1:1(0) ack 2001 win 8000")
    user.reads(2000)
    peer.takes()
    peer.sends(text(2001))
    peer.sees(". 1:1(0) ack 3001 win 9000")


def test_out_of_order_octets_count_once() -> None:
    """They are in the window already; the right edge stays where it was."""
    peer, _ = _small(10_000)
    peer.sends(text(1001))
    peer.sees(". 1:1(0) ack 1 win 10000")
    peer.sends(text(1))
    peer.sees(". 1:1(0) ack 2001 win 8000")


def test_octets_beyond_the_window_are_cut_off() -> None:
    peer, user = _small(1500)
    peer.sends(text(1, 1000), text(1001, 1000))
    peer.sees(". 1:1(0) ack 1501 win 0")
    user.reads(1500)


@pytest.mark.parametrize("passive", [False, True])
@pytest.mark.parametrize("size", [1500, 30_000, 65_535, 65_536, 1 << 20])
def test_first_window_is_what_the_syn_says(size: int, passive: bool) -> None:
    """To the octet, before any ACK could say more; more than 65535 can't be said without a scale."""
    peer, user = states.established(
        passive=passive, options=TcpOptions(receive_window=size, receive_buffer=size), wscale=-1
    )
    peer.sends(*[text(start) for start in range(1, 100_000, 1000)])
    assert user.conn.readable == min(size, 65_535)
    assert peer.takes()[-1].ack == 1 + min(size, 65_535)


def test_fin_beyond_the_window_waits() -> None:
    """Trimmed off with the octets before it (3.10.7.4, first)."""
    peer, user = _small(1500)
    peer.sends(text(1, 2000, fin=True))
    peer.sees(". 1:1(0) ack 1501 win 0")
    assert user.state is State.ESTABLISHED


# RFC1122-18
# RFC 9293 MUST-39
def test_window_does_not_open_by_a_silly_amount() -> None:
    """3.8.6.2.2: the edge stays until it can move by min(RCV.BUFF / 2, MSS)."""
    peer, user = _small(10_000)
    peer.sends(*[text(1 + 1000 * number) for number in range(10)])
    peer.sees(". 1:1(0) ack 10001 win 0")
    for size in (1, 500, FULL - 502):  # together one less than a segment
        user.reads(size)
        peer.sees_nothing()
        peer.sends("P. 10001:10002(1) ack 1")
        peer.sees(". 1:1(0) ack 10001 win 0")
    user.reads(1)
    peer.takes()
    peer.sends(". 10000:10000(0) ack 1")
    window = peer.takes()[-1].segment.window
    assert window == FULL


# RFC1122-18
# RFC 9293 MUST-39
def test_window_of_a_small_buffer_opens_by_half_of_it() -> None:
    peer, user = _small(1000)
    peer.sends(text(1))
    peer.sees(". 1:1(0) ack 1001 win 0")
    user.reads(499)
    peer.sends("P. 1001:1002(1) ack 1")
    peer.sees(". 1:1(0) ack 1001 win 0")
    user.reads(1)
    peer.takes()
    peer.sends("P. 1001:1002(1) ack 1")
    assert peer.takes()[-1].edge in (1501, 1502)


def test_peer_hears_of_a_window_that_has_opened_without_asking() -> None:
    peer, user = _small(10_000)
    peer.sends(*[text(1 + 1000 * number) for number in range(10)])
    peer.sees(". 1:1(0) ack 10001 win 0")
    user.reads(10_000)
    peer.sees(". 1:1(0) ack 10001 win 10000")
    peer.sees_nothing()


def test_half_used_window_is_not_announced_at_every_read() -> None:
    peer, user = _small(60_000)
    peer.sends(text(1))
    peer.sees(". 1:1(0) ack 1001 win 59000")
    user.reads(1000)
    peer.sees_nothing()


@pytest.mark.parametrize("probe", ["P. 2001:2002(1) ack 1", ". 2000:2000(0) ack 1", "P. 2000:2001(1) ack 1"])
def test_probes_of_a_closed_window_are_acknowledged(probe: str) -> None:
    """3.8.6.1: each; Linux' probes are empty and one below, others send the next octet."""
    peer, _ = _small(2000)
    peer.sends(text(1), text(1001))
    peer.sees(". 1:1(0) ack 2001 win 0")
    for _ in range(10):
        peer.passes(200 * MS)
        peer.sends(probe)
        peer.sees(". 1:1(0) ack 2001 win 0")


# RFC 9293 MAY-8
def test_window_may_stay_closed_for_ever() -> None:
    peer, user = _small(2000)
    peer.sends(text(1), text(1001))
    peer.sees(". 1:1(0) ack 2001 win 0")
    for _ in range(100):
        peer.passes(60 * SECOND)
        peer.sends("P. 2001:2002(1) ack 1")
        peer.sees(". 1:1(0) ack 2001 win 0")
    user.reads(2000)
    peer.sees(". 1:1(0) ack 2001 win 2000")


# RFC 9293 SHLD-14
@pytest.mark.parametrize("seed", range(20))
def test_right_edge_never_moves_left(seed: int) -> None:
    """Whatever is sent and read; the watch looks at every segment."""
    chance = random.Random(seed)
    peer, user = states.established(
        options=TcpOptions(receive_window=20_000, receive_buffer=20_000), wscale=0 if seed % 2 else -1
    )
    start = 1
    edge = 20_001
    for _ in range(200):
        size = min(chance.randrange(1, 1461), edge - start)
        if size and chance.random() < 0.6:
            peer.sends(text(start, size))
            start += size
        elif user.conn.readable:
            user.reads(chance.randrange(1, user.conn.readable + 1))
        else:
            peer.passes(100 * MS)
        edge = max([edge, *[item.edge for item in peer.takes()]])


def _stream(peer: Peer, user: User, *, rounds: int, rtt: Duration) -> int:
    """The peer fills the window once a round trip, and the user reads it all. The largest window in octets."""
    start, edge = 1, peer.watch.host_edge
    largest = 0
    for _ in range(rounds):
        lines = []
        while start + FULL <= edge:
            lines.append(text(start, FULL))
            start += FULL
        largest = max(largest, edge - start + len(lines) * FULL)
        peer.passes(rtt)
        for index in range(0, len(lines), 64):
            peer.sends(*lines[index : index + 64])
            user.reads(user.conn.readable)
            edge = max([edge, *[item.edge for item in peer.takes()]])
    return largest


def test_window_grows_with_the_flow() -> None:
    """Megabytes, not 64 KiB: a fast flow over a long path is not held back by the buffer it started with."""
    peer, user = states.established(wscale=7, rtt=50 * MS)
    assert _stream(peer, user, rounds=12, rtt=50 * MS) > 4 << 20


def test_window_does_not_grow_for_those_who_do_not_read() -> None:
    peer, user = states.established(wscale=7, rtt=50 * MS)
    start = 1
    edge = 65536
    while start + FULL <= edge:
        peer.sends(text(start, FULL))
        start += FULL
        edge = max([edge, *[item.edge for item in peer.takes()]])
        peer.passes(5 * MS)
        peer.takes()
    assert user.conn.readable <= 1 << 16


def test_window_does_not_grow_beyond_its_bound() -> None:
    options = TcpOptions(receive_buffer=1 << 18)
    peer, user = states.established(wscale=7, rtt=50 * MS, options=options)
    largest = _stream(peer, user, rounds=12, rtt=50 * MS)
    assert 1 << 17 < largest <= 1 << 18
