"""What happened in a world, for whoever wants to see it: observers, a tape, captures.

An `Observer` is told about every segment that a host sends or takes, with the state of its connection afterwards, and
about everything that befalls a packet in a pipe. It must not change anything. A `Tape` writes all of it down: two runs
are the same if their tapes are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from stack.host.trace import TraceEvent
from stack.path.stats import Fate
from stack.wire import notation, pcapng
from stack.wire.offload import complete
from stack.wire.packet import Packet
from stack.wire.units import Time

if TYPE_CHECKING:
    from stack.sim.nodes import Conduit, SimHost


class Observer:
    """Hears what happens; does nothing by default."""

    def on_segment(self, host: SimHost, event: TraceEvent, now: Time) -> None:
        """A segment left or reached a host. `event.time` is the host's own clock, `now` the world's."""

    def on_fate(self, conduit: Conduit, fate: Fate, packet: Packet, time: Time) -> None:
        """Something befell a packet in a pipe; `time` may lie ahead, at the end of its way through a queue."""


class Tape(Observer):
    """A line of text for everything that happens."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_segment(self, host: SimHost, event: TraceEvent, now: Time) -> None:
        arrow = ">" if event.outgoing else "<"
        self.lines.append(f"{now} {host.name} {arrow} {notation.format_segment(event.segment)} {event.state}")

    def on_fate(self, conduit: Conduit, fate: Fate, packet: Packet, time: Time) -> None:
        self.lines.append(f"{time} {conduit.name} {fate.value} {notation.format_packet(complete(packet).frame())}")

    def digest(self) -> str:
        """SHA-256 of all lines."""
        digest = hashlib.sha256()
        for line in self.lines:
            digest.update(line.encode())
            digest.update(b"\n")
        return digest.hexdigest()


class Capture:
    """Writes the packets of several hosts as pcapng, one interface each, with the world's nanoseconds.

    `write` takes the bytes of the file. What gets lost on the way stands in it once, where it was sent.
    """

    def __init__(self, write: Callable[[bytes], object], hosts: list[SimHost]) -> None:
        self._write = write
        write(pcapng.section_header(application="tcpstack sim"))
        for number, host in enumerate(hosts):
            write(pcapng.interface_description(host.name, description=", ".join(host.core.addresses)))
            self._attach(number, host)

    def _attach(self, number: int, host: SimHost) -> None:
        def tap(packet: Packet, outgoing: bool, now: Time) -> None:
            whole = complete(packet)
            state = host.core.state_of(whole, outgoing)
            comment = None if state is None else state.value
            block = pcapng.enhanced_packet(number, now, whole.frame(), comment=comment, outbound=outgoing)
            self._write(block)

        host.tap = tap
