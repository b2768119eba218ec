"""ICMP for the host: echo both ways, and errors on their way to the connection they concern (RFC 1122 3.2.2)."""

from __future__ import annotations

from stack.host.counters import Counters
from stack.host.output import Output
from stack.ip.icmp import Meaning, TokenBucket, meaning
from stack.tcp import errors
from stack.wire import icmp
from stack.wire.drop import Drop, WireError
from stack.wire.ip import PROTO_TCP, IPHeader
from stack.wire.units import Duration, Time

HOP_LIMIT = 64  #: Of our replies.
ECHOES_PER_SECOND = 10_000  #: Requests answered; more are dropped and counted.


class Ping:
    """An echo request and what became of it. `rtt` is in nanoseconds once the reply is here."""

    __slots__ = ("error", "hop_limit", "identifier", "owner", "remote", "rtt", "sent_at", "sequence", "size")

    def __init__(self, remote: bytes, identifier: int, sequence: int, size: int, sent_at: Time) -> None:
        self.remote = remote
        self.identifier = identifier
        self.sequence = sequence
        self.size = size
        self.sent_at = sent_at
        self.rtt: Duration | None = None
        self.hop_limit = 0
        self.error: OSError | None = None
        self.owner: object | None = None


class Complaint:
    """An ICMP error about a segment of ours: the key of its flow, the segment's number, and what it means."""

    __slots__ = ("error", "hard", "key", "seq")

    def __init__(self, key: bytes, seq: int, what: Meaning) -> None:
        self.key = key
        self.seq = seq
        self.error = errors.unreachable(what.code)
        self.hard = what.hard


class Echo:
    """Answers pings, sends our own, and reads errors."""

    __slots__ = ("_identifier", "_limit", "_output", "_pings", "_sequence", "counters")

    def __init__(self, output: Output, counters: Counters, identifier: int) -> None:
        self.counters = counters
        self._output = output
        self._identifier = identifier
        self._sequence = 0
        self._pings: dict[tuple[bytes, int], Ping] = {}
        self._limit = TokenBucket(ECHOES_PER_SECOND)

    def receive(self, frame: bytes, header: IPHeader, now: Time) -> Ping | Complaint | None:
        """Take a message. Returns the ping that it settles, or the error that it brings for a connection."""
        self.counters.icmp_in += 1
        message = icmp.decode(frame[header.start : header.end], header.src, header.dst)
        v6 = header.version == 6
        if message.type == (icmp.V6_ECHO_REQUEST if v6 else icmp.ECHO_REQUEST):
            if not self._limit.take(now):
                raise WireError(Drop.ICMP_RATE_LIMITED)
            reply = icmp.Icmp(icmp.V6_ECHO_REPLY if v6 else icmp.ECHO_REPLY, 0, message.rest, message.payload)
            self._output.queue_icmp(header.dst, header.src, reply, HOP_LIMIT)
            return None
        if message.type == (icmp.V6_ECHO_REPLY if v6 else icmp.ECHO_REPLY):
            ping = self._settle(header.src, message.rest)
            ping.rtt = now - ping.sent_at
            ping.hop_limit = header.hop_limit
            return ping
        return self._on_error(header, message)

    def _on_error(self, header: IPHeader, message: icmp.Icmp) -> Ping | Complaint:
        what = meaning(message.type, message.code, header.version)
        if what is None:
            raise WireError(Drop.ICMP_IGNORED)
        quote = icmp.quoted(message.payload, header.version)
        if quote.protocol == PROTO_TCP:
            ports = quote.dst_port.to_bytes(2, "big") + quote.src_port.to_bytes(2, "big")
            return Complaint(quote.dst + quote.src + ports, quote.seq, what)
        ping = self._settle(quote.dst, quote.seq)
        ping.error = errors.unreachable(what.code)
        return ping

    def _settle(self, remote: bytes, rest: int) -> Ping:
        ping = self._pings.pop((remote, rest), None)
        if ping is None:
            raise WireError(Drop.ICMP_UNMATCHED)
        return ping

    def ping(self, local: bytes, remote: bytes, now: Time, size: int, hop_limit: int) -> Ping:
        """Queue an echo request with `size` octets of payload."""
        self._sequence = (self._sequence + 1) & 0xFFFF
        ping = Ping(remote, self._identifier, self._sequence, size, now)
        rest = ping.identifier << 16 | ping.sequence
        kind = icmp.V6_ECHO_REQUEST if len(remote) == 16 else icmp.ECHO_REQUEST
        payload = bytes(index & 0xFF for index in range(size))
        self._output.queue_icmp(local, remote, icmp.Icmp(kind, 0, rest, payload), hop_limit)
        self._pings[remote, rest] = ping
        return ping

    def forget(self, ping: Ping) -> None:
        """Nobody waits for that reply any more."""
        self._pings.pop((ping.remote, ping.identifier << 16 | ping.sequence), None)
