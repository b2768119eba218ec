"""`tcpstack doctor`: what it says about machines that lack something."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from stack.cli import doctor
from stack.cli.doctor import MISSING, NOTE, OK, Dependency, Finding
from stack.cli.main import main
from stack.wire.compiling import form, is_compiled

CHECKOUT = Path(__file__).resolve().parents[2]


def test_the_report_of_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    report = capsys.readouterr().out
    for name in ("tcpstack", "python", "core", "kernel", "/dev/net/tun", "offload", "privileges", "package trio"):
        assert re.search(rf"^(ok|note) +{name} ", report, re.MULTILINE), name
    assert form() in report


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert report["compiled"] is is_compiled()
    assert {"name", "state", "text", "remedy"} == set(report["findings"][0])


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_the_exit_status_tells_of_what_is_missing(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [Finding("a", OK, "fine"), Finding("b", MISSING, "bad", "do it")])
    assert main(["doctor", *arguments]) == 1
    assert "do it" in capsys.readouterr().out


def test_notes_are_no_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [Finding("a", OK, "fine"), Finding("long", NOTE, "so so", "x\ny")])
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ok       a     fine",
        "note     long  so so",
        "               x",
        "               y",
    ]


def test_it_runs_where_no_package_is_installed() -> None:
    """With -S the interpreter has its standard library alone."""
    command = [sys.executable, "-S", "-m", "stack", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CHECKOUT, env={"PATH": "/usr/bin"})
    assert done.returncode == 1, done.stderr
    assert re.search(r"^missing  package trio +not installed, and 0\.29 or later", done.stdout, re.MULTILINE)
    assert "pip install 'trio>=0.29'" in done.stdout


@pytest.mark.parametrize("words", [["doctor"], ["doctor", "--json"], ["--help"]])
def test_output_that_nobody_reads_is_no_error(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-P", "-m", "stack", *words]
    with open(writing, "wb") as output:
        ran = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, cwd=CHECKOUT, check=False)
    assert (ran.returncode, ran.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize("words", [["doctor"], ["doctor", "--json"]])
def test_output_that_can_not_be_written(words: list[str]) -> None:
    command = [sys.executable, "-P", "-m", "stack", *words]
    with open("/dev/full", "wb") as output:
        ran = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, cwd=CHECKOUT, check=False)
    assert ran.returncode != 0
    assert ran.stderr.startswith("error: No space left on device\n")
    assert "Traceback" not in ran.stderr


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["doctor", "--nonsense"])
    assert caught.value.code == 2
    assert "usage: tcpstack" in capsys.readouterr().err


def test_the_version_tells_the_form(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert f", core {form()}, " in capsys.readouterr().out


def test_the_packages_are_those_that_the_project_depends_on() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert [text.partition(";")[0].strip() for text in project["dependencies"]] == [
        f"{needed.name}>={needed.oldest}" for needed in doctor.DEPENDENCIES
    ]
    for text, needed in zip(project["dependencies"], doctor.DEPENDENCIES, strict=True):
        assert ("platform_machine" in text) == bool(needed.machine)
    assert project["requires-python"] == ">=" + ".".join(map(str, doctor.OLDEST_PYTHON))


TRIO = Dependency("trio", "0.29", "the event loop")
PYTUN = Dependency("python-pytun", "2.4.2", "devices", "x86_64")


@pytest.mark.parametrize(
    ("needed", "version", "machine", "state"),
    [
        (TRIO, "0.29", "x86_64", OK),
        (TRIO, "0.29.1", "x86_64", OK),
        (TRIO, "1.0", "aarch64", OK),
        (TRIO, "0.28.9", "x86_64", MISSING),
        (TRIO, None, "x86_64", MISSING),
        (PYTUN, "2.4.2", "x86_64", OK),
        (PYTUN, None, "x86_64", NOTE),
        (PYTUN, "2.3", "x86_64", NOTE),
        (PYTUN, None, "aarch64", OK),
    ],
)
def test_packages(needed: Dependency, version: str | None, machine: str, state: str) -> None:
    finding = doctor.dependency(needed, version, machine)
    assert finding.state == state
    assert bool(finding.remedy) == (state != OK)
    assert (version or "not installed") in finding.text


@pytest.mark.parametrize(
    ("system", "release", "state"),
    [
        ("Linux", "6.1.0-28-amd64", OK),
        ("Linux", "3.8", OK),
        ("Linux", "2.6.32-5-amd64", MISSING),
        ("Linux", "custom", OK),
        ("Darwin", "24.1.0", MISSING),
    ],
)
def test_kernels(system: str, release: str, state: str) -> None:
    assert doctor.kernel(system, release).state == state


def test_no_tun_device(tmp_path: Path) -> None:
    for look in (doctor.tun_device, doctor.offload):
        assert look(str(tmp_path / "tun")).text.endswith("No such file or directory")
    assert "modprobe tun" in doctor.tun_device(str(tmp_path / "tun")).remedy
    assert doctor.tun_device(str(tmp_path)).state == MISSING


@pytest.mark.parametrize(
    ("features", "state", "text"),
    [
        (0x7173, OK, "super-frames"),
        (0x0003, NOTE, "lack super-frames and several queues"),
        (0x4003, NOTE, "lack several queues"),
    ],
)
def test_offload(features: int, state: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "ioctl", lambda *arguments: features.to_bytes(4, sys.byteorder))
    finding = doctor.offload("/dev/null")
    assert finding.state == state
    assert text in finding.text


@pytest.mark.parametrize(
    ("capabilities", "refusal", "state"),
    [(1 << 12, "refused", OK), (0, None, NOTE), (1 << 13, "unshare: refused", MISSING)],
)
def test_privileges(capabilities: int, refusal: str | None, state: str) -> None:
    finding = doctor.privileges(capabilities, lambda: refusal)
    assert finding.state == state
    assert (refusal is not None and refusal in finding.text) == (state == MISSING)
    assert bool(finding.remedy) == (state != OK)


def test_a_namespace_is_tried_for_real(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refuses = tmp_path / "unshare"
    refuses.write_text("#!/bin/sh\necho unshare: not today >&2\nexit 1\n")
    refuses.chmod(0o755)
    assert doctor.try_namespace() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.try_namespace() == "unshare: not today"
    refuses.unlink()
    assert "apt install util-linux" in (doctor.try_namespace() or "")
