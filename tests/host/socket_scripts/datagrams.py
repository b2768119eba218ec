"""UDP: names, peers, truncation, errors, ends."""

from __future__ import annotations

from stack.socket import (
    AF_INET,
    AF_INET6,
    IP_TOS,
    IP_TTL,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPPROTO_TCP,
    IPV6_TCLASS,
    IPV6_UNICAST_HOPS,
    IPV6_V6ONLY,
    MSG_ERRQUEUE,
    MSG_OOB,
    MSG_PEEK,
    POLLERR,
    POLLIN,
    SHUT_RD,
    SHUT_RDWR,
    SHUT_WR,
    SIOCINQ,
    SO_ACCEPTCONN,
    SO_DOMAIN,
    SO_PROTOCOL,
    SO_RCVBUF,
    SO_SNDBUF,
    SO_TYPE,
    SOCK_DGRAM,
    SOL_SOCKET,
    TCP_NODELAY,
)
from tests.host.socket_machines import Machine, Side, Sock
from tests.host.socket_scripts.registry import script

UDP = 17


def datagrams(side: Side, *, bound: bool = True, family: int = AF_INET) -> Sock:
    sock = side.socket(family, SOCK_DGRAM)
    if bound:
        sock.bind(side.at(0, "v4" if family == AF_INET else "v6"))
    return sock


def nobody(m: Machine) -> object:
    """An address of the server's where nobody takes datagrams."""
    sock = datagrams(m.server)
    address = m.server.at(sock)
    sock.close()
    return address


@script
def datagram_sockets_are_made(m: Machine) -> None:
    for protocol in (0, UDP, 6):
        m.client.socket(AF_INET, SOCK_DGRAM, protocol)
    sock = datagrams(m.client, bound=False)
    sock.sockname()
    sock.peername()
    sock.poll()
    sock.error()
    sock.recv()
    for name in (SO_TYPE, SO_DOMAIN, SO_PROTOCOL, SO_ACCEPTCONN):
        sock.get(SOL_SOCKET, name)


@script
def datagrams_go_both_ways(m: Machine) -> None:
    server, client = datagrams(m.server), datagrams(m.client)
    client.sendto(b"one", 0, m.server.at(server))
    client.sendto(b"", 0, m.server.at(server))
    client.sendto(b"three", 0, m.server.at(server))
    server.wait(POLLIN)
    server.ioctl(SIOCINQ)
    server.recvfrom(1000, MSG_PEEK)
    for _ in range(4):
        server.recvfrom()
    server.poll()
    server.sendto(b"back", 0, m.client.at(client))
    client.wait(POLLIN)
    client.recvfrom()


@script
def datagram_is_cut(m: Machine) -> None:
    server, client = datagrams(m.server), datagrams(m.client)
    for size in (2, 0, 6, 7):
        client.sendto(b"datagram"[:6], 0, m.server.at(server))
        server.wait(POLLIN)
        server.recvmsg(size)
        server.recvmsg(size)


@script
def sending_without_a_name_takes_one(m: Machine) -> None:
    server, client = datagrams(m.server), datagrams(m.client, bound=False)
    client.send(b"to nobody")
    client.sockname()
    client.sendto(b"text", 0, m.server.at(server))
    client.sockname()
    client.bind(m.client.at(0))


@script
def connected_datagram_socket(m: Machine) -> None:
    server, client, other = datagrams(m.server), datagrams(m.client), datagrams(m.server)
    client.connect(m.server.at(server))
    client.peername()
    client.send(b"text")
    server.wait(POLLIN)
    server.recvfrom()
    other.sendto(b"not for that", 0, m.client.at(client))
    server.sendto(b"for that", 0, m.client.at(client))
    client.wait(POLLIN)
    client.recvfrom()
    client.recvfrom()
    client.sendto(b"elsewhere", 0, m.server.at(other))
    other.wait(POLLIN)
    other.recvfrom()
    client.connect(m.server.at(other))
    client.peername()
    client.disconnect()
    client.peername()
    client.sockname()
    client.send(b"to nobody")
    client.bind(m.client.at(0))


@script
def disconnecting_leaves_a_port_that_was_asked_for(m: Machine) -> None:
    free = datagrams(m.client)
    port = free.port
    free.close()
    server, client = datagrams(m.server), datagrams(m.client, bound=False)
    client.bind(m.client.at(port))
    for _ in range(2):
        client.connect(m.server.at(server))
        client.disconnect()
        client.sockname()
    server.sendto(b"text", 0, m.client.at(client))
    client.wait(POLLIN)
    client.recvfrom()


@script
def disconnecting_gives_a_chosen_port_back(m: Machine) -> None:
    server, client = datagrams(m.server), datagrams(m.client, bound=False)
    client.disconnect()
    client.connect(m.server.at(server))
    client.peername()
    client.disconnect()
    client.sockname()
    client.poll()


@script
def datagram_to_nobody_is_an_error_once(m: Machine) -> None:
    client = datagrams(m.client)
    target = nobody(m)
    client.connect(target)
    for verb in (lambda: client.recv(), lambda: client.send(b"again"), client.error, client.poll):
        client.send(b"text")
        client.wait(POLLERR)
        verb()
        verb()
        client.error()
        client.error()


@script
def unconnected_datagram_socket_hears_of_no_error(m: Machine) -> None:
    client = datagrams(m.client)
    client.sendto(b"text", 0, nobody(m))
    client.poll()
    client.error()
    client.recv()


@script
def error_of_a_datagram_comes_before_what_has_arrived(m: Machine) -> None:
    server, client = datagrams(m.server), datagrams(m.client)
    client.connect(m.server.at(server))
    server.sendto(b"text", 0, m.client.at(client))
    server.close()
    client.send(b"text")
    client.wait(POLLERR)
    client.recv()
    client.recv()
    client.recv()


@script
def datagrams_that_cannot_be_sent(m: Machine) -> None:
    server, client = datagrams(m.server), datagrams(m.client)
    client.sendto(bytes(65508), 0, m.server.at(server))
    client.sendto(b"urgent", MSG_OOB, m.server.at(server))
    client.sendto(b"", 0, m.server.at(0))
    client.sendto(b"text", 0, ("255.255.255.255", 9))
    client.recv(10, MSG_ERRQUEUE)


@script
def datagram_sockets_do_not_listen(m: Machine) -> None:
    m.lenient = True
    sock = datagrams(m.server)
    sock.listen()
    sock.accept_now()


@script
def datagram_ports_are_taken(m: Machine) -> None:
    first = datagrams(m.server)
    second = datagrams(m.server, bound=False)
    second.bind(m.server.at(first))
    second.bind(("0.0.0.0", first.port))
    second.bind(("192.0.2.1", 0))
    stream = m.server.socket()
    stream.bind(m.server.at(first))  # a space of its own
    both = datagrams(m.server, bound=False, family=AF_INET6)
    both.bind(("::", first.port, 0, 0))
    both.set(IPPROTO_IPV6, IPV6_V6ONLY, 1)
    both.bind(("::", first.port, 0, 0))
    first.close()
    second.bind(m.server.at(0))
    second.bind(m.server.at(0))


@script
def datagram_socket_of_both_families(m: Machine) -> None:
    server = datagrams(m.server, bound=False, family=AF_INET6)
    server.bind(("::", 0, 0, 0))
    server.sockname()
    for client, form in ((datagrams(m.client), "v4"), (datagrams(m.client, family=AF_INET6), "v6")):
        client.sendto(form.encode(), 0, m.server.at(server, form))
        server.wait(POLLIN)
        server.recvfrom()
        server.sendto(b"back", 0, m.client.at(client, "mapped" if form == "v4" else form))
        client.wait(POLLIN)
        client.recv()  # from which of its addresses is the kernel's choice
    server.set(IPPROTO_IPV6, IPV6_V6ONLY, 1)


@script
def datagram_socket_is_shut_down(m: Machine) -> None:
    server, client = datagrams(m.server), datagrams(m.client)
    client.shutdown(7)
    client.connect(m.server.at(server))
    for how in (7, SHUT_WR, SHUT_RD):
        client.shutdown(how)
        client.poll()
        client.send(b"text")
        client.recv()
    client.shutdown(SHUT_RDWR)
    client.poll()


@script
def datagram_options(m: Machine) -> None:
    sock = datagrams(m.client)
    table: tuple[tuple[int, int, tuple[int, ...]], ...] = (
        (IPPROTO_IP, IP_TTL, (1, 255, -1, 0, 256)),
        (IPPROTO_IP, IP_TOS, (0x28, 0xFF, 0x1FC)),
        (SOL_SOCKET, SO_RCVBUF, (1, 5000, -1)),
        (SOL_SOCKET, SO_SNDBUF, (1, 5000, -1)),
        (IPPROTO_TCP, TCP_NODELAY, (1,)),
    )
    for level, name, values in table:
        for value in values:
            sock.set(level, name, value)
            sock.get(level, name)
    six = datagrams(m.client, family=AF_INET6)
    for name in (IPV6_UNICAST_HOPS, IPV6_TCLASS):
        for value in (0x28, 255, -1, 256):
            six.set(IPPROTO_IPV6, name, value)
            six.get(IPPROTO_IPV6, name)
