"""The timers of one connection: a table of deadlines with one minimum.

A timer that is off stands at `NEVER`. Nobody is called when a deadline passes: the host asks `earliest()`, and
calls `Connection.on_timeout` when that time has come.
"""

from __future__ import annotations

from stack.wire.units import NEVER, Time


class Timers:
    """Deadlines; see each one's comment for what happens then."""

    __slots__ = ("delayed_ack", "keepalive", "linger", "loss", "pacing", "persist", "retransmit")

    def __init__(self) -> None:
        self.retransmit: Time = NEVER  # RFC 6298: send the first outstanding segment again, or give up at R2
        self.loss: Time = NEVER  # RFC 8985: RACK looks again, or a tail loss probe goes out
        self.pacing: Time = NEVER  # what pacing holds back may go
        self.persist: Time = NEVER  # RFC 9293 3.8.6.1: probe a window that lets nothing through
        self.delayed_ack: Time = NEVER  # RFC 9293 3.8.6.3: acknowledge what has waited long enough
        self.keepalive: Time = NEVER  # RFC 9293 3.8.4: ask whether the peer is still there
        self.linger: Time = NEVER  # the handshake's own limit at first; FIN-WAIT-2's after a close

    def earliest(self) -> Time:
        """The next deadline, or `NEVER`."""
        return min(self.retransmit, self.loss, self.pacing, self.persist, self.delayed_ack, self.keepalive, self.linger)

    def stop(self) -> None:
        """Switch all of them off."""
        self.retransmit = self.loss = self.pacing = self.persist = self.delayed_ack = self.keepalive = self.linger = (
            NEVER
        )
