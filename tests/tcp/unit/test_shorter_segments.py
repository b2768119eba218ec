"""The books of what was sent, when segments get another size on the way (RFC 1191 6.4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.tcp.config import TcpOptions
from stack.tcp.congestion import ALGORITHMS
from stack.tcp.recovery import LOST, OUT, SACKED, Recovery
from stack.tcp.repair import Repair
from stack.tcp.rtt import RttEstimator

MSS = 1000


def sent(*sizes: int, start: int = 1, mss: int = MSS) -> Recovery:
    """Records of these sizes, one behind the other."""
    books = Recovery()
    books.mss = mss
    for size in sizes:
        books.on_sent(start, start + size, 0)
        start += size
    return books


def shown(books: Recovery) -> list[tuple[int, int, int]]:
    return [(record.start, record.end, record.state) for record in books]


def test_what_is_too_long_is_lost_and_joined() -> None:
    books = sent(1000, 1000, 400, 1000, 600)
    books.on_mss(500)
    assert books.mark_too_long()
    assert shown(books) == [(1, 2001, LOST), (2001, 2401, OUT), (2401, 4001, LOST)]
    assert (books.outstanding, books.lost_bytes, books.pipe) == (4000, 3600, 400)
    record = books.next_lost()
    assert record is not None
    assert record.start == 1


def test_what_is_short_enough_stays_as_it_is() -> None:
    books = sent(500, 500, 1)
    before = shown(books)
    books.on_mss(500)
    assert not books.mark_too_long()
    assert shown(books) == before


def test_what_the_peer_has_stays_too() -> None:
    """And is counted in segments of the new size."""
    books = sent(1000, 1000, 1000)
    books.on_sack(1001, 2001)
    assert books.sacked_segments == 1
    books.on_mss(300)
    assert books.sacked_segments == 4
    assert books.mark_too_long()
    assert shown(books) == [(1, 1001, LOST), (1001, 2001, SACKED), (2001, 3001, LOST)]
    books.on_mss(MSS)
    assert books.sacked_segments == 1


def test_a_syn_is_joined_with_nothing() -> None:
    books = Recovery()
    books.mss = MSS
    books.on_sent(0, 1, 0)
    books.on_sent(1, 1001, 0)
    first = books.first
    assert first is not None
    books.mark_lost(first)
    books.on_mss(500)
    assert books.mark_too_long()
    assert shown(books) == [(0, 1, LOST), (1, 1001, LOST)]


def test_a_fin_makes_a_segment_longer_by_nothing() -> None:
    books = sent(1000, 501)
    books.fin = 1501
    books.on_mss(500)
    books.mark_too_long()
    assert shown(books) == [(1, 1001, LOST), (1001, 1502, OUT)]


def test_the_joined_record_was_sent_as_often_as_any_of_it() -> None:
    books = sent(1000, 1000)
    second = books.last
    assert second is not None
    books.mark_lost(second)
    books.on_resent(second, 5)
    books.on_mss(500)
    books.mark_too_long()
    [record] = books
    assert record.transmissions == 2


def test_what_was_forgotten_stays_forgotten() -> None:
    """Joining makes the list of records anew; what was acknowledged is not in it any more."""
    books = sent(*[1000] * 10)
    books.on_ack(3001)
    books.on_mss(500)
    books.mark_too_long()
    assert shown(books) == [(3001, 10_001, LOST)]
    assert [record.end for record in books.on_ack(10_001)] == [10_001]
    assert books.outstanding == books.pipe == books.lost_bytes == 0


steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 5000)),
        st.tuples(st.just("mss"), st.integers(200, 1500)),
        st.tuples(st.just("ack"), st.integers(0, 3000)),
        st.tuples(st.just("sack"), st.tuples(st.integers(0, 8000), st.integers(1, 3000))),
        st.tuples(st.just("resend"), st.integers(200, 1500)),
    ),
    max_size=60,
)


@given(steps)
def test_the_books_balance(script: list[tuple[str, object]]) -> None:
    books = sent(mss=1000)
    una = nxt = 1
    for what, value in script:
        if what == "send" and isinstance(value, int):
            books.on_sent(nxt, nxt + value, 0)
            nxt += value
        elif what == "mss" and isinstance(value, int):
            shorter = value < books.mss
            books.on_mss(value)
            if shorter:
                books.mark_too_long()
        elif what == "ack" and isinstance(value, int):
            una = min(una + value, nxt)
            books.on_ack(una)
        elif what == "sack" and isinstance(value, tuple):
            left = una + value[0]
            right = left + value[1]
            if una < left < right <= nxt:
                books.on_sack(left, right)
        elif what == "resend" and isinstance(value, int):
            record = books.next_lost()
            if record is not None:
                if record.size > value:
                    books.split(record, value)
                books.on_resent(record, 0)
        records = list(books)
        assert [record.start for record in records] == [una, *[record.end for record in records[:-1]]][: len(records)]
        assert books.outstanding == sum(record.size for record in records) == nxt - una
        assert books.lost_bytes == sum(record.size for record in records if record.state == LOST)
        assert books.sacked_bytes == sum(record.size for record in records if record.state == SACKED)
        assert books.sacked_segments == sum(books.segments(record) for record in records if record.state == SACKED)
        lost = [record.start for record in records if record.state == LOST]
        found = books.next_lost()
        assert (found.start if found is not None else None) == (lost[0] if lost else None)


# The controller and the repair above the books.


@pytest.mark.parametrize("name", ["newreno", "cubic"])
def test_nothing_is_undone_into_a_window_of_longer_segments(name: str) -> None:
    repair = Repair(RttEstimator(TcpOptions()), ALGORITHMS[name](MSS), MSS)
    repair.use_sack()
    repair.records.mss = MSS
    for number in range(10):
        repair.on_sent(1 + MSS * number, 1 + MSS * (number + 1), 0)
    repair.on_retransmission_timeout(1, 10_001, says_congestion=True, now=10)
    assert repair.congestion.cwnd == MSS
    repair.on_mss(500, 10_001)
    assert repair.congestion.cwnd == 500
    repair.congestion.on_undo(0, 0, 0)
    assert repair.congestion.cwnd == 500
    assert repair.unproven_from == 10_001


@pytest.mark.parametrize("name", ["newreno", "cubic"])
def test_windows_at_both_ends(name: str) -> None:
    """Never less than a segment, and a threshold that was set stays where it was."""
    controller = ALGORITHMS[name](MSS)
    controller.cwnd, controller.ssthresh = MSS, 5000
    controller.on_mss(300)
    assert (controller.cwnd, controller.ssthresh) == (300, 5000)
    controller.on_mss(1400)
    assert (controller.cwnd, controller.ssthresh) == (1400, 5000)
