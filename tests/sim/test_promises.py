"""What recovery promises of whole transfers: tails, single losses, reordering, and paths without any fault."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from stack.path.config import path_config
from stack.sim import App, Bulk, Sink, World
from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection
from stack.tcp.info import Info
from stack.wire.packet import Packet
from stack.wire.units import MS, SECOND, Duration, Time

ALGORITHMS = ("cubic", "newreno")
BUFFERED = TcpOptions(send_buffer=8 << 20)
WIRE, SEGMENT = 1500, 1448  #: Octets of a full packet, and of data in it (12 more without timestamps).


class Stopwatch(Sink):
    """A sink that knows how long nothing was to be read, at most."""

    def __init__(self) -> None:
        super().__init__()
        self.longest_wait: Duration = 0
        self._last: Time = -1

    def step(self, conn: Connection, now: Time) -> None:
        before = self.received
        super().step(conn, now)
        if self.received > before:
            if self._last >= 0:
                self.longest_wait = max(self.longest_wait, now - self._last)
            self._last = now


class Transfer:
    """`size` octets to a sink; which packets with data get lost is told by their numbers, from 1."""

    def __init__(
        self,
        size: int,
        options: TcpOptions,
        *,
        rate: str,
        rtt: Duration,
        queue: str,
        lose: frozenset[int] = frozenset(),
        **path: Any,
    ) -> None:
        self.world = World(seed=1)
        client, server = (self.world.host(name, options=options) for name in ("client", "server"))
        forth = path_config(rate=rate, delay=rtt // 2, queue=queue, drop_if=_data_packets(lose), **path)
        conduit, _ = self.world.pipe(client, server, forth, back=path_config(delay=rtt // 2))
        service = server.serve(80, Stopwatch)
        self.app: App = client.connect(server, 80, Bulk(size))
        self.world.run_until(lambda: service.apps and service.app.ended >= 0, "1000s")
        self.sink = service.app
        assert isinstance(self.sink, Stopwatch)
        self.took: Duration = self.sink.ended
        self.wait: Duration = self.sink.longest_wait
        self.info: Info = self.app.conn.info(self.world.now)
        self.fates = conduit.pipe.stats.as_dict()
        assert self.sink.received == size


def _data_packets(lose: frozenset[int]) -> Callable[[Packet, int], bool]:
    count = itertools.count(1)
    return lambda packet, number: len(packet) > 100 and next(count) in lose


def _octets(rate: int, time: Duration) -> int:
    """What passes at `rate` Mbit/s."""
    return rate * time // (8 * 1000)


# A tail loss is repaired by a probe, without a time-out. --------------------------------------------------------------


@pytest.mark.parametrize("congestion", ALGORITHMS)
@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.parametrize("rtt", [20 * MS, 300 * MS])
@pytest.mark.parametrize("lost", [1, 2, 5])
def test_tail_loss(congestion: str, timestamps: bool, rtt: Duration, lost: int) -> None:
    """The last of sixty segments, and the FIN with them.

    The last ACK comes a round trip after what it acknowledges, and a delayed ACK later; the probe two smoothed round
    trips after that (RFC 8985 7.2). It is the last segment, and its report, a round trip later, reveals the others:
    those are sent again one, two, and so on at a time, because nothing is in flight any more (RFC 9937 6).
    """
    options = TcpOptions(congestion=congestion, timestamps=timestamps)
    segments = 60
    size = segments * (SEGMENT if timestamps else SEGMENT + 12)
    path: dict[str, Any] = {"rate": "50mbit", "rtt": rtt, "queue": "100"}
    clean = Transfer(size, options, **path)
    tail = Transfer(size, options, lose=frozenset(range(segments - lost + 1, segments + 1)), **path)
    assert tail.info.timeouts == 0
    assert clean.info.total_retrans == 0
    assert lost <= tail.info.total_retrans <= lost + 1  # the probe may be one of them, or one more
    round_trips = {1: 3, 2: 4, 5: 6}[lost]
    assert tail.took - clean.took <= round_trips * rtt * 5 // 4 + 50 * MS, tail.info


# A single loss in a large window costs one round trip, and no time-out. -----------------------------------------------


@pytest.mark.parametrize("congestion", ALGORITHMS)
@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.parametrize(("rate", "rtt"), [(20, 100 * MS), (10, 300 * MS)])
def test_single_loss_in_a_large_window(congestion: str, timestamps: bool, rate: int, rtt: Duration) -> None:
    """The window is twice what the path itself holds, so that half of it keeps the path busy while one is repaired.

    Whoever reads waits for one round trip, with the queue that stands in it; the end comes no later than that.
    """
    bdp = _octets(rate, rtt)
    options = BUFFERED.replace(
        congestion=congestion, timestamps=timestamps, receive_window=2 * bdp, receive_buffer=2 * bdp
    )
    size = 16 * bdp
    path: dict[str, Any] = {"rate": f"{rate}mbit", "rtt": rtt, "queue": f"{2 * bdp}B"}
    clean = Transfer(size, options, **path)
    loss = Transfer(size, options, lose=frozenset((10 * bdp // SEGMENT,)), **path)
    assert loss.fates["lost"] == 1
    assert (loss.info.timeouts, loss.info.recoveries, loss.info.total_retrans) == (0, 1, 1)
    standing = 2 * rtt  # the round trip of a window of twice the path's own content
    assert clean.wait < rtt < loss.wait <= standing * 21 // 20
    assert loss.took - clean.took <= standing


# Reordering of 3 % within a quarter of the round trip costs at most a tenth. ------------------------------------------

PATHS = [(10, 20 * MS, 3), (10, 100 * MS, 5), (20, 100 * MS, 3), (3, 300 * MS, 15)]


@functools.cache
def _seconds(
    congestion: str, timestamps: bool, rate: int, rtt: Duration, size: int, window: int, reorder: str
) -> float:
    options = TcpOptions(congestion=congestion, timestamps=timestamps, send_buffer=8 << 20)
    if window:
        options = options.replace(receive_window=window, receive_buffer=window)
    path: dict[str, Any] = {"reorder": reorder, "reorder_by": rtt // 4} if reorder else {}
    queue = f"{_octets(rate, rtt)}B"
    transfer = Transfer(size, options, rate=f"{rate}mbit", rtt=rtt, queue=queue, **path)
    assert bool(transfer.fates["reordered"]) == bool(reorder)
    assert (transfer.fates["queue_full"] == 0) == bool(window)
    assert transfer.info.timeouts == 0
    return transfer.took / SECOND


@pytest.mark.parametrize("congestion", ALGORITHMS)
@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.parametrize(("rate", "rtt", "seconds"), PATHS)
def test_reordering(congestion: str, timestamps: bool, rate: int, rtt: Duration, seconds: int) -> None:
    """The peer's window keeps the queue from running over: nothing is ever lost, only late."""
    window = _octets(rate, rtt) * 3 // 2
    run = functools.partial(_seconds, congestion, timestamps, rate, rtt, _octets(rate, seconds * SECOND), window)
    assert run("3%") <= run("") / 0.9


@pytest.mark.parametrize("congestion", ALGORITHMS)
@pytest.mark.parametrize(("rate", "rtt", "seconds"), PATHS[1:3])
def test_reordering_and_a_queue_that_runs_over(congestion: str, rate: int, rtt: Duration, seconds: int) -> None:
    """The sender fills the queue of one bandwidth-delay product itself, and loses what that can't hold.

    Without timestamps. With them, a retransmission that fills a hole moves TS.Recent, and what is only late behind it
    is refused as old (RFC 7323 5.3, R1): reordering becomes loss, here as everywhere, at up to half of the throughput.
    """
    run = functools.partial(_seconds, congestion, False, rate, rtt, _octets(rate, seconds * SECOND), 0)
    assert run("3%") <= run("") / 0.9


# A clean path with a queue of one bandwidth-delay product is used. ----------------------------------------------------


@pytest.mark.parametrize("congestion", ALGORITHMS)
@pytest.mark.parametrize(("rate", "rtt"), [(4, 50 * MS), (6, 100 * MS)])
def test_clean_path(congestion: str, rate: int, rtt: Duration) -> None:
    """All of the transfer but its first two seconds of slow start; docs/utilisation.md has the whole table."""
    size = _octets(rate, 15 * SECOND)
    transfer = Transfer(
        size,
        TcpOptions(congestion=congestion, send_buffer=8 << 20),
        rate=f"{rate}mbit",
        rtt=rtt,
        queue=f"{_octets(rate, rtt)}B",
    )
    assert transfer.fates["queue_full"] > 0  # the queue is no longer than that
    assert size * WIRE / SEGMENT >= 0.95 * _octets(rate, transfer.took - 2 * SECOND)
