"""A world in virtual time: hosts, joined by pipes and routers, and everything that happens between them.

    world = World(seed=7)
    client, server = world.host("client"), world.host("server")
    world.pipe(client, server, rate="10mbit", delay="20ms", loss="1%")
    sink = server.serve(80, Sink)
    client.connect(server, 80, Bulk(1_000_000))
    world.run_until(lambda: sink.apps and sink.app.is_done, limit="60s")
    print(world.now, sink.app.report())

Nothing sleeps and nothing runs beside it: the clock, an integer count of nanoseconds from 0, jumps to whatever is due
next. A run is a function of the seed and of what was built: the same world gives the same packets at the same
nanoseconds on every machine, in every process. Each part draws from a stream of chance of its own, which depends on
the seed and on the name of the part, so that a change to one pipe leaves the fates in all others as they were.
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from stack.host.host import Host
from stack.host.trace import TraceEvent
from stack.path import quantities
from stack.path.config import PathConfig, path_config
from stack.path.pipe import Pipe
from stack.path.stats import Fate
from stack.sim.agenda import Agenda, Wakeable
from stack.sim.errors import NotDone, SimulationError
from stack.sim.nodes import Conduit, Node, Router, SimHost
from stack.sim.trace import Capture, Observer
from stack.tcp.config import TcpOptions
from stack.wire.address import parse_address, parse_cidr
from stack.wire.packet import Packet
from stack.wire.units import NEVER, SECOND, Duration, Time

MOST_AT_ONCE = 1_000_000  #: Events at one nanosecond; more is a world that does not move on.


class World:
    """The clock, the parts, and the one seed.

    Packets cross with their checksums complete and are verified where they arrive. Without `verify`, only those are
    that a pipe has corrupted, which saves an eighth of the time.
    """

    def __init__(self, seed: int = 0, *, verify: bool = True) -> None:
        self.seed = seed
        self.verify = verify
        self.agenda = Agenda()
        self.nodes: dict[str, Node] = {}
        self.conduits: list[Conduit] = []
        self.observers: list[Observer] = []
        self._routed = False

    @property
    def now(self) -> Time:
        """The present, in nanoseconds since the beginning of the world."""
        return self.agenda.now

    @property
    def events(self) -> int:
        """How many things have happened so far: arrivals, time-outs, actions."""
        return self.agenda.events

    @property
    def hosts(self) -> list[SimHost]:
        return [node for node in self.nodes.values() if isinstance(node, SimHost)]

    def stream(self, name: str, seed: int | None = None) -> random.Random:
        """A stream of chance that depends on the world's seed (or on `seed`) and on a name."""
        digest = hashlib.sha256(f"{self.seed if seed is None else seed}/{name}".encode()).digest()
        return random.Random(int.from_bytes(digest, "big"))

    # Building.

    def host(
        self,
        name: str,
        *addresses: str,
        options: TcpOptions | None = None,
        mtu: int = 1500,
        max_payload: int = 0,
        epoch: Duration = 0,
    ) -> SimHost:
        """A host; without addresses (`10.0.0.1/24`) it gets one of each family. Its clock starts at `epoch`.

        With `max_payload` it sends super-frames of so many octets at most, which its pipe cuts into segments.
        """
        number = len(self.nodes) + 1
        core = Host(secret=self.secret(name), mtu=mtu, options=options, max_payload=max_payload)
        for cidr in addresses or (_default_cidr(number, v6) for v6 in (False, True)):
            core.add_address(cidr)
        host = SimHost(name, self.agenda, core, epoch)
        self._add(host)
        if self.observers:
            self._watch_host(host)
        return host

    def secret(self, name: str) -> bytes:
        """The secret of the host with that name, from which its sequence numbers and ports come."""
        return hashlib.sha256(f"{self.seed}/secret of {name}".encode()).digest()

    def default_address(self, number: int, *, v6: bool = False) -> bytes:
        """The address that a host gets if it is the `number`th node, from 1, and none was given."""
        return parse_cidr(_default_cidr(number, v6))[0]

    def router(self, name: str) -> Router:
        """A router. It finds the way to every host by itself, the shortest in hops."""
        number = len(self.nodes) + 1
        addresses = parse_address(f"192.0.2.{number & 255}"), parse_address(f"2001:db8::{number:x}")
        router = Router(name, self.agenda, addresses)
        self._add(router)
        return router

    def _add(self, node: Node) -> None:
        if node.name in self.nodes:
            raise ValueError(f"there is a {node.name} already")
        self.nodes[node.name] = node
        self._routed = False

    def pipe(
        self,
        a: Node,
        b: Node,
        config: PathConfig | None = None,
        *,
        back: PathConfig | Mapping[str, object] | None = None,
        silent: bool = False,
        **path: object,
    ) -> tuple[Conduit, Conduit]:
        """Join two nodes; returns the two directions, from `a` to `b` first.

        The path is a `PathConfig`, or its properties by name (see `stack.path.config`). `back` says what is different
        on the way back. With `silent`, packets that are too large vanish without an ICMP message.
        """
        forth = config if config is not None else path_config(**path)
        if config is not None and path:
            raise ValueError("give either a PathConfig or properties of the path, not both")
        other = back if isinstance(back, PathConfig) else forth.replace(**(back or {}))
        return self._conduit(a, b, forth, silent), self._conduit(b, a, other, silent)

    def _conduit(self, source: Node, target: Node, config: PathConfig, silent: bool) -> Conduit:
        count = sum(conduit.source is source and conduit.target is target for conduit in self.conduits)
        draw = self.stream(f"pipe {source.name}>{target.name} {count}", config.seed).random
        pipe = Pipe(config, draw, start=self.now)
        conduit = Conduit(pipe, source, target, self.agenda, silent=silent, verify=self.verify)
        source.attach(conduit)
        self.conduits.append(conduit)
        self._routed = False
        if self.observers:
            self._watch_conduit(conduit)
        return conduit

    def reconfigure(self, conduit: Conduit, **changes: object) -> None:
        """Change properties of one direction, from now on."""
        conduit.pipe.reconfigure(conduit.pipe.config.replace(**changes), self.now)
        due = conduit.pipe.next_timeout()
        if due < NEVER:
            self.agenda.put_down(conduit, max(due, self.now))

    def at(self, time: Time | str, action: Callable[[], object]) -> None:
        """Do something at a time of the world; at once if that has passed."""
        self.agenda.put_down(_Action(action, self), max(_time(time), self.now))

    # Looking.

    def observe(self, observer: Observer) -> None:
        """Tell `observer` about everything from now on."""
        if not self.observers:
            for host in self.hosts:
                self._watch_host(host)
            for conduit in self.conduits:
                self._watch_conduit(conduit)
        self.observers.append(observer)

    def capture(self, write: Callable[[bytes], object], *hosts: SimHost) -> Capture:
        """Write the packets of these hosts as pcapng, an interface each; of all that there are, if none is named.

        What passes between two of them stands in it twice, as it left and as it came; Wireshark tells them apart with
        `frame.interface_name == "client"`.
        """
        return Capture(write, list(hosts) or self.hosts)

    def report(self) -> dict[str, Any]:
        """What has become of everything, for JSON."""
        return {
            "seed": self.seed,
            "time": self.now / SECOND,
            "events": self.events,
            "apps": [app.report() for host in self.hosts for app in host.apps],
            "pipes": {conduit.name: conduit.pipe.stats.as_dict() for conduit in self.conduits},
            "hosts": {host.name: host.core.counters.as_dict() for host in self.hosts},
        }

    def _watch_host(self, host: SimHost) -> None:
        def on_event(event: TraceEvent) -> None:
            for observer in self.observers:
                observer.on_segment(host, event, self.now)

        host.core.trace = on_event

    def _watch_conduit(self, conduit: Conduit) -> None:
        def on_fate(fate: Fate, packet: Packet, time: Time) -> None:
            for observer in self.observers:
                observer.on_fate(conduit, fate, packet, time)

        conduit.pipe.observer = on_fate

    # Running.

    def run_until(self, until: Callable[[], object] | Time | str, limit: Duration | str = 3600 * SECOND) -> Time:
        """Let things happen until a condition holds, or until a time; returns the time that it is then.

        `NotDone` if the condition does not hold after `limit` (from now), or never can because nothing will happen any
        more. The condition is looked at after every event.
        """
        if not callable(until):
            return self._run_to(_time(until))
        deadline = self.now + _time(limit)
        agenda = self.agenda
        self._find_ways()
        crowd, since = 0, -1
        while not until():
            due = agenda.next_time()
            if due == NEVER or due > deadline:
                why = (
                    "nothing will ever happen any more"
                    if due == NEVER
                    else f"not done after {_time(limit) / SECOND:g} s"
                )
                raise NotDone(why)
            agenda.step()
            crowd += 1
            if agenda.now != since:
                crowd, since = 0, agenda.now
            elif crowd > MOST_AT_ONCE:
                raise SimulationError(f"time stands still at {agenda.now}")
        return self.now

    def run_for(self, duration: Duration | str) -> Time:
        """Let so much time pass."""
        return self._run_to(self.now + _time(duration))

    def run_out(self, limit: Duration | str = 24 * 3600 * SECOND) -> Time:
        """Let everything happen that will; `NotDone` if that does not end within `limit`."""
        return self.run_until(lambda: self.agenda.next_time() == NEVER, limit)

    def _run_to(self, time: Time) -> Time:
        self._find_ways()
        agenda = self.agenda
        while agenda.next_time() <= time:
            agenda.step()
        agenda.now = max(agenda.now, time)
        return agenda.now

    def _find_ways(self) -> None:
        """Fill the routers' tables: breadth first from every host, against the direction of the pipes."""
        if self._routed:
            return
        self._routed = True
        into: dict[str, list[Conduit]] = {name: [] for name in self.nodes}
        for conduit in self.conduits:
            into[conduit.target.name].append(conduit)
        routers = [node for node in self.nodes.values() if isinstance(node, Router)]
        for router in routers:
            router.routes.clear()
        for host in self.hosts:
            addresses = [parse_cidr(cidr)[0] for cidr in host.core.addresses]
            self._find_ways_to(host, addresses, into)
        for router in routers:
            self._find_ways_to(router, list(router.addresses), into)

    def _find_ways_to(self, goal: Node, addresses: list[bytes], into: dict[str, list[Conduit]]) -> None:
        found = {goal.name: True}
        waiting = deque([goal])
        while waiting:
            for conduit in into[waiting.popleft().name]:
                source = conduit.source
                if source.name not in found and isinstance(source, Router):
                    found[source.name] = True
                    waiting.append(source)
                    for address in addresses:
                        source.routes.setdefault(address, conduit)


class _Action(Wakeable):
    """Something to do at a time."""

    __slots__ = ("_action", "_world")

    def __init__(self, action: Callable[[], object], world: World) -> None:
        super().__init__()
        self._action = action
        self._world = world

    def wake(self, now: Time) -> None:
        self._action()
        for host in self._world.hosts:  # whatever was done, and to whom: its consequences follow now
            for conn in host.core.connections():
                host.core.touch(conn, now + host.epoch)
            host.settle(now)


def _default_cidr(number: int, v6: bool) -> str:
    return f"fd00::{number:x}/64" if v6 else f"10.0.{number >> 8}.{number & 255}/16"


def _time(value: Time | str) -> Time:
    return quantities.duration(value) if isinstance(value, str) else value
