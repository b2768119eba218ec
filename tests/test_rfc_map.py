"""Every requirement has a test or a stated reason, and a place in the code; and the tool can tell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


def rfc_map(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, CHECKOUT / "tools/rfc-map", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_map_has_no_holes() -> None:
    result = rfc_map("--check")
    assert result.returncode == 0, result.stderr


# Not in triple quotes: there these marks would be marks.
CODE = (
    '"""A module."""\n\n'
    "WINDOW = 1  # RFC 9293 MUST-1: unsigned\n\n\n"
    "# RFC5681-01\n"
    "class Sender:\n"
    "    def send(self) -> None:\n"
    "        # RFC 6937 3 says more.\n"
    "        # RFC9937-02; RFC 9293 MUST-1\n"
    "        self.sent = True\n"
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A tree with a few requirements in each table, each with code and a test, or with an exception; page made."""
    for folder in ("tests/rfc", "tests/scripts/windows", "tests/scripts/wrong", "stack"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "tests/rfc/rfc9293.csv").write_text(
        "id,level,section,statement,shown_by,exception\n"
        "MUST-1,MUST,3.1,Windows are unsigned.,table,\n"
        "MUST-51,MUST,3.9,Take the | scenic route.,none,obsolete\n"
        "MAY-1,MAY,3.8,Never stop.,planned,not yet\n"
    )
    (tmp_path / "tests/rfc/others.csv").write_text(
        "id,rfc,section,level,statement,shown_by,exception\n"
        "RFC5681-01,RFC5681,2,MUST NOT,Send too much.,table,\n"
        "RFC8985-02,RFC8985,4,step,Look at the clock.,none,no clock\n"
        "RFC6937/RFC9937-02,RFC6937/RFC9937,3,SHOULD,Count bytes.,table,\n"
    )
    (tmp_path / "stack/sender.py").write_text(CODE)
    (tmp_path / "tests/test_it.py").write_text("# RFC 9293 MUST-1\n@mark\nasync def test_window(): ...\n")
    (tmp_path / "tests/test_more.py").write_text("# RFC5681-01, RFC9937-02: all of it\ndef test_restraint(): ...\n")
    result = rfc_map("--root", tmp_path)
    assert result.returncode == 0, result.stderr
    return tmp_path


def problems(project: Path) -> str:
    result = rfc_map("--check", "--root", project)
    assert result.returncode == (1 if result.stderr else 0)
    return result.stderr.replace("docs/rfc.md is stale: run tools/rfc-map\n", "")


def page(project: Path) -> str:
    rfc_map("--root", project)
    return (project / "docs/rfc.md").read_text()


def test_page_has_a_part_for_each_level_and_for_each_rfc(project: Path) -> None:
    text = page(project)
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles == [
        "## RFC 9293: MUST",
        "## RFC 9293: MAY",
        "## RFC 5681",
        "## RFC 8985",
        "## RFC 6937, RFC 9937",
    ]
    assert problems(project) == ""


def test_page_names_code_tests_and_exceptions(project: Path) -> None:
    text = page(project)
    code = "`stack/sender.py::WINDOW`<br>`stack/sender.py::Sender.send`"
    assert f"| MUST-1 | MUST | 3.1 | Windows are unsigned. | {code} | `tests/test_it.py::test_window` |" in text
    assert "| MUST-51 | MUST | 3.9 | Take the \\| scenic route. | - | obsolete |" in text
    assert "| 2 | Send too much. | `stack/sender.py::Sender` | `tests/test_more.py::test_restraint` |" in text
    assert "| 3 | Count bytes. | `stack/sender.py::Sender.send` | `tests/test_more.py::test_restraint` |" in text


def test_page_counts(project: Path) -> None:
    text = page(project)
    assert "| **RFC 9293** | 1 of 1 (100 %) | - | - | 0 of 1 (0 %) | - |" in text
    assert "| RFC 8985 | - | - | 0 of 1 (0 %) | - | - |" in text
    assert "- IPv4 source routing: MUST-51\n" in text


def test_row_without_test_or_exception(project: Path) -> None:
    (project / "tests/test_it.py").write_text("def test_window(): ...\n")
    assert "MUST-1 has neither a test nor a reason: Windows are unsigned.\n" in problems(project)


def test_shares_of_musts_and_shoulds(project: Path) -> None:
    """An exception is a reason, and does not count."""
    table = project / "tests/rfc/others.csv"
    text = table.read_text()
    (project / "tests/test_more.py").write_text("# RFC9937-02\ndef test_restraint(): ...\n")
    table.write_text(text.replace("Send too much.,table,", "Send too much.,none,why not"))
    assert problems(project) == (
        "of the other RFCs 0 of 1 rows with a MUST have a test, less than 100%: not RFC5681-01\n"
    )
    (project / "tests/test_more.py").write_text("# RFC5681-01\ndef test_restraint(): ...\n")
    table.write_text(text.replace("Count bytes.,table,", "Count bytes.,none,why not"))
    assert "0 of 1 rows with a SHOULD have a test, less than 90%: not RFC6937/RFC9937-02\n" in problems(project)


def test_row_that_is_implemented_nowhere(project: Path) -> None:
    (project / "stack/sender.py").write_text(CODE.replace("# RFC5681-01", "# RFC 5681"))
    assert problems(project) == "RFC5681-01 has a test, but no mark in stack/ says where it is implemented\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tests/test_it.py", "# RFC 9293 MUST-1, MUST-99\ndef test_window(): ...\n"),
        ("tests/test_it.py", "# RFC 9293 MUST-1\n# RFC7777-01\ndef test_window(): ...\n"),
        ("stack/other.py", "# RFC 9293 SHOULD-1: no such word\nx = 1\n"),
        ("tests/scripts/windows/one.pkt", "// RFC9937-03\n0 socket(...) = 3\n"),
    ],
)
def test_mark_that_names_no_row(project: Path, name: str, text: str) -> None:
    (project / name).write_text(text)
    missing = next(id_ for id_ in ("MUST-99", "RFC7777-01", "SHOULD-1", "RFC9937-03") if id_ in text)
    line = next(number for number, line in enumerate(text.splitlines(), 1) if missing in line)
    assert problems(project) == f"{name}:{line}: there is no row {missing}\n"


@pytest.mark.parametrize("between", ["\n", "x = 1\n"])
def test_mark_above_no_test(project: Path, between: str) -> None:
    (project / "tests/test_it.py").write_text(f"# RFC 9293 MUST-1\n{between}def test_window(): ...\n")
    assert "tests/test_it.py:1: this mark stands above no test\n" in problems(project)


def test_stale_page(project: Path) -> None:
    (project / "tests/test_it.py").write_text("# RFC 9293 MUST-1\ndef test_renamed(): ...\n")
    result = rfc_map("--check", "--root", project)
    assert (result.returncode, result.stderr) == (1, "docs/rfc.md is stale: run tools/rfc-map\n")


def test_marks_of_several_lines_and_of_methods(project: Path) -> None:
    (project / "tests/test_it.py").write_text(
        "class TestWindow:\n    # RFC 9293 MUST-1\n    # RFC 9293 MAY-1: with a remark on MUST-99\n"
        "    def test_it(self): ...\n"
    )
    assert page(project).count("`tests/test_it.py::TestWindow::test_it`") == 2
    assert problems(project) == ""


def test_other_comments_are_no_marks(project: Path) -> None:
    (project / "tests/test_it.py").write_text(
        "# RFC 8985 2, see RFC8985-99\n# RFC 9293 3.10.7.4 says more, see MUST-99\n\n"
        "# RFC 9293 MUST-1\ndef test_window(): ...\n"
    )
    assert problems(project) == ""


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ("# RFC 9293 MAY-1\nimport os\n", ""),
        ("# RFC 9293 MAY-1\n# because\nLIMIT: int = 3\n", "::LIMIT"),
        ("LIMIT = (\n    3,  # RFC 9293 MAY-1\n)\n", "::LIMIT"),
        ("class A:\n    def f(self):\n        return 1  # RFC 9293 MAY-1\n", "::A.f"),
        ("class A:\n    # RFC 9293 MAY-1\n    @property\n    def f(self): ...\n", "::A.f"),
        ("class A:\n    # RFC 9293 MAY-1\n    x: int = 1\n\n    def f(self): ...\n", "::A.x"),
        ("class A:\n    # RFC 9293 MAY-1\n    pass\n", "::A"),
        ("def f():\n    # RFC 9293 MAY-1\n    x = 1\n", "::f"),
        ("def f():\n    if x:\n        # RFC 9293 MAY-1\n        pass\n", "::f"),
    ],
)
def test_places_in_the_code(project: Path, code: str, place: str) -> None:
    (project / "stack/place.py").write_text(code)
    assert f"| Never stop. | `stack/place.py{place}` | not yet |" in page(project)


SCRIPT = (
    "// The window field, all 16 bits of it.\n"
    "/* And a\n"
    "   remark. */\n"
    "# RFC 9293 MUST-1\n\n"
    "0   socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n"
)


def test_scripts_show_rows(project: Path) -> None:
    table = project / "tests/rfc/rfc9293.csv"
    table.write_text(table.read_text().replace("unsigned.,table,", "unsigned.,script,"))
    assert problems(project) == "MUST-1 could be shown by a script, and none names it: Windows are unsigned.\n"
    missing = rfc_map("--missing-scripts", "--root", project).stdout
    assert missing == "MUST-1\tMUST\t3.1\tWindows are unsigned.\n"
    (project / "tests/scripts/windows/unsigned.pkt").write_text(SCRIPT)
    (project / "tests/test_it.py").write_text("def test_window(): ...\n")
    text = page(project)
    assert "`stack/sender.py::Sender.send` | `tests/scripts/windows/unsigned.pkt` |" in text
    assert "| **RFC 9293** | 1 of 1 (100 %) | - | - | 0 of 1 (0 %) | 1 of 1 |" in text
    assert problems(project) == ""
    assert rfc_map("--missing-scripts", "--root", project).stdout == ""


def test_scripts_that_are_wrong_show_nothing(project: Path) -> None:
    (project / "tests/scripts/wrong/unsigned.pkt").write_text(SCRIPT)
    assert "tests/scripts" not in page(project)


def test_mark_of_a_script_behind_its_head(project: Path) -> None:
    (project / "tests/scripts/windows/unsigned.pkt").write_text(SCRIPT + "// RFC 9293 MAY-1\n")
    name = "tests/scripts/windows/unsigned.pkt"
    assert problems(project) == f"{name}:7: this mark does not stand in the script's head\n"
