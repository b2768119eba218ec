"""Explicit congestion notification (RFC 3168 5 and 6.1): marks that are sent, seen, echoed and answered.

The host asks for ECN and the peer agrees. `E` is ECE and `W` is CWR in a segment's flags. NewReno, segments of 1000.
"""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.wire import ip
from stack.wire.checksum import checksum
from stack.wire.segment import CE, CWR, ECE, ECT_0, NOT_ECT, SYN
from stack.wire.units import MS, NEVER, SECOND
from tests.support.flight import NEWRENO, PTO, RTO, RTT, cwnd, ssthresh, starts
from tests.support.peer import Peer, Seen
from tests.support.user import User

ASKS = NEWRENO.replace(ecn="request")


def _agreed(*, sack: bool = True, options: TcpOptions = ASKS, window: int = 65535) -> tuple[Peer, User]:
    peer = Peer(window=window)
    user = peer.connect(options=options)
    peer.sees("SEW 0:0(0) <...>")
    peer.passes(RTT)
    peer.sends(f"S.E 0:0(0) ack 1 <mss 1000{',sackOK' if sack else ''}>")
    peer.sees(". 1:1(0) ack 1")
    return peer, user


def _codepoint(seen: Seen) -> int:
    return ip.decode(seen.frame).traffic_class & 3


def _marked(peer: Peer, line: str) -> None:
    """The peer's segment arrives with CE in its IP header."""
    frame = bytearray(peer.packet(line).frame())
    frame[1] |= CE
    frame[10:12] = bytes(2)
    frame[10:12] = checksum(bytes(frame[:20])).to_bytes(2, "big")
    peer.bench.deliver(bytes(frame))


# The codepoints that we send.


# RFC3168-01, RFC3168-03
# RFC 9293 SHLD-8
def test_handshake_flags_and_codepoints() -> None:
    """ECE and CWR on a SYN ask, ECE alone on a SYN-ACK agrees, and neither is marked in the IP header."""
    peer = Peer()
    peer.connect(options=ASKS)
    syn = peer.sees("SEW 0:0(0) <...>")
    assert _codepoint(syn) == NOT_ECT

    peer = Peer()
    peer.listens(options=ASKS)
    peer.sends("SEW 0:0(0) <mss 1000>")
    syn_ack = peer.sees("S.E 0:0(0) ack 1 <...>")
    assert _codepoint(syn_ack) == NOT_ECT


# RFC3168-02
@pytest.mark.parametrize(("answer", "agreed"), [("S.E", True), ("S.", False), ("S.W", False), ("S.EW", False)])
def test_data_may_be_marked_only_if_both_have_agreed(answer: str, agreed: bool) -> None:
    peer = Peer()
    user = peer.connect(options=ASKS)
    peer.sees("SEW 0:0(0) <...>")
    peer.sends(f"{answer} 0:0(0) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 1")
    user.write(3000)
    assert [_codepoint(seen) for seen in peer.takes()] == [ECT_0 if agreed else NOT_ECT] * 3


# RFC3168-02, RFC3168-04
@pytest.mark.parametrize(("flags", "agreed"), [("SEW", True), ("S", False), ("SE", False), ("SW", False)])
def test_data_of_a_listener_may_be_marked_only_if_the_peer_asked(flags: str, agreed: bool) -> None:
    peer = Peer()
    peer.listens()
    peer.sends(f"{flags} 0:0(0) <mss 1000>")
    peer.sees("S.E 0:0(0) ack 1 <...>" if agreed else "S. 0:0(0) ack 1 <...>")
    peer.sends(". 1:1(0) ack 1")
    peer.accepts().write(1000)
    assert [_codepoint(seen) for seen in peer.takes()] == [ECT_0 if agreed else NOT_ECT]


# RFC3168-05
def test_repeated_syn_asks_no_more_and_marks_nothing_later() -> None:
    """RFC 3168 6.1.1.1; and who has sent a SYN that did not ask may not mark (6.1.1)."""
    peer = Peer()
    user = peer.connect(options=ASKS)
    peer.sees("SEW 0:0(0) <...>")
    peer.sees("S 0:0(0) <...>", after=1 * SECOND)
    peer.sends("S.E 0:0(0) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 1")
    user.write(1000)
    assert [_codepoint(seen) for seen in peer.takes()] == [NOT_ECT]


# RFC3168-06
def test_the_codepoint_is_ect_0() -> None:
    peer, user = _agreed()
    user.write(10_000)
    assert {_codepoint(seen) for seen in peer.takes()} == {ECT_0}


# RFC3168-11
def test_pure_acks_are_not_marked() -> None:
    peer, _ = _agreed()
    for number in range(30):
        peer.sends(f"P. {1 + 1000 * number}:{1001 + 1000 * number}(1000) ack 1")
    peer.sends("P. 40001:41001(1000) ack 1")  # and one for what is out of order
    acks = peer.gathers(SECOND)
    assert len(acks) > 10
    assert {_codepoint(seen) for seen in acks} == {NOT_ECT}


# RFC3168-12
@pytest.mark.parametrize("sack", [False, True])
def test_what_is_sent_again_is_not_marked(sack: bool) -> None:
    """By duplicates, by a probe, and by the timer."""
    peer, user = _agreed(sack=sack)
    user.write(10_000)
    peer.takes()
    peer.passes(RTT)
    for count in range(1, 6):
        blocks = f" <sack 1001:{1001 + 1000 * count}>" if sack else ""
        peer.sends(f". 1:1(0) ack 1{blocks}")
    resent = [seen for seen in peer.gathers(3 * SECOND) if seen.size]
    assert len(resent) >= 2
    assert {_codepoint(seen) for seen in resent} == {NOT_ECT}


# RFC3168-12
def test_old_data_as_a_tail_loss_probe_is_not_marked() -> None:
    peer, user = _agreed()
    user.write(5000)
    peer.takes()
    probe = peer.sees("P. 4001:5001(1000) ack 1", after=PTO)
    assert _codepoint(probe) == NOT_ECT


# RFC3168-13
def test_window_probes_are_neither_marked_nor_say_that_the_window_was_reduced() -> None:
    """The reduction for a mark is owed to new data; a probe of a closed window is none."""
    peer, user = _agreed()
    user.write(5000)
    peer.takes()
    peer.passes(RTT)
    peer.sends(".E 1:1(0) ack 5001 win 0")
    user.write(5000)
    probe = peer.sees(". 5001:5002(1) ack 1", after=user.conn.rtt.rto)
    assert _codepoint(probe) == NOT_ECT
    assert not probe.flags & CWR
    peer.sends(". 1:1(0) ack 5001 win 20000")
    first = peer.takes()[0]
    assert first.flags & CWR
    assert _codepoint(first) == ECT_0


# What an echo does to the sender.


# RFC3168-07, RFC3168-09
# RFC 9293 SHLD-8
def test_echo_halves_the_window_and_sends_nothing_again() -> None:
    peer, user = _agreed()
    user.write(60_000)
    assert len(peer.takes()) == 10
    peer.passes(RTT)
    peer.sends(".E 1:1(0) ack 1001")
    assert (cwnd(user), ssthresh(user)) == (5, 5)
    assert starts(peer.takes()) == []
    assert user.conn.info(peer.now).total_retrans == 0


# RFC3168-07
def test_echo_counts_once_in_a_window_of_data() -> None:
    """All ACKs of that window carry it; the next window's are another matter."""
    peer, user = _agreed()
    user.write(60_000)
    peer.takes()
    peer.passes(RTT)
    for ack in range(1001, 10_002, 1000):
        peer.sends(f".E 1:1(0) ack {ack}")
    assert ssthresh(user) == 5
    assert cwnd(user) == 5
    peer.takes()
    peer.passes(RTT)
    peer.sends(f".E 1:1(0) ack {user.conn.snd.nxt}")
    peer.takes()
    peer.passes(RTT)
    peer.sends(f".E 1:1(0) ack {user.conn.snd.nxt}")
    assert ssthresh(user) == 2


# RFC3168-07
def test_echo_and_loss_in_one_window_count_once() -> None:
    peer, user = _agreed()
    user.write(60_000)
    peer.takes()
    peer.passes(RTT)
    peer.sends(". 1:1(0) ack 1 <sack 1001:4001>")
    reduced = ssthresh(user)
    peer.sends(".E 1:1(0) ack 1 <sack 1001:5001>", ".E 1:1(0) ack 1 <sack 1001:6001>")
    assert ssthresh(user) == reduced


# RFC3168-08
def test_ack_with_an_echo_grows_nothing() -> None:
    """The first reduces; those behind it, of the same window, neither reduce nor grow, and those without grow again."""
    peer, user = _agreed()
    user.write(60_000)
    peer.takes()
    peer.passes(RTT)
    peer.sends(".E 1:1(0) ack 1001")
    for ack in range(2001, 10_002, 1000):
        peer.sends(f".E 1:1(0) ack {ack}")
        assert user.conn.snd.congestion.cwnd == 5000
    peer.takes()
    for _ in range(3):
        peer.passes(RTT)
        peer.sends(f". 1:1(0) ack {user.conn.snd.nxt}")
        peer.takes()
    assert cwnd(user) > 5


# RFC3168-09
def test_first_new_data_says_that_the_window_was_reduced() -> None:
    peer, user = _agreed()
    user.write(60_000)
    peer.takes()
    peer.passes(RTT)
    peer.sends(".E 1:1(0) ack 1001")
    peer.sends(". 1:1(0) ack 10001")
    flags = [bool(seen.flags & CWR) for seen in peer.takes() if seen.size]
    assert flags[0]
    assert not any(flags[1:])


# RFC3168-09
def test_retransmission_does_not_say_so() -> None:
    peer, user = _agreed()
    user.write(60_000)
    peer.takes()
    peer.passes(RTT)
    peer.sends(".E 1:1(0) ack 1 <sack 1001:4001>")
    peer.sends(". 1:1(0) ack 1 <sack 1001:10001>")
    sent = peer.takes()
    assert sent[0].start == 1
    assert not sent[0].flags & CWR
    fresh = [seen for seen in sent if seen.start > 1]
    assert fresh[0].flags & CWR
    assert _codepoint(fresh[0]) == ECT_0


# RFC3168-09
def test_loss_is_told_like_a_mark() -> None:
    """RFC 3168 6.1.2: whenever the window was reduced for any reason, the next new data says CWR."""
    peer, user = _agreed()
    user.write(60_000)
    peer.takes()
    peer.passes(RTT)
    peer.sends(". 1:1(0) ack 1 <sack 1001:10001>")
    fresh = [seen for seen in peer.takes() if seen.start > 1 and seen.size]
    assert fresh[0].flags & CWR


# RFC3168-09
def test_time_out_is_told_like_a_mark() -> None:
    peer, user = _agreed(sack=False)
    user.write(60_000)
    peer.takes()
    while not user.conn.info(peer.now).timeouts:
        assert peer.bench.step(peer.now + SECOND)
    again = peer.takes()
    assert not any(seen.flags & CWR for seen in again)
    peer.sends(". 1:1(0) ack 1001")
    fresh = peer.takes()
    assert [bool(seen.flags & CWR) for seen in fresh] == [True, False], "the two that ask for F-RTO"


def test_echo_means_nothing_where_it_was_not_agreed_on() -> None:
    peer, user = _agreed(options=ASKS)
    other = Peer()
    user = other.connect(options=NEWRENO)
    other.sees("S 0:0(0) <...>")
    other.sends("S.E 0:0(0) ack 1 <mss 1000>")
    other.sees(". 1:1(0) ack 1")
    user.write(10_000)
    other.takes()
    other.sends(".E 1:1(0) ack 10001")
    assert cwnd(user) >= 10
    assert peer.unseen() == []


# A window of one segment.


def _at_one_segment(last: int, *, sack: bool = True) -> tuple[Peer, User, int]:
    """Marks in four round trips have left a window of one segment, and all that left before is acknowledged.

    Only then, if ever, does the user write `last` octets more. Also gives the number up to which the peer has all.
    """
    peer, user = _agreed(sack=sack)
    user.write(19_000)
    ack = 1
    for segments in (10, 5, 2, 2):
        assert len(starts(peer.takes())) == segments
        ack += segments * 1000
        peer.passes(RTT)
        peer.sends(f".E 1:1(0) ack {ack}")
    assert cwnd(user) == 1
    assert peer.takes() == []
    if last:
        user.write(last)
    return peer, user, ack


# RFC3168-07, RFC9438-07
@pytest.mark.parametrize("sack", [False, True])
def test_at_one_segment_an_echo_makes_what_is_new_wait_for_the_retransmission_timer(sack: bool) -> None:
    """RFC 3168 6.1.2: one segment in a round trip is too much still; from now on it is one in an RTO."""
    peer, user, ack = _at_one_segment(60_000, sack=sack)
    for _ in range(3):
        assert starts(peer.takes()) == [ack]
        ack += 1000
        peer.passes(RTT)
        peer.sends(f".E 1:1(0) ack {ack}")
        peer.sees_nothing(during=RTO - 1)
        assert cwnd(user) == 1
        peer.passes(1)
    (seen,) = peer.takes()
    assert seen.start == ack
    assert seen.flags & CWR, "the rate was reduced, if not the window"
    peer.passes(RTT)
    peer.sends(f". 1:1(0) ack {ack + 1000}")
    assert starts(peer.takes()) == [ack + 1000, ack + 2000], "without a mark it goes on as ever"
    assert user.conn.info(peer.now).total_retrans == 0


# RFC3168-07
def test_what_is_written_while_the_sender_waits_waits_with_it() -> None:
    """And so does the FIN. Where there is nothing to send, nobody is woken."""
    peer, user, ack = _at_one_segment(1000)
    assert starts(peer.takes()) == [ack]
    peer.passes(RTT)
    peer.sends(f".E 1:1(0) ack {ack + 1000}")
    assert user.conn.timers.pacing == NEVER
    peer.passes(RTO // 2)
    user.write(1500)
    user.close_write()
    peer.sees_nothing(during=RTO // 2 - 1)
    peer.passes(1)
    assert starts(peer.takes()) == [ack + 1000]
    peer.passes(RTT)
    peer.sends(f".E 1:1(0) ack {ack + 2000}")
    peer.sees(f"FP.W {ack + 2000}:{ack + 2500}(500) ack 1", after=RTO)


# RFC3168-07
@pytest.mark.parametrize("sack", [False, True])
def test_an_echo_restarts_the_timer_of_what_is_out(sack: bool) -> None:
    """No probe of the tail asks before it: that would be new data, or one segment more on a path that is full."""
    peer, user, ack = _at_one_segment(1000, sack=sack)
    assert starts(peer.takes()) == [ack]
    peer.passes(RTT)
    peer.sends(f". 1:1(0) ack {ack + 1000}")
    assert cwnd(user) == 1, "it was not the window that stopped the user"
    user.write(3000)
    assert starts(peer.takes()) == [ack + 1000]
    peer.passes(RTT)
    peer.sends(f"P.E 1:11(10) ack {ack + 1000}")
    peer.sees(f". {ack + 2000}:{ack + 2000}(0) ack 11")
    peer.sees(f". {ack + 1000}:{ack + 2000}(1000) ack 11", after=RTO)
    peer.sees_nothing(during=RTT)
    peer.sends(f". 11:11(0) ack {ack + 2000}")
    assert starts(peer.takes())[0] == ack + 2000


# RFC3168-07
def test_echoes_until_the_peer_has_heard_are_one_mark() -> None:
    """What it sends before CWR has arrived says nothing new, although all that was out at the mark is acknowledged."""
    peer, _, ack = _at_one_segment(60_000)
    assert starts(peer.takes()) == [ack]
    peer.sends(f"P.E 1:11(10) ack {ack}")
    peer.takes()
    peer.passes(RTT)
    peer.sends(f". 11:11(0) ack {ack + 1000}")
    assert starts(peer.takes()) == [ack + 1000, ack + 2000]


# The receiver.


# RFC3168-10
# RFC 9293 SHLD-8
def test_mark_is_echoed_on_every_ack_until_it_is_answered() -> None:
    peer, user = _agreed()
    _marked(peer, "P. 1:1001(1000) ack 1")
    peer.sees(".E 1:1(0) ack 1001")
    for start in (1001, 2001):
        peer.sends(f"P. {start}:{start + 1000}(1000) ack 1")
        peer.sees(f".E 1:1(0) ack {start + 1000}")
    user.write(10)
    peer.sees("P.E 1:11(10) ack 3001")
    peer.sends("P.W 3001:4001(1000) ack 11")
    peer.sees(". 11:11(0) ack 4001")
    peer.sends("P. 4001:5001(1000) ack 11")
    peer.sees(". 11:11(0) ack 5001")


# RFC3168-10
def test_mark_on_the_segment_that_answers_is_a_new_one() -> None:
    peer, _ = _agreed()
    _marked(peer, "P. 1:1001(1000) ack 1")
    peer.sees(".E 1:1(0) ack 1001")
    _marked(peer, "P.W 1001:2001(1000) ack 1")
    peer.sees(".E 1:1(0) ack 2001")


# RFC3168-10
def test_mark_on_a_segment_out_of_order_is_echoed() -> None:
    peer, _ = _agreed()
    _marked(peer, "P. 1001:2001(1000) ack 1")
    peer.sees(".E 1:1(0) ack 1 <sack 1001:2001>")


# RFC3168-12
@pytest.mark.parametrize("line", ["P. 1:1001(1000) ack 1", "P. 900001:901001(1000) ack 1"])
def test_mark_outside_the_window_is_ignored(line: str) -> None:
    """Who can't guess the window can't slow us down either."""
    peer, _ = _agreed()
    peer.sends("P. 1:1001(1000) ack 1")
    peer.sees(". 1:1(0) ack 1001")
    _marked(peer, line)
    seen = peer.takes()
    assert len(seen) == 1
    assert not seen[0].flags & ECE
    peer.passes(100 * MS)


def test_mark_means_nothing_where_it_was_not_agreed_on() -> None:
    peer = Peer()
    peer.listens()
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <...>")
    peer.sends(". 1:1(0) ack 1")
    _marked(peer, "P. 1:1001(1000) ack 1")
    seen = peer.sees(". 1:1(0) ack 1001")
    assert not seen.flags & (ECE | SYN)


def test_echo_at_the_end_of_a_batch_counts_the_whole_flight() -> None:
    """Half of ten segments is left, and not half of what the ACKs before in the batch have left over."""
    peer, user = _agreed()
    user.write(60_000)
    assert len(starts(peer.takes())) == 10
    peer.passes(RTT)
    peer.sends(*[f". 1:1(0) ack {1001 + 1000 * number}" for number in range(7)], ".E 1:1(0) ack 8001")
    assert ssthresh(user) == 5
