"""Partial ACKs without SACK (RFC 6582 3.2, step 3): the window shrinks by what arrived, less one segment."""

from __future__ import annotations

import pytest

from stack.tcp.inflation import Inflation

MSS = 1000


@pytest.mark.parametrize(("acked", "back"), [(999, 0), (1000, MSS), (1001, MSS), (3000, MSS)])
def test_a_segment_is_given_back_where_a_segment_arrived(acked: int, back: int) -> None:
    inflation = Inflation(10 * MSS, 20 * MSS, MSS)
    before = inflation.cwnd
    inflation.on_partial_ack(acked, MSS)
    assert inflation.cwnd == before - acked + back
