"""ICMP at the host: errors for connections (RFC 9293 3.9.2.2, RFC 5927), echo both ways (RFC 1122 3.2.2.6), and the one
error that it sends (RFC 1122 3.2.2.1)."""

from __future__ import annotations

import errno

import pytest

from stack.host.echo import ERRORS_PER_DESTINATION
from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire import icmp, ip
from stack.wire.address import parse_address
from stack.wire.checksum import checksum, pseudo_header_sum
from stack.wire.ip import PROTO_ICMP, PROTO_ICMPV6, PROTO_UDP
from stack.wire.packet import PARTIAL, TRUSTED, Packet
from stack.wire.units import MS, SECOND
from tests.support import states
from tests.support.bench import HOST4, HOST6, PEER4, PEER6, Bench
from tests.support.peer import Peer

# Errors (3.9.2.2).

HARD4 = [(icmp.UNREACHABLE, 2, errno.ENOPROTOOPT), (icmp.UNREACHABLE, 3, errno.ECONNREFUSED)]
HARD6 = [(icmp.V6_UNREACHABLE, 4, errno.ECONNREFUSED)]
#: MUST-56's: unreachable 0, 1, 5, time exceeded 0 and 1, parameter problem; code 4 belongs to path-MTU discovery, and
#: the other codes of RFC 1122 3.2.2.1 to nobody.
SOFT4 = [
    *[(icmp.UNREACHABLE, code) for code in (0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)],
    (icmp.TIME_EXCEEDED, 0),
    (icmp.TIME_EXCEEDED, 1),
    (icmp.PARAMETER_PROBLEM, 0),
    (icmp.PARAMETER_PROBLEM, 1),
]
#: Their ICMPv6 equivalents: unreachable 0 and 3, time exceeded, parameter problem 0 to 2; and too big.
SOFT6 = [
    *[(icmp.V6_UNREACHABLE, code) for code in (0, 1, 2, 3)],
    (icmp.V6_PACKET_TOO_BIG, 0),
    (icmp.V6_TIME_EXCEEDED, 0),
    (icmp.V6_TIME_EXCEEDED, 1),
    (icmp.V6_PARAMETER_PROBLEM, 0),
    (icmp.V6_PARAMETER_PROBLEM, 1),
    (icmp.V6_PARAMETER_PROBLEM, 2),
]
HARD = [(False, *case) for case in HARD4] + [(True, *case) for case in HARD6]
SOFT = [(False, *case) for case in SOFT4] + [(True, *case) for case in SOFT6]


# RFC1122-22
# RFC 9293 MUST-54, SHLD-26
@pytest.mark.parametrize(("v6", "kind", "code", "number"), HARD)
def test_hard_error_ends_the_connection_that_it_is_about(v6: bool, kind: int, code: int, number: int) -> None:
    peer, user = states.syn_sent(v6=v6)
    other = Peer(v6=v6, bench=peer.bench)
    bystander = other.connect(local_port=40001)
    other.sees("S 0:0(0) <...>")
    peer.sends_icmp(kind, code)
    assert user.state is State.CLOSED
    assert user.error is not None
    assert user.error.errno == number
    assert bystander.state is State.SYN_SENT
    assert bystander.conn.soft_error is None


# RFC 9293 MUST-54
def test_refused_port_is_the_same_error_as_a_reset() -> None:
    peer, user = states.syn_sent()
    peer.sends_icmp(icmp.UNREACHABLE, icmp.PORT_UNREACHABLE)
    assert isinstance(user.error, ConnectionRefusedError)


@pytest.mark.parametrize(("v6", "kind", "code", "number"), HARD)
@pytest.mark.parametrize("reach", [states.syn_received, states.established, states.fin_wait_1, states.last_ack])
def test_hard_error_is_soft_once_the_peer_was_heard(
    reach: states.Reach, v6: bool, kind: int, code: int, number: int
) -> None:
    """The stated deviation, from RFC 5927 5.2: anyone can forge one."""
    if v6:
        peer, user = states.established(v6=True)
    else:
        peer, user = reach()
    before = user.state
    if before is State.ESTABLISHED:
        user.write(10)
        peer.takes()
    peer.sends_icmp(kind, code)
    assert user.state is before


# RFC1122-22
# RFC 9293 MUST-56
@pytest.mark.parametrize(("v6", "kind", "code"), SOFT)
def test_soft_error_aborts_nothing(v6: bool, kind: int, code: int) -> None:
    """Neither a connection being opened nor an open one; both go on to work."""
    peer, user = states.syn_sent(v6=v6)
    peer.sends_icmp(kind, code, rest=1280)
    assert user.state is State.SYN_SENT
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 1")
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    peer.sends_icmp(kind, code, rest=1280)
    assert user.state is State.ESTABLISHED
    peer.sends("P. 1:11(10) ack 11")
    peer.sees(". 11:11(0) ack 11")
    user.reads(10)


# RFC6633-01
# RFC 9293 MUST-55
@pytest.mark.parametrize("reach", [states.syn_sent, states.established])
def test_source_quench_is_discarded_silently(reach: states.Reach) -> None:
    """RFC 6633: no reaction of any kind, to the window neither."""
    peer, user = reach()
    before = user.state
    user.write(100_000)
    peer.takes()
    window = user.conn.info(peer.now).snd_cwnd
    peer.sends_icmp(4, 0)
    peer.sees_nothing()
    assert user.state is before
    assert user.conn.info(peer.now).snd_cwnd == window
    assert user.conn.soft_error is None
    assert peer.host.counters.drops == {"icmp-ignored": 1}


# RFC 9293 MUST-54
def test_error_for_an_unknown_connection_is_dropped() -> None:
    peer, user = states.syn_sent()
    frame = bytearray(peer.last.frame if peer.last else b"")
    frame[21] ^= 1  # another port
    peer.sends_icmp(icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, about=bytes(frame))
    assert user.state is State.SYN_SENT
    assert peer.host.counters.drops == {"icmp-unmatched": 1}


@pytest.mark.parametrize("offset", [-1, 1, 1000, 1 << 31])
def test_error_about_a_number_that_is_not_in_flight_is_dropped(offset: int) -> None:
    """RFC 5927 4.1: who can't see our segments doesn't know their numbers."""
    peer, user = states.syn_sent()
    assert peer.last is not None
    frame = bytearray(peer.last.frame)
    frame[24:28] = ((peer.host_base + offset) % (1 << 32)).to_bytes(4, "big")
    peer.sends_icmp(icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, about=bytes(frame))
    assert user.state is State.SYN_SENT
    assert user.conn.soft_error is None


def test_error_may_come_from_anybody_on_the_path() -> None:
    """A router sends it, with its own address."""
    peer, user = states.syn_sent()
    peer.sends_icmp(icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, sender=parse_address("192.0.2.7"))
    assert user.state is State.CLOSED


def test_error_about_a_half_open_connection_changes_nothing() -> None:
    peer = states.half_open()
    peer.sends_icmp(icmp.UNREACHABLE, icmp.PORT_UNREACHABLE)
    assert peer.state is State.SYN_RECEIVED
    peer.sends(". 1:1(0) ack 1")
    assert peer.accepts().state is State.ESTABLISHED


def test_quote_that_is_cut_short_is_dropped() -> None:
    peer, user = states.syn_sent()
    assert peer.last is not None
    peer.sends_icmp(icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, about=peer.last.frame[:24])
    assert user.state is State.SYN_SENT
    assert sum(peer.host.counters.drops.values()) == 1


def test_soft_error_does_not_outlive_progress() -> None:
    """What was unreachable an hour ago does not explain a time-out now."""
    peer, user = states.established(options=TcpOptions(user_timeout=20.0))
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    peer.sends_icmp(icmp.UNREACHABLE, icmp.HOST_UNREACHABLE)
    peer.sends(". 1:1(0) ack 11")
    user.write(10)
    peer.gathers(20 * SECOND)
    assert isinstance(user.error, TimeoutError)


# RFC1122-09, RFC1122-13
@pytest.mark.parametrize("kind", [3, 4, 5, 9, 10, 12, 13, 14, 15, 16, 17, 18, 40, 255])
def test_other_messages_are_dropped_silently(kind: int) -> None:
    """RFC 1122 3.2.2: and a redirect is not followed."""
    peer = Peer()
    peer.sends_icmp(kind, 0, about=bytes(28))
    assert not peer.bench.strays
    assert sum(peer.host.counters.drops.values()) == 1


# Echo.


def _echo(v6: bool, payload: bytes = b"twelve bytes", *, reply: bool = False, rest: int = 0x1234_0001) -> bytes:
    source, target = (PEER6, HOST6) if v6 else (PEER4, HOST4)
    kinds = (icmp.V6_ECHO_REPLY, icmp.V6_ECHO_REQUEST) if v6 else (icmp.ECHO_REPLY, icmp.ECHO_REQUEST)
    body = icmp.encode(icmp.Icmp(kinds[0] if reply else kinds[1], 0, rest, payload), source, target)
    return ip.encode(source, target, PROTO_ICMPV6 if v6 else PROTO_ICMP, len(body), hop_limit=61) + body


# RFC1122-12
@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("size", [0, 1, 56, 1400])
def test_ping_is_answered(v6: bool, size: int) -> None:
    """RFC 1122 3.2.2.6: the same data back, with the addresses swapped."""
    bench = Bench()
    payload = bytes(index * 7 & 0xFF for index in range(size))
    bench.deliver(_echo(v6, payload))
    frame = bench.strays[0]
    header = ip.decode(frame)
    assert (header.src, header.dst) == ((HOST6, PEER6) if v6 else (HOST4, PEER4))
    message = bench.icmp()
    assert message.type == (icmp.V6_ECHO_REPLY if v6 else icmp.ECHO_REPLY)
    assert (message.code, message.rest, message.payload) == (0, 0x1234_0001, payload)
    assert not bench.strays


@pytest.mark.parametrize("v6", [False, True])
def test_ping_with_a_bad_checksum_is_dropped(v6: bool) -> None:
    bench = Bench()
    frame = bytearray(_echo(v6))
    frame[-1] ^= 1
    bench.deliver(bytes(frame))
    assert not bench.strays
    assert bench.host.counters.drops == {"bad-checksum": 1}


@pytest.mark.parametrize("target", ["10.9.0.255", "255.255.255.255", "224.0.0.1"])
def test_ping_to_many_is_not_answered(target: str) -> None:
    """Smurf."""
    bench = Bench()
    body = icmp.encode(icmp.Icmp(icmp.ECHO_REQUEST, 0, 1, b"x"))
    bench.deliver(ip.encode(PEER4, parse_address(target), PROTO_ICMP, len(body)) + body)
    assert not bench.strays


def test_flood_of_pings_is_limited() -> None:
    bench = Bench()
    for _ in range(12_000):
        bench.deliver(_echo(False))
    assert len(bench.strays) == 10_000
    assert bench.host.counters.drops == {"icmp-rate-limited": 2000}
    bench.passes(SECOND)
    bench.deliver(_echo(False))
    assert len(bench.strays) == 10_001


@pytest.mark.parametrize("v6", [False, True])
def test_our_ping(v6: bool) -> None:
    bench = Bench()
    ping = bench.host.ping(PEER6 if v6 else PEER4, bench.now, size=100, hop_limit=17)
    ping.owner = object()
    bench.flush()
    assert ip.decode(bench.strays[0]).hop_limit == 17
    request = bench.icmp()
    assert request.type == (icmp.V6_ECHO_REQUEST if v6 else icmp.ECHO_REQUEST)
    assert len(request.payload) == 100
    bench.passes(25 * MS)
    assert ping.rtt is None
    assert bench.host.take_woken() == []
    bench.deliver(_echo(v6, request.payload, reply=True, rest=request.rest))
    assert ping.rtt == 25 * MS
    assert ping.hop_limit == 61
    assert ping.error is None
    assert bench.host.take_woken() == [ping]


def test_our_pings_are_told_apart() -> None:
    bench = Bench()
    pings = [bench.host.ping(PEER4, bench.now) for _ in range(3)]
    bench.flush()
    requests = [bench.icmp() for _ in pings]
    assert len({request.rest for request in requests}) == 3
    bench.passes(5 * MS)
    bench.deliver(_echo(False, reply=True, rest=requests[1].rest))
    assert [ping.rtt for ping in pings] == [None, 5 * MS, None]
    bench.deliver(_echo(False, reply=True, rest=requests[1].rest))  # once more
    assert bench.host.counters.drops == {"icmp-unmatched": 1}
    bench.host.forget_ping(pings[0])
    bench.deliver(_echo(False, reply=True, rest=requests[0].rest))
    assert pings[0].rtt is None


def test_our_ping_meets_an_error() -> None:
    bench = Bench()
    ping = bench.host.ping(PEER4, bench.now)
    bench.flush()
    request = bench.strays.popleft()
    body = icmp.encode(icmp.Icmp(icmp.UNREACHABLE, icmp.HOST_UNREACHABLE, 0, request[:28]))
    bench.deliver(ip.encode(parse_address("192.0.2.7"), HOST4, PROTO_ICMP, len(body)) + body)
    assert ping.rtt is None
    assert ping.error is not None
    assert ping.error.errno == errno.EHOSTUNREACH


def test_our_ping_must_fit_the_link() -> None:
    bench = Bench()
    bench.host.ping(PEER4, bench.now, size=1500 - 28)
    with pytest.raises(OSError, match="1473") as refused:
        bench.host.ping(PEER4, bench.now, size=1500 - 27)
    assert refused.value.errno == errno.EMSGSIZE


# Datagrams, which nobody takes.


def _datagram(v6: bool, text: bytes = b"", *, length: int | None = None, error: int = 0, summed: bool = True) -> bytes:
    """UDP with a checksum that is off by `error`, or none."""
    source, target = (PEER6, HOST6) if v6 else (PEER4, HOST4)
    length = 8 + len(text) if length is None else length
    fields = b"".join(value.to_bytes(2, "big") for value in (5353, 53, length))
    value = checksum(fields + bytes(2) + text, pseudo_header_sum(source, target, PROTO_UDP, length)) ^ error
    return fields + (value if summed else 0).to_bytes(2, "big") + text


def _packet(v6: bool, datagram: bytes) -> bytes:
    source, target = (PEER6, HOST6) if v6 else (PEER4, HOST4)
    return ip.encode(source, target, PROTO_UDP, len(datagram)) + datagram


# RFC1122-11, RFC1122-14
@pytest.mark.parametrize(("v6", "size", "quoted"), [
    (False, 0, 28), (False, 1, 28), (False, 1400, 28), (True, 0, 48), (True, 1000, 1048), (True, 1184, 1232),
    (True, 1185, 1232), (True, 1452, 1232),
])  # fmt: skip
def test_datagram_is_answered_with_port_unreachable(v6: bool, size: int, quoted: int) -> None:
    """RFC 1122 3.2.2: IP's header and 8 octets are quoted unchanged; RFC 4443 2.4 (c): what fits into 1280 octets."""
    bench = Bench()
    frame = _packet(v6, _datagram(v6, bytes(index & 0xFF for index in range(size))))
    bench.deliver(frame)
    header = ip.decode(bench.strays[0])
    assert (header.src, header.dst) == ((HOST6, PEER6) if v6 else (HOST4, PEER4))
    assert header.traffic_class == 0
    answer = len(bench.strays[0])
    assert answer <= len(frame) + (48 if v6 else 28)
    assert answer <= 1280
    message = bench.icmp()
    assert (message.type, message.code) == ((icmp.V6_UNREACHABLE, 4) if v6 else (icmp.UNREACHABLE, 3))
    assert message.rest == 0
    assert message.payload == frame[:quoted]
    assert not bench.strays
    assert bench.host.counters.drops == {"port-unreachable": 1}
    assert bench.host.counters.icmp_out == 1


# RFC1122-11
def test_quote_begins_with_the_whole_header() -> None:
    """Options and extension headers stand between; what a link has added behind the packet does not count."""
    frame = bytearray(ip.encode(PEER4, HOST4, PROTO_UDP, 8 + 40))
    frame[0] = 0x4F
    frame += b"\x01" * 40
    frame[10:12] = bytes(2)
    frame[10:12] = checksum(bytes(frame)).to_bytes(2, "big")
    frame += _datagram(False)
    bench = Bench()
    bench.deliver(bytes(frame) + b"padding")
    assert bench.icmp().payload == bytes(frame)
    long = ip.encode(PEER6, HOST6, 60, 8 + 8) + bytes((PROTO_UDP, 0, 1, 4, 0, 0, 0, 0)) + _datagram(True)
    bench.deliver(long + b"padding")
    assert bench.icmp().payload == long


# RFC1122-11
def test_error_fits_a_link_that_is_narrower_than_ipv6_allows() -> None:
    bench = Bench(mtu=600)
    bench.deliver(_packet(True, _datagram(True, bytes(540))))
    assert len(bench.icmp().payload) == 600 - 48


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        ({"length": 0}, "bad-header"),
        ({"length": 7}, "bad-header"),
        ({"length": 13}, "truncated"),
        ({"length": 0xFFFF}, "truncated"),
        ({"error": 1}, "bad-checksum"),
        ({"error": 0x8000}, "bad-checksum"),
    ],
)
def test_malformed_datagrams_are_dropped_silently(v6: bool, datagram: dict[str, int], reason: str) -> None:
    bench = Bench()
    bench.deliver(_packet(v6, _datagram(v6, b"text", **datagram)))  # type: ignore[arg-type]
    assert bench.host.counters.drops == {reason: 1}
    assert not bench.strays


@pytest.mark.parametrize("size", [0, 7])
def test_what_is_shorter_than_a_datagram_is_dropped(size: int) -> None:
    bench = Bench()
    bench.deliver(_packet(False, _datagram(False)[:size]))
    assert bench.host.counters.drops == {"truncated": 1}
    assert not bench.strays


def test_datagram_may_be_shorter_than_what_carries_it() -> None:
    """The rest is not summed."""
    bench = Bench()
    bench.deliver(_packet(False, _datagram(False, b"text") + b"rest"))
    assert bench.icmp().code == icmp.PORT_UNREACHABLE


def test_datagram_without_a_checksum() -> None:
    """Only IPv4 allows that (RFC 768, RFC 8200 8.1)."""
    bench = Bench()
    bench.deliver(_packet(False, _datagram(False, b"text", summed=False)))
    assert bench.icmp().code == icmp.PORT_UNREACHABLE
    bench.deliver(_packet(True, _datagram(True, b"text", summed=False)))
    assert not bench.strays
    assert bench.host.counters.drops == {"port-unreachable": 1, "bad-checksum": 1}


@pytest.mark.parametrize("csum", [TRUSTED, PARTIAL])
def test_checksum_of_a_datagram_that_somebody_has_vouched_for_is_not_looked_at(csum: int) -> None:
    bench = Bench()
    frame = _packet(False, _datagram(False, b"text", error=0x5555))
    bench.host.receive(Packet(frame[:28], (frame[28:],), csum=csum), bench.now)
    bench.flush()
    assert bench.icmp().payload == frame[:28]


def test_flood_of_datagrams_is_limited() -> None:
    """For each destination by itself; and pings are answered all the same."""
    bench = Bench()
    for _ in range(150):
        bench.deliver(_packet(False, _datagram(False)))
    assert len(bench.strays) == ERRORS_PER_DESTINATION == 100
    assert bench.host.counters.drops == {"port-unreachable": 100, "icmp-rate-limited": 50}
    bench.deliver(_echo(False))
    assert len(bench.strays) == 101
    bench.deliver(_packet(True, _datagram(True)))
    assert len(bench.strays) == 102
    bench.passes(SECOND)
    bench.deliver(_packet(False, _datagram(False)))
    assert len(bench.strays) == 103
