"""SEGMENT ARRIVES (RFC 9293 3.10.7), a function a step, in the order of the RFC.

    first    sequence number      acceptable, or answered with an ACK (before it PAWS, RFC 7323 5.3)
    second   RST                  exact match resets, in the window is challenged (RFC 5961 3.2)
    third    security             not implemented: nobody uses it
    fourth   SYN                  challenged (RFC 5961 4.2)
    fifth    ACK                  in a plausible range (RFC 5961 5.2); then window, recovery, our FIN
    sixth    URG                  urgent data is delivered in line (RFC 6093)
    seventh  text                 trimmed to the window, kept in or out of order
    eighth   FIN

A step returns whether the next one is to be taken. LISTEN and passive SYN-RECEIVED are `stack.tcp.half_open`'s,
TIME-WAIT is `stack.tcp.time_wait`'s, CLOSED the host's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stack.tcp import errors
from stack.tcp.negotiate import Agreement
from stack.tcp.seq import unwrap
from stack.tcp.state import (
    CAN_RECEIVE,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
    Event,
)
from stack.tcp.timestamps import TICK
from stack.wire.drop import Drop
from stack.wire.packet import Buffer
from stack.wire.segment import ACK, CE, CWR, ECE, FIN, RST, SYN, Segment
from stack.wire.units import MS, NEVER, Duration, Time

if TYPE_CHECKING:
    from stack.tcp.connection import Connection

CHALLENGE_INTERVAL: Duration = 500 * MS
"""RFC 5961 7 asks for a limit. Per connection, so that no one can count another's challenges (CVE-2016-5696)."""

OLD_ACK_INTERVAL: Duration = 50 * MS
"""Between answers to empty segments outside the window: slow enough to end a war of ACKs, and faster than any
peer's probes of a zero window, each of which must be answered."""


def segment_arrives(conn: Connection, seg: Segment, now: Time) -> None:
    """Do all that `seg` asks for."""
    if conn.own_state is SYN_SENT:
        _in_syn_sent(conn, seg, now)
        return
    if conn.own_state is CLOSED or conn.own_state is TIME_WAIT:
        return
    seq = unwrap(seg.seq, conn.irs, conn.rcv.nxt)
    flags = seg.flags
    if flags & (SYN | ACK) == SYN | ACK and seq == 0 and conn.snd.una == 0:
        # The other half of a simultaneous open: the SYN repeats what is known, the ACK is what counts (figure 7).
        flags &= ~SYN
        seq = 1
    shut = conn.rcv.wnd == 0 and seg.length > 0
    if not (_check_sequence(conn, seg, seq, flags, now) and _check_reset(conn, seq, flags, now)):
        return
    if not (_check_syn(conn, flags, now) and _check_ack(conn, seg, seq, flags, now)):
        return
    conn.heard_at = now
    conn.keepalives_unanswered = 0
    if conn.ecn:
        _note_mark(conn, seg)
    if shut:
        return
    _take_text(conn, seg, seq, now)
    _take_fin(conn, seg, seq, flags, now)


# SYN-SENT (3.10.7.3).


def _in_syn_sent(conn: Connection, seg: Segment, now: Time) -> None:
    snd = conn.snd
    flags = seg.flags
    ack = unwrap(seg.ack, conn.iss, snd.una)
    if flags & ACK and not 0 < ack <= snd.max:
        conn.drop(Drop.BAD_ACK)
        if not flags & RST:
            conn.reply = Segment(conn.local[1], conn.remote[1], seg.ack, 0, RST, 0)
        return
    if flags & RST:
        if flags & ACK:
            conn.fail(errors.refused(), Event.RECV_RST)
        else:
            conn.drop(Drop.BAD_RESET)
        return
    if not flags & SYN:
        conn.drop(Drop.NO_ACK)
        return
    conn.irs = seg.seq
    conn.rcv.nxt = 1
    conn.rcv.edge = 1 + min(conn.rcv.limit, 0xFFFF)
    conn.heard_at = conn.progress_at = now
    conn.agree(Agreement(conn.offer, seg, v6=conn.v6), seg, now)
    if not flags & ACK:
        conn.ecn = False  # crossing SYNs: nobody has answered the other's offer
    snd.wnd = snd.max_wnd = seg.window  # never scaled on a SYN (RFC 7323 2.2)
    snd.wl2 = ack if flags & ACK else 0
    if not flags & ACK:
        # Simultaneous open (figure 7): our SYN goes out again, now with an ACK. What it carried is sent again, too.
        conn.transition(Event.RECV_SYN)
        snd.resend_first()
        return
    conn.rcv.ack_now = True
    _advance(conn, seg, ack, now)
    conn.transition(Event.RECV_SYN_ACK)
    conn.on_established(now)
    _take_text(conn, seg, 1, now)
    _take_fin(conn, seg, 1, flags, now)


# First: the sequence number.


def _check_sequence(conn: Connection, seg: Segment, seq: int, flags: int, now: Time) -> bool:
    rcv = conn.rcv
    ts = conn.ts
    reset = flags & RST
    if ts is not None and not reset:
        if seg.tsval < 0:
            # RFC 7323 3.2: once agreed on, every segment but a RST carries the option; others are dropped.
            conn.drop(Drop.OLD_TIMESTAMP)
            return False
        if ts.is_old(seg.tsval, now):
            conn.drop(Drop.OLD_TIMESTAMP)
            _acknowledge_stray(conn, seg, flags, now)
            return False
    # Of a RST only the number counts: text that it may carry (SHLD-2) needs no window (MUST-66).
    length = 0 if reset else seg.size + (1 if flags & SYN else 0) + (flags & FIN)
    if not _acceptable(seq, length, rcv.nxt, rcv.edge):
        conn.drop(Drop.OUT_OF_WINDOW)
        if reset:
            return False
        if seq == rcv.nxt == rcv.edge and not flags & SYN:
            # Text for a closed window: a valid ACK that it carries is taken all the same (3.10.7.4, first).
            rcv.ack_now = True
            return True
        if seg.size and seq < rcv.nxt:
            rcv.on_old_text(seq, min(seq + seg.size, rcv.nxt))
        else:
            _acknowledge_stray(conn, seg, flags, now)
        return False
    return True


def _acceptable(seq: int, length: int, nxt: int, edge: int) -> bool:
    """The four cases of RFC 9293 table 6, with RCV.WND = edge - nxt."""
    if length == 0:
        # Deviation: like Linux, an empty segment just at the right edge passes. A peer that has filled the window
        # while we miss a segment of it has no other number to send its ACKs with.
        return nxt <= seq <= edge
    return nxt < edge and seq < edge and seq + length > nxt


def _acknowledge_stray(conn: Connection, seg: Segment, flags: int, now: Time) -> None:
    """<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>, not too often where the other end may be doing the same."""
    if flags & SYN:
        _challenge(conn, now)
        return
    if seg.length == 0:
        if conn.old_acks_at >= 0 and now - conn.old_acks_at < OLD_ACK_INTERVAL:
            return
        conn.old_acks_at = now
    conn.rcv.ack_now = True


def _challenge(conn: Connection, now: Time) -> None:
    """A challenge ACK (RFC 5961 3.2, 4.2): a peer that is really there answers it with an exact reset."""
    if conn.challenged_at < 0 or now - conn.challenged_at >= CHALLENGE_INTERVAL:
        conn.challenged_at = now
        conn.rcv.ack_now = True


# Second: RST.


def _check_reset(conn: Connection, seq: int, flags: int, now: Time) -> bool:
    if not flags & RST:
        return True
    if seq != conn.rcv.nxt:
        conn.drop(Drop.BAD_RESET)
        _challenge(conn, now)
        return False
    state = conn.own_state
    if state is SYN_RECEIVED:
        conn.fail(errors.refused(), Event.RECV_RST)
    elif state is CLOSING or state is LAST_ACK:
        # Nobody misses anything if the application is gone and all but our FIN has arrived.
        clean = conn.reading_closed and conn.snd.una >= conn.snd.buffer.end
        conn.fail(None if clean else errors.reset(), Event.RECV_RST)
    else:
        conn.fail(errors.reset(), Event.RECV_RST)
    return False


# Fourth: SYN.


def _check_syn(conn: Connection, flags: int, now: Time) -> bool:
    if not flags & SYN:
        return True
    conn.drop(Drop.UNEXPECTED_SYN)
    _challenge(conn, now)
    return False


# Fifth: ACK.


def _check_ack(conn: Connection, seg: Segment, seq: int, flags: int, now: Time) -> bool:
    if not flags & ACK:
        conn.drop(Drop.NO_ACK)
        return False
    snd = conn.snd
    ack = unwrap(seg.ack, conn.iss, snd.una)
    if conn.own_state is SYN_RECEIVED:
        if not 0 < ack <= snd.max:
            conn.drop(Drop.BAD_ACK)
            conn.reply = Segment(conn.local[1], conn.remote[1], seg.ack, 0, RST, 0)
            return False
        conn.transition(Event.RECV_ACK_OF_SYN)
    if snd.una == 0:
        snd.wl1, snd.wl2 = seq - 1, ack  # whatever this segment says about the window is news
    if ack > snd.max or ack < snd.una - snd.max_wnd:
        # RFC 5961 5.2: nobody who has seen our data says this.
        conn.drop(Drop.BAD_ACK)
        _acknowledge_stray(conn, seg, flags, now)
        return False
    if conn.ts is not None and seg.tsval >= 0:
        # RFC 7323 4.3: TS.Recent comes from the segment that our latest ACK asked for. Not before its own ACK is known
        # to be plausible, or a blind segment could move the clock and have PAWS drop everything that follows.
        conn.ts.on_segment(seg.tsval, seq <= conn.rcv.nxt - conn.rcv.unacked, now)
    if ack >= snd.una:
        shift = 0 if seg.flags & SYN else conn.snd_shift  # a window on a SYN is never scaled (RFC 7323 2.2)
        window_changed = snd.on_window(seg.window << shift, seq, ack)
        if ack > snd.una:
            _advance(conn, seg, ack, now)
            if not conn.connected:  # in ESTABLISHED, or in FIN-WAIT-1, where a CLOSE in SYN-RECEIVED leads
                conn.on_established(now)
        else:
            _on_same_ack(conn, seg, flags, window_changed, now)
    return _after_ack(conn, now)


def _advance(conn: Connection, seg: Segment, ack: int, now: Time) -> None:
    """SND.UNA < SEG.ACK =< SND.MAX: something new is acknowledged."""
    snd = conn.snd
    full_before = conn.writable
    _tell_sender(conn, seg, ack, now, duplicate=False)
    conn.retries = 0
    conn.soft_error = None
    conn.progress_at = now
    if snd.wnd:  # a peer may take our probes one by one and still have no room: they go on growing rarer
        conn.persist_interval = 0
        conn.timers.persist = NEVER
    if snd.outstanding:
        conn.arm_retransmit(now)
        conn.arm_loss_timer(now)
    else:
        conn.timers.retransmit = conn.timers.loss = NEVER
    half = conn.options.send_buffer // 2
    if full_before <= half <= conn.writable:
        conn.changed = True


def _on_same_ack(conn: Connection, seg: Segment, flags: int, window_changed: bool, now: Time) -> None:
    """SEG.ACK = SND.UNA: a duplicate, an answer to a probe, or just data from the other side."""
    snd = conn.snd
    if not snd.outstanding and not snd.pending:
        if seg.sacks or snd.repair.probing:
            _tell_sender(conn, seg, snd.una, now, duplicate=not seg.size and not flags & FIN and not window_changed)
        return
    if snd.wnd == 0:
        conn.progress_at = now  # the peer is there, and says wait (RFC 9293 3.8.6.1, MUST-37)
    if window_changed and snd.wnd:
        conn.persist_interval = 0
        conn.timers.persist = NEVER
    if snd.outstanding:
        # RFC 5681 2; with SACK, what counts is what the segment reports.
        duplicate = not seg.size and not flags & FIN and not window_changed
        _tell_sender(conn, seg, snd.una, now, duplicate=duplicate)
        if snd.repair.reorder_at != NEVER:
            conn.arm_loss_timer(now)


def _note_mark(conn: Connection, seg: Segment) -> None:
    """RFC 3168 6.1.3: tell the peer of a mark until it says that it has heard."""
    if seg.flags & CWR:
        conn.ece_owed = False
    if seg.ecn == CE:
        conn.ece_owed = True


def _tell_sender(conn: Connection, seg: Segment, ack: int, now: Time, *, duplicate: bool) -> None:
    """Unwrap what the ACK says."""
    snd = conn.snd
    echoed: Duration = -1
    echo_tick = -1
    if conn.ts is not None and seg.tsval >= 0:
        echoed = conn.ts.elapsed(seg.tsecr, now)
        if echoed >= 0:
            echo_tick = now // TICK - echoed // TICK
    iss, near = conn.iss, snd.una
    blocks = [(unwrap(left, iss, near), unwrap(right, iss, near)) for left, right in seg.sacks]
    marked = conn.ecn and seg.flags & (ECE | SYN) == ECE
    if marked:
        snd.on_mark(now)
    snd.on_ack(ack, blocks, now, duplicate=duplicate, echoed=echoed, echo_tick=echo_tick, marked=marked)


def _after_ack(conn: Connection, now: Time) -> bool:
    """Our FIN may have been acknowledged."""
    if not conn.snd.fin_acked:
        return True
    state = conn.own_state
    if state is FIN_WAIT_1:
        conn.transition(Event.RECV_ACK_OF_FIN)
        if conn.reading_closed:
            conn.start_linger(now)
    elif state is CLOSING:
        conn.transition(Event.RECV_ACK_OF_FIN)
        conn.enter_time_wait(now)
        return False
    elif state is LAST_ACK:
        conn.transition(Event.RECV_ACK_OF_FIN)
        conn.timers.stop()
        return False
    return True


# Seventh: text.


def _take_text(conn: Connection, seg: Segment, seq: int, now: Time) -> None:
    if not seg.size:
        return
    rcv = conn.rcv
    if conn.own_state not in CAN_RECEIVE or rcv.fin_received:
        conn.drop(Drop.AFTER_CLOSE)
        rcv.ack_now = True
        return
    start, end = max(seq, rcv.nxt), min(seq + seg.size, rcv.edge)
    if seq < start < end:
        rcv.duplicate = (seq, start)  # the head of it was here before (RFC 2883 4.2)
    if rcv.fin >= 0:
        end = min(end, rcv.fin)  # the first FIN decides where the stream ends
    if start >= end:
        if seq + seg.size <= rcv.nxt:
            rcv.on_old_text(seq, seq + seg.size)
        return
    if conn.reading_closed:
        # RFC 9293 3.6.1, SHLD-3: the application will never see this; say so.
        conn.drop(Drop.AFTER_CLOSE)
        conn.abort()
        return
    conn.data_segs_in += seg.segments
    if now - conn.last_data_in > conn.rtt.rto and conn.last_data_out < conn.last_data_in:
        rcv.on_silence()  # but not where we answer what comes: the answer carries the ACK
    conn.last_data_in = now
    before = rcv.nxt
    parts: tuple[Buffer, ...] = seg.parts
    if len(parts) == 1:
        kept = rcv.on_text(start, memoryview(parts[0])[start - seq : end - seq], now)
    else:
        kept = rcv.on_text(start, memoryview(seg.payload)[start - seq : end - seq], now)
    if not kept:
        conn.drop(Drop.OUT_OF_ORDER_LIMIT)
    if conn.ts is None:
        rcv.on_window(now)
    elif seg.tsecr != conn.last_echo:
        conn.last_echo = seg.tsecr
        rcv.on_echo(conn.ts.elapsed(seg.tsecr, now))
    if rcv.nxt > before:
        conn.changed = True


# Eighth: FIN.


def _take_fin(conn: Connection, seg: Segment, seq: int, flags: int, now: Time) -> None:
    rcv = conn.rcv
    if flags & FIN:
        number = seq + seg.size
        if rcv.nxt <= number <= rcv.edge:
            rcv.ack_now = True
            if not rcv.on_fin(number):
                conn.drop(Drop.BAD_FIN)
    if rcv.fin < 0 or conn.own_state not in (ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2) or not rcv.take_fin():
        return
    state = conn.own_state
    conn.transition(Event.RECV_FIN)
    if state is FIN_WAIT_2:
        conn.enter_time_wait(now)
