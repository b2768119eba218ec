"""Transfers between our stack and the kernel through a bad path, both ways: every octet arrives, once and in order.

The link around the device (`stack.link.impair`) delays, loses, reorders, repeats and damages packets in each direction;
what crosses the wire is therefore no subject of these tests, only what both applications get. How long it takes
beside two kernels is measured by `tools/bench impaired`, with more octets.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import trio

from stack.link.impair import ImpairLink
from stack.link.protocol import Link
from stack.path.config import parse
from stack.path.stats import Fate
from tests.cli.programs import Wire, wire
from tests.interop import expert, programs
from tests.interop.lab import Lab, content, open_lab, read_all, sha256

__all__ = ["wire"]  # the fixture

#: What happens to packets, each way, and how many octets are then worth their time.
CONDITIONS = {
    "loss0": ("", 5_000_000),
    "loss1": ("loss=1%", 1_000_000),
    "loss5": ("loss=5%", 500_000),
    "loss10": ("loss=10%", 300_000),
    "reorder": ("reorder=30%", 5_000_000),
    "duplicate": ("duplicate=30%", 5_000_000),
    "corrupt": ("corrupt=5%", 500_000),
    "mixed": ("loss=10%,reorder=30%,duplicate=30%,corrupt=5%", 100_000),
}
#: Seconds after which a test is taken for hung. Who loses one retransmission after the other waits twice as long each
#: time, so a lossy path needs more patience than a clean one.
PATIENCE = 170.0
FATES = {"loss": Fate.LOST, "reorder": Fate.REORDERED, "duplicate": Fate.DUPLICATED, "corrupt": Fate.CORRUPTED}


async def send(stream: trio.abc.HalfCloseableStream, data: bytes) -> None:
    await stream.send_all(data)
    await stream.send_eof()


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("role", ["sender", "receiver"])
@pytest.mark.parametrize("condition", CONDITIONS)
async def test_every_octet_arrives(condition: str, role: str, family: int, tmp_path: Path) -> None:
    line, size = CONDITIONS[condition]
    path = parse(f"delay=5ms,{line}")
    data = content(size)
    links: list[ImpairLink] = []

    def through(link: Link) -> Link:
        links.append(ImpairLink(link, path, seed=family))
        return links[0]

    with trio.fail_after(PATIENCE):
        async with open_lab(tmp_path / "capture.pcapng", through=through) as lab:
            got = await transfer(lab, family, data, ours_sends=role == "sender")
            assert not lab.tun.errors, lab.tun.errors
            lab.capture.flush()
            assert not expert.ill_formed(lab.pcap)  # what the path does to frames is done behind the capture
    assert len(got) == len(data)
    assert sha256(got) == sha256(data)
    [link] = links
    for pipe in (link.inbound, link.outbound):
        # The path was as bad as it should be, where the data went: there are too few acknowledgments to be certain.
        carried_data = pipe is (link.outbound if role == "sender" else link.inbound)
        for name, fate in FATES.items():
            if f"{name}=" not in line:
                assert pipe.stats[fate] == 0
            elif carried_data:
                assert pipe.stats[fate] > 0


async def transfer(lab: Lab, family: int, data: bytes, *, ours_sends: bool) -> bytes:
    """What arrives at the end of a connection that we have opened."""
    with trio.socket.from_stdlib_socket(programs.listening(lab.kernels(family))) as listener:
        ours = await lab.host.open_tcp_stream(lab.kernels(family), listener.getsockname()[1])
        # The packet that lets the kernel accept may have been lost: the loop must go on meanwhile.
        kernels = trio.SocketStream((await listener.accept())[0])
    async with ours, kernels:
        sender, receiver = (ours, kernels) if ours_sends else (kernels, ours)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, sender, data)
            return await read_all(receiver)


IMPAIRED = "delay=5ms,loss=5%,reorder=30%,duplicate=30%,corrupt=5%,seed=7"


def test_a_real_curl_through_the_command(wire: Wire, tmp_path: Path) -> None:
    data = content(300_000)
    (tmp_path / "file").write_bytes(data)
    curl = ["curl", "-q", "--silent", "--show-error", "--noproxy", "*", "--fail", "--max-time", str(PATIENCE)]
    with wire.serving("http", str(tmp_path), "--impair", IMPAIRED) as server:
        got = subprocess.run([*curl, f"http://{wire.ours}/file"], stdout=subprocess.PIPE, check=True).stdout
        closed = server.event("closed")
    assert sha256(got) == sha256(data)
    assert closed["tcp_info"]["total_retrans"] > 0
