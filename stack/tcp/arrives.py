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

from typing import TYPE_CHECKING, Final

from stack.tcp import cork, errors, resets, urgent
from stack.tcp.negotiate import Agreement
from stack.tcp.seq import MASK, unwrap
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
from stack.tcp.timestamps import TICK, clock
from stack.wire.drop import Drop
from stack.wire.packet import Buffer
from stack.wire.segment import ACK, CE, CWR, ECE, FIN, RST, SYN, URG, Segment
from stack.wire.units import MS, NEVER, SECOND, Duration, Time

if TYPE_CHECKING:
    from stack.tcp.connection import Connection

BUFFERED_WINDOWS: Final = 4  #: Congestion windows that the send buffer grows to hold, ...
BUFFERED_TIME: Final = 8 * MS  #: ... or so much time at the rate of delivery: some wake-ups of Trio, 1 ms each.

# RFC5961-07
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
    if flags & SYN and seq == 0 and conn.snd.una == 0:
        if flags & ACK:
            # The other half of a simultaneous open: the SYN repeats what is known, the ACK is what counts (figure 7).
            flags &= ~SYN
            seq = 1
            if conn.options.habits.reports_second_syn:
                conn.rcv.duplicate = (0, 1)
                conn.rcv.ack_now = True
        elif conn.fast_open is not None and conn.fast_open.on_repeated_syn(conn):
            return
    shut = conn.rcv.wnd == 0 and seg.length > 0
    if not (_check_sequence(conn, seg, seq, flags, now) and _check_reset(conn, seq, flags, now)):
        return
    if not (_check_syn(conn, flags, now) and _check_ack(conn, seg, seq, flags, now)):
        return
    conn.heard_at = now
    conn.keepalives_unanswered = 0
    if conn.ecn:
        _note_mark(conn, seg)
    if flags & URG:  # also where the window is closed (MUST-66)
        urgent.on_pointer(conn, seg, seq)
    if shut:
        return
    _take_text(conn, seg, seq, now)
    _take_fin(conn, seg, seq, flags, now)


# SYN-SENT (3.10.7.3).


# RFC 9293 MUST-10, RFC5961-04, RFC7323-04
def _in_syn_sent(conn: Connection, seg: Segment, now: Time) -> None:
    snd = conn.snd
    flags = seg.flags
    ack = unwrap(seg.ack, conn.iss, snd.una)
    if flags & ACK and not 0 < ack <= snd.max:
        conn.drop(Drop.BAD_ACK)
        if not flags & RST:
            conn.reply = resets.answer(seg, conn.options, conn.ts_offset, now)
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
    if flags & ACK and not _echoes_our_syn(conn, seg, now):
        conn.drop(Drop.OLD_TIMESTAMP)
        conn.reply = resets.answer(seg, conn.options, conn.ts_offset, now)
        return
    conn.irs = seg.seq
    conn.rcv.nxt = 1
    conn.rcv.edge = 1 + min(conn.rcv.limit, 0xFFFF)
    conn.heard_at = conn.progress_at = now
    agreement = Agreement(conn.offer, seg, v6=conn.v6)
    conn.agree(agreement, seg, now)
    if not flags & ACK:
        conn.ecn = False  # crossing SYNs: nobody has answered the other's offer
        if not agreement.scaling:
            conn.offer = conn.offer.without_scaling()  # RFC 7323 2.2: only who was offered it answers with it
    snd.wnd = snd.max_wnd = seg.window  # never scaled on a SYN (RFC 7323 2.2)
    snd.wl2 = ack if flags & ACK else 0
    if not flags & ACK:
        # Simultaneous open (figure 7): our SYN goes out again, now with an ACK. Data of theirs is not taken from it,
        # and data of ours that went with the first one waits for the answer (RFC 7413 doesn't say; as in Linux).
        conn.transition(Event.RECV_SYN)
        snd.resend_first()
        return
    conn.rcv.ack_now = True
    _advance(conn, seg, ack, now)
    if conn.fast_open is not None:
        conn.fast_open.on_syn_ack(seg, ack, agreement.peer_mss, now)
    conn.transition(Event.RECV_SYN_ACK)
    conn.on_established(now)
    if flags & URG:
        urgent.on_pointer(conn, seg, 1)
    _take_text(conn, seg, 1, now)
    _take_fin(conn, seg, 1, flags, now)


def _echoes_our_syn(conn: Connection, seg: Segment, now: Time) -> bool:
    """Whether a SYN-ACK may be the answer to one of our SYNs by what it echoes.

    RFC 7323 doesn't ask, but like Linux and FreeBSD we take one that echoes no clock of ours for the answer to somebody
    else's SYN, and treat it as 3.10.7.3 treats a wrong number. Who echoes 0 just doesn't know how to.
    """
    if not conn.offer.timestamps or seg.tsval < 0 or not seg.tsecr:
        return True
    ago = (clock(conn.ts_offset, now) - seg.tsecr) & MASK
    return ago <= now // TICK - conn.progress_at // TICK


# First: the sequence number.


# RFC 9293 MUST-66, SHLD-2, RFC5961-01, RFC7323-12, RFC7323-13, RFC7323-14, RFC7323-19, RFC7323-20
def _check_sequence(conn: Connection, seg: Segment, seq: int, flags: int, now: Time) -> bool:
    rcv = conn.rcv
    ts = conn.ts
    reset = flags & RST
    if ts is not None and not reset:
        if seg.tsval < 0:
            # RFC 7323 3.2: once agreed on, every segment but a RST carries the option; others are dropped.
            if not conn.options.habits.takes_missing_timestamps:
                conn.drop(Drop.OLD_TIMESTAMP)
                return False
        elif ts.is_old(seg.tsval, now):
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


# RFC5961-08
def _challenge(conn: Connection, now: Time) -> None:
    """A challenge ACK (RFC 5961 3.2, 4.2): a peer that is really there answers it with an exact reset."""
    if conn.challenged_at < 0 or now - conn.challenged_at >= CHALLENGE_INTERVAL:
        conn.challenged_at = now
        conn.rcv.ack_now = True


# Second: RST.


# RFC 9293 MUST-11, MUST-12, RFC5961-02, RFC5961-03
def _check_reset(conn: Connection, seq: int, flags: int, now: Time) -> bool:
    if not flags & RST:
        return True
    if seq != conn.rcv.nxt:
        conn.drop(Drop.BAD_RESET)
        _challenge(conn, now)
        return False
    state = conn.own_state
    in_use = conn.fast_open is not None and conn.fast_open.on_reset(now)
    if state is SYN_RECEIVED and not in_use:
        conn.fail(errors.refused(), Event.RECV_RST)
    elif state is CLOSING or state is LAST_ACK:
        # Nobody misses anything if the application is gone and all but our FIN has arrived.
        clean = conn.reading_closed and conn.snd.una >= conn.snd.buffer.end
        conn.fail(None if clean else errors.reset(), Event.RECV_RST)
    else:
        conn.fail(errors.reset(), Event.RECV_RST)
    return False


# Fourth: SYN.


# RFC5961-05
def _check_syn(conn: Connection, flags: int, now: Time) -> bool:
    if not flags & SYN:
        return True
    conn.drop(Drop.UNEXPECTED_SYN)
    _challenge(conn, now)
    return False


# Fifth: ACK.


# RFC 9293 MAY-12, RFC5961-06, RFC7323-04, RFC7323-05
def _check_ack(conn: Connection, seg: Segment, seq: int, flags: int, now: Time) -> bool:
    if not flags & ACK:
        conn.drop(Drop.NO_ACK)
        return False
    snd = conn.snd
    ack = unwrap(seg.ack, conn.iss, snd.una)
    if snd.una == 0:  # SYN-RECEIVED, or FIN-WAIT-1 after a CLOSE there
        if not 0 < ack <= snd.max:
            conn.drop(Drop.BAD_ACK)
            conn.reply = resets.answer(seg, conn.options, conn.ts_offset, now)
            return False
        snd.wl1, snd.wl2 = seq - 1, ack  # whatever this segment says about the window is news
        if conn.own_state is SYN_RECEIVED:
            conn.transition(Event.RECV_ACK_OF_SYN)
    if ack > snd.max or ack < snd.una - snd.max_wnd:
        # RFC 5961 5.2: nobody who has seen our data says this.
        conn.drop(Drop.BAD_ACK)
        if ack < snd.una or conn.own_state is not ESTABLISHED or not conn.options.habits.ignores_unsent_acks:
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
    elif seg.sacks and conn.options.habits.reads_old_reports:
        _tell_sender(conn, seg, snd.una, now, duplicate=False)
    return _after_ack(conn, now)


# RFC6298-10, RFC6582-04
def _advance(conn: Connection, seg: Segment, ack: int, now: Time) -> None:
    """SND.UNA < SEG.ACK =< SND.MAX: something new is acknowledged."""
    snd = conn.snd
    held = len(snd.buffer)
    _tell_sender(conn, seg, ack, now, duplicate=False)
    conn.retries = 0
    conn.soft_error = None
    conn.progress_at = now
    if snd.wnd:  # a peer may take our probes one by one and still have no room: they go on growing rarer
        conn.persist_interval = 0
        conn.timers.persist = NEVER
    else:
        conn.shut_since = now
    if snd.outstanding:
        conn.arm_retransmit(now)
        conn.arm_loss_timer(now)
    else:
        conn.timers.retransmit = conn.timers.loss = NEVER
    if 2 * held >= conn.send_limit:  # whoever writes may wait until half of the buffer is free
        if conn.send_limit < conn.options.send_buffer:
            _grow_send_buffer(conn)
        if conn.has_room:
            conn.changed = True
    if snd.pushing is not None:
        cork.on_ack(conn)


def _grow_send_buffer(conn: Connection) -> None:
    """Dynamic right-sizing of the sender: the buffer grows with what the path has shown that it takes.

    A sender starves when the buffer runs empty before the application, which is told at half of it, has filled it
    again. Four congestion windows leave one that was never sent beside the one in flight at that time; and where a
    window lasts no longer than a wake-up, what counts is the rate.
    """
    snd = conn.snd
    wanted = max(BUFFERED_WINDOWS * snd.congestion.cwnd, snd.repair.rate.rate * BUFFERED_TIME // SECOND)
    if wanted > conn.send_limit:
        conn.send_limit = min(wanted, conn.options.send_buffer)


# RFC 9293 MUST-37, SHLD-17, RFC6429-01
def _on_same_ack(conn: Connection, seg: Segment, flags: int, window_changed: bool, now: Time) -> None:
    """SEG.ACK = SND.UNA: a duplicate, an answer to a probe, or just data from the other side."""
    snd = conn.snd
    if not snd.outstanding and not snd.pending:
        if seg.sacks or snd.repair.probing:
            _tell_sender(conn, seg, snd.una, now, duplicate=not seg.size and not flags & FIN and not window_changed)
        return
    if snd.wnd == 0 and conn.options.user_timeout is None:
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


# RFC 9293 SHLD-8, RFC3168-10, RFC3168-12
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
    at_least = marked and snd.on_mark(ack, now)
    snd.on_ack(ack, blocks, now, duplicate=duplicate, echoed=echoed, echo_tick=echo_tick, marked=marked)
    if at_least:
        snd.repair.hold(now)
        if snd.outstanding:
            conn.arm_retransmit(now)


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


# RFC 9293 SHLD-3, RFC7323-08
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
        if conn.options.habits.resets_as_if_gone:
            conn.reply = resets.answer(seg, conn.options, conn.ts_offset, now)
            conn.fail(errors.aborted(), Event.ABORT)
        else:
            conn.abort()
        return
    conn.data_segs_in += seg.segments
    if now - conn.last_data_in > conn.rtt.rto and conn.last_data_out < conn.last_data_in:
        rcv.on_silence()  # but not where we answer what comes: the answer carries the ACK
    conn.last_data_in = now
    before = rcv.nxt
    parts: tuple[Buffer, ...] = seg.parts
    if len(parts) == 1:
        kept = rcv.on_text(start, memoryview(parts[0])[start - seq : end - seq], now, seg.segments)
    else:
        kept = rcv.on_text(start, memoryview(seg.payload)[start - seq : end - seq], now, seg.segments)
    if not kept:
        conn.drop(Drop.OUT_OF_ORDER_LIMIT)
    if conn.ts is None:
        rcv.on_window(now)
    elif seg.tsecr != conn.last_echo and seg.tsval >= 0:
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
