"""The receiving half: reassembly, SACK (RFC 2018), when to acknowledge (RFC 9293 3.8.6.3); the window is apart."""

from __future__ import annotations

import itertools
import random

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.receiver import QUICK_ACKS
from stack.tcp.state import State
from stack.wire.units import MS, SECOND, Duration
from tests.support import states
from tests.support.peer import Peer
from tests.support.user import User

FULL = 1460  #: The MSS that the host has offered (RMSS).


def text(start: int, size: int = 1000, *, fin: bool = False) -> str:
    """A line for the peer's octets from `start` on."""
    return f"{'F' if fin else ''}P. {start}:{start + size}({size}) ack 1"


# Order.


@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize("batch", [False, True], ids=["apart", "in one batch"])
def test_five_segments_in_every_order(batch: bool, sack: bool) -> None:
    """All 120 orders of four segments and a fifth with a FIN give the same stream."""
    lines = [text(1 + 700 * number, 700, fin=number == 4) for number in range(5)]
    for order in itertools.permutations(lines):
        peer, user = states.established(sack=sack)
        if batch:
            peer.sends(*order)
        else:
            for line in order:
                peer.sends(line)
        last = peer.takes()[-1]
        assert last.ack == 3502
        assert not last.segment.sacks
        user.reads(3500)
        assert user.conn.at_eof
        assert user.state is State.CLOSE_WAIT


@pytest.mark.parametrize("seed", range(50))
def test_overlapping_segments_give_one_stream(seed: int) -> None:
    """Segments of any size from anywhere in the window, until the last gap happens to be filled."""
    chance = random.Random(seed)
    peer, user = states.established(sack=bool(seed % 2))
    size = 20_000
    for _ in range(400):
        start = chance.randrange(size)
        length = min(chance.choice((1, 10, 500, 1400)), size - start)
        peer.sends(text(1 + start, length))
        peer.takes()
        if chance.random() < 0.1:
            user.reads(user.conn.readable)
            peer.takes()
    peer.sends(*[text(1 + start, 1000) for start in range(0, size, 1000)])
    assert peer.takes()[-1].ack == 1 + size
    user.reads(size - user.consumed)


def test_what_came_first_stays() -> None:
    """Octets that were acknowledged by SACK are not replaced by others that come for the same numbers."""
    peer, user = states.established(sack=True)
    peer.sends("P. 11:21(10) ack 1", payload=b"first-come")
    peer.sees(". 1:1(0) ack 1 <sack 11:21>")
    peer.sends("P. 1:31(30) ack 1", payload=b"-" * 30)
    peer.sees(". 1:1(0) ack 31 <sack 11:21>")
    assert user.read() == b"-" * 10 + b"first-come" + b"-" * 10


def test_reading_in_pieces() -> None:
    peer, user = states.established()
    peer.sends(text(1), text(1001))
    peer.takes()
    for size in (1, 499, 500, 501, 499):
        user.reads(size)
    assert user.read() == b""
    assert not user.conn.at_eof


@pytest.mark.parametrize("pointer", [0, 1, 5, 10, 11, 60_000])
def test_urgent_data_is_in_line(pointer: int) -> None:
    """RFC 6093: wherever the pointer points, no octet is taken out of the stream."""
    peer, user = states.established()
    peer.sends(f"PU. 1:11(10) ack 1 urg {pointer}")
    peer.sees(". 1:1(0) ack 11")
    peer.sends(text(11, 10))
    peer.sees(". 1:1(0) ack 21")
    user.reads(20)


def test_fin_decides_where_the_stream_ends() -> None:
    """What a peer sends beyond its own FIN is no part of the stream."""
    peer, user = states.established()
    peer.sends("F. 501:501(0) ack 1", "P. 1001:2001(1000) ack 1", text(1, 1000))
    peer.takes()
    user.reads(500)
    assert user.conn.at_eof
    assert user.state is State.CLOSE_WAIT


def test_fin_before_octets_that_have_come_is_no_fin() -> None:
    peer, user = states.established()
    peer.sends("P. 1001:2001(1000) ack 1", "F. 501:501(0) ack 1", text(1, 1000))
    assert peer.takes()[-1].ack == 2001
    user.reads(2000)
    assert user.state is State.ESTABLISHED
    assert peer.host.counters.drops == {"bad-fin": 1}
    peer.sends("F. 1001:1001(0) ack 1")
    assert user.state is State.ESTABLISHED


def test_islands_of_data_have_a_bound() -> None:
    """Single octets with gaps between them: what is refused comes again, and the stream is whole in the end."""
    peer, user = states.established()
    for start in range(2, 4002, 2):
        peer.sends(f"P. {start}:{start + 1}(1) ack 1")
    peer.takes()
    assert peer.host.counters.drops["out-of-order-limit"] > 0
    for _ in range(3):
        ack = user.consumed + 1
        peer.sends(*[text(start, 500) for start in range(ack, 4001, 500)])
        peer.takes()
        user.reads(user.conn.readable)
    assert user.consumed >= 4000


# SACK blocks (RFC 2018 4, with its own examples; 5000 is 1 here).


# RFC2018-04
def test_sack_case_1_the_last_segments_are_lost() -> None:
    peer, _ = states.established(sack=True)
    for number in range(4):
        peer.sends(text(1 + 500 * number, 500))
        peer.sees(f". 1:1(0) ack {501 + 500 * number}")


# RFC2018-03, RFC2018-05
def test_sack_case_2_the_first_segment_is_lost() -> None:
    peer, _ = states.established(sack=True)
    for number in range(1, 8):
        peer.sends(text(1 + 500 * number, 500))
        peer.sees(f". 1:1(0) ack 1 <sack 501:{501 + 500 * number}>")


# RFC2018-04, RFC2018-06, RFC2018-08
def test_sack_case_3_every_second_segment_is_lost() -> None:
    peer, user = states.established(sack=True)
    peer.sends(text(1, 500))
    peer.sees(". 1:1(0) ack 501")
    peer.sends(text(1001, 500))
    peer.sees(". 1:1(0) ack 501 <sack 1001:1501>")
    peer.sends(text(2001, 500))
    peer.sees(". 1:1(0) ack 501 <sack 2001:2501 1001:1501>")
    peer.sends(text(3001, 500))
    peer.sees(". 1:1(0) ack 501 <sack 3001:3501 2001:2501 1001:1501>")
    peer.sends(text(1501, 500))  # the fourth, out of order
    peer.sees(". 1:1(0) ack 501 <sack 1001:2501 3001:3501>")
    peer.sends(text(501, 500))  # the second
    peer.sees(". 1:1(0) ack 2501 <sack 3001:3501>")
    peer.sends(text(2501, 500))
    peer.sees(". 1:1(0) ack 3501")
    user.reads(3500)


# RFC2018-07, RFC2018-08
@pytest.mark.parametrize(("timestamps", "most"), [(False, 4), (True, 3)])
def test_sack_reports_as_many_blocks_as_fit_the_latest_first(timestamps: bool, most: int) -> None:
    peer, _ = states.established(sack=True, timestamps=timestamps)
    held: list[str] = []
    for number in (3, 1, 6, 2, 5, 4):
        start = 1001 + 2000 * number
        held.insert(0, f"{start}:{start + 1000}")
        peer.sends(text(start))
        assert peer.takes()[-1].line.endswith(f"sack {' '.join(held[:most])}>")


def test_sack_block_that_was_touched_again_comes_first() -> None:
    peer, _ = states.established(sack=True)
    peer.sends(text(2001), text(4001), text(6001))
    peer.takes()
    peer.sends(text(3001, 500))
    peer.sees(". 1:1(0) ack 1 <sack 2001:3501 6001:7001 4001:5001>")


# RFC2018-04
def test_sack_goes_on_after_reading() -> None:
    """Blocks are about what arrived, not about what was read."""
    peer, user = states.established(sack=True)
    peer.sends(text(1), text(2001))
    peer.takes()
    user.reads(1000)
    peer.sends(text(4001))
    peer.sees(". 1:1(0) ack 1001 <sack 4001:5001 2001:3001>")


# RFC2018-05, RFC2018-06, RFC5681-17
def test_out_of_order_segments_of_one_batch_have_an_ack_each() -> None:
    """RFC 5681 3.2: the sender counts duplicates; RFC 2018 4: each reports its own segment first."""
    peer, _ = states.established(sack=True)
    peer.sends(text(1001), text(3001), text(5001))
    peer.sees(
        ". 1:1(0) ack 1 <sack 1001:2001>",
        ". 1:1(0) ack 1 <sack 3001:4001 1001:2001>",
        ". 1:1(0) ack 1 <sack 5001:6001 3001:4001 1001:2001>",
    )
    peer.sees_nothing()


# RFC2883-01
def test_reordering_within_a_batch_is_not_reported_as_duplication() -> None:
    """RFC 2883 4: a first block below the cumulative ACK says that its octets came twice. They did not."""
    peer, user = states.established(sack=True)
    peer.sends(text(1001), text(1))
    seen = peer.takes()
    assert seen[-1].ack == 2001
    for item in seen:
        for left, right in item.segment.sacks:
            assert (right - item.segment.ack) % (1 << 32) < 1 << 31, item.line
            assert left != item.segment.ack
    user.reads(2000)


# RFC2883-02
def test_segment_that_fills_a_gap_and_repeats_what_is_behind_it_is_reported() -> None:
    """RFC 2883 4.2: the octets that came twice stand before the ranges that are still out of order."""
    peer, _ = states.established(sack=True)
    peer.sends(text(1001, 2000), text(7001))
    peer.takes()
    peer.sends(text(1, 6000))
    peer.sees(". 1:1(0) ack 6001 <sack 1001:3001 7001:8001>")
    peer.sends(text(6001))
    peer.sees(". 1:1(0) ack 8001")  # once


# When to acknowledge.


def _past_the_start(*, sack: bool = False) -> tuple[Peer, User, int]:
    """A connection whose first segments, acknowledged at once, are over; and the peer's next number."""
    peer, user = states.established(sack=sack)
    start = 1
    for _ in range(40):
        peer.sends(text(start, FULL))
        start += FULL
        peer.takes()
    peer.passes(100 * MS)  # shorter than an RTO
    peer.takes()
    user.reads(start - 1)
    peer.takes()
    return peer, user, start


def test_first_segments_are_acknowledged_at_once() -> None:
    """The sender is in slow start, and counts ACKs."""
    peer, _ = states.established()
    for number in range(10):
        peer.sends(text(1 + 100 * number, 100))
        peer.sees(f". 1:1(0) ack {101 + 100 * number}")


# RFC5681-29, RFC1122-17
# RFC 9293 MUST-40, SHLD-18
@pytest.mark.parametrize("delay", [None, 0.0, 0.2, 0.499])
def test_delayed_ack_comes_within_half_a_second(delay: float | None) -> None:
    options = TcpOptions() if delay is None else TcpOptions(delayed_ack=delay)
    peer, _ = states.established(options=options)
    start = 1
    delayed = False
    for _ in range(40):
        peer.sends(text(start, 100))
        start += 100
        if not peer.takes():
            took = peer.waits(f". 1:1(0) ack {start}", limit=500 * MS)
            assert took < 500 * MS
            delayed = True
    assert delayed, "none of forty segments sent apart was acknowledged late"


# RFC5681-29
def test_ack_cannot_be_delayed_by_half_a_second() -> None:
    with pytest.raises(ValueError, match="delayed_ack"):
        TcpOptions(delayed_ack=0.5)


# RFC5681-28, RFC1122-17
# RFC 9293 SHLD-19
def test_every_second_full_segment_is_acknowledged() -> None:
    peer, _, start = _past_the_start()
    for _ in range(10):
        peer.sends(text(start, FULL))
        peer.sees_nothing()
        peer.sends(text(start + FULL, FULL))
        start += 2 * FULL
        peer.sees(f". 1:1(0) ack {start}")


# RFC5681-29
def test_delay_counts_from_the_first_segment_that_waits() -> None:
    """RFC 5681 4.2: within 500 ms of the arrival of the first unacknowledged packet."""
    peer, _, start = _past_the_start()
    peer.sends(text(start, 10))
    peer.sees_nothing(during=30 * MS)
    peer.sends(text(start + 10, 10))
    peer.sees(f". 1:1(0) ack {start + 20}", after=10 * MS)
    peer.sees_nothing(during=SECOND)


def test_ack_rides_on_data() -> None:
    peer, user, start = _past_the_start()
    peer.sends(text(start, 10))
    user.write(10)
    peer.sees(f"P. 1:11(10) ack {start + 10}")
    peer.sends(f". {start + 10}:{start + 10}(0) ack 11")
    peer.sees_nothing(during=SECOND)


# RFC5681-17, RFC5681-18
# RFC 9293 MAY-13
@pytest.mark.parametrize("sack", [False, True])
def test_disorder_is_acknowledged_at_once(sack: bool) -> None:
    """RFC 5681 4.2: out of order, filling a gap or part of it, and what came before."""
    peer, _, start = _past_the_start(sack=sack)
    peer.sends(text(start + 100, 100))
    assert [item.ack for item in peer.takes()] == [start]
    peer.sends(text(start + 300, 100))
    assert [item.ack for item in peer.takes()] == [start]
    peer.sends(text(start, 50))  # part of the first gap
    assert [item.ack for item in peer.takes()] == [start + 50]
    peer.sends(text(start + 50, 50))
    assert [item.ack for item in peer.takes()] == [start + 200]
    peer.sends(text(start + 200, 100))
    assert [item.ack for item in peer.takes()] == [start + 400]
    peer.sends(text(start, 100))  # old
    assert [item.ack for item in peer.takes()] == [start + 400]


def _quick(peer: Peer, start: int) -> int:
    """How many of the next small segments, one after the other, are acknowledged at once."""
    for number in range(30):
        peer.sends(text(start + 100 * number, 100))
        if not peer.takes():
            return number
    return 30


def test_acks_are_quick_again_after_a_duplicate() -> None:
    """The peer is repairing from a small window, and ACKs of ours were lost."""
    peer, _, start = _past_the_start()
    assert _quick(peer, start) == 0
    peer.sends(text(1, 100))
    peer.takes()
    assert _quick(peer, start + 100) == QUICK_ACKS


@pytest.mark.parametrize(("silence", "quick"), [(195 * MS, 0), (205 * MS, QUICK_ACKS)])
def test_acks_are_quick_again_after_an_rto_of_silence(silence: Duration, quick: int) -> None:
    """The peer has timed out or lay idle, and starts with a small window that grows by ACKs. The RTO is 200 ms."""
    peer, _, start = _past_the_start()
    peer.sends(text(start, 100))
    peer.passes(silence)
    peer.takes()
    assert _quick(peer, start + 100) == quick


def test_acks_are_not_quick_where_the_answer_carries_them() -> None:
    peer, user, start = _past_the_start()
    for number in range(5):
        peer.sends(text(start + 10 * number, 10))
        peer.sees_nothing()
        user.write(10)
        peer.sees(f"P. {1 + 10 * number}:{11 + 10 * number}(10) ack {start + 10 * number + 10}")
        peer.sends(f". {start + 10 * number + 10}:{start + 10 * number + 10}(0) ack {11 + 10 * number}")
        peer.sees_nothing(during=SECOND)


def test_fin_is_acknowledged_at_once() -> None:
    peer, _, start = _past_the_start()
    peer.sends(f"F. {start}:{start}(0) ack 1")
    peer.sees(f". 1:1(0) ack {start + 1}")


def test_pure_acks_are_not_acknowledged() -> None:
    peer, _ = states.established()
    for _ in range(5):
        peer.sends(". 1:1(0) ack 1", ". 1:1(0) ack 1 win 3000")
    peer.sees_nothing(during=SECOND)


# RFC 9293 MUST-58
def test_acks_of_a_batch_are_aggregated() -> None:
    peer, _ = states.established()
    peer.sends(*[text(1 + 1000 * number) for number in range(20)])
    peer.sees(". 1:1(0) ack 20001")
    peer.sees_nothing(during=SECOND)


# RFC 9293 MUST-59
def test_whole_batch_is_processed_before_any_ack_is_sent() -> None:
    """What comes last in a batch shows in the first that is sent: everything, to the FIN, is acknowledged."""
    peer, user = states.established()
    peer.sends(text(2001), text(1), text(1001), text(3001, fin=True))
    seen = peer.takes()
    assert {item.ack for item in seen} == {4002}
    assert user.state is State.CLOSE_WAIT


# RFC5681-30
@pytest.mark.parametrize("seed", range(20))
def test_at_most_one_ack_for_a_segment(seed: int) -> None:
    """RFC 5681 4.2: MUST NOT generate more than one ACK for every incoming segment, window updates apart."""
    chance = random.Random(seed)
    peer, _ = states.established(sack=bool(seed % 2))
    for _ in range(100):
        starts = [1 + 500 * chance.randrange(40) for _ in range(chance.randrange(1, 5))]
        peer.sends(*[text(start, 500) for start in starts])
        assert len(peer.takes()) <= len(starts)
