"""What ends a simulation before its time."""

from __future__ import annotations


class SimulationError(Exception):
    """The world came to a state that it must not be in: an exception in a host, a loop without end."""


class NotDone(SimulationError):  # noqa: N818
    """What a run waited for did not happen before its limit."""
