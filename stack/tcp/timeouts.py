"""Time-outs (RFC 9293 3.10.8): what is done when a deadline of a connection has passed.

    linger        the handshake, what was left behind on closing, or FIN-WAIT-2 has lasted long enough
    loss          RACK looks again, or a tail loss probe is owed (RFC 8985)
    retransmit    the oldest segment is sent again, or the connection given up at R2
    pacing        nothing: the sender is asked again
    persist       a window that lets nothing through is probed
    keepalive     a silent peer is asked whether it is still there
    delayed_ack   what has waited long enough is acknowledged

Nothing is sent here: what has to leave is owed, and `stack.tcp.transmit` pays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stack.tcp import closing, errors, network
from stack.tcp.state import SYN_SENT, Event
from stack.wire.units import MS, NEVER, Duration, Time, seconds

if TYPE_CHECKING:
    from stack.tcp.connection import Connection

MAX_PROBE_INTERVAL: Duration = 60_000 * MS  #: Between zero-window probes, at most.


def on_timeout(conn: Connection, now: Time) -> None:
    """Do what is due of everything that has a deadline."""
    timers = conn.timers
    if timers.linger <= now:
        timers.linger = NEVER
        if conn.connected or conn.abandoned:
            closing.on_linger_timeout(conn)
        else:
            _give_up(conn)  # the handshake
    if timers.loss <= now:
        _on_loss(conn, now)  # a probe puts the other one off
    if timers.retransmit <= now:
        _on_retransmission(conn, now)
    if timers.pacing <= now:
        timers.pacing = NEVER
    if timers.persist <= now:
        _on_persist(conn, now)
    if timers.keepalive <= now:
        _on_keepalive(conn, now)
    if timers.delayed_ack <= now:
        timers.delayed_ack = NEVER
        conn.rcv.ack_now = conn.rcv.ack_soon or conn.rcv.ack_now


def _give_up(conn: Connection) -> None:
    conn.fail(conn.soft_error or errors.timed_out(), Event.TIMEOUT)


# RFC 9293 MUST-22, MUST-23, RFC1122-20, RFC6298-13
def _on_retransmission(conn: Connection, now: Time) -> None:
    conn.timers.retransmit = NEVER
    if not conn.snd.outstanding:
        return
    in_handshake = conn.own_state is SYN_SENT
    even_syns = conn.options.habits.even_syns
    if (in_handshake and conn.retries >= conn.options.syn_retries + even_syns) or (
        now - conn.progress_at >= conn.r2 and (not in_handshake or conn.options.user_timeout is not None)
    ):
        _give_up(conn)
        return
    suspicion = conn.suspected_mtu
    if suspicion is not None and network.on_suspicion(conn, *suspicion, now):
        return
    if conn.snd.una == 0:
        if conn.fast_open is not None and conn.fast_open.on_timeout(conn.retries, now):
            _give_up(conn)
            return
        conn.snd.early = False  # from now on the SYN, or SYN-ACK, goes alone (RFC 7413 4.2.2)
        conn.handshake_retries += 1
    conn.retries += 1
    network.on_retransmission(conn)
    rto = conn.rtt.rto
    conn.snd.on_retransmission_timeout(now)
    if in_handshake and conn.retries <= even_syns:
        conn.rtt.rto = rto
    conn.arm_retransmit(now)


# RFC8985-13
def _on_loss(conn: Connection, now: Time) -> None:
    conn.timers.loss = NEVER
    if conn.snd.repair.reorder_at <= now:
        conn.snd.on_reorder_timeout(now)
        conn.arm_loss_timer(now)
    elif conn.snd.wants_tail_loss_probe:
        conn.tail_probe_owed = True
        conn.arm_retransmit(now)  # not another probe: the time-out is next (RFC 8985 7.3)


# RFC 9293 MUST-37, SHLD-30, RFC6429-01
def _on_persist(conn: Connection, now: Time) -> None:
    conn.timers.persist = NEVER
    # As long as probes are answered, the connection stays (MUST-37), unless the user has said how long data may wait.
    unanswered = conn.heard_at < conn.probed_at and now - conn.probed_at >= conn.r2
    limited = conn.options.user_timeout is not None and conn.persist_interval > 0
    if unanswered or (limited and now - conn.shut_since >= conn.r2):
        _give_up(conn)
        return
    conn.probe_owed = True
    conn.persist_interval = min(2 * conn.persist_interval, MAX_PROBE_INTERVAL)


# RFC 9293 MUST-26, MUST-29
def _on_keepalive(conn: Connection, now: Time) -> None:
    options = conn.options
    quiet_until = conn.heard_at + seconds(options.keepalive_idle)
    if conn.snd.outstanding or conn.snd.pending:  # the retransmission or persist timer asks (MUST-26)
        conn.timers.keepalive = now + seconds(options.keepalive_idle)
    elif not conn.keepalives_unanswered and now < quiet_until:
        conn.timers.keepalive = quiet_until
    elif _is_dead(conn, now):
        _give_up(conn)
    else:
        conn.keepalives_unanswered += 1
        conn.keepalive_owed = True
        conn.timers.keepalive = now + seconds(options.keepalive_interval)
        if options.user_timeout is not None and conn.heard_at + conn.r2 > now:
            conn.timers.keepalive = min(conn.timers.keepalive, conn.heard_at + conn.r2)


def _is_dead(conn: Connection, now: Time) -> bool:
    """Whether keep-alive has asked often enough; or for long enough, if the user has said how long that is."""
    if conn.options.user_timeout is None:
        return conn.keepalives_unanswered >= conn.options.keepalive_probes
    return conn.keepalives_unanswered > 0 and now - conn.heard_at >= conn.r2


# RFC 9293 MUST-21
def on_user_timeout(conn: Connection, now: Time) -> None:
    """The user has changed the time that data may wait: that counts for what waits already."""
    timers = conn.timers
    if timers.retransmit != NEVER:
        timers.retransmit = min(timers.retransmit, max(conn.progress_at + conn.r2, now))
    if timers.persist != NEVER and conn.persist_interval and conn.options.user_timeout is not None:
        timers.persist = min(timers.persist, max(conn.shut_since + conn.r2, now))
