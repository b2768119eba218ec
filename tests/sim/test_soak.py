"""The soak: scenarios are what their seeds say, failures are noticed, and none occur."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stack.sim.draw import GRACE, LONGEST_OUTAGE, MOST_SEGMENTS_RARELY, Dice, Drawn, draw
from stack.sim.soak import OK, SCRIPTED, Outcome, Soak, run_seed
from stack.sim.trace import Observer, Tape
from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection
from stack.tcp.receiver import Receiver
from stack.wire.segment import SYN
from stack.wire.units import SECOND

ROOT = Path(__file__).resolve().parents[2]
SOME = [draw(seed) for seed in range(3000)]


def test_thousands_of_seeds_come_out_right() -> None:
    """Two thousand here; `tools/soak` runs as many as one likes."""
    ran = soak("--seeds", "2000", "--from", "0", "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    result = json.loads(ran.stdout)
    assert (result["seeds"], result["right"], result["failures"]) == (2000, 2000, [])


# What is drawn. ---------------------------------------------------------------------------------------------------


def test_a_seed_is_a_scenario() -> None:
    assert draw(5) == draw(5) != draw(6)
    assert json.loads(json.dumps(draw(5).as_dict()))["seed"] == 5


def test_scenarios_have_everything_that_the_soak_promises() -> None:
    def share(test: Any) -> float:
        return sum(bool(test(drawn)) for drawn in SOME) / len(SOME)

    def either(drawn: Drawn, name: str, least: float) -> bool:
        return any(getattr(path, name) >= least for path in drawn.paths)

    assert share(lambda drawn: either(drawn, "loss", 0.2)) > 0.1
    assert share(lambda drawn: either(drawn, "burst", 3)) > 0.05
    assert share(lambda drawn: either(drawn, "duplicate", 0.2)) > 0.1
    assert share(lambda drawn: either(drawn, "reorder", 0.3)) > 0.1
    assert share(lambda drawn: either(drawn, "corrupt", 0.03)) > 0.1
    assert share(lambda drawn: either(drawn, "jitter", 1)) > 0.1
    assert share(lambda drawn: not any(path.loss for path in drawn.paths)) > 0.2
    assert share(lambda drawn: drawn.narrow) > 0.05
    assert share(lambda drawn: any(path.down for path in drawn.paths)) > 0.1
    assert share(lambda drawn: any(path.down and path.down[0][1] > 60 * SECOND for path in drawn.paths)) > 0.01
    assert share(lambda drawn: min(drawn.mtus) == 576) > 0.1
    assert share(lambda drawn: max(drawn.mtus) == 9000) > 0.2
    assert share(lambda drawn: drawn.mtus[0] != drawn.mtus[1]) > 0.2
    assert share(lambda drawn: drawn.v6) > 0.3
    for most in (4000, 65_000):
        assert share(lambda drawn, most=most: most in drawn.max_payloads) > 0.3
    assert share(lambda drawn: drawn.aborts) > 0.05
    assert share(lambda drawn: any(talk.closes_last for talk in drawn.talks)) > 0.3
    assert share(lambda drawn: any(talk.read_pause for talk in drawn.talks)) > 0.3
    for name in ("sack", "timestamps", "window_scaling"):
        assert share(lambda drawn, name=name: not all(getattr(o, name) for o in drawn.options)) > 0.2
    assert share(lambda drawn: any(o.receive_window < 100 for o in drawn.options)) > 0.05
    assert share(lambda drawn: any(o.send_buffer < 100 for o in drawn.options)) > 0.05
    assert share(lambda drawn: any(o.receive_buffer > 1 << 20 for o in drawn.options)) > 0.2
    for near in (0, 1 << 31):
        assert share(lambda drawn, near=near: any((near - isn) % (1 << 32) < 200_000 for isn in drawn.isns)) > 0.3
    assert {path.aqm for drawn in SOME for path in drawn.paths} == {"droptail", "codel", "red"}


def test_everything_is_within_its_bounds() -> None:
    for drawn in SOME:
        for path, healed in zip(drawn.paths, drawn.healed, strict=True):
            assert max(path.loss, path.duplicate, path.reorder / 2) <= 0.3
            assert path.corrupt <= 0.05
            assert all(length <= LONGEST_OUTAGE for _, length in path.down)
            assert dataclasses.replace(
                healed, loss=0, burst=1, duplicate=0, reorder=0, reorder_by=0, corrupt=0, jitter=0, down=()
            ) == healed  # fmt: skip
        assert all((1280 if drawn.v6 else 576) <= mtu <= 9000 for mtu in drawn.mtus)
        assert drawn.bound >= drawn.faults_end + GRACE
        assert all(talk.size <= MOST_SEGMENTS_RARELY * 9000 for talk in drawn.talks)
        assert not all(talk.closes_last for talk in drawn.talks)
        assert not drawn.narrow or drawn.narrow[-1] == (drawn.faults_end, 0)


def test_who_may_lose_a_connection() -> None:
    """Only what is worse than 20 % loss, or comes in bursts, or cuts the path, or makes it narrow."""
    mild = next(drawn for drawn in SOME if drawn.is_mild and drawn.faults_end)
    forth, back = mild.paths
    assert mild.is_mild
    for worse in (
        forth.replace(loss=0.21),
        forth.replace(loss=0.18, corrupt=0.04),
        forth.replace(loss=0.1, burst=3.0),
        forth.replace(down="1s+1s"),
    ):
        assert not dataclasses.replace(mild, paths=(back, worse)).is_mild
    assert not dataclasses.replace(mild, narrow=((SECOND, 600),)).is_mild


def test_what_was_drawn_once_is_drawn_for_ever() -> None:
    """Replaying a seed of last year's needs this. When it must change, say so in the notes of the release."""
    dice = Dice(1)
    drawn = [dice.below(1000), dice.between(5, 9), dice.scale(1, 10**6), dice.pick("abcdef"), dice.chance(0.5)]
    assert drawn == DRAWN
    assert [round(dice.share(0.5), 12) for _ in range(5)] == SHARES


DRAWN = [134, 9, 41126, "c", True]
SHARES = [0.394361675568, 0.0, 0.040525895426, 0.0, 0.36077001617]


def test_sequence_numbers_begin_where_the_scenario_says() -> None:
    class Syns(Observer):
        def __init__(self) -> None:
            self.seqs: dict[str, int] = {}

        def on_segment(self, host: Any, event: Any, now: int) -> None:
            if event.outgoing and event.segment.flags & SYN:
                self.seqs.setdefault(host.name, event.segment.seq)

    found = 0
    for drawn in SOME[:60]:
        soak = Soak(drawn)
        syns = Syns()
        soak.world.observe(syns)
        soak.run()
        for name, isn in zip(("client", "server"), drawn.isns, strict=True):
            if isn >= 0 and name in syns.seqs:
                # The clock behind the numbers ticks every 4 us, and the server's SYN comes later.
                assert (syns.seqs[name] - isn) % (1 << 32) <= (drawn.bound / SECOND) * 250_000
                found += 1
                if name == "client":
                    assert syns.seqs[name] == isn
    assert found > 50


# What is noticed. -------------------------------------------------------------------------------------------------

CALM = next(
    drawn
    for drawn in SOME
    if drawn.faults_end == 0 and not drawn.aborts and min(talk.size for talk in drawn.talks) > 5000
)


def run(drawn: Drawn) -> Outcome:
    return Soak(drawn).run()


def test_a_calm_one() -> None:
    outcome = run(CALM)
    assert (outcome.kind, outcome.detail) == (OK, "")
    assert outcome.figures.octets == sum(talk.size for talk in CALM.talks)
    assert outcome.figures.packets > 10
    assert outcome.as_dict()["right"] is True


@pytest.mark.interpreted
def test_an_octet_that_is_not_what_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Receiver.read

    def damaged(self: Receiver, limit: int, now: int, rtt: int) -> bytes:
        data = read(self, limit, now, rtt)
        return data[:-1] + bytes((data[-1] ^ 1,)) if data else data

    monkeypatch.setattr(Receiver, "read", damaged)
    outcome = run(CALM)
    assert outcome.kind == "mismatch"
    assert "something else than was sent" in outcome.detail


@pytest.mark.interpreted
def test_octets_that_come_twice_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Receiver.read

    def twice(self: Receiver, limit: int, now: int, rtt: int) -> bytes:
        return 2 * read(self, limit, now, rtt)

    def never(self: Receiver, limit: int, now: int, rtt: int) -> bytes:
        return read(self, limit, now, rtt)[:-1]

    for broken in (twice, never):
        monkeypatch.setattr(Receiver, "read", broken)
        assert run(CALM).kind == "mismatch"


@pytest.mark.interpreted
def test_a_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    """No timer is armed any more: after the first loss nothing ever happens."""
    forth, back = CALM.paths
    lossy = dataclasses.replace(CALM, paths=(forth.replace(drop=6), back.replace(drop=6)), faults_end=SECOND)
    monkeypatch.setattr(Connection, "arm_retransmit", lambda self, now: setattr(self.timers, "retransmit", 1 << 61))
    outcome = run(lossy)
    assert outcome.kind == "stall"
    assert "client" in outcome.detail
    assert "unacknowledged" in outcome.detail


@pytest.mark.interpreted
def test_a_broken_invariant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "arm_retransmit", lambda self, now: None)
    outcome = run(CALM)
    assert outcome.kind == "invariant"
    assert "data is outstanding and no timer runs" in outcome.detail


def test_a_storm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Soak, "_most_packets", lambda self: 5)
    outcome = run(CALM)
    assert outcome.kind == "invariant"
    assert "a storm: more than 5 packets" in outcome.detail


@pytest.mark.interpreted
def test_an_exception_in_a_host_or_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Connection, *args: object) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(Connection, "on_segment", broken)
    outcome = run(CALM)
    assert outcome.kind == "exception"
    assert "on purpose" in outcome.detail
    monkeypatch.undo()
    monkeypatch.setattr(Connection, "write", broken)
    assert run(CALM).kind == "exception"


def test_an_end_that_nobody_asked_for() -> None:
    """A peer that is silent for longer than its connection lives."""
    ours, theirs = (options.replace(r2=1.0) for options in CALM.options)
    forth, back = (path.replace(down=((SECOND // 30, 100 * SECOND),)) for path in CALM.paths)
    cut = dataclasses.replace(
        CALM, options=(ours, theirs), paths=(forth, back), faults_end=200 * SECOND, bound=500 * SECOND
    )
    outcome = run(cut)
    assert outcome.kind in ("abort", "disagreement")
    assert "TimeoutError" in outcome.detail


def test_something_that_is_left_over(monkeypatch: pytest.MonkeyPatch) -> None:
    from stack.host.host import Host

    monkeypatch.setattr(Host, "lingering", lambda self: 3)
    outcome = run(CALM)
    assert outcome.kind == "invariant"
    assert "for ever" in outcome.detail


def test_scripted_aborts_are_right_and_an_end_that_knows_nothing_is_not() -> None:
    outcomes = Counter(run(drawn).kind for drawn in SOME[:1200] if drawn.aborts)
    assert set(outcomes) <= {OK, SCRIPTED}
    assert outcomes[SCRIPTED] > 20


# Repeatability, and the tool. -------------------------------------------------------------------------------------


def test_a_seed_replays_to_the_octet() -> None:
    def tape(seed: int) -> str:
        recorded = Tape()
        run_seed(seed, recorded)
        return recorded.digest()

    assert tape(7) == tape(7) != tape(8)


def soak(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools/lib/soak.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT)})


def test_the_tool_gives_json() -> None:
    ran = soak("--seeds", "30", "--from", "100", "--jobs", "2", "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    result = json.loads(ran.stdout)
    assert (result["from"], result["seeds"], result["right"], result["failures"]) == (100, 30, 30, [])
    assert result["totals"]["packets"] > 1000


def test_the_tool_says_how_to_replay_a_failure() -> None:
    """A seed that takes too long is as good a failure as any."""
    ran = soak("--seeds", "3", "--patience", "0.000001")
    assert ran.returncode == 1
    assert "tools/soak --from 1 --seeds 1 --ladder" in ran.stderr
    assert "hang" in ran.stderr


def test_the_tool_stops_when_its_time_is_over() -> None:
    ran = soak("--seeds", "1000000", "--jobs", "1", "--budget", "0.5", "--json")
    assert json.loads(ran.stdout)["seeds"] < 1000


def test_the_tool_shows_a_seed() -> None:
    ran = soak("--from", "3", "--seeds", "1", "--ladder", "--fold", "4")
    assert ran.returncode == 0
    assert '"seed": 3' in ran.stdout
    assert "SYN-SENT" in ran.stdout
    assert ran.stdout.splitlines()[-1].startswith("seed 3: ")


def test_wrong_usage_of_the_tool() -> None:
    assert soak("--seeds", "0").returncode == 2


def test_the_same_seeds_in_another_process() -> None:
    """Hash seeds and the number of processes change nothing."""
    answers = set()
    for jobs in ("1", "2"):
        result = json.loads(soak("--seeds", "40", "--jobs", jobs, "--json").stdout)
        answers.add(hashlib.sha256(json.dumps([result["kinds"], result["totals"]]).encode()).hexdigest())
    assert len(answers) == 1


def test_options_of_later_versions_are_drawn_only_where_they_exist() -> None:
    known = {field.name for field in dataclasses.fields(TcpOptions)}
    for drawn in SOME[:20]:
        assert set(drawn.as_dict()["options"][0]) <= known
