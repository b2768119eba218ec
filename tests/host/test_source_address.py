"""Which of its addresses a host talks from (RFC 9293 3.9.1.1, RFC 6724 5, RFC 1122 3.3.4)."""

from __future__ import annotations

import errno
import itertools

import pytest

from stack.host.host import Host
from stack.tcp.config import TcpOptions
from stack.wire import ip
from stack.wire.address import format_address, parse_address
from stack.wire.units import SECOND
from tests.support.bench import Bench
from tests.support.peer import Peer


def source(remote: str, *cidrs: str, options: TcpOptions | None = None) -> str:
    """Where a connection to `remote` comes from, of a host with these addresses."""
    host = Host(secret=bytes(16))
    for cidr in cidrs:
        host.add_address(cidr)
    conn = host.connect(parse_address(remote), 80, 0, options=options)
    packet = host.poll_transmit(0)
    assert packet is not None
    assert ip.decode(packet.frame()).src == conn.local[0]
    return format_address(conn.local[0])


CASES = [
    # Rule 2: a scope that reaches the destination, and of those the smallest.
    ("2001:db8:1::1", "2001:db8:1::1:2/64", ["fe80::2/64"]),
    ("fe80::1", "fe80::2/64", ["2001:db8:1::1:2/64", "fd00::2/64", "fec0::2/64"]),
    ("fec0::1", "fec0::2/64", ["2001:db8:1::1:2/64", "fe80::2/64"]),
    ("fec0::1", "2001:db8:1::1:2/64", ["fe80::2/64"]),
    ("2001:db8::1", "fec0::2/64", ["fe80::2/64"]),  # none reaches: the one that reaches farthest
    ("2001:db8::1", "fe80::2/64", []),
    ("169.254.0.1", "169.254.9.9/16", ["10.9.0.2/24"]),
    ("192.0.2.1", "10.9.0.2/24", ["169.254.9.9/16"]),
    ("192.0.2.1", "169.254.9.9/16", []),
    # Rule 6: labels.
    ("fd00:1::1", "fdff::2/64", ["2001:db8::2/64"]),
    ("2001:db8::1", "2600::2/64", ["fdff::2/64", "2002:c000:204::2/64"]),
    ("2002:c000:205::1", "2002:c000:204::2/48", ["2001:db8::2/64", "fd00::2/64"]),
    ("2001::1", "2001:0:5::2/64", ["2001:db8::2/64"]),
    ("3ffe::1", "3ffe:1::2/64", ["3fff::2/64"]),
    # Rule 8: the longest prefix in common.
    ("2001:db8:1::1", "2001:db8:1::2/64", ["2001:db8:3ffe::2/64", "2001:db8::2/64"]),
    ("2001:db8:1:2::1", "2001:db8:1:3::2/64", ["2001:db8:1:4::2/64", "2001:db8:2::2/64"]),
    ("10.9.7.1", "10.9.7.2/24", ["10.9.0.2/16", "10.8.0.2/16"]),
    ("10.8.0.1", "10.8.0.2/24", ["10.9.0.2/24", "192.0.2.2/24"]),
    ("10.9.0.1", "10.9.0.2/16", ["10.9.7.2/24"]),  # on its network, although the other has more in common
    # But not beyond the network of the source: what comes after it tells nothing.
    ("2001:db8:1::1:0:0:1", "2001:db8:1::2:2/64", []),
]


# RFC 9293 MUST-44
# RFC1122-26
@pytest.mark.parametrize(("remote", "chosen", "others"), CASES)
def test_source_of_an_active_open(remote: str, chosen: str, others: list[str]) -> None:
    """Whatever the order in which the addresses were added."""
    for cidrs in itertools.permutations([chosen, *others]):
        assert source(remote, *cidrs) == chosen.split("/")[0]


# RFC 9293 MUST-44
@pytest.mark.parametrize(
    ("remote", "first", "second"),
    [
        ("192.0.2.1", "10.9.0.2/24", "10.8.0.2/24"),
        ("192.0.2.1", "10.8.0.2/24", "10.9.0.2/24"),
        # 63 bits and 64 in common, of which the networks have 48 each.
        ("2001:db8:1:2::1", "2001:db8:1:3::2/48", "2001:db8:1:2::2/48"),
        ("2001:db8:1:2::1", "2001:db8:1:2::2/48", "2001:db8:1:3::2/48"),
    ],
)
def test_the_first_of_equals(remote: str, first: str, second: str) -> None:
    assert source(remote, first, second) == first.split("/")[0]


# RFC 9293 MUST-44
@pytest.mark.parametrize("remote", ["2001:db8::1", "fe80::1"])
def test_no_address_of_that_family(remote: str) -> None:
    with pytest.raises(OSError, match="IPv6") as refused:
        source(remote, "10.9.0.2/24")
    assert refused.value.errno == errno.ENETUNREACH


# RFC 9293 MUST-43
# RFC1122-26
def test_the_application_may_choose_against_all_rules() -> None:
    cidrs = ("2001:db8::2/64", "fe80::2/64", "fd00::2/64")
    for cidr in cidrs:
        address = cidr.split("/")[0]
        assert source("2001:db8::1", *cidrs, options=TcpOptions(local_address=address)) == address


# RFC 9293 MUST-45
# RFC1122-26
def test_it_stays_while_addresses_come_and_go() -> None:
    """A better one has come, and in the other network another one has gone."""
    bench = Bench()
    bench.host.add_address("10.8.0.2/24")
    peer = Peer(bench=bench, address="192.0.2.1")
    user = peer.connect()
    peer.sees("S 0:0(0) <...>")
    bench.host.add_address("192.0.2.2/24")
    bench.host.remove_address("10.8.0.2")
    frames = [peer.sees("S 0:0(0) <...>", after=1 * SECOND).frame]
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    frames.append(peer.sees(". 1:1(0) ack 1").frame)
    user.write(10)
    frames.append(peer.sees("P. 1:11(10) ack 1").frame)
    user.close()
    frames.append(peer.sees("F. 11:11(0) ack 1").frame)
    peer.sends("F. 1:1(0) ack 12")
    frames.append(peer.sees(". 12:12(0) ack 2").frame)
    peer.sends("F. 1:1(0) ack 12")
    frames.append(peer.sees(". 12:12(0) ack 2").frame)
    assert {format_address(ip.decode(frame).src) for frame in frames} == {"10.9.0.2"}
    assert not bench.strays


# RFC 9293 MUST-44
def test_a_ping_follows_the_same_rules() -> None:
    bench = Bench()
    bench.host.add_address("fe80::2/64")
    bench.host.ping(parse_address("fe80::1"), bench.now)
    bench.flush()
    assert format_address(ip.decode(bench.strays[0]).src) == "fe80::2"
