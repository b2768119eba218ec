"""Forged ICMP: errors that would end connections, echoes that would amplify."""

from __future__ import annotations

import errno
import struct

import pytest

from stack.host.echo import ECHOES_PER_SECOND
from stack.ip.path_mtu import MAX_PATHS
from stack.tcp.state import CLOSED, ESTABLISHED, SYN_SENT
from stack.wire.segment import ACK, SYN
from stack.wire.units import SECOND
from tests.security.target import (
    PORT,
    SYN_OPTIONS,
    THEM4,
    THEM6,
    US4,
    Peer,
    Target,
    icmp4,
    icmp6,
    ip4,
    ip6,
    tcp_segment,
)


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


@pytest.mark.parametrize(("kind", "code"), [error for error in ERRORS if error != (3, 4)])
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


def mss(peer: Peer) -> int:
    return peer.conn.info(peer.target.now).snd_mss


# RFC1191-02
@pytest.mark.parametrize("mtu", [68, 1, 0, 67, 100, 551, 552])
def test_icm_04_too_small_an_mtu(mtu: int) -> None:
    """Also when it is said again and again, by who can see what is in flight."""
    target = Target()
    peer = in_flight(target)
    for _ in range(100):
        target.hit(quoting(3, 4, seq=peer.their_isn + 1, rest=mtu))
    assert mss(peer) == (1460 if 0 < mtu < 68 else 512)
    assert peer.conn.state is ESTABLISHED
    assert len(peer.write(bytes(2000))) <= 5
    assert peer.alive


@pytest.mark.parametrize("mtu", [0, 1279, 576, 68])
def test_icm_04_too_small_an_mtu_for_ipv6(mtu: int) -> None:
    target = Target()
    conn = target.host.connect(THEM6, 443, target.now, local_port=5000)
    (syn,) = target.replies()
    frame = ip6(icmp6(2, 0, mtu, syn.frame), next_header=58)
    target.expect(frame, "", "icmp-ignored")
    assert conn.info(target.now).pmtu == 1500


@pytest.mark.parametrize("seq", [0, 101, 5000, 1 << 31])
def test_icm_05_an_mtu_about_nothing_in_flight(seq: int) -> None:
    target = Target()
    peer = in_flight(target)
    target.expect(quoting(3, 4, seq=peer.their_isn + seq, rest=600), "", "icmp-unmatched")
    assert mss(peer) == 1460
    assert peer.alive


# RFC1191-14
def test_icm_06_an_mtu_for_a_path_that_has_taken_long_segments() -> None:
    """Who has guessed a number in flight (RFC 5927 7.2): nothing comes of it while the transfer goes on."""
    target = Target()
    peer = target.established()
    acked = 1
    for _ in range(20):
        sent = peer.write(bytes(2920))
        acked += 2920
        if acked > 3000:
            frame = quoting(3, 4, seq=peer.their_isn + acked - 2920, rest=552)
            target.expect(frame, "")
        assert {reply.tcp.size for reply in sent} == {1460}
        assert peer.send(ACK, ack=acked) == []
    assert mss(peer) == 1460
    assert target.host.path_mtu(THEM4) == 1500


def test_icm_07_the_table_of_mtus_is_bounded() -> None:
    """Many peers complain about the paths to themselves; one connection to each is all that it takes."""
    target = Target()
    everybody = [bytes((10, 10, number >> 8, number & 255)) for number in range(MAX_PATHS + 100)]
    for them in everybody:
        syn = tcp_segment(SYN, seq=1, options=SYN_OPTIONS, src=them)
        (answer,) = target.hit(ip4(syn, src=them))
        ack = tcp_segment(ACK, seq=2, ack=answer.tcp.seq + 1, src=them)
        target.hit(ip4(ack, src=them))
        conn = target.listener.accept()
        assert conn is not None
        conn.write(bytes(1460))
        target.host.touch(conn, target.now)
        target.replies()
        quoted = ip4(struct.pack("!HHI", PORT, 4000, (answer.tcp.seq + 1) & 0xFFFFFFFF), src=US4, dst=them)
        target.hit(ip4(icmp4(3, 4, 600, quoted), src=them, protocol=1))
        assert conn.info(target.now).pmtu == 600
        conn.abort()
        target.host.touch(conn, target.now)
        target.replies()
    assert [target.host.path_mtu(them) for them in everybody] == [1500] * 100 + [600] * MAX_PATHS
    target.wait(600 * SECOND)
    assert target.host.path_mtu(everybody[-1]) == 1500


# RFC6633-01
def test_icm_08_source_quench() -> None:
    target = Target()
    peer = in_flight(target)
    cwnd = peer.conn.snd.congestion.cwnd
    target.expect(quoting(4, 0, seq=peer.their_isn + 1), "", "icmp-ignored")
    assert peer.conn.snd.congestion.cwnd == cwnd
    assert peer.conn.soft_error is None


def test_icm_10_no_errors_about_errors() -> None:
    """Nor about what only looks like a datagram."""
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
