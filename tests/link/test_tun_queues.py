"""One device with several queues: which flow comes out where, and what another process can take over."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from pyroute2 import IPRoute

from stack.link import device, kernel
from stack.link.protocol import LinkError
from stack.link.tun import TunLink, open_queues
from stack.wire import ip
from stack.wire.address import parse_address
from stack.wire.checksum import checksum, pseudo_header_sum
from stack.wire.packet import Packet

OURS, KERNELS = parse_address("10.9.0.2"), parse_address("10.9.0.1")
TUNSETPERSIST = 0x400454CB


@pytest.fixture
def queues() -> Iterator[list[TunLink]]:
    links = open_queues(count=4, kernel="10.9.0.1/24")
    yield links
    for link in links:
        link.close()


def datagram(port: int) -> Packet:
    """From our port 9 to the kernel's `port`."""
    udp = (9).to_bytes(2, "big") + port.to_bytes(2, "big") + (9).to_bytes(2, "big")
    start = pseudo_header_sum(OURS, KERNELS, ip.PROTO_UDP, 9)
    check = checksum(udp + b"\0\0x", start)
    return Packet(ip.encode(OURS, KERNELS, ip.PROTO_UDP, 9) + udp + check.to_bytes(2, "big") + b"x")


class Peers:
    """Sockets of the kernel's, each a flow of its own to our port 9."""

    def __init__(self, count: int) -> None:
        self.stack = ExitStack()
        self.socks = [self.stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(count)]
        for sock in self.socks:
            sock.bind(("10.9.0.1", 0))
        self.ports = [sock.getsockname()[1] for sock in self.socks]

    def send(self) -> None:
        for sock in self.socks:
            sock.sendto(b"x", ("10.9.0.2", 9))


def ports_seen(link: TunLink) -> set[int]:
    """Of all UDP that has come out of a queue: the kernel's ports."""
    seen = set()
    while batch := link.read_batch(64):
        for packet in batch:
            if packet.head[0] == 0x45 and packet.head[9] == ip.PROTO_UDP:
                seen.add(int.from_bytes(packet.head[20:22], "big"))
    return seen


def introduce(peers: Peers, queues: list[TunLink]) -> dict[int, int]:
    """Write one datagram for each flow through a queue; which queue each port was given."""
    homes = {port: number % len(queues) for number, port in enumerate(peers.ports)}
    for port, home in homes.items():
        assert queues[home].write(datagram(port))
    return homes


def where(queues: list[TunLink]) -> dict[int, int]:
    return {port: number for number, link in enumerate(queues) for port in ports_seen(link)}


def test_it_is_one_device_with_several_queues(queues):
    assert len({link.name for link in queues}) == 1
    assert len({link.fileno() for link in queues}) == 4
    assert all(link.offload for link in queues)
    with IPRoute() as ipr:
        index = ipr.link_lookup(ifname=queues[0].name)[0]
        shown = ipr.get_links(index)[0]
        assert shown["flags"] & 1
        assert shown.get_attr("IFLA_TXQLEN") == kernel.QUEUE_PACKETS
        assert queues[3].drops() == 0
        for link in queues:
            assert not os.get_inheritable(link.fileno())
            link.close()
        assert not ipr.link_lookup(ifname=queues[0].name)


def test_a_flow_comes_back_to_the_queue_that_it_went_out_of(queues):
    peers = Peers(32)
    with peers.stack:
        homes = introduce(peers, queues)
        peers.send()
        assert where(queues) == homes


def test_a_duplicate_keeps_the_queue_and_its_flows(queues):
    """The supervisor keeps one; when a worker dies, another process goes on with the same queue."""
    peers = Peers(16)
    with peers.stack:
        homes = introduce(peers, queues)
        kept = os.dup(queues[2].fileno())
        queues[2].close()
        with closing(TunLink(fd=kept)) as replacement:
            assert replacement.offload
            assert replacement.name == queues[0].name
            peers.send()
            assert where([*queues[:2], replacement, queues[3]]) == homes


def test_closing_one_leaves_the_others_their_offload(queues):
    queues[0].close()
    with socket.socket() as sock:
        sock.setblocking(False)
        assert sock.connect_ex(("10.9.0.2", 80)) == errno.EINPROGRESS
        syns = [packet for link in queues[1:] for packet in link.read_batch(64) if packet.head[9] == ip.PROTO_TCP]
    assert [packet.csum for packet in syns] != []
    assert all(packet.csum for packet in syns)


def test_without_offload():
    links = open_queues(count=2, kernel=["10.9.0.1/24"], offload=False, mtu=1400)
    try:
        assert [(link.offload, link.mtu) for link in links] == [(False, 1400)] * 2
    finally:
        for link in links:
            link.close()


@pytest.mark.parametrize("count", [0, -1, 257])
def test_as_many_as_linux_allows(count):
    with pytest.raises(LinkError, match="1 to 256") as caught:
        open_queues(count=count)
    assert caught.value.errno == errno.EINVAL


def test_nothing_is_left_when_it_fails():
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(LinkError, match="needs a prefix length"):
        open_queues("tcpq0", count=3, kernel="10.9.0.1")
    assert len(os.listdir("/proc/self/fd")) == before
    with IPRoute() as ipr:
        assert not ipr.link_lookup(ifname="tcpq0")


def test_a_device_made_for_one_queue_is_explained():
    fd = os.open(device.DEVICE, os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(fd, device.TUNSETIFF, device.IFREQ.pack(b"tcpq0", device.IFF_TUN | device.IFF_NO_PI))
    try:
        with pytest.raises(LinkError, match="ip tuntap add tcpq0 mode tun multi_queue"):
            open_queues("tcpq0", count=2)
    finally:
        os.close(fd)
