"""`--impair`: from the option to real programs at the end of a bad wire."""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
from pathlib import Path

import pytest

from stack.cli.network import network_options
from stack.cli.options import add_network_options, impaired_paths, impairment
from stack.cli.terminal import USAGE, CommandError
from stack.path.config import PathConfig
from stack.wire.units import MS
from tests.cli.programs import Wire


def paths(*words: str) -> tuple[PathConfig, PathConfig] | None:
    return impaired_paths([impairment(word) for word in words])


def test_both_directions_or_one() -> None:
    assert paths() is None
    assert paths("delay=20ms,loss=2%") == (PathConfig(delay=20 * MS, loss=0.02), PathConfig(delay=20 * MS, loss=0.02))
    assert paths("delay=20ms", "in:loss=2%,delay=5ms") == (
        PathConfig(delay=5 * MS, loss=0.02),
        PathConfig(delay=20 * MS),
    )
    assert paths("out:mtu=1400") == (PathConfig(), PathConfig(mtu=1400))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("loss", "not of the form name=value"),
        ("up:loss=2%", "'up' is no direction: write in:loss=2% or out:loss=2%"),
        ("loss=2%,loss=3%", "given twice"),
    ],
)
def test_what_can_not_be_read(text: str, says: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=says):
        impairment(text)


def test_what_no_path_can_be() -> None:
    with pytest.raises(CommandError, match="--impair: jitter must not exceed delay") as caught:
        paths("jitter=5ms")
    assert caught.value.status == USAGE


def test_the_option_reaches_the_network() -> None:
    parser = argparse.ArgumentParser()
    add_network_options(parser)
    arguments = parser.parse_args(["--impair", "delay=20ms", "--impair", "out:loss=2%"])
    options = network_options(arguments)
    assert options.impair == (PathConfig(delay=20 * MS), PathConfig(delay=20 * MS, loss=0.02))
    assert network_options(parser.parse_args([])).impair is None
    words = "".join(parser.format_help().split())  # which breaks long ones
    assert "loss=2%,delay=20ms,jitter=5ms,rate=50mbit,reorder=1%,duplicate=1%,corrupt=0.1%,seed=7" in words
    assert "isduewithinatick" in words


IMPAIRED = "delay=5ms,jitter=2ms,loss=3%,reorder=5%,duplicate=5%,corrupt=1%,seed=7"


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_real_curl_through_a_bad_wire(wire: Wire, tmp_path: Path, family: str) -> None:
    content = random.Random("impair").randbytes(200_000)
    (tmp_path / "file").write_bytes(content)
    (tmp_path / "put").mkdir()
    host = wire.ours if family == "ipv4" else f"[{wire.ours6}]"
    with wire.serving("http", str(tmp_path), "--upload", "--impair", IMPAIRED) as server:
        curl = ["curl", "-q", "--silent", "--show-error", "--noproxy", "*"]
        got = subprocess.run([*curl, f"http://{host}/file"], stdout=subprocess.PIPE, check=True).stdout
        assert hashlib.sha256(got).digest() == hashlib.sha256(content).digest()
        subprocess.run(
            [*curl, "--upload-file", str(tmp_path / "file"), "-o", "/dev/null", f"http://{host}/put/"], check=True
        )
        assert server.event("closed")["tcp_info"]["total_retrans"] > 0
    assert (tmp_path / "put" / "file").read_bytes() == content


def test_a_seed_is_told_where_none_was_given(wire: Wire, tmp_path: Path) -> None:
    ran = wire.tcpstack("ping", "--count", "1", "--impair", "delay=10ms", wire.kernel)
    assert ran.returncode == 0
    assert "add seed=" in ran.stderr
    ran = wire.tcpstack("ping", "--count", "1", "--impair", "delay=10ms,seed=1", wire.kernel)
    assert "seed=" not in ran.stderr
