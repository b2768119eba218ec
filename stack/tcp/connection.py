"""One TCP connection, sans-IO: the user calls, the getters and the time-outs of RFC 9293 3.10.

A connection is a state, two halves that do not know each other (`Sender`, `Receiver`), a table of deadlines, and
what the two SYNs agreed on. Segments come in through `on_segment` (see `stack.tcp.arrives`), time through
`on_timeout`; segments go out through `poll_transmit` (see `stack.tcp.transmit`), which whoever drives the connection
calls until it gives None; commands of the application are plain verbs. Nothing here asks for the time, and nothing
calls back: what the application may want to know is level-triggered, and `changed` says that it is worth a look.

Sequence numbers inside are counted from the initial ones (see `stack.tcp.seq`).
"""

from __future__ import annotations

from stack.tcp import arrives, errors, transmit
from stack.tcp.config import TcpOptions
from stack.tcp.congestion import algorithm
from stack.tcp.info import Info, snapshot
from stack.tcp.negotiate import TIMESTAMP_BYTES, Agreement, Offer
from stack.tcp.receiver import Receiver
from stack.tcp.rtt import RttEstimator
from stack.tcp.sender import Sender
from stack.tcp.seq import unwrap
from stack.tcp.state import (
    CAN_SEND,
    CLOSE_WAIT,
    CLOSED,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    SYN_RECEIVED,
    SYN_SENT,
    SYNCHRONISED,
    TIME_WAIT,
    Event,
    State,
    follow,
)
from stack.tcp.time_wait import TimeWait
from stack.tcp.timers import Timers
from stack.tcp.timestamps import Timestamps
from stack.wire.drop import Drop
from stack.wire.packet import Buffer
from stack.wire.segment import Segment
from stack.wire.units import MS, NEVER, Duration, Time, seconds

Endpoint = tuple[bytes, int]
"""An address as raw bytes, and a port."""

SENDS_RESET = frozenset((SYN_RECEIVED, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, CLOSE_WAIT))
"""States in which ABORT tells the peer (3.10.5)."""

MAX_PROBE_INTERVAL: Duration = 60_000 * MS  #: Between zero-window probes, at most.


class Connection:
    """A connection from its SYN to its end; made by the host."""

    __slots__ = (
        "challenged_at",
        "changed",
        "close_queued",
        "connected",
        "data_segs_in",
        "data_segs_out",
        "deadline",
        "drops",
        "ece_owed",
        "ecn",
        "error",
        "handshake_retries",
        "heard_at",
        "irs",
        "iss",
        "keepalive_owed",
        "keepalives_unanswered",
        "key",
        "last_data_in",
        "last_data_out",
        "last_echo",
        "local",
        "max_payload",
        "mss_limit",
        "offer",
        "old_acks_at",
        "options",
        "own_state",
        "owner",
        "persist_interval",
        "probe_owed",
        "probed_at",
        "progress_at",
        "promise",
        "queued",
        "rcv",
        "reading_closed",
        "remote",
        "reply",
        "resets_owed",
        "retries",
        "rtt",
        "segs_in",
        "segs_out",
        "sent_bytes",
        "snd",
        "snd_shift",
        "soft_error",
        "tail_probe_owed",
        "time_wait",
        "timers",
        "ts",
        "ts_offset",
    )

    def __init__(
        self,
        local: Endpoint,
        remote: Endpoint,
        *,
        iss: int,
        offer: Offer,
        mss_limit: int,
        ts_offset: int,
        options: TcpOptions,
        drops: dict[Drop, int],
        key: bytes = b"",
        max_payload: int = 0,
    ) -> None:
        self.local = local
        self.remote = remote
        self.key = key
        self.iss = iss
        self.irs = 0
        self.offer = offer
        self.mss_limit = mss_limit  # what the IP layer can send in one packet, less the fixed headers (MUST-16)
        self.max_payload = max_payload  # octets that the link takes in a super-frame; 0: it cuts none
        self.ts_offset = ts_offset
        self.options = options
        self.drops = drops
        self.own_state = CLOSED
        self.error: OSError | None = None
        self.soft_error: OSError | None = None
        self.owner: object | None = None
        self.changed = False
        self.connected = False
        self.close_queued = False  # a CLOSE in SYN-RECEIVED that waits for ESTABLISHED (3.10.4)
        self.reading_closed = False
        self.time_wait: TimeWait | None = None

        self.rtt = RttEstimator(options)
        controller = algorithm(options.congestion)(mss_limit)
        self.snd = Sender(self.rtt, controller, mss_limit, nodelay=options.nodelay, paced=options.pacing)
        self.rcv = Receiver(options, offer.mss)
        self.snd_shift = 0
        self.ecn = False  # both ends understand congestion marks (RFC 3168)
        self.ece_owed = False  # we have seen a mark, and say so until the peer answers with CWR
        self.ts: Timestamps | None = None
        self.timers = Timers()
        self.deadline: Time = NEVER  # the host's: when it last promised to come back
        self.promise = 0  # the host's: the number of that promise
        self.queued = False  # the host's: waits for its turn to send

        self.reply: Segment | None = None  # a reset for a segment that acknowledges what was never sent
        self.resets_owed = 0
        self.probe_owed = False
        self.tail_probe_owed = False
        self.keepalive_owed = False
        self.persist_interval: Duration = 0
        self.probed_at: Time = -1  # when the first probe left that was not answered
        self.keepalives_unanswered = 0
        self.retries = 0  # expiries of the retransmission timer since the last progress
        self.handshake_retries = 0
        self.progress_at: Time = 0  # since when what is outstanding waits for an answer (R2)
        self.heard_at: Time = 0
        self.challenged_at: Time = -1
        self.old_acks_at: Time = -1
        self.segs_in = 0
        self.segs_out = 0
        self.data_segs_in = 0
        self.data_segs_out = 0
        self.sent_bytes = 0
        self.last_data_in: Time = -1
        self.last_echo = -1  # TSecr of the latest text: the next one tells of another round trip
        self.last_data_out: Time = -1

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

    @property
    def at_eof(self) -> bool:
        """Whether the peer has closed its direction and everything before that was read."""
        return self.rcv.fin_received and not self.rcv.buffered

    @property
    def writable(self) -> int:
        """Octets that `write` would accept now."""
        if self.own_state not in CAN_SEND or self.snd.fin_wanted or self.close_queued:
            return 0
        return max(self.options.send_buffer - len(self.snd.buffer), 0)

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
        return self.own_state is not SYN_SENT and self.unacknowledged > 0

    def next_timeout(self) -> Time:
        """When `on_timeout` wants to be called."""
        return self.timers.earliest()

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
        self.rcv.nxt = 1
        self.rcv.edge = 1 + min(self.rcv.limit, 0xFFFF)
        self.agree(agreement, syn, now)
        snd = self.snd
        snd.nxt = snd.max = 1
        snd.repair.on_sent(0, 1, now - max(rtt, 0))
        if retries and snd.repair.records.first is not None:
            snd.repair.records.first.transmissions += retries
        self.handshake_retries = retries

    def write(self, data: Buffer) -> int:
        """SEND: queue octets; returns how many of them were accepted, at most `writable`.

        The data is kept by reference and must not be changed afterwards. Raises `ClosedError` after `close_write`
        or `close`, and the connection's error when it is broken.
        """
        if self.own_state is CLOSED or self.own_state not in CAN_SEND or self.snd.fin_wanted or self.close_queued:
            if self.error is not None:
                raise self.error
            raise errors.ClosedError("write() after close")
        room = self.writable
        if room < len(data):
            data = memoryview(data)[:room]
        self.snd.buffer.append(data)
        return len(data)

    def read(self, limit: int, now: Time) -> bytes:
        """RECEIVE: up to `limit` octets that came in order; b"" when there are none, or at the end.

        Raises the connection's error when it is broken and nothing is left to read, `ClosedError` after `close`.
        """
        if self.reading_closed:
            raise errors.ClosedError("read() after close")
        if not self.rcv.buffered and self.error is not None:
            raise self.error
        return self.rcv.read(limit, now, self.rtt.srtt)

    def close_write(self) -> None:
        """CLOSE one direction: a FIN follows what is queued; receiving goes on. Harmless when repeated."""
        state = self.own_state
        snd = self.snd
        if snd.fin_wanted or self.close_queued or state is CLOSED:
            return
        if state is SYN_SENT or (state is SYN_RECEIVED and self.unsent):
            self.close_queued = True  # until ESTABLISHED
            return
        if state not in CAN_SEND:
            return
        snd.fin_wanted = True
        if state is not CLOSE_WAIT:  # there, LAST-ACK begins when the FIN leaves (3.10.4)
            self.transition(Event.CLOSE)

    def close(self, now: Time) -> None:
        """CLOSE both directions: a FIN follows what is queued, and nobody will read any more.

        Data that is unread now, or arrives later, is answered with a reset, so that the peer learns that it was
        lost (RFC 9293 3.6.1, SHLD-3).
        """
        if self.reading_closed:
            return
        if self.own_state is SYN_SENT:
            self.fail(errors.aborted(), Event.CLOSE)
        elif self.rcv.buffered and not self.finished:
            self._owe_reset()  # in CLOSING and LAST-ACK, too, unlike ABORT: there data was lost
            self.fail(errors.aborted(), Event.ABORT)
        else:
            self.close_write()
        self.reading_closed = True
        self.rcv.discard()
        if self.own_state is FIN_WAIT_2:
            self.start_linger(now)

    def abort(self) -> None:
        """ABORT: tell the peer with a reset, where 3.10.5 says so, and be gone."""
        if self.own_state is CLOSED:
            return
        if self.time_wait is not None:
            if self.time_wait.state is TIME_WAIT:
                self.time_wait.abort()
            return
        if self.own_state in SENDS_RESET:
            self._owe_reset()
        self.fail(errors.aborted(), Event.ABORT)

    def _owe_reset(self) -> None:
        self.resets_owed = 2 if self.snd.max > self.snd.nxt else 1

    def set_options(self, options: TcpOptions, now: Time) -> None:
        """Change what can be changed on a connection: `nodelay`, keep-alive, time-outs, buffers, `ttl`, `dscp`."""
        self.options = options
        self.snd.nodelay = options.nodelay
        self.rcv.max_limit = max(options.receive_buffer, self.rcv.limit)
        self.changed = True  # there may be room for a writer that waits
        self.start_keepalive(now)

    # Inputs from the world.

    def on_segment(self, seg: Segment, now: Time) -> None:
        """SEGMENT ARRIVES (3.10.7)."""
        self.segs_in += seg.segments
        arrives.segment_arrives(self, seg, now)

    def on_timeout(self, now: Time) -> None:
        """Some deadline may have passed: do what is due."""
        timers = self.timers
        if timers.linger <= now:
            timers.linger = NEVER
            self._on_linger()
        if timers.loss <= now:
            self._on_loss_timeout(now)  # a probe puts the other one off
        if timers.retransmit <= now:
            self._on_retransmission_timeout(now)
        if timers.pacing <= now:
            timers.pacing = NEVER
        if timers.persist <= now:
            self._on_persist(now)
        if timers.keepalive <= now:
            self._on_keepalive(now)
        if timers.delayed_ack <= now:
            timers.delayed_ack = NEVER
            self.rcv.ack_now = self.rcv.ack_soon or self.rcv.ack_now

    def on_icmp_error(self, seq: int, error: OSError, *, hard: bool) -> bool:
        """An ICMP error quotes a segment of ours with wire number `seq`; false if we have no such one in flight.

        A hard error ends a connection that is still being opened. Afterwards every error is soft: it is kept and
        told if the connection then times out, because anyone can forge one (RFC 5927 5.2).
        """
        snd = self.snd
        number = unwrap(seq, self.iss, snd.una)
        if not snd.una <= number < max(snd.max, snd.una + 1):
            self.drop(Drop.ICMP_UNMATCHED)
            return False
        if hard and self.own_state is SYN_SENT:
            self.fail(error, Event.RECV_ERROR)
        else:
            self.soft_error = error
        return True

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
        self.timers.stop()
        self.rcv.duplicate_acks.clear()
        self.snd.buffer.release(self.snd.buffer.end)  # whoever still holds this connection need not hold that, too

    def bury(self) -> None:
        """A fault of ours has left nothing to rely on: be over, without a word to anybody."""
        self.own_state = CLOSED
        self.error = self.error or errors.aborted()
        self.timers = Timers()
        self.reply = None
        self.resets_owed = 0
        self.changed = True

    def drop(self, reason: Drop) -> None:
        """Count a segment, or part of one, that is refused."""
        self.drops[reason] = self.drops.get(reason, 0) + 1

    def agree(self, agreement: Agreement, syn: Segment, now: Time) -> None:
        """Put in force what the two SYNs have agreed on."""
        mss = min(agreement.peer_mss, self.mss_limit)
        if agreement.timestamps:
            self.ts = Timestamps(self.ts_offset, syn.tsval, now)
            mss -= TIMESTAMP_BYTES
            self.rcv.mss -= TIMESTAMP_BYTES  # what a full segment of the peer's carries
        self.ecn = agreement.ecn
        self.snd_shift = agreement.snd_shift
        self.rcv.shift = agreement.rcv_shift
        self.rcv.limit = max(self.rcv.limit, 2 << agreement.rcv_shift)  # less can't be said in scaled units
        self.rcv.sack = agreement.sack
        controller = algorithm(self.options.congestion)(mss)
        self.snd.agree(controller, mss, sack=agreement.sack, max_payload=self.max_payload)

    def on_established(self, now: Time) -> None:
        """The handshake is complete."""
        self.connected = True
        self.rtt.in_handshake = False
        self.timers.linger = NEVER
        if self.handshake_retries:
            self.rtt.on_handshake_loss()
            self.snd.congestion.on_handshake_loss()
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

    def start_keepalive(self, now: Time) -> None:
        on = self.options.keepalive and self.own_state in SYNCHRONISED and self.own_state is not TIME_WAIT
        self.timers.keepalive = now + seconds(self.options.keepalive_idle) if on else NEVER
        self.keepalives_unanswered = 0

    @property
    def r2(self) -> Duration:
        """How long something may stay unacknowledged (RFC 9293 3.8.3)."""
        limit = self.options.user_timeout
        return seconds(self.options.r2 if limit is None else limit)

    def arm_retransmit(self, now: Time) -> None:
        """Start, or start again, the retransmission timer; R2 cuts the last wait short."""
        due = now + self.rtt.rto
        if self.own_state is not SYN_SENT or self.options.user_timeout is not None:
            due = min(due, max(self.progress_at + self.r2, now))
        self.timers.retransmit = due

    # Time-outs (3.10.8).

    def _on_linger(self) -> None:
        if self.connected:
            self.fail(None, Event.TIMEOUT)  # FIN-WAIT-2, which nobody waits for
        else:
            self._give_up()

    def _give_up(self) -> None:
        self.fail(self.soft_error or errors.timed_out(), Event.TIMEOUT)

    def _on_retransmission_timeout(self, now: Time) -> None:
        self.timers.retransmit = NEVER
        if not self.snd.outstanding:
            return
        in_handshake = self.own_state is SYN_SENT
        if (in_handshake and self.retries >= self.options.syn_retries) or (
            now - self.progress_at >= self.r2 and (not in_handshake or self.options.user_timeout is not None)
        ):
            self._give_up()
            return
        self.retries += 1
        if self.snd.una == 0:
            self.handshake_retries += 1
        self.snd.on_retransmission_timeout(now)
        self.arm_retransmit(now)

    def _on_loss_timeout(self, now: Time) -> None:
        self.timers.loss = NEVER
        if self.snd.repair.reorder_at <= now:
            self.snd.on_reorder_timeout(now)
            self.arm_loss_timer(now)
        elif self.snd.wants_tail_loss_probe:
            self.tail_probe_owed = True
            self.arm_retransmit(now)  # not another probe: the time-out is next (RFC 8985 7.3)

    def arm_loss_timer(self, now: Time) -> None:
        """After an ACK that moved something, and after new data: the nearer question (RFC 8985 6.2, 7.2)."""
        repair = self.snd.repair
        due = repair.reorder_at
        if due == NEVER and repair.tlp is not None and self.snd.wants_tail_loss_probe:
            # Not later than the time-out, in whose place it then goes (7.2).
            due = min(now + repair.tlp.timeout(self.rtt, self.snd.flight, self.snd.mss), self.timers.retransmit)
        self.timers.loss = due

    def _on_persist(self, now: Time) -> None:
        self.timers.persist = NEVER
        if self.heard_at < self.probed_at and now - self.probed_at >= self.r2:
            self._give_up()  # as long as probes are answered, the connection stays (MUST-37)
            return
        self.probe_owed = True
        self.persist_interval = min(2 * self.persist_interval, MAX_PROBE_INTERVAL)

    def _on_keepalive(self, now: Time) -> None:
        options = self.options
        quiet_until = self.heard_at + seconds(options.keepalive_idle)
        if self.snd.outstanding or self.snd.pending:  # the retransmission or persist timer asks (MUST-26)
            self.timers.keepalive = now + seconds(options.keepalive_idle)
        elif not self.keepalives_unanswered and now < quiet_until:
            self.timers.keepalive = quiet_until
        elif self.keepalives_unanswered >= options.keepalive_probes:
            self._give_up()
        else:
            self.keepalives_unanswered += 1
            self.keepalive_owed = True
            self.timers.keepalive = now + seconds(options.keepalive_interval)

    def info(self, now: Time) -> Info:
        """A snapshot in the names and units of `tcp_info`."""
        return snapshot(self, now)

    def __repr__(self) -> str:
        return f"<Connection {self.local} {self.remote} {self.state}>"
