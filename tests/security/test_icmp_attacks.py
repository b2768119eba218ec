"""Forged ICMP: errors that would end connections, echoes that would amplify."""

from __future__ import annotations

import errno
import struct

import pytest

from stack.host.echo import ECHOES_PER_SECOND
from stack.tcp.state import CLOSED, ESTABLISHED, SYN_SENT
from stack.wire.units import SECOND
from tests.security.target import PORT, THEM4, US4, Peer, Target, icmp4, icmp6, ip4, ip6


def quoting(
    kind: int,
    code: int,
    *,
    seq: int,
    sport: int = PORT,
    dport: int = 4000,
    src: bytes = US4,
    dst: bytes = THEM4,
    protocol: int = 6,
    rest: int = 0,
    size: int = 8,
) -> bytes:
    """An ICMP error about a segment that we are said to have sent."""
    quoted = ip4(struct.pack("!HHI", sport, dport, seq & 0xFFFFFFFF)[:size], src=src, dst=dst, protocol=protocol)
    return ip4(icmp4(kind, code, rest, quoted), protocol=1)


def in_flight(target: Target) -> Peer:
    """A connection with octets 1 to 100 on their way to the peer."""
    peer = target.established()
    assert len(peer.write(bytes(100))) == 1
    return peer


ERRORS = [(3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (3, 5), (3, 13), (11, 0), (11, 1), (12, 0)]


@pytest.mark.parametrize(("kind", "code"), ERRORS)
def test_icm_01_errors_are_soft_once_connected(kind: int, code: int) -> None:
    target = Target()
    peer = in_flight(target)
    for _ in range(100):
        target.expect(quoting(kind, code, seq=peer.their_isn + 1), "")
    assert peer.conn.state is ESTABLISHED
    assert peer.alive


def test_icm_01_the_error_explains_a_later_time_out() -> None:
    target = Target()
    peer = in_flight(target)
    target.hit(quoting(3, 1, seq=peer.their_isn + 1))
    target.wait(1000 * SECOND)
    assert peer.conn.state is CLOSED
    assert peer.conn.error is not None
    assert peer.conn.error.errno == errno.EHOSTUNREACH


@pytest.mark.parametrize(
    ("seq", "ports"),
    [
        (0, (PORT, 4000)),
        (101, (PORT, 4000)),
        (5000, (PORT, 4000)),
        (1 << 31, (PORT, 4000)),
        (1, (PORT, 4001)),
        (1, (81, 4000)),
        (1, (4000, PORT)),
    ],
)
def test_icm_02_errors_about_nothing_we_sent(seq: int, ports: tuple[int, int]) -> None:
    target = Target()
    peer = in_flight(target)
    frame = quoting(3, 3, seq=peer.their_isn + seq, sport=ports[0], dport=ports[1])
    target.expect(frame, "", "icmp-unmatched")
    assert peer.conn.soft_error is None
    assert peer.alive


@pytest.mark.parametrize("size", [0, 4, 7])
def test_icm_02_quotes_too_short_to_tell(size: int) -> None:
    target = Target()
    peer = in_flight(target)
    target.expect(quoting(3, 3, seq=peer.their_isn + 1, size=size), "", "truncated")
    target.expect(ip4(icmp4(3, 3, 0, b""), protocol=1), "", "bad-version")
    target.expect(ip4(icmp4(3, 3, 0, b"\x45" * 12), protocol=1), "", "truncated")
    assert peer.alive


@pytest.mark.parametrize(("code", "offset", "fails"), [(3, 0, True), (2, 0, True), (1, 0, False), (3, 1, False)])
def test_icm_03_hard_errors_while_connecting(code: int, offset: int, fails: bool) -> None:
    """They end the attempt, if they quote the very SYN; soft ones leave it to the SYN's own time-out."""
    target = Target()
    conn = target.host.connect(THEM4, 443, target.now, local_port=5000)
    (syn,) = target.replies()
    target.hit(quoting(3, code, seq=syn.tcp.seq + offset, sport=5000, dport=443))
    assert conn.state is (CLOSED if fails else SYN_SENT)
    assert fails == (conn.error is not None)


def test_icm_08_source_quench() -> None:
    target = Target()
    peer = in_flight(target)
    cwnd = peer.conn.snd.congestion.cwnd
    target.expect(quoting(4, 0, seq=peer.their_isn + 1), "", "icmp-ignored")
    assert peer.conn.snd.congestion.cwnd == cwnd
    assert peer.conn.soft_error is None


def test_icm_10_no_errors_about_errors() -> None:
    """Nor about anything else: this host makes none."""
    target = Target()
    for kind, code in ERRORS:
        nested = quoting(kind, code, seq=1, protocol=1)
        assert target.hit(nested) == []
        assert target.hit(ip4(icmp4(3, 3, 0, nested), protocol=1)) == []
    assert target.hit(ip4(bytes(100), protocol=17)) == []
    assert target.host.counters.icmp_out == 0


def test_icm_12_redirect() -> None:
    target = Target()
    peer = in_flight(target)
    gateway = int.from_bytes(bytes((10, 9, 0, 66)), "big")
    target.expect(quoting(5, 1, seq=peer.their_isn + 1, rest=gateway), "", "icmp-ignored")
    target.expect(ip6(icmp6(137, 0, 0, bytes(32)), next_header=58), "", "icmp-ignored")
    (segment,) = peer.write(b"more" * 400)
    assert segment.header.dst == THEM4
    assert peer.alive


@pytest.mark.parametrize("size", [0, 1, 56, 1472])
def test_icm_13_echo_is_no_longer_than_the_request(size: int) -> None:
    frame = ip4(icmp4(8, 0, 0x12340001, b"e" * size), protocol=1)
    (reply,) = Target().expect(frame + b"padding", "icmp")
    assert len(reply.frame) == len(frame)
    assert reply.frame[28:] == b"e" * size


def test_icm_13_echo_of_65507_octets() -> None:
    Target().expect(ip4(icmp4(8, 0, 1, bytes(65_507)), protocol=1), "", "too-long")


def test_icm_13_echoes_are_limited() -> None:
    target = Target()
    frame = ip4(icmp4(8, 0, 1, b"x"), protocol=1)
    answered = sum(len(target.hit(frame)) for _ in range(ECHOES_PER_SECOND + 500))
    assert answered == ECHOES_PER_SECOND
    assert target.host.counters.drops == {"icmp-rate-limited": 500}
    target.wait(SECOND)
    target.expect(frame, "icmp")


def test_icm_13_replies_that_nobody_asked_for() -> None:
    target = Target()
    target.expect(ip4(icmp4(0, 0, 1, b"x"), protocol=1), "", "icmp-unmatched")
    target.expect(ip6(icmp6(129, 0, 1, b"x"), next_header=58), "", "icmp-unmatched")
    target.expect(ip4(icmp4(0, 0, 1, b"x")[:-1], protocol=1), "", "bad-checksum")
