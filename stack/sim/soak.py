"""The soak: a drawn scenario is run, and everything that must hold is checked.

- Every octet arrives once, in order: what each end has received is exactly the beginning of what the other has sent,
  by SHA-256, and all of it unless the connection was reset.
- Both ends agree: both closed in order, or one reset the connection as its scenario says and the other learned of it.
- Nothing stalls: a while after the last fault, which is known beforehand, both ends are done. And nothing storms: the
  number of packets stays within what the transfer can need.
- The invariants of `stack.sim.invariants` hold after every event, and no exception is raised in a host.
- At last, nothing is left: no connection, no half-open one, no TIME-WAIT, no timer.

A failure names its kind, so that many of them can be counted; `tools/soak` runs seeds by the thousand.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from stack.host.isn import Numbers
from stack.sim.apps import App
from stack.sim.draw import Dice, Drawn, Figures, Talk, draw
from stack.sim.errors import NotDone, SimulationError
from stack.sim.invariants import Conduct, Inspector, InvariantError
from stack.sim.nodes import SimHost
from stack.sim.payload import BLOCK, Payload
from stack.sim.trace import Observer
from stack.sim.world import World
from stack.tcp.connection import Connection
from stack.tcp.seq import MASK
from stack.wire.units import NEVER, SECOND, US, Duration, Time

PORT, LOCAL_PORT = 80, 40_000
LEFTOVER: Duration = 3600 * SECOND  #: How long anything may be left of a connection that is over.
STORM = 60  #: Packets for each one that the transfer needs, beyond a thousand: more is a storm.

OK, SCRIPTED, NEVER_MET = "ok", "aborted as scripted", "lost in the handshake"
"""Outcomes that are right. The last: the server has forgotten a half-open connection through an outage, and says so."""


@dataclass(slots=True)
class Outcome:
    """What became of one seed. `kind` is one of the three above, or says what is wrong; `detail` tells more."""

    seed: int
    kind: str = OK
    detail: str = ""
    figures: Figures = field(default_factory=Figures)

    @property
    def is_right(self) -> bool:
        return self.kind in (OK, SCRIPTED, NEVER_MET)

    def as_dict(self) -> dict[str, Any]:
        figures = self.figures
        return {
            "seed": self.seed,
            "right": self.is_right,
            "kind": self.kind,
            "detail": self.detail,
            "virtual_time": figures.virtual_time,
            "events": figures.events,
            "packets": figures.packets,
            "lost": figures.lost,
            "octets": figures.octets,
            "segments_again": figures.segments_again,
            "after_faults": figures.after_faults,
        }


class Talker(App):
    """An application that does as a `Talk` says. Pauses end at T."""

    name = "talker"

    def __init__(self, talk: Talk, seed: int, pauses_until: Time) -> None:
        super().__init__()
        self.talk = talk
        self.payload = Payload(talk.size, seed)
        self._dice = Dice(seed)
        self._pauses_until = pauses_until
        self._resumes: list[Time] = [0, 0]  # reading, writing
        self._closed = False

    def step(self, conn: Connection, now: Time) -> None:
        if 0 <= self.talk.aborts_at <= now:
            self.abort()
            return
        if self.talk.aborts_at > now:
            self.call_at(self.talk.aborts_at)
        while conn.readable and self._may(0, now, self.talk.read_pause):
            self.read(self._dice.pick(self.talk.reads))
        if not conn.connected:
            return
        size = self.talk.size
        while self.sent < size and conn.writable and self._may(1, now, self.talk.write_pause):
            self.write(self.payload.piece(self.sent, self._dice.pick(self.talk.writes)))
        if self.sent == size and not self._closed and (conn.at_eof or not self.talk.closes_last):
            self._closed = True
            self.close_write()
        if self._closed and conn.at_eof:
            self.close()

    def _may(self, which: int, now: Time, pause: Duration) -> bool:
        """Whether the next read or write may happen now; if so, the pause after it begins."""
        if now < self._resumes[which]:
            self.call_at(self._resumes[which])
            return False
        if pause and now < self._pauses_until:
            self._resumes[which] = now + self._dice.below(pause) + 1
        return True


class Soak:
    """One scenario in its world."""

    def __init__(self, drawn: Drawn) -> None:
        self.drawn = drawn
        self.world = World(drawn.seed)
        self._conduct = Conduct()
        self._inspector = Inspector()
        self.client, self.server = (self._host(index) for index in (0, 1))
        self.conduits = self.world.pipe(self.client, self.server, drawn.paths[0], back=drawn.paths[1])
        self.world.observe(self._conduct)
        self.service = self.server.serve(PORT, lambda: self._talker(1), options=drawn.options[1])
        self.left = self._talker(0)
        if drawn.faults_end:
            for time, mtu in drawn.narrow:
                self.world.at(time, partial(self._set_mtu, mtu))
            self.world.at(drawn.faults_end, self._heal)

    def _host(self, index: int) -> SimHost:
        drawn = self.drawn
        name = ("client", "server")[index]
        host = self.world.host(
            name, options=drawn.options[index], mtu=drawn.mtus[index], max_payload=drawn.max_payloads[index]
        )
        if drawn.isns[index] >= 0:
            host.epoch = self._epoch(index)
        host.inspect = self._inspector.check_host
        return host

    def _epoch(self, index: int) -> Duration:
        """A clock for which the sequence numbers begin where they shall (RFC 6528: a keyed hash plus a clock)."""
        client, server = (self.world.default_address(number, v6=self.drawn.v6) for number in (1, 2))
        ports = (LOCAL_PORT, PORT)
        if index == 0:
            key = server + client + (ports[1] << 16 | ports[0]).to_bytes(4, "big")
        else:
            key = client + server + (ports[0] << 16 | ports[1]).to_bytes(4, "big")
        secret = self.world.secret(("client", "server")[index])
        return ((self.drawn.isns[index] - Numbers(secret).isn(key, 0)) & MASK) * 4 * US

    def _talker(self, index: int) -> Talker:
        return Talker(self.drawn.talks[index], 2 * self.drawn.seed + index, self.drawn.faults_end)

    def _heal(self) -> None:
        for conduit, path in zip(self.conduits, self.drawn.healed, strict=True):
            conduit.pipe.reconfigure(path, self.world.now)

    def _set_mtu(self, mtu: int) -> None:
        for conduit in self.conduits:
            self.world.reconfigure(conduit, mtu=mtu)

    def run(self) -> Outcome:
        """Run it to its end; never raises."""
        outcome = Outcome(self.drawn.seed)
        try:
            self._run(outcome)
        except NotDone as error:
            outcome.kind, outcome.detail = "stall", f"{error}; {self._states()}"
        except InvariantError as error:
            outcome.kind, outcome.detail = "invariant", str(error)
        except SimulationError as error:
            cause = f": {error.__cause__!r}" if error.__cause__ is not None else ""
            outcome.kind, outcome.detail = "exception", f"{error}{cause}"
        except Exception as error:  # whatever it is, the other seeds go on
            outcome.kind, outcome.detail = "exception", repr(error)
        if not outcome.is_right:
            outcome.detail = f"at {self.world.now / SECOND:.6f} s: {outcome.detail}"
        self._count(outcome.figures)
        return outcome

    def _run(self, outcome: Outcome) -> None:
        self.client.connect(self.server, PORT, self.left, v6=self.drawn.v6, local_port=LOCAL_PORT)
        most = self._most_packets()

        def is_over() -> bool:
            if sum(conduit.pipe.stats.entered for conduit in self.conduits) > most:
                raise InvariantError(f"a storm: more than {most} packets; {self._states()}")
            return self.left.is_done and all(app.is_done for app in self.service.apps)

        self.world.run_until(is_over, self.drawn.bound)
        outcome.figures.after_faults = max(self.world.now - self.drawn.faults_end, 0) / SECOND
        outcome.kind, outcome.detail = self._verdict()
        if outcome.is_right:
            self._run_out()

    def _run_out(self) -> None:
        """Let everything expire, and see that nothing is left."""
        self.server.core.close_listener(self.service.listener, self.world.now + self.server.epoch)
        self.server.settle(self.world.now)
        self.world.run_until(lambda: self.world.agenda.next_time() == NEVER, LEFTOVER)
        for host in self.world.hosts:
            core = host.core
            left = (len(core.connections()), core.half_open, core.time_waits, core.lingering())
            if any(left):
                raise InvariantError(
                    f"{host.name} holds {left} connections, half-open ones, TIME-WAITs, packets for ever"
                )

    def _most_packets(self) -> int:
        drawn = self.drawn
        needed = sum(talk.size for talk in drawn.talks) // 400 + 100
        tiny = any(min(o.receive_window, o.send_buffer) < 4000 or o.mss is not None for o in drawn.options)
        return 1000 + STORM * needed * (10 if tiny else 1)

    # Verdicts.

    def _verdict(self) -> tuple[str, str]:
        left = self.left
        if not self.service.apps:
            if self._may_be_lost():
                return (SCRIPTED if self.drawn.aborts else NEVER_MET), ""
            return "abort", f"the server never accepted, the client ended with {left.error!r}"
        if len(self.service.apps) > 1:
            return "disagreement", f"{len(self.service.apps)} connections came of one"
        right = self.service.app
        for receiver, sender in ((left, right), (right, left)):
            if receiver.received_digest != _digest(sender, receiver.received):
                return "mismatch", f"{receiver.host.name} has received something else than was sent"
            if receiver.received > sender.sent:
                return "mismatch", f"{receiver.host.name} has received more than was sent"
        if left.aborted or right.aborted:
            return self._verdict_on_abort(left, right)
        if left.error is not None or right.error is not None:
            kind = "disagreement" if left.error is None or right.error is None else "abort"
            return kind, f"client {left.error!r}, server {right.error!r}"
        for receiver, sender in ((left, right), (right, left)):
            if receiver.received != sender.payload.size:  # type: ignore[attr-defined]
                return "mismatch", f"{receiver.host.name} has received only {receiver.received} octets"
        return OK, ""

    def _verdict_on_abort(self, left: App, right: App) -> tuple[str, str]:
        """The other end learns of it, or had nothing left to learn: both streams were complete."""
        end, other = (left, right) if left.aborted else (right, left)
        complete = other.received == end.sent and end.conn.rcv.received_bytes == other.sent
        if other.error is None and not complete:
            return "disagreement", f"{end.host.name} aborted, {other.host.name} knows nothing of it"
        return SCRIPTED, ""

    def _may_be_lost(self) -> bool:
        """Whether it is right that a handshake came to nothing."""
        if self.drawn.talks[0].aborts_at >= 0:
            return True
        return not self.drawn.is_mild and self.left.error is not None

    def _states(self) -> str:
        ends = [self.left, *self.service.apps]
        return "; ".join(
            f"{end.host.name} {end.conn.state.value}, sent {end.sent}, received {end.received}, "
            f"unacknowledged {end.conn.unacknowledged}, error {end.error!r}"
            for end in ends
            if end.started >= 0
        )

    def _count(self, figures: Figures) -> None:
        world = self.world
        figures.virtual_time = world.now / SECOND
        figures.events = world.events
        figures.packets = sum(conduit.pipe.stats.entered for conduit in self.conduits)
        figures.lost = sum(conduit.pipe.stats.lost for conduit in self.conduits)
        ends = [end for end in (self.left, *self.service.apps) if end.started >= 0]
        figures.octets = sum(end.received for end in ends)
        figures.segments_again = sum(end.conn.snd.retransmitted_segments for end in ends)


def run_seed(seed: int, observer: Observer | None = None) -> Outcome:
    """Draw and run one seed."""
    soak = Soak(draw(seed))
    if observer is not None:
        soak.world.observe(observer)
    return soak.run()


def _digest(sender: App, size: int) -> str:
    """SHA-256 of the first octets that a talker sends."""
    payload: Payload = sender.payload  # type: ignore[attr-defined]
    digest = hashlib.sha256()
    done = 0
    while done < min(size, payload.size):
        piece = payload.piece(done, min(size - done, BLOCK))
        digest.update(piece)
        done += len(piece)
    return digest.hexdigest()
