"""What IP tells a connection, and what it is told (RFC 9293 3.9.2.2, 3.8.3; RFC 1191, RFC 5461, RFC 5927).

IP hands up an ICMP error that quotes a segment of ours. Anyone can forge one, so the number that it quotes must be of
something in flight (RFC 5927 4.1), and then:

    hard       ends a connection that is still being opened, and is soft later: a stated deviation, RFC 5927 5.2
    soft       is told to the application, and is the reason given if the connection then times out
    too big    makes our segments shorter, and what was too long leaves again

A too-long segment on a path that has shown that it takes segments of that length is suspicious (RFC 5927 7.2): the path
may have changed, or somebody wants us to waste it with small segments. In the first case nothing gets through any more.
So the error waits for the time-out: if by then something was acknowledged beyond what it quotes, it was wrong.

IP hears of a segment that was sent again and again in vain (R1): it knows whether there is another way. So does the
application, which may lose patience sooner than R2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stack.tcp import cork
from stack.tcp.negotiate import TIMESTAMP_BYTES, header_bytes, offer
from stack.tcp.seq import unwrap
from stack.tcp.state import CLOSED, SYN_RECEIVED, SYN_SENT, TIME_WAIT, Event
from stack.wire.drop import Drop
from stack.wire.units import Time

if TYPE_CHECKING:
    from stack.tcp.connection import Connection

BEING_OPENED: Final = frozenset((SYN_SENT, SYN_RECEIVED))

# What `Connection.advice` tells IP, if it is not 0; more than 1 is an MTU that a time-out has confirmed.
PATH_DOUBTFUL: Final = 1


# RFC 9293 MUST-54, MUST-56, SHLD-25, SHLD-26, RFC1122-11, RFC1122-22
def on_icmp_error(conn: Connection, seq: int, error: OSError, *, hard: bool) -> bool:
    """An error about the segment with wire number `seq`; false if there is none such in flight."""
    snd = conn.snd
    number = unwrap(seq, conn.iss, snd.una)
    if not snd.una <= number < max(snd.max, snd.una + 1):
        conn.drop(Drop.ICMP_UNMATCHED)
        return False
    state = conn.own_state
    if (hard and state is SYN_SENT) or (conn.options.soft_errors_end_opening and state in BEING_OPENED):
        conn.fail(error, Event.RECV_ERROR)
    else:
        conn.soft_error = error
        _report(conn)
    return True


# RFC 9293 MUST-47, SHLD-20, RFC1122-24
def _report(conn: Connection) -> None:
    """Something that the application may want to know, though the connection goes on."""
    if conn.options.error_reports:
        conn.reports += 1
        conn.changed = True


# RFC 9293 MUST-20, MUST-22, SHLD-9, RFC1122-20
def on_retransmission(conn: Connection) -> None:
    """The retransmission timer has expired once more, without any progress since it did so first."""
    if conn.retries == conn.options.r1:
        conn.advice = PATH_DOUBTFUL
        _report(conn)


# RFC8201-05, RFC1191-14
def on_too_big(conn: Connection, seq: int, mtu: int) -> bool:
    """A router says that the segment with wire number `seq` is too long for the path, which takes `mtu` bytes.

    Returns whether that holds at once.
    """
    snd = conn.snd
    number = unwrap(seq, conn.iss, snd.una)
    if not snd.una <= number < snd.max:
        conn.drop(Drop.ICMP_UNMATCHED)
        return False
    if conn.peer_mss <= mtu - header_bytes(conn.local[0]):
        conn.drop(Drop.ICMP_IGNORED)  # our segments were never as long as that
        return False
    if snd.repair.unproven_from >= 0:
        return True
    known = conn.suspected_mtu
    if known is None or known[1] < snd.una or mtu < known[0]:
        conn.suspected_mtu = mtu, number
    return False


# RFC1191-14
def on_suspicion(conn: Connection, mtu: int, number: int, now: Time) -> bool:
    """The retransmission timer has expired: was it for the length of what a router has complained about?

    Then that was no congestion, and it leaves again in shorter segments.
    """
    conn.suspected_mtu = None
    if number < conn.snd.una or mtu >= conn.mss_limit + header_bytes(conn.local[0]):
        return False
    on_path_mtu(conn, mtu)
    conn.advice = mtu
    conn.arm_retransmit(now)
    return True


# RFC1191-01, RFC1191-04, RFC7323-24
def on_path_mtu(conn: Connection, mtu: int) -> None:
    """The path takes `mtu` bytes in one packet: less than before, or as much as the link again."""
    limit = mtu - header_bytes(conn.local[0])
    if limit == conn.mss_limit:
        return
    narrower = limit < conn.mss_limit
    conn.mss_limit = limit
    conn.suspected_mtu = None
    if conn.own_state is CLOSED or conn.own_state is TIME_WAIT:
        return
    if conn.own_state is SYN_SENT and conn.options.offer_path_mss:
        conn.offer = offer(conn.options, mtu, header_bytes(conn.local[0]))
    mss = send_mss(conn)
    if mss != conn.snd.mss:
        conn.snd.on_mss(mss, conn.max_payload)
        if conn.snd.pushing is not None:
            cork.settle(conn)
    if narrower and conn.own_state is SYN_SENT and conn.fast_open is not None:
        conn.fast_open.on_too_long(conn)


# RFC 9293 MUST-16
def send_mss(conn: Connection) -> int:
    """Octets of data in a full segment: as many as the peer and the path take, less those of the options."""
    mss = min(conn.peer_mss, conn.mss_limit)
    return mss if conn.ts is None else mss - TIMESTAMP_BYTES
