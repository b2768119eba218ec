"""Who sends the first FIN for each combination of the `Connection` headers, beside the table in docs/first-fin.md."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from stack.apps.http import Exchange, HttpClient, serve_http
from stack.runtime.stream import TcpStream
from stack.wire import ip, tcp
from stack.wire.segment import FIN, SYN
from tests.interop import programs
from tests.interop.lab import Lab, on_a_wire
from tests.interop.programs import curl
from tests.interop.site import serving

TABLE = Path(__file__).parents[2] / "docs" / "first-fin.md"
ROUNDS = 5  #: One connection after the other; each must end in the same way.
BODY = b"x" * 3000

CASES = [
    ("none", "none"),
    ("none", "keep-alive"),
    ("none", "close"),
    ("keep-alive", "none"),
    ("keep-alive", "keep-alive"),
    ("keep-alive", "close"),
    ("close", "close"),
]
COMBINATIONS = pytest.mark.parametrize(("client", "server"), CASES, ids=["-".join(case) for case in CASES])


def documented(client: str, server: str) -> list[str]:
    """The row of the table: what the RFC asks for, curl from our server, our client from nginx."""
    rows = [
        [re.sub(r" \(\d\)$", "", cell.strip()) for cell in line.strip("|\n").split("|")]
        for line in TABLE.read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    [row] = [row for row in rows if row[:2] == [client, server]]
    return row[2:]


def first_fins(lab: Lab, we_are: str) -> list[str]:
    """Who sent the first FIN of each connection in the capture, in order."""
    first: dict[frozenset[tuple[bytes, int]], str] = {}
    for packet in lab.packets():
        header = ip.decode(packet.data)
        if header.protocol != ip.PROTO_TCP:
            continue
        seg = tcp.decode(packet.data, header.start, header.end)
        flow = frozenset({(header.src, seg.src_port), (header.dst, seg.dst_port)})
        if seg.flags & SYN:
            first.setdefault(flow, "nobody")
        elif seg.flags & FIN and first[flow] == "nobody":
            other = "client" if we_are == "server" else "server"
            first[flow] = we_are if packet.outbound else other
    return list(first.values())


@COMBINATIONS
@on_a_wire()
async def test_curl_from_our_server(lab: Lab, client: str, server: str) -> None:
    async def answer(exchange: Exchange) -> None:
        said = [] if server == "none" else [("connection", server)]
        await exchange.respond(200, BODY, said)

    async def handler(stream: TcpStream) -> None:
        await serve_http(stream, answer)

    header = "Connection:" if client == "none" else f"Connection: {client}"
    async with serving(lab, handler):
        for _ in range(ROUNDS):
            answered = await curl("--verbose", "--stderr", "-", "--header", header, f"{lab.url()}/")
            assert sent(answered, ">") == client
            assert sent(answered, "<") == server
            await lab.until_closed()
    wanted, from_us, _ = documented(client, server)
    assert first_fins(lab, "server") == [from_us] * ROUNDS
    assert wanted in (from_us, "either")


def sent(verbose: bytes, mark: str) -> str:
    """The Connection header in what curl tells about a request (>) or an answer (<)."""
    found = re.findall(rf"^{mark} connection: (\S+)\r$", verbose.decode(errors="replace"), re.MULTILINE | re.IGNORECASE)
    return found[0].lower() if found else "none"


@COMBINATIONS
@on_a_wire()
async def test_our_client_from_nginx(lab: Lab, tmp_path: Path, client: str, server: str) -> None:
    root = tmp_path / "root"
    root.mkdir(exist_ok=True)
    (root / "page").write_bytes(BODY)
    serve = terse_server(lab) if server == "none" else nginx_server(lab, root, server)
    async with serve as url:
        for _ in range(ROUNDS):
            headers = {} if client == "none" else {"Connection": client}
            async with HttpClient(lab.host.open_tcp_stream) as http, http.get(url, headers=headers) as response:
                assert await response.read() == BODY
                assert response.headers.get("connection", "none") == server
            await lab.until_closed()
    wanted, _, from_nginx = documented(client, server)
    assert first_fins(lab, "client") == [from_nginx] * ROUNDS
    assert wanted in (from_nginx, "either")


@asynccontextmanager
async def nginx_server(lab: Lab, root: Path, says: str) -> AsyncIterator[str]:
    """nginx, and the URL below which it says this."""
    async with programs.nginx(root, lab.folder / "nginx", lab.kernels()) as nginx:
        yield f"{nginx.url}/close/page" if says == "close" else f"{nginx.url}/page"


@asynccontextmanager
async def terse_server(lab: Lab) -> AsyncIterator[str]:
    """A server on a kernel socket that never sends the header, and keeps connections open."""
    with programs.listening(lab.kernels()) as sock:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, _answer_tersely, [listener])
            yield f"http://{lab.kernels()}:{sock.getsockname()[1]}/"
            nursery.cancel_scope.cancel()


async def _answer_tersely(stream: trio.SocketStream) -> None:
    async with stream:
        while await stream.receive_some():  # a request of ours is one segment
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)
