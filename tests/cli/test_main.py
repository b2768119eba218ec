"""The command line itself: help, version, wrong usage."""

from __future__ import annotations

import pytest

from stack.cli.main import build_parser, main
from tests.cli.programs import CHECKOUT, start


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["demo"],
        ["serve"],
        ["serve", "http"],
        ["serve", "echo"],
        ["serve", "discard"],
        ["serve", "chargen"],
        ["get"],
        ["ping"],
        ["iperf3"],
        ["sim"],
        ["packetdrill"],
        ["bench"],
        ["doctor"],
    ],
)
def test_every_command_has_help(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(" ".join(["usage: tcpstack", *command]))
    assert max(map(len, text.splitlines())) <= 100


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("tcpstack ")


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["nonsense"],
        ["serve"],
        ["serve", "ftp"],
        ["get"],
        ["serve", "echo", "--port", "0"],
        ["serve", "echo", "--kernel", "10.9.0.1"],
        ["get", "http://10.9.0.1/", "--timeout", "0"],
        ["ping", "10.9.0.1", "--count", "0"],
        ["ping", "10.9.0.1", "--size", "70000"],
    ],
)
def test_wrong_usage_is_status_2(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(command)
    assert caught.value.code == 2
    assert "usage: tcpstack" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        (["get", "https://10.9.0.1/"], 2, "https is not supported"),
        (["get", "http://"], 2, "names no host"),
        (["get", "http://10.9.0.1/x", "--json", "--output", "-"], 2, "--output FILE"),
        (["get", "http://127.0.0.1/x"], 1, "loopback"),
        (["get", "http://10.9.0.2/x"], 1, "own address"),
        (["ping", "127.0.0.1"], 1, "loopback"),
        (["serve", "http", "/no/such/directory"], 2, "is not a directory"),
        (["serve", "echo", "--kernel", "10.9.0.1/32"], 2, "no second address"),
    ],
)
def test_what_can_not_work_is_refused_before_anything_is_made(
    command: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == status
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""


def test_the_defaults_are_enough() -> None:
    arguments = build_parser().parse_args(["serve", "http", "."])
    assert (arguments.port, arguments.kernel, arguments.address, arguments.upload) == (80, None, None, False)


@pytest.mark.parametrize("command", [["sim", "--list"], ["packetdrill", "--verbose", "tests/scripts/sack"]])
def test_output_that_nobody_reads_is_no_error(command: list[str]) -> None:
    """As when a pager ends before everything was written: the status that a shell gives for SIGPIPE, and no word."""
    process = start(*command, cwd=CHECKOUT)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), errors) == (141, "")
