"""What is in a wheel of this checkout. Built by hatchling, interpreted; the compiled one has the same and more."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.tools.newcomer import CHECKOUT

CEILINGS = "stack/observe/bench/ceilings/"


def build(form: str, target: Path) -> list[str]:
    """Names of the files in a wheel of that form."""
    program = "import sys; from hatchling.builders.wheel import WheelBuilder as W; "
    program += "print(*W(sys.argv[1]).build(directory=sys.argv[2], versions=[sys.argv[3]]))"
    ran = subprocess.run(
        [sys.executable, "-P", "-c", program, str(CHECKOUT), str(target), form],
        env={**os.environ, "TCPSTACK_COMPILE": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    with zipfile.ZipFile(ran.stdout.strip()) as wheel:
        return wheel.namelist()


def test_it_has_the_package_and_the_programs_of_the_ceilings(tmp_path: Path) -> None:
    names = build("standard", tmp_path)
    programs = {path.name for path in (CHECKOUT / "tools/ceilings").iterdir() if path.is_file()}
    assert {name.removeprefix(CEILINGS) for name in names if name.startswith(CEILINGS)} == programs
    assert {"loop.py", "forward.c", "forward.py", "connections.c"} <= programs
    assert {"stack/cli/main.py", "stack/observe/bench/peer.py"} <= set(names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"stack", "tcpstack"}


def test_an_editable_one_has_no_copy_that_could_become_old(tmp_path: Path) -> None:
    assert not any(name.startswith("stack/") for name in build("editable", tmp_path))
