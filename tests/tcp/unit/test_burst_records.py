"""The records of bursts: cut between segments where the peer acknowledges or reports a part, and found in order.

Segments of 1000 octets, from 1 on.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.rack import Rack
from stack.tcp.recovery import LOST, SACKED, Recovery, Sent
from stack.tcp.rtt import RttEstimator
from stack.wire.units import MS, SECOND, Time

MSS = 1000
Chunks = list[tuple[int, int]]


# Where they are cut.


def burst(segments: int = 6, *, at: Time = 0) -> Recovery:
    """One burst, from 1 on."""
    records = Recovery()
    records.mss = MSS
    records.on_sent(1, 1 + segments * MSS, at)
    return records


def ranges(records: Recovery) -> Chunks:
    return [(record.start, record.end) for record in records]


def spans(records: Sequence[Sent]) -> Chunks:
    return [(record.start, record.end) for record in records]


@pytest.mark.parametrize(
    ("block", "reported", "pieces"),
    [
        ((2001, 4001), [(2001, 4001)], [(1, 2001), (2001, 4001), (4001, 6001)]),
        ((1, 3001), [(1, 3001)], [(1, 3001), (3001, 6001)]),
        ((5001, 6001), [(5001, 6001)], [(1, 5001), (5001, 6001)]),
        ((1, 6001), [(1, 6001)], [(1, 6001)]),
        ((2000, 4002), [(2001, 4001)], [(1, 2001), (2001, 4001), (4001, 6001)]),  # whole segments only
        ((2500, 3500), [], [(1, 3001), (3001, 6001)]),  # none is whole
        ((2002, 2003), [], [(1, 3001), (3001, 6001)]),
        ((1, 2), [], [(1, 6001)]),
        ((6000, 6001), [], [(1, 6001)]),
    ],
)
def test_reports_cut_between_segments(block: tuple[int, int], reported: Chunks, pieces: Chunks) -> None:
    records = burst()
    assert spans(records.on_sack(*block)) == reported
    assert ranges(records) == pieces
    octets = sum(end - start for start, end in reported)
    assert (records.sacked_bytes, records.sacked_segments) == (octets, octets // MSS)
    assert records.pipe == 6000 - octets


def test_reports_of_single_octets_make_no_more_records_than_segments() -> None:
    records = burst(40)
    for octet in range(2, 40_001, 3):
        records.on_sack(octet, octet + 1)
    assert len(records) <= 40
    assert all((record.start - 1) % MSS == 0 and record.size % MSS == 0 for record in records)
    assert sum(len(pieces) for pieces in records._order) <= 40
    records.on_sack(1, 40_001)
    assert (records.pipe, records.sacked_segments) == (0, 40)


def test_parts_of_a_segment_add_up() -> None:
    records = burst()
    assert records.on_sack(2001, 2501) == []
    assert spans(records.on_sack(2501, 3001)) == [(2001, 3001)]


@pytest.mark.parametrize("una", [1001, 3001, 3500, 5999, 6001])
def test_acks_cut_off_the_head(una: int) -> None:
    records = burst()
    assert spans(records.on_ack(una)) == [(1, una)]
    assert ranges(records) == ([(una, 6001)] if una < 6001 else [])
    assert records.outstanding == records.pipe == 6001 - una


@pytest.mark.parametrize("state", [LOST, SACKED])
def test_acks_cut_off_the_head_of_what_is_not_out(state: int) -> None:
    records = burst()
    if state == LOST:
        records.mark_all_lost()
    else:
        records.on_sack(1, 6001)
    assert spans(records.on_ack(2001)) == ([(1, 2001)] if state == LOST else [])
    assert (records.pipe, records.outstanding) == (0, 4000)
    assert (records.lost_bytes, records.sacked_segments) == ((4000, 0) if state == LOST else (0, 4))
    found = records.next_lost()
    assert (found is None) == (state == SACKED)
    assert found is None or (found.start, found.end) == (2001, 6001)


def test_a_segment_that_is_acknowledged_in_part_is_shortened() -> None:
    records = burst(2)
    assert spans(records.on_ack(1500)) == [(1, 1500)]
    assert records.on_ack(2000) == []
    assert ranges(records) == [(2000, 2001)]
    assert spans(records.on_ack(2001)) == [(2000, 2001)]
    assert (len(records), records.outstanding) == (0, 0)


def test_segments_reported_are_counted() -> None:
    """Three segments reported are evidence of a loss (RFC 8985 6.2, step 4), however they had left."""
    records = burst(10)
    records.on_sack(2001, 9001)
    assert records.sacked_segments == 7
    records.on_ack(4001)
    assert records.sacked_segments == 5
    records.forget_sacks()
    assert records.sacked_segments == 0


def test_a_small_segment_at_the_end_is_one_more() -> None:
    records = Recovery()
    records.mss = MSS
    records.on_sent(1, 3002, 0)  # the last carries one octet
    assert spans(records.on_sack(2001, 3001)) == [(2001, 3001)]
    assert records.sacked_segments == 1
    records.on_sack(3001, 3002)
    assert records.sacked_segments == 2


# The order of transmissions.


def earliest(records: Recovery) -> Chunks:
    """As RACK reads it, and everything is marked."""
    found = []
    for record in records.earliest_transmissions():
        found.append((record.start, record.end))
        records.mark_lost(record)
    return found


def test_pieces_stay_in_the_order_of_transmissions() -> None:
    records = burst(4, at=1)
    records.on_sent(4001, 8001, 2)
    records.on_sack(5001, 6001)
    records.on_sack(2001, 3001)
    assert earliest(records) == [(1, 2001), (3001, 4001), (4001, 5001), (6001, 8001)]
    assert records.pipe == 0


def test_a_piece_that_has_left_again_comes_last_and_may_be_cut_again() -> None:
    records = burst(4, at=1)
    records.on_sent(4001, 6001, 2)
    records.mark_all_lost()
    first = records.next_lost()
    assert first is not None
    records.split(first, 3000)
    records.on_resent(first, 3)
    records.forgive_lost()
    records.on_sack(1001, 2001)
    assert earliest(records) == [(3001, 4001), (4001, 6001), (1, 1001), (2001, 3001)]


def test_a_burst_that_has_left_again_is_not_found_where_it_was() -> None:
    records = burst(2, at=1)
    records.on_sent(2001, 4001, 2)
    first = records.first
    assert first is not None
    records.mark_lost(first)
    records.on_resent(first, 3)
    records.on_sack(1001, 2001)
    assert earliest(records) == [(2001, 4001), (1, 1001)]


def test_what_was_reported_before_all_was_sorted_anew_may_be_cut() -> None:
    """It has no place in the new order, and takes none."""
    records = burst(4, at=1)
    records.on_sent(4001, 8001, 2)
    records.on_sack(1, 4001)
    records.mark_all_lost()
    records.forgive_lost()
    records.on_ack(2001)
    assert ranges(records) == [(2001, 4001), (4001, 8001)]
    assert earliest(records) == [(4001, 8001)]


@pytest.mark.parametrize("forget", [False, True])
def test_order_after_everything_was_sorted_anew(forget: bool) -> None:
    records = burst(4, at=1)
    records.on_sent(4001, 8001, 2)
    records.on_sack(1001, 2001)
    records.on_sack(6001, 7001)
    for record in list(records):
        records.mark_lost(record)
    records.forgive_lost()
    if forget:
        records.forget_sacks()
        records.on_sack(3001, 4001)  # cuts, once more
    expected = [(1, 1001), (2001, 4001), (4001, 6001), (7001, 8001)]
    if forget:
        expected = [(1, 1001), (1001, 2001), (2001, 3001), (4001, 6001), (6001, 7001), (7001, 8001)]
    assert records.pipe == sum(end - start for start, end in expected)
    assert earliest(records) == expected


def test_order_is_forgotten_with_what_is_acknowledged() -> None:
    records = Recovery()
    records.mss = MSS
    for number in range(1000):
        start = 1 + 4000 * number
        records.on_sent(start, start + 4000, number)
        records.on_sack(start + 2000, start + 3000)
        records.on_ack(start + 1000)
        records.on_ack(start + 4000)
    assert (len(records), len(records._order)) == (0, 0)


def test_rack_finds_the_segments_of_a_burst_that_are_missing() -> None:
    """The burst left at once, so its segments are in the order of their numbers (RFC 8985 6.1)."""
    records, rtt, rack = burst(6), RttEstimator(TcpOptions()), Rack()
    rtt.on_sample(10 * MS, 10 * MS)
    for left in (1, 3001, 5001):
        for record in records.on_sack(left, left + 1000):
            rack.on_delivered(record, rtt, -1, 10 * MS)
    found, again = rack.detect(records, 0, 10 * MS)
    assert found
    assert [(record.start, record.state) for record in records] == [
        (1, SACKED),
        (1001, LOST),
        (3001, SACKED),
        (4001, LOST),
        (5001, SACKED),
    ]
    assert again > SECOND
    assert not rack.reordering_seen
    for record in records.on_sack(1001, 2001):
        rack.on_delivered(record, rtt, -1, 11 * MS)
    assert rack.reordering_seen
