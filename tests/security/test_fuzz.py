"""Arbitrary and mutated frames into a host in the middle of its work.

The host has a listener, half-open connections, established ones with data in flight both ways, ones in every state of
closing, and TIME-WAIT. Whatever arrives: nothing raises, no fault is contained in silence, one frame draws few answers,
the tables stay within their bounds, the connections' books stay right, and at the end the host still serves.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.tcp.reassembly import MAX_RANGES
from stack.wire.packet import TRUSTED, Packet
from stack.wire.segment import ACK, FIN, PSH, SYN
from stack.wire.units import MS, SECOND
from tests.security.malformed import good_frames, mutate
from tests.security.target import SYN_OPTIONS, Peer, Target, ip4, kinds, tcp_segment, timestamps
from tests.support.world import check_connection, check_records

MAX_ANSWERS = 12  #: To one frame: a whole congestion window may open.


def busy() -> tuple[Target, list[Peer]]:
    """A host with connections in many states, all of which the attacker can name."""
    target = Target()
    for sport in range(20):
        target.hit(ip4(tcp_segment(SYN, sport=sport)))
    peers = [
        target.established(sport=4000 + index, options=timestamps(7) + SYN_OPTIONS if index % 2 else SYN_OPTIONS)
        for index in range(10)
    ]
    for peer in peers:
        peer.send(ACK, seq=1, payload=b"unread")
        peer.send(ACK, seq=50, payload=b"early")
        peer.write(bytes(20_000))
    for peer in peers[2:4]:
        peer.send(ACK | FIN, seq=7)
    for peer in peers[3:6]:
        peer.conn.close_write()
        target.host.touch(peer.conn, target.now)
        target.replies()
    closed = target.established(sport=3999)
    closed.close()
    closed.send(ACK | FIN, ack=2)
    assert target.host.time_waits == 1
    return target, [*peers, closed]


def check(target: Target) -> None:
    host = target.host
    assert not target.faults, target.faults
    for conn in host.connections():
        check_connection(conn)
        check_records(conn)
        assert conn.rcv.reassembly is None or len(conn.rcv.reassembly) <= MAX_RANGES
    assert host.half_open <= 256
    assert host.next_timeout() >= target.now


def check_still_serving(target: Target) -> None:
    target.wait(3600 * SECOND)
    check(target)
    for conn in target.host.connections():
        conn.abort()
        target.host.touch(conn, target.now)
    target.replies()
    while target.listener.accept() is not None:
        pass
    peer = target.established(sport=60_000)
    assert peer.alive
    assert kinds(peer.write(b"data")) == ["A4"]


def drain(target: Target) -> int:
    """How many packets the host sends, without looking into them."""
    count = 0
    while target.host.poll_transmit(target.now) is not None:
        count += 1
        assert count <= 2000, "output without end"
    return count


@pytest.mark.parametrize("seed", range(16))
def test_mutated_frames(seed: int) -> None:
    """With and without checksums in the way: a device that vouches for them lets everything through."""
    rnd = random.Random(f"fuzz {seed}")
    target, peers = busy()
    originals = good_frames()
    for _ in range(3000):
        if rnd.random() < 0.6:
            frame = random_segment(rnd, rnd.choice(peers))
        else:
            frame = rnd.choice(originals)
        if rnd.random() < 0.7:
            frame = mutate(frame, rnd)
        target.host.receive(Packet(frame, csum=TRUSTED if rnd.random() < 0.5 else 0), target.now)
        check(target)
        assert drain(target) <= MAX_ANSWERS
        if rnd.random() < 0.1:
            target.wait(rnd.randrange(300) * MS)
            check(target)
    check_still_serving(target)


def random_segment(rnd: random.Random, peer: Peer) -> bytes:
    """A segment of a connection with numbers near the right ones, or anywhere."""
    near = rnd.choice((0, 0, 1, -1, 7, 100, 65_535, -65_536, 1 << 30, -(1 << 31)))
    seq = peer.conn.rcv.nxt + near + rnd.randrange(-3, 4)
    ack = peer.conn.snd.una + rnd.choice((0, 0, 1, 1000, 14_600, -1, 1 << 30)) + rnd.randrange(2)
    flags = rnd.choice((ACK, ACK, ACK | PSH, ACK | FIN, rnd.randrange(256) & ~0x04, rnd.randrange(256)))
    options = peer.options if rnd.random() < 0.8 else rnd.randbytes(4 * rnd.randrange(11))
    if rnd.random() < 0.3 and len(options) <= 20:
        edges = b"".join(rnd.randbytes(4) for _ in range(4))
        options += b"\x01\x01\x05\x12" + edges
    return peer.frame(
        flags,
        seq=seq,
        ack=ack,
        payload=rnd.randbytes(rnd.choice((0, 0, 1, 10, 1400))),
        options=options[:40],
        window=rnd.choice((0, 1, 100, 65_535)),
        urgent=rnd.randrange(65_536),
    )


@given(st.lists(st.binary(max_size=120), min_size=1, max_size=20))
def test_arbitrary_octets(frames: list[bytes]) -> None:
    target = Target()
    for frame in frames:
        for csum in (0, TRUSTED):
            target.host.receive(Packet(frame, csum=csum), target.now)
            assert drain(target) <= 1
    check(target)
    assert sum(target.host.counters.drops.values()) >= 0
    target.established()


@given(st.sampled_from(good_frames()), st.data())
def test_good_frames_with_one_thing_changed(frame: bytes, data: st.DataObject) -> None:
    """Each frame that is not refused draws one answer at most; each that is, none, and is counted once."""
    at = data.draw(st.integers(0, len(frame) - 1))
    value = data.draw(st.integers(0, 255))
    changed = frame[:at] + bytes((value,)) + frame[at + 1 :]
    for csum in (0, TRUSTED):
        target = Target()
        target.host.receive(Packet(changed, csum=csum), target.now)
        answers = drain(target)
        refused = sum(target.host.counters.drops.values())
        assert answers <= 1
        assert refused <= 1
        assert answers + refused >= 1, "neither answered nor counted"
        assert not target.faults


def test_every_cut_of_every_frame() -> None:
    target = Target()
    for frame in good_frames():
        for size in range(len(frame)):
            target.host.receive(Packet(frame[:size]), target.now)
            assert drain(target) == 0, (size, frame.hex())
    assert sum(target.host.counters.drops.values()) == target.host.counters.packets_in
    check(target)
