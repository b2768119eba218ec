"""Whose packets a script speaks of, and what its numbers are on the wire.

A script tells of one connection at a time: of the socket that it made last, or of the peer that last called on a socket
that listens. Its packets are that connection's, unless they say ports. A SYN with ports that no connection has, or only
one that was closed, is of a new peer. What other connections send, such as the FIN of one that was closed before, is
nobody's business.

Numbers are as a network analyser shows them: in segments with SYN they are absolute, in all others they count from the
initial one. The peer's numbers are the script's own, so an absolute one is the number on the wire. Ours are the stack's
to choose: the first SYN that it sends tells what the script's numbers stand for. Timestamps of ours are known in the
same way, each by the segment in which it was seen; the peer's are the script's own again.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

from stack.sim.packetdrill.datagrams import Talks
from stack.sim.packetdrill.packets import ACK, SACK, SYN, TIMESTAMPS, RawOption, Sent, flag_bits, raw_option
from stack.sim.packetdrill.settings import Settings
from stack.sim.packetdrill.syntax import Sack, TcpPacket, Timestamps
from stack.tcp.seq import MASK

Endpoint = tuple[bytes, int]

FIRST_PORT = 40_001  #: The peer's, in connections that it opens; the next one has the next.


class Stage(enum.Enum):
    """How far a connection has come, as far as its numbers depend on that."""

    NEW = enum.auto()  # socket()
    LISTENING = enum.auto()  # listen()
    CALLED = enum.auto()  # the first packet of a peer has come
    ANSWERED = enum.auto()  # our SYN-ACK is known
    ACKNOWLEDGED = enum.auto()  # and so is the peer's answer to it
    CONNECTING = enum.auto()  # connect()
    SYN_SENT = enum.auto()  # the script has told of our SYN
    SYN_ACKED = enum.auto()  # and of the peer's


class Flow:
    """One connection of the script. `fd` is the script's number for its socket, -1 without one."""

    __slots__ = (
        "closed",
        "fd",
        "first_tsval",
        "flow_label",
        "local",
        "local_isn",
        "remote",
        "remote_isn",
        "script_isn",
        "stage",
        "tsvals",
    )

    def __init__(self, stage: Stage, fd: int, local: Endpoint, remote: Endpoint) -> None:
        self.stage = stage
        self.fd = fd
        self.closed = False  # by close()
        self.local = local
        self.remote = remote
        self.script_isn = 0  # our initial number, as the script has it,
        self.local_isn = 0  # and as it is
        self.remote_isn = 0
        self.tsvals: dict[int, int] = {}  # our timestamps, by those of the script
        self.first_tsval: tuple[int, int] | None = None  # the first of them: the script's, and the real one
        self.flow_label: tuple[int, int] | None = None  # the same for IPv6's label

    # From the script to the wire.

    def seq_in(self, number: int, is_syn: bool) -> int:
        """A sequence number of the peer's."""
        return (number if is_syn else number + self.remote_isn) & MASK

    def ack_in(self, number: int, is_syn: bool) -> int:
        """A number of ours that the peer acknowledges or quotes."""
        return (number + self.local_isn - (self.script_isn if is_syn else 0)) & MASK

    def echo_in(self, number: int, scaled: bool) -> int | None:
        """A timestamp of ours that the peer echoes, 0 where it has seen none; None where nobody can know it."""
        if not number and self.first_tsval is None:
            return 0
        known = self.tsvals.get(number)
        if known is None and scaled and self.first_tsval is not None:
            return (number - self.first_tsval[0] + self.first_tsval[1]) & MASK
        return known

    # From the wire to the script.

    def seq_out(self, number: int, is_syn: bool) -> int:
        return (number - self.local_isn + (self.script_isn if is_syn else 0)) & MASK

    def ack_out(self, number: int, is_syn: bool) -> int:
        return (number if is_syn else number - self.remote_isn) & MASK

    def tsval_out(self, number: int) -> int:
        """A timestamp of ours; as it is before the first one was seen."""
        if self.first_tsval is None:
            return number
        return (number - self.first_tsval[1] + self.first_tsval[0]) & MASK

    def sacks_out(self, data: bytes, is_syn: bool) -> bytes:
        edges = [int.from_bytes(data[at : at + 4], "big") for at in range(0, len(data), 4)]
        return b"".join(self.ack_out(edge, is_syn).to_bytes(4, "big") for edge in edges)

    def options_out(self, sent: Sent) -> tuple[RawOption, ...]:
        """A segment's options with the script's numbers."""
        is_syn = bool(sent.flags & SYN)
        return tuple([self._option_out(kind, data, is_syn) for kind, data in sent.options])

    def _option_out(self, kind: int, data: bytes, is_syn: bool) -> RawOption:
        if kind == SACK and len(data) % 8 == 0:
            return kind, self.sacks_out(data, is_syn)
        if kind == TIMESTAMPS and len(data) == 8:
            return kind, self.tsval_out(int.from_bytes(data[:4], "big")).to_bytes(4, "big") + data[4:]
        return kind, data

    # What packets teach.

    def on_expected(self, packet: TcpPacket) -> None:
        """The script is about to tell of a segment of ours."""
        bits = flag_bits(packet.flags) & (SYN | ACK)
        if bits == SYN and self.stage is Stage.CONNECTING:
            self.stage = Stage.SYN_SENT
            self.script_isn = packet.seq
        elif bits == SYN | ACK and self.stage is Stage.CALLED:
            self.script_isn = packet.seq

    def on_sent(self, packet: TcpPacket, sent: Sent) -> None:
        """A segment of ours is there, in the place of `packet`."""
        expected = flag_bits(packet.flags) & (SYN | ACK)
        if expected == SYN | ACK and self.stage is Stage.CALLED:
            self.stage = Stage.ANSWERED
            self.local_isn = sent.seq
        elif sent.flags & (SYN | ACK) == SYN and self.stage is Stage.SYN_SENT:
            self.local_isn = sent.seq
            self.local = (sent.src, sent.src_port)
        theirs = next((option.val for option in packet.options or () if isinstance(option, Timestamps)), None)
        ours = next((data for kind, data in sent.options if kind == TIMESTAMPS and len(data) == 8), None)
        if theirs is not None and ours is not None:
            number = int.from_bytes(ours[:4], "big")
            self.tsvals[theirs] = number
            if self.first_tsval is None:
                self.first_tsval = (theirs, number)

    def on_injected(self, packet: TcpPacket) -> None:
        """The peer is about to send a segment."""
        bits = flag_bits(packet.flags)
        if self.stage is Stage.CALLED and bits & (SYN | ACK) == SYN:
            self.remote_isn = packet.seq & MASK  # of the SYN that is answered, if there are several
        elif self.stage is Stage.ANSWERED and bits & ACK:
            self.stage = Stage.ACKNOWLEDGED
        elif self.stage is Stage.SYN_SENT and bits & SYN:
            # RFC 9293 3.5: in a simultaneous open the peer's own SYN comes first, and has the same number.
            self.remote_isn = packet.seq
            if bits & ACK:
                self.stage = Stage.SYN_ACKED

    def matches(self, sent: Sent) -> bool:
        """Whether a packet is this connection's; one that has not sent its SYN yet has no port."""
        if (sent.dst, sent.dst_port) != self.remote:
            return False
        if self.stage is Stage.SYN_SENT and self.local[1] == 0:
            return sent.flags & (SYN | ACK) == SYN
        return (sent.src, sent.src_port) == self.local


class Flows:
    """All connections of a script. `under_test` is the one that its packets are of."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._flows: list[Flow] = []
        self._next_port = FIRST_PORT
        self.under_test: Flow | None = None
        self.talks = Talks(settings)  #: Beside them, what UDP sockets do.

    def __iter__(self) -> Iterator[Flow]:
        return iter(self._flows)

    def _add(self, stage: Stage, fd: int, local: Endpoint, remote: Endpoint) -> Flow:
        flow = self.under_test = Flow(stage, fd, local, remote)
        self._flows.append(flow)
        return flow

    def of_fd(self, fd: int) -> Flow | None:
        return next((flow for flow in reversed(self._flows) if flow.fd == fd), None)

    # What calls do.

    def on_socket(self, fd: int) -> None:
        self._add(Stage.NEW, fd, (self._settings.local, 0), (self._settings.remote, self._settings.connect_port))

    def on_listen(self, fd: int) -> None:
        flow = self.of_fd(fd)
        if flow is not None:
            flow.stage = Stage.LISTENING

    def on_connect(self, fd: int, remote: Endpoint | None) -> None:
        """A socket is about to connect; None: to nowhere, so that it is new again."""
        flow = self.of_fd(fd)
        if flow is None:
            return
        if remote is None:
            flow.stage = Stage.NEW
        elif flow.stage is Stage.NEW:
            flow.stage = Stage.CONNECTING
            flow.remote = remote
            flow.local = (flow.local[0], 0)

    def on_accept(self, fd: int, remote: Endpoint) -> None:
        for flow in reversed(self._flows):
            if flow.remote == remote and flow.stage in (Stage.ANSWERED, Stage.ACKNOWLEDGED):
                flow.fd = fd
                return

    def on_close(self, fd: int) -> None:
        """The number is free again; the connection, and whether it is under test, stay."""
        for flow in self._flows:
            if flow.fd == fd:
                flow.fd = -1
                flow.closed = True

    # Packets.

    def for_packet(self, packet: TcpPacket) -> Flow | None:
        """The connection that a script's TCP packet is of; a packet to a listener is of a new one."""
        incoming = packet.direction.value == "<"
        ports = packet.ports
        if ports is not None:
            pair = (ports.destination, ports.source) if incoming else (ports.source, ports.destination)
            calls = incoming and flag_bits(packet.flags) & (SYN | ACK) == SYN
            for known in reversed(self._flows):
                if (known.local[1], known.remote[1]) == pair and not (calls and known.closed):
                    return known
            if calls and any(known.stage is Stage.LISTENING for known in self._flows):
                return self._called(packet)
        flow = self.under_test
        if incoming and (flow is None or flow.stage is Stage.LISTENING):
            return self._called(packet)
        return flow

    def _called(self, packet: TcpPacket) -> Flow:
        settings = self._settings
        if packet.ports is None:
            local_port, remote_port = settings.bind_port, self._next_port
            self._next_port += 1
        else:
            local_port, remote_port = packet.ports.destination, packet.ports.source
        flow = self._add(Stage.CALLED, -1, (settings.local, local_port), (settings.remote, remote_port))
        flow.remote_isn = packet.seq & MASK
        return flow


def options_in(packet: TcpPacket, flow: Flow, scaled: bool) -> list[RawOption]:
    """The options of a packet to the stack, with the wire's numbers.

    `LookupError` where it echoes a timestamp of ours that nobody has seen.
    """
    bits = flag_bits(packet.flags)
    is_syn = bool(bits & SYN)
    options = []
    for option in packet.options or ():
        if isinstance(option, Sack):
            blocks = [(flow.ack_in(left, is_syn), flow.ack_in(right, is_syn)) for left, right in option.blocks]
            option = Sack(tuple(blocks))
        elif isinstance(option, Timestamps) and bits & ACK:
            echo = flow.echo_in(option.ecr, scaled)
            if echo is None:
                raise LookupError(f"no segment before had the timestamp {option.ecr} that this one echoes")
            option = Timestamps(option.val, echo)
        options.append(raw_option(option))
    return options
