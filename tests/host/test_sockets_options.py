"""Options of sockets: each that is accepted has its effect on the wire, or on what calls give."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from stack.host.sockets import constants
from stack.host.sockets.options import SETTINGS
from stack.socket import (
    IP_MTU,
    IP_MTU_DISCOVER,
    IP_PMTUDISC_DO,
    IP_PMTUDISC_DONT,
    IP_PMTUDISC_PROBE,
    IP_PMTUDISC_WANT,
    IP_TOS,
    IP_TTL,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPPROTO_TCP,
    IPV6_MTU,
    IPV6_MTU_DISCOVER,
    IPV6_TCLASS,
    IPV6_UNICAST_HOPS,
    MSG_MORE,
    POLLIN,
    POLLOUT,
    SIOCOUTQNSD,
    SO_KEEPALIVE,
    SO_LINGER,
    SO_RCVBUF,
    SO_RCVLOWAT,
    SO_SNDBUF,
    SOL_SOCKET,
    TCP_CONGESTION,
    TCP_CORK,
    TCP_DEFER_ACCEPT,
    TCP_INFO,
    TCP_KEEPCNT,
    TCP_KEEPIDLE,
    TCP_KEEPINTVL,
    TCP_LINGER2,
    TCP_MAXSEG,
    TCP_NODELAY,
    TCP_NOTSENT_LOWAT,
    TCP_QUICKACK,
    TCP_SYNCNT,
    TCP_USER_TIMEOUT,
    TCP_WINDOW_CLAMP,
)
from stack.tcp.config import TcpOptions
from stack.tcp.congestion import NewReno
from stack.tcp.info import Info
from stack.tcp.state import State
from stack.wire import ip
from stack.wire.units import MS, SECOND
from tests.host.facade import PLAIN, Choice, Facade, refuses
from tests.support.stream import octets

SO_MARK, SO_PRIORITY, SO_BINDTODEVICE, SO_RCVTIMEO, SO_SNDTIMEO, SO_ZEROCOPY, SO_DEBUG = 36, 12, 25, 20, 21, 60, 1
TCP_MD5SIG, TCP_THIN_LINEAR_TIMEOUTS, TCP_REPAIR, TCP_ULP, TCP_SAVE_SYN = 14, 16, 19, 31, 27
IP_OPTIONS, IP_TRANSPARENT, IP_FREEBIND = 4, 19, 15


@pytest.mark.parametrize(
    ("level", "name"),
    [
        *[(SOL_SOCKET, name) for name in (SO_MARK, SO_PRIORITY, SO_BINDTODEVICE, SO_RCVTIMEO, SO_SNDTIMEO)],
        *[(SOL_SOCKET, name) for name in (SO_ZEROCOPY, SO_DEBUG)],
        *[(IPPROTO_TCP, name) for name in (TCP_MD5SIG, TCP_THIN_LINEAR_TIMEOUTS, TCP_REPAIR, TCP_ULP, TCP_SAVE_SYN)],
        *[(IPPROTO_IP, name) for name in (IP_OPTIONS, IP_TRANSPARENT, IP_FREEBIND)],
    ],
)
def test_what_would_do_nothing_is_refused(level: int, name: int) -> None:
    sock = Facade().sock
    with refuses(errno.ENOPROTOOPT):
        sock.setsockopt(level, name, 1)
    with refuses(errno.ENOPROTOOPT):
        sock.getsockopt(level, name)


@pytest.mark.parametrize("place", [place for place in SETTINGS if SETTINGS[place].number or SETTINGS[place].put])
def test_value_of_the_wrong_kind_is_refused(place: tuple[int, int]) -> None:
    sock = Facade(v6=True).sock
    for value in ((1, 2), "cubic", 5):
        kind = tuple if place == (SOL_SOCKET, SO_LINGER) else str if place == (IPPROTO_TCP, TCP_CONGESTION) else int
        if not isinstance(value, kind):
            with refuses(errno.EINVAL):
                sock.setsockopt(*place, value)


@pytest.mark.parametrize(
    "choice",
    [
        (IPPROTO_IP, IP_TTL, 9),
        (IPPROTO_IP, IP_TOS, 0xB8),
    ],
)
def test_fields_of_ipv4(choice: Choice) -> None:
    """From the SYN on, and changed in between."""
    for it in (Facade(choice).connects(), Facade().connects(), Facade(choice).accepts()):
        it.set(*choice)
        it.send(b"hello")
        assert it.peer.last is not None
        header = ip.decode(it.peer.last.frame)
        assert (header.hop_limit if choice[1] == IP_TTL else header.traffic_class) == choice[2]
        assert it.sock.getsockopt(*choice[:2]) == choice[2]


@pytest.mark.parametrize("choice", [(IPPROTO_IPV6, IPV6_UNICAST_HOPS, 9), (IPPROTO_IPV6, IPV6_TCLASS, 0xB8)])
def test_fields_of_ipv6(choice: Choice) -> None:
    it = Facade(choice, v6=True).connects()
    assert it.peer.last is not None
    header = ip.decode(it.peer.last.frame)
    assert (header.hop_limit if choice[1] == IPV6_UNICAST_HOPS else header.traffic_class) == choice[2]


def test_least_hop_limit_leaves_this_host() -> None:
    with refuses(errno.EINVAL):
        Facade(v6=True).sock.setsockopt(IPPROTO_IPV6, IPV6_UNICAST_HOPS, 0)


def test_default_time_to_live_is_the_hosts() -> None:
    it = Facade(options=PLAIN.replace(ttl=33))
    it.set(IPPROTO_IP, IP_TTL, 9)
    it.set(IPPROTO_IP, IP_TTL, -1)
    assert it.sock.getsockopt(IPPROTO_IP, IP_TTL) == 33


@pytest.mark.parametrize(
    ("v6", "level", "name", "discover"),
    [(False, IPPROTO_IP, IP_MTU, IP_MTU_DISCOVER), (True, IPPROTO_IPV6, IPV6_MTU, IPV6_MTU_DISCOVER)],
)
def test_path_mtu(v6: bool, level: int, name: int, discover: int) -> None:
    it = Facade(v6=v6, mtu=1400).connects()
    assert it.sock.getsockopt(level, name) == 1400
    assert it.sock.getsockopt(level, discover) == IP_PMTUDISC_WANT
    for value in (IP_PMTUDISC_WANT, IP_PMTUDISC_DO):
        it.set(level, discover, value)
    for value, code in (
        (IP_PMTUDISC_DONT, errno.ENOPROTOOPT),
        (IP_PMTUDISC_PROBE, errno.ENOPROTOOPT),
        (-1, errno.EINVAL),
        (6, errno.EINVAL),
    ):
        with refuses(code):
            it.sock.setsockopt(level, discover, value)


def test_keepalive() -> None:
    it = Facade(
        (IPPROTO_TCP, TCP_KEEPIDLE, 10), (IPPROTO_TCP, TCP_KEEPINTVL, 2), (IPPROTO_TCP, TCP_KEEPCNT, 2)
    ).connects()
    it.set(SOL_SOCKET, SO_KEEPALIVE, 1)
    it.peer.sees(". 0:0(0) ack 1", after=10 * SECOND)
    it.peer.sees(". 0:0(0) ack 1", after=2 * SECOND)
    it.peer.passes(2 * SECOND)
    assert it.error() == errno.ETIMEDOUT


def test_nodelay() -> None:
    it = Facade().connects()
    for _ in range(2):
        it.send(b"x")
    it.peer.sees("P. 1:2(1) ack 1")
    it.peer.sees_nothing()
    it.set(IPPROTO_TCP, TCP_NODELAY, 1)
    it.peer.sees("P. 2:3(1) ack 1")


def test_nodelay_asked_for_once_more_lets_go_what_is_held_back() -> None:
    """Each time it is set, and not only when it was not: as the application then has said no end, there is no push."""
    it = Facade((IPPROTO_TCP, TCP_NODELAY, 1)).connects()
    it.send(b"head", MSG_MORE)
    it.send(b"body", MSG_MORE)
    it.peer.sees_nothing()
    it.set(IPPROTO_TCP, TCP_NODELAY, 0)
    it.peer.sees_nothing()
    it.set(IPPROTO_TCP, TCP_NODELAY, 1)
    it.peer.sees(". 1:9(8) ack 1")
    it.send(b"more", MSG_MORE)
    it.set(IPPROTO_TCP, TCP_NODELAY, 1)
    it.peer.sees(". 9:13(4) ack 1")


def test_cork() -> None:
    it = Facade((IPPROTO_TCP, TCP_CORK, 1)).connects()
    it.send(b"head")
    it.send(b"body")
    it.peer.sees_nothing()
    it.set(IPPROTO_TCP, TCP_CORK, 0)
    it.peer.sees("P. 1:9(8) ack 1")


def test_unsent_low_water_mark() -> None:
    """What is in flight does not count, what waits behind it does."""
    it = Facade((IPPROTO_TCP, TCP_NOTSENT_LOWAT, 1000)).connects()
    assert it.sock.getsockopt(IPPROTO_TCP, TCP_NOTSENT_LOWAT) == 1000
    while True:
        try:
            it.send(bytes(1000))
        except BlockingIOError:
            break
    assert it.sock.ioctl(SIOCOUTQNSD) >= 1000
    assert not it.sock.poll() & POLLOUT
    it.set(IPPROTO_TCP, TCP_NOTSENT_LOWAT, 0)
    assert it.sock.poll() & POLLOUT


@pytest.mark.parametrize(("value", "effect"), [(0, 5000), (700, 700), (0xFFFF_FFFF, None), (1 << 30, 1 << 30)])
def test_unsent_low_water_mark_and_the_hosts(value: int, effect: int | None) -> None:
    it = Facade(options=PLAIN.replace(notsent_lowat=5000))
    assert it.sock.getsockopt(IPPROTO_TCP, TCP_NOTSENT_LOWAT) == 0
    it.connects()
    it.set(IPPROTO_TCP, TCP_NOTSENT_LOWAT, value)
    assert it.sock.getsockopt(IPPROTO_TCP, TCP_NOTSENT_LOWAT) == (-1 if effect is None else value)
    assert it.sock.connection is not None
    assert it.sock.connection.options.notsent_lowat == effect


def test_segment_size_is_offered_and_kept_to() -> None:
    it = Facade((IPPROTO_TCP, TCP_MAXSEG, 500))
    it.begins()
    it.peer.sees("S 0:0(0) <mss 500>")
    it.peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    it.peer.takes()
    assert it.sock.getsockopt(IPPROTO_TCP, TCP_MAXSEG) == 500
    it.send(bytes(1500))
    assert [seen.size for seen in it.peer.takes()] == [500, 500, 500]


def test_number_of_syns() -> None:
    it = Facade((IPPROTO_TCP, TCP_SYNCNT, 2))
    it.begins()
    assert len(it.peer.gathers(300 * SECOND)) == 3


def test_user_timeout() -> None:
    it = Facade((IPPROTO_TCP, TCP_USER_TIMEOUT, 4500)).connects()
    it.send(b"x")
    start = it.peer.now
    while it.sock.live is not None:
        assert it.peer.bench.step(start + 60 * SECOND)
    assert it.peer.now - start == 4500 * MS
    assert it.error() == errno.ETIMEDOUT


@pytest.mark.parametrize("value", [0, 1, 10**9 + 1, (1 << 31) - 1])
def test_user_timeout_of_any_length(value: int) -> None:
    it = Facade((IPPROTO_TCP, TCP_USER_TIMEOUT, value)).connects()
    assert it.sock.getsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT) == value
    with refuses(errno.EINVAL):
        it.set(IPPROTO_TCP, TCP_USER_TIMEOUT, -1)


@pytest.mark.parametrize(("value", "lasts"), [(5, 5 * SECOND), (-1, MS), (0, 60 * SECOND)])
def test_wait_for_the_peers_fin(value: int, lasts: int) -> None:
    it = Facade((IPPROTO_TCP, TCP_LINGER2, value)).connects()
    it.close()
    it.peer.sees("F. 1:1(0) ack 1")
    it.peer.sends(". 1:1(0) ack 2")
    it.peer.passes(lasts - 1)
    assert it.peer.state is State.FIN_WAIT_2
    it.peer.passes(1)
    assert it.peer.state is State.CLOSED


def test_accept_waits_for_data() -> None:
    it = Facade((IPPROTO_TCP, TCP_DEFER_ACCEPT, 3)).listens()
    peer = it.peer
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <mss 1460>")
    peer.sends(". 1:1(0) ack 1")
    assert not it.sock.poll() & POLLIN
    peer.sends("P. 1:4(3) ack 1")
    assert it.sock.poll() & POLLIN
    assert len(it.child().recv()) == 3


def test_accept_does_not_wait_for_ever() -> None:
    """When the SYN-ACK has been sent as often as is meant, the mere answer to the next one is enough."""
    it = Facade((IPPROTO_TCP, TCP_DEFER_ACCEPT, 3)).listens()
    peer = it.peer
    peer.sends("S 0:0(0) <mss 1000>")
    peer.takes()
    for after in (1, 2):
        peer.sends(". 1:1(0) ack 1")
        assert not it.sock.poll() & POLLIN
        peer.sees("S. 0:0(0) ack 1 <mss 1460>", after=after * SECOND)
    peer.sends(". 1:1(0) ack 1")
    assert it.sock.poll() & POLLIN


def test_fin_is_something_to_read() -> None:
    it = Facade((IPPROTO_TCP, TCP_DEFER_ACCEPT, 3)).listens()
    it.peer.sends("S 0:0(0) <mss 1000>")
    it.peer.takes()
    it.peer.sends("F. 1:1(0) ack 1")
    assert it.child().recv() == b""


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, 0), (-5, 0), (1, 1), (2, 3), (7, 7), (8, 15), (0x7FFF_FFFF, 0x7FFF_FFFF)]
)
def test_deferral_is_counted_in_syn_acks(seconds: int, told: int) -> None:
    it = Facade((IPPROTO_TCP, TCP_DEFER_ACCEPT, seconds))
    assert it.sock.getsockopt(IPPROTO_TCP, TCP_DEFER_ACCEPT) == told


def test_window_is_clamped() -> None:
    it = Facade((IPPROTO_TCP, TCP_WINDOW_CLAMP, 5000))
    before = it.sock.getsockopt(SOL_SOCKET, SO_RCVBUF)
    it.begins()
    it.peer.sees("S 0:0(0) win 5000 <mss 1460>")
    it.peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    it.peer.sees(". 1:1(0) ack 1 win 5000")
    assert it.sock.getsockopt(IPPROTO_TCP, TCP_WINDOW_CLAMP) == 5000
    assert it.sock.getsockopt(SOL_SOCKET, SO_RCVBUF) == before
    with refuses(errno.EINVAL):
        it.sock.setsockopt(IPPROTO_TCP, TCP_WINDOW_CLAMP, 0)


def test_window_of_a_connection_is_clamped_without_taking_back_what_was_offered() -> None:
    it = Facade().connects()
    it.set(IPPROTO_TCP, TCP_WINDOW_CLAMP, 5000)
    assert it.peer.last is not None
    edge = it.peer.last.edge
    start = 1
    while start < edge - 5000:
        it.peer.sends(f". {start}:{start + 1000}(1000) ack 1")
        it.recv()
        start += 1000
        for seen in it.peer.takes():
            assert edge <= seen.edge <= max(edge, start + 5000)
            edge = seen.edge


def test_receive_buffer() -> None:
    it = Facade((SOL_SOCKET, SO_RCVBUF, 8000))
    assert it.sock.getsockopt(SOL_SOCKET, SO_RCVBUF) == 16_000
    it.begins()
    it.peer.sees("S 0:0(0) win 8000 <mss 1460>")
    it.peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    it.peer.sees(". 1:1(0) ack 1 win 8000")
    for start in range(1, 8001, 1000):
        it.peer.sends(f". {start}:{start + 1000}(1000) ack 1")
    assert it.peer.takes()[-1].edge == 8001
    it.set(SOL_SOCKET, SO_RCVBUF, 20_000)
    assert it.sock.getsockopt(SOL_SOCKET, SO_RCVBUF) == 40_000
    assert it.peer.takes()[-1].edge == 20_001
    assert it.recv() == octets("peer", 0, 8000)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        (SO_SNDBUF, 1, 4608),
        (SO_SNDBUF, 10_000, 20_000),
        (SO_SNDBUF, -1, 8 << 20),
        (SO_RCVBUF, 1, 2304),
        (SO_RCVBUF, 10_000, 20_000),
        (SO_RCVBUF, 1 << 30, 8 << 20),
    ],
)
def test_sizes_of_buffers_have_bounds(name: int, value: int, told: int) -> None:
    assert Facade((SOL_SOCKET, name, value)).sock.getsockopt(SOL_SOCKET, name) == told


def test_receive_low_water_mark_fits_the_buffer() -> None:
    it = Facade((SOL_SOCKET, SO_RCVBUF, 8000), (SOL_SOCKET, SO_RCVLOWAT, -1))
    assert it.sock.getsockopt(SOL_SOCKET, SO_RCVLOWAT) == 8000
    it.set(SOL_SOCKET, SO_RCVBUF, 3000)
    assert it.sock.getsockopt(SOL_SOCKET, SO_RCVLOWAT) == 3000


def test_quick_acknowledgments() -> None:
    it = Facade().connects()
    it.set(IPPROTO_TCP, TCP_QUICKACK, 0)
    assert it.sock.getsockopt(IPPROTO_TCP, TCP_QUICKACK) == 0
    it.peer.sends("P. 1:11(10) ack 1")
    it.peer.sees_nothing()
    it.set(IPPROTO_TCP, TCP_QUICKACK, 1)
    it.peer.sees(". 1:1(0) ack 11")
    assert it.sock.getsockopt(IPPROTO_TCP, TCP_QUICKACK) == 1
    it.peer.sends("P. 11:21(10) ack 1")
    it.peer.sees(". 1:1(0) ack 21")
    it.set(IPPROTO_TCP, TCP_QUICKACK, 0)
    it.peer.sends("P. 21:31(10) ack 1")
    it.peer.sees(". 1:1(0) ack 31", after=40 * MS)


def test_quick_acknowledgments_before_there_is_anything_to_acknowledge() -> None:
    it = Facade((IPPROTO_TCP, TCP_QUICKACK, 0))
    assert it.sock.getsockopt(IPPROTO_TCP, TCP_QUICKACK) == 1


def test_congestion_control_is_changed_in_flight() -> None:
    it = Facade((IPPROTO_TCP, TCP_CONGESTION, "cubic")).connects()
    assert it.sock.connection is not None
    before = it.sock.connection.snd.congestion
    before.cwnd, before.ssthresh = 7000, 5000
    it.set(IPPROTO_TCP, TCP_CONGESTION, "reno")
    after = it.sock.connection.snd.congestion
    assert isinstance(after, NewReno)
    assert (after.cwnd, after.ssthresh, after.mss) == (7000, 5000, 1000)
    it.send(bytes(20_000))
    assert sum(seen.size for seen in it.peer.takes()) == 7000
    assert it.sock.info().congestion == "newreno"


def test_congestion_control_of_ones_own() -> None:
    class Mine(NewReno):
        """Nothing of its own but the name."""

    it = Facade(options=PLAIN.replace(congestion=Mine))
    assert it.sock.getsockopt(IPPROTO_TCP, TCP_CONGESTION) == "Mine"


def test_info() -> None:
    it = Facade()
    with refuses(errno.ENOTCONN):
        it.sock.getsockopt(IPPROTO_TCP, TCP_INFO)
    it.connects()
    info = it.sock.getsockopt(IPPROTO_TCP, TCP_INFO)
    assert isinstance(info, Info)
    assert info == it.sock.info()
    assert info.state == "ESTAB"


PREFIXES = {SOL_SOCKET: "SO_", IPPROTO_IP: "IP_", IPPROTO_IPV6: "IPV6_", IPPROTO_TCP: "TCP_"}


def test_every_option_is_documented() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/sockets.md").read_text()
    documented = {
        name
        for line in page.splitlines()
        for name in re.findall(r"\b(?:SO|IP|IPV6|TCP)_\w+", line.split("|")[1] if line.startswith("|") else "")
    }
    accepted = {
        name
        for level, number in SETTINGS
        for name in dir(constants)
        if name.startswith(PREFIXES[level]) and "PMTUDISC" not in name and getattr(constants, name) == number
    }
    assert accepted - {"TCP_CM_INQ"} == documented


def test_listener_hands_changed_options_on() -> None:
    it = Facade(options=TcpOptions()).listens()
    it.set(IPPROTO_TCP, TCP_MAXSEG, 700)
    it.peer.sends("S 0:0(0) <mss 1000>")
    it.peer.sees("S. 0:0(0) ack 1 <mss 700>")
