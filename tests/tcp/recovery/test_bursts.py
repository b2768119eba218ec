"""Super-frames on the wire: what a device is given to cut, and losses of single segments of them.

The bench checks every super-frame as the device would, and cuts it. Segment number n begins at 1000 * n + 1; the round
trip is 100 ms, so two segments leave at once until the window is large, or 200 us, and all that may leave leaves.
"""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.wire import ip
from stack.wire.segment import ACK, CE, CWR, ECT_0, FIN, PSH
from stack.wire.units import MS, SECOND, US, Duration
from tests.support import states
from tests.support.flight import MSS, NEWRENO, PTO, RTO, RTT, answer, cwnd, opened, segment, starts
from tests.support.peer import Peer, Seen
from tests.support.user import User

LINK = 65_000
SHORT: Duration = 200 * US
ASKS = NEWRENO.replace(ecn="request")


def flight(
    write: int, *, sack: bool = True, options: TcpOptions = NEWRENO, rtt: Duration = SHORT, timestamps: bool = False
) -> tuple[Peer, User]:
    """A connection on a link that cuts, whose user has written; what left has been looked at."""
    return opened(write, sack=sack, options=options, rtt=rtt, timestamps=timestamps, max_payload=LINK)


def whole(
    *, v6: bool = False, timestamps: bool = False, mss: int = MSS, options: TcpOptions = NEWRENO, window: int = 65535
) -> tuple[Peer, User]:
    """A connection on a short path; super-frames are seen as they are."""
    peer, user = states.established(
        v6=v6, timestamps=timestamps, mss=mss, options=options, window=window, rtt=SHORT, max_payload=LINK
    )
    peer.bench.whole = True
    return peer, user


# One super-frame.


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("timestamps", [False, True])
def test_initial_window_leaves_as_one_super_frame(v6: bool, timestamps: bool) -> None:
    peer, user = whole(v6=v6, timestamps=timestamps)
    user.write(20_000)
    (seen,) = peer.takes()
    carried = MSS - 12 * timestamps
    assert (seen.segment.gso_size, seen.size) == (carried, 10 * carried)
    info = user.conn.info(peer.now)
    assert (info.segs_out, info.data_segs_out) == (2 + 10, 10)
    assert peer.host.counters.segments_out == 2 + 10


@pytest.mark.parametrize("mss", [216, 536, 1460, 8960])
def test_pieces_are_as_long_as_the_peer_takes_and_the_link_carries(mss: int) -> None:
    peer, user = whole(mss=mss)
    user.write(60_000)
    largest = min(mss, 1460)
    seen = peer.takes()
    assert {item.segment.gso_size for item in seen} == {largest}


def test_no_super_frame_of_a_single_segment() -> None:
    peer, user = whole()
    user.write(1000)
    peer.sees("P. 1:1001(1000) ack 1")
    assert peer.last is not None
    assert peer.last.segment.gso_size == 0
    user.write(1500)
    assert [(seen.size, seen.segment.gso_size) for seen in peer.takes()] == [(1000, 0)]


def test_peer_sees_the_segments() -> None:
    """FIN and PSH on the last only, numbers that count up, and each with a checksum of its own."""
    peer, user = flight(0)
    user.conn.write(bytes(3500))
    peer.watch.written += bytes(3500)
    user.close_write()
    peer.sees(". 1:1001(1000) ack 1", ". 1001:2001(1000) ack 1", ". 2001:3001(1000) ack 1", "FP. 3001:3501(500) ack 1")
    assert peer.bench.bursts == [4]


def test_segments_of_a_burst_carry_the_same_timestamp() -> None:
    peer, user = states.established(mss=1012, timestamps=True, rtt=SHORT, max_payload=LINK, options=NEWRENO)
    user.write(4000)
    seen = peer.takes()
    assert starts(seen) == [1, 1001, 2001, 3001]
    assert len({item.segment.tsval for item in seen}) == 1


def test_window_of_the_peer_is_kept_to() -> None:
    peer, user = whole(window=4500)
    user.write(20_000)
    assert [(seen.start, seen.size) for seen in peer.takes()] == [(1, 4000)]
    assert answer(peer, 4001, window=2999) == [4001]
    assert peer.last is not None
    assert peer.last.size == 2000


def test_data_on_a_connection_that_receives_acknowledges_it() -> None:
    """Reports of what is missing go with single segments only, or by themselves: there is no room in full ones."""
    peer, user = flight(0)
    peer.sends("P. 1001:2001(1000) ack 1")
    peer.sees(". 1:1(0) ack 1 <sack 1001:2001>")
    user.write(3000)
    for seen in peer.takes():
        assert (seen.ack, seen.segment.sacks) == (1, ())


# A slow path.


def test_a_slow_path_gets_two_segments_at_once() -> None:
    peer, user = flight(10_000, rtt=RTT)
    assert peer.bench.bursts == [2] * 5
    peer.bench.bursts.clear()
    user.write(40_000)
    peer.passes(RTT)
    answer(peer, 10_001)
    assert cwnd(user) == 11
    assert peer.bench.bursts == [2] * 5 + [1]


def test_a_short_path_gets_all_at_once() -> None:
    peer, user = flight(10_000)
    assert peer.bench.bursts == [10]
    peer.bench.bursts.clear()
    user.write(40_000)
    peer.passes(SHORT)
    answer(peer, 10_001)
    assert peer.bench.bursts == [cwnd(user)]


def test_link_that_cuts_none_gets_segments() -> None:
    peer, _ = opened(10_000, rtt=SHORT)
    assert peer.bench.bursts == [1] * 10


# Losses.


def test_one_segment_of_a_burst_is_lost() -> None:
    """The peer reports what is behind it; nothing but the missing one goes again."""
    peer, user = flight(10_000)
    peer.passes(SHORT)
    assert answer(peer, 3001, segment(4, 6)) == [3001]
    assert user.conn.info(peer.now).sacked == 6
    peer.passes(SHORT)
    assert answer(peer, 10_001) == []
    info = user.conn.info(peer.now)
    assert (info.total_retrans, info.recoveries, info.timeouts) == (1, 1, 0)


def _reports(held: set[int], ack: int) -> list[str]:
    """The three lowest blocks of what is held beyond `ack`."""
    first = [number for number in sorted(held) if number > ack and number - 1 not in held]
    ends = [next(end for end in range(number, 11) if end not in held) for number in first]
    return [segment(number, end - number) for number, end in zip(first, ends, strict=True)][:3]


@pytest.mark.parametrize("sack", [False, True])
def test_several_segments_of_a_burst_are_lost(sack: bool) -> None:
    """None but those goes again, once each."""
    lost = {1, 2, 5, 8}
    peer, user = flight(10_000, sack=sack)
    held = set(range(10)) - lost
    arriving, resent = len(held), []
    while arriving:
        peer.passes(SHORT)
        ack = next(number for number in range(11) if number not in held)
        left: list[int] = []
        for _ in range(arriving):
            left += answer(peer, 1 + MSS * ack, *(_reports(held, ack) if sack else []))
        resent += [start // MSS for start in left]
        held |= set(resent)
        arriving = len(left)
    assert not user.conn.snd.outstanding
    assert sorted(resent) == sorted(lost)
    info = user.conn.info(peer.now)
    assert (info.total_retrans, info.timeouts) == (4, 0)


def test_tail_of_a_burst_is_lost() -> None:
    """RFC 8985 7: one segment asks, the one before it follows."""
    peer, user = flight(10_000, rtt=RTT)
    peer.passes(RTT)
    answer(peer, 8001)
    peer.sees("P. 9001:10001(1000) ack 1", after=PTO)
    peer.passes(RTT)
    assert answer(peer, 8001, segment(9)) in ([8001], [])
    peer.gathers(RTT)
    answer(peer, 10_001)
    info = user.conn.info(peer.now)
    assert (info.timeouts, info.total_retrans) == (0, 2)


def test_time_out_sends_one_segment_and_then_bursts() -> None:
    peer, user = flight(10_000, sack=False, rtt=RTT)
    peer.bench.bursts.clear()
    peer.sees(". 1:1001(1000) ack 1", after=RTO)
    assert peer.bench.bursts == [1]
    resent = [1]
    for _ in range(6):
        peer.passes(RTT)
        peer.bench.bursts.clear()
        ack = resent[-1] + MSS
        resent += answer(peer, ack)
        if ack == 10_001:
            break
    assert resent == [1 + MSS * number for number in range(10)]
    info = user.conn.info(peer.now)
    assert (info.total_retrans, info.timeouts, info.bytes_retrans) == (10, 1, 10_000)


def test_recovery_stays_within_half_the_window() -> None:
    """Proportional rate reduction counts the octets of bursts: what leaves in recovery is no more than what arrived."""
    peer, user = flight(10_000)
    user.write(50_000)
    peer.passes(SHORT)
    ack, out = 1, 10
    left = answer(peer, 1, segment(1, 3))
    out += len(left)
    for last in range(5, 11):
        left += answer(peer, ack, segment(1, last - 1))
    assert len(left) <= 5 + 1
    assert left[0] == 1
    assert user.conn.snd.repair.records.pipe <= 6 * MSS


def test_spurious_time_out_of_a_burst_is_undone() -> None:
    """F-RTO asks with two single segments, and the originals are acknowledged (RFC 5682)."""
    peer, user = flight(10_000, sack=False, rtt=RTT)
    user.write(20_000)
    peer.takes()
    peer.sees(". 1:1001(1000) ack 1", after=RTO)
    peer.bench.bursts.clear()
    assert answer(peer, 1001)[:2] == [10_001, 11_001]
    assert peer.bench.bursts[:2] == [1, 1]
    answer(peer, 2001)
    info = user.conn.info(peer.now)
    assert (info.spurious, info.total_retrans) == (1, 1)


# ECN.


def _codepoint(seen: Seen) -> int:
    return ip.decode(seen.frame).traffic_class & 3


def test_window_reduction_is_told_once_in_a_burst() -> None:
    """RFC 3168 6.1.2: CWR on the first segment after the reduction, and on no other; all of them may be marked."""
    peer = Peer(max_payload=LINK)
    user = peer.connect(options=ASKS)
    peer.sees("SEW 0:0(0) <...>")
    peer.passes(SHORT)
    peer.sends("S.E 0:0(0) ack 1 <mss 1000,sackOK>")
    peer.sees(". 1:1(0) ack 1")
    user.write(60_000)
    first = peer.takes()
    assert len(first) == 10
    assert {_codepoint(seen) for seen in first} == {ECT_0}
    peer.passes(SHORT)
    peer.bench.bursts.clear()
    peer.sends(".E 1:1(0) ack 10001")
    after = peer.takes()
    assert max(peer.bench.bursts) > 1
    assert [bool(seen.flags & CWR) for seen in after] == [True] + [False] * (len(after) - 1)
    assert {_codepoint(seen) for seen in after} == {ECT_0}
    assert CE not in {_codepoint(seen) for seen in after}


def test_flags_of_a_whole_super_frame() -> None:
    """What the device needs to know stands on the super-frame: flags of its first piece and of its last."""
    peer, user = whole()
    user.conn.write(bytes(5000))
    peer.watch.written += bytes(5000)
    user.close_write()
    (seen,) = peer.takes()
    assert seen.flags == ACK | PSH | FIN
    assert (seen.start, seen.size, seen.end) == (1, 5000, 5002)


# The end.


def test_lost_fin_of_a_burst() -> None:
    peer, user = flight(0, rtt=RTT)
    user.conn.write(bytes(4000))
    peer.watch.written += bytes(4000)
    user.close_write()
    assert len(peer.takes()) == 4
    peer.passes(RTT)
    answer(peer, 3001)
    peer.sees("FP. 3001:4001(1000) ack 1", after=PTO)
    peer.sends(". 1:1(0) ack 4002")
    peer.sees_nothing(during=SECOND)
    assert peer.state.value == "FIN-WAIT-2"


def test_nagle_holds_the_rest_back() -> None:
    peer, user = flight(0)
    user.write(2500)
    peer.sees(". 1:1001(1000) ack 1", ". 1001:2001(1000) ack 1")
    peer.sees_nothing(during=10 * MS)
    peer.sends(". 1:1(0) ack 2001")
    peer.sees("P. 2001:2501(500) ack 1")


def test_without_nagle_it_leaves_with_the_others() -> None:
    peer, user = flight(0, options=NEWRENO.replace(nodelay=True))
    user.write(2500)
    peer.sees(". 1:1001(1000) ack 1", ". 1001:2001(1000) ack 1", "P. 2001:2501(500) ack 1")
    assert peer.bench.bursts == [3]
