"""TIME-WAIT as a small record: what it answers, what it lets in, and when it ends (RFC 9293 3.6.1, 3.10.7.4)."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection
from stack.tcp.negotiate import offer
from stack.tcp.seq import MASK
from stack.tcp.state import CLOSED, TIME_WAIT
from stack.tcp.time_wait import TimeWait
from stack.tcp.timestamps import Timestamps
from stack.wire.drop import Drop
from stack.wire.segment import ACK, FIN, PSH, RST, SYN, Segment
from stack.wire.units import MS, SECOND

IRS, ISS = 0xFFFFFF00, 0xFFFFFFFE
RCV_NXT = (IRS + 500) & MASK  # what we expect next: the peer's FIN was the one before
SND_NXT = (ISS + 100) & MASK
NOW = 1000 * SECOND


def time_wait(*, ts_recent: int = -1) -> TimeWait:
    options = TcpOptions()
    conn = Connection(
        (bytes((10, 9, 0, 2)), 80),
        (bytes((10, 9, 0, 1)), 40000),
        iss=ISS,
        offer=offer(options, 1500, 40),
        mss_limit=1460,
        ts_offset=77,
        options=options,
        drops={},
        key=b"key",
    )
    conn.irs = IRS
    conn.rcv.nxt, conn.rcv.edge, conn.rcv.shift = 500, 500 + 6400, 7
    conn.snd.nxt = conn.snd.max = conn.snd.una = 100
    if ts_recent >= 0:
        conn.ts = Timestamps(77, ts_recent, NOW)
    return TimeWait(conn, NOW)


def segment(flags: int, seq: int, *, size: int = 0, tsval: int = -1, ack: int = SND_NXT) -> Segment:
    return Segment(40000, 80, seq & MASK, ack, flags, 1000, (bytes(size),) if size else (), tsval=tsval)


FIN_AGAIN = segment(FIN | ACK, RCV_NXT - 1)


def test_fin_again_is_acknowledged_and_starts_the_wait_afresh() -> None:
    record = time_wait(ts_recent=9)
    answer = record.on_segment(FIN_AGAIN, NOW + 59 * SECOND)
    assert isinstance(answer, Segment)
    assert (answer.seq, answer.ack, answer.flags, answer.window) == (SND_NXT, RCV_NXT, ACK, 50)
    assert (answer.src_port, answer.dst_port) == (80, 40000)
    assert (answer.tsval, answer.tsecr) == (77 + 1_059_000, 9)
    assert record.expires == NOW + 59 * SECOND + 60 * SECOND


def test_fin_with_its_data_again() -> None:
    record = time_wait()
    answer = record.on_segment(segment(FIN | ACK | PSH, RCV_NXT - 101, size=100), NOW + SECOND)
    assert isinstance(answer, Segment)
    assert answer.tsval == -1
    assert record.expires == NOW + 61 * SECOND


@pytest.mark.parametrize(
    ("what", "seg", "answered"),
    [
        ("a bare ACK", segment(ACK, RCV_NXT), False),
        ("old data", segment(ACK, RCV_NXT - 200, size=100), True),
        ("new data", segment(ACK, RCV_NXT, size=100), True),
        ("another FIN", segment(FIN | ACK, RCV_NXT + 5), True),
        ("a keep-alive", segment(ACK, RCV_NXT - 1), True),
        ("an old SYN", segment(SYN, RCV_NXT - 1000), True),  # RFC 5961 4.2, where nobody listens
        ("a new SYN", segment(SYN, RCV_NXT + 1000), True),
        ("a reset, exactly", segment(RST, RCV_NXT), False),  # RFC 1337
        ("a reset in the window", segment(RST | ACK, RCV_NXT + 1), False),
    ],
)
def test_other_segments(what: str, seg: Segment, answered: bool) -> None:
    record = time_wait()
    answer = record.on_segment(seg, NOW + SECOND)
    assert isinstance(answer, Segment) is answered, what
    assert answered or answer is Drop.TIME_WAIT
    assert record.expires == NOW + 60 * SECOND
    assert record.state is TIME_WAIT


def test_answers_to_anything_but_the_fin_are_rare() -> None:
    record = time_wait()
    stray = segment(ACK, RCV_NXT, size=1)
    answers = [record.on_segment(stray, NOW + at * 10 * MS) for at in range(100)]
    assert sum(isinstance(answer, Segment) for answer in answers) == 2
    assert answers.count(Drop.OUT_OF_WINDOW) == 98


@pytest.mark.parametrize(
    ("ts_recent", "timestamps", "seq", "tsval", "reopens"),
    [
        # Without timestamps the number must be beyond everything of the old connection.
        (-1, False, RCV_NXT + 1, -1, True),
        (-1, False, RCV_NXT, -1, False),
        (-1, False, RCV_NXT - 1, -1, False),
        (-1, False, RCV_NXT + (1 << 31) + 1, -1, False),
        # RFC 6191 2: a later timestamp suffices, an earlier one does not, an equal one leaves it to the number.
        (500, True, RCV_NXT - 1000, 501, True),
        (500, True, RCV_NXT + 1000, 499, False),
        (500, True, RCV_NXT + 1000, 500, True),
        (500, True, RCV_NXT - 1000, 500, False),
        # Only one of the two connections uses timestamps.
        (-1, True, RCV_NXT - 1000, 7, True),
        (500, True, RCV_NXT + 1000, -1, True),
        (500, True, RCV_NXT - 1000, -1, False),
        (500, False, RCV_NXT - 1000, 501, False),
    ],
)
def test_reopening(ts_recent: int, timestamps: bool, seq: int, tsval: int, reopens: bool) -> None:
    record = time_wait(ts_recent=ts_recent)
    assert record.may_reopen(segment(SYN, seq, tsval=tsval), timestamps=timestamps) is reopens


@pytest.mark.parametrize("flags", [ACK, SYN | ACK, SYN | RST, RST, FIN | ACK, 0])
def test_only_a_plain_syn_reopens(flags: int) -> None:
    assert not time_wait().may_reopen(segment(flags, RCV_NXT + 1000), timestamps=False)


@pytest.mark.parametrize("end", ["expire", "reopen", "abort"])
def test_ends(end: str) -> None:
    record = time_wait()
    getattr(record, end)()
    assert record.state is CLOSED
