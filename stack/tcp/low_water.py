"""Low-water marks: from how much on it is worth waking an application (tcp(7), TCP_NOTSENT_LOWAT; SO_RCVLOWAT).

Sending: with `notsent_lowat` the buffer takes more only while less than that was never sent, and a writer who waits is
woken when it is less than half. So what is queued stays young, however large the buffer: what an application can
still change its mind about, it keeps. A burst is taken whole, or a low mark would cut the segments, too.

Receiving: with `receive_lowat` a reader is woken when so many octets are there; or fewer, if no more can come: at the
end of the stream, on an error, when the window has no room for another segment; or if some of them are urgent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stack.tcp.connection import Connection


def takes(conn: Connection, room: int, mark: int) -> int:
    """How many octets `write` takes where the buffer has `room` and `notsent_lowat` is `mark`."""
    missing = mark - conn.unsent
    return min(room, max(missing, conn.snd.max_burst)) if missing > 0 else 0


def has_room(conn: Connection) -> bool:
    """Whether a writer who waits should look again: half of the buffer is free, and half of the mark."""
    mark = conn.options.notsent_lowat
    return conn.room >= max(conn.send_limit // 2, 1) and (mark is None or 2 * conn.unsent < mark)


def on_write(conn: Connection) -> None:
    """Octets were queued: if there is no room for more now, the writer is told when there is."""
    conn.wants_low_water = not has_room(conn)


def on_sent(conn: Connection) -> None:
    """Something that was queued has left: wake the writer when it was enough."""
    if has_room(conn):
        conn.wants_low_water = False
        conn.changed = True


def has_text(conn: Connection, limit: int) -> bool:
    """Whether a reader who takes `limit` octets at most should be woken for what there is to read."""
    rcv = conn.rcv
    if not rcv.buffered:
        return False
    return (
        rcv.buffered >= min(conn.options.receive_lowat, limit)
        or rcv.fin_received
        or conn.finished
        or conn.urgent_remaining > 0
        or rcv.wnd < rcv.mss  # the peer need not send less than a segment (3.8.6.2.1)
    )
