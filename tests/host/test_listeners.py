"""Passive OPENs at the host: ports, queues and their bounds, closing (RFC 9293 3.9.1.1, 3.10.1, 3.10.4)."""

from __future__ import annotations

import errno

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.listener import Listener
from stack.tcp.state import State
from stack.wire.units import MINUTE, SECOND
from tests.support import states
from tests.support.bench import Bench
from tests.support.peer import Peer


def _handshake(peer: Peer) -> None:
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <...>")
    peer.sends(". 1:1(0) ack 1")


def _client(first: Peer, port: int) -> Peer:
    """Another client of the same listener."""
    peer = Peer(bench=first.bench, port=port)
    peer.listener = first.listener
    return peer


# RFC 9293 MUST-41
def test_passive_open_leaves_other_connections_alone() -> None:
    """Those that the port has already, in whatever state."""
    peer, user = states.established()
    later = peer.host.listen(40000)
    assert user.state is State.ESTABLISHED
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    peer.sends("P. 1:11(10) ack 11")
    peer.sees(". 11:11(0) ack 11")
    peer.sends("S 5000:5000(0) <mss 1000>")  # not for the listener
    peer.sees(". 11:11(0) ack 11")
    assert later.accept() is None
    assert peer.host.half_open == 0
    peer.host.close_listener(later, peer.now)
    assert user.state is State.ESTABLISHED


# RFC 9293 MUST-41
def test_second_passive_open_leaves_the_first_alone() -> None:
    peer = Peer()
    listener = peer.listens()
    with pytest.raises(OSError, match="80") as refused:
        peer.host.listen(80)
    assert refused.value.errno == errno.EADDRINUSE
    _handshake(peer)
    assert listener.accept() is not None


# RFC 9293 MUST-42
def test_passive_open_beside_syn_sent_and_syn_received() -> None:
    for reach in (states.syn_sent, states.syn_received):
        peer, user = reach()
        before = user.state
        listener = peer.host.listen(40000)
        assert user.state is before
        other = Peer(bench=peer.bench, host_port=40000, port=5000)
        _handshake(other)
        assert listener.accept() is not None
        assert user.state is before
        peer.sends("S. 0:0(0) ack 1 <mss 1000>")
        peer.takes()
        assert user.state is State.ESTABLISHED
    waiting = states.half_open()
    waiting.host.listen(80, address=waiting.host_address)
    waiting.sends(". 1:1(0) ack 1")
    assert waiting.accepts().state is State.ESTABLISHED


def test_port_is_chosen_for_those_who_do_not_care() -> None:
    bench = Bench()
    ports = [bench.host.listen(0).port for _ in range(50)]
    assert len(set(ports)) == 50
    assert all(32768 <= port <= 60999 for port in ports)


def test_many_connections_of_one_listener() -> None:
    """Told apart by the other end; taken in the order in which they were complete."""
    first = Peer()
    listener = first.listens()
    peers = [first, *[_client(first, 40001 + index) for index in range(20)]]
    for peer in peers:
        peer.sends("S 0:0(0) <mss 1000>")
        peer.sees("S. 0:0(0) ack 1 <...>")
    for peer in reversed(peers):
        peer.sends("P. 1:11(10) ack 1")
        peer.sees(". 1:1(0) ack 11")
    assert listener.acceptable == 21
    assert [conn.remote[1] for conn in iter(listener.accept, None)] == [peer.port for peer in reversed(peers)]


def test_accept_queue_has_a_bound() -> None:
    """A third segment that finds it full is dropped; the peer's data brings another chance."""
    first = Peer()
    listener = first.listens(backlog=2)
    peers = [first, _client(first, 40001), _client(first, 40002)]
    for peer in peers:
        _handshake(peer)
    assert listener.acceptable == 2
    assert peers[2].state is State.SYN_RECEIVED
    peers[2].sends("P. 1:11(10) ack 1")
    peers[2].sees_nothing()
    assert listener.accept() is not None
    peers[2].sends("P. 1:11(10) ack 1")
    peers[2].sees(". 1:1(0) ack 11")
    assert listener.acceptable == 2
    assert first.host.counters.drops == {"accept-queue-full": 2}


# RFC4987-01
def test_syn_queue_has_a_bound() -> None:
    """A SYN that finds it full of young ones is dropped silently; a minute later there is room again."""
    first = Peer()
    first.listens(backlog=1)
    answered = 0
    for index in range(400):
        peer = _client(first, 41000 + index)
        peer.sends("S 0:0(0) <mss 1000>")
        answered += len(peer.takes())
    assert answered == first.host.half_open == 256
    assert first.host.counters.drops == {"syn-queue-full": 144}
    end = first.now + 63 * SECOND
    while first.bench.step(end):
        pass
    assert first.host.half_open == 0
    _handshake(first)
    assert first.accepts().state is State.ESTABLISHED


def test_half_open_connections_cost_the_listener_nothing_in_the_end() -> None:
    peer = Peer()
    listener = peer.listens()
    for _ in range(3):
        peer.sends("S 0:0(0) <mss 1000>")
        peer.sees("S. 0:0(0) ack 1 <...>")
        assert listener.half_open == 1
        peer.sends("R 1:1(0)")
        assert listener.half_open == 0


def test_close_resets_what_is_half_open_and_what_nobody_took() -> None:
    first = Peer()
    listener = first.listens()
    waiting, taken = _client(first, 40001), _client(first, 40002)
    _handshake(taken)
    user = taken.accepts()
    _handshake(waiting)
    first.sends("S 0:0(0) <mss 1000>")
    first.sees("S. 0:0(0) ack 1 <...>")
    first.host.close_listener(listener, first.now)
    first.bench.flush()
    first.sees_reset(1, ack=1)
    waiting.sees_reset(1, ack=1)
    taken.sees_nothing()
    assert user.state is State.ESTABLISHED
    first.host.close_listener(listener, first.now)
    first.bench.flush()
    assert listener.state is State.CLOSED
    assert first.host.connections() == [user.conn]
    first.sees_nothing(during=MINUTE)
    user.write(10)
    taken.sees("P. 1:11(10) ack 1")
    assert first.host.listen(80).port == 80


def test_active_open_of_a_listening_port() -> None:
    """3.10.1, LISTEN: from passive to active; what was half open is reset."""
    peer = Peer()
    listener = peer.listens()
    other = _client(peer, 40001)
    other.sends("S 0:0(0) <mss 1000>")
    other.sees("S. 0:0(0) ack 1 <...>")
    conn = peer.host.connect_from(listener, peer.address, peer.port, peer.now)
    peer.bench.flush()
    other.sees_reset(1, ack=1)
    peer.sees("S 0:0(0) <...>")
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 1")
    assert conn.local == (peer.host_address, 80)
    assert conn.state is State.ESTABLISHED
    other.sends("S 0:0(0) <mss 1000>")
    other.takes()
    assert peer.host.half_open == 0


def test_options_of_the_listener_hold_for_its_connections() -> None:
    peer = Peer(options=TcpOptions(user_timeout=99.0))
    peer.listens(options=TcpOptions(user_timeout=5.0, nodelay=True))
    _handshake(peer)
    user = peer.accepts()
    assert user.conn.options.nodelay
    user.write(10)
    peer.gathers(5 * SECOND)
    assert user.state is State.CLOSED


def test_options_of_the_host_hold_where_none_are_given() -> None:
    peer = Peer(options=TcpOptions(user_timeout=5.0))
    peer.listens()
    _handshake(peer)
    user = peer.accepts()
    user.write(10)
    peer.gathers(5 * SECOND)
    assert user.state is State.CLOSED


def test_owner_of_a_listener_is_woken() -> None:
    peer = Peer()
    listener = peer.listens()
    listener.owner = object()
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <...>")
    assert peer.host.take_woken() == []
    peer.sends(". 1:1(0) ack 1")
    assert peer.host.take_woken() == [listener]
    assert peer.host.take_woken() == []
    peer.host.close_listener(listener, peer.now)
    assert listener in peer.host.take_woken()


def test_listener_knows_where_it_listens() -> None:
    bench = Bench()
    listener = bench.host.listen(443, backlog=7)
    assert isinstance(listener, Listener)
    assert (listener.port, listener.address, listener.backlog) == (443, b"", 7)
