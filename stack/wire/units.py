"""Units of time.

Inside the core a time is an integer count of nanoseconds since an epoch that only the caller knows, and a
duration is a difference of two of them. Integers make a simulation exact: the same inputs give the same outputs
on every machine, which floats do not promise.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

Time = int
"""Nanoseconds since the caller's epoch."""
Duration = int
"""Nanoseconds between two times."""

US: Final = 1_000
MS: Final = 1_000_000
SECOND: Final = 1_000_000_000
MINUTE: Final = 60 * SECOND

NEVER: Final = (1 << 62) - 1  #: Later than any deadline (146 years); a timer that is off stands here.


@lru_cache(256)
def seconds(value: float) -> Duration:
    """The duration of so many seconds, rounded to the nanosecond; one value for all who ask for it."""
    return round(value * SECOND)
