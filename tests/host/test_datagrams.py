"""Datagrams through the host: who gets them, what leaves, bounds, errors (RFC 768, RFC 1122 4.1)."""

from __future__ import annotations

import errno

import pytest

from stack.host.sockets import (
    AF_INET,
    AF_INET6,
    IPPROTO_IP,
    IPPROTO_TCP,
    MSG_PEEK,
    MSG_TRUNC,
    POLLIN,
    POLLOUT,
    SO_RCVBUF,
    SO_REUSEADDR,
    SO_SNDBUF,
    SOCK_DGRAM,
    SOL_SOCKET,
    TCP_NODELAY,
    Address,
    DatagramSocket,
    Sockets,
)
from stack.host.udp import BUFFER, OVERHEAD, DatagramPort
from stack.wire import icmp, ip, udp
from stack.wire.address import parse_address
from stack.wire.ip import PROTO_ICMP, PROTO_ICMPV6, PROTO_UDP
from stack.wire.packet import Packet
from tests.host.facade import refuses
from tests.support.bench import HOST4, HOST6, PEER4, PEER6, Bench

OTHER4 = parse_address("10.9.0.77")
PEER: Address = ("10.9.0.1", 53)


class Desk:
    """A host, its datagram sockets, and a peer who makes datagrams by hand."""

    def __init__(self, *, mtu: int = 1500) -> None:
        self.bench = Bench(mtu=mtu)
        self.host = self.bench.host
        self.sockets = Sockets(self.host, lambda: self.bench.now)

    def socket(self, family: int = AF_INET, bind: Address | None = None) -> DatagramSocket:
        sock = self.sockets.socket(family, SOCK_DGRAM)
        assert isinstance(sock, DatagramSocket)
        if bind is not None:
            sock.bind(bind)
        return sock

    def hears(self, text: bytes, port: int, *, source: bytes = PEER4, source_port: int = 53, to: bytes = b"") -> None:
        to = to or (HOST4 if len(source) == 4 else HOST6)
        octets = udp.encode(source, to, source_port, port, text) + text
        self.bench.deliver(ip.encode(source, to, PROTO_UDP, len(octets)) + octets)

    def complains(self, about: bytes, kind: int, code: int, rest: int = 0) -> None:
        """An ICMP error about a packet of the host's."""
        v6 = about[0] >> 4 == 6
        source, target = (PEER6, HOST6) if v6 else (PEER4, HOST4)
        body = icmp.encode(icmp.Icmp(kind, code, rest, about[: 48 if v6 else 28]), source, target)
        self.bench.deliver(ip.encode(source, target, PROTO_ICMPV6 if v6 else PROTO_ICMP, len(body)) + body)

    def sent(self) -> list[bytes]:
        self.bench.flush()
        found = list(self.bench.strays)
        self.bench.strays.clear()
        return found

    def drops(self) -> dict[str, int]:
        return self.host.counters.drops


# What leaves.


@pytest.mark.parametrize(
    ("family", "to"),
    [(AF_INET, PEER), (AF_INET6, ("fd00::1", 53, 0, 0)), (AF_INET6, ("::ffff:10.9.0.1", 53, 0, 0))],
)
def test_datagram_on_the_wire(family: int, to: Address) -> None:
    desk = Desk()
    sock = desk.socket(family, ("", 4000))
    assert sock.sendto(b"text", 0, to) == 4
    [frame] = desk.sent()
    header = ip.decode(frame)
    assert (header.src, header.dst) in ((HOST4, PEER4), (HOST6, PEER6))
    assert (header.protocol, header.hop_limit, header.dont_fragment) == (PROTO_UDP, 64, True)
    read = udp.decode(frame, header, vouched=False)
    assert (read.src_port, read.dst_port, read.text) == (4000, 53, b"text")
    assert desk.host.counters.packets_out == 1


@pytest.mark.parametrize(("v6", "fits"), [(False, 572), (True, 552)])
def test_nothing_is_fragmented(v6: bool, fits: int) -> None:
    desk = Desk(mtu=600)
    sock = desk.socket(AF_INET6 if v6 else AF_INET)
    to: Address = ("fd00::1", 53, 0, 0) if v6 else PEER
    assert sock.sendto(bytearray(fits), 0, to) == fits
    with refuses(errno.EMSGSIZE):
        sock.sendto(bytes(fits + 1), 0, to)
    assert [len(frame) for frame in desk.sent()] == [600]


@pytest.mark.parametrize(
    ("address", "number"),
    [
        (("10.9.0.255", 53), errno.EACCES),
        (("255.255.255.255", 53), errno.EACCES),
        (("224.0.0.1", 53), errno.ENETUNREACH),
        (("0.0.0.0", 53), errno.ENETUNREACH),
        (("127.0.0.1", 53), errno.ENETUNREACH),
        (("10.9.0.2", 53), errno.EADDRNOTAVAIL),
        (("10.9.0.1", 0), errno.EINVAL),
    ],
)
def test_whom_nobody_sends_to(address: Address, number: int) -> None:
    desk = Desk()
    sock = desk.socket()
    with refuses(number):
        sock.sendto(b"text", 0, address)
    with refuses(number):
        sock.connect(address)
    with refuses(errno.ENOTCONN):
        sock.getpeername()
    assert not desk.sent()


def test_address_of_another_family_than_was_bound() -> None:
    desk = Desk()
    sock = desk.socket(AF_INET6, ("fd00::2", 4000, 0, 0))
    with refuses(errno.ENETUNREACH):
        sock.sendto(b"text", 0, ("::ffff:10.9.0.1", 53, 0, 0))


def test_failed_connect_leaves_the_peer() -> None:
    desk = Desk()
    sock = desk.socket()
    sock.connect(PEER)
    with refuses(errno.EACCES):
        sock.connect(("10.9.0.255", 53))
    assert sock.getpeername() == PEER


def test_queue_of_what_leaves_is_bounded() -> None:
    desk = Desk()
    sock = desk.socket()
    sock.setsockopt(SOL_SOCKET, SO_SNDBUF, 2500)
    sock.connect(PEER)
    count = 0
    while sock.poll() & POLLOUT:
        sock.send(bytes(1000))
        count += 1
    assert count == 4  # each of 1512, and the last begins within 5000
    with refuses(errno.EAGAIN):
        sock.send(b"")
    port = sock._port
    assert port is not None
    woken = Turn()
    sock.owner = woken
    assert len(desk.sent()) == 4
    assert port.unsent == 0
    assert [changed.owner for changed in desk.host.take_woken()] == [woken]
    assert sock.send(b"") == 0


class Turn:
    """Somebody who waits."""


# Who gets it.


def test_most_specific_port_has_the_datagram() -> None:
    desk = Desk()
    desk.host.add_address("10.9.0.3/24")
    connected = desk.host.bind_datagrams(4000, address=HOST4)
    desk.host.connect_datagrams(connected, (PEER4, 53))
    third = desk.host.bind_datagrams(4000, address=parse_address("10.9.0.3"))
    six = desk.host.bind_datagrams(4000, address=bytes(16))
    desk.hears(b"1", 4000)
    desk.hears(b"2", 4000, to=parse_address("10.9.0.3"))
    desk.hears(b"3", 4000, source=PEER6)
    assert [port.read() for port in (connected, third, six)] == [
        (b"1", (PEER4, 53)),
        (b"2", (PEER4, 53)),
        (b"3", (PEER6, 53)),
    ]
    desk.hears(b"4", 4000, source_port=54)
    desk.hears(b"5", 4000, source=OTHER4)
    assert not any(port.readable for port in (connected, third, six))
    assert desk.drops() == {"port-unreachable": 2}


def test_connected_port_comes_before_one_with_the_same_address() -> None:
    desk = Desk()
    first = desk.host.bind_datagrams(4000)
    desk.host.connect_datagrams(first, (PEER4, 53))
    second = desk.host.bind_datagrams(4000, address=bytes(16))
    desk.host.connect_datagrams(first, None)  # and now both could have what comes over IPv6
    desk.host.connect_datagrams(second, (PEER6, 53))
    desk.hears(b"1", 4000, source=PEER6)
    desk.hears(b"2", 4000, source=PEER6, source_port=54)
    assert second.read() == (b"1", (PEER6, 53))
    assert first.read() == (b"2", (PEER6, 54))


def test_removed_address_is_nobody_s() -> None:
    desk = Desk()
    port = desk.host.bind_datagrams(4000)
    desk.host.connect_datagrams(port, (PEER4, 53))
    desk.host.remove_address("10.9.0.2")
    desk.hears(b"text", 4000)
    assert not port.readable
    assert desk.drops() == {"not-for-us": 1}
    with refuses(errno.EADDRNOTAVAIL):
        desk.host.send_datagram(port, b"text")


def test_ports_are_chosen_and_given_back() -> None:
    desk = Desk()
    made = [desk.host.bind_datagrams(0) for _ in range(100)]
    assert len({port.local[1] for port in made}) == 100
    for port in made:
        desk.host.release_datagrams(port)
        desk.host.release_datagrams(port)
    assert not desk.host._datagrams._by_port
    desk.host.listen(4000)
    desk.host.bind_datagrams(4000)
    with refuses(errno.EADDRINUSE):
        desk.host.bind_datagrams(4000, address=HOST4)
    with refuses(errno.EADDRNOTAVAIL):
        desk.host.bind_datagrams(4001, address=OTHER4)


def test_parts_of_a_packet_are_put_together() -> None:
    desk = Desk()
    port = desk.host.bind_datagrams(4000)
    header = udp.encode(PEER4, HOST4, 53, 4000, b"text")
    desk.host.receive(Packet(ip.encode(PEER4, HOST4, PROTO_UDP, 12) + header, (b"te", b"xt")), desk.bench.now)
    assert port.read() == (b"text", (PEER4, 53))


# Reading.


def test_truncation_and_peeking() -> None:
    desk = Desk()
    sock = desk.socket(bind=("", 4000))
    desk.hears(b"datagram", 4000)
    assert sock.recvfrom(4, MSG_PEEK) == (b"data", PEER)
    assert sock.recv(4, MSG_TRUNC | MSG_PEEK) == b"data\0\0\0\0"
    received = sock.recvmsg(4)
    assert (received.data, received.flags, received.address) == (b"data", MSG_TRUNC, PEER)
    with refuses(errno.EAGAIN):
        sock.recv(4)


def test_queue_of_what_has_arrived_is_bounded() -> None:
    desk = Desk()
    sock = desk.socket(bind=("", 4000))
    sock.setsockopt(SOL_SOCKET, SO_RCVBUF, 2000)
    for number in range(5):
        desk.hears(bytes([number]) * 1000, 4000)
    assert desk.drops() == {"datagram-queue-full": 3}
    assert [sock.recv(1) for _ in range(2)] == [b"\0", b"\1"]
    desk.hears(b"again", 4000)
    assert sock.recv(9) == b"again"


def test_empty_queue_takes_a_datagram_of_any_size() -> None:
    port = DatagramPort((HOST4, 4000))
    port.receive_buffer = 2304
    assert port.take(bytes(65507), (PEER4, 53))
    assert not port.take(b"", (PEER4, 53))
    port.read()
    assert port.unread == 0
    assert port.take(b"", (PEER4, 53))
    assert port.unread == OVERHEAD
    assert BUFFER // OVERHEAD == 416  # datagrams at most


def test_arrival_wakes_the_owner() -> None:
    desk = Desk()
    sock = desk.socket(bind=("", 4000))
    sock.owner = Turn()
    assert sock.recv_waits(1)
    desk.hears(b"", 4000)
    assert [changed.owner for changed in desk.host.take_woken()] == [sock.owner]
    assert sock.poll() & POLLIN
    assert not sock.recv_waits(1)
    assert sock.arrivals == 1
    assert sock.recv(1) == b""


# Errors.

COMPLAINTS = [
    (False, icmp.UNREACHABLE, 3, errno.ECONNREFUSED),
    (False, icmp.UNREACHABLE, 1, errno.EHOSTUNREACH),
    (False, icmp.UNREACHABLE, 2, errno.ENOPROTOOPT),
    (False, icmp.UNREACHABLE, 4, errno.EMSGSIZE),
    (False, icmp.TIME_EXCEEDED, 0, errno.EHOSTUNREACH),
    (True, icmp.V6_UNREACHABLE, 4, errno.ECONNREFUSED),
    (True, icmp.V6_PACKET_TOO_BIG, 0, errno.EMSGSIZE),
]


@pytest.mark.parametrize(("v6", "kind", "code", "number"), COMPLAINTS)
def test_error_is_reported_once_to_who_is_connected(v6: bool, kind: int, code: int, number: int) -> None:
    """RFC 1122 4.1.3.3: whatever ICMP reports is passed on."""
    desk = Desk()
    sock = desk.socket(AF_INET6 if v6 else AF_INET)
    sock.connect(("fd00::1", 53, 0, 0) if v6 else PEER)
    sock.send(b"text")
    [frame] = desk.sent()
    desk.complains(frame, kind, code, 1280)
    with refuses(number):
        sock.recv(10)
    with refuses(errno.EAGAIN):
        sock.recv(10)
    assert desk.host.path_mtu(PEER6 if v6 else PEER4) == 1500  # nothing else is believed of it
    assert not desk.drops()


@pytest.mark.parametrize("field", ["source port", "target port", "target", "source"])
def test_error_about_somebody_else_s_datagram_is_not_believed(field: str) -> None:
    desk = Desk()
    sock = desk.socket()
    sock.connect(PEER)
    sock.send(b"text")
    frame = bytearray(desk.sent()[0])
    frame[{"source port": 21, "target port": 23, "target": 19, "source": 15}[field]] ^= 1
    desk.complains(bytes(frame), icmp.UNREACHABLE, 3)
    with refuses(errno.EAGAIN):
        sock.recv(10)
    assert desk.drops() == {"icmp-unmatched": 1}


def test_error_for_a_socket_that_is_not_connected_is_not_reported() -> None:
    desk = Desk()
    sock = desk.socket()
    sock.sendto(b"text", 0, PEER)
    desk.complains(desk.sent()[0], icmp.UNREACHABLE, 3)
    with refuses(errno.EAGAIN):
        sock.recv(10)
    assert desk.drops() == {"icmp-unmatched": 1}


def test_closed_socket() -> None:
    desk = Desk()
    sock = desk.socket(bind=("", 4000))
    sock.close()
    sock.close()
    for call in (lambda: sock.recv(1), lambda: sock.connect(PEER), lambda: sock.sendto(b"", 0, PEER), sock.getsockname):
        with refuses(errno.EBADF):
            call()
    desk.hears(b"text", 4000)
    assert desk.drops() == {"port-unreachable": 1}


def test_options_of_tcp_are_not_there() -> None:
    sock = Desk().socket()
    for level, name in ((IPPROTO_TCP, TCP_NODELAY), (SOL_SOCKET, SO_REUSEADDR), (IPPROTO_IP, 10)):
        with refuses(errno.ENOPROTOOPT):
            sock.setsockopt(level, name, 1)
    with refuses(errno.EOPNOTSUPP):
        sock.info()
