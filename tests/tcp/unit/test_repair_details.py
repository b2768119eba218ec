"""Loss recovery, the rules that show only where several meet. Ten segments of 1000 octets left at 1000 ms."""

from __future__ import annotations

from stack.tcp.repair import OPEN, RECOVERY
from stack.wire.units import MS, NEVER
from tests.tcp.unit.test_repair import MSS, RTT, Flight


def test_time_out_waits_for_no_reordering() -> None:
    """RFC 8985 6.2, 6.3: what has had its round trip is lost with the first, without a quarter more."""
    flight = Flight(3, more=1)
    flight.now = 1190
    flight.snd.congestion.cwnd = 4 * MSS
    assert flight.sent() == [3]
    flight.snd.on_retransmission_timeout((1190 + RTT + 10) * MS)
    assert flight.snd.repair.records.lost_bytes == 4 * MSS


def test_repair_in_vain_widens_the_reordering_window() -> None:
    """Eifel: the ACK echoes the originals. As after a D-SACK, what is late gets twice as long."""
    flight = Flight(more=0)
    assert flight.acks(0, (1, 4), at=1100)[0] == 0
    assert flight.phase == RECOVERY
    flight.acks(10, at=1110, echo=1000)
    assert flight.phase == OPEN
    assert flight.counts == (1, 0, 1)
    repair = flight.snd.repair
    assert repair.rack is not None
    assert repair.rack.reordering_window(repair.records, repair.rtt, repairing=True) == RTT * MS // 2


def test_duplicates_that_our_own_repetitions_cause_begin_nothing() -> None:
    """RFC 6582 3.2, step 2, without SACK: the ACK must cover more than what was out at the time-out."""
    flight = Flight(sack=False)
    flight.times_out(2000)
    assert flight.acks(10, at=2100) == [10, 11]
    for at in (2101, 2102, 2103, 2104):
        flight.acks(10, at=at)
    assert flight.counts == (0, 1, 0)
    flight.acks(11, at=2200)
    for at in (2201, 2202, 2203):
        flight.acks(11, at=at)
    assert flight.counts == (1, 1, 0)


def test_what_was_sent_again_twice_must_be_reported_twice() -> None:
    """RFC 3708 3: only then was all of it for nothing, and the window is given back."""
    flight = Flight(more=0)
    flight.acks(0, (1, 4), at=1100)
    repair = flight.snd.repair
    first = repair.records.first
    assert first is not None
    repair.records.mark_lost(first)
    repair.force = True
    flight.now = 1150
    assert flight.sent() == [0]
    flight.acks(4, (0, 1), at=1200)
    assert flight.counts == (1, 0, 0)
    flight.acks(4, (0, 1), at=1210)
    assert flight.counts == (1, 0, 1)
    assert flight.windows[0] >= 10


def test_flight_is_what_was_out_before_the_ack() -> None:
    """RFC 5681 3.2: one ACK advances and reports; half of ten segments, and not of the six behind it."""
    flight = Flight(more=0)
    flight.acks(4, (5, 10), at=1100)
    assert flight.phase == RECOVERY
    assert flight.windows[1] == 5


def test_report_of_a_repair_long_over_says_nothing() -> None:
    """The D-SACK comes when all that left during the repair is acknowledged."""
    flight = Flight()
    flight.acks(0, (1, 4), at=1100)
    flight.acks(10, at=1200)
    assert flight.phase == OPEN
    for number, at in ((30, 1300), (60, 1400), (80, 1500)):
        number = min(number, (flight.snd.nxt - 1) // MSS)
        flight.acks(number, at=at)
    rack = flight.snd.repair.rack
    assert rack is not None
    assert not rack.reordering_seen
    flight.acks_octet(flight.snd.una, (1, 1 + MSS))
    assert not rack.reordering_seen
    assert flight.counts == (1, 0, 0)


def _reordering_seen(flight: Flight) -> bool:
    rack = flight.snd.repair.rack
    assert rack is not None
    return rack.reordering_seen


def test_a_repetition_in_vain_shows_reordering_also_after_the_recovery() -> None:
    """What RACK believed lost has come after something that was sent later."""
    flight = Flight(more=0)
    flight.acks(0, (1, 4), at=1100)
    flight.acks(10, at=1200)
    assert flight.phase == OPEN
    assert not _reordering_seen(flight)
    flight.acks(10, (0, 1), at=1210)
    assert _reordering_seen(flight)
    assert flight.counts == (1, 0, 1)


def test_what_the_network_doubles_shows_none() -> None:
    flight = Flight(more=0)
    flight.acks(5, (0, 1), at=1100)
    assert not _reordering_seen(flight)


def test_neither_does_a_time_out_in_vain() -> None:
    """The ACKs were late or lost."""
    flight = Flight(more=0)
    assert flight.times_out(2000) == [0]
    flight.acks(10, (0, 1), at=2100)
    assert not _reordering_seen(flight)
    assert flight.counts == (0, 1, 1)


def test_after_a_time_out_rack_asks_no_more() -> None:
    """RFC 8985 6.3: the timer for what might only be late is for nothing then."""
    flight = Flight(more=0)
    flight.acks(0, (9, 10), at=1100)
    repair = flight.snd.repair
    assert repair.reorder_at == 1125 * MS
    flight.snd.on_retransmission_timeout(1110 * MS)
    assert repair.reorder_at == NEVER
