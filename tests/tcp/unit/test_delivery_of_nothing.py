"""Delivery-rate samples: what leaves no trace in them, and what leaves one for how long."""

from __future__ import annotations

from stack.tcp.delivery import DeliveryRate
from stack.tcp.recovery import Sent
from stack.wire.units import MS, SECOND


def test_a_duplicate_does_not_count_as_a_delivery() -> None:
    """Or the next record would seem to have been delivered in less time than it was."""
    rate = DeliveryRate()
    first, second = Sent(1, 1001, 0), Sent(1001, 2001, 60 * MS)
    rate.on_sent(first, 0, 0)
    rate.sample(0, 0, 50 * MS)
    assert rate.rate == -1
    rate.on_sent(second, 1000, 60 * MS)
    rate.on_delivered(first)
    rate.on_delivered(second)
    rate.sample(2000, 0, 100 * MS)
    assert rate.rate == 2000 * SECOND // (100 * MS)


def test_a_pause_of_the_application_marks_what_leaves_until_all_of_before_is_delivered() -> None:
    rate = DeliveryRate()
    records = [Sent(1 + 1000 * number, 1001 + 1000 * number, 0) for number in range(5)]
    rate.on_app_limited(2000)
    marks = []
    for number, record in enumerate(records):
        rate.on_sent(record, 1000, number * MS)
        marks.append(record.app_limited)
        rate.on_delivered(record)
        rate.sample(1000, 0, number * MS)
    assert marks == [True, True, True, False, False]
