"""Retransmission: RFC 6298's timer, Karn's rule, R2 (RFC 9293 3.8.1 to 3.8.3)."""

from __future__ import annotations

import itertools

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire.units import MINUTE, MS, SECOND, Duration
from tests.support import states
from tests.support.peer import Peer
from tests.support.user import User

MIN_RTO = 200 * MS  #: The stated deviation from RFC 6298 2.4: least RTO beyond SRTT.
NODELAY = TcpOptions(nodelay=True)


def _exchange(peer: Peer, user: User, rtt: Duration) -> None:
    """One octet there and its ACK back."""
    user.write(1)
    seen = peer.takes()
    assert len(seen) == 1
    peer.passes(rtt)
    peer.sends(f". 1:1(0) ack {seen[0].end}")


def _rto(peer: Peer, user: User) -> Duration:
    """How long an octet waits before it is sent again; it is acknowledged then, and measures nothing."""
    user.write(1)
    first = peer.takes()[-1]
    start = peer.now
    while not (again := peer.takes()):
        assert peer.bench.step(start + 10 * MINUTE)
    assert again[0].start == first.start
    took = peer.now - start
    peer.sends(f". 1:1(0) ack {first.end}")
    return took


def _expected(samples: list[Duration]) -> Duration:
    """RFC 6298 2.2 and 2.3, with the stated floor under the variance term."""
    srtt = samples[0]
    rttvar = samples[0] / 2
    for sample in samples[1:]:
        rttvar = 0.75 * rttvar + 0.25 * abs(srtt - sample)
        srtt = round(0.875 * srtt + 0.125 * sample)
    return round(srtt + max(MIN_RTO, 4 * rttvar))


# The RTO (RFC 6298 2).


# RFC6298-01
def test_rto_before_any_sample() -> None:
    """2.1: one second; here for the SYN."""
    peer = Peer()
    peer.connect()
    peer.sees("S 0:0(0) <...>")
    peer.sees("S 0:0(0) <...>", after=1 * SECOND)


# RFC6298-02, RFC6298-03, RFC1122-16
# RFC 9293 MUST-18
@pytest.mark.parametrize("passive", [False, True])
@pytest.mark.parametrize(
    "samples",
    [
        [0],
        [30],
        [100],
        [500],
        [100, 100, 100, 100],
        [100, 250, 100, 250],
        [50, 50, 400],
        [400, 50, 50, 50, 50, 50],
    ],
    ids=str,
)
def test_rto_follows_the_round_trips(samples: list[int], passive: bool) -> None:
    """2.2, 2.3: the first sample is the handshake's, if its SYN was sent once."""
    times = [sample * MS for sample in samples]
    peer, user = states.established(rtt=times[0], passive=passive)
    for rtt in times[1:]:
        _exchange(peer, user, rtt)
    assert abs(_rto(peer, user) - _expected(times)) <= 1000


# RFC6298-05
def test_rto_is_at_most_a_minute() -> None:
    """2.5: a maximum of 60 seconds, also of the backed-off one."""
    peer, user = states.established()
    user.write(1)
    peer.takes()
    times = [item.time for item in peer.gathers(10 * MINUTE)]
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert max(waits) == 60 * SECOND
    assert waits == sorted(waits)


# RFC6298-06, RFC1122-16
# RFC 9293 MUST-18
def test_karn_no_sample_from_what_was_sent_twice() -> None:
    """RFC 6298 3: the ACK may be for either transmission, so the RTO stays what backing off made of it (5.7 of 2)."""
    peer, user = states.established(rtt=100 * MS)
    user.write(1)
    peer.sees("P. 1:2(1) ack 1")
    peer.sees("P. 1:2(1) ack 1", after=300 * MS)
    peer.passes(10 * MS)
    peer.sends(". 1:1(0) ack 2")
    assert _rto(peer, user) == 600 * MS


# RFC 9293 MUST-18
def test_new_sample_ends_the_back_off() -> None:
    """RFC 6298 5: "once a new measurement is obtained", which takes data that was sent once."""
    peer, user = states.established(rtt=100 * MS)
    user.write(1)
    peer.sees("P. 1:2(1) ack 1")
    peer.sees("P. 1:2(1) ack 1", after=300 * MS)
    peer.sends(". 1:1(0) ack 2")
    _exchange(peer, user, 100 * MS)
    assert abs(_rto(peer, user) - _expected([100 * MS, 100 * MS])) <= 1000


# RFC6298-06
def test_timestamps_tell_which_transmission_is_acknowledged() -> None:
    """RFC 6298 3: unless timestamps remove the ambiguity, which takes an echo of the second transmission."""
    peer, user = states.established(rtt=100 * MS, timestamps=True)
    user.write(1)
    peer.sees("P. 1:2(1) ack 1")
    peer.sees("P. 1:2(1) ack 1", after=300 * MS)
    peer.passes(100 * MS)
    peer.sends(". 1:1(0) ack 2")  # with the echo of what came last
    assert abs(_rto(peer, user) - _expected([100 * MS, 100 * MS])) <= MS


def test_ack_that_opens_nothing_is_no_sample() -> None:
    """RFC 7323 4.1: only an ACK that advances the left edge; an idle connection would measure the user's pauses."""
    peer, user = states.established(rtt=100 * MS, timestamps=True)
    peer.passes(20 * SECOND)
    for _ in range(10):
        peer.sends("P. 1:11(10) ack 1 <TS val 300 ecr 0>", plain=True)
        peer.takes()
    assert _rto(peer, user) == 300 * MS


# RFC6298-14
def test_handshake_that_was_repeated_is_no_sample_and_makes_the_rto_three_seconds() -> None:
    """RFC 6298 5.7: the SYN's timer expired, so data starts with 3 s."""
    peer = Peer()
    user = peer.connect()
    peer.sees("S 0:0(0) <...>")
    peer.sees("S 0:0(0) <...>", after=1 * SECOND)
    peer.sends("S. 0:0(0) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 1")
    assert _rto(peer, user) == 3 * SECOND


# RFC6298-14
def test_repeated_handshake_makes_the_rto_three_seconds_with_timestamps_too() -> None:
    """RFC 6298 5.7 is a MUST and knows no exception."""
    peer = Peer(timestamps=True)
    user = peer.connect()
    peer.sees("S 0:0(0) <...>")
    peer.sees("S 0:0(0) <...>", after=1 * SECOND)
    peer.sends("S. 0:0(0) ack 1 <mss 1000,TS val 0 ecr 1000>")
    peer.sees(". 1:1(0) ack 1")
    assert _rto(peer, user) == 3 * SECOND


# RFC6298-14
def test_repeated_syn_ack_makes_the_rto_three_seconds() -> None:
    peer = states.half_open()
    peer.sees("S. 0:0(0) ack 1 <...>", after=1 * SECOND)
    peer.sends(". 1:1(0) ack 1")
    assert _rto(peer, peer.accepts()) == 3 * SECOND


# The timer (RFC 6298 5).


# RFC6298-10
def test_timer_starts_when_data_is_sent_and_stops_when_all_is_acknowledged() -> None:
    """5.1, 5.2."""
    peer, user = states.established()
    user.write(1000)
    peer.sees("P. 1:1001(1000) ack 1")
    peer.passes(MIN_RTO - MS)
    peer.sends(". 1:1(0) ack 1001")
    peer.sees_nothing(during=MINUTE)


# RFC6298-10
def test_timer_is_not_started_again_by_more_data() -> None:
    """5.1: only "if the timer is not running"."""
    peer, user = states.established(options=NODELAY)
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    peer.passes(MIN_RTO - 50 * MS)
    user.write(10)
    peer.sees("P. 11:21(10) ack 1")
    peer.sees("P. 1:21(20) ack 1", after=50 * MS)


# RFC6298-10
def test_timer_starts_again_with_an_ack_of_new_data() -> None:
    """5.3."""
    peer, user = states.established(options=NODELAY)
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    user.write(10)
    peer.sees("P. 11:21(10) ack 1")
    peer.passes(100 * MS)
    peer.sends(". 1:1(0) ack 11")
    peer.passes(150 * MS)
    peer.sees_nothing()
    assert peer.waits("P. 11:21(10) ack 1", limit=SECOND) > 50 * MS


def test_duplicate_ack_does_not_start_the_timer_again() -> None:
    peer, user = states.established()
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    peer.passes(100 * MS)
    peer.sends(". 1:1(0) ack 1")
    peer.sees("P. 1:11(10) ack 1", after=MIN_RTO - 100 * MS)


# RFC6298-11
def test_earliest_segment_is_sent_again() -> None:
    """5.4; the others when it was acknowledged (RFC 5681 3.1: one segment is the loss window)."""
    peer, user = states.established()
    user.write(5000)
    assert len(peer.takes()) == 5
    peer.sees(". 1:1001(1000) ack 1", after=MIN_RTO)
    peer.sees_nothing()


# RFC6298-12, RFC6298-13, RFC1122-16
# RFC 9293 MUST-19
def test_back_off_is_exponential() -> None:
    """RFC 6298 5.5: RTO <- RTO * 2."""
    peer, user = states.established(rtt=100 * MS)
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    for number in range(7):
        peer.sees("P. 1:11(10) ack 1", after=(300 << number) * MS)


def test_data_that_was_written_later_is_not_lost_in_a_retransmission() -> None:
    peer, user = states.established()
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    user.write(10)
    peer.sees(". 1:11(10) ack 1", after=MIN_RTO)
    peer.sends(". 1:1(0) ack 11")
    peer.sees("P. 11:21(10) ack 1")


def test_ack_of_part_of_a_segment() -> None:
    """A peer with little room takes the head; the rest is sent again, once."""
    peer, user = states.established()
    user.write(1000)
    peer.sees("P. 1:1001(1000) ack 1")
    peer.sends(". 1:1(0) ack 501")
    peer.sees_nothing()
    assert peer.waits("P. 501:1001(500) ack 1", limit=SECOND) >= MIN_RTO
    peer.sends(". 1:1(0) ack 1001")
    peer.sees_nothing(during=MINUTE)


def test_ack_of_part_of_what_is_to_be_sent_again() -> None:
    """The timer expired for five segments; of the second, which waits to be sent again, the peer has half."""
    peer, user = states.established()
    user.write(5000)
    peer.takes()
    peer.sees(". 1:1001(1000) ack 1", after=MIN_RTO)
    peer.sends(". 1:1(0) ack 1501")
    peer.sees(". 1501:2001(500) ack 1", ". 2001:3001(1000) ack 1")
    peer.sends(". 1:1(0) ack 5001")
    peer.sees_nothing(during=MINUTE)


def test_late_ack_of_everything_ends_the_repair() -> None:
    """All five were on their way; the ACK that covers them stops the sending of old data."""
    peer, user = states.established()
    user.write(5000)
    peer.takes()
    peer.sees(". 1:1001(1000) ack 1", after=MIN_RTO)
    peer.sends(". 1:1(0) ack 5001")
    peer.sees_nothing(during=MINUTE)


# R2 (RFC 9293 3.8.3).


def _ends_after(peer: Peer, user: User) -> Duration:
    start = peer.now
    while user.state is not State.CLOSED:
        assert peer.bench.step(start + 60 * MINUTE), "never"
        peer.takes()
    assert isinstance(user.error, TimeoutError)
    return peer.now - start


# RFC5482-01
# RFC 9293 MUST-21
@pytest.mark.parametrize("seconds", [1, 30, 200, 2000])
def test_r2_is_what_the_user_says(seconds: int) -> None:
    peer, user = states.established(options=TcpOptions(user_timeout=seconds))
    user.write(10)
    assert _ends_after(peer, user) == seconds * SECOND


# RFC 9293 MUST-21
def test_r2_can_be_changed_for_one_connection() -> None:
    peer, user = states.established()
    user.set_options(TcpOptions(user_timeout=10.0))
    user.write(10)
    assert _ends_after(peer, user) == 10 * SECOND


# RFC1122-20
# RFC 9293 SHLD-11
def test_r2_is_at_least_a_hundred_seconds() -> None:
    peer, user = states.established()
    user.write(10)
    assert _ends_after(peer, user) >= 100 * SECOND


def test_r2_counts_from_the_last_progress() -> None:
    """A connection that moves, however slowly, is not given up."""
    peer, user = states.established(options=TcpOptions(user_timeout=20.0))
    user.write(10_000)
    peer.takes()
    for number in range(5):
        peer.gathers(15 * SECOND)
        peer.sends(f". 1:1(0) ack {1001 + 1000 * number}")
        assert user.state is State.ESTABLISHED
    peer.takes()
    assert _ends_after(peer, user) == 20 * SECOND


def test_r2_does_not_count_idle_time() -> None:
    peer, user = states.established(options=TcpOptions(user_timeout=20.0))
    peer.passes(MINUTE)
    user.write(10)
    assert _ends_after(peer, user) == 20 * SECOND


# RFC 9293 MUST-22
def test_syn_has_the_same_procedure_as_data() -> None:
    """Backed off like data, ended by the user's R2 like data, and told to the user like data."""
    peer = Peer()
    user = peer.connect(options=TcpOptions(user_timeout=20.0))
    peer.sees("S 0:0(0) <...>")
    for wait in (1, 2, 4, 8):
        peer.sees("S 0:0(0) <...>", after=wait * SECOND)
    peer.sees_nothing(during=5 * SECOND - MS)
    assert user.state is State.SYN_SENT
    peer.sees_nothing(during=MS)
    assert user.state is State.CLOSED
    assert isinstance(user.error, TimeoutError)
    with pytest.raises(TimeoutError):
        user.read()


# RFC1122-20
# RFC 9293 MUST-23
def test_syn_is_sent_again_for_at_least_three_minutes() -> None:
    peer = Peer()
    user = peer.connect()
    start = peer.now
    sent = peer.gathers(180 * SECOND)
    assert user.state is State.SYN_SENT
    assert len(sent) >= 2
    _ends_after(peer, user)
    assert peer.now - start >= 180 * SECOND


def test_soft_error_is_what_a_time_out_tells() -> None:
    """RFC 9293 3.9.2.2: an unreachable network does not end a connection, but explains its end."""
    peer, user = states.established(options=TcpOptions(user_timeout=20.0))
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    peer.sends_icmp(3, 0)
    assert user.state is State.ESTABLISHED
    peer.gathers(20 * SECOND)
    assert user.state is State.CLOSED
    assert user.error is not None
    assert "unreachable" in str(user.error)
