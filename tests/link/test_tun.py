"""The TUN link against the kernel; in a network namespace of its own, with CAP_NET_ADMIN."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import trio
from pyroute2 import IPRoute

from stack.link import device, kernel
from stack.link.protocol import Link, LinkClosedError, LinkError
from stack.link.tun import TunLink
from stack.wire import icmp, ip, tcp
from stack.wire.address import parse_address
from stack.wire.offload import complete
from stack.wire.packet import PARTIAL, Packet
from stack.wire.segment import ACK, SYN, Segment

OURS, KERNELS = parse_address("10.9.0.2"), parse_address("10.9.0.1")
OURS6, KERNELS6 = parse_address("fd00:9::2"), parse_address("fd00:9::1")


@pytest.fixture(params=[True, False], ids=["offload", "plain"])
def link(request: pytest.FixtureRequest) -> Iterator[TunLink]:
    with closing(TunLink(kernel=["10.9.0.1/24", "fd00:9::1/64"], offload=request.param)) as made:
        yield made


@pytest.fixture
def ipr() -> Iterator[IPRoute]:
    with IPRoute() as made:
        yield made


def known(ipr: IPRoute, name: str):
    found = ipr.link_lookup(ifname=name)
    return ipr.get_links(found[0])[0] if found else None


def addresses(ipr: IPRoute, name: str) -> set[str]:
    index = ipr.link_lookup(ifname=name)[0]
    return {f"{entry.get_attr('IFA_ADDRESS')}/{entry['prefixlen']}" for entry in ipr.get_addr(index=index)}


async def next_packet(link: TunLink, protocol: int) -> tuple[ip.IPHeader, bytes]:
    """The next packet of this protocol, as on a wire; the kernel's own chatter (MLD) is passed over."""
    while True:
        await link.wait_readable()
        for packet in link.read_batch(1):
            frame = complete(packet).frame()
            header = ip.decode(frame)
            if header.protocol == protocol and header.src in (KERNELS, KERNELS6):
                return header, frame


def echo_request(src: bytes, dst: bytes) -> Packet:
    v6 = len(src) == 16
    kind = icmp.V6_ECHO_REQUEST if v6 else icmp.ECHO_REQUEST
    message = icmp.encode(icmp.Icmp(kind, 0, 7, b"hello"), *((src, dst) if v6 else ()))
    protocol = ip.PROTO_ICMPV6 if v6 else ip.PROTO_ICMP
    return Packet(ip.encode(src, dst, protocol, len(message)) + message)


# -- the device ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["pytun", "plain"])
def test_the_device_is_made_configured_raised_and_removed(how, monkeypatch, ipr):
    if how == "plain":
        monkeypatch.setitem(sys.modules, "pytun", None)
    link = TunLink("tcpstack%d", kernel=["10.9.0.1/24", "fd00:9::1/64"], mtu=1400)
    assert (link._device is None) == (how == "plain")
    assert link.name == "tcpstack0"
    made = known(ipr, "tcpstack0")
    assert made.get_attr("IFLA_MTU") == link.mtu == 1400
    assert made.get_attr("IFLA_TXQLEN") == 10_000
    assert made["flags"] & 1
    assert {"10.9.0.1/24", "fd00:9::1/64"} <= addresses(ipr, "tcpstack0")
    assert not os.get_inheritable(link.fileno())
    link.close()
    link.close()
    assert known(ipr, "tcpstack0") is None
    assert link.fileno() == -1


def test_it_is_a_link(link):
    checked: Link = link
    assert (checked.mtu, checked.max_payload) == (1500, 65_455 if link.offload else 0)
    assert link.name in repr(link)


def test_one_address_may_be_given_as_a_string(ipr):
    with closing(TunLink(kernel="10.9.0.1/24")) as link:
        assert "10.9.0.1/24" in addresses(ipr, link.name)


def test_an_ipv6_address_can_be_used_at_once(ipr):
    """By the kernel, whose duplicate address detection is off, and by us, for whom it must have its local route."""
    for _ in range(20):  # when nobody waits for it, the route is late in one of ten
        with closing(TunLink(kernel="fd00:9::1/64")):
            with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
                sock.bind(("fd00:9::1", 0))
            assert [route["type"] for route in ipr.route("get", dst="fd00:9::1")] == [2]


def test_no_router_solicitation_is_sent(link):
    with open(f"/proc/sys/net/ipv6/conf/{link.name}/accept_ra", encoding="ascii") as setting:
        assert setting.read().strip() == "0"


# -- packets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ours", "kernels"), [(OURS, KERNELS), (OURS6, KERNELS6)], ids=["ipv4", "ipv6"])
async def test_the_kernel_answers_a_ping(link, ours, kernels):
    assert link.read_batch(0) == []
    assert link.write(echo_request(ours, kernels))
    header, frame = await next_packet(link, ip.PROTO_ICMP if len(ours) == 4 else ip.PROTO_ICMPV6)
    v6 = len(ours) == 16
    answer = icmp.decode(frame[header.start : header.end], *((header.src, header.dst) if v6 else ()))
    assert answer.type == (icmp.V6_ECHO_REPLY if v6 else icmp.ECHO_REPLY)
    assert (answer.rest, answer.payload) == (7, b"hello")
    assert link.errors == {}


@pytest.mark.parametrize("pieces", [0, 1, 900, 1400], ids=lambda n: f"{n}-parts")
async def test_the_kernel_accepts_our_checksum_and_every_part(link, pieces):
    """More parts than one writev takes (1024) are no different: an application may send single bytes."""
    with socket.socket() as server:
        server.bind(("10.9.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        parts = tuple(b"x" for _ in range(pieces))
        syn = tcp.encode(Segment(5000, port, 100, 0, SYN, 1000, parts), tcp.address_sum(OURS, KERNELS))
        head = ip.encode(OURS, KERNELS, ip.PROTO_TCP, len(syn) + pieces) + syn
        assert link.write(Packet(head, parts, csum=PARTIAL))
        header, frame = await next_packet(link, ip.PROTO_TCP)
        answer = tcp.decode(frame, header.start, header.end)
        assert answer.flags == SYN | ACK
        assert answer.ack == 101
        assert tcp.checksum_ok(frame, header)


async def test_a_batch_is_limited_and_in_order(link):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(20):
            sender.sendto(bytes([number]), ("10.9.0.2", 9))
    got: list[int] = []
    while len(got) < 20:
        await link.wait_readable()
        batch = link.read_batch(8)
        assert 0 < len(batch) <= 8
        got += [item.head[-1] for item in batch if item.head[0] >> 4 == 4]
    assert got == list(range(20))
    assert link.drops() == 0


def test_drops_are_the_packets_that_found_the_queue_full(link):
    index = socket.if_nametoindex(link.name)
    with IPRoute() as ipr:
        ipr.link("set", index=index, txqlen=10)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(50):
            sender.sendto(b"x", ("10.9.0.2", 9))
    read = [item for item in link.read_batch(100) if item.head[0] >> 4 == 4]
    assert link.drops() >= 50 - len(read) > 0


async def test_wait_writable(link):
    await link.wait_writable()


# -- trouble with the device ---------------------------------------------------------------------------------


async def test_a_device_that_is_down_loses_packets_and_recovers(link, ipr):
    index = socket.if_nametoindex(link.name)
    ipr.link("set", index=index, state="down")
    assert link.write(echo_request(OURS, KERNELS))
    assert link.errors == {"EIO": 1}
    link.read_batch(100)
    assert link.read_batch(100) == []
    ipr.link("set", index=index, state="up")
    assert link.write(echo_request(OURS, KERNELS))
    await next_packet(link, ip.PROTO_ICMP)
    assert link.errors == {"EIO": 1}


def test_a_frame_that_the_kernel_refuses_is_counted(link):
    assert link.write(Packet(bytes(20)))  # version 0
    assert link.errors == {"EINVAL": 1}


class Unwilling:
    """Stands for a kernel without memory, and one whose buffer is full: a device can't be brought to either."""

    def __init__(self, code: int) -> None:
        self.code = code

    def __call__(self, *_: object) -> int:
        raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize(("code", "taken"), [(errno.ENOBUFS, True), (errno.ENOMEM, True), (errno.EAGAIN, False)])
def test_what_a_refused_write_means(link, monkeypatch, code, taken):
    monkeypatch.setattr(os, "write", Unwilling(code))
    assert link.write(Packet(b"x")) is taken
    assert dict(link.errors) == ({errno.errorcode[code]: 1} if taken else {})


def test_a_read_error_is_counted_and_ends_the_batch(link, monkeypatch):
    monkeypatch.setattr(os, "read", Unwilling(errno.EIO))
    assert link.read_batch(10) == []
    assert link.errors == {"EIO": 1}


async def test_a_removed_device_ends_the_link(link, ipr):
    woken = []

    async def reader() -> None:
        link.read_batch(100)
        await link.wait_readable()
        woken.append(True)

    while link.read_batch(100):
        pass
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        ipr.link("del", index=socket.if_nametoindex(link.name))
    assert woken
    with pytest.raises(LinkClosedError, match="was removed") as caught:
        link.read_batch(10)
    assert caught.value.errno == errno.EBADFD
    with pytest.raises(LinkClosedError, match="was removed"):
        link.write(echo_request(OURS, KERNELS))
    with pytest.raises(LinkError, match="there is no device"):
        link.drops()


@pytest.mark.parametrize("wait", ["wait_readable", "wait_writable"])
async def test_closing_wakes_and_ends(link, wait, monkeypatch):
    # A TUN device is always writable, so the waiter for that is made to wait for reading.
    monkeypatch.setattr(trio.lowlevel, "wait_writable", trio.lowlevel.wait_readable)
    while link.read_batch(100):
        pass

    async def waiter() -> None:
        with pytest.raises(LinkClosedError, match="is closed"):
            await getattr(link, wait)()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter)
        await trio.testing.wait_all_tasks_blocked()
        link.close()
    await waiter()
    with pytest.raises(LinkClosedError, match="is closed"):
        link.read_batch(10)
    with pytest.raises(LinkClosedError, match="is closed"):
        link.write(Packet(b"x"))


# -- a descriptor from somewhere else ------------------------------------------------------------------------


def opened(name: str, flags: int) -> int:
    fd = os.open(device.DEVICE, os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(fd, device.TUNSETIFF, device.IFREQ.pack(name.encode(), flags))
    return fd


async def test_a_descriptor_can_be_handed_in(ipr):
    fd = opened("handed0", device.IFF_TUN | device.IFF_NO_PI)
    with closing(TunLink(fd=fd, mtu=1300)) as link:
        assert (link.name, link.mtu, link.fileno()) == ("handed0", 1300, fd)
        assert not known(ipr, "handed0")["flags"] & 1  # left as it was
        link.check_address("127.0.0.1")  # nothing is known about the namespace that the device lives in
    assert known(ipr, "handed0") is None


def test_a_handed_in_device_is_configured_on_request(ipr):
    fd = opened("handed0", device.IFF_TUN | device.IFF_NO_PI)
    with closing(TunLink(fd=fd, kernel="10.9.0.1/24")):
        assert "10.9.0.1/24" in addresses(ipr, "handed0")


def test_a_descriptor_of_another_format_is_refused():
    fd = opened("handed0", 0x0002 | device.IFF_NO_PI)  # IFF_TAP
    try:
        with pytest.raises(LinkError, match="wrong format") as caught:
            TunLink(fd=fd)
        assert caught.value.errno == errno.EINVAL
    finally:
        os.close(fd)  # a refused descriptor still belongs to its owner


def test_a_descriptor_that_is_no_device_is_refused():
    with socket.socket() as sock, pytest.raises(LinkError, match="not an attached TUN device"):
        TunLink(fd=sock.fileno())


# -- errors with remedies ------------------------------------------------------------------------------------


def refused(code: int, words: str, *args: Any, **kwargs: Any) -> None:
    with pytest.raises(LinkError) as caught:
        TunLink(*args, **kwargs).close()
    assert caught.value.errno == code
    assert words in str(caught.value)


def test_a_device_in_use(link):
    refused(errno.EBUSY, f"{link.name} is in use by another process; pick another name", link.name)


def test_a_name_that_belongs_to_another_device():
    refused(errno.EINVAL, "device of another kind", "lo")


@pytest.mark.parametrize("name", ["", "sixteen-letters!"])
def test_a_name_that_no_device_can_have(name):
    refused(errno.EINVAL, "1 to 15 bytes", name)


def test_no_driver(monkeypatch):
    monkeypatch.setattr(device, "DEVICE", "/dev/net/no-such-device")
    refused(errno.ENOENT, "modprobe tun")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EACCES, "chmod 0666 /dev/net/tun"),
        (errno.ENODEV, "modprobe tun"),
        (
            errno.EPERM,
            "needs CAP_NET_ADMIN: run as root, or in a network namespace of your own (unshare -Urn)",
        ),
        (errno.ENFILE, "Too many open files in system"),
    ],
)
def test_what_the_kernel_says_is_explained(monkeypatch, code, words):
    monkeypatch.setitem(sys.modules, "pytun", None)
    monkeypatch.setattr(fcntl, "ioctl", Unwilling(code))
    refused(code, words, "tun7")


def test_without_the_capability_the_remedy_is_named():
    """A user namespace of its own leaves a process without rights over the network namespace it came from."""
    script = "import stack; stack.TunLink('tun9', kernel='10.9.0.1/24')"
    done = subprocess.run(["unshare", "-Ur", sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "LinkError: making the device tun9 needs CAP_NET_ADMIN: run as root" in done.stderr


@pytest.mark.parametrize(
    ("text", "words"), [("10.9.0.300/24", "is not an address"), ("10.9.0.1", "needs a prefix length")]
)
def test_a_malformed_kernel_address(text, words, ipr):
    refused(errno.EINVAL, words, "tunbad", kernel=text)
    assert known(ipr, "tunbad") is None  # nothing is left behind


def test_an_impossible_mtu():
    refused(errno.EINVAL, "can't have an MTU of 20", mtu=20)


def test_the_kernel_has_the_address_elsewhere(link):
    refused(errno.EADDRINUSE, f"10.9.0.1 is already the kernel's address on {link.name}", kernel="10.9.0.1/30")


@pytest.mark.parametrize("address", ["10.9.0.77/24", "10.9.0.77/16", "fd00:9::77/60"])
def test_the_kernel_has_the_network_elsewhere(link, address):
    refused(errno.EADDRINUSE, f"on {link.name}, and packets would go there", kernel=address)


def test_a_smaller_network_inside_another_one_is_fine(link):
    TunLink(kernel="10.9.0.129/25").close()


def test_ipv6_switched_off_is_switched_on_for_this_device(ipr):
    setting = "/proc/sys/net/ipv6/conf/default/disable_ipv6"
    with open(setting, "w", encoding="ascii") as file:
        file.write("1")
    try:
        with closing(TunLink(kernel="fd00:9::1/64")) as link:
            assert "fd00:9::1/64" in addresses(ipr, link.name)
    finally:
        with open(setting, "w", encoding="ascii") as file:
            file.write("0")


def test_ipv6_that_stays_off_is_explained(monkeypatch):
    monkeypatch.setattr(kernel, "_setting", lambda *_: None)
    setting = "/proc/sys/net/ipv6/conf/default/disable_ipv6"
    with open(setting, "w", encoding="ascii") as file:
        file.write("1")
    try:
        refused(errno.EACCES, "sysctl -w net.ipv6.conf.tun7.disable_ipv6=0", "tun7", kernel="fd00:9::1/64")
    finally:
        with open(setting, "w", encoding="ascii") as file:
            file.write("0")


def test_a_device_that_root_made_ready_needs_no_privilege(ipr):
    """What is as asked is not touched: here the rights to change it are taken away to show that."""
    ready = opened("ready0", device.IFF_TUN | device.IFF_NO_PI)
    fcntl.ioctl(ready, 0x400454CB, 1)  # TUNSETPERSIST
    fcntl.ioctl(ready, 0x400454CC, os.getuid())  # TUNSETOWNER
    os.close(ready)
    index = socket.if_nametoindex("ready0")
    try:
        ipr.addr("add", index=index, address="10.9.0.1", prefixlen=24)
        ipr.link("set", index=index, state="up")
        script = "import stack; link = stack.TunLink('ready0', kernel='10.9.0.1/24'); print(link.name); link.close()"
        script += "; stack.TunLink('ready0', mtu=1400)"
        done = subprocess.run(
            ["unshare", "-Ur", sys.executable, "-c", script], capture_output=True, text=True, check=False
        )
        assert done.stdout == "ready0\n"
        assert "LinkError: ready0 can't have an MTU of 1400: needs CAP_NET_ADMIN" in done.stderr
        assert known(ipr, "ready0") is not None
    finally:
        ipr.link("del", index=index)


# -- addresses for the host ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "suggestion"),
    [
        ("10.9.0.1/24", "such as 10.9.0.2"),
        ("10.9.0.1", "such as 10.9.0.2"),
        ("fd00:9::1/64", "such as fd00:9::2"),
    ],
)
def test_the_kernels_own_address_is_refused_to_the_host(link, address, suggestion):
    with pytest.raises(LinkError, match=r"is the kernel's own address on") as caught:
        link.check_address(address)
    assert caught.value.errno == errno.EADDRINUSE
    assert suggestion in str(caught.value)


def test_the_loopback_address_is_refused_to_the_host(link):
    with pytest.raises(LinkError, match=r"is the kernel's own \(loopback\)"):
        link.check_address("127.0.0.2/8")


@pytest.mark.parametrize("address", ["10.9.0.2/24", "fd00:9::2/64", "192.0.2.7"])
def test_another_address_is_free_for_the_host(link, address):
    link.check_address(address)
