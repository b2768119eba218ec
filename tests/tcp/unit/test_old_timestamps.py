"""TS.Recent and the age of what it is compared with (RFC 7323 5.5)."""

from __future__ import annotations

from stack.tcp.timestamps import EXPIRY, Timestamps


def test_an_older_value_waits_until_the_kept_one_has_expired() -> None:
    """Its age counts from when it was kept, however long the clock has run before."""
    begun = 3 * EXPIRY
    ts = Timestamps(0, 1000, begun)
    ts.on_segment(999, True, begun + EXPIRY)
    assert ts.recent == 1000
    ts.on_segment(999, True, begun + EXPIRY + 1)
    assert ts.recent == 999
    assert ts.recent_at == begun + EXPIRY + 1
