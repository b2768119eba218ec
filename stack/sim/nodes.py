"""What a world is made of: hosts, routers, and the pipes that join them.

A `SimHost` is what a driver is in the real world: it feeds the sans-IO `Host` with what arrives and with time, lets the
applications act that are concerned, and sends what there is to send, until nobody has anything to do at this instant.
A `Router` forwards: it counts the hop limit down, knows the way to every host, and answers what it can't forward with
ICMP. A `Conduit` is one direction of a pipe between two of them.

Packets cross as they would a wire, with their checksums complete, and are verified where they arrive. In a world that
does not ask for this, a checksum stays partial and is completed only in a packet that gets corrupted; the others arrive
as trusted, since no wire was there to damage them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from stack.host.host import Host
from stack.path.answers import time_exceeded, too_big
from stack.path.packets import hop_limit, with_hop_limit
from stack.path.pipe import Pipe
from stack.sim.agenda import Agenda, Wakeable
from stack.sim.errors import SimulationError
from stack.wire.address import parse_address, parse_cidr
from stack.wire.offload import complete
from stack.wire.packet import PARTIAL, TRUSTED, Packet
from stack.wire.units import NEVER, Duration, Time

if TYPE_CHECKING:
    from stack.sim.apps import App, Service
    from stack.tcp.config import TcpOptions
    from stack.tcp.connection import Connection

MAX_BURST = 100_000  #: Packets that a host may send at one instant; more is a loop without end.

Tap = Callable[[Packet, bool, Time], None]
"""Sees a host's packets: packet, whether it leaves, now."""


class Node(Wakeable):
    """Something with a name where pipes end."""

    __slots__ = ("agenda", "name")

    def __init__(self, name: str, agenda: Agenda) -> None:
        super().__init__()
        self.name = name
        self.agenda = agenda

    def receive(self, packets: list[Packet], now: Time) -> None:
        """Packets arrive, at least one, at the same instant."""
        raise NotImplementedError

    def attach(self, conduit: Conduit) -> None:
        """A pipe that leads away from here."""
        raise NotImplementedError

    def on_too_big(self, packet: Packet, mtu: int, now: Time, conduit: Conduit) -> None:
        """A packet that this node sent does not fit the pipe."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class Conduit(Wakeable):
    """One direction between two nodes: a `Pipe` with its ends and its place in time."""

    __slots__ = ("agenda", "name", "pipe", "silent", "source", "target", "verify")

    def __init__(self, pipe: Pipe, source: Node, target: Node, agenda: Agenda, *, silent: bool, verify: bool) -> None:
        super().__init__()
        self.name = f"{source.name}>{target.name}"
        self.pipe = pipe
        self.source = source
        self.target = target
        self.agenda = agenda
        self.silent = silent  # too large a packet vanishes without an ICMP message
        self.verify = verify
        pipe.on_too_big = self._on_too_big

    def send(self, packet: Packet, now: Time) -> None:
        """A packet enters."""
        self.pipe.push(complete(packet) if self.verify else packet, now)
        due = self.pipe.next_timeout()
        if due < self.due:
            self.agenda.put_down(self, due)

    def wake(self, now: Time) -> None:
        packets = self.pipe.pop(now)
        due = self.pipe.next_timeout()
        if due < NEVER:
            self.agenda.put_down(self, due)
        if packets:
            self.target.receive(packets, now)

    def _on_too_big(self, packet: Packet, mtu: int, now: Time) -> None:
        if not self.silent:
            self.source.on_too_big(packet, mtu, now, self)

    def __repr__(self) -> str:
        return f"<Conduit {self.name}>"


class SimHost(Node):
    """A host of a world. `core` is the sans-IO `Host`; its clock runs ahead of the world's by `epoch`."""

    __slots__ = ("_faults", "apps", "core", "epoch", "inspect", "out", "services", "tap")

    def __init__(self, name: str, agenda: Agenda, core: Host, epoch: Duration = 0) -> None:
        super().__init__(name, agenda)
        self.core = core
        self.epoch = epoch
        self.out: Conduit | None = None
        self.apps: list[App] = []  #: all that ever ran here, in the order of their starts
        self.services: list[Service] = []
        self.inspect: Callable[[SimHost], None] | None = None  #: called after everything that happens here
        self.tap: Tap | None = None
        self._faults: list[BaseException] = []
        core.on_fault = self._faults.append

    # For applications.

    def address(self, *, v6: bool = False) -> bytes:
        """The first address of a family; `ValueError` if there is none."""
        for cidr in self.core.addresses:
            address = parse_cidr(cidr)[0]
            if len(address) == (16 if v6 else 4):
                return address
        raise ValueError(f"{self.name} has no {'IPv6' if v6 else 'IPv4'} address")

    def connect(
        self,
        remote: SimHost | str,
        port: int,
        app: App,
        *,
        v6: bool = False,
        options: TcpOptions | None = None,
        local_port: int = 0,
    ) -> App:
        """Open a connection to a host, or to an address, with `app` at this end of it; returns `app`.

        `OSError` as from `Host.connect`.
        """
        target = remote.address(v6=v6) if isinstance(remote, SimHost) else parse_address(remote)
        now = self.agenda.now
        conn = self.core.connect(target, port, now + self.epoch, options=options, local_port=local_port)
        self.adopt(app, conn, now)
        self.agenda.put_down(self, now)
        return app

    def serve(
        self, port: int, factory: Callable[[], App], *, options: TcpOptions | None = None, backlog: int = 128
    ) -> Service:
        """Listen; every connection gets an application that `factory` makes."""
        from stack.sim.apps import Service

        listener = self.core.listen(port, options=options, backlog=backlog)
        service = Service(self, listener, factory)
        self.services.append(service)
        return service

    def adopt(self, app: App, conn: Connection, now: Time) -> None:
        """Put an application at this end of a connection."""
        self.apps.append(app)
        app.attach(self, conn, now)

    # For the world.

    def attach(self, conduit: Conduit) -> None:
        if self.out is not None:
            raise ValueError(f"the host {self.name} has its one link already; join hosts by a router")
        self.out = conduit

    def receive(self, packets: list[Packet], now: Time) -> None:
        receive = self.core.receive
        time = now + self.epoch
        for packet in packets:
            if self.tap is not None:
                self.tap(packet, False, now)
            if packet.csum == PARTIAL:
                packet = Packet(packet.head, packet.parts, csum=TRUSTED)
            receive(packet, time)
        self.settle(now)

    def wake(self, now: Time) -> None:
        self.core.on_timeout(now + self.epoch)
        self.settle(now)

    def settle(self, now: Time) -> None:
        """Let everybody here do what they can at this instant."""
        core = self.core
        time = now + self.epoch
        woken = core.take_woken()
        while True:
            for what in woken:
                owner: App | Service = what.owner  # type: ignore[assignment]
                owner.act(now)
            self._flush(time, now)
            woken = core.take_woken()
            if not woken:
                break
        due = core.next_timeout()
        if due < NEVER and due - self.epoch < self.due:
            self.agenda.put_down(self, max(due - self.epoch, now))
        if self._faults:
            raise SimulationError(f"an exception inside {self.name}") from self._faults[0]
        if self.inspect is not None:
            self.inspect(self)

    def _flush(self, time: Time, now: Time) -> None:
        poll = self.core.poll_transmit
        packet = poll(time)
        sent = 0
        while packet is not None:
            if self.tap is not None:
                self.tap(packet, True, now)
            if self.out is not None:
                self.out.send(packet, now)
            sent += 1
            if sent > MAX_BURST:
                raise SimulationError(f"{self.name} has something to say without end")
            packet = poll(time)

    def on_too_big(self, packet: Packet, mtu: int, now: Time, conduit: Conduit) -> None:
        """Some router on the way says so; it has no address here, so it takes that of the far end."""
        error = too_big(packet, mtu)
        if error is not None:
            self.agenda.put_down(_Later(self, error), now + conduit.pipe.config.delay)


class _Later(Wakeable):
    """A packet that reaches a node at a time of its own."""

    __slots__ = ("_node", "_packet")

    def __init__(self, node: Node, packet: Packet) -> None:
        super().__init__()
        self._node = node
        self._packet = packet

    def wake(self, now: Time) -> None:
        self._node.receive([self._packet], now)


class Router(Node):
    """Forwards by destination address. `routes` is the world's to fill."""

    __slots__ = ("addresses", "conduits", "no_route", "routes")

    def __init__(self, name: str, agenda: Agenda, addresses: tuple[bytes, bytes]) -> None:
        super().__init__(name, agenda)
        self.addresses = addresses  # its own, IPv4 and IPv6: where its ICMP messages come from
        self.conduits: list[Conduit] = []
        self.routes: dict[bytes, Conduit] = {}
        self.no_route = 0  #: packets for nobody

    def attach(self, conduit: Conduit) -> None:
        self.conduits.append(conduit)

    def receive(self, packets: list[Packet], now: Time) -> None:
        for packet in packets:
            limit = hop_limit(packet) - 1
            if limit <= 0:
                self._forward(time_exceeded(packet, self.addresses), now)
            else:
                self._forward(with_hop_limit(packet, limit), now)

    def on_too_big(self, packet: Packet, mtu: int, now: Time, conduit: Conduit) -> None:
        self._forward(too_big(packet, mtu, self.addresses), now)

    def _forward(self, packet: Packet | None, now: Time) -> None:
        if packet is None:
            return
        head = packet.head
        conduit = self.routes.get(head[16:20] if head[0] >> 4 == 4 else head[24:40])
        if conduit is None:
            self.no_route += 1
        else:
            conduit.send(packet, now)
