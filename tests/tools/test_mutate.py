"""The tool that breaks the core on purpose: which faults it makes, and that it tells tests that notice from others."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIB = ROOT / "tools/lib"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, LIB / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


mutants = load("mutants")


def variants(source: str) -> set[str]:
    """All that can become of a module's text."""
    made = set()
    for index in range(len(mutants.points(ast.parse(source)))):
        tree = ast.parse(source)
        mutants.points(tree)[index].apply()
        compile(tree, "a test", "exec")
        made.add(ast.unparse(tree))
    assert ast.unparse(ast.parse(source)) not in made
    return made


@pytest.mark.parametrize(
    ("source", "made"),
    [
        ("a < b", {"a <= b"}),
        ("a == b", {"a != b"}),
        ("a < b <= c", {"a <= b <= c", "a < b < c"}),
        ("x = a + b * c", {"x = a - b * c", "x = a + b // c"}),
        ("x = a and b", {"x = a or b"}),
        ("x = not a", {"x = a"}),
        ("x = -a", {"x = a"}),
        ("x = -1", {"x = 1"}),
        ("x = min(a, b)", {"x = max(a, b)"}),
        ("x = 41", {"x = 42"}),
        ("x = True", {"x = False"}),
        ("x = a if b else c", {"x = a if not b else c"}),
        ("x = a if b is c else d", {"x = a if b is not c else d"}),  # and not once more, negated
        ("x = [a for a in b if c]", {"x = [a for a in b if not c]"}),
        ("f(a)", {"if False:\n    f(a)"}),
        ("a.b = c", {"if False:\n    a.b = c"}),
        ("a += b", {"a -= b", "if False:\n    a += b"}),
        ("for a in b:\n    break", {"for a in b:\n    continue"}),
        ("def f():\n    return", {"def f():\n    if False:\n        return"}),
    ],
)
def test_faults(source: str, made: set[str]) -> None:
    assert variants(source) == made


@pytest.mark.parametrize(
    "source",
    [
        '"""text"""',
        "import a\nfrom b import c",
        '__slots__ = ("a",)',
        "if TYPE_CHECKING:\n    f()",
        "def f(a: int | None) -> int | None: ...",
        "a = 'text'",
        "class C:\n    def __init__(self):\n        self.a = b",
    ],
)
def test_what_is_left_alone(source: str) -> None:
    assert variants(source) == set()


def test_what_runs_at_import_is_told_from_functions() -> None:
    points = mutants.points(ast.parse("A = 1\ndef f(a=2):\n    return 3\nclass B:\n    b = 4\n    c = lambda: 5\n"))
    assert [(ast.unparse(point.old), point.import_time) for point in points] == [
        ("1", True),
        ("2", True),
        ("3", False),
        ("4", True),
        ("5", False),
    ]


def test_a_sample_is_the_same_each_time_and_has_something_of_each_file() -> None:
    everything = {file: mutants.mutants_of(ROOT, f"stack/tcp/{file}.py") for file in ("prr", "repair", "timers")}
    chosen = mutants.sample(everything, 60, 1)
    assert chosen == mutants.sample(everything, 60, 1) != mutants.sample(everything, 60, 2)
    counts = [sum(file in mutant.file for mutant in chosen) for file in everything]
    assert counts[1] > 10 * counts[2] >= 10
    assert counts[0] >= mutants.LEAST


def run(*arguments: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-P", str(LIB / "mutate.py"), "--json", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(LIB)})
    return ran.returncode, json.loads(ran.stdout) if ran.stdout else {}


def test_its_own_tests_notice_a_broken_file() -> None:
    before = (ROOT / "stack/tcp/prr.py").read_bytes()
    status, figures = run("--files", "prr", "--tests", "tests/tcp/unit/test_prr.py", "--sample", "10")
    assert status == 0
    assert figures["tried"] == figures["files"]["stack/tcp/prr.py"]["tried"] == 10
    assert figures["percent"] >= 80
    assert set(figures["killers"]) == {"tests/tcp/unit/test_prr.py"}
    assert (ROOT / "stack/tcp/prr.py").read_bytes() == before


def test_the_tests_of_something_else_do_not(tmp_path: Path) -> None:
    status, figures = run("--files", "prr", "--tests", "tests/tcp/unit/test_seq.py", "--sample", "5")
    assert status == 1
    assert {row["outcome"] for row in figures["results"]} == {"uncovered"}
    saved, known = tmp_path / "results.json", tmp_path / "map.json"
    saved.write_text(json.dumps(figures))
    command = ("--again", str(saved), "--tests", "tests/tcp/unit/test_prr.py", "--map", str(known))
    _, again = run(*command)
    assert again["tried"] >= 5
    assert again["killed"] >= 4
    measured = json.loads(known.read_text())["duration"]
    assert "tests/tcp/unit/test_prr.py::test_sending_goes_on_evenly_at_half_the_pace" in measured
    _, once_more = run(*command)
    assert once_more["killed"] == again["killed"]


def test_a_constant_is_broken_too() -> None:
    status, figures = run("--files", "tcp/seq.py", "--tests", "tests/tcp/unit/test_seq.py", "--sample", "0")
    early = [row for row in figures["results"] if row["import_time"]]
    assert {row["before"] for row in early} == {"4294967295", "2147483648"}
    assert {row["outcome"] for row in early} == {"killed"}
    assert status == 0


def test_tests_that_cannot_be_imported() -> None:
    status, figures = run("--files", "prr", "--tests", "tests/no/such/test.py")
    assert (status, figures) == (2, {})
