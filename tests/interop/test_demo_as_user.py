"""tools/demo as a newcomer runs it: an ordinary user, with no home, in a clone of their own or one that they can only
read.

The clone is a copy of this checkout. Its environment is the one that these tests run in, put in place by a bind mount
in a mount namespace; the demo finds it current and installs nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
NOBODY = 65534
MOST = 60  #: Seconds after which a demo hangs; it takes about three.


def is_mapped(uid: int) -> bool:
    """Whether this user namespace has that user. tools/lib/sandbox gives an ordinary user one that has only root."""
    ranges = [[int(word) for word in line.split()] for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(first <= uid < first + count for first, _, count in ranges)


class Newcomer:
    """Somebody without privileges, who has a clone and a scratch directory."""

    def __init__(self, folder: Path, *, read_only: bool) -> None:
        self.clone, self.scratch = folder / "tcpstack", folder / "scratch"
        self._read_only = read_only
        folder.chmod(0o755)  # TemporaryDirectory's, and pytest's tmp_path, are for their own user only
        self.scratch.mkdir()
        self.clone.mkdir()
        for name in ("stack", "tools"):
            shutil.copytree(CHECKOUT / name, self.clone / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(CHECKOUT / "pyproject.toml", self.clone)
        (self.clone / ".venv").mkdir()
        if is_mapped(NOBODY):
            for directory, _, files in os.walk(folder):
                for path in (directory, *(os.path.join(directory, file) for file in files)):
                    os.chown(path, NOBODY, NOBODY)
        self.where = self.scratch if read_only else self.clone

    @contextlib.contextmanager
    def starts(self, *command: str) -> Iterator[subprocess.Popen[str]]:
        """The running command; it and all that it started are gone at the end."""
        if is_mapped(NOBODY):
            become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all"]
        else:
            become = ["unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}"]
        script = (
            'mount --bind "$1" "$2/.venv"; '
            + ('mount --rbind "$2" "$2"; mount -o remount,bind,ro "$2"; ' if self._read_only else "")
            + 'cd "$3"; shift 3; exec "$@"'
        )
        places = [sys.prefix, str(self.clone), str(self.where)]
        process = subprocess.Popen(
            ["unshare", "--mount", "bash", "-ec", script, "bash", *places, *become, "--", *command],
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "TMPDIR": str(self.scratch)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        with process:
            try:
                yield process
            finally:
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def runs(self, *command: str) -> tuple[int, str, str]:
        """Status, output and errors."""
        with self.starts(*command) as process:
            output, errors = process.communicate(timeout=MOST)
        return process.returncode, output, errors


@pytest.fixture(params=["own clone", "read-only clone"])
def newcomer(request: pytest.FixtureRequest) -> Iterator[Newcomer]:
    with tempfile.TemporaryDirectory(prefix="tcpstack-test-") as folder:
        yield Newcomer(Path(folder), read_only=request.param == "read-only clone")


def processes() -> set[str]:
    return {entry for entry in os.listdir("/proc") if entry.isdigit()}


def devices() -> set[str]:
    return set(os.listdir("/sys/class/net"))


def test_the_newcomer_has_no_privileges(newcomer: Newcomer) -> None:
    script = 'id -u; grep CapEff /proc/self/status; echo "${HOME:-no home}"; ip link add x type dummy'
    _, output, errors = newcomer.runs("bash", "-c", script)
    assert output.splitlines() == [str(NOBODY), "CapEff:\t0000000000000000", "no home"]
    assert "Operation not permitted" in errors


def test_demo(newcomer: Newcomer) -> None:
    before = processes(), devices()
    status, output, errors = newcomer.runs(str(newcomer.clone / "tools/demo"))

    assert (status, errors) == (0, ""), output + errors
    first, second = re.split(r"^2  ", output, flags=re.MULTILINE)
    assert "curl fetches a page from this stack" in first
    assert "this stack fetches a page from nginx" in second
    for ladder in (first, second):
        assert "three-way handshake 3/3" in ladder
        assert "four-way close 4/4" in ladder

    capture = re.search(r"wireshark (\S+)", output)
    assert capture is not None
    path = newcomer.where / capture[1]
    syn_only = "tcp.flags.syn == 1 && tcp.flags.ack == 0"
    command = ["tshark", "-r", str(path), "-Y", syn_only, "-T", "fields", "-e", "frame.number"]
    syns = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(syns) == 4  # a page and a file, each way

    assert list(newcomer.scratch.iterdir()) == ([path] if path.parent == newcomer.scratch else [])
    assert (processes(), devices()) == before


def test_demo_ends_on_ctrl_c(newcomer: Newcomer) -> None:
    before = processes(), devices()
    with newcomer.starts(str(newcomer.clone / "tools/demo")) as demo:
        assert demo.stdout is not None
        assert "A TCP in Python" in demo.stdout.readline()
        os.killpg(demo.pid, signal.SIGINT)
        _, errors = demo.communicate(timeout=MOST)

    assert (demo.returncode, errors) == (130, "")
    assert [path for path in newcomer.scratch.iterdir() if path.suffix != ".pcapng"] == []
    assert (processes(), devices()) == before
