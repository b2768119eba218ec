"""The answers to a tail loss probe that come when nothing is outstanding any more (RFC 8985 7.4)."""

from __future__ import annotations

from stack.wire.units import MS
from tests.support.flight import PTO, RTT, answer, opened, ssthresh
from tests.support.peer import Peer
from tests.support.user import User


def _answered_late() -> tuple[Peer, User]:
    """Five segments, a probe with the last, and only then the ACK for them."""
    peer, user = opened(5000)
    peer.sees("P. 4001:5001(1000) ack 1", after=PTO)
    peer.passes(20 * MS)
    answer(peer, 5001)
    peer.passes(80 * MS)
    return peer, user


def _acks_more(peer: Peer, user: User, *, seq: int = 1) -> None:
    user.write(10_000)
    peer.takes()
    peer.passes(RTT)
    peer.sends(f". {seq}:{seq}(0) ack 7001")
    peer.takes()


def test_a_duplicate_shows_that_the_probe_was_for_nothing() -> None:
    peer, user = _answered_late()
    answer(peer, 5001)
    _acks_more(peer, user)
    assert ssthresh(user) > 10


def test_text_with_the_same_ack_shows_nothing() -> None:
    """It left before the probe arrived, perhaps: what follows tells that a loss was repaired."""
    peer, user = _answered_late()
    peer.sends("P. 1:101(100) ack 5001")
    peer.takes()
    _acks_more(peer, user, seq=101)
    assert ssthresh(user) <= 10


def test_neither_does_a_new_window() -> None:
    peer, user = _answered_late()
    answer(peer, 5001, window=50_000)
    _acks_more(peer, user)
    assert ssthresh(user) <= 10
