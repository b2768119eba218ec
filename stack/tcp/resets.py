"""The reset that answers a segment for which there is no connection, or which acknowledges what a connection that is
being opened has never sent (RFC 9293 3.5.2, groups 1 and 2).

    segment with ACK       <SEQ=SEG.ACK><CTL=RST>
    another                <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>

Where the segment carries timestamps the reset does, too, and echoes what has come (RFC 7323 5.2); so it is never
longer than the segment. The resets that end a connection of ours are `stack.tcp.transmit`'s.
"""

from __future__ import annotations

from stack.tcp.config import TcpOptions
from stack.tcp.seq import MASK
from stack.tcp.timestamps import clock
from stack.wire.segment import ACK, RST, Segment
from stack.wire.units import Time


# RFC7323-21
def answer(seg: Segment, options: TcpOptions, ts_offset: int, now: Time) -> Segment:
    """The reset for a segment that is none itself; `ts_offset` is that of our timestamp clock towards its sender."""
    if seg.flags & ACK:
        reset = Segment(seg.dst_port, seg.src_port, seg.ack, 0, RST, 0)
    else:
        reset = Segment(seg.dst_port, seg.src_port, 0, (seg.seq + seg.length) & MASK, RST | ACK, 0)
    if seg.tsval >= 0 and options.timestamps and options.habits.echoes_in_resets:
        reset.tsval = clock(ts_offset, now)
        reset.tsecr = seg.tsval
    return reset
