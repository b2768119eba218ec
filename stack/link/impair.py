"""A link around a link that behaves like a worse one: delay, rate, loss and the rest, in either direction.

The model of the path is `stack.path`, the same as in simulated worlds; here real packets go through it, and real time
passes. What arrives at the inner link enters the inbound pipe, what the host sends the outbound one, each split into
packets of a wire first; what comes out is handed on. There is no task of its own: whoever waits for the link in
`wait_readable`, as a driver does whenever it has nothing else to do, waits for the pipes too.

About time. A pipe bills exactly, in nanoseconds; but Trio, like `epoll` under it, wakes up on whole milliseconds, and
late. So what is due within a tick is released as one burst, and the link learns how late it is woken and asks to be
woken that much earlier: early and late releases balance, and mean delay and long-run rate come out right. What stays
is grain: single packets are up to a millisecond off, and a path faster than a packet a millisecond delivers in bursts.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable

import trio

from stack.link.around import LinkAround
from stack.link.protocol import Link, LinkClosedError
from stack.path.answers import too_big
from stack.path.config import PathConfig
from stack.path.pipe import Pipe
from stack.wire.packet import Packet
from stack.wire.units import MS, NEVER, SECOND, Duration, Time

BATCH = 64  #: Packets taken from the inner link at a time.
MOST_BATCHES = 16  #: Taken before anybody else has a turn.
TICK: Duration = MS  #: Trio's grain, and how often a link that would block is tried again.
MOST_EARLY: Duration = 4 * TICK  #: On a busy machine, waking up takes longer than a tick.
MEMORY = 64  #: Releases that the estimate of how late we are is made of.


class Punctuality:
    """How much before its time a packet is released, so that early and late ones balance."""

    __slots__ = ("_lead", "_seen")

    def __init__(self) -> None:
        self._lead = 0.0
        self._seen = 0

    @property
    def lead(self) -> Duration:
        """What is due so soon counts as due."""
        return int(self._lead)

    def on_release(self, late: Duration) -> None:
        """A packet was released so much after its time (negative: before it)."""
        self._seen = min(self._seen + 1, MEMORY)
        self._lead = min(max(self._lead + late / self._seen, 0.0), float(MOST_EARLY))


class ImpairLink(LinkAround):
    """Impairs `link`. `inbound` is what happens to packets for the host, `outbound` to those from it.

    Chance comes from the seed in each configuration, or from `seed`; without either a seed is chosen, and stands in
    `seed` afterwards. `clock` gives nanoseconds; by default Trio's.
    """

    def __init__(
        self,
        link: Link,
        inbound: PathConfig,
        outbound: PathConfig | None = None,
        *,
        seed: int | None = None,
        clock: Callable[[], Time] | None = None,
    ) -> None:
        super().__init__(link)
        self.seed = seed if seed is not None else random.SystemRandom().getrandbits(32)
        self._clock = clock if clock is not None else _trio_clock
        start = self._clock()
        self.inbound = self._pipe("in", inbound, start)
        self.outbound = self._pipe("out", outbound if outbound is not None else inbound, start)
        self.inbound.on_too_big = lambda packet, mtu, now: self._answer(self._leaving, packet, mtu)
        self.outbound.on_too_big = lambda packet, mtu, now: self._answer(self._arrived, packet, mtu)
        self._arrived: deque[Packet] = deque()  # for the host
        self._leaving: deque[Packet] = deque()  # for the inner link, which would block
        self._punctuality = Punctuality()
        self._alarm: trio.CancelScope | None = None
        self._failure: LinkClosedError | None = None
        self._closed = False

    def _pipe(self, name: str, config: PathConfig, start: Time) -> Pipe:
        seed = config.seed if config.seed is not None else self.seed
        return Pipe(config, random.Random(f"{seed}/{name}").random, start=start)

    def read_batch(self, limit: int) -> list[Packet]:
        """What has come through by now."""
        self._pump()
        arrived = self._arrived
        if not arrived and self._failure is not None:
            raise self._failure
        return [arrived.popleft() for _ in range(min(limit, len(arrived)))]

    def write(self, packet: Packet) -> bool:
        """Send a packet into the path. False only while the inner link would block; the path itself never does."""
        if self._failure is not None:
            raise self._failure
        if self._leaving and not self._send_on():
            return False
        self.outbound.push(packet, self._clock())
        self._release()
        return True

    async def wait_readable(self) -> None:
        """Return when something has come through, or the link has ended; meanwhile, keep the pipes running."""
        while True:
            self._pump()
            if self._arrived or self._failure is not None or self._closed:
                await trio.lowlevel.checkpoint()
                return
            with trio.CancelScope() as self._alarm:
                self._set_alarm()
                try:
                    await self.link.wait_readable()
                finally:
                    self._alarm = None

    async def wait_writable(self) -> None:
        """Return when the inner link takes packets again."""
        while self._leaving and self._failure is None and not self._closed:
            await self.link.wait_writable()
            self._send_on()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close the inner link. What is still under way is lost."""
        self._closed = True
        self.link.close()
        if self._alarm is not None:
            self._alarm.cancel()

    # The machinery.

    def _pump(self) -> None:
        """Take what the inner link has, and release what is due."""
        try:
            if self._failure is None:
                now = self._clock()
                for _ in range(MOST_BATCHES):
                    batch = self.link.read_batch(BATCH)
                    for packet in batch:
                        self.inbound.push(packet, now)
                    if len(batch) < BATCH:
                        break
        except LinkClosedError as error:
            self._failure = error
        self._release()

    def _release(self) -> None:
        """Hand on what is due now, or so soon that it would come too late otherwise."""
        now = self._clock()
        until = now + self._punctuality.lead
        self._collect(self.inbound, self._arrived, now, until)
        self._collect(self.outbound, self._leaving, now, until)
        if self._leaving:
            self._send_on()
        self._set_alarm()

    def _collect(self, pipe: Pipe, where: deque[Packet], now: Time, until: Time) -> None:
        due = pipe.next_timeout()
        while due <= until:
            packets = pipe.pop(due)
            if packets:
                self._punctuality.on_release(now - due)
                where.extend(packets)
            due = pipe.next_timeout()

    def _send_on(self) -> bool:
        """Write to the inner link until it would block; whether it took everything."""
        try:
            while self._leaving and self.link.write(self._leaving[0]):
                self._leaving.popleft()
        except LinkClosedError as error:
            self._failure = error
            self._leaving.clear()
        return not self._leaving

    def _set_alarm(self) -> None:
        """See to it that whoever waits is woken in time."""
        if self._alarm is None:
            return
        due = min(self.inbound.next_timeout(), self.outbound.next_timeout())
        if due < NEVER:
            due -= self._punctuality.lead
        if self._leaving:
            due = min(due, self._clock() + TICK)
        if self._arrived or self._failure is not None:
            due = self._clock()
        # Seconds as a float may lie before the nanosecond that is meant, and would wake us for nothing.
        self._alarm.deadline = math.inf if due >= NEVER else math.nextafter(due / SECOND, math.inf)

    def _answer(self, where: deque[Packet], packet: Packet, mtu: int) -> None:
        """Tell the sender of a packet that it was too big, as a router in the path would."""
        message = too_big(packet, mtu)
        if message is not None:
            where.append(message)


def _trio_clock() -> Time:
    return round(trio.current_time() * SECOND)
