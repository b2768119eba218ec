"""The profile `linux` beside the kernel that runs here: a handshake each way, octet for octet.

Kernels have not always had the same limits, so the sizes of buffers are taken from this one's sysctls; all else is the
profile's. What is not compared is listed at `shown`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from stack.sim.packetdrill.sysctls import LINUX
from stack.tcp.config import TcpOptions
from stack.tcp.profiles import profile
from stack.wire import ip, tcp
from stack.wire.address import parse_address
from stack.wire.segment import ACK, SYN
from tests.interop.lab import Lab, on_a_wire
from tests.interop.peers import kernel_socket, pair

FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
SYSCTLS = Path("/proc/sys/net/ipv4")
SWITCHES = {"timestamps": "tcp_timestamps", "sack": "tcp_sack", "window_scaling": "tcp_window_scaling"}


def of_this_kernel() -> TcpOptions:
    """The profile, with the buffers that the kernel has here."""
    options = LINUX["tcp_rmem"](profile("linux"), (SYSCTLS / "tcp_rmem").read_text(encoding="ascii"))
    assert options is not None
    return options


@contextmanager
def kernel_without(names: tuple[str, ...]) -> Iterator[None]:
    """The kernel of this namespace does without these options of TCP."""
    files = [SYSCTLS / SWITCHES[name] for name in names]
    usual = [file.read_text(encoding="ascii") for file in files]
    try:
        for file in files:
            file.write_text("0", encoding="ascii")
        yield
    finally:
        for file, text in zip(files, usual, strict=True):
            file.write_text(text, encoding="ascii")


def shown(frame: bytes) -> dict[str, object]:
    """All of a packet but addresses, ports, numbers, checksums and what stands in the timestamps.

    Nor the identification, in which Linux counts, and we have zeros; nor the flow label of IPv6, which Linux makes up.
    """
    header = ip.decode(frame)
    seg = tcp.decode(frame, header.start, header.end)
    options = frame[header.start + 20 : header.end - seg.size]
    if seg.tsval >= 0:
        at = options.index(b"\x08\x0a")
        options = options[: at + 2] + bytes(8) + options[at + 10 :]
    return {
        "hop limit": header.hop_limit,
        "class": header.traffic_class,
        "don't fragment": frame[6:8].hex() if header.version == 4 else "",
        "flags": seg.flags,
        "window": seg.window,
        "urgent": seg.urgent,
        "options": options.hex(),
    }


def handshakes(lab: Lab, family: int) -> dict[str, list[dict[str, object]]]:
    """The three segments of each handshake in the capture, by who has begun it."""
    kernel = parse_address(lab.kernels(family))
    found: dict[str, list[dict[str, object]]] = {}
    who = ""
    for packet in lab.packets():
        header = ip.decode(packet.data)
        if header.protocol != ip.PROTO_TCP:
            continue
        if tcp.decode(packet.data, header.start, header.end).flags & (SYN | ACK) == SYN:
            who = "kernel" if header.src == kernel else "we"
        if len(found.setdefault(who, [])) < 3:
            found[who].append(shown(packet.data))
    return found


@FAMILIES
@pytest.mark.parametrize(
    "without",
    [
        (),
        ("timestamps",),
        ("sack",),
        ("window_scaling",),
        ("timestamps", "sack"),
        ("timestamps", "window_scaling"),
        ("sack", "window_scaling"),
        ("timestamps", "sack", "window_scaling"),
    ],
    ids="-".join,
)
@on_a_wire()
async def test_handshakes_look_like_the_kernels(lab: Lab, family: int, without: tuple[str, ...]) -> None:
    options = of_this_kernel().replace(**dict.fromkeys(without, False))
    with kernel_without(without):
        stream, peer = await pair(lab, family, options=options)
        async with stream, peer:
            pass
        (listener,) = await lab.host.open_tcp_listeners(80, options=options)
        with kernel_socket(lab.ours(family)) as sock:
            sock.setblocking(False)
            await trio.socket.from_stdlib_socket(sock).connect((lab.ours(family), 80))
            await (await listener.accept()).aclose()
        await listener.aclose()
    found = handshakes(lab, family)
    assert [segment["flags"] for segment in found["we"]] == [SYN, SYN | ACK, ACK]
    # The first and third of ours are the same as the kernel's; its answer to ours, as ours to its.
    assert found["we"] == found["kernel"]
