"""Two hosts joined by a hostile pipe, in virtual time.

A `World` owns the clock, the frames that are under way and the one seeded `Random` of a run, so that a run is a
function of its seed. Nothing sleeps: the clock jumps to whatever is due next, a frame's arrival, a host's time-out or
an application's. Frames travel as completed bytes, as on a wire, so every checksum is verified on arrival.

After every event the world checks what must always be true of a connection (`check_connection`), and a `Tap` on the
pipe checks what must be true of what is sent: nothing beyond the window that the peer has offered, no segment larger
than the peer takes, no window that is taken back. An exception inside a host, which the host would contain, ends the
run.

Each side has an epoch of its own: its host is told the world's time plus that. So a test can choose initial sequence
numbers, which are a keyed hash plus a clock, without knowing how they are made: see `epoch_for_iss`.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stack.host.host import Host
from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection
from stack.tcp.listener import Listener
from stack.tcp.recovery import LOST, SACKED
from stack.tcp.seq import unwrap
from stack.tcp.state import SYNCHRONISED
from stack.wire import ip, notation, tcp
from stack.wire.address import parse_address
from stack.wire.offload import complete
from stack.wire.packet import Packet
from stack.wire.segment import ACK, FIN, RST, SYN, Segment
from stack.wire.units import MINUTE, MS, NEVER, SECOND, Duration, Time

ADDRESSES = (("10.9.0.1/24", "fd00::1/64"), ("10.9.0.2/24", "fd00::2/64"))
PORT = 80
START: Time = SECOND
MAX_BURST = 5_000  #: Packets that one host may want to send at one moment; more is a loop without end.
REMEMBERED = 80  #: Frames told about when a run fails.


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """What befalls the frames of one direction: probabilities for each frame, times in nanoseconds."""

    loss: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0  #: One bit, anywhere in the frame.
    delay: Duration = 5 * MS
    jitter: Duration = 0  #: Up to so much more delay, different for each frame: reorders.
    swallow: Callable[[Segment, int], bool] | None = None
    """Scripted loss: called with each segment and how many went before it, says whether it is lost."""


class Side:
    """One host and where it stands in the world."""

    def __init__(self, index: int, host: Host, epoch: Duration) -> None:
        self.index = index
        self.host = host
        self.epoch = epoch
        self.faults: list[BaseException] = []
        host.on_fault = self.faults.append

    def __str__(self) -> str:
        return ("left", "right")[self.index]


class World:
    """The clock, both sides, and the pipe between them."""

    def __init__(
        self,
        *,
        seed: int | str = 0,
        paths: tuple[Path, Path] | None = None,
        options: TcpOptions | tuple[TcpOptions, TcpOptions] | None = None,
        mtu: int | tuple[int, int] = 1500,
        epochs: tuple[Duration, Duration] = (0, 0),
        secrets: tuple[bytes, bytes] = (b"left's secret 16", b"right's secret 6"),
    ) -> None:
        self.random = random.Random(seed)
        self.now: Time = START
        self.paths = paths if paths is not None else (Path(), Path())
        mtus = mtu if isinstance(mtu, tuple) else (mtu, mtu)
        chosen = options if isinstance(options, tuple) else (options, options)
        self.sides = tuple(
            Side(index, make_host(index, secrets[index], mtus[index], chosen[index]), epochs[index]) for index in (0, 1)
        )
        self.left, self.right = self.sides
        self.apps: list[Talker] = []
        self.taps: dict[frozenset[tuple[bytes, int]], Tap] = {}
        self.sent = [0, 0]  # frames by the side that sent them
        self.lost = [0, 0]
        self.events = 0
        self._order = 0
        self._under_way: list[tuple[Time, int, int, bytes]] = []
        self._told: deque[tuple[Time, int, str, bytes]] = deque(maxlen=REMEMBERED)
        self._edges: dict[int, tuple[Connection, int, int]] = {}

    # For tests.

    def at(self, side: Side) -> Time:
        """The time as that side's host knows it."""
        return self.now + side.epoch

    def connect(self, *, v6: bool = False, local_port: int = 0, options: TcpOptions | None = None) -> Connection:
        """Left opens a connection to right's port."""
        return self.left.host.connect(address(1, v6), PORT, self.at(self.left), local_port=local_port, options=options)

    def listen(self, *, options: TcpOptions | None = None, backlog: int = 128) -> Listener:
        """Right listens."""
        return self.right.host.listen(PORT, options=options, backlog=backlog)

    def run(self, until: Callable[[], bool], limit: Duration) -> None:
        """Go on until `until` is true; `AssertionError` when `limit` passes first or nothing can ever happen."""
        deadline = self.now + limit
        self.settle()
        while not until():
            due = self.next_event()
            assert due < NEVER, f"nothing will ever happen any more\n{self.story()}"
            assert due <= deadline, f"not done within {limit / SECOND:g} s\n{self.story()}"
            self.step(due)

    def run_for(self, duration: Duration) -> None:
        """Let so much time pass."""
        deadline = self.now + duration
        self.settle()
        while (due := self.next_event()) <= deadline:
            self.step(due)
        self.now = deadline

    def story(self) -> str:
        """The last frames, for whoever looks into a failure."""
        lines = []
        for time, index, fate, frame in self._told:
            arrow = "->" if index == 0 else "<-"
            lines.append(f"{(time - START) / SECOND:12.6f} {arrow} {notation.format_packet(frame)} {fate}")
        for side in self.sides:
            for conn in side.host.connections():
                lines.append(f"{side}: {conn!r} {conn.info(self.at(side)).as_dict()}")
            lines.append(f"{side}: {side.host.counters.as_dict()}")
        return "\n".join(lines)

    # The machinery.

    def next_event(self) -> Time:
        due = self._under_way[0][0] if self._under_way else NEVER
        for side in self.sides:
            timeout = side.host.next_timeout()
            if timeout < NEVER:
                due = min(due, timeout - side.epoch)
        for app in self.apps:
            due = min(due, app.wakes)
        return max(due, self.now)

    def step(self, due: Time) -> None:
        """Advance to `due` and do everything that is due then."""
        self.events += 1
        self.now = due
        while self._under_way and self._under_way[0][0] <= due:
            _, _, index, frame = heapq.heappop(self._under_way)
            side = self.sides[index]
            side.host.receive(Packet(frame), self.at(side))
            self._check(side)
            if self.random.random() < 0.3:  # batches of one and of many
                self._flush(side)
        for side in self.sides:
            side.host.on_timeout(self.at(side))
            self._check(side)
        self.settle()

    def settle(self) -> None:
        """Let the applications act and both hosts say what they have to say."""
        for app in self.apps:
            app.act(self)
        for side in self.sides:
            self._flush(side)
            self._check(side)
            self._check_timers(side)

    def inject(self, side: Side, frame: bytes) -> None:
        """Let a frame arrive at once."""
        self._told.append((self.now, 1 - side.index, "(forged)", frame))
        side.host.receive(Packet(frame), self.at(side))
        self.settle()

    def _flush(self, side: Side) -> None:
        now = self.at(side)
        for _ in range(MAX_BURST):
            packet = side.host.poll_transmit(now)
            if packet is None:
                return
            frame = complete(packet).frame()
            assert len(frame) <= side.host.mtu, "a packet larger than the link's MTU"
            self._send(side, frame)
        raise AssertionError(f"{side} has something to say without end\n{self.story()}")

    def _send(self, side: Side, frame: bytes) -> None:
        path = self.paths[side.index]
        rnd = self.random
        count = self.sent[side.index]
        self.sent[side.index] += 1
        seg = self._observe(side, frame)
        if rnd.random() < path.loss or (path.swallow is not None and path.swallow(seg, count)):
            self.lost[side.index] += 1
            self._told.append((self.now, side.index, "(lost)", frame))
            return
        copies = 2 if rnd.random() < path.duplication else 1
        for _ in range(copies):
            arriving, fate = frame, ""
            if rnd.random() < path.corruption:
                arriving, fate = flip(frame, rnd.randrange(8 * len(frame))), "(corrupted)"
            self._told.append((self.now, side.index, fate, arriving))
            delay = path.delay + (rnd.randrange(path.jitter) if path.jitter else 0)
            self._order += 1
            heapq.heappush(self._under_way, (self.now + delay, self._order, 1 - side.index, arriving))

    def _observe(self, side: Side, frame: bytes) -> Segment:
        header = ip.decode(frame)
        assert tcp.checksum_ok(frame, header), "we sent a bad checksum"
        seg = tcp.decode(frame, header.start, header.end)
        ends = frozenset(((header.src, seg.src_port), (header.dst, seg.dst_port)))
        tap = self.taps.setdefault(ends, Tap(v6=header.version == 6))
        try:
            tap.on_segment(side.index, seg)
        except AssertionError as error:
            raise AssertionError(f"{side} at {self.now}: {error}; {seg}\n{self.story()}") from None
        return seg

    def _check(self, side: Side) -> None:
        if side.faults:
            raise AssertionError(f"an exception inside {side}\n{self.story()}") from side.faults[0]
        for conn in side.host.connections():
            try:
                self._check_progress(conn)
                check_connection(conn)
                if self.events % 16 == 0 or len(conn.snd.repair.records) < 50:
                    check_records(conn)
            except AssertionError as error:
                raise AssertionError(f"{side} at {self.now}, {conn!r}: {error}\n{self.story()}") from None

    def _check_progress(self, conn: Connection) -> None:
        """RCV.NXT and the right edge of our window never go back."""
        _, nxt, edge = self._edges.get(id(conn), (conn, 0, 0))
        assert conn.rcv.nxt >= nxt, f"RCV.NXT went back from {nxt}"
        assert conn.rcv.edge >= edge, f"the window's edge went back from {edge}"
        self._edges[id(conn)] = (conn, conn.rcv.nxt, conn.rcv.edge)

    def _check_timers(self, side: Side) -> None:
        """What waits for an answer has a timer, and the host will wake up for it."""
        for conn in side.host.connections():
            timers = conn.timers
            if conn.snd.outstanding:
                self._demand(timers.retransmit < NEVER, "data is outstanding and no timer runs", side, conn)
            elif conn.state in SYNCHRONISED and conn.snd.pending:
                self._demand(timers.persist < NEVER, "data waits, none is outstanding, and no timer runs", side, conn)
            self._demand(side.host.next_timeout() <= timers.earliest(), "the host would sleep too long", side, conn)

    def _demand(self, condition: bool, claim: str, side: Side, conn: Connection) -> None:
        assert condition, f"{claim}: {side} at {self.now}, {conn!r}\n{self.story()}"


class Tap:
    """What both directions of one connection have said on the wire, and whether they were allowed to."""

    def __init__(self, *, v6: bool) -> None:
        self.default_mss = 1220 if v6 else 536
        self.syns: list[Segment | None] = [None, None]
        self.edges = [0, 0]  # the largest right edge that each side has offered, in the other's unwrapped numbers
        self.last = [0, 0]  # where each side's latest segment began, unwrapped
        self.fins = [NEVER, NEVER]  # the numbers of the FINs

    def on_segment(self, index: int, seg: Segment) -> None:
        if seg.flags & RST:
            return
        other = 1 - index
        if seg.flags & SYN:
            self._on_syn(index, seg)
        ours, theirs = self.syns[index], self.syns[other]
        if ours is None or theirs is None:
            return
        scaling = ours.wscale >= 0 and theirs.wscale >= 0
        shift = ours.wscale if scaling and not seg.flags & SYN else 0
        if seg.flags & ACK:
            ack = unwrap(seg.ack, theirs.seq, self.edges[index])
            edge = ack + (seg.window << shift)
            # RFC 7323 2.4: rounding to the scale may take back less than one unit, and nothing else may. Behind the
            # other's FIN a window means nothing.
            before = self.edges[index]
            back = edge <= before - (1 << shift)
            if seg.flags & SYN and seg.window == 0xFFFF:
                back = False  # a SYN can't say more, even if it comes again when more was offered
            assert not back or ack > self.fins[other], f"the window went back from {before} to {edge}"
            self.edges[index] = max(before, edge)
        start = unwrap(seg.seq, ours.seq, self.last[index])
        self.last[index] = start
        if seg.flags & FIN:
            self.fins[index] = start + seg.size
        if seg.flags & SYN or not (seg.size or seg.flags & FIN):
            return
        room = self.edges[other] - start
        assert seg.size <= max(room, 1), f"{seg.size} octets into a window of {room}"  # 1: a probe
        limit = max(theirs.mss or self.default_mss, 216)
        assert seg.size + tcp.option_length(seg) <= limit, f"{seg.size} octets to a peer that takes {limit}"

    def _on_syn(self, index: int, seg: Segment) -> None:
        known = self.syns[index]
        if known is None or known.seq != seg.seq:
            self.syns[index] = seg
            # Who opens fast is answered before its first ACK: the window is the SYN's.
            theirs = self.syns[1 - index]
            self.edges[1 - index] = 1 + theirs.window if theirs is not None and not theirs.flags & ACK else 0
            self.last[index] = 0


class Talker:
    """An application at one end: writes `payload` in pieces, reads in pieces, closes as told.

    `closing` is "half" (a FIN after the last octet, reading goes on) or "last" (the peer's end of file comes first).
    Sizes are drawn from `writes` and `reads`; after each piece the application may pause for up to `pause`.
    """

    def __init__(
        self,
        side: Side,
        get: Connection | Listener,
        payload: bytes,
        *,
        closing: str = "half",
        writes: Sequence[int] = (65536,),
        reads: Sequence[int] = (65536,),
        write_pause: Duration = 0,
        read_pause: Duration = 0,
        reads_from: Time = 0,
    ) -> None:
        self.side = side
        self.conn = get if isinstance(get, Connection) else None
        self.listener = get if isinstance(get, Listener) else None
        self.payload = memoryview(payload)
        self.written = 0
        self.received = bytearray()
        self.closing = closing
        self.closed = False
        self.wakes: Time = NEVER
        self._sizes = (writes, reads)
        self._pauses = (write_pause, read_pause)
        self._resumes = [0, reads_from]

    @property
    def done(self) -> bool:
        """Whether the application has closed and the connection is over, or was broken."""
        return self.conn is not None and self.conn.finished and (self.closed or self.conn.error is not None)

    def act(self, world: World) -> None:
        """Do whatever is possible now."""
        if self.conn is None and self.listener is not None:
            self.conn = self.listener.accept()
        conn = self.conn
        self.wakes = NEVER
        if conn is None or self.closed or conn.error is not None:
            return
        now = world.at(self.side)
        did = self._read(conn, world, now)
        if conn.connected or conn.snd.early:
            did |= self._write(conn, world)
        if self.written == len(self.payload) and (self.closing == "half" or conn.at_eof) and not conn.snd.fin_wanted:
            conn.close_write()
            did = True
        if conn.at_eof and self.written == len(self.payload):
            conn.close(now)
            self.closed = did = True
        if did:
            self.side.host.touch(conn, now)

    def _read(self, conn: Connection, world: World, now: Time) -> bool:
        did = False
        while conn.readable:
            if world.now < self._resumes[1]:
                self.wakes = min(self.wakes, self._resumes[1])
                break
            self.received += conn.read(world.random.choice(self._sizes[1]), now)
            did = True
            self._pause(world, 1)
        return did

    def _write(self, conn: Connection, world: World) -> bool:
        did = False
        while self.written < len(self.payload) and conn.writable:
            if world.now < self._resumes[0]:
                self.wakes = min(self.wakes, self._resumes[0])
                break
            size = world.random.choice(self._sizes[0])
            self.written += conn.write(self.payload[self.written : self.written + size])
            did = True
            self._pause(world, 0)
        return did

    def _pause(self, world: World, which: int) -> None:
        if self._pauses[which]:
            self._resumes[which] = world.now + world.random.randrange(self._pauses[which]) + 1


def check_connection(conn: Connection) -> None:
    """What must be true of a connection after every event."""
    snd, rcv, recovery = conn.snd, conn.rcv, conn.snd.repair.records
    assert 0 <= snd.una <= snd.nxt <= snd.max, f"SND.UNA {snd.una} SND.NXT {snd.nxt} SND.MAX {snd.max}"
    assert recovery.outstanding == snd.flight, f"{recovery.outstanding} outstanding, {snd.flight} in flight"
    assert 0 <= recovery.lost_bytes <= recovery.outstanding, f"{recovery.lost_bytes} lost of {recovery.outstanding}"
    assert len(snd.buffer) <= conn.options.send_buffer, f"{len(snd.buffer)} octets in the send buffer"
    assert snd.congestion.cwnd >= snd.congestion.mss, f"a congestion window of {snd.congestion.cwnd}"
    assert rcv.nxt <= rcv.edge, f"RCV.NXT {rcv.nxt} beyond the window's edge {rcv.edge}"
    held = rcv.buffered + (rcv.reassembly.size if rcv.reassembly is not None else 0)
    assert held <= rcv.capacity, f"{held} octets in a receive buffer of {rcv.capacity}"
    assert rcv.capacity <= max(conn.options.receive_buffer, 2 << rcv.shift), f"a receive buffer of {rcv.capacity}"


def check_records(conn: Connection) -> None:
    """What is outstanding and what of it is lost, recomputed from the records of what was sent."""
    recovery = conn.snd.repair.records
    lost = sacked = total = 0
    end = conn.snd.una
    for record in recovery:
        assert record.start == end < record.end, f"records do not join at {end}"
        end = record.end
        total += end - record.start
        lost += record.size * (record.state == LOST)
        sacked += record.size * (record.state == SACKED)
    assert total == recovery.outstanding, f"records of {total} octets, {recovery.outstanding} outstanding"
    assert lost == recovery.lost_bytes, f"records of {lost} lost octets, {recovery.lost_bytes} counted"
    assert sacked == recovery.sacked_bytes, f"records of {sacked} octets reported, {recovery.sacked_bytes} counted"
    assert recovery.pipe == total - lost - sacked, f"a pipe of {recovery.pipe}"


def check_empty(world: World) -> None:
    """Nothing is left of any connection when TIME-WAIT is over, and later no timer either.

    Deadlines that are no longer wanted may stay for their time; see `stack.host.timeouts`.
    """
    world.run_for(10 * MINUTE)
    for side in world.sides:
        host = side.host
        left = (len(host.connections()), host.half_open, host.time_waits)
        assert left == (0, 0, 0), f"{side} still holds {left} connections, half-open ones, TIME-WAITs\n{world.story()}"
        assert host.lingering() == 0, f"{side} still has something to send\n{world.story()}"
    world.run_for(180 * MINUTE)
    assert world.next_event() == NEVER, f"something is still to happen\n{world.story()}"


def make_host(index: int, secret: bytes, mtu: int = 1500, options: TcpOptions | None = None) -> Host:
    """A host with its two addresses."""
    host = Host(secret=secret, mtu=mtu, options=options)
    for cidr in ADDRESSES[index]:
        host.add_address(cidr)
    return host


def address(index: int, v6: bool = False) -> bytes:
    """A side's address as octets."""
    return parse_address(ADDRESSES[index][v6].partition("/")[0])


def flip(frame: bytes, bit: int) -> bytes:
    """The frame with one bit changed."""
    changed = bytearray(frame)
    changed[bit >> 3] ^= 1 << (bit & 7)
    return bytes(changed)


def epochs_for_iss(
    wanted: tuple[int, int], *, local_port: int, v6: bool, secrets: tuple[bytes, bytes]
) -> tuple[Duration, Duration]:
    """Epochs for which left's and right's initial sequence numbers, at the world's start, are as wanted.

    Asks two hosts made for the purpose what they would say at time 0; the number then grows by one every 4 us.
    """
    left, right = (make_host(index, secrets[index]) for index in (0, 1))
    left.connect(address(1, v6), PORT, 0, local_port=local_port)
    right.listen(PORT)
    syn = complete(_only(left.poll_transmit(0)))
    right.receive(syn, 0)
    found = [_decode(packet).seq for packet in (syn, complete(_only(right.poll_transmit(0))))]
    first, second = (((want - have) % (1 << 32)) * 4_000 - START for want, have in zip(wanted, found, strict=True))
    return first, second


def _only(packet: Packet | None) -> Packet:
    assert packet is not None
    return packet


def _decode(packet: Packet) -> Segment:
    frame = packet.frame()
    header = ip.decode(frame)
    return tcp.decode(frame, header.start, header.end)
