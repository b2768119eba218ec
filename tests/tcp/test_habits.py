"""Where stacks differ: each habit of Linux beside what the RFCs have, in the same conversation."""

from __future__ import annotations

import pytest

from stack.tcp.arrives import OLD_ACK_INTERVAL
from stack.tcp.config import TcpOptions
from stack.tcp.habits import LINUX, RFC, Habits
from stack.tcp.state import State
from stack.wire.units import MS, SECOND
from tests.support import states
from tests.support.flight import NEWRENO, PTO, RTT, answer, cwnd, opened, segment, ssthresh
from tests.support.peer import Peer
from tests.support.user import User


def habits(**changed: object) -> TcpOptions:
    """NewReno with one habit changed."""
    return NEWRENO.replace(habits=Habits(**changed))  # type: ignore[arg-type]


def test_default_is_the_rfcs() -> None:
    assert TcpOptions().habits is RFC
    assert LINUX != RFC


@pytest.mark.parametrize("minshall", [False, True])
def test_small_segment_behind_full_ones(minshall: bool) -> None:
    """Nagle has it wait for the ACK of anything; Minshall only for that of another small one."""
    peer, user = opened(2000, options=habits(small_waits_for_small=minshall))
    user.write(300)
    if not minshall:
        peer.sees_nothing()
        peer.sends(". 1:1(0) ack 2001")
    peer.sees("P. 2001:2301(300) ack 1")
    user.write(200)
    peer.sees_nothing()
    if minshall:
        peer.sends(". 1:1(0) ack 2001")  # the full ones; the small one is still out
        peer.sees_nothing()
    peer.sends(". 1:1(0) ack 2301")
    peer.sees("P. 2301:2501(200) ack 1")


@pytest.mark.parametrize(("ahead", "after"), [(False, [10, 10, 10]), (True, [12, 12, 12])])
def test_window_that_was_more_than_half_used_grows_in_slow_start(ahead: bool, after: list[int]) -> None:
    """Six segments of ten: used by Linux' measure, which is twice the flight, until the window is twelve."""
    peer, user = opened(6000, options=habits(grows_ahead=ahead, ack_counts_fully=True))
    peer.passes(RTT)
    seen = []
    for ack in (2001, 4001, 6001):
        answer(peer, ack)
        seen.append(cwnd(user))
    assert seen == after


def test_window_that_was_hardly_used_does_not_grow_ahead() -> None:
    peer, user = opened(5000, options=habits(grows_ahead=True, ack_counts_fully=True))
    peer.passes(RTT)
    answer(peer, 5001)
    assert cwnd(user) == 10


def test_window_that_was_the_limit_counts_as_used_for_a_round_trip() -> None:
    """Fifteen segments of which ten leave at once; what the ACKs then let go is all that there is."""
    grown = []
    for ahead in (False, True):
        peer, user = opened(15_000, options=habits(grows_ahead=ahead))
        peer.passes(RTT)
        for ack in range(2001, 15_001, 2000):
            answer(peer, ack)
        grown.append(cwnd(user))
    assert grown == [12, 17]


@pytest.mark.parametrize("congestion", ["newreno", "cubic"])
def test_ack_of_the_whole_window_doubles_it(congestion: str) -> None:
    """RFC 5681 allows one segment, RFC 9406 eight."""
    grown = []
    for fully in (False, True):
        options = habits(ack_counts_fully=fully).replace(congestion=congestion)
        peer, user = opened(30_000, options=options)
        peer.passes(RTT)
        answer(peer, 10_001)
        grown.append(cwnd(user))
    assert grown == [{"newreno": 11, "cubic": 18}[congestion], 20]


@pytest.mark.parametrize("sack", [False, True])
def test_what_was_told_before_does_not_count_again(sack: bool) -> None:
    """Two duplicates tell of two segments; the ACK of all three then brings news of one."""
    grown = []
    for news in (False, True):
        options = habits(ack_counts_fully=True, counts_what_is_news=news)
        peer, user = opened(30_000, sack=sack, options=options)
        peer.passes(RTT)
        for count in (1, 2):
            answer(peer, 1, *([segment(1, count)] if sack else []))
        answer(peer, 3001)
        grown.append(cwnd(user))
    assert grown == [13, 11]


@pytest.mark.parametrize("takes", [False, True])
def test_segment_without_the_timestamp_that_was_agreed_on(takes: bool) -> None:
    options = habits(takes_missing_timestamps=takes)
    peer, user = states.established(timestamps=True, options=options)
    peer.timestamps = False
    peer.sends("P. 1:11(10) ack 1")
    assert user.conn.readable == (10 if takes else 0)


def test_segment_without_a_timestamp_echoes_none() -> None:
    """Or the next one would seem to be the answer to something of weeks ago, and the receive buffer stop growing."""
    peer, user = states.established(timestamps=True, options=habits(takes_missing_timestamps=True), rtt=RTT)
    before = user.conn.last_echo, user.conn.rcv.rtt
    peer.timestamps = False
    peer.sends("P. 1:11(10) ack 1")
    assert user.conn.readable == 10
    assert (user.conn.last_echo, user.conn.rcv.rtt) == before


@pytest.mark.parametrize("takes", [False, True])
def test_third_segment_without_the_timestamp_that_was_agreed_on(takes: bool) -> None:
    peer, _ = states.syn_sent()
    peer = type(peer)(timestamps=True)
    listener = peer.listens(options=habits(takes_missing_timestamps=takes))
    peer.sends("S 0:0(0) <mss 1000,TS val 0 ecr 0>")
    peer.sees("S. 0:0(0) ack 1 <...>")
    peer.timestamps = False
    peer.sends(". 1:1(0) ack 1")
    assert listener.acceptable == (1 if takes else 0)


def test_probe_on_a_short_path_waits_no_longer_than_the_rfc_says() -> None:
    """2 SRTT, and what keeps it from crossing the ACK; ours waits 60 ms at least."""
    for least, wait in ((60 * MS, 60 * MS), (0, PTO - 2 * RTT + 20 * MS)):
        peer, _ = opened(3000, options=habits(least_probe_wait=least), rtt=10 * MS)
        peer.sees("P. 2001:3001(1000) ack 1", after=wait)


@pytest.mark.parametrize("reads", [False, True])
def test_report_on_an_old_ack(reads: bool) -> None:
    """An ACK that comes late acknowledges nothing, but tells what has arrived."""
    peer, user = opened(10_000, options=habits(reads_old_reports=reads))
    peer.passes(RTT)
    answer(peer, 2001)
    answer(peer, 1001, segment(4, 2))
    assert user.conn.info(peer.now).sacked == (2 if reads else 0)


@pytest.mark.parametrize("at_once", [False, True])
def test_data_with_the_ack_of_the_syn_ack_begins_a_conversation(at_once: bool) -> None:
    peer, user = states.syn_sent(options=habits(talks_at_once=at_once))
    user.write(10)
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    peer.sees("P. 1:11(10) ack 1")
    peer.sends("P. 1:11(10) ack 11")
    if at_once:
        peer.sees_nothing(during=39 * MS)
        peer.sees(". 11:11(0) ack 11", after=1 * MS)
    else:
        peer.sees(". 11:11(0) ack 11")


def test_data_after_the_handshake_does_not() -> None:
    peer, user = states.established(options=habits(talks_at_once=True))
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    peer.sends("P. 1:11(10) ack 11")
    peer.sees(". 11:11(0) ack 11")


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("congestion", ["newreno", "cubic"])
def test_time_out_of_a_window_that_was_hardly_used(whole: bool, congestion: str) -> None:
    """One segment of ten is out. What is left of one is two, which is the least; of ten, five or seven."""
    peer, user = opened(1000, options=habits(reduces_unused_window=whole).replace(congestion=congestion))
    for _ in ("tail loss probe", "time-out"):
        peer.waits("P. 1:1001(1000) ack 1", limit=5 * RTT)
    assert ssthresh(user) == ({"newreno": 5, "cubic": 7}[congestion] if whole else 2)


@pytest.mark.parametrize("whole", [False, True])
def test_loss_in_a_window_that_was_hardly_used(whole: bool) -> None:
    peer, user = opened(4000, options=habits(reduces_unused_window=whole))
    peer.passes(RTT)
    for count in (1, 2, 3):
        answer(peer, 1, segment(1, count))
    assert ssthresh(user) == (5 if whole else 2)


@pytest.mark.parametrize("whole", [False, True])
def test_mark_in_a_window_that_was_hardly_used(whole: bool) -> None:
    peer = Peer()
    user = peer.connect(options=habits(reduces_unused_window=whole).replace(ecn="request"))
    peer.sees("SEW 0:0(0) <...>")
    peer.sends("S.E 0:0(0) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 1")
    user.write(4000)
    peer.sends(".E 1:1(0) ack 1001")
    assert ssthresh(user) == (5 if whole else 2)


@pytest.mark.parametrize("as_if_gone", [False, True])
@pytest.mark.parametrize("late", [1, 101])
def test_text_for_an_application_that_has_gone(as_if_gone: bool, late: int) -> None:
    """Either reset has the number that the peer expects, as long as it is in step."""
    peer, user = states.established(options=habits(resets_as_if_gone=as_if_gone))
    user.close()
    peer.sees("F. 1:1(0) ack 1")
    peer.sends(f"P. {late}:{late + 9}(9) ack 1")
    peer.sees("R 1:1(0)" if as_if_gone else "R. 2:2(0) ack 1")
    peer.sees_nothing(during=SECOND)
    assert user.state is State.CLOSED


@pytest.mark.parametrize("as_if_gone", [False, True])
def test_ack_of_the_fin_with_text_for_an_application_that_has_gone(as_if_gone: bool) -> None:
    peer, user = states.established(options=habits(resets_as_if_gone=as_if_gone))
    user.close()
    peer.sees("F. 1:1(0) ack 1")
    peer.sends("P. 1:10(9) ack 2")
    peer.sees("R 2:2(0)" if as_if_gone else "R. 2:2(0) ack 1")
    assert user.state is State.CLOSED


@pytest.mark.parametrize("empty", [False, True])
def test_probe_of_a_closed_window(empty: bool) -> None:
    """One octet, or none, with a number that must be answered; in growing intervals, and not counted as sent."""
    peer, user = states.established(options=habits(probes_without_text=empty))
    user.write(1000)
    peer.sees("P. 1:1001(1000) ack 1")
    peer.sends(". 1:1(0) ack 1001 win 0")
    user.write(1000)
    probe = ". 1000:1000(0) ack 1" if empty else ". 1001:1002(1) ack 1"
    for wait in (200, 400, 800):
        peer.sees(probe, after=wait * MS)
        peer.sends(". 1:1(0) ack 1001 win 0")
    assert user.conn.snd.max == (1001 if empty else 1002)
    peer.sends(". 1:1(0) ack 1001")
    peer.sees("P. 1001:2001(1000) ack 1")


@pytest.mark.parametrize("empty", [False, True])
def test_probes_that_nobody_answers_end_the_connection(empty: bool) -> None:
    options = habits(probes_without_text=empty).replace(r2=10.0)
    peer, user = states.established(options=options)
    user.write(1000)
    peer.sees("P. 1:1001(1000) ack 1")
    peer.sends(". 1:1(0) ack 1001 win 0")
    user.write(1000)
    peer.repeats(". 1000:1000(0) ack 1" if empty else ". 1001:1002(1) ack 1", during=11 * SECOND)
    assert user.state is State.CLOSED


@pytest.mark.parametrize("empty", [False, True])
def test_fin_before_a_closed_window_is_asked_for_as_well(empty: bool) -> None:
    peer, user = states.established(options=habits(probes_without_text=empty))
    user.write(1000)
    peer.sees("P. 1:1001(1000) ack 1")
    peer.sends(". 1:1(0) ack 1001 win 0")
    user.close_write()
    peer.sees(". 1000:1000(0) ack 1" if empty else "F. 1001:1001(0) ack 1", after=200 * MS)


@pytest.mark.parametrize("silent", [False, True])
def test_ack_of_what_was_never_sent(silent: bool) -> None:
    """Whatever else the segment brings is dropped with it. In other states than ESTABLISHED there is an answer."""
    peer, user = states.established(options=habits(ignores_unsent_acks=silent))
    peer.sends("P. 1:11(10) ack 9999")
    if not silent:
        peer.sees(". 1:1(0) ack 1")
    peer.sees_nothing()
    assert user.conn.readable == 0
    user.close_write()
    peer.sees("F. 1:1(0) ack 1")
    peer.passes(OLD_ACK_INTERVAL)
    peer.sends(". 1:1(0) ack 9999")
    peer.sees(". 2:2(0) ack 1")


def spacious(*, spare: bool, window: int = 200_000) -> tuple[Peer, User]:
    """A buffer of so much, of which a SYN can say 65,535; the window's unit is 128 octets."""
    chosen = Habits(whole_first_window=True, spare_buffer=spare)
    options = TcpOptions(receive_window=window, receive_buffer=4 << 20, habits=chosen)
    return states.established(options=options, wscale=7)


@pytest.mark.parametrize("spare", [False, True])
def test_window_while_nobody_reads(spare: bool) -> None:
    """It takes 135,000 octets before what is left of the buffer is less than the window."""
    peer, user = spacious(spare=spare)
    start = 1
    for _ in range(13):
        peer.sends(f"P. {start}:{start + 10_000}(10000) ack 1")
        (seen,) = peer.takes()
        start += 10_000
        left = 200_000 - (start - 1) if spare else 65_535 - (start - 1)
        assert seen.edge - seen.ack == (65_536 if spare else left // 128 * 128)
        if left < 10_000:
            break
    assert user.conn.readable == (130_000 if spare else 60_000)
    assert user.conn.info(peer.now).rcv_space == (200_000 if spare else 65_535)
    peer.sends(f"P. {start}:{start + 10_000}(10000) ack 1")
    (seen,) = peer.takes()
    assert seen.edge - seen.ack == (59_904 if spare else 0)


def test_spare_buffer_fills_up() -> None:
    """The window never moves left, but for what its unit can't say; what it offers is taken; at last it is closed."""
    peer, user = spacious(spare=True)
    start, edge = 1, 1 + 65_535
    while edge > start:
        size = min(1460, edge - start)
        peer.sends(f"P. {start}:{start + size}({size}) ack 1")
        start += size
        for seen in peer.takes():
            assert seen.edge > edge - 128
            edge = seen.edge
    assert 200_000 - 1460 < user.conn.readable <= 200_000
    user.reads(user.conn.readable)
    (seen,) = peer.takes()
    assert seen.edge - seen.ack >= 65_536


def test_window_that_moves_with_every_segment() -> None:
    """A small one moves it, too, when there is nothing to read; a silly window is not offered."""
    peer, user = spacious(spare=True)
    peer.sends("P. 1:11(10) ack 1")
    peer.sees(". 1:1(0) ack 11 win 512")
    user.reads(10)
    peer.sends("P. 11:21(10) ack 1")
    peer.sees(". 1:1(0) ack 21 win 512")


def test_spare_buffer_is_part_of_what_the_application_allows() -> None:
    peer, user = spacious(spare=True)
    user.set_options(user.conn.options.replace(receive_buffer=70_000, receive_window=70_000))
    peer.sends("P. 1:10001(10000) ack 1")
    (seen,) = peer.takes()
    assert seen.edge - seen.ack == 59_904  # 60,000 in whole units
