"""Our client fetches from a real nginx across a TUN device; then nginx is killed."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path

import pytest
import trio

from stack.apps.http import HttpClient, TruncatedError
from tests.interop import programs
from tests.interop.conftest import SIZES
from tests.interop.lab import Lab, on_a_wire, read_all, remaining, sha256

FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
LARGE = SIZES[-1]


async def fetched(client: HttpClient, url: str) -> str:
    """The SHA-256 of what a URL gives."""
    digest = hashlib.sha256()
    async with client.get(url) as response:
        assert response.status == 200
        async for piece in response.body():
            digest.update(piece)
        assert response.received == response.length
    return digest.hexdigest()


@FAMILIES
@pytest.mark.parametrize("size", SIZES)
@on_a_wire()
async def test_get(lab: Lab, site: Path, family: int, size: int) -> None:
    async with programs.nginx(site, lab.folder / "nginx", lab.kernels(family)) as server:
        async with HttpClient(lab.host.open_tcp_stream) as client:
            assert await fetched(client, f"{server.url}/{size}") == sha256(site / str(size))
        await lab.until_closed()
    assert remaining() == []


@FAMILIES
@on_a_wire()
async def test_every_size_on_one_connection(lab: Lab, site: Path, family: int) -> None:
    async with programs.nginx(site, lab.folder / "nginx", lab.kernels(family)) as server:
        async with HttpClient(lab.host.open_tcp_stream) as client:
            for size in SIZES[:-1] * 10:
                assert await fetched(client, f"{server.url}/{size}") == sha256(site / str(size))
        assert lab.host.counters.active_opens == 1
        await lab.until_closed()
    assert remaining() == []


@FAMILIES
@on_a_wire()
async def test_a_hundred_at_once(lab: Lab, site: Path, family: int) -> None:
    """A hundred connections are there before any is used."""
    connected = 0
    all_there = trio.Event()
    sums: list[str] = []

    async def open_stream(host: str, port: int) -> trio.abc.HalfCloseableStream:
        nonlocal connected
        stream = await lab.host.open_tcp_stream(host, port)
        connected += 1
        if connected == 100:
            assert len(lab.host.connections()) == 100
            all_there.set()
        await all_there.wait()
        return stream

    async def fetch(url: str) -> None:
        async with HttpClient(open_stream) as client:
            sums.append(await fetched(client, url))

    async with programs.nginx(site, lab.folder / "nginx", lab.kernels(family)) as server:
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(fetch, f"{server.url}/65536")
        await lab.until_closed()
    assert sums == [sha256(site / "65536")] * 100
    assert lab.host.counters.active_opens == 100
    assert remaining() == []


@FAMILIES
@on_a_wire()
async def test_nginx_killed_while_we_download(lab: Lab, site: Path, family: int) -> None:
    """The kernel closes for the dead: an end of file, which the client does not take for the end of the body."""

    async def download_and_kill() -> None:
        async with (
            programs.nginx(site, lab.folder / "nginx", lab.kernels(family)) as server,
            HttpClient(lab.host.open_tcp_stream) as client,
            client.get(f"{server.url}/{LARGE}") as response,
        ):
            async for _ in response.body():
                await programs.kill(server.process)

    with pytest.raises(TruncatedError) as caught:
        await download_and_kill()
    assert 0 < caught.value.received < LARGE == caught.value.expected
    await lab.until_closed()


@FAMILIES
@on_a_wire()
async def test_the_stream_of_a_killed_nginx_ends(lab: Lab, site: Path, family: int) -> None:
    async with programs.nginx(site, lab.folder / "nginx", lab.kernels(family)) as server:
        stream = await lab.host.open_tcp_stream(lab.kernels(family), server.port)
        await stream.send_all(b"GET /%d HTTP/1.1\r\nHost: nginx\r\n\r\n" % LARGE)
        start = await stream.receive_some()
        await programs.kill(server.process)
        rest = await read_all(stream)  # to its end, and that is no error
        assert start.startswith(b"HTTP/1.1 200 OK\r\n")
        assert len(start + rest) < LARGE
        await stream.aclose()
    await lab.until_closed()


@pytest.mark.parametrize("number", [1, 2], ids=["ipv4", "ipv6"])
async def test_get_says_how_much_came(site: Path, tmp_path: Path, number: int) -> None:
    """`tcpstack get` on a device of its own, from an nginx that is killed: what came, an error, and a status."""
    kernel, address, listens = [
        ("10.67.0.1/24", "10.67.0.2/24", "0.0.0.0"),
        ("fd67::1/64", "fd67::2/64", "::"),
    ][number - 1]
    url = programs.in_url(kernel.partition("/")[0])
    with trio.fail_after(60):
        async with programs.nginx(site, tmp_path / "nginx", listens) as server:
            command = [
                sys.executable,
                "-P",
                "-m",
                "stack",
                "get",
                f"http://{url}:{server.port}/{LARGE}",
                "--output",
                "-",
            ]
            command += ["--tun", f"tcpsg{os.getpid() % 100_000}-%d", "--kernel", kernel, "--address", address]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            with (tmp_path / "errors").open("wb") as errors:
                async with programs.running(command, env=environment, stderr=errors) as get:
                    assert get.stdout is not None
                    start = await get.stdout.receive_some()
                    await programs.kill(server.process)
                    rest = await read_all(get.stdout)
                    status = await get.wait()
    said = (tmp_path / "errors").read_text(encoding="utf-8")
    found = re.search(r"received (\d+) of (\d+) bytes", said)
    assert found, said
    received, expected = map(int, found.groups())
    assert 0 < received == len(start + rest) < expected == LARGE
    assert status == 1
