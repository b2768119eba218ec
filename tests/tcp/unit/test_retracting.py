"""What has left with a SYN may have to be taken back: the records then cover what counts as sent, and no more."""

from __future__ import annotations

import pytest

from stack.tcp.recovery import LOST, Recovery


def records() -> Recovery:
    recovery = Recovery()
    recovery.mss = 1000
    recovery.on_sent(0, 1, 5)
    recovery.on_sent(1, 1421, 5)
    return recovery


# RFC7413-09
@pytest.mark.parametrize("acked", [False, True])
@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize(("end", "sizes"), [(1, []), (300, [299]), (1001, [1000]), (1421, [1420]), (2000, [1420])])
def test_retract(end: int, sizes: list[int], lost: bool, acked: bool) -> None:
    recovery = records()
    if acked:
        recovery.on_ack(1)
    if lost:
        for record in recovery:
            recovery.mark_lost(record)
    recovery.retract(end)
    left = [record for record in recovery if record.start]
    assert [record.size for record in left] == sizes
    syn = 0 if acked else 1
    assert recovery.outstanding == syn + sum(sizes)
    assert recovery.lost_bytes == (recovery.outstanding if lost else 0)
    assert recovery.pipe == recovery.outstanding - recovery.lost_bytes
    lost_record = recovery.next_lost()
    assert (lost_record is not None) == (lost and recovery.outstanding > 0)
    if lost_record is not None:
        assert lost_record.state == LOST
        recovery.on_resent(lost_record, 6)
    start = end if end < 1421 else 1421
    recovery.on_sent(start, start + 700, 7)
    assert sum(record.size for record in recovery.on_ack(start + 700)) == syn + sum(sizes) + 700
    assert (len(recovery), recovery.outstanding, recovery.lost_bytes) == (0, 0, 0)
