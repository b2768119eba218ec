"""tools/demo as a newcomer runs it: it shows all that it promises, or says what is missing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.tools.newcomer import MOST, NOBODY, Newcomer, devices, processes

OWN_AND_FOREIGN = pytest.mark.parametrize("read_only", [False, True], ids=["own clone", "read-only clone"])


def test_the_newcomer_has_no_privileges(folder: Path) -> None:
    script = 'id -u; grep CapEff /proc/self/status; echo "${HOME:-no home}"; ip link add x type dummy'
    _, output, errors = Newcomer(folder).runs("bash", "-c", script)
    assert output.splitlines() == [str(NOBODY), "CapEff:\t0000000000000000", "no home"]
    assert "Operation not permitted" in errors


@OWN_AND_FOREIGN
def test_demo(folder: Path, read_only: bool) -> None:
    newcomer = Newcomer(folder, read_only=read_only)
    before = processes(), devices()
    status, output, errors = newcomer.demo()

    assert (status, errors) == (0, ""), output + errors
    first, second = re.split(r"^2  ", output, flags=re.MULTILINE)
    assert "curl fetches a page from this stack" in first
    assert "this stack fetches a page from nginx" in second
    for ladder in (first, second):
        assert "three-way handshake 3/3" in ladder
        assert "four-way close 4/4" in ladder

    capture = re.search(r"wireshark (\S+)", output)
    assert capture is not None
    path = newcomer.where / capture[1]
    syn_only = "tcp.flags.syn == 1 && tcp.flags.ack == 0"
    command = ["tshark", "-r", str(path), "-Y", syn_only, "-T", "fields", "-e", "frame.number"]
    syns = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(syns) == 4  # a page and a file, each way

    assert list(newcomer.scratch.iterdir()) == ([path] if path.parent == newcomer.scratch else [])
    assert (processes(), devices()) == before


@OWN_AND_FOREIGN
def test_demo_ends_on_ctrl_c(folder: Path, read_only: bool) -> None:
    newcomer = Newcomer(folder, read_only=read_only)
    before = processes(), devices()
    with newcomer.starts(str(newcomer.clone / "tools/demo")) as demo:
        assert demo.stdout is not None
        assert "A TCP in Python" in demo.stdout.readline()
        os.killpg(demo.pid, signal.SIGINT)
        _, errors = demo.communicate(timeout=MOST)

    assert (demo.returncode, errors) == (130, "")
    assert [path for path in newcomer.scratch.iterdir() if path.suffix != ".pcapng"] == []
    assert (processes(), devices()) == before


def test_without_nginx_it_says_so_and_goes_on(folder: Path) -> None:
    status, output, errors = Newcomer(folder, without=["nginx"]).demo()
    assert status == 0, output + errors
    assert "this stack fetches a page from http.server" in output
    assert "not installed: nginx (optional; " in errors
    assert "install nginx)" in errors


def test_without_curl_it_says_what_to_install(folder: Path) -> None:
    status, output, errors = Newcomer(folder, without=["curl"]).demo()
    assert (status, output) == (1, "")
    assert errors.startswith("error: not everything that this needs is installed\n")
    assert re.search(r"^ +sudo apt-get .* install .*curl|packages for: .*curl", errors, flags=re.MULTILINE)


def test_without_a_place_for_the_environment_it_says_how_to_name_one(folder: Path) -> None:
    newcomer = Newcomer(folder, read_only=True, environment=False)
    status, output, errors = newcomer.demo()
    assert (status, output) == (1, "")
    assert errors == (
        f"error: {newcomer.clone}/.venv is not complete and cannot be written\n"
        "       name a directory for the environment: TCPSTACK_VENV=/tmp/tcpstack-venv\n"
    )
