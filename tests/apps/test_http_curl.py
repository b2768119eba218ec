"""The real curl against our server, over the kernel's sockets on loopback: framing and manners, without our
TCP."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import random
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from stack.apps.http import HttpClient, LogRecord, serve_directory
from tests.apps.test_http_files import tree

SIZES = (0, 1, 1459, 1460, 1461, 65536, 10_000_000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    for size in SIZES:
        (root / str(size)).write_bytes(random.Random(size).randbytes(size))
    return root


@pytest.fixture
def log() -> list[LogRecord]:
    return []


@contextlib.asynccontextmanager
async def serving(root: Path, log: list[LogRecord], *, allow_put: bool = False) -> AsyncIterator[str]:
    """The URL of a server on loopback. On leaving, every connection must end by itself."""
    connections: list[trio.SocketStream] = []
    handler = serve_directory(root, allow_put=allow_put, log=log.append)

    async def counted(stream: trio.SocketStream) -> None:
        connections.append(stream)
        await handler(stream)
        connections.remove(stream)

    async with trio.open_nursery() as nursery, trio.open_nursery() as handlers:
        listeners: list[trio.SocketListener] = await nursery.start(
            functools.partial(trio.serve_tcp, counted, 0, host="127.0.0.1", handler_nursery=handlers)
        )
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def curl(*arguments: str, fails: bool = False) -> bytes:
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", *arguments]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert (done.returncode != 0) is fails, done.stderr.decode()
    return done.stdout


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_get_every_size(root: Path, log: list[LogRecord]) -> None:
    async with serving(root, log) as url:
        for size in SIZES:
            body = await curl(f"{url}/{size}")
            assert sha256(body) == sha256((root / str(size)).read_bytes())
    assert [record.bytes_sent for record in log] == list(SIZES)


async def test_fifty_requests_on_one_connection(root: Path, log: list[LogRecord]) -> None:
    async with serving(root, log) as url:
        counts = await curl(
            *(f"{url}/1460" for _ in range(50)),
            *(["--output", "/dev/null"] * 50),
            "--write-out",
            "%{num_connects}",
        )
    assert counts == b"1" + b"0" * 49


async def test_connection_close(root: Path, log: list[LogRecord]) -> None:
    async with serving(root, log) as url:
        counts = await curl(
            f"{url}/1460", f"{url}/1460", "--header", "Connection: close", "--write-out", "%{num_connects}",
            "--output", "/dev/null", "--output", "/dev/null",
        )  # fmt: skip
    assert counts == b"11"


async def test_http_1_0(root: Path, log: list[LogRecord]) -> None:
    async with serving(root, log) as url:
        assert await curl("--http1.0", f"{url}/1461") == (root / "1461").read_bytes()


async def test_head_range_and_resume(root: Path, log: list[LogRecord], tmp_path: Path) -> None:
    data = (root / "10000000").read_bytes()
    async with serving(root, log) as url:
        assert b"Content-Length: 10000000" in (await curl("--head", f"{url}/10000000")).title()
        assert await curl("--range", "100-199", f"{url}/10000000") == data[100:200]
        assert await curl("--range", "-100", f"{url}/10000000") == data[-100:]
        await curl("--fail", "--range", "10000000-", f"{url}/10000000", fails=True)
        (tmp_path / "part").write_bytes(data[:1_000_000])
        await curl("--continue-at", "-", "--output", str(tmp_path / "part"), f"{url}/10000000")
    assert sha256((tmp_path / "part").read_bytes()) == sha256(data)
    assert [record.status for record in log] == [200, 206, 206, 416, 206]


async def test_conditional(root: Path, log: list[LogRecord], tmp_path: Path) -> None:
    async with serving(root, log) as url:
        options = ["--etag-save", str(tmp_path / "etag"), "--etag-compare", str(tmp_path / "etag")]
        await curl(*options, f"{url}/1460")
        await curl(*options, f"{url}/1460")
        await curl("--time-cond", str(root / "1460"), f"{url}/1460")
    assert [record.status for record in log] == [200, 304, 304]


async def test_put(root: Path, log: list[LogRecord]) -> None:
    """curl asks first (Expect: 100-continue) when the body is over a megabyte."""
    async with serving(root, log, allow_put=True) as url:
        for size in SIZES:
            await curl("--fail", "--upload-file", str(root / str(size)), f"{url}/up-{size}")
            assert sha256((root / f"up-{size}").read_bytes()) == sha256((root / str(size)).read_bytes())
        await curl("--fail", "--upload-file", str(root / "1460"), f"{url}/up-1")
    assert (root / "up-1").read_bytes() == (root / "1460").read_bytes()
    assert [record.status for record in log] == [201] * len(SIZES) + [204]


async def test_a_refused_put_hears_why(root: Path, log: list[LogRecord]) -> None:
    async with serving(root, log) as url:
        for expect in ("Expect:", "Expect: 100-continue"):
            body = await curl("--header", expect, "--upload-file", str(root / "10000000"), f"{url}/up")
            assert body == b"405 Method Not Allowed\n"
    assert not (root / "up").exists()


async def test_listing_and_redirect(root: Path, log: list[LogRecord]) -> None:
    (root / "sub").mkdir()
    async with serving(root, log) as url:
        assert b'href="./1460"' in await curl(url)
        assert b"<h1>/sub/</h1>" in await curl("--location", f"{url}/sub")
        assert await curl("--path-as-is", f"{url}/../../etc/passwd") == b"404 Not Found\n"


async def test_a_hundred_at_once(root: Path, log: list[LogRecord]) -> None:
    async with serving(root, log) as url:
        await curl(
            "--parallel", "--parallel-max", "100", "--parallel-immediate",
            "--output", "/dev/null", "--fail", *(f"{url}/65536?[1-100]",),
        )  # fmt: skip
    assert [record.bytes_sent for record in log] == [65536] * 100


async def test_curl_killed_within_a_transfer(
    root: Path, log: list[LogRecord], caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(root, log) as url, trio.open_nursery() as nursery:
        process = await nursery.start(
            functools.partial(
                trio.run_process,
                ["curl", "--silent", "--noproxy", "*", "--limit-rate", "100k", f"{url}/10000000"],
                stdout=subprocess.PIPE,
                check=False,
            )
        )
        assert await process.stdout.receive_some(1)
        process.kill()
    assert len(log) == 1
    assert log[0].bytes_sent < 10_000_000
    assert not caplog.records


async def test_an_upload_killed_leaves_nothing(root: Path, log: list[LogRecord]) -> None:
    before = tree(root)
    async with serving(root, log, allow_put=True) as url, trio.open_nursery() as nursery:
        process = await nursery.start(
            functools.partial(
                trio.run_process,
                ["curl", "--silent", "--noproxy", "*", "--upload-file", "-", f"{url}/up"],
                stdin=subprocess.PIPE,
                check=False,
            )
        )
        await process.stdin.send_all(b"x" * 1_000_000)
        process.kill()
    assert tree(root) == before


async def test_our_client_and_our_server(root: Path, log: list[LogRecord]) -> None:
    async with serving(root, log) as url, HttpClient(trio.open_tcp_stream) as client:
        for size in SIZES:
            async with client.get(f"{url}/{size}") as response:
                assert response.length == size
                body = await response.read()
            assert sha256(body) == sha256((root / str(size)).read_bytes())
