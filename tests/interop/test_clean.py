"""Transfers in both directions, seen with the kernel's eyes: nothing lost, nothing sent again, nothing misunderstood.

That the capture is clean for tshark and the namespace's error counters stand still is demanded of every test here (see
`lab`). These look at the kernel's own sockets as well, with `ss`, and compare what both ends have counted.
"""

from __future__ import annotations

import array
import fcntl
import re
import termios
from pathlib import Path

import pytest
import trio

from stack.apps.http import Exchange, FileServer, HttpClient, serve_http
from stack.runtime.stream import TcpStream
from stack.wire import ip, offload, pcapng, tcp
from stack.wire.address import parse_address
from stack.wire.packet import PARTIAL, Packet
from stack.wire.segment import ACK, RST, SYN, Segment
from stack.wire.units import MS
from tests.interop import expert, programs
from tests.interop.lab import Lab, content, on_a_wire, sha256
from tests.interop.peers import pair
from tests.interop.programs import curl
from tests.interop.site import serving

FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
SIZE = 20_000_000


class KernelSide:
    """What `ss -ti` says about one of the kernel's sockets."""

    def __init__(self, lab: Lab, line: str) -> None:
        self.line = line
        self.fields = dict(re.findall(r" (\w+):(\S+)", line))
        if again := [word for word in ("retrans", "lost", "bytes_retrans", "reordering") if word in self.fields]:
            lab.wrong.append(f"the kernel's socket has {', '.join(again)}: {line}")

    def count(self, name: str) -> int:
        """A number; 0 where ss leaves it out."""
        return int(self.fields.get(name, "0"))


def kernel_side(lab: Lab, port: int) -> KernelSide:
    """The kernel's end of the one connection that is established at a port of either side."""
    lines = programs.ss("state", "established", f"( sport = :{port} or dport = :{port} )").splitlines()
    assert len(lines) == 1, lines
    return KernelSide(lab, lines[0])


async def move(sender: trio.abc.SendStream, receiver: trio.abc.ReceiveStream, data: bytes) -> None:
    """All of `data` from the one to the other."""
    got = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.send_all, data)
        while len(got) < len(data):
            piece = await receiver.receive_some()
            assert piece
            got += piece
    assert sha256(bytes(got)) == sha256(data)


def check_counts(lab: Lab, stream: TcpStream, port: int, *, sent: int, received: int) -> None:
    """Both ends have counted the same bytes, each of them once."""
    ours, theirs = stream.info(), kernel_side(lab, port)
    if ours.total_retrans or ours.lost:
        lab.wrong.append(f"we sent {ours.total_retrans} segments again")
    assert (ours.bytes_acked, ours.bytes_received) == (sent, received)
    assert theirs.count("bytes_received") == sent
    # The kernel counts its SYN among the bytes acknowledged where it has opened the connection.
    assert theirs.count("bytes_acked") in (received, received + 1)


@FAMILIES
@pytest.mark.parametrize("direction", ["out", "in", "both"])
@on_a_wire()
async def test_a_kernel_socket(lab: Lab, family: int, direction: str) -> None:
    stream, peer = await pair(lab, family)
    port = stream.remote_address[1]
    data = content(SIZE)
    async with stream, peer:
        async with trio.open_nursery() as nursery:
            if direction != "in":
                nursery.start_soon(move, stream, peer, data)
            if direction != "out":
                nursery.start_soon(move, peer, stream, data)
        await lab.until(lambda: stream.info().unacked == 0)
        await acknowledged(peer)
        check_counts(
            lab, stream, port, sent=SIZE if direction != "in" else 0, received=SIZE if direction != "out" else 0
        )


async def acknowledged(peer: trio.SocketStream) -> None:
    """Wait until the kernel has heard that all arrived, by an ACK that may be delayed. It tells nobody when."""
    queued = array.array("i", [1])
    while queued[0]:
        await trio.lowlevel.checkpoint()
        fcntl.ioctl(peer.socket.fileno(), termios.TIOCOUTQ, queued)


@FAMILIES
@on_a_wire()
async def test_curl(lab: Lab, family: int) -> None:
    """curl fetches and uploads; then, on the same connection, what ss says about it."""
    root = lab.folder / "root"
    root.mkdir()
    (root / "file").write_bytes(content(SIZE))
    files = FileServer(root, allow_put=True)
    reports: list[tuple[KernelSide, dict[str, int | str | bool]]] = []

    async def handler(stream: TcpStream) -> None:
        async def answer(exchange: Exchange) -> None:
            if exchange.target != "/ss":
                await files(exchange)
                return
            reports.append((kernel_side(lab, stream.remote_address[1]), stream.info().as_dict()))
            await exchange.respond(204)

        await serve_http(stream, answer)

    url = lab.url(family)
    async with serving(lab, handler):
        await curl("--output", str(lab.folder / "out"), f"{url}/file", f"{url}/ss")
        await curl("--upload-file", str(root / "file"), f"{url}/up", "--next", *programs.CURL, f"{url}/ss")
    assert sha256(lab.folder / "out") == sha256(root / "up") == sha256(root / "file")
    assert lab.host.counters.accepted == 2
    (down, ours_down), (up, ours_up) = reports
    assert down.count("bytes_received") > SIZE
    assert up.count("bytes_acked") > SIZE
    assert ours_down["total_retrans"] == ours_up["total_retrans"] == 0


@FAMILIES
@on_a_wire()
async def test_nginx(lab: Lab, family: int) -> None:
    root = lab.folder / "root"
    root.mkdir()
    (root / "file").write_bytes(content(SIZE))
    async with programs.nginx(root, lab.folder / "nginx", lab.kernels(family)) as server:
        async with HttpClient(lab.host.open_tcp_stream) as client, client.get(f"{server.url}/file") as response:
            assert sha256(await response.read(SIZE)) == sha256(root / "file")
            assert isinstance(response.stream, TcpStream)
            theirs, ours = kernel_side(lab, server.port), response.stream.info()
        await lab.until_closed()
    assert ours.total_retrans == 0
    assert ours.bytes_received == theirs.count("bytes_sent") - theirs.count("bytes_retrans") > SIZE


# -- whether the demand would notice -----------------------------------------------------------------------------------

US, THEM = (parse_address("10.9.0.2"), 80), (parse_address("10.9.0.1"), 40000)


class Story:
    """A connection from us to the peer as a capture, frame by frame."""

    def __init__(self) -> None:
        self.frames = [pcapng.section_header(), pcapng.interface_description("told0")]

    def tells(
        self, ours: bool, seq: int, ack: int, flags: int, size: int = 0, *, window: int = 8000, spoil: int = 0
    ) -> None:
        """A segment that passes; `spoil` is added to its checksum."""
        (src, src_port), (dst, dst_port) = (US, THEM) if ours else (THEM, US)
        seg = Segment(src_port, dst_port, seq, ack, flags, window, (bytes(size),), mss=1460 if flags & SYN else 0)
        head = tcp.encode(seg, tcp.address_sum(src, dst))
        head = ip.encode(src, dst, ip.PROTO_TCP, len(head) + size) + head
        frame = bytearray(offload.complete(Packet(head, seg.parts, csum=PARTIAL)).frame())
        frame[36] = (frame[36] + spoil) & 0xFF
        time = len(self.frames) * MS
        self.frames.append(pcapng.enhanced_packet(0, time, bytes(frame), outbound=ours))

    def begins(self) -> None:
        self.tells(True, 100, 0, SYN)
        self.tells(False, 300, 101, SYN | ACK)
        self.tells(True, 101, 301, ACK)


def resets(story: Story) -> None:
    story.tells(False, 301, 101, RST | ACK)


def fills_the_window(story: Story) -> None:
    story.tells(False, 301, 101, ACK, window=1000)
    story.tells(True, 101, 301, ACK, 1000)
    story.tells(False, 301, 1101, ACK, window=0)


def sends_again(story: Story) -> None:
    for _ in range(2):
        story.tells(True, 101, 301, ACK, 1000)


def leaves_a_gap(story: Story) -> None:
    story.tells(True, 1101, 301, ACK, 1000)


def fills_it_late(story: Story) -> None:
    story.tells(True, 1101, 301, ACK, 1000)
    story.tells(True, 101, 301, ACK, 1000)


def acknowledges_what_nobody_sent(story: Story) -> None:
    story.tells(False, 301, 5000, ACK)


def spoils_its_checksum(story: Story) -> None:
    story.tells(True, 101, 301, ACK, 1000, spoil=1)


@pytest.mark.parametrize(
    ("happens", "objection"),
    [
        (resets, "Connection reset"),
        (fills_the_window, None),
        (sends_again, "retransmission"),
        (leaves_a_gap, "not captured"),
        (fills_it_late, "not captured"),
        (acknowledges_what_nobody_sent, "wasn't captured"),
        (spoils_its_checksum, "Bad checksum"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_tshark_would_notice(happens, objection, tmp_path: Path) -> None:
    story = Story()
    story.begins()
    happens(story)
    pcap = tmp_path / "story.pcapng"
    pcap.write_bytes(b"".join(story.frames))
    objections = expert.objections(expert.findings(pcap))
    assert objection in str(objections[0]) if objection else not objections
    if happens is resets:
        assert not expert.objections(expert.findings(pcap), expert.RESET)


def test_what_is_never_allowed_is_on_no_list() -> None:
    """And whatever the lists allow, tshark's word for a fault wins."""
    for message in expert.ALLOWED | expert.RESET:
        assert not expert.NEVER_ALLOWED.search(message)
    for message in ("Bad checksum [should be 0x1234]", "Malformed Packet (Exception occurred)",
                    "This frame is a (suspected) retransmission", "This frame is a (suspected) out-of-order segment",
                    "ACKed segment that wasn't captured (common at capture start)"):  # fmt: skip
        assert expert.objections([expert.Finding(1, True, expert.NOTE, message)])


def test_a_missing_program_fails_with_the_remedy() -> None:
    with pytest.raises(pytest.fail.Exception, match="no-such-program is not installed: run tools/test"):
        programs.program("no-such-program")
