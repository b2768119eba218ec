"""Fast Open as a client does it (RFC 7413 4.1.3, 4.2): cookies kept, data with the SYN, and what becomes of it."""

from __future__ import annotations

import errno

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.habits import LINUX
from stack.tcp.state import State
from stack.wire import icmp
from stack.wire.units import MS, SECOND
from tests.support.peer import Peer
from tests.support.stream import octets
from tests.support.user import User

FAST = TcpOptions(fastopen=True, timestamps=False)
NO_PAUSE = FAST.replace(fastopen_pause=0.0)
COOKIELESS = FAST.replace(fastopen_cookies=False)
SYN = "<mss 1460,sackOK,wscale 7"  #: The options of our SYN, but for Fast Open.
COOKIE = "FO abcd1234"


class Client:
    """A host that opens connections to one server, each from another port."""

    def __init__(self, *, v6: bool = False, mtu: int = 1500) -> None:
        self.first = Peer(v6=v6, mtu=mtu)
        self.port = 40000

    def opens(self, early: int = 0, options: TcpOptions = FAST, *, port: int = 80) -> tuple[Peer, User]:
        """A connection with so many octets written before its SYN leaves; nothing was seen yet."""
        self.port += 1
        peer = Peer(bench=self.first.bench, v6=self.first.v6, port=port, host_port=self.port)
        return peer, peer.connect(options=options, port=port, local_port=self.port, early=early)

    def learns(self, answer: str = f"<mss 1460,{COOKIE}>", options: TcpOptions = FAST, *, port: int = 80) -> None:
        """A connection that asks for a cookie, and gets this answer."""
        peer, user = self.opens(options=options, port=port)
        peer.sees(f"S 0:0(0) {SYN},FO>")
        peer.sends(f"S. 0:0(0) ack 1 {answer}")
        peer.sees(". 1:1(0) ack 1")
        user.abort()
        peer.takes()

    def ready(self, early: int, options: TcpOptions = FAST) -> tuple[Peer, User]:
        """With a cookie, a connection whose SYN has left with so many octets."""
        self.learns()
        peer, user = self.opens(early, options)
        peer.sees(f"S 0:{early}({early}) {SYN},{COOKIE}>")
        return peer, user


# Cookies.


# RFC7413-06
def test_without_a_cookie_one_is_asked_for_and_data_waits() -> None:
    peer, user = Client().opens(100)
    peer.sees(f"S 0:0(0) {SYN},FO>")
    peer.sends(f"S. 0:0(0) ack 1 <mss 1460,{COOKIE}>")
    peer.sees("P. 1:101(100) ack 1")
    assert not user.conn.info(peer.now).syn_data


# RFC7413-01, RFC7413-11
def test_nothing_of_the_kind_unless_asked_for() -> None:
    client = Client()
    client.learns()
    peer, _ = client.opens(100, FAST.replace(fastopen=False))
    peer.sees(f"S 0:0(0) {SYN}>")
    peer.sends("S. 0:0(0) ack 1 <mss 1460>")
    peer.sees("P. 1:101(100) ack 1")


# RFC7413-04, RFC7413-07
@pytest.mark.parametrize("v6", [False, True])
def test_with_a_cookie_data_goes_with_the_syn(v6: bool) -> None:
    client = Client(v6=v6)
    mss = 1440 if v6 else 1460
    syn = f"<mss {mss},sackOK,wscale 7"
    peer, _ = client.opens()
    peer.sees(f"S 0:0(0) {syn},FO>")
    peer.sends(f"S. 0:0(0) ack 1 <mss 1460,{COOKIE}>")
    peer.sees(". 1:1(0) ack 1")
    peer, user = client.opens(100)
    peer.sees(f"S 0:100(100) {syn},{COOKIE}>")
    peer.passes(20 * MS)
    peer.sends("S. 0:0(0) ack 101 <mss 1000>")
    peer.sees(". 101:101(0) ack 1")
    info = user.conn.info(peer.now)
    assert (info.syn_data, info.bytes_acked, info.rtt, info.state) == (True, 100, 20_000, "ESTAB")
    assert (info.data_segs_out, info.bytes_sent, info.total_retrans) == (1, 100, 0)
    user.write(50)
    peer.sees("P. 101:151(50) ack 1")


# RFC7413-04
def test_the_cookie_goes_without_data_if_there_is_none() -> None:
    peer, user = Client().ready(0)
    peer.sends("S. 0:0(0) ack 1 <mss 1460>")
    peer.sees(". 1:1(0) ack 1")
    assert not user.conn.info(peer.now).syn_data


# RFC7413-04
def test_a_newer_cookie_and_mss_take_the_place_of_the_old() -> None:
    client = Client()
    peer, _ = client.ready(10)
    peer.sends("S. 0:0(0) ack 11 <mss 940,FO 112233445566>")
    peer.sees(". 11:11(0) ack 1")
    peer, _ = client.opens(2000)
    peer.sees(f"S 0:900(900) {SYN},FO 112233445566>")


# RFC7413-02, RFC7413-04
def test_a_cookie_that_can_be_none_leaves_the_old_one() -> None:
    client = Client()
    peer, _ = client.ready(10)
    peer.sends("S. 0:0(0) ack 11 <mss 940,FO>")  # asks, which a SYN-ACK can't
    peer.sees(". 11:11(0) ack 1")
    peer, _ = client.opens(10)
    peer.sees(f"S 0:10(10) {SYN},{COOKIE}>")


# RFC7413-04
def test_each_server_and_port_has_a_place_of_its_own() -> None:
    client = Client()
    client.learns()
    peer, _ = client.opens(10, port=81)
    peer.sees(f"S 0:0(0) {SYN},FO>")


def test_forgetting() -> None:
    client = Client()
    client.learns()
    client.first.host.forget_fastopen()
    peer, _ = client.opens(10)
    peer.sees(f"S 0:0(0) {SYN},FO>")


# RFC7413-02
def test_a_server_that_knows_only_the_experimental_form() -> None:
    client = Client()
    client.learns("<mss 1460>")
    peer, _ = client.opens(10)
    peer.sees(f"S 0:0(0) {SYN},FOEXP>")
    peer.sends("S. 0:0(0) ack 1 <mss 1460,FOEXP abcd1234>")
    peer.sees("P. 1:11(10) ack 1")
    peer, _ = client.opens(10)
    peer.sees(f"S 0:10(10) {SYN},FOEXP abcd1234>")
    peer.sends("S. 0:0(0) ack 11 <mss 1460,FO 56780000>")
    peer.sees(". 11:11(0) ack 1")
    peer, _ = client.opens(10)
    peer.sees(f"S 0:10(10) {SYN},FO 56780000>")


# RFC7413-02
def test_a_server_that_knows_neither_form_is_asked_in_the_ordinary_one() -> None:
    client = Client()
    for option in ("FO", "FOEXP", "FO", "FO"):
        peer, _ = client.opens(10)
        peer.sees(f"S 0:0(0) {SYN},{option}>")
        peer.sends("S. 0:0(0) ack 1 <mss 1460>")
        peer.sees("P. 1:11(10) ack 1")


def test_no_cookies_are_needed_where_that_is_said() -> None:
    client = Client()
    peer, user = client.opens(2000, COOKIELESS)
    peer.sees(f"S 0:1420(1420) {SYN}>")
    peer.sends("S. 0:0(0) ack 1421 <mss 940,FO abcd1234>")
    peer.sees("P. 1421:2001(580) ack 1")
    assert user.conn.info(peer.now).syn_data
    peer, _ = client.opens(2000, COOKIELESS)
    peer.sees(f"S 0:900(900) {SYN}>")  # the MSS is remembered
    peer.sends("S. 0:0(0) ack 901 <mss 1460>")
    peer.takes()
    peer, _ = client.opens(10)
    peer.sees(f"S 0:0(0) {SYN},FO>")  # the cookie is not: nobody had asked for it


# How much.


# RFC7413-04
@pytest.mark.parametrize(
    ("offered", "mtu", "own", "room"),
    [
        ("mss 1460", 1500, None, 1420),
        ("mss 940", 1500, None, 900),
        ("mss 10000", 1500, None, 1420),
        ("mss 1460", 1500, 1040, 1000),
        ("mss 1460", 1000, None, 920),
        ("sackOK", 1500, None, 496),  # a server that says no MSS takes 536 octets
        ("mss 216", 1500, None, 176),
    ],
)
def test_as_much_as_the_server_the_path_and_the_user_take(offered: str, mtu: int, own: int | None, room: int) -> None:
    client = Client(mtu=mtu)
    options = FAST.replace(mss=own)
    mss = min(mtu - 40, own or 1460)
    peer, _ = client.opens()
    peer.sees(f"S 0:0(0) <mss {mtu - 40},sackOK,wscale 7,FO>")
    peer.sends(f"S. 0:0(0) ack 1 <{offered},{COOKIE}>")
    peer.sees(". 1:1(0) ack 1")
    host = peer.host
    assert host.fastopen_room(peer.address, 80, peer.now, options=options) == room
    assert host.fastopen_room(peer.address, 81, peer.now, options=options) == 0
    peer, _ = client.opens(3000, options)
    peer.sees(f"S 0:{room}({room}) <mss {mss},sackOK,wscale 7,{COOKIE}>")


def test_timestamps_do_not_change_the_room() -> None:
    client = Client()
    client.learns()
    peer, _ = client.opens(3000, FAST.replace(timestamps=True))
    peer.sees(f"S 0:1420(1420) <mss 1460,sackOK,TS val 0 ecr 0,wscale 7,{COOKIE}>")
    peer.sends("S. 0:0(0) ack 1421 <mss 1460,TS val 1 ecr 0>")
    peer.sees(". 1421:2869(1448) ack 1")


# RFC7413-07
def test_the_rest_follows_the_handshake() -> None:
    client = Client()
    client.learns()
    peer, user = client.opens(4000)
    peer.sees(f"S 0:1420(1420) {SYN},{COOKIE}>")
    user.write(500)
    peer.sees_nothing()  # what is written later waits
    peer.sends("S. 0:0(0) ack 1421 <mss 1460>")
    peer.sees(". 1421:2881(1460) ack 1", ". 2881:4341(1460) ack 1")
    peer.sends(". 1:1(0) ack 4341")
    peer.sees("P. 4341:4501(160) ack 1")


# RFC7413-07
def test_one_record_goes_with_the_syn() -> None:
    peer, user = opens_with(60, 50, end_of_record=True)
    peer.sees(f"S 0:60(60) {SYN}>")
    peer.sends("S. 0:0(0) ack 61 <mss 1460>")
    peer.sees("P. 61:111(50) ack 1")
    assert user.conn.info(peer.now).syn_data


# RFC 9293 MUST-30, MUST-62
@pytest.mark.parametrize("sizes", [(60,), (60, 50)])
def test_urgent_data_does_not_go_with_the_syn(sizes: tuple[int, ...]) -> None:
    """No SYN says where it ends, and once it is acknowledged nothing would."""
    peer, user = opens_with(*sizes, urgent=True)
    peer.sees(f"S 0:0(0) {SYN}>")
    total = sum(sizes)
    peer.sends("S. 0:0(0) ack 1 <mss 1460>")
    peer.sees(f"PU. 1:{1 + total}({total}) ack 1 urg {total}")
    assert not user.conn.info(peer.now).syn_data


def opens_with(*sizes: int, end_of_record: bool = False, urgent: bool = False) -> tuple[Peer, User]:
    """A connection that needs no cookie, with several writes before its SYN leaves; the last may be urgent."""
    peer = Peer(host_port=40001, port=80)
    peer.align()
    conn = peer.host.connect(peer.address, 80, peer.now, options=COOKIELESS, local_port=40001)
    peer.user = user = User(peer, conn)
    for index, size in enumerate(sizes):
        data = octets("host", sum(sizes[:index]), size)
        peer.watch.written += data
        conn.write(data, end_of_record=end_of_record, urgent=urgent and index == len(sizes) - 1)
    user.flush()
    return peer, user


# What the server makes of it.


# RFC7413-09
def test_what_is_not_acknowledged_leaves_again_with_the_third_segment() -> None:
    client = Client()
    peer, user = client.ready(1000)
    peer.sends("S. 0:0(0) ack 1 <mss 1460,FO 99999999>")
    peer.sees("P. 1:1001(1000) ack 1")
    peer.sends(". 1:1(0) ack 1001")
    info = user.conn.info(peer.now)
    assert (info.syn_data, info.total_retrans, info.timeouts, info.recoveries) == (False, 1, 0, 0)
    assert (info.snd_cwnd, user.conn.unacknowledged) == (10, 0)
    peer, _ = client.opens(10)
    peer.sees(f"S 0:10(10) {SYN},FO 99999999>")  # a new cookie is a reason to try again


# RFC7413-09
def test_a_part_that_is_not_acknowledged_leaves_again_in_segments_that_the_server_takes() -> None:
    peer, user = Client().ready(1400)
    user.write(100)
    peer.sends("S. 0:0(0) ack 101 <mss 1000>")
    peer.sees(". 101:1101(1000) ack 1", ". 1101:1401(300) ack 1")
    peer.sends(". 1:1(0) ack 1401")
    peer.sees("P. 1401:1501(100) ack 1")
    assert not user.conn.info(peer.now).syn_data


# RFC7413-09
@pytest.mark.parametrize("size", [1, 100])
def test_all_but_the_last_octet(size: int) -> None:
    client = Client()
    peer, user = client.ready(size)
    peer.sends(f"S. 0:0(0) ack {size} <mss 1460>")
    peer.sees(f"P. {size}:{size + 1}(1) ack 1")
    assert not user.conn.info(peer.now).syn_data
    client = Client()
    peer, user = client.ready(size)
    peer.sends(f"S. 0:0(0) ack {1 + size} <mss 1460>")
    peer.sees(f". {1 + size}:{1 + size}(0) ack 1")
    assert user.conn.info(peer.now).syn_data
    peer, _ = client.opens(size)
    peer.sees(f"S 0:{size}({size}) {SYN},{COOKIE}>")


# RFC7413-09
def test_what_leaves_again_may_be_lost_again() -> None:
    peer, _ = Client().ready(1420)
    peer.sends("S. 0:0(0) ack 1 <mss 1460,sackOK>")
    peer.sees("P. 1:1421(1420) ack 1")
    assert peer.user is not None
    peer.user.write(4380)
    peer.sees(*[f". {start}:{start + 1460}(1460) ack 1" for start in (1421, 2881)], "P. 4341:5801(1460) ack 1")
    peer.sends(". 1:1(0) ack 1 <sack 1421:5801>")
    peer.sees(". 1:1421(1420) ack 1")


# RFC7413-09
@pytest.mark.parametrize("window", [0, 300])
def test_no_more_leaves_again_than_the_window_takes(window: int) -> None:
    peer, user = Client().ready(1000)
    peer.sends(f"S. 0:0(0) ack 1 win {window} <mss 1460>")
    if window:
        peer.sees(f". 1:{1 + window}({window}) ack 1")
        peer.sends(f". 1:1(0) ack {1 + window} win 0")
    else:
        peer.sees(". 1:1(0) ack 1")
    peer.sends(f". 1:1(0) ack {1 + window} win 5000")
    peer.sees(f"P. {1 + window}:1001({1000 - window}) ack 1")
    peer.sends(". 1:1(0) ack 1001")
    assert user.conn.unacknowledged == 0


def test_a_late_acknowledgment_of_what_the_window_did_not_take() -> None:
    peer, user = Client().ready(1000)
    peer.sends("S. 0:0(0) ack 1 win 0 <mss 1460>")
    peer.sees(". 1:1(0) ack 1")
    peer.sends(". 1:1(0) ack 1001 win 5000")  # it was taken after all
    peer.sees_nothing(during=2 * SECOND)
    assert user.conn.unacknowledged == 0
    user.write(10)
    peer.sees("P. 1001:1011(10) ack 1")


def test_more_than_was_sent_can_not_be_acknowledged() -> None:
    peer, user = Client().ready(100)
    peer.sends("S. 0:0(0) ack 102 <mss 1000,FO badc00ce>")
    peer.sees_reset(102)
    assert user.state is State.SYN_SENT
    peer.sends("S. 0:0(0) ack 101 <mss 1460>")
    peer.sees(". 101:101(0) ack 1")


# RFC7413-07
def test_the_server_may_answer_in_its_syn_ack_and_close() -> None:
    peer, user = Client().ready(100)
    peer.sends("S. 0:500(500) ack 101 <mss 1460>", "P. 501:601(100) ack 101")
    peer.takes()
    user.reads(600)
    peer, user = Client().ready(100)
    peer.sends("SF. 0:500(500) ack 101 <mss 1460>")
    peer.sees(". 101:101(0) ack 502")
    assert user.state is State.CLOSE_WAIT
    user.reads(500)


def test_data_before_the_syn_ack_is_not_taken() -> None:
    peer, user = Client().ready(100)
    peer.sends("P. 1:501(500) ack 101")
    peer.sees_nothing()
    assert user.state is State.SYN_SENT
    assert user.conn.readable == 0


def test_refused() -> None:
    peer, user = Client().ready(100)
    peer.sends("R. 0:0(0) ack 1")
    assert user.state is State.CLOSED
    with pytest.raises(ConnectionRefusedError):
        user.write(1)


def test_close_in_syn_sent() -> None:
    peer, user = Client().ready(100)
    user.close()
    assert user.state is State.CLOSED
    peer.sees_nothing(during=10 * SECOND)


def test_a_fin_waits_for_the_handshake() -> None:
    peer, user = Client().ready(100)
    user.close_write()
    peer.sees_nothing()
    peer.sends("S. 0:0(0) ack 101 <mss 1460>")
    peer.sees("F. 101:101(0) ack 1")
    peer, user = Client().ready(100)
    user.close_write()
    peer.sends("S. 0:0(0) ack 1 <mss 1460>")
    peer.sees("P. 1:101(100) ack 1", "F. 101:101(0) ack 1")


# Losses and pauses.


# RFC7413-08
def test_a_syn_that_is_sent_again_goes_alone() -> None:
    peer, user = Client().ready(1000)
    peer.sees(f"S 0:0(0) {SYN}>", after=1 * SECOND)
    peer.sees(f"S 0:0(0) {SYN}>", after=2 * SECOND)
    peer.sends("S. 0:0(0) ack 1 <mss 1460>")
    peer.sees("P. 1:1001(1000) ack 1")
    assert user.conn.info(peer.now).snd_cwnd == 1  # the SYN was lost (RFC 5681 3.1)
    peer.sends(". 1:1(0) ack 1001")
    assert user.conn.unacknowledged == 0


# RFC7413-08
def test_a_request_that_is_sent_again_is_none() -> None:
    client = Client()
    peer, _ = client.opens()
    peer.sees(f"S 0:0(0) {SYN},FO>")
    peer.sees(f"S 0:0(0) {SYN}>", after=1 * SECOND)
    peer.sends("S. 0:0(0) ack 1 <mss 1460>")
    peer.sees(". 1:1(0) ack 1")
    peer, _ = client.opens()
    peer.sees(f"S 0:0(0) {SYN},FO>")  # it may have been lost like any other
    peer.sees(f"S 0:0(0) {SYN}>", after=1 * SECOND)
    peer.sends(f"S. 0:0(0) ack 1 <mss 1240,{COOKIE}>")  # the answer to the first
    peer.sees(". 1:1(0) ack 1")
    peer, _ = client.opens(5000)
    peer.sees(f"S 0:1200(1200) {SYN},{COOKIE}>")


def test_a_late_acknowledgment_of_the_data() -> None:
    client = Client()
    peer, user = client.ready(1000)
    peer.sees(f"S 0:0(0) {SYN}>", after=1 * SECOND)
    peer.sends("S. 0:0(0) ack 1001 <mss 1460>")
    peer.sees(". 1001:1001(0) ack 1")
    assert user.conn.info(peer.now).syn_data
    peer, _ = client.opens(10)
    peer.sees(f"S 0:10(10) {SYN},{COOKIE}>")  # so there was no loss


# RFC7413-04
def test_a_late_cookie_shows_that_there_was_no_loss_on_the_way() -> None:
    client = Client()
    peer, _ = client.ready(1000)
    peer.sees(f"S 0:0(0) {SYN}>", after=1 * SECOND)
    peer.sends("S. 0:0(0) ack 1 <mss 1460,FO 99999999>")
    peer.sees("P. 1:1001(1000) ack 1")
    peer, _ = client.opens(10)
    peer.sees(f"S 0:10(10) {SYN},FO 99999999>")


def test_a_loss_says_nothing_about_the_room() -> None:
    client = Client()
    peer, user = client.opens(2000, COOKIELESS)
    peer.sees(f"S 0:1420(1420) {SYN}>")
    peer.sees(f"S 0:0(0) {SYN}>", after=1 * SECOND)
    user.abort()
    peer.passes(60 * SECOND)
    peer, _ = client.opens(2000, COOKIELESS)
    peer.sees(f"S 0:1420(1420) {SYN}>")


# RFC7413-04
@pytest.mark.parametrize("answer", ["S. 0:0(0) ack 1 <mss 1460>", "R. 0:0(0) ack 1", ""])
def test_after_a_loss_fast_open_pauses(answer: str) -> None:
    client = Client()
    peer, user = client.ready(100, FAST.replace(connect_timeout=2.5))
    peer.sees(f"S 0:0(0) {SYN}>", after=1 * SECOND)
    if answer:
        peer.sends(answer)
    peer.gathers(2 * SECOND)
    user.abort()
    peer.takes()
    assert client.first.host.fastopen_room(peer.address, 80, peer.now, options=FAST) == 0
    peer, user = client.opens(100)
    peer.sees(f"S 0:0(0) {SYN}>")  # not even a request
    peer.sends("S. 0:0(0) ack 1 <mss 1460>")
    peer.sees("P. 1:101(100) ack 1")
    peer.sends(". 1:1(0) ack 101")
    peer.passes(60 * SECOND)
    peer, _ = client.opens(100)
    peer.sees(f"S 0:100(100) {SYN},{COOKIE}>")


# RFC7413-04
def test_data_that_is_not_taken_and_no_new_cookie_make_a_pause_too_and_each_doubles() -> None:
    client = Client()
    client.learns()
    for pause in (60, 120, 240):
        peer, user = client.opens(100)
        peer.sees(f"S 0:100(100) {SYN},{COOKIE}>")
        peer.sends("S. 0:0(0) ack 1 <mss 1460>")
        peer.sees("P. 1:101(100) ack 1")
        user.abort()
        peer.takes()
        peer.passes((pause - 1) * SECOND)
        peer, user = client.opens(100)
        peer.sees(f"S 0:0(0) {SYN}>")
        user.abort()
        peer.passes(1 * SECOND)
    peer, _ = client.opens(100)
    peer.sees(f"S 0:100(100) {SYN},{COOKIE}>")
    peer.sends("S. 0:0(0) ack 101 <mss 1460>")  # success
    peer.sees(". 101:101(0) ack 1")
    peer, user = client.opens(100)
    peer.sees(f"S 0:100(100) {SYN},{COOKIE}>")
    peer.sends("S. 0:0(0) ack 1 <mss 1460>")
    peer.takes()
    user.abort()
    peer.takes()
    peer.passes(60 * SECOND)
    peer, _ = client.opens(100)
    peer.sees(f"S 0:100(100) {SYN},{COOKIE}>")


def test_without_a_pause_each_opening_tries_again() -> None:
    client = Client()
    peer, user = client.ready(100, NO_PAUSE)
    peer.sees(f"S 0:0(0) {SYN}>", after=1 * SECOND)
    user.abort()
    peer, _ = client.opens(100, NO_PAUSE)
    peer.sees(f"S 0:100(100) {SYN},{COOKIE}>")


# ICMP.


# RFC7413-04
def test_a_hard_error_in_syn_sent() -> None:
    client = Client()
    peer, user = client.ready(100)
    peer.sends_icmp(icmp.UNREACHABLE, icmp.PROTOCOL_UNREACHABLE)
    assert user.error is not None
    assert user.error.errno == errno.ENOPROTOOPT
    peer, _ = client.opens(100)
    peer.sees(f"S 0:0(0) {SYN}>")


def test_an_error_after_the_handshake_says_nothing_about_fast_open() -> None:
    client = Client()
    peer, user = client.ready(100)
    peer.sends("S. 0:0(0) ack 101 <mss 1460>")
    peer.sees(". 101:101(0) ack 1")
    user.write(10)
    peer.sees("P. 101:111(10) ack 1")
    peer.sends_icmp(icmp.UNREACHABLE, icmp.PROTOCOL_UNREACHABLE)
    peer, _ = client.opens(10)
    peer.sees(f"S 0:10(10) {SYN},{COOKIE}>")


# RFC7413-04, RFC7413-08
def test_a_syn_that_is_too_long_leaves_again_at_once_without_data() -> None:
    client = Client()
    peer, user = client.ready(1000)
    peer.sends_icmp(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, 840)
    peer.sees(f"S 0:0(0) {SYN}>")
    peer.sends("S. 0:0(0) ack 1 <mss 1040>")
    peer.sees(". 1:801(800) ack 1", "P. 801:1001(200) ack 1")
    peer.sends(". 1:1(0) ack 1001")
    assert user.conn.unacknowledged == 0


# Simultaneous open.


# RFC7413-07
@pytest.mark.parametrize("taken", [True, False])
def test_crossing_syns_with_data(taken: bool) -> None:
    peer, user = Client().ready(1000)
    peer.sends("S 0:500(500) <mss 1040,FO 87654321>")
    peer.sees("S. 0:0(0) ack 1 <mss 1460>")  # neither data nor option; theirs is not taken
    assert user.state is State.SYN_RECEIVED
    if taken:
        peer.sends("S. 0:0(0) ack 1001 <mss 1040>")
    else:
        peer.sends("S. 0:0(0) ack 1 <mss 1040>")
        peer.sees("P. 1:1001(1000) ack 1")
        peer.sends(". 1:1(0) ack 1001")
    assert user.state is State.ESTABLISHED
    assert user.conn.info(peer.now).syn_data == taken
    peer.sends("P. 1:501(500) ack 1001")
    peer.sees(". 1001:1001(0) ack 501")
    user.reads(500)


def test_crossing_syns_as_linux_sees_them() -> None:
    client = Client()
    client.learns()
    peer, user = client.opens(1000, FAST.replace(habits=LINUX))
    peer.sees(f"S 0:1000(1000) {SYN},{COOKIE}>")
    peer.sends("S 0:500(500) <mss 1040,sackOK,wscale 6,FO 87654321>")
    peer.sees("S. 0:0(0) ack 1 <mss 1460,sackOK,wscale 7>")
    peer.sends("S. 0:0(0) ack 1001 <mss 940,sackOK,wscale 6>")
    peer.sees(". 1001:1001(0) ack 1 <sack 0:1>")
    assert user.state is State.ESTABLISHED
