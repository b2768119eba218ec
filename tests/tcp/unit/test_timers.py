"""The table of deadlines: the least counts, and all can be switched off."""

from __future__ import annotations

import pytest

from stack.tcp.timers import Timers
from stack.wire.units import NEVER, SECOND

NAMES = ("delayed_ack", "keepalive", "linger", "loss", "pacing", "persist", "retransmit")


@pytest.mark.parametrize("name", NAMES)
def test_every_deadline_counts_and_can_be_switched_off(name: str) -> None:
    timers = Timers()
    assert timers.earliest() == NEVER
    for other in NAMES:
        setattr(timers, other, 2 * SECOND)
    setattr(timers, name, SECOND)
    assert timers.earliest() == SECOND
    timers.stop()
    assert timers.earliest() == NEVER
