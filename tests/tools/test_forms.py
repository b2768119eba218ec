"""tools/lib/forms.py: that its loads run; what they gain is for people to read."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from stack.wire.compiling import is_compiled
from tests.tools.newcomer import CHECKOUT


def forms(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", str(CHECKOUT / "tools/lib/forms.py"), *words]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_every_load_gives_a_figure() -> None:
    done = forms("measure", "1")
    result = json.loads(done.stdout)
    assert result["compiled"] is is_compiled() is False
    assert len(result["figures"]) == 7
    assert all(figure > 0 for figure in result["figures"].values())


def test_two_times_the_same_form_is_no_comparison() -> None:
    done = forms("compare", str(CHECKOUT), "1")
    assert done.returncode == 1
    assert f"{CHECKOUT} is not compiled" in done.stderr


def test_without_words_it_says_what_it_is() -> None:
    done = forms()
    assert done.returncode == 2
    assert "forms.py compare DIR" in done.stderr
