"""`tcpstack packetdrill`: scripts from files and folders, tables, JSON, exit statuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stack.cli.main import main
from stack.cli.terminal import FAILURE, SUCCESS, USAGE
from tests.sim.packetdrill.scripts import SERVER

PASSES = SERVER + "+0 %{ print('the window is', tcpi_snd_cwnd) }%\n"
FAILS = SERVER + "+0 > F. 1:1(0) ack 1\n"
UNSUPPORTED = SERVER + "+0 `reboot`\n"
DEFINED = SERVER.replace("win 257", "win WINDOW")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good" / "deep").mkdir(parents=True)
    (tmp_path / "bad").mkdir()
    (tmp_path / "good" / "one.pkt").write_text(PASSES)
    (tmp_path / "good" / "deep" / "two.pkt").write_bytes(b"// \xff is no UTF-8\n" + SERVER.encode())
    (tmp_path / "bad" / "three.pkt").write_text(FAILS)
    (tmp_path / "bad" / "four.pkt").write_text(UNSUPPORTED)
    (tmp_path / "bad" / "notes.txt").write_text("no script")
    return tmp_path


def test_one_script_that_passes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["packetdrill", str(folder / "good" / "one.pkt")]) == SUCCESS
    printed = capsys.readouterr().out
    assert "100%" in printed
    assert "window" not in printed
    assert main(["packetdrill", "-v", str(folder / "good" / "one.pkt")]) == SUCCESS
    printed = capsys.readouterr().out
    assert "one.pkt: pass" in printed
    assert "printed: the window is 10" in printed


def test_a_failure_is_shown_with_its_ladder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "bad" / "three.pkt"
    assert main(["packetdrill", str(path)]) == FAILURE
    printed = capsys.readouterr().out
    assert f"{path}:8:1: nothing came up to 2.100000 s" in printed
    assert "+0 > F. 1:1(0) ack 1" in printed
    assert "ESTABLISHED  │◄── ACK" in printed


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_folders_are_searched_and_counted(folder: Path, capsys: pytest.CaptureFixture[str], jobs: str) -> None:
    assert main(["packetdrill", str(folder), "--jobs", jobs]) == FAILURE
    printed = capsys.readouterr().out
    assert "four.pkt:8:1: not supported: the command `reboot`" in printed
    rows = [line.split() for line in printed.splitlines() if "%" in line]
    assert rows == [
        ["bad", "2", "0", "1", "1", "0%"],
        ["good/deep", "1", "1", "0", "0", "100%"],
        ["good", "1", "1", "0", "0", "100%"],
        ["all", "4", "2", "1", "1", "67%"],
    ]


def test_folders_may_be_named_in_different_ways(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert main(["packetdrill", "good", str(folder / "bad" / "three.pkt")]) == FAILURE
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "%" in line]
    assert rows == ["good/deep", "good", "bad", "all"]


def test_what_is_not_supported_never_counts_as_passed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["packetdrill", str(folder / "bad" / "four.pkt")]) == FAILURE
    (row,) = [line.split() for line in capsys.readouterr().out.splitlines() if line.rstrip().endswith(" -")]
    assert row[-5:] == ["1", "0", "0", "1", "-"]


def test_json_has_everything(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["packetdrill", str(folder), "--json", "--profile", "linux"]) == FAILURE
    results = json.loads(capsys.readouterr().out)
    assert results["profile"] == "linux"
    assert results["total"] == {"scripts": 4, "pass": 2, "fail": 1, "unsupported": 1}
    assert results["folders"][str(folder / "bad")] == {"scripts": 2, "pass": 0, "fail": 1, "unsupported": 1}
    scripts = {Path(script["path"]).name: script for script in results["scripts"]}
    assert scripts["one.pkt"]["printed"] == ["the window is 10"]
    assert (scripts["three.pkt"]["verdict"], scripts["three.pkt"]["line"]) == ("fail", 8)
    assert scripts["four.pkt"]["message"] == "the command `reboot`"


def test_words_are_defined_and_the_network_chosen(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "defined.pkt"
    path.write_text(DEFINED)
    assert main(["packetdrill", str(path)]) == FAILURE
    assert main(["packetdrill", str(path), "-D", "WINDOW=257"]) == SUCCESS
    assert main(["packetdrill", str(path), "-D", "WINDOW=257", "--ip-version", "ipv6"]) == FAILURE  # mss 1440
    assert main(["packetdrill", str(path), "-D", "WINDOW=257", "--ip-version", "ipv6", "--mtu", "1520"]) == SUCCESS
    capsys.readouterr()


@pytest.mark.parametrize(
    ("name", "mss", "chosen", "status"),
    [
        ("x-v6.pkt", 1440, [], SUCCESS),
        ("x-ipv6.pkt", 1440, [], SUCCESS),
        ("x-v4.pkt", 1460, [], SUCCESS),
        ("x-v6.pkt", 1460, ["--ip-version", "ipv4"], SUCCESS),
        ("v6.x.pkt", 1440, [], FAILURE),
    ],
)
def test_scripts_may_say_in_their_names_what_network_they_are_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, mss: int, chosen: list[str], status: int
) -> None:
    path = tmp_path / name
    path.write_text(SERVER.replace("mss 1460", f"mss {mss}"))
    assert main(["packetdrill", str(path), *chosen]) == status
    capsys.readouterr()


@pytest.mark.parametrize(
    "words",
    [
        ["no-such-file.pkt"],
        [],
        ["--jobs", "0", "x.pkt"],
        ["--profile", "windows", "x.pkt"],
        ["-D", "NAME", "x.pkt"],
        ["-D", "=1", "x.pkt"],
        ["--ip-version", "5", "x.pkt"],
    ],
)
def test_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(["packetdrill", *words])
    except SystemExit as stop:
        status = int(str(stop.code))
    assert status == USAGE
    assert capsys.readouterr().err


def test_a_folder_without_scripts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["packetdrill", str(tmp_path)]) == USAGE
    assert "there are no scripts (*.pkt) there" in capsys.readouterr().err


def test_a_script_that_can_not_be_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "loop.pkt"
    path.symlink_to(path)
    assert main(["packetdrill", str(path)]) == USAGE
    assert "there is no" in capsys.readouterr().err


def test_a_script_is_run_once_however_often_it_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(folder / "good" / "one.pkt")
    assert main(["packetdrill", path, path, str(folder / "good"), "--json"]) == SUCCESS
    assert json.loads(capsys.readouterr().out)["total"]["scripts"] == 2
