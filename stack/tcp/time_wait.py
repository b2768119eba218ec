"""TIME-WAIT as a small record (RFC 9293 3.6.1, 3.10.7.4).

The active closer stays for 2 MSL, to acknowledge the peer's FIN once more if our last ACK was lost, and so that old
segments die out. That needs a dozen numbers and not a connection: the host's table holds this record in place of the
connection, which stays with the application (and reads its state from here).

Numbers are wire values. Those that only an answer needs are kept packed: as ints they would be half of the record.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from stack.tcp.seq import HALF, MASK, precedes, wrap
from stack.tcp.state import TIME_WAIT, Event, State, follow
from stack.tcp.timestamps import clock, is_older
from stack.wire.drop import Drop
from stack.wire.segment import ACK, FIN, RST, SYN, Segment
from stack.wire.units import MS, Duration, Time, seconds

if TYPE_CHECKING:
    from stack.tcp.connection import Connection

ACK_INTERVAL: Duration = 500 * MS  #: At least so long between two ACKs for what is not the peer's FIN.

_COLD = struct.Struct("!HHIIHqI")  # our port, the peer's, SND.NXT, RCV.NXT, window, TS.Recent or -1, timestamp offset


# RFC 9293 MUST-13, RFC1122-15
class TimeWait:
    """What is left of a connection that closed first."""

    __slots__ = (
        "_cold",
        "acked_at",
        "expires",
        "key",
        "lasts",
        "options",
        "state",
    )

    def __init__(self, conn: Connection, now: Time) -> None:
        self.key = conn.key
        self.state: State = TIME_WAIT
        self._cold = _COLD.pack(
            conn.local[1],
            conn.remote[1],
            wrap(conn.snd.nxt, conn.iss),
            wrap(conn.rcv.nxt, conn.irs),
            min(conn.rcv.wnd >> conn.rcv.shift, 0xFFFF),
            conn.ts.recent if conn.ts is not None else -1,
            conn.ts_offset,
        )
        self.options = conn.options
        self.acked_at: Time = -1
        self.lasts: Duration = 2 * seconds(conn.options.msl)
        self.expires: Time = now + self.lasts

    @property
    def snd_nxt(self) -> int:
        """SND.NXT of the connection that was."""
        snd_nxt: int = _COLD.unpack(self._cold)[2]
        return snd_nxt

    # RFC 9293 SHLD-4, MAY-2, RFC6191-01, RFC6191-02, RFC6191-03
    def may_reopen(self, seg: Segment, *, timestamps: bool) -> bool:
        """Whether a SYN is newer than anything of the old connection (RFC 6191 2).

        `timestamps` says whether a new connection would use them, too.
        """
        if seg.flags & (SYN | ACK | RST) != SYN:
            return False
        _, _, _, rcv_nxt, _, ts_recent, _ = _COLD.unpack(self._cold)
        if timestamps and seg.tsval >= 0 and seg.tsval != ts_recent:
            return ts_recent < 0 or is_older(ts_recent, seg.tsval)
        return precedes(rcv_nxt, seg.seq)

    # RFC1337-01
    def on_segment(self, seg: Segment, now: Time) -> Segment | Drop:
        """What to answer, or why nothing is. A FIN that comes again starts the 2 MSL afresh."""
        # Deviation: a reset does not end TIME-WAIT (RFC 1337), or old ones could kill it off early.
        if seg.flags & RST:
            return Drop.TIME_WAIT
        rcv_nxt: int = _COLD.unpack(self._cold)[3]
        if seg.flags & FIN and (seg.seq + seg.length - rcv_nxt) & MASK == 0:
            self.expires = now + self.lasts
            return self._ack(now)
        if seg.length == 0 and (seg.seq - rcv_nxt) & MASK < HALF:
            return Drop.TIME_WAIT  # a bare ACK needs no answer
        if self.acked_at >= 0 and now - self.acked_at < ACK_INTERVAL:
            return Drop.OUT_OF_WINDOW
        self.acked_at = now
        return self._ack(now)

    def expire(self) -> None:
        """2 MSL are over."""
        self.state = follow(self.state, Event.TWO_MSL)

    def reopen(self) -> None:
        """A new SYN takes the place (MAY-2)."""
        self.state = follow(self.state, Event.RECV_SYN)

    def abort(self) -> None:
        """The application, or the host that closes, does not want to wait (3.10.5)."""
        self.state = follow(self.state, Event.ABORT)

    def _ack(self, now: Time) -> Segment:
        src_port, dst_port, snd_nxt, rcv_nxt, wnd, ts_recent, ts_offset = _COLD.unpack(self._cold)
        has_ts = ts_recent >= 0
        return Segment(
            src_port,
            dst_port,
            snd_nxt,
            rcv_nxt,
            ACK,
            wnd,
            tsval=clock(ts_offset, now) if has_ts else -1,
            tsecr=ts_recent if has_ts else 0,
        )
