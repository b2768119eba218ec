"""The sending half: SND.*, and what to transmit next (RFC 9293 3.3.1, 3.8).

    start of buffer                                                end of buffer
        |                                                               |
        una            nxt            una + wnd
    ----|--------------|--------------|---------------------------------|---
     acked | in flight     | may send     | may not send yet

Numbers are unwrapped: the SYN is 0, the first octet of data 1, and the FIN follows the last octet. `max` is the
highest number ever sent; it runs ahead of `nxt` only while a zero-window probe, which is sent without being
counted as in flight, is unanswered.

Where the link cuts super-frames into segments, new data and what is lost leave in bursts of several segments. A burst
holds whole segments (but at the end of what there is) and keeps to both windows, like the segments that it stands
for; and at most a millisecond's worth of the connection's rate, so that the queue of a slow path isn't hit by 64 KiB
at once.

`next_chunk` decides in this order: what is lost, within the congestion window; new data, within both windows, if
Nagle and the silly-window rules let it go; the FIN. Knows no state names: the connection tells it when a FIN is
wanted. What was lost is `stack.tcp.repair`'s business.
"""

from __future__ import annotations

from typing import Final

from stack.tcp.congestion import CongestionControl
from stack.tcp.habits import RFC, Habits
from stack.tcp.pushing import Pushing
from stack.tcp.recovery import Sent
from stack.tcp.repair import OPEN, AckNews, Repair
from stack.tcp.rtt import RttEstimator
from stack.tcp.send_buffer import SendBuffer
from stack.tcp.usage import Usage
from stack.wire.units import MS, NEVER, SECOND, Duration, Time

PACING_TICK: Final = 1 * MS  #: What is due within a tick leaves in one burst; the times are billed exactly.
SLOW_START_PACE = 200  #: Percent of cwnd / SRTT; Linux' figures, as the next.
AVOIDANCE_PACE = 120
BURST: Final = 1 * MS  #: At most so much of the connection's rate leaves at once, as in Linux ...
LEAST_BURST: Final = 2  #: ... but two segments always.


class Sender:
    """SND variables, flow control and pacing of one connection."""

    __slots__ = (
        "_paced_until",
        "blocked_by_window",
        "buffer",
        "cwnd_limited",
        "early",
        "fin_sent",
        "fin_wanted",
        "habits",
        "idle_since",
        "max",
        "max_burst",
        "max_wnd",
        "mss",
        "nodelay",
        "nxt",
        "pace_at",
        "paced",
        "pushing",
        "repair",
        "retransmitted_bytes",
        "retransmitted_segments",
        "rtt",
        "small_end",
        "una",
        "usage",
        "wl1",
        "wl2",
        "wnd",
    )

    def __init__(
        self,
        rtt: RttEstimator,
        congestion: CongestionControl,
        mss: int,
        *,
        nodelay: bool,
        paced: bool = False,
        habits: Habits = RFC,
    ) -> None:
        self.una = 0
        self.nxt = 0
        self.max = 0
        self.wnd = 0
        self.wl1 = 0
        self.wl2 = 0
        self.max_wnd = 0  # the largest window the peer ever offered: measures its buffer (3.8.6.2.1)
        self.mss = mss  # octets of data in a full segment: the effective send MSS less options
        self.max_burst = mss  # octets in one burst, as far as the link goes; `mss`: it cuts none
        self.nodelay = nodelay  # small segments never wait
        self.buffer = SendBuffer(1)
        self.early = False  # data may leave before the peer has acknowledged our SYN (RFC 7413)
        self.fin_wanted = False
        self.fin_sent = False
        self.repair = Repair(rtt, congestion, mss, habits)
        self.habits = habits
        self.small_end = 0  # where the latest segment ends that was not full
        self.usage = Usage() if habits.grows_ahead else None
        self.rtt = rtt
        self.paced = paced
        self.pace_at: Time = NEVER  # when pacing, or a hold, lets the next segment go; NEVER: nothing waits for that
        self._paced_until: Time = 0
        self.idle_since: Time = -1  # when the last segment with text left; -1: none has
        self.cwnd_limited = False  # the congestion window has stopped the latest attempt to send
        self.blocked_by_window = False  # nothing is in flight and the peer's window, or a cork, lets nothing go
        self.pushing: Pushing | None = None  # what the application has said about its writes, if that was anything
        self.retransmitted_segments = 0
        self.retransmitted_bytes = 0

    # Getters.

    @property
    def congestion(self) -> CongestionControl:
        return self.repair.congestion

    @property
    def flight(self) -> int:
        """FlightSize (RFC 5681 2): octets sent and not yet cumulatively acknowledged."""
        return self.nxt - self.una

    @property
    def outstanding(self) -> bool:
        """Whether anything recorded as sent waits for its acknowledgment."""
        return self.repair.records.outstanding > 0

    @property
    def fin_acked(self) -> bool:
        return self.fin_sent and self.una > self.buffer.end

    # RFC 9293 MUST-34, RFC7323-07
    @property
    def usable(self) -> int:
        """What the peer's window still lets through; negative after it has shrunk (MUST-34)."""
        return self.una + self.wnd - self.nxt

    @property
    def pending(self) -> bool:
        """Whether something waits that was never sent."""
        return self.nxt < self.buffer.end or (self.fin_wanted and not self.fin_sent)

    # Inputs.

    def agree(self, congestion: CongestionControl, mss: int, *, sack: bool, max_payload: int = 0) -> None:
        """The handshake has settled the segment size and whether the peer reports what it holds.

        `max_payload` is how many octets the link takes in one super-frame; 0: it cuts none.
        """
        self.mss = mss
        self.limit_bursts(max_payload)
        self.repair.mss = self.repair.records.mss = mss
        self.repair.congestion = congestion
        congestion.paced = self.paced
        congestion.counts_fully = self.habits.ack_counts_fully
        if sack:
            self.repair.use_sack()

    def on_mss(self, mss: int, max_payload: int) -> None:
        """The path takes segments of another size; what is out and too long for it will be sent again."""
        self.mss = mss
        self.limit_bursts(max_payload)
        self.repair.on_mss(mss, self.nxt)

    def limit_bursts(self, max_payload: int) -> None:
        """Bursts hold whole segments with so many octets at most; 0: one segment."""
        self.max_burst = max(max_payload // self.mss * self.mss, self.mss)

    def change_congestion(self, congestion: CongestionControl) -> None:
        """Another controller goes on where the present one stands."""
        congestion.cwnd = self.congestion.cwnd
        congestion.ssthresh = self.congestion.ssthresh
        congestion.paced = self.paced
        congestion.counts_fully = self.habits.ack_counts_fully
        self.repair.congestion = congestion

    # RFC 9293 MUST-1, REC-1
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

    # RFC2018-13, RFC3168-08, RFC6675-01
    def on_ack(
        self,
        ack: int,
        blocks: list[tuple[int, int]],
        now: Time,
        *,
        duplicate: bool,
        echoed: Duration,
        echo_tick: int,
        marked: bool = False,
    ) -> None:
        """SND.UNA =< `ack` =< SND.MAX; see `AckNews`. With a mark of congestion the window does not grow."""
        if ack > self.nxt:  # the octet of a zero-window probe was taken
            if ack > self.buffer.end and self.fin_wanted:
                self._on_fin_sent()
            self.nxt = ack
        news = AckNews(self.una, ack, self.nxt, blocks, duplicate=duplicate, echoed=echoed, echo_tick=echo_tick)
        self.una = ack
        self.buffer.release(ack)
        limited = self.cwnd_limited
        if self.usage is not None:
            limited = self.usage.on_ack(news, self.congestion, limited=limited)
        self.repair.on_ack(news, limited=limited and not marked, now=now)

    def on_mark(self, ack: int, now: Time) -> bool:
        """The peer has seen a mark of congestion, says its acknowledgment of `ack`; see `Repair.on_mark`."""
        return self.repair.on_mark(self.una, ack, self.nxt, now)

    def on_retransmission_timeout(self, now: Time) -> None:
        """The oldest data was not acknowledged in time."""
        # Neither a SYN nor a segment that a closed window refuses says anything about congestion.
        says_congestion = self.una > 0 and self.wnd > 0
        self.repair.on_retransmission_timeout(self.una, self.nxt, says_congestion=says_congestion, now=now)

    def on_reorder_timeout(self, now: Time) -> None:
        self.repair.on_reorder_timeout(self.una, self.nxt, now)

    def resend_first(self) -> None:
        self.repair.resend_first()

    # Outputs.

    # RFC6675-04, RFC6675-12
    def next_chunk(self, now: Time) -> tuple[int, int] | None:
        """The numbers [start, end) to send now, or None; recorded as sent."""
        repair = self.repair
        repair.flight_sent = self.nxt - self.una
        self.blocked_by_window = False
        self.cwnd_limited = False
        self.pace_at = NEVER if not self.paced else self._next_pace(now)
        if self.pace_at != NEVER:
            return None
        if repair.new_first and self.una > 0:  # F-RTO asks with new data first
            chunk = self._next_new(now)
            repair.new_first = repair.new_first - 1 if chunk is not None else 0
            if chunk is not None:
                return chunk
        if repair.records.lost_bytes:
            chunk = self._next_lost(now)
            if chunk is not None:
                return chunk
        return self._next_new(now)

    def _next_new(self, now: Time) -> tuple[int, int] | None:
        if self.nxt == 0:
            return self._send(1, now)
        if self.repair.held_until and self._is_held(now):
            return None
        unsent = self.buffer.end - self.nxt
        if self.pushing is not None and self.pushing.ends:
            unsent = self.pushing.within_record(self.nxt, unsent)
        size = 0
        if unsent > 0:
            if self.una == 0 and not self.early:
                return None  # data waits for the handshake (3.10.3)
            if not self.outstanding and self.usable > 0:
                self._restart_after_idle(now)
            size = self._size_of_new_data(unsent)
            if size == 0:
                return None
            if size < self.mss:
                self.small_end = self.nxt + size
        elif not self.fin_wanted or self.fin_sent:
            records = self.repair.records
            if records.pipe < self.congestion.cwnd and not records.lost_bytes:
                self.repair.rate.on_app_limited(records.pipe)
            return None
        elif self.una + self.wnd <= self.nxt:
            self.blocked_by_window = not self.outstanding
            return None
        if self.fin_wanted and self.nxt + size >= self.buffer.end and self.nxt + size < self.una + self.wnd:
            self._on_fin_sent()  # rides on the last data
            size += 1
        return self._send(size, now) if size else None

    # RFC3168-07
    def _is_held(self, now: Time) -> bool:
        """Whether marks of congestion let nothing new go yet."""
        until = self.repair.held_until
        if until <= now:
            self.repair.held_until = 0
            return False
        if self.pending:
            self.pace_at = until
        return True

    def send_with_syn(self, room: int, now: Time) -> int:
        """So many octets of what is queued, at most `room`, leave with the SYN (RFC 7413 4.2.2).

        Nothing while any of it is urgent: the SYN has no pointer, and once all is acknowledged none would be sent.
        """
        if self.pushing is not None and self.pushing.up > self.nxt:
            return 0
        size = self._for_one_segment(room)
        if size > 0:
            self._send(size, now)
        return max(size, 0)

    def _for_one_segment(self, room: int) -> int:
        """Octets never sent that one segment with so much room holds: up to the end of a record."""
        size = min(self.buffer.end - self.nxt, room)
        if self.pushing is not None and self.pushing.ends:
            size = self.pushing.within_record(self.nxt, size)
        return size

    def retract(self, end: int) -> None:
        """What has left from `end` on counts as never sent, but may be acknowledged all the same."""
        self.repair.records.retract(end)
        self.nxt = end

    def _on_fin_sent(self) -> None:
        self.fin_sent = True
        self.repair.records.fin = self.buffer.end

    def _send(self, size: int, now: Time) -> tuple[int, int]:
        start = self.nxt
        self.nxt += size
        self.max = max(self.max, self.nxt)
        self.repair.on_sent(start, self.nxt, now)
        self._on_left(size, now)
        return start, self.nxt

    # RFC 9293 SHLD-16, MAY-7, RFC8985-18
    def _next_lost(self, now: Time) -> tuple[int, int] | None:
        repair = self.repair
        records = repair.records
        record = records.next_lost()
        if record is None or (self.una == 0 and record.start > 0):  # the SYN alone, first (RFC 7413 4.2.2)
            return None
        room = self.mss
        if not repair.force and records.pipe > 0 and min(record.size, room) > repair.allowance:
            self.cwnd_limited = True  # before anything is cut: a burst stays whole until it may go
            return None
        if self.max_burst > room and not repair.force:
            whole = min(repair.allowance, self.una + self.wnd - record.start, self._burst_limit()) // room
            room *= max(whole, 1)
        if self.pushing is not None and self.pushing.ends:
            room = self.pushing.within_record(max(record.start, 1), room)
        limit = room + (record.start == 0 or record.end > self.buffer.end)
        if record.size > limit:
            records.split(record, room)
        elif record.start > 0:
            records.join_lost(record, room)
        if not repair.force:
            if record.size > repair.allowance and records.pipe > 0:
                self.cwnd_limited = True
                return None
            if record.start >= self.una + self.wnd:
                return None
        self._resend(record, now)
        return record.start, record.end

    def _resend(self, record: Sent, now: Time) -> None:
        self.repair.on_resent(record, now)
        self.retransmitted_segments += self.repair.records.segments(record)
        self.retransmitted_bytes += record.size
        self._on_left(record.size, now)

    # RFC 9293 MUST-38, SHLD-7, SHLD-15, SHLD-28, RFC1122-19, RFC5681-01, RFC7323-08
    def _size_of_new_data(self, unsent: int) -> int:
        """How much of `unsent` octets goes into the next segment; 0: not now."""
        usable = self.usable
        if unsent > self.mss < self.max_burst and not self.repair.new_first:
            burst = min(unsent, usable, self.repair.allowance, self._burst_limit())
            if burst >= 2 * self.mss:
                if burst < unsent or not (self.nodelay or self.fin_wanted):
                    burst -= burst % self.mss
                return burst
        size = min(unsent, self.mss)
        if size > self.repair.allowance and self.flight:
            self.cwnd_limited = True
            return 0
        if size > usable:
            # RFC 9293 3.8.6.2.1, sender's silly-window avoidance: less than a segment only if it is at least half
            # of the largest window this peer has offered, and Nagle agrees. Else wait; the persist timer overrides.
            if usable >= max(min(self.mss, self.max_wnd // 2), 1) and (self.nodelay or self.nxt <= max(self.una, 1)):
                return usable
            self.blocked_by_window = not self.outstanding
            return 0
        if size < self.mss and not self.nodelay and not self.fin_wanted and self.nxt + unsent == self.buffer.end:
            in_flight_to = self.small_end if self.habits.small_waits_for_small else self.nxt
            if in_flight_to > max(self.una, 1):  # more than our SYN is in flight
                return 0  # Nagle (RFC 9293 3.7.4): one small segment in flight at a time
            if self.pushing is not None and self.pushing.holds:
                self.blocked_by_window = True  # for the application will make it larger; the persist timer overrides
                return 0
        return size

    def _burst_limit(self) -> int:
        """Octets that may leave at once: what the link cuts, but not more than the path takes without a queue.

        The rate is that of the smoothed round trip: a slow link nearby takes little as soon as something waits there.
        """
        if not self.rtt.srtt:  # the path takes no time, as only simulated ones do
            return self.max_burst
        return max(min(self.max_burst, self.pacing_rate * BURST // SECOND), LEAST_BURST * self.mss)

    # RFC5681-27
    def _restart_after_idle(self, now: Time) -> None:
        if self.idle_since >= 0 and now - self.idle_since > self.rtt.rto:
            self.congestion.on_idle(now)

    # Pacing.

    def _next_pace(self, now: Time) -> Time:
        """When pacing lets the next segment go, or NEVER if it may go now."""
        due = self._paced_until
        return due if due > now + PACING_TICK else NEVER

    def _on_left(self, size: int, now: Time) -> None:
        """Something has left: note when, and bill its time."""
        self.idle_since = now
        if self.paced:
            rate = self.pacing_rate
            if rate > 0:
                self._paced_until = max(self._paced_until, now) + size * SECOND // rate

    @property
    def pacing_rate(self) -> int:
        """Bytes a second; 0 before the first round trip is measured: no pacing."""
        congestion = self.congestion
        if congestion.pacing_rate > 0:
            return congestion.pacing_rate
        if self.rtt.srtt <= 0:
            return 0
        percent = SLOW_START_PACE if congestion.in_slow_start else AVOIDANCE_PACE
        return congestion.cwnd * SECOND * percent // (100 * self.rtt.srtt)

    # Probes.

    # RFC 9293 MUST-35, MUST-36
    def zero_window_probe(self) -> tuple[int, int]:
        """The persist timer expired and something is pending: what to send although the window says no (RFC 9293
        3.8.6.1).

        The next octet, or the FIN. It is not counted as in flight, because it will most likely be refused.
        """
        start = self.nxt
        self.max = max(self.max, start + 1)
        return start, start + 1

    # RFC 9293 MUST-38, MUST-60, RFC1122-19
    def override(self, now: Time) -> tuple[int, int] | None:
        """The persist timer expired on a window too small to be worth using: use it (RFC 9293 3.8.6.2.1)."""
        size = self._for_one_segment(min(self.mss, self.usable))
        return self._send(size, now) if size > 0 else None

    # RFC8985-10
    @property
    def wants_tail_loss_probe(self) -> bool:
        """Whether silence should be answered with a probe (RFC 8985 7.2)."""
        repair = self.repair
        return (
            repair.tlp is not None
            and repair.tlp.may_probe
            and repair.phase == OPEN
            and self.una > 0
            and self.outstanding
            and not repair.records.sacked_bytes
            and not repair.held_until  # marks of congestion have the time-out asked, and nobody before it
        )

    # RFC8985-12
    def tail_loss_probe(self, now: Time) -> tuple[int, int] | None:
        """Two round trips of silence: one segment of new data if the window has room for it, else the last again."""
        repair = self.repair
        tlp = repair.tlp
        if tlp is None or not self.wants_tail_loss_probe:
            return None
        size = self._for_one_segment(min(self.mss, self.usable))
        if size > 0:
            chunk = self._send(size, now)
            tlp.on_sent(self.nxt, retransmitted=False)
            return chunk
        record = repair.pending_probe()
        if record is None:
            return None
        records = repair.records
        if records.is_burst(record):
            record = records.split(record, (records.segments(record) - 1) * self.mss)
        self._resend(record, now)
        tlp.on_sent(self.nxt, retransmitted=True)
        return record.start, record.end
