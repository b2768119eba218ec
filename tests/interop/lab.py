"""A wire between our host and the kernel, and the demand that what crossed it was clean.

    @on_a_wire()
    async def test_something(lab: Lab) -> None: ...

runs the test with a `Lab`: a TUN device with fresh networks of both families, our host on it, a capture of every
packet. When the test has ended, the capture is shown to tshark and the kernel's counters are read: a checksum that is
wrong, a header that is malformed, a retransmission that nothing called for fails the test, whatever the test was about.

Retransmissions have an excuse. A peer sends again what is not acknowledged in time, and this process may have stood
still for 200 ms, or let a packet wait for so long, or the device's queue overflowed; all of that is measured. The
kernel's tail loss probes (RFC 8985 7) don't even wait that long: they follow 2 RTT of silence, a few milliseconds here,
which any other process can cause. Only with such an excuse, and a bounded number of times, is the test run once more,
on a new wire and without those probes.
"""

from __future__ import annotations

import functools
import gc
import hashlib
import inspect
import itertools
import os
import random
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import trio
from trio.testing import wait_all_tasks_blocked

from stack.host.trace import TraceEvent
from stack.link.protocol import Link
from stack.link.tun import TunLink
from stack.runtime.open import OpenHost, open_host
from stack.runtime.stream import TcpStream
from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection, Endpoint
from stack.wire import pcapng
from stack.wire.units import MS
from tests.interop import expert, programs

HANG = 60.0  #: Seconds after which a test is taken for hung; none is meant to come near.
OFFLOAD = os.environ.get("TCPSTACK_OFFLOAD") != "0"  #: `tools/test` runs some of these tests once more without.
ATTEMPTS = 3
PROBES = "TcpExtTCPLossProbes"
STALL = 0.2  #: Seconds, the kernel's least RTO: who stands still for so long is sent things again.
_TICK = 0.02

#: What can come of lateness. Nothing else is excused by it.
_LATENESS = re.compile(r"retrans|dropped|out-of-order|SACK|ACKs of their own", re.IGNORECASE)

_networks = itertools.count(1)


@dataclass
class Lab:
    """One device with both its ends."""

    host: OpenHost
    tun: TunLink
    folder: Path
    number: int
    capture: BinaryIO
    stall: float = 0.0  #: the longest that the event loop came too late, in seconds
    waited: float = 0.0  #: the longest that a packet of the kernel's waited for us in the device, in seconds
    wrong: list[str] = field(
        default_factory=list
    )  #: what the test objects to, and repeats it for if there is an excuse
    on_each_segment: Callable[[TraceEvent], None] | None = None
    _changed: trio.Event | None = None
    _least: dict[tuple[Endpoint, int], int] = field(default_factory=dict)

    @property
    def pcap(self) -> Path:
        """The capture's file."""
        return Path(self.capture.name)

    def packets(self) -> list[pcapng.CapturedPacket]:
        """What the capture holds so far."""
        self.capture.flush()
        blocks = pcapng.read(self.pcap.read_bytes())
        return [block for block in blocks if isinstance(block, pcapng.CapturedPacket)]

    def ours(self, family: int = 4) -> str:
        """Our host's address."""
        return _address(self.number, family, 2)

    def kernels(self, family: int = 4) -> str:
        """The kernel's address on the device."""
        return _address(self.number, family, 1)

    def nobodys(self, family: int = 4) -> str:
        """An address behind the kernel that nobody has."""
        return _address(self.number, family, 99)

    def url(self, family: int = 4) -> str:
        """Of our server at port 80."""
        return f"http://{programs.in_url(self.ours(family))}"

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is true; it is looked at after each segment in or out."""
        while not condition():
            if self._changed is None:
                self._changed = trio.Event()
            await self._changed.wait()

    async def until_closed(self) -> None:
        """Wait until no connection is left but in TIME-WAIT, and the peer has the last ACK."""
        await self.until(lambda: not self.host.connections() and not self.host.core.half_open)
        await wait_all_tasks_blocked()

    def on_segment(self, event: TraceEvent) -> None:
        """Our host's trace."""
        if not event.outgoing and event.segment.tsval >= 0:
            self._measure_wait(event)
        if self._changed is not None:
            self._changed.set()
            self._changed = None
        if self.on_each_segment is not None:
            self.on_each_segment(event)

    def _measure_wait(self, event: TraceEvent) -> None:
        """By its timestamp, which counts milliseconds: how much later is it than the fastest of its connection?"""
        flow = (event.remote, event.local[1])
        late = event.time // MS - event.segment.tsval
        least = self._least[flow] = min(late, self._least.get(flow, late))
        self.waited = max(self.waited, (late - least) / 1000)


@dataclass
class Unclean(Exception):  # noqa: N818
    """What the kernel or tshark object to."""

    objections: list[str]
    excuse: str

    def __str__(self) -> str:
        shown = "\n".join(self.objections[:20])
        return f"{shown}\n({len(self.objections)} in all; {self.excuse or 'no excuse: nothing was late or dropped'})"


def on_a_wire(
    *,
    allow: frozenset[str] = frozenset(),
    options: TcpOptions | None = None,
    through: Callable[[Link], Link] | None = None,
    tshark: bool = True,
    offload: bool = OFFLOAD,
) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., Awaitable[None]]]:
    """Give the test a `lab`. `allow`: expert messages beyond the usual ones; `through`: a link around the device's.

    `tshark` False: the test looks at the capture itself. `offload` False: every packet is as long as a wire's.
    """

    def decorate(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        @functools.wraps(test)
        async def wrapper(tmp_path: Path, **arguments: Any) -> None:
            if "tmp_path" in signature.parameters:
                arguments["tmp_path"] = tmp_path
            for attempt in range(ATTEMPTS):
                folder = tmp_path / f"lab{attempt}"
                folder.mkdir()
                try:
                    with _loss_probes(attempt == 0):
                        await _once(test, arguments, folder, allow, options, through, tshark, offload)
                    shutil.rmtree(folder)
                    return
                except Unclean as unclean:
                    if not unclean.excuse or attempt == ATTEMPTS - 1:
                        raise

        signature = inspect.signature(test)
        kept = [item for name, item in signature.parameters.items() if name not in ("lab", "tmp_path")]
        path = inspect.Parameter("tmp_path", inspect.Parameter.KEYWORD_ONLY, annotation=Path)
        wrapper.__signature__ = signature.replace(parameters=[*kept, path])  # type: ignore[attr-defined]
        return wrapper

    return decorate


async def _once(
    test: Callable[..., Awaitable[None]],
    arguments: dict[str, Any],
    folder: Path,
    allow: frozenset[str],
    options: TcpOptions | None,
    through: Callable[[Link], Link] | None,
    tshark: bool,
    offload: bool,
) -> None:
    before = programs.nstat(*programs.CLEAN, PROBES)
    pcap = folder / "capture.pcapng"
    with trio.fail_after(HANG):
        async with open_lab(pcap, options=options, through=through, offload=offload) as lab:
            await test(lab=lab, **arguments)
            drops = lab.tun.drops()
            assert not lab.tun.errors, lab.tun.errors
    after = programs.nstat(*programs.CLEAN, PROBES)
    probes = after[PROBES] - before[PROBES]
    wrong = lab.wrong + [f"the device dropped {drops} packets"] * (drops > 0)
    wrong += [f"{name}: {after[name] - before[name]}" for name in programs.CLEAN if after[name] != before[name]]
    if tshark:
        found = await trio.to_thread.run_sync(expert.findings, pcap)
        wrong += [str(finding) for finding in expert.objections(found, allow)]
    if wrong:
        excuses = [f"the loop stalled for {lab.stall:.3f} s"] if lab.stall >= STALL else []
        excuses += [f"a packet waited for {lab.waited:.3f} s"] if lab.waited >= STALL else []
        excuses += [f"the device dropped {drops} packets"] if drops else []
        excuses += [f"the kernel sent {probes} tail loss probes"] if probes else []
        raise Unclean(wrong, ", ".join(excuses) if all(_LATENESS.search(text) for text in wrong) else "")


@asynccontextmanager
async def open_lab(
    pcap: Path,
    *,
    options: TcpOptions | None = None,
    through: Callable[[Link], Link] | None = None,
    offload: bool = OFFLOAD,
) -> AsyncIterator[Lab]:
    """A device, our host on it, a capture in a file."""
    number = next(_networks)
    tun = TunLink(
        f"tcpsi{os.getpid() % 100_000}-%d",
        kernel=[f"{_address(number, 4, 1)}/24", f"{_address(number, 6, 1)}/64"],
        offload=offload,
    )
    addresses = [f"{_address(number, 4, 2)}/24", f"{_address(number, 6, 2)}/64"]
    link = through(tun) if through is not None else tun
    with pcap.open("wb") as capture:
        async with open_host(link, addresses=addresses, options=options, capture=capture) as host:
            lab = Lab(host, tun, pcap.parent, number, capture)
            host.core.trace = lab.on_segment
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_notice_stalls, lab)
                yield lab
                nursery.cancel_scope.cancel()


def _address(number: int, family: int, host: int) -> str:
    """No network is used twice, so that what a peer remembers of one test can't disturb another."""
    return f"10.{77 + number // 250}.{number % 250}.{host}" if family == 4 else f"fd77:{number:x}::{host:x}"


@contextmanager
def _loss_probes(on: bool) -> Iterator[None]:
    """Leave the kernel's tail loss probes as they are, or switch them off."""
    setting = Path("/proc/sys/net/ipv4/tcp_early_retrans")
    usual = setting.read_text(encoding="ascii")
    try:
        if not on:
            setting.write_text("0", encoding="ascii")
        yield
    finally:
        setting.write_text(usual, encoding="ascii")


async def _notice_stalls(lab: Lab) -> None:
    """Note by how much the loop came too late, at most."""
    while True:
        due = trio.current_time() + _TICK
        await trio.sleep_until(due)
        lab.stall = max(lab.stall, trio.current_time() - due)


# Content, and what is left in memory.


def content(size: int) -> bytes:
    """The same octets each time, which look like nothing."""
    return random.Random(size).randbytes(size)


def sha256(data: bytes | Path) -> str:
    """Of a file or of bytes."""
    if isinstance(data, Path):
        with data.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(data).hexdigest()


def remaining() -> list[object]:
    """The connections and streams that something still holds."""
    gc.collect()
    return [item for item in gc.get_objects() if isinstance(item, (Connection, TcpStream))]


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    """All that comes, to the end."""
    parts = []
    while part := await stream.receive_some():
        parts.append(bytes(part))
    return b"".join(parts)
