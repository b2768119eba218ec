"""An ordinary user without privileges and without a home, who has cloned this project."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
NOBODY = 65534
MOST = 60  #: Seconds after which a command of theirs hangs; the demo takes about three.


def is_mapped(uid: int) -> bool:
    """Whether this user namespace has that user. tools/lib/sandbox gives an ordinary user one that has only root."""
    ranges = [[int(word) for word in line.split()] for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(first <= uid < first + count for first, _, count in ranges)


class Newcomer:
    """Who has a copy of this checkout, of their own or one that they can only read, and a scratch directory.

    With `environment`, the clone's .venv is the environment that these tests run in, put in place by a bind mount, so
    that nothing needs installing. `without` names programs that they find not to be installed; `machine` is what
    root of their mount namespace did before, as shell commands.
    """

    def __init__(
        self,
        folder: Path,
        *,
        read_only: bool = False,
        environment: bool = True,
        without: Iterable[str] = (),
        machine: Iterable[str] = (),
    ) -> None:
        self.clone, self.scratch = folder / "tcpstack", folder / "scratch"
        self.where = self.scratch if read_only else self.clone
        folder.chmod(0o755)  # what pytest and tempfile make is for their own user only
        self.scratch.mkdir()
        self.clone.mkdir()
        for name in ("stack", "tools"):
            shutil.copytree(CHECKOUT / name, self.clone / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(CHECKOUT / "pyproject.toml", self.clone)
        self._machine = [*machine, *(f"mount --bind /dev/null {shutil.which(program)}" for program in without)]
        if environment:
            (self.clone / ".venv").mkdir()
            self._machine.append(f"mount --bind {sys.prefix} {self.clone}/.venv")
        if read_only:
            self._machine += [f"mount --rbind {self.clone} {self.clone}", f"mount -o remount,bind,ro {self.clone}"]
        if is_mapped(NOBODY):
            shutil.chown(folder, NOBODY, NOBODY)
            for path in folder.rglob("*"):
                shutil.chown(path, NOBODY, NOBODY)
            self._become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all"]
        else:
            self._become = ["unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}"]

    @contextlib.contextmanager
    def starts(self, *command: str) -> Iterator[subprocess.Popen[str]]:
        """The running command, in a mount namespace and a session of its own; all of it is gone at the end."""
        script = "; ".join([*self._machine, f"cd {self.where}", 'exec "$@"'])
        process = subprocess.Popen(
            ["unshare", "--mount", "bash", "-ec", script, "bash", *self._become, "--", *command],
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
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def runs(self, *command: str) -> tuple[int, str, str]:
        """Status, output and errors."""
        with self.starts(*command) as process:
            output, errors = process.communicate(timeout=MOST)
        return process.returncode, output, errors

    def demo(self) -> tuple[int, str, str]:
        """The same for tools/demo."""
        return self.runs(str(self.clone / "tools/demo"))


def processes() -> set[str]:
    """All that this process namespace has."""
    return {entry for entry in os.listdir("/proc") if entry.isdigit()}


def devices() -> set[str]:
    """All that this network namespace has."""
    return set(os.listdir("/sys/class/net"))
