"""Packets that arrive in pieces: headers in one buffer, the payload in others."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.host import arrival
from stack.tcp.config import TcpOptions
from stack.wire import ip
from stack.wire.drop import Drop, WireError
from stack.wire.offload import complete
from stack.wire.packet import PARTIAL, TRUSTED, VERIFY, Packet
from stack.wire.segment import Segment
from stack.wire.units import SECOND
from tests.path.frames import tcp_packet
from tests.support import states
from tests.support.peer import Peer
from tests.support.user import User

DATA = bytes(range(256)) * 12
SIZE = len(DATA)


def apart(packet: Packet, *cuts: int, csum: int = TRUSTED, gso_size: int = 0, padding: bytes = b"") -> Packet:
    """A whole packet with its headers in `head`, and its payload cut where told."""
    frame = packet.frame()
    header = ip.decode(frame)
    text = header.start + (frame[header.start + 12] >> 4 << 2)
    payload = memoryview(frame)[text:]
    edges = [0, *sorted(min(cut, len(payload)) for cut in cuts), len(payload)]
    parts = tuple(payload[left:right] for left, right in pairwise(edges))
    return Packet(frame[:text], (*parts, padding) if padding else parts, gso_size, csum)


def taken(packet: Packet) -> Segment:
    """As a host takes a packet."""
    whole = arrival.prepared(packet)
    return arrival.segment(whole, ip.decode(whole.head, len(whole)))


def sample(v6: bool = False, data: bytes = DATA) -> Packet:
    return Packet(complete(tcp_packet(data, v6=v6)).frame())


# The value.


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("csum", [TRUSTED, PARTIAL])
def test_buffers_become_the_text(v6: bool, csum: int) -> None:
    """Without a copy of them."""
    packet = apart(sample(v6), 1000, 1001, csum=csum, gso_size=500)
    seg = taken(packet)
    assert (seg.payload, seg.size, seg.gso_size, seg.segments) == (DATA, SIZE, 500, -(-SIZE // 500))
    assert [len(part) for part in seg.parts] == [1000, 1, SIZE - 1001]
    for part, given_part in zip(seg.parts, packet.parts, strict=True):
        assert isinstance(part, memoryview)
        assert isinstance(given_part, memoryview)
        assert part.obj is given_part.obj


@given(v6=st.booleans(), cuts=st.lists(st.integers(0, SIZE), max_size=4), padding=st.binary(max_size=9))
def test_apart_is_the_same_as_whole(v6: bool, cuts: list[int], padding: bytes) -> None:
    whole = sample(v6)
    expected = taken(Packet(whole.frame(), csum=TRUSTED))
    got = taken(apart(whole, *cuts, padding=padding))
    for name in ("src_port", "dst_port", "seq", "ack", "flags", "window", "size", "tsval", "tsecr", "payload"):
        assert getattr(got, name) == getattr(expected, name), name


@given(cut=st.integers(0, SIZE - 1), head=st.integers(0, 60))
def test_padding_may_begin_in_any_buffer(cut: int, head: int) -> None:
    """The IP header says where the packet ends; a link may have handed over more than that."""
    small = DATA[:head]
    packet = apart(sample(data=small), cut)
    padded = Packet(packet.head, (*packet.parts, b"padding", memoryview(b"and more")), csum=TRUSTED)
    assert taken(padded).payload == small
    behind = Packet(packet.head, (small + b"padding",), csum=TRUSTED)
    assert taken(behind).payload == small
    inside = Packet(packet.frame() + b"padding", (b"and more",), csum=TRUSTED)
    assert taken(inside).payload == small


@pytest.mark.parametrize("missing", [1, 1000, SIZE])
def test_less_than_the_header_promises_is_refused(missing: int) -> None:
    packet = apart(sample())
    short = Packet(packet.head, (packet.parts[0][: SIZE - missing],), csum=TRUSTED)
    with pytest.raises(WireError) as caught:
        taken(short)
    assert caught.value.reason is Drop.TRUNCATED


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("place", [-1, 0, 1500])
def test_checksum_of_pieces_is_verified_if_nobody_has(v6: bool, place: int) -> None:
    frame = bytearray(sample(v6).frame())
    assert taken(apart(Packet(bytes(frame)), 700, csum=VERIFY)).payload == DATA
    frame[len(frame) - SIZE + place] ^= 1
    with pytest.raises(WireError) as caught:
        taken(apart(Packet(bytes(frame)), 700, csum=VERIFY))
    assert caught.value.reason is Drop.BAD_CHECKSUM


@given(v6=st.booleans(), cut=st.integers(0, 200), csum=st.sampled_from([VERIFY, TRUSTED]))
def test_headers_may_be_cut_anywhere(v6: bool, cut: int, csum: int) -> None:
    """`prepared` gives all the headers in `head`, wherever the link has cut."""
    frame = sample(v6).frame()
    packet = Packet(frame[:cut], (memoryview(frame)[cut:],), csum=csum)
    assert taken(packet).payload == DATA


# A host.


def connection(v6: bool = False) -> tuple[Peer, User]:
    return states.established(v6=v6, sack=True, options=TcpOptions(receive_window=200_000, receive_buffer=400_000))


@pytest.mark.parametrize("v6", [False, True])
def test_a_super_frame_in_pieces_is_received(v6: bool) -> None:
    peer, user = connection(v6)
    line = "P. 1:40001(40000) ack 1"
    before, counted = user.conn.info(peer.now), peer.host.counters.segments_in
    peer.bench.deliver(apart(peer.packet(line), 1000, 39_999, gso_size=1000))
    user.reads(40_000)
    peer.takes()
    info = user.conn.info(peer.now)
    assert info.segs_in - before.segs_in == 40
    assert info.data_segs_in - before.data_segs_in == 40
    assert peer.host.counters.segments_in - counted == 40
    assert info.bytes_received == 40_000


def test_a_part_of_a_super_frame_that_was_here_before_is_cut_off() -> None:
    peer, user = connection()
    peer.sends("P. 1:1501(1500) ack 1", "P. 6001:7001(1000) ack 1")
    peer.takes()
    peer.bench.deliver(apart(peer.packet("P. 1:9001(9000) ack 1"), 10, 1500, 7000, gso_size=1000))
    assert [seen.ack for seen in peer.takes()][-1] == 9001
    user.reads(9000)


def test_wrong_pieces_are_counted_and_nothing_else_happens() -> None:
    peer, user = connection()
    packet = apart(peer.packet("P. 1:3001(3000) ack 1"), 1000)
    short = Packet(packet.head, packet.parts[:1], csum=TRUSTED)
    wrong = Packet(packet.head, (bytes(1000), packet.parts[1]), csum=VERIFY)
    drops = peer.host.counters.by_reason
    before = dict(drops)
    peer.host.receive(short, peer.now)
    peer.host.receive(wrong, peer.now)
    peer.bench.flush()
    peer.sees_nothing(during=SECOND)
    assert drops.get(Drop.TRUNCATED, 0) == before.get(Drop.TRUNCATED, 0) + 1
    assert drops.get(Drop.BAD_CHECKSUM, 0) == before.get(Drop.BAD_CHECKSUM, 0) + 1
    assert user.conn.readable == 0
    peer.bench.deliver(packet)
    user.reads(3000)


def test_a_ping_in_pieces_is_answered() -> None:
    """Only TCP is taken apart."""
    peer, _ = connection()
    body = bytes((8, 0, 0xF7, 0xFF)) + bytes(4)
    head = ip.encode(peer.address, peer.host_address, ip.PROTO_ICMP, len(body))
    peer.host.receive(Packet(head + body[:3], (body[3:],), csum=TRUSTED), peer.now)
    peer.bench.flush()
    assert peer.bench.icmp().type == 0
