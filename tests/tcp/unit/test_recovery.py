"""The records of what was sent, and the scoreboard, against a list of records and a set of octets kept naively."""

from __future__ import annotations

from typing import SupportsIndex

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stack.tcp.recovery import ACKED, LOST, MAX_RANGES, OUT, SACKED, Recovery, Sent

MSS = 1000


class Known:
    """One record of the model."""

    def __init__(self, start: int, end: int, sent_at: int) -> None:
        self.start = start
        self.end = end
        self.sent_at = sent_at
        self.state = OUT
        self.transmissions = 1

    def told(self) -> tuple[int, int, int, int, int]:
        return self.start, self.end, self.state, self.transmissions, self.sent_at


def told(record: Sent) -> tuple[int, int, int, int, int]:
    return record.start, record.end, record.state, record.transmissions, record.sent_at


class RecoveryMachine(RuleBasedStateMachine):
    """Everything that a sender does with its records; `reported` holds each octet that the peer says it has."""

    @initialize()
    def begin(self) -> None:
        self.recovery = Recovery()
        self.una = self.nxt = 1
        self.now = 0
        self.known: list[Known] = []
        self.reported: set[int] = set()

    def _find(self, record: Sent) -> Known:
        (found,) = [known for known in self.known if known.start == record.start]
        return found

    @rule(size=st.integers(1, 30))
    def send(self, size: int) -> None:
        self.now += 1
        record = self.recovery.on_sent(self.nxt, self.nxt + size, self.now)
        self.known.append(Known(self.nxt, self.nxt + size, self.now))
        assert told(record) == self.known[-1].told()
        self.nxt += size

    # Losses.

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.known) - 1))
        self.recovery.mark_lost(list(self.recovery)[index])
        if self.known[index].state == OUT:  # who is reported is not lost
            self.known[index].state = LOST

    @rule()
    def lose_all(self) -> None:
        self.recovery.mark_all_lost()
        for known in self.known:
            known.state = LOST if known.state == OUT else known.state

    @rule(count=st.integers(1, 5))
    def lose_the_earliest(self, count: int) -> None:
        """What RACK does: those sent longest ago first, whatever their numbers, until it leaves one as it is."""
        out = sorted((known for known in self.known if known.state == OUT), key=lambda known: known.sent_at)
        seen = []
        for record in self.recovery.earliest_transmissions():
            seen.append(record.sent_at)
            if len(seen) > count:
                break
            known = self._find(record)
            self.recovery.mark_lost(record)
            known.state = LOST
        assert seen == [known.sent_at for known in out[: count + 1]]

    @rule()
    def forgive(self) -> None:
        self.recovery.forgive_lost()
        for known in self.known:
            known.state = OUT if known.state == LOST else known.state

    @rule()
    def renege(self) -> None:
        self.recovery.forget_sacks()
        for known in self.known:
            known.state = OUT if known.state == SACKED else known.state
        self.reported.clear()

    @rule(mss=st.integers(1, 40), join=st.booleans())
    def resend(self, mss: int, join: bool) -> None:
        """As the sender does it: the earliest that is lost, cut or joined to fit a segment."""
        self.now += 1
        record = self.recovery.next_lost()
        lost = [known for known in self.known if known.state == LOST]
        if record is None:
            assert lost == []
            return
        known = lost[0]
        assert told(record) == known.told()
        index = self.known.index(known)
        if record.size > mss:
            self.recovery.split(record, mss)
            rest = Known(known.start + mss, known.end, known.sent_at)
            rest.state, rest.transmissions = LOST, known.transmissions
            self.known.insert(index + 1, rest)
            known.end = rest.start
        elif join:
            self.recovery.join_lost(record, mss)
            while index + 1 < len(self.known):
                neighbour = self.known[index + 1]
                if neighbour.state != LOST or neighbour.end - known.start > mss:
                    break
                known.end = neighbour.end
                known.transmissions = max(known.transmissions, neighbour.transmissions)
                del self.known[index + 1]
        assert record.size <= mss
        self.recovery.on_resent(record, self.now)
        known.state, known.sent_at, known.transmissions = OUT, self.now, known.transmissions + 1
        assert told(record) == known.told()

    # Acknowledgments.

    @rule(data=st.data())
    def report(self, data: st.DataObject) -> None:
        left = data.draw(st.integers(self.una, self.nxt))
        right = data.draw(st.integers(left, self.nxt))
        if left == right:
            return
        new = set(range(left, right)) - self.reported
        self.reported |= new
        fresh = [
            known
            for known in self.known
            if known.state != SACKED
            and not new.isdisjoint(range(known.start, known.end))
            and self.reported.issuperset(range(known.start, known.end))
        ]
        for known in fresh:
            known.state = SACKED
        assert [told(record) for record in self.recovery.on_sack(left, right)] == [known.told() for known in fresh]
        assert self.recovery.on_sack(left, right) == []

    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        una = data.draw(st.integers(self.una, self.nxt))
        ended = [known for known in self.known if known.end <= una]
        delivered = self.recovery.on_ack(una)
        assert [record.start for record in delivered] == [known.start for known in ended if known.state != SACKED]
        assert all(record.state == ACKED for record in delivered)
        self.known = self.known[len(ended) :]
        if self.known and self.known[0].start < una:
            self.known[0].start = una
        self.reported = {number for number in self.reported if number >= una}
        self.una = una

    # What must hold.

    @invariant()
    def records(self) -> None:
        assert [told(record) for record in self.recovery] == [known.told() for known in self.known]
        assert len(self.recovery) == len(self.known)
        at = self.una
        for record in self.recovery:
            assert record.start == at < record.end
            at = record.end
        assert at == self.nxt
        first, last = self.recovery.first, self.recovery.last
        assert (first is None) == (last is None) == (not self.known)
        if first is not None and last is not None:
            assert (first.start, last.end) == (self.una, self.nxt)

    @invariant()
    def sums(self) -> None:
        def total(state: int) -> int:
            return sum(known.end - known.start for known in self.known if known.state == state)

        recovery = self.recovery
        assert recovery.outstanding == self.nxt - self.una
        assert (recovery.lost_bytes, recovery.sacked_bytes, recovery.pipe) == (total(LOST), total(SACKED), total(OUT))
        assert recovery.sacked_segments == sum(known.state == SACKED for known in self.known)

    @invariant()
    def reports(self) -> None:
        recovery = self.recovery
        assert recovery.highest_sacked == (max(self.reported) + 1 if self.reported else 0)
        for left in range(self.una, self.nxt, 7):
            for right in range(left + 1, min(left + 20, self.nxt + 1)):
                assert recovery.is_sacked(left, right) == self.reported.issuperset(range(left, right))


TestRecovery = RecoveryMachine.TestCase
TestRecovery.settings = settings(stateful_step_count=40, max_examples=200, deadline=None)


def outstanding(count: int) -> Recovery:
    """That many segments of 1000 octets from 1 on, each sent a nanosecond after the one before."""
    recovery = Recovery()
    for number in range(count):
        recovery.on_sent(1 + number * MSS, 1 + (number + 1) * MSS, number)
    return recovery


def starts(records: list[Sent]) -> list[int]:
    return [record.start for record in records]


# The scoreboard.


def test_a_record_is_reported_when_all_of_it_is() -> None:
    recovery = outstanding(4)
    assert starts(recovery.on_sack(1501, 2501)) == []  # the halves of two
    assert recovery.pipe == 4000
    assert starts(recovery.on_sack(1001, 1501)) == [1001]
    assert starts(recovery.on_sack(2001, 3001)) == [2001]
    assert (recovery.pipe, recovery.sacked_segments, recovery.highest_sacked) == (2000, 2, 3001)


def test_what_was_lost_and_is_reported_is_not_sent_again() -> None:
    recovery = outstanding(3)
    recovery.mark_all_lost()
    recovery.on_sack(1001, 2001)
    assert (recovery.lost_bytes, recovery.sacked_bytes, recovery.pipe) == (2000, 1000, 0)
    sent = []
    while (record := recovery.next_lost()) is not None:
        recovery.on_resent(record, 10)
        sent.append(record.start)
    assert sent == [1, 2001]


def test_ack_of_what_was_reported_delivers_nothing_twice() -> None:
    recovery = outstanding(3)
    recovery.on_sack(1001, 2001)
    assert starts(recovery.on_ack(3001)) == [1, 2001]
    assert (recovery.outstanding, recovery.sacked_bytes, recovery.sacked_segments) == (0, 0, 0)


def test_reneging() -> None:
    """RFC 2018 8: what was reported is kept until it is acknowledged, for it may have to be sent again."""
    recovery = outstanding(3)
    recovery.on_sack(1, 2001)
    recovery.forget_sacks()
    assert (recovery.pipe, recovery.sacked_bytes, recovery.highest_sacked) == (3000, 0, 0)
    recovery.mark_all_lost()
    assert recovery.next_lost() is recovery.first
    assert starts(recovery.on_sack(1, 1001)) == [1]  # and may be reported once more


def test_forgiven_records_are_found_lost_by_time_again() -> None:
    """Or only a time-out would repair what an undo had wrongly forgiven."""
    recovery = outstanding(3)
    for record in recovery.earliest_transmissions():
        recovery.mark_lost(record)
    recovery.forgive_lost()
    assert recovery.pipe == 3000
    assert starts(list(recovery.earliest_transmissions())) == [1]


# Cutting and joining.


def test_parts_of_a_split_record_are_sent_in_order() -> None:
    recovery = Recovery()
    recovery.on_sent(1, 1001, 0)
    recovery.on_sent(1001, 1101, 0)
    recovery.mark_all_lost()
    sent = []
    while (record := recovery.next_lost()) is not None:
        if record.size > 300:
            recovery.split(record, 300)
        recovery.on_resent(record, 1)
        sent.append((record.start, record.end, record.transmissions))
    assert sent == [(1, 301, 2), (301, 601, 2), (601, 901, 2), (901, 1001, 2), (1001, 1101, 2)]
    assert recovery.pipe == 1100


def test_small_lost_segments_are_joined() -> None:
    """A window of octets full of tiny segments is not sent again as as many packets at once."""
    recovery = Recovery()
    for number in range(2500):
        recovery.on_sent(1 + number, 2 + number, number)
    recovery.mark_all_lost()
    sent = []
    while (record := recovery.next_lost()) is not None:
        recovery.join_lost(record, MSS)
        recovery.on_resent(record, 5000)
        sent.append((record.start, record.end))
    assert sent == [(1, 1001), (1001, 2001), (2001, 2501)]


def test_what_is_not_lost_is_not_joined() -> None:
    recovery = Recovery()
    for number in range(4):
        recovery.on_sent(1 + 10 * number, 11 + 10 * number, number)
    recovery.on_sack(21, 31)
    recovery.mark_all_lost()
    record = recovery.next_lost()
    assert record is not None
    recovery.join_lost(record, MSS)
    assert (record.start, record.end) == (1, 21)


def test_delivery_sample_survives_a_cut() -> None:
    recovery = outstanding(1)
    record = recovery.first
    assert record is not None
    record.delivered, record.delivered_at, record.first_sent_at, record.app_limited = 7, 8, 9, True
    recovery.split(record, 400)
    rest = recovery.last
    assert rest is not None
    assert (rest.delivered, rest.delivered_at, rest.first_sent_at, rest.app_limited) == (7, 8, 9, True)
    assert (record.size, rest.size) == (400, 600)


# Work and memory that a peer can ask for.


class Counting(list[Sent]):
    """A list that counts how often one of its items is looked at."""

    looks = 0

    def __getitem__(self, index: SupportsIndex) -> Sent:  # type: ignore[override]
        self.looks += 1
        return super().__getitem__(index)


def counted(recovery: Recovery) -> Counting:
    records = Counting(recovery._records)
    recovery._records = records
    return records


def test_report_that_repeats_itself_costs_no_walk() -> None:
    """CVE-2019-11478: SACK options repeat what they have said, with a window of segments behind a hole."""
    recovery = outstanding(10_000)
    recovery.on_sack(1001, 10_000_001)
    records = counted(recovery)
    for _ in range(100):
        assert recovery.on_sack(1001, 10_000_001) == []
        assert recovery.on_sack(5_000_001, 6_000_001) == []
    assert records.looks == 0


def test_report_that_grows_costs_what_is_new() -> None:
    recovery = outstanding(5_000)
    records = counted(recovery)
    for number in range(2, 5_001):
        assert len(recovery.on_sack(1001, 1 + number * MSS)) == 1
    assert records.looks < 4 * 5_000


def test_invented_ranges_are_bounded() -> None:
    recovery = Recovery()
    recovery.on_sent(1, 1 << 20, 0)
    for number in range(2 * MAX_RANGES):
        recovery.on_sack(2 + 4 * number, 3 + 4 * number)
    assert len(recovery._lefts) == len(recovery._rights) == MAX_RANGES
    recovery.on_sack(1, 1 << 20)  # one that joins them all is taken
    assert recovery.pipe == 0


@pytest.mark.parametrize("at_once", [1, 10])
def test_nothing_is_remembered_of_what_is_acknowledged(at_once: int) -> None:
    recovery = Recovery()
    for number in range(5_000):
        for part in range(at_once):
            start = 1 + (number * at_once + part) * MSS
            recovery.on_sent(start, start + MSS, number)
        recovery.on_ack(1 + (number + 1) * at_once * MSS)
    assert (len(recovery), recovery.outstanding) == (0, 0)
    assert max(len(recovery._records), len(recovery._starts), len(recovery._order), len(recovery._lost)) <= 300
