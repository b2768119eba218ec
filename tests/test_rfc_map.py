"""Every MUST of RFC 9293, and every row about recovery, has a test or a stated exception; and the tool can tell."""

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


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A tree with two requirements in each table, of which one has a test and the other an exception; pages made."""
    (tmp_path / "tests/rfc").mkdir(parents=True)
    (tmp_path / "tests/rfc/rfc9293.csv").write_text(
        "id,level,section,statement,exception\n"
        "MUST-1,MUST,3.1,Windows are unsigned.,\n"
        "MUST-2,MUST NOT,3.8,Never stop.,planned\n"
    )
    (tmp_path / "tests/rfc/others.csv").write_text(
        "id,rfc,section,level,statement,exception\n"
        "RFC5681-01,RFC5681,2,MUST NOT,Send too much.,\n"
        "RFC8985-02,RFC8985,4,SHOULD,Look at the clock.,no clock\n"
    )
    (tmp_path / "tests/test_it.py").write_text("# RFC 9293 MUST-1\n@mark\nasync def test_window(): ...\n")
    (tmp_path / "tests/test_more.py").write_text("# RFC5681-01: all of it\ndef test_restraint(): ...\n")
    assert rfc_map("--root", tmp_path).returncode == 0
    return tmp_path


def problems(project: Path) -> str:
    result = rfc_map("--check", "--root", project)
    assert result.returncode == (1 if result.stderr else 0)
    return result.stderr


def test_page_names_tests_and_exceptions(project: Path) -> None:
    page = (project / "docs/rfc9293.md").read_text()
    assert "| MUST-1 | 3.1 | Windows are unsigned. | `tests/test_it.py::test_window` |" in page
    assert "| MUST-2 | 3.8 | **MUST NOT** Never stop. | planned |" in page
    assert problems(project) == ""


def test_page_about_recovery_has_a_part_for_each_rfc(project: Path) -> None:
    page = (project / "docs/rfc-recovery.md").read_text()
    assert "## RFC 5681\n" in page
    assert "| RFC5681-01 | 2 | **MUST NOT** Send too much. | `tests/test_more.py::test_restraint` |" in page
    assert "| RFC8985-02 | 4 | **SHOULD** Look at the clock. | no clock |" in page


def test_row_about_recovery_without_test_or_exception(project: Path) -> None:
    (project / "tests/test_more.py").write_text("# RFC8985-02\ndef test_restraint(): ...\n")
    assert "RFC5681-01 has neither a test nor an exception: Send too much." in problems(project)


def test_mark_about_recovery_that_names_no_row(project: Path) -> None:
    (project / "tests/test_more.py").write_text("# RFC5681-01, RFC5681-09\ndef test_restraint(): ...\n")
    assert "tests/test_more.py:1: tests/rfc/others.csv has no RFC5681-09\n" in problems(project)


def test_must_without_test_or_exception(project: Path) -> None:
    (project / "tests/test_it.py").write_text("def test_window(): ...\n")
    assert "MUST-1 has neither a test nor an exception: Windows are unsigned." in problems(project)


def test_mark_that_names_no_row(project: Path) -> None:
    (project / "tests/test_it.py").write_text("# RFC 9293 MUST-1, MUST-99\ndef test_window(): ...\n")
    assert "tests/test_it.py:1: RFC 9293 has no MUST-99\n" in problems(project)


@pytest.mark.parametrize("between", ["\n", "x = 1\n"])
def test_mark_above_no_test(project: Path, between: str) -> None:
    (project / "tests/test_it.py").write_text(f"# RFC 9293 MUST-1\n{between}def test_window(): ...\n")
    assert "tests/test_it.py:1: this mark stands above no test\n" in problems(project)


def test_stale_page(project: Path) -> None:
    (project / "tests/test_it.py").write_text("# RFC 9293 MUST-1\ndef test_renamed(): ...\n")
    assert problems(project) == "docs/rfc9293.md is stale: run tools/rfc-map\n"


def test_marks_of_several_lines_and_of_methods(project: Path) -> None:
    (project / "tests/test_it.py").write_text(
        "class TestWindow:\n    # RFC 9293 MUST-1\n    # RFC 9293 MUST-2: with a remark\n    def test_it(self): ...\n"
    )
    rfc_map("--root", project)
    page = (project / "docs/rfc9293.md").read_text()
    assert page.count("`tests/test_it.py::TestWindow::test_it`") == 2


def test_other_comments_are_no_marks(project: Path) -> None:
    (project / "tests/test_it.py").write_text(
        "# RFC 8985 2, see RFC8985-02\n# RFC 9293 3.10.7.4 says more, see MUST-99\n\n"
        "# RFC 9293 MUST-1\ndef test_window(): ...\n"
    )
    assert problems(project) == ""
