"""What samples become: rows, ratios, the ceilings' relations; no sample is taken here."""

from __future__ import annotations

import math
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from stack.observe.bench import machine
from stack.observe.bench.figures import FIGURES, LONG, RELATIONS, Compared, Results, choose
from stack.observe.bench.ours import TICK, how_late
from stack.observe.bench.samples import LOADS, Plan, Processes, SampleError, compiled, python, steps

MOST = 10_000
CHECKOUT = Path(__file__).resolve().parents[2]


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
        "recv", "send", "bidirectional", "recv-8", "send-8", "recv-plain", "send-plain",
        "latency", "latency-p50", "latency-p99", "busy-recv-p99", "busy-send-p99",
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


def test_a_helper_in_python_is_no_ceiling() -> None:
    results = Results(choose(["connections", "recv"], MOST), helper=False)
    assert results.series() == [
        ("ours", "recv"), ("loop", "recv"), ("forward", "recv"), ("ours", "connections-1"), ("ours", "connections-32")
    ]  # fmt: skip


def test_the_ceilings_are_compared_where_both_were_measured() -> None:
    results = filled("recv", "latency")
    results.add(("loop", "recv"), bulk(2800))
    assert results.relations() == []
    results.add(("forward", "recv"), bulk(2000))
    [compared] = results.relations()
    assert compared.as_dict() == {
        "name": "recv", "unit": "MB/s", "loop": 2800, "forwarder": 2000, "loop_over_forwarder": 1.4, "usual": 1.3,
        "good": True,
    }  # fmt: skip


@pytest.mark.parametrize(("factor", "off"), [(1.0, False), (0.71, False), (1.29, False), (0.69, True), (1.31, True)])
def test_a_relation_may_be_off_by_thirty_in_a_hundred(factor: float, off: bool) -> None:
    compared = [Compared(relation, relation.usual * factor * 500, 500) for relation in RELATIONS]
    assert [one.is_off for one in compared] == [off] * len(RELATIONS)


def test_what_does_not_compile_is_replaced(tmp_path: Path) -> None:
    for name in ("forward", "connections"):
        (tmp_path / f"{name}.c").write_text("#error no\n")
    with compiled(tmp_path) as (forwarder, helper, notes):
        assert forwarder[-1] == str(tmp_path / "forward.py")
        assert helper == ""
    assert len(notes) == 2
    assert "forward.c is not compiled" in notes[0]
    assert notes[1].endswith("Python takes its place, and is slower; connections have no ceiling")


def test_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with compiled(tmp_path) as (forwarder, _, notes):
        assert forwarder[-1] == str(tmp_path / "forward.py")
    assert "cc is not installed" in notes[0]


@pytest.mark.parametrize("name", ["forward", "connections"])
def test_the_programs_are_without_a_warning(name: str, tmp_path: Path) -> None:
    source = CHECKOUT / f"tools/ceilings/{name}.c"
    command = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(tmp_path / name), str(source)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


# The loop's lag.


def test_a_long_pause_is_seen_among_many_short_sleeps() -> None:
    late = [0.0] * 3839 + [0.16]  # four seconds
    assert how_late(late, 0.5) == 0.0
    assert how_late(late, 0.99) == pytest.approx(0.12)  # of 4 s, 0.04 are in the first quarter of the pause
    assert how_late(late, 1.0) == 0.16


def test_what_always_happens_is_the_percentile() -> None:
    assert how_late([0.003] * 1000, 0.99) == pytest.approx(0.00296)
    assert how_late([0.003] * 1000, 0.5) == pytest.approx(0.001)  # of a TICK and three, two are at most that late
    assert TICK == 0.001


def test_pauses_of_several_lengths() -> None:
    late = [0.0] * 600 + [0.1, 0.2]  # 0.9 s
    assert how_late(late, 0.8) == pytest.approx(0.06, rel=0.01)  # 0.18 s exceed it: 0.04 in one and 0.14 in the other


def test_a_loop_that_was_not_watched() -> None:
    assert math.isnan(how_late([], 0.99))


# Processes that end.


@pytest.fixture
def processes() -> Iterator[Processes]:
    plan = Plan(cores=machine.cores(), seconds=1, warm=0, connections=0, flows=0, files=0, ceilings=None)
    with ExitStack() as leaving:
        yield Processes(leaving, plan)


def test_a_process_may_say_why_it_ends(processes: Processes) -> None:
    program = "import os, sys; os.close(int(sys.argv[1])); import asyncio, http.client; sys.exit('no device today')"
    child = processes.start(processes.plan.cores[0], *python("-c", program, "CONTROL"))
    with pytest.raises(SampleError, match=r"^no device today$"):
        child.answer()


def test_a_process_that_says_nothing(processes: Processes) -> None:
    child = processes.start(processes.plan.cores[0], *python("-c", "raise SystemExit(3)"), listened=True)
    with pytest.raises(SampleError, match=r"^a process ended with status 3$"):
        child.wait_for_lines(1)


# The machine.


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose kernel writes what a test says, with six CPUs for us."""
    monkeypatch.setattr(machine, "STAT", tmp_path / "stat")
    monkeypatch.setattr(machine, "CPUS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3, 4, 5})
    return tmp_path


def siblings(kernel: Path, cpu: int, text: str) -> None:
    path = kernel / f"cpu{cpu}/topology/thread_siblings_list"
    path.parent.mkdir(parents=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("text", "cores"), [("0\n", (0, 1)), ("0-1\n", (0, 2)), ("0,3\n", (0, 1)), ("0-2,4\n", (0, 3)), ("0-5\n", (0, 1))]
)
def test_both_sides_have_a_core_of_their_own(kernel: Path, text: str, cores: tuple[int, int]) -> None:
    siblings(kernel, 0, text)
    assert machine.cores() == cores


def test_a_kernel_that_tells_nothing_of_its_cores(kernel: Path) -> None:
    assert machine.cores() == (0, 1)
    assert machine.busy(0.0) == 0.0


def test_one_cpu_is_for_both(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {7})
    assert machine.cores() == (7, 7)


def test_what_others_use_is_counted_on_our_cpus(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pass_time(_seconds: float) -> None:
        lines = ["cpu  900 9 9 9 9 9 9 9 9 9"]
        lines += [f"cpu{number} 10 0 10 180 100 0 0 0 0 0" for number in range(5)]  # in each half are used 10 of 150
        lines += ["cpu5 100 0 50 100 0 20 30 0 100 0", "cpu6 300 0 0 0 0 0 0 0 0 0", "intr 7 0", ""]
        kernel.joinpath("stat").write_text("\n".join(lines))

    lines = [f"cpu{number} 5 0 5 90 50 0 0 0 0 0" for number in range(5)]
    kernel.joinpath("stat").write_text("\n".join([*lines, "cpu5 50 0 0 100 0 0 0 0 50 0", "cpu6 0 0 0 0 0 0 0 0 0 0"]))
    monkeypatch.setattr(time, "sleep", pass_time)
    assert machine.busy() == pytest.approx(6 * (5 * 10 + 150) / (6 * 150))


def test_threads_of_one_core_are_told(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    siblings(kernel, 0, "0-5\n")
    monkeypatch.setattr(machine, "busy", lambda: 0.1)
    assert machine.notes() == ["both sides run on threads of one core, which slow each other down"]
    monkeypatch.setattr(machine, "busy", lambda: 1.25)
    assert machine.notes()[1:] == ["the machine is busy with other things: they use 1.2 of 6 CPUs"]
