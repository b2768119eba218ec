"""The command `tcpstack` as a process, in the network namespace of the tests."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
_networks = itertools.count(1)


@pytest.fixture
def wire() -> Wire:
    """Networks of both families that no other test uses."""
    if not os.environ.get("TCPSTACK_SANDBOX"):
        pytest.fail("these tests need a network namespace of their own: run tools/test", pytrace=False)
    return Wire(next(_networks))


class Wire:
    """The two ends of a device that a command makes."""

    def __init__(self, number: int) -> None:
        self.kernel, self.kernel6 = f"10.66.{number}.1", f"fd66:{number:x}::1"
        self.ours, self.ours6 = f"10.66.{number}.2", f"fd66:{number:x}::2"
        self.nobody = f"10.66.{number}.99"
        self.options = ["--tun", "tcpscli%d", "--kernel", f"{self.kernel}/24", "--kernel", f"{self.kernel6}/64"]

    def tcpstack(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return tcpstack(command, *arguments, *self.options)

    @contextlib.contextmanager
    def serving(self, *arguments: str) -> Iterator[Server]:
        """A `tcpstack serve --json` that listens; it must not be running any more at the end."""
        process = start("serve", *arguments, "--json", *self.options)
        try:
            server = Server(process)
            yield server
        finally:
            if process.returncode is None:
                process.terminate()
                finish(process)


class Server:
    """A server, and what it says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.listening = self.event("listening")

    def event(self, name: str) -> dict[str, Any]:
        """The next event of that name."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event: dict[str, Any] = json.loads(line)
            if event["event"] == name:
                return event
        raise AssertionError(f"no {name!r}: {self.process.stderr.read() if self.process.stderr else ''}")


def command_line(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "stack", *arguments]


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), "LANG": "C.UTF-8", **changes}


def start(*arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    """Begin a command, in a process group of its own."""
    return subprocess.Popen(
        command_line(*arguments),
        env=environment(),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for its end: status, the output that was not read yet, errors.

    Not `communicate`: that misses lines which were read ahead. There are few errors, so reading them last is safe.
    """
    with process:
        output = process.stdout.read() if process.stdout else ""
        errors = process.stderr.read() if process.stderr else ""
    return process.returncode, output, errors


def tcpstack(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    process = start(*arguments, cwd=cwd)
    return subprocess.CompletedProcess(process.args, *finish(process))
