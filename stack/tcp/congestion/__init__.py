"""Congestion controllers: a small base class, and the algorithms known by name."""

from __future__ import annotations

from stack.tcp.congestion.base import AckSummary, CongestionControl
from stack.tcp.congestion.newreno import NewReno

ALGORITHMS: dict[str, type[CongestionControl]] = {"newreno": NewReno}


def algorithm(choice: str | type[CongestionControl]) -> type[CongestionControl]:
    """The controller's class for a name or a class; `ValueError` lists the names."""
    if isinstance(choice, str):
        try:
            return ALGORITHMS[choice]
        except KeyError:
            raise ValueError(f"no congestion control {choice!r}; there is {', '.join(ALGORITHMS)}") from None
    return choice


__all__ = ["ALGORITHMS", "AckSummary", "CongestionControl", "NewReno", "algorithm"]
