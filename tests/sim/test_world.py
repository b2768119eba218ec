"""Worlds: exact times, repeatability, and what ends a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stack.path.config import PathConfig
from stack.path.stats import Fate
from stack.sim.apps import App, Bulk, Sink
from stack.sim.errors import NotDone, SimulationError
from stack.sim.nodes import SimHost
from stack.sim.trace import Observer, Tape
from stack.sim.world import World
from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection
from stack.tcp.state import FIN_WAIT_1, SYN_SENT
from stack.wire.packet import Packet
from stack.wire.units import MS, NEVER, SECOND, US, Time

ROOT = Path(__file__).resolve().parents[2]
HOSTILE: dict[str, Any] = {
    "rate": "10mbit",
    "delay": "10ms",
    "jitter": "2ms",
    "loss": "3%",
    "duplicate": "2%",
    "reorder": "3%",
}


def pair(seed: int = 1, **path: Any) -> tuple[World, SimHost, SimHost]:
    world = World(seed)
    client, server = world.host("client"), world.host("server")
    world.pipe(client, server, **path)
    return world, client, server


def transfer(seed: int = 1, size: int = 65_536, **path: Any) -> tuple[World, App, App]:
    """Two bulk transfers, one each way, on one connection."""
    world, client, server = pair(seed, **path)
    service = server.serve(80, lambda: Bulk(size, seed=2))
    app = client.connect(server, 80, Bulk(size, seed=1))
    world.run_until(lambda: app.is_done and service.apps and service.app.is_done, "600s")
    return world, app, service.app


def test_the_ten_lines_of_the_docstring() -> None:
    world = World(seed=7)
    client, server = world.host("client"), world.host("server")
    world.pipe(client, server, rate="10mbit", delay="20ms", loss="1%")
    service = server.serve(80, Sink)
    client.connect(server, 80, Bulk(1_000_000))
    world.run_until(lambda: service.apps and service.app.is_done, limit="60s")
    report = service.app.report()
    assert report["received"] == 1_000_000
    assert report["error"] is None


def test_every_octet_arrives_both_ways_through_everything() -> None:
    for seed in range(1, 6):
        _, left, right = transfer(seed, **HOSTILE, corrupt="1%", mtu=1500)
        assert left.sent_digest == right.received_digest
        assert right.sent_digest == left.received_digest
        assert (left.received, right.received) == (65_536, 65_536)


def test_times_are_exact() -> None:
    """A SYN of 60 bytes takes 48 us at 10 Mbit/s and 20 ms on the way; its answer the same."""
    world, client, server = pair(rate="10mbit", delay="20ms")
    server.serve(80, Sink)
    app = client.connect(server, 80, Bulk(1000))
    world.run_until(lambda: app.conn.connected, "1s")
    assert world.now == 2 * (48 * US + 20 * MS)
    assert app.connected == world.now


def test_both_directions_may_differ() -> None:
    world, client, server = pair(delay="20ms", back={"delay": "30ms"})
    server.serve(80, Sink)
    app = client.connect(server, 80, Bulk(1000))
    world.run_until(lambda: app.conn.connected, "1s")
    assert world.now == 50 * MS


def test_the_way_back_may_be_a_value_of_its_own() -> None:
    world = World()
    forth, back = world.pipe(world.router("r"), world.router("s"), PathConfig(delay=MS), back=PathConfig(delay=2 * MS))
    assert (forth.pipe.config.delay, back.pipe.config.delay) == (MS, 2 * MS)
    with pytest.raises(ValueError, match="either a PathConfig or properties"):
        world.pipe(world.router("t"), world.router("u"), PathConfig(), delay="3ms")


# Repeatability. ---------------------------------------------------------------------------------------------------


def tape(seed: int, **path: Any) -> Tape:
    world, client, server = pair(seed, **path)
    recorded = Tape()
    world.observe(recorded)
    service = server.serve(80, lambda: Bulk(50_000, seed=2))
    app = client.connect(server, 80, Bulk(50_000, seed=1))
    world.run_until(lambda: app.is_done and service.apps and service.app.is_done, "600s")
    return recorded


def test_the_same_seed_gives_the_same_world() -> None:
    first, second = tape(3, **HOSTILE), tape(3, **HOSTILE)
    assert first.lines == second.lines
    assert first.digest() == second.digest()
    assert len(first.lines) > 200


def test_another_seed_gives_another_one() -> None:
    assert tape(3, **HOSTILE).digest() != tape(4, **HOSTILE).digest()


def test_a_path_may_have_a_seed_of_its_own() -> None:
    def fates(seed: int, config: PathConfig) -> list[bool]:
        world = World(seed)
        forth, _ = world.pipe(world.router("a"), world.router("b"), config)
        lost = []
        for _ in range(100):
            before = forth.pipe.stats.lost
            forth.pipe.push(Packet(bytes(40)), 0)
            lost.append(forth.pipe.stats.lost > before)
        return lost

    assert fates(1, PathConfig(loss=0.1)) != fates(2, PathConfig(loss=0.1))
    assert fates(1, PathConfig(loss=0.1, seed=5)) == fates(2, PathConfig(loss=0.1, seed=5))
    assert fates(1, PathConfig(loss=0.1, seed=5)) != fates(1, PathConfig(loss=0.1, seed=6))


def test_a_change_to_one_pipe_leaves_the_fates_in_the_others() -> None:
    def losses(**other: Any) -> list[int]:
        world = World(5)
        hosts = [world.host(name) for name in "abcd"]
        watched, _ = world.pipe(hosts[0], hosts[1], loss="20%")
        world.pipe(hosts[2], hosts[3], **other)
        for left, right in ((hosts[0], hosts[1]), (hosts[2], hosts[3])):
            right.serve(80, Sink)
            left.connect(right, 80, Bulk(50_000))
        world.run_out()
        return [watched.pipe.stats[Fate.LOST], watched.pipe.stats.entered]

    assert losses() == losses(loss="10%", delay="3ms")


SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from tests.sim.test_world import HOSTILE, tape
print(tape(3, **HOSTILE).digest())
"""


def test_the_order_of_hashing_does_not_matter() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT.format(root=str(ROOT))],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1", "4711")
    }
    assert digests == {tape(3, **HOSTILE).digest() + "\n"}


def test_watching_changes_nothing() -> None:
    def arrivals(*, watched: bool) -> list[int]:
        world, client, server = pair(3, **HOSTILE)
        if watched:
            world.observe(Observer())
            world.capture(lambda block: None)
            client.inspect = lambda host: None
        service = server.serve(80, Sink)
        client.connect(server, 80, Bulk(50_000))
        world.run_until(lambda: service.apps and service.app.is_done, "600s")
        return [world.now, world.events, *(conduit.pipe.stats.entered for conduit in world.conduits)]

    assert arrivals(watched=True) == arrivals(watched=False)


def test_without_verification_the_world_is_the_same() -> None:
    def end(*, verify: bool) -> tuple[Time, str]:
        world = World(3, verify=verify)
        client, server = world.host("client"), world.host("server")
        world.pipe(client, server, corrupt="3%", delay="5ms")
        service = server.serve(80, Sink)
        client.connect(server, 80, Bulk(50_000))
        world.run_until(lambda: service.apps and service.app.is_done, "600s")
        return world.now, service.app.received_digest

    assert end(verify=True) == end(verify=False)


# Running. ---------------------------------------------------------------------------------------------------------


def test_run_until_a_time() -> None:
    world, client, server = pair(delay="20ms")
    server.serve(80, Sink)
    app = client.connect(server, 80, Bulk(1000))
    assert world.run_until("39ms") == 39 * MS
    assert not app.conn.connected
    assert world.run_for(MS) == 40 * MS
    assert app.conn.connected


def test_what_does_not_happen_is_said() -> None:
    world, client, server = pair(delay="20ms")
    server.serve(80, Sink)
    client.connect(server, 80, Bulk(1000))
    with pytest.raises(NotDone, match=r"not done after 0\.01 s"):
        world.run_until(lambda: False, "10ms")
    assert world.now <= 10 * MS
    with pytest.raises(NotDone, match="nothing will ever happen any more"):
        world.run_until(lambda: False, NEVER)


def test_a_world_that_does_not_move_on_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stack.sim.world.MOST_AT_ONCE", 100)
    world = World()

    def again() -> None:
        world.at(world.now, again)

    world.at(5, again)
    with pytest.raises(SimulationError, match="time stands still at 5"):
        world.run_until(lambda: False)


def test_a_host_that_has_something_to_say_without_end_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stack.sim.nodes.MAX_BURST", 5)
    with pytest.raises(SimulationError, match="without end"):
        transfer()


@pytest.mark.interpreted
def test_an_exception_inside_a_host_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Connection, *args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Connection, "on_segment", broken)
    world, client, server = pair()
    server.serve(80, Sink)
    client.connect(server, 80, Bulk(1000))
    with pytest.raises(SimulationError, match="inside client") as caught:
        world.run_out()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_inspection_happens_after_every_event_of_a_host() -> None:
    world, client, server = pair(delay="1ms")
    states: list[object] = []
    client.inspect = lambda host: states.extend(conn.state for conn in host.core.connections())
    server.serve(80, Sink)
    client.connect(server, 80, Bulk(1000))
    world.run_out()
    assert list(dict.fromkeys(states)) == [SYN_SENT, FIN_WAIT_1]


# Scripts. ---------------------------------------------------------------------------------------------------------


def test_things_can_be_done_at_a_time() -> None:
    world, client, server = pair(delay="10ms", rate="10mbit")
    service = server.serve(80, Sink)
    app = client.connect(server, 80, Bulk(10_000_000))
    world.at("1s", app.conn.abort)
    world.run_until(lambda: service.apps and service.app.is_done, "10s")
    assert SECOND < world.now < SECOND + 150 * MS  # a reset waits in the queue like everything else
    assert isinstance(service.app.error, ConnectionResetError)


def test_an_idle_connection_can_be_reset_at_a_time() -> None:
    world, client, server = pair(delay="10ms")
    server.serve(80, Quiet)
    app = client.connect(server, 80, Quiet())
    world.at("1s", app.abort)
    world.run_until(lambda: app.is_done, "10s")
    assert world.now == SECOND
    world.run_until(lambda: not server.core.connections(), "10s")
    assert world.now == SECOND + 10 * MS


class Quiet(App):
    """Says nothing."""

    def step(self, conn: Connection, now: Time) -> None:
        return


def test_a_path_can_change() -> None:
    world, client, server = pair(delay="10ms")
    forth, _ = world.conduits
    service = server.serve(80, Sink)
    client.connect(server, 80, Bulk(100_000))
    world.at("15ms", lambda: world.reconfigure(forth, loss=1.0))
    world.at("3s", lambda: world.reconfigure(forth, loss=0.0))
    world.run_until(lambda: service.apps and service.app.is_done, "60s")
    assert world.now > 3 * SECOND
    assert forth.pipe.stats[Fate.LOST] > 0


def test_a_lost_packet_can_be_chosen_by_what_it_is() -> None:
    def is_syn(packet: Packet, number: int) -> bool:
        return packet.head[33] & 2 != 0 and number == 1

    world, client, server = pair(delay="10ms", drop_if=is_syn, back={"drop_if": None})
    server.serve(80, Sink)
    app = client.connect(server, 80, Bulk(10))
    world.run_until(lambda: app.conn.connected, "10s")
    assert world.now == SECOND + 20 * MS  # one initial RTO


def test_names_are_unique_and_hosts_have_one_link() -> None:
    world, client, _ = pair()
    with pytest.raises(ValueError, match="there is a client already"):
        world.host("client")
    with pytest.raises(ValueError, match="has its one link already"):
        world.pipe(client, world.host("third"))


def test_addresses_are_given_or_chosen() -> None:
    world = World()
    chosen = world.host("a")
    given = world.host("b", "10.9.0.1/24", "fd09::1/64")
    assert chosen.core.addresses == ["10.0.0.1/16", "fd00::1/64"]
    assert given.address() == bytes((10, 9, 0, 1))
    assert given.address(v6=True)[-1] == 1
    with pytest.raises(ValueError, match="c has no IPv6 address"):
        world.host("c", "10.9.0.3/24").address(v6=True)


def test_ipv6_and_a_clock_of_its_own() -> None:
    world = World(2)
    client, server = world.host("client", epoch=10**15), world.host("server", epoch=77)
    world.pipe(client, server, delay="5ms", loss="5%")
    service = server.serve(80, Sink)
    app = client.connect(server, 80, Bulk(50_000), v6=True, options=TcpOptions(send_buffer=5000))
    world.run_until(lambda: service.apps and service.app.is_done, "60s")
    assert service.app.received_digest == app.sent_digest
    assert service.app.report()["remote"].startswith("[fd00::1]:")
    assert world.run_out() < 3600 * SECOND


def test_a_connection_to_an_address() -> None:
    world, client, server = pair()
    service = server.serve(80, Sink)
    client.connect("10.0.0.2", 80, Bulk(1000))
    world.run_until(lambda: service.apps and service.app.is_done)
    assert service.app.received == 1000


def test_the_report_is_plain_data() -> None:
    import json

    world, _, _ = transfer()
    report = json.loads(json.dumps(world.report()))
    assert report["seed"] == 1
    assert set(report["pipes"]) == {"client>server", "server>client"}
    assert report["hosts"]["client"]["active_opens"] == 1
    assert [app["host"] for app in report["apps"]] == ["client", "server"]
