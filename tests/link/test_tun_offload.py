"""Super-frames and partial checksums across a device, spoken by hand to the kernel's own sockets."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import socket
import struct
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
import trio

from stack.link import device
from stack.link.tun import TunLink
from stack.wire import ip, tcp, virtio
from stack.wire.address import parse_address
from stack.wire.offload import complete
from stack.wire.packet import PARTIAL, VERIFY, Packet
from stack.wire.segment import ACK, CWR, SYN, Segment

ADDRESSES = {4: ("10.9.0.2", "10.9.0.1"), 6: ("fd00:9::2", "fd00:9::1")}
KERNELS = ["10.9.0.1/24", "fd00:9::1/64"]
FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
MSS = 1400
DATA = random.Random(4).randbytes(200_000)

TUNSETVNETHDRSZ, TUNSETPERSIST = 0x400454D8, 0x400454CB
SIOCETHTOOL, ETHTOOL_GTSO = 0x8946, 0x1E


class Flow:
    """Our end of a connection with a kernel socket, opened from ours; sequence numbers of both begin at 1."""

    def __init__(self, link: TunLink, family: int, port: int) -> None:
        self.link = link
        self.ours, self.kernels = (parse_address(text) for text in ADDRESSES[family])
        self.port = port
        self.sent = 1000
        self.acked = 0
        self.super_frames = 0

    def write(self, flags: int, data: bytes = b"", *, gso_size: int = 0, mss: int = 0) -> None:
        parts = (data[:7], memoryview(data)[7:]) if data else ()
        segment = Segment(5000, self.port, self.sent, self.acked, flags, 60_000, parts, mss=mss)
        header = tcp.encode(segment, tcp.address_sum(self.ours, self.kernels))
        head = ip.encode(self.ours, self.kernels, ip.PROTO_TCP, len(header) + len(data)) + header
        assert self.link.write(Packet(head, parts, gso_size, PARTIAL))
        self.sent += len(data) + (flags & SYN) // SYN

    async def read(self) -> tuple[Packet, Segment]:
        """The kernel's next segment, and the packet that it came in."""
        while True:
            await self.link.wait_readable()
            for packet in self.link.read_batch(1):
                frame = complete(packet).frame()
                header = ip.decode(frame)
                if header.protocol == ip.PROTO_TCP and header.src == self.kernels:
                    assert tcp.checksum_ok(frame, header)
                    segment = tcp.decode(frame, header.start, header.end)
                    if segment.src_port == self.port:  # and not the last words of a test before
                        return packet, segment

    async def open(self) -> None:
        self.write(SYN, mss=MSS)
        _, answer = await self.read()
        self.acked = answer.seq + 1
        self.write(ACK)


@contextmanager
def connected(link: TunLink, family: int, listener: socket.socket) -> Iterator[Flow]:
    with listener:
        listener.bind((ADDRESSES[family][1], 0))
        listener.listen()
        yield Flow(link, family, listener.getsockname()[1])


def a_listener(family: int) -> socket.socket:
    return socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET)


def opened(name: str, flags: int) -> int:
    fd = os.open(device.DEVICE, os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(fd, device.TUNSETIFF, device.IFREQ.pack(name.encode(), device.IFF_TUN | device.IFF_NO_PI | flags))
    return fd


def kernel_sends_super_frames(name: str) -> bool:
    """What ethtool would say of the device."""
    value = array("I", [ETHTOOL_GTSO, 0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCETHTOOL, struct.pack("16sP16x", name.encode(), value.buffer_info()[0]))
    return value[1] != 0


async def take(flow: Flow, size: int) -> tuple[bytes, list[Packet]]:
    """That many octets from the kernel, acknowledged as they come, and the packets that they came in."""
    got, packets = b"", []
    while len(got) < size:
        packet, segment = await flow.read()
        known = flow.acked - segment.seq  # what comes again, since this process was late
        if segment.size:
            if 0 <= known < segment.size:
                got += segment.payload[known:]
                packets.append(packet)
                flow.acked += segment.size - known
            flow.write(ACK)
    return got, packets


# -- what crosses --------------------------------------------------------------------------------------------


@FAMILIES
async def test_the_kernel_takes_a_super_frame_apart(family):
    with closing(TunLink(kernel=KERNELS)) as link, connected(link, family, listener := a_listener(family)) as flow:
        await flow.open()
        with listener.accept()[0] as peer:
            flow.write(ACK, DATA[: 40 * MSS + 1], gso_size=MSS)
            got = b""
            while len(got) < 40 * MSS + 1:
                got += peer.recv(1 << 20)
            assert got == DATA[: 40 * MSS + 1]
            assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= MSS
        assert not link.errors


async def test_the_largest_super_frame_is_taken():
    with closing(TunLink(kernel=KERNELS)) as link, connected(link, 4, listener := a_listener(4)) as flow:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        await flow.open()
        with listener.accept()[0] as peer:
            # What the kernel offers before it has seen anything is less than that, so it is brought up to it first.
            sent = 0
            while sent < 130_000:
                piece = DATA[sent : sent + min(20 * MSS, 130_000 - sent)]
                flow.write(ACK, piece, gso_size=MSS)
                sent += len(piece)
                await trio.to_thread.run_sync(read_exactly, peer, len(piece))
            flow.write(ACK, DATA[: link.max_payload], gso_size=MSS)
            assert await trio.to_thread.run_sync(read_exactly, peer, link.max_payload) == DATA[: link.max_payload]
        assert not link.errors


def read_exactly(peer: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        got += peer.recv(size - len(got))
    return got


@FAMILIES
async def test_the_kernel_sends_super_frames(family):
    with closing(TunLink(kernel=KERNELS)) as link, connected(link, family, listener := a_listener(family)) as flow:
        await flow.open()
        with listener.accept()[0] as peer:
            peer.sendall(DATA[:60_000])  # all of which its buffer takes at once
            got, packets = await take(flow, 60_000)
    assert got == DATA[:60_000]
    assert {packet.csum for packet in packets} == {PARTIAL}
    large = [packet for packet in packets if packet.gso_size]
    assert {packet.gso_size for packet in large} == {MSS}
    assert max(len(packet) for packet in large) > 5 * MSS
    assert all(len(packet) <= 1500 for packet in packets if not packet.gso_size)
    assert all(len(packet.head) == (40 if family == 4 else 60) for packet in large)


@FAMILIES
@pytest.mark.parametrize("header", [True, False], ids=["header", "no-header"])
async def test_without_offload_no_frame_is_longer_than_the_mtu(family, header):
    fd = opened("plain0", device.IFF_VNET_HDR if header else 0)
    link = TunLink(fd=fd, kernel=KERNELS, offload=False)
    with closing(link), connected(link, family, listener := a_listener(family)) as flow:
        assert (link.offload, link.max_payload) == (False, 0)
        await flow.open()
        with listener.accept()[0] as peer:
            peer.sendall(DATA[:60_000])  # all of which its buffer takes at once
            got, packets = await take(flow, 60_000)
            flow.write(ACK, DATA[:1000])
            assert await trio.to_thread.run_sync(peer.recv, 2000) == DATA[:1000]
    assert got == DATA[:60_000]
    assert {(packet.csum, packet.gso_size) for packet in packets} == {(VERIFY, 0)}
    assert max(len(packet) for packet in packets) <= 1500
    assert not link.errors


async def test_cwr_crosses_in_a_super_frame():
    """The kernel is told of it in the header, and it hurts nothing."""
    with closing(TunLink(kernel=KERNELS)) as link, connected(link, 4, listener := a_listener(4)) as flow:
        await flow.open()
        with listener.accept()[0] as peer:
            flow.write(ACK | CWR, DATA[: 10 * MSS], gso_size=MSS)
            assert await trio.to_thread.run_sync(read_exactly, peer, 10 * MSS) == DATA[: 10 * MSS]
        assert not link.errors


# -- devices of others ---------------------------------------------------------------------------------------


async def test_a_longer_header_is_respected():
    fd = opened("longer0", device.IFF_VNET_HDR)
    fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", 12))
    link = TunLink(fd=fd, kernel=KERNELS)
    with closing(link), connected(link, 4, listener := a_listener(4)) as flow:
        await flow.open()
        with listener.accept()[0] as peer:
            flow.write(ACK, DATA[: 10 * MSS], gso_size=MSS)
            assert await trio.to_thread.run_sync(read_exactly, peer, 10 * MSS) == DATA[: 10 * MSS]
            peer.sendall(DATA[:10_000])
            got, packets = await take(flow, 10_000)
        assert got == DATA[:10_000]
        assert any(packet.gso_size for packet in packets)


@pytest.mark.parametrize("flags", [0, device.IFF_VNET_HDR], ids=["no-header", "header"])
def test_a_descriptor_decides_whether_there_is_offload(flags):
    with closing(TunLink(fd=opened("handed0", flags))) as link:
        assert link.offload is bool(flags)
        assert link.max_payload == (virtio.MAX_PAYLOAD if flags else 0)
        assert kernel_sends_super_frames("handed0") is bool(flags)


class Refusing:
    """A kernel that knows fewer offloads than this one."""

    def __init__(self, refused: int) -> None:
        self.refused = refused
        self.real = fcntl.ioctl

    def __call__(self, fd: int, request: int, argument: object = 0) -> object:
        if request == device.TUNSETOFFLOAD and isinstance(argument, int) and argument & self.refused:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return self.real(fd, request, argument)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("refused", "offload"),
    [(device.TUN_F_TSO_ECN, True), (device.TUN_F_TSO6, False), (device.TUN_F_CSUM, False)],
    ids=["ecn", "tso6", "all"],
)
async def test_a_kernel_that_refuses_offloads(monkeypatch, refused, offload):
    monkeypatch.setattr(fcntl, "ioctl", Refusing(refused))
    link = TunLink(kernel=KERNELS)
    with closing(link), connected(link, 4, listener := a_listener(4)) as flow:
        assert link.offload is offload
        await flow.open()
        with listener.accept()[0] as peer:
            peer.sendall(DATA[:10_000])
            got, packets = await take(flow, 10_000)
    assert got == DATA[:10_000]
    assert any(packet.gso_size for packet in packets) is offload


def persistent(name: str, flags: int) -> None:
    fd = opened(name, flags)
    fcntl.ioctl(fd, TUNSETPERSIST, 1)
    os.close(fd)


def remove(name: str) -> None:
    fd = opened(name, 0)
    fcntl.ioctl(fd, TUNSETPERSIST, 0)
    os.close(fd)


def test_a_persistent_device_is_left_without_offloads():
    persistent("keep0", 0)
    try:
        with closing(TunLink("keep0", kernel=KERNELS)) as link:
            assert link.offload
            assert kernel_sends_super_frames("keep0")
        assert not kernel_sends_super_frames("keep0")
    finally:
        remove("keep0")


def test_offloads_that_somebody_left_are_taken_back():
    persistent("keep0", device.IFF_VNET_HDR)
    try:
        fd = opened("keep0", device.IFF_VNET_HDR)
        fcntl.ioctl(fd, device.TUNSETOFFLOAD, device.TUN_F_CSUM | device.TUN_F_TSO4)
        os.close(fd)
        assert kernel_sends_super_frames("keep0")
        with closing(TunLink("keep0", kernel=KERNELS, offload=False)) as link:
            assert not link.offload
            assert not kernel_sends_super_frames("keep0")
    finally:
        remove("keep0")


# -- a header that can't be ----------------------------------------------------------------------------------


def test_a_contradiction_is_counted_and_the_batch_goes_on(monkeypatch):
    frame = ip.encode(bytes([10, 9, 0, 1]), bytes([10, 9, 0, 2]), ip.PROTO_TCP, 20) + bytes(20)
    bad = struct.pack("=BBHHHH", 1, 1, 0, 0, 20, 16) + frame
    reads = iter([bad, bytes(10) + frame, b"\0" * 10, bytes(10) + frame])

    def read(fd: int, size: int) -> bytes:
        for item in reads:
            return item
        raise BlockingIOError(errno.EAGAIN, "")

    with closing(TunLink(kernel=KERNELS)) as link:
        monkeypatch.setattr(os, "read", read)
        assert [packet.head for packet in link.read_batch(64)] == [frame, frame]
        monkeypatch.undo()
        assert link.errors == Counter({"bad-offload": 1, "truncated": 1})


def test_a_flood_of_contradictions_does_not_hold_the_reader(monkeypatch):
    with closing(TunLink(kernel=KERNELS)) as link:
        monkeypatch.setattr(os, "read", lambda fd, size: b"\0" * 10)
        assert link.read_batch(64) == []
        monkeypatch.undo()
        assert link.errors["truncated"] == 64
