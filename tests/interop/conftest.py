"""What the tests against real peers share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.lab import content
from tests.interop.programs import PROGRAMS, program

SIZES = (0, 1, 1459, 1460, 1461, 65_536, 100_000_000)


@pytest.fixture(scope="session", autouse=True)
def _equipped() -> None:
    """A network namespace of our own, and every program."""
    if not os.environ.get("TCPSTACK_SANDBOX"):
        pytest.fail("these tests need a network namespace of their own: run tools/test", pytrace=False)
    for name in PROGRAMS:
        program(name)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory to serve: a file of each size, named by it."""
    root = tmp_path_factory.mktemp("site")
    root.chmod(0o755)
    for size in SIZES:
        (root / str(size)).write_bytes(content(size))
    yield root
    shutil.rmtree(root)
