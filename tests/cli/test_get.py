"""`tcpstack get` as a process, from servers on the kernel's sockets."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import random
import socket
import struct
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from stack.cli.get import default_name
from stack.wire import pcapng
from tests.cli.programs import Wire, tcpstack

CONTENT = random.Random("get").randbytes(3_000_000)


class Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6  # and IPv4 with it


@pytest.fixture
def site(tmp_path: Path) -> Iterator[int]:
    """The port of a web server on all the kernel's addresses."""
    root = tmp_path / "site"
    root.mkdir()
    (root / "file.bin").write_bytes(CONTENT)
    (root / "empty").write_bytes(b"")
    with Server(("::", 0), partial(Quiet, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def answering(answer: bytes, *, reset: bool = False) -> Iterator[int]:
    """The port of a server that gives one answer to one connection, and ends it with a FIN or a reset."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.create_server(("", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_a_file_over_both_families(wire: Wire, site: int, tmp_path: Path) -> None:
    output = tmp_path / "output"
    for host in (wire.kernel, f"[{wire.kernel6}]"):
        done = wire.tcpstack("get", f"http://{host}:{site}/file.bin", "--output", str(output))
        assert (done.returncode, done.stdout) == (0, "")
        assert "3,000,000 bytes" in done.stderr
        assert output.read_bytes() == CONTENT
        output.unlink()


def test_json(wire: Wire, site: int, tmp_path: Path) -> None:
    url = f"http://{wire.kernel}:{site}/file.bin"
    done = wire.tcpstack("get", url, "--json", "--output", str(tmp_path / "output"))
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert (told["url"], told["status"], told["bytes"]) == (url, 200, 3_000_000)
    assert told["tcp_info"]["bytes_received"] > 3_000_000


def test_standard_output_and_verbose(wire: Wire, site: int) -> None:
    done = wire.tcpstack("get", f"http://{wire.kernel}:{site}/empty", "--output", "-", "--verbose")
    assert (done.returncode, done.stdout) == (0, "")
    assert hashlib.sha256().hexdigest() in done.stderr


def test_the_default_name(wire: Wire, site: int, tmp_path: Path) -> None:
    url = f"http://{wire.kernel}:{site}/file.bin?x=1"
    assert tcpstack("get", url, *wire.options, cwd=tmp_path).returncode == 0
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert not (tmp_path / "file.bin.part").exists()


def test_a_capture(wire: Wire, site: int, tmp_path: Path) -> None:
    pcap = tmp_path / "x.pcapng"
    url = f"http://{wire.kernel}:{site}/empty"
    assert wire.tcpstack("get", url, "--output", "-", "--pcap", str(pcap)).returncode == 0
    assert len(list(pcapng.read(pcap.read_bytes()))) > 10


@pytest.mark.parametrize("reset", [False, True])
def test_an_answer_cut_short_is_an_error(wire: Wire, tmp_path: Path, reset: bool) -> None:
    output = tmp_path / "output"
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", reset=reset) as port:
        done = wire.tcpstack("get", f"http://{wire.kernel}:{port}/x", "--output", str(output), "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["error"] == f"received {told['bytes']} of 10 bytes"
    assert f"error: received {told['bytes']} of 10 bytes" in done.stderr
    assert not output.exists()


def test_an_answer_that_is_a_refusal(wire: Wire, site: int, tmp_path: Path) -> None:
    output = tmp_path / "output"
    done = wire.tcpstack("get", f"http://{wire.kernel}:{site}/missing", "--output", str(output))
    assert done.returncode == 1
    assert "the server answered 404" in done.stderr
    assert not output.exists()


def test_a_closed_port(wire: Wire, site: int) -> None:
    with socket.create_server(("", 0)) as listener:
        port = listener.getsockname()[1]
    done = wire.tcpstack("get", f"http://{wire.kernel}:{port}/x")
    assert done.returncode == 1
    assert f"connection refused by {wire.kernel}:{port}" in done.stderr


def test_nobody_there(wire: Wire) -> None:
    done = wire.tcpstack("get", f"http://{wire.nobody}/x", "--timeout", "0.3")
    assert done.returncode == 1
    assert f"no answer from {wire.nobody}:80" in done.stderr
    assert "nobody has that address" in done.stderr


def test_no_address_of_that_family(wire: Wire) -> None:
    wire.options = wire.options[:4]
    done = wire.tcpstack("get", "http://[fd66:ffff::1]/x")
    assert done.returncode == 1
    assert "no route to [fd66:ffff::1]:80" in done.stderr


def test_where_nothing_can_be_written(wire: Wire, site: int) -> None:
    done = wire.tcpstack("get", f"http://{wire.kernel}:{site}/empty", "--output", "/no/such/place")
    assert (done.returncode, done.stderr) == (1, "error: can't write /no/such/place: No such file or directory\n")
    done = wire.tcpstack("get", f"http://{wire.kernel}:{site}/empty", "--pcap", "/no/such/place")
    assert done.returncode == 1
    assert "can't write the capture /no/such/place" in done.stderr


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/", "index.html"),
        ("/a/b.txt", "b.txt"),
        ("/a/b.txt?c=/d", "b.txt"),
        ("/a/", "index.html"),
        ("/a%20b", "a b"),
        ("/..", "index.html"),
        ("/%2e%2e", "index.html"),
        ("/..%2fx", ".._x"),
        ("/-", "index.html"),
        ("/a%00b", "a_b"),
    ],
)
def test_default_names(target: str, name: str) -> None:
    assert default_name(target) == name
