"""Numbers that outsiders must not guess: initial sequence numbers (RFC 6528), ports (RFC 6056), timestamps (RFC 7323).

All as seen on the wire; the host is a black box with a secret and a clock.
"""

from __future__ import annotations

import errno
import itertools
import statistics

import pytest

from stack.host.host import Host
from stack.tcp.config import TcpOptions
from stack.wire import ip, tcp
from stack.wire.address import parse_address
from stack.wire.segment import Segment
from stack.wire.units import MS, SECOND, US, Time
from tests.support.bench import SECRET, START, Bench
from tests.support.peer import Peer

MASK = 0xFFFF_FFFF
REMOTE = parse_address("10.9.0.1")


def _syn(
    *,
    now: Time = START,
    remote: bytes = REMOTE,
    port: int = 80,
    local: str = "10.9.0.2/24",
    local_port: int = 40000,
    secret: bytes = SECRET,
) -> Segment:
    """The SYN of a fresh host that connects from there to there at that time."""
    host = Host(secret=secret)
    host.add_address(local)
    host.connect(remote, port, now, local_port=local_port)
    packet = host.poll_transmit(now)
    assert packet is not None
    header = ip.decode(packet.frame())
    return tcp.decode(packet.frame(), header.start, header.end)


# Initial sequence numbers.


# RFC6528-01
# RFC 9293 MUST-8, SHLD-1
@pytest.mark.parametrize("ticks", [1, 2, 1000, 250_000, 1 << 31, (1 << 32) + 5])
def test_isn_follows_a_clock_of_four_microseconds(ticks: int) -> None:
    first, later = _syn(), _syn(now=START + ticks * 4 * US)
    assert (later.seq - first.seq) & MASK == ticks & MASK


# RFC 9293 MUST-8
def test_isn_of_a_pair_that_is_used_again_is_beyond_the_old_connection() -> None:
    """As long as it sent less than 250 kB a second, which is what the clock can promise."""
    peer = Peer()
    user = peer.connect()
    first = peer.sees("S 0:0(0) <...>").segment.seq
    user.abort()
    peer.passes(10 * SECOND)
    peer.again()
    peer.connect()
    second = peer.sees("S 0:0(0) <...>").segment.seq
    assert (second - first) & MASK == 10 * SECOND // (4 * US)


# RFC6528-01
# RFC 9293 MUST-8
def test_isn_of_a_passive_open_follows_the_same_clock() -> None:
    numbers = []
    for wait in (0, 10):
        bench = Bench()
        bench.now += wait * SECOND
        peer = Peer(bench=bench)
        peer.listens()
        peer.sends("S 0:0(0) <mss 1000>")
        numbers.append(peer.sees("S. 0:0(0) ack 1 <...>").segment.seq)
    assert (numbers[1] - numbers[0]) & MASK == 10 * SECOND // (4 * US)


# RFC6528-02
# RFC 9293 MUST-9
def test_isn_says_nothing_about_that_of_another_pair() -> None:
    """Each of the four parts of a pair of endpoints moves it, and the differences follow no rule."""
    base = _syn().seq
    assert _syn(local="10.9.0.3/24").seq != base
    assert _syn(remote=parse_address("10.9.0.4")).seq != base
    assert _syn(port=81).seq != base
    assert _syn(local_port=40001).seq != base
    numbers = [_syn(local_port=40000 + index).seq for index in range(512)]
    steps = {(later - earlier) & MASK for earlier, later in itertools.pairwise(numbers)}
    assert len(steps) == 511
    # Spread over the whole circle: 512 of them in 16 sectors of 32 each, give or take.
    sectors = [sum(number >> 28 == sector for number in numbers) for sector in range(16)]
    assert min(sectors) > 10
    assert max(sectors) < 64


# RFC6528-02, RFC6528-03
# RFC 9293 MUST-9
def test_isn_depends_on_the_secret() -> None:
    """Who knows everything but the secret knows nothing, also when only one octet of it differs."""
    numbers = {_syn(secret=bytes([index]) + SECRET[1:]).seq for index in range(100)}
    numbers |= {_syn(secret=SECRET[:-1] + bytes([index])).seq for index in range(100)}
    assert len(numbers) >= 199
    assert _syn().seq == _syn().seq


# RFC6528-03
# RFC 9293 MUST-9
def test_secret_must_be_long_enough() -> None:
    with pytest.raises(ValueError, match="secret"):
        Host(secret=b"fifteen octets.")
    Host(secret=b"sixteen octets..")


# Ports (RFC 6056).


def _ports(host: Host, remote: bytes, count: int, port: int = 80) -> list[int]:
    return [host.connect(remote, port, START).local[1] for _ in range(count)]


def _host(secret: bytes = SECRET) -> Host:
    host = Host(secret=secret)
    host.add_address("10.9.0.2/24")
    host.add_address("fd00::2/64")
    return host


def test_ports_are_ephemeral_ones() -> None:
    """RFC 6056 3.2: from a range, here that of Linux, and none twice."""
    ports = _ports(_host(), REMOTE, 2000)
    assert len(set(ports)) == 2000
    assert min(ports) >= 32768
    assert max(ports) <= 60999


def test_first_ports_differ_from_destination_to_destination() -> None:
    """3.3.3 and 3.3.4: a sequence for each, from an offset that the secret decides."""
    host = _host()
    first = [_ports(host, parse_address(f"10.9.0.{index}"), 1)[0] for index in range(10, 74)]
    steps = {later - earlier for earlier, later in itertools.pairwise(first)}
    assert len(steps) > 50
    assert statistics.pstdev(first) > 4000
    other = _host(b"another secret, quite long")
    assert first != [_ports(other, parse_address(f"10.9.0.{index}"), 1)[0] for index in range(10, 74)]


def test_port_is_not_used_again_soon() -> None:
    """A port that was given back is at the end of the line: the far end may hold it in TIME-WAIT."""
    host = _host()
    used = set()
    for _ in range(500):
        conn = host.connect(REMOTE, 80, START)
        assert conn.local[1] not in used
        used.add(conn.local[1])
        conn.abort()
        host.touch(conn, START)


def test_port_that_is_listened_on_is_not_chosen() -> None:
    """Nor one in use with that destination."""
    host, twin = _host(), _host()
    expected = _ports(twin, REMOTE, 3)
    host.listen(expected[0])
    host.connect(REMOTE, 80, START, local_port=expected[1])
    assert _ports(host, REMOTE, 1) == [expected[2]]


def test_same_port_serves_several_destinations() -> None:
    host = _host()
    first = host.connect(REMOTE, 80, START, local_port=50000)
    second = host.connect(REMOTE, 81, START, local_port=50000)
    assert first.local == second.local


@pytest.mark.timeout(300)
def test_all_ports_taken() -> None:
    """28,232 connections to one place, and the next is refused; another place is free."""
    host = _host()
    options = TcpOptions()
    for _ in range(60999 - 32768 + 1):
        host.connect(REMOTE, 80, START, options=options)
    with pytest.raises(OSError, match="ports") as refused:
        host.connect(REMOTE, 80, START)
    assert refused.value.errno == errno.EADDRNOTAVAIL
    host.connect(REMOTE, 81, START)


# Timestamps (RFC 7323 7.1, RFC 6191 3).


# RFC6191-04
def test_timestamps_of_two_hosts_grow_from_one_connection_to_the_next() -> None:
    """Whatever the ports are: a peer in TIME-WAIT lets a newer one in."""
    first = _syn(local_port=40000).tsval
    assert (_syn(local_port=40001, now=START + 5 * SECOND).tsval - first) & MASK == 5000
    assert (_syn(port=443, now=START + 1 * MS).tsval - first) & MASK == 1


# RFC7323-25
def test_timestamps_say_nothing_about_other_pairs_of_hosts() -> None:
    """And nothing about how long the host is up."""
    values = {_syn(remote=parse_address(f"10.9.0.{index}")).tsval for index in range(10, 74)}
    assert len(values) == 64
    assert len({value >> 28 for value in values}) > 8
    assert _syn(secret=b"another secret, quite long").tsval != _syn().tsval
