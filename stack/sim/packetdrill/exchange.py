"""The packets of a script: those that reach the stack, and those that it is expected to send."""

from __future__ import annotations

from typing import Final

from stack.sim.packetdrill.bench import Bench
from stack.sim.packetdrill.datagrams import Talk, quoted_datagram, udp_packet
from stack.sim.packetdrill.flows import Flow, Flows, options_in
from stack.sim.packetdrill.icmp_names import CODES, TYPES, number_of
from stack.sim.packetdrill.match import (
    continues,
    datagram_differences,
    datagram_words,
    differences,
    flow_label_differences,
    ip_differences,
    join,
    packet_words,
)
from stack.sim.packetdrill.packets import (
    ACK,
    SYN,
    Sent,
    encode_options,
    flag_bits,
    icmp_packet,
    quote,
    tcp_packet,
)
from stack.sim.packetdrill.report import Failure
from stack.sim.packetdrill.settings import Settings
from stack.sim.packetdrill.syntax import Event, IcmpPacket, IpInfo, Packet, Quoted, QuotedProtocol, TcpPacket, UdpPacket
from stack.sim.packetdrill.timing import Clock, Moment, moment_words
from stack.tcp.seq import MASK
from stack.wire.icmp import Icmp
from stack.wire.ip import PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP
from stack.wire.units import SECOND, Duration

PATIENCE: Final[Duration] = 2 * SECOND
"""How long after its time a packet is waited for, so that the report can say that it came late."""

ANY_TIME: Final[Duration] = 3600 * SECOND
"""How long a packet that may come at any time is waited for."""

HOP_LIMIT: Final = 64
_ECN: Final = {None: 0, "noecn": 0, "ect1": 1, "ect0": 2, "ce": 3}


class Exchange:
    """What passes between a script and the stack."""

    def __init__(self, bench: Bench, flows: Flows, settings: Settings) -> None:
        self._bench = bench
        self._flows = flows
        self._settings = settings

    # To the stack.

    def inject(self, event: Event, packet: TcpPacket) -> None:
        """A segment of the script reaches the stack; `Failure` for one that can't be made."""
        flow = self._flow(event, packet)
        flow.on_injected(packet)
        bits = flag_bits(packet.flags)
        is_syn = bool(bits & SYN)
        try:
            options = encode_options(options_in(packet, flow, self._settings.ts_ecr_scaled))
        except LookupError as fault:
            raise Failure(event.place, str(fault)) from None
        local, remote = flow.local, flow.remote
        if packet.ports is not None:
            remote, local = (remote[0], packet.ports.source), (local[0], packet.ports.destination)
        self._bench.inject(
            tcp_packet(
                remote,
                local,
                seq=flow.seq_in(packet.seq, is_syn),
                ack=flow.ack_in(packet.ack or 0, is_syn) if bits & ACK or packet.ack is not None else 0,
                flags=bits,
                window=packet.window or 0,
                urgent=packet.urgent or 0,
                options=options,
                length=packet.length,
                traffic_class=_traffic_class(packet.ip),
                hop_limit=packet.ip.ttl or HOP_LIMIT,
                gso_size=self._settings.gso_size,
            )
        )

    def inject_udp(self, packet: UdpPacket) -> None:
        """A datagram of the script reaches the stack."""
        talk = self._flows.talks.for_packet(packet)
        hop_limit, traffic_class = packet.ip.ttl or HOP_LIMIT, _traffic_class(packet.ip)
        self._bench.inject(udp_packet(talk, packet.length, hop_limit=hop_limit, traffic_class=traffic_class))

    def inject_icmp(self, event: Event, packet: IcmpPacket) -> None:
        """An ICMP message of the script reaches the stack."""
        flow = self._about(packet)
        if flow is None:
            raise Failure(event.place, "there is no connection that this could be about")
        kind, code = self._icmp_numbers(event, packet)
        is_echo = packet.type.startswith("echo")
        usual = QuotedProtocol.TCP if isinstance(flow, Flow) else QuotedProtocol.UDP
        quoted = packet.quoted or (None if is_echo else Quoted(usual, 0, 0))
        payload = b"" if quoted is None else self._quoted(quoted, flow)
        rest = packet.mtu or 0
        if packet.identifier is not None:
            rest = packet.identifier << 16
        message = Icmp(kind, code, rest, payload)
        hop_limit = packet.ip.ttl or HOP_LIMIT
        traffic_class = _traffic_class(packet.ip)
        source, target = flow.remote[0], flow.local[0]
        self._bench.inject(icmp_packet(source, target, message, hop_limit=hop_limit, traffic_class=traffic_class))

    def _about(self, packet: IcmpPacket) -> Flow | Talk | None:
        """What a message is about: UDP if it quotes that, or if there are no connections."""
        flow, talks = self._flows.under_test, self._flows.talks
        if packet.quoted is None:
            return talks.under_test() if flow is None and talks else flow
        return talks.under_test() if packet.quoted.protocol is QuotedProtocol.UDP else flow

    @staticmethod
    def _quoted(quoted: Quoted, flow: Flow | Talk) -> bytes:
        """What an error quotes: where a script doesn't say, the connection's first segment."""
        if quoted.protocol is QuotedProtocol.RAW:
            return bytes(max(quoted.length - 8, 0))
        if not isinstance(flow, Flow):
            rest = quoted_datagram(flow, quoted.length)
            return quote(flow.local, flow.remote, protocol=PROTO_UDP, rest=rest, length=8 + quoted.length)
        ports = flow.local[1].to_bytes(2, "big") + flow.remote[1].to_bytes(2, "big")
        rest = ports + flow.ack_in(quoted.seq, False).to_bytes(4, "big")
        return quote(flow.local, flow.remote, protocol=PROTO_TCP, rest=rest, length=20 + quoted.length)

    def _icmp_numbers(self, event: Event, packet: IcmpPacket) -> tuple[int, int]:
        family = 4 if len(self._settings.local) == 4 else 6
        kind = number_of(packet.type, "type", TYPES[family])
        if kind is None:
            raise Failure(event.place, f"there is no ICMP message {packet.type} of IPv{family}")
        code = 0 if packet.code is None else number_of(packet.code, "code", CODES.get((family, kind), {}))
        if code is None:
            raise Failure(event.place, f"there is no code {packet.code} of the ICMP message {packet.type}")
        return kind, code

    def _flow(self, event: Event, packet: TcpPacket) -> Flow:
        flow = self._flows.for_packet(packet)
        if flow is None:
            raise Failure(event.place, "there is no connection that this packet could be of")
        return flow

    # From the stack.

    def expect(self, event: Event, packet: Packet, moment: Moment, clock: Clock) -> None:
        """The next packet of the connection must be this one; `Failure` if it is not, or does not come."""
        if isinstance(packet, IcmpPacket):
            self._expect_icmp(event, packet, moment, clock)
            return
        if isinstance(packet, UdpPacket):
            self._expect_udp(event, packet, moment, clock)
            return
        flow = self._flow(event, packet)
        flow.on_expected(packet)
        first = self._next(event, flow, moment)
        flow.on_sent(packet, first)
        pieces, apart = self._gather(first, packet, flow, moment)
        whole = join(pieces)
        faults = apart + differences(packet, whole, flow, self._settings, clock.tolerance(moment.start))
        faults += flow_label_differences(packet.ip, whole, flow)
        late = [piece.time for piece in pieces if not clock.is_in_time(moment, piece.time)]
        if late:
            faults.append(f"time: {moment_words(moment)}")
        if faults:
            raise Failure(event.place, "the stack sent something else", self._came(pieces, flow) + tuple(faults))

    def _gather(self, first: Sent, packet: TcpPacket, flow: Flow, moment: Moment) -> tuple[list[Sent], list[str]]:
        """The segments that a line may stand for, and why the one behind them does not belong to it as well."""
        pieces = [first]
        length = first.length
        while 0 < length < packet.length and not self._settings.strict_segments:
            following = self._peek(flow, moment)
            if following is None:
                return pieces, []
            apart = continues(following, pieces[-1], flow)
            if apart:
                return pieces, [f"the next one is no continuation: expected {', '.join(apart)}"]
            pieces.append(self._bench.sent.popleft())
            length += following.length
        return pieces, []

    def _expect_icmp(self, event: Event, packet: IcmpPacket, moment: Moment, clock: Clock) -> None:
        sent = self._next(event, None, moment)
        kind, code = self._icmp_numbers(event, packet)
        assert sent.message is not None
        faults = ip_differences(packet.ip, sent)
        if (sent.message.type, sent.message.code) != (kind, code):
            faults.append(
                f"type and code: expected {kind} and {code}, came {sent.message.type} and {sent.message.code}"
            )
        if not clock.is_in_time(moment, sent.time):
            faults.append(f"time: {moment_words(moment)}")
        if faults:
            raise Failure(event.place, "the stack sent something else", tuple(faults))

    def _expect_udp(self, event: Event, packet: UdpPacket, moment: Moment, clock: Clock) -> None:
        sent = self._next(event, self._flows.talks.for_packet(packet), moment)
        faults = datagram_differences(packet, sent)
        if not clock.is_in_time(moment, sent.time):
            faults.append(f"time: {moment_words(moment)}")
        if faults:
            came = f"came:     {sent.time / SECOND:.6f} {datagram_words(sent)}"
            raise Failure(event.place, "the stack sent something else", (came, *faults))

    def _next(self, event: Event, flow: Flow | Talk | None, moment: Moment) -> Sent:
        """Take the next packet of a connection (None: the next ICMP message), waiting for it."""
        limit = self._limit(moment)
        if self._peek(flow, moment) is None:
            details = () if moment.any_time else (moment_words(moment),)
            raise Failure(event.place, f"nothing came up to {limit / SECOND:.6f} s", details)
        return self._bench.sent.popleft()

    def _peek(self, flow: Flow | Talk | None, moment: Moment) -> Sent | None:
        """The next packet of a connection, which stays there. Others before it are thrown away."""
        bench = self._bench
        limit = self._limit(moment)
        while True:
            while bench.sent:
                if _is_of(bench.sent[0], flow):
                    return bench.sent[0]
                bench.sent.popleft()
            if not bench.step(limit):
                return None

    def _limit(self, moment: Moment) -> Duration:
        if moment.any_time:
            return self._bench.now + ANY_TIME
        return max(moment.end, self._bench.now) + PATIENCE

    @staticmethod
    def _came(pieces: list[Sent], flow: Flow) -> tuple[str, ...]:
        return tuple(
            f"{'came:' if not number else '':9} {piece.time / SECOND:.6f} {packet_words(piece, flow)}"
            for number, piece in enumerate(pieces)
        )


def _is_of(sent: Sent, flow: Flow | Talk | None) -> bool:
    if flow is None:
        return sent.protocol in (PROTO_ICMP, PROTO_ICMPV6) and sent.message is not None
    if isinstance(flow, Talk):
        return flow.matches(sent)
    return sent.protocol == PROTO_TCP and flow.matches(sent)


def _traffic_class(info: IpInfo) -> int:
    if info.tos is not None:
        return info.tos & MASK & 0xFF
    return _ECN.get(info.ecn, 0)
