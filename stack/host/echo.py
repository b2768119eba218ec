"""ICMP for the host (RFC 1122 3.2.2): echo both ways, errors on their way to the connection they concern, and one error
of our own.

That one is port unreachable, for UDP, where nobody has the port. The packets that no error may be about (RFC 1122
3.2.2, RFC 4443 2.4 e) have been dropped before: those to or from a group, from an address that nobody has, and
fragments. A protocol that this host does not speak is dropped in silence: what probes for those is an attack more often
than an errand.

Neither answer makes much of a little. An echo is no longer than the request; an error is longer than the datagram by
the headers of IP and ICMP at most, 28 or 48 octets, and of a long datagram it quotes what the RFCs ask for. And each
kind has a limit of its own. That of errors must not betray which ports are open: see `ErrorLimit`.
"""

from __future__ import annotations

from stack.host.counters import Counters
from stack.host.isn import Numbers
from stack.host.output import Output
from stack.ip.icmp import Meaning, TokenBucket, claimed_mtu, meaning
from stack.tcp import errors
from stack.tcp.connection import Endpoint
from stack.wire import icmp, ipv6
from stack.wire.drop import Drop, WireError
from stack.wire.ip import PROTO_TCP, PROTO_UDP, IPHeader
from stack.wire.units import Duration, Time

HOP_LIMIT = 64  #: Of our replies.
ECHOES_PER_SECOND = 10_000  #: Requests answered; more are dropped and counted.
ERRORS_PER_SECOND = 1000  #: Likewise datagrams refused, on the average;
ERRORS_PER_DESTINATION = 100  #: of them to one address.
DESTINATIONS = 1024  #: Addresses whose errors are counted apart; others share.
QUOTED_OCTETS = 8  #: Behind the IPv4 header: the ports (RFC 1122 3.2.2).
LONGEST_V6_ERROR = 1280  #: Octets, with all headers: what every link takes (RFC 4443 2.4 c).


class ErrorLimit:
    """How many errors may be sent: to one destination, and to all.

    Who probes ports in another's name learns which are open if he can see how much of a common limit his probes have
    used up (CVE-2020-25705). So each destination has a limit of its own, which is asked first: those probes use up
    that of the address that they seem to come from. The common one behind it takes one to three tokens an error, in a
    keyed order, so that what is left in it tells nobody how many errors there were. An IPv6 host may have many
    addresses: its /64 counts as one.
    """

    __slots__ = ("_common", "_count", "_destinations", "_numbers")

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._destinations: dict[int, TokenBucket] = {}
        self._common = TokenBucket(2 * ERRORS_PER_SECOND)
        self._count = 0

    def take(self, destination: bytes, now: Time) -> bool:
        """Whether one more may be sent to there now."""
        place = self._numbers.keyed(b"errors-d", destination[:8]) % DESTINATIONS
        bucket = self._destinations.get(place)
        if bucket is None:
            bucket = self._destinations[place] = TokenBucket(ERRORS_PER_DESTINATION)
        if not bucket.take(now):
            return False
        self._count += 1
        return self._common.take(now, 1 + self._numbers.keyed(b"errors-c", self._count.to_bytes(8, "big")) % 3)


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
    """An ICMP error about a segment of ours: the key of its flow, the segment's number, and what it means.

    `mtu` is the claim of one that is about the packet's `length` (see `claimed_mtu`), else -1.
    """

    __slots__ = ("error", "hard", "key", "length", "mtu", "seq")

    def __init__(self, key: bytes, seq: int, what: Meaning, mtu: int, length: int) -> None:
        self.key = key
        self.seq = seq
        self.mtu = mtu
        self.length = length
        self.error = errors.unreachable(what.code)
        self.hard = what.hard


class DatagramComplaint:
    """An ICMP error about a datagram of ours: its ends, and what it means."""

    __slots__ = ("error", "local", "remote")

    def __init__(self, local: Endpoint, remote: Endpoint, what: Meaning) -> None:
        self.local = local
        self.remote = remote
        self.error = errors.unreachable(what.code)


class Echo:
    """Answers pings, sends our own, reads errors, and refuses datagrams."""

    __slots__ = ("_error_limit", "_identifier", "_limit", "_output", "_pings", "_sequence", "counters")

    def __init__(self, output: Output, counters: Counters, numbers: Numbers) -> None:
        self.counters = counters
        self._output = output
        self._identifier = numbers.keyed(b"ping", b"") & 0xFFFF
        self._sequence = 0
        self._pings: dict[tuple[bytes, int], Ping] = {}
        self._limit = TokenBucket(ECHOES_PER_SECOND)
        self._error_limit = ErrorLimit(numbers)

    # RFC1122-09, RFC1122-10, RFC1122-12, RFC1122-13
    def receive(self, frame: bytes, header: IPHeader, now: Time) -> Ping | Complaint | DatagramComplaint | None:
        """Take a message. Returns the ping that it settles, or the error that it brings for a flow."""
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

    # RFC 9293 MUST-54, MUST-55
    def _on_error(self, header: IPHeader, message: icmp.Icmp) -> Ping | Complaint | DatagramComplaint:
        what = meaning(message.type, message.code, header.version)
        if what is None:
            raise WireError(Drop.ICMP_IGNORED)
        quote = icmp.quoted(message.payload, header.version)
        if quote.protocol == PROTO_TCP:
            ports = quote.dst_port.to_bytes(2, "big") + quote.src_port.to_bytes(2, "big")
            mtu = claimed_mtu(message.type, message.code, message.rest, header.version)
            return Complaint(quote.dst + quote.src + ports, quote.seq, what, mtu, quote.length)
        if quote.protocol == PROTO_UDP:
            return DatagramComplaint((quote.src, quote.src_port), (quote.dst, quote.dst_port), what)
        ping = self._settle(quote.dst, quote.seq)
        ping.error = errors.unreachable(what.code)
        return ping

    # RFC1122-10, RFC1122-11, RFC1122-14
    def refuse(self, frame: bytes, header: IPHeader, now: Time) -> None:
        """Tell the sender of a datagram that nobody takes it (RFC 1122 3.2.2.1, RFC 4443 3.1)."""
        if not self._error_limit.take(header.src, now):
            raise WireError(Drop.ICMP_RATE_LIMITED)
        if header.version == 4:
            kind, code, quoted = icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, header.start + QUOTED_OCTETS
        else:  # as much as fits (RFC 4443 2.4 c)
            kind, code = icmp.V6_UNREACHABLE, icmp.V6_PORT_UNREACHABLE
            quoted = min(LONGEST_V6_ERROR, self._output.mtu) - ipv6.HEADER_LENGTH - icmp.HEADER_LENGTH
        error = icmp.Icmp(kind, code, 0, frame[: min(quoted, header.end)])
        self._output.queue_icmp(header.dst, header.src, error, HOP_LIMIT)

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
