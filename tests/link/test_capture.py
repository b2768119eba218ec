"""What the capture writes, and what it does to the link beneath it: nothing."""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import subprocess
import sys
from itertools import count
from typing import Any

import pytest

from stack.link.capture import CaptureLink
from stack.link.memory import memory_links
from stack.link.protocol import Link, LinkClosedError, LinkError
from stack.wire import ip, pcapng, tcp
from stack.wire.packet import PARTIAL, Packet
from stack.wire.pcapng import CapturedPacket, Interface, Section, Statistics
from stack.wire.segment import ACK, Segment

NOON = 1_700_000_000_123_456_789


def clock(start: int = NOON):
    ticks = count(start)
    return lambda: next(ticks)


def blocks(file: io.BytesIO) -> list[pcapng.Block]:
    return list(pcapng.read(file.getvalue()))


def statistics_of(file: io.BytesIO) -> Statistics:
    last = blocks(file)[-1]
    assert isinstance(last, Statistics)
    return last


def packets(file: io.BytesIO) -> list[CapturedPacket]:
    return [block for block in blocks(file) if isinstance(block, CapturedPacket)]


async def test_both_directions_with_time_interface_and_comment():
    left, right = memory_links()
    file = io.BytesIO()
    link = CaptureLink(
        left, file, clock_ns=clock(), describe=lambda packet, out: f"{'out' if out else 'in'} {len(packet)}"
    )
    assert link.write(Packet(b"ping"))
    right.write(Packet(b"pong!"))
    right.write(Packet(b"again!"))
    await link.wait_readable()
    assert [packet.head for packet in link.read_batch(9)] == [b"pong!", b"again!"]
    assert [packet.head for packet in right.read_batch(9)] == [b"ping"]
    link.close()
    section, interface, *seen, statistics = blocks(file)
    assert isinstance(section, Section)
    assert section.application == "tcpstack"
    assert isinstance(interface, Interface)
    assert (interface.name, interface.linktype, interface.resolution) == ("memory0", pcapng.LINKTYPE_RAW, 10**9)
    assert [(block.data, block.outbound, block.comment, block.time) for block in packets(file)] == [
        (b"ping", True, "out 4", NOON + 1),
        (b"pong!", False, "in 5", NOON + 2),
        (b"again!", False, "in 6", NOON + 2),  # one batch, one time
    ]
    assert len(seen) == 3
    assert isinstance(statistics, Statistics)
    assert (statistics.received, statistics.dropped, statistics.time) == (2, 0, NOON + 3)


def test_checksums_are_completed_on_a_copy():
    left, _ = memory_links()
    file = io.BytesIO()
    link = CaptureLink(left, file)
    src, dst = bytes([10, 9, 0, 2]), bytes([10, 9, 0, 1])
    header = tcp.encode(Segment(80, 34000, 1, 2, ACK, 100, (b"data",)), tcp.address_sum(src, dst))
    head = ip.encode(src, dst, ip.PROTO_TCP, len(header) + 4) + header
    sent = Packet(head, (b"data",), gso_size=0, csum=PARTIAL)
    assert link.write(sent)
    [captured] = packets(file)
    assert tcp.checksum_ok(captured.data, ip.decode(captured.data))
    assert (sent.head, sent.csum) == (head, PARTIAL)


def super_frame(size: int) -> Packet:
    src, dst = bytes([10, 9, 0, 2]), bytes([10, 9, 0, 1])
    payload = bytes(number & 0xFF for number in range(size))
    header = tcp.encode(Segment(80, 34000, 1, 2, ACK, 100, (payload,)), tcp.address_sum(src, dst))
    return Packet(ip.encode(src, dst, ip.PROTO_TCP, 20 + size) + header, (payload,), 1460, PARTIAL)


@pytest.mark.parametrize("size", [3000, 65_455])
def test_a_super_frame_stands_there_in_one_piece_with_its_checksum(size):
    """Both ways: what the kernel left to us is completed too. The file holds all of it, whatever the MTU is."""
    left, right = memory_links(max_payload=65_455)
    file = io.BytesIO()
    link = CaptureLink(left, file)
    assert link.max_payload == 65_455
    sent = super_frame(size)
    assert link.write(sent)
    assert right.write(sent)
    [got] = link.read_batch(1)
    assert (got.csum, got.gso_size) == (PARTIAL, 1460)
    both = packets(file)
    assert [captured.outbound for captured in both] == [True, False]
    for captured in both:
        assert len(captured.data) == captured.original_length == 40 + size
        header = ip.decode(captured.data)
        assert tcp.checksum_ok(captured.data, header)
        assert captured.data[40:] == sent.parts[0]


def test_a_packet_that_the_link_does_not_take_is_noted_when_it_does():
    left, right = memory_links(capacity=1)
    file = io.BytesIO()
    link = CaptureLink(left, file)
    assert link.write(Packet(b"1"))
    assert not link.write(Packet(b"2"))
    right.read_batch(1)
    assert link.write(Packet(b"2"))
    assert [packet.data for packet in packets(file)] == [b"1", b"2"]


async def test_it_is_the_link_beneath_it():
    left, right = memory_links(mtu=1400, capacity=1)
    link: Link = CaptureLink(left, io.BytesIO())
    assert (link.name, link.mtu, link.max_payload) == ("memory0", 1400, 0)
    assert link.write(Packet(b"x"))
    right.read_batch(1)
    await link.wait_writable()
    right.close()
    assert "memory0" in repr(link)
    link.close()
    link.close()
    with pytest.raises(LinkClosedError):
        link.read_batch(1)


class Counting:
    """A link that counts drops and checks addresses, until it is gone."""

    name, mtu, max_payload = "counting0", 1500, 0
    gone = False

    def drops(self) -> int:
        if self.gone:
            raise LinkError(errno.ENODEV, "gone")
        return 17

    def check_address(self, address: str) -> None:
        raise LinkError(errno.EADDRINUSE, f"{address} is taken")

    def close(self) -> None:
        self.gone = True


def test_drops_and_addresses_are_the_links_business():
    file = io.BytesIO()
    inner: Any = Counting()
    link = CaptureLink(inner, file)
    assert link.drops() == 17
    with pytest.raises(LinkError, match="is taken"):
        link.check_address("10.9.0.1")
    link.close()
    assert inner.gone
    assert statistics_of(file).dropped == 17
    plain = CaptureLink(memory_links()[0], io.BytesIO())
    assert plain.drops() == 0
    plain.check_address("10.9.0.1")


def test_the_counts_of_a_link_that_is_gone_are_left_out():
    file = io.BytesIO()
    inner: Any = Counting()
    link = CaptureLink(inner, file)
    inner.gone = True
    link.close()
    assert statistics_of(file).dropped is None


def test_a_path_is_opened_and_closed(tmp_path):
    for path in (tmp_path / "one.pcapng", str(tmp_path / "two.pcapng")):
        link = CaptureLink(memory_links()[0], path)
        link.write(Packet(b"x"))
        file = link._file
        assert file is not None
        link.close()
        assert file.closed
        with open(path, "rb") as written:
            assert len(list(pcapng.read(written.read()))) == 4


def test_a_file_of_the_callers_stays_open_and_is_flushed(tmp_path):
    with open(tmp_path / "mine.pcapng", "wb") as file:
        link = CaptureLink(memory_links()[0], file)
        link.write(Packet(b"x"))
        link.close()
        assert not file.closed
        assert len(list(pcapng.read((tmp_path / "mine.pcapng").read_bytes()))) == 4


async def test_the_file_is_flushed_when_nothing_is_left_to_read(tmp_path):
    left, right = memory_links()
    path = tmp_path / "live.pcapng"
    link = CaptureLink(left, path)
    right.write(Packet(b"x"))
    link.read_batch(9)
    right.write(Packet(b"y"))
    await link.wait_readable()
    assert len(list(pcapng.read(path.read_bytes()))) == 3
    link.close()


def test_a_path_that_can_not_be_opened_leaves_the_link_alone(tmp_path):
    left, _ = memory_links()
    with pytest.raises(FileNotFoundError):
        CaptureLink(left, tmp_path / "missing" / "x.pcapng")
    assert left.read_batch(1) == []


class FullDisk(io.BytesIO):
    full = False

    def write(self, data) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


class Stubborn(FullDisk):
    """A file that fails when flushed, as a pipe without a reader does."""

    def flush(self) -> None:
        if self.full:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")


@pytest.mark.parametrize("kind", [FullDisk, Stubborn])
def test_a_file_that_fails_ends_the_capture_and_not_the_link(caplog, kind):
    left, right = memory_links()
    file = kind()
    link = CaptureLink(left, file)
    file.full = True
    if kind is Stubborn:
        link._flush()
    assert link.write(Packet(b"1"))
    assert link.write(Packet(b"2"))
    right.write(Packet(b"3"))
    assert [packet.head for packet in link.read_batch(9)] == [b"3"]
    assert [packet.head for packet in right.read_batch(9)] == [b"1", b"2"]
    link.close()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "the capture on memory0 ends here" in caplog.text
    assert "ended" in repr(link)


SCRIPT = """
import sys, trio, stack
from stack.wire.packet import Packet
left, right = stack.memory_links()
async def main():
    async with stack.open_host(left, addresses=["10.9.0.1/24"], capture=sys.argv[1]) as host:
        with trio.move_on_after(0.01):
            await host.open_tcp_stream("10.9.0.2", 80)
        print("ready", flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


def test_control_c_leaves_a_complete_file(tmp_path):
    path = tmp_path / "interrupted.pcapng"
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate()
    assert b"KeyboardInterrupt" in errors
    written = list(pcapng.read(path.read_bytes()))
    assert isinstance(written[-1], Statistics)
    assert isinstance(written[2], CapturedPacket)
