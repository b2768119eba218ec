"""The impaired link: real packets through the model of a path, in virtual time."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from stack.link.impair import MOST_EARLY, ImpairLink, Punctuality
from stack.link.memory import memory_links
from stack.link.protocol import Link, LinkClosedError
from stack.path.config import PathConfig, parse
from stack.path.stats import Fate
from stack.runtime.open import open_host
from stack.wire import icmp, ip
from stack.wire.packet import VERIFY, Packet
from stack.wire.units import MS, SECOND
from tests.path.frames import V4, read, sized, tcp_packet

PERFECT = PathConfig()


def now() -> float:
    return trio.current_time()


async def collect(link: Link, count: int) -> list[tuple[float, Packet]]:
    """The next packets, with the times at which they came."""
    got: list[tuple[float, Packet]] = []
    while len(got) < count:
        batch = link.read_batch(64)
        got += [(now(), packet) for packet in batch]
        if not batch:
            await link.wait_readable()
    return got


def seqs(got: list[tuple[float, Packet]]) -> list[int]:
    return [read(packet)[1].seq for _, packet in got]


@asynccontextmanager
async def running(link: ImpairLink) -> AsyncIterator[None]:
    """Somebody waits for the link, as a driver does."""

    async def wait() -> None:
        while True:
            await link.wait_readable()
            link.read_batch(64)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        yield
        nursery.cancel_scope.cancel()


async def test_a_perfect_path_is_not_there(autojump_clock: trio.testing.MockClock) -> None:
    inner, far = memory_links()
    link = ImpairLink(inner, PERFECT)
    assert (link.name, link.mtu, link.max_payload, link.drops()) == (inner.name, inner.mtu, inner.max_payload, 0)
    assert "ImpairLink" in repr(link)
    link.check_address("10.9.0.1/24")
    assert link.write(sized(100, 1))
    assert far.write(sized(100, 2))
    assert seqs(await collect(far, 1)) == [1]
    assert seqs(await collect(link, 1)) == [2]
    assert now() == 0
    with trio.testing.assert_checkpoints():
        await link.wait_writable()


async def test_both_directions_are_delayed_to_the_nanosecond(autojump_clock: trio.testing.MockClock) -> None:
    inner, far = memory_links()
    link = ImpairLink(inner, parse("delay=30ms"), parse("delay=20ms"))
    link.write(sized(100, 1))
    far.write(sized(100, 2))
    async with running(link):
        [(outbound, _)] = await collect(far, 1)
    assert outbound == pytest.approx(0.020, abs=1e-8)
    [(inbound, packet)] = await collect(link, 1)
    assert inbound == pytest.approx(0.030, abs=1e-8)
    assert read(packet)[1].seq == 2


async def test_who_waits_is_woken_for_what_is_sent_meanwhile(autojump_clock: trio.testing.MockClock) -> None:
    inner, far = memory_links()
    link = ImpairLink(inner, parse("delay=20ms"))
    async with running(link):
        await trio.sleep(5)
        link.write(sized(100, 1))
        [(when, _)] = await collect(far, 1)
    assert when == pytest.approx(5.020, abs=1e-8)


class LateLink:
    """Trio over epoll: who waits for a deadline wakes up at the next whole millisecond."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.name, self.mtu, self.max_payload = link.name, link.mtu, link.max_payload
        self.read_batch, self.write, self.close = link.read_batch, link.write, link.close
        self.wait_writable = link.wait_writable

    async def wait_readable(self) -> None:
        try:
            await self.link.wait_readable()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.sleep_until(math.ceil(now() * 1000 + 1e-9) / 1000)
            raise


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("aqm", ["droptail", "codel"])
async def test_rate_and_mean_delay_of_a_long_run(autojump_clock: trio.testing.MockClock, late: bool, aqm: str) -> None:
    """Both right within 2 %, though single packets are up to a millisecond off."""
    inner, far = memory_links(capacity=10_000)
    link = ImpairLink(LateLink(inner) if late else inner, parse(f"rate=50mbit,delay=20ms,jitter=5ms,aqm={aqm}"), seed=1)
    count, size = 1000, 1500
    rnd = random.Random(5)
    sent: list[float] = []
    got: list[tuple[float, Packet]] = []

    async def send() -> None:  # three quarters of the rate, at odd times
        for number in range(count):
            await trio.sleep(rnd.random() * 0.00064)
            sent.append(now())
            link.write(sized(size, number))

    async with running(link), trio.open_nursery() as nursery:
        nursery.start_soon(send)
        got += await collect(far, count)
    delays = [when - sent[number] for (when, _), number in zip(got, seqs(got), strict=True)]
    # The model says how long the packets wait for each other; the same packets through the pipe alone:
    assert sum(delays) / count == pytest.approx(await exact_mean(sent, f"rate=50mbit,delay=20ms,aqm={aqm}"), rel=0.02)
    assert link.outbound.stats.delivered == count


async def exact_mean(sent: list[float], line: str) -> float:
    from stack.path.pipe import Pipe

    pipe = Pipe(parse(line), random.Random(1).random)
    total, count = 0.0, 0
    times = {}
    for number, when in enumerate(sent):
        times[number] = when
        pipe.push(sized(1500, number), round(when * SECOND))
    while count < len(sent):
        due = pipe.next_timeout()
        for packet in pipe.pop(due):
            total += due / SECOND - times[read(packet)[1].seq]
            count += 1
    return total / count


@pytest.mark.parametrize("late", [False, True])
async def test_a_saturated_path_runs_at_its_rate(autojump_clock: trio.testing.MockClock, late: bool) -> None:
    inner, far = memory_links(capacity=10_000)
    link = ImpairLink(LateLink(inner) if late else inner, parse("rate=50mbit,queue=10MB"))
    async with running(link):
        for number in range(1500):
            link.write(sized(1500, number))
        got = await collect(far, 1500)
    assert got[-1][0] == pytest.approx(1500 * 1500 * 8 / 50e6, rel=0.02)
    assert seqs(got) == list(range(1500))


def test_punctuality_finds_the_mean() -> None:
    rnd = random.Random(1)
    punctuality = Punctuality()
    errors = []
    for _ in range(5000):
        late = int(rnd.random() * MS) - punctuality.lead
        errors.append(late)
        punctuality.on_release(late)
    assert abs(sum(errors[500:]) / len(errors[500:])) < 0.02 * MS
    for _ in range(5000):
        punctuality.on_release(50 * MS)  # a machine that is far too slow: don't send everything early for it
    assert punctuality.lead == MOST_EARLY
    for _ in range(5000):
        punctuality.on_release(-MS)
    assert punctuality.lead == 0


async def test_the_same_seed_loses_the_same_packets(autojump_clock: trio.testing.MockClock) -> None:
    async def fates(line: str, seed: int | None = None) -> list[int]:
        inner, far = memory_links()
        link = ImpairLink(inner, parse(line), seed=seed)
        for number in range(300):
            link.write(sized(60, number))
        return seqs([(0, packet) for packet in far.read_batch(1000)])

    assert await fates("loss=10%,duplicate=10%,seed=7") == await fates("loss=10%,duplicate=10%,seed=7")
    assert await fates("loss=10%", 7) == await fates("loss=10%,seed=7") != await fates("loss=10%,seed=8")
    inner, _ = memory_links()
    chosen = ImpairLink(inner, parse("loss=10%")).seed
    assert await fates("loss=10%", chosen) == await fates("loss=10%", chosen)


async def test_the_directions_have_chances_of_their_own(autojump_clock: trio.testing.MockClock) -> None:
    inner, far = memory_links()
    link = ImpairLink(inner, parse("loss=30%,seed=1"))
    for number in range(200):
        link.write(sized(60, number))
        far.write(sized(60, number))
    outbound = seqs([(0, packet) for packet in far.read_batch(1000)])
    inbound = seqs([(0, packet) for packet in link.read_batch(1000)])
    assert outbound != inbound
    assert link.outbound.stats[Fate.LOST] == 200 - len(outbound)
    assert link.inbound.stats[Fate.LOST] == 200 - len(inbound)


async def test_super_frames_are_split_and_one_bit_of_one_packet_is_flipped(
    autojump_clock: trio.testing.MockClock,
) -> None:
    inner, far = memory_links()
    link = ImpairLink(inner, PERFECT, parse("corrupt=100%"))
    link.write(tcp_packet(b"x" * 3000, gso_size=1000))
    sent = link.outbound.stats
    assert (sent.entered, sent[Fate.CORRUPTED]) == (3, 3)
    whole = ImpairLink(memory_links()[0], PERFECT)
    whole.write(tcp_packet(b"x" * 3000, gso_size=1000))
    for packet in far.read_batch(9):
        assert packet.csum == VERIFY
        with pytest.raises(ValueError, match=r"."):
            read(packet)


async def test_a_super_frame_from_the_device_is_split_before_anything_befalls_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    inner, far = memory_links(max_payload=60_000)
    link = ImpairLink(inner, PERFECT)
    assert link.max_payload == 60_000
    assert far.write(tcp_packet(b"x" * 30_000, gso_size=1000))
    got = link.read_batch(99)
    assert link.inbound.stats.entered == len(got) == 30
    assert {(packet.csum, packet.gso_size) for packet in got} == {(VERIFY, 0)}
    assert b"".join(read(packet)[1].payload for packet in got) == b"x" * 30_000


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("outbound", [False, True])
async def test_a_packet_too_big_is_answered(autojump_clock: trio.testing.MockClock, v6: bool, outbound: bool) -> None:
    inner, far = memory_links(mtu=9000)
    link = ImpairLink(inner, parse("mtu=1300"))
    sender: Link = link if outbound else far
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 1)
        if not outbound:
            nursery.start_soon(link.wait_readable)
            await trio.testing.wait_all_tasks_blocked()
        sender.write(tcp_packet(b"x" * 2000, v6=v6))
        if not outbound:
            await trio.sleep(0.1)
        [(_, answer)] = await collect(sender, 1)
        nursery.cancel_scope.cancel()
    header = ip.decode(answer.frame())
    message = icmp.decode(answer.frame()[header.start :], header.src, header.dst)
    assert message.rest == 1300
    assert icmp.quoted(message.payload, header.version).dst_port == 80
    assert v6 or header.dst == V4[0]


async def test_an_error_about_nothing_is_not_sent(autojump_clock: trio.testing.MockClock) -> None:
    inner, far = memory_links(mtu=9000)
    link = ImpairLink(inner, parse("mtu=100"))
    link.write(Packet(b"\x60" * 200))
    assert link.read_batch(9) == []
    assert far.read_batch(9) == []


async def test_an_inner_link_that_would_block_holds_the_writer_up(autojump_clock: trio.testing.MockClock) -> None:
    inner, far = memory_links(capacity=2)
    link = ImpairLink(inner, PERFECT)
    taken = 0
    while link.write(sized(60, taken)):
        taken += 1
    assert taken == 3  # two in the inner link, one that it refused
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.wait_writable)
        await trio.testing.wait_all_tasks_blocked()
        assert seqs(await collect(far, 2)) == [0, 1]
    assert link.write(sized(60, 3))
    assert seqs(await collect(far, 2)) == [2, 3]


async def test_what_an_inner_link_refused_is_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    inner, far = memory_links(capacity=2)
    link = ImpairLink(inner, parse("delay=10ms"))
    for number in range(9):
        assert link.write(sized(60, number))
    async with running(link):
        assert seqs(await collect(far, 9)) == list(range(9))
    assert 0.010 < now() < 0.020


async def test_the_end_of_the_inner_link_comes_after_what_has_arrived(autojump_clock: trio.testing.MockClock) -> None:
    inner, far = memory_links()
    link = ImpairLink(inner, parse("duplicate=100%"))
    far.write(sized(60, 1))
    await link.wait_readable()
    inner.close()
    assert seqs([(0, packet) for packet in link.read_batch(1)]) == [1]
    assert seqs([(0, packet) for packet in link.read_batch(1)]) == [1]
    await link.wait_readable()
    with pytest.raises(LinkClosedError):
        link.read_batch(1)
    with pytest.raises(LinkClosedError):
        link.write(sized(60))
    await link.wait_writable()


async def test_writing_to_an_ended_link_is_noticed(autojump_clock: trio.testing.MockClock) -> None:
    inner, _ = memory_links()
    link = ImpairLink(inner, PERFECT)
    inner.close()
    link.write(sized(60))
    with pytest.raises(LinkClosedError):
        link.write(sized(60))


async def test_closing_wakes_who_waits(autojump_clock: trio.testing.MockClock) -> None:
    inner, _ = memory_links()
    link = ImpairLink(inner, parse("delay=10s"))
    link.write(sized(60))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.wait_readable)
        await trio.testing.wait_all_tasks_blocked()
        link.close()
        link.close()
    assert now() == 0


@pytest.mark.parametrize("line", ["", "loss=2%,delay=20ms,jitter=5ms,rate=50mbit,reorder=1%,duplicate=1%,corrupt=1%"])
async def test_hosts_talk_through_it(autojump_clock: trio.testing.MockClock, line: str) -> None:
    left, right = memory_links()
    impaired = ImpairLink(left, parse(line), seed=7)
    data = random.Random(1).randbytes(300_000)
    async with (
        open_host(impaired, addresses=["10.9.0.1/24"]) as client,
        open_host(right, addresses=["10.9.0.2/24"]) as server,
        trio.open_nursery() as nursery,
    ):
        received = hashlib.sha256()

        async def handler(stream: trio.abc.HalfCloseableStream) -> None:
            async for chunk in stream:
                received.update(chunk)
            await stream.send_all(received.digest())

        await nursery.start(server.serve_tcp, handler, 80)
        async with await client.open_tcp_stream("10.9.0.2", 80) as stream:
            await stream.send_all(data)
            await stream.send_eof()
            answer = b"".join([chunk async for chunk in stream])
        nursery.cancel_scope.cancel()
    assert answer == hashlib.sha256(data).digest()
    if line:
        assert impaired.outbound.stats.lost > 0
        assert now() > 0.1
