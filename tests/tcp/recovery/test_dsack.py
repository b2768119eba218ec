"""Duplicates that are reported (RFC 2883), by us as a receiver, and how a sender reads them.

The examples of RFC 2883 4.1 begin at 3000; here that is 1, and their segments of 500 octets stay.
"""

from __future__ import annotations

import pytest

from tests.support import states
from tests.support.flight import RTT, answer, opened, segment
from tests.support.peer import Peer
from tests.support.user import User


def _text(start: int, end: int) -> str:
    return f"P. {start}:{end}({end - start}) ack 1"


def _receiver(upto: int = 0) -> tuple[Peer, User]:
    peer, user = states.established(sack=True)
    for start in range(1, upto, 500):
        peer.sends(_text(start, start + 500))
        peer.takes()
    return peer, user


# Reporting whole duplicates (4.1).


# RFC2883-01
def test_duplicate_below_the_ack() -> None:
    """4.1.1: 3000-3499 and 3500-3999 arrived, their ACKs were lost; the first comes again."""
    peer, _ = _receiver(1000)
    peer.sends(_text(1, 501))
    peer.sees(". 1:1(0) ack 1001 <sack 1:501>")


# RFC2883-01, RFC2883-02
def test_duplicate_below_the_ack_while_something_is_held() -> None:
    """4.1.2: the D-SACK block first, then what is held."""
    peer, _ = _receiver(1000)
    peer.sends(_text(1501, 2001))
    peer.sees(". 1:1(0) ack 1001 <sack 1501:2001>")
    peer.sends(_text(1, 501))
    peer.sees(". 1:1(0) ack 1001 <sack 1:501 1501:2001>")


# RFC2883-02
def test_duplicate_above_the_ack_is_followed_by_the_block_around_it() -> None:
    """4.1.3: 3500 to 4999 are held, 4500-4999 comes again."""
    peer, _ = _receiver()
    peer.sends(_text(501, 1001), _text(1001, 1501), _text(1501, 2001))
    peer.takes()
    peer.sends(_text(1501, 2001))
    peer.sees(". 1:1(0) ack 1 <sack 1501:2001 501:2001>")


# RFC2883-02
def test_block_around_the_duplicate_comes_second_also_when_it_is_not_the_latest() -> None:
    """Two islands are held; what comes again lies in the one that was touched first."""
    peer, _ = _receiver()
    peer.sends(_text(501, 1001), _text(1001, 1501))
    peer.sends(_text(3001, 3501))
    peer.takes()
    peer.sends(_text(1001, 1501))
    peer.sees(". 1:1(0) ack 1 <sack 1001:1501 501:1501 3001:3501>")


# RFC2883-01, RFC2883-03
def test_each_duplicate_is_reported_once() -> None:
    peer, _ = _receiver(1000)
    peer.sends(_text(1501, 2001))
    peer.takes()
    peer.sends(_text(1, 501))
    peer.sees(". 1:1(0) ack 1001 <sack 1:501 1501:2001>")
    peer.sends(_text(2501, 3001))
    peer.sees(". 1:1(0) ack 1001 <sack 2501:3001 1501:2001>")
    peer.sends(_text(1, 501))
    peer.sees(". 1:1(0) ack 1001 <sack 1:501 2501:3001 1501:2001>")


# RFC2883-03
def test_duplicates_of_one_batch_have_an_ack_each() -> None:
    peer, _ = _receiver(1500)
    peer.sends(_text(1, 501), _text(501, 1001))
    peer.sees(". 1:1(0) ack 1501 <sack 1:501>", ". 1:1(0) ack 1501 <sack 501:1001>")
    peer.sees_nothing()


# Reporting parts of segments (4.2).


# RFC2883-01
def test_segment_whose_head_came_before() -> None:
    """In order: 3000-3499 are here, and 3000-3999 comes in one segment."""
    peer, user = _receiver(500)
    peer.sends(_text(1, 1001))
    peer.sees(". 1:1(0) ack 1001 <sack 1:501>")
    user.reads(1000)


# RFC2883-01, RFC2883-02
def test_segment_whose_head_came_before_out_of_order() -> None:
    """3500-3999 and 4500-4999 are held, and 3500-4499 comes: its first half was here."""
    peer, _ = _receiver()
    peer.sends(_text(501, 1001))
    peer.sees(". 1:1(0) ack 1 <sack 501:1001>")
    peer.sends(_text(1501, 2001))
    peer.sees(". 1:1(0) ack 1 <sack 1501:2001 501:1001>")
    peer.sends(_text(501, 1501))
    peer.sees(". 1:1(0) ack 1 <sack 501:1001 501:2001>")


# RFC2883-01, RFC2883-03
def test_segment_with_two_parts_that_came_before() -> None:
    """Only the first of them is reported. 3500-3999 and 4500-4999 are held, and 3500-4999 comes."""
    peer, _ = _receiver()
    peer.sends(_text(501, 1001), _text(1501, 2001))
    peer.takes()
    peer.sends(_text(501, 2001))
    peer.sees(". 1:1(0) ack 1 <sack 501:1001 501:2001>")


# RFC2883-05
@pytest.mark.parametrize("passive", [False, True])
def test_nothing_but_sack_is_negotiated(passive: bool) -> None:
    """Who has permitted SACK gets D-SACK, and who hasn't gets a plain ACK."""
    for sack in (False, True):
        peer, _ = states.established(sack=sack, passive=passive)
        peer.sends(_text(1, 501))
        peer.takes()
        peer.sends(_text(1, 501))
        peer.sees(". 1:1(0) ack 501 <sack 1:501>" if sack else ". 1:1(0) ack 501")


# Reading (4.3, 5).


# RFC2883-04
def test_old_ack_with_blocks_above_it_is_no_duplicate() -> None:
    """ACKs overtake each other: this one, with ack 1 and a report of 1, comes after the ACK of 5001. Against SND.UNA it
    would look like a duplicate; against its own ACK it does not."""
    peer, user = opened(10_000)
    peer.passes(RTT)
    answer(peer, 5001)
    rack = user.conn.snd.repair.rack
    assert rack is not None
    rack.reordering_seen = True
    before = rack.reordering_window(user.conn.snd.repair.records, user.conn.rtt, repairing=False)
    answer(peer, 1, segment(1))
    assert rack.reordering_window(user.conn.snd.repair.records, user.conn.rtt, repairing=False) == before
    assert user.conn.info(peer.now).spurious == 0


# RFC2883-04
@pytest.mark.parametrize(
    ("ack", "blocks", "duplicate"),
    [
        (2001, (segment(1),), True),  # below the ACK
        (1, (segment(2), segment(1, 4)), True),  # within the second block
        (1, (segment(2), segment(5, 4)), False),
        (1, (segment(1, 4), segment(2)), False),  # the second may lie within the first
    ],
)
def test_what_is_a_dsack(ack: int, blocks: tuple[str, ...], duplicate: bool) -> None:
    """By the ACK of the same segment, or by the second block. It widens RACK's window (RFC 8985 6.2, step 4)."""
    peer, user = opened(10_000)
    rack = user.conn.snd.repair.rack
    assert rack is not None
    rack.reordering_seen = True
    peer.passes(RTT)
    answer(peer, ack, *blocks)
    window = rack.reordering_window(user.conn.snd.repair.records, user.conn.rtt, repairing=False)
    assert window == (RTT // 2 if duplicate else RTT // 4)


# RFC2883-04
def test_dsack_block_is_not_news_of_what_is_held() -> None:
    """A block below the ACK says nothing about later octets, and one that repeats a report adds nothing."""
    peer, user = opened(10_000)
    peer.passes(RTT)
    answer(peer, 2001, segment(0))
    assert user.conn.info(peer.now).sacked == 0
    answer(peer, 2001, segment(4), segment(3, 3))
    assert user.conn.info(peer.now).sacked == 3
