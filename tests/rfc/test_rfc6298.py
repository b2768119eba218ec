"""The retransmission timer after a retransmission that it did not cause (RFC 6298 5)."""

from __future__ import annotations

import pytest

from stack.wire.units import MS, SECOND
from tests.support.flight import NEWRENO, RTO, RTT, answer, opened, segment


# RFC6298-09
@pytest.mark.parametrize("sack", [False, True])
def test_no_time_out_earlier_than_one_rto_after_a_fast_retransmission(sack: bool) -> None:
    """The first of ten leaves, and 100 ms later again; from then on it has an RTO, not the 200 ms that were left."""
    peer, _ = opened(10_000, sack=sack, window=10_000)
    peer.passes(RTT)
    resent = answer(peer, 1, segment(1, 3)) if sack else [start for _ in range(3) for start in answer(peer, 1)]
    assert resent == [1]
    left_at = peer.now
    again = next(seen for seen in peer.gathers(SECOND) if seen.start == 1)
    assert again.time - left_at >= RTO


# RFC6298-09
def test_no_time_out_earlier_than_one_rto_after_a_partial_ack() -> None:
    """Without SACK each partial ACK sends the next hole, and that has an RTO again."""
    peer, _ = opened(10_000, sack=False, window=10_000, options=NEWRENO)
    peer.passes(RTT)
    for _ in range(3):
        answer(peer, 1)
    peer.passes(RTO - 10 * MS)
    assert answer(peer, 4001) == [4001]
    left_at = peer.now
    again = peer.gathers(SECOND)[0]
    assert again.start == 4001
    assert again.time - left_at >= RTO
