"""`tools/bench peers`: that it measures who is there, and says who is not."""

from __future__ import annotations

import json

from tests.interop.test_bench import bench

COLUMNS = ["in MB/s", "out MB/s", "round trips/s", "conn/s, 1", "conn/s, 32", "CPU s/GB in", "CPU s/GB out"]


def test_this_stack_is_always_there() -> None:
    ran = bench("peers", "--json", "--runs", "1", "--seconds", "0.05", "--only", "this stack")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    summary = json.loads(ran.stdout)
    assert summary["errors"] == []
    assert summary["compiled"] is False  # from the checkout, and not by way of tools/bench
    assert any(note.startswith("interpreted: see docs/compiled.md") for note in summary["notes"])
    assert list(summary["contenders"]) == ["this stack", "this stack, no offload"]
    for columns in summary["contenders"].values():
        assert list(columns) == COLUMNS
        assert all(0 < value["min"] == value["value"] == value["max"] for value in columns.values())


def test_the_table_tells_form_and_runs() -> None:
    ran = bench("peers", "--runs", "2", "--seconds", "0.02", "--only", "this stack")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "this stack is interpreted; medians of 2 runs" in ran.stdout


def test_who_is_there_has_a_row_and_who_is_not_a_note() -> None:
    ran = bench("peers", "--json", "--runs", "1", "--seconds", "0.02")
    summary = json.loads(ran.stdout)
    assert ran.returncode == 0, summary["errors"]
    present = {name.partition(",")[0] for name in summary["contenders"]}
    [missing] = [note for note in summary["notes"] if note.startswith("not installed")] or [""]
    packages = {"lwIP": "liblwip-dev", "slirp4netns": "slirp4netns", "pasta": "passt"}
    assert {name for name, package in packages.items() if package not in missing} | {"this stack"} == present


def test_a_name_that_nobody_has() -> None:
    ran = bench("peers", "--only", "smoltcp")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "none of these is here: smoltcp" in ran.stderr
