"""What is outstanding and what of it is lost, against records kept one by one per octet."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stack.tcp.recovery import Recovery
from stack.wire.units import MS


class RecoveryMachine(RuleBasedStateMachine):
    """`octets` holds, for each number outstanding, [lost, times sent, sent at]."""

    @initialize()
    def begin(self) -> None:
        self.recovery = Recovery()
        self.una = self.nxt = 1
        self.now = 0
        self.octets: dict[int, list[int]] = {}

    @rule(size=st.integers(1, 50))
    def send(self, size: int) -> None:
        self.now += 1
        self.recovery.on_sent(self.nxt, self.nxt + size, self.now)
        for number in range(self.nxt, self.nxt + size):
            self.octets[number] = [0, 1, self.now]
        self.nxt += size

    @precondition(lambda self: self.octets)
    @rule()
    def lose_first(self) -> None:
        first = self.recovery.first
        assert first is not None
        self.recovery.mark_first_lost()
        for number in range(first.start, first.end):
            self.octets[number][0] = 1

    @rule()
    def lose_all(self) -> None:
        self.recovery.mark_all_lost()
        for octet in self.octets.values():
            octet[0] = 1

    @rule(mss=st.integers(1, 60))
    def resend(self, mss: int) -> None:
        """As the sender does it: the earliest that is lost, cut down to what fits a segment."""
        self.now += 1
        record = self.recovery.next_lost()
        lost = [number for number in sorted(self.octets) if self.octets[number][0]]
        if record is None:
            assert lost == []
            return
        assert record.start == lost[0]
        if record.end - record.start > mss:
            self.recovery.split(record, mss)
            assert record.end - record.start == mss
        self.recovery.on_resent(record, self.now)
        for number in range(record.start, record.end):
            octet = self.octets[number]
            octet[:] = [0, octet[1] + 1, self.now]
            assert record.transmissions == octet[1]

    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        self.now += 1
        una = data.draw(st.integers(self.una, self.nxt))
        whole = [record for record in self.recovery._records if record.end <= una]
        sample = self.recovery.on_ack(una, self.now)
        again = [record.sent_at for record in whole if record.transmissions > 1]
        # Karn's rule: no sample where anything acknowledged was sent twice; else from the latest record.
        assert self.recovery.resent_at == max(again, default=-1)
        assert sample == (self.now - whole[-1].sent_at if whole and not again else -1)
        self.octets = {number: octet for number, octet in self.octets.items() if number >= una}
        self.una = una

    @invariant()
    def counts(self) -> None:
        assert self.recovery.outstanding == len(self.octets) == self.nxt - self.una
        assert self.recovery.lost_bytes == sum(octet[0] for octet in self.octets.values())
        assert self.recovery.pipe == sum(not octet[0] for octet in self.octets.values())

    @invariant()
    def records_cover_what_is_outstanding(self) -> None:
        at = self.una
        for record in self.recovery._records:
            assert record.start == at < record.end
            assert [self.octets[number][0] for number in range(at, record.end)] == [record.lost] * (record.end - at)
            at = record.end
        assert at == self.nxt
        first = self.recovery.first
        assert (first is None) == (not self.octets)
        assert first is None or first.start == self.una


TestRecovery = RecoveryMachine.TestCase
TestRecovery.settings = settings(stateful_step_count=40, max_examples=150, deadline=None)


def test_sample_is_the_latest_records() -> None:
    recovery = Recovery()
    recovery.on_sent(1, 101, 10 * MS)
    recovery.on_sent(101, 201, 20 * MS)
    recovery.on_sent(201, 301, 30 * MS)
    assert recovery.on_ack(201, 50 * MS) == 30 * MS


def test_no_sample_from_a_part_of_a_record() -> None:
    recovery = Recovery()
    recovery.on_sent(1, 101, 10 * MS)
    assert recovery.on_ack(51, 50 * MS) == -1
    assert recovery.outstanding == 50


def test_karn() -> None:
    """The ACK may have waited for the one that was sent again, so the other's time says nothing either."""
    recovery = Recovery()
    recovery.on_sent(1, 101, 10 * MS)
    recovery.on_sent(101, 201, 20 * MS)
    recovery.mark_first_lost()
    record = recovery.next_lost()
    assert record is not None
    recovery.on_resent(record, 40 * MS)
    assert recovery.on_ack(201, 50 * MS) == -1
    assert recovery.resent_at == 40 * MS


def test_parts_of_a_split_record_are_sent_in_order() -> None:
    recovery = Recovery()
    recovery.on_sent(1, 1001, 0)
    recovery.on_sent(1001, 1101, 0)
    recovery.mark_all_lost()
    sent = []
    while (record := recovery.next_lost()) is not None:
        if record.end - record.start > 300:
            recovery.split(record, 300)
        recovery.on_resent(record, 1)
        sent.append((record.start, record.end, record.transmissions))
    assert sent == [(1, 301, 2), (301, 601, 2), (601, 901, 2), (901, 1001, 2), (1001, 1101, 2)]
    assert recovery.pipe == 1100
