"""`tcpstack bench`: options, table, and what is said where something is missing. It measures in tests/interop."""

from __future__ import annotations

import argparse
import errno
import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from stack.cli import bench, sandbox
from stack.cli.main import build_parser, main
from stack.cli.terminal import FAILURE, SUCCESS, USAGE
from stack.observe.bench import machine, samples
from stack.observe.bench.samples import Plan, SampleError

CEILINGS = Path(__file__).resolve().parents[2] / "tools/ceilings"


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """No sandbox and no samples: each contender has its numbers, and one of them fails if it is told to."""
    asked: list[tuple[str, str]] = []

    def take(plan: Plan, contender: str, load: str) -> dict[str, Any]:
        asked.append((contender, load))
        if plan.connections == 66 and contender == "loop":
            raise SampleError("it has [ended]")
        speed = {"ours": 900, "loop": 1300, "forward": 1000}[contender]
        numbers = {"bytes": speed * 1e6, "seconds": 1.0, "cpu": 0.1, "each": 4000.0, "count": 5000, "idle": 0.0}
        return {**numbers, "said": "Oops" * (load == "send")}

    monkeypatch.setattr(bench, "take", take)
    monkeypatch.setattr(machine, "busy", lambda: 0.0)
    monkeypatch.setattr(sandbox, "enter", lambda arguments, command: None)
    monkeypatch.setattr(bench, "_obey_signals", lambda: None)
    return asked


def test_a_table(taken: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--only", "recv", "--only", "memory", "--runs", "2"]) == SUCCESS
    lines = capsys.readouterr().out.splitlines()
    [recv] = [line.split() for line in lines if line.startswith(" recv ")]
    assert recv == ["recv", "900", "900-900", "MB/s", "1,000", "0.90", "the", "forwarder"]
    [memory] = [line.split() for line in lines if line.startswith(" memory ")]
    assert memory == ["memory", "4,000", "4,000-4,000", "bytes", "-", "-", "-"]
    assert "recv: loop 1,300, forwarder 1,000 MB/s: 1.30, usually 1.3" in lines
    assert taken.count(("ours", "recv")) == 2


def test_a_relation_that_is_off_is_said(taken: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--only", "recv-plain", "--runs", "1"]) == SUCCESS
    out = capsys.readouterr().out
    assert "recv-plain: loop 1,300, forwarder 1,000 MB/s: 1.30, usually 0.74; more than 30 % off: one of" in out


def test_a_sample_that_fails(taken: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--only", "recv", "--runs", "3", "--connections", "66"]) == FAILURE
    out = capsys.readouterr().out
    assert out.count("failed: recv, the least loop: it has [ended]") == 1
    assert "900" in out


def test_what_this_stack_complains_of_is_a_note(
    taken: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--only", "send", "--runs", "1"]) == SUCCESS
    assert "note: send: this stack said: Oops" in capsys.readouterr().out


def test_without_the_ceilings(
    taken: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "CEILINGS", (tmp_path / "checkout", tmp_path / "package"))
    assert main(["bench", "--only", "recv", "--runs", "1"]) == SUCCESS
    out = capsys.readouterr().out
    assert "note: the ceilings are not here" in out
    [recv] = [line.split() for line in out.splitlines() if line.startswith(" recv ")]
    assert recv == ["recv", "900", "900-900", "MB/s", "-", "-", "-"]
    assert taken == [("ours", "recv")]


def test_the_ceilings_of_a_checkout_come_before_those_of_a_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    places = (tmp_path / "checkout", tmp_path / "package")
    monkeypatch.setattr(bench, "CEILINGS", places)
    for place in reversed(places):
        place.mkdir()
        assert bench._ceilings(None) is None or place == places[0]
        (place / "loop.py").touch()
        assert bench._ceilings(None) == place
    assert bench._ceilings(CEILINGS) == CEILINGS
    assert list(samples.CEILINGS) == [CEILINGS, Path(samples.__file__).parent / "ceilings"]


def test_without_a_compiler_connections_have_no_ceiling(
    taken: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(samples, "_compile", lambda source, target: "cc is not installed")
    assert main(["bench", "--only", "connections-1", "--only", "recv", "--runs", "1", "--json"]) == SUCCESS
    summary = json.loads(capsys.readouterr().out)
    recv, connections = summary["results"]
    assert recv["ceiling"] == 1000
    assert connections["value"] == 5000
    assert connections["ceiling"] is connections["ratio"] is None
    assert any(note.endswith("connections have no ceiling") for note in summary["notes"])


def test_few_files_are_a_note_where_they_matter(
    taken: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "allow_files", lambda number: 130)
    for name, expected in (("recv", False), ("memory", False), ("idle-cpu", True)):
        assert main(["bench", "--only", name, "--runs", "1"]) == SUCCESS
        assert ("scale has 30 flows at most" in capsys.readouterr().out) is expected


def test_the_form_that_is_not_meant_to_be_measured_is_told(
    taken: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for is_compiled in (False, True):
        monkeypatch.setattr(bench, "is_compiled", lambda is_compiled=is_compiled: is_compiled)
        assert main(["bench", "--only", "recv", "--runs", "1"]) == SUCCESS
        assert ("note: interpreted: see docs/compiled.md" in capsys.readouterr().out) is not is_compiled


class Full(io.StringIO):
    """As a file on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_full_disk_is_told_in_a_line(
    options: list[str],
    taken: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    assert main(["bench", "--only", "recv", "--runs", "1", *options]) == FAILURE
    assert capsys.readouterr().err == "error: No space left on device\n"


def test_ceilings_that_are_not_where_they_should_be(
    taken: list[tuple[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--ceilings", str(tmp_path)]) == FAILURE
    assert f"the ceilings are not in {tmp_path}" in capsys.readouterr().err
    assert main(["bench", "--ceilings", str(CEILINGS), "--only", "memory"]) == SUCCESS


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--only", "speed"], "there is no figure speed; there are recv"),
        (["--runs", "0"], "not a number from 1"),
        (["--seconds", "now"], "not a number of seconds"),
        (["--connections", "3"], "not a number from 20"),
    ],
)
def test_wrong_usage(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(["bench", *arguments])
    except SystemExit as left:
        status = int(left.code or 0)
    assert status == USAGE
    assert says in capsys.readouterr().err


def test_inside_it_has_the_same_arguments() -> None:
    given = [
        "bench",
        "--json",
        "--only",
        "recv",
        "--only",
        "cpu",
        "--runs",
        "2",
        "--seconds",
        "0.5",
        "--ceilings",
        "/c",
    ]
    arguments = build_parser().parse_args(given)
    again = build_parser().parse_args(bench._again(arguments))
    assert vars(again) == vars(arguments)
    assert vars(build_parser().parse_args(["bench"])) == vars(_again([]))


def _again(arguments: list[str]) -> argparse.Namespace:
    parsed = build_parser().parse_args(["bench", *arguments])
    return build_parser().parse_args(bench._again(parsed))


def test_missing_programs_are_named(
    taken: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None if program == "nsenter" else program)
    assert main(["bench"]) == FAILURE
    assert "nsenter is not installed\n       install it: apt install util-linux" in capsys.readouterr().err


def test_the_checkout_has_what_is_compiled() -> None:
    with samples.compiled(CEILINGS) as (forwarder, helper, notes):
        assert notes == []
        assert all(Path(file).is_file() for file in (*forwarder, helper))
