"""Which segments are acceptable (RFC 9293 3.10.7.4, first; table 6) and PAWS before that (RFC 7323 5)."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire.units import MS, SECOND
from tests.support import states
from tests.support.peer import Peer
from tests.support.user import User

SMALL = TcpOptions(receive_window=2000, receive_buffer=2000)
DAY = 86_400 * SECOND


# Table 6, third row: SEG.LEN > 0, RCV.WND > 0. The window is 10,000 octets from 1 on; `held` is what of it is kept.


@pytest.mark.parametrize(
    ("start", "size", "held"),
    [
        (1, 1, (1, 2)),
        (0, 1, None),
        (0, 2, (1, 2)),
        (-500, 500, None),
        (-500, 501, None),
        (-500, 502, (1, 2)),
        (10000, 1, (10000, 10001)),
        (10001, 1, None),
        (10001, 500, None),
        (9999, 1000, (9999, 10001)),
        (20000, 10, None),
        (-100000, 10, None),
        ((1 << 31) + 10, 10, None),
        (0, 1400, (1, 1400)),
    ],
)
def test_text_in_the_window_is_kept(start: int, size: int, held: tuple[int, int] | None) -> None:
    peer, user = states.established(options=TcpOptions(receive_window=10000, receive_buffer=10000), sack=True)
    first = start % (1 << 32)
    peer.sends(f"P. {first}:{(first + size) % (1 << 32)}({size}) ack 1")
    if held is None and (first - 1) % (1 << 32) >> 31:  # below the window: reported as a duplicate (RFC 2883 4.1)
        peer.sees(f". 1:1(0) ack 1 <sack {first}:{(first + size) % (1 << 32)}>")
    elif held is None:
        peer.sees(". 1:1(0) ack 1")
    elif held[0] == 1:
        peer.sees(f". 1:1(0) ack {held[1]} <...>")
        user.reads(held[1] - 1)
    else:
        peer.sees(f". 1:1(0) ack 1 <sack {held[0]}:{held[1]}>")
    peer.sees_nothing()


def _outstanding(options: TcpOptions | None = None) -> tuple[Peer, User]:
    """The host waits for an ACK of its octets 1 to 11."""
    peer, user = states.established(options=options)
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")
    return peer, user


def _acknowledged(user: User) -> bool:
    return user.conn.unacknowledged == 0


# Table 6, second row: SEG.LEN = 0, RCV.WND > 0.


@pytest.mark.parametrize(("seq", "acceptable"), [(1, True), (2, True), (65535, True), (0, False), (65540, False)])
def test_empty_segment_in_the_window_counts(seq: int, acceptable: bool) -> None:
    peer, user = _outstanding()
    peer.sends(f". {seq}:{seq}(0) ack 11")
    assert _acknowledged(user) is acceptable
    if acceptable:
        peer.sees_nothing(during=10 * SECOND)
    else:
        peer.sees(". 11:11(0) ack 1")


# Table 6, first and fourth row: RCV.WND = 0.


def _closed_window() -> tuple[Peer, User]:
    peer, user = _outstanding(SMALL)
    peer.sends("P. 1:1001(1000) ack 1", "P. 1001:2001(1000) ack 1")
    peer.sees(". 11:11(0) ack 2001 win 0")
    return peer, user


def test_empty_segment_passes_a_closed_window() -> None:
    peer, user = _closed_window()
    peer.sends(". 2001:2001(0) ack 11")
    assert _acknowledged(user)
    peer.sees_nothing(during=10 * SECOND)


def test_empty_segment_elsewhere_does_not_pass_a_closed_window() -> None:
    peer, user = _closed_window()
    peer.sends(". 2002:2002(0) ack 11")
    assert not _acknowledged(user)
    peer.sees(". 11:11(0) ack 2001 win 0")


def test_text_does_not_pass_a_closed_window() -> None:
    peer, user = _closed_window()
    peer.sends("P. 2001:2002(1) ack 1")
    peer.sees(". 11:11(0) ack 2001 win 0")
    assert user.conn.readable == 2000


def test_ack_on_text_passes_a_closed_window() -> None:
    """3.10.7.4, first: "If the RCV.WND is zero, no segments will be acceptable, but special allowance should be made
    to accept valid ACKs". Both ends may have closed their windows, and all that a probe then carries is its ACK.
    """
    peer, user = _closed_window()
    peer.sends("P. 2001:2002(1) ack 11")
    peer.sees(". 11:11(0) ack 2001 win 0")
    assert _acknowledged(user)


def test_unacceptable_segments_have_no_effect_but_an_ack() -> None:
    peer, user = _outstanding()
    peer.sends("FP. 70000:70010(10) ack 11 win 1")
    peer.sees(". 11:11(0) ack 1")
    assert not _acknowledged(user)
    assert user.state is State.ESTABLISHED
    assert user.conn.readable == 0


# RFC 9293 SHLD-31
def test_segments_beyond_the_next_number_are_held() -> None:
    peer, user = states.established()
    peer.sends("P. 1001:2001(1000) ack 1")
    peer.sees(". 1:1(0) ack 1")
    peer.sends("P. 1:1001(1000) ack 1")
    peer.sees(". 1:1(0) ack 2001")
    user.reads(2000)


# PAWS (RFC 7323 5).


def _with_timestamps() -> tuple[Peer, User]:
    """TS.Recent is 1000, taken from octets 1 to 11."""
    peer, user = states.established(timestamps=True)
    peer.sends("P. 1:11(10) ack 1 <TS val 1000 ecr 0>")
    peer.sees(". 1:1(0) ack 11 <TS val 0 ecr 1000>")
    return peer, user


# RFC7323-19
def test_old_timestamp_is_refused_with_an_ack() -> None:
    """5.3 R1: before the sequence number is looked at."""
    peer, user = _with_timestamps()
    for line in ("P. 11:21(10) ack 1 <TS val 999 ecr 0>", "P. 11:21(10) ack 1 <TS val 2147485000 ecr 0>"):
        peer.sends(line)
        peer.sees(". 1:1(0) ack 11 <TS val 0 ecr 1000>")
    assert user.conn.readable == 10
    peer.sends("P. 11:21(10) ack 1 <TS val 1000 ecr 0>")
    peer.sees(". 1:1(0) ack 21")


def test_timestamps_wrap() -> None:
    """Compared modulo 2^32; the peer's clock of this bench starts 21 ms below the wrap, and so 1000 is newer."""
    _, user = _with_timestamps()
    user.reads(10)


# RFC7323-19, RFC7323-20
def test_reset_is_not_subject_to_paws() -> None:
    """5.2: a reset passes whatever its timestamp."""
    peer, user = _with_timestamps()
    peer.sends("R. 11:11(0) ack 1 <TS val 5 ecr 0>")
    assert user.state is State.CLOSED


# RFC7323-20
def test_reset_does_not_update_ts_recent() -> None:
    peer, _ = _with_timestamps()
    peer.sends("R. 500:500(0) ack 1 <TS val 5000 ecr 0>")
    peer.sees(". 1:1(0) ack 11 <TS val 0 ecr 1000>")


# RFC7323-12, RFC7323-13
def test_segment_without_the_option_is_dropped() -> None:
    """3.2: silently, and the connection goes on."""
    peer, user = _with_timestamps()
    peer.sends("P. 11:21(10) ack 1", plain=True)
    peer.sees_nothing()
    assert user.conn.readable == 10
    assert user.state is State.ESTABLISHED


# RFC7323-12
def test_reset_without_the_option_passes() -> None:
    peer, user = _with_timestamps()
    peer.sends("R 11:11(0)", plain=True)
    assert user.state is State.CLOSED


# RFC7323-14
def test_option_that_was_not_agreed_on_is_ignored() -> None:
    """3.2: on a connection without timestamps they mean nothing, however old."""
    peer, _ = states.established()
    peer.sends("P. 1:11(10) ack 1 <TS val 1000 ecr 0>")
    peer.sees(". 1:1(0) ack 11")
    peer.sends("P. 11:21(10) ack 1 <TS val 5 ecr 0>")
    peer.sees(". 1:1(0) ack 21")


# RFC7323-17, RFC7323-18
def test_ts_recent_comes_from_the_segment_that_the_last_ack_asked_for() -> None:
    """4.3: SEG.SEQ =< Last.ACK.sent; what lies out of order is not echoed."""
    peer, _ = _with_timestamps()
    peer.sends("P. 21:31(10) ack 1 <TS val 1010 ecr 0>")
    peer.sees(". 1:1(0) ack 11 <TS val 0 ecr 1000>")
    peer.sends("P. 11:21(10) ack 1 <TS val 1020 ecr 0>")
    peer.sees(". 1:1(0) ack 31 <TS val 0 ecr 1020>")


# RFC7323-18
def test_delayed_ack_echoes_the_earliest_segment() -> None:
    """4.3: an ACK of several segments tells when the first was sent, so that the delay counts as round trip."""
    peer, _ = _with_timestamps()
    number = 11
    while True:  # past the quick ACKs
        peer.sends(f"P. {number}:{number + 10}(10) ack 1 <TS val 1000 ecr 0>")
        number += 10
        if not peer.takes():
            break
    peer.passes(40 * MS)
    peer.sees(f". 1:1(0) ack {number}")
    peer.sends(f"P. {number}:{number + 10}(10) ack 1 <TS val 1100 ecr 0>")
    peer.sends(f"P. {number + 10}:{number + 20}(10) ack 1 <TS val 1200 ecr 0>")
    peer.passes(40 * MS)
    peer.sees(f". 1:1(0) ack {number + 20} <TS val 80 ecr 1100>")


# RFC7323-23
def test_ts_recent_expires_after_24_days() -> None:
    """5.5: an idle connection, and a clock that has wrapped meanwhile."""
    peer, user = _with_timestamps()
    peer.passes(25 * DAY)
    peer.sends("P. 11:21(10) ack 1 <TS val 999 ecr 0>")
    peer.takes()
    assert user.conn.readable == 20


# RFC7323-23
def test_ts_recent_holds_for_less() -> None:
    peer, user = _with_timestamps()
    peer.passes(20 * DAY)
    peer.sends("P. 11:21(10) ack 1 <TS val 999 ecr 0>")
    peer.takes()
    assert user.conn.readable == 10


def test_old_timestamp_on_the_third_segment() -> None:
    peer = Peer(timestamps=True)
    peer.listens()
    peer.sends("S 0:0(0) <mss 1000,TS val 100 ecr 0>")
    peer.sees("S. 0:0(0) ack 1 <mss 1460,TS val 0 ecr 100>")
    peer.sends(". 1:1(0) ack 1 <TS val 99 ecr 0>")
    peer.sees(". 1:1(0) ack 1 <TS val 0 ecr 100>")
    assert peer.state is State.SYN_RECEIVED
    peer.sends(". 1:1(0) ack 1", plain=True)
    peer.sees_nothing()
    assert peer.state is State.SYN_RECEIVED
    peer.sends(". 1:1(0) ack 1 <TS val 100 ecr 0>")
    assert peer.accepts().state is State.ESTABLISHED
