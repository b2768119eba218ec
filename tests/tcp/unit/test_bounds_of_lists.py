"""Lists that must not grow for ever, and the bounds at which they stop."""

from __future__ import annotations

from stack.tcp.chunks import BLOCK, Held, join
from stack.tcp.config import TcpOptions
from stack.tcp.listener import MIN_SYN_QUEUE, Listener
from stack.tcp.recovery import Recovery
from stack.tcp.send_buffer import COMPACT, SMALL, SendBuffer


def test_syn_queue_is_full_at_its_bound() -> None:
    for backlog, bound in ((1, MIN_SYN_QUEUE), (1000, 1000)):
        listener = Listener(b"", 80, backlog, TcpOptions())
        listener.half_open = bound - 1
        assert not listener.syn_queue_full
        listener.half_open = bound
        assert listener.syn_queue_full


def test_blocks_become_one_only_where_both_are_short() -> None:
    short: list[Held] = [bytearray(BLOCK - 10)]
    join(short, [bytearray(10)])
    assert [len(chunk) for chunk in short] == [BLOCK]
    join(short, [bytearray(1), b"x"])
    assert [len(chunk) for chunk in short] == [BLOCK, 1, 1]


def test_a_stream_that_never_pauses_leaves_no_list_behind() -> None:
    """A buffer is written for each that is acknowledged, and one always waits."""
    buffer = SendBuffer(1)
    for number in range(20 * COMPACT):
        buffer.append(bytes(SMALL))
        buffer.release(1 + SMALL * number)
        assert len(buffer._chunks) <= COMPACT + 1
    assert len(buffer) == SMALL


def test_a_fin_makes_no_segment_of_its_own() -> None:
    records = Recovery()
    records.mss = 1000
    records.fin = 2002
    before = records.on_sent(1, 2002, 0)  # 2001 octets, and the FIN is not among them
    assert records.segments(before) == 3
    records = Recovery()
    records.mss = 1000
    records.fin = 2001
    among = records.on_sent(1, 2002, 0)  # 2000 octets and the FIN
    assert records.segments(among) == 2
