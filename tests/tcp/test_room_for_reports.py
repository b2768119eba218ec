"""SACK blocks beside data (RFC 2018 3): as many as there is room for; and duplicates that come with older numbers."""

from __future__ import annotations

import pytest

from stack.tcp.repair import RECOVERY
from tests.support import states


@pytest.mark.parametrize(("size", "blocks"), [(972, 3), (973, 2), (980, 2), (981, 1), (988, 1), (989, 0)])
def test_reports_take_what_the_data_leaves(size: int, blocks: int) -> None:
    """An MSS of 1000: 2 octets for the option, 2 of padding, 8 for each block."""
    peer, user = states.established(sack=True)
    for start in (1001, 3001, 5001):
        peer.sends(f"P. {start}:{start + 1000}(1000) ack 1")
        peer.takes()
    user.write(size)
    (seen,) = peer.takes()
    assert seen.size == size
    assert len(seen.segment.sacks) == blocks


def test_acks_with_an_older_number_than_the_window_came_with_are_duplicates() -> None:
    """Text from beyond a gap has brought the latest window; the ACKs behind it carry the number before the gap."""
    peer, user = states.established(window=60_000)
    user.write(5000)
    peer.takes()
    peer.sends("P. 1001:2001(1000) ack 1")
    peer.takes()
    for _ in range(3):
        peer.sends(". 1:1(0) ack 1")
    assert user.conn.snd.repair.phase == RECOVERY
    peer.takes()


def test_what_came_twice_is_reported_once() -> None:
    """RFC 2883 4: in the ACK of the segment that brought it, and no other."""
    peer, _ = states.established(sack=True)
    peer.sends("P. 1:1001(1000) ack 1")
    peer.takes()
    peer.sends("P. 501:1501(1000) ack 1")
    peer.sees(". 1:1(0) ack 1501 <sack 501:1001>")
    peer.sends("P. 1501:2501(1000) ack 1")
    peer.sees(". 1:1(0) ack 2501")
