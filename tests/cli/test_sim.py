"""`tcpstack sim`: scenarios from files, by name, in Python; what is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stack.cli.main import main
from stack.cli.sim import bundled
from stack.cli.terminal import FAILURE, SUCCESS, USAGE
from stack.wire import pcapng

SMALL = """
title = "Small"
[hosts.client]
[hosts.server]
[[pipes]]
between = ["client", "server"]
delay = "10ms"
loss = "5%"
[[flows]]
from = "client"
to = "server"
client = { app = "bulk", size = "30kB" }
"""

PYTHON = """
from stack.sim import Bulk, Sink
TITLE = "From Python"
SEED = 3
LIMIT = 30

def build(world):
    client, server = world.host("client"), world.host("server")
    world.pipe(client, server, delay="10ms")
    service = server.serve(80, Sink)
    client.connect(server, 80, Bulk(10_000))
    return {over}
"""


@pytest.fixture
def small(tmp_path: Path) -> str:
    (tmp_path / "small.toml").write_text(SMALL)
    return str(tmp_path / "small.toml")


def test_the_bundled_scenarios_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "--list"]) == SUCCESS
    listed = capsys.readouterr().out
    assert len(listed.splitlines()) == len(bundled()) > 10
    assert "third-packet  The third packet of data is lost" in listed
    assert main(["sim", "--list", "--json"]) == SUCCESS
    assert set(json.loads(capsys.readouterr().out)) == set(bundled())


@pytest.mark.parametrize("name", sorted(bundled()))
def test_every_bundled_scenario_comes_to_its_end(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", name, "--json"]) == SUCCESS
    report = json.loads(capsys.readouterr().out)
    assert report["over"] is True
    assert [app["error"] for app in report["apps"]] == [None] * len(report["apps"])
    digests = {app["sent_sha256"] for app in report["apps"]}
    assert all(app["received_sha256"] in digests for app in report["apps"])


def test_tables_for_people(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", small]) == SUCCESS
    out = capsys.readouterr().out
    assert out.startswith("Small\nseed 0, over after ")
    assert "client>server" in out
    assert "30 kB" in out
    assert "lost" in out
    assert "corrupted" not in out  # nothing was


def test_the_same_seed_the_same_answer(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    answers = []
    for seed in ("5", "5", "6"):
        assert main(["sim", small, "--seed", seed, "--json"]) == SUCCESS
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0] == answers[1] != answers[2]
    assert answers[0]["seed"] == 5


def test_a_ladder_of_either_end(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", small, "--ladder"]) == SUCCESS
    whole = capsys.readouterr().out
    assert "client 10.0.0.1:" in whole
    assert "SYN-SENT" in whole
    assert main(["sim", small, "--ladder", "--at", "server", "--fold", "2"]) == SUCCESS
    other = capsys.readouterr().out
    assert "server 10.0.0.2:80" in other.splitlines()[3]
    assert "· · ·" in other
    assert len(other) < len(whole)


def test_a_capture(small: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", small, "--pcap", str(tmp_path / "x.pcapng"), "--at", "server"]) == SUCCESS
    blocks = list(pcapng.read((tmp_path / "x.pcapng").read_bytes()))
    assert isinstance(blocks[1], pcapng.Interface)
    assert blocks[1].name == "server"
    assert isinstance(blocks[2], pcapng.CapturedPacket)
    assert (blocks[2].time, blocks[2].outbound) == (10_000_000, False)


@pytest.mark.parametrize("over", ["None", "lambda: service.apps and service.app.is_done"])
def test_a_scenario_in_python(over: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PYTHON.replace("{over}", over))
    assert main(["sim", str(file), "--json"]) == SUCCESS
    report = json.loads(capsys.readouterr().out)
    assert (report["title"], report["seed"], report["apps"][1]["received"]) == ("From Python", 3, 10_000)
    assert main(["sim", str(file), "--json", "--seed", "4"]) == SUCCESS
    assert json.loads(capsys.readouterr().out)["seed"] == 4


def test_what_is_not_over_in_time_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "short.toml").write_text('limit = "15ms"\n' + SMALL)
    assert main(["sim", str(tmp_path / "short.toml")]) == FAILURE
    assert "not over within 0.015 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([], USAGE, "which scenario?"),
        (["nonsense"], FAILURE, "there is no scenario nonsense"),
        (["third-packet", "--at", "nobody"], USAGE, "there is no host nobody"),
        (["third-packet", "--pcap", "/nowhere/x.pcapng"], FAILURE, "can't write the capture"),
    ],
)
def test_wrong_usage(arguments: list[str], status: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", *arguments]) == status
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("x.toml", "= 3", "not TOML"),
        ("x.toml", b"\xff\xfe", "can't be read"),
        ("x.py", "x = 1", "has no function build"),
        ("x.py", "def build(world): pass", "there are no hosts"),
    ],
)
def test_files_that_are_no_scenarios(
    name: str, text: str | bytes, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert main(["sim", str(tmp_path / name)]) != SUCCESS
    assert says in capsys.readouterr().err.replace("\n", " ")
