"""Delivery-rate samples by hand (draft-cheng-iccrg-delivery-rate-estimation): segments of 1000 octets, milliseconds."""

from __future__ import annotations

from stack.tcp.delivery import DeliveryRate
from stack.tcp.recovery import Recovery, Sent
from stack.wire.units import MS

MSS = 1000


class Path:
    """The records of a connection and its rate, as `stack.tcp.repair` joins them."""

    def __init__(self) -> None:
        self.records = Recovery()
        self.rate = DeliveryRate()
        self.nxt = 1

    def sends(self, count: int = 1, *, at: float) -> None:
        for _ in range(count):
            pipe = self.records.pipe
            record = self.records.on_sent(self.nxt, self.nxt + MSS, round(at * MS))
            self.rate.on_sent(record, pipe, round(at * MS))
            self.nxt += MSS

    def resends(self, number: int, *, at: float) -> None:
        record = self._record(number)
        self.records.mark_lost(record)
        pipe = self.records.pipe
        self.records.on_resent(record, round(at * MS))
        self.rate.on_sent(record, pipe, round(at * MS))

    def _record(self, number: int) -> Sent:
        (found,) = [record for record in self.records if record.start == 1 + number * MSS]
        return found

    def acks(self, number: int, *reported: int, at: float, min_rtt: float = 0) -> int:
        """Everything before segment `number` is acknowledged, and others reported; the rate in bytes a second."""
        before = self.records.outstanding - self.records.sacked_bytes
        delivered = self.records.on_ack(1 + number * MSS)
        for other in reported:
            delivered += self.records.on_sack(1 + other * MSS, 1 + (other + 1) * MSS)
        for record in delivered:
            self.rate.on_delivered(record)
        amount = before - (self.records.outstanding - self.records.sacked_bytes)
        self.rate.sample(amount, round(min_rtt * MS), round(at * MS))
        return self.rate.rate


def test_one_segment_a_round_trip() -> None:
    path = Path()
    path.sends(at=0)
    assert path.acks(1, at=100) == 10_000
    assert path.rate.delivered == 1000


def test_flight_of_ten_that_arrives_spread() -> None:
    """An ACK every 10 ms: by the tenth, 10,000 octets were delivered in the 190 ms since the flight left."""
    path = Path()
    path.sends(10, at=0)
    rates = [path.acks(number, at=90 + 10 * number) for number in range(1, 11)]
    assert rates[0] == 10_000
    assert rates[-1] == 10_000 * 1000 // 190


def test_steady_state_shows_the_bottleneck() -> None:
    """Each ACK lets a segment go, every 10 ms: 100,000 octets a second, whatever the round trip."""
    path = Path()
    path.sends(10, at=0)
    rate = 0
    for number in range(1, 100):
        rate = path.acks(number, at=90 + 10 * number)
        path.sends(at=90 + 10 * number)
    assert rate == 100_000


def test_acks_that_come_in_a_bunch_show_no_more_than_was_sent() -> None:
    """The interval is the longer of sending and acknowledging: 2000 octets sent in 20 ms, acknowledged at once."""
    path = Path()
    path.sends(at=0)
    path.sends(at=10)
    path.sends(at=30)
    path.acks(1, at=100)  # the first: sent at 0
    assert path.acks(3, at=101) == 3000 * 1000 // 101
    path = Path()
    path.sends(at=0)
    path.acks(1, at=100)
    path.sends(at=200)
    path.sends(at=260)
    path.sends(at=300)
    assert path.acks(4, at=301) == 3000 * 1000 // 101  # from 200 on, for the line was idle before


def test_reports_count_when_they_come() -> None:
    path = Path()
    path.sends(4, at=0)
    assert path.acks(0, 2, at=100) == 10_000
    assert path.acks(0, 3, at=110) == 2000 * 1000 // 110
    path.resends(0, at=110)
    assert path.acks(4, at=210) == 2000 * 1000 // 110  # the other two; it took 110 ms to send so much, from 0 on
    assert path.rate.delivered == 4000


def test_sample_that_is_faster_than_the_path_can_be_is_none() -> None:
    """An ACK within the least round trip is for something that was sent before."""
    path = Path()
    path.sends(at=0)
    assert path.acks(1, at=5, min_rtt=10) == -1
    path.sends(at=20)
    assert path.acks(2, at=20) == -1  # no time has passed


def test_ack_that_delivers_nothing_gives_no_sample() -> None:
    path = Path()
    path.sends(2, at=0)
    path.acks(1, at=100)
    assert path.acks(1, at=110) == -1
    assert path.rate.delivered == 1000


def test_samples_while_the_application_has_nothing_are_marked() -> None:
    """3.4: until what was in flight when it ran dry has been delivered."""
    path = Path()
    path.sends(2, at=0)
    path.rate.on_app_limited(path.records.pipe)
    path.sends(at=10)
    path.acks(2, at=100)
    assert not path.rate.is_app_limited  # sent before it ran dry
    path.acks(3, at=110)
    assert path.rate.is_app_limited
    path.sends(2, at=120)
    path.acks(5, at=220)
    assert not path.rate.is_app_limited
