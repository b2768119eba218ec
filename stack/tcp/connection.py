"""One TCP connection, sans-IO: the user calls, the getters and the time-outs of RFC 9293 3.10.

A connection is a state, two halves that do not know each other (`Sender`, `Receiver`), a table of deadlines, and
what the two SYNs agreed on: `Tcb` holds all of that. Segments come in through `on_segment` (see
`stack.tcp.arrives`), time through `on_timeout`; segments go out through `poll_transmit` (see
`stack.tcp.transmit`), which whoever drives the connection calls until it gives None; commands of the application
are plain verbs. Nothing here asks for the time, and nothing calls back: what the application may want to know is
level-triggered, and `changed` says that it is worth a look.

Sequence numbers inside are counted from the initial ones (see `stack.tcp.seq`).
"""

from __future__ import annotations

from stack.tcp import arrives, closing, cork, errors, low_water, network, timeouts, transmit, urgent
from stack.tcp.config import TcpOptions
from stack.tcp.congestion import algorithm
from stack.tcp.info import Info, snapshot
from stack.tcp.negotiate import TIMESTAMP_BYTES, Agreement
from stack.tcp.state import (
    CAN_SEND,
    CLOSED,
    SYN_SENT,
    SYNCHRONISED,
    TIME_WAIT,
    Event,
    State,
    follow,
)
from stack.tcp.tcb import Endpoint as Endpoint
from stack.tcp.tcb import Tcb
from stack.tcp.time_wait import TimeWait
from stack.tcp.timers import Timers
from stack.tcp.timestamps import Timestamps
from stack.wire.drop import Drop
from stack.wire.packet import Buffer
from stack.wire.segment import Segment
from stack.wire.units import NEVER, Duration, Time, seconds


class Connection(Tcb):
    """A connection from its SYN to its end; made by the host."""

    __slots__ = ()

    # Getters.

    @property
    def state(self) -> State:
        """The state; in TIME-WAIT, what the host's small record says."""
        record = self.time_wait
        return self.own_state if record is None else record.state

    @property
    def v6(self) -> bool:
        return len(self.local[0]) == 16

    @property
    def readable(self) -> int:
        """Octets that `read` would give."""
        return self.rcv.buffered

    # RFC 9293 MUST-12
    @property
    def at_eof(self) -> bool:
        """Whether the peer has closed its direction and everything before that was read."""
        return self.rcv.fin_received and not self.rcv.buffered

    def has_text(self, limit: int) -> bool:
        """Whether a reader who takes up to `limit` octets should look: see `stack.tcp.low_water`."""
        return self.rcv.buffered > 0 and (self.options.receive_lowat == 1 or low_water.has_text(self, limit))

    @property
    def urgent_mark(self) -> int:
        """Where the peer's urgent data ends: how many octets of its stream lie before that; 0: none was announced.

        `changed` is set when it grows; it never lies beyond the end of the stream. RFC 9293 MUST-32; see
        `stack.tcp.urgent`.
        """
        return urgent.offset(self)

    # RFC 9293 MUST-33
    @property
    def urgent_remaining(self) -> int:
        """Octets from the next one that `read` gives to `urgent_mark`, arrived or not; 0: no urgent data is left.

        RFC 9293 MUST-33. At the mark that systems know which take the last urgent octet for the only one (SIOCATMARK),
        it is 1.
        """
        return urgent.remaining(self)

    @property
    def room(self) -> int:
        """Octets for which the send buffer has room."""
        if self.own_state not in CAN_SEND or self.snd.fin_wanted or self.close_queued:
            return 0
        return max(self.send_limit - len(self.snd.buffer), 0)

    @property
    def writable(self) -> int:
        """Octets that `write` would accept now."""
        mark = self.options.notsent_lowat
        return self.room if mark is None else low_water.takes(self, self.room, mark)

    @property
    def has_room(self) -> bool:
        """Whether a writer who waits should look: half of the buffer is free, and half of `notsent_lowat`."""
        return low_water.has_room(self)

    @property
    def unsent(self) -> int:
        """Octets, and the FIN, that were never sent."""
        snd = self.snd
        return snd.buffer.end - min(snd.nxt, snd.buffer.end) + (snd.fin_wanted and not snd.fin_sent)

    @property
    def unacknowledged(self) -> int:
        """Octets, and the FIN, that the peer has not acknowledged."""
        return self.unsent + self.snd.flight

    @property
    def finished(self) -> bool:
        """Whether nothing more will be sent or received: CLOSED, or TIME-WAIT."""
        return self.own_state is CLOSED or self.own_state is TIME_WAIT

    @property
    def lingers(self) -> bool:
        """Whether data or a FIN of ours is not yet acknowledged, on a connection that is not just being opened."""
        return self.own_state is not SYN_SENT and self.own_state is not CLOSED and self.unacknowledged > 0

    def next_timeout(self) -> Time:
        """When `on_timeout` wants to be called."""
        return self.timers.earliest()

    @property
    def path_doubtful(self) -> bool:
        """Whether R1 is reached: `TcpOptions.r1` retransmissions or more have brought no progress (RFC 9293 3.8.3)."""
        return self.retries >= self.options.r1

    # User calls (3.10.1 to 3.10.6).

    def open(self, now: Time) -> None:
        """Active OPEN: a SYN will be sent."""
        self.transition(Event.ACTIVE_OPEN)
        self.progress_at = self.heard_at = now
        if self.options.connect_timeout is not None:
            self.timers.linger = now + seconds(self.options.connect_timeout)

    def accept(self, syn: Segment, agreement: Agreement, now: Time, *, rtt: Duration, retries: int) -> None:
        """Become what a half-open record stood for: SYN received, SYN-ACK sent; the third segment follows.

        `rtt` is how long ago the SYN-ACK left if it was sent once, else -1.
        """
        self.own_state = follow(State.LISTEN, Event.RECV_SYN)
        self.irs = syn.seq
        self.progress_at = now
        self.rcv.begin(self.options, timestamps=agreement.timestamps)
        self.agree(agreement, syn, now)
        snd = self.snd
        snd.nxt = snd.max = 1
        snd.repair.on_sent(0, 1, now - max(rtt, 0))
        if retries and snd.repair.records.first is not None:
            snd.repair.records.first.transmissions += retries
        self.handshake_retries = retries

    def write(self, data: Buffer, *, more: bool = False, urgent: bool = False, end_of_record: bool = False) -> int:
        """SEND: queue octets; returns how many of them were accepted, at most `writable`.

        The data is kept by reference and must not be changed afterwards. `more` says that the next write follows soon,
        and a segment that is not full may wait for it; `urgent` that everything up to the end of this data is urgent
        (RFC 9293 3.8.5; for protocols that have that already, SHLD-13); `end_of_record` that no segment is to hold both
        the end of this data and what is written later. Raises `ClosedError` after `close_write` or `close`, and the
        connection's error when it is broken.
        """
        if self.own_state is CLOSED or self.own_state not in CAN_SEND or self.snd.fin_wanted or self.close_queued:
            if self.error is not None:
                raise self.error
            raise errors.ClosedError("write() after close")
        room = self.writable
        if room < len(data):
            data = memoryview(data)[:room]
            end_of_record = False  # the rest of it is still to come
        self.snd.buffer.append(data)
        if len(data) and (more or urgent or end_of_record or self.snd.pushing is not None):
            cork.on_write(self, more=more, urgent=urgent, end_of_record=end_of_record)
        if self.options.notsent_lowat is not None:
            low_water.on_write(self)
        return len(data)

    def push(self) -> None:
        """Let a segment go that `more` or a cork holds back; what is written later is held back again."""
        cork.push(self)

    def read(self, limit: int, now: Time) -> bytes:
        """RECEIVE: up to `limit` octets that came in order; b"" when there are none, or at the end.

        Raises the connection's error when it is broken and nothing is left to read, `ClosedError` after `close`.
        """
        if not self.rcv.buffered:
            if self.reading_closed:
                raise errors.ClosedError("read() after close")
            if self.error is not None:
                raise self.error
        return self.rcv.read(limit, now, self.rtt.srtt)

    def peek(self, limit: int, skip: int = 0) -> bytes:
        """Up to `limit` octets that `read` would give after `skip` others. They stay."""
        return self.rcv.peek(limit, skip)

    def quick_ack(self, on: bool) -> None:
        """Acknowledge at once what is owed and the next segments, or else not before it must be (tcp(7), TCP_QUICKACK).

        Either way what the peer sends decides again before long.
        """
        self.rcv.quick_ack(on)

    def close_write(self) -> None:
        """CLOSE one direction: a FIN follows what is queued; receiving goes on. Harmless when repeated."""
        closing.close_write(self)

    def close_read(self, now: Time) -> None:
        """After `close_write`: nobody wants what arrives from now on, it resets the connection. What is here stays."""
        closing.close_read(self, now)

    def close(self, now: Time) -> None:
        """CLOSE both directions: a FIN follows what is queued, and nobody will read any more.

        Data that is unread now, or arrives later, is answered with a reset, so that the peer learns that it was
        lost (RFC 9293 3.6.1, SHLD-3).
        """
        closing.close(self, now)

    def abort(self) -> None:
        """ABORT: tell the peer with a reset, where 3.10.5 says so, and be gone."""
        closing.abort(self)

    # RFC 9293 MUST-47, SHLD-25
    def take_soft_error(self) -> OSError | None:
        """The latest soft error about something that is still in flight, which is forgotten by that."""
        error = self.soft_error
        self.soft_error = None
        return error

    # RFC 9293 MUST-17, MUST-21, MUST-24, SHLD-21
    def set_options(self, options: TcpOptions, now: Time) -> None:
        """Change what can be changed on a connection: what is said of `nodelay`, `cork`, low-water marks, buffers,
        congestion control, keep-alive, time-outs, `linger`, `ttl` and `dscp`."""
        before, self.options = self.options, options
        cork.on_options(self, cork_before=before.cork, nodelay_before=before.nodelay)
        if options.congestion != before.congestion:
            self.snd.change_congestion(algorithm(options.congestion)(self.snd.mss))
        self.rcv.resize(options)
        self.send_limit = min(max(options.send_space, self.send_limit), options.send_buffer)
        self.changed = True  # there may be room for a writer that waits
        self.start_keepalive(now)
        timeouts.on_user_timeout(self, now)
        if self.time_wait is not None:
            self.time_wait.options = options

    # Inputs from the world.

    def on_segment(self, seg: Segment, now: Time) -> None:
        """SEGMENT ARRIVES (3.10.7)."""
        self.segs_in += seg.segments
        arrives.segment_arrives(self, seg, now)

    def on_timeout(self, now: Time) -> None:
        """Some deadline may have passed: do what is due."""
        timeouts.on_timeout(self, now)

    # RFC 9293 MUST-54, MUST-56, SHLD-26
    def on_icmp_error(self, seq: int, error: OSError, *, hard: bool) -> bool:
        """An ICMP error quotes a segment of ours with wire number `seq`; false if we have no such one in flight.

        A hard error ends a connection that is still being opened. Afterwards every error is soft: it is kept and
        told if the connection then times out, because anyone can forge one (RFC 5927 5.2).
        """
        return network.on_icmp_error(self, seq, error, hard=hard)

    def on_too_big(self, seq: int, mtu: int) -> bool:
        """The path takes only `mtu` bytes, says a router about a segment with wire number `seq`; true if that holds.

        The host then keeps the estimate and calls `on_path_mtu`.
        """
        return network.on_too_big(self, seq, mtu)

    def on_path_mtu(self, mtu: int) -> None:
        """The host has learned what the path takes in one packet, in bytes."""
        network.on_path_mtu(self, mtu)

    # Output.

    def poll_transmit(self, now: Time) -> Segment | None:
        """The next segment that should leave now, or None."""
        seg = transmit.next_segment(self, now)
        if seg is not None:
            self.segs_out += seg.segments
        return seg

    # What the steps of 3.10.7 share.

    def transition(self, event: Event) -> None:
        """The one door for changes of state."""
        self.own_state = follow(self.own_state, event)
        self.changed = True

    def fail(self, error: OSError | None, event: Event) -> None:
        """The connection is over, by anything but an orderly close."""
        self.transition(event)
        self.error = error
        if self.fast_open is not None:
            self.fast_open.on_end()
        self.timers.stop()
        self.rcv.duplicate_acks.clear()
        self.snd.buffer.release(self.snd.buffer.end)  # whoever still holds this connection need not hold that, too

    def bury(self) -> None:
        """A fault of ours has left nothing to rely on: be over, without a word to anybody."""
        self.own_state = CLOSED
        self.error = self.error or errors.aborted()
        self.timers = Timers()
        if self.fast_open is not None:
            self.fast_open.on_end()
        self.reply = None
        self.resets_owed = 0
        self.changed = True

    def drop(self, reason: Drop) -> None:
        """Count a segment, or part of one, that is refused."""
        self.drops[reason] = self.drops.get(reason, 0) + 1

    # RFC 9293 MUST-16, RFC5681-05
    def agree(self, agreement: Agreement, syn: Segment, now: Time) -> None:
        """Put in force what the two SYNs have agreed on."""
        own = self.options.mss
        self.peer_mss = agreement.peer_mss if own is None else min(agreement.peer_mss, own)
        if agreement.timestamps:
            self.ts = Timestamps(self.ts_offset, syn.tsval, now)
            self.rcv.mss -= TIMESTAMP_BYTES  # what a full segment of the peer's carries
        self.ecn = agreement.ecn
        self.snd_shift = agreement.snd_shift
        self.rcv.shift = agreement.rcv_shift
        self.rcv.limit = max(self.rcv.limit, 2 << agreement.rcv_shift)  # less can't be said in scaled units
        self.rcv.sack = agreement.sack
        mss = network.send_mss(self)
        controller = algorithm(self.options.congestion)(mss)
        self.snd.agree(controller, mss, sack=agreement.sack, max_payload=self.max_payload)

    def on_established(self, now: Time) -> None:
        """The handshake is complete."""
        self.connected = True
        self.rtt.in_handshake = False
        if not self.abandoned or self.options.linger is None:
            self.timers.linger = NEVER
        if self.handshake_retries:
            self.rtt.on_handshake_loss()
            self.snd.congestion.on_handshake_loss()
        if self.fast_open is not None:
            self.fast_open.on_established(self)
        self.start_keepalive(now)
        if self.close_queued:
            self.close_queued = False
            self.close_write()

    def enter_time_wait(self, now: Time) -> None:
        """Hand over to a small record, which the host keeps for 2 MSL."""
        self.timers.stop()
        self.time_wait = TimeWait(self, now)

    def start_linger(self, now: Time) -> None:
        """FIN-WAIT-2 without anybody to read: do not wait for the peer's FIN for ever."""
        self.timers.linger = now + seconds(self.options.fin_wait_2_timeout)

    # RFC 9293 MUST-24
    def start_keepalive(self, now: Time) -> None:
        on = self.options.keepalive and self.own_state in SYNCHRONISED and self.own_state is not TIME_WAIT
        self.timers.keepalive = now + seconds(self.options.keepalive_idle) if on else NEVER
        self.keepalives_unanswered = 0

    # RFC 9293 MUST-21, RFC5482-01
    @property
    def r2(self) -> Duration:
        """How long something may stay unacknowledged (RFC 9293 3.8.3)."""
        limit = self.options.user_timeout
        return seconds(self.options.r2 if limit is None else limit)

    # RFC6298-10
    def arm_retransmit(self, now: Time) -> None:
        """Start, or start again, the retransmission timer; R2 cuts the last wait short."""
        due = now + self.rtt.rto
        if self.own_state is not SYN_SENT or self.options.user_timeout is not None:
            due = min(due, max(self.progress_at + self.r2, now))
        self.timers.retransmit = due

    # RFC8985-09, RFC8985-10, RFC8985-15
    def arm_loss_timer(self, now: Time) -> None:
        """After an ACK that moved something, and after new data: the nearer question (RFC 8985 6.2, 7.2)."""
        repair = self.snd.repair
        due = repair.reorder_at
        if due == NEVER and repair.tlp is not None and self.snd.wants_tail_loss_probe:
            # Not later than the time-out, in whose place it then goes (7.2).
            due = min(now + repair.tlp.timeout(self.rtt, self.snd.flight, self.snd.mss), self.timers.retransmit)
        self.timers.loss = due

    def info(self, now: Time) -> Info:
        """A snapshot in the names and units of `tcp_info`."""
        return snapshot(self, now)

    def __repr__(self) -> str:
        return f"<Connection {self.local} {self.remote} {self.state}>"
