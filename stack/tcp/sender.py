"""The sending half: SND.*, and what to transmit next (RFC 9293 3.3.1, 3.8).

    start of buffer                                                end of buffer
        |                                                               |
        una            nxt            una + wnd
    ----|--------------|--------------|---------------------------------|---
     acked | in flight     | may send     | may not send yet

Numbers are unwrapped: the SYN is 0, the first octet of data 1, and the FIN follows the last octet. `max` is the
highest number ever sent; it runs ahead of `nxt` only while a zero-window probe, which is sent without being
counted as in flight, is unanswered.

`next_chunk` decides in this order: what is lost, within the congestion window; new data, within both windows, if
Nagle and the silly-window rules let it go; the FIN. Knows no state names: the connection tells it when a FIN is
wanted.
"""

from __future__ import annotations

from stack.tcp.congestion import AckSummary, CongestionControl
from stack.tcp.recovery import Recovery
from stack.tcp.rtt import RttEstimator
from stack.tcp.send_buffer import SendBuffer
from stack.tcp.timestamps import TICK
from stack.wire.units import Time

DUPLICATE_THRESHOLD = 3  #: RFC 5681 3.2: so many duplicate ACKs mean a loss.


class Sender:
    """SND variables, retransmission and flow control of one connection."""

    __slots__ = (
        "blocked_by_window",
        "buffer",
        "congestion",
        "cwnd_limited",
        "dupacks",
        "fin_sent",
        "fin_wanted",
        "flight_at_first",
        "force_retransmit",
        "in_recovery",
        "max",
        "max_wnd",
        "mss",
        "nodelay",
        "nxt",
        "recover",
        "recovery",
        "retransmitted_bytes",
        "retransmitted_segments",
        "rtt",
        "sent_at",
        "timed_out_at",
        "una",
        "wl1",
        "wl2",
        "wnd",
    )

    def __init__(self, rtt: RttEstimator, congestion: CongestionControl, mss: int, *, nodelay: bool) -> None:
        self.una = 0
        self.nxt = 0
        self.max = 0
        self.wnd = 0
        self.wl1 = 0
        self.wl2 = 0
        self.max_wnd = 0  # the largest window the peer ever offered: measures its buffer (3.8.6.2.1)
        self.mss = mss  # octets of data in a full segment: the effective send MSS less options
        self.nodelay = nodelay
        self.buffer = SendBuffer(1)
        self.fin_wanted = False
        self.fin_sent = False
        self.recovery = Recovery()
        self.rtt = rtt
        self.congestion = congestion
        self.dupacks = 0
        self.flight_at_first = 0  # FlightSize when the first of them came
        self.in_recovery = False
        self.recover = 0  # RFC 6582: recovery ends when this is acknowledged
        self.force_retransmit = False  # one retransmission that no window holds back
        self.sent_at: Time = -1  # when the latest new data left
        self.timed_out_at = -1  # SND.UNA of the latest expiry, to know a repeated one
        self.cwnd_limited = False  # the congestion window has stopped the latest attempt to send
        self.blocked_by_window = False  # nothing is in flight and the peer's window lets nothing go
        self.retransmitted_segments = 0
        self.retransmitted_bytes = 0

    # Getters.

    @property
    def flight(self) -> int:
        """FlightSize (RFC 5681 2): octets sent and not yet cumulatively acknowledged."""
        return self.nxt - self.una

    @property
    def fin_acked(self) -> bool:
        return self.fin_sent and self.una > self.buffer.end

    @property
    def usable(self) -> int:
        """What the peer's window still lets through; negative after it has shrunk (MUST-34)."""
        return self.una + self.wnd - self.nxt

    @property
    def pending(self) -> bool:
        """Whether something waits that was never sent."""
        return self.nxt < self.buffer.end or (self.fin_wanted and not self.fin_sent)

    # Inputs.

    def on_window(self, wnd: int, seq: int, ack: int) -> bool:
        """Take a window from a segment that is not older than the last that gave one (3.10.7.4, fifth).

        Returns whether SND.WND has changed.
        """
        # Like Linux we take it also with an ACK that moves SND.UNA on a segment that was sent before: or the right
        # edge would move with SND.UNA beyond what the peer has offered.
        if not (self.wl1 < seq or (self.wl1 == seq and self.wl2 <= ack) or self.una < ack):
            return False
        self.wl1 = seq
        self.wl2 = ack
        changed = wnd != self.wnd
        self.wnd = wnd
        self.max_wnd = max(self.max_wnd, wnd)
        return changed

    def on_ack(self, ack: int, now: Time, echoed: int) -> None:
        """SND.UNA < `ack` <= SND.MAX. `echoed` is a round-trip sample from the timestamps option, or -1."""
        acked = ack - self.una
        flight = self.flight
        self.una = ack
        if ack > self.nxt:  # the octet of a zero-window probe was taken
            if ack > self.buffer.end and self.fin_wanted:
                self.fin_sent = True
            self.nxt = ack
        self.buffer.release(ack)
        sample = self.recovery.on_ack(ack, now)
        if sample < 0 and echoed <= now - self.recovery.resent_at + TICK:
            # The option tells which transmission is acknowledged (RFC 7323 4.1). One that names the first although
            # a second was sent says how long an ACK was lost or late, and not how far away the peer is.
            sample = echoed
        if sample >= 0:
            self.rtt.on_sample(sample)
        self.dupacks = 0
        if self.in_recovery:
            self._on_ack_in_recovery(ack, acked, now)
        else:
            self.congestion.on_ack(AckSummary(acked, flight, sample, not self.cwnd_limited), now)

    def _on_ack_in_recovery(self, ack: int, acked: int, now: Time) -> None:
        if ack >= self.recover:
            self.in_recovery = False
            self.force_retransmit = False
            self.congestion.on_recovered(self.flight, now)
            return
        # RFC 6582 3.2, step 3: a partial ACK shows the next hole; fill it at once.
        self.congestion.on_partial_ack(acked)
        self.resend_first()

    def on_duplicate_ack(self, now: Time) -> None:
        """An ACK that acknowledges nothing new while data is outstanding (RFC 5681 2)."""
        self.dupacks += 1
        if self.dupacks == 1:
            self.flight_at_first = self.flight
        if self.in_recovery:
            self.congestion.on_duplicate_ack()
        elif self.dupacks == DUPLICATE_THRESHOLD and self.una > self.recover:
            # RFC 6582 3.2, step 2: not for duplicates that our own retransmissions have caused.
            self.in_recovery = True
            self.recover = self.nxt
            # Without what limited transmit has let go meanwhile (RFC 5681 3.2, step 2).
            self.congestion.on_loss(self.flight_at_first, now)
            self.resend_first()

    def resend_first(self) -> None:
        """The earliest of what is outstanding, if anything is, leaves again at once."""
        if self.recovery.first is not None:
            self.recovery.mark_first_lost()
            self.force_retransmit = True

    def on_retransmission_timeout(self, now: Time) -> None:
        """The oldest data was not acknowledged in time (RFC 6298 5.4-5.6)."""
        self.rtt.back_off()
        self.recovery.mark_all_lost()
        self.force_retransmit = True
        self.in_recovery = False
        self.dupacks = 0
        self.recover = self.nxt
        if self.una > 0 and self.wnd > 0:
            # Neither a SYN nor a segment that a closed window refuses says anything about congestion.
            self.congestion.on_timeout(self.flight, self.timed_out_at != self.una, now)
        self.timed_out_at = self.una

    # Outputs.

    def next_chunk(self, now: Time) -> tuple[int, int] | None:
        """The numbers [start, end) to send now, or None; recorded as sent."""
        recovery = self.recovery
        self.blocked_by_window = False
        self.cwnd_limited = False
        if recovery.lost_bytes:
            chunk = self._next_lost(now)
            if chunk is not None:
                return chunk
        if self.nxt == 0:
            return self._send(1, now)
        unsent = self.buffer.end - self.nxt
        if unsent > 0:
            if self.una == 0:
                return None  # data waits for the handshake (3.10.3)
            if not recovery.outstanding and self.sent_at >= 0 and now - self.sent_at > self.rtt.rto:
                self.congestion.on_idle(now)
            size = self._size_of_new_data(unsent)
        elif self.fin_wanted and not self.fin_sent:
            size = 0
            if self.una + self.wnd <= self.nxt:
                self.blocked_by_window = recovery.outstanding == 0
                return None
        else:
            return None
        if unsent > 0 and size == 0:
            return None
        if self.fin_wanted and size == max(unsent, 0) and self.nxt + size < self.una + self.wnd:
            self.fin_sent = True  # rides on the last data
            size += 1
        return self._send(size, now) if size else None

    def _send(self, size: int, now: Time) -> tuple[int, int]:
        start = self.nxt
        self.nxt += size
        self.max = max(self.max, self.nxt)
        self.sent_at = now
        self.recovery.on_sent(start, self.nxt, now)
        return start, self.nxt

    def _next_lost(self, now: Time) -> tuple[int, int] | None:
        recovery = self.recovery
        record = recovery.next_lost()
        if record is None:
            return None
        size = record.end - record.start
        limit = self.mss + (record.start == 0 or record.end > self.buffer.end)
        if size > limit:
            recovery.split(record, self.mss)
            size = self.mss
        if not self.force_retransmit:
            if recovery.pipe + size > self.congestion.cwnd:
                self.cwnd_limited = True
                return None
            if record.start >= self.una + self.wnd:
                return None
        self.force_retransmit = False
        recovery.on_resent(record, now)
        self.retransmitted_segments += 1
        self.retransmitted_bytes += size
        return record.start, record.end

    def _size_of_new_data(self, unsent: int) -> int:
        """How much of `unsent` octets goes into the next segment; 0: not now."""
        usable = self.usable
        allowed = self.congestion.cwnd - self.recovery.pipe
        if self.dupacks and not self.in_recovery:
            # Limited transmit (RFC 3042): the first two duplicates let a segment go each, without a change of cwnd.
            allowed += min(self.dupacks, DUPLICATE_THRESHOLD - 1) * self.mss
        size = min(unsent, self.mss)
        if size > allowed and self.flight:
            self.cwnd_limited = True
            return 0
        if size > usable:
            # RFC 9293 3.8.6.2.1, sender's silly-window avoidance: less than a segment only if it is at least half
            # of the largest window this peer has offered, and Nagle agrees. Else wait; the persist timer overrides.
            if usable >= max(min(self.mss, self.max_wnd // 2), 1) and (self.nodelay or not self.flight):
                return usable
            self.blocked_by_window = self.recovery.outstanding == 0
            return 0
        if size < self.mss and not self.nodelay and self.flight and not self.fin_wanted:
            return 0  # Nagle (RFC 9293 3.7.4): one small segment in flight at a time
        return size

    def probe(self) -> tuple[int, int] | None:
        """The persist timer expired: what to send although the window says no (RFC 9293 3.8.6.1).

        The next octet, or the FIN. It is not counted as in flight, because it will most likely be refused.
        """
        if not self.pending:
            return None
        start = self.nxt
        self.max = max(self.max, start + 1)
        return start, start + 1

    def override(self, now: Time) -> tuple[int, int] | None:
        """The persist timer expired on a window too small to be worth using: use it (RFC 9293 3.8.6.2.1)."""
        size = min(self.buffer.end - self.nxt, self.mss, self.usable)
        return self._send(size, now) if size > 0 else None
