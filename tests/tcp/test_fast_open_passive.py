"""Fast Open as a server sees it (RFC 7413 4.2): cookies, data before the handshake is over, and all the ways back."""

from __future__ import annotations

import pytest

from stack.tcp import fast_open
from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire.units import MS, SECOND
from tests.support.peer import Peer
from tests.support.user import User

FAST = TcpOptions(fastopen=True)
KEY, NEW_KEY = bytes(range(16)), bytes(range(100, 116))


def listening(options: TcpOptions = FAST, *, timestamps: bool = False, v6: bool = False, backlog: int = 128) -> Peer:
    peer = Peer(timestamps=timestamps, v6=v6)
    peer.listens(options=options, backlog=backlog)
    return peer


def cookie(peer: Peer, kind: str = "FO") -> str:
    """The option with the cookie that the host gives to this peer."""
    return f"{kind} {peer.host.fastopen_cookie(peer.address, peer.host_address).hex()}"


def opened(options: TcpOptions = FAST, *, size: int = 10, window: int = 32792) -> tuple[Peer, User]:
    """SYN-RECEIVED with the data of the SYN taken, and the SYN-ACK seen."""
    peer = listening(options)
    peer.sends(f"S 0:{size}({size}) win {window} <mss 1000,{cookie(peer)}>")
    peer.sees(f"S. 0:0(0) ack {1 + size} <mss 1460>")
    return peer, peer.accepts()


# Cookies.


# RFC7413-06
@pytest.mark.parametrize("kind", ["FO", "FOEXP"])
@pytest.mark.parametrize("v6", [False, True])
def test_a_cookie_is_given_to_who_asks_in_the_same_form(kind: str, v6: bool) -> None:
    peer = listening(v6=v6)
    peer.sends(f"S 0:0(0) <mss 1000,{kind}>")
    peer.sees(f"S. 0:0(0) ack 1 <mss {1440 if v6 else 1460},{cookie(peer, kind)}>")
    peer.sends(". 1:1(0) ack 1")
    assert peer.accepts().state is State.ESTABLISHED


# RFC7413-01, RFC7413-06, RFC7413-11
@pytest.mark.parametrize("options", [None, TcpOptions(), TcpOptions(fastopen=True, fastopen_queue=0)])
def test_off_unless_asked_for(options: TcpOptions | None) -> None:
    for has_cookie in (False, True):
        peer = Peer()
        listener = peer.listens(options=options)
        peer.sends(f"S 0:10(10) <mss 1000,{cookie(peer) if has_cookie else 'FO'}>")
        peer.sees("S. 0:0(0) ack 1 <mss 1460>")
        assert listener.accept() is None


# RFC7413-06, RFC7413-08
def test_a_syn_ack_that_is_sent_again_has_no_option() -> None:
    peer = listening()
    peer.sends("S 0:0(0) <mss 1000,FO>")
    peer.sees(f"S. 0:0(0) ack 1 <mss 1460,{cookie(peer)}>")
    peer.sees("S. 0:0(0) ack 1 <mss 1460>", after=1 * SECOND)
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <mss 1460>")


# RFC7413-07
@pytest.mark.parametrize("kind", ["FO", "FOEXP"])
def test_a_wrong_cookie_makes_an_ordinary_handshake_and_brings_the_right_one(kind: str) -> None:
    peer = listening()
    peer.sends(f"S 0:10(10) <mss 1000,{kind} {'aa' * 8}>")
    peer.sees(f"S. 0:0(0) ack 1 <mss 1460,{cookie(peer, kind)}>")
    assert peer.host.counters.drops["bad-cookie"] == 1
    peer.sends("P. 1:11(10) ack 1")
    peer.sees(". 1:1(0) ack 11")
    user = peer.accepts()
    user.reads(10)
    assert not user.conn.info(peer.now).syn_data


# RFC7413-03
def test_a_cookie_is_of_one_address() -> None:
    peer = listening()
    stranger = Peer(bench=peer.bench, address="10.9.0.77", port=40001)
    assert cookie(peer) != cookie(stranger)
    stranger.sends(f"S 0:10(10) <mss 1000,{cookie(peer)}>")
    stranger.sees(f"S. 0:0(0) ack 1 <mss 1460,{cookie(stranger)}>")


# RFC7413-07
def test_data_without_a_cookie_is_not_taken() -> None:
    peer = listening()
    peer.sends("S 0:10(10) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <mss 1460>")


def test_a_listener_may_do_without_cookies() -> None:
    peer = listening(TcpOptions(fastopen=True, fastopen_cookies=False))
    peer.sends("S 0:10(10) <mss 1000>")
    peer.sees("S. 0:0(0) ack 11 <mss 1460>")
    peer.accepts().reads(10)
    plain = Peer(bench=peer.bench, port=40001)
    plain.sends("S 0:0(0) <mss 1000>")
    plain.sees("S. 0:0(0) ack 1 <mss 1460>")
    assert peer.host.half_open == 1


# RFC7413-03
def test_keys_are_replaced_without_hurting_anyone() -> None:
    peer = listening()
    peer.host.fastopen_keys = (KEY,)
    old = cookie(peer)
    peer.host.fastopen_keys = (NEW_KEY, KEY)
    new = cookie(peer)
    assert old != new
    peer.sends(f"S 0:10(10) <mss 1000,{old}>")
    peer.sees(f"S. 0:0(0) ack 11 <mss 1460,{new}>")  # taken, and here is the new one
    second = Peer(bench=peer.bench, port=40001)
    second.sends(f"S 0:10(10) <mss 1000,{new}>")
    second.sees("S. 0:0(0) ack 11 <mss 1460>")
    peer.host.fastopen_keys = (NEW_KEY,)
    third = Peer(bench=peer.bench, port=40002)
    third.sends(f"S 0:10(10) <mss 1000,{old}>")
    third.sees(f"S. 0:0(0) ack 1 <mss 1460,{new}>")


def test_a_listener_may_have_keys_of_its_own() -> None:
    peer = listening(TcpOptions(fastopen=True, fastopen_keys=(KEY,)))
    theirs = cookie(peer)
    peer.host.fastopen_keys = (KEY,)
    ours = cookie(peer)
    peer.host.fastopen_keys = (NEW_KEY,)
    peer.sends("S 0:0(0) <mss 1000,FO>")
    peer.sees(f"S. 0:0(0) ack 1 <mss 1460,{ours}>")
    assert theirs != ours


@pytest.mark.parametrize("keys", [(), (b"short",), (KEY, KEY, KEY)])
def test_keys_that_are_none(keys: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="key"):
        Peer().host.fastopen_keys = keys


# Data.


# RFC7413-07
@pytest.mark.parametrize("kind", ["FO", "FOEXP"])
def test_data_is_there_at_once_and_may_be_answered(kind: str) -> None:
    peer = listening()
    peer.sends(f"S 0:10(10) <mss 1000,{cookie(peer, kind)}>")
    peer.sees("S. 0:0(0) ack 11 <mss 1460>")
    user = peer.accepts()
    assert (user.state, user.conn.connected) == (State.SYN_RECEIVED, False)
    user.reads(10)
    user.write(100)
    peer.sees("P. 1:101(100) ack 11")
    peer.sends(". 11:11(0) ack 101")
    assert user.state is State.ESTABLISHED
    info = user.conn.info(peer.now)
    assert (info.syn_data, info.data_segs_in, info.bytes_received, info.bytes_acked) == (True, 1, 10, 100)
    assert info.last_data_recv == 0
    assert (peer.host.counters.fast_opens, peer.host.counters.accepted) == (1, 1)


# RFC7413-07
def test_a_cookie_without_data_lets_the_server_speak_first() -> None:
    peer = listening()
    peer.sends(f"S 0:0(0) <mss 1000,{cookie(peer)}>")
    peer.sees("S. 0:0(0) ack 1 <mss 1460>")
    user = peer.accepts()
    user.write(100)
    peer.sees("P. 1:101(100) ack 1")
    peer.sends("P. 1:11(10) ack 101")
    peer.sees(". 101:101(0) ack 11")
    user.reads(10)
    assert not user.conn.info(peer.now).syn_data


def test_options_are_agreed_on_as_ever() -> None:
    peer = listening(timestamps=True)
    peer.sends(f"S 0:10(10) <mss 1000,sackOK,TS val 7 ecr 0,wscale 3,{cookie(peer)}>")
    peer.sees("S. 0:0(0) ack 11 <mss 1460,sackOK,TS val 0 ecr 7,wscale 7>")
    info = peer.accepts().conn.info(peer.now)
    assert (info.timestamps, info.sack, info.snd_wscale, info.rcv_wscale) == (True, True, 3, 7)
    other = Peer(bench=peer.bench, port=40001)
    other.sends(f"S 0:10(10) <mss 1000,{cookie(peer)}>")
    other.sees("S. 0:0(0) ack 11 <mss 1460>")
    conn = peer.listener.accept() if peer.listener is not None else None
    assert conn is not None
    assert (conn.rcv.shift, conn.snd_shift, conn.rcv.sack, conn.ts) == (0, 0, False, None)


def test_ecn_is_agreed_on_as_ever() -> None:
    peer = listening()
    peer.sends(f"SEW 0:10(10) <mss 1000,{cookie(peer)}>")
    peer.sees("S.E 0:0(0) ack 11 <mss 1460>")
    assert peer.accepts().conn.ecn


# RFC7413-10
def test_no_more_than_the_initial_window_leaves_before_the_handshake() -> None:
    peer, user = opened(window=65535)
    user.write(30_000)
    assert sum(seen.size for seen in peer.takes()) == 10_000
    peer.sends(". 11:11(0) ack 1001")
    assert sum(seen.size for seen in peer.takes()) == 2_000


# RFC7413-10
def test_no_more_than_the_window_in_the_syn_leaves_before_the_handshake() -> None:
    peer, user = opened(window=2500)
    user.write(30_000)
    assert [seen.size for seen in peer.takes()] == [1000, 1000]
    peer.sends(". 11:11(0) ack 1 win 2500")
    peer.sends(". 11:11(0) ack 2001 win 2500")
    assert [seen.size for seen in peer.takes()] == [1000, 1000]


# RFC7413-10
def test_a_window_of_less_than_a_segment_is_used_up() -> None:
    peer, user = opened(window=100)
    user.write(1000)
    peer.sees(". 1:101(100) ack 11")


def test_what_does_not_fit_is_not_acknowledged() -> None:
    peer = listening(TcpOptions(fastopen=True, receive_window=1000, receive_buffer=1000))
    peer.sends(f"S 0:1400(1400) <mss 1000,{cookie(peer)}>")
    peer.sees("S. 0:0(0) ack 1001 win 0 <mss 1460>")
    user = peer.accepts()
    user.reads(1000)
    peer.sends(". 1001:1001(0) ack 1")
    peer.sees(". 1:1(0) ack 1001 win 1000")
    peer.sends("P. 1001:1401(400) ack 1")
    user.reads(400)


def test_the_window_in_the_syn_ack_leaves_out_what_waits_to_be_read() -> None:
    peer = listening(TcpOptions(fastopen=True, receive_window=5000, receive_buffer=5000))
    peer.sends(f"S 0:1000(1000) <mss 1000,{cookie(peer)}>")
    peer.sees("S. 0:0(0) ack 1001 win 4000 <mss 1460>")
    peer.sees("S. 0:0(0) ack 1001 win 4000 <mss 1460>", after=1 * SECOND)
    peer.accepts().reads(1000)
    peer.sees("S. 0:0(0) ack 1001 win 5000 <mss 1460>", after=2 * SECOND)


def test_nagle_does_not_hold_the_first_answer() -> None:
    peer, user = opened()
    user.write(10)
    peer.sees("P. 1:11(10) ack 11")
    user.write(10)
    peer.sees_nothing()  # but the second
    peer.sends(". 11:11(0) ack 11")
    peer.sees("P. 11:21(10) ack 11")


# The end of the handshake.


def test_the_third_segment_may_bring_data_and_a_fin() -> None:
    peer, user = opened()
    peer.sends("F. 11:21(10) ack 1")
    peer.sees(". 1:1(0) ack 22")
    assert user.state is State.CLOSE_WAIT
    user.reads(20)
    user.close()
    peer.sees("F. 1:1(0) ack 22")


# RFC7413-07, RFC7413-08
def test_data_of_a_repeated_syn_is_ignored_and_the_syn_ack_sent_again() -> None:
    peer, user = opened()
    for line in ("S 0:0(0) <mss 1000>", f"S 0:10(10) <mss 1000,{cookie(peer)}>"):
        peer.sends(line, payload=b"x" * 10)
        peer.sees("S. 0:0(0) ack 11 <mss 1460>")
    peer.sends(". 11:11(0) ack 1")
    user.reads(10)
    assert user.conn.readable == 0


def test_a_repeated_syn_is_challenged_after_the_handshake() -> None:
    peer, _ = opened()
    peer.sends(". 11:11(0) ack 1")
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees(". 1:1(0) ack 11")


# RFC7413-08
def test_the_syn_ack_is_sent_again_alone_and_data_waits_for_the_handshake() -> None:
    peer, user = opened(TcpOptions(fastopen=True, nodelay=True))
    user.write(1500)
    peer.sees(". 1:1001(1000) ack 11", "P. 1001:1501(500) ack 11")
    peer.sees("S. 0:0(0) ack 11 <mss 1460>", after=1 * SECOND)
    user.write(100)
    peer.sees("S. 0:0(0) ack 11 <mss 1460>", after=2 * SECOND)
    peer.sends(". 11:11(0) ack 1")
    peer.sees(". 1:1001(1000) ack 11")  # one segment: a SYN-ACK was lost (RFC 5681 3.1)
    peer.sends(". 11:11(0) ack 1001")
    peer.sees(". 1001:1501(500) ack 11", "P. 1501:1601(100) ack 11")
    assert user.state is State.ESTABLISHED


def test_the_syn_ack_is_given_up_after_a_minute() -> None:
    peer, user = opened()
    for wait in (1, 2, 4, 8, 16):
        peer.sees("S. 0:0(0) ack 11 <mss 1460>", after=wait * SECOND)
    peer.sees_nothing(during=32 * SECOND)
    assert user.state is State.CLOSED
    user.reads(10)
    with pytest.raises(TimeoutError):
        user.read()


def test_an_ack_of_what_was_never_sent_is_answered_with_a_reset() -> None:
    peer, user = opened()
    peer.sends(". 11:11(0) ack 2")
    peer.sees_reset(2)
    peer.sends(". 11:11(0) ack 1")
    assert user.state is State.ESTABLISHED


def test_an_ack_from_before_our_syn_is_answered_with_a_reset_in_fin_wait_1_too() -> None:
    """Who sends it has not seen our SYN-ACK, and may be anybody with a cookie of another's (3.10.7.4, fifth)."""
    peer, user = opened()
    user.reads(10)
    user.close_write()
    peer.sees("F. 1:1(0) ack 11")
    peer.sends("P. 11:21(10) ack 0")
    peer.sees_reset(0)
    assert (user.state, user.conn.readable) == (State.FIN_WAIT_1, 0)
    peer.sends("P. 11:21(10) ack 1")
    assert user.conn.readable == 10


# Ends.


def test_close_before_the_handshake_is_complete() -> None:
    peer, user = opened()
    user.reads(10)
    user.conn.write(bytes(5))
    peer.watch.written += bytes(5)
    user.close()
    peer.sees("FP. 1:6(5) ack 11")
    assert user.state is State.FIN_WAIT_1
    peer.sends(". 11:11(0) ack 7")
    assert user.state is State.FIN_WAIT_2
    peer.sends("F. 11:11(0) ack 7")
    peer.sees(". 7:7(0) ack 12")


def test_close_with_unread_data_resets() -> None:
    peer, user = opened()
    user.close()
    peer.sees_reset(1, ack=11)


def test_a_listener_that_closes_resets_who_was_not_taken() -> None:
    peer = listening()
    peer.sends(f"S 0:10(10) <mss 1000,{cookie(peer)}>")
    peer.sees("S. 0:0(0) ack 11 <mss 1460>")
    assert peer.listener is not None
    peer.host.close_listener(peer.listener, peer.now)
    peer.bench.flush()
    peer.sees_reset(1, ack=11)


@pytest.mark.parametrize("accepted", [False, True])
def test_a_reset_leaves_the_data_and_then_the_error(accepted: bool) -> None:
    peer = listening()
    peer.sends(f"S 0:10(10) <mss 1000,{cookie(peer)}>")
    peer.sees("S. 0:0(0) ack 11 <mss 1460>")
    user = peer.accepts() if accepted else None
    peer.sends("R 11:11(0)")
    user = user or peer.accepts()
    assert user.state is State.CLOSED
    user.reads(10)
    with pytest.raises(ConnectionResetError):
        user.read()
    with pytest.raises(ConnectionResetError):
        user.write(1)


def test_a_reset_elsewhere_in_the_window_is_challenged() -> None:
    peer, user = opened()
    peer.sends("R 20:20(0)")
    peer.sees(". 1:1(0) ack 11")
    assert user.state is State.SYN_RECEIVED


# The queue.


def syn(peer: Peer, port: int) -> Peer:
    """Another client with its right cookie, from another port."""
    client = Peer(bench=peer.bench, port=port)
    client.sends(f"S 0:10(10) <mss 1000,{cookie(peer)}>")
    return client


# RFC7413-05
def test_one_more_than_the_queue_holds_is_opened_as_usual() -> None:
    peer = listening(TcpOptions(fastopen=True, fastopen_queue=2))
    first, second, third = (syn(peer, port) for port in (40001, 40002, 40003))
    for client in (first, second):
        client.sees("S. 0:0(0) ack 11 <mss 1460>")
    third.sees("S. 0:0(0) ack 1 <mss 1460>")
    assert peer.host.counters.drops["fast-open-queue-full"] == 1
    first.sends(". 11:11(0) ack 1")  # its place is free
    syn(peer, 40004).sees("S. 0:0(0) ack 11 <mss 1460>")
    syn(peer, 40005).sees("S. 0:0(0) ack 1 <mss 1460>")


# RFC7413-05
def test_who_is_reset_holds_its_place_for_a_while() -> None:
    peer = listening(TcpOptions(fastopen=True, fastopen_queue=1))
    first = syn(peer, 40001)
    first.sees("S. 0:0(0) ack 11 <mss 1460>")
    first.sends("R 11:11(0)")
    syn(peer, 40002).sees("S. 0:0(0) ack 1 <mss 1460>")
    Peer(bench=peer.bench, port=40002).gathers(fast_open.RESET_HOLD)
    syn(peer, 40003).sees("S. 0:0(0) ack 11 <mss 1460>")


# RFC7413-05
@pytest.mark.parametrize("end", ["close", "abort", "time-out"])
def test_every_end_frees_the_place(end: str) -> None:
    peer = listening(TcpOptions(fastopen=True, fastopen_queue=1))
    first = syn(peer, 40001)
    first.sees("S. 0:0(0) ack 11 <mss 1460>")
    user = peer.accepts()
    if end == "close":
        user.conn.close(peer.now)  # with the data of the SYN unread
    elif end == "abort":
        user.conn.abort()
    else:
        first.gathers(70 * SECOND)
    user.flush()
    first.takes()
    assert user.state is State.CLOSED
    syn(peer, 40002).sees("S. 0:0(0) ack 11 <mss 1460>")


def test_a_full_accept_queue_leaves_the_ordinary_handshake() -> None:
    peer = listening(backlog=1)
    syn(peer, 40001).sees("S. 0:0(0) ack 11 <mss 1460>")
    syn(peer, 40002).sees("S. 0:0(0) ack 1 <mss 1460>")


# Other segments.


@pytest.mark.parametrize("flags", ["SF", "SR", "SFP"])
def test_only_a_plain_syn_opens(flags: str) -> None:
    peer = listening()
    peer.sends(f"{flags} 0:10(10) <mss 1000,{cookie(peer)}>")
    assert peer.host.connections() == []
    assert peer.host.half_open == 0


def test_a_new_incarnation_out_of_time_wait() -> None:
    peer, user = opened()
    user.reads(10)
    user.close()
    peer.sees("F. 1:1(0) ack 11")
    peer.sends("F. 11:11(0) ack 2")
    peer.sees(". 2:2(0) ack 12")
    assert user.state is State.TIME_WAIT
    peer.again()
    peer.sends(f"S 0:10(10) <mss 1000,{cookie(peer)}>")
    peer.sees("S. 0:0(0) ack 11 <mss 1460>")
    assert peer.host.time_waits == 0
    peer.accepts().reads(10)


def test_a_round_trip_is_measured() -> None:
    peer, user = opened()
    peer.passes(30 * MS)
    peer.sends(". 11:11(0) ack 1")
    assert user.conn.info(peer.now).rtt == 30_000
