"""Names, ports and listening: what a socket is before it is connected."""

from __future__ import annotations

from stack.socket import (
    AF_INET,
    AF_INET6,
    IP_TTL,
    IPPROTO_IP,
    IPPROTO_TCP,
    MSG_ERRQUEUE,
    MSG_PEEK,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    SHUT_RD,
    SHUT_RDWR,
    SHUT_WR,
    SIOCATMARK,
    SIOCINQ,
    SIOCOUTQ,
    SIOCOUTQNSD,
    SO_ACCEPTCONN,
    SO_DOMAIN,
    SO_ERROR,
    SO_KEEPALIVE,
    SO_LINGER,
    SO_PROTOCOL,
    SO_RCVLOWAT,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SO_TYPE,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_KEEPCNT,
    TCP_KEEPIDLE,
    TCP_KEEPINTVL,
    TCP_NODELAY,
    TCP_USER_TIMEOUT,
)
from tests.host.socket_machines import Machine
from tests.host.socket_scripts.registry import script

# A fresh socket.


@script
def fresh_socket_knows_nothing(m: Machine) -> None:
    sock = m.client.socket()
    sock.sockname()
    sock.peername()
    sock.poll()
    sock.error()
    for request in (SIOCINQ, SIOCOUTQ, SIOCOUTQNSD, SIOCATMARK):
        sock.ioctl(request)
    for name in (SO_TYPE, SO_DOMAIN, SO_PROTOCOL, SO_ACCEPTCONN, SO_ERROR):
        sock.get(SOL_SOCKET, name)


@script
def fresh_socket_moves_no_data(m: Machine) -> None:
    sock = m.client.socket()
    sock.send(b"x")
    sock.send(b"")
    sock.recv(10)
    sock.recv(0)
    sock.recv(10, MSG_PEEK)
    sock.recv(10, MSG_ERRQUEUE)
    sock.recvmsg()
    sock.sendto(b"x", 0, m.nobody())


@script
def fresh_socket_accepts_nobody(m: Machine) -> None:
    m.lenient = True
    sock = m.client.socket()
    sock.accept_now()
    sock.bind(m.client.at(0))
    sock.accept_now()


@script
def fresh_socket_shuts_down(m: Machine) -> None:
    sock = m.client.socket()
    for how in (SHUT_RD, SHUT_WR, SHUT_RDWR, 3, -1):
        sock.shutdown(how)
    sock.recv()
    sock.poll()
    sock.send(b"x")
    listener = m.listening()
    sock.connect(m.server.at(listener))
    child = listener.accept()
    sock.poll()
    sock.send(b"x")
    child.send(b"y")
    sock.wait(POLLIN)
    sock.recv()
    sock.recv()


@script
def everything_fails_after_close(m: Machine) -> None:
    m.lenient = True
    sock = m.client.socket()
    sock.close()
    sock.close()
    sock.send(b"x")
    sock.recv()
    sock.connect(m.server.at(1))
    sock.bind(m.client.at(0))
    sock.listen()
    sock.accept_now()
    sock.shutdown(SHUT_RD)
    sock.sockname()
    sock.peername()
    sock.get(SOL_SOCKET, SO_ERROR)
    sock.set(SOL_SOCKET, SO_KEEPALIVE, 1)


@script
def families_and_types(m: Machine) -> None:
    m.client.socket(AF_INET, SOCK_STREAM, 0)
    m.client.socket(AF_INET, SOCK_STREAM, 6)
    m.client.socket(AF_INET6, SOCK_STREAM, 6)
    m.client.socket(AF_INET, SOCK_STREAM, 17)
    m.client.socket(AF_INET, SOCK_STREAM, 300)
    m.client.socket(AF_INET, 77, 0)
    m.client.socket(99, SOCK_STREAM, 0)
    m.client.socket(AF_INET, SOCK_DGRAM, 6)


# Binding.


@script
def bind_names_the_socket(m: Machine) -> None:
    sock = m.client.socket()
    sock.bind(m.client.at(0))
    sock.sockname()
    sock.peername()
    sock.bind(m.client.at(0))
    sock.poll()


@script
def bind_to_any_address(m: Machine) -> None:
    sock = m.client.socket()
    sock.bind(("0.0.0.0", 0))
    sock.sockname()


@script
def bind_to_a_foreign_address(m: Machine) -> None:
    sock = m.client.socket()
    sock.bind(("10.200.7.7", 0))
    sock.sockname()
    sock.bind(m.client.at(0))
    sock.sockname()


@script
def bound_port_is_taken(m: Machine) -> None:
    first = m.client.socket()
    first.bind(m.client.at(0))
    second = m.client.socket()
    second.bind(m.client.at(first))
    second.bind(("0.0.0.0", first.port))
    second.sockname()
    address = m.client.at(first)
    first.close()
    second.bind(address)
    second.sockname()


@script
def two_may_share_a_port_if_both_agree(m: Machine) -> None:
    first = m.client.socket()
    first.set(SOL_SOCKET, SO_REUSEADDR, 1)
    first.bind(m.client.at(0))
    second = m.client.socket()
    second.bind(m.client.at(first))
    second.set(SOL_SOCKET, SO_REUSEADDR, 1)
    second.bind(m.client.at(first))
    first.listen()
    second.listen()
    third = m.client.socket()
    third.set(SOL_SOCKET, SO_REUSEADDR, 1)
    third.bind(m.client.at(first))
    first.close()
    second.listen()


@script
def listening_sockets_may_share_with_reuse_port(m: Machine) -> None:
    first = m.server.socket()
    first.set(SOL_SOCKET, SO_REUSEPORT, 1)
    first.bind(m.server.at(0))
    first.listen()
    second = m.server.socket()
    second.bind(m.server.at(first))
    second.set(SOL_SOCKET, SO_REUSEPORT, 1)
    second.bind(m.server.at(first))
    second.listen()
    third = m.server.socket()
    third.set(SOL_SOCKET, SO_REUSEADDR, 1)
    third.bind(m.server.at(first))
    first.close()
    client = m.client.socket()
    client.connect(m.server.at(second))
    client.wait(POLLOUT)
    second.accept().peername()


@script
def port_of_a_connection_is_taken(m: Machine) -> None:
    client, child, listener = m.connected()
    other = m.server.socket()
    other.bind(m.server.at(listener))
    listener.close()
    other.bind(m.server.at(child))
    other.set(SOL_SOCKET, SO_REUSEADDR, 1)
    other.bind(m.server.at(child))
    third = m.client.socket()
    third.bind(m.client.at(client))


@script
def port_of_a_server_with_reuse_is_free_again(m: Machine) -> None:
    listener = m.server.socket()
    listener.set(SOL_SOCKET, SO_REUSEADDR, 1)
    listener.bind(m.server.at(0))
    listener.listen()
    client = m.client.socket()
    client.connect(m.server.at(listener))
    child = listener.accept()
    child.get(SOL_SOCKET, SO_REUSEADDR)
    address = m.server.at(listener)
    listener.close()
    again = m.server.socket()
    again.bind(address)
    again.set(SOL_SOCKET, SO_REUSEADDR, 1)
    again.bind(address)
    again.listen()


@script
def time_wait_keeps_the_port(m: Machine) -> None:
    client, child, listener = m.connected()
    listener.close()
    address = m.server.at(child)
    child.shutdown(SHUT_WR)
    client.wait(POLLIN)
    client.close()
    child.wait(POLLHUP)
    child.recv()
    child.peername()
    child.shutdown(SHUT_WR)
    child.close()
    again = m.server.socket()
    again.bind(address)
    again.set(SOL_SOCKET, SO_REUSEADDR, 1)
    again.bind(address)


@script
def bind_after_connect(m: Machine) -> None:
    client, _, listener = m.connected()
    client.bind(m.client.at(0))
    listener.bind(m.server.at(0))


@script
def connect_from_a_bound_port(m: Machine) -> None:
    listener = m.listening()
    client = m.client.socket()
    client.bind(m.client.at(0))
    port = client.port
    client.connect(m.server.at(listener))
    client.wait(POLLOUT)
    assert client.port == port
    child = listener.accept()
    child.peername()
    second = m.client.socket()
    second.set(SOL_SOCKET, SO_REUSEADDR, 1)
    second.bind(m.client.at(port))


@script
def same_pair_of_endpoints_twice(m: Machine) -> None:
    listener = m.listening()
    first = m.client.socket()
    second = m.client.socket()
    for sock in (first, second):
        sock.set(SOL_SOCKET, SO_REUSEADDR, 1)
    first.bind(m.client.at(0))
    second.bind(m.client.at(first))
    first.connect(m.server.at(listener))
    first.wait(POLLOUT)
    second.connect(m.server.at(listener))
    second.poll()
    second.sockname()


# Listening.


@script
def listen_twice(m: Machine) -> None:
    sock = m.server.socket()
    sock.listen(1)
    sock.sockname()
    sock.listen(5)
    sock.get(SOL_SOCKET, SO_ACCEPTCONN)
    sock.poll()


@script
def listener_moves_no_data(m: Machine) -> None:
    listener = m.listening()
    listener.send(b"x")
    listener.recv()
    listener.recv(10, MSG_PEEK)
    listener.connect(m.nobody())
    listener.peername()
    listener.error()
    for request in (SIOCINQ, SIOCOUTQ, SIOCOUTQNSD, SIOCATMARK):
        listener.ioctl(request)


@script
def accept_takes_turns(m: Machine) -> None:
    m.lenient = True
    listener = m.listening()
    listener.accept_now()
    listener.poll()
    clients = [m.client.socket() for _ in range(3)]
    for client in clients:
        client.connect(m.server.at(listener))
        client.wait(POLLOUT)
    for _ in clients:
        listener.accept().peername()
    listener.poll()
    listener.accept_now()


@script
def connected_socket_does_not_listen(m: Machine) -> None:
    m.lenient = True
    client, child, _ = m.connected()
    client.listen()
    child.listen()
    client.accept_now()


@script
def shutdown_ends_listening(m: Machine) -> None:
    m.lenient = True
    listener = m.listening()
    waiting = m.client.socket()
    waiting.connect(m.server.at(listener))
    waiting.wait(POLLOUT)
    listener.shutdown(SHUT_WR)
    listener.poll()
    listener.get(SOL_SOCKET, SO_ACCEPTCONN)
    listener.shutdown(SHUT_RD)
    listener.get(SOL_SOCKET, SO_ACCEPTCONN)
    listener.accept_now()
    listener.poll()
    listener.sockname()
    listener.error()
    waiting.wait(POLLERR)
    waiting.error()
    late = m.client.socket()
    late.connect(m.server.at(listener))
    late.wait(POLLERR)
    late.error()
    listener.listen()
    listener.get(SOL_SOCKET, SO_ACCEPTCONN)


@script
def closing_a_listener_resets_who_waits(m: Machine) -> None:
    listener = m.listening()
    waiting = m.client.socket()
    waiting.connect(m.server.at(listener))
    waiting.wait(POLLOUT)
    listener.close()
    waiting.wait(POLLERR)
    waiting.recv()
    waiting.recv()
    waiting.send(b"x")


@script
def disconnect_ends_listening(m: Machine) -> None:
    listener = m.client.socket()
    listener.listen()
    listener.disconnect()
    listener.get(SOL_SOCKET, SO_ACCEPTCONN)
    listener.error()
    listener.poll()
    other = m.listening()
    listener.connect(m.server.at(other))
    listener.wait(POLLOUT)
    other.accept()


@script
def child_of_a_reset_peer_is_accepted(m: Machine) -> None:
    listener = m.listening()
    client = m.client.socket()
    client.connect(m.server.at(listener))
    client.wait(POLLOUT)
    client.set(SOL_SOCKET, SO_LINGER, (1, 0))
    client.close()
    child = listener.accept()
    child.wait(POLLERR)
    child.peername()
    child.recv()
    child.recv()


@script
def options_are_inherited(m: Machine) -> None:
    listener = m.listening()
    wanted = (
        (SOL_SOCKET, SO_KEEPALIVE, 1),
        (SOL_SOCKET, SO_LINGER, (1, 7)),
        (SOL_SOCKET, SO_RCVLOWAT, 3),
        (IPPROTO_TCP, TCP_NODELAY, 1),
        (IPPROTO_TCP, TCP_KEEPIDLE, 77),
        (IPPROTO_TCP, TCP_KEEPINTVL, 7),
        (IPPROTO_TCP, TCP_KEEPCNT, 3),
        (IPPROTO_TCP, TCP_USER_TIMEOUT, 12345),
        (IPPROTO_IP, IP_TTL, 9),
    )
    for level, name, value in wanted:
        listener.set(level, name, value)
    client = m.client.socket()
    client.connect(m.server.at(listener))
    child = listener.accept()
    for level, name, _ in wanted:
        child.get(level, name)
    child.get(SOL_SOCKET, SO_ACCEPTCONN)
