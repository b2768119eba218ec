"""The list of attacks and the tests agree: each row has a test, and each test that names a row has one.

A test function names its row at its beginning: `test_ip4_01_short_frames` is about IP4-01.
"""

from __future__ import annotations

import ast
import csv
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAME = re.compile(r"test_([a-z]+[0-9]?)_([0-9]{2})_")


def rows() -> list[dict[str, str]]:
    with (HERE / "attacks.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def named_by_tests() -> set[str]:
    found = set()
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and (match := NAME.match(node.name)):
                found.add(f"{match[1].upper()}-{match[2]}")
    return found


def test_each_row_has_a_test() -> None:
    assert {row["id"] for row in rows()} == named_by_tests()


def test_rows_are_complete() -> None:
    ids = [row["id"] for row in rows()]
    assert len(set(ids)) == len(ids) > 80
    assert all(row["input"] and row["expected"] for row in rows())
