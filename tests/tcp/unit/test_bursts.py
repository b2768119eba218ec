"""Bursts: what a sender hands at once to a link that cuts it.

Segments of 1000 octets; the data begins at 1. The round trip of the handshake is 10 ms unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.congestion import NewReno
from stack.tcp.recovery import LOST, OUT
from stack.tcp.repair import LOSS, RECOVERY
from stack.tcp.rtt import RttEstimator
from stack.tcp.sender import Sender
from stack.wire.units import MS, SECOND, US, Duration, Time

MSS = 1000
LINK = 65_000  #: Octets that the link takes at once.
SHORT: Duration = 200 * US
Chunks = list[tuple[int, int]]


def sender(
    data: int = 0,
    *,
    max_payload: int = LINK,
    rtt: Duration = SHORT,
    wnd: int = 1 << 20,
    cwnd: int = 100 * MSS,
    nodelay: bool = False,
    fin: bool = False,
    sack: bool = True,
) -> Sender:
    """As after a handshake that took `rtt`, with `data` octets written."""
    snd = Sender(RttEstimator(TcpOptions()), NewReno(MSS), MSS, nodelay=nodelay)
    assert snd.next_chunk(0) == (0, 1)
    snd.agree(snd.congestion, MSS, sack=sack, max_payload=max_payload)
    acknowledge(snd, 1, rtt)
    snd.on_window(wnd, 1, 1)
    snd.congestion.cwnd = cwnd
    snd.buffer.append(bytes(data))
    snd.fin_wanted = fin
    return snd


def acknowledge(snd: Sender, ack: int, now: Time, *blocks: tuple[int, int]) -> None:
    snd.on_ack(ack, list(blocks), now, duplicate=ack == snd.una, echoed=-1, echo_tick=-1)


def sent(snd: Sender, now: Time = 20 * MS) -> Chunks:
    """All that leaves now."""
    chunks = []
    while (chunk := snd.next_chunk(now)) is not None:
        chunks.append(chunk)
        assert len(chunks) < 1000
    return chunks


def sizes(chunks: Chunks) -> list[int]:
    return [end - start for start, end in chunks]


# How large: what there is to send.


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (1, [1]),
        (999, [999]),
        (1000, [1000]),
        (1999, [1000]),  # the rest is small, and something is in flight: Nagle
        (2000, [2000]),
        (2001, [2000]),
        (2999, [2000]),
        (65_000, [65_000]),
        (67_500, [65_000, 2000]),
        (99_999, [65_000, 34_000]),
    ],
)
def test_whole_segments_leave_at_once(data: int, expected: list[int]) -> None:
    assert sizes(sent(sender(data))) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [(1999, [1000, 999]), (2000, [2000]), (2999, [2999]), (65_400, [65_000, 400]), (67_500, [65_000, 2500])],
)
def test_without_nagle_the_rest_leaves_with_them(data: int, expected: list[int]) -> None:
    assert sizes(sent(sender(data, nodelay=True))) == expected


def test_what_nagle_keeps_leaves_when_all_is_acknowledged() -> None:
    snd = sender(2500)
    assert sent(snd) == [(1, 2001)]
    acknowledge(snd, 1001, 30 * MS)
    assert sent(snd) == []
    acknowledge(snd, 2001, 30 * MS)
    assert sent(snd) == [(2001, 2501)]


@pytest.mark.parametrize(
    ("max_payload", "expected"),
    [
        (0, [1000] * 7),
        (1999, [1000] * 7),  # two segments would not fit
        (2000, [2000] * 3 + [1000]),
        (3999, [3000] * 2 + [1000]),
        (7000, [7000]),
    ],
)
def test_bursts_are_whole_segments_that_the_link_takes(max_payload: int, expected: list[int]) -> None:
    assert sizes(sent(sender(7000, max_payload=max_payload))) == expected


# How large: the windows.


@pytest.mark.parametrize(("wnd", "expected"), [(999, []), (1000, [1000]), (2999, [2000]), (3000, [3000])])
def test_peers_window_limits(wnd: int, expected: list[int]) -> None:
    """A part of a segment is not sent: the silly-window rule holds behind a burst as it does behind a segment."""
    snd = sender(50_000, wnd=10_000)
    sent(snd)
    acknowledge(snd, 10_001, 30 * MS)
    snd.on_window(wnd, 2, 10_001)
    assert sizes(sent(snd, 30 * MS)) == expected
    assert snd.blocked_by_window == (not expected)


@pytest.mark.parametrize(("cwnd", "expected"), [(1000, [1000]), (1999, [1000]), (7000, [7000]), (7999, [7000])])
def test_congestion_window_limits(cwnd: int, expected: list[int]) -> None:
    snd = sender(50_000, cwnd=cwnd)
    assert sizes(sent(snd)) == expected
    assert snd.cwnd_limited


def test_what_is_in_flight_counts() -> None:
    snd = sender(50_000, cwnd=10 * MSS)
    assert sizes(sent(snd)) == [10_000]
    acknowledge(snd, 3001, 20 * MS + SHORT, (5001, 6001))
    snd.congestion.cwnd = 10 * MSS
    assert snd.repair.records.pipe == 6000
    assert sizes(sent(snd)) == [4000]


def test_no_burst_is_sent_into_a_window_that_has_shrunk() -> None:
    snd = sender(50_000, wnd=20_000)
    sent(snd)
    snd.on_window(5000, 2, 1)
    acknowledge(snd, 4001, 20 * MS)
    assert sent(snd) == []


# How large: the FIN.


@pytest.mark.parametrize(("data", "expected"), [(1500, [1000, 501]), (2000, [2001]), (2001, [2002]), (2999, [3000])])
def test_fin_rides_on_the_last_burst(data: int, expected: list[int]) -> None:
    snd = sender(data, fin=True)
    assert sizes(sent(snd)) == expected
    assert snd.fin_sent


def test_fin_rides_on_the_last_of_several_bursts_alone() -> None:
    snd = sender(130_000, cwnd=200 * MSS, fin=True)
    assert snd.next_chunk(20 * MS) == (1, 65_001)
    assert not snd.fin_sent
    assert snd.next_chunk(20 * MS) == (65_001, 130_002)
    assert snd.fin_sent


def test_fin_waits_for_a_window_that_the_burst_has_filled() -> None:
    snd = sender(3000, wnd=3000, fin=True)
    assert sent(snd) == [(1, 3001)]
    assert not snd.fin_sent
    acknowledge(snd, 2001, 20 * MS)
    assert sent(snd) == [(3001, 3002)]


# How large: the path.


@pytest.mark.parametrize(
    ("rtt", "cwnd", "slow_start", "expected"),
    [
        (10 * MS, 100, True, 20),  # a millisecond of twice the window in a round trip
        (10 * MS, 100, False, 12),  # 1.2 times
        (10 * MS, 50, True, 10),
        (10 * MS, 99, True, 19),
        (100 * MS, 10, True, 2),  # at least two
        (2 * MS, 100, True, 65),  # at most what the link takes
        (500 * US, 10, False, 10),
    ],
)
def test_a_millisecond_of_the_rate_leaves_at_once(rtt: Duration, cwnd: int, slow_start: bool, expected: int) -> None:
    snd = sender(200_000, rtt=rtt, cwnd=cwnd * MSS)
    if not slow_start:
        snd.congestion.ssthresh = 2 * MSS
    chunks = sent(snd, rtt)
    assert sizes(chunks)[0] == expected * MSS
    assert chunks[-1][1] == 1 + cwnd * MSS  # all the same, the window is used


@pytest.mark.parametrize("rtt", [0, 1, SHORT, 500 * US])
def test_all_that_the_windows_allow_leaves_at_once_on_short_paths(rtt: Duration) -> None:
    snd = sender(65_000, rtt=rtt, cwnd=40 * MSS)
    snd.congestion.ssthresh = 2 * MSS
    assert sizes(sent(snd)) == [40_000]


def test_little_leaves_at_once_before_a_round_trip_is_known() -> None:
    snd = sender(65_000)
    snd.rtt.srtt = -1
    assert max(sizes(sent(snd))) == 2000


def test_a_slow_link_nearby_is_a_long_path() -> None:
    """Its queue is in the smoothed round trip, though the least one is short."""
    snd = sender(65_000, rtt=SHORT, cwnd=65 * MSS)
    snd.congestion.ssthresh = 2 * MSS
    snd.rtt.srtt = 100 * MS
    assert snd.rtt.minimum == SHORT
    assert max(sizes(sent(snd))) == 2000


def test_a_rate_of_the_controllers_counts_on_short_paths_too() -> None:
    snd = sender(65_000, rtt=SHORT, cwnd=20 * MSS)
    snd.congestion.pacing_rate = 3_700_000  # 3700 octets in a millisecond
    assert snd.next_chunk(20 * MS) == (1, 3001)


def test_limit_counts_octets_of_whole_segments() -> None:
    snd = sender(30_000, rtt=10 * MS, nodelay=True)
    snd.congestion.pacing_rate = 3_700_000  # 3700 octets in a millisecond
    assert set(sizes(sent(snd))) == {3000}


# Losses.


def test_time_out_sends_one_segment_of_a_burst() -> None:
    snd = sender(20_000, cwnd=20 * MSS)
    assert sent(snd) == [(1, 20_001)]
    snd.on_retransmission_timeout(SECOND)
    assert sent(snd, SECOND) == [(1, 1001)]


def test_f_rto_asks_with_two_single_segments() -> None:
    """RFC 5682 2.1, step 2b."""
    snd = sender(50_000, cwnd=20 * MSS)
    sent(snd)
    snd.on_retransmission_timeout(SECOND)
    sent(snd, SECOND)
    acknowledge(snd, 1001, SECOND + 10 * MS)
    snd.congestion.cwnd = 40 * MSS
    assert sent(snd, SECOND + 10 * MS)[:2] == [(20_001, 21_001), (21_001, 22_001)]


def test_fast_retransmission_is_one_segment() -> None:
    for sack in (False, True):
        snd = sender(20_000, cwnd=20 * MSS, sack=sack)
        sent(snd)
        snd.buffer.append(bytes(20_000))
        for number in range(3):
            acknowledge(snd, 1, 21 * MS, *([(15_001, 16_001 + 1000 * number)] if sack else []))
        assert snd.repair.phase == RECOVERY
        assert snd.next_chunk(21 * MS) == (1, 1001)


def test_partial_ack_without_reports_sends_one_segment() -> None:
    snd = sender(20_000, cwnd=20 * MSS, sack=False)
    sent(snd)
    for _ in range(3):
        acknowledge(snd, 1, 21 * MS)
    sent(snd, 21 * MS)
    acknowledge(snd, 5001, 22 * MS)
    assert sent(snd, 22 * MS) == [(5001, 6001)]


def lost(*, cwnd: int, rtt: Duration = SHORT, data: int = 60_000, wnd: int = 1 << 20) -> Sender:
    """All of `data` is lost, and what a time-out sends at once has been sent."""
    snd = sender(data, rtt=rtt)
    sent(snd)
    snd.on_retransmission_timeout(SECOND)
    assert snd.next_chunk(SECOND) == (1, 1001)
    assert snd.repair.records.pipe == 1000
    snd.on_window(wnd, 2, 1)
    snd.congestion.cwnd = cwnd
    return snd


@pytest.mark.parametrize(("cwnd", "expected"), [(1999, []), (2000, [1000]), (9999, [8000]), (100_000, [59_000])])
def test_lost_data_leaves_in_bursts_within_the_window(cwnd: int, expected: list[int]) -> None:
    snd = lost(cwnd=cwnd)
    before = snd.retransmitted_segments
    assert sizes(sent(snd, SECOND)) == expected
    assert snd.retransmitted_segments - before == sum(expected) // MSS


def test_lost_data_is_sent_at_the_paths_pace() -> None:
    """A window of 20 and slow start: 40 segments in a round trip of 10 ms."""
    snd = lost(cwnd=20 * MSS, rtt=10 * MS)
    assert sizes(sent(snd, SECOND)) == [4000, 4000, 4000, 4000, 3000]


def test_lost_data_keeps_to_the_peers_window() -> None:
    snd = lost(cwnd=100 * MSS, wnd=5500)
    # As without bursts: what begins within the window goes, for it was within when it was sent first.
    assert sent(snd, SECOND) == [(1001, 5001), (5001, 6001)]


def test_lost_fin_rides_again() -> None:
    snd = sender(5000, fin=True)
    assert sent(snd) == [(1, 5002)]
    snd.on_retransmission_timeout(SECOND)
    assert sent(snd, SECOND) == [(1, 1001)]
    acknowledge(snd, 1001, SECOND + MS)
    snd.congestion.cwnd = 10 * MSS
    assert sent(snd, SECOND + MS) == [(1001, 5002)]
    assert snd.retransmitted_segments == 5


@pytest.mark.parametrize(
    ("data", "fin", "expected"),
    [
        (5000, False, (4001, 5001)),
        (5000, True, (4001, 5002)),
        (4300, False, (4001, 4301)),
        (4300, True, (4001, 4302)),
        (5001, False, (5001, 5002)),
        (5001, True, (5001, 5003)),
        (4999, True, (4001, 5001)),
    ],
)
def test_probe_is_the_last_segment_of_a_burst(data: int, fin: bool, expected: tuple[int, int]) -> None:
    """RFC 8985 7.3."""
    snd = sender(data, fin=fin, nodelay=True)
    assert len(sent(snd)) == 1
    assert snd.tail_loss_probe(100 * MS) == expected
    assert snd.retransmitted_segments == 1


def test_probe_with_new_data_is_one_segment() -> None:
    snd = sender(20_000, cwnd=5 * MSS)
    assert sent(snd) == [(1, 5001)]
    assert snd.tail_loss_probe(100 * MS) == (5001, 6001)


def test_persist_timer_sends_one_segment() -> None:
    snd = sender(20_000, wnd=10_000)
    sent(snd)
    acknowledge(snd, 10_001, 20 * MS)
    snd.on_window(0, 2, 10_001)
    assert sent(snd) == []
    assert snd.zero_window_probe() == (10_001, 10_002)
    snd.on_window(2500, 3, 10_001)
    assert snd.override(20 * MS) == (10_001, 11_001)


# D-SACK: what was sent again in a burst comes back segment by segment.


def repaired(*blocks: tuple[int, int]) -> tuple[Sender, int]:
    """Segments 0 to 5 of ten went again, 1 to 5 in a burst. Then the peer reports what it holds twice.

    Returns also the window before those reports.
    """
    snd = sender(10_000, cwnd=10 * MSS)
    sent(snd)
    acknowledge(snd, 1, 30 * MS, (6001, 10_001))
    assert snd.repair.phase == RECOVERY
    snd.congestion.cwnd = 20 * MSS
    assert sent(snd, 30 * MS) == [(1, 1001), (1001, 6001)]
    acknowledge(snd, 10_001, 40 * MS)
    reduced = snd.congestion.cwnd
    for block in blocks:
        acknowledge(snd, 10_001, 41 * MS, block)
    return snd, reduced


def _number(*numbers: int) -> list[tuple[int, int]]:
    return [(1 + MSS * number, 1 + MSS * (number + 1)) for number in numbers]


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5), (5, 4, 3, 2, 1, 0), (0, 3, 1, 4, 2, 5)])
def test_recovery_is_undone_when_all_of_a_burst_was_late(order: Sequence[int]) -> None:
    """In whatever order the reports come (RFC 3708 3)."""
    snd, reduced = repaired(*_number(*order))
    assert snd.repair.spurious == 1
    assert snd.congestion.cwnd > reduced


@pytest.mark.parametrize("numbers", [(0, 1, 2, 3, 4), (1, 2, 3, 4, 5), (0, 1, 1, 3, 4, 5)])
def test_recovery_is_not_undone_when_a_part_of_a_burst_was_lost(numbers: Sequence[int]) -> None:
    snd, _ = repaired(*_number(*numbers))
    assert snd.repair.spurious == 0


def test_reports_of_single_octets_do_not_fill_the_memory_of_what_was_sent_again() -> None:
    """Two hundred octets for each octet would be more than the data itself."""
    snd = lost(cwnd=50 * MSS)
    for _ in range(2):
        sent(snd, SECOND)
        snd.repair.records.mark_all_lost()
    for octet in range(1, 3000):
        acknowledge(snd, 1, SECOND, (octet, octet + 1), (1, 60_001))
        snd.repair.records.forget_sacks()
    assert snd.repair._undo is not None
    assert len(snd.repair._undo.resent) <= 60


# A time-out and what has not had its time.


def test_time_out_of_a_burst_that_may_still_arrive() -> None:
    """RFC 8985 6.3: the first segment counts as lost, those behind it when they have had RACK.rtt."""
    snd = sender(20_000, cwnd=20 * MSS, rtt=10 * MS)
    sent(snd, 20 * MS)
    acknowledge(snd, 2001, SECOND)  # the path has become longer: RACK.rtt is nearly a second
    snd.congestion.cwnd = 40 * MSS
    snd.buffer.append(bytes(10_000))
    acknowledge(snd, 20_001, SECOND)
    chunks = sent(snd, SECOND)
    assert len(chunks) > 1
    snd.on_retransmission_timeout(SECOND + 300 * MS)
    states = [record.state for record in snd.repair.records]
    assert snd.repair.phase == LOSS
    assert snd.repair.records.lost_bytes == MSS
    assert states == [LOST] + [OUT] * (len(states) - 1)
