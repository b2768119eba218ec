"""What was sent and what became of it: the sender's memory for loss recovery.

Every transmission of new octets leaves a record, [start, end) with the time; records lie in order and cover exactly
what is outstanding. A record is *lost* once it is believed to have left the network without arriving and has not
been sent again. From that follows the one number that limits sending:

    pipe = octets outstanding - octets lost

Who is lost is decided here: the first record, by duplicate ACKs and by partial ACKs (NewReno, RFC 6582); all of
them, when the retransmission timer expires (RFC 6298 5.4 sends the earliest; the others follow as the window
opens). SYN and FIN take one number each and are recorded like octets, so that they are repaired like octets.
"""

from __future__ import annotations

from collections import deque

from stack.wire.units import Duration, Time


class Sent:
    """One transmission: the numbers [start, end), when it was last sent, and how often."""

    __slots__ = ("end", "lost", "sent_at", "start", "transmissions")

    def __init__(self, start: int, end: int, sent_at: Time) -> None:
        self.start = start
        self.end = end
        self.sent_at = sent_at
        self.transmissions = 1
        self.lost = False


class Recovery:
    """Records of what is outstanding, and the queue of what is to be sent again."""

    __slots__ = ("_lost", "_records", "lost_bytes", "outstanding", "resent_at")

    def __init__(self) -> None:
        self._records: deque[Sent] = deque()
        self._lost: deque[Sent] = deque()  # in order; those sent again or acknowledged meanwhile are skipped
        self.outstanding = 0
        self.lost_bytes = 0
        self.resent_at: Time = -1  # when the latest ACK's last retransmitted record left for the last time; -1: none

    @property
    def pipe(self) -> int:
        """Octets believed to be in the network (RFC 6675 2)."""
        return self.outstanding - self.lost_bytes

    @property
    def first(self) -> Sent | None:
        """The earliest record outstanding."""
        return self._records[0] if self._records else None

    def on_sent(self, start: int, end: int, now: Time) -> None:
        """New octets [start, end) leave for the first time."""
        self._records.append(Sent(start, end, now))
        self.outstanding += end - start

    def on_resent(self, record: Sent, now: Time) -> None:
        """A lost record leaves again."""
        self._forgive(record)
        record.sent_at = now
        record.transmissions += 1

    def next_lost(self) -> Sent | None:
        """The earliest record that is lost; it stays queued until `on_resent`."""
        queue = self._lost
        while queue:
            record = queue[0]
            if record.lost:
                return record
            queue.popleft()
        return None

    def split(self, record: Sent, size: int) -> None:
        """Cut a lost record that no longer fits a segment down to `size`; the rest stays lost behind it."""
        rest = Sent(record.start + size, record.end, record.sent_at)
        rest.transmissions = record.transmissions
        rest.lost = record.lost
        record.end = rest.start
        self._records.insert(self._records.index(record) + 1, rest)
        self._lost.insert(1, rest)

    def mark_first_lost(self) -> None:
        """The earliest record outstanding is gone."""
        record = self._records[0]
        if not record.lost:
            record.lost = True
            self.lost_bytes += record.end - record.start
            self._lost.appendleft(record)

    def mark_all_lost(self) -> None:
        """Nothing outstanding is in the network any more."""
        for record in self._records:
            record.lost = True
        self._lost = deque(self._records)
        self.lost_bytes = self.outstanding

    def on_ack(self, una: int, now: Time) -> Duration:
        """Everything before `una` has arrived.

        Returns a sample of the round-trip time from the latest record acknowledged whole, or -1. None is taken
        when any of them was sent twice: the ACK may have waited for that one (Karn's rule, RFC 6298 3).
        """
        sample: Duration = -1
        self.resent_at = -1
        records = self._records
        while records:
            record = records[0]
            if record.end > una:
                if record.start < una:  # in part: the peer took the head of it
                    self._shorten(record, una)
                break
            records.popleft()
            self._forgive(record)
            self.outstanding -= record.end - record.start
            sample = now - record.sent_at
            if record.transmissions > 1:
                self.resent_at = max(self.resent_at, record.sent_at)
        return sample if self.resent_at < 0 else -1

    def _shorten(self, record: Sent, una: int) -> None:
        gone = una - record.start
        record.start = una
        self.outstanding -= gone
        if record.lost:
            self.lost_bytes -= gone

    def _forgive(self, record: Sent) -> None:
        if record.lost:
            record.lost = False
            self.lost_bytes -= record.end - record.start
            if not self.lost_bytes:
                self._lost.clear()  # nothing in it is lost any more
