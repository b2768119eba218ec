"""IPv4 and IPv6, and IPv4 in the clothes of IPv6."""

from __future__ import annotations

from stack.socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    POLLERR,
    POLLIN,
    POLLOUT,
    SO_DOMAIN,
    SOL_SOCKET,
)
from tests.host.socket_machines import Machine
from tests.host.socket_scripts.registry import script

# Two families.


@script
def version_6(m: Machine) -> None:
    listener = m.server.socket(AF_INET6)
    listener.bind(m.server.at(0, "v6"))
    listener.listen()
    client = m.client.socket(AF_INET6)
    client.sockname()
    client.connect(m.server.at(listener, "v6"))
    client.wait(POLLOUT)
    client.peername()
    child = listener.accept()
    child.sockname()
    client.send(b"hello")
    child.wait(POLLIN)
    child.recv()


@script
def dual_stack_takes_both(m: Machine) -> None:
    listener = m.server.socket(AF_INET6)
    listener.bind(("::", 0))
    listener.listen()
    listener.sockname()
    one, other = m.client.socket(AF_INET), m.client.socket(AF_INET6)
    one.connect(m.server.at(listener))
    one.wait(POLLOUT)
    child = listener.accept()
    child.sockname()
    child.peername()
    child.get(SOL_SOCKET, SO_DOMAIN)
    other.connect(m.server.at(listener, "v6"))
    other.wait(POLLOUT)
    child = listener.accept()
    child.sockname()
    child.peername()
    third = m.client.socket(AF_INET6)
    third.connect(m.server.at(listener, "mapped"))
    third.wait(POLLOUT)
    third.sockname()
    third.peername()
    listener.accept()
    taken = m.server.socket()
    taken.bind(("0.0.0.0", listener.port))


@script
def only_version_6(m: Machine) -> None:
    listener = m.server.socket(AF_INET6)
    listener.get(IPPROTO_IPV6, IPV6_V6ONLY)
    listener.set(IPPROTO_IPV6, IPV6_V6ONLY, 1)
    listener.bind(("::", 0))
    listener.set(IPPROTO_IPV6, IPV6_V6ONLY, 0)
    listener.get(IPPROTO_IPV6, IPV6_V6ONLY)
    listener.listen()
    client = m.client.socket()
    client.connect(m.server.at(listener))
    client.wait(POLLERR)
    client.error()
    other = m.server.socket()
    other.bind(("0.0.0.0", listener.port))
    other.listen()
    client.connect(m.server.at(listener))
    client.connect(m.server.at(listener))
    client.wait(POLLOUT)
    other.accept()


@script
def mapped_address_is_bound(m: Machine) -> None:
    listener = m.server.socket(AF_INET6)
    listener.bind(m.server.at(0, "mapped"))
    listener.sockname()
    listener.listen()
    client = m.client.socket()
    client.connect(m.server.at(listener))
    client.wait(POLLOUT)
    listener.accept().peername()
    only = m.server.socket(AF_INET6)
    only.set(IPPROTO_IPV6, IPV6_V6ONLY, 1)
    only.bind(m.server.at(0, "mapped"))


@script
def any_of_version_4_leaves_version_6_alone(m: Machine) -> None:
    listener = m.server.socket()
    listener.bind(("0.0.0.0", 0))
    listener.listen()
    listener.sockname()
    client = m.client.socket(AF_INET6)
    client.connect(m.server.at(listener, "v6"))
    client.wait(POLLERR)
    client.error()
