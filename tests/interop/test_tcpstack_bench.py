"""`tcpstack bench` against the kernel: that every figure is measured. How fast it is, is nobody's business here."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.programs import CHECKOUT, command_line, environment, finish, start, tcpstack

SHORT = ("--runs", "1", "--seconds", "0.05", "--connections", "30", "--json")
NAMES = [
    "recv", "send", "bidirectional", "recv-8", "send-8", "recv-plain", "send-plain",
    "latency", "latency-p50", "latency-p99", "busy-recv-p99", "busy-send-p99",
    "connections-1", "connections-32", "cpu-recv", "cpu-send", "memory", "scale-10", "scale", "idle-cpu", "lag-p99",
]  # fmt: skip
ALONE = {"memory", "idle-cpu", "lag-p99"}


def bench(*arguments: str) -> dict[str, Any]:
    ran = tcpstack("bench", *SHORT, *arguments)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    summary: dict[str, Any] = json.loads(ran.stdout)
    assert summary["errors"] == []
    assert not any("this stack said" in note for note in summary["notes"])
    return summary


def test_every_figure_beside_its_ceiling() -> None:
    summary = bench()
    assert [row["name"] for row in summary["results"]] == NAMES
    for row in summary["results"]:
        assert row.keys() == {"name", "value", "unit", "ceiling", "ratio", "min", "max"}
        assert row["min"] == row["value"] == row["max"]  # of one run
        assert row["value"] > 0 or row["name"] == "idle-cpu"
        if row["name"] in ALONE:
            assert row["ceiling"] is row["ratio"] is None
        else:
            assert row["ratio"] == pytest.approx(row["value"] / row["ceiling"], rel=1e-3)
    by_name = {row["name"]: row["value"] for row in summary["results"]}
    assert by_name["latency-p50"] <= by_name["latency-p99"]
    assert [relation["name"] for relation in summary["relations"]] == ["recv", "recv-plain", "latency"]
    assert all(relation["loop_over_forwarder"] > 0 for relation in summary["relations"])
    assert isinstance(summary["compiled"], bool)
    assert {"cpu", "cores", "kernel", "python"} <= summary["machine"].keys()


def test_more_runs_have_a_range() -> None:
    [row] = bench("--only", "latency-p50", "--runs", "3")["results"]
    assert row["min"] <= row["value"] <= row["max"] > row["min"]


def test_without_a_compiler_python_takes_its_place(tmp_path: Path) -> None:
    shutil.copytree(CHECKOUT / "tools/ceilings", tmp_path / "ceilings")
    for program in (tmp_path / "ceilings").glob("*.c"):
        program.write_text("#error\n")
    summary = bench("--only", "connections", "--only", "recv", "--ceilings", str(tmp_path / "ceilings"))
    recv, *connections = summary["results"]
    assert recv["value"] > 0
    assert recv["ceiling"] > 0
    for row in connections:
        assert row["value"] > 0
        assert row["ceiling"] is row["ratio"] is None
    assert sum("Python takes its place" in note for note in summary["notes"]) == 2


@pytest.mark.parametrize("are_there", [True, False])
def test_an_installed_package_has_ceilings_of_its_own(tmp_path: Path, are_there: bool) -> None:
    shutil.copytree(CHECKOUT / "stack", tmp_path / "stack", ignore=shutil.ignore_patterns("__pycache__"))
    if are_there:  # as tools/lib/hatch_build.py puts them into a wheel
        shutil.copytree(CHECKOUT / "tools/ceilings", tmp_path / "stack/observe/bench/ceilings")
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "stack", "bench", *SHORT, "--only", "recv"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    summary = json.loads(ran.stdout)
    [row] = summary["results"]
    assert row["value"] > 0
    assert (row["ceiling"] is not None) == (row["ratio"] is not None) == are_there
    assert any("the ceilings are not here" in note for note in summary["notes"]) is not are_there


def test_a_contender_that_fails_is_told(tmp_path: Path) -> None:
    shutil.copytree(CHECKOUT / "tools/ceilings", tmp_path / "ceilings")
    (tmp_path / "ceilings/loop.py").write_text("raise SystemExit('no loop today')\n")
    ran = tcpstack("bench", *SHORT, "--only", "cpu-recv", "--ceilings", str(tmp_path / "ceilings"))
    assert ran.returncode == 1
    summary = json.loads(ran.stdout)
    assert summary["results"][0]["value"] > 0
    assert summary["errors"] == ["recv, the least loop: no loop today"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_interrupted_it_leaves_nothing_behind(
    number: signal.Signals, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process = start("bench", "--runs", "1000", "--only", "recv", "--json")
    while not (left := measuring(process.pid)):
        assert process.poll() is None
    process.send_signal(number)
    assert finish(process)[0] == status
    assert number == signal.SIGKILL or list(tmp_path.iterdir()) == []
    for pid in left:
        while is_running(pid):  # a process that is killed needs a moment; one that is not hangs this test
            pass


def measuring(pid: int) -> list[int]:
    """The children of a benchmark, once the kernel's side is among them."""
    try:
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        lines = [Path(f"/proc/{child}/cmdline").read_text() for child in children]
    except OSError:
        return []
    return children if any("peer.py" in line for line in lines) else []


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_more_connections_than_a_process_may_have_files() -> None:
    limited = ["setpriv", "--bounding-set", "-sys_resource", "--inh-caps", "-sys_resource", "--"]
    limited += ["bash", "-c", 'ulimit -n 130 && exec "$@"', "bash"]
    command = command_line("bench", *SHORT, "--connections", "40", "--only", "memory", "--only", "scale")
    ran = subprocess.run([*limited, *command], env=environment(), capture_output=True, text=True, check=False)
    summary = json.loads(ran.stdout)
    assert summary["errors"] == []
    assert all(row["value"] > 0 for row in summary["results"] if row["name"] != "idle-cpu")
    assert any(note.startswith("scale has 30 flows at most") for note in summary["notes"])
