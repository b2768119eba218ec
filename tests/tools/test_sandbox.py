"""tools/lib/sandbox, in which all tests run: what it gives, what it clears away, what it says when it is refused."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.tools.newcomer import CHECKOUT, Newcomer, devices, processes

SANDBOX = str(CHECKOUT / "tools/lib/sandbox")


def sandbox(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SANDBOX, "bash", "-c", script], capture_output=True, text=True, check=False)


def test_these_tests_run_in_one() -> None:
    assert os.environ.get("TCPSTACK_SANDBOX"), "run the tests by tools/test: they need a sandbox"
    assert os.geteuid() == 0
    assert socket.if_nameindex()[0][1] == "lo"


@pytest.mark.parametrize(
    "script",
    [
        "test $(id -u) = 0",
        "ip -br addr show lo | grep 127.0.0.1",
        "ip tuntap add dev tun0 mode tun && test -e /sys/class/net/tun0",
        "ip netns add other && ip netns exec other ip link set lo up",
        "test -z \"$(ls -A $HOME)\" && touch $HOME/it",
    ],
)  # fmt: skip
def test_what_it_gives(script: str) -> None:
    done = sandbox(script)
    assert done.returncode == 0, done.stderr


def test_what_it_clears_away() -> None:
    before = processes(), devices()
    done = sandbox("ip tuntap add dev tun0 mode tun; ip netns add other; sleep 1000 & echo $HOME; exit 7")
    assert done.returncode == 7
    assert not Path(done.stdout.strip()).exists()
    assert (processes(), devices()) == before


def test_its_status_is_that_of_the_command() -> None:
    assert sandbox("exit 0").returncode == 0
    assert sandbox("exit 3").returncode == 3


def test_a_user_namespace_that_is_refused(folder: Path) -> None:
    newcomer = Newcomer(folder)
    # A namespace in which no further one may be made stands for a system that forbids them.
    script = f"echo 0 > /proc/sys/user/max_user_namespaces; {newcomer.clone}/tools/lib/sandbox true"
    status, _, errors = newcomer.runs(
        "unshare", "--user", "--map-user=1000", "--map-group=1000", "--keep-caps", "bash", "-c", script
    )
    assert status == 1
    assert errors == (
        "error: user namespaces are refused to ordinary users here; the tests need one (or root)\n"
        "       allow them: sudo sysctl user.max_user_namespaces=15000\n"
    )


def test_a_device_that_is_not_there(folder: Path) -> None:
    newcomer = Newcomer(folder, machine=["mount -t tmpfs tmpfs /dev/net"])
    status, _, errors = newcomer.runs(str(newcomer.clone / "tools/lib/sandbox"), "true")
    assert status == 1
    assert errors == (
        "error: /dev/net/tun does not exist: the kernel's TUN driver is not loaded\n       load it: sudo modprobe tun\n"
    )


def test_a_device_that_is_not_open_to_all(folder: Path) -> None:
    tun = "/dev/net/tun"
    newcomer = Newcomer(folder, machine=["mount -t tmpfs -o mode=755 tmpfs /dev/net", f"touch {tun}", f"chmod 0 {tun}"])
    status, _, errors = newcomer.runs(str(newcomer.clone / "tools/lib/sandbox"), "true")
    assert status == 1
    assert errors.startswith(f"error: {tun} is not open to you (----------")
    assert errors.endswith(f"make it so: sudo chmod 0666 {tun}\n")
