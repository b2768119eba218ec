"""Worlds whose hosts send super-frames, which the pipe cuts: the same bytes, the same use of a path, no flood."""

from __future__ import annotations

from typing import Any

import pytest

from stack.host.trace import TraceEvent
from stack.path.stats import Fate
from stack.sim import App, Bulk, Sink, World
from stack.sim.nodes import SimHost
from stack.sim.scenario import ScenarioError, load
from stack.sim.trace import Observer
from stack.tcp.config import TcpOptions
from stack.wire.segment import CWR, FIN, PSH, Segment
from stack.wire.units import MS, Time

LINK = 65_000
BUFFERED = TcpOptions(send_buffer=8 << 20)


class Listening(Observer):
    """What the client sends, and what the server hears: segments with text or a FIN."""

    def __init__(self) -> None:
        self.sent: list[tuple[Time, Segment]] = []
        self.heard: list[tuple[Time, Segment]] = []

    def on_segment(self, host: SimHost, event: TraceEvent, now: Time) -> None:
        if event.segment.size or event.segment.flags & FIN:
            if host.name == "client" and event.outgoing:
                self.sent.append((now, event.segment))
            elif host.name == "server" and not event.outgoing:
                self.heard.append((now, event.segment))


class Transfer:
    """`size` octets from the client to the server."""

    def __init__(
        self, max_payload: int, size: int = 2_000_000, *, options: TcpOptions = BUFFERED, seed: int = 1, **path: Any
    ) -> None:
        world = World(seed)
        client = world.host("client", options=options, max_payload=max_payload)
        server = world.host("server", options=options)
        self.forth, _ = world.pipe(client, server, **path)
        self.wire = Listening()
        world.observe(self.wire)
        service = server.serve(80, Sink)
        self.app: App = client.connect(server, 80, Bulk(size))
        world.run_until(lambda: service.apps and service.app.ended >= 0, "1000s")
        self.took: Time = service.app.ended
        self.info = self.app.conn.info(world.now)
        assert service.app.received == size
        assert service.app.received_digest == self.app.sent_digest

    @property
    def largest(self) -> int:
        """Segments in the largest super-frame."""
        return max(segment.segments for _, segment in self.wire.sent)


@pytest.mark.parametrize("rtt", ["0", "5ms", "40ms"])
@pytest.mark.parametrize("hardship", [{}, {"loss": "2%"}, {"loss": "5%", "burst": 4}, {"reorder": "3%"}])
@pytest.mark.parametrize("timestamps", [False, True])
def test_every_octet_arrives(rtt: str, hardship: dict[str, Any], timestamps: bool) -> None:
    """Through the same losses, too, though they befall other packets."""
    transfer = Transfer(LINK, options=BUFFERED.replace(timestamps=timestamps), rate="100mbit", delay=rtt, **hardship)
    assert transfer.largest > 1
    for _, segment in transfer.wire.heard:
        assert segment.size <= 1460 - 12 * timestamps


@pytest.mark.parametrize(("rate", "rtt"), [("10mbit", 20 * MS), ("100mbit", 20 * MS), ("100mbit", 100 * MS)])
@pytest.mark.parametrize("congestion", ["cubic", "newreno"])
def test_a_path_is_used_as_well(rate: str, rtt: int, congestion: str) -> None:
    """The time of a transfer is the same within a few percent, whoever cuts."""
    took = [
        Transfer(
            max_payload,
            4_000_000,
            options=BUFFERED.replace(congestion=congestion),
            rate=rate,
            delay=rtt // 2,
            queue=f"{rtt // MS}ms",
        ).took
        for max_payload in (0, LINK)
    ]
    assert took[1] == pytest.approx(took[0], rel=0.06)


@pytest.mark.parametrize("seed", range(3))
def test_losses_cost_the_same(seed: int) -> None:
    plain, bursts = (
        Transfer(max_payload, 4_000_000, seed=seed, rate="50mbit", delay="10ms", queue="20ms", drop_every=97)
        for max_payload in (0, LINK)
    )
    assert bursts.took == pytest.approx(plain.took, rel=0.15)
    lost = bursts.forth.pipe.stats.lost
    assert lost > 20
    assert bursts.info.total_retrans <= lost + bursts.info.timeouts + 5  # nothing but what was lost is sent again


def test_queue_of_a_slow_path_is_not_hit_by_64_kib() -> None:
    """Bursts are a millisecond of the connection's rate, and two segments at least."""
    transfer = Transfer(LINK, 3_000_000, rate="10mbit", delay="20ms", queue="200ms")
    assert transfer.largest == 2
    assert transfer.forth.pipe.stats[Fate.QUEUE_FULL] == 0 or transfer.info.recoveries <= 3


def test_short_queue_of_a_fast_path() -> None:
    """A queue of 20 packets is enough for what it was enough for without super-frames."""
    drops = []
    for max_payload in (0, LINK):
        transfer = Transfer(max_payload, 3_000_000, rate="20mbit", delay="10ms", queue=20)
        drops.append(transfer.forth.pipe.stats[Fate.QUEUE_FULL])
    assert drops[1] <= 1.25 * drops[0] + 5


def test_a_fast_path_gets_large_super_frames() -> None:
    """Where ACKs come in batches, as they do on a device, the window opens by as much at once."""
    transfer = Transfer(LINK, 10_000_000, delay="50us")
    assert transfer.largest == LINK // 1448
    assert len(transfer.wire.sent) < transfer.info.data_segs_out / 8


def test_flags_are_on_the_piece_that_they_belong_to() -> None:
    """CWR on the first piece after a reduction, FIN and PSH on the last (RFC 3168 6.1.2)."""
    options = BUFFERED.replace(ecn="request")
    transfer = Transfer(LINK, 4_000_000, options=options, rate="100mbit", delay="5ms", aqm="red", ecn=True)
    sent, heard = ([segment for _, segment in segments] for segments in (transfer.wire.sent, transfer.wire.heard))
    told = [segment for segment in sent if segment.flags & CWR]
    assert told
    assert any(segment.segments > 1 for segment in told)
    assert sum(bool(segment.flags & CWR) for segment in heard) == len(told)
    assert {segment.seq for segment in heard if segment.flags & CWR} == {segment.seq for segment in told}
    assert sum(segment.segments for segment in sent) == len(heard)
    ends = {(segment.seq + segment.size) % (1 << 32) for segment in sent if segment.flags & PSH}
    assert {(segment.seq + segment.size) % (1 << 32) for segment in heard if segment.flags & PSH} == ends
    assert sum(bool(segment.flags & FIN) for segment in heard) == 1


@pytest.mark.parametrize("nodelay", [False, True])
def test_segments_are_counted_as_on_the_wire(nodelay: bool) -> None:
    transfer = Transfer(LINK, 1_234_567, options=BUFFERED.replace(nodelay=nodelay), rate="1gbit", delay="100us")
    assert transfer.info.data_segs_out == len([segment for _, segment in transfer.wire.heard if segment.size])
    assert transfer.forth.pipe.stats.entered == transfer.info.segs_out


def test_the_same_world_twice() -> None:
    first, second = (Transfer(LINK, seed=5, rate="50mbit", delay="3ms", loss="2%") for _ in range(2))
    assert first.took == second.took
    assert [time for time, _ in first.wire.sent] == [time for time, _ in second.wire.sent]


@pytest.mark.parametrize("max_payload", [-1, 65_456, 1 << 20])
def test_what_no_packet_holds_is_refused(max_payload: int) -> None:
    with pytest.raises(ValueError, match="super-frame"):
        World().host("client", max_payload=max_payload)


def test_scenarios_have_hosts_with_super_frames() -> None:
    text = (
        "[hosts.a]\nmax_payload = 20000\n[hosts.b]\n"
        '[[pipes]]\nbetween = ["a", "b"]\n'
        '[[flows]]\nfrom = "a"\nto = "b"\nclient = { app = "bulk", size = "100kB" }\n'
    )
    scenario = load(text)
    wire = Listening()
    scenario.world.observe(wire)
    assert scenario.run()
    assert [host.core.max_payload for host in scenario.world.hosts] == [20_000, 0]
    with pytest.raises(ScenarioError, match="super-frame"):
        load(text.replace("20000", "70000"))
