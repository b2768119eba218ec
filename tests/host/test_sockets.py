"""What the verbs of sockets do on the wire, and what comes of time: where no kernel is needed to say what is right."""

from __future__ import annotations

import errno

import pytest

from stack import socket
from stack.host.host import Host
from stack.socket import (
    AF_INET6,
    IPPROTO_TCP,
    MSG_DONTWAIT,
    MSG_FASTOPEN,
    MSG_MORE,
    MSG_WAITALL,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLNVAL,
    POLLOUT,
    POLLRDHUP,
    SHUT_RD,
    SHUT_RDWR,
    SHUT_WR,
    SIOCINQ,
    SIOCOUTQ,
    SIOCOUTQNSD,
    SO_LINGER,
    SO_RCVLOWAT,
    SO_REUSEPORT,
    SO_SNDBUF,
    SOL_SOCKET,
    TCP_FASTOPEN,
    TCP_FASTOPEN_CONNECT,
    TCP_FASTOPEN_KEY,
    TCP_FASTOPEN_NO_COOKIE,
    TCP_SYNCNT,
)
from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire.units import SECOND
from tests.host.facade import PEER, PLAIN, Facade, refuses
from tests.host.socket_machines import Ours
from tests.support.peer import Peer


def test_public_name_is_the_package() -> None:
    from stack.host import sockets

    for name in ("Socket", "Sockets", "Address", "Option", "Received", "AF_INET", "SO_ERROR", "POLLRDHUP"):
        assert getattr(socket, name) is getattr(sockets, name)
    assert socket.__doc__ == sockets.__doc__


# Opening.


def test_connect_and_talk() -> None:
    it = Facade().connects()
    assert it.sock.getpeername() == PEER
    assert it.sock.getsockname() == ("10.9.0.2", 40000)
    assert it.send(b"hello") == 5
    it.peer.sees("P. 1:6(5) ack 1")
    it.peer.sends("P. 1:4(3) ack 6", payload=b"abc")
    assert it.recv() == b"abc"
    assert it.sock.connection is not None
    assert it.sock.info().bytes_received == 3


def test_connect_times_out() -> None:
    it = Facade((IPPROTO_TCP, TCP_SYNCNT, 1))
    it.begins()
    it.peer.takes()
    it.peer.gathers(3 * SECOND)
    assert it.sock.poll() & (POLLERR | POLLHUP | POLLOUT) == POLLERR | POLLHUP | POLLOUT
    with refuses(errno.ETIMEDOUT):
        it.sock.connect(PEER)
    assert it.sock.connection is None


def test_icmp_error_ends_an_attempt() -> None:
    it = Facade()
    it.begins()
    it.peer.takes()
    it.peer.sends_icmp(3, 1)
    it.peer.gathers(300 * SECOND)
    assert it.error() == errno.EHOSTUNREACH


@pytest.mark.parametrize(
    ("address", "code"),
    [
        (("10.9.0.1", 0), errno.EINVAL),
        (("0.0.0.0", 80), errno.ENETUNREACH),
        (("10.9.0.255", 80), errno.ENETUNREACH),
        (("10.9.0.2", 80), errno.EADDRNOTAVAIL),
        (("10.9.0.1", 65536), errno.EINVAL),
        (("fd00::1", 80), errno.EAFNOSUPPORT),
    ],
)
def test_where_nobody_can_connect_to(address: tuple[str, int], code: int) -> None:
    it = Facade()
    with refuses(code):
        it.sock.connect(address)
    assert it.sock.connection is None
    assert it.sock.poll() & POLLHUP


def test_name_instead_of_a_number_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="example"):
        Facade().sock.connect(("example.com", 80))


def test_no_address_of_that_family() -> None:
    host = Host(secret=bytes(32))
    host.add_address("10.9.0.2/24")
    sock = socket.Sockets(host, lambda: 0).socket(AF_INET6)
    with refuses(errno.ENETUNREACH):
        sock.connect(("fd00::1", 80))


def test_version_6() -> None:
    it = Facade(v6=True).connects()
    assert it.sock.getsockname() == ("fd00::2", 40000, 0, 0)
    assert it.sock.getpeername() == ("fd00::1", 80, 0, 0)


def test_listener_takes_as_many_as_its_backlog_and_one() -> None:
    it = Facade().listens(0)
    first = it.peer
    others = [Peer(bench=first.bench, port=40001 + number) for number in range(2)]
    for peer in (first, *others):
        peer.sends("S 0:0(0) <mss 1000>")
        peer.takes()
    for peer in (first, *others):
        peer.sends(". 1:1(0) ack 1")
    assert it.sock.listener is not None
    assert it.sock.listener.acceptable == 1
    it.sock.listen(1)
    others[0].sends(". 1:1(0) ack 1")
    others[1].sends(". 1:1(0) ack 1")
    assert it.sock.listener.acceptable == 2


def test_listeners_that_share_a_port_share_the_connections() -> None:
    machine = Ours()
    listeners = [machine.server.socket() for _ in range(3)]
    for listener in listeners:
        listener.set(SOL_SOCKET, SO_REUSEPORT, 1)
        listener.bind(("10.9.0.2", 80))
        listener.listen(200)
    for _ in range(90):
        machine.client.socket().connect(("10.9.0.2", 80))
    cores = [listener.real.listener for listener in listeners]
    assert sum(core.acceptable for core in cores) == 90
    assert all(core.acceptable >= 15 for core in cores)
    for listener in listeners[:2]:
        listener.close()
    for _ in range(10):
        machine.client.socket().connect(("10.9.0.2", 80))
    assert cores[2].acceptable >= 25
    listeners[2].close()
    last = machine.client.socket()
    last.connect(("10.9.0.2", 80))
    last.wait(POLLERR)


def test_binding_keeps_others_away() -> None:
    """Also those who know nothing of sockets, and connections whose port nobody has named."""
    machine = Ours()
    host = machine.hosts[0]
    sock = machine.client.socket()
    sock.bind(("0.0.0.0", 80))
    with refuses(errno.EADDRINUSE):
        host.listen(80)
    sock.close()
    listener = host.listen(80)
    other = machine.client.socket()
    with refuses(errno.EADDRINUSE):
        other.real.bind(("0.0.0.0", 80))
    host.close_listener(listener, machine.now)
    other.real.bind(("0.0.0.0", 80))


def test_chosen_port_is_nobodys() -> None:
    machine = Ours()
    remote = bytes((10, 9, 0, 2))
    next_port = machine.hosts[0].connect(remote, 80, machine.now).local[1] + 1
    sock = machine.client.socket()
    sock.bind(("10.9.0.1", next_port))
    assert machine.hosts[0].connect(remote, 80, machine.now).local[1] != next_port
    used = {conn.local[1] for conn in machine.hosts[0].connections()}
    for _ in range(50):
        fresh = machine.client.socket()
        fresh.bind(("10.9.0.1", 0))
        assert fresh.port not in used
        used.add(fresh.port)


# Sending and receiving.


def test_full_buffer_makes_the_sender_wait() -> None:
    it = Facade((SOL_SOCKET, SO_SNDBUF, 5000)).connects()
    assert it.send(bytes(9000)) == 9000
    assert it.send(bytes(9000)) == 1000
    with refuses(errno.EAGAIN):
        it.sock.send(b"x")
    assert not it.sock.poll() & POLLOUT
    seen = it.peer.takes()
    assert it.sock.ioctl(SIOCOUTQ) == 10_000
    assert it.sock.ioctl(SIOCOUTQNSD) == 10_000 - sum(each.size for each in seen)
    it.peer.sends(f". 1:1(0) ack {seen[-1].end}")
    it.peer.takes()
    assert it.sock.poll() & POLLOUT
    assert it.sock.ioctl(SIOCOUTQ) == 10_000 - sum(each.size for each in seen)


def test_what_is_sent_is_not_changed_afterwards() -> None:
    it = Facade().connects()
    data = bytearray(b"hello" * 400)
    it.sock.send(data)
    data[:] = bytes(2000)
    it.peer.watch.written += b"hello" * 400
    it.flush()
    it.peer.takes()


def test_several_buffers_are_one_message() -> None:
    it = Facade().connects()
    assert it.sock.sendmsg([b"ab", memoryview(b"cd"), b"e"]) == 5
    it.peer.watch.written += b"abcde"
    it.flush()
    it.peer.sees("P. 1:6(5) ack 1")
    with refuses(errno.EINVAL):
        it.sock.sendmsg([b"a"], [(1, 1, b"")])


def test_more_to_come_is_waited_for() -> None:
    it = Facade().connects()
    it.send(b"head", MSG_MORE)
    it.peer.sees_nothing()
    it.send(b"body")
    it.peer.sees("P. 1:9(8) ack 1")


def test_recv_waits_as_a_blocking_one_would() -> None:
    it = Facade((SOL_SOCKET, SO_RCVLOWAT, 3)).connects()
    sock = it.sock
    assert sock.recv_waits(10)
    it.peer.sends("P. 1:3(2) ack 1")
    assert sock.recv_waits(10)
    assert sock.recv_waits(2, MSG_DONTWAIT) is False  # two are asked for, and two are there
    it.peer.sends("P. 3:4(1) ack 1")
    assert not sock.recv_waits(10)
    assert sock.recv_waits(4, MSG_WAITALL)
    assert not sock.recv_waits(3, MSG_WAITALL)
    assert len(it.recv()) == 3
    it.peer.sends("F. 4:4(0) ack 1")
    assert not sock.recv_waits(10)
    assert not Facade().sock.recv_waits(10)


def test_soft_error_is_told_by_so_error() -> None:
    it = Facade().connects()
    it.send(b"hello")
    it.peer.takes()
    it.peer.sends_icmp(3, 1)
    assert not it.sock.poll() & POLLERR
    assert it.error() == errno.EHOSTUNREACH
    assert it.error() == 0


@pytest.mark.parametrize("level", [socket.IPPROTO_IP, socket.IPPROTO_IPV6])
def test_soft_errors_are_told_at_once_to_who_asks_for_them(level: int) -> None:
    v6 = level == socket.IPPROTO_IPV6
    it = Facade((level, socket.IPV6_RECVERR if v6 else socket.IP_RECVERR, 1), v6=v6).connects()
    it.send(b"hello")
    it.peer.takes()
    assert not it.sock.poll() & POLLERR
    it.peer.sends_icmp(*((1, 0) if v6 else (3, 1)))
    assert it.sock.poll() & POLLERR
    with refuses(errno.ENETUNREACH if v6 else errno.EHOSTUNREACH):
        it.sock.recv(10)
    assert not it.sock.poll() & POLLERR
    with refuses(errno.EAGAIN):
        it.sock.recv(10)


def test_child_is_reset_by_silence_when_keepalive_asks() -> None:
    """The error of a connection that timed out is told once, and by whatever comes first."""
    it = Facade(options=PLAIN.replace(user_timeout=5.0)).accepts()
    it.send(b"hello")
    it.peer.takes()
    it.peer.gathers(20 * SECOND)
    assert it.sock.poll() & (POLLERR | POLLIN | POLLRDHUP | POLLHUP) == POLLERR | POLLIN | POLLRDHUP | POLLHUP
    with refuses(errno.ETIMEDOUT):
        it.sock.recv(10)
    assert it.sock.recv(10) == b""
    with refuses(errno.EPIPE):
        it.sock.send(b"x")


# Ending.


def test_shutdown_of_both_directions_refuses_what_comes() -> None:
    it = Facade().connects()
    it.peer.sends("P. 1:4(3) ack 1")
    it.peer.takes()
    it.sock.shutdown(SHUT_RDWR)
    it.flush()
    it.peer.sees("F. 1:1(0) ack 4")
    it.peer.sends(". 4:4(0) ack 2")
    assert it.sock.ioctl(SIOCINQ) == 3
    it.peer.sends("P. 4:5(1) ack 2")
    it.peer.sees_reset(2, ack=4)
    assert len(it.recv()) == 3
    with refuses(errno.ECONNRESET):
        it.sock.recv(10)


def test_shutdown_of_reading_goes_on_taking_what_comes() -> None:
    it = Facade().connects()
    it.sock.shutdown(SHUT_RD)
    it.peer.sends("P. 1:4(3) ack 1")
    it.peer.sees(". 1:1(0) ack 4")
    assert len(it.recv()) == 3
    assert it.recv() == b""


def test_both_shut_and_nobody_closes() -> None:
    """A peer that never sends its FIN is not waited for."""
    it = Facade().connects()
    it.sock.shutdown(SHUT_WR)
    it.sock.shutdown(SHUT_RD)
    it.flush()
    it.peer.sees("F. 1:1(0) ack 1")
    it.peer.sends(". 1:1(0) ack 2")
    it.peer.passes(61 * SECOND)
    assert it.peer.state is State.CLOSED
    assert it.error() == 0


def test_unread_octets_after_shutdown_still_reset_on_close() -> None:
    it = Facade().connects()
    it.peer.sends("P. 1:4(3) ack 1")
    it.peer.takes()
    it.sock.shutdown(SHUT_RDWR)
    it.flush()
    it.peer.sees("F. 1:1(0) ack 4")
    it.close()
    it.peer.sees_reset(2, ack=4)


def test_close_is_final() -> None:
    it = Facade().connects()
    it.close()
    assert it.sock.closed
    assert it.sock.poll() == POLLNVAL
    it.close()
    it.peer.sees("F. 1:1(0) ack 1")


def test_close_without_lingering_resets() -> None:
    it = Facade((SOL_SOCKET, SO_LINGER, (1, 0))).connects()
    it.close()
    it.peer.sees_reset(1, ack=1)


def test_close_with_lingering_goes_on_in_the_background() -> None:
    """As on Linux: the time bounds how long a blocking close waits, not how long the connection may take."""
    it = Facade((SOL_SOCKET, SO_LINGER, (1, 1))).connects()
    it.send(b"hello")
    it.close()
    it.peer.takes()
    it.peer.gathers(5 * SECOND)
    it.peer.sends(". 1:1(0) ack 7")
    assert it.peer.state is State.FIN_WAIT_2


def test_owner_is_woken() -> None:
    it = Facade()
    owner = object()
    it.sock.owner = owner
    it.connects()
    it.peer.host.take_woken()
    it.peer.sends("P. 1:4(3) ack 1")
    assert [each.owner for each in it.peer.host.take_woken()] == [owner]
    it.sock.owner = None
    it.peer.sends("P. 4:7(3) ack 1")
    assert it.peer.host.take_woken() == []


def test_listener_wakes_its_owner() -> None:
    it = Facade()
    it.sock.owner = owner = object()
    it.listens()
    it.peer.sends("S 0:0(0) <mss 1000>")
    it.peer.takes()
    it.peer.sends(". 1:1(0) ack 1")
    assert owner in [each.owner for each in it.peer.host.take_woken()]


# Fast Open (RFC 7413).


def fast_pair() -> tuple[Ours, socket.Socket]:
    """Two hosts, the second of which listens with Fast Open."""
    machine = Ours()
    listener = machine.server.socket()
    listener.set(IPPROTO_TCP, TCP_FASTOPEN, 5)
    listener.bind(("10.9.0.2", 80))
    listener.listen()
    real: socket.Socket = listener.real
    return machine, real


SERVER = ("10.9.0.2", 80)


# RFC7413-04, RFC7413-07
def test_data_goes_with_the_syn_once_a_cookie_is_known() -> None:
    machine, listener = fast_pair()
    first = machine.client.socket().real
    with refuses(errno.EINPROGRESS):
        first.sendto(b"hello", MSG_FASTOPEN, SERVER)
    with refuses(errno.EALREADY):
        first.sendto(b"hello", MSG_FASTOPEN, SERVER)
    with refuses(errno.EAGAIN):
        first.send(b"hello")
    machine.settle()
    assert first.sendto(b"hello", MSG_FASTOPEN, SERVER) == 5  # completes the `connect` that the first one was
    with refuses(errno.EISCONN):
        first.sendto(b"hello", MSG_FASTOPEN, SERVER)
    machine.settle()
    assert listener.accept()[0].recv(10) == b"hello"

    second = machine.client.socket().real
    assert second.sendto(b"hello", MSG_FASTOPEN, SERVER) == 5
    syn = machine.hosts[0].poll_transmit(machine.now)
    assert syn is not None
    machine.hosts[1].receive(syn, machine.now)
    child, _ = listener.accept()  # before the handshake is complete
    assert child.recv(10) == b"hello"
    assert child.send(b"world") == 5
    machine.settle()
    assert second.recv(10) == b"world"


def test_only_what_a_syn_carries_is_taken() -> None:
    machine, _ = fast_pair()
    machine.client.socket().connect(SERVER)  # an ordinary one asks for no cookie
    with refuses(errno.EINPROGRESS):
        machine.client.socket().real.sendto(b"x", MSG_FASTOPEN, SERVER)
    machine.settle()
    count = machine.client.socket().real.sendto(bytes(10_000), MSG_FASTOPEN, SERVER)
    assert 1000 < count < 1460


def test_connect_may_be_left_to_the_first_data() -> None:
    machine, listener = fast_pair()
    asker = machine.client.socket().real
    asker.setsockopt(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    with refuses(errno.EINPROGRESS):  # no cookie yet: it goes at once, and asks for one
        asker.connect(SERVER)
    machine.settle()
    listener.accept()
    sock = machine.client.socket().real
    sock.setsockopt(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    sock.connect(SERVER)
    assert machine.hosts[0].poll_transmit(machine.now) is None
    assert sock.poll() & POLLOUT
    with refuses(errno.EISCONN):
        sock.connect(SERVER)
    with refuses(errno.EAGAIN):
        sock.recv(1)
    with refuses(errno.EINVAL):
        sock.listen()
    assert sock.send(b"hello") == 5
    machine.settle()
    assert listener.accept()[0].recv(10) == b"hello"


def test_deferred_connect_can_be_given_up() -> None:
    machine, listener = fast_pair()
    asker = machine.client.socket().real
    asker.setsockopt(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    with refuses(errno.EINPROGRESS):
        asker.connect(SERVER)
    machine.settle()
    for end in ("shutdown", "disconnect", "close"):
        sock = machine.client.socket().real
        sock.setsockopt(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
        sock.connect(SERVER)
        if end == "shutdown":
            sock.shutdown(SHUT_WR)
        elif end == "disconnect":
            sock.connect(None)
        else:
            sock.close()
        machine.settle()
    assert listener.listener is not None
    assert listener.listener.acceptable == 1


def test_fast_open_needs_an_address_and_no_connection() -> None:
    machine, listener = fast_pair()
    sock = machine.client.socket().real
    with refuses(errno.EINVAL):
        sock.send(b"x", MSG_FASTOPEN)
    with refuses(errno.EOPNOTSUPP):
        sock.sendto(b"x", MSG_FASTOPEN, None)
    with refuses(errno.EISCONN):
        listener.sendto(b"x", MSG_FASTOPEN, SERVER)


def test_fast_open_options() -> None:
    machine, listener = fast_pair()
    assert listener.getsockopt(IPPROTO_TCP, TCP_FASTOPEN) == 5
    listener.setsockopt(IPPROTO_TCP, TCP_FASTOPEN, 0)
    assert listener.getsockopt(IPPROTO_TCP, TCP_FASTOPEN) == 0
    assert listener.getsockopt(IPPROTO_TCP, TCP_FASTOPEN_KEY) == b"".join(machine.hosts[1].fastopen_keys)
    for keys in (bytes(16), bytes(range(32))):
        listener.setsockopt(IPPROTO_TCP, TCP_FASTOPEN_KEY, keys)
        assert listener.getsockopt(IPPROTO_TCP, TCP_FASTOPEN_KEY) == keys
    for wrong in (bytes(15), 5):
        with refuses(errno.EINVAL):
            listener.setsockopt(IPPROTO_TCP, TCP_FASTOPEN_KEY, wrong)
    listener.setsockopt(IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1)
    assert listener.getsockopt(IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE) == 1
    for name in (TCP_FASTOPEN_CONNECT, TCP_FASTOPEN_NO_COOKIE):
        with refuses(errno.EINVAL):
            machine.client.socket().real.setsockopt(IPPROTO_TCP, name, 2)
    with refuses(errno.EINVAL):
        listener.setsockopt(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    sock = machine.client.socket()
    sock.set(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    assert sock.get(IPPROTO_TCP, TCP_FASTOPEN_CONNECT) == 1
    sock.connect(SERVER)
    for name in (TCP_FASTOPEN, TCP_FASTOPEN_NO_COOKIE, TCP_FASTOPEN_CONNECT):
        with refuses(errno.EINVAL):
            sock.real.setsockopt(IPPROTO_TCP, name, 1)


def test_data_without_a_cookie_where_none_is_needed() -> None:
    machine, listener = fast_pair()
    listener.setsockopt(IPPROTO_TCP, TCP_FASTOPEN, 5)
    listener.setsockopt(IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1)
    sock = machine.client.socket().real
    sock.setsockopt(IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1)
    assert sock.sendto(b"hello", MSG_FASTOPEN, SERVER) == 5
    machine.settle()
    assert listener.accept()[0].recv(10) == b"hello"


def test_sockets_begin_with_the_options_of_the_host() -> None:
    machine = Ours(TcpOptions(nodelay=True))
    sock = machine.client.socket()
    assert sock.get(IPPROTO_TCP, socket.TCP_NODELAY) == 1
    assert sock.get(SOL_SOCKET, SO_REUSEPORT) == 0
