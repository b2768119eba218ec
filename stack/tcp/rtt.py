"""The round-trip time and the retransmission time-out (RFC 6298).

    first sample R:   SRTT = R            RTTVAR = R / 2
    later:            RTTVAR += (|SRTT - R| - RTTVAR) / 4
                      SRTT += (R - SRTT) / 8
    always:           RTO = SRTT + max(G, 4 * RTTVAR)

Each expiry doubles the RTO; a new sample computes it afresh. Karn's rule (never time data that was sent twice) is
kept by whoever takes the samples: see `Recovery.on_ack`.
"""

from __future__ import annotations

from stack.tcp.config import TcpOptions
from stack.wire.units import MS, SECOND, Duration, Time, seconds

SYN_MAX_RTO = 128 * SECOND  #: In the handshake backoff may go on to 128 s: seven SYNs then take 255 s.
MINIMUM_WINDOW = 60 * SECOND  #: The least round trip is that of the last one or two of these.
GRANULARITY = 1 * MS  #: G: the timers of Trio, and the timestamps option, are no finer.
# RFC6298-14
AFTER_LOST_SYN = 3 * SECOND  #: RFC 6298 5.7: the RTO for data when the SYN itself had to be sent again.
OUTAGE = 16  #: An RTO that many times what the samples say was backed off through an outage.


# RFC 9293 MUST-18, RFC1122-16
class RttEstimator:
    """SRTT, RTTVAR and RTO of one connection, in nanoseconds; `srtt` is -1 before the first sample."""

    __slots__ = (
        "_earlier",
        "_rounds_up",
        "_window_ends",
        "in_handshake",
        "max_rto",
        "min_rto",
        "minimum",
        "rto",
        "rttvar",
        "srtt",
    )

    def __init__(self, options: TcpOptions) -> None:
        self.in_handshake = True  # only a SYN is out
        self.srtt: Duration = -1
        self.rttvar: Duration = 0
        self.minimum: Duration = -1  # of the present window and the one before
        self._earlier: Duration = -1  # the least of the present window alone
        self._window_ends: Time = 0
        self.rto: Duration = seconds(options.initial_rto)
        self.min_rto: Duration = seconds(options.min_rto)
        self._rounds_up = options.habits.rounds_rto_up
        self.max_rto: Duration = seconds(options.max_rto)

    # RFC6298-02, RFC6298-03, RFC8985-06
    def on_sample(self, rtt: Duration, now: Time) -> None:
        """Take a measurement of one round trip."""
        if now >= self._window_ends:
            # A path may become longer; a least time of long ago must not be held against it (RFC 8985 6.2).
            self._window_ends = now + MINIMUM_WINDOW
            self.minimum = self._earlier if self._earlier >= 0 else rtt
            self._earlier = rtt
        self._earlier = min(self._earlier, rtt)
        self.minimum = min(self.minimum, rtt)
        if self.srtt < 0:
            self.srtt = rtt
            self.rttvar = rtt // 2
        else:
            self.rttvar += (abs(self.srtt - rtt) - self.rttvar) // 4
            self.srtt += (rtt - self.srtt) // 8
        self.rto = self._from_samples()

    # RFC6298-04, RFC6298-05, RFC6298-08
    def _from_samples(self) -> Duration:
        if self._rounds_up:
            return min(max(self.srtt + max(GRANULARITY, 4 * self.rttvar), self.min_rto), self.max_rto)
        # Like Linux, the floor is under the variance term: RTO is never closer to SRTT than a delayed ACK may be.
        return min(self.srtt + max(self.min_rto, GRANULARITY, 4 * self.rttvar), self.max_rto)

    # RFC 9293 MUST-19, RFC6298-12, RFC6298-13
    def back_off(self) -> None:
        """The timer expired: double the RTO (RFC 6298 5.5)."""
        self.rto = min(2 * self.rto, SYN_MAX_RTO if self.in_handshake else max(self.max_rto, self.rto))

    def on_spurious(self, since: Duration) -> None:
        """The time-outs were for nothing; the peer was heard `since` after what was sent again last.

        After an outage RTO has been doubled many times, and an answer comes as soon as ever: then the path is what it
        was, and what else was lost must not wait for a minute. Where the path has become slower the back-off stays
        until there is a sample (RFC 6298 5), or time-outs for nothing would follow each other.
        """
        if self.srtt >= 0:
            rto = self._from_samples()
            if self.rto >= OUTAGE * rto and since <= rto:
                self.rto = rto

    # RFC6298-14
    def on_handshake_loss(self) -> None:
        """The SYN timer had expired: data starts with 3 s, whatever backoff has made of it (RFC 6298 5.7)."""
        self.rto = AFTER_LOST_SYN
