"""Applications in virtual time: each sits at one end of a connection and does what it can whenever something changes.

    Bulk(1_000_000)             sends so many octets, closes its half, and reads what comes back
    Sink()                      reads until the end, then closes
    Echo()                      sends back what it reads
    Request(100, 5_000, 10)     asks ten times with 100 octets and waits for 5,000 each time
    Respond(100, 5_000)         answers each 100 octets with 5,000
    SlowReader(4096, 10 * MS)   reads 4096 octets, then pauses for 10 ms
    OnOff(50_000, SECOND)       sends 50,000 octets, pauses for a second, and so on

They are synchronous: `act` is called when the connection has become readable, writable, or is over, and when a time has
come that the application has asked for. There is nothing to await. What each has sent and received is counted and
hashed, so that both ends can be compared; `report` gives it for JSON.

Your own is a subclass with one method, `step`; see `docs/sim.md`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stack.sim.agenda import Wakeable
from stack.sim.payload import Payload
from stack.wire.address import format_endpoint
from stack.wire.units import NEVER, SECOND, Duration, Time

if TYPE_CHECKING:
    from stack.sim.nodes import SimHost
    from stack.tcp.connection import Connection
    from stack.tcp.listener import Listener

READ = 1 << 18  #: Octets read at once by who isn't slow.


class App(Wakeable):
    """An application at one end of one connection. Times are the world's, in nanoseconds; -1: not yet."""

    name = "app"

    def __init__(self) -> None:
        super().__init__()
        self.host: SimHost
        self.conn: Connection
        self.sent = 0  # octets that the connection has accepted
        self.received = 0
        self.started: Time = -1
        self.connected: Time = -1
        self.ended: Time = -1  # the peer's end of file was read
        self.finished: Time = -1  # the connection was over, and everything read
        self.error: OSError | None = None
        self.aborted = False  # by this application
        self._sent = hashlib.sha256()
        self._received = hashlib.sha256()
        self._did = False

    def step(self, conn: Connection, now: Time) -> None:
        """Do whatever is possible; called whenever something has changed, while the connection lives.

        Use `read`, `write`, `close_write`, `close` and `call_at` of this class.
        """
        raise NotImplementedError

    # For `step`.

    def read(self, most: int = READ) -> bytes:
        """Octets that have arrived; b"" when there are none at the moment, or no more at all."""
        data = self.conn.read(most, self.host.agenda.now + self.host.epoch)
        if data:
            self.received += len(data)
            self._received.update(data)
            self._did = True
        return data

    def write(self, data: bytes | memoryview) -> int:
        """Send octets; returns how many were accepted. Don't change them afterwards."""
        count = self.conn.write(data)
        if count:
            self.sent += count
            self._sent.update(data[:count])
            self._did = True
        return count

    def close_write(self) -> None:
        """Send FIN after everything written."""
        self.conn.close_write()
        self._did = True

    def close(self) -> None:
        """Close both directions: nobody reads any more."""
        self.conn.close(self.host.agenda.now + self.host.epoch)
        self._did = True

    def abort(self) -> None:
        """Reset the connection."""
        self.conn.abort()
        self.aborted = True
        self._did = True

    def call_at(self, when: Time) -> None:
        """Have `step` called at that time, if nothing else calls it before."""
        self.host.agenda.put_down(self, when)

    # For the host and the world.

    def attach(self, host: SimHost, conn: Connection, now: Time) -> None:
        """Take an end of a connection."""
        self.host = host
        self.conn = conn
        self.started = now
        conn.owner = self

    def act(self, now: Time) -> None:
        """Something has changed."""
        conn = self.conn
        if self.finished >= 0:
            return
        if self.connected < 0 and conn.connected:
            self.connected = now
        if conn.error is None and not conn.reading_closed and not self.aborted:
            self._did = False
            self.step(conn, now)
            if self._did:
                self.host.core.touch(conn, now + self.host.epoch)
        if self.ended < 0 and conn.at_eof:
            self.ended = now
        if conn.finished and (not conn.readable or conn.reading_closed or self.aborted or conn.error is not None):
            self.finished = now
            self.error = conn.error

    def wake(self, now: Time) -> None:
        self.act(now)
        self.host.settle(now)

    @property
    def sent_digest(self) -> str:
        """SHA-256 of what was sent."""
        return self._sent.hexdigest()

    @property
    def received_digest(self) -> str:
        """SHA-256 of what was received."""
        return self._received.hexdigest()

    @property
    def is_done(self) -> bool:
        """Whether this end has done all that it will."""
        return self.finished >= 0

    def report(self) -> dict[str, Any]:
        """What became of it, for JSON; times in seconds of the world."""
        conn = self.conn
        info = conn.info(self.host.agenda.now + self.host.epoch).as_dict()
        until = self.ended if self.ended >= 0 else self.finished if self.finished >= 0 else self.host.agenda.now
        duration = until - (self.connected if self.connected >= 0 else self.started)
        return {
            "app": self.name,
            "host": self.host.name,
            "local": format_endpoint(*conn.local),
            "remote": format_endpoint(*conn.remote),
            "state": conn.state.value,
            "error": None if self.error is None else (self.error.strerror or str(self.error)),
            "started": _seconds(self.started),
            "connected": _seconds(self.connected),
            "ended": _seconds(self.ended),
            "finished": _seconds(self.finished),
            "sent": self.sent,
            "received": self.received,
            "received_per_second": round(self.received * SECOND / duration) if duration > 0 else None,
            "sent_sha256": self.sent_digest,
            "received_sha256": self.received_digest,
            "info": info,
        }


def _seconds(time: Time) -> float | None:
    return time / SECOND if time >= 0 else None


class Service:
    """A listening port: gives every connection an application of its own."""

    def __init__(self, host: SimHost, listener: Listener, factory: Callable[[], App]) -> None:
        self.host = host
        self.listener = listener
        self.factory = factory
        self.apps: list[App] = []  #: in the order in which their connections were accepted
        listener.owner = self

    @property
    def app(self) -> App:
        """The application of the first connection; `LookupError` as long as there is none."""
        return self.apps[0]

    def act(self, now: Time) -> None:
        """Take what waits."""
        conn = self.listener.accept()
        while conn is not None:
            app = self.factory()
            self.apps.append(app)
            self.host.adopt(app, conn, now)
            app.act(now)
            conn = self.listener.accept()


class _Writer(App):
    """Sends a payload as fast as the connection takes it, then its FIN."""

    def __init__(self, payload: Payload) -> None:
        super().__init__()
        self.payload = payload
        self._closed = False

    def send_payload(self, conn: Connection) -> None:
        """Write as much as possible; close this half at the end."""
        size = self.payload.size
        while self.sent < size:
            if not conn.connected or not self.write(self.payload.piece(self.sent, READ)):
                return
        if conn.connected and not self._closed:
            self._closed = True
            self.close_write()


class Bulk(_Writer):
    """Sends `size` octets, closes its half, and reads what comes back until the end."""

    name = "bulk"

    def __init__(self, size: int, seed: int = 0) -> None:
        super().__init__(Payload(size, seed))

    def step(self, conn: Connection, now: Time) -> None:
        while self.read():
            pass
        self.send_payload(conn)
        if conn.at_eof and self.sent == self.payload.size:
            self.close()


class Sink(App):
    """Reads until the end, then closes."""

    name = "sink"

    def step(self, conn: Connection, now: Time) -> None:
        while self.read():
            pass
        if conn.at_eof:
            self.close()


class SlowReader(App):
    """Reads `size` octets at a time, with a pause after each; closes at the end."""

    name = "slow-reader"

    def __init__(self, size: int, pause: Duration) -> None:
        super().__init__()
        self.size = size
        self.pause = pause
        self._resumes: Time = 0

    def step(self, conn: Connection, now: Time) -> None:
        if conn.readable and now >= self._resumes:
            self.read(self.size)
            self._resumes = now + self.pause
        if conn.readable:
            self.call_at(self._resumes)
        elif conn.at_eof:
            self.close()


class Echo(App):
    """Sends back what it reads; closes after the peer."""

    name = "echo"

    def __init__(self) -> None:
        super().__init__()
        self._waiting = memoryview(b"")

    def step(self, conn: Connection, now: Time) -> None:
        while True:
            if not self._waiting:
                self._waiting = memoryview(self.read(READ))
            if not self._waiting:
                break
            count = self.write(self._waiting)
            self._waiting = self._waiting[count:]
            if not count:
                return
        if conn.at_eof:
            self.close()


class Request(App):
    """Asks with `size` octets, waits for `reply` octets, pauses, and asks again; `count` times in all."""

    name = "request"

    def __init__(self, size: int, reply: int, count: int = 1, pause: Duration = 0, seed: int = 0) -> None:
        super().__init__()
        self.size = size
        self.reply = reply
        self.count = count
        self.pause = pause
        self.payload = Payload(size * count, seed)
        self.times: list[Duration] = []  #: from the start of each question to the end of its answer
        self._asked: Time = -1
        self._resumes: Time = 0

    def step(self, conn: Connection, now: Time) -> None:
        while self.read():
            pass
        if not conn.connected:
            return
        while True:
            if self._asked >= 0 and self.received >= (len(self.times) + 1) * self.reply:
                self.times.append(now - self._asked)
                self._asked = -1
                self._resumes = now + self.pause
            if len(self.times) == self.count or conn.at_eof:
                self.close()
                return
            if now < self._resumes:
                self.call_at(self._resumes)
                return
            if self._asked < 0:
                self._asked = now
            end = (len(self.times) + 1) * self.size
            while self.sent < end:
                if not self.write(self.payload.piece(self.sent, end - self.sent)):
                    return
            if self.reply:
                return

    def report(self) -> dict[str, Any]:
        times = sorted(self.times)
        answer = super().report()
        answer["answers"] = len(times)
        if times:
            answer["answer_median"] = times[len(times) // 2] / SECOND
            answer["answer_worst"] = times[-1] / SECOND
        return answer


class Respond(App):
    """Answers each `size` octets with `reply` octets; closes after the peer."""

    name = "respond"

    def __init__(self, size: int, reply: int, seed: int = 1) -> None:
        super().__init__()
        self.size = size
        self.reply = reply
        self._payload = Payload(1 << 62, seed)

    def step(self, conn: Connection, now: Time) -> None:
        while self.read():
            pass
        owed = self.received // self.size * self.reply
        while self.sent < owed:
            if not self.write(self._payload.piece(self.sent, owed - self.sent)):
                return
        if conn.at_eof:
            self.close()


class OnOff(_Writer):
    """Sends `size` octets, pauses, and so on, `count` times in all; then closes its half and waits for the end."""

    name = "on-off"

    def __init__(self, size: int, pause: Duration, count: int = 10, seed: int = 0) -> None:
        super().__init__(Payload(size * count, seed))
        self.size = size
        self.pause = pause
        self._until = size
        self._resumes: Time = NEVER

    def step(self, conn: Connection, now: Time) -> None:
        while self.read():
            pass
        if conn.at_eof and self.sent == self.payload.size:
            self.close()
            return
        if not conn.connected:
            return
        if now >= self._resumes:
            self._resumes = NEVER
            self._until = min(self._until + self.size, self.payload.size)
        while self.sent < self._until:
            if not self.write(self.payload.piece(self.sent, self._until - self.sent)):
                return
        if self.sent == self.payload.size:
            self.send_payload(conn)
            return
        if self._resumes == NEVER:
            self._resumes = now + self.pause
        self.call_at(self._resumes)


KINDS: dict[str, type[App]] = {kind.name: kind for kind in (Bulk, Sink, Echo, Request, Respond, SlowReader, OnOff)}
"""The applications by name, for scenarios."""
