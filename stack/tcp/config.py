"""What an application may choose about its connections.

One value, accepted per host, per listener and per connection; it is read when the connection is made, and
`Connection.set_options` changes what can be changed later. Durations are in seconds here, because people write
them; the connection turns them into nanoseconds once.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from stack.tcp.congestion import CongestionControl, algorithm

Congestion = str | type[CongestionControl]
"""A name in `stack.tcp.congestion.ALGORITHMS`, or a class of the user's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpOptions:
    """Choices for connections; times in seconds, sizes in bytes."""

    nodelay: bool = False  #: Send small segments at once: Nagle's algorithm off (RFC 9293 3.7.4).
    local_address: str | None = None  #: Where an active open comes from; None: the host chooses.
    congestion: Congestion = "cubic"
    pacing: bool = False  #: Spread what the window allows over the round trip, in bursts of a millisecond.
    ecn: str = "accept"  #: RFC 3168: "request" it, "accept" it when the peer does, or "off".
    ttl: int = 64  #: IPv4 time to live, IPv6 hop limit.
    dscp: int = 0  #: Differentiated services code point, 0-63.

    send_buffer: int = 4 << 20  #: Bytes accepted from the application and not yet acknowledged.
    receive_buffer: int = 6 << 20  #: What the receive buffer may grow to; Linux' default maximum.
    receive_window: int = 64 << 10  #: What the receive buffer starts with.

    keepalive: bool = False  #: RFC 9293 3.8.4: off unless asked for.
    keepalive_idle: float = 7200.0  #: Silence before the first probe; at least two hours by default.
    keepalive_interval: float = 75.0  #: Between probes.
    keepalive_probes: int = 9  #: Unanswered probes that end the connection.

    connect_timeout: float | None = None  #: For the whole handshake; None: by the number of SYNs.
    syn_retries: int = 7  #: Retransmissions of an active SYN: 255 s in all (R2 of MUST-23 is 3 minutes).
    user_timeout: float | None = None  #: R2 of this connection (RFC 9293 3.8.3, RFC 5482); None: `r2`.
    r2: float = 900.0  #: Unacknowledged for so long ends a connection.
    fin_wait_2_timeout: float = 60.0  #: A connection closed on our side waits so long for the peer's FIN.
    msl: float = 30.0  #: Maximum segment lifetime: TIME-WAIT lasts twice that. Read from the host's options.

    mss: int | None = None  #: Upper bound of the MSS offered to the peer.
    timestamps: bool = True  #: Offer RFC 7323 timestamps.
    window_scaling: bool = True  #: Offer RFC 7323 window scaling.
    sack: bool = True  #: Offer selective acknowledgment (RFC 2018).

    initial_rto: float = 1.0  #: RFC 6298 2.1.
    min_rto: float = 0.2  #: Least RTO beyond SRTT. RFC 6298 2.4 says 1 s; like Linux we take 200 ms.
    max_rto: float = 60.0  #: RFC 6298 2.5.
    delayed_ack: float = 0.04  #: RFC 9293 3.8.6.3 asks for less than 0.5 s; Linux and FreeBSD use 40 ms.

    def __post_init__(self) -> None:
        """Refuse what no connection could honour: `ValueError` and `TypeError` name the field."""
        algorithm(self.congestion)
        for name, low, high in _BOUNDS:
            value = getattr(self, name)
            if value is not None and isinstance(low, int) and not isinstance(value, int) and name not in _SECONDS:
                raise TypeError(f"{name} must be a whole number, not {value!r}")
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name} must be between {low} and {high}, not {value}")
        if self.ecn not in ("request", "accept", "off"):
            raise ValueError(f"ecn must be request, accept or off, not {self.ecn!r}")
        if self.receive_window > self.receive_buffer:
            raise ValueError("receive_window must not exceed receive_buffer")

    def replace(self, **changes: object) -> TcpOptions:
        """A copy with some fields changed; `TypeError` for names that are not fields."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


_BOUNDS: tuple[tuple[str, float, float], ...] = (
    ("ttl", 1, 255),
    ("dscp", 0, 63),
    ("send_buffer", 1, 1 << 30),
    ("receive_buffer", 1, 1 << 30),
    ("receive_window", 1, 1 << 30),
    ("keepalive_idle", 0.001, 1e6),
    ("keepalive_interval", 0.001, 1e6),
    ("keepalive_probes", 1, 1000),
    ("connect_timeout", 0.001, 1e6),
    ("syn_retries", 0, 100),
    ("user_timeout", 0.001, 1e6),
    ("r2", 1, 1e6),
    ("fin_wait_2_timeout", 0.001, 1e6),
    ("msl", 0, 1e4),
    ("mss", 64, 65535),
    ("initial_rto", 0.001, 60),
    ("min_rto", 0, 60),
    ("max_rto", 0.001, 1e4),
    ("delayed_ack", 0, 0.499),
)

_SECONDS = frozenset(
    (
        "user_timeout",
        "r2",
        "msl",
        "initial_rto",
        "min_rto",
        "max_rto",
        "delayed_ack",
        "connect_timeout",
        "fin_wait_2_timeout",
    )
) | {"keepalive_idle", "keepalive_interval"}
"""Fields that may have fractions; all others with bounds are whole numbers."""
