"""A queue and an inbox as one link: which packets the others are told of, and what happens at the bounds."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from stack.link.protocol import LinkClosedError
from stack.link.shared import LONGEST, PER_SECOND, SharedLink
from stack.wire import icmp, ip
from stack.wire.packet import Packet

OURS, THEIRS = bytes([10, 9, 0, 2]), bytes([10, 9, 0, 1])
OURS6, THEIRS6 = bytes([253, *[0] * 14, 2]), bytes([253, *[0] * 14, 1])


class Queue:
    """In place of a device's queue: what was put there comes out."""

    name, mtu, max_payload = "tun0", 1500, 65_000

    def __init__(self) -> None:
        self.packets: deque[Packet] = deque()
        self.written: list[Packet] = []
        self.far, self.near = socket.socketpair()
        self.near.setblocking(False)

    def put(self, packet: Packet) -> None:
        self.packets.append(packet)
        self.far.send(b"x")

    def fileno(self) -> int:
        return self.near.fileno()

    def read_batch(self, limit: int) -> list[Packet]:
        count = min(limit, len(self.packets))
        if count:
            self.near.recv(count)
        return [self.packets.popleft() for _ in range(count)]

    def write(self, packet: Packet) -> bool:
        self.written.append(packet)
        return True

    async def wait_readable(self) -> None:
        raise LinkClosedError(9, "the link on tun0 is closed")

    def close(self) -> None:
        self.near.close()
        self.far.close()


class Crew:
    """The links of three processes, and the time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.queues = [Queue() for _ in range(3)]
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(3)]
        self.outboxes = [outbox for outbox, _ in pairs]
        self.links = []
        for number, (_, inbox) in enumerate(pairs):
            others = [box.dup() for at, box in enumerate(self.outboxes) if at != number]
            queue: Any = self.queues[number]
            self.links.append(SharedLink(queue, inbox, others, clock=lambda: self.now))

    def reads(self, number: int, limit: int = 64) -> list[Packet]:
        return self.links[number].read_batch(limit)


@pytest.fixture
def crew() -> Iterator[Crew]:
    made = Crew()
    yield made
    for link in made.links:
        link.close()
    for box in made.outboxes:
        box.close()


def message(kind: int, *, size: int = 28, options: int = 0) -> Packet:
    """An ICMP message to us, behind an IPv4 header."""
    body = icmp.encode(icmp.Icmp(kind, 0, 0, bytes(size)))
    head = ip.encode(THEIRS, OURS, ip.PROTO_ICMP, len(body))
    if options:
        head = bytes([0x45 + options]) + head[1:] + bytes(4 * options)
    return Packet(head + body)


def message6(kind: int, *, size: int = 48) -> Packet:
    body = icmp.encode(icmp.Icmp(kind, 0, 0, bytes(size)), THEIRS6, OURS6)
    return Packet(ip.encode(THEIRS6, OURS6, ip.PROTO_ICMPV6, len(body)) + body)


ERRORS = [
    message(icmp.UNREACHABLE),
    message(icmp.TIME_EXCEEDED),
    message(icmp.PARAMETER_PROBLEM, options=2),
    message6(icmp.V6_UNREACHABLE),
    message6(icmp.V6_PACKET_TOO_BIG, size=0),
]
OTHERS = [
    message(icmp.ECHO_REQUEST),
    message6(icmp.V6_ECHO_REQUEST),
    message6(icmp.V6_ROUTER_SOLICITATION),
    Packet(ip.encode(THEIRS, OURS, ip.PROTO_TCP, 20) + bytes([3] * 20)),
    Packet(ip.encode(THEIRS6, OURS6, ip.PROTO_TCP, 20) + bytes([1] * 20)),
    Packet(b"\x45"),
    Packet(bytes([0x60, *[0] * 5, ip.PROTO_ICMPV6, *[0] * 30])),
    Packet(bytes([0x4F, *[0] * 8, ip.PROTO_ICMP, *[0] * 30])),  # its header would be longer than all of it
]


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_reaches_every_process_once(crew: Crew, error: Packet) -> None:
    crew.queues[0].put(error)
    assert crew.reads(0) == [error]
    for number in (1, 2):
        [copy] = crew.reads(number)
        assert copy.frame() == error.frame()
        assert crew.links[number].counters == {"received": 1}
    assert [crew.reads(number) for number in range(3)] == [[], [], []]
    assert crew.links[0].counters == {"passed-on": 2}


@pytest.mark.parametrize("packet", OTHERS)
def test_everything_else_stays_where_it_came_out(crew: Crew, packet: Packet) -> None:
    crew.queues[1].put(packet)
    assert crew.reads(1) == [packet]
    assert (crew.reads(0), crew.reads(2)) == ([], [])


def test_the_own_queue_comes_first_and_the_limit_counts_both(crew: Crew) -> None:
    for _ in range(3):
        crew.queues[0].put(ERRORS[0])
    crew.reads(0)
    for _ in range(2):
        crew.queues[1].put(OTHERS[0])
    assert crew.reads(1, 2) == [OTHERS[0]] * 2
    crew.queues[1].put(OTHERS[1])
    assert [packet.frame() for packet in crew.reads(1, 3)] == [
        packet.frame() for packet in [OTHERS[1], *ERRORS[:1] * 2]
    ]
    assert len(crew.reads(1)) == 1


def test_a_full_inbox_loses_and_counts(crew: Crew) -> None:
    """Of which the other process notices nothing."""
    for _ in range(PER_SECOND):
        crew.queues[0].put(ERRORS[0])
        crew.reads(0)
    counters = crew.links[0].counters
    assert counters["lost"] > 0
    assert counters["passed-on"] + counters["lost"] == 2 * PER_SECOND
    while crew.reads(1):
        pass
    assert crew.links[1].counters["received"] == counters["passed-on"] // 2


def test_so_many_a_second(crew: Crew) -> None:
    def send(count: int) -> None:
        for _ in range(count):
            crew.queues[0].put(ERRORS[0])
            crew.reads(0)
            crew.reads(1)
            crew.reads(2)

    send(PER_SECOND + 5)
    assert crew.links[0].counters == {"passed-on": 2 * PER_SECOND, "held-back": 5}
    crew.now += 0.99
    send(1)
    assert crew.links[0].counters["held-back"] == 6
    crew.now += 0.01
    send(1)
    assert crew.links[0].counters == {"passed-on": 2 * PER_SECOND + 2, "held-back": 6}


def test_one_that_is_too_long_is_held_back(crew: Crew) -> None:
    crew.queues[0].put(message(icmp.UNREACHABLE, size=LONGEST - 28))
    crew.queues[0].put(message(icmp.UNREACHABLE, size=LONGEST - 27))
    assert len(crew.reads(0)) == 2
    [copy] = crew.reads(1)
    assert len(copy) == LONGEST
    assert crew.links[0].counters["held-back"] == 1


def test_a_process_that_is_gone_is_no_trouble(crew: Crew) -> None:
    crew.links[1].close()
    crew.queues[0].put(ERRORS[0])
    assert len(crew.reads(0)) == 1
    assert crew.links[0].counters == {"lost": 1, "passed-on": 1}


async def test_both_wake_the_reader(crew: Crew) -> None:
    for wake in (lambda: crew.queues[1].put(OTHERS[0]), lambda: crew.outboxes[1].send(ERRORS[0].frame())):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crew.links[1].wait_readable)
            await wait_all_tasks_blocked()
            wake()
        assert len(crew.reads(1)) == 1


async def test_closing_wakes_the_reader(crew: Crew) -> None:
    link = crew.links[0]

    async def wait() -> None:
        with pytest.raises(LinkClosedError, match="closed"):
            await link.wait_readable()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        link.close()
    await wait()
    link.close()


def test_the_rest_is_the_queues_own(crew: Crew) -> None:
    link = crew.links[2]
    assert (link.name, link.mtu, link.max_payload) == ("tun0", 1500, 65_000)
    assert link.write(ERRORS[0])
    assert crew.queues[2].written == [ERRORS[0]]
