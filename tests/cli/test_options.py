"""What the network options mean together."""

from __future__ import annotations

import argparse

import pytest

from stack.cli.network import network_options
from stack.cli.options import ADDRESSES, KERNEL, add_network_options, cidr, duration, ends, port
from stack.cli.terminal import USAGE, CommandError
from stack.tcp.config import TcpOptions
from stack.tcp.profiles import profile


def test_the_defaults() -> None:
    assert ends(None, None) == (list(KERNEL), list(ADDRESSES))
    assert ends(None, None, ipv6=False) == (["10.9.0.1/24"], ["10.9.0.2/24"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("10.9.0.1/24", "10.9.0.2/24"),
        ("10.9.0.254/24", "10.9.0.253/24"),
        ("192.168.7.3/31", "192.168.7.2/31"),
        ("192.168.7.2/31", "192.168.7.3/31"),
        ("192.168.7.1/30", "192.168.7.2/30"),
        ("fd09::1/64", "fd09::2/64"),
        ("fd09::/127", "fd09::1/127"),
        ("fd09::1/127", "fd09::/127"),
    ],
)
def test_who_names_one_end_gets_the_other_beside_it(one: str, other: str) -> None:
    assert ends([one], None) == ([one], [other])
    assert ends(None, [one]) == ([other], [one])


def test_both_ends_are_taken_as_they_are() -> None:
    assert ends(["10.1.0.1/16"], ["10.1.7.7/16", "fd00::7/64"]) == (["10.1.0.1/16"], ["10.1.7.7/16", "fd00::7/64"])


@pytest.mark.parametrize("alone", ["10.9.0.1/32", "fd09::1/128"])
def test_a_network_of_one_address_needs_both_ends(alone: str) -> None:
    with pytest.raises(CommandError, match="no second address") as caught:
        ends([alone], None)
    assert caught.value.status == USAGE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10.9.0.1", "as in 10.9.0.1/24"),
        ("fd09::1", "as in fd09::1/64"),
        ("10.9.0/24", "is not an address"),
        ("10.9.0.1/33", "is not an address"),
        ("tun0", "is not an address"),
    ],
)
def test_what_is_no_address(text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        cidr(text)


def test_ports() -> None:
    assert [port("1"), port("65535")] == [1, 65535]
    for text in ("0", "65536", "-1", "http", "", "1.5"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a port"):
            port(text)


def test_durations() -> None:
    assert [duration("0.2"), duration("30")] == [0.2, 30.0]
    for text in ("0", "-1", "soon", "nan", "inf", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a number of seconds"):
            duration(text)


def test_addresses_may_be_repeated() -> None:
    parser = argparse.ArgumentParser()
    add_network_options(parser)
    arguments = parser.parse_args(["--address", "10.9.0.2/24", "--address", "fd09::2/64", "--mtu", "1280"])
    assert arguments.address == ["10.9.0.2/24", "fd09::2/64"]
    assert (arguments.kernel, arguments.mtu, arguments.pcap, arguments.tun) == (None, 1280, None, "tun%d")


def test_offload_is_the_rule() -> None:
    parser = argparse.ArgumentParser()
    add_network_options(parser)
    assert parser.parse_args([]).offload is True
    assert parser.parse_args(["--no-offload"]).offload is False


def test_profile_is_where_the_options_begin(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_network_options(parser)
    assert network_options(parser.parse_args([])).tcp == TcpOptions()
    chosen = network_options(parser.parse_args(["--profile", "freebsd"]), nodelay=True)
    assert chosen.tcp == profile("freebsd").replace(nodelay=True)
    with pytest.raises(SystemExit):
        parser.parse_args(["--profile", "windows"])
    assert "freebsd" in capsys.readouterr().err


@pytest.mark.parametrize("mtu", ["575", "65536", "big"])
def test_mtus_refused(mtu: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_network_options(parser)
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["--mtu", mtu])
    assert caught.value.code == USAGE
    assert "is not an MTU" in capsys.readouterr().err
