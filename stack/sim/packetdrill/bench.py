"""The host under test, its clock, and everything that it has put on the wire.

Time moves only here. Whenever something has happened at the host, everything that it wants to send leaves at that very
moment, and then whoever waits for a change (a call that blocks, an epoll) may look; that may make the host say more,
so it goes on until nobody does anything any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from stack.host.host import Host
from stack.host.sockets import Sockets
from stack.host.trace import TraceEvent
from stack.sim.packetdrill.packets import Sent, read
from stack.sim.packetdrill.settings import Settings
from stack.tcp.config import TcpOptions
from stack.wire.drop import WireError
from stack.wire.packet import Packet
from stack.wire.units import NEVER, SECOND, Duration, Time

BEGINNING: Final[Time] = 1_000 * SECOND
"""The host's time at the script's time 0. Whole seconds, so that a timestamp ticks as the script's time does."""

MAX_PACKETS: Final = 100_000  #: At one moment; more would be without end.
MAX_STEPS: Final = 100_000  #: Time-outs and rounds of waiting ones at one moment.


class Endless(Exception):  # noqa: N818
    """The host does not come to rest."""


class Bench:
    """A host with one address on a link that ends at the script.

    `now` is the script's time. `sent` holds the packets that nobody has looked at yet, `trace` every segment in and
    out. `on_change` is called after everything that happens at the host, and says whether it has done something;
    `deadline` is when it wants to be called at the latest, for whoever waits no longer than that. With `eager` it is
    called before the host sends anything, too.
    """

    def __init__(self, settings: Settings, options: TcpOptions, *, secret: bytes, max_payload: int) -> None:
        self.now: Duration = 0
        self.sent: deque[Sent] = deque()
        self.trace: list[TraceEvent] = []
        self.faults: list[BaseException] = []
        self.on_change: Callable[[], bool] = lambda: False
        self.deadline: Duration = NEVER
        self.eager = False
        self.host = Host(secret=secret, mtu=settings.mtu, options=options, max_payload=max_payload)
        self.host.add_address(settings.cidr)
        self.host.trace = self.trace.append
        self.host.on_fault = self.faults.append
        self.sockets = Sockets(self.host, lambda: self.now + BEGINNING)

    @property
    def time(self) -> Time:
        """The host's own time."""
        return self.now + BEGINNING

    def next_timeout(self) -> Duration:
        """When the host wants to do something by itself, in the script's time; NEVER if it waits for nothing."""
        due = self.host.next_timeout()
        return max(due - BEGINNING, self.now) if due < NEVER else NEVER

    def inject(self, packet: Packet) -> None:
        """A packet reaches the host, now."""
        self.host.receive(packet, self.time)
        self.settle()

    def step(self, limit: Duration) -> bool:
        """Go on to the next time-out, if it is not after `limit`, and do what is due; false if there is none."""
        due = min(self.next_timeout(), self.deadline)
        if due > limit or due == NEVER:
            return False
        self.now = due
        self.host.on_timeout(self.time)
        self.settle()
        return True

    def advance(self, until: Duration) -> None:
        """Let time pass."""
        steps, began = 0, self.now
        while self.step(until):
            steps = steps + 1 if self.now == began else 0
            began = self.now
            if steps > MAX_STEPS:
                raise Endless("time-outs without end")
        self.now = max(self.now, until)

    def sleep(self, duration: Duration) -> None:
        """Let so much time pass."""
        self.advance(self.now + duration)

    def set_options(self, options: TcpOptions) -> None:
        """What sockets begin with that are made from now on."""
        self.host.options = options
        self.sockets.options = options.replace(reuse_address=False, reuse_port=False)

    def settle(self) -> None:
        """Let everybody here do what they can at this moment."""
        if self.eager:
            self.on_change()
        self._flush()
        rounds = 0
        while self.on_change() | self._flush():
            rounds += 1
            if rounds > MAX_STEPS:
                raise Endless("calls that return without end")

    def _flush(self) -> bool:
        """Let leave what wants to; false if that is nothing."""
        poll, time = self.host.poll_transmit, self.time
        packet = poll(time)
        count = 0
        while packet is not None:
            try:
                self.sent.extend(read(packet, self.now))
            except WireError as error:
                self.faults.append(error)
            count += 1
            if count > MAX_PACKETS:
                raise Endless("packets without end")
            packet = poll(time)
        self.host.take_woken()
        return count > 0
