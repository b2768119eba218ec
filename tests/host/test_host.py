"""The host as a whole: who is woken, traced and counted, faults kept in, turns, and the end (design 2 and 5)."""

from __future__ import annotations

import pytest

from stack.host.host import Host
from stack.host.trace import TraceEvent
from stack.tcp.config import TcpOptions
from stack.tcp.congestion import AckSummary, NewReno
from stack.tcp.state import State
from stack.wire import notation
from stack.wire.offload import complete
from stack.wire.packet import Packet
from stack.wire.units import MINUTE, MS, NEVER, SECOND, Time
from tests.support import states
from tests.support.bench import Bench
from tests.support.peer import Peer

# Several connections at once.


@pytest.mark.parametrize("v6", [False, True])
def test_connections_are_told_apart_by_all_four_parts(v6: bool) -> None:
    bench = Bench()
    ends = [(port, host_port) for port in (1000, 1001) for host_port in (80, 81)]
    peers = [Peer(bench=bench, v6=v6, port=port, host_port=host_port) for port, host_port in ends]
    for host_port in (80, 81):
        listener = bench.host.listen(host_port)
        for peer in peers:
            if peer.host_port == host_port:
                peer.listener = listener
    users = []
    for peer in peers:
        peer.sends("S 0:0(0) <mss 1000>")
        peer.sees("S. 0:0(0) ack 1 <...>")
        peer.sends(". 1:1(0) ack 1")
        users.append(peer.accepts())
    for number, peer in enumerate(peers):
        peer.sends(f"P. 1:{2 + number}({1 + number}) ack 1")
        peer.sees(f". 1:1(0) ack {2 + number}")
    assert [user.conn.readable for user in users] == [1, 2, 3, 4]
    peers[0].sends("R 2:2(0)")
    assert [user.state for user in users] == [State.CLOSED] + [State.ESTABLISHED] * 3


def test_connections_send_in_turn() -> None:
    """One that has much to say does not keep the others waiting."""
    bench = Bench()
    peers = [Peer(bench=bench, host_port=40000 + index, port=80) for index in range(3)]
    for peer in peers:
        user = peer.connect(local_port=peer.host_port)
        peer.sees("S 0:0(0) <...>")
        peer.sends("S. 0:0(0) ack 1 <mss 1000>")
        peer.sees(". 1:1(0) ack 1")
        assert peer.user is user
    for peer in peers:
        assert peer.user is not None
        peer.user.conn.write(bytes(5000))
        peer.watch.written += bytes(5000)
        bench.host.touch(peer.user.conn, bench.now)
    bench.flush()
    order = [line.split(" > ")[0].rsplit(":", 1)[1] for line in bench.log if "(1000)" in line]
    assert len(order) == 15
    assert order[:6] == ["40000", "40001", "40002"] * 2


# Waking.


def test_owner_is_woken_when_something_has_changed() -> None:
    peer, user = states.syn_sent()
    host = peer.host
    user.conn.owner = object()
    host.take_woken()

    def woken() -> bool:
        return user.conn in host.take_woken()

    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 1")
    assert woken()
    peer.sends("P. 1:11(10) ack 1")
    assert woken()
    peer.sends("P. 21:31(10) ack 1")
    assert not woken(), "nothing can be read of what came too early"
    peer.sends("F. 31:31(0) ack 1", "P. 11:21(10) ack 1")
    assert woken()
    peer.sends("R 32:32(0)")
    assert woken()
    assert not woken()


def test_owner_is_woken_when_there_is_room_again() -> None:
    peer, user = states.established(options=TcpOptions(send_buffer=4000))
    user.conn.owner = object()
    user.write(4000)
    peer.takes()
    peer.host.take_woken()
    assert user.conn.writable == 0
    peer.sends(". 1:1(0) ack 4001")
    assert user.conn in peer.host.take_woken()
    assert user.conn.writable == 4000


def test_owner_is_woken_when_the_send_buffer_is_made_larger() -> None:
    peer, user = states.established(options=TcpOptions(send_buffer=4000))
    user.conn.owner = object()
    user.write(4000)
    peer.takes()
    peer.host.take_woken()
    user.set_options(TcpOptions(send_buffer=5000))
    assert user.conn in peer.host.take_woken()
    assert user.conn.writable == 1000


def test_owner_is_woken_by_time() -> None:
    peer, user = states.established(options=TcpOptions(user_timeout=5.0))
    user.conn.owner = object()
    user.write(10)
    peer.host.take_woken()
    peer.gathers(5 * SECOND)
    assert user.conn in peer.host.take_woken()
    assert isinstance(user.error, TimeoutError)


def test_who_has_no_owner_is_not_woken() -> None:
    peer, _ = states.established()
    peer.sends("P. 1:11(10) ack 1")
    assert peer.host.take_woken() == []


# Deadlines.


def test_host_with_nothing_to_wait_for() -> None:
    bench = Bench()
    assert bench.host.next_timeout() == NEVER
    peer, user = states.established()
    peer.passes(MINUTE)
    assert peer.host.next_timeout() == NEVER
    user.write(10)
    assert peer.host.next_timeout() == peer.now + 200 * MS


def test_waking_the_host_early_or_late_does_no_harm() -> None:
    peer, user = states.established()
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    for _ in range(5):
        peer.host.on_timeout(peer.now)
    peer.bench.flush()
    peer.sees_nothing()
    peer.bench.now += 10 * SECOND  # nobody came in time
    peer.host.on_timeout(peer.now)
    peer.bench.flush()
    peer.sees("P. 1:11(10) ack 1")
    peer.sees_nothing()


# The trace.


def test_trace_tells_every_segment_with_our_state_after_it() -> None:
    events: list[TraceEvent] = []
    peer = Peer()
    peer.host.trace = events.append
    assert peer.host.trace == events.append
    peer.listens()
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sends(". 1:1(0) ack 1")
    peer.sends("F. 1:1(0) ack 1")
    user = peer.accepts()
    user.close()
    peer.sends(". 2:2(0) ack 2")
    peer.sends(". 2:2(0) ack 2")
    told = [
        (event.outgoing, notation.format_flags(event.segment.flags), str(event.state), event.local, event.remote)
        for event in events
    ]
    here, there = (peer.host_address, 80), (peer.address, 40000)
    assert told == [
        (False, "S", "SYN-RECEIVED", here, there),
        (True, "S.", "SYN-RECEIVED", here, there),
        (False, ".", "ESTABLISHED", here, there),
        (False, "F.", "CLOSE-WAIT", here, there),
        (True, ".", "CLOSE-WAIT", here, there),
        (True, "F.", "LAST-ACK", here, there),
        (False, ".", "CLOSED", here, there),
        (False, ".", "LISTEN", here, there),
        (True, "R", "CLOSED", here, there),
    ]
    assert {event.time for event in events} == {peer.now}


def test_state_of_a_packet() -> None:
    """For captures: of a packet in either direction."""
    peer, _ = states.established()
    incoming = peer.packet(". 1:1(0) ack 1")
    assert peer.host.state_of(incoming, outgoing=False) is State.ESTABLISHED
    assert peer.last is not None
    outgoing = Packet(peer.last.frame)
    assert peer.host.state_of(outgoing, outgoing=True) is State.ESTABLISHED
    assert peer.host.state_of(outgoing, outgoing=False) is None
    assert peer.host.state_of(Packet(b"rubbish"), outgoing=False) is None
    bench = Bench()
    bench.host.ping(peer.address, bench.now)
    bench.flush()
    assert peer.host.state_of(Packet(bench.strays[0]), outgoing=True) is None


# Counters.


def test_counters() -> None:
    peer, user = states.established()
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    peer.sends("P. 1:11(10) ack 11", "P. 70000:70010(10) ack 11")
    user.abort()
    totals = peer.host.counters.as_dict()
    assert totals["packets_in"] == totals["segments_in"] == 3
    # SYN, ACK, data, ACK of data, ACK of what was out of the window, reset; two of them may be one.
    assert totals["segments_out"] in (5, 6)
    assert totals["packets_out"] == totals["segments_out"]
    assert totals["resets_out"] == 1
    assert totals["resets_in"] == 0
    assert totals["active_opens"] == 1
    assert totals["accepted"] == 0
    assert totals["drops"] == {"out-of-window": 1}
    peer.sends("R 11:11(0)")
    assert peer.host.counters.resets_in == 1


# Faults of our own.


class Faulty(NewReno):
    """A controller with a fault in it, as a user's may have."""

    def on_ack(self, summary: AckSummary, now: Time) -> None:
        if summary.acked > 1:  # the handshake goes well
            raise ZeroDivisionError("a fault")


def test_fault_in_one_connection_ends_that_one() -> None:
    """Design 5: an exception inside one connection ends that one; the peer is told, and others go on."""
    faults: list[BaseException] = []
    peer, user = states.established(options=TcpOptions(congestion=Faulty))
    other = Peer(bench=peer.bench)
    healthy = other.connect(local_port=40001)
    other.sees("S 0:0(0) <...>")
    other.sends("S. 0:0(0) ack 1 <mss 1000>")
    other.sees(". 1:1(0) ack 1")
    peer.host.on_fault = faults.append
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    peer.sends(". 1:1(0) ack 11")
    assert peer.takes()[-1].flags & 4
    assert user.state is State.CLOSED
    assert [type(fault) for fault in faults] == [ZeroDivisionError]
    assert peer.host.counters.drops == {"internal-error": 1}
    healthy.write(10)
    other.sees("P. 1:11(10) ack 1")


class FaultyLater(NewReno):
    """Faults where time passes and where segments are made."""

    def on_timeout(self, flight: int, first: bool, now: Time) -> None:
        raise ZeroDivisionError("a fault when the timer expires")

    def on_idle(self, now: Time) -> None:
        raise ZeroDivisionError("a fault when data leaves")


@pytest.mark.parametrize("idle", [False, True])
def test_fault_in_a_time_out_or_in_sending_ends_that_connection(idle: bool) -> None:
    faults: list[BaseException] = []
    peer, user = states.established(options=TcpOptions(congestion=FaultyLater))
    peer.host.on_fault = faults.append
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    if idle:
        peer.sends(". 1:1(0) ack 11")
        peer.passes(MINUTE)
        user.write(10)
    else:
        peer.passes(200 * MS)
    peer.sees_reset(11, ack=1)
    assert user.state is State.CLOSED
    assert len(faults) == 1
    assert peer.host.counters.drops == {"internal-error": 1}
    peer.sees_nothing(during=MINUTE)


# The end.


def test_lingering_counts_those_who_have_not_been_heard_out() -> None:
    peer, user = states.established()
    assert peer.host.lingering() == 0
    user.write(10)
    peer.takes()
    assert peer.host.lingering() == 1
    peer.sends(". 1:1(0) ack 11")
    assert peer.host.lingering() == 0
    user.close()
    peer.takes()
    assert peer.host.lingering() == 1
    peer.sends(". 1:1(0) ack 12")
    assert peer.host.lingering() == 0


def test_shut_down_resets_what_is_left() -> None:
    peer, user = states.established()
    waiting, _ = states.time_wait()
    listener = peer.host.listen(80)
    half = Peer(bench=peer.bench, port=40001)
    half.sends("S 0:0(0) <mss 1000>")
    half.sees("S. 0:0(0) ack 1 <...>")
    connecting = Peer(bench=peer.bench)
    connecting.connect(local_port=50000)
    connecting.sees("S 0:0(0) <...>")
    peer.host.shut_down(peer.now)
    peer.bench.flush()
    peer.sees_reset(1, ack=1)
    half.sees_reset(1, ack=1)
    connecting.sees_nothing(during=5 * MINUTE)
    assert user.state is State.CLOSED
    assert listener.state is State.CLOSED
    assert peer.host.connections() == []
    assert peer.host.half_open == 0
    waiting.host.shut_down(waiting.now)
    assert waiting.host.time_waits == 0
    assert waiting.state is State.CLOSED


def test_host_says_what_it_is_made_of() -> None:
    host = Host(secret=bytes(16), mtu=1280)
    host.add_address("10.9.0.2/24")
    host.add_address("fd00::2/64")
    assert host.addresses == ["10.9.0.2/24", "fd00::2/64"]
    with pytest.raises(ValueError, match="575"):
        Host(secret=bytes(16), mtu=575)


def test_time_wait_records_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest makes way; its connection learns that it is over."""
    monkeypatch.setattr("stack.host.time_waits.MAX_RECORDS", 2)
    first, user = states.time_wait()
    peers = [Peer(bench=first.bench) for _ in range(2)]
    for index, peer in enumerate(peers):
        other = peer.connect(local_port=40001 + index)
        peer.sees("S 0:0(0) <...>")
        peer.sends("S. 0:0(0) ack 1 <mss 1000>")
        peer.sees(". 1:1(0) ack 1")
        other.close()
        peer.sees("F. 1:1(0) ack 1")
        peer.sends("F. 1:1(0) ack 2")
        peer.sees(". 2:2(0) ack 2")
        assert other.state is State.TIME_WAIT
    assert first.host.time_waits == 2
    assert user.state is State.CLOSED


def test_queue_of_answers_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """What belongs to no connection waits in one queue; what does not fit is dropped and counted."""
    monkeypatch.setattr("stack.host.output.MAX_QUEUED", 10)
    peer = Peer()
    peer.sends(*[f"S {number}:{number}(0)" for number in range(15)])
    assert len(peer.takes()) == 10
    drops = peer.host.counters.drops
    assert drops.pop("no-connection") == 15
    assert list(drops.values()) == [5]


def test_two_hosts_talk() -> None:
    """Without a script: one connects, both send and close."""
    now = 10 * SECOND
    here, there = Host(secret=b"h" * 16), Host(secret=b"t" * 16)
    here.add_address("10.9.0.1/24")
    there.add_address("10.9.0.2/24")
    listener = there.listen(80)
    client = here.connect(bytes([10, 9, 0, 2]), 80, now)
    server = None
    for _ in range(50):
        for source, target in ((here, there), (there, here)):
            while (packet := source.poll_transmit(now)) is not None:
                target.receive(complete(packet), now)
        if client.connected and not client.unacknowledged and client.state is State.ESTABLISHED:
            client.write(b"question")
            client.close_write()
            here.touch(client, now)
        server = server or listener.accept()
        if server is not None and server.at_eof is False and server.readable:
            assert server.read(100, now) == b"question"
            server.write(b"answer")
            server.close(now)
            there.touch(server, now)
    assert server is not None
    assert client.read(100, now) == b"answer"
    assert client.at_eof
    assert (client.state, server.state) == (State.TIME_WAIT, State.CLOSED)
