"""Options: values, bounds, and what they change for the application."""

from __future__ import annotations

from stack.socket import (
    AF_INET6,
    IP_MTU,
    IP_TOS,
    IP_TTL,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPPROTO_TCP,
    IPV6_TCLASS,
    IPV6_UNICAST_HOPS,
    IPV6_V6ONLY,
    POLLIN,
    POLLOUT,
    SIOCINQ,
    SO_ACCEPTCONN,
    SO_DOMAIN,
    SO_ERROR,
    SO_KEEPALIVE,
    SO_LINGER,
    SO_PROTOCOL,
    SO_RCVBUF,
    SO_RCVLOWAT,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SO_SNDBUF,
    SO_TYPE,
    SOL_SOCKET,
    TCP_CONGESTION,
    TCP_DEFER_ACCEPT,
    TCP_KEEPCNT,
    TCP_KEEPIDLE,
    TCP_KEEPINTVL,
    TCP_LINGER2,
    TCP_MAXSEG,
    TCP_NODELAY,
    TCP_SYNCNT,
    TCP_USER_TIMEOUT,
    TCP_WINDOW_CLAMP,
)
from tests.host.socket_machines import Machine
from tests.host.socket_scripts.registry import script

# Options.


@script
def switches(m: Machine) -> None:
    client, _, _ = m.connected()
    for level, name in (
        (SOL_SOCKET, SO_KEEPALIVE),
        (SOL_SOCKET, SO_REUSEADDR),
        (SOL_SOCKET, SO_REUSEPORT),
        (IPPROTO_TCP, TCP_NODELAY),
    ):
        client.get(level, name)
        client.set(level, name, 5)
        client.get(level, name)
        client.set(level, name, 0)
        client.get(level, name)


@script
def facts_cannot_be_set(m: Machine) -> None:
    client, _, _ = m.connected()
    for name in (SO_TYPE, SO_DOMAIN, SO_PROTOCOL, SO_ACCEPTCONN, SO_ERROR):
        client.set(SOL_SOCKET, name, 1)
        client.get(SOL_SOCKET, name)


@script
def unknown_options(m: Machine) -> None:
    sock = m.client.socket()
    for level in (SOL_SOCKET, IPPROTO_IP, IPPROTO_TCP):
        sock.set(level, 9999, 1)
        sock.get(level, 9999)
    sock.set(IPPROTO_IPV6, IPV6_V6ONLY, 1)
    sock.get(IPPROTO_IPV6, IPV6_V6ONLY)
    sock.set(200, 1, 1)
    sock.get(200, 1)


@script
def numbers_and_their_bounds(m: Machine) -> None:
    sock = m.client.socket()
    for name, values in (
        (TCP_KEEPIDLE, (1, 0, 32767, 32768, -1)),
        (TCP_KEEPINTVL, (1, 0, 32767, 32768)),
        (TCP_KEEPCNT, (1, 0, 127, 128)),
        (TCP_SYNCNT, (1, 0, 127, 128)),
        (TCP_MAXSEG, (87, 88, 32767, 32768, 0)),
        (TCP_USER_TIMEOUT, (-1, 0, 1, 30000)),
        (TCP_LINGER2, (5, 1000, -1)),
    ):
        for value in values:
            sock.set(IPPROTO_TCP, name, value)
            sock.get(IPPROTO_TCP, name)


@script
def time_to_live(m: Machine) -> None:
    sock = m.client.socket()
    for value in (1, 0, 255, 256):
        sock.set(IPPROTO_IP, IP_TTL, value)
        sock.get(IPPROTO_IP, IP_TTL)


@script
def hop_limit(m: Machine) -> None:
    sock = m.client.socket(AF_INET6)
    for value in (1, 255, 256, -2):
        sock.set(IPPROTO_IPV6, IPV6_UNICAST_HOPS, value)
        sock.get(IPPROTO_IPV6, IPV6_UNICAST_HOPS)


@script
def type_of_service(m: Machine) -> None:
    sock = m.client.socket()
    for value in (0, 0x10, 0x13, 0xB8, 0x1FC):
        sock.set(IPPROTO_IP, IP_TOS, value)
        sock.get(IPPROTO_IP, IP_TOS)


@script
def traffic_class(m: Machine) -> None:
    sock = m.client.socket(AF_INET6)
    for value in (0, 0x10, 0x13, 0xB8, 255, 256, -1):
        sock.set(IPPROTO_IPV6, IPV6_TCLASS, value)
        sock.get(IPPROTO_IPV6, IPV6_TCLASS)


@script
def linger_is_a_pair(m: Machine) -> None:
    sock = m.client.socket()
    for value in ((0, 0), (1, 0), (1, 10), (5, 10), (0, 3)):
        sock.set(SOL_SOCKET, SO_LINGER, value)
        sock.get(SOL_SOCKET, SO_LINGER)


@script
def buffers_are_doubled(m: Machine) -> None:
    sock = m.client.socket()
    for name in (SO_SNDBUF, SO_RCVBUF):
        for value in (20_000, 100_000, 1):
            sock.set(SOL_SOCKET, name, value)
            sock.get(SOL_SOCKET, name)


@script
def low_water_mark(m: Machine) -> None:
    client, child, _ = m.connected()
    child.get(SOL_SOCKET, SO_RCVLOWAT)
    child.set(SOL_SOCKET, SO_RCVLOWAT, 5)
    child.get(SOL_SOCKET, SO_RCVLOWAT)
    client.send(b"1234")
    child.wait_queue(SIOCINQ, 4)
    child.poll()
    client.send(b"5")
    child.wait(POLLIN)
    child.recv(2)
    child.poll()
    child.recv(10)
    child.set(SOL_SOCKET, SO_RCVLOWAT, 0)
    child.get(SOL_SOCKET, SO_RCVLOWAT)


@script
def congestion_control_has_a_name(m: Machine) -> None:
    sock = m.client.socket()
    sock.set(IPPROTO_TCP, TCP_CONGESTION, "cubic")
    sock.get(IPPROTO_TCP, TCP_CONGESTION)
    sock.set(IPPROTO_TCP, TCP_CONGESTION, "reno")
    sock.get(IPPROTO_TCP, TCP_CONGESTION)
    sock.set(IPPROTO_TCP, TCP_CONGESTION, "no such")
    sock.get(IPPROTO_TCP, TCP_CONGESTION)


@script
def size_of_packets(m: Machine) -> None:
    sock = m.client.socket()
    sock.get(IPPROTO_IP, IP_MTU)


@script
def deferred_accept(m: Machine) -> None:
    m.lenient = True
    listener = m.listening()
    listener.get(IPPROTO_TCP, TCP_DEFER_ACCEPT)
    for value in (1, 3, 4, 10):
        listener.set(IPPROTO_TCP, TCP_DEFER_ACCEPT, value)
        listener.get(IPPROTO_TCP, TCP_DEFER_ACCEPT)
    client = m.client.socket()
    client.connect(m.server.at(listener))
    client.wait(POLLOUT)
    listener.poll()
    listener.accept_now()
    client.send(b"hello")
    child = listener.accept()
    child.recv()


@script
def window_clamp(m: Machine) -> None:
    sock = m.client.socket()
    sock.get(IPPROTO_TCP, TCP_WINDOW_CLAMP)
    for value in (10_000, 1, 0):
        sock.set(IPPROTO_TCP, TCP_WINDOW_CLAMP, value)
        sock.get(IPPROTO_TCP, TCP_WINDOW_CLAMP)
