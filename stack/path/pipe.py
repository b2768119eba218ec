"""One direction of a path, sans-IO: packets go in at one end, and come out later, elsewhere in the order, or never.

    push --> too big? --> down? --> lost? --> duplicated --> queue, at the rate --> corrupted --> delayed --> pop

- Super-frames are split first: everything below befalls packets as a wire carries them.
- A packet larger than the MTU is told to `on_too_big`, so that a router can answer, and dropped. (One that may be cut
  in pieces passes whole: it stands for fragments that all arrive.)
- While the path is down, what enters is lost; what is on its way arrives.
- Loss is decided at the entrance, as netem does, so the "third packet" is the third that entered, and a lost packet
  takes no room in the queue and no time at the bottleneck. A duplicate is a packet like others: both go on, each with
  its own chances.
- The bottleneck serves packets in order, each for exactly its bits at the rate: what does not divide into nanoseconds
  is carried over, so that the long-run rate is exact. Who may wait is the queue's to decide (`stack.path.queues`).
- A corrupted packet has exactly one bit flipped, anywhere, with its checksum completed before and to be verified
  afterwards. (Two flips on two paths escape a 16-bit sum now and then; that is nobody's fault.)
- Delay: `delay`, or drawn evenly from `delay - jitter` to `delay + jitter`, so that packets overtake each other where
  jitter is larger than the gap between them, unless `ordered`. Besides, a share `reorder` of the packets comes late by
  up to `reorder_by`, so that those behind overtake it. (With netem's option of that name the chosen ones are early
  instead, by the whole delay; either way a single packet is out of its place.) The mean delay of all the others is
  exactly `delay`, counted from the end of its transmission.

Chance is drawn only for what a path has, in a fixed order, so a path and a seed give the same fates always.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable

from stack.path.config import CODEL, RED, PathConfig
from stack.path.loss import Draw, losses_of
from stack.path.packets import NOT_ECT, ecn, flipped, may_fragment, with_ce
from stack.path.queues import DROP, MARK, PASS, CoDel, DropTail, Red
from stack.path.stats import Fate, PipeStats
from stack.wire.packet import Packet
from stack.wire.superframe import split
from stack.wire.units import NEVER, SECOND, Time

Observer = Callable[[Fate, Packet, Time], None]
"""Told about everything that befalls a packet, with the time of it, which may lie ahead: at the end of its way through
the queue."""


class Pipe:
    """One direction of a path. `draw` gives its chance, `start` is the time from which `down` and `flap` count."""

    __slots__ = (
        "_aqm", "_carry", "_codel", "_free_at", "_is_plain", "_largest", "_last_arrival", "_losses", "_order",
        "_queue", "_queued_bytes", "_under_way", "config", "draw", "observer", "on_too_big", "start", "stats",
    )  # fmt: skip

    def __init__(self, config: PathConfig, draw: Draw, *, start: Time = 0) -> None:
        self.draw = draw
        self.start = start
        self.stats = PipeStats()
        self.observer: Observer | None = None
        self.on_too_big: Callable[[Packet, int, Time], None] | None = None  # packet, MTU, now
        self._under_way: list[tuple[Time, int, Packet]] = []  # a heap by arrival
        self._order = 0
        self._last_arrival: Time = 0
        self._free_at: Time = 0  # when the bottleneck has sent all that it has begun or, but for CoDel, accepted
        self._carry = 0  # of a nanosecond, in units of 1/rate
        # What waits for the bottleneck: when it began or will begin to be sent (CoDel: when it came), size, packet.
        self._queue: deque[tuple[Time, int, Packet]] = deque()
        self._queued_bytes = 0
        self._largest = 0
        self._set_up(config)

    def _set_up(self, config: PathConfig) -> None:
        self.config = config
        self._losses = losses_of(config)
        self._codel = CoDel(config) if config.aqm == CODEL else None
        self._aqm = Red(config) if config.aqm == RED else DropTail(config)
        self._is_plain = not (
            self._losses or config.mtu or config.down or config.flap[1] or config.duplicate or config.corrupt
        )

    def reconfigure(self, config: PathConfig, now: Time) -> None:
        """Become another path from now on.

        What is on its way stays so. What waits in a queue of CoDel is put into the new one; of the other queues it
        stays with the rate that it found, since its time of departure was fixed when it came.
        """
        self._advance(now)
        waiting, self._queue, self._queued_bytes = self._queue, deque(), 0
        had_codel = self._codel is not None
        self._set_up(config)
        if had_codel:
            for _, size, packet in waiting:
                self._join_queue(packet, size, now)
        elif self._codel is None and config.rate:  # these are under way already; they only take up room
            self._queue = waiting
            self._queued_bytes = sum(size for _, size, _ in waiting)
        if not config.rate:
            self._free_at = now

    # In.

    def push(self, packet: Packet, now: Time) -> None:
        """A packet enters. Times must not go back from call to call."""
        if packet.gso_size:
            for piece in split(packet):
                self._enter(piece, now)
        else:
            self._enter(packet, now)

    def _enter(self, packet: Packet, now: Time) -> None:
        size = len(packet)
        stats = self.stats
        stats.entered += 1
        stats.entered_bytes += size
        if self._is_plain:
            self._join_queue(packet, size, now)
            return
        config = self.config
        if config.mtu and size > config.mtu and not may_fragment(packet):
            self._lose(Fate.TOO_BIG, packet, now)
            if self.on_too_big is not None:
                self.on_too_big(packet, config.mtu, now)
        elif self.is_down(now):
            self._lose(Fate.DOWN, packet, now)
        elif self._is_lost(packet):
            self._lose(Fate.LOST, packet, now)
        else:
            if config.duplicate and self.draw() < config.duplicate:
                self._note(Fate.DUPLICATED, packet, now)
                self._join_queue(packet, size, now)
            self._join_queue(packet, size, now)

    def is_down(self, now: Time) -> bool:
        """Whether nothing may enter now."""
        config = self.config
        elapsed = now - self.start
        for begin, length in config.down:
            if begin <= elapsed < begin + length:
                return True
        period, length = config.flap
        return length > 0 and elapsed % period >= period - length

    def _is_lost(self, packet: Packet) -> bool:
        lost = False
        for model in self._losses:  # all are asked: each has its own count and chain
            lost |= model.loses(packet, self.stats.entered, self.draw)
        return lost

    # The bottleneck.

    def _join_queue(self, packet: Packet, size: int, now: Time) -> None:
        if not self.config.rate:
            self._set_off(packet, now)
            return
        self._largest = max(self._largest, size)
        self._advance(now)
        waiting = len(self._queue)
        verdict = self._aqm.on_arrival(size, self._queued_bytes, waiting, now, self.draw)
        if verdict != PASS:
            marked = self._mark(packet, now) if verdict == MARK else None
            if marked is None:
                self._lose(Fate.QUEUE_FULL if verdict == DROP else Fate.DROPPED_BY_AQM, packet, now)
                return
            packet = marked
        if self._codel is not None and (waiting or self._free_at > now):
            self._queue.append((now, size, packet))
            self._queued_bytes += size
            return
        if self._codel is not None:
            self._codel.on_departure(0, 0, self._largest, now)  # nothing waits: that is worth knowing
        begins = max(self._free_at, now)
        if begins > now:
            self._queue.append((begins, size, packet))
            self._queued_bytes += size
        self._transmit(packet, size, begins)

    def _transmit(self, packet: Packet, size: int, begins: Time) -> None:
        """Occupy the bottleneck from `begins` on, which is not before it is free."""
        rate = self.config.rate
        if begins > self._free_at:
            self._carry = 0  # it was idle
        took, self._carry = divmod((size + self.config.overhead) * 8 * SECOND + self._carry, rate)
        self._free_at = begins + took
        self._set_off(packet, self._free_at)

    def _advance(self, now: Time) -> None:
        """Bring the queue up to date."""
        queue = self._queue
        if self._codel is not None:
            while queue and self._free_at <= now:
                self._serve(self._codel)
            return
        while queue and queue[0][0] <= now:
            self._queued_bytes -= queue.popleft()[1]

    def _serve(self, codel: CoDel) -> None:
        """The bottleneck is free: send the first packet that CoDel lets pass, or none."""
        queue = self._queue
        now = self._free_at
        while queue:
            came, size, packet = queue.popleft()
            self._queued_bytes -= size
            if codel.on_departure(now - came, self._queued_bytes, self._largest, now) == MARK:
                marked = self._mark(packet, now)
                if marked is None:
                    self._lose(Fate.DROPPED_BY_AQM, packet, now)
                    continue
                packet = marked
            self._transmit(packet, size, now)
            return
        codel.on_empty()

    def _mark(self, packet: Packet, now: Time) -> Packet | None:
        """The packet with CE, or None where a mark is not to be had and a drop must say it."""
        if not self.config.ecn or ecn(packet) == NOT_ECT:
            return None
        self._note(Fate.MARKED, packet, now)
        return with_ce(packet)

    # The wire.

    def _set_off(self, packet: Packet, now: Time) -> None:
        """Leave the bottleneck at `now`, which may lie in the future; decide when to arrive and how."""
        config = self.config
        arrives = now + config.delay
        if config.corrupt and self.draw() < config.corrupt:
            self._note(Fate.CORRUPTED, packet, now)
            packet = flipped(packet, int(self.draw() * 8 * len(packet)))
        if config.jitter:
            arrives += int(self.draw() * (2 * config.jitter + 1)) - config.jitter
        if config.ordered:
            arrives = self._last_arrival = max(arrives, self._last_arrival)
        if config.reorder and self.draw() < config.reorder:
            arrives += 1 + int(self.draw() * config.lateness)
            self._note(Fate.REORDERED, packet, now)
        self._order += 1
        heapq.heappush(self._under_way, (arrives, self._order, packet))

    # Out.

    def next_timeout(self) -> Time:
        """When `pop` is worth a call: a packet arrives, or (CoDel) one leaves the queue. NEVER: nothing is here."""
        arrival = self._under_way[0][0] if self._under_way else NEVER
        if self._codel is not None and self._queue:
            return min(arrival, self._free_at)
        return arrival

    def pop(self, now: Time) -> list[Packet]:
        """What has arrived by now, in order of arrival; the same instant's in order of departure."""
        if self._codel is not None:
            self._advance(now)
        arrived: list[Packet] = []
        under_way = self._under_way
        while under_way and under_way[0][0] <= now:
            arrived.append(heapq.heappop(under_way)[2])
        stats = self.stats
        stats.delivered += len(arrived)
        for packet in arrived:
            stats.delivered_bytes += len(packet)
        return arrived

    def backlog(self, now: Time) -> tuple[int, int]:
        """Packets and bytes that wait for the bottleneck now; the one that is being sent does not wait."""
        self._advance(now)
        return len(self._queue), self._queued_bytes

    def under_way(self) -> int:
        """Packets that will arrive, and those that may (CoDel's queue)."""
        return len(self._under_way) + (len(self._queue) if self._codel is not None else 0)

    def _note(self, fate: Fate, packet: Packet, now: Time) -> None:
        self.stats.count(fate)
        if self.observer is not None:
            self.observer(fate, packet, now)

    def _lose(self, fate: Fate, packet: Packet, now: Time) -> None:
        self.stats.lost_bytes += len(packet)
        self._note(fate, packet, now)
