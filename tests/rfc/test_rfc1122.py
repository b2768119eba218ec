"""Rules for a host's internet layer (RFC 1122 3.2), where the tests of addresses and ICMP do not say them already."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.wire import icmp, ip
from stack.wire.address import parse_address
from stack.wire.checksum import checksum, pseudo_header_sum
from stack.wire.ip import PROTO_ICMP, PROTO_UDP
from tests.support.bench import HOST4, PEER4, Bench
from tests.support.peer import Peer

UNASSIGNED = 253  #: A protocol for experiments (RFC 3692), which nobody here speaks.
DATAGRAM = bytes((0, 7, 0, 7, 0, 8, 0, 0))  #: UDP without text and checksum; as it is, it is answered with an error.


# RFC1122-06
@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("left", [0, 1, 2, 255])
def test_time_to_live_of_what_has_arrived_does_not_matter(left: int, v6: bool) -> None:
    """3.2.1.7: it counts on the way, not at the end of it."""
    peer = Peer(v6=v6)
    peer.listens()
    frame = peer.packet("S 0:0(0) <mss 1000>").frame()
    header = ip.decode(frame)
    text = frame[header.start :]
    peer.bench.deliver(ip.encode(header.src, header.dst, header.protocol, len(text), hop_limit=left) + text)
    peer.sees("S. 0:0(0) ack 1 <...>")


# RFC1122-06
def test_default_time_to_live_is_the_hosts() -> None:
    """3.2.1.7: configurable; also of what belongs to no connection."""
    peer = Peer(options=TcpOptions(ttl=17))
    peer.sends("S 0:0(0) <mss 1000>")
    assert ip.decode(peer.sees("R. 0:0(0) ack 1").frame).hop_limit == 17
    peer.listens()
    peer.sends("S 0:0(0) <mss 1000>")
    assert ip.decode(peer.sees("S. 0:0(0) ack 1 <...>").frame).hop_limit == 17


def _packet(protocol: int, payload: bytes, *, source: bytes = PEER4, target: bytes = HOST4) -> bytes:
    return ip.encode(source, target, protocol, len(payload)) + payload


def _error(quote: bytes) -> bytes:
    return icmp.encode(icmp.Icmp(icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, 0, quote[:28]))


def _fragment(offset: int, protocol: int = UNASSIGNED) -> bytes:
    """A piece that begins so many octets into its datagram."""
    frame = bytearray(ip.encode(PEER4, HOST4, protocol, 16, dont_fragment=False) + DATAGRAM + bytes(8))
    frame[6:8] = (0x2000 | offset >> 3).to_bytes(2, "big")
    total = sum(int.from_bytes(frame[at : at + 2], "big") for at in range(0, 20, 2) if at != 10)
    frame[10:12] = (~((total & 0xFFFF) + (total >> 16)) & 0xFFFF).to_bytes(2, "big")
    return bytes(frame)


# RFC1122-10
@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(_packet(PROTO_ICMP, _error(_packet(UNASSIGNED, bytes(8)))), id="an-error"),
        pytest.param(_packet(PROTO_ICMP, _error(_packet(PROTO_ICMP, _error(bytes(28))))), id="an-error-about-an-error"),
        pytest.param(_packet(PROTO_ICMP, _error(_packet(UNASSIGNED, bytes(8)))[:-1]), id="an-error-with-a-bad-sum"),
        *[
            pytest.param(_packet(protocol, DATAGRAM, target=parse_address(target)), id=f"{protocol}-to-{target}")
            for protocol in (PROTO_UDP, UNASSIGNED)
            for target in ("10.9.0.255", "255.255.255.255", "224.0.0.1")
        ],
        *[
            pytest.param(_packet(protocol, DATAGRAM, source=parse_address(source)), id=f"{protocol}-from-{source}")
            for protocol in (PROTO_UDP, UNASSIGNED)
            for source in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "240.0.0.1", "10.9.0.255")
        ],
        pytest.param(_fragment(8), id="a-fragment-behind-the-first"),
        pytest.param(_fragment(1480), id="a-fragment-far-behind"),
        pytest.param(_fragment(8, PROTO_UDP), id="a-fragment-of-a-datagram-behind-the-first"),
    ],
)
def test_no_error_is_sent_about(frame: bytes) -> None:
    """3.2.2: or errors would answer errors, and one packet to all would draw one from each."""
    bench = Bench()
    bench.deliver(frame)
    assert not bench.strays
    assert bench.host.counters.icmp_out == 0
    assert sum(bench.host.counters.drops.values()) == 1


# RFC1122-10
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("fd00::1", "ff02::1"),
        ("fd00::1", "ff05::2"),
        ("::", "fd00::2"),
        ("::1", "fd00::2"),
        ("ff02::1", "fd00::2"),
        ("::ffff:10.9.0.1", "fd00::2"),
        ("fd00::2", "fd00::2"),
    ],
)
def test_no_error_is_sent_about_a_datagram(source: str, target: str) -> None:
    """RFC 4443 2.4 (e): the same for IPv6. Each has a checksum that is right."""
    addresses = parse_address(source), parse_address(target)
    summed = checksum(DATAGRAM, pseudo_header_sum(*addresses, PROTO_UDP, len(DATAGRAM)))
    bench = Bench()
    datagram = DATAGRAM[:6] + summed.to_bytes(2, "big")
    bench.deliver(_packet(PROTO_UDP, datagram, source=addresses[0], target=addresses[1]))
    assert not bench.strays
    assert sum(bench.host.counters.drops.values()) == 1
