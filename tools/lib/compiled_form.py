"""A pytest plugin for a run against the compiled core (`tools/test --compiled`).

Compiled code has no seams: its functions call each other directly, its constants stand where they are used, and its
attributes hold what their types say. So a test that puts something of its own in place of a part of the core can't
work there. It is marked `interpreted`, and is left out here and nowhere else. What the mark is *not* for: a test that
fails because the compiled form behaves differently.
"""

from __future__ import annotations

import pytest

from stack.wire.compiling import is_compiled

_left_out = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    if not is_compiled():
        raise pytest.UsageError(
            "the core that these tests would run is interpreted: start them by tools/test --compiled"
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if item.get_closest_marker("interpreted") is not None]
    items[:] = [item for item in items if item.get_closest_marker("interpreted") is None]
    config.stash[_left_out] = len(left_out)
    config.hook.pytest_deselected(items=left_out)


def pytest_report_header() -> str:
    return "core: compiled"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    number = config.stash.get(_left_out, 0)
    if number:
        terminalreporter.write_line(f"{number} tests that replace parts of the core were left out (mark: interpreted)")
