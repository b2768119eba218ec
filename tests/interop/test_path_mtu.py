"""Path-MTU discovery against kernels that route: behind the one at our device lies a narrower link.

    our host --- TUN, 1500 --- this kernel --- narrow --- another kernel --- 1500 --- a kernel's TCP

Both links at the ends take 1500 bytes, so that neither SYN tells of what is between. What we send the first kernel
refuses, what comes the second one; each says so in ICMP.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from stack.link.tun import TunLink
from stack.tcp.connection import Connection
from tests.interop import programs
from tests.interop.far import Far, far_network, far_program
from tests.interop.lab import Lab, content, on_a_wire

FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
OFFLOAD = [pytest.param(True, id="offload"), pytest.param(False, id="plain")]
NARROW = 1400
SIZE = 2_000_000
#: What was refused is missing in the capture on the one side and there twice on the other.
SENT_AGAIN = frozenset(
    {
        "This frame is a (suspected) retransmission",
        "This frame is a (suspected) fast retransmission",
        "This frame is a (suspected) spurious retransmission",
        "This frame is a (suspected) out-of-order segment",
        "Previous segment(s) not captured (common at capture start)",
    }
)


class FarBehindNarrow(Far):
    """Its network has a router of its own, and the link to that is narrow."""

    def __init__(self, mtu: int) -> None:
        super().__init__()
        self.mtu = mtu
        self.middle = f"{self.name}m"
        self.inner, self.far_side = f"tm{self.near[2:]}", f"tr{self.near[2:]}"
        number = self.networks[4].split(".")[2]
        self.links = {4: f"10.222.{number}.", 6: f"fd24:{int(number):x}::"}

    def make(self) -> None:
        said = programs.said
        middle, inside = ("-netns", self.middle), ("-netns", self.name)
        said("ip", "netns", "add", self.middle)
        said("ip", "netns", "add", self.name)
        said("ip", "link", "add", self.near, "type", "veth", "peer", "name", self.inner, "netns", self.middle)
        said(
            "ip", *middle, "link", "add", self.far_side, "type", "veth", "peer", "name", self.device, "netns", self.name
        )
        forward = "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding"
        said("ip", "netns", "exec", self.middle, "sh", "-c", forward)
        for family, prefix in ((4, 24), (6, 64)):
            nodad = ("nodad",) if family == 6 else ()
            link, network = self.links[family], self.networks[family]
            said("ip", "addr", "add", f"{link}1/{prefix}", "dev", self.near, *nodad)
            said("ip", *middle, "addr", "add", f"{link}2/{prefix}", "dev", self.inner, *nodad)
            said("ip", *middle, "addr", "add", f"{network}1/{prefix}", "dev", self.far_side, *nodad)
            said("ip", *inside, "addr", "add", f"{network}2/{prefix}", "dev", self.device, *nodad)
        said("ip", "link", "set", self.near, "up")
        said("ip", *middle, "link", "set", self.inner, "up")
        said("ip", *middle, "link", "set", self.far_side, "up")
        said("ip", *inside, "link", "set", self.device, "up")
        self.set_mtu(self.mtu)
        for family, whole in ((4, "24"), (6, "64")):
            via = self.links[family]
            network = f"{self.networks[family]}{'0' if family == 4 else ''}/{whole}"
            said("ip", f"-{family}", "route", "add", network, "via", f"{via}2")
            said("ip", *middle, f"-{family}", "route", "add", "default", "via", f"{via}1")
            said("ip", *inside, f"-{family}", "route", "add", "default", "via", f"{self.networks[family]}1")
            said("ping", "-c", "1", "-w", "10", self.address(family))

    def set_mtu(self, mtu: int) -> None:
        """Of the link in the middle, at both its ends."""
        programs.said("ip", "link", "set", self.near, "mtu", str(mtu))
        programs.said("ip", "-netns", self.middle, "link", "set", self.inner, "mtu", str(mtu))

    def remove(self) -> None:
        programs.said("ip", "netns", "del", self.middle)
        super().remove()


@contextmanager
def narrow_network(mtu: int = NARROW) -> Iterator[FarBehindNarrow]:
    far = FarBehindNarrow(mtu)
    with far_network("cut", far):
        yield far


def too_long(lab: Lab, *, plain: bool) -> int:
    """How many packets of ours were longer than the narrow link takes; super-frames are told by the segments."""
    return sum(bool(packet.outbound) and len(packet.data) > NARROW for packet in lab.packets()) if plain else 0


def only(lab: Lab) -> Connection:
    [conn] = lab.host.connections()
    return conn


async def upload(lab: Lab, far: FarBehindNarrow, family: int, size: int) -> Connection:
    """To the far kernel; everything must get there, and nothing that its wire does not take."""
    data = content(size)
    async with (
        far_program(far, "cut", family, "receive", size) as peer,
        await lab.host.open_tcp_stream(far.address(family), peer.port) as stream,
    ):
        await stream.send_all(data)
        report = await peer.report()
        conn = only(lab)
    assert (report["got"], report["sha256"]) == (size, hashlib.sha256(data).hexdigest())
    assert report["wrong"] == 0
    assert report["longest"] <= NARROW
    await lab.until_closed()
    return conn


@FAMILIES
@pytest.mark.parametrize("offload", OFFLOAD)
async def test_we_upload_through_a_narrow_link(tmp_path: object, family: int, offload: bool) -> None:
    """The first window is refused, and no time-out is needed; the second connection knows."""

    async def both(lab: Lab) -> None:
        with narrow_network() as far:
            conn = await upload(lab, far, family, SIZE)
            info = conn.info(lab.host.now())
            assert info.pmtu == NARROW
            assert info.timeouts == 0
            assert lab.host.counters.paths_narrowed == 1
            refused = too_long(lab, plain=not offload)
            assert refused <= 10
            await upload(lab, far, family, 100_000)
            assert lab.host.counters.paths_narrowed == 1
            assert too_long(lab, plain=not offload) == refused

    await on_a_wire(allow=SENT_AGAIN, offload=offload)(both)(tmp_path=tmp_path)


@FAMILIES
@pytest.mark.parametrize("offload", OFFLOAD)
async def test_a_far_kernel_uploads_to_us_through_a_narrow_link(tmp_path: object, family: int, offload: bool) -> None:
    """It is its packets that are refused; ours, the ACKs, are short."""

    async def download(lab: Lab) -> None:
        with narrow_network() as far:
            async with (
                far_program(far, "cut", family, "send", SIZE) as peer,
                await lab.host.open_tcp_stream(far.address(family), peer.port) as stream,
            ):
                got = b""
                while len(got) < SIZE:
                    got += await stream.receive_some()
                await stream.send_all(b".")
                report = await peer.report()
            assert report["sha256"] == hashlib.sha256(got).hexdigest()
            assert lab.host.counters.paths_narrowed == 0

    await on_a_wire(allow=SENT_AGAIN, offload=offload)(download)(tmp_path=tmp_path)


@FAMILIES
@pytest.mark.parametrize("offload", OFFLOAD)
async def test_a_link_that_becomes_narrower_under_an_upload(tmp_path: object, family: int, offload: bool) -> None:
    """It has taken long segments before: the time-out confirms what the router says."""

    async def upload_and_narrow(lab: Lab) -> None:
        data = content(SIZE)
        with narrow_network(1500) as far:
            async with (
                far_program(far, "cut", family, "receive", SIZE) as peer,
                await lab.host.open_tcp_stream(far.address(family), peer.port) as stream,
            ):
                await stream.send_all(data[: SIZE // 2])
                while only(lab).unacknowledged > SIZE // 4:
                    await lab.until(lambda: only(lab).unacknowledged <= SIZE // 4)
                far.set_mtu(NARROW)
                await stream.send_all(data[SIZE // 2 :])
                report = await peer.report()
                info = stream.info()
        assert report["sha256"] == hashlib.sha256(data).hexdigest()
        assert info.pmtu == NARROW

    await on_a_wire(allow=SENT_AGAIN, offload=offload)(upload_and_narrow)(tmp_path=tmp_path)


def test_the_device_takes_more_than_the_link_in_the_middle() -> None:
    """Or nothing of this would be shown."""
    link = TunLink(f"tcppm{os.getpid() % 100_000}-%d", kernel="10.223.1.1/24")
    try:
        assert link.mtu > NARROW
    finally:
        link.close()
