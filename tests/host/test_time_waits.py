"""Many connections in TIME-WAIT: they expire in parts, in time, and wake the host seldom."""

from __future__ import annotations

import pytest

from stack.host.time_waits import REST
from stack.host.timeouts import AT_ONCE
from stack.wire.segment import ACK, FIN
from stack.wire.units import MINUTE, MS, NEVER, SECOND, US, Duration, Time
from tests.host.crowd import Crowd

TWO_MSL = MINUTE


def enter(crowd: Crowd, count: int, *, apart: Duration) -> list[Time]:
    """So many connections that we closed first, one after the other; when each entered TIME-WAIT."""
    times = []
    for port in range(1024, 1024 + count):
        (peer,) = crowd.establish(1, first=port)
        crowd.close(peer)
        crowd.answers()
        peer.rcv_nxt = (peer.rcv_nxt + 1) & 0xFFFF_FFFF
        peer.conn = None
        crowd.arrive(peer, ACK | FIN)
        crowd.answers()
        times.append(crowd.now)
        crowd.now += apart
        crowd.host.on_timeout(crowd.now)  # stale entries for the deadlines of before
    assert crowd.host.time_waits == count
    return times


def wake_ups(crowd: Crowd) -> list[tuple[Time, int]]:
    """When the host wants to be woken until nothing waits any more, and how many have expired then."""
    found = []
    while (due := crowd.host.next_timeout()) < NEVER:
        assert due >= crowd.now
        before = crowd.host.time_waits
        crowd.now = due
        crowd.host.on_timeout(due)
        ended = before - crowd.host.time_waits
        if ended:
            found.append((due, ended))
    return found


def test_one_expires_in_time() -> None:
    crowd = Crowd(backlog=1)
    (entered,) = enter(crowd, 1, apart=0)
    assert wake_ups(crowd) == [(entered + TWO_MSL, 1)]


def test_thousands_wake_the_host_a_dozen_times() -> None:
    """10,000 in 100 ms."""
    crowd = Crowd(backlog=1)
    entered = enter(crowd, 10_000, apart=10 * US)
    found = wake_ups(crowd)
    assert len(found) <= 2 + 10_000 // AT_ONCE
    assert sum(count for _, count in found) == 10_000
    assert max(count for _, count in found) <= AT_ONCE
    assert found[0][0] == entered[0] + TWO_MSL
    assert found[-1][0] <= entered[-1] + TWO_MSL + REST


@pytest.mark.parametrize("apart", [1 * MS, 30 * MS, 99 * MS, 101 * MS, SECOND])
def test_none_ends_early_or_much_too_late(apart: Duration) -> None:
    crowd = Crowd(backlog=1)
    entered = enter(crowd, 50, apart=apart)
    ended: list[Time] = []
    for due, count in wake_ups(crowd):
        ended += [due] * count
    late = [end - start - TWO_MSL for start, end in zip(entered, ended, strict=True)]
    assert 0 <= min(late) <= max(late) <= REST
    assert (max(late) == 0) is (apart > REST)


def test_other_deadlines_take_the_expired_with_them() -> None:
    """The rest is for being woken; who is awake anyway ends what is due."""
    crowd = Crowd(backlog=1)
    entered = enter(crowd, 3, apart=10 * MS)
    for start in entered:
        crowd.host.on_timeout(start + TWO_MSL - 1)
        before = crowd.host.time_waits
        crowd.host.on_timeout(start + TWO_MSL)
        assert crowd.host.time_waits == before - 1
    assert crowd.host.next_timeout() >= NEVER


def test_a_rest_is_over_before_the_next_wait() -> None:
    """One that enters long after others have expired waits its 2 MSL and no longer."""
    crowd = Crowd(backlog=1)
    enter(crowd, 5, apart=0)
    wake_ups(crowd)
    (entered,) = enter(crowd, 1, apart=0)
    assert wake_ups(crowd) == [(entered + TWO_MSL, 1)]
