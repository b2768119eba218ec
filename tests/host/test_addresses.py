"""Whose packets the host takes, and where it sends from (RFC 9293 3.9.1.1, 3.9.2.3; RFC 1122 3.2.1.3)."""

from __future__ import annotations

import errno

import pytest

from stack.host.host import Host
from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire import ip
from stack.wire.address import format_address, parse_address
from stack.wire.packet import TRUSTED, Packet
from stack.wire.units import MINUTE, MS, SECOND
from tests.support import states
from tests.support.bench import Bench
from tests.support.peer import Peer

# What comes in.


# RFC1122-23
# RFC 9293 MUST-57
@pytest.mark.parametrize(
    "target", ["10.9.0.255", "10.9.0.0", "255.255.255.255", "224.0.0.1", "239.1.2.3", "ff02::1", "ff05::2"]
)
@pytest.mark.parametrize("line", ["S 0:0(0) <mss 1000>", ". 1:1(0) ack 1", "F 1:1(0)"])
def test_nothing_answers_what_was_sent_to_many(target: str, line: str) -> None:
    peer = Peer(host_address=target, v6=":" in target)
    peer.listens()
    peer.sends(line)
    peer.sees_nothing()
    assert not peer.bench.strays
    assert peer.host.half_open == 0
    assert peer.host.counters.drops == {"broadcast": 1}


# RFC1122-03
# RFC 9293 MUST-63
@pytest.mark.parametrize(
    "source",
    [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.255.0.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "10.9.0.255",
        "10.9.0.0",
        "10.9.0.2",
        "::",
        "::1",
        "ff02::1",
        "::ffff:10.9.0.1",
        "fd00::2",
    ],
)
@pytest.mark.parametrize("line", ["S 0:0(0) <mss 1000>", ". 1:1(0) ack 1"])
def test_nothing_answers_a_source_that_cannot_be(source: str, line: str) -> None:
    peer = Peer(address=source, v6=":" in source)
    peer.listens()
    peer.sends(line)
    peer.sees_nothing()
    assert not peer.bench.strays
    assert peer.host.half_open == 0
    assert peer.host.counters.drops == {"martian": 1}


def test_land() -> None:
    """The same endpoint at both ends."""
    peer = Peer(address="10.9.0.2", port=80, host_port=80)
    peer.listens()
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees_nothing(during=MINUTE)


# RFC1122-04
@pytest.mark.parametrize("target", ["10.9.0.3", "10.8.0.2", "fd00::3"])
def test_packets_for_others_are_dropped_silently(target: str) -> None:
    peer = Peer(host_address=target, v6=":" in target)
    peer.listens()
    peer.sends("S 0:0(0) <mss 1000>", ". 1:1(0) ack 1")
    peer.sees_nothing()
    assert peer.host.counters.drops == {"not-for-us": 2}


# RFC 9293 MUST-3
def test_bad_checksum_is_counted_and_dropped() -> None:
    peer = Peer()
    peer.listens()
    frame = bytearray(peer.packet("S 0:0(0) <mss 1000>").frame())
    frame[-1] ^= 1
    peer.bench.deliver(bytes(frame))
    peer.sees_nothing()
    assert peer.host.counters.drops == {"bad-checksum": 1}


def test_checksum_that_somebody_has_vouched_for_is_not_looked_at() -> None:
    """A link with offload says so in the packet."""
    peer = Peer()
    peer.listens()
    frame = bytearray(peer.packet("S 0:0(0) <mss 1000>").frame())
    frame[36:38] = b"\x12\x34"
    peer.bench.deliver(Packet(bytes(frame), csum=TRUSTED))
    peer.sees("S. 0:0(0) ack 1 <...>")


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "truncated"),
        (b"\x45" * 10, "truncated"),
        (b"\x50" + bytes(39), "bad-version"),
    ],
)
def test_rubbish_is_counted_and_dropped(frame: bytes, reason: str) -> None:
    bench = Bench()
    bench.deliver(frame)
    assert bench.host.counters.drops == {reason: 1}
    assert not bench.strays


def test_unknown_protocol_is_counted_and_dropped() -> None:
    bench = Bench()
    bench.deliver(ip.encode(parse_address("10.9.0.1"), parse_address("10.9.0.2"), 253, 4) + b"rest")
    assert bench.host.counters.drops == {"unknown-protocol": 1}
    assert not bench.strays


def test_fragments_are_counted_and_dropped() -> None:
    bench = Bench()
    peer = Peer(bench=bench)
    peer.listens()
    frame = bytearray(peer.packet("S 0:0(0) <mss 1000>").frame())
    frame[6] |= 0x20  # more fragments
    frame[10:12] = b"\x00\x00"
    total = sum(int.from_bytes(frame[index : index + 2], "big") for index in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    frame[10:12] = (~total & 0xFFFF).to_bytes(2, "big")
    bench.deliver(bytes(frame))
    assert bench.host.counters.drops == {"fragment": 1}
    assert bench.host.half_open == 0


# Where connections come from.


def _multihomed() -> Bench:
    bench = Bench()
    bench.host.add_address("10.8.0.2/24")
    bench.host.add_address("fd01::2/64")
    return bench


# RFC 9293 MUST-44
@pytest.mark.parametrize(
    ("remote", "local"),
    [
        ("10.9.0.1", "10.9.0.2"),
        ("10.8.0.1", "10.8.0.2"),
        ("192.0.2.1", "10.9.0.2"),
        ("fd00::1", "fd00::2"),
        ("fd01::1", "fd01::2"),
        ("2001:db8::1", "fd00::2"),
    ],
)
def test_host_chooses_the_local_address(remote: str, local: str) -> None:
    """Before the first SYN: the address on the peer's network, else the first of that family."""
    bench = _multihomed()
    conn = bench.host.connect(parse_address(remote), 80, bench.now)
    bench.flush()
    assert format_address(conn.local[0]) == local
    assert bench.stray().startswith(f"[{local}]" if ":" in local else local)


# RFC1122-26
# RFC 9293 MUST-45
def test_local_address_stays_what_it_was() -> None:
    """Also when one comes up that would be a better choice now, and for every kind of segment."""
    bench = _multihomed()
    peer = Peer(bench=bench, address="192.0.2.1")
    user = peer.connect()
    peer.sees("S 0:0(0) <...>")
    bench.host.add_address("192.0.2.2/24")
    peer.sees("S 0:0(0) <...>", after=1 * SECOND)
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 1")
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    peer.sees("P. 1:11(10) ack 1", after=3 * SECOND)
    peer.sends("FP. 1:11(10) ack 11")
    peer.sees(". 11:11(0) ack 12")
    user.abort()
    peer.sees_reset(11, ack=12)
    assert not bench.strays


# RFC 9293 MUST-45
def test_answers_come_from_the_address_that_was_asked() -> None:
    bench = _multihomed()
    peer = Peer(bench=bench, host_address="10.8.0.2", address="10.9.0.1")
    peer.listens()
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <...>")
    peer.sees("S. 0:0(0) ack 1 <...>", after=1 * SECOND)
    peer.sends(". 1:1(0) ack 1")
    assert format_address(peer.accepts().conn.local[0]) == "10.8.0.2"
    assert not bench.strays


# RFC1122-26
# RFC 9293 MUST-43
def test_local_address_of_an_active_open() -> None:
    bench = _multihomed()
    peer = Peer(bench=bench, host_address="10.8.0.2")
    user = peer.connect(options=TcpOptions(local_address="10.8.0.2"))
    peer.sees("S 0:0(0) <...>")
    assert format_address(user.conn.local[0]) == "10.8.0.2"


# RFC 9293 MUST-43
@pytest.mark.parametrize("local", ["10.7.0.2", "fd00::2", "10.9.0.255", "not an address"])
def test_local_address_that_is_not_ours_or_of_the_other_family(local: str) -> None:
    bench = _multihomed()
    with pytest.raises(OSError, match=local.split("/")[0]) as refused:
        bench.host.connect(parse_address("10.9.0.1"), 80, bench.now, options=TcpOptions(local_address=local))
    assert refused.value.errno == errno.EADDRNOTAVAIL


# RFC 9293 MUST-43
def test_local_address_of_a_passive_open() -> None:
    """A listener on one address hears nothing of the others, and has precedence over one on all."""
    bench = _multihomed()
    here = bench.host.listen(80, address=parse_address("10.8.0.2"))
    peers = {address: Peer(bench=bench, host_address=address) for address in ("10.9.0.2", "10.8.0.2")}
    peers["10.9.0.2"].sends("S 0:0(0) <mss 1000>")
    peers["10.9.0.2"].sees("R. 0:0(0) ack 1")
    everywhere = bench.host.listen(80)
    for peer in peers.values():
        peer.sends("S 0:0(0) <mss 1000>")
        peer.sees("S. 0:0(0) ack 1 <...>")
        peer.sends(". 1:1(0) ack 1")
    conn = here.accept()
    assert conn is not None
    assert format_address(conn.local[0]) == "10.8.0.2"
    assert here.accept() is None
    conn = everywhere.accept()
    assert conn is not None
    assert format_address(conn.local[0]) == "10.9.0.2"


# RFC 9293 MUST-43
def test_passive_open_on_an_address_that_is_not_ours() -> None:
    bench = Bench()
    with pytest.raises(OSError, match="address") as refused:
        bench.host.listen(80, address=parse_address("10.7.0.2"))
    assert refused.value.errno == errno.EADDRNOTAVAIL


# RFC1122-23
# RFC 9293 MUST-46
@pytest.mark.parametrize(
    "remote",
    [
        "255.255.255.255",
        "10.9.0.255",
        "224.0.0.1",
        "239.1.2.3",
        "0.0.0.0",
        "127.0.0.1",
        "240.0.0.1",
        "ff02::1",
        "::",
        "::1",
    ],
)
def test_open_to_an_address_that_no_peer_has(remote: str) -> None:
    bench = Bench()
    with pytest.raises(OSError, match="can't be connected to") as refused:
        bench.host.connect(parse_address(remote), 80, bench.now)
    assert refused.value.errno == errno.EINVAL
    bench.flush()
    assert not bench.strays


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_open_to_a_port_that_is_none(port: int) -> None:
    bench = Bench()
    with pytest.raises(OSError, match="can't be connected to") as refused:
        bench.host.connect(parse_address("10.9.0.1"), port, bench.now)
    assert refused.value.errno == errno.EINVAL
    if port:
        with pytest.raises(OSError, match="not a port"):
            bench.host.connect(parse_address("10.9.0.1"), 80, bench.now, local_port=port)
        with pytest.raises(OSError, match="not a port"):
            bench.host.listen(port)


def test_open_to_ourselves() -> None:
    bench = Bench()
    with pytest.raises(OSError, match="this host itself") as refused:
        bench.host.connect(parse_address("10.9.0.2"), 80, bench.now)
    assert refused.value.errno == errno.EADDRNOTAVAIL


def test_open_without_an_address_of_that_family() -> None:
    host = Host(secret=bytes(16))
    host.add_address("10.9.0.2/24")
    with pytest.raises(OSError, match="IPv6") as refused:
        host.connect(parse_address("fd00::1"), 80, 0)
    assert refused.value.errno == errno.ENETUNREACH


def test_open_twice() -> None:
    peer, _ = states.syn_sent()
    with pytest.raises(OSError, match="in use") as refused:
        peer.host.connect(peer.address, 80, peer.now, local_port=40000)
    assert refused.value.errno == errno.EADDRINUSE


def test_open_of_a_pair_in_time_wait() -> None:
    """3.6.1: the pair waits for 2 MSL before it may be used again."""
    peer, _ = states.time_wait()
    with pytest.raises(OSError, match="in use"):
        peer.host.connect(peer.address, 80, peer.now, local_port=40000)
    peer.passes(MINUTE)
    peer.host.connect(peer.address, 80, peer.now, local_port=40000)


# Addresses come and go.


def test_address_that_was_removed_is_answered_no_more() -> None:
    peer = Peer()
    peer.listens()
    peer.host.remove_address("10.9.0.2/24")
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees_nothing()
    assert peer.host.addresses == ["fd00::2/64"]
    peer.host.add_address("10.9.0.2/24")
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <...>")
    with pytest.raises(ValueError, match=r"10\.7"):
        peer.host.remove_address("10.7.0.2")


# RFC1122-03
@pytest.mark.parametrize(
    "cidr",
    ["224.0.0.1/24", "0.0.0.0/0", "127.0.0.1/8", "10.9.0.255/24", "10.9.0.0/24", "::1/128", "ff02::1/64", "::/0"],
)
def test_addresses_that_no_host_can_have(cidr: str) -> None:
    host = Host(secret=bytes(16))
    with pytest.raises(ValueError, match="address"):
        host.add_address(cidr)


def test_network_of_two_has_no_broadcast_address() -> None:
    """RFC 3021."""
    host = Host(secret=bytes(16))
    host.add_address("10.9.0.0/31")
    host.connect(parse_address("10.9.0.1"), 80, 0)


# The hop limit (3.9.2).


# RFC1122-06
# RFC 9293 MUST-49
@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("ttl", [1, 32, 255])
def test_hop_limit_is_configurable(ttl: int, v6: bool) -> None:
    """Of every segment of the connection, from the SYN to the ACK in TIME-WAIT and the reset of an abort."""
    options = TcpOptions(ttl=ttl)
    frames: list[bytes] = []
    peer = Peer(v6=v6)
    user = peer.connect(options=options)
    frames.append(peer.sees("S 0:0(0) <...>").frame)
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    frames.append(peer.sees(". 1:1(0) ack 1").frame)
    user.write(10)
    frames.append(peer.sees("P. 1:11(10) ack 1").frame)
    frames.append(peer.sees("P. 1:11(10) ack 1", after=200 * MS).frame)
    user.close_write()
    frames.append(peer.sees("F. 11:11(0) ack 1").frame)
    peer.sends("F. 1:1(0) ack 12")
    frames.append(peer.sees(". 12:12(0) ack 2").frame)
    assert user.state is State.TIME_WAIT
    peer.sends("F. 1:1(0) ack 12")
    frames.append(peer.sees(". 12:12(0) ack 2").frame)
    other, user = states.established(v6=v6, options=options)
    user.abort()
    frames.append(other.takes()[0].frame)
    assert [ip.decode(frame).hop_limit for frame in frames] == [ttl] * len(frames)


# RFC 9293 MUST-49
@pytest.mark.parametrize("v6", [False, True])
def test_hop_limit_of_a_passive_open(v6: bool) -> None:
    peer = Peer(v6=v6)
    peer.listens(options=TcpOptions(ttl=9))
    peer.sends("S 0:0(0) <mss 1000>")
    assert ip.decode(peer.sees("S. 0:0(0) ack 1 <...>").frame).hop_limit == 9
    peer.sends("P. 1:11(10) ack 1")
    assert ip.decode(peer.sees(". 1:1(0) ack 11").frame).hop_limit == 9


# RFC 9293 MUST-49
def test_hop_limit_can_be_changed() -> None:
    peer, user = states.established()
    user.set_options(TcpOptions(ttl=5))
    user.write(10)
    assert ip.decode(peer.sees("P. 1:11(10) ack 1").frame).hop_limit == 5


# RFC1122-06
# RFC 9293 MUST-49
@pytest.mark.parametrize("ttl", [0, 256, -1])
def test_hop_limit_that_is_none(ttl: int) -> None:
    with pytest.raises(ValueError, match="ttl"):
        TcpOptions(ttl=ttl)


def test_segments_must_not_be_fragmented() -> None:
    """RFC 1191: so that a path that is too narrow says so."""
    peer = Peer()
    peer.connect()
    assert ip.decode(peer.sees("S 0:0(0) <...>").frame).dont_fragment
