"""The user calls that end a connection: CLOSE and ABORT (RFC 9293 3.10.4, 3.10.5, 3.6).

CLOSE returns at once; what is queued, and the FIN, leave afterwards. `TcpOptions.linger` says how long that may take
when both directions are closed (socket(7), SO_LINGER):

    None       as long as the peer answers within R2
    seconds    when so much time has passed and the peer has not acknowledged everything, FIN included, it gets a reset,
               and the connection ends with a time-out. Whoever closes can wait for either with `Connection.lingers`.
               (Linux returns from close(2) by then, and goes on in the background: that is None, and a wait.)
    0          reset at once: what is queued is lost

Once the FIN is acknowledged, the peer has `fin_wait_2_timeout` for its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stack.tcp import errors
from stack.tcp.state import (
    CAN_SEND,
    CLOSE_WAIT,
    CLOSED,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
    Event,
)
from stack.wire.units import Time, seconds

if TYPE_CHECKING:
    from stack.tcp.connection import Connection

SENDS_RESET = frozenset((SYN_RECEIVED, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, CLOSE_WAIT))
"""States in which ABORT tells the peer (3.10.5)."""


# RFC1122-15
def close_write(conn: Connection) -> None:
    """CLOSE one direction: see `Connection.close_write`."""
    state = conn.own_state
    snd = conn.snd
    if snd.fin_wanted or conn.close_queued or state is CLOSED:
        return
    if state is SYN_SENT or (state is SYN_RECEIVED and conn.unsent and not snd.early):
        conn.close_queued = True  # until ESTABLISHED
        return
    if state not in CAN_SEND:
        return
    snd.fin_wanted = True
    if state is not CLOSE_WAIT:  # there, LAST-ACK begins when the FIN leaves (3.10.4)
        conn.transition(Event.CLOSE)


# RFC 9293 SHLD-3, MAY-1
def close(conn: Connection, now: Time) -> None:
    """CLOSE both directions: see `Connection.close`."""
    if conn.abandoned:
        return
    conn.abandoned = True
    linger = conn.options.linger
    if conn.own_state is SYN_SENT:
        conn.fail(errors.aborted(), Event.CLOSE)
    elif linger == 0 and not conn.finished:
        abort(conn)
    elif conn.rcv.buffered and not conn.finished:
        _owe_reset(conn)  # in CLOSING and LAST-ACK, too, unlike ABORT: there data was lost
        conn.fail(errors.aborted(), Event.ABORT)
    else:
        close_write(conn)
    conn.reading_closed = True
    conn.rcv.discard()
    if conn.own_state is FIN_WAIT_2:
        conn.start_linger(now)
    elif linger is not None and not conn.finished:
        conn.timers.linger = now + seconds(linger)  # also in place of the handshake's limit


def close_read(conn: Connection, now: Time) -> None:
    """The other direction: see `Connection.close_read`."""
    if not conn.reading_closed:
        conn.reading_closed = True
        if conn.own_state is FIN_WAIT_2:
            conn.start_linger(now)


def on_linger_timeout(conn: Connection) -> None:
    """The time is over for what the application has left behind, or for the peer's FIN."""
    if conn.own_state is FIN_WAIT_2:
        conn.fail(None, Event.TIMEOUT)  # everything of ours was acknowledged
    else:
        _owe_reset(conn)
        conn.fail(conn.soft_error or errors.timed_out(), Event.TIMEOUT)


def abort(conn: Connection) -> None:
    """ABORT: see `Connection.abort`."""
    if conn.own_state is CLOSED:
        return
    if conn.time_wait is not None:
        if conn.time_wait.state is TIME_WAIT:
            conn.time_wait.abort()
        return
    if conn.own_state in SENDS_RESET:
        _owe_reset(conn)
    conn.fail(errors.aborted(), Event.ABORT)


def _owe_reset(conn: Connection) -> None:
    conn.resets_owed = 2 if conn.snd.max > conn.snd.nxt else 1
