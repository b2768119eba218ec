"""When a segment leaves that is not full, by what the application says with its writes.

    plain     it waits while another is in flight (Nagle, RFC 9293 3.7.4); with `nodelay` it does not
    cork      it waits until it is full, until the cork is drawn or the direction closed (tcp(7), TCP_CORK)
    more      likewise, but only until the next write, or until the peer acknowledges something new (send(2), MSG_MORE)
    record    what is written later is in another segment, also where this one is sent again (send(2), MSG_EOR)
    urgent    everything up to the end of this write is urgent: nothing of it waits (see `stack.tcp.urgent`)

The cork is stronger than `nodelay`, but to switch that on lets go once what is held back then.

Nothing is held back when the buffer takes no more, nor for ever: while nothing is in flight the persist timer runs, as
for a window that is too small to be worth using, and sends what there is after one RTO: 0.2 s on most paths, as in
Linux, and never more than a second.

Whatever changes, `settle` puts in force: `Sender` knows what follows and not the reasons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stack.tcp.pushing import Pushing

if TYPE_CHECKING:
    from stack.tcp.connection import Connection


def on_write(conn: Connection, *, more: bool, urgent: bool, end_of_record: bool) -> None:
    """Octets were queued, and this was said about them."""
    pushing = _pushing(conn)
    # Who can't write more can't make a segment larger: a full buffer, or one at its low-water mark, holds back nothing.
    has_room = conn.writable > 0
    pushing.more = more and has_room
    pushing.holds = (more or conn.options.cork) and has_room
    if urgent:
        # RFC 9293 MUST-30, MUST-31, MUST-62: all of the write is urgent, however long; SND.UP follows its last octet.
        pushing.up = conn.snd.buffer.end
        pushing.owed = True
    if end_of_record:
        pushing.ends.append(conn.snd.buffer.end)
    settle(conn)


def on_ack(conn: Connection) -> None:
    """The peer has acknowledged something new."""
    pushing = _pushing(conn)
    pushing.holds = pushing.holds and conn.options.cork
    if pushing.ends:
        pushing.ends = [end for end in pushing.ends if end > conn.snd.una]
    settle(conn)


def on_options(conn: Connection, *, cork_before: bool, nodelay_before: bool) -> None:
    """`cork` and `nodelay` may have changed: to draw the cork, or to switch Nagle off, lets go what is held back."""
    options = conn.options
    if conn.snd.pushing is not None or options.cork:
        pushing = _pushing(conn)
        if options.cork != cork_before:
            pushing.holds = options.cork
        if options.nodelay and not nodelay_before:
            pushing.holds = False
    settle(conn)


def push(conn: Connection) -> None:
    """Let go what is held back: see `Connection.push`."""
    if conn.snd.pushing is not None:
        conn.snd.pushing.holds = False
        settle(conn)


def settle(conn: Connection) -> None:
    """Put in force what holds now, and forget what matters no more."""
    snd = conn.snd
    pushing = snd.pushing
    if pushing is None:
        snd.nodelay = conn.options.nodelay
        return
    urgent = pushing.up > snd.una
    snd.nodelay = urgent or (conn.options.nodelay and not pushing.holds)
    # Who cuts a super-frame repeats its urgent pointer, which would then point too far.
    snd.limit_bursts(0 if urgent else conn.max_payload)
    if not (urgent or pushing.more or pushing.holds or pushing.ends or conn.options.cork):
        snd.pushing = None


def _pushing(conn: Connection) -> Pushing:
    pushing = conn.snd.pushing
    if pushing is None:
        pushing = conn.snd.pushing = Pushing()
    return pushing
