"""What packets and time do to a host: the half of it that faces the network.

In, for each packet: decode IP, refuse what is not for us or comes from where nothing can come from, check the
checksum unless somebody has vouched for it, decode TCP, look the flow up, and hand the segment to a connection, a
half-open record or a TIME-WAIT record; else to a listener; else owe a reset. Whatever is malformed is counted under
its reason and dropped. Nothing that a packet says raises past `receive`.

Out, pulled: `poll_transmit` gives what belongs to no connection first (answers to SYNs, resets, ICMP: one bounded
queue), then one segment of each connection that has something to say, in turn.

Tables are keyed by the raw octets of both addresses and ports: see `stack.tcp.flow`.

Whoever changes a connection calls `touch` afterwards: it queues the connection for sending, keeps its deadline, and
takes it out of the table when it is over. What an application asks for is `stack.host.host`'s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from stack.host import arrival
from stack.host.bindings import Bindings
from stack.host.counters import Counters
from stack.host.echo import Complaint, DatagramComplaint, Echo, Ping
from stack.host.fast_open import FastOpens
from stack.host.handshakes import Handshakes
from stack.host.isn import Numbers
from stack.host.output import Output
from stack.host.paths import Paths
from stack.host.ports import PortChooser
from stack.host.time_waits import TimeWaits
from stack.host.timeouts import ConnectionTimeouts
from stack.host.trace import TraceEvent
from stack.host.udp import DatagramPort, Datagrams
from stack.ip.addresses import AddressTable, is_valid_source
from stack.ip.icmp import TokenBucket
from stack.ip.path_mtu import PathMtus
from stack.tcp import fast_open, resets
from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection, Endpoint
from stack.tcp.fast_open import Arrival
from stack.tcp.half_open import HalfOpen
from stack.tcp.listener import Listener
from stack.tcp.negotiate import header_bytes
from stack.tcp.state import CLOSED, LISTEN, TIME_WAIT, State
from stack.wire import ip, udp
from stack.wire.address import is_multicast
from stack.wire.drop import Drop, WireError
from stack.wire.ip import PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP, IPHeader
from stack.wire.packet import VERIFY, Packet
from stack.wire.segment import ACK, RST, SYN, FastOpenOption, Segment
from stack.wire.units import Time

RESETS_PER_SECOND = 1000  #: To segments of no connection, so that a flood is not answered in kind.
MAX_PAYLOAD = 65_535 - 80  #: Octets of text beside an IPv4 header and a TCP header with all options.
MIN_MTU = 576  #: Octets that every IPv4 host must take (RFC 1122 3.3.3); IPv6 asks for 1280 of its links.

Awakened = Connection | Listener | Ping | DatagramPort


class Engine:
    """The tables of one host, and what happens to them. Made as a `Host`, whose arguments these are."""

    def __init__(
        self, *, secret: bytes, mtu: int = 1500, options: TcpOptions | None = None, max_payload: int = 0
    ) -> None:
        if mtu < MIN_MTU:
            raise ValueError(f"an MTU of {mtu} is less than {MIN_MTU}")
        if not 0 <= max_payload <= MAX_PAYLOAD:
            raise ValueError(f"no super-frame holds {max_payload} octets of text, but at most {MAX_PAYLOAD}")
        self.mtu = mtu
        self.max_payload = max_payload
        self.options = options if options is not None else TcpOptions()
        self.counters = Counters()
        self.on_fault: Callable[[BaseException], None] | None = None
        self._paths = Paths(PathMtus(mtu), self.counters)
        self._addresses = AddressTable()
        self._numbers = Numbers(secret)
        self._fast_opens = FastOpens(self._numbers, self.counters)
        self._ports = PortChooser(self._numbers)
        self._output = Output(self.counters, mtu)
        self._connections: dict[bytes, Connection] = {}
        self._handshakes = Handshakes(self._numbers, self._output, self.counters, self._paths)
        self._time_waits = TimeWaits(self._output, self.counters, self.options)
        self._bindings = Bindings(self._ports, self._connections, self._handshakes, self._time_waits)
        self._echo = Echo(self._output, self.counters, self._numbers)
        self._ready: deque[Connection] = deque()
        self._timeouts = ConnectionTimeouts()
        self._woken: list[Awakened] = []
        self._datagrams = Datagrams(self._addresses, self._ports, self._output, self._paths.mtus, self._wake)
        self._reset_limit = TokenBucket(RESETS_PER_SECOND)

    @property
    def trace(self) -> Callable[[TraceEvent], None] | None:
        return self._output.trace

    @trace.setter
    def trace(self, listener: Callable[[TraceEvent], None] | None) -> None:
        self._output.trace = listener

    # Packets in.

    def receive(self, packet: Packet, now: Time) -> None:
        """Take a packet from the link. Never raises for what the packet says."""
        self.counters.packets_in += 1
        try:
            self._receive(packet, now)
        except WireError as refusal:
            self.counters.drop(refusal.reason)

    # RFC3168-14
    def _receive(self, packet: Packet, now: Time) -> None:
        packet = arrival.prepared(packet)
        frame = packet.head
        header = ip.decode(frame, len(packet) if packet.parts else 0)
        self._check_addresses(header)
        if header.fragment:
            raise WireError(Drop.FRAGMENT)
        if header.protocol == PROTO_TCP:
            seg = arrival.segment(packet, header)
            seg.ecn = header.traffic_class & 3
            self._on_segment(header.src + header.dst + frame[header.start : header.start + 4], header, seg, now)
        elif header.protocol == (PROTO_ICMP if header.version == 4 else PROTO_ICMPV6):
            self._on_icmp(frame, header, now)
        elif header.protocol == PROTO_UDP:
            datagram = udp.decode(frame, header, vouched=packet.csum != VERIFY)
            if not self._datagrams.receive(datagram, header):
                self._echo.refuse(frame, header, now)
                raise WireError(Drop.PORT_UNREACHABLE)
        else:
            raise WireError(Drop.UNKNOWN_PROTOCOL)

    # RFC 9293 MUST-57, MUST-63, RFC1122-03, RFC1122-04, RFC1122-23
    def _check_addresses(self, header: IPHeader) -> None:
        """RFC 1122 3.2.1.3; RFC 9293 3.9.2.3, MUST-57 and MUST-63."""
        source, target = header.src, header.dst
        if not is_valid_source(source) or self._addresses.is_broadcast(source) or self._addresses.is_local(source):
            raise WireError(Drop.MARTIAN)
        if not self._addresses.is_local(target):
            group = is_multicast(target) or self._addresses.is_broadcast(target)
            raise WireError(Drop.BROADCAST if group else Drop.NOT_FOR_US)

    def _on_segment(self, key: bytes, header: IPHeader, seg: Segment, now: Time) -> None:
        self.counters.segments_in += seg.segments
        if seg.flags & RST:
            self.counters.resets_in += 1
        local, remote = (header.dst, seg.dst_port), (header.src, seg.src_port)
        conn = self._connections.get(key)
        if conn is not None:
            self._feed(conn, seg, now)
            state = conn.state
        else:
            state = self._without_connection(key, local, remote, seg, now)
        if self._output.trace is not None:
            self._output.trace(TraceEvent(now, False, local, remote, seg, state))

    def _feed(self, conn: Connection, seg: Segment, now: Time) -> None:
        try:
            conn.on_segment(seg, now)
        except Exception as fault:
            self._contain(conn, fault)
        self.touch(conn, now)

    def _contain(self, conn: Connection, fault: Exception) -> None:
        """A fault of ours in one connection ends that one, and nothing else."""
        self.counters.drop(Drop.INTERNAL_ERROR)
        try:
            conn.abort()
        except Exception:
            conn.bury()  # too broken even for that
        if self.on_fault is not None:
            self.on_fault(fault)

    def _without_connection(self, key: bytes, local: Endpoint, remote: Endpoint, seg: Segment, now: Time) -> State:
        """Half-open, TIME-WAIT, LISTEN or CLOSED; returns our state after the segment."""
        record = self._handshakes.find(key)
        if record is not None:
            if not self._handshakes.on_segment(record, seg, now):
                return record.state
            return self._complete(record, seg, now)
        listener = self._handshakes.listener_for(local, key)
        waiting = self._time_waits.records.get(key)
        if waiting is not None:
            if listener is None or seg.flags & (SYN | ACK | RST) != SYN:
                self._time_waits.on_segment(waiting, local, remote, seg, now)
                return waiting.state
            if not waiting.may_reopen(seg, timestamps=listener.options.timestamps):
                self._time_waits.on_old_syn()
                return waiting.state
            state = self._listen(key, local, remote, seg, listener, now, waiting.snd_nxt)
            return state if state is not LISTEN else waiting.state
        if listener is None or seg.flags & (ACK | RST):
            self._reset_for(local, remote, seg, now)
            return CLOSED if listener is None else listener.state
        return self._listen(key, local, remote, seg, listener, now, -1)

    def _listen(
        self, key: bytes, local: Endpoint, remote: Endpoint, seg: Segment, listener: Listener, now: Time, above: int
    ) -> State:
        """LISTEN (3.10.7.2), or TIME-WAIT that may make way: `above` is then the last number of the old connection."""
        option: FastOpenOption | None = None
        if listener.options.fastopen:
            takes, option = self._fast_opens.judge(seg, listener, key, now)
            if takes:
                return self._open_fast(key, local, remote, seg, listener, now, above, option)
        return self._handshakes.on_segment_to_listener(key, local, remote, seg, listener, now, option, above)

    def _open_fast(
        self,
        key: bytes,
        local: Endpoint,
        remote: Endpoint,
        syn: Segment,
        listener: Listener,
        now: Time,
        above: int,
        option: FastOpenOption | None,
    ) -> State:
        """A SYN whose data the application gets at once makes a connection (RFC 7413 4.2.2)."""
        arrival = Arrival(option, listener.fast_opens)
        try:
            iss = self._handshakes.initial_number(key, now, above)
            conn = self._connection(key, local, remote, iss, listener.options)
            fast_open.accept(conn, syn, arrival, now)
        except Exception as fault:
            arrival.on_end()
            return self._on_fault_in_opening(fault, local, remote, syn, now)
        self._adopt(conn, listener)
        self.counters.fast_opens += 1
        self.touch(conn, now)
        return conn.state

    def _complete(self, record: HalfOpen, seg: Segment, now: Time) -> State:
        """The third segment of a handshake: now a connection is worth its memory."""
        listener = record.listener
        rtt = now - record.sent_at if record.sent == 1 else -1
        try:
            conn = self._connection(record.key, record.local, record.remote, record.iss, listener.options)
            conn.accept(record.syn, record.agreement(), now, rtt=rtt, retries=record.sent - 1)
        except Exception as fault:
            return self._on_fault_in_opening(fault, record.local, record.remote, seg, now)
        self._adopt(conn, listener)
        self._feed(conn, seg, now)
        return conn.state

    def _adopt(self, conn: Connection, listener: Listener) -> None:
        """A connection has come about that a listener's application may take."""
        self._connections[conn.key] = conn
        self._time_waits.give_way(conn.key)
        listener.push(conn)
        self._wake(listener)
        self.counters.accepted += 1

    def _on_fault_in_opening(
        self, fault: Exception, local: Endpoint, remote: Endpoint, seg: Segment, now: Time
    ) -> State:
        """No connection has come about, for a fault such as a user's own congestion control's."""
        self.counters.drop(Drop.INTERNAL_ERROR)
        self._reset_for(local, remote, seg, now)
        if self.on_fault is not None:
            self.on_fault(fault)
        return CLOSED

    # RFC1122-14
    def _reset_for(self, local: Endpoint, remote: Endpoint, seg: Segment, now: Time) -> None:
        """A segment that no connection expects is answered with a reset, unless it is one (3.10.7.1)."""
        self.counters.drop(Drop.NO_CONNECTION)
        if seg.flags & RST or not self._reset_limit.take(now):
            return
        offset = self._numbers.timestamp_offset(local[0], remote[0])
        reset = resets.answer(seg, self.options, offset, now)
        self._output.queue(local, remote, reset, now, CLOSED, self.options)

    # RFC 9293 MUST-54
    def _on_icmp(self, frame: bytes, header: IPHeader, now: Time) -> None:
        outcome = self._echo.receive(frame, header, now)
        if isinstance(outcome, Ping):
            self._wake(outcome)
        elif isinstance(outcome, DatagramComplaint):
            self._datagrams.on_complaint(outcome)
        elif isinstance(outcome, Complaint):
            conn = self._connections.get(outcome.key)
            if conn is None:
                record = self._handshakes.find(outcome.key)
                if record is None or not self._handshakes.on_icmp_error(record, outcome):
                    raise WireError(Drop.ICMP_UNMATCHED)
                return
            try:
                self._paths.on_complaint(conn, outcome, now)
            except Exception as fault:  # such as a user's own congestion control's
                self._contain(conn, fault)
            self.touch(conn, now)

    # Packets out.

    def poll_transmit(self, now: Time) -> Packet | None:
        """The next packet that should leave now, or None."""
        packet = self._output.poll()
        ready = self._ready
        paths = self._paths.mtus.version
        while packet is None and ready:
            conn = ready[0]
            try:
                if conn.path_version != paths:
                    self._paths.follow(conn)
                seg = conn.poll_transmit(now)
            except Exception as fault:
                self._contain(conn, fault)
                seg = None
            if seg is None:
                ready.popleft()
                conn.queued = False
                self._settle(conn, now)
                if conn.resets_owed:  # left by a fault
                    self.touch(conn, now)
            else:
                ready.rotate(-1)
                packet = self._output.packet(conn.local, conn.remote, seg, now, conn.state, conn.options)
        if packet is not None:
            self.counters.packets_out += 1
        return packet

    # Time.

    def next_timeout(self) -> Time:
        """When `on_timeout` wants to be called; NEVER when nothing waits."""
        return min(
            self._timeouts.earliest(),
            self._handshakes.next_timeout(),
            self._time_waits.next_timeout(),
            self._paths.mtus.next_timeout(),
        )

    def on_timeout(self, now: Time) -> None:
        """Do what is due, or so much of it that nobody waits for long: `next_timeout` tells if there is more."""
        for conn in self._timeouts.take_due(now):
            try:
                conn.on_timeout(now)
            except Exception as fault:
                self._contain(conn, fault)
            if conn.advice:
                self._paths.on_advice(conn, now)
            self.touch(conn, now)
        self._handshakes.on_timeout(now)
        self._time_waits.on_timeout(now)
        self._paths.mtus.on_timeout(now)

    def _connection(self, key: bytes, local: Endpoint, remote: Endpoint, iss: int, options: TcpOptions) -> Connection:
        return Connection(
            local,
            remote,
            iss=iss,
            offer=self._paths.offer(remote[0], options),
            mss_limit=self._paths.mtus.mtu(remote[0]) - header_bytes(remote[0]),
            ts_offset=self._numbers.timestamp_offset(local[0], remote[0]),
            options=options,
            drops=self.counters.by_reason,
            key=key,
            max_payload=self.max_payload,
        )

    def touch(self, conn: Connection, now: Time) -> None:
        """Something was done to a connection: see to what follows from it."""
        if not conn.queued:
            conn.queued = True
            self._ready.append(conn)
        self._settle(conn, now)

    def _settle(self, conn: Connection, now: Time) -> None:
        """Keep tables, deadlines and wake-ups in step with what the connection has become."""
        if conn.changed:
            conn.changed = False
            self._wake(conn)
        state = conn.own_state
        if state is not CLOSED and state is not TIME_WAIT:
            self._timeouts.watch(conn)
            return
        self._timeouts.forget(conn)
        record = conn.time_wait
        if self._connections.get(conn.key) is conn:
            del self._connections[conn.key]
            if record is not None:
                self._time_waits.enter(conn.key, record, now)
        if record is not None and record.state is CLOSED:
            self._time_waits.forget(record)

    def _wake(self, what: Awakened) -> None:
        if what.owner is not None:
            self._woken.append(what)

    def take_woken(self) -> list[Awakened]:
        """Those with an owner for whom something has changed since the last call; some may be there twice."""
        woken = self._woken
        if woken:
            self._woken = []
        return woken

    def state_of(self, packet: Packet, outgoing: bool) -> State | None:
        """The state of the connection that a packet belongs to, for captures; None if there is none."""
        frame = packet.frame()
        try:
            header = ip.decode(frame)
        except WireError:
            return None
        if header.protocol != PROTO_TCP or header.end - header.start < 4:
            return None
        ports = frame[header.start : header.start + 4]
        if outgoing:
            key = header.dst + header.src + ports[2:] + ports[:2]
        else:
            key = header.src + header.dst + ports
        flow = self._connections.get(key) or self._handshakes.find(key) or self._time_waits.records.get(key)
        return None if flow is None else flow.state
