"""Urgent data (RFC 9293 3.8.5, 3.10.7.4; RFC 6093): a pointer beside the stream, never a second stream.

Sending: a write may be urgent, as a whole and of any length. SND.UP is then the number of the octet that follows it.
Until that is acknowledged, every segment that begins before it carries URG and the distance to it. If none with text
can leave at once, because a window is closed, an empty one tells; what is urgent may be what makes the peer read.
Nothing goes with a SYN (RFC 7413) as long as any of it is urgent.

The distance has 16 bits. Where SND.UP is farther away than that the largest distance is said, as long as it points
beyond everything that was sent: a later segment will tell more before those octets are there. A pointer among octets
that are on their way could be believed, and by a peer that takes the octet before it out of the stream, too.

Receiving: RCV.UP is the largest number that any pointer gave, in advance of what was consumed by then. The data stays
where it is in the stream. The application sees in `Connection.urgent_mark` where the urgent part ends and in
`urgent_remaining` how much of it is left, and is woken when the mark newly appears or advances. A pointer is at most
65,535 octets ahead of a segment in the window, and all that it can do is to move that mark.

New applications should not use any of this (SHLD-13): middleboxes clear the flag or take octets out, and systems do not
agree on what is urgent. It is here for protocols that have used it for long, such as Telnet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stack.tcp.state import CAN_RECEIVE
from stack.wire.segment import SYN, URG, Segment

if TYPE_CHECKING:
    from stack.tcp.connection import Connection
    from stack.tcp.sender import Sender

MAX_POINTER: Final = 0xFFFF


def mark(snd: Sender, seg: Segment, start: int) -> None:
    """Put URG and the pointer on a segment that begins with the number `start`, if they belong there."""
    pushing = snd.pushing
    if pushing is None or pushing.up <= start:
        return
    distance = pushing.up - start
    if distance > MAX_POINTER:
        if start + MAX_POINTER <= snd.max:
            return
        distance = MAX_POINTER
    # RFC 9293 MUST-30, MUST-62: the pointer is the distance to the octet that follows the urgent data.
    seg.flags |= URG
    seg.urgent = distance
    pushing.owed = False


def on_pointer(conn: Connection, seg: Segment, seq: int) -> None:
    """Sixth step of 3.10.7.4: URG is set. `seq` is the unwrapped number of the first octet of the segment's text."""
    rcv = conn.rcv
    if conn.own_state not in CAN_RECEIVE or conn.reading_closed:
        return  # the peer has said that nothing follows, or nobody is there to be told
    up = seq + seg.urgent - (1 if seg.flags & SYN else 0)
    consumed = rcv.received_bytes - rcv.buffered
    # RFC 9293 MUST-30, MUST-31, MUST-32: newly there, or advanced. What is consumed already concerns nobody.
    if up > rcv.up and up - 1 > consumed:
        rcv.up = up
        conn.changed = True


def offset(conn: Connection) -> int:
    """Where the urgent data ends: octets of the peer's stream before that; 0: no pointer came."""
    rcv = conn.rcv
    up = rcv.up if rcv.fin < 0 else min(rcv.up, rcv.fin)  # no octet lies beyond the FIN
    return max(up - 1, 0)


# RFC 9293 MUST-33
def remaining(conn: Connection) -> int:
    """Octets from the next one that will be read to the end of the urgent data."""
    rcv = conn.rcv
    return max(offset(conn) - (rcv.received_bytes - rcv.buffered), 0)
