"""What Python adds to the dangers: an exception that gets out, hashes that collide, views that keep frames, `-O`."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.state import CLOSED
from stack.wire.packet import Packet
from stack.wire.segment import ACK, PSH, SYN
from stack.wire.units import NEVER, SECOND
from tests.security.target import PORT, US6, Peer, Target, ip4, ip6, tcp_segment

CHECKOUT = Path(__file__).resolve().parents[2]


# A fault of ours.


class Broken:
    """Stands where a part of a connection should; whatever is asked of it raises."""

    def __getattr__(self, name: str) -> object:
        raise ZeroDivisionError(name)


def with_one_broken(part: str) -> tuple[Target, list[Peer], Peer]:
    """A host with connections, of which one has data in flight and then a fault of ours."""
    target = Target()
    others = [target.established(sport=sport) for sport in range(1000, 1010)]
    victim = target.established(sport=6666)
    victim.write(b"data")
    setattr(victim.conn, part, Broken())
    if part == "rtt":
        victim.conn.snd.rtt = victim.conn.snd.repair.rtt = victim.conn.rtt
    return target, others, victim


def check_contained(target: Target, others: list[Peer], victim: Peer) -> None:
    """The victim is gone and its application told, the fault was counted and reported, and nobody else has noticed."""
    assert victim.conn.own_state is CLOSED
    assert isinstance(victim.conn.error, ConnectionAbortedError)
    assert 1 <= len(target.faults) <= 3
    assert all(isinstance(fault, ZeroDivisionError) for fault in target.faults)
    assert target.host.counters.drops["internal-error"] == len(target.faults)
    target.faults.clear()
    assert victim.conn not in target.host.connections()
    assert target.host.next_timeout() > target.now
    assert all(peer.alive for peer in others)
    target.established(sport=7777)
    target.wait(1000 * SECOND)
    assert not target.faults


@pytest.mark.interpreted
@pytest.mark.parametrize("part", ["rtt", "snd", "rcv"])
def test_sys_01_fault_in_taking_a_segment(part: str) -> None:
    target, others, victim = with_one_broken(part)
    frame = ip4(
        tcp_segment(ACK | PSH, seq=victim.isn + 1, ack=victim.their_isn + 5, sport=6666, payload=b"x", dport=PORT)
    )
    target.host.receive(Packet(frame), target.now)
    while target.host.poll_transmit(target.now) is not None:
        pass
    check_contained(target, others, victim)


@pytest.mark.interpreted
@pytest.mark.parametrize("part", ["rtt", "snd", "rcv"])
def test_sys_01_fault_in_making_a_segment(part: str) -> None:
    target, others, victim = with_one_broken(part)
    victim.conn.probe_owed = True
    target.host.touch(victim.conn, target.now)
    if part == "rtt":  # asked only when a timer is to be armed
        victim.conn.timers.retransmit = NEVER
        victim.conn.snd.buffer.append(bytes(5000))
    while target.host.poll_transmit(target.now) is not None:
        pass
    check_contained(target, others, victim)


@pytest.mark.interpreted
@pytest.mark.parametrize("part", ["rtt", "snd"])
def test_sys_01_fault_in_a_time_out(part: str) -> None:
    target, others, victim = with_one_broken(part)
    target.now += 5 * SECOND
    target.host.on_timeout(target.now)
    while target.host.poll_transmit(target.now) is not None:
        pass
    check_contained(target, others, victim)


# Hashes.


def test_sys_02_flows_whose_numbers_hash_alike() -> None:
    """An attacker with a /64 finds thousands of addresses with one hash, if integers are hashed; bytes are seeded."""
    modulus = sys.hash_info.modulus  # 2^61 - 1
    base = int.from_bytes(bytes.fromhex("20010db8000000000000000000000000"), "big")
    hashes = set()
    target = Target(backlog=500)
    for index in range(1, 501):
        number = base + index * modulus
        src = number.to_bytes(16, "big")
        assert src[:7] == bytes.fromhex("20010db8000000")
        assert hash((number, 4000)) == hash((base, 4000))
        (answer,) = target.hit(ip6(tcp_segment(SYN, src=src, dst=US6), src=src))
        target.hit(ip6(tcp_segment(ACK, seq=1, ack=answer.tcp.seq + 1, src=src, dst=US6), src=src))
    for conn in target.host.connections():
        assert type(conn.key) is bytes
        hashes.add(hash(conn.key))
    assert len(hashes) == 500


# Memory.


@pytest.mark.parametrize("in_order", [True, False])
def test_sys_03_octets_in_frames_of_64_kib(in_order: bool) -> None:
    """Padding, for a link may add some: the payload is one octet, and what is held of it is not much more."""
    peer = Target(options=TcpOptions(receive_window=65_535)).established()
    tracemalloc.start()
    try:
        for index in range(1000):
            seq = 1 + index if in_order else 100 + index
            peer.target.hit(peer.frame(ACK, seq=seq, payload=b"x") + bytes(65_000))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held <= 2 * 1000 + 100_000  # the frames would be 65 MB


@pytest.mark.parametrize("unread", [20_000, 60_000])
def test_sys_03_full_frames_are_held_once(unread: int) -> None:
    peer = Target(options=TcpOptions(receive_window=65_535)).established()
    tracemalloc.start()
    try:
        for seq in range(1, unread, 1460):
            peer.send(ACK, seq=seq, payload=b"x" * 1460)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert unread <= peer.conn.readable <= held <= 1.4 * peer.conn.readable + 5_000


# The optimiser.


VERDICTS = """
import sys
from tests.security.malformed import verdicts
for line in verdicts():
    sys.stdout.write(line + "\\n")
"""


def verdicts_of(*options: str) -> str:
    command = [sys.executable, *options, "-c", VERDICTS]
    result = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if result.returncode:
        raise AssertionError(result.stderr)
    return result.stdout


def test_sys_06_same_verdicts_without_asserts() -> None:
    """Asserts guard nothing: `-O` and `-OO` refuse the same frames for the same reasons."""
    plain = verdicts_of()
    assert plain.count("\n") > 300
    assert verdicts_of("-O") == plain
    assert verdicts_of("-OO") == plain
