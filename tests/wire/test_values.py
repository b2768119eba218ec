"""The plain values: a segment, a packet, units of time, reasons to drop."""

from __future__ import annotations

import pytest

from stack.wire.drop import Drop, WireError
from stack.wire.packet import Packet
from stack.wire.segment import ACK, FIN, PSH, SYN, Segment
from stack.wire.units import MINUTE, MS, NEVER, SECOND, US, seconds


@pytest.mark.parametrize(
    ("flags", "parts", "expected"),
    [
        (ACK, (), 0),
        (SYN, (), 1),
        (FIN | ACK, (), 1),
        (SYN | FIN, (), 2),
        (PSH | ACK, (b"abc", memoryview(b"de")), 5),
        (FIN | PSH | ACK, (b"abc",), 4),
        (SYN, (b"abc",), 4),
    ],
)
def test_syn_and_fin_count_in_the_length_of_a_segment(
    flags: int, parts: tuple[bytes | memoryview, ...], expected: int
) -> None:
    segment = Segment(1, 2, 3, 4, flags, 5, parts)
    assert segment.length == expected
    assert segment.size == len(segment.payload) == sum(map(len, parts))


def test_a_segment_prints_short() -> None:
    assert repr(Segment(1, 2, 3, 4, SYN | ACK, 5, (b"abc",))) == "Segment(S. seq=3 ack=4 len=3 win=5)"
    assert repr(Segment(1, 2, 3, 4, 0, 5)) == "Segment(- seq=3 ack=4 len=0 win=5)"


def test_a_packet_is_one_run_of_octets_when_asked() -> None:
    whole, pieces = Packet(b"abcdef"), Packet(b"ab", (memoryview(b"cd"), b"ef"))
    assert len(whole) == len(pieces) == 6
    assert whole.frame() is whole.head
    assert pieces.frame() == b"abcdef"
    assert repr(pieces) == "Packet(6 bytes, gso_size=0, csum=0)"


def test_units() -> None:
    assert (US, MS, SECOND, MINUTE) == (10**3, 10**6, 10**9, 60 * 10**9)
    assert seconds(0.2) == 200 * MS
    assert seconds(1e-9) == 1
    assert seconds(100 * 365 * 86400) < NEVER


def test_a_wire_error_names_its_counter() -> None:
    error = WireError(Drop.TRUNCATED, "3 octets")
    assert error.reason is Drop.TRUNCATED
    assert str(error) == "truncated: 3 octets"
    assert str(WireError(Drop.TRUNCATED)) == "truncated"
    assert isinstance(error, ValueError)


def test_each_reason_has_a_counter_of_its_own() -> None:
    assert len({reason.value for reason in Drop}) == len(Drop.__members__)
