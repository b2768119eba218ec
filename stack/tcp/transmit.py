"""What a connection has to say now: output is pulled, one segment at a time.

The order: a reset that is owed; an ACK of its own for every out-of-order arrival; what the sender gives, lost data
first; probes; and at last one plain ACK for everything else that asks for one. A segment with data or FIN carries
the ACK, so that mostly no plain one is needed. What can't be sent now leaves a deadline behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stack.tcp import low_water, urgent
from stack.tcp.receiver import Blocks
from stack.tcp.seq import wrap
from stack.tcp.state import CAN_RECEIVE, CLOSE_WAIT, CLOSED, SYN_SENT, TIME_WAIT, Event
from stack.tcp.timestamps import clock
from stack.wire.packet import Buffer
from stack.wire.segment import ACK, CWR, ECE, ECT_0, FIN, PSH, RST, SYN, Segment
from stack.wire.units import MS, NEVER, Duration, Time, seconds

if TYPE_CHECKING:
    from stack.tcp.connection import Connection


MIN_OVERRIDE: Duration = 100 * MS
MAX_OVERRIDE: Duration = 1000 * MS


# RFC 9293 MUST-58, MUST-59, RFC5681-30
def next_segment(conn: Connection, now: Time) -> Segment | None:
    """The next segment that should leave now, or None."""
    if conn.reply is not None:
        reply, conn.reply = conn.reply, None
        return reply
    if conn.resets_owed:
        return _reset(conn, now)
    state = conn.own_state
    if state is CLOSED:
        return None
    rcv = conn.rcv
    if rcv.duplicate_acks:
        return _ack(conn, now, rcv.duplicate_acks.pop(0))
    if state is not TIME_WAIT:
        seg = _from_sender(conn, now)
        if seg is not None:
            return seg
    if state is SYN_SENT:
        return None
    if rcv.ack_now or (
        state in CAN_RECEIVE and not conn.reading_closed and not rcv.fin_received and rcv.window_update_due()
    ):
        return _ack(conn, now, rcv.blocks())
    if rcv.ack_soon and conn.timers.delayed_ack == NEVER:
        conn.timers.delayed_ack = now + seconds(conn.options.delayed_ack)
    return None


# RFC 9293 MUST-35, MUST-36, RFC3168-13
def _from_sender(conn: Connection, now: Time) -> Segment | None:
    snd = conn.snd
    if conn.probe_owed:
        conn.probe_owed = False
        if snd.pushing is not None:
            snd.pushing.more = False  # it did not come in time: this is the end for now
        chunk = snd.override(now)
        if chunk is not None:
            return _with_chunk(conn, now, chunk)
        if snd.pending:
            if conn.heard_at >= conn.probed_at:
                conn.probed_at = now
            _arm_persist(conn, now)
            if conn.options.habits.probes_without_text:
                return _keepalive(conn, now)
            return _with_chunk(conn, now, snd.zero_window_probe())
    if conn.tail_probe_owed:
        conn.tail_probe_owed = False
        chunk = snd.tail_loss_probe(now)
        if chunk is not None:
            return _with_chunk(conn, now, chunk)
    fresh_from = snd.nxt
    chunk = snd.next_chunk(now)
    if chunk is not None:
        return _with_chunk(conn, now, chunk, fresh=chunk[0] >= fresh_from)
    conn.timers.pacing = snd.pace_at
    if conn.wants_low_water:
        low_water.on_sent(conn)
    if snd.blocked_by_window:
        if conn.timers.persist == NEVER:
            _arm_persist(conn, now)
    elif conn.timers.persist != NEVER:
        conn.timers.persist = NEVER
    if conn.keepalive_owed:
        conn.keepalive_owed = False
        return _keepalive(conn, now)
    if snd.pushing is not None and snd.pushing.owed and snd.una > 0:
        snd.pushing.owed = False
        seg = _ack(conn, now, conn.rcv.blocks())
        urgent.mark(snd, seg, snd.nxt)
        return seg
    return None


# RFC 9293 MUST-36, SHLD-29
def _arm_persist(conn: Connection, now: Time) -> None:
    """The first probe follows after one RTO, the others in growing intervals (RFC 9293 3.8.6.1, SHLD-29, -30).

    A window that is merely too small to be worth using is used after 0.1 to 1 second (3.8.6.2.1).
    """
    if conn.snd.usable > 0:
        conn.timers.persist = now + min(max(conn.rtt.rto, MIN_OVERRIDE), MAX_OVERRIDE)
        return
    if not conn.persist_interval:
        conn.persist_interval = conn.rtt.rto
        conn.shut_since = now
    conn.timers.persist = now + conn.persist_interval
    if conn.heard_at < conn.probed_at:
        conn.timers.persist = max(min(conn.timers.persist, conn.probed_at + conn.r2), now)
    if conn.options.user_timeout is not None:
        conn.timers.persist = max(min(conn.timers.persist, conn.shut_since + conn.r2), now)


# RFC 9293 MUST-16, MUST-61, SHLD-27, RFC2018-03, RFC3168-02, RFC3168-06, RFC3168-09, RFC3168-12, RFC6298-09
def _with_chunk(conn: Connection, now: Time, chunk: tuple[int, int], *, fresh: bool = False) -> Segment:
    """The segment that carries the numbers [start, end): SYN, data, FIN, or several of them.

    `fresh` says that they leave for the first time, and are no probe: only such data may be marked (RFC 3168 6.1.5).
    """
    start, end = chunk
    snd = conn.snd
    buffer = snd.buffer
    if snd.outstanding:
        if conn.timers.retransmit == NEVER:
            if snd.repair.records.outstanding == end - start:
                conn.progress_at = now
            conn.arm_retransmit(now)
        elif start == snd.una:
            conn.arm_retransmit(now)  # what it times has left again: no less than an RTO from now (RFC 6298 5)
        conn.arm_loss_timer(now)
    if start == 0:
        return _syn(conn, now)
    data_end = min(end, buffer.end)
    parts: tuple[Buffer, ...] = ()
    flags = ACK
    size = data_end - start
    if size > 0:
        parts = buffer.slices(start, data_end)
        conn.sent_bytes += size
        conn.data_segs_out += 1 if size <= snd.mss else -(-size // snd.mss)
        conn.last_data_out = now
        if fresh and conn.rcv.nxt == 1 and conn.rcv.ack_now and conn.options.habits.talks_at_once:
            conn.rcv.quick = 0
        pushing = snd.pushing
        if pushing is None or not (pushing.more or pushing.ends):
            pushes = data_end == buffer.end  # nothing is queued behind it (RFC 9293 3.9.1.2, MUST-61)
        else:
            pushes = pushing.is_end(data_end) or (data_end == buffer.end and not pushing.more)
        if pushes:
            flags |= PSH
    if end > buffer.end:
        flags |= FIN
        if conn.own_state is CLOSE_WAIT:
            conn.transition(Event.SEND_FIN)
    # SACK blocks only where there is room for them beside the data: 4 octets, and 8 for each (MUST-16).
    room = max((snd.mss - max(size, 0) - 4) // 8, 0)
    seg = _segment(conn, now, start, flags, parts, conn.rcv.blocks()[:room] if room else ())
    if size > snd.mss:
        seg.gso_size = snd.mss
    if snd.pushing is not None:
        urgent.mark(snd, seg, start)
    if conn.ecn and fresh and parts and not conn.handshake_retries:  # who also sent a SYN that didn't ask may not mark
        seg.ecn = ECT_0
        if snd.repair.reduced:
            snd.repair.reduced = False
            seg.flags |= CWR
    return seg


# RFC 9293 SHLD-5, MAY-3, RFC3168-01, RFC3168-03, RFC3168-05, RFC7323-04
def _syn(conn: Connection, now: Time) -> Segment:
    offer = conn.offer
    rcv = conn.rcv
    answering = conn.own_state is not SYN_SENT
    has_ts = conn.ts is not None if answering else offer.timestamps
    window = min(max(rcv.limit - rcv.buffered, 0), 0xFFFF)
    flags = SYN
    if answering:
        flags |= ACK | ECE if conn.ecn else ACK
        rcv.edge = max(rcv.edge, rcv.nxt + window)
    elif offer.ecn == "request" and not conn.handshake_retries:
        # A SYN that is sent again does not ask: some path may drop those that do (RFC 3168 6.1.1.1).
        flags |= ECE | CWR
    rcv.on_ack_sent()
    fast_open = conn.fast_open
    parts: tuple[Buffer, ...] = ()
    if fast_open is not None:
        size = fast_open.on_syn(conn, now)
        if size:
            parts = conn.snd.buffer.slices(1, 1 + size)
            conn.sent_bytes += size
            conn.data_segs_out += 1
            conn.last_data_out = now
    return Segment(
        conn.local[1],
        conn.remote[1],
        conn.iss,
        wrap(rcv.nxt, conn.irs) if answering else 0,
        flags,
        window,
        parts,
        mss=offer.mss,
        wscale=offer.wscale,
        sack_ok=rcv.sack if answering else offer.sack,
        tsval=clock(conn.ts_offset, now) if has_ts else -1,
        tsecr=conn.ts.recent if conn.ts is not None else 0,
        fastopen=None if fast_open is None else fast_open.take_option(),
    )


# RFC7323-21
def _reset(conn: Connection, now: Time) -> Segment:
    """<SEQ=SND.NXT><ACK=RCV.NXT><CTL=RST,ACK>, with timestamps as RFC 7323 5.2 asks for.

    A reset must meet the peer's RCV.NXT exactly (RFC 5961 3.2). While a zero-window probe is unanswered that may be one
    of two numbers, and a peer with a closed window would not even challenge the wrong one: so there are two resets.
    """
    ts = conn.ts
    snd = conn.snd
    conn.resets_owed -= 1
    number = snd.max if conn.resets_owed else snd.nxt
    return Segment(
        conn.local[1],
        conn.remote[1],
        wrap(number, conn.iss),
        wrap(conn.rcv.nxt, conn.irs),
        RST | ACK,
        0,
        tsval=-1 if ts is None else ts.value(now),
        tsecr=0 if ts is None else ts.recent,
    )


# RFC 9293 SHLD-12, MAY-5
def _keepalive(conn: Connection, now: Time) -> Segment:
    """An empty segment with a number that the peer has acknowledged already: it must answer (3.8.4, SHLD-12)."""
    return _segment(conn, now, conn.snd.nxt - 1, ACK, (), ())


# RFC3168-11
def _ack(conn: Connection, now: Time, blocks: Blocks) -> Segment:
    return _segment(conn, now, conn.snd.nxt, ACK, (), blocks)


# RFC7323-10, RFC7323-11
def _segment(conn: Connection, now: Time, seq: int, flags: int, parts: tuple[Buffer, ...], blocks: Blocks) -> Segment:
    rcv = conn.rcv
    irs = conn.irs
    ts = conn.ts
    window = rcv.offer()
    if conn.ece_owed:
        flags |= ECE
    conn.timers.delayed_ack = NEVER
    rcv.on_ack_sent()
    return Segment(
        conn.local[1],
        conn.remote[1],
        wrap(seq, conn.iss),
        wrap(rcv.nxt, irs),
        flags,
        window,
        parts,
        sacks=tuple([(wrap(left, irs), wrap(right, irs)) for left, right in blocks]),
        tsval=-1 if ts is None else ts.value(now),
        tsecr=0 if ts is None else ts.recent,
    )
