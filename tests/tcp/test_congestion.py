"""Congestion control and loss recovery: RFC 5681, NewReno (RFC 6582), the initial window (RFC 6928).

The peer's MSS is 1000, so that windows are read in thousands: the initial window is ten segments. Nothing is said
about SACK here, so that duplicate ACKs are all that tells of a loss.
"""

from __future__ import annotations

import itertools

import pytest

from stack.tcp.config import TcpOptions
from stack.wire.units import MS, SECOND, Duration
from tests.support import states
from tests.support.peer import Peer, Seen
from tests.support.user import User

MSS = 1000
RTT = 100 * MS
NEWRENO = TcpOptions(congestion="newreno")
RECOVER = 12_001  #: Behind the ten segments, and the two that the first two duplicates let go.
LONG = 20 * SECOND  #: Of RTO: longer than any wait here.


class Receiver:
    """A peer that keeps what arrives and acknowledges each segment."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.nxt = 1
        self.held: dict[int, int] = {}

    def takes(self, seen: list[Seen], *, lose: tuple[int, ...] = ()) -> list[str]:
        """The ACKs for these segments, a line each; those that begin at one of `lose` never arrived."""
        acks = []
        for item in seen:
            if item.start in lose or not item.size:
                continue
            self.held[item.start] = max(self.held.get(item.start, 0), item.end)
            while self.nxt in self.held:
                self.nxt = self.held.pop(self.nxt)
            acks.append(f". 1:1(0) ack {self.nxt}")
        return acks


def _opened(*, window: int = 65535, write: int = 200_000, rtt: Duration = RTT) -> tuple[Peer, User, list[Seen]]:
    """A connection that has sent its initial window, and what that was."""
    peer, user = states.established(window=window, rtt=rtt, mss=MSS, options=NEWRENO)
    user.write(write)
    return peer, user, peer.takes()


def _round(peer: Peer, receiver: Receiver, seen: list[Seen]) -> list[Seen]:
    """A round trip later the ACKs arrive, one by one; what the host sends on them."""
    peer.passes(RTT)
    sent: list[Seen] = []
    for ack in receiver.takes(seen):
        peer.sends(ack)
        sent += peer.takes()
    return sent


def _starts(seen: list[Seen]) -> list[int]:
    return [item.start for item in seen]


# The initial window.


# RFC5681-04, RFC5681-05, RFC6928-01, RFC6928-02
@pytest.mark.parametrize("passive", [False, True])
@pytest.mark.parametrize(
    ("mtu", "mss", "segments"), [(1500, 500, 10), (1500, 1460, 10), (9000, 3000, 4), (9000, 8960, 2)]
)
def test_initial_window(mtu: int, mss: int, segments: int, passive: bool) -> None:
    """RFC 6928 2: min(10 * MSS, max(2 * MSS, 14600)); and the handshake does not add to it (RFC 5681 3.1)."""
    peer, user = states.established(mtu=mtu, mss=mss, passive=passive)
    user.write(200_000)
    sizes = [item.size for item in peer.takes()]
    assert sizes == [mss] * segments


# RFC5681-06, RFC6928-02
def test_initial_window_is_one_segment_after_a_lost_syn() -> None:
    """RFC 5681 3.1."""
    peer = Peer()
    user = peer.connect()
    peer.sees("S 0:0(0) <...>")
    peer.sees("S 0:0(0) <...>", after=1 * SECOND)
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 1")
    user.write(10_000)
    peer.sees(". 1:1001(1000) ack 1")
    peer.sees_nothing()


# RFC5681-06, RFC6928-02
def test_initial_window_is_one_segment_after_a_lost_syn_ack() -> None:
    peer = states.half_open()
    peer.sees("S. 0:0(0) ack 1 <...>", after=1 * SECOND)
    peer.sends(". 1:1(0) ack 1")
    peer.accepts().write(10_000)
    peer.sees(". 1:1001(1000) ack 1")
    peer.sees_nothing()


# Slow start and congestion avoidance (RFC 5681 3.1).


# RFC5681-03
# RFC 9293 MUST-19
def test_slow_start_doubles_each_round_trip() -> None:
    peer, _, seen = _opened()
    receiver = Receiver(peer)
    counts = [len(seen)]
    for _ in range(2):
        seen = _round(peer, receiver, seen)
        counts.append(len(seen))
    assert counts == [10, 20, 40]


def test_slow_start_grows_by_at_most_a_segment_for_an_ack() -> None:
    """An ACK of five segments lets five and one more go."""
    peer, _, _ = _opened()
    peer.sends(". 1:1(0) ack 5001")
    assert len(peer.takes()) == 6


# RFC5681-02, RFC5681-10
def test_dividing_acks_gains_nothing() -> None:
    """RFC 5681 3.1, equation 2: min(N, SMSS), with N the octets that are newly acknowledged."""
    peer, user, _ = _opened()
    for ack in range(101, 1002, 100):
        peer.sends(f". 1:1(0) ack {ack}")
    peer.takes()
    assert user.conn.info(peer.now).snd_cwnd == 11


def test_slow_start_counts_the_acks_of_a_batch() -> None:
    """ACKs that arrive together grow the window like ACKs that arrive apart: the sender was limited by it for each."""
    peer, _, _ = _opened()
    peer.sends(*[f". 1:1(0) ack {1001 + 1000 * number}" for number in range(10)])
    assert len(peer.takes()) == 20


def test_window_that_is_not_used_does_not_grow() -> None:
    peer, user = states.established(rtt=RTT)
    ack = 1
    for _ in range(100):
        user.write(100)
        ack += 100
        peer.takes()
        peer.passes(RTT)
        peer.sends(f". 1:1(0) ack {ack}")
    user.write(100_000)
    assert len(peer.takes()) == 10


# RFC5681-03, RFC5681-11, RFC5681-12
# RFC 9293 MUST-19
def test_congestion_avoidance_adds_a_segment_each_round_trip() -> None:
    """After a time-out with ten segments in flight: slow start from one to five, then linear.

    After the second time-out, to be exact: the first one would be questioned with new data (RFC 5682).
    """
    peer, _, _ = _opened()
    seen = peer.gathers(300 * MS + 600 * MS)
    assert _starts(seen) == [1, 1]
    seen = seen[1:]
    receiver = Receiver(peer)
    counts = []
    for _ in range(8):
        counts.append(len(seen))
        seen = _round(peer, receiver, seen)
    assert counts[:3] == [1, 2, 4]
    steps = [later - earlier for earlier, later in itertools.pairwise(counts[3:])]
    assert 5 <= counts[3] <= 6
    assert all(0 <= step <= 1 for step in steps)
    assert sum(steps) >= len(steps) - 1


def test_window_grows_after_a_time_out_though_nothing_new_waits() -> None:
    """Slow start applies to what is sent again, too: one, two, four, and not one a round trip."""
    peer, _, first = _opened(write=10_000)
    assert len(first) == 10
    seen = peer.gathers(300 * MS)
    receiver = Receiver(peer)
    counts = []
    while seen:
        counts.append(len(seen))
        seen = _round(peer, receiver, seen)
    assert counts[:3] == [1, 2, 4]
    assert sum(counts) == 10


# Time-outs.


# RFC5681-15, RFC5681-16
def test_time_out_leaves_one_segment_of_window() -> None:
    """RFC 5681 3.1, equation 4: ssthresh is half of what was in flight, cwnd the loss window of one segment."""
    peer, user, _ = _opened()
    seen = peer.gathers(300 * MS)
    assert _starts(seen) == [1]
    info = user.conn.info(peer.now)
    assert (info.snd_cwnd, info.snd_ssthresh) == (1, 5)


# RFC5681-15
def test_repeated_time_out_lowers_ssthresh_only_once() -> None:
    peer, user, _ = _opened()
    peer.gathers(300 * MS + 600 * MS + 1200 * MS)
    info = user.conn.info(peer.now)
    assert info.retransmits == 3
    assert (info.snd_cwnd, info.snd_ssthresh) == (1, 5)


# RFC5681-15
def test_ssthresh_is_at_least_two_segments() -> None:
    peer, user, _ = _opened(write=1000)
    peer.gathers(300 * MS)
    assert user.conn.info(peer.now).snd_ssthresh == 2


def test_everything_is_sent_again_after_a_time_out_and_in_order() -> None:
    peer, _, first = _opened(write=10_000)
    receiver = Receiver(peer)
    seen = peer.gathers(300 * MS)
    starts = []
    while seen:
        starts += _starts(seen)
        seen = _round(peer, receiver, seen)
    assert starts == _starts(first)


def test_lost_data_goes_before_new_data() -> None:
    peer, user, _ = _opened(write=10_000)
    seen = peer.gathers(300 * MS)
    user.write(10)  # small enough to fit where a lost segment does not
    assert _starts(peer.takes()) == []
    receiver = Receiver(peer)
    starts = _starts(seen)
    while seen:
        seen = _round(peer, receiver, seen)
        starts += _starts(seen)
    assert starts == sorted(starts)


# Fast retransmit and fast recovery (RFC 5681 3.2, RFC 6582 3.2).


def _duplicates(peer: Peer, ack: int, count: int) -> list[Seen]:
    sent: list[Seen] = []
    for _ in range(count):
        peer.sends(f". 1:1(0) ack {ack}")
        sent += peer.takes()
    return sent


# RFC5681-19, RFC5681-23
def test_three_duplicate_acks_resend_the_first_segment_at_once() -> None:
    """The window is full, so nothing else may go."""
    peer, user, _ = _opened(window=10_000)
    peer.passes(RTT)
    assert _duplicates(peer, 1, 2) == []
    assert _starts(_duplicates(peer, 1, 1)) == [1]
    info = user.conn.info(peer.now)
    assert (info.snd_cwnd, info.snd_ssthresh) == (8, 5)  # ssthresh + 3 * SMSS
    assert _duplicates(peer, 1, 6) == []


# RFC5681-24, RFC5681-25
def test_further_duplicates_let_new_data_go() -> None:
    """Each inflates the window by a segment: 5 + 3 + 6 = 14, with 10 in flight."""
    peer, _, _ = _opened()
    peer.passes(RTT)
    sent = _duplicates(peer, 1, 9)
    assert sorted(_starts(sent)) == [1, 10_001, 11_001, 12_001, 13_001]


# RFC5681-26, RFC6582-03
def test_full_ack_deflates_the_window() -> None:
    """RFC 6582 3.2, step 3: min(ssthresh, max(FlightSize, SMSS) + SMSS), which is 3, or ssthresh, which is 5."""
    peer, user, _ = _opened()
    peer.passes(RTT)
    _duplicates(peer, 1, 9)
    peer.sends(f". 1:1(0) ack {RECOVER}")
    cwnd = user.conn.info(peer.now).snd_cwnd
    assert cwnd in (3, 5)
    assert _starts(peer.takes()) == [14_001, 15_001, 16_001][: cwnd - 2]


def test_after_recovery_comes_congestion_avoidance() -> None:
    peer, _, _ = _opened()
    peer.passes(RTT)
    seen = _duplicates(peer, 1, 9)
    receiver = Receiver(peer)
    receiver.nxt = RECOVER
    peer.passes(RTT)
    peer.sends(f". 1:1(0) ack {RECOVER}")
    seen = [item for item in seen if item.start >= RECOVER] + peer.takes()
    counts = []
    for _ in range(8):
        counts.append(len(seen))
        seen = _round(peer, receiver, seen)
    assert counts[0] == 5 or counts[:3] == [3, 5, 6], "at most slow start up to ssthresh"
    assert all(0 <= later - earlier <= 1 for earlier, later in itertools.pairwise(counts[2:]))
    assert counts[-1] >= 9


# RFC6582-02
def test_partial_ack_resends_the_next_hole_at_once() -> None:
    """RFC 6582 3.2, step 3: the first and the fifth of ten were lost."""
    peer, _, _ = _opened(window=10_000)
    peer.passes(RTT)
    assert _starts(_duplicates(peer, 1, 8)) == [1]
    peer.sends(". 1:1(0) ack 4001 win 6000")
    assert _starts(peer.takes()) == [4001]
    peer.sends(". 1:1(0) ack 10001 win 0")
    peer.sees_nothing()


# RFC6582-02
def test_partial_acks_repair_one_hole_each_round_trip() -> None:
    """Five holes, five round trips, and no time-out."""
    peer, user, _ = _opened(window=10_000, write=10_000)
    peer.passes(RTT)
    assert _starts(_duplicates(peer, 1, 5)) == [1]
    for ack in (2001, 4001, 6001, 8001):
        peer.passes(RTT)
        peer.sends(f". 1:1(0) ack {ack}")
        assert _starts(peer.takes()) == [ack]
    peer.passes(RTT)
    peer.sends(". 1:1(0) ack 10001")
    assert peer.takes() == []
    info = user.conn.info(peer.now)
    assert info.total_retrans == 5
    assert info.snd_ssthresh == 5, "one loss event, one reduction"


def test_partial_ack_deflates_the_window() -> None:
    """By what it acknowledges, less a segment: 14 - 4 + 1 = 11 after nine duplicates."""
    peer, user, _ = _opened()
    peer.passes(RTT)
    _duplicates(peer, 1, 9)
    before = user.conn.info(peer.now).snd_cwnd
    peer.sends(". 1:1(0) ack 4001")
    peer.takes()
    assert user.conn.info(peer.now).snd_cwnd == before - 4 + 1


# RFC6582-01
def test_duplicates_of_the_full_ack_start_no_new_recovery() -> None:
    """RFC 6582 3.2, step 2: only when the ACK covers more than `recover`, i.e. ack - 1 > recover, where `recover` is
    the highest number that was sent when fast retransmit was last entered. Else our own retransmissions, which the
    peer answers with duplicates, would halve the window again.
    """
    peer, user, _ = _opened()
    peer.passes(RTT)
    _duplicates(peer, 1, 9)
    peer.sends(f". 1:1(0) ack {RECOVER}")
    peer.takes()
    sent = _duplicates(peer, RECOVER, 3)
    assert RECOVER not in _starts(sent)
    assert user.conn.info(peer.now).snd_ssthresh == 5


# RFC6582-01
def test_loss_beyond_the_full_ack_starts_a_new_recovery() -> None:
    peer, user, _ = _opened()
    peer.passes(RTT)
    _duplicates(peer, 1, 9)
    peer.sends(f". 1:1(0) ack {RECOVER + MSS}")
    peer.takes()
    sent = _duplicates(peer, RECOVER + MSS, 3)
    assert RECOVER + MSS in _starts(sent)
    assert user.conn.info(peer.now).snd_ssthresh < 5


# RFC6582-05
def test_duplicates_after_a_time_out_start_no_recovery() -> None:
    """RFC 6582 3.2, step 4: `recover` is the highest number sent when the timer expired."""
    peer, _, _ = _opened(write=10_000)
    peer.gathers(300 * MS)
    assert 1 not in _starts(_duplicates(peer, 1, 9))


# RFC6582-05
def test_time_out_ends_recovery() -> None:
    """The retransmission was lost, too: it is sent again after the RTO, and the window is one segment."""
    peer, user, _ = _opened(window=10_000)
    peer.passes(RTT)
    assert _starts(_duplicates(peer, 1, 5)) == [1]
    seen = peer.gathers(300 * MS)
    assert _starts(seen) == [1]
    assert user.conn.info(peer.now).snd_cwnd == 1


def test_first_two_duplicates_let_a_new_segment_go_each() -> None:
    """RFC 5681 3.2, step 1: SHOULD, by limited transmit (RFC 3042), while cwnd stays as it is."""
    peer, user, _ = _opened()
    peer.passes(RTT)
    assert _starts(_duplicates(peer, 1, 2)) == [10_001, 11_001]
    assert user.conn.info(peer.now).snd_cwnd == 10


def test_limited_transmit_takes_new_sack_information() -> None:
    """RFC 5681 3.2, step 1: with SACK, a duplicate that reports nothing new lets nothing go."""
    peer, user = states.established(rtt=RTT, mss=MSS, sack=True)
    user.write(200_000)
    assert len(peer.takes()) == 10
    peer.passes(RTT)
    peer.sends(". 1:1(0) ack 1 <sack 1001:2001>")
    assert _starts(peer.takes()) == [10_001]
    peer.sends(". 1:1(0) ack 1 <sack 1001:2001>")
    assert _starts(peer.takes()) == []


def test_limited_transmit_does_not_count_when_the_window_is_halved() -> None:
    """RFC 5681 3.2, step 2: FlightSize for ssthresh leaves out what the first two duplicates let go."""
    peer, user, _ = _opened()
    peer.passes(RTT)
    _duplicates(peer, 1, 3)
    assert user.conn.info(peer.now).snd_ssthresh == 5


# What a duplicate ACK is (RFC 5681 2).


@pytest.mark.parametrize(
    "line",
    [
        "P. {0}:{1}(100) ack 1",  # carries data
        ". 1:1(0) ack 1 win {2}",  # changes the window
    ],
)
def test_these_are_no_duplicate_acks(line: str) -> None:
    peer, user, _ = _opened(window=20_000)
    for number in range(8):
        start = 1 + 100 * number
        peer.sends(line.format(start, start + 100, 20_001 + number))
    assert 1 not in [item.start for item in peer.takes() if item.size]
    assert user.conn.info(peer.now).total_retrans == 0


def test_duplicates_mean_nothing_while_nothing_is_outstanding() -> None:
    peer, user = states.established()
    for _ in range(5):
        peer.sends(". 1:1(0) ack 1")
    user.write(1000)
    peer.sees("P. 1:1001(1000) ack 1")
    peer.sends(". 1:1(0) ack 1", ". 1:1(0) ack 1")
    peer.sees_nothing()


# Idle.


# RFC5681-27
def test_window_shrinks_to_the_initial_one_while_idle() -> None:
    """RFC 5681 4.1, SHOULD: no more than the restart window after an interval longer than the RTO."""
    peer, user, seen = _opened(write=70_000)
    receiver = Receiver(peer)
    while seen:
        seen = _round(peer, receiver, seen)
    assert user.conn.info(peer.now).snd_cwnd > 20
    peer.passes(LONG)
    user.write(60_000)
    assert len(peer.takes()) <= 10


# RFC 9293 MAY-18
def test_options_choose_the_algorithm() -> None:
    peer, user = states.established(options=TcpOptions(congestion="newreno"))
    assert user.conn.info(peer.now).congestion == "newreno"
    with pytest.raises(ValueError, match="newreno"):
        peer.host.connect(peer.address, 81, peer.now, options=TcpOptions(congestion="of the moon"))
