"""Hatchling's hook: with TCPSTACK_COMPILE=1 in the environment, a wheel has the core compiled beside its source.
Every wheel has the programs of tools/ceilings in its package, for `tcpstack bench`.

    TCPSTACK_COMPILE=1 pip install .

Only who asks for it needs a compiler, and then a failure is an error: nobody gets the other form unawares. Without the
variable the wheel is pure Python, for every machine. An editable install is always interpreted, since extension
modules in the source tree would hide what is edited there; `tools/compile` is for a checkout.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SWITCH = "TCPSTACK_COMPILE"
CEILINGS = "stack/observe/bench/ceilings"  #: Where a wheel has them, and `stack.observe.bench.samples` looks for them.


def is_asked_for() -> bool:
    """Whether the switch is on; `ValueError` for what is neither yes nor no."""
    value = os.environ.get(SWITCH, "")
    if value not in ("", "0", "1"):
        raise ValueError(f"{SWITCH} must be 1 or 0, not {value!r}")
    return value == "1"


class CompiledCore(BuildHookInterface[Any]):
    """Adds what lies elsewhere in the checkout, and the extension modules to a wheel that shall have them."""

    _scratch: tempfile.TemporaryDirectory[str] | None = None

    def dependencies(self) -> list[str]:
        """What the build needs beside hatchling: for compiling, the extra of that name."""
        return self.metadata.core.optional_dependencies["compile"] if is_asked_for() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a wheel is put together."""
        if version == "editable":
            return  # it finds all in the checkout; a copy beside it would only become old
        build_data["force_include"][str(Path(self.root, "tools/ceilings"))] = CEILINGS
        if not is_asked_for():
            return
        self._scratch = tempfile.TemporaryDirectory()
        target = Path(self._scratch.name)
        # A process of its own: setuptools and mypyc keep state, and end the process when something is wrong.
        command = [sys.executable, str(Path(self.root, "tools/lib/compiler.py")), str(target)]
        if subprocess.run(command, check=False).returncode != 0:
            self._scratch.cleanup()
            raise RuntimeError(f"the core can't be compiled (see above); without {SWITCH} the wheel is pure Python")
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        for path in target.rglob("*"):
            if path.is_file():
                build_data["force_include"][str(path)] = path.relative_to(target).as_posix()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called when the wheel is there."""
        if self._scratch is not None:
            self._scratch.cleanup()
