"""Drives one sans-IO host over one link under Trio.

Three tasks, however many connections there are: a reader that feeds packets in, a timer that tells the host
when a deadline has come, and a writer that goes on where sending was interrupted. Everything else is a
synchronous call into the host from whichever task has something to do, and each of those ends with `settle`:
pull what is due out of the host and hand it to the link, wake the tasks whose connections have changed, and
see when the host wants to be called.

    reader:  wait_readable -> read_batch -> host.receive for each -> settle
    timer:   sleep until the deadline    -> host.on_timeout       -> settle
    writer:  wait_writable, or its turn  ->                          settle
    app:     connection.write, read, ... -> host.touch            -> settle

Where a batch wakes tasks that receive, the reader lets them have their turn before it settles: what they send, or the
window that they open by reading, takes the acknowledgment with it, and one packet goes where two would. (A task that
computes for long then holds its acknowledgment up, as it holds up everything.) The reader also looks for more before it
waits, since the answers to what was sent meanwhile may be there, and to look costs less than to wait.

Sending stops when the link would block: that one packet is kept, and the writer waits for the link. It also
stops when a share has been sent, by whichever tasks, since the reader or the writer had its last turn: nobody
may send so much in between that the answers overflow the link's queue before they are read. Then the writer
goes on as soon as every other task has had its turn.

The host's time is Trio's, in whole nanoseconds and read once for a batch, so a test with a mock clock drives
everything. Waking up is lazy: the timer's deadline is moved only to come earlier. Nearly all deadlines are
pushed back again and again and never reached, and a timer that finds nothing due costs less than following
each of them.

When the link ends by itself, all connections end with an error and everybody is woken; whoever uses the host
afterwards learns why.
"""

from __future__ import annotations

import errno
import logging
import math
from typing import Any

import trio

from stack.host.host import Host
from stack.link.protocol import Link, LinkClosedError
from stack.runtime.waiting import Turn
from stack.tcp.connection import Connection
from stack.wire.packet import Packet
from stack.wire.units import NEVER, SECOND, Time

BATCH = 64  #: Packets read before anything is answered; more would only make the answers late.
CATCH_UP = 256  #: Batches read at most before a deadline counts: more than a TUN device's queue holds.
SHARE = 64  #: Packets sent between two turns of the reader; it reads as many in one, so it keeps up with the answers.
TURNS = 2  #: Turns of the reader after which the tasks that it woke have had theirs, in whichever order Trio runs them.
SUPER = 5  #: How many packets a super-frame counts for: copying it takes as long, and other flows wait meanwhile.

log = logging.getLogger("stack")


class Driver:
    """The tasks of one host on one link, and the calls that everything else in the runtime goes through."""

    def __init__(self, host: Host, link: Link) -> None:
        self.host = host
        self.link = link
        self.failure: LinkClosedError | None = None  #: why the link ended, if it did so by itself
        self.closed = False  #: nothing is sent or received any more
        self.pings: set[Turn] = set()  #: waiting for echo replies; the host doesn't know them when the link ends
        self._kept: Packet | None = None  # the one that the link would not take
        self._more = trio.Event()  # something is left to send
        self._share = SHARE  # packets that may be sent before the reader or the writer has its next turn
        self._turns = 0  # of the reader's, until it settles for the tasks that it has woken; 0: nothing is put off
        self._alarm: trio.CancelScope | None = None
        self._due: Time = NEVER  # what the alarm is set to
        self._last: Time = 0
        self._progress = Turn("another task is leaving this host")
        self._busy: Connection | None = None  # the one that leaving was last seen to wait for
        host.on_fault = _log_fault

    def start(self, nursery: trio.Nursery) -> None:
        """Begin; the tasks end when the nursery is cancelled. They never raise anything but Cancelled."""
        nursery.start_soon(self._read_packets, name=f"{self.link.name} reader")
        nursery.start_soon(self._watch_deadlines, name=f"{self.link.name} timer")
        nursery.start_soon(self._go_on_sending, name=f"{self.link.name} writer")

    def now(self) -> Time:
        """Trio's clock in nanoseconds. It never goes back, and stands still once Trio has ended."""
        try:  # noqa: SIM105  (suppress() costs three times as much, and this is called for every call)
            self._last = max(self._last, round(trio.current_time() * SECOND))
        except RuntimeError:
            pass
        return self._last

    def touch(self, conn: Connection, now: Time) -> None:
        """To be called after every command on a connection."""
        self.host.touch(conn, now)
        self.settle(now)

    def touch_after_read(self, conn: Connection, now: Time) -> None:
        """The same after reading, where the acknowledgment may wait for what the task says to that."""
        self.host.touch(conn, now)
        if self._turns:
            self._look_ahead()
        else:
            self.settle(now)

    @trio.lowlevel.enable_ki_protection
    def settle(self, now: Time) -> None:
        """Send what is due, wake who is concerned, and set the alarm."""
        if not self.closed and self._kept is None:
            self._send(now)
        self._wake_tasks()
        self._look_ahead()

    def send_put_off(self, now: Time) -> None:
        """To be called before a reset, and by who may block the process next: what arrived is acknowledged first."""
        if self._turns:
            self.settle(now)

    def _wake_tasks(self) -> bool:
        """Let those go on whose connections have changed; whether one of them receives, and may answer."""
        woken: list[Any] = self.host.take_woken()
        may_answer = False
        for changed in woken:
            if changed.owner is not None and changed.owner.wake():
                may_answer = True
        return may_answer

    @trio.lowlevel.enable_ki_protection
    def _look_ahead(self) -> None:
        """Set the alarm, and tell who waits for the host to come to an end."""
        due = self.host.next_timeout()
        if due < self._due:
            self._due = due
            self._set_alarm()
        self._progress.wake()

    def check_open(self) -> None:
        """Raise if nothing can be opened on this host any more: `LinkClosedError` or
        `trio.ClosedResourceError`."""
        if self.failure is not None:
            raise LinkClosedError(self.failure.errno, self.failure.strerror) from self.failure
        if self.closed:
            raise trio.ClosedResourceError("this host was closed")

    async def drain(self, seconds: float) -> None:
        """Wait until what applications left behind is sent and closed, but not longer than this."""
        with trio.move_on_after(seconds), self._progress:
            while not self.closed and self._unfinished():
                await self._progress.wait()
        await trio.lowlevel.checkpoint()

    @trio.lowlevel.enable_ki_protection
    def close(self) -> None:
        """Reset what is left, send as much of that as the link takes without waiting, and close the link."""
        if not self.closed:
            now = self.now()
            try:
                self.send_put_off(now)
                self.host.shut_down(now)
                self._flush_all(now)
            except Exception:
                log.exception("closing the host on %s", self.link.name)
            self.closed = True
            self._wake_everybody(now)
        self.link.close()

    # ------------------------------------------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    async def _read_packets(self) -> None:
        try:
            while not self.closed:
                if self._turns:
                    self._turns -= 1
                    if not self._turns:
                        self.settle(self.now())
                if self._read_batch() or self._turns:
                    await trio.lowlevel.checkpoint()
                else:
                    await self.link.wait_readable()
        except Exception as error:
            self._fail(error)

    def _read_batch(self) -> int:
        """Take in what has arrived, a batch at most; how many packets that were."""
        batch = self.link.read_batch(BATCH)
        if batch:
            self._receive(batch)
        return len(batch)

    def _receive(self, batch: list[Packet]) -> None:
        now = self.now()
        self._share = SHARE
        receive = self.host.receive
        for packet in batch:
            try:
                receive(packet, now)
            except Exception:  # one bad frame never reaches the nursery
                log.exception("a packet of %d bytes on %s could not be handled", len(packet), self.link.name)
        if self._wake_tasks():
            self._turns = self._turns or TURNS
            self._look_ahead()
        else:
            self.settle(now)

    @trio.lowlevel.enable_ki_protection
    async def _watch_deadlines(self) -> None:
        while True:
            with trio.CancelScope() as self._alarm:
                self._set_alarm()
                await trio.sleep_forever()
            await self._catch_up()
            # Rounding must not let us come too early, or the same deadline would be set again and again.
            now = self._last = max(self.now(), self._due)
            self._alarm = None
            self._due = NEVER
            try:
                self.host.on_timeout(now)
            except Exception:
                log.exception("a deadline on %s could not be served", self.link.name)
            self.settle(now)

    async def _catch_up(self) -> None:
        """What has arrived comes before what has timed out: the ACK may be waiting in the device's queue."""
        try:
            for _ in range(CATCH_UP):
                if self.closed or self._read_batch() < BATCH:
                    return
                await trio.lowlevel.checkpoint()
        except Exception as error:
            self._fail(error)

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            due = self._due
            self._alarm.deadline = math.inf if due == NEVER else math.nextafter(due / SECOND, math.inf)

    @trio.lowlevel.enable_ki_protection
    async def _go_on_sending(self) -> None:
        try:
            while not self.closed:
                await self._more.wait()
                if self._kept is not None:
                    await self.link.wait_writable()
                self._more = trio.Event()
                self._share = SHARE
                if self._kept is not None:
                    packet, self._kept = self._kept, None
                    if not self._offer(packet):
                        continue
                self.settle(self.now())
        except Exception as error:
            self._fail(error)

    def _send(self, now: Time) -> None:
        """Pull packets out of the host until it has none, or the link would block, or the share is used up."""
        self._turns = 0
        poll = self.host.poll_transmit
        try:
            while self._share > 0:
                packet = poll(now)
                if packet is None or not self._offer(packet):
                    return
                self._share -= SUPER if packet.gso_size else 1
        except OSError as error:
            self._fail(error)
        except Exception:
            log.exception("sending on %s", self.link.name)
        else:
            self._more.set()

    def _offer(self, packet: Packet) -> bool:
        """Hand one packet to the link; if that would block, keep it for the writer."""
        taken = self.link.write(packet)
        if not taken:
            self._kept = packet
            self._more.set()
        return taken

    def _flush_all(self, now: Time) -> None:
        """Like `_send` at the end: no share, and no second chance."""
        packet = self._kept
        self._kept = None
        while packet is not None or (packet := self.host.poll_transmit(now)) is not None:
            try:
                if not self.link.write(packet):
                    return
            except OSError:
                return
            packet = None

    def _fail(self, error: Exception) -> None:
        """The link has ended by itself: so has every connection."""
        if self.closed:
            return
        name = self.link.name
        if isinstance(error, LinkClosedError):
            self.failure = error
            log.error("the link of this host has ended: %s", error)
        else:
            self.failure = LinkClosedError(getattr(error, "errno", None) or errno.EIO, f"{name} failed: {error}")
            self.failure.__cause__ = error
            log.error("the link %s has failed", name, exc_info=error)
        self.closed = True
        now = self.now()
        orphans = self.host.connections()
        self.host.shut_down(now)
        for conn in orphans:
            conn.error = ConnectionAbortedError(errno.ECONNABORTED, f"connection aborted: {self.failure}")
        self._wake_everybody(now)

    def _wake_everybody(self, now: Time) -> None:
        while self.host.poll_transmit(now) is not None:  # resets that nobody will see
            pass
        self.settle(now)
        for turn in self.pings:
            turn.wake()

    def _unfinished(self) -> bool:
        """Whether an application's data or FIN is still on its way, or the answer to one."""
        # Asked after everything that happens: while one is busy, nobody looks at the others.
        if self._busy is None or not _is_busy(self._busy):
            self._busy = next(filter(_is_busy, self.host.connections()), None)
        return self._busy is not None or self.host.lingering() > 0


def _is_busy(conn: Connection) -> bool:
    return not conn.finished and (conn.lingers or conn.reading_closed)


def _log_fault(fault: BaseException) -> None:
    log.error("a connection was reset because of an internal error", exc_info=fault)
