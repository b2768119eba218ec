"""Super-frames and partial checksums against kernels: the one at our device, and one behind a router and a wire.

The kernel at the device believes a partial checksum and cuts no super-frame, so mistakes in either would show only when
it forwards. Behind it here is a network of MTU 1500 with another kernel's TCP in it (see `tests.interop.far`).
"""

from __future__ import annotations

import hashlib
import itertools
import os
from pathlib import Path

import pytest
import trio

from stack.link.tun import TunLink
from stack.wire import ip, tcp
from stack.wire.address import parse_address
from stack.wire.offload import complete
from stack.wire.packet import PARTIAL, Packet
from stack.wire.segment import ACK, CWR, SYN, Segment
from tests.interop import programs
from tests.interop.far import check, far_network, far_program
from tests.interop.lab import Lab, content, on_a_wire, read_all

FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
WIRES = pytest.mark.parametrize("wire", ["cut", "whole"])
# The kernel's forwarding between namespaces sometimes lets one packet of the far kernel's overtake another; that is a
# network's right, and what we make of it is compared by its hash.
REORDERED = frozenset(
    {
        "Previous segment(s) not captured (common at capture start)",
        "This frame is a (suspected) out-of-order segment",
    }
)
SIZE = 5_000_000
MSS = 1440  #: With either IP header, and no options, not more than 1500.

_numbers = itertools.count(1)


# -- the kernel at the device --------------------------------------------------------------------------------


async def download(lab: Lab, family: int) -> list[int]:
    """From a kernel socket to us; the lengths of the packets that came."""
    data = content(SIZE)
    with programs.listening(lab.kernels(family)) as listener:
        stream = await lab.host.open_tcp_stream(lab.kernels(family), listener.getsockname()[1])
        peer = trio.SocketStream(trio.socket.from_stdlib_socket(listener.accept()[0]))
    async with stream, peer, trio.open_nursery() as nursery:

        async def send() -> None:
            await peer.send_all(data)
            await peer.send_eof()

        nursery.start_soon(send)
        assert await read_all(stream) == data
    return [len(packet.data) for packet in lab.packets() if not packet.outbound]


@FAMILIES
@on_a_wire(offload=True)
async def test_super_frames_come_and_nothing_is_wrong_with_them(lab: Lab, family: int) -> None:
    lengths = await download(lab, family)
    assert max(lengths) > 20_000
    assert len(lengths) < SIZE // 10_000


@FAMILIES
@on_a_wire(offload=False)
async def test_without_offload_every_packet_fits_the_wire(lab: Lab, family: int) -> None:
    lengths = await download(lab, family)
    assert max(lengths) == 1500
    assert len(lengths) > SIZE // 1500


@FAMILIES
@pytest.mark.parametrize("offload", [True, False], ids=["offload", "plain"])
async def test_an_upload_is_the_same_with_and_without(tmp_path: Path, family: int, offload: bool) -> None:
    """What we send may be in super-frames or not; the kernel gets it, and counts no error."""

    async def upload(lab: Lab) -> None:
        data = content(SIZE)
        with programs.listening(lab.kernels(family)) as listener:
            stream = await lab.host.open_tcp_stream(lab.kernels(family), listener.getsockname()[1])
            peer = trio.SocketStream(trio.socket.from_stdlib_socket(listener.accept()[0]))
        async with stream, peer, trio.open_nursery() as nursery:

            async def send() -> None:
                await stream.send_all(data)
                await stream.send_eof()

            nursery.start_soon(send)
            assert await read_all(peer) == data
        lengths = [len(packet.data) for packet in lab.packets() if packet.outbound]
        assert max(lengths) <= (65_535 if offload else 1500)

    await on_a_wire(offload=offload)(upload)(tmp_path=tmp_path)


# -- a kernel behind it --------------------------------------------------------------------------------------


@FAMILIES
@WIRES
@on_a_wire(offload=True)
async def test_we_upload_to_a_far_kernel(lab: Lab, family: int, wire: str) -> None:
    data = content(SIZE)
    with far_network(wire) as far:
        async with (
            far_program(far, wire, family, "receive", SIZE) as peer,
            await lab.host.open_tcp_stream(far.address(family), peer.port) as stream,
        ):
            await stream.send_all(data)
            report = await peer.report()
    assert (report["got"], report["sha256"]) == (SIZE, hashlib.sha256(data).hexdigest())
    check(report, wire)
    if wire == "cut":
        assert report["frames"] >= SIZE // 1460


@FAMILIES
@WIRES
@on_a_wire(allow=REORDERED, offload=True)
async def test_a_far_kernel_uploads_to_us(lab: Lab, family: int, wire: str) -> None:
    """Over a cut wire plain packets come, whose checksum nobody has looked at; over a whole one, super-frames."""
    with far_network(wire) as far:
        async with (
            far_program(far, wire, family, "send", SIZE) as peer,
            await lab.host.open_tcp_stream(far.address(family), peer.port) as stream,
        ):
            got = b""
            while len(got) < SIZE:
                got += await stream.receive_some()
            await stream.send_all(b".")
            report = await peer.report()
    assert report["sha256"] == hashlib.sha256(got).hexdigest()
    check(report, wire)
    longest = max(len(packet.data) for packet in lab.packets() if not packet.outbound)
    assert longest == 1500 if wire == "cut" else longest > 10_000


class ByHand:
    """A connection with a far kernel, spoken by hand in super-frames, whatever our TCP would send."""

    def __init__(self, link: TunLink, ours: str, theirs: str, port: int) -> None:
        self.link = link
        self.ours, self.theirs = parse_address(ours), parse_address(theirs)
        self.port = port
        self.next, self.acked, self.peers = 1000, 0, 0

    def write(self, flags: int, data: bytes = b"", *, mss: int = 0, wscale: int = -1) -> None:
        parts = (data,) if data else ()
        seg = Segment(5000, self.port, self.next, self.peers, flags, 60_000, parts, mss=mss, wscale=wscale)
        header = tcp.encode(seg, tcp.address_sum(self.ours, self.theirs))
        head = ip.encode(self.ours, self.theirs, ip.PROTO_TCP, len(header) + len(data)) + header
        assert self.link.write(Packet(head, parts, MSS if len(data) > MSS else 0, PARTIAL))
        self.next += len(data) + (flags & SYN) // SYN

    async def read(self) -> Segment:
        while True:
            await self.link.wait_readable()
            for packet in self.link.read_batch(1):
                frame = complete(packet).frame()
                header = ip.decode(frame)
                if header.protocol == ip.PROTO_TCP and header.src == self.theirs:
                    assert tcp.checksum_ok(frame, header)
                    return tcp.decode(frame, header.start, header.end)


@FAMILIES
@WIRES
async def test_super_frames_reach_a_far_kernel_cut_to_the_wire(family: int, wire: str) -> None:
    """Also one with CWR, and the largest of all; each is acknowledged before the next is sent."""
    number = next(_numbers)
    kernels, ours = (
        (f"10.221.{number}.1/24", f"10.221.{number}.2")
        if family == 4
        else (f"fd23:{number:x}::1/64", f"fd23:{number:x}::2")
    )
    sizes = [10 * MSS, 20 * MSS + 1, 40 * MSS, 40 * MSS - 1]
    data = content(sum(sizes))
    link = TunLink(f"tcpbh{os.getpid() % 100_000}-%d", kernel=kernels)
    try:
        with trio.fail_after(60), far_network(wire) as far:
            async with far_program(far, wire, family, "receive", len(data)) as peer:
                flow = ByHand(link, ours, far.address(family), peer.port)
                flow.write(SYN, mss=MSS, wscale=7)
                flow.peers = (await flow.read()).seq + 1
                flow.write(ACK)
                sent = 0
                for size in sizes:
                    flow.write(ACK | CWR if size == sizes[0] else ACK, data[sent : sent + size])
                    sent += size
                    while (await flow.read()).ack != flow.next:
                        pass
                report = await peer.report()
    finally:
        link.close()
    assert not link.errors
    assert report["sha256"] == hashlib.sha256(data).hexdigest()
    check(report, wire)
    if wire == "cut":
        assert report["longest"] == MSS + (40 if family == 4 else 60)
    else:
        assert report["longest"] == max(sizes) + (40 if family == 4 else 60)
