"""Truncated, malformed and misplaced frames of every kind, written into the device from the kernel's side while a curl
downloads: each is counted under its reason and dropped, and the download arrives whole."""

from __future__ import annotations

import socket
from collections import Counter

import pytest
from scapy.layers.inet import TCP
from scapy.packet import Packet as Scapy

from stack.host.trace import TraceEvent
from stack.runtime.stream import TcpStream
from stack.wire.drop import Drop
from stack.wire.segment import Segment
from tests.interop import expert
from tests.interop.bad_frames import CLOSED_PORT, bad_frames, network
from tests.interop.lab import Lab, content, on_a_wire, sha256
from tests.interop.links import WithoutChatter
from tests.interop.programs import curl
from tests.interop.site import serving

FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])

ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD
MARK = 0xBEAD  #: The source port of a segment that comes behind each bad frame.
FORGED_WINDOW = 54_321  #: By which a forged segment is known; curl's, scaled by 10 bits, never says this.
AHEAD = 1000  #: Milliseconds by which a forged timestamp is ahead: a window update of curl's may come before it.
PIECE = content(4000)


class Injector:
    """Writes frames into the device as if the kernel had routed them there, and sees what becomes of each."""

    def __init__(self, lab: Lab, family: int) -> None:
        self._lab = lab
        self._family = family
        protocol = ETH_P_IP if family == 4 else ETH_P_IPV6
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
        self._socket.bind((lab.tun.name, protocol))
        # A reset to a closed port is answered by nothing, and counted and traced like any segment.
        self._mark = self.frame(TCP(sport=MARK, dport=CLOSED_PORT, flags="R"))
        self._marks = 0
        self.heard: Segment | None = None  #: the latest of curl's segments
        lab.on_each_segment = self._watch

    def _watch(self, event: TraceEvent) -> None:
        if event.segment.src_port == MARK:
            self._marks += 1
        elif not event.outgoing and event.segment.window != FORGED_WINDOW:
            self.heard = event.segment

    def frame(self, segment: Scapy) -> bytes:
        """A segment from the kernel's address to ours."""
        return bytes(network(self._family, self._lab.kernels(self._family), self._lab.ours(self._family)) / segment)

    async def outcome(self, frame: bytes) -> dict[str, int]:
        """What was counted because of this frame."""
        before, marks = Counter(self._lab.host.counters.drops), self._marks
        self._socket.send(frame)
        self._socket.send(self._mark)
        await self._lab.until(lambda: self._marks > marks)
        counted = Counter(self._lab.host.counters.drops) - before
        counted[Drop.NO_CONNECTION.value] -= 1  # the mark
        return dict(+counted)

    def close(self) -> None:
        self._socket.close()


async def answer(stream: TcpStream, frames: int) -> None:
    """Read a request, and begin an answer of a piece for each frame."""
    await stream.receive_some()
    await stream.send_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (frames * len(PIECE)))


async def finish(stream: TcpStream) -> None:
    """Close, and wait for curl to do so."""
    await stream.send_eof()
    assert await stream.receive_some() == b""
    await stream.aclose()


def check_our_frames(lab: Lab) -> None:
    """What we sent meanwhile is as clean as ever; resets were asked for."""
    lab.capture.flush()
    found = [finding for finding in expert.findings(lab.pcap) if finding.outbound]
    lab.wrong += map(str, expert.objections(found, expert.RESET))


@FAMILIES
@on_a_wire(through=WithoutChatter, tshark=False)
async def test_bad_frames_are_counted_and_dropped(lab: Lab, family: int) -> None:
    kinds = bad_frames(family, lab.kernels(family), lab.ours(family))
    outcomes: dict[str, dict[str, int]] = {}
    injector = Injector(lab, family)

    async def handler(stream: TcpStream) -> None:
        await answer(stream, len(kinds))
        for bad in kinds:
            await stream.send_all(PIECE)
            outcomes[bad.name] = await injector.outcome(bad.frame)
        await finish(stream)

    async with serving(lab, handler):
        body = await curl(lab.url(family))
    injector.close()
    assert sha256(body) == sha256(PIECE * len(kinds))
    assert len(outcomes) == len(kinds)  # each has a name of its own
    assert outcomes == {bad.name: {bad.reason.value: 1} for bad in kinds}
    assert lab.host.counters.accepted == 1
    check_our_frames(lab)


@FAMILIES
@on_a_wire(through=WithoutChatter, tshark=False)
async def test_forged_segments_of_the_transfer_itself(lab: Lab, family: int) -> None:
    """Someone who has guessed the ports, and the numbers nearly, disturbs nothing either."""
    injector = Injector(lab, family)
    kinds: dict[str, tuple[dict[str, object], Drop]] = {
        "far beyond the window": ({"seq": 1 << 28, "data": b"evil"}, Drop.OUT_OF_WINDOW),
        "before the window": ({"seq": -1000, "data": b"evil"}, Drop.OUT_OF_WINDOW),
        "reset in the window": ({"seq": 10, "flags": "R"}, Drop.BAD_RESET),
        "reset beyond the window": ({"seq": 1 << 28, "flags": "R"}, Drop.OUT_OF_WINDOW),
        "SYN in the window": ({"seq": 10, "flags": "S"}, Drop.UNEXPECTED_SYN),
        "SYN and ACK in the window": ({"seq": 10, "flags": "SA"}, Drop.UNEXPECTED_SYN),
        "no ACK": ({"flags": "P", "data": b"evil"}, Drop.NO_ACK),
        "ACK of what was never sent": ({"ack": 1 << 28, "data": b"evil"}, Drop.BAD_ACK),
        "ACK of long ago": ({"ack": -(1 << 28), "data": b"evil"}, Drop.BAD_ACK),
        "old timestamp": ({"tsval": -100_000, "data": b"evil"}, Drop.OLD_TIMESTAMP),
        "no timestamp": ({"tsval": None, "data": b"evil"}, Drop.OLD_TIMESTAMP),
        "FIN beyond the window": ({"seq": 1 << 28, "flags": "FA"}, Drop.OUT_OF_WINDOW),
    }
    outcomes: dict[str, dict[str, int]] = {}
    retransmitted: list[int] = []

    def forged(
        port: int, *, seq: int = 0, ack: int = 0, flags: str = "A", tsval: int | None = AHEAD, data: bytes = b""
    ) -> bytes:
        """A segment of curl's with these fields moved from where they were last."""
        last = injector.heard
        assert last is not None
        stamp = [] if tsval is None else [("Timestamp", ((last.tsval + tsval) % 2**32, last.tsecr))]
        segment = TCP(
            sport=port, dport=80, flags=flags, seq=(last.seq + last.length + seq) % 2**32, ack=(last.ack + ack) % 2**32,
            window=FORGED_WINDOW, options=stamp,
        )  # fmt: skip
        return injector.frame(segment / data)

    async def handler(stream: TcpStream) -> None:
        await answer(stream, len(kinds))
        for name, (fields, _) in kinds.items():
            await stream.send_all(PIECE)
            await lab.until(lambda: stream.info().unacked == 0)  # curl has nothing to say that we have not heard
            frame = forged(stream.remote_address[1], **fields)  # type: ignore[arg-type]
            outcomes[name] = await injector.outcome(frame)
        retransmitted.append(stream.info().total_retrans)
        await finish(stream)

    async with serving(lab, handler):
        body = await curl(lab.url(family))
    injector.close()
    assert sha256(body) == sha256(PIECE * len(kinds))
    assert outcomes == {name: {reason.value: 1} for name, (_, reason) in kinds.items()}
    assert retransmitted == [0]
    # What the forger claims to have received is true for tshark, so only our frames' form is left to judge.
    lab.capture.flush()
    found = [finding for finding in expert.findings(lab.pcap) if finding.outbound]
    assert not [finding for finding in found if expert.ILL_FORMED.search(finding.message)]
