"""`tools/bench impaired`: that it measures what it says; how fast anything is, is nobody's business here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.cli.programs import environment

CHECKOUT = Path(__file__).resolve().parents[2]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What `tools/bench` runs when everything is set up."""
    command = [sys.executable, "-P", str(CHECKOUT / "tools/lib/bench.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment())


def test_cells_have_both_times_and_their_ratio() -> None:
    ran = bench(
        "impaired", "--json", "--size", "50000", "--runs", "1", "--only", "loss1-ipv6", "--only", "loss0-sender"
    )
    result = json.loads(ran.stdout)
    assert ran.returncode == (0 if result["good"] else 1), ran.stderr
    names = [cell["name"] for cell in result["cells"]]
    assert names == ["loss0-ipv4-sender", "loss0-ipv6-sender", "loss1-ipv6-sender", "loss1-ipv6-receiver"]
    for cell in result["cells"]:
        assert cell["ours"]["errors"] == cell["kernel"]["errors"] == []
        assert cell["ratio"] == round(cell["ours"]["seconds"] / cell["kernel"]["seconds"], 3)
        [ours], [kernel] = cell["ours"]["samples"], cell["kernel"]["samples"]
        assert ours["seconds"] == cell["ours"]["seconds"] > 0.005  # it takes the data that long at least
        assert {"counters", "congestion"} <= kernel["sender"].keys() & kernel["receiver"].keys()
        for sample in (ours, kernel):
            # Both went through the path, with their data in the same direction of it.
            data, acks = ("out", "in") if cell["name"].endswith("sender") else ("in", "out")
            assert sample["path"][data]["entered_bytes"] > 50_000 > sample["path"][acks]["entered_bytes"] > 0
    assert result["worst_ratio"] == max(cell["ratio"] for cell in result["cells"])


def test_a_cell_that_does_not_exist() -> None:
    ran = bench("impaired", "--only", "loss0-ipv5")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "no cell has such a name: loss0-ipv5" in ran.stderr
