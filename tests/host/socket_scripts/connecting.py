"""From `connect` to the end of it, and beginning again."""

from __future__ import annotations

from stack.socket import (
    AF_INET6,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    MSG_OOB,
    POLLERR,
    POLLOUT,
    POLLRDHUP,
    SHUT_RD,
    SHUT_WR,
    SIOCATMARK,
    SIOCINQ,
    SIOCOUTQ,
    SIOCOUTQNSD,
    SO_ACCEPTCONN,
    SOL_SOCKET,
)
from tests.host.socket_machines import Machine
from tests.host.socket_scripts.registry import script

# Connecting.


@script
def connect_goes_in_steps(m: Machine) -> None:
    listener = m.listening()
    client = m.client.socket()
    client.connect(m.server.at(listener))
    client.wait(POLLOUT)
    client.connect(m.server.at(listener))
    client.connect(m.server.at(listener))
    client.sockname()
    client.peername()
    listener.accept().sockname()


@script
def connect_after_looking_at_the_error(m: Machine) -> None:
    client, _, listener = m.connected()
    client.connect(m.server.at(listener))
    client.connect(m.server.at(listener))


@script
def connect_is_refused(m: Machine) -> None:
    client = m.client.socket()
    client.connect(m.nobody())
    client.wait(POLLERR)
    client.error()
    client.error()
    client.poll()
    client.connect(m.nobody())
    client.connect(m.nobody())
    client.wait(POLLERR)


@script
def refusal_is_told_by_connect(m: Machine) -> None:
    client = m.client.socket()
    client.connect(m.nobody())
    client.wait(POLLERR)
    client.connect(m.nobody())
    client.poll()
    client.error()
    client.sockname()


@script
def refusal_is_told_by_recv(m: Machine) -> None:
    client = m.client.socket()
    client.connect(m.nobody())
    client.wait(POLLERR)
    client.recv()
    client.recv()
    client.send(b"x")


@script
def refusal_is_told_by_send(m: Machine) -> None:
    client = m.client.socket()
    client.connect(m.nobody())
    client.wait(POLLERR)
    client.send(b"x")
    client.send(b"x")
    client.recv()
    client.peername()
    client.shutdown(SHUT_WR)


@script
def second_attempt_after_a_refusal(m: Machine) -> None:
    client = m.client.socket()
    client.connect(m.nobody())
    client.wait(POLLERR)
    client.connect(m.nobody())
    listener = m.listening()
    client.connect(m.server.at(listener))
    client.wait(POLLOUT)
    client.error()
    listener.accept()
    client.send(b"hello")


@script
def nobody_answers(m: Machine) -> None:
    client = m.client.socket()
    address = m.silence()
    client.connect(address)
    client.connect(address)
    client.poll()
    client.recv()
    client.recv(1, MSG_OOB)
    client.send(b"x")
    client.peername()
    client.listen()
    client.bind(m.client.at(0))
    client.error()
    for request in (SIOCINQ, SIOCOUTQ, SIOCOUTQNSD, SIOCATMARK):
        client.ioctl(request)
    client.get(SOL_SOCKET, SO_ACCEPTCONN)
    client.close()


@script
def shutdown_ends_an_attempt(m: Machine) -> None:
    for how in (SHUT_RD, SHUT_WR):
        client = m.client.socket()
        client.connect(m.silence())
        client.shutdown(how)
        client.poll()
        client.error()
        client.peername()
        client.connect(m.server.at(m.listening()))
        client.wait(POLLOUT)


@script
def disconnect_ends_an_attempt(m: Machine) -> None:
    client = m.client.socket()
    client.connect(m.silence())
    client.disconnect()
    client.poll()
    client.error()
    client.connect(m.server.at(m.listening()))
    client.wait(POLLOUT)
    client.error()


@script
def shutdown_before_the_attempt(m: Machine) -> None:
    """It is refused and remembered. The FIN waits for close(2), or for another SHUT_WR."""
    for last in (SHUT_RD, SHUT_WR):
        client = m.client.socket()
        client.shutdown(SHUT_WR)
        listener = m.listening()
        client.connect(m.server.at(listener))
        child = listener.accept()
        client.send(b"x")
        client.poll()
        client.shutdown(last)
        if last == SHUT_RD:
            child.recv()
            child.send(b"hello")
            client.wait_queue(SIOCINQ, 5)
            client.recv()
            client.poll()
        client.close()
        child.wait(POLLRDHUP)
        child.recv()


@script
def shutdown_of_a_refused_socket(m: Machine) -> None:
    client = m.client.socket()
    client.connect(m.nobody())
    client.wait(POLLERR)
    client.shutdown(SHUT_WR)
    client.connect(m.server.at(m.listening()))
    client.error()
    client.listen()
    client.disconnect()
    client.connect(m.server.at(m.listening()))


@script
def bind_after_a_refusal(m: Machine) -> None:
    client = m.client.socket()
    client.connect(m.nobody())
    client.wait(POLLERR)
    client.bind(m.client.at(0))
    client.connect(m.nobody())


@script
def chosen_port_survives_disconnect(m: Machine) -> None:
    listener = m.listening()
    spare = m.client.socket()
    spare.bind(m.client.at(0))
    address = m.client.at(spare)
    spare.close()
    client = m.client.socket()
    client.bind(address)
    client.connect(m.server.at(listener))
    client.wait(POLLOUT)
    client.disconnect()
    client.sockname()
    other = m.client.socket()
    other.bind(address)
    client.bind(m.client.at(0))
    client.connect(m.server.at(listener))
    client.wait(POLLOUT)


@script
def connect_to_another_family(m: Machine) -> None:
    client = m.client.socket(AF_INET6)
    client.set(IPPROTO_IPV6, IPV6_V6ONLY, 1)
    client.connect(m.server.at(m.listening(), "mapped"))
    client.poll()


@script
def connect_to_a_group(m: Machine) -> None:
    client = m.client.socket()
    client.connect(("255.255.255.255", 80))
    client.connect(("224.0.0.1", 80))
    client.sockname()


@script
def disconnect_resets_a_connection(m: Machine) -> None:
    client, child, listener = m.connected()
    client.disconnect()
    client.poll()
    client.error()
    client.peername()
    client.recv()
    client.send(b"x")
    child.wait(POLLERR)
    child.recv()
    client.connect(m.server.at(listener))
    client.wait(POLLOUT)
    client.error()
    listener.accept()


@script
def disconnect_of_what_is_not_connected(m: Machine) -> None:
    client = m.client.socket()
    client.disconnect()
    client.error()
    client.poll()
    client.bind(m.client.at(0))
    client.disconnect()
    client.sockname()


@script
def bound_port_survives_disconnect(m: Machine) -> None:
    listener = m.listening()
    client = m.client.socket()
    client.bind(m.client.at(0))
    port = client.port
    client.connect(m.server.at(listener))
    client.wait(POLLOUT)
    client.disconnect()
    assert client.port == port
    client.sockname()
    other = m.client.socket()
    other.bind(m.client.at(port))
