"""Segments into packets, and the queue of what belongs to no connection.

The host owns the IP header: addresses, hop limit, differentiated services. A TCP checksum leaves partial (the sum of
the pseudo-header alone); the link completes it, or its device does. The identification field is 0, for a packet that
must not be fragmented needs none (RFC 6864), and so it tells nobody anything.

Answers to SYNs, resets and ICMP wait in one queue with a bound, because anybody can ask for them; so do datagrams.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from stack.host.counters import Counters
from stack.host.trace import TraceEvent
from stack.tcp.config import TcpOptions
from stack.tcp.connection import Endpoint
from stack.tcp.state import State
from stack.wire import icmp, ip, tcp
from stack.wire.drop import Drop, WireError
from stack.wire.ip import PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP
from stack.wire.packet import PARTIAL, Packet
from stack.wire.segment import RST, SYN, Segment
from stack.wire.units import Time

Left = Callable[[], None]
"""Called when a packet leaves, or is lost here."""

MAX_QUEUED = 4096  #: Packets; more are dropped and counted.


class Output:
    """Makes packets, counts and traces them; holds those that no connection will be asked for."""

    __slots__ = ("_queue", "counters", "mtu", "trace")

    def __init__(self, counters: Counters, mtu: int) -> None:
        self.counters = counters
        self.mtu = mtu
        self.trace: Callable[[TraceEvent], None] | None = None
        self._queue: deque[tuple[Packet, TraceEvent | None, Left | None]] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def packet(
        self, local: Endpoint, remote: Endpoint, seg: Segment, now: Time, state: State, options: TcpOptions
    ) -> Packet:
        """The packet for a segment that leaves at once; `state` is the sender's, for the trace."""
        if self.trace is not None:
            self.trace(TraceEvent(now, True, local, remote, seg, state))
        return self._encode(local, remote, seg, options)

    # RFC 9293 MUST-45, MUST-48, MUST-49, SHLD-22, MAY-4, RFC1122-05, RFC1122-25
    def _encode(self, local: Endpoint, remote: Endpoint, seg: Segment, options: TcpOptions) -> Packet:
        counters = self.counters
        counters.segments_out += seg.segments
        source, target = local[0], remote[0]
        if seg.flags & (RST | SYN):
            if seg.flags & RST:
                counters.resets_out += 1
            by_kind = options.habits.syn_options_by_kind
            header = tcp.encode(seg, tcp.address_sum(source, target), by_kind=by_kind)
        else:
            header = tcp.encode(seg, tcp.address_sum(source, target))
        length = len(header) + seg.size
        head = ip.encode(
            source, target, PROTO_TCP, length, hop_limit=options.ttl, traffic_class=options.dscp << 2 | seg.ecn
        )
        return Packet(head + header, seg.parts, seg.gso_size, PARTIAL)

    def queue(
        self, local: Endpoint, remote: Endpoint, seg: Segment, now: Time, state: State, options: TcpOptions
    ) -> None:
        """Queue a segment that belongs to no connection."""
        if len(self._queue) >= MAX_QUEUED:
            self.counters.drop(Drop.QUEUE_FULL)
        else:
            event = None if self.trace is None else TraceEvent(now, True, local, remote, seg, state)
            self._queue.append((self._encode(local, remote, seg, options), event, None))

    def queue_icmp(self, local: bytes, remote: bytes, message: icmp.Icmp, hop_limit: int) -> None:
        """Queue an ICMP message; one that does not fit the link's MTU is refused with `WireError`."""
        v6 = len(local) == 16
        if (40 if v6 else 20) + icmp.HEADER_LENGTH + len(message.payload) > self.mtu:
            raise WireError(Drop.TOO_LONG, "larger than the link's MTU")
        body = icmp.encode(message, local, remote)
        head = ip.encode(local, remote, PROTO_ICMPV6 if v6 else PROTO_ICMP, len(body), hop_limit=hop_limit)
        if len(self._queue) >= MAX_QUEUED:
            raise WireError(Drop.QUEUE_FULL)
        self.counters.icmp_out += 1
        self._queue.append((Packet(head + body), None, None))

    def queue_datagram(self, packet: Packet, left: Left) -> None:
        """Queue a UDP datagram; one that finds no room is lost, as it may be anywhere on its way."""
        if len(self._queue) >= MAX_QUEUED:
            self.counters.drop(Drop.QUEUE_FULL)
            left()
        else:
            self._queue.append((packet, None, left))

    def poll(self) -> Packet | None:
        """The next queued packet, or None."""
        if not self._queue:
            return None
        packet, event, left = self._queue.popleft()
        if left is not None:
            left()
        if event is not None and self.trace is not None:
            self.trace(event)  # now, so that an answer is traced after what it answers
        return packet
