"""A pytest plugin that measures the core's branch coverage, prints it, and fails the run below the bound.

`tools/test` loads it for a whole run only: a part of the tests covers a part of the code, and measuring makes
them slower. The bound holds for each of the packages by itself, and for branches, which is the stricter of
the usual two counts: a line that runs is not yet a decision taken both ways.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import coverage
import pytest

BOUND = 95.0  #: per cent of the branches of each package
PACKAGES = ("stack/wire", "stack/tcp", "stack/host")

#: Not measured: what these show is not which branch was taken, they run for long, and measuring would change the
#: timing that the kernel sees.
UNMEASURED = tuple(f"tests/{name}/" for name in ("interop", "properties", "sim"))


class Count(NamedTuple):
    """Lines or branches: how many there are, and how many ran."""

    total: int
    covered: int

    @property
    def percent(self) -> float:
        return 100.0 * self.covered / self.total if self.total else 100.0


class Coverage:
    """The measurement of one run. `rows` is filled when the tests have ended."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, Count, Count]] = []
        self.gaps: list[str] = []
        # The configuration (branches, what is left out) is in pyproject.toml.
        self._coverage = coverage.Coverage(data_file=None)
        self._coverage.start()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[None]:
        result = yield
        self._coverage.stop()
        if not session.config.option.collectonly:
            self._count()
            if any(branches.percent < BOUND for _, _, branches in self.rows):
                session.testsfailed += 1  # what pytest's exit status is made from
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        if not item.nodeid.startswith(UNMEASURED):
            return (yield)
        self._coverage.stop()
        try:
            return (yield)
        finally:
            self._coverage.start()

    def _count(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            report = Path(directory, "coverage.json")
            self._coverage.json_report(outfile=str(report))
            files = json.loads(report.read_text())["files"]
        for package in PACKAGES:
            mine = {name: data for name, data in files.items() if name.startswith(package + "/")}
            totals = [data["summary"] for data in mine.values()]
            lines = Count(sum(t["num_statements"] for t in totals), sum(t["covered_lines"] for t in totals))
            branches = Count(sum(t["num_branches"] for t in totals), sum(t["covered_branches"] for t in totals))
            self.rows.append((package, lines, branches))
            for name, data in sorted(mine.items()):
                self.gaps += [
                    f"{name}:{line} is never followed by {_target(to)}" for line, to in data["missing_branches"]
                ]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.rows:
            return
        write = terminalreporter.write_line
        terminalreporter.section("coverage")
        write(f"{'package':<12} {'lines':>8} {'':>8} {'branches':>9}")
        for package, lines, branches in self.rows:
            ok = branches.percent >= BOUND
            verdict = "" if ok else f"  below the bound of {BOUND:g} %"
            figures = f"{lines.total:>8} {lines.percent:>7.1f}% {branches.total:>9} {branches.percent:>7.1f}%"
            write(f"{package:<12} {figures}{verdict}", green=ok, red=not ok)
        for gap in self.gaps:
            write(gap)


def _target(line: int) -> str:
    return str(line) if line > 0 else "the end"


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Coverage(), "tcpstack-coverage")
