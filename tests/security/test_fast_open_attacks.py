"""Fast Open under attack: cookies forged and stolen, handshakes that are begun and left, servers that lie."""

from __future__ import annotations

import tracemalloc

import pytest

from stack.host.host import Host
from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection
from stack.tcp.cookie_cache import MAX_SERVERS
from stack.tcp.fast_open import RESET_HOLD, SYN_ACK_RETRIES
from stack.tcp.state import SYN_RECEIVED, SYN_SENT
from stack.wire import icmp
from stack.wire.segment import ACK, RST, SYN
from stack.wire.units import MINUTE, SECOND
from tests.security.target import PORT, THEM4, US4, Reply, Target, icmp4, ip4, kinds, tcp_segment

FAST = TcpOptions(fastopen=True, timestamps=False)
STRANGER = THEM4[:3] + b"\x63"
MSS = bytes.fromhex("020405b4")
COOKIE = b"\xaa\xbb\xcc\xdd"


def option(cookie: bytes) -> bytes:
    return bytes((34, 2 + len(cookie))) + cookie


def right(target: Target, src: bytes = THEM4) -> bytes:
    """The cookie that belongs to an address."""
    return target.host.fastopen_cookie(src, US4)


def syn(cookie: bytes, *, sport: int = 4000, src: bytes = THEM4, payload: bytes = b"question", seq: int = 0) -> bytes:
    options = MSS + option(cookie)
    return ip4(tcp_segment(SYN, payload=payload, options=options, sport=sport, src=src, seq=seq), src=src)


# The server.


@pytest.mark.parametrize("kind", ["guessed", "cut", "long", "stolen", "none"])
def test_tfo_01_cookies_that_are_not_right(kind: str) -> None:
    target = Target(options=FAST)
    cookie = {
        "guessed": bytes(8),
        "cut": right(target)[:6],
        "long": right(target) + bytes(8),
        "stolen": right(target, STRANGER),
        "none": b"",
    }[kind]
    drops = ["bad-cookie"] if cookie else []
    (answer,) = target.expect(syn(cookie), "SA", *drops)
    assert answer.tcp.ack == 1
    assert answer.tcp.fastopen == (right(target), False)
    assert answer.header.dst == THEM4
    assert target.listener.accept() is None
    assert target.host.connections() == []
    assert target.host.half_open == 1


def test_tfo_01_wrong_cookies_leave_nothing_behind() -> None:
    target = Target(options=FAST, backlog=300)
    tracemalloc.start()
    try:
        for sport in range(1000, 1300):
            target.hit(syn(sport.to_bytes(8, "big"), sport=sport, payload=bytes(1400)))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert target.host.half_open == 300
    assert held < 300 * 1200


# RFC7413-05
def test_tfo_02_a_flood_with_a_right_cookie() -> None:
    target = Target(options=FAST, backlog=1000)
    acks = [target.hit(syn(right(target), sport=sport))[0].tcp.ack for sport in range(1000, 1200)]
    limit = FAST.fastopen_queue
    assert acks == [9] * limit + [1] * (200 - limit)
    assert len(target.host.connections()) == limit
    target.wait(2 * MINUTE)
    assert target.host.connections() == []
    assert target.host.half_open == 0
    assert target.hit(syn(right(target), sport=5000))[0].tcp.ack == 9


# RFC7413-05
def test_tfo_03_resets_do_not_free_places() -> None:
    target = Target(options=FAST.replace(fastopen_queue=3), backlog=1000)
    for sport in range(1000, 1010):
        target.hit(syn(right(target), sport=sport))
        target.hit(ip4(tcp_segment(RST, seq=9, sport=sport)))
    assert target.host.counters.fast_opens == 3
    target.wait(RESET_HOLD - SECOND)
    target.hit(syn(right(target), sport=2000))
    assert target.host.counters.fast_opens == 3
    target.wait(SECOND)
    target.hit(syn(right(target), sport=2001))
    assert target.host.counters.fast_opens == 4


# RFC7413-07
def test_tfo_04_a_syn_that_is_repeated() -> None:
    target = Target(options=FAST)
    frame = syn(right(target))
    (answer,) = target.expect(frame, "SA")
    for _ in range(5):
        assert kinds(target.hit(frame)) == ["SA"]
    conn = target.listener.accept()
    assert conn is not None
    assert target.listener.accept() is None
    assert conn.read(100, target.now) == b"question"
    target.expect(ip4(tcp_segment(ACK, seq=9, ack=answer.tcp.seq + 1)), "")
    target.expect(frame, "A", "out-of-window")
    target.expect(syn(right(target), seq=5), "A", "unexpected-syn")
    assert conn.readable == 0


def test_tfo_04_another_syn_of_the_same_flow_is_challenged() -> None:
    target = Target(options=FAST)
    target.hit(syn(right(target)))
    target.expect(syn(right(target), seq=1000), "A", "unexpected-syn")
    conn = target.listener.accept()
    assert conn is not None
    assert conn.own_state is SYN_RECEIVED
    assert conn.readable == 8


# RFC7413-08, RFC7413-10
def test_tfo_08_what_a_silent_client_can_make_us_send() -> None:
    target = Target(options=FAST)
    found: list[Reply] = target.hit(syn(right(target)))
    conn = target.listener.accept()
    assert conn is not None
    conn.write(bytes(1 << 18))
    target.host.touch(conn, target.now)
    found += [reply for _, reply in target.wait(10 * MINUTE)]
    data = [reply for reply in found if reply.tcp.size]
    assert sum(reply.tcp.size for reply in data) == 10 * 1460
    assert kinds([reply for reply in found if not reply.tcp.size]) == ["SA"] * (1 + SYN_ACK_RETRIES)
    assert target.host.connections() == []


# The client.


def connect(target: Target, *, port: int = 80, data: bytes = b"question") -> tuple[Connection, Reply]:
    """Our host connects to the attacker; the SYN."""
    conn = target.host.connect(THEM4, port, target.now)
    if data:
        conn.write(data)
    target.host.touch(conn, target.now)
    (reply,) = target.replies()
    return conn, reply


def answer(to: Reply, *, ack: int, options: bytes = b"", window: int = 65535, flags: int = SYN | ACK) -> bytes:
    """A SYN-ACK, whose `ack` is relative."""
    sent = to.tcp
    return ip4(
        tcp_segment(
            flags,
            seq=7000,
            ack=sent.seq + ack,
            options=MSS + options,
            window=window,
            sport=sent.dst_port,
            dport=sent.src_port,
        )
    )


def learn(target: Target, *, port: int = 80) -> None:
    conn, request = connect(target, port=port, data=b"")
    assert request.tcp.fastopen == (b"", False)
    target.hit(answer(request, ack=1, options=option(COOKIE)))
    conn.abort()
    target.host.touch(conn, target.now)
    target.replies()


@pytest.mark.parametrize("cookie", [b"\x01\x02", bytes(5), bytes(18), b""])
def test_tfo_05_cookies_of_other_lengths(cookie: bytes) -> None:
    target = Target(options=FAST)
    learn(target)
    _, sent = connect(target)
    target.hit(answer(sent, ack=9, options=option(cookie)))
    _, sent = connect(target)
    assert sent.tcp.fastopen == (COOKIE, False)


def test_tfo_05_cookies_nobody_has_asked_for() -> None:
    target = Target(options=FAST.replace(fastopen=False))
    _, sent = connect(target)
    target.hit(answer(sent, ack=1, options=option(COOKIE)))
    assert target.host.fastopen_room(THEM4, PORT, target.now, options=FAST) == 0
    # Nor on what is no SYN.
    target = Target(options=FAST)
    _, sent = connect(target)
    target.hit(answer(sent, ack=1))
    target.hit(answer(sent, ack=1, options=option(COOKIE), flags=ACK))
    assert target.host.fastopen_room(THEM4, PORT, target.now) == 0


# RFC7413-04
def test_tfo_06_more_servers_than_can_be_remembered() -> None:
    target = Target(options=FAST)
    for port in range(1, MAX_SERVERS + 3):
        learn(target, port=port)
    known = [target.host.fastopen_room(THEM4, port, target.now) > 0 for port in range(1, MAX_SERVERS + 3)]
    assert known == [False, False] + [True] * MAX_SERVERS


@pytest.mark.parametrize("what", ["icmp", "reset", "syn-ack"])
def test_tfo_07_forgeries_that_do_not_know_the_number(what: str) -> None:
    target = Target(options=FAST)
    learn(target)
    conn, sent = connect(target)
    if what == "icmp":
        quote = sent.frame[:24] + (sent.tcp.seq + 5000 & 0xFFFFFFFF).to_bytes(4, "big")
        target.expect(
            ip4(icmp4(icmp.UNREACHABLE, icmp.PROTOCOL_UNREACHABLE, 0, quote), protocol=1), "", "icmp-unmatched"
        )
    elif what == "reset":
        target.expect(answer(sent, ack=5000, flags=RST | ACK), "", "bad-ack")
    else:
        target.expect(answer(sent, ack=5000), "R", "bad-ack")
    assert conn.own_state is SYN_SENT
    target.hit(answer(sent, ack=9))
    assert conn.info(target.now).syn_data
    assert target.host.fastopen_room(THEM4, PORT, target.now) > 0


# RFC7413-04, RFC7413-09
@pytest.mark.parametrize("window", [0, 1, 5, 65535])
def test_tfo_09_a_server_that_takes_nothing(window: int) -> None:
    target = Target(options=FAST)
    learn(target)
    _, sent = connect(target)
    assert sent.tcp.payload == b"question"
    found = target.hit(answer(sent, ack=1, window=window))
    assert kinds(found) == [f"A{min(window, 8) or ''}"]
    assert target.host.fastopen_room(THEM4, PORT, target.now) == 0


def test_a_host_without_fast_open_reads_no_cookie() -> None:
    target = Target()
    assert isinstance(target.host, Host)
    target.expect(syn(right(target)), "SA")
    assert target.host.connections() == []
