"""Errors about reaching a peer, before and after trying."""

from __future__ import annotations

import errno
import os

import pytest

from stack.cli.network import NetworkOptions, check_target, explain_connect
from stack.cli.terminal import CommandError

OPTIONS = NetworkOptions(kernel=["10.9.0.1/24", "fd09::1/64"], addresses=["10.9.0.2/24", "fd09::2/64"])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "0.0.0.0", "::", "localhost", "x.localhost"])
def test_loopback_is_not_across_the_wire(host: str) -> None:
    with pytest.raises(CommandError, match="loopback") as caught:
        check_target(host, OPTIONS)
    assert "10.9.0.1, fd09::1" in caught.value.remedy


@pytest.mark.parametrize("host", ["10.9.0.2", "fd09::2", "fd09:0::2"])
def test_our_own_address_is_no_peer(host: str) -> None:
    with pytest.raises(CommandError, match="own address"):
        check_target(host, OPTIONS)


@pytest.mark.parametrize("host", ["10.9.0.1", "fd09::1", "192.0.2.1", "example.org"])
def test_what_may_be_reached(host: str) -> None:
    check_target(host, OPTIONS)


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("number", "host", "message", "remedy"),
    [
        (errno.ECONNREFUSED, "10.9.0.1", "connection refused by 10.9.0.1:80", "listening"),
        (errno.ETIMEDOUT, "10.9.0.1", "no answer from 10.9.0.1:80", "firewall"),
        (errno.ETIMEDOUT, "10.9.0.7", "no answer from 10.9.0.7:80", "nobody has that address"),
        (errno.ETIMEDOUT, "192.0.2.1", "no answer from 192.0.2.1:80", "ip_forward=1"),
        (errno.ETIMEDOUT, "fd09::7", "no answer from [fd09::7]:80", "nobody has that address"),
        (errno.ENETUNREACH, "fd00::1", "no route to [fd00::1]:80", "--address"),
        (errno.EHOSTUNREACH, "192.0.2.1", "can't connect to 192.0.2.1:80: No route to host", ""),
    ],
)
def test_why_there_is_no_connection(number: int, host: str, message: str, remedy: str) -> None:
    explained = explain_connect(error(number), host, 80, OPTIONS)
    assert message in explained.message
    assert remedy in explained.remedy
    assert explained.status == 1
