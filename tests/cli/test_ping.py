"""`tcpstack ping`: its summary, and as a process against the kernel."""

from __future__ import annotations

import json
import re
import signal

from stack.cli.ping import Tally
from tests.cli.programs import Wire, finish, start


def test_the_kernel_answers(wire: Wire) -> None:
    for host in (wire.kernel, wire.kernel6):
        done = wire.tcpstack("ping", "-c", "3", "-i", "0.01", "-s", "100", host)
        assert (done.returncode, done.stderr) == (0, "")
        for number in (1, 2, 3):
            assert re.search(rf"^108 bytes from {host}: seq={number} ttl=64 time=\d", done.stdout, re.MULTILINE)
        assert "3 sent, 3 received, 0% lost" in done.stdout
        assert re.search(r"rtt min/avg/max/mdev = [\d.]+/[\d.]+/[\d.]+/[\d.]+ ms", done.stdout)


def test_nobody_answers(wire: Wire) -> None:
    done = wire.tcpstack("ping", "-c", "2", "-i", "0.01", "-W", "0.1", "--json", wire.nobody)
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["sent"], told["received"], told["rtt_ms"]["avg"]) == (2, 0, None)
    assert len(told["errors"]) == 2


def test_too_large_for_the_link(wire: Wire) -> None:
    done = wire.tcpstack("ping", "-c", "1", "-s", "2000", wire.kernel)
    assert done.returncode == 1
    assert "2000" in done.stdout


def test_ctrl_c_ends_it_with_the_summary(wire: Wire) -> None:
    process = start("ping", "-i", "0.01", wire.kernel, *wire.options)
    assert process.stdout is not None
    assert "bytes of data" in process.stdout.readline()
    assert "bytes from" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    status, output, errors = finish(process)
    assert (status, errors) == (130, "")
    assert "received" in output


def test_the_summary() -> None:
    tally = Tally("10.9.0.1", sent=4, times=[1.0, 2.0, 6.0])
    assert tally.lines() == [
        "--- 10.9.0.1 ---",
        "4 sent, 3 received, 25% lost",
        "rtt min/avg/max/mdev = 1.000/3.000/6.000/2.160 ms",
    ]
    assert Tally("x").lines() == ["--- x ---", "0 sent, 0 received, 0% lost"]
