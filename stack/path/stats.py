"""What befell the packets of one direction, counted."""

from __future__ import annotations

import enum


class Fate(enum.Enum):
    """Something that happens to a packet besides passing; the value is the name of its counter."""

    LOST = "lost"  # by the loss model
    QUEUE_FULL = "queue_full"
    DROPPED_BY_AQM = "dropped_by_aqm"  # CoDel or RED, and no mark was to be had
    TOO_BIG = "too_big"  # for the MTU
    DOWN = "down"  # the path was down
    MARKED = "marked"  # Congestion Experienced
    DUPLICATED = "duplicated"
    REORDERED = "reordered"  # comes late
    CORRUPTED = "corrupted"

    @property
    def is_loss(self) -> bool:
        """Whether the packet is gone."""
        return self in _LOSSES


_LOSSES = (Fate.LOST, Fate.QUEUE_FULL, Fate.DROPPED_BY_AQM, Fate.TOO_BIG, Fate.DOWN)


class PipeStats:
    """Totals of one direction, in packets and bytes as a wire carries them.

    entered + duplicated = delivered + all that was lost + what is still under way.
    """

    __slots__ = ("_fates", "delivered", "delivered_bytes", "entered", "entered_bytes", "lost_bytes")

    def __init__(self) -> None:
        self.entered = 0
        self.entered_bytes = 0
        self.delivered = 0
        self.delivered_bytes = 0
        self.lost_bytes = 0
        self._fates: dict[Fate, int] = dict.fromkeys(Fate, 0)

    def count(self, fate: Fate) -> None:
        self._fates[fate] += 1

    def __getitem__(self, fate: Fate) -> int:
        """How many packets that befell."""
        return self._fates[fate]

    @property
    def lost(self) -> int:
        """Packets that are gone, whatever the cause."""
        return sum(self._fates[fate] for fate in _LOSSES)

    def as_dict(self) -> dict[str, int]:
        """All counts, for JSON."""
        counts = {
            "entered": self.entered,
            "entered_bytes": self.entered_bytes,
            "delivered": self.delivered,
            "delivered_bytes": self.delivered_bytes,
            "lost_bytes": self.lost_bytes,
        }
        counts.update({fate.value: count for fate, count in self._fates.items()})
        return counts
