"""Connections that begin and end in unusual ways, with the kernel's own sockets at the other end."""

from __future__ import annotations

import pytest
import trio

from stack.runtime.stream import TcpStream
from stack.tcp.state import CLOSING, SYN_RECEIVED, TIME_WAIT
from stack.wire import ip, tcp
from stack.wire.segment import ACK, RST, SYN
from tests.interop import expert, programs
from tests.interop.expert import RESET
from tests.interop.lab import Lab, content, on_a_wire, read_all, sha256
from tests.interop.links import Gate
from tests.interop.peers import gate_of, kernel_socket, pair, record
from tests.interop.programs import in_url
from tests.interop.site import serving

FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])


# -- opening -----------------------------------------------------------------------------------------------


@FAMILIES
@on_a_wire(through=Gate, tshark=False)
async def test_simultaneous_open(lab: Lab, family: int) -> None:
    """The SYNs cross: the kernel's waits in the device while ours leaves."""
    gate = gate_of(lab)
    ours, kernels = lab.ours(family), lab.kernels(family)
    events = record(lab)
    streams: list[TcpStream] = []

    async def connect() -> None:
        streams.append(await lab.host.open_tcp_stream(kernels, 4001, local_port=4002))

    with kernel_socket(kernels) as sock:
        sock.bind((kernels, 4001))
        sock.setblocking(False)
        async with trio.open_nursery() as nursery:
            gate.shut()
            with pytest.raises(BlockingIOError):
                sock.connect((ours, 4002))
            nursery.start_soon(connect)
            await lab.until(lambda: bool(events))
            gate.open()
        assert [event.segment.flags & SYN for event in events[:2]] == [SYN, SYN]
        assert [event.outgoing for event in events[:2]] == [True, False]
        assert events[1].state is SYN_RECEIVED
        peer = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        [stream] = streams
        data = content(300_000)
        for sender, receiver in ((stream, peer), (peer, stream)):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sender.send_all, data)
                got = b""
                while len(got) < len(data):
                    got += await receiver.receive_some()
            assert sha256(got) == sha256(data)
        await stream.send_eof()
        assert await peer.receive_some() == b""
        await peer.aclose()
        assert await stream.receive_some() == b""
        await stream.aclose()
    await lab.until_closed()
    # Each SYN is repeated with an ACK (RFC 9293 figure 8), which tshark takes for a retransmission; no other frame is.
    lab.capture.flush()
    packets = lab.packets()
    objections = expert.objections(expert.findings(lab.pcap))
    others = [finding for finding in objections if flags_of(packets[finding.frame - 1].data) != SYN | ACK]
    assert len(others) < len(objections)
    lab.wrong += map(str, others)


def flags_of(frame: bytes) -> int:
    """The flags of a segment."""
    header = ip.decode(frame)
    return tcp.decode(frame, header.start, header.end).flags


@FAMILIES
@on_a_wire()
async def test_a_syn_reopens_our_time_wait(lab: Lab, family: int) -> None:
    """The kernel comes back from the same port before our 2 MSL are over."""

    async def handler(stream: TcpStream) -> None:
        await stream.send_all(b"bye")
        await stream.send_eof()
        assert await stream.receive_some() == b""
        await stream.aclose()

    async with serving(lab, handler):
        for _ in range(5):
            with kernel_socket(lab.kernels(family)) as sock:
                sock.bind((lab.kernels(family), 4003))
                peer = trio.socket.from_stdlib_socket(sock)
                await peer.connect((lab.ours(family), 80))
                assert await peer.recv(100) == b"bye"
                assert await peer.recv(100) == b""
            await lab.until_closed()
            assert lab.host.core.time_waits == 1
    assert lab.host.counters.accepted == 5


@FAMILIES
@on_a_wire()
async def test_our_syn_reopens_the_kernels_time_wait(lab: Lab, family: int) -> None:
    events = record(lab)
    with programs.listening(lab.kernels(family)) as listener:
        port = listener.getsockname()[1]
        for _ in range(5):
            stream = await lab.host.open_tcp_stream(lab.kernels(family), port, local_port=4004)
            listener.accept()[0].close()
            assert await stream.receive_some() == b""
            await stream.aclose()
            await lab.until_closed()
            assert "timer:(timewait," in programs.ss("state", "time-wait", "sport", "=", f":{port}")
    assert sum(event.outgoing and bool(event.segment.flags & SYN) for event in events) == 5


# -- closing -----------------------------------------------------------------------------------------------


@FAMILIES
@on_a_wire()
async def test_we_half_close(lab: Lab, family: int) -> None:
    """The kernel goes on sending after our FIN."""
    stream, peer = await pair(lab, family)
    data = content(1_000_000)
    await stream.send_all(b"that is all")
    await stream.send_eof()
    assert await read_all(peer) == b"that is all"

    async def answer() -> None:
        await peer.send_all(data)
        await peer.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        assert sha256(await read_all(stream)) == sha256(data)
    assert stream.state is TIME_WAIT
    await stream.aclose()
    await lab.until_closed()


@FAMILIES
@on_a_wire()
async def test_the_kernel_half_closes(lab: Lab, family: int) -> None:
    """We go on sending after the kernel's FIN; then it is in TIME-WAIT, and we are gone."""
    stream, peer = await pair(lab, family)
    data = content(1_000_000)
    await peer.send_all(b"that is all")
    await peer.send_eof()
    assert await read_all(stream) == b"that is all"

    async def answer() -> None:
        await stream.send_all(data)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        assert sha256(await read_all(peer)) == sha256(data)
    await lab.until_closed()
    assert lab.host.core.time_waits == 0
    await peer.aclose()


@FAMILIES
@on_a_wire(through=Gate)
async def test_simultaneous_close(lab: Lab, family: int) -> None:
    """The FINs cross: the kernel's waits in the device while ours leaves."""
    gate = gate_of(lab)
    stream, peer = await pair(lab, family)
    await stream.send_all(b"x")
    assert await peer.receive_some() == b"x"
    events = record(lab)
    gate.shut()
    await peer.aclose()
    await stream.send_eof()
    gate.open()
    assert await stream.receive_some() == b""
    await lab.until_closed()
    await stream.aclose()
    assert CLOSING in [event.state for event in events]
    assert stream.state is TIME_WAIT
    assert programs.ss("state", "all", "dst", in_url(lab.ours(family))).split()[0] == "TIME-WAIT"


@FAMILIES
@on_a_wire(allow=RESET)
async def test_the_kernel_closes_with_unread_data(lab: Lab, family: int) -> None:
    """It sends a reset in place of a FIN."""
    stream, peer = await pair(lab, family)
    await stream.send_all(b"never read")
    await lab.until(lambda: stream.info().unacked == 0)
    await peer.aclose()
    with pytest.raises(trio.BrokenResourceError) as caught:
        await stream.receive_some()
    assert isinstance(caught.value.__cause__, ConnectionResetError)
    await stream.aclose()
    assert lab.host.connections() == []


@FAMILIES
@on_a_wire(allow=RESET)
async def test_we_close_with_unread_data(lab: Lab, family: int) -> None:
    """So do we."""
    stream, peer = await pair(lab, family)
    await peer.send_all(b"never read")
    await lab.until(lambda: stream.info().bytes_received > 0)
    events = record(lab)
    await stream.aclose()
    with pytest.raises(trio.BrokenResourceError) as caught:
        await peer.receive_some()
    assert isinstance(caught.value.__cause__, ConnectionResetError)
    assert [bool(event.segment.flags & RST) for event in events] == [True]
    assert lab.host.connections() == []
    await peer.aclose()


@FAMILIES
@on_a_wire(allow=RESET)
async def test_data_after_our_close_is_answered_with_a_reset(lab: Lab, family: int) -> None:
    stream, peer = await pair(lab, family)
    await stream.aclose()
    assert await peer.receive_some() == b""
    await peer.send_all(b"too late")
    await lab.until_closed()
    with pytest.raises(trio.BrokenResourceError):
        await peer.send_all(b"really")
    await peer.aclose()
