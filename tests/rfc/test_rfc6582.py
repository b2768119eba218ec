"""Duplicates after a time-out (RFC 6582 3.2, step 5 of the algorithm; 4.1)."""

from __future__ import annotations

from tests.support.flight import RTO, RTT, answer, opened, ssthresh


# RFC6582-05
def test_duplicates_at_the_end_of_what_was_out_at_a_time_out_start_nothing() -> None:
    """Ten were out when the timer expired. What is sent again the peer has twice, and answers with duplicates of the
    ACK that ends the repair: they cover no more than `recover`. Those of an ACK beyond it are another matter."""
    peer, user = opened(60_000, sack=False)
    peer.passes(RTO)
    assert user.conn.info(peer.now).timeouts == 1
    peer.takes()
    peer.passes(RTT)
    end = user.conn.snd.nxt
    answer(peer, end)
    before = ssthresh(user)
    assert end not in [start for _ in range(4) for start in answer(peer, end)]
    assert (user.conn.info(peer.now).recoveries, ssthresh(user)) == (0, before)
    answer(peer, end + 1000)
    assert end + 1000 in [start for _ in range(4) for start in answer(peer, end + 1000)]
    assert user.conn.info(peer.now).recoveries == 1
