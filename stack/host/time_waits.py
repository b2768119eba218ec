"""The connections in TIME-WAIT, as small records, in order of their expiry (RFC 9293 3.6.1).

2 MSL is the same for all, so the order of entry is the order of expiry: one ordered table serves to look a flow up and
to find who is due. A record whose wait starts afresh moves to the end. There is a bound; the oldest makes way.
"""

from __future__ import annotations

from collections import OrderedDict

from stack.host.counters import Counters
from stack.host.output import Output
from stack.tcp.config import TcpOptions
from stack.tcp.connection import Endpoint
from stack.tcp.time_wait import TimeWait
from stack.wire.segment import Segment
from stack.wire.units import NEVER, Duration, Time, seconds

MAX_RECORDS = 65_536


class TimeWaits:
    """The records by flow; `options` are the host's, whose `msl` counts."""

    __slots__ = ("_counters", "_lasts", "_output", "records")

    def __init__(self, output: Output, counters: Counters, options: TcpOptions) -> None:
        self._output = output
        self._counters = counters
        self._lasts: Duration = 2 * seconds(options.msl)
        self.records: OrderedDict[bytes, TimeWait] = OrderedDict()

    def enter(self, key: bytes, record: TimeWait, now: Time) -> None:
        """A connection has become this record."""
        if len(self.records) >= MAX_RECORDS:
            oldest = next(iter(self.records.values()))
            oldest.expire()
            self.forget(oldest)
        record.lasts = self._lasts
        record.expires = now + record.lasts
        self.records[key] = record

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

    def forget(self, record: TimeWait) -> None:
        if self.records.get(record.key) is record:
            del self.records[record.key]

    def next_timeout(self) -> Time:
        return next(iter(self.records.values())).expires if self.records else NEVER

    def on_timeout(self, now: Time) -> None:
        """End those whose 2 MSL are over."""
        while self.next_timeout() <= now:
            _, record = self.records.popitem(last=False)
            record.expire()

    def clear(self) -> None:
        """The host closes: nobody waits any more."""
        for record in self.records.values():
            record.abort()
        self.records.clear()
