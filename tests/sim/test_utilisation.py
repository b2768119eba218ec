"""docs/utilisation.md is what the sender does today: some of its cells, made anew, and what the page must show."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "utilisation.md").read_text(encoding="utf-8")


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("utilisation", ROOT / "tools" / "lib" / "utilisation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["utilisation"] = module
    spec.loader.exec_module(module)
    return module


TOOL = _tool()


def _cells() -> dict[tuple[str, int, int, float], float]:
    """The page's cells, in per cent."""
    found = {}
    for algorithm, table in re.findall(r"^## (newreno|cubic)\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL):
        for rate, rtt, cells in re.findall(r"^\| (\d+) \| (\d+) ms \| (.*) \|$", table, re.MULTILINE):
            for loss, text in zip(TOOL.LOSSES, cells.split(" | "), strict=True):
                found[algorithm, int(rate), int(rtt), loss] = float(text)
    return found


CELLS = _cells()


@pytest.mark.parametrize("algorithm", ["newreno", "cubic"])
@pytest.mark.parametrize(("rate", "rtt", "loss"), [(1, 20, 0.0), (1, 300, 0.01), (1, 100, 0.05), (10, 100, 0.01)])
def test_cells_made_anew(algorithm: str, rate: int, rtt: int, loss: float) -> None:
    """Run tools/utilisation where the sender has changed, and read the difference of the page."""
    assert round(100 * TOOL.utilisation((algorithm, rate, rtt, loss)), 1) == CELLS[algorithm, rate, rtt, loss]


def test_every_cell_is_on_the_page() -> None:
    assert set(CELLS) == set(TOOL.cells(tuple(TOOL.RATES)))


def test_a_clean_path_is_used_up() -> None:
    clean = {cell: share for cell, share in CELLS.items() if cell[3] == 0}
    assert min(clean.values()) >= 95, clean


def test_flows_share_fairly() -> None:
    rows = re.findall(r"^\| (\w+) \| (\w+) \| ([\d.]+) \|$", PAGE, re.MULTILINE)
    index = {(first, second): float(text) for first, second, text in rows}
    assert index["cubic", "cubic"] >= 0.95
    assert index["cubic", "newreno"] >= 0.8
