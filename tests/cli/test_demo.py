"""`tcpstack demo` as a process: all its steps, and that nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.wire import pcapng
from tests.cli.programs import Wire, command_line, environment, finish, start, tcpstack


@pytest.fixture
def place(wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory to run it in; its temporary files must be gone at the end, and its processes."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    yield tmp_path / "here"
    assert list((tmp_path / "tmp").iterdir()) == []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            assert str(tmp_path / "tmp").encode() not in _arguments(entry), entry


def _arguments(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def test_for_a_person(place: Path) -> None:
    done = tcpstack("demo", cwd=place)
    assert (done.returncode, done.stderr) == (0, "")
    for words in (
        "curl fetches a page from this stack (IPv4)",
        "this stack fetches a page from nginx (IPv6)",
        "curl 10.9.0.1:",
        "nginx [fd09::1]:80",
        "What was moved",
        "wireshark tcpstack-demo.pcapng",
        "all steps went well",
    ):
        assert words in done.stdout
    for part in ("handshake 1/3", "handshake 2/3", "handshake 3/3", "close 1/4", "close 4/4"):
        assert done.stdout.count(part) == 2
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert len(list(pcapng.read((place / "tcpstack-demo.pcapng").read_bytes()))) > 100


def test_every_ladder(place: Path) -> None:
    done = tcpstack("demo", "--ladder-all", cwd=place)
    assert done.returncode == 0
    assert done.stdout.count("three-way handshake 3/3") == 4
    assert "· · ·" not in done.stdout


def test_json_and_another_capture(place: Path) -> None:
    done = tcpstack("demo", "--json", "--pcap", "other.pcapng", cwd=place)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["ok"], told["failures"]) == (True, [])
    assert Path(told["pcap"]) == place / "other.pcapng"
    assert [transfer["intact"] for transfer in told["transfers"]] == [True] * 4
    assert [(c["handshake"], c["close"], c["reset"]) for c in told["connections"]] == [(3, 4, False)] * 4
    assert (place / "other.pcapng").stat().st_size > 1_000_000


def test_without_nginx_it_says_so(place: Path) -> None:
    hide = "for nginx in $(PATH=$PATH:/usr/sbin:/sbin which -a nginx); do mount --bind /dev/null $nginx; done"
    command = ["unshare", "--mount", "sh", "-c", f'{hide}; exec "$@"', "sh", *command_line("demo")]
    done = subprocess.run(command, env=environment(), cwd=place, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "nginx is not installed (apt install nginx)" in done.stdout
    assert "this stack fetches a page from http.server" in done.stdout


def test_without_ipv6(place: Path) -> None:
    # As if the sandbox had been made already, in a namespace that has no IPv6.
    script = 'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; exec "$@"'
    command = ["unshare", "--net", "sh", "-c", script, "sh", *command_line("demo")]
    inside = environment(TCPSTACK_DEMO_OUTSIDE="net:[1]")
    done = subprocess.run(command, env=inside, cwd=place, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "fetches a page from nginx (IPv4)" in done.stdout


def test_without_curl_it_names_the_remedy(place: Path) -> None:
    done = subprocess.run(
        command_line("demo"), env=environment(PATH="/nowhere"), cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "apt install curl" in done.stderr


@pytest.mark.parametrize(("program", "transfers"), [("nginx", 2), ("curl", 2)])
def test_a_failing_step_is_a_failure(place: Path, tmp_path: Path, program: str, transfers: int) -> None:
    """What went well is still shown."""
    fake = tmp_path / "bin" / program
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho not today >&2\nexit 7\n")
    fake.chmod(0o755)
    path = f"{fake.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command_line("demo", "--json"),
        env=environment(PATH=path),
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["ok"] is False
    assert len(told["failures"]) == 1
    assert program in told["failures"][0]
    assert "not today" in told["failures"][0]
    assert len(told["transfers"]) == transfers


@pytest.mark.parametrize(
    "moment", ["A TCP in Python", "curl http://10.9.0.2/file.bin", "this stack fetches", "What was moved"]
)
def test_ctrl_c_leaves_nothing(place: Path, moment: str) -> None:
    process = start("demo", cwd=place)
    assert process.stdout is not None
    for line in process.stdout:
        if moment in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    status, output, errors = finish(process)
    assert errors == ""
    # Where it was quicker than our signal, Python itself may be what is interrupted.
    assert status == 130 or (status in (0, -signal.SIGINT) and "all steps went well" in output)


def test_killed_it_takes_its_programs_along(place: Path, tmp_path: Path) -> None:
    process = start("demo", cwd=place)
    assert process.stdout is not None
    for line in process.stdout:
        if "this stack fetches" in line:
            break
    with contextlib.ExitStack() as handles:
        started = programs_in(tmp_path / "tmp", handles)
        process.kill()
        finish(process)
        for handle in started:
            select.select([handle], [], [])  # readable when the program has ended; pytest's time-out if it doesn't
    for folder in (tmp_path / "tmp").iterdir():  # the one thing that nobody can clear away then
        shutil.rmtree(folder)


def programs_in(folder: Path, handles: contextlib.ExitStack) -> list[int]:
    """Handles of the programs that were started with files there."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and str(folder).encode() in _arguments(entry):
            with contextlib.suppress(ProcessLookupError):
                found.append(os.pidfd_open(int(entry.name)))
                handles.callback(os.close, found[-1])
    return found


def test_the_device_is_not_ours_to_open(place: Path) -> None:
    script = 'mount -t tmpfs tmpfs /dev/net; exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", *command_line("demo")]
    done = subprocess.run(command, env=environment(), cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "modprobe tun" in done.stderr
    assert list(place.iterdir()) == []
