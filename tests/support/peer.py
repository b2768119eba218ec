"""The far end of a connection, scripted: tests read as a conversation on the wire.

    def test_connect():
        peer = Peer()
        user = peer.connect()
        peer.sees("S 0:0(0) win 65535 <mss 1460,...>")
        peer.sends("S. 0:0(0) ack 1 win 65535 <mss 1460>")
        peer.sees(". 1:1(0) ack 1")
        user.write(b"hello")
        peer.sees("P. 1:6(5) ack 1")
        peer.sees("P. 1:6(5) ack 1", after=1 * SECOND)

`sends` and `sees` speak the notation of `stack.wire.notation`. Numbers are relative: the host's to its ISS, the
peer's to its own; timestamps to the first of each side. Both ISS lie just below the wrap, because the clock of the
bench starts where the host's happens to.

What `sees` compares: flags, numbers and length always; the acknowledgment where there is one; the window where `win`
is given. `<...>` at the end of options means "and others". Without `<...>`, nothing but the timestamps that were agreed
on may be there. `sees` asks for a segment that is sent now, or exactly `after` a time; nothing may be left unseen
when time passes.

The state of the host's end comes about by segments, calls and time only.
"""

from __future__ import annotations

import re
from collections import deque

from stack.host.host import Host
from stack.tcp.config import TcpOptions
from stack.tcp.listener import Listener
from stack.tcp.state import State
from stack.wire import icmp, ip, notation, tcp
from stack.wire.address import parse_address
from stack.wire.ip import PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP
from stack.wire.offload import complete
from stack.wire.packet import PARTIAL, Packet
from stack.wire.segment import ACK, RST, SYN, URG, Segment
from stack.wire.units import MS, US, Duration, Time
from tests.support.bench import HOST4, HOST6, PEER4, PEER6, START, Bench
from tests.support.stream import octets
from tests.support.user import User
from tests.support.watch import Watch

MASK = 0xFFFF_FFFF
PEER_ISS = MASK - 2  #: Three octets below the wrap.
HOST_ISS = MASK - 4
PEER_CLOCK = MASK - 20  #: The peer's first timestamp; it wraps after 21 ms.
ISN_TICK: Duration = 4 * US

_OPTIONS = re.compile(r"<[^>]*>")


class Seen:
    """A segment that the host has sent, with relative numbers."""

    def __init__(self, peer: Peer, time: Time, seg: Segment, frame: bytes) -> None:
        self.time = time
        self.segment = seg
        self.frame = frame
        self.flags = seg.flags
        self.start = (seg.seq - peer.host_base) & MASK
        self.size = seg.size
        self.end = (self.start + seg.length) & MASK
        self.ack = (seg.ack - peer.iss) & MASK
        self.edge = self.ack + (seg.window << (0 if seg.flags & SYN else peer.watch.host_shift))
        self.line = notation.format_segment(peer.relative(seg), peer.host_base, peer.iss)


class Peer:
    """One end of a connection with the host on the bench. Ports are those of the peer's client unless it is called."""

    def __init__(
        self,
        *,
        v6: bool = False,
        options: TcpOptions | None = None,
        mtu: int = 1500,
        max_payload: int = 0,
        window: int = 65535,
        timestamps: bool = False,
        iss: int = PEER_ISS,
        host_port: int = 80,
        port: int = 40000,
        host_address: str | None = None,
        address: str | None = None,
        bench: Bench | None = None,
    ) -> None:
        self.shared = bench is not None
        self.bench = bench if bench is not None else Bench(options=options, mtu=mtu, max_payload=max_payload)
        self.v6 = v6
        self.host_address, self.address = (HOST6, PEER6) if v6 else (HOST4, PEER4)
        if host_address is not None:
            self.host_address = parse_address(host_address)
        if address is not None:
            self.address = parse_address(address)
        self.host_port = host_port
        self.port = port
        self.window = window  #: The window field of segments that do not name one.
        self.timestamps = timestamps  #: Whether segments carry the option without naming it.
        self.iss = iss
        self.host_iss: int | None = None
        self.host_clock: int | None = None  # the host's first TSval
        self.host_tsval: int | None = None  # and its latest
        self.watch = Watch(v6=v6)
        self.listener: Listener | None = None
        self.user: User | None = None
        self.last: Seen | None = None
        self._inbox: deque[Seen] = deque()
        self._register()

    # Opening.

    @property
    def host(self) -> Host:
        return self.bench.host

    @property
    def now(self) -> Time:
        return self.bench.now

    def connect(
        self, *, options: TcpOptions | None = None, port: int = 80, local_port: int = 40000, early: int = 0
    ) -> User:
        """Active OPEN by the host's user, to this peer; the user writes `early` octets before the SYN leaves."""
        self.host_port, self.port = local_port, port
        self._register()
        self.align()
        conn = self.host.connect(self.address, port, self.now, options=options, local_port=local_port)
        self.user = User(self, conn)
        if early:
            self.user.write(early)
        self.user.flush()
        return self.user

    def listens(self, *, options: TcpOptions | None = None, backlog: int = 128) -> Listener:
        """Passive OPEN by the host's user, on this peer's `host_port`."""
        self.align()
        self.listener = self.host.listen(self.host_port, backlog=backlog, options=options)
        return self.listener

    def accepts(self) -> User:
        """The host's user takes the connection that has waited longest."""
        assert self.listener is not None, "nobody listens"
        conn = self.listener.accept()
        assert conn is not None, "no connection waits\n" + self.bench.story()
        self.user = User(self, conn)
        return self.user

    def again(self, *, iss: int | None = None) -> None:
        """From now on a new incarnation of the connection: numbers count from its own SYNs."""
        self.iss = iss if iss is not None else (self.iss + (1 << 20)) & MASK
        self.host_iss = None
        self.watch = Watch(v6=self.v6)

    @property
    def state(self) -> State:
        """The state of the host's end."""
        probe = Segment(self.port, self.host_port, 0, 0, 0, 0)
        state = self.host.state_of(self._packet(probe), outgoing=False)
        if state is not None:
            return state
        return State.CLOSED if self.listener is None else self.listener.state

    def _register(self) -> None:
        takers = self.bench.takers
        for key in [key for key, taker in takers.items() if taker is self]:
            del takers[key]
        takers[self.host_address, self.host_port, self.address, self.port] = self

    def align(self) -> None:
        """Start the clock where the ISN of this connection is just below the wrap: what a twin of the host says.

        Done by the first OPEN, unless it was done before or the bench has other peers.
        """
        if self.shared or self.now != START:
            return
        twin = Bench(secret=self.bench.secret, mtu=self.bench.mtu)
        twin.host.listen(self.host_port)
        twin.host.receive(self._packet(Segment(self.port, self.host_port, 0, 0, SYN, 0)), START)
        packet = twin.host.poll_transmit(START)
        if packet is None:
            return  # between these addresses there can be no connection
        header = ip.decode(packet.frame())
        isn = tcp.decode(packet.frame(), header.start, header.end).seq
        self.bench.now = self.bench.origin = START + ((HOST_ISS - isn) & MASK) * ISN_TICK

    # The peer sends.

    def sends(self, *lines: str, payload: bytes | None = None, plain: bool = False) -> None:
        """Send segments, all in one batch. `payload` in place of the peer's stream; `plain`: no timestamps added."""
        self.bench.deliver(*[self.packet(line, payload=payload, plain=plain) for line in lines])

    def packet(self, line: str, *, payload: bytes | None = None, plain: bool = False) -> Packet:
        """The packet for a line, as it comes from the wire."""
        seg = notation.parse_segment(line, self.iss, self.host_base, src_port=self.port, dst_port=self.host_port)
        if "win" not in line:
            seg.window = 0 if seg.flags & RST else self.window
        if seg.size:
            start = (seg.seq - self.iss + (1 if seg.flags & SYN else 0)) & MASK
            start -= (start >> 31) << 32  # below the ISS rather than far above it
            seg.parts = (payload if payload is not None else octets("peer", start - 1, seg.size),)
        if seg.tsval >= 0:
            seg.tsval = (seg.tsval + PEER_CLOCK) & MASK
            if seg.flags & ACK and self.host_clock is not None:
                seg.tsecr = (seg.tsecr + self.host_clock) & MASK
        elif self.timestamps and not plain and not seg.flags & RST:
            seg.tsval = self.clock
            seg.tsecr = self.host_tsval or 0 if seg.flags & ACK else 0
        self.watch.on_peer(seg, (seg.ack - self.host_base) & MASK if seg.flags & ACK else 0)
        return self._packet(seg)

    @property
    def clock(self) -> int:
        """The peer's TSval now: milliseconds, as most stacks have it."""
        return (PEER_CLOCK + (self.now - self.bench.origin) // MS) & MASK

    def _packet(self, seg: Segment) -> Packet:
        source, target = self.address, self.host_address
        flags = seg.flags
        if seg.mss or seg.wscale >= 0 or seg.sack_ok or seg.fastopen is not None:
            seg.flags |= SYN  # the encoder refuses these on anything else; a peer that errs does not
        header = bytearray(tcp.encode(seg, tcp.address_sum(source, target)))
        seg.flags = header[13] = flags
        head = ip.encode(source, target, PROTO_TCP, len(header) + seg.size)
        whole = complete(Packet(head + bytes(header), seg.parts, csum=PARTIAL))
        return Packet(whole.frame())

    def sends_icmp(
        self, kind: int, code: int, rest: int = 0, *, about: bytes | None = None, sender: bytes | None = None
    ) -> None:
        """An ICMP error that quotes `about`, or else the host's latest segment."""
        if about is None:
            assert self.last is not None, "there is nothing to quote"
            about = self.last.frame
        quote = about[: 40 + 20 if self.v6 else 20 + 8]
        message = icmp.Icmp(kind, code, rest, quote)
        source, target = sender if sender is not None else self.address, self.host_address
        body = icmp.encode(message, source, target)
        protocol = PROTO_ICMPV6 if self.v6 else PROTO_ICMP
        self.bench.deliver(ip.encode(source, target, protocol, len(body)) + body)

    # The peer sees.

    @property
    def host_base(self) -> int:
        """The host's ISS; 0 before it has sent a SYN."""
        return self.host_iss if self.host_iss is not None else 0

    def take(self, now: Time, seg: Segment, frame: bytes) -> None:
        """A segment of the host arrives."""
        if seg.flags & SYN and self.host_iss is None:
            self.host_iss = seg.seq
        if seg.tsval >= 0:
            if self.host_clock is None:
                self.host_clock = seg.tsval
            self.host_tsval = seg.tsval
        seen = Seen(self, now, seg, frame)
        header = ip.decode(frame)
        header_end = (frame[header.start + 12] >> 4) * 4
        fault = self.watch.on_host(seg, seen.start, seen.ack, frame, header_end)
        if fault:
            raise AssertionError(f"{seen.line}\n{fault}\n{self.bench.story()}")
        self.last = seen
        self._inbox.append(seen)

    def relative(self, seg: Segment) -> Segment:
        """The same header with timestamps counted from the first ones."""
        copy = Segment(
            seg.src_port, seg.dst_port, seg.seq, seg.ack, seg.flags, seg.window, seg.parts,
            urgent=seg.urgent, mss=seg.mss, wscale=seg.wscale, sack_ok=seg.sack_ok, sacks=seg.sacks,
            fastopen=seg.fastopen,
        )  # fmt: skip
        if seg.tsval >= 0:
            copy.tsval = (seg.tsval - (self.host_clock or 0)) & MASK
            copy.tsecr = (seg.tsecr - PEER_CLOCK) & MASK if seg.tsecr else 0
        return copy

    def unseen(self) -> list[str]:
        return [seen.line for seen in self._inbox]

    def sees(self, *lines: str, after: Duration | None = None) -> Seen:
        """The host sends these segments: now, or the first of them exactly `after` a time without any other."""
        if after is not None:
            took = self.waits(lines[0], limit=after)
            if took != after:
                self._fail(f"{lines[0]}\ncame after {took / MS:.3f} ms, not {after / MS:.3f} ms")
            lines = lines[1:]
        for line in lines:
            if not self._inbox:
                self._fail(f"the host has sent nothing; expected {line}")
            self._match(line, self._inbox.popleft())
        assert self.last is not None
        return self.last

    def waits(self, line: str, *, limit: Duration) -> Duration:
        """Time passes until the host sends something, which must be that line; how long it took."""
        start = self.now
        self.bench.passes(0)
        while not self._inbox and self.bench.step(start + limit):
            pass
        if not self._inbox:
            self._fail(f"nothing was sent for {limit / MS:.3f} ms; expected {line}")
        self._match(line, self._inbox.popleft())
        return self.now - start

    def sees_nothing(self, *, during: Duration = 0) -> None:
        """The host says nothing (more), now and for so long."""
        if during and not self._inbox:
            limit = self.now + during
            while not self._inbox and self.bench.step(limit):
                pass
        if self._inbox:
            self._fail("the host sent what it should not have:\n" + "\n".join(self.unseen()))

    def repeats(self, line: str, *, during: Duration) -> None:
        """For so long the host says nothing but this, again and again; the line may leave its end out."""
        for seen in self.gathers(during):
            if not seen.line.startswith(line):
                self._fail(f"expected  {line} again\nsent      {seen.line}")

    def takes(self) -> list[Seen]:
        """All that the host has sent and nobody has looked at."""
        taken = list(self._inbox)
        self._inbox.clear()
        return taken

    def sees_reset(self, seq: int, *, ack: int | None = None) -> None:
        """The host sends a reset with that number; if it carries an ACK, which is left to the host, then of `ack`."""
        if not self._inbox:
            self._fail(f"the host has sent nothing; expected a reset at {seq}")
        seen = self._inbox.popleft()
        with_ack = bool(seen.flags & ACK)
        if not seen.flags & RST or seen.start != seq or seen.size or (with_ack and seen.ack != ack):
            self._fail(f"expected  a reset at {seq}\nsent      {seen.line}")

    def passes(self, duration: Duration) -> None:
        """Time passes; what the host sends meanwhile waits to be seen."""
        self.bench.passes(duration)

    def gathers(self, duration: Duration) -> list[Seen]:
        """Time passes; all that the host has sent meanwhile, and before."""
        limit = self.now + duration
        while self.bench.step(limit):
            pass
        return self.takes()

    def _match(self, line: str, seen: Seen) -> None:
        expected = notation.parse_segment(_OPTIONS.sub("", line), self.host_base, self.iss)
        got = seen.segment
        same = (expected.flags, expected.seq, expected.size) == (got.flags, got.seq, got.size)
        if expected.flags & ACK:
            same = same and expected.ack == got.ack
        if " win " in line:
            same = same and expected.window == got.window
        if " urg " in line or got.flags & URG:
            same = same and expected.urgent == got.urgent
        if not (same and self._options_match(line, seen)):
            self._fail(f"expected  {line}\nsent      {seen.line}")

    def _options_match(self, line: str, seen: Seen) -> bool:
        wanted = _OPTIONS.search(line)
        found = _OPTIONS.search(seen.line)
        have = found[0][1:-1].split(",") if found else []
        if wanted is None:
            return all(option.startswith("TS ") for option in have)
        want = wanted[0][1:-1].split(",")
        if want[-1] == "...":
            return all(option in have for option in want[:-1])
        return sorted(want) == sorted(have)

    def _fail(self, text: str) -> None:
        raise AssertionError(text + "\n" + self.bench.story())
