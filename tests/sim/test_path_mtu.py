"""Bulk transfers over paths that are narrower than both links, or become so: they pass, at the cost of one flight."""

from __future__ import annotations

from typing import Any

import pytest

from stack.path.stats import Fate
from stack.sim.apps import App, Bulk, Sink
from stack.sim.invariants import Conduct, Inspector
from stack.sim.nodes import Conduit, SimHost
from stack.sim.world import World
from stack.tcp.config import TcpOptions
from stack.wire.units import MINUTE, SECOND

FAMILIES = pytest.mark.parametrize("v6", [False, True], ids=["ipv4", "ipv6"])
SUPER = pytest.mark.parametrize("max_payload", [0, 60_000], ids=["plain", "super-frames"])


class Narrow:
    """Two hosts with a router between them. The far link can be narrower than the near one."""

    def __init__(self, seed: int, mtu: int, *, max_payload: int = 0, options: TcpOptions | None = None, **path: Any):
        self.world = World(seed)
        inspector = Inspector()
        self.hosts: list[SimHost] = []
        for name in ("client", "server"):
            host = self.world.host(name, options=options, max_payload=max_payload)
            host.inspect = inspector.check_host
            self.hosts.append(host)
        self.client, self.server = self.hosts
        router, far = self.world.router("near"), self.world.router("far")
        self.world.pipe(self.client, router, rate="100mbit", delay="1ms")
        self.middle: tuple[Conduit, Conduit] = self.world.pipe(
            router, far, rate="20mbit", delay="10ms", mtu=mtu, queue_packets=1000, **path
        )
        self.world.pipe(far, self.server, rate="100mbit", delay="1ms")
        self.world.observe(Conduct())

    def set_mtu(self, mtu: int) -> None:
        for conduit in self.middle:
            self.world.reconfigure(conduit, mtu=mtu)

    def refused(self) -> int:
        """Packets that a router would not forward."""
        return sum(conduit.pipe.stats[Fate.TOO_BIG] for conduit in self.middle)


@FAMILIES
@SUPER
@pytest.mark.parametrize("mtu", [1400, 1280])
@pytest.mark.parametrize("sack", [True, False])
def test_bulk_passes_both_ways(mtu: int, sack: bool, max_payload: int, v6: bool) -> None:
    narrow = Narrow(1, mtu, max_payload=max_payload, options=TcpOptions(sack=sack))
    size = 200_000
    service = narrow.server.serve(80, lambda: Bulk(size, seed=2))
    app: App = narrow.client.connect(narrow.server, 80, Bulk(size, seed=1), v6=v6)
    narrow.world.run_until(lambda: app.is_done and service.apps and service.app.is_done, "30s")
    assert app.sent_digest == service.app.received_digest
    assert service.app.sent_digest == app.received_digest
    assert narrow.world.now < 2 * SECOND
    # The initial window of each side, and nothing after that.
    assert 2 <= narrow.refused() <= 20
    for end in (app, service.app):
        info = end.conn.info(narrow.world.now)
        assert (info.pmtu, info.timeouts) == (mtu, 0)


@FAMILIES
@SUPER
def test_the_second_connection_knows(max_payload: int, v6: bool) -> None:
    narrow = Narrow(1, 1400, max_payload=max_payload)
    service = narrow.server.serve(80, Sink)
    for number in (1, 2):
        app = narrow.client.connect(narrow.server, 80, Bulk(200_000), v6=v6)
        narrow.world.run_until(lambda app=app: app.is_done, "30s")  # type: ignore[misc]
        if number == 1:
            refused = narrow.refused()
    assert narrow.refused() == refused > 0
    assert [sink.received for sink in service.apps] == [200_000, 200_000]


@FAMILIES
@SUPER
@pytest.mark.parametrize("sack", [True, False])
def test_a_path_that_becomes_narrower_on_the_way(sack: bool, max_payload: int, v6: bool) -> None:
    """It has taken long segments until then, so what the router says waits for a time-out, which is none of
    congestion."""
    narrow = Narrow(1, 0, max_payload=max_payload, options=TcpOptions(sack=sack))
    service = narrow.server.serve(80, Sink)
    app = narrow.client.connect(narrow.server, 80, Bulk(1_500_000), v6=v6)
    narrow.world.at("300ms", lambda: narrow.set_mtu(1300))
    narrow.world.run_until(lambda: service.apps and service.app.is_done, "30s")
    assert service.app.received_digest == app.sent_digest
    assert narrow.world.now < 2 * SECOND
    info = app.conn.info(narrow.world.now)
    assert (info.pmtu, info.timeouts) == (1300, 0)


@pytest.mark.parametrize("seed", range(1, 7))
@SUPER
def test_narrow_wide_and_lossy(seed: int, max_payload: int) -> None:
    narrow = Narrow(seed, 1400, max_payload=max_payload, loss="1%", reorder="2%", duplicate="1%")
    size = 400_000
    service = narrow.server.serve(80, lambda: Bulk(size, seed=2))
    app = narrow.client.connect(narrow.server, 80, Bulk(size, seed=1), v6=bool(seed & 1))
    for number, mtu in enumerate((1300, 0, 1290, 1500, 1281)):
        narrow.world.at((number + 1) * 100_000_000, lambda mtu=mtu: narrow.set_mtu(mtu))  # type: ignore[misc]
    narrow.world.run_until(lambda: app.is_done and service.apps and service.app.is_done, "120s")
    assert app.sent_digest == service.app.received_digest
    assert service.app.sent_digest == app.received_digest


def test_estimates_are_forgotten_and_nothing_is_left() -> None:
    narrow = Narrow(1, 1400)
    narrow.server.serve(80, Sink)
    app = narrow.client.connect(narrow.server, 80, Bulk(20_000))
    narrow.world.run_until(lambda: app.is_done, "10s")
    assert narrow.client.core.path_mtu(narrow.server.address()) == 1400
    narrow.world.run_for(11 * MINUTE)
    assert narrow.client.core.path_mtu(narrow.server.address()) == 1500
