"""The real curl fetches from our server, and uploads to it, across a TUN device."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
import tracemalloc
from pathlib import Path

import pytest
import trio

from stack.apps.http import Exchange, serve_http
from stack.runtime.stream import TcpStream
from tests.interop import forty_line_server
from tests.interop.conftest import SIZES
from tests.interop.expert import RESET
from tests.interop.lab import Lab, content, on_a_wire, read_all, sha256
from tests.interop.programs import CURL, curl, finished, kill, program, running
from tests.interop.site import serving, serving_files

FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
LARGE = SIZES[-1]


@FAMILIES
@pytest.mark.parametrize("size", SIZES)
@on_a_wire()
async def test_get(lab: Lab, site: Path, family: int, size: int) -> None:
    output = lab.folder / "out"
    output.touch()  # curl makes no file of nothing
    async with serving_files(lab, site) as log:
        await curl("--output", str(output), f"{lab.url(family)}/{size}")
    assert sha256(output) == sha256(site / str(size))
    assert [record.bytes_sent for record in log] == [size]


@FAMILIES
@pytest.mark.parametrize("size", SIZES)
@on_a_wire()
async def test_put(lab: Lab, site: Path, family: int, size: int) -> None:
    inbox = lab.folder / "inbox"
    inbox.mkdir()
    async with serving_files(lab, inbox, allow_put=True) as log:
        await curl("--upload-file", str(site / str(size)), f"{lab.url(family)}/file")
    assert sha256(inbox / "file") == sha256(site / str(size))
    assert [record.bytes_received for record in log] == [size]


@FAMILIES
@on_a_wire()
async def test_fifty_requests_on_one_connection(lab: Lab, site: Path, family: int) -> None:
    async with serving_files(lab, site) as log:
        body = await curl(*([f"{lab.url(family)}/1460"] * 50))
    assert sha256(body) == sha256(content(1460) * 50)
    assert len(log) == 50
    assert lab.host.counters.accepted == 1


@FAMILIES
@on_a_wire()
async def test_a_hundred_at_once(lab: Lab, site: Path, family: int) -> None:
    """Each of a hundred curls has its connection before any is answered."""
    waiting = 0
    all_there = trio.Event()

    async def answer(exchange: Exchange) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 100:
            assert len(lab.host.connections()) == 100
            all_there.set()
        await all_there.wait()
        await exchange.respond(200, await trio.Path(site / exchange.target[1:]).read_bytes())

    async def handler(stream: TcpStream) -> None:
        await serve_http(stream, answer)

    async def fetch() -> None:
        bodies.append(sha256(await curl(f"{lab.url(family)}/65536")))

    bodies: list[str] = []
    async with serving(lab, handler), trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(fetch)
    assert bodies == [sha256(site / "65536")] * 100
    assert lab.host.counters.accepted == 100


@FAMILIES
@on_a_wire(allow=RESET)
async def test_curl_killed_within_a_transfer(
    lab: Lab, site: Path, family: int, caplog: pytest.LogCaptureFixture
) -> None:
    command = [program("curl"), *CURL, f"{lab.url(family)}/{LARGE}"]
    async with serving_files(lab, site) as log, running(command) as process:
        assert process.stdout is not None
        assert await process.stdout.receive_some(1)
        await kill(process)
    assert 0 < log[0].bytes_sent < LARGE
    assert not caplog.records


@FAMILIES
@on_a_wire(allow=RESET)
async def test_curl_killed_within_an_upload(lab: Lab, family: int, caplog: pytest.LogCaptureFixture) -> None:
    inbox = lab.folder / "inbox"
    inbox.mkdir()
    command = [program("curl"), *CURL, "--upload-file", "-", f"{lab.url(family)}/file"]
    async with serving_files(lab, inbox, allow_put=True) as log, running(command) as process:
        assert process.stdin is not None
        await process.stdin.send_all(content(1 << 20))
        await lab.until(lambda: received(lab) > 1 << 19)
        await kill(process)
    assert len(log) == 1
    assert list(inbox.iterdir()) == []
    assert not caplog.records


def received(lab: Lab) -> int:
    """Bytes that the connections of now have brought so far."""
    return sum(conn.info(lab.host.now()).bytes_received for conn in lab.host.connections())


@FAMILIES
@on_a_wire()
async def test_head(lab: Lab, site: Path, family: int) -> None:
    async with serving_files(lab, site) as log:
        head = (await curl("--head", *(f"{lab.url(family)}/{size}" for size in SIZES))).decode().lower()
    assert re.findall(r"content-length: (\d+)\r", head) == [str(size) for size in SIZES]
    assert [record.bytes_sent for record in log] == [0] * len(SIZES)
    assert lab.host.counters.accepted == 1


@FAMILIES
@on_a_wire()
async def test_ranges(lab: Lab, site: Path, family: int) -> None:
    whole = content(LARGE)
    url = f"{lab.url(family)}/{LARGE}"
    part = lab.folder / "part"
    part.write_bytes(whole[: LARGE - 1_000_000])
    async with serving_files(lab, site) as log:
        assert await curl("--range", "1000-1999", url) == whole[1000:2000]
        assert await curl("--range", "-1461", url) == whole[-1461:]
        assert await curl("--range", f"{LARGE - 1}-", url) == whole[-1:]
        await curl("--continue-at", "-", "--output", str(part), url)
        beyond = await finished("curl", *CURL, "--range", f"{LARGE}-", url)
    assert sha256(part) == sha256(site / str(LARGE))
    assert beyond.status == 22
    assert [record.status for record in log] == [206, 206, 206, 206, 416]
    assert [record.bytes_sent for record in log][:4] == [1000, 1461, 1, 1_000_000]


@on_a_wire()
async def test_memory_does_not_grow(lab: Lab, site: Path) -> None:
    """A hundred connections more leave as much in memory as the hundred before: less than one of them would take."""

    async def round() -> int:
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                for family in (4, 6) * 25:
                    nursery.start_soon(curl, f"{lab.url(family)}/1461")
        await lab.until_closed()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    async with serving_files(lab, site) as log:
        tracemalloc.start()
        try:
            await round()
            before = await round()
            log.clear()
            after = await round()
        finally:
            tracemalloc.stop()
    assert after - before < 100 * 100


def test_forty_lines_are_forty() -> None:
    assert len(Path(forty_line_server.__file__).read_text(encoding="ascii").splitlines()) <= 40


@pytest.mark.parametrize("address", ["10.66.0.2", "[fd66::2]"], ids=["ipv4", "ipv6"])
async def test_a_server_of_forty_lines(address: str) -> None:
    command = [sys.executable, "-P", forty_line_server.__file__, f"tcpsf{os.getpid() % 100_000}-%d"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with trio.fail_after(60):
        async with running(command, env=environment) as process:
            assert process.stdout is not None
            assert await process.stdout.receive_some(9) == b"listening"
            for _ in range(3):
                assert await curl(f"http://{address}/") == forty_line_server.PAGE
            refused = await finished("curl", *CURL, "--request", "BREW", f"http://{address}/")
            assert (refused.status, refused.stderr.strip()[-3:]) == (22, "405")
            process.send_signal(signal.SIGINT)
            assert await read_all(process.stdout) == b"\n"
            assert await process.wait() in (1, 130, -signal.SIGINT)
