"""A TCP/IP host, sans-IO: everything between a link and the applications.

In, for each packet: decode IP, refuse what is not for us or comes from where nothing can come from, check the
checksum unless somebody has vouched for it, decode TCP, look the flow up, and hand the segment to a connection, a
half-open record or a TIME-WAIT record; else to a listener; else owe a reset. Whatever is malformed is counted under
its reason and dropped. Nothing that a packet says raises past `receive`.

Out, pulled: `poll_transmit` gives what belongs to no connection first (answers to SYNs, resets, ICMP: one bounded
queue), then one segment of each connection that has something to say, in turn.

Tables are keyed by the raw octets of both addresses and ports: see `stack.tcp.flow`.

Whoever changes a connection calls `touch` afterwards: it queues the connection for sending, keeps its deadline, and
takes it out of the table when it is over.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable

from stack.host import arrival
from stack.host.counters import Counters
from stack.host.echo import HOP_LIMIT, Complaint, Echo, Ping
from stack.host.handshakes import Handshakes
from stack.host.isn import Numbers
from stack.host.output import Output
from stack.host.ports import PortChooser
from stack.host.time_waits import TimeWaits
from stack.host.timeouts import ConnectionTimeouts
from stack.host.trace import TraceEvent
from stack.ip.addresses import AddressTable, is_valid_remote, is_valid_source
from stack.ip.icmp import TokenBucket
from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection, Endpoint
from stack.tcp.flow import flow_key
from stack.tcp.half_open import HalfOpen
from stack.tcp.listener import Listener
from stack.tcp.negotiate import header_bytes, offer
from stack.tcp.seq import MASK
from stack.tcp.state import CLOSED, TIME_WAIT, Event, State
from stack.wire import ip
from stack.wire.address import format_endpoint, is_multicast, parse_address
from stack.wire.drop import Drop, WireError
from stack.wire.ip import PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, IPHeader
from stack.wire.packet import Packet
from stack.wire.segment import ACK, RST, Segment
from stack.wire.units import Time

RESETS_PER_SECOND = 1000  #: To segments of no connection, so that a flood is not answered in kind.
MAX_PAYLOAD = 65_535 - 80  #: Octets of text beside an IPv4 header and a TCP header with all options.
MIN_MTU = 576  #: Octets that every IPv4 host must take (RFC 1122 3.3.3); IPv6 asks for 1280 of its links.

Awakened = Connection | Listener | Ping


class Host:
    """One host on one point-to-point link.

    `secret` (at least 16 octets, random) keys sequence numbers, ports and timestamp offsets; `mtu` is the link's in
    bytes; `options` are the defaults of all connections. `max_payload` is how many octets of text the link takes in
    one super-frame, which it cuts into segments; 0 where it cuts none. `trace`, when set, is called with a `TraceEvent`
    for every segment; `on_fault` with an exception of our own that ended a connection.
    """

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
        self._addresses = AddressTable()
        self._numbers = Numbers(secret)
        self._ports = PortChooser(self._numbers)
        self._output = Output(self.counters, mtu)
        self._connections: dict[bytes, Connection] = {}
        self._handshakes = Handshakes(self._numbers, self._output, self.counters, mtu)
        self._time_waits = TimeWaits(self._output, self.counters, self.options)
        self._echo = Echo(self._output, self.counters, self._numbers.keyed(b"ping", b"") & 0xFFFF)
        self._ready: deque[Connection] = deque()
        self._timeouts = ConnectionTimeouts()
        self._woken: list[Awakened] = []
        self._reset_limit = TokenBucket(RESETS_PER_SECOND)

    @property
    def trace(self) -> Callable[[TraceEvent], None] | None:
        return self._output.trace

    @trace.setter
    def trace(self, listener: Callable[[TraceEvent], None] | None) -> None:
        self._output.trace = listener

    # Addresses.

    @property
    def addresses(self) -> list[str]:
        """This host's addresses with their prefixes."""
        return self._addresses.cidrs()

    def add_address(self, cidr: str) -> None:
        """Answer on one more address, such as `10.9.0.2/24`; `ValueError` for one that no host can have."""
        self._addresses.add(cidr)

    def remove_address(self, text: str) -> None:
        """Stop answering on an address; `ValueError` if it is not here. Its connections fall silent."""
        self._addresses.remove(text)

    # Packets in.

    def receive(self, packet: Packet, now: Time) -> None:
        """Take a packet from the link. Never raises for what the packet says."""
        self.counters.packets_in += 1
        try:
            self._receive(packet, now)
        except WireError as refusal:
            self.counters.drop(refusal.reason)

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
        else:
            raise WireError(Drop.UNKNOWN_PROTOCOL)

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
        listener = self._handshakes.listener_for(local)
        waiting = self._time_waits.records.get(key)
        if waiting is not None:
            if (
                listener is None
                or not waiting.may_reopen(seg, timestamps=listener.options.timestamps)
                or not self._handshakes.has_room(listener)
            ):
                self._time_waits.on_segment(waiting, local, remote, seg, now)
                return waiting.state
            waiting.reopen()
            self._time_waits.forget(waiting)
            return self._handshakes.begin(key, local, remote, seg, listener, now, above=waiting.snd_nxt).state
        if listener is None or seg.flags & (ACK | RST):
            self._reset_for(local, remote, seg, now)
            return CLOSED if listener is None else listener.state
        return self._handshakes.on_segment_to_listener(key, local, remote, seg, listener, now)

    def _complete(self, record: HalfOpen, seg: Segment, now: Time) -> State:
        """The third segment of a handshake: now a connection is worth its memory."""
        listener = record.listener
        rtt = now - record.sent_at if record.sent == 1 else -1
        try:
            conn = self._connection(record.key, record.local, record.remote, record.iss, listener.options)
            conn.accept(record.syn, record.agreement(), now, rtt=rtt, retries=record.sent - 1)
        except Exception as fault:  # such as a user's own congestion control's
            self.counters.drop(Drop.INTERNAL_ERROR)
            self._reset_for(record.local, record.remote, seg, now)
            if self.on_fault is not None:
                self.on_fault(fault)
            return CLOSED
        self._connections[record.key] = conn
        listener.push(conn)
        self._wake(listener)
        self.counters.accepted += 1
        self._feed(conn, seg, now)
        return conn.state

    def _reset_for(self, local: Endpoint, remote: Endpoint, seg: Segment, now: Time) -> None:
        """A segment that no connection expects is answered with a reset, unless it is one (3.10.7.1)."""
        self.counters.drop(Drop.NO_CONNECTION)
        if seg.flags & RST or not self._reset_limit.take(now):
            return
        if seg.flags & ACK:
            reset = Segment(local[1], remote[1], seg.ack, 0, RST, 0)
        else:
            reset = Segment(local[1], remote[1], 0, (seg.seq + seg.length) & MASK, RST | ACK, 0)
        self._output.queue(local, remote, reset, now, CLOSED, self.options)

    def _on_icmp(self, frame: bytes, header: IPHeader, now: Time) -> None:
        outcome = self._echo.receive(frame, header, now)
        if isinstance(outcome, Ping):
            self._wake(outcome)
        elif isinstance(outcome, Complaint):
            conn = self._connections.get(outcome.key)
            if conn is None:
                raise WireError(Drop.ICMP_UNMATCHED)
            conn.on_icmp_error(outcome.seq, outcome.error, hard=outcome.hard)
            self.touch(conn, now)

    # Packets out.

    def poll_transmit(self, now: Time) -> Packet | None:
        """The next packet that should leave now, or None."""
        packet = self._output.poll()
        ready = self._ready
        while packet is None and ready:
            conn = ready[0]
            try:
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
        return min(self._timeouts.earliest(), self._handshakes.next_timeout(), self._time_waits.next_timeout())

    def on_timeout(self, now: Time) -> None:
        """Do what is due, or so much of it that nobody waits for long: `next_timeout` tells if there is more."""
        for conn in self._timeouts.take_due(now):
            try:
                conn.on_timeout(now)
            except Exception as fault:
                self._contain(conn, fault)
            self.touch(conn, now)
        self._handshakes.on_timeout(now)
        self._time_waits.on_timeout(now)

    # For the application.

    def connect(
        self, remote: bytes, port: int, now: Time, *, options: TcpOptions | None = None, local_port: int = 0
    ) -> Connection:
        """Active OPEN to an address and port; the connection is in SYN-SENT.

        `OSError` as from connect(2): EADDRNOTAVAIL for a local address that is not ours or no port left,
        EADDRINUSE for a pair of endpoints in use, ENETUNREACH for no address of that family, EINVAL for a remote
        that no connection can have (MUST-46).
        """
        options = options if options is not None else self.options
        if not is_valid_remote(remote) or self._addresses.is_broadcast(remote) or not 0 < port < 65536:
            raise OSError(errno.EINVAL, f"{format_endpoint(remote, port)} can't be connected to")
        if self._addresses.is_local(remote):
            raise OSError(errno.EADDRNOTAVAIL, f"{format_endpoint(remote, port)} is this host itself")
        if not 0 <= local_port < 65536:
            raise OSError(errno.EINVAL, f"{local_port} is not a port")
        local = self._local_address(remote, options)
        if local_port == 0:
            local_port = self._choose_port(local, remote, port)
        key = flow_key(remote, local, port, local_port)
        if self._is_taken(key):
            raise OSError(errno.EADDRINUSE, f"port {local_port} is in use with {format_endpoint(remote, port)}")
        conn = self._connection(key, (local, local_port), (remote, port), self._numbers.isn(key, now), options)
        conn.open(now)
        self._connections[key] = conn
        self.counters.active_opens += 1
        self.touch(conn, now)
        return conn

    def _local_address(self, remote: bytes, options: TcpOptions) -> bytes:
        if options.local_address is None:
            return self._addresses.source_for(remote)
        try:
            local = parse_address(options.local_address)
        except ValueError as error:
            raise OSError(errno.EADDRNOTAVAIL, str(error)) from None
        if not self._addresses.is_local(local) or len(local) != len(remote):
            raise OSError(errno.EADDRNOTAVAIL, f"{options.local_address} is not an address of this host for that peer")
        return local

    def _choose_port(self, local: bytes, remote: bytes, port: int) -> int:
        def is_free(candidate: int) -> bool:
            taken = self._is_taken(flow_key(remote, local, port, candidate))
            return not taken and self._handshakes.listener_for((local, candidate)) is None

        return self._ports.choose(local, remote, port, is_free)

    def _is_taken(self, key: bytes) -> bool:
        return key in self._connections or self._handshakes.find(key) is not None or key in self._time_waits.records

    def _connection(self, key: bytes, local: Endpoint, remote: Endpoint, iss: int, options: TcpOptions) -> Connection:
        headers = header_bytes(local[0])
        return Connection(
            local,
            remote,
            iss=iss,
            offer=offer(options, self.mtu, headers),
            mss_limit=self.mtu - headers,
            ts_offset=self._numbers.timestamp_offset(local[0], remote[0]),
            options=options,
            drops=self.counters.by_reason,
            key=key,
            max_payload=self.max_payload,
        )

    def listen(
        self, port: int, *, address: bytes | None = None, backlog: int = 128, options: TcpOptions | None = None
    ) -> Listener:
        """Passive OPEN: accept connections to a port, on one address or on all; port 0 chooses one.

        Other connections with that local port are not affected (MUST-41, MUST-42). `OSError`: EADDRINUSE,
        EADDRNOTAVAIL, EINVAL.
        """
        if not 0 <= port < 65536:
            raise OSError(errno.EINVAL, f"{port} is not a port")
        if address is not None and not self._addresses.is_local(address):
            raise OSError(errno.EADDRNOTAVAIL, "not an address of this host")
        where = address if address is not None else b""
        if port == 0:
            port = self._ports.choose(where, b"", 0, lambda candidate: not self._handshakes.listens(candidate, where))
        return self._handshakes.add(port, where, backlog, options if options is not None else self.options)

    def close_listener(self, listener: Listener, now: Time) -> None:
        """CLOSE in LISTEN: no new connections; half-open ones and those nobody took are reset."""
        self._end_listener(listener, Event.CLOSE, now)

    def connect_from(self, listener: Listener, remote: bytes, port: int, now: Time) -> Connection:
        """Active OPEN on a listening port (3.10.1, LISTEN): it stops listening and connects from there."""
        self._end_listener(listener, Event.ACTIVE_OPEN, now)
        return self.connect(remote, port, now, options=listener.options, local_port=listener.port)

    def _end_listener(self, listener: Listener, event: Event, now: Time) -> None:
        self._handshakes.remove(listener, now)
        for conn in listener.leave(event):
            conn.abort()
            self.touch(conn, now)
        self._wake(listener)

    def ping(self, remote: bytes, now: Time, *, size: int = 56, hop_limit: int = HOP_LIMIT) -> Ping:
        """Send an echo request of `size` octets; the `Ping` is woken when the reply or an error comes.

        `OSError`: ENETUNREACH, EMSGSIZE.
        """
        try:
            return self._echo.ping(self._addresses.source_for(remote), remote, now, size, hop_limit)
        except WireError as refusal:
            raise OSError(errno.EMSGSIZE, f"an echo of {size} bytes can't be sent: {refusal}") from None

    def forget_ping(self, ping: Ping) -> None:
        """Nobody waits for that reply any more."""
        self._echo.forget(ping)

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

    def connections(self) -> list[Connection]:
        """All connections, without those in TIME-WAIT and half-open ones."""
        return list(self._connections.values())

    @property
    def half_open(self) -> int:
        """Handshakes that have begun at a listener and are not complete."""
        return len(self._handshakes)

    @property
    def time_waits(self) -> int:
        """Connections in TIME-WAIT."""
        return len(self._time_waits.records)

    def lingering(self) -> int:
        """Connections whose data or FIN is not yet acknowledged, and packets that wait to leave."""
        return sum([conn.lingers for conn in self._connections.values()]) + len(self._output)

    def shut_down(self, now: Time) -> None:
        """Stop listening, reset what is left, forget TIME-WAIT: the resets are there for `poll_transmit`."""
        for listener in self._handshakes.listeners():
            self.close_listener(listener, now)
        for conn in self.connections():
            conn.abort()
            self.touch(conn, now)
        self._time_waits.clear()

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
