"""Passive opens: the listening ports, and the handshakes that have begun at them (RFC 9293 3.10.7.2).

A SYN for a listener makes a half-open record, which waits for the third segment of the handshake, and for the time of
its next SYN-ACK. The three waits are constant, so there is one ordered table for each, in which the order of entry is
the order of expiry: so long after the latest SYN-ACK. A record stands in one of them, which also serves to look it up,
and leaves it at once when it is gone.

A listener's SYN queue has a bound. For the first three seconds a record is safe: in that time an honest peer on a
usable path answers, and so the queue takes as many new SYNs in three seconds as it has places, whatever else waits in
it. Afterwards it waits on sufferance, for the peer whose answers were lost; when the queue is full, a new SYN takes the
place of the oldest of these. If there is none, the new SYN is dropped: driving out the young would let a flood end
every handshake whose round trip takes longer than the flood to fill the queue. Each listener keeps the order of its own
last waits, so that a flood of one does not cost another its peers.
"""

from __future__ import annotations

import errno
from collections import OrderedDict

from stack.host.counters import Counters
from stack.host.echo import Complaint
from stack.host.isn import Numbers
from stack.host.output import Output
from stack.host.paths import NOT_ABOUT_LENGTH, Paths
from stack.tcp.config import TcpOptions
from stack.tcp.connection import Endpoint
from stack.tcp.half_open import SYN_ACK_WAITS, HalfOpen, Verdict
from stack.tcp.listener import Listener
from stack.tcp.seq import MASK
from stack.tcp.state import CLOSED, State
from stack.wire.drop import Drop
from stack.wire.segment import FIN, SYN, FastOpenOption, Segment
from stack.wire.units import NEVER, Time

V4_ANY = bytes(4)  #: Where a listener on all IPv4 addresses stands.
V6_ANY = bytes(16)


class Handshakes:
    """Listeners by port and address, and half-open records in the host's table of flows."""

    __slots__ = ("_counters", "_listeners", "_numbers", "_output", "_paths", "_waits")

    def __init__(self, numbers: Numbers, output: Output, counters: Counters, paths: Paths) -> None:
        self._numbers = numbers
        self._output = output
        self._counters = counters
        self._paths = paths
        self._listeners: dict[tuple[int, bytes], Listener] = {}
        self._waits: list[OrderedDict[bytes, HalfOpen]] = [OrderedDict() for _ in SYN_ACK_WAITS]

    def __len__(self) -> int:
        """How many have begun and are not complete."""
        return sum([len(waits) for waits in self._waits])

    def find(self, key: bytes) -> HalfOpen | None:
        """The half-open record of a flow."""
        for waits in self._waits:
            record = waits.get(key)
            if record is not None:
                return record
        return None

    # Listeners.

    def listener_for(self, local: Endpoint, key: bytes = b"") -> Listener | None:
        """Who listens there: one on that very address before one on all of its family, and that before one on all.

        Where several share the place, the flow's key says who is meant.
        """
        address, port = local
        found = (
            self._listeners.get((port, address))
            or self._listeners.get((port, V4_ANY if len(address) == 4 else V6_ANY))
            or self._listeners.get((port, b""))
        )
        if found is not None and found.group is not None:
            return found.group[self._numbers.keyed(b"group", key) % len(found.group)]
        return found

    def listeners(self) -> list[Listener]:
        return [each for first in self._listeners.values() for each in first.group or (first,)]

    def listens(self, port: int, address: bytes) -> bool:
        return (port, address) in self._listeners

    def add(self, port: int, address: bytes, backlog: int, options: TcpOptions) -> Listener:
        """Listen; `OSError(EADDRINUSE)` if somebody does, unless both are willing to share."""
        listener = Listener(address, port, max(backlog, 1), options)
        first = self._listeners.setdefault((port, address), listener)
        if first is not listener:
            if not (first.options.reuse_port and options.reuse_port):
                raise OSError(errno.EADDRINUSE, f"port {port} is being listened on already")
            first.share(listener)
        return listener

    def remove(self, listener: Listener, now: Time) -> None:
        """Stop listening; handshakes that are not complete are reset."""
        place = listener.port, listener.address
        heir = listener.unshare()
        if self._listeners.get(place) is listener:
            if heir is not None:
                self._listeners[place] = heir
            else:
                del self._listeners[place]
        for record in [record for waits in self._waits for record in waits.values() if record.listener is listener]:
            self.forget(record)
            self._output.queue(record.local, record.remote, record.abort(now), now, CLOSED, listener.options)

    # Segments.

    def on_segment_to_listener(
        self,
        key: bytes,
        local: Endpoint,
        remote: Endpoint,
        seg: Segment,
        listener: Listener,
        now: Time,
        fastopen: FastOpenOption | None = None,
        above: int = -1,
    ) -> State:
        """LISTEN (3.10.7.2), after RST and ACK were dealt with: only a SYN means something. `above`: see `begin`."""
        if not seg.flags & SYN:
            self._counters.drop(Drop.NO_CONNECTION)
        elif seg.flags & FIN:
            self._counters.drop(Drop.BAD_FLAGS)
        elif not self.has_room(listener):
            self._counters.drop(Drop.SYN_QUEUE_FULL)
        else:
            return self.begin(key, local, remote, seg, listener, now, above, fastopen).state
        return listener.state

    # RFC4987-01
    def has_room(self, listener: Listener) -> bool:
        """Whether a SYN may begin. Where the queue is full, who has waited longest after a last SYN-ACK is let go."""
        if not listener.syn_queue_full:
            return True
        oldest = listener.last_waits.oldest
        if oldest is None:
            return False
        self.forget(oldest)
        oldest.expire()
        self._counters.drop(Drop.SYN_QUEUE_EVICTED)
        return True

    # RFC6191-04
    def initial_number(self, key: bytes, now: Time, above: int) -> int:
        """The initial sequence number, beyond `above`: the last one of an old connection, or -1."""
        iss = self._numbers.isn(key, now)
        if above >= 0 and (iss - above) & MASK >= 1 << 31:
            iss = (above + (1 << 17)) & MASK  # the clock has not come as far as the old connection did (3.4.1)
        return iss

    # RFC6191-04
    def begin(
        self,
        key: bytes,
        local: Endpoint,
        remote: Endpoint,
        syn: Segment,
        listener: Listener,
        now: Time,
        above: int,
        fastopen: FastOpenOption | None = None,
    ) -> HalfOpen:
        """Answer a SYN, the first time with that Fast Open option; `above` as for `initial_number`."""
        record = HalfOpen(
            key,
            syn,
            iss=self.initial_number(key, now, above),
            offer=self._paths.offer(remote[0], listener.options),
            ts_offset=self._numbers.timestamp_offset(local[0], remote[0]),
            listener=listener,
            now=now,
        )
        listener.half_open += 1
        self._waits[0][key] = record
        syn_ack = record.syn_ack(now)
        syn_ack.fastopen = fastopen  # RFC7413-08: a SYN-ACK that is sent again goes without
        self._send(record, syn_ack, now)
        return record

    def on_segment(self, record: HalfOpen, seg: Segment, now: Time) -> bool:
        """A segment for a half-open record; true when the handshake is complete and a connection is to be made."""
        verdict = record.on_segment(seg, now)
        if verdict is Verdict.COMPLETE:
            if not seg.length and record.sent <= record.listener.options.defer_accept:
                return False  # the application wants to hear of it when there is something to read
            if not record.listener.accept_queue_full:
                self.forget(record)
                return True
            self._counters.drop(Drop.ACCEPT_QUEUE_FULL)
        elif verdict is Verdict.REPEAT:
            self._wait_again(record)
            self._send(record, record.syn_ack(now), now)
        elif verdict is Verdict.GONE:
            self.forget(record)
        elif verdict is Verdict.RESET:
            self._counters.drop(Drop.BAD_ACK)
            self._send(record, record.reset_for(seg, now), now)
        else:
            self._counters.drop(Drop.OUT_OF_WINDOW)
            if verdict is Verdict.ACK:
                self._send(record, record.ack(now), now)
        return False

    def _wait_again(self, record: HalfOpen) -> None:
        """A SYN that comes again shows that somebody is there: the wait for an answer begins anew."""
        for waits in self._waits:
            if record.key in waits:
                waits.move_to_end(record.key)
        if record.key in self._waits[-1]:
            record.listener.last_waits.remove(record)
            record.listener.last_waits.append(record)

    def on_icmp_error(self, record: HalfOpen, what: Complaint) -> bool:
        """An ICMP error about a segment of that flow; whether it is about the SYN-ACK, and counts.

        The peer can't be told, and the application has not heard of it yet (RFC 5461 4.1). A SYN-ACK is never too long.
        """
        if what.mtu != NOT_ABOUT_LENGTH or what.seq != record.iss:
            return False
        if not record.listener.options.soft_errors_end_opening:
            return False
        self.forget(record)
        record.expire()
        return True

    def forget(self, record: HalfOpen) -> None:
        """It is complete, or came to nothing."""
        for waits in self._waits:
            if waits.get(record.key) is record:
                del waits[record.key]
                record.listener.half_open -= 1
                record.listener.last_waits.remove(record)

    # Time.

    def next_timeout(self) -> Time:
        due = NEVER
        for waits, lasts in zip(self._waits, SYN_ACK_WAITS, strict=True):
            if waits:
                due = min(due, next(iter(waits.values())).sent_at + lasts)
        return due

    # RFC4987-04
    def on_timeout(self, now: Time) -> None:
        """Repeat the SYN-ACKs whose wait is over, or give up after the last."""
        last = len(self._waits) - 1
        for index, (waits, lasts) in enumerate(zip(self._waits, SYN_ACK_WAITS, strict=True)):
            while waits and (record := next(iter(waits.values()))).sent_at + lasts <= now:
                if index == last:
                    self.forget(record)
                    record.expire()
                    continue
                del waits[record.key]
                self._waits[index + 1][record.key] = record
                if index + 1 == last:
                    record.listener.last_waits.append(record)
                self._send(record, record.syn_ack(now), now)

    def _send(self, record: HalfOpen, seg: Segment, now: Time) -> None:
        self._output.queue(record.local, record.remote, seg, now, record.state, record.listener.options)
