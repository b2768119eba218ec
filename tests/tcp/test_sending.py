"""The sending half: the peer's window, silly windows, Nagle, PUSH, zero windows (RFC 9293 3.7.4, 3.8.6, 3.9.1.2)."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire.units import MINUTE, MS, SECOND
from tests.support import states
from tests.support.peer import Peer
from tests.support.user import User

NODELAY = TcpOptions(nodelay=True)
RTO = 200 * MS  #: Of a connection whose round trip takes no time: the least there is.


# The window slides.


def test_window_is_used_and_not_exceeded() -> None:
    peer, user = states.established(window=3000)
    user.write(10_000)
    peer.sees(". 1:1001(1000) ack 1", ". 1001:2001(1000) ack 1", ". 2001:3001(1000) ack 1")
    peer.sees_nothing()
    peer.sends(". 1:1(0) ack 1001 win 3000")
    peer.sees(". 3001:4001(1000) ack 1")
    peer.sends(". 1:1(0) ack 4001 win 3000")
    peer.sees(". 4001:5001(1000) ack 1", ". 5001:6001(1000) ack 1", ". 6001:7001(1000) ack 1")
    peer.sees_nothing()


# RFC 9293 MUST-1
@pytest.mark.parametrize("window", [32_767, 32_768, 65_535])
def test_window_is_unsigned(window: int) -> None:
    """As much as it says is sent, also where its highest bit is set."""
    peer, user = states.established(window=window)
    user.write(200_000)
    sent, acked = 0, 1
    for _ in range(12):
        seen = peer.takes()
        sent += sum(item.size for item in seen)
        if sent + 1000 > acked - 1 + window:
            break
        for item in seen:
            peer.sends(f". 1:1(0) ack {item.end}")
            acked = item.end
    assert window - 1000 < sent - (acked - 1) <= window


# RFC 9293 REC-1
def test_windows_are_wider_than_sixteen_bits() -> None:
    """The largest there is, 65535 with a scale of 14, is taken as it is (RFC 7323 2.3)."""
    peer, user = states.established(wscale=14)
    peer.sends(". 1:1(0) ack 1 win 65535")
    assert user.conn.info(peer.now).snd_wnd == 65535 << 14


def test_window_update_lets_data_go() -> None:
    peer, user = states.established(window=1000)
    user.write(3000)
    peer.sees(". 1:1001(1000) ack 1")
    peer.sends(". 1:1(0) ack 1 win 2000")
    peer.sees(". 1001:2001(1000) ack 1")
    peer.sees_nothing()


def test_older_segment_does_not_change_the_window() -> None:
    """3.10.7.4, fifth: SND.WL1 and SND.WL2 keep old segments from updating the window."""
    peer, user = states.established()
    peer.sends("P. 1001:2001(1000) ack 1 win 2000")  # the newer one overtakes
    peer.sends("P. 1:1001(1000) ack 1 win 50000")
    peer.takes()
    user.write(5000)
    peer.sees(". 1:1001(1000) ack 2001", ". 1001:2001(1000) ack 2001")
    peer.sees_nothing()


def test_older_ack_does_not_change_the_window() -> None:
    peer, user = states.established(window=2000)
    user.write(10_000)
    peer.sees(". 1:1001(1000) ack 1", ". 1001:2001(1000) ack 1")
    peer.sends(". 1:1(0) ack 2001 win 2000")
    peer.sees(". 2001:3001(1000) ack 1", ". 3001:4001(1000) ack 1")
    peer.sends(". 1:1(0) ack 1001 win 50000")
    peer.sees_nothing()


# RFC 9293 SHLD-28, MAY-16
def test_full_segments_whenever_possible() -> None:
    peer, user = states.established()
    for size in (1, 499, 1500, 700, 300):
        user.write(size)
    peer.sees("P. 1:2(1) ack 1")  # the first at once, the others when it was acknowledged
    peer.sends(". 1:1(0) ack 2")
    sizes = [item.size for item in peer.takes()]
    assert sizes == [1000, 1000]
    peer.sends(". 1:1(0) ack 2002")
    peer.sees("P. 2002:3001(999) ack 1")


def test_send_buffer_has_a_bound() -> None:
    peer, user = states.established(options=TcpOptions(send_buffer=5000), window=1000)
    assert user.conn.writable == 5000
    assert user.write(8000) == 5000
    assert user.conn.writable == 0
    assert user.write(1) == 0
    peer.sees(". 1:1001(1000) ack 1")
    peer.sends(". 1:1(0) ack 1001")
    peer.sees(". 1001:2001(1000) ack 1")
    assert user.conn.writable == 1000


# PUSH (3.9.1.2): there is no PUSH flag on SEND.


# RFC 9293 MUST-60
@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 2500])
def test_data_is_not_held_back_for_ever(size: int) -> None:
    """However much is written, and though nobody closes: all is sent, by ACKs and time alone."""
    peer, user = states.established()
    user.write(size)
    for _ in range(5):
        for item in peer.gathers(SECOND):
            peer.sends(f". 1:1(0) ack {item.end}")
    assert user.conn.unacknowledged == 0


# RFC 9293 MUST-60
def test_data_is_not_held_back_for_ever_by_a_small_window() -> None:
    """3.8.6.2.1 (4): after the override time-out, between 0.1 and 1 s."""
    peer, user = states.established(window=10_000)
    peer.sends(". 1:1(0) ack 1 win 100")
    user.write(5000)
    peer.sees_nothing()
    assert peer.waits(". 1:101(100) ack 1", limit=SECOND) >= 100 * MS


# RFC 9293 MUST-61, SHLD-27
def test_push_is_set_on_the_last_segment_of_what_is_buffered() -> None:
    peer, user = states.established(options=NODELAY)
    user.write(2500)
    peer.sees(". 1:1001(1000) ack 1", ". 1001:2001(1000) ack 1", "P. 2001:2501(500) ack 1")
    user.write(1000)
    peer.sees("P. 2501:3501(1000) ack 1")


# RFC 9293 MUST-61
def test_push_waits_for_the_last_octet() -> None:
    peer, user = states.established(window=1000)
    user.write(1500)
    peer.sees(". 1:1001(1000) ack 1")
    peer.sends(". 1:1(0) ack 1001")
    peer.sees("P. 1001:1501(500) ack 1")


# Nagle (3.7.4).


# RFC1122-19
# RFC 9293 SHLD-7
def test_nagle_holds_a_small_segment_while_something_is_unacknowledged() -> None:
    peer, user = states.established()
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    for _ in range(5):
        user.write(10)
    peer.sees_nothing()
    peer.sends(". 1:1(0) ack 11")
    peer.sees("P. 11:61(50) ack 1")


def test_nagle_lets_full_segments_go() -> None:
    peer, user = states.established()
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    user.write(1500)
    peer.sees(". 11:1011(1000) ack 1")
    peer.sees_nothing()
    peer.sends(". 1:1(0) ack 1011")
    peer.sees("P. 1011:1511(500) ack 1")


# RFC1122-19
# RFC 9293 MUST-17
def test_nagle_can_be_switched_off() -> None:
    peer, user = states.established(options=NODELAY)
    for number in range(5):
        user.write(10)
        peer.sees(f"P. {1 + 10 * number}:{11 + 10 * number}(10) ack 1")


# RFC 9293 MUST-17
def test_nagle_can_be_switched_off_and_on_for_one_connection() -> None:
    peer, user = states.established()
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    user.write(10)
    peer.sees_nothing()
    user.set_options(NODELAY)
    peer.sees("P. 11:21(10) ack 1")
    user.set_options(TcpOptions())
    user.write(10)
    peer.sees_nothing()
    assert not peer.host.options.nodelay, "the host's own options are not touched"


# Sender's silly-window avoidance (3.8.6.2.1).


# RFC1122-19
# RFC 9293 MUST-38
def test_small_opening_is_not_used() -> None:
    """Neither a full segment, nor all that there is, nor half of the largest window: wait."""
    peer, user = states.established(window=1500)
    user.write(5000)
    peer.sees(". 1:1001(1000) ack 1")
    peer.sees_nothing()  # 500 octets of window are left
    peer.sends(". 1:1(0) ack 1001 win 1200")
    peer.sees(". 1001:2001(1000) ack 1")
    peer.sees_nothing()
    peer.sends(". 1:1(0) ack 2001 win 700")
    peer.sees_nothing()
    peer.sends(". 1:1(0) ack 2001 win 1000")
    peer.sees(". 2001:3001(1000) ack 1")


# RFC 9293 MUST-38
def test_half_of_the_largest_window_is_used() -> None:
    """(3): min(D,U) >= Fs * Max(SND.WND), with Fs a half."""
    peer, user = states.established(window=800)
    user.write(2000)
    peer.sees(". 1:801(800) ack 1")
    peer.sends(". 1:1(0) ack 801 win 399")
    peer.sees_nothing()
    peer.sends(". 1:1(0) ack 801 win 400")
    peer.sees(". 801:1201(400) ack 1")


def test_half_of_the_largest_window_waits_for_nagle() -> None:
    """(3) begins "[SND.NXT = SND.UNA and]" where Nagle's algorithm is on: less than a segment waits for ACKs."""
    peer, user = states.established(window=800)
    user.write(400)
    peer.sees("P. 1:401(400) ack 1")
    user.write(2000)
    peer.sees_nothing()
    peer.sends(". 1:1(0) ack 401 win 800")
    peer.sees(". 401:1201(800) ack 1")


def test_all_that_there_is_goes_into_any_window() -> None:
    """(2): PUSHed, nothing in flight, and D <= U."""
    peer, user = states.established(window=10_000)
    peer.sends(". 1:1(0) ack 1 win 50")
    user.write(50)
    peer.sees("P. 1:51(50) ack 1")


# RFC1122-19
# RFC 9293 MUST-38
def test_small_window_is_used_after_the_override_timeout() -> None:
    """(4): between 0.1 and 1 s."""
    peer, user = states.established(window=1500)
    user.write(1000)
    peer.sees("P. 1:1001(1000) ack 1")
    peer.sends(". 1:1(0) ack 1001 win 300")
    user.write(5000)
    peer.sees_nothing()
    assert peer.waits(". 1001:1301(300) ack 1", limit=SECOND) >= 100 * MS
    peer.sends(". 1:1(0) ack 1301 win 1500")
    peer.sees(". 1301:2301(1000) ack 1")


# RFC1122-19
def test_override_timeout_is_at_most_a_second() -> None:
    """3.8.6.2.1: 0.1 to 1.0 s, also when the RTO is longer."""
    peer, user = states.established(window=1500, rtt=800 * MS)
    user.write(1000)
    peer.sees("P. 1:1001(1000) ack 1")
    peer.passes(800 * MS)
    peer.sends(". 1:1(0) ack 1001 win 300")
    user.write(5000)
    assert peer.waits(". 1001:1301(300) ack 1", limit=SECOND) >= 100 * MS


# The window shrinks (3.8.6).


def _shrunk(window: int, options: TcpOptions | None = None) -> tuple[Peer, User]:
    """Five segments are in flight, five more wait; the peer takes back what it had offered, down to `window`."""
    peer, user = states.established(window=5000, options=options)
    user.write(10_000)
    assert len(peer.takes()) == 5
    peer.sends(f". 1:1(0) ack 1001 win {window}")
    return peer, user


# RFC7323-07, RFC7323-08
# RFC 9293 MUST-34, SHLD-15
def test_nothing_new_is_sent_into_a_window_that_has_shrunk() -> None:
    """The usable window is -3000."""
    peer, user = _shrunk(1000)
    peer.sees_nothing()
    user.write(1000)
    peer.sees_nothing(during=RTO - MS)
    peer.sends(". 1:1(0) ack 2001 win 3000")
    peer.sees_nothing()
    peer.sends(". 1:1(0) ack 5001 win 3000")
    peer.sees(". 5001:6001(1000) ack 1", ". 6001:7001(1000) ack 1", ". 7001:8001(1000) ack 1")
    assert user.state is State.ESTABLISHED


# RFC 9293 MUST-34, SHLD-16
def test_old_data_within_a_window_that_has_shrunk_is_sent_again() -> None:
    peer, _ = _shrunk(1000)
    peer.sees(". 1001:2001(1000) ack 1", after=RTO)
    peer.sends(". 1:1(0) ack 2001 win 1000")
    peer.sees(". 2001:3001(1000) ack 1")
    peer.sends(". 1:1(0) ack 5001 win 5000")
    assert peer.takes()[0].start == 5001


# RFC 9293 SHLD-17
def test_data_beyond_a_window_that_has_shrunk_is_no_reason_to_give_up() -> None:
    """Ten minutes with an R2 of 20 seconds: the peer answers everything, and takes nothing."""
    peer, user = _shrunk(0, TcpOptions(r2=20.0))
    end = peer.now + 10 * MINUTE
    answers = 0
    while peer.bench.step(end):
        for _ in peer.takes():
            peer.sends(". 1:1(0) ack 1001 win 0")
            answers += 1
    assert answers > 5
    assert user.state is State.ESTABLISHED


# RFC 9293 MUST-35
def test_window_that_has_shrunk_to_zero_is_probed() -> None:
    """Something goes out within each RTO, backed off; when the window opens, everything flows again."""
    peer, user = _shrunk(0)
    for wait in (1, 2, 4, 8, 16):
        peer.passes(wait * RTO)
        probes = peer.takes()
        assert len(probes) == 1
        assert probes[0].start in (1001, 5001)
        peer.sends(". 1:1(0) ack 1001 win 0")
    peer.sends(". 1:1(0) ack 1001 win 65535")
    highest = 1001
    for _ in range(20):
        for item in peer.gathers(RTO * 64):
            if item.start <= highest:
                highest = max(highest, item.end)
        peer.sends(f". 1:1(0) ack {highest}")
    assert highest == 10_001
    assert user.conn.unacknowledged == 0


# RFC 9293 MUST-35
def test_window_that_was_acknowledged_away_is_probed() -> None:
    """All in flight is acknowledged, and the window is closed."""
    peer, user = states.established(window=5000)
    user.write(10_000)
    assert len(peer.takes()) == 5
    peer.sends(". 1:1(0) ack 5001 win 0")
    peer.sees_nothing(during=RTO - MS)
    peer.sees(". 5001:5002(1) ack 1", after=MS)


# Zero windows (3.8.6.1).


# RFC 9293 MUST-36, SHLD-29, SHLD-30
def test_zero_window_is_probed_after_one_rto_and_then_ever_more_slowly() -> None:
    peer, user = states.established(window=0)
    user.write(10)
    peer.sees_nothing()
    wait = RTO
    for _ in range(8):
        peer.sees(". 1:2(1) ack 1", after=wait)
        peer.sends(". 1:1(0) ack 1 win 0")
        wait *= 2
    peer.sends(". 1:1(0) ack 1 win 100")
    peer.sees("P. 1:11(10) ack 1")
    peer.sends(". 1:1(0) ack 11 win 100")
    peer.sees_nothing(during=MINUTE)


# RFC 9293 MUST-36, SHLD-29
def test_first_probe_waits_for_the_rto_that_was_measured() -> None:
    peer, user = states.established(window=0, rtt=100 * MS)
    user.write(10)
    peer.sees(". 1:2(1) ack 1", after=300 * MS)


# RFC6429-01
# RFC 9293 MUST-37
def test_connection_stays_open_while_probes_are_answered() -> None:
    """Two hours with an R2 of 20 seconds."""
    peer, user = states.established(window=0, options=TcpOptions(r2=20.0))
    user.write(10)
    end = peer.now + 120 * MINUTE
    probes = 0
    while peer.bench.step(end):
        for item in peer.takes():
            assert item.line.startswith(". 1:2(1) ack 1")
            peer.sends(". 1:1(0) ack 1 win 0")
            probes += 1
    assert probes > 100
    assert user.state is State.ESTABLISHED
    peer.sends(". 1:1(0) ack 1 win 100")
    peer.sees("P. 1:11(10) ack 1")


def test_unanswered_probes_end_the_connection_at_r2() -> None:
    """3.8.6.1 protects those who answer."""
    peer, user = states.established(window=0, options=TcpOptions(r2=20.0))
    user.write(10)
    peer.gathers(MINUTE + 20 * SECOND)
    assert user.state is State.CLOSED
    assert isinstance(user.error, TimeoutError)


def test_octet_of_a_probe_that_was_taken_is_not_sent_again() -> None:
    peer, user = states.established(window=0)
    user.write(10)
    peer.sees(". 1:2(1) ack 1", after=RTO)
    peer.sends(". 1:1(0) ack 2 win 0")
    probe = peer.gathers(2 * RTO)
    assert [item.line.split(" win")[0] for item in probe] == [". 2:3(1) ack 1"]
    peer.sends(". 1:1(0) ack 3 win 100")
    peer.sees("P. 3:11(8) ack 1")


def test_octet_of_a_probe_that_was_refused_is_sent_with_the_rest() -> None:
    peer, user = states.established(window=0)
    user.write(10)
    peer.sees(". 1:2(1) ack 1", after=RTO)
    peer.sends(". 1:1(0) ack 1 win 0")
    peer.sends(". 1:1(0) ack 1 win 100")
    peer.sees("P. 1:11(10) ack 1")


def test_probing_starts_afresh_with_the_next_zero_window() -> None:
    peer, user = states.established(window=0)
    user.write(10)
    peer.sees(". 1:2(1) ack 1", after=RTO)
    peer.sees(". 1:2(1) ack 1", after=2 * RTO)
    peer.sends(". 1:1(0) ack 1 win 10")
    peer.sees("P. 1:11(10) ack 1")
    peer.sends(". 1:1(0) ack 11 win 0")
    user.write(10)
    peer.sees(". 11:12(1) ack 1", after=RTO)


def test_window_that_closes_and_opens_while_nothing_waits_is_no_matter() -> None:
    peer, user = states.established()
    peer.sends(". 1:1(0) ack 1 win 0")
    peer.sees_nothing(during=MINUTE)
    peer.sends(". 1:1(0) ack 1 win 100")
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")


def test_acks_go_out_though_the_window_is_closed() -> None:
    """3.8.6: a zero window stops data, not acknowledgments."""
    peer, user = states.established(window=0)
    user.write(10)
    peer.sends("P. 1:11(10) ack 1 win 0")
    peer.sees(". 1:1(0) ack 11")
