"""The real programs that the demo talks to: curl, nginx, or Python's own web server in nginx's place.

Only processes that are started here are ended here. Each is in a session of its own, so that Ctrl-C reaches
this process alone, which then ends them in order; and the kernel ends them with this process, however that
ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from stack.cli.terminal import CommandError

PORT = 80
STARTING = 10.0  #: Seconds that a server gets to listen.
FETCHING = 20  #: Seconds that curl gets.

NGINX = """\
daemon off;
master_process off;
user root root;
pid "{folder}/nginx.pid";
error_log stderr warn;
events {{ worker_connections 64; }}
http {{
    access_log off;
    default_type application/octet-stream;
    types {{ text/html html; }}
    client_body_temp_path "{folder}/body";
    proxy_temp_path "{folder}/proxy";
    fastcgi_temp_path "{folder}/fastcgi";
    uwsgi_temp_path "{folder}/uwsgi";
    scgi_temp_path "{folder}/scgi";
    server {{
        listen {listen};
        root "{root}";
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A web server in the kernel's half of the world."""

    name: str
    note: str = ""


async def curl(url: str, folder: Path) -> bytes:
    """What the real curl gets from a URL, by way of `folder`. Raises `CommandError` with what it said."""
    body = folder / "curl.body"
    command = ["curl", "-q", "--silent", "--show-error", "--fail", "--noproxy", "*"]  # -q: without ~/.curlrc
    command += ["--max-time", str(FETCHING), "--output", str(body), url]
    async with _running(_Program(command, folder / "curl.log")) as program:
        if await program.wait() != 0:
            raise CommandError(f"curl failed: {await program.last_words()}")
    return await trio.to_thread.run_sync(body.read_bytes)


@asynccontextmanager
async def web_server(root: Path, address: str) -> AsyncIterator[Peer]:
    """The real nginx on an address of the kernel; where it is missing, Python's http.server."""
    folder = root.parent
    nginx = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]))
    if nginx is not None:
        listen = f"[{address}]:{PORT}" if ":" in address else f"{address}:{PORT}"
        configuration = folder / "nginx.conf"
        configuration.write_text(NGINX.format(folder=folder, root=root, listen=listen), encoding="utf-8")
        command = [nginx, "-p", str(folder), "-e", "stderr", "-c", str(configuration)]
        peer = Peer("nginx")
    else:
        command = [sys.executable, "-P", "-m", "http.server", str(PORT)]
        command += ["--bind", address, "--directory", str(root), "--protocol", "HTTP/1.1"]
        peer = Peer("http.server", "nginx is not installed (apt install nginx): Python's http.server instead")
    async with _running(_Program(command, folder / "server.log")) as program:
        await _listening(address, peer.name, program)
        yield peer


class _Program:
    """A program that runs until it ends, is ended here, or by the kernel together with this process."""

    def __init__(self, command: list[str], log: Path) -> None:
        setpriv = shutil.which("setpriv")
        if setpriv is not None:  # it dies with the thread that started it, so that must be the main one
            command = [setpriv, "--pdeathsig", "KILL", "--", *command]
        self._log = log
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        self._handle = os.pidfd_open(self._popen.pid)  # readable when it has ended

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    async def last_words(self) -> str:
        """What it has printed, or what ended it."""
        status = self._popen.poll()
        if status is not None and status < 0:
            # Ctrl-C in the moment between fork and the new session reaches it too. Ours is told within this time.
            await trio.sleep(1)
            return f"ended by {signal.Signals(-status).name}"
        return self._log.read_text(encoding="utf-8", errors="replace").strip() or f"exit status {status}"

    async def wait(self) -> int:
        """Wait for its end; returns its exit status."""
        await trio.lowlevel.wait_readable(self._handle)
        return self._popen.wait()

    async def end(self) -> None:
        """Ask it to end, insist if it doesn't, and wait for it."""
        self._popen.terminate()
        with trio.CancelScope(shield=True):
            with trio.move_on_after(2):
                await self.wait()
            self._popen.kill()
            await self.wait()
        os.close(self._handle)


@asynccontextmanager
async def _running(program: _Program) -> AsyncIterator[_Program]:
    try:
        yield program
    finally:
        await program.end()


async def _listening(address: str, name: str, program: _Program) -> None:
    """Return when something accepts connections there. They stay within the kernel: none crosses our device."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with trio.move_on_after(STARTING):
        while program.running:
            with trio.socket.socket(family, socket.SOCK_STREAM) as probe:
                try:
                    await probe.connect((address, PORT))
                    return
                except OSError:
                    await trio.sleep(0.02)
    raise CommandError(f"{name} did not start to listen on {address}: {await program.last_words()}")
