"""The pair of links in one process: order, bounds, waiting, closing."""

from __future__ import annotations

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from stack.link.memory import memory_links
from stack.link.protocol import Link, LinkClosedError
from stack.wire import ip, tcp
from stack.wire.packet import PARTIAL, VERIFY, Packet
from stack.wire.segment import ACK, Segment


def packet(text: str) -> Packet:
    return Packet(text.encode())


def frames(batch: list[Packet]) -> list[bytes]:
    return [item.frame() for item in batch]


def test_packets_cross_in_order_and_once():
    left, right = memory_links()
    for text in ("one", "two", "three"):
        assert left.write(packet(text))
    assert frames(right.read_batch(2)) == [b"one", b"two"]
    assert frames(right.read_batch(2)) == [b"three"]
    assert right.read_batch(2) == []
    assert left.read_batch(2) == []


def test_both_directions_are_separate():
    left, right = memory_links()
    assert left.write(packet("to the right"))
    assert right.write(packet("to the left"))
    assert frames(left.read_batch(9)) == [b"to the left"]
    assert frames(right.read_batch(9)) == [b"to the right"]


def test_what_crosses_is_one_frame_with_a_complete_checksum():
    left, right = memory_links()
    src, dst = bytes([10, 9, 0, 2]), bytes([10, 9, 0, 1])
    segment = Segment(80, 34000, 1, 2, ACK, 100, (b"some ", b"data"))
    header = tcp.encode(segment, tcp.address_sum(src, dst))
    head = ip.encode(src, dst, ip.PROTO_TCP, len(header) + 9) + header
    sent = Packet(head, (b"some ", memoryview(b"data")), csum=PARTIAL)
    assert left.write(sent)
    [got] = right.read_batch(9)
    assert got.parts == ()
    assert got.csum == VERIFY
    decoded = ip.decode(got.head)
    assert tcp.checksum_ok(got.head, decoded)
    assert tcp.decode(got.head, decoded.start, decoded.end).payload == b"some data"
    assert sent.csum == PARTIAL
    assert sent.head is head


def test_a_full_queue_would_block_until_something_is_read():
    left, right = memory_links(capacity=2)
    assert left.write(packet("1"))
    assert left.write(packet("2"))
    assert not left.write(packet("3"))
    assert frames(right.read_batch(1)) == [b"1"]
    assert left.write(packet("3"))
    assert frames(right.read_batch(9)) == [b"2", b"3"]


def test_a_packet_longer_than_the_mtu_is_lost_and_counted():
    left, right = memory_links(mtu=100)
    assert left.write(Packet(bytes(101)))
    assert left.write(Packet(bytes(60), (bytes(40),)))
    assert left.oversized == 1
    assert [len(item) for item in right.read_batch(9)] == [100]


@pytest.mark.parametrize("bad", [{"mtu": 67}, {"capacity": 0}])
def test_impossible_sizes_are_refused(bad):
    with pytest.raises(ValueError, match=r"is below|can't carry"):
        memory_links(**bad)


async def test_wait_readable_wakes_when_a_packet_comes():
    left, right = memory_links()
    order = []

    async def reader() -> None:
        with assert_checkpoints():
            await right.wait_readable()
        order.append("readable")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await wait_all_tasks_blocked()
        order.append("write")
        assert left.write(packet("x"))
    assert order == ["write", "readable"]
    with assert_checkpoints():
        await right.wait_readable()  # returns at once while something is there


# -- super-frames --------------------------------------------------------------------------------------------


def super_frame(size: int, gso_size: int = 1400) -> Packet:
    src, dst = bytes([10, 9, 0, 2]), bytes([10, 9, 0, 1])
    payload = bytes(number & 0xFF for number in range(size))
    header = tcp.encode(Segment(80, 34000, 1, 2, ACK, 100, (payload,)), tcp.address_sum(src, dst))
    return Packet(ip.encode(src, dst, ip.PROTO_TCP, 20 + size) + header, (payload,), gso_size, PARTIAL)


def test_a_super_frame_crosses_as_one_with_its_note():
    left, right = memory_links(max_payload=60_000)
    assert (left.max_payload, right.max_payload) == (60_000, 60_000)
    sent = super_frame(60_000)
    assert left.write(sent)
    [got] = right.read_batch(9)
    assert (got.head, got.gso_size, got.csum) == (sent.head, 1400, PARTIAL)
    assert b"".join(got.parts) == sent.parts[0]
    assert all(isinstance(part, memoryview) and part.obj is not sent.parts[0] for part in got.parts)


def test_an_ordinary_packet_keeps_its_partial_checksum_there():
    left, right = memory_links(max_payload=60_000)
    sent = super_frame(1000, 0)
    assert left.write(sent)
    [got] = right.read_batch(9)
    assert (got.frame(), got.gso_size, got.csum) == (sent.frame(), 0, PARTIAL)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(super_frame(60_001), id="too-much-payload"),
        pytest.param(super_frame(30_000, 1461), id="its-packets-would-not-fit"),
        pytest.param(super_frame(1461, 0), id="no-super-frame"),
        pytest.param(super_frame(1461, 1461), id="a-super-frame-of-one"),
        pytest.param(Packet(b""), id="nothing"),
    ],
)
def test_what_a_device_would_not_take_is_lost_and_counted(packet):
    left, right = memory_links(max_payload=60_000)
    assert left.write(packet)
    assert left.oversized == 1
    assert right.read_batch(9) == []


def test_a_super_frame_does_not_cross_without_offload():
    left, _ = memory_links()
    assert left.write(super_frame(60_000))
    assert left.oversized == 1


@pytest.mark.parametrize("max_payload", [-1, 65_456])
def test_impossible_payloads_are_refused(max_payload):
    with pytest.raises(ValueError, match="0 to 65455"):
        memory_links(max_payload=max_payload)


# -- waiting -------------------------------------------------------------------------------------------------


async def test_wait_writable_wakes_when_there_is_room():
    left, right = memory_links(capacity=1)
    order = []
    assert left.write(packet("1"))

    async def writer() -> None:
        with assert_checkpoints():
            await left.wait_writable()
        order.append("writable")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer)
        await wait_all_tasks_blocked()
        order.append("read")
        right.read_batch(1)
    assert order == ["read", "writable"]
    with assert_checkpoints():
        await left.wait_writable()


@pytest.mark.parametrize("closed_end", [0, 1])
async def test_closing_either_end_wakes_a_writer(closed_end):
    pair = memory_links(capacity=1)
    assert pair[0].write(packet("1"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair[0].wait_writable)
        await wait_all_tasks_blocked()
        pair[closed_end].close()


async def test_closing_wakes_a_reader_who_then_learns_of_it():
    left, right = memory_links()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(right.wait_readable)
        await wait_all_tasks_blocked()
        right.close()
    right.close()
    with pytest.raises(LinkClosedError, match="memory1 is closed"):
        right.read_batch(1)
    with pytest.raises(LinkClosedError):
        right.write(packet("x"))
    await right.wait_readable()
    assert left.write(packet("into the void"))
    assert left.read_batch(1) == []


def test_it_is_a_link():
    link: Link = memory_links(mtu=1400)[0]
    assert (link.mtu, link.max_payload, link.name) == (1400, 0, "memory0")
    assert "memory0" in repr(link)
