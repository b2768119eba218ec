"""Fast Open with the kernel's own sockets, as its server and as its client."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from stack.host.trace import TraceEvent
from stack.runtime.stream import TcpStream
from stack.tcp.config import TcpOptions
from stack.wire.segment import SYN
from tests.interop.expert import RESET
from tests.interop.lab import HANG, Lab, content, on_a_wire, open_lab, read_all
from tests.interop.peers import kernel_socket, record

FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
FAST = TcpOptions(fastopen=True)
KEY = bytes.fromhex("00112233445566778899aabbccddeeff")
QUESTION, ANSWER = content(1000), content(20_000)
SYN_DATA = 32  # TCPI_OPT_SYN_DATA
_SETTINGS = Path("/proc/sys/net/ipv4")


@pytest.fixture(autouse=True)
def _fast_kernel() -> Iterator[None]:
    """The kernel of this namespace opens fast, both ways, with a key that we know."""
    words = "-".join(f"{word:08x}" for word in struct.unpack("<4I", KEY))
    before = (_SETTINGS / "tcp_fastopen").read_text(encoding="ascii")
    (_SETTINGS / "tcp_fastopen").write_text("3", encoding="ascii")
    (_SETTINGS / "tcp_fastopen_key").write_text(words, encoding="ascii")
    yield
    (_SETTINGS / "tcp_fastopen").write_text(before, encoding="ascii")


def had_syn_data(sock: socket.socket) -> bool:
    """What the kernel says: data went with the SYN, and was taken."""
    return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[5] & SYN_DATA)


def syns(events: list[TraceEvent]) -> list[TraceEvent]:
    return [event for event in events if event.segment.flags & SYN]


async def ask(lab: Lab, family: int, port: int) -> tuple[bool, bytes]:
    """The kernel connects to our port with the question for its SYN; whether that went with it, and the answer."""
    with kernel_socket(lab.ours(family)) as sock:
        sock.setblocking(False)
        try:
            sent = sock.sendto(QUESTION, socket.MSG_FASTOPEN, (lab.ours(family), port))
        except BlockingIOError:  # no cookie yet
            sent = 0
        peer = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        await trio.lowlevel.wait_writable(sock)
        await peer.send_all(QUESTION[sent:])
        await peer.send_eof()
        answer = await read_all(peer)
        return had_syn_data(sock), answer


# RFC7413-06, RFC7413-07
@FAMILIES
@on_a_wire()
async def test_we_as_the_server(lab: Lab, family: int) -> None:
    events = record(lab)
    taken: list[bool] = []

    async def answer(stream: TcpStream) -> None:
        assert await read_all(stream) == QUESTION
        taken.append(stream.info().syn_data)
        await stream.send_all(ANSWER)
        await stream.aclose()

    lab.host.core.fastopen_keys = (KEY,)
    async with trio.open_nursery() as nursery:
        [listener] = await lab.host.open_tcp_listeners(80, options=FAST)
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        found = [await ask(lab, family, 80) for _ in range(3)]
        nursery.cancel_scope.cancel()
    assert [fast for fast, _ in found] == taken == [False, True, True]
    assert all(answer == ANSWER for _, answer in found)
    request, given, *_ = syns(events)
    assert request.segment.fastopen == (b"", False)
    assert given.segment.fastopen is not None
    assert given.segment.fastopen[0] == lab.host.core.fastopen_cookie(request.remote[0], request.local[0])
    await lab.until_closed()


# RFC7413-03, RFC7413-04, RFC7413-07
@FAMILIES
@on_a_wire(allow=RESET)  # a FIN that comes twice is acknowledged twice, and the second time nobody is there any more
async def test_we_as_the_client(lab: Lab, family: int) -> None:
    events = record(lab)
    lab.host.core.fastopen_keys = (KEY,)
    with kernel_socket(lab.kernels(family)) as listener:
        listener.bind((lab.kernels(family), 0))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
        listener.listen()
        for fast in (False, True, True):
            stream = await lab.host.open_tcp_stream(lab.kernels(family), listener.getsockname()[1], early_data=QUESTION)
            accepted = listener.accept()[0]
            peer = trio.SocketStream(trio.socket.from_stdlib_socket(accepted))
            await stream.send_eof()
            assert await read_all(peer) == QUESTION
            assert stream.info().syn_data is had_syn_data(accepted) is fast
            await peer.send_all(ANSWER)
            await peer.aclose()
            assert await read_all(stream) == ANSWER
            await stream.aclose()
    given = syns(events)[1]
    # The kernel makes the same cookie of the same key that we would.
    cookie = lab.host.core.fastopen_cookie(given.local[0], given.remote[0])
    assert given.segment.fastopen == (cookie, False)
    await lab.until_closed()


# RFC7413-07
@FAMILIES
async def test_the_kernel_has_a_cookie_that_is_not_good_any_more(tmp_path: Path, family: int) -> None:
    """It then has to send the question again, which is why this wire is not asked to be clean."""
    with trio.fail_after(HANG):
        async with open_lab(tmp_path / "capture.pcapng") as lab:
            await _ask_with_old_cookies(lab, family)


async def _ask_with_old_cookies(lab: Lab, family: int) -> None:
    received: list[bytes] = []

    async def answer(stream: TcpStream) -> None:
        received.append(await read_all(stream))
        await stream.send_all(ANSWER)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        [listener] = await lab.host.open_tcp_listeners(80, options=FAST)
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        for key, fast in ((KEY, False), (KEY, True), (KEY[::-1], False), (KEY[::-1], True)):
            lab.host.core.fastopen_keys = (key,)
            assert await ask(lab, family, 80) == (fast, ANSWER)
        nursery.cancel_scope.cancel()
    assert received == [QUESTION] * 4
    await lab.until_closed()
