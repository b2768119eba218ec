"""The scripts of tests/scripts pass, and fail with anything altered; those of wrong/ fail where they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stack.sim.packetdrill import Verdict, run_script
from stack.sim.packetdrill.parse import parse
from stack.sim.packetdrill.syntax import Event, Place
from tests.sim.packetdrill.alterations import alterations

FOLDER = Path(__file__).parents[2] / "scripts"

PROFILE = "rfc"

RIGHT = sorted(path for path in FOLDER.rglob("*.pkt") if path.parent.name != "wrong")

WRONG = sorted((FOLDER / "wrong").glob("*.pkt"))

HEAD = re.compile(r"// Fails at line (\d+): (.*)\n// Right: (.*)\n")
"""What a wrong script begins with: where it fails, words of what is printed then, and how that line should be."""


def named(path: Path) -> str:
    return str(path.relative_to(FOLDER))


ROWS = re.compile(r"// RFC( 9293 [A-Z]+-\d+|[\d/]+-\d+)\b.*\n(// .*\n)+")
"""What a right one begins with: the rows of tests/rfc that it shows, and what they ask for."""


@pytest.mark.parametrize("path", RIGHT, ids=named)
def test_its_head_says_what_it_shows(path: Path) -> None:
    assert ROWS.match(path.read_text())


@pytest.mark.parametrize("path", RIGHT, ids=named)
def test_it_passes(path: Path) -> None:
    outcome = run_script(path.read_text(), PROFILE, path=named(path))
    assert outcome.verdict is Verdict.PASS, "\n".join(outcome.lines())


@pytest.mark.parametrize("path", RIGHT, ids=named)
def test_with_anything_altered_that_it_expects_it_fails_there(path: Path) -> None:
    for what, event, script in alterations(parse(path.read_text(), named(path))):
        outcome = run_script(script, PROFILE)
        told = f"{what} of {event.source!r} altered:\n" + "\n".join(outcome.lines())
        assert outcome.verdict is Verdict.FAIL, told
        assert is_within(outcome.place, event), told


def is_within(place: Place | None, event: Event) -> bool:
    return place is not None and 0 <= place.line - event.place.line <= event.source.count("\n")


@pytest.mark.parametrize("path", WRONG, ids=named)
def test_what_is_wrong_fails_where_it_says(path: Path) -> None:
    text = path.read_text()
    head = HEAD.match(text)
    assert head is not None
    line, words, right = int(head[1]), head[2], head[3]
    outcome = run_script(text, PROFILE, path=named(path))
    printed = "\n".join(outcome.lines())
    assert outcome.verdict is Verdict.FAIL, printed
    assert outcome.place is not None
    assert outcome.place.line == line, printed
    assert words in printed

    lines = text.splitlines()
    lines[line - 1] = right
    outcome = run_script("\n".join(lines), PROFILE, path=named(path))
    assert outcome.verdict is Verdict.PASS, "\n".join(outcome.lines())
