"""Congestion controllers: a small base class, and the algorithms known by name."""

from __future__ import annotations

from stack.tcp.congestion.base import AckSummary, CongestionControl
from stack.tcp.congestion.cubic import Cubic
from stack.tcp.congestion.newreno import NewReno

ALGORITHMS: dict[str, type[CongestionControl]] = {"cubic": Cubic, "newreno": NewReno}


def algorithm(choice: str | type[CongestionControl]) -> type[CongestionControl]:
    """The controller's class for a name or a class; `ValueError` lists the names."""
    if isinstance(choice, str):
        try:
            return ALGORITHMS[choice]
        except KeyError:
            raise ValueError(f"no congestion control {choice!r}; there is {', '.join(ALGORITHMS)}") from None
    if not (isinstance(choice, type) and issubclass(choice, CongestionControl)):
        raise TypeError(f"congestion must be a name or a subclass of CongestionControl, not {choice!r}")
    return choice


__all__ = ["ALGORITHMS", "AckSummary", "CongestionControl", "Cubic", "NewReno", "algorithm"]
