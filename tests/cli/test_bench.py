"""`tcpstack bench`: options, table, and what is said where something is missing. It measures in tests/interop."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import pytest

from stack.cli import bench, sandbox
from stack.cli.main import build_parser, main
from stack.cli.terminal import FAILURE, SUCCESS, USAGE
from stack.observe.bench import samples
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
        return {"bytes": speed * 1e6, "seconds": 1.0, "cpu": 0.1, "each": 4000.0, "said": "Oops" * (load == "send")}

    monkeypatch.setattr(bench, "take", take)
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
    assert "recv: the loop is 1.30 of the forwarder's (usually 1.3)" in lines
    assert taken.count(("ours", "recv")) == 2


def test_a_relation_that_is_off_is_said(taken: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--only", "recv-plain", "--runs", "1"]) == SUCCESS
    assert "recv-plain: the loop is 1.30 of the forwarder's (usually 0.74): this is more than 30 % off" in (
        capsys.readouterr().out
    )


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
    monkeypatch.setattr(bench, "PACKAGE", tmp_path)
    assert main(["bench", "--only", "recv", "--runs", "1"]) == SUCCESS
    assert "note: the ceilings are not here" in capsys.readouterr().out
    assert taken == [("ours", "recv")]


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
