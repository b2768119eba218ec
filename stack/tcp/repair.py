"""Loss recovery of one connection: what an ACK says about losses, and what is done about them.

    OPEN      nothing is known to be lost
    RECOVERY  a loss was found; what is lost is sent again, at the pace of proportional rate reduction
    LOSS      the retransmission timer expired; slow start from one segment

Where the peer reports what it holds, RACK finds the losses, and a tail loss probe asks when the line is silent
(RFC 8985); RFC 6675's rule of three reports is not used beside it, as RFC 8985 9.2 demands. Without SACK, three
duplicate ACKs and partial ACKs tell (RFC 5681, RFC 6582), and the first two duplicates let new data out (RFC 3042).

A recovery may turn out to have been for nothing: the segment was only late. Then the window is given back, and what
counted as lost counts as in flight again. Three things tell (see `stack.tcp.undo`):

    timestamps   the first ACK of what was sent again echoes the original (Eifel, RFC 3522)
    D-SACK       everything that was sent again had arrived already (RFC 2883, RFC 3708)
    F-RTO        after a time-out, and before anything else was sent again, originals are acknowledged (RFC 5682)
"""

from __future__ import annotations

from typing import Final

from stack.tcp.congestion import AckSummary, CongestionControl
from stack.tcp.delivery import DeliveryRate
from stack.tcp.habits import RFC, Habits
from stack.tcp.inflation import Inflation
from stack.tcp.prr import Prr
from stack.tcp.rack import DUPLICATE_THRESHOLD, Rack
from stack.tcp.recovery import ACKED, OUT, SACKED, Recovery, Sent
from stack.tcp.rtt import RttEstimator
from stack.tcp.timestamps import TICK
from stack.tcp.tlp import TailLossProbe
from stack.tcp.undo import Undo
from stack.wire.units import NEVER, Duration, Time

OPEN: Final = 0
RECOVERY: Final = 1
LOSS: Final = 2

F_RTO_SEGMENTS: Final = 2  #: New segments that ask whether a time-out was needed (RFC 5682 2.1, step 2b).


class AckNews:
    """What one arriving ACK says, in the sender's numbers.

    `una` and `nxt` are SND.UNA and SND.NXT before it. `echoed` is a sample of the round trip by the timestamps option,
    or -1, and `echo_tick` the tick of our clock that it echoes, or -1. `duplicate` is RFC 5681's definition.
    """

    __slots__ = ("ack", "blocks", "duplicate", "echo_tick", "echoed", "nxt", "una")

    def __init__(
        self,
        una: int,
        ack: int,
        nxt: int,
        blocks: list[tuple[int, int]],
        *,
        duplicate: bool,
        echoed: Duration,
        echo_tick: int,
    ) -> None:
        self.una = una
        self.ack = ack
        self.nxt = nxt
        self.blocks = blocks
        self.duplicate = duplicate
        self.echoed = echoed
        self.echo_tick = echo_tick


class Repair:
    """Finds losses and steers the congestion window through their repair."""

    __slots__ = (
        "_f_rto",
        "_flight_at_first",
        "_inflation",
        "_marks_count_from",
        "_no_duplicates_below",
        "_prr",
        "_resent_at",
        "_timed_out_una",
        "_undo",
        "congestion",
        "delivered_segments",
        "dupacks",
        "flight_sent",
        "force",
        "habits",
        "held_until",
        "mss",
        "new_first",
        "phase",
        "rack",
        "rate",
        "records",
        "recover",
        "recoveries",
        "reduced",
        "reorder_at",
        "rtt",
        "sack",
        "spurious",
        "timeouts",
        "tlp",
        "unproven_from",
    )

    def __init__(self, rtt: RttEstimator, congestion: CongestionControl, mss: int, habits: Habits = RFC) -> None:
        self.habits = habits
        self.records = Recovery()
        self.rtt = rtt
        self.congestion = congestion
        self.mss = mss
        self.unproven_from = 0  # no segment of `mss` octets from here on has arrived yet; -1: the path takes such
        self.sack = False
        self.phase = OPEN
        self.recover = 0  # RECOVERY and LOSS end when this is acknowledged
        self.dupacks = 0
        self._marks_count_from = 0  # SND.NXT when the window was last reduced for a mark
        # FlightSize when sending last stopped. ACKs come in batches, and nothing is sent in between: what the earlier
        # ones of a batch have taken off was in flight, too, when the path lost something (RFC 5681 3.1).
        self.flight_sent = 0
        self.force = False  # one retransmission that no window holds back
        self.new_first = 0  # segments of new data that go before what is lost (F-RTO)
        self.reorder_at: Time = NEVER  # when RACK wants to look again
        self.held_until: Time = 0  # what is new waits for then, as marks at a window of one segment ask; 0: it may go
        self.rack: Rack | None = None
        self.tlp: TailLossProbe | None = None
        self.rate = DeliveryRate()
        self._prr: Prr | None = None
        self._inflation: Inflation | None = None
        self._f_rto = False
        self._timed_out_una = -1
        self._no_duplicates_below = 0  # RFC 6582 3.2, step 2: our own retransmissions cause duplicates below that
        self._flight_at_first = 0  # FlightSize when the first duplicate came
        self._undo: Undo | None = None  # what to go back to if the latest repair was for nothing
        self._resent_at: Time = 0  # when something was sent again last
        self.reduced = False  # the window was; ECN tells the peer with the next new data (RFC 3168 6.1.2)
        self.delivered_segments = 0
        self.recoveries = 0
        self.timeouts = 0
        self.spurious = 0  # repairs that were undone

    # Sending.

    # RFC8985-01
    def use_sack(self) -> None:
        """Both SYNs have permitted SACK; `mss` is known."""
        self.sack = True
        self.rack = Rack()
        self.tlp = TailLossProbe(self.habits.least_probe_wait)

    # RFC1191-04, RFC5681-07
    def on_mss(self, mss: int, nxt: int) -> None:
        """The path takes segments of another size than was thought; what is too long for it leaves again at once.

        A router has refused that, and not for want of room: nothing says that the path is congested. So no recovery
        begins, and the window keeps its number of segments (RFC 1191 6.4, RFC 5681 3.1).
        """
        shorter = mss < self.mss
        self.mss = mss
        self.unproven_from = nxt
        self.records.on_mss(mss)
        self.congestion.on_mss(mss)
        if shorter and self.records.mark_too_long():
            self.force = True
            self._undo = None  # the window of before was one of longer segments
            self._no_duplicates_below = nxt + 1  # shorter ones have passed, and their duplicates say nothing new
            if self.tlp is not None:
                self.tlp.end = -1

    def on_sent(self, start: int, end: int, now: Time) -> None:
        """New octets leave."""
        pipe = self.records.pipe
        self.rate.on_sent(self.records.on_sent(start, end, now), pipe, now)
        if self._prr is not None:
            self._prr.on_sent(end - start)

    def on_resent(self, record: Sent, now: Time) -> None:
        """A record leaves again."""
        pipe = self.records.pipe
        self.records.on_resent(record, now)
        self._resent_at = now
        self.rate.on_sent(record, pipe, now)
        self.force = False
        if self._prr is not None:
            self._prr.on_sent(record.size)
        if self._undo is not None and self._undo.una >= 0:
            self._undo.on_resent(record, self.records, self.mss, now)

    # RFC3042-01, RFC5681-01, RFC5681-20, RFC5681-21, RFC5681-25, RFC6675-12
    @property
    def allowance(self) -> int:
        """Octets that the congestion window lets out now; may be negative."""
        allowed = self.congestion.cwnd - self.records.pipe
        if not self.sack and self.phase == OPEN and self.dupacks:
            # Limited transmit (RFC 3042): a segment for each of the first two duplicates, without a change of cwnd.
            allowed += min(self.dupacks, DUPLICATE_THRESHOLD - 1) * self.mss
        return allowed

    def is_reduced_for_mark(self, una: int) -> bool:
        """Whether the window was reduced for a mark of congestion within the present round trip."""
        return una < self._marks_count_from

    @property
    def probing(self) -> bool:
        """Whether a tail loss probe is out whose answer is still awaited."""
        return self.tlp is not None and self.tlp.end >= 0

    def resend_first(self) -> None:
        """The earliest of what is outstanding, if anything is, leaves again at once."""
        first = self.records.first
        if first is not None:
            if self.records.is_burst(first):
                self.records.split(first, self.mss)
            self.records.mark_lost(first)
            self.force = True

    # Acknowledgments.

    # RFC6675-07, RFC6675-10, RFC9937-02
    def on_ack(self, news: AckNews, *, limited: bool, now: Time) -> None:
        """Take an ACK in; `limited` says that the congestion window has stopped the latest attempt to send."""
        records = self.records
        acked = news.ack - news.una
        flight = news.nxt - news.una
        sacked_before = records.sacked_bytes
        delivered = records.on_ack(news.ack) if acked else []
        dsack = self._on_blocks(news, delivered)
        if self.unproven_from >= 0 and delivered:
            first = delivered[0]
            if first.start >= self.unproven_from and first.end - first.start >= self.mss:
                self.unproven_from = -1
        amount = acked + records.sacked_bytes - sacked_before
        sample = self._measure(delivered, news, amount, now)
        counted = acked
        if acked:
            if self.habits.counts_what_is_news:
                counted = min(acked, amount) if self.sack else max(acked - self.dupacks * self.mss, 0)
            self.dupacks = 0
        elif news.duplicate and (not self.sack or amount):
            self.dupacks += 1
            if self.dupacks == 1:
                self._flight_at_first = max(flight, self.flight_sent)
        if acked and self._undo is not None and self.phase == OPEN and news.ack > self._undo.until:
            self._undo = None
        if self._undo is not None and self._is_spurious(self._undo, news, delivered):
            self._go_back(self._undo, news, now)
        recovered = self.phase == RECOVERY and news.ack >= self.recover
        if self.phase != OPEN and news.ack >= self.recover:
            self._end(news, now)
        lost = self._find_losses(news, acked, amount, now)
        if dsack is not None or acked or news.duplicate:
            self._on_probe_answered(news, dsack=dsack is not None, moved=acked > 0, amount=amount, now=now)
        if not recovered or self.phase == RECOVERY:  # the ACK that ends a recovery sets the window and grows nothing
            self._steer(news, acked, counted, amount, flight, sample, limited=limited, lost=lost, now=now)

    # RFC2883-04, RFC6675-06
    def _on_blocks(self, news: AckNews, delivered: list[Sent]) -> tuple[int, int] | None:
        """Read SACK blocks into the scoreboard; adds to `delivered`. Returns the D-SACK block if there is one."""
        if not self.sack or not news.blocks:
            return None
        dsack = None
        first = news.blocks[0]
        if first[1] <= news.ack or (len(news.blocks) > 1 and _within(first, news.blocks[1])):
            dsack = first  # RFC 2883 4: below the ACK, or within the next block
            undo, rack = self._undo, self.rack
            if undo is not None and undo.take_back(*first) and undo.of_recovery and rack is not None:
                # It arrived after something that had been sent later, or RACK would not have believed it lost.
                rack.reordering_seen = True
            if rack is not None:
                rack.on_dsack(news.ack, news.nxt)
        for left, right in sorted(news.blocks):  # or RACK would take the order of the report for reordering
            if news.ack <= left < right <= news.nxt:  # others report what was never sent, or nothing
                delivered.extend(self.records.on_sack(left, right))
        return dsack

    # RFC 9293 MUST-18, RFC6298-06, RFC6298-07
    def _measure(self, delivered: list[Sent], news: AckNews, amount: int, now: Time) -> Duration:
        """Round-trip time, delivery rate, and RACK's variables; returns the sample of the round trip, or -1."""
        sample: Duration = -1
        resent_at: Time = -1
        rack = self.rack
        for record in delivered:
            self.rate.on_delivered(record)
            if record.transmissions > 1:
                resent_at = max(resent_at, record.sent_at)
            else:
                sample = now - record.sent_at
        if resent_at >= 0:
            # Karn: none where one was sent twice, for the ACK may have waited for that. But the timestamps option
            # tells which transmission is acknowledged (RFC 7323 4.1); one that names the first although a second
            # was sent says how long an ACK was late, and not how far away the peer is.
            sample = self._echoed(news) if news.echoed <= now - resent_at + TICK else -1
        elif sample < 0 and news.ack > news.una:
            sample = self._echoed(news)
        if sample >= 0:
            self.rtt.on_sample(sample, now)
            if self.tlp is not None:
                self.tlp.sampled = True
        if rack is not None:
            for record in delivered:
                rack.on_delivered(record, self.rtt, news.echo_tick if record.state == ACKED else -1, now)
        self.delivered_segments += max(len(delivered), -(-amount // self.mss))  # of a burst there is one record
        self.rate.sample(amount, max(self.rtt.minimum, 0), now)
        return sample

    def _echoed(self, news: AckNews) -> Duration:
        """The sample by the timestamps option; not below the least, for a tick may be longer than a round trip."""
        return max(news.echoed, self.rtt.minimum) if news.echoed >= 0 else -1

    def _is_spurious(self, undo: Undo, news: AckNews, delivered: list[Sent]) -> bool:
        """Whether this ACK shows that the repair under way, or just over, was for nothing."""
        if undo.una < 0:
            return False
        if news.ack > max(undo.una, news.una):
            if undo.answers_original(news.una, news.echo_tick):
                return True
            if self.phase == RECOVERY and not undo.has_resent:
                return True  # what counted as lost has come before anything was sent again
        if undo.all_came_twice:
            return True
        if not self._f_rto or self.phase != LOSS:
            return False
        if news.ack < self.recover and self._shows_original(delivered):
            return True  # F-RTO, step 3b: an original arrives, although nothing behind the first was sent again
        if news.duplicate:
            self._f_rto = False  # a duplicate: the time-out was needed (steps 2a, 3a)
            if not self.sack and news.una > self._timed_out_una:
                # What was sent to ask still counts as in flight; let it not stand in the way (RFC 5682 2.1, step 3a).
                self.congestion.cwnd = max(self.congestion.cwnd, 3 * self.mss)
        elif not self.new_first:
            self.new_first = F_RTO_SEGMENTS  # step 2b: ask with new data before anything else is sent again
        return False

    # RFC5682-01
    def _shows_original(self, delivered: list[Sent]) -> bool:
        """Whether something of before the time-out, and never sent again, has arrived just now (RFC 5682 3.1)."""
        if not self.sack and any(record.transmissions > 1 for record in delivered):
            return False  # without reports, what lies behind the repaired hole may have been there for long
        return any(record.transmissions == 1 and record.end <= self.recover for record in delivered)

    def _go_back(self, undo: Undo, news: AckNews, now: Time) -> None:
        self.spurious += 1
        undo.until = news.nxt
        undo.una = -1
        if self.phase == RECOVERY and self.rack is not None:
            self.rack.reordering_seen = True  # whatever told us: something came later than the window allows for
            self.rack.on_dsack(news.ack, news.nxt)
        elif self.phase == LOSS:
            self.rtt.on_spurious(now - self._resent_at)
        self.congestion.on_undo(undo.cwnd, undo.ssthresh, now)
        self.records.forgive_lost()
        self._forget_repair()

    # RFC6675-10, RFC6675-11
    def _end(self, news: AckNews, now: Time) -> None:
        """Everything that was outstanding when the repair began has arrived."""
        if self.phase == RECOVERY:
            self.congestion.on_recovered(now)
            if self._inflation is not None:
                self.congestion.cwnd = self._inflation.at_end(self.congestion.ssthresh, news.nxt - news.ack, self.mss)
        if self.rack is not None:
            self.rack.on_recovered()
        # What was sent again last is reported after a round trip, or later, if the network has reordered that as well.
        if self._undo is not None:
            self._undo.until = 2 * news.nxt - news.ack
        self._forget_repair()

    def _forget_repair(self) -> None:
        self.phase = OPEN
        self.force = False
        self.new_first = 0
        self._f_rto = False
        self._prr = None
        self._inflation = None
        self.dupacks = 0

    # RFC5681-19, RFC6582-01
    def _find_losses(self, news: AckNews, acked: int, amount: int, now: Time) -> bool:
        """Mark what this ACK shows to be lost; begins a recovery. Returns whether there was anything."""
        if self.rack is not None:
            lost = self._rack_detect(now)
        elif self.phase == RECOVERY:
            lost = acked > 0  # a partial ACK shows the next hole (RFC 6582 3.2, step 3)
            if lost:
                self.resend_first()
        else:
            lost = (
                self.phase == OPEN
                and self.dupacks == DUPLICATE_THRESHOLD
                and news.duplicate
                and news.ack >= self._no_duplicates_below
            )
            if lost:
                self.resend_first()
        if lost and self.phase == OPEN:
            self._begin_recovery(news.ack, news.nxt, amount, now)
        return lost

    # RFC8985-17
    def _rack_detect(self, now: Time) -> bool:
        rack = self.rack
        if rack is None or not len(self.records):
            self.reorder_at = NEVER
            return False
        window = rack.reordering_window(self.records, self.rtt, repairing=self.phase != OPEN)
        lost, self.reorder_at = rack.detect(self.records, window, now)
        return lost

    # RFC2018-12, RFC5681-22, RFC6582-01, RFC6675-09, RFC9937-01
    def _begin_recovery(self, una: int, nxt: int, amount: int, now: Time) -> None:
        """A loss was found by an ACK that says `amount` octets have arrived."""
        self._undo = Undo(una, self.congestion.cwnd, self.congestion.ssthresh)
        self._undo.of_recovery = True
        self.phase = RECOVERY
        self.reduced = True
        self.recover = nxt
        self.recoveries += 1
        self.force = True
        flight = nxt - una
        if self.tlp is not None:
            self.tlp.end = -1  # RFC 8985 7.1: its loss is part of this recovery
        # Without what limited transmit has let go meanwhile (RFC 5681 3.2, step 2).
        before = self._flight_at_first if self.dupacks else max(flight, self.flight_sent)
        self.congestion.on_loss(self._used(before), now)
        if self.sack:
            # RecoverFS: what is out, less what was reported before, but with what this ACK has brought (RFC 9937 6).
            self._prr = Prr(flight - self.records.sacked_bytes + amount)
        else:
            self._no_duplicates_below = nxt + 1
            flight = before
            self._inflation = Inflation(self.congestion.ssthresh, flight, self.mss)
            self.congestion.cwnd = self._inflation.cwnd

    def _used(self, flight: int) -> int:
        """So much of the window counts as used by `flight` octets when it is reduced."""
        return self.congestion.cwnd if self.habits.reduces_unused_window else flight

    # RFC8985-14
    def _on_probe_answered(self, news: AckNews, *, dsack: bool, moved: bool, amount: int, now: Time) -> None:
        tlp = self.tlp
        if tlp is not None and tlp.on_ack(news.ack, dsack=dsack, moved=moved, anything_sacked=amount > 0):
            # The probe itself has repaired a loss: respond to it as to any other (RFC 8985 7.4.2).
            if self.phase == OPEN:
                self.congestion.on_loss(self._used(max(news.nxt - news.una, self.flight_sent)), now)
                self.congestion.on_recovered(now)
                self.reduced = True

    # RFC9937-08
    def _steer(
        self,
        news: AckNews,
        acked: int,
        counted: int,
        amount: int,
        flight: int,
        sample: Duration,
        *,
        limited: bool,
        lost: bool,
        now: Time,
    ) -> None:
        """The congestion window after this ACK, of whose octets so many count for its growth."""
        congestion = self.congestion
        if self._prr is not None:
            self._follow(self._prr, amount, safe_ack=acked > 0 and not lost)
        elif self._inflation is not None:
            if acked:
                self._inflation.on_partial_ack(acked, self.mss)
            elif news.duplicate and not lost:
                self._inflation.on_duplicate_ack(self.mss)
            congestion.cwnd = self._inflation.cwnd
        elif acked:
            congestion.on_ack(
                AckSummary(
                    counted,
                    flight,
                    sample,
                    not limited,
                    delivered=amount,
                    rate=self.rate.rate,
                    una=news.ack,
                    nxt=news.nxt,
                    srtt=self.rtt.srtt,
                ),
                now,
            )

    # RFC9937-06
    def _follow(self, prr: Prr, amount: int, *, safe_ack: bool) -> None:
        congestion = self.congestion
        cwnd = prr.cwnd(amount, self.records.pipe, congestion.ssthresh, self.mss, safe_ack=safe_ack)
        congestion.cwnd = max(cwnd, self.mss)

    # RFC3168-07
    def on_mark(self, una: int, ack: int, nxt: int, now: Time) -> bool:
        """A mark of congestion counts like a loss, once in a round trip, and nothing is sent again (RFC 3168 6.1.2).

        The peer repeats it until it has our CWR: an ACK that brings nothing of what left since the last one that
        counted says nothing new. Returns whether the window was one segment already: then only time is left to go
        slower by, see `hold`.
        """
        if una < self._marks_count_from or ack == self._marks_count_from:
            return False
        self._marks_count_from = nxt
        self.reduced = True
        if self.phase != OPEN:
            return False
        least = self.congestion.cwnd <= self.mss
        self.congestion.on_ecn(self._used(max(nxt - una, self.flight_sent)), now)
        if self._undo is not None:
            self._undo.una = -1
        return least

    # RFC3168-07, RFC9438-07
    def hold(self, now: Time) -> None:
        """What is new waits as long as the retransmission timer does that starts now (RFC 3168 6.1.2)."""
        self.held_until = now + self.rtt.rto

    # Time-outs.

    def on_reorder_timeout(self, una: int, nxt: int, now: Time) -> None:
        """RACK's reordering window has passed for something (RFC 8985 6.2, step 5)."""
        if not self._rack_detect(now):
            return
        if self.phase == OPEN:
            self._begin_recovery(una, nxt, 0, now)
        if self._prr is not None:
            self._follow(self._prr, 0, safe_ack=True)  # one segment, or nothing would be sent before the time-out

    # RFC2018-11, RFC5681-31, RFC6298-11, RFC6582-05, RFC6675-14
    def on_retransmission_timeout(self, una: int, nxt: int, *, says_congestion: bool, now: Time) -> None:
        """The oldest data was not acknowledged in time (RFC 6298 5.4 to 5.6, RFC 8985 6.3)."""
        self.rtt.back_off()
        self.timeouts += 1
        records = self.records
        fresh = self.phase != LOSS or una != self._timed_out_una
        was_open = self.phase == OPEN
        first = records.first
        if first is not None and first.state == SACKED:
            records.forget_sacks()  # it should have been acknowledged: the peer has reneged (RFC 2018 8)
        if says_congestion:
            self.reduced = True
            if self.phase == RECOVERY:
                self.congestion.cwnd = self.congestion.ssthresh  # where it was to end: what PRR lets out says nothing
            if fresh and (self.phase != RECOVERY or self._undo is None or self._undo.una < 0):
                self._undo = Undo(una, self.congestion.cwnd, self.congestion.ssthresh)
            # What is believed lost is in flight no more: the window bounds what is (RFC 5681 3.1, RFC 9438 4.6).
            self.congestion.on_timeout(self._used(min(nxt - una, self.congestion.cwnd)), fresh, now)
        if self.rack is not None:
            if first is not None and records.is_burst(first):
                records.split(first, self.mss)  # of a burst, too, it is the first segment that has timed out
            window = self.rack.reordering_window(records, self.rtt, repairing=True)
            self.rack.mark_timed_out(records, window, now)
        else:
            records.mark_all_lost()
        self._forget_repair()
        self.phase = LOSS
        self.recover = nxt
        self.force = True
        self._no_duplicates_below = nxt + 1
        self._f_rto = was_open and says_congestion
        self._timed_out_una = una
        self.reorder_at = NEVER
        if self.tlp is not None:
            self.tlp.end = -1

    def pending_probe(self) -> Sent | None:
        """What a tail loss probe sends again: the last record, if it may still be on its way."""
        last = self.records.last
        return last if last is not None and last.state == OUT else None


def _within(inner: tuple[int, int], outer: tuple[int, int]) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]
