"""Proportional rate reduction: how much to send during recovery (RFC 9937, before it RFC 6937).

Recovery has to bring what is in flight from where it was down to `ssthresh`. Doing that at once means silence for half
a round trip and then a burst. Here every ACK lets out a share of what it says was delivered,

    pipe > ssthresh    sndcnt = ceil(prr_delivered * ssthresh / RecoverFS) - prr_out
    pipe <= ssthresh   sndcnt = min(ssthresh - pipe, limit), where limit is what was delivered and not yet made up for,
                       and one segment more when the ACK advances and reports no further loss (slow start back up)

so that sending goes on evenly, and ends at `ssthresh` just when recovery does.
"""

from __future__ import annotations


# RFC9937-07
class Prr:
    """The state of one recovery; in bytes."""

    __slots__ = ("_delivered", "_flight_size", "_out")

    # RFC9937-01
    def __init__(self, flight_size: int) -> None:
        self._flight_size = max(flight_size, 1)  # RecoverFS
        self._delivered = 0  # prr_delivered
        self._out = 0  # prr_out

    def on_sent(self, size: int) -> None:
        """Anything left during recovery, new or again."""
        self._out += size

    # RFC9937-03, RFC9937-04, RFC9937-05
    def cwnd(self, delivered: int, pipe: int, ssthresh: int, mss: int, *, safe_ack: bool) -> int:
        """The congestion window after an ACK that says `delivered` bytes have arrived."""
        self._delivered += delivered
        if pipe > ssthresh:
            count = -(-self._delivered * ssthresh // self._flight_size) - self._out
        else:
            limit = max(self._delivered - self._out, delivered)
            if safe_ack:
                limit += mss
            count = min(ssthresh - pipe, limit)
        if self._out == 0:
            count = max(count, mss)  # the fast retransmit itself
        return pipe + max(count, 0)
