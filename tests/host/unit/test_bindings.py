"""When two may have the same port: the table of addresses and of what they have agreed on."""

from __future__ import annotations

import errno

import pytest

from stack.host.bindings import Binding, overlap
from stack.host.host import Host
from stack.tcp.config import TcpOptions

V4, V4_OTHER, V4_ANY = bytes((10, 9, 0, 2)), bytes((10, 9, 0, 3)), bytes(4)
V6, V6_ANY = b"\xfd" + bytes(14) + b"\x02", bytes(16)
BOTH = b""
ALONE = TcpOptions(reuse_address=False)
REUSE = TcpOptions(reuse_address=True)
SHARE = TcpOptions(reuse_address=False, reuse_port=True)


@pytest.mark.parametrize(
    ("first", "second", "meet"),
    [
        (V4, V4, True),
        (V4, V4_OTHER, False),
        (V4, V4_ANY, True),
        (V4, V6, False),
        (V4, V6_ANY, False),
        (V4_ANY, V4_ANY, True),
        (V4_ANY, V6_ANY, False),
        (V6, V6_ANY, True),
        (BOTH, BOTH, True),
        (BOTH, V4, True),
        (BOTH, V4_ANY, True),
        (BOTH, V6, True),
        (BOTH, V6_ANY, True),
    ],
)
def test_addresses_in_common(first: bytes, second: bytes, meet: bool) -> None:
    assert overlap(first, second) is meet
    assert overlap(second, first) is meet


@pytest.mark.parametrize(
    ("late", "early", "listening", "conflict"),
    [
        (ALONE, ALONE, False, True),
        (ALONE, REUSE, False, True),
        (REUSE, ALONE, False, True),
        (REUSE, REUSE, False, False),
        (REUSE, REUSE, True, True),
        (SHARE, SHARE, False, False),
        (SHARE, SHARE, True, False),
        (SHARE, REUSE, False, True),
        (SHARE, ALONE, True, True),
        (SHARE.replace(reuse_address=True), SHARE.replace(reuse_address=True), True, False),
    ],
)
def test_agreements(late: TcpOptions, early: TcpOptions, listening: bool, conflict: bool) -> None:
    first = Binding(V4, 80, early, listening=listening)
    assert Binding(V4, 80, late).conflicts(first) is conflict
    assert not Binding(V4, 81, late).conflicts(first)
    assert not first.conflicts(first)


def host() -> Host:
    it = Host(secret=bytes(32))
    it.add_address("10.9.0.2/24")
    it.add_address("fd00::2/64")
    return it


def test_a_listener_without_a_binding_respects_those_who_have_one() -> None:
    it = host()
    binding = it.bind(80, options=ALONE)
    with pytest.raises(OSError, match="80") as refused:
        it.listen(80)
    assert refused.value.errno == errno.EADDRINUSE
    it.release(binding)
    it.release(binding)
    it.listen(80)


@pytest.mark.parametrize("options", [ALONE, REUSE])
def test_port_that_is_chosen_for_a_listener_is_not_bound(options: TcpOptions) -> None:
    """Two hosts with the same secret choose the same ports."""
    first = host().listen(0).port
    it = host()
    it.bind(first, options=options)
    assert it.listen(0, options=options).port != first


def test_a_binding_comes_to_listen() -> None:
    it = host()
    first, second = it.bind(80, options=REUSE), it.bind(80, options=REUSE)
    listener = it.listen_bound(first, backlog=3)
    assert (listener.port, listener.backlog) == (80, 3)
    with pytest.raises(OSError, match="80"):
        it.listen_bound(second)
    it.close_listener(listener, 0)
    it.release(first)
    it.listen_bound(second)


@pytest.mark.parametrize(
    ("port", "address", "code"),
    [(-1, None, errno.EINVAL), (65536, None, errno.EINVAL), (80, V4_OTHER, errno.EADDRNOTAVAIL)],
)
def test_what_cannot_be_bound(port: int, address: bytes | None, code: int) -> None:
    with pytest.raises(OSError, match=r".") as refused:
        host().bind(port, address=address)
    assert refused.value.errno == code


def test_one_family_or_both() -> None:
    it = host()
    it.bind(80, address=V4_ANY, options=ALONE)
    it.bind(80, address=V6_ANY, options=ALONE)
    with pytest.raises(OSError, match="80"):
        it.bind(80, options=ALONE)
