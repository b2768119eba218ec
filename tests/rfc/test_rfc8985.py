"""A retransmission that is lost as well (RFC 8985 9.3): where RACK finds it, PRR bounds what leaves all the same."""

from __future__ import annotations

from stack.wire.units import MS
from tests.support.flight import RTT, answer, opened, segment, ssthresh


# RFC8985-19
def test_lost_retransmission_is_repaired_at_the_pace_of_prr() -> None:
    """Ten in flight, and 0 is lost twice. PRR lets out half of what is delivered, from beginning to end: five in ten,
    with both retransmissions, and one for the fast retransmit. So the window needs no second reduction."""
    peer, user = opened(60_000)
    peer.passes(RTT)
    sent = []
    for count in range(1, 10):
        sent += answer(peer, 1, segment(1, count))
        peer.passes(MS)
    assert sent.count(1) == 1
    before = ssthresh(user)
    peer.passes(RTT)
    highest = max(sent) // 1000
    again = answer(peer, 1, segment(1, highest))  # what was sent after the retransmission has come, and that has not
    assert again[0] == 1
    fresh = [start for start in sent if start > 1]
    delivered = 9 + len(fresh)
    assert len(sent) + len(again) <= 2 + -(-delivered * before // 10) + 1
    info = user.conn.info(peer.now)
    assert info.timeouts == 0
    assert info.recoveries == 1
    assert info.snd_cwnd <= before
