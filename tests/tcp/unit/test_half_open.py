"""SYN-RECEIVED as a small record: each segment and what it means there (RFC 9293 3.10.7.4)."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.flow import flow_key
from stack.tcp.half_open import SYN_ACK_WAITS, HalfOpen, Verdict
from stack.tcp.listener import Listener
from stack.tcp.negotiate import offer
from stack.tcp.seq import MASK
from stack.tcp.state import LISTEN, SYN_RECEIVED
from stack.wire.segment import ACK, FIN, PSH, RST, SYN, URG, Segment
from stack.wire.units import MS, SECOND

IRS, ISS = 0xFFFFFFF0, 0xFFFFFFFF  # just below the wrap
NXT = 0xFFFFFFF1
NOW = 5 * SECOND
LOCAL, REMOTE = (bytes((10, 9, 0, 2)), 80), (bytes((10, 9, 0, 1)), 40000)


def half_open(
    *, tsval: int = -1, wscale: int = 7, mss: int = 1460, window: int = 60_000, sack_ok: bool = True
) -> HalfOpen:
    options = TcpOptions(receive_window=window)
    syn = Segment(40000, 80, IRS, 0, SYN, 65535, mss=mss, wscale=wscale, sack_ok=sack_ok, tsval=tsval)
    record = HalfOpen(
        flow_key(REMOTE[0], LOCAL[0], REMOTE[1], LOCAL[1]),
        syn,
        iss=ISS,
        offer=offer(options, 1500, 40),
        ts_offset=1000,
        listener=Listener(b"", 80, 10, options),
        now=NOW,
    )
    record.syn_ack(NOW)
    return record


def segment(flags: int, seq: int = NXT, ack: int = 0, size: int = 0, tsval: int = -1) -> Segment:
    parts = (bytes(size),) if size else ()
    return Segment(40000, 80, seq & MASK, ack & MASK, flags, 1000, parts, tsval=tsval)


@pytest.mark.parametrize(
    ("what", "seg", "verdict"),
    [
        ("the third segment", segment(ACK, ack=ISS + 1), Verdict.COMPLETE),
        ("with data", segment(ACK | PSH, ack=ISS + 1, size=100), Verdict.COMPLETE),
        ("with data and FIN", segment(ACK | FIN, ack=ISS + 1, size=100), Verdict.COMPLETE),
        ("with URG", segment(ACK | URG, ack=ISS + 1), Verdict.COMPLETE),
        ("out of order but in the window", segment(ACK, NXT + 1000, ack=ISS + 1, size=10), Verdict.COMPLETE),
        ("the SYN again", segment(SYN, IRS), Verdict.REPEAT),
        ("the SYN again with data", segment(SYN, IRS, size=10), Verdict.REPEAT),
        ("the SYN again with a FIN", segment(SYN | FIN, IRS), Verdict.REPEAT),
        ("acknowledges too little", segment(ACK, ack=ISS), Verdict.RESET),
        ("acknowledges too much", segment(ACK, ack=ISS + 2), Verdict.RESET),
        ("acknowledges nonsense", segment(ACK, ack=12345), Verdict.RESET),
        ("no ACK", segment(0, size=10), Verdict.DROP),
        ("FIN without ACK", segment(FIN), Verdict.DROP),
        ("reset, exactly", segment(RST), Verdict.GONE),
        ("reset with ACK, exactly", segment(RST | ACK, ack=ISS + 1), Verdict.GONE),
        ("reset in the window", segment(RST, NXT + 1), Verdict.ACK),
        ("reset below the window", segment(RST, NXT - 1), Verdict.DROP),
        ("reset beyond the window", segment(RST, NXT + 60_001), Verdict.DROP),
        ("another SYN in the window", segment(SYN, NXT + 1000), Verdict.ACK),
        ("an old duplicate SYN", segment(SYN, IRS - 1000), Verdict.ACK),
        ("SYN, ACK", segment(SYN | ACK, NXT + 5, ack=ISS + 1), Verdict.ACK),
        ("before the window", segment(ACK, NXT - 10, ack=ISS + 1, size=10), Verdict.ACK),
        ("reaching into the window", segment(ACK, NXT - 10, ack=ISS + 1, size=11), Verdict.COMPLETE),
        ("beyond the window", segment(ACK, NXT + 60_000, ack=ISS + 1, size=1), Verdict.ACK),
        ("far away", segment(ACK, NXT + (1 << 31), ack=ISS + 1), Verdict.ACK),
    ],
)
def test_verdict(what: str, seg: Segment, verdict: Verdict) -> None:
    record = half_open()
    assert record.on_segment(seg, NOW) is verdict, what
    assert record.state is (LISTEN if verdict is Verdict.GONE else SYN_RECEIVED)


@pytest.mark.parametrize(
    ("tsval", "flags", "verdict"),
    [
        (500, ACK, Verdict.COMPLETE),
        (501, ACK, Verdict.COMPLETE),
        (499, ACK, Verdict.ACK),  # PAWS
        (-1, ACK, Verdict.DROP),  # RFC 7323 3.2
        (-1, RST, Verdict.GONE),  # but a reset needs none
        (499, RST, Verdict.GONE),
    ],
)
def test_timestamps(tsval: int, flags: int, verdict: Verdict) -> None:
    record = half_open(tsval=500)
    assert record.on_segment(segment(flags, ack=ISS + 1, tsval=tsval), NOW) is verdict


def test_challenges_are_rare() -> None:
    record = half_open()
    verdicts = [record.on_segment(segment(RST, NXT + 1), NOW + at * 10 * MS) for at in range(101)]
    assert verdicts.count(Verdict.ACK) == 3
    assert verdicts.count(Verdict.DROP) == 98


def test_syn_ack() -> None:
    record = half_open(tsval=500)
    answer = record.syn_ack(NOW + 7 * MS)
    assert (answer.seq, answer.ack, answer.flags, answer.window) == (ISS, NXT, SYN | ACK, 60_000)
    assert (answer.mss, answer.wscale, answer.sack_ok) == (1460, 7, True)
    assert (answer.tsval, answer.tsecr) == (1000 + 5007, 500)
    assert record.sent == 2


def test_syn_ack_offers_nothing_that_was_not_offered() -> None:
    record = half_open(wscale=-1, sack_ok=False)
    answer = record.syn_ack(NOW)
    assert (answer.wscale, answer.sack_ok, answer.tsval) == (-1, False, -1)
    assert answer.mss == 1460


def test_challenge_says_what_is_expected() -> None:
    answer = half_open(tsval=500).ack(NOW)
    assert (answer.seq, answer.ack, answer.flags) == (0, NXT, ACK)  # ISS + 1 wraps
    assert answer.window == 60_000 >> 7
    assert (answer.mss, answer.wscale, answer.sack_ok) == (0, -1, False)


def test_window_of_a_large_buffer_fits_the_field() -> None:
    record = half_open(window=1 << 20)
    assert record.syn_ack(NOW).window == 0xFFFF


def test_expiry() -> None:
    record = half_open()
    record.expire()
    assert record.state is LISTEN
    assert sum(SYN_ACK_WAITS) == 63 * SECOND
    assert len(SYN_ACK_WAITS) == 3
