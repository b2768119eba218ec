"""What samples become: rows, ratios, the ceilings' relations; no sample is taken here."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from stack.observe.bench.figures import FIGURES, LONG, RELATIONS, Results, choose, is_off
from stack.observe.bench.samples import LOADS, compiled, steps

MOST = 10_000


def bulk(megabytes: float, *, cpu: float = 0.5) -> dict[str, float]:
    """A sample of bulk, in a second."""
    return {"bytes": megabytes * 1e6, "seconds": 1.0, "cpu": cpu}


def filled(*names: str) -> Results:
    return Results(choose(names, MOST))


def row(results: Results, name: str) -> dict[str, object]:
    [found] = [row.as_dict() for row in results.rows() if row.figure.name == name]
    return found


def test_all_figures_of_the_table_are_there() -> None:
    assert [figure.name for figure in choose([], MOST)] == [
        "recv", "send", "bidirectional", "recv-plain", "send-plain", "latency", "latency-p50", "latency-p99",
        "busy-recv-p99", "busy-send-p99",
        "connections-1", "connections-32", "cpu-recv", "cpu-send", "memory",
        "scale-10", "scale-100", "scale-1000", "scale", "idle-cpu", "lag-p99",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["recv"], ["recv"]),
        (["latency"], ["latency", "latency-p50", "latency-p99"]),
        (["connections"], ["connections-1", "connections-32"]),
        (["cpu", "memory"], ["cpu-recv", "cpu-send", "memory"]),
        (["lag-p99"], ["lag-p99"]),
        (["scale"], ["scale-10", "scale-100", "scale-1000", "scale", "idle-cpu", "lag-p99"]),
    ],
)
def test_names_and_kinds(names: list[str], chosen: list[str]) -> None:
    assert [figure.name for figure in choose(names, MOST)] == chosen


def test_a_name_that_nothing_has() -> None:
    with pytest.raises(ValueError, match="no figure recieve; there are recv, send"):
        choose(["recv", "recieve"], MOST)


def test_every_load_can_be_taken() -> None:
    assert {figure.load for figure in choose([], MOST)} == set(LOADS)


@pytest.mark.parametrize(
    ("most", "numbers"),
    [
        (20, [10, 20]),
        (100, [10, 100]),
        (5000, [10, 100, 1000, 5000]),
        (50_000, [10, 100, 1000, 10_000, 50_000]),
    ],
)
def test_the_steps_of_scale_end_with_the_most(most: int, numbers: list[int]) -> None:
    assert steps(most) == numbers


def test_a_row_has_medians_a_range_and_their_ratio() -> None:
    results = filled("recv")
    for ours, ceiling in ((900, 1000), (700, 4000), (800, 2000)):
        results.add(("ours", "recv"), bulk(ours))
        results.add(("forward", "recv"), bulk(ceiling))
    expected = {"name": "recv", "value": 800, "unit": "MB/s", "ceiling": 2000, "ratio": 0.4, "min": 700, "max": 900}
    assert row(results, "recv") == expected


def test_cpu_time_is_for_a_gigabyte() -> None:
    results = filled("cpu")
    results.add(("ours", "recv"), bulk(500, cpu=0.75))
    results.add(("loop", "recv"), bulk(2000, cpu=0.5))
    assert (row(results, "cpu-recv")["value"], row(results, "cpu-recv")["ceiling"]) == (1.5, 0.25)
    assert row(results, "cpu-recv")["ratio"] == 6.0


def test_what_was_not_measured_has_no_numbers() -> None:
    results = filled("send", "memory")
    results.add(("ours", "send"), bulk(10))
    assert row(results, "send") == {
        "name": "send", "value": 10, "unit": "MB/s", "ceiling": None, "ratio": None, "min": 10, "max": 10
    }  # fmt: skip
    assert row(results, "memory")["value"] is None
    assert math.isnan(results.rows()[1].ratio)


def test_the_scale_is_compared_with_ten_flows() -> None:
    results = filled("scale")
    sample = {"10": 20e-6, "100": 21e-6, "1000": 22e-6, "10000": 30e-6, "idle": 0.001, "lag": {"p99": 0.004}}
    results.add(("ours", "scale"), sample)
    assert (row(results, "scale")["value"], row(results, "scale")["ratio"]) == (30, 1.5)
    assert (row(results, "scale-100")["value"], row(results, "scale-100")["ratio"]) == (21, 1.05)
    assert (row(results, "idle-cpu")["value"], row(results, "lag-p99")["value"]) == (1, 4)


def test_contenders_take_turns_and_change_places() -> None:
    plan = filled("recv", "cpu-send", "memory").plan(2)
    assert plan == [
        ("ours", "recv"), ("loop", "recv"), ("forward", "recv"), ("ours", "send"), ("loop", "send"), ("ours", "memory"),
        ("forward", "recv"), ("loop", "recv"), ("ours", "recv"), ("loop", "send"), ("ours", "send"), ("ours", "memory"),
    ]  # fmt: skip
    long = filled("recv", "memory").plan(LONG + 2)
    assert (long.count(("ours", "memory")), long.count(("ours", "recv"))) == (LONG, LONG + 2)


def test_what_this_stack_complains_of_is_kept() -> None:
    results = filled("recv")
    results.add(("ours", "recv"), {**bulk(1), "said": "ValueError: 7"})
    results.add(("ours", "recv"), {**bulk(1), "said": "ValueError: 7"})
    results.add(("ours", "recv"), {**bulk(1), "said": ""})
    results.add(("forward", "recv"), {**bulk(1), "said": "no"})
    assert results.complaints() == [("recv", "ValueError: 7")]


def test_without_the_programs_only_this_stack_is_measured() -> None:
    results = Results(FIGURES, ceilings=False)
    assert {contender for contender, _ in results.series()} == {"ours"}


def test_the_ceilings_are_compared_where_both_were_measured() -> None:
    results = filled("recv", "latency")
    results.add(("loop", "recv"), bulk(2800))
    assert results.relations() == []
    results.add(("forward", "recv"), bulk(2000))
    [(relation, value)] = results.relations()
    assert (relation.load, value) == ("recv", 1.4)


@pytest.mark.parametrize(("factor", "off"), [(1.0, False), (0.71, False), (1.29, False), (0.69, True), (1.31, True)])
def test_a_relation_may_be_off_by_thirty_in_a_hundred(factor: float, off: bool) -> None:
    assert [is_off(relation, relation.usual * factor) for relation in RELATIONS] == [off] * len(RELATIONS)


def test_what_does_not_compile_is_replaced(tmp_path: Path) -> None:
    for name in ("forward", "connections"):
        (tmp_path / f"{name}.c").write_text("#error no\n")
    with compiled(tmp_path) as (forwarder, helper, notes):
        assert forwarder[-1] == str(tmp_path / "forward.py")
        assert helper == ""
    assert len(notes) == 2
    assert "forward.c is not compiled" in notes[0]


def test_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with compiled(tmp_path) as (forwarder, _, notes):
        assert forwarder[-1] == str(tmp_path / "forward.py")
    assert "cc is not installed" in notes[0]
