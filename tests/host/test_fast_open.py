"""The host's share in Fast Open: whose cookies, how long connections are kept, and what a fault costs."""

from __future__ import annotations

import pytest

from stack.host.host import Host
from stack.tcp.config import TcpOptions
from stack.tcp.congestion import CongestionControl
from stack.tcp.state import State
from stack.wire.address import parse_address
from stack.wire.packet import Packet
from stack.wire.units import SECOND
from tests.support.peer import Peer

FAST = TcpOptions(fastopen=True)


# RFC7413-03
@pytest.mark.parametrize(
    ("key", "remote", "local", "cookie"),
    [
        ("f763bfa0813d80ed301d64cd904abcce", "10.248.0.2", "192.168.0.2", "00abaaabe8e954c2"),
        ("f763bfa0813d80ed301d64cd904abcce", "10.248.0.3", "192.168.0.3", "76d2c1c530f51f79"),
        ("00" * 16, "10.248.0.2", "192.168.0.2", "93b7aa4f550f8a1a"),
    ],
)
def test_cookies_are_those_of_linux(key: str, remote: str, local: str, cookie: str) -> None:
    host = Host(secret=bytes(16))
    host.fastopen_keys = (bytes.fromhex(key),)
    assert host.fastopen_cookie(parse_address(remote), parse_address(local)).hex() == cookie


# RFC7413-03
def test_cookies_depend_on_the_secret_and_both_addresses() -> None:
    addresses = [parse_address(text) for text in ("10.9.0.1", "10.9.0.2", "fd00::1")]
    cookies = {
        Host(secret=secret).fastopen_cookie(remote, local)
        for secret in (bytes(16), b"a secret of sixteen")
        for remote in addresses
        for local in addresses
    }
    assert len(cookies) == 18
    assert Host(secret=bytes(16)).fastopen_keys == Host(secret=bytes(16)).fastopen_keys


def test_the_room_of_an_address_that_can_not_be_reached() -> None:
    host = Host(secret=bytes(16))
    with pytest.raises(OSError, match="no IPv4 address"):
        host.fastopen_room(parse_address("10.9.0.1"), 80, 0)


def syn_with_data(peer: Peer) -> Packet:
    cookie = peer.host.fastopen_cookie(peer.address, peer.host_address).hex()
    return peer.packet(f"S 0:10(10) <mss 1000,FO {cookie}>")


def test_a_connection_that_is_not_taken_does_not_stay() -> None:
    peer = Peer()
    listener = peer.listens(options=FAST)
    peer.bench.deliver(syn_with_data(peer))
    peer.sees("S. 0:0(0) ack 11 <mss 1460>")
    assert [conn.own_state for conn in peer.host.connections()] == [State.SYN_RECEIVED]
    assert listener.acceptable == 1
    peer.gathers(70 * SECOND)
    assert peer.host.connections() == []
    conn = listener.accept()
    assert conn is not None
    assert conn.read(100, peer.now)
    assert isinstance(conn.error, TimeoutError)


def test_listeners_are_told_at_once() -> None:
    peer = Peer()
    listener = peer.listens(options=FAST)
    listener.owner = "somebody"
    peer.host.receive(syn_with_data(peer), peer.now)
    assert peer.host.take_woken() == [listener]


def test_a_fault_in_opening_costs_a_reset_and_no_place() -> None:
    class Broken(CongestionControl):
        name = "broken"

        def __init__(self, mss: int) -> None:
            raise RuntimeError("on purpose")

    peer = Peer()
    faults: list[BaseException] = []
    peer.host.on_fault = faults.append
    listener = peer.listens(options=TcpOptions(fastopen=True, fastopen_queue=1, congestion=Broken))
    for _ in range(2):
        peer.bench.deliver(syn_with_data(peer))
        peer.sees_reset(0, ack=11)
    assert [str(fault) for fault in faults] == ["on purpose"] * 2
    assert listener.fast_opens.pending == 0
    assert peer.host.connections() == []


def test_shutting_down_resets_who_is_under_way() -> None:
    peer = Peer()
    peer.listens(options=FAST)
    peer.bench.deliver(syn_with_data(peer))
    peer.sees("S. 0:0(0) ack 11 <mss 1460>")
    peer.host.shut_down(peer.now)
    peer.bench.flush()
    peer.sees_reset(1, ack=11)
    assert peer.host.connections() == []
