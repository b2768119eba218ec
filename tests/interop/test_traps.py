"""What the kernel does at the other end of a device that a TCP of books may not expect."""

from __future__ import annotations

import itertools
import re
import socket

import pytest
import trio

from stack.host.trace import TraceEvent
from stack.runtime.stream import TcpStream
from stack.tcp.config import TcpOptions
from stack.tcp.receiver import QUICK_ACKS
from stack.wire.units import MS
from tests.interop import programs
from tests.interop.lab import Lab, content, on_a_wire, sha256
from tests.interop.links import Gate
from tests.interop.peers import gate_of, pair, pure_acks, record
from tests.interop.programs import finished, in_url

FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])


# -- ping --------------------------------------------------------------------------------------------------


@FAMILIES
@pytest.mark.parametrize("size", [0, 1, 56, 1400, "largest"])
@on_a_wire()
async def test_ping(lab: Lab, family: int, size: int | str) -> None:
    octets = size if isinstance(size, int) else lab.tun.mtu - (28 if family == 4 else 48)
    done = await finished("ping", "-c", "5", "-i", "0.01", "-W", "30", "-s", str(octets), lab.ours(family))
    assert done.status == 0, done.stderr
    assert b"5 packets transmitted, 5 received, 0% packet loss" in done.stdout
    assert b"wrong data" not in done.stdout
    ping = await lab.host.ping(lab.kernels(family), size=octets, timeout=30)
    assert ping.rtt is not None
    assert ping.hop_limit == 64


@FAMILIES
@on_a_wire()
async def test_a_ping_in_fragments_is_counted_and_not_answered(lab: Lab, family: int) -> None:
    done = await finished("ping", "-c", "1", "-W", "0.1", "-s", "1473", lab.ours(family))
    assert done.status == 1
    assert lab.host.counters.drops["fragment"] == 2


# -- windows -----------------------------------------------------------------------------------------------


@FAMILIES
@on_a_wire()
async def test_the_kernels_probes_of_our_zero_window_are_answered(lab: Lab, family: int) -> None:
    stream, peer = await pair(lab, family, options=TcpOptions(receive_window=16_384, receive_buffer=16_384))
    data = content(200_000)
    probes: list[int] = []  # for each, how many segments we have answered with

    def watch(event: TraceEvent) -> None:
        info = stream.info()
        if info.rcv_wnd == 0 and not event.outgoing and not event.segment.length:
            probes.append(0)
        elif probes and event.outgoing:
            probes[-1] += 1

    async with stream, peer, trio.open_nursery() as nursery:
        nursery.start_soon(peer.send_all, data)
        lab.on_each_segment = watch
        await lab.until(lambda: len(probes) >= 3)
        lab.on_each_segment = None
        assert probes[:-1] == [1] * (len(probes) - 1)
        # The last number is the probes that the kernel believes unanswered.
        unanswered = re.findall(r"timer:\(persist,[^,]+,(\d+)\)", programs.ss("dst", in_url(lab.ours(family))))
        assert unanswered == ["0"]
        got = b""
        while len(got) < len(data):
            got += await stream.receive_some()
    assert sha256(got) == sha256(data)


@FAMILIES
@on_a_wire()
async def test_we_probe_the_kernels_zero_window(lab: Lab, family: int) -> None:
    stream, peer = await pair(lab, family, kernel_buffer=4096)
    data = content(200_000)
    probes, answers = 0, 0

    def watch(event: TraceEvent) -> None:
        nonlocal probes, answers
        if stream.info().snd_wnd == 0:
            probes += event.outgoing
            answers += probes > 0 and not event.outgoing

    async with stream, peer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, data)
            await lab.until(lambda: stream.info().snd_wnd == 0)
            lab.on_each_segment = watch
            await lab.until(lambda: answers >= 2)
            lab.on_each_segment = None
            got = b""
            while len(got) < len(data):
                got += await peer.receive_some()
        assert probes >= 2
        assert sha256(got) == sha256(data)


@FAMILIES
@on_a_wire()
async def test_a_window_that_opens_and_closes_all_the_time(lab: Lab, family: int) -> None:
    """Small buffers on both sides, both directions at once, readers that take a little at a time."""
    stream, peer = await pair(
        lab, family, options=TcpOptions(receive_window=8192, receive_buffer=8192, nodelay=True), kernel_buffer=4096
    )
    data = content(300_000)
    got: dict[str, bytes] = {}

    async def receive(name: str, end: TcpStream | trio.SocketStream) -> None:
        got[name] = b""
        while len(got[name]) < len(data):
            got[name] += await end.receive_some(700)

    async with stream, peer:
        async with trio.open_nursery() as nursery:
            for end in (stream, peer):
                nursery.start_soon(end.send_all, data)
            nursery.start_soon(receive, "ours", stream)
            nursery.start_soon(receive, "the kernel's", peer)
        assert {name: sha256(parts) for name, parts in got.items()} == dict.fromkeys(got, sha256(data))


# -- acknowledging -----------------------------------------------------------------------------------------


@FAMILIES
@on_a_wire(options=TcpOptions(delayed_ack=0.15, nodelay=True))
async def test_our_acks_ride_on_answers(lab: Lab, family: int) -> None:
    """Once the quick ones at the start are used up, a question and its answer are two segments and no more."""
    stream, peer = await pair(lab, family)
    events = record(lab)
    async with stream, peer:
        for _ in range(200):
            await peer.send_all(b"?" * 100)
            assert len(await stream.receive_some()) == 100
            await stream.send_all(b"!" * 100)
            assert len(await peer.receive_some()) == 100
        lab.on_each_segment = None
    plain = len(pure_acks(events))
    if plain > QUICK_ACKS:
        lab.wrong.append(f"{plain} ACKs of their own for 200 questions")


@FAMILIES
@on_a_wire()
async def test_our_delayed_ack_comes_alone_in_time(lab: Lab, family: int) -> None:
    """Nobody answers: the ACK of a small segment waits for 40 ms, and the kernel does not send it again."""
    stream, peer = await pair(lab, family)
    events = record(lab)
    async with stream, peer:
        for number in range(1, QUICK_ACKS + 4):
            await peer.send_all(b"?")
            await lab.until(lambda wanted=2 * number: len(events) == wanted)  # type: ignore[misc]
        assert await stream.receive_some() == b"?" * number
    exchanges = [(events[at], events[at + 1]) for at in range(0, 2 * number, 2)]
    assert all(not question.outgoing and answer.outgoing for question, answer in exchanges)
    assert all(answer.time - question.time >= 40 * MS for question, answer in exchanges[-3:])


@FAMILIES
@on_a_wire(offload=False)
async def test_we_acknowledge_every_second_segment_of_a_bulk(lab: Lab, family: int) -> None:
    stream, peer = await pair(lab, family)
    data = content(5_000_000)
    events = record(lab)
    async with stream, peer, trio.open_nursery() as nursery:
        nursery.start_soon(peer.send_all, data)
        got = 0
        while got < len(data):
            got += len(await stream.receive_some())
    segments = sum(event.segment.size > 0 for event in events if not event.outgoing)
    assert segments >= len(data) // 1460
    assert len(pure_acks(events)) <= QUICK_ACKS + segments // 2


@FAMILIES
@on_a_wire(through=Gate)
async def test_nagle_waits_for_the_kernels_ack(lab: Lab, family: int) -> None:
    """Small writes: what is behind the first one leaves when the kernel has acknowledged that, in one segment."""
    gate = gate_of(lab)
    stream, peer = await pair(lab, family)
    events = record(lab)
    async with stream, peer:
        gate.shut()
        for _ in range(5):
            await stream.send_all(b"x" * 100)
        assert [(event.outgoing, event.segment.size) for event in events] == [(True, 100)]
        gate.open()
        got = b""
        while len(got) < 500:
            got += await peer.receive_some()
        await lab.until(lambda: stream.info().unacked == 0)
        assert [(event.outgoing, event.segment.size) for event in events[1:3]] == [(False, 0), (True, 400)]


# -- the rest ----------------------------------------------------------------------------------------------


@FAMILIES
@on_a_wire()
async def test_urgent_data_stays_in_line(lab: Lab, family: int) -> None:
    stream, peer = await pair(lab, family)
    async with stream, peer:
        await peer.socket.send(b"before ")
        await peer.socket.send(b"!", socket.MSG_OOB)
        await peer.socket.send(b" after")
        got = b""
        while len(got) < 14:
            got += await stream.receive_some()
    assert got == b"before ! after"


@FAMILIES
@on_a_wire()
async def test_the_kernels_keepalive_is_answered(lab: Lab, family: int) -> None:
    stream, peer = await pair(lab, family)
    async with stream, peer:
        events = record(lab)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        await lab.until(lambda: len(events) >= 4)
        assert [(event.outgoing, event.segment.length) for event in events[:4]] == [(False, 0), (True, 0)] * 2
        await peer.send_all(b"still here")
        assert await stream.receive_some() == b"still here"


@FAMILIES
@on_a_wire(options=TcpOptions(keepalive=True, keepalive_idle=0.6, keepalive_interval=0.6, keepalive_probes=1))
async def test_the_kernel_answers_our_keepalive(lab: Lab, family: int) -> None:
    stream, peer = await pair(lab, family)
    async with stream, peer:
        events = record(lab)
        await lab.until(lambda: len(events) >= 4)  # the kernel answers one every 500 ms, and no more
        assert [(event.outgoing, event.segment.length) for event in events[:4]] == [(True, 0), (False, 0)] * 2
        stream.set(keepalive=False)
        await peer.send_all(b"still here")
        assert await stream.receive_some() == b"still here"


@FAMILIES
@on_a_wire()
async def test_pieces_of_odd_sizes(lab: Lab, family: int) -> None:
    """Writes and reads of odd sizes that never meet a segment's edge."""
    stream, peer = await pair(lab, family)
    data = content(3_000_000)
    sizes = itertools.cycle([1, 7, 1447, 1448, 1449, 4096, 65_537, 100_003])

    async def send(end: TcpStream | trio.SocketStream) -> None:
        at = 0
        while at < len(data):
            piece = data[at : at + next(sizes)]
            await end.send_all(piece)
            at += len(piece)

    async def receive(end: TcpStream | trio.SocketStream) -> None:
        got = bytearray()
        while len(got) < len(data):
            got += await end.receive_some(next(sizes))
        assert sha256(bytes(got)) == sha256(data)

    async with stream, peer, trio.open_nursery() as nursery:
        for end in (stream, peer):
            nursery.start_soon(send, end)
            nursery.start_soon(receive, end)
