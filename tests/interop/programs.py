"""The real programs that our stack is tried against: how they are found, started and ended.

Whatever runs here was started here, and is ended by its handle.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest
import trio

PROGRAMS = ("curl", "nginx", "tshark", "ss", "nstat", "ping", "ip")
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def program(name: str) -> str:
    """Where a program is. One that is missing fails the test, with the remedy."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        pytest.fail(f"{name} is not installed: run tools/test, which installs it", pytrace=False)
    return found


def said(name: str, *arguments: str) -> str:
    """What a short command prints; it must succeed."""
    done = subprocess.run([program(name), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name} {' '.join(arguments)}: {done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int  #: negative: the signal
    stdout: bytes
    stderr: str


async def finished(name: str, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Done:
    """Run a program to its end, while our stack goes on."""
    done = await trio.run_process(
        [program(name), *arguments], stdin=stdin, capture_stdout=True, capture_stderr=True, check=False, env=env
    )
    return Done(done.returncode, bytes(done.stdout), done.stderr.decode(errors="replace"))


CURL = ("--silent", "--show-error", "--noproxy", "*", "--fail", "--max-time", "60")


async def curl(*arguments: str) -> bytes:
    """What curl prints; it must succeed."""
    done = await finished("curl", *CURL, *arguments)
    assert done.status == 0, done.stderr
    return done.stdout


@asynccontextmanager
async def running(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stderr: int | IO[bytes] | None = None,
    pass_fds: Sequence[int] = (),
) -> AsyncIterator[trio.Process]:
    """A program that is killed on leaving, if it has not ended. Its standard output is a pipe."""
    process = await trio.lowlevel.open_process(
        list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, pass_fds=pass_fds, env=env
    )
    try:
        yield process
    finally:
        with trio.CancelScope(shield=True):
            await kill(process)
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    await pipe.aclose()


async def kill(process: trio.Process, number: int = signal.SIGKILL) -> None:
    """End a process of ours at once, and wait for it."""
    if process.poll() is None:
        process.send_signal(number)
    await process.wait()


def listening(address: str, port: int = 0) -> socket.socket:
    """A kernel socket that listens."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        sock.listen(512)
    except BaseException:
        sock.close()
        raise
    return sock


NGINX = """\
daemon off;
master_process off;
user root root;  # of the namespace; the default would be a user that may be unknown there
pid {folder}/nginx.pid;
error_log stderr notice;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    sendfile on;
    server {{
        listen {listen};
        root {root};
        location / {{ keepalive_timeout 75s; keepalive_requests 10000; }}
        location /close/ {{ alias {root}/; keepalive_timeout 0; }}
    }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """A running nginx; below /close/ it says `Connection: close`, elsewhere keep-alive."""

    process: trio.Process
    address: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{in_url(self.address)}:{self.port}"


@asynccontextmanager
async def nginx(root: Path, folder: Path, address: str) -> AsyncIterator[Nginx]:
    """A real nginx that serves `root` on a free port of an address of the kernel; its files are in `folder`."""
    with listening(address) as sock:
        port = sock.getsockname()[1]  # free, and nobody else is in this namespace to take it
    configuration = folder / "nginx.conf"
    listen = f"{in_url(address)}:{port}"
    _write(configuration, NGINX.format(folder=folder, root=root, listen=listen))
    command = [program("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(configuration)]
    async with running(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        told = b""
        while b"getrlimit" not in told:  # the last that it tells before it serves; it listens by then
            piece = await process.stderr.receive_some()
            assert piece, f"nginx did not start: {told.decode()}"
            told += piece
        yield Nginx(process, address, port)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def in_url(address: str) -> str:
    """An address as a URL wants it."""
    return f"[{address}]" if ":" in address else address


# What the kernel says about itself.

CLEAN = ("TcpRetransSegs", "TcpInErrs", "TcpInCsumErrors", "IpInHdrErrors", "Ip6InHdrErrors")
"""Counters of the whole network namespace that clean TCP leaves alone."""


def nstat(*names: str) -> dict[str, int]:
    """The namespace's counters, absolute and without the history that nstat keeps."""
    return dict(json.loads(said("nstat", "--ignore", "--noupdate", "--zeros", "--json", *names))["kernel"])


def ss(*filters: str) -> str:
    """The kernel's TCP sockets, one a line, with all that it knows about them."""
    return said("ss", "--tcp", "--info", "--numeric", "--oneline", "--no-header", "--memory", "--options", *filters)
