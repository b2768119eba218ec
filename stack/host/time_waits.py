"""The connections in TIME-WAIT, as small records, in order of their expiry (RFC 9293 3.6.1).

2 MSL is the same for all, so the order of entry is the order of expiry: one ordered table serves to look a flow up and
to find who is due. A record whose wait starts afresh moves to the end. There is a bound; the oldest makes way.

What ended together expires together: thousands of connections a second would wake the host thousands of times. So
after some have expired, the next ones are left waiting for a moment longer, and then go together. None goes early. And
what has arrived does not wait until a crowd has gone: they go in parts, as connections are told of their deadlines.

A SYN that may reopen such a connection begins a handshake, whose half-open record is then found before this one. The
record stays: if the handshake comes to nothing, for instance because the SYN was an old duplicate that the peer
answers for with a reset, we are in TIME-WAIT as before (RFC 9293 3.6.1, MAY-2). It goes when the handshake is complete.
"""

from __future__ import annotations

from collections import OrderedDict

from stack.host.counters import Counters
from stack.host.output import Output
from stack.host.timeouts import AT_ONCE
from stack.tcp.config import TcpOptions
from stack.tcp.connection import Endpoint
from stack.tcp.time_wait import TimeWait
from stack.wire.drop import Drop
from stack.wire.segment import Segment
from stack.wire.units import MS, NEVER, Duration, Time, seconds

MAX_RECORDS = 65_536
REST: Duration = 100 * MS  #: Between wake-ups; next to 2 MSL it is nothing.


class TimeWaits:
    """The records by flow; `options` are the host's, whose `msl` counts."""

    __slots__ = ("_counters", "_lasts", "_output", "_rests_until", "records")

    def __init__(self, output: Output, counters: Counters, options: TcpOptions) -> None:
        self._output = output
        self._counters = counters
        self._lasts: Duration = 2 * seconds(options.msl)
        self._rests_until: Time = 0  # before that nobody is woken for those who have expired
        self.records: OrderedDict[bytes, TimeWait] = OrderedDict()

    # RFC 9293 MUST-13
    def enter(self, key: bytes, record: TimeWait, now: Time) -> None:
        """A connection has become this record."""
        if len(self.records) >= MAX_RECORDS:
            oldest = next(iter(self.records.values()))
            oldest.expire()
            self.forget(oldest)
        record.lasts = self._lasts
        record.expires = now + record.lasts
        self.records[key] = record

    # RFC6191-03
    def on_old_syn(self) -> None:
        """A SYN that a listener would have taken is an old duplicate: that is no news for anybody (RFC 6191 2)."""
        self._counters.drop(Drop.TIME_WAIT)

    def on_segment(self, record: TimeWait, local: Endpoint, remote: Endpoint, seg: Segment, now: Time) -> None:
        """Answer a late segment, if it needs one."""
        before = record.expires
        answer = record.on_segment(seg, now)
        if isinstance(answer, Segment):
            self._output.queue(local, remote, answer, now, record.state, record.options)
        else:
            self._counters.drop(answer)
        if record.expires != before:
            self.records.move_to_end(record.key)

    # RFC 9293 MAY-2
    def give_way(self, key: bytes) -> None:
        """A new connection has taken the place, if somebody waited there."""
        record = self.records.pop(key, None)
        if record is not None:
            record.reopen()

    def forget(self, record: TimeWait) -> None:
        if self.records.get(record.key) is record:
            del self.records[record.key]

    def next_timeout(self) -> Time:
        return max(next(iter(self.records.values())).expires, self._rests_until) if self.records else NEVER

    def on_timeout(self, now: Time) -> None:
        """End those whose 2 MSL are over."""
        ended = 0
        while ended < AT_ONCE and self.records and next(iter(self.records.values())).expires <= now:
            _, record = self.records.popitem(last=False)
            record.expire()
            ended += 1
        if ended:
            self._rests_until = now + REST if ended < AT_ONCE else now

    def clear(self) -> None:
        """The host closes: nobody waits any more."""
        for record in self.records.values():
            record.abort()
        self.records.clear()
