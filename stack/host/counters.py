"""What a host counts."""

from __future__ import annotations

from stack.wire.drop import Drop


class Counters:
    """Totals since the host was made; packets and segments are counted, not bytes.

    `drops` counts by reason what was refused; `as_dict` gives everything for JSON.
    """

    __slots__ = (
        "accepted",
        "active_opens",
        "by_reason",
        "fast_opens",
        "icmp_in",
        "icmp_out",
        "packets_in",
        "packets_out",
        "path_doubts",
        "paths_narrowed",
        "resets_in",
        "resets_out",
        "segments_in",
        "segments_out",
    )

    def __init__(self) -> None:
        self.packets_in = 0
        self.packets_out = 0
        self.segments_in = 0
        self.segments_out = 0
        self.resets_in = 0
        self.resets_out = 0
        self.icmp_in = 0
        self.icmp_out = 0
        self.path_doubts = 0  # segments that were sent again and again in vain (R1)
        self.paths_narrowed = 0  # times that the MTU of a path turned out to be less
        self.active_opens = 0
        self.fast_opens = 0  # passive opens whose SYN brought data, or could have
        self.accepted = 0  # passive opens that completed
        self.by_reason: dict[Drop, int] = {}

    def drop(self, reason: Drop) -> None:
        self.by_reason[reason] = self.by_reason.get(reason, 0) + 1

    @property
    def drops(self) -> dict[str, int]:
        """What was refused, by the name of the reason."""
        return {reason.value: count for reason, count in self.by_reason.items()}

    def as_dict(self) -> dict[str, int | dict[str, int]]:
        return {
            "packets_in": self.packets_in,
            "packets_out": self.packets_out,
            "segments_in": self.segments_in,
            "segments_out": self.segments_out,
            "resets_in": self.resets_in,
            "resets_out": self.resets_out,
            "icmp_in": self.icmp_in,
            "icmp_out": self.icmp_out,
            "path_doubts": self.path_doubts,
            "paths_narrowed": self.paths_narrowed,
            "active_opens": self.active_opens,
            "accepted": self.accepted,
            "fast_opens": self.fast_opens,
            "drops": self.drops,
        }
