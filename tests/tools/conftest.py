"""A place for newcomers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary directory that other users can reach; pytest's own are below one that only this user can."""
    with tempfile.TemporaryDirectory(prefix="tcpstack-test-") as name:
        yield Path(name)
