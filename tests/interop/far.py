"""A kernel's TCP in another network namespace, behind the kernel at our device, which routes for it.

`cut` is a wire as others are: every frame on it is looked at, must fit, and must have its whole checksum. `whole` is a
wire inside the machine, over which super-frames pass as they are: so do those that the far kernel sends us.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import trio

from tests.interop import far_peer, programs

_numbers = itertools.count(1)


class Far:
    """A network behind the kernel at our device, and where its one host is."""

    def __init__(self) -> None:
        number = next(_numbers)
        self.name = f"tcpfar{os.getpid() % 100_000}-{number}"
        self.near, self.device = f"tn{os.getpid() % 100_000}-{number}", f"tf{os.getpid() % 100_000}-{number}"
        self.networks = {4: f"10.220.{number}.", 6: f"fd22:{number:x}::"}

    def address(self, family: int) -> str:
        return f"{self.networks[family]}2"

    def make(self) -> None:
        said = programs.said
        said("ip", "netns", "add", self.name)
        said("ip", "link", "add", self.near, "type", "veth", "peer", "name", self.device, "netns", self.name)
        inside = ("-netns", self.name)
        for family, prefix in ((4, 24), (6, 64)):
            nodad = ("nodad",) if family == 6 else ()
            router = f"{self.networks[family]}1"
            said("ip", "addr", "add", f"{router}/{prefix}", "dev", self.near, *nodad)
            said("ip", *inside, "addr", "add", f"{self.address(family)}/{prefix}", "dev", self.device, *nodad)
        said("ip", "link", "set", self.near, "up")
        said("ip", *inside, "link", "set", self.device, "up")
        for family in (4, 6):
            said("ip", *inside, f"-{family}", "route", "add", "default", "via", f"{self.networks[family]}1")
            # Neighbours find each other when a new address has been there for a moment; what comes before that is lost.
            said("ping", "-c", "1", "-w", "10", self.address(family))

    def remove(self) -> None:
        programs.said("ip", "netns", "del", self.name)  # and the devices with it


@contextmanager
def far_network(wire: str, far: Far | None = None) -> Iterator[Far]:
    """Make it, with this kernel for its router."""
    settings = [Path("/proc/sys/net") / name for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding")]
    usual = [setting.read_text(encoding="ascii") for setting in settings]
    # One processor for both ends (the far program inherits it): what leaves from two at once waits in two queues of the
    # kernel's, and the wire would reorder.
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})
    far = far if far is not None else Far()
    try:
        far.make()
        if wire == "cut":
            far_peer.take_offloads_away(far.near)
        for setting in settings:
            setting.write_text("1", encoding="ascii")
        yield far
    finally:
        for setting, value in zip(settings, usual, strict=True):
            setting.write_text(value, encoding="ascii")
        far.remove()
        os.sched_setaffinity(0, processors)


class Peer:
    """The program there."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._said = b""
        self.port = 0

    async def line(self) -> bytes:
        assert self._process.stdout is not None
        while b"\n" not in self._said:
            piece = await self._process.stdout.receive_some()
            assert piece, "the far peer has ended"
            self._said += piece
        line, _, self._said = self._said.partition(b"\n")
        return line

    async def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(await self.line())
        return report


@asynccontextmanager
async def far_program(far: Far, wire: str, family: int, what: str, size: int) -> AsyncIterator[Peer]:
    assert far_peer.__file__ is not None
    script = [sys.executable, far_peer.__file__, far.device, wire, far.address(family), what, str(size)]
    async with programs.running([programs.program("ip"), "netns", "exec", far.name, *script]) as process:
        peer = Peer(process)
        peer.port = int(await peer.line())
        yield peer


def check(report: dict[str, Any], wire: str) -> None:
    """What came over the wire was as it should be on one."""
    assert report["frames"] > 0
    if wire == "cut":
        assert report["wrong"] == 0
        assert report["longest"] <= 1500
