"""Fast recovery without SACK: the window is inflated by what duplicates say has left (RFC 5681 3.2, RFC 6582).

Without reports nobody knows what has arrived behind a hole, so everything outstanding counts as in flight; instead the
window grows by a segment for each duplicate ACK. A partial ACK takes back what it acknowledges.
"""

from __future__ import annotations


class Inflation:
    """The window of one recovery; in bytes."""

    __slots__ = ("_ceiling", "cwnd")

    # RFC5681-23
    def __init__(self, ssthresh: int, flight: int, mss: int) -> None:
        self.cwnd = ssthresh + 3 * mss
        # RFC 5681 3.2, step 4: no more can have left than was there, however many duplicates claim it.
        self._ceiling = max(ssthresh + flight, self.cwnd)

    # RFC5681-24
    def on_duplicate_ack(self, mss: int) -> None:
        self.cwnd = min(self.cwnd + mss, self._ceiling)

    # RFC6582-02
    def on_partial_ack(self, acked: int, mss: int) -> None:
        # RFC 6582 3.2, step 3: deflate by what was acknowledged, add one segment back if that was at least one.
        self.cwnd = max(self.cwnd - acked + (mss if acked >= mss else 0), mss)

    # RFC5681-26, RFC6582-03
    def at_end(self, ssthresh: int, flight: int, mss: int) -> int:
        """RFC 6582 3.2, step 3, first choice: no burst of new data when little is in flight."""
        return min(ssthresh, max(flight, mss) + mss)
