"""The typed trace: what passed the door, and in which state it left us."""

from __future__ import annotations

from stack.tcp.connection import Endpoint
from stack.tcp.state import State
from stack.wire.segment import Segment
from stack.wire.units import Time


class TraceEvent:
    """One segment in or out. `state` is our end's after it; CLOSED where no connection is concerned."""

    __slots__ = ("local", "outgoing", "remote", "segment", "state", "time")

    def __init__(
        self, time: Time, outgoing: bool, local: Endpoint, remote: Endpoint, segment: Segment, state: State
    ) -> None:
        self.time = time
        self.outgoing = outgoing
        self.local = local
        self.remote = remote
        self.segment = segment
        self.state = state
