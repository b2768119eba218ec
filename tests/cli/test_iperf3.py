"""`tcpstack iperf3` and `tcpstack serve iperf3` as processes: what they print, and how they end."""

from __future__ import annotations

import argparse
import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from stack.cli.iperf3 import parameters_of
from stack.cli.main import build_parser, main
from tests.cli.programs import Wire, finish, start

COOKIE = b"a" * 36 + b"\0"


@contextmanager
def kernels_server(address: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The real server on the kernel's TCP, for a command that makes the device only later."""
    command = ["iperf3", "--server", "--forceflush", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        while "listening" not in (line := process.stdout.readline()):
            assert line or process.poll() is None, f"the server at {address} has ended"
        yield process
    finally:
        process.kill()
        process.communicate()


def parsed(*arguments: str) -> argparse.Namespace:
    return build_parser().parse_args(["iperf3", "-c", "10.9.0.1", *arguments])


def test_what_is_measured() -> None:
    parameters = parameters_of(parsed())
    assert (parameters.time, parameters.parallel, parameters.length, parameters.limit) == (10, 1, 131072, 0)
    parameters = parameters_of(parsed("-n", "1.5M", "-l", "8K", "-P", "8", "-R", "-b", "10M"))
    assert (parameters.time, parameters.size, parameters.length) == (0, 1_572_864, 8192)
    assert (parameters.parallel, parameters.reverse, parameters.rate) == (8, True, 10_000_000)
    parameters = parameters_of(parsed("-k", "5", "--bidir", "-C", "newreno"))
    assert (parameters.limit, parameters.bidirectional, parameters.congestion) == (655_360, True, "newreno")
    parameters = parameters_of(parsed("-t", "0.5", "-O", "3"))
    assert (parameters.time, parameters.omit) == (0.5, 3)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-t", "0"],
        ["-t", "90000"],
        ["-t", "1", "-n", "1"],
        ["-n", "0"],
        ["-n", "-5"],
        ["-n", "5X"],
        ["-n", ""],
        ["-n", "nan"],
        ["-P", "0"],
        ["-P", "129"],
        ["-l", "2M"],
        ["-l", "0"],
        ["-R", "--bidir"],
        ["-i", "0.01"],
        ["-i", "nan"],
        ["-O", "601"],
        ["-b", "fast"],
        ["-p", "0"],
        ["-C", "vegas"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parsed(*arguments)
    assert caught.value.code == 2
    assert "usage: tcpstack iperf3" in capsys.readouterr().err


def test_what_does_not_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["iperf3", "-c", "10.9.0.1", "-n", "5M", "-O", "1"]) == 2
    assert "--omit goes with --time" in capsys.readouterr().err
    assert main(["iperf3", "-c", "127.0.0.1"]) == 1
    assert "loopback" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["iperf3"], ["serve", "iperf3"]])
def test_help(command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    text = capsys.readouterr().out
    assert text.startswith(" ".join(["usage: tcpstack", *command]))
    assert max(map(len, text.splitlines())) <= 100


def test_lines(wire: Wire) -> None:
    with kernels_server(wire.kernel):
        done = wire.tcpstack("iperf3", "-c", wire.kernel, "-n", "3M", "-P", "2")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"[  1] local {wire.ours} port ")
    assert lines[0].endswith(f"connected to {wire.kernel} port 5201")
    assert lines[2].startswith("[ ID] Interval")
    sums = [line for line in lines if line.startswith("[SUM]")]
    assert [line.split()[-1] for line in sums[-2:]] == ["sender", "receiver"]
    assert "  3.00 MBytes  " in sums[-2]


def test_json(wire: Wire) -> None:
    with kernels_server(wire.kernel, "--port", "5555"):
        done = wire.tcpstack("iperf3", "-c", wire.kernel6, "-p", "5555", "-n", "2000000", "-R", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["start"]["connecting_to"] == {"host": wire.kernel6, "port": 5555}
    assert report["end"]["sum_received"]["bytes"] >= 2_000_000
    assert "error" not in report


def test_nobody_there(wire: Wire) -> None:
    done = wire.tcpstack("iperf3", "-c", wire.kernel, "--json")
    assert done.returncode == 1
    assert f"connection refused by {wire.kernel}:5201" in done.stderr
    report = json.loads(done.stdout)
    assert report["error"] == f"connection refused by {wire.kernel}:5201"
    assert report["start"]["connecting_to"] == {"host": wire.kernel, "port": 5201}
    done = wire.tcpstack("iperf3", "-c", wire.nobody, "--timeout", "0.2")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"no answer from {wire.nobody}:5201" in done.stderr


def test_a_server_of_another_kind(wire: Wire) -> None:
    with socket.create_server(("", 5201)) as listener:
        process = start("iperf3", "-c", wire.kernel, *wire.options)
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"220 mail.example ESMTP\r\n")
            status, output, errors = finish(process)
    assert (status, output) == (1, "")
    assert "the server has sent state 50, where PARAM_EXCHANGE was to come" in errors


def test_a_busy_server(wire: Wire) -> None:
    with wire.serving("iperf3") as server, socket.create_connection((wire.ours, 5201)) as first:
        first.sendall(COOKIE)
        assert first.recv(1) == b"\x09"
        done = subprocess.run(["iperf3", "-c", wire.ours, "-t", "1"], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "busy" in done.stderr
        assert server.event("refused")["peer"].startswith(wire.kernel)


def test_a_busy_server_of_the_kernels(wire: Wire) -> None:
    with kernels_server(wire.kernel) as server:
        first = subprocess.Popen(["iperf3", "-c", "127.0.0.1", "-t", "60", "-b", "1M"], stdout=subprocess.PIPE)
        try:
            assert server.stdout is not None
            while "connected to" not in (line := server.stdout.readline()):
                assert line
            done = wire.tcpstack("iperf3", "-c", wire.kernel)
        finally:
            first.kill()
            first.communicate()
    assert done.returncode == 1
    assert "the server is running another test" in done.stderr
    assert "try again" in done.stderr


def test_ctrl_c_ends_it_with_the_summary(wire: Wire) -> None:
    with kernels_server(wire.kernel) as server:
        process = start("iperf3", "-c", wire.kernel, "-i", "0.1", *wire.options)
        assert process.stdout is not None
        assert "connected to" in process.stdout.readline()
        assert "Interval" in process.stdout.readline()
        assert "0.00-0.1" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        status, output, errors = finish(process)
        assert (status, errors) == (130, "")
        assert output.splitlines()[-1].endswith("sender")
        assert server.stdout is not None
        while "terminated" not in (line := server.stdout.readline()):  # it was told
            assert line


def test_a_server_for_one_test(wire: Wire) -> None:
    with wire.serving("iperf3", "--one-off", "-i", "0") as server:
        subprocess.run(["iperf3", "-c", wire.ours6, "-n", "1M"], capture_output=True, check=True)
        event = server.event("test")
        status, output, errors = finish(server.process)
    assert (status, output, errors) == (0, "", "")
    assert event["peer"].startswith(f"[{wire.kernel6}]:")
    assert event["result"]["end"]["sum_received"]["bytes"] >= 1 << 20
    assert len(event["result"]["intervals"]) == 1


def test_a_server_for_a_person(wire: Wire) -> None:
    process = start("serve", "iperf3", "--port", "5202", *wire.options)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(4)]
    assert f"  iperf3 -c {wire.ours} -p 5202\n" in lines
    assert f"  iperf3 -c {wire.ours6} -p 5202\n" in lines
    subprocess.run(["iperf3", "-c", wire.ours, "-p", "5202", "-n", "1M"], capture_output=True, check=True)
    subprocess.run(["iperf3", "-c", wire.ours, "-p", "5202", "-u"], capture_output=True, check=False)
    while line := process.stdout.readline():
        lines.append(line)
        if "other than TCP" in line:
            break
        assert line
    text = "".join(lines)
    assert f"a test of {wire.kernel}:" in text
    assert "[  1]   0.00-" in text
    assert " is complete\n" in text
    assert "ended before its time: the client wants to measure something other than TCP" in text
    process.send_signal(signal.SIGINT)
    assert finish(process) == (130, "", "")


def test_a_server_that_is_ended_tells_its_client(wire: Wire) -> None:
    with wire.serving("iperf3") as server:
        command = ["iperf3", "-c", wire.ours, "-t", "60", "-i", "0.1", "--forceflush"]
        client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert client.stdout is not None
        while "0.10-0.20" not in (line := client.stdout.readline()):
            assert line
        server.process.send_signal(signal.SIGTERM)
        event = server.event("test")
        assert finish(server.process)[0] == 128 + signal.SIGTERM
    assert event["result"]["error"] == "this server was told to end"
    _, errors = client.communicate()
    assert "the server has terminated" in errors
