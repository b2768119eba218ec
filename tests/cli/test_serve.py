"""`tcpstack serve` as a process, with the kernel's sockets and the real curl at the other end."""

from __future__ import annotations

import contextlib
import gc
import random
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from stack.cli import main, serve
from tests.cli.programs import Wire, finish, start


def devices() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def curl(*arguments: str) -> bytes:
    command = ["curl", "-q", "--silent", "--show-error", "--noproxy", "*", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout


def test_the_collector_is_kept_from_long_pauses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    frozen: list[int] = []

    def run(command: Callable[[], Awaitable[int]]) -> int:
        frozen.append(gc.get_freeze_count())
        return 0

    monkeypatch.setattr(serve, "run", run)
    assert main.main(["serve", "http", str(tmp_path)]) == 0
    assert frozen[0] > 1000
    assert gc.get_freeze_count() == 0


def test_http(wire: Wire, tmp_path: Path) -> None:
    content = random.Random("serve").randbytes(1_000_000)
    (tmp_path / "file").write_bytes(content)
    with wire.serving("http", str(tmp_path)) as server:
        assert server.listening["port"] == 80
        assert server.listening["addresses"] == [wire.ours, wire.ours6]
        for host in (wire.ours, f"[{wire.ours6}]"):
            assert curl(f"http://{host}/file") == content
            request, closed = server.event("request"), server.event("closed")
            assert (request["target"], request["status"], request["bytes_sent"]) == ("/file", 200, 1_000_000)
            assert closed["tcp_info"]["bytes_acked"] > 1_000_000
            assert closed["tcp_info"]["total_retrans"] == 0


def test_uploads_are_refused_unless_allowed(wire: Wire, tmp_path: Path) -> None:
    (tmp_path / "from").write_bytes(b"x" * 2_000_000)
    (tmp_path / "root").mkdir()
    put = ["--upload-file", str(tmp_path / "from"), "--write-out", "%{http_code}", "--output", "/dev/null"]
    with wire.serving("http", str(tmp_path / "root")):
        assert curl(*put, f"http://{wire.ours}/to") == b"405"
    assert list((tmp_path / "root").iterdir()) == []
    with wire.serving("http", str(tmp_path / "root"), "--upload", "--port", "8080"):
        assert curl(*put, f"http://{wire.ours}:8080/to") == b"201"
    assert (tmp_path / "root" / "to").read_bytes() == (tmp_path / "from").read_bytes()


def test_echo(wire: Wire) -> None:
    with wire.serving("echo") as server:
        for host in (wire.ours, wire.ours6):
            with socket.create_connection((host, 7)) as connection:
                connection.sendall(b"hello")
                connection.shutdown(socket.SHUT_WR)
                assert connection.makefile("rb").read() == b"hello"
            assert server.event("closed")["tcp_info"]["bytes_received"] == 5


def test_discard_and_chargen(wire: Wire) -> None:
    with wire.serving("discard") as server, socket.create_connection((wire.ours, 9)) as connection:
        connection.sendall(b"x" * 100_000)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
        assert server.event("closed")["tcp_info"]["bytes_received"] == 100_000
    with wire.serving("chargen"), socket.create_connection((wire.ours, 19)) as connection:
        assert connection.makefile("rb").readline().startswith(b' !"#')


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_quietly_and_takes_the_device_away(wire: Wire, number: signal.Signals) -> None:
    with wire.serving("echo") as server:
        device = server.listening["device"]
        assert device in devices()
        with socket.create_connection((wire.ours, 7)) as connection:
            server.process.send_signal(number)
            status, _, errors = finish(server.process)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
    assert (status, errors) == (128 + number, "")
    assert device not in devices()


def test_the_kernels_own_address_is_refused(wire: Wire) -> None:
    done = wire.tcpstack("serve", "echo", "--address", f"{wire.kernel}/24")
    assert done.returncode == 1
    assert f"{wire.kernel} is the kernel's own address" in done.stderr


def test_a_device_in_use_is_refused(wire: Wire) -> None:
    with wire.serving("echo") as server:
        wire.options[1] = server.listening["device"]
        done = wire.tcpstack("serve", "echo")
    assert done.returncode == 1
    assert "in use" in done.stderr


def test_for_a_person(wire: Wire, tmp_path: Path) -> None:
    process = start("serve", "http", str(tmp_path), "--verbose", *wire.options)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(4)]
    assert f"  curl http://{wire.ours}/\n" in lines
    assert f"  curl http://[{wire.ours6}]/\n" in lines
    assert lines[-1] == "Ctrl-C ends it\n"
    curl(f"http://{wire.ours}/")
    assert "GET /  200" in process.stdout.readline()
    assert " served in " in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert finish(process) == (130, "", "")
