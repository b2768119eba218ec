"""What an application may choose about its connections.

One value, accepted per host, per listener and per connection; it is read when the connection is made, and
`Connection.set_options` changes what can be changed later. Durations are in seconds here, because people write
them; the connection turns them into nanoseconds once.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from stack.tcp.congestion import CongestionControl, algorithm
from stack.tcp.habits import RFC, Habits

Congestion = str | type[CongestionControl]
"""A name in `stack.tcp.congestion.ALGORITHMS`, or a class of the user's own."""


FASTOPEN_KEY = 16  #: Octets of a key that cookies are made with.


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpOptions:
    """Choices for connections; times in seconds, sizes in bytes."""

    # RFC 9293 MUST-17
    nodelay: bool = False  #: Send small segments at once: Nagle's algorithm off (RFC 9293 3.7.4).
    local_address: str | None = None  #: Where an active open comes from; None: the host chooses.
    reuse_address: bool = True  #: Its port may be bound by others who say so too, if none of them listens.
    reuse_port: bool = False  #: Its port may be bound, and listened on, by others who say so too.
    congestion: Congestion = "cubic"
    pacing: bool = False  #: Spread what the window allows over the round trip, in bursts of a millisecond.
    habits: Habits = RFC  #: Where stacks differ: see `stack.tcp.habits`.
    ecn: str = "accept"  #: RFC 3168: "request" it, "accept" it when the peer does, or "off".
    # RFC 9293 MUST-49, RFC1122-06
    ttl: int = 64  #: IPv4 time to live, IPv6 hop limit.
    # RFC 9293 MUST-48, RFC1122-25
    dscp: int = 0  #: Differentiated services code point, 0-63.

    send_buffer: int = 4 << 20  #: What the send buffer (bytes accepted and not yet acknowledged) may grow to.
    send_space: int = 256 << 10  #: What the send buffer starts with; at most `send_buffer`.
    receive_buffer: int = 6 << 20  #: What the receive buffer may grow to; Linux' default maximum.
    receive_window: int = 64 << 10  #: What the receive buffer starts with.

    cork: bool = False  #: Hold back segments that are not full, for up to an RTO (0.2 s or more); see `stack.tcp.cork`.
    notsent_lowat: int | None = None  #: Accept more, and wake writers, only while less than this was never sent.
    receive_lowat: int = 1  #: Wake readers when so much is there, or all that can come; at most `receive_buffer`.
    linger: float | None = None  #: Closing waits so long for what is queued, then resets; 0: resets at once; None: no.

    # RFC 9293 MUST-25, RFC1122-21
    keepalive: bool = False  #: RFC 9293 3.8.4: off unless asked for.
    # RFC 9293 MUST-27, MUST-28, RFC1122-21
    keepalive_idle: float = 7200.0  #: Silence before the first probe; at least two hours by default.
    keepalive_interval: float = 75.0  #: Between probes.
    keepalive_probes: int = 9  #: Unanswered probes that end the connection.

    defer_accept: int = 0  #: A listener's: with fewer SYN-ACKs lost than this, it takes data to complete a handshake.
    connect_timeout: float | None = None  #: For the whole handshake; None: by the number of SYNs.
    # RFC 9293 MUST-23
    syn_retries: int = 7  #: Retransmissions of an active SYN: 255 s in all (R2 of MUST-23 is 3 minutes).
    # RFC 9293 MUST-21, RFC5482-01
    user_timeout: float | None = None  #: R2 of this connection (RFC 9293 3.8.3, RFC 5482); None: `r2`.
    # RFC 9293 SHLD-11, RFC1122-20
    r2: float = 900.0  #: Unacknowledged for so long ends a connection.
    # RFC 9293 SHLD-10, RFC1122-20
    r1: int = 3  #: After so many retransmissions of the same thing IP and the application hear of it (RFC 9293 3.8.3).
    # RFC 9293 SHLD-20, RFC1122-24
    error_reports: bool = True  #: Tell of soft errors and of R1 as they come (RFC 9293 3.9.1.8).
    soft_errors_end_opening: bool = False  #: Any ICMP error ends a connection that is being opened (RFC 5461 4.1).
    fin_wait_2_timeout: float = 60.0  #: A connection closed on our side waits so long for the peer's FIN.
    msl: float = 30.0  #: Maximum segment lifetime: TIME-WAIT lasts twice that. Read from the host's options.

    mss: int | None = None  #: Upper bound of the MSS offered to the peer, and of that used towards it.
    offer_path_mss: bool = False  #: Offer no larger MSS than the path is known to take, as Linux does.
    timestamps: bool = True  #: Offer RFC 7323 timestamps.
    window_scaling: bool = True  #: Offer RFC 7323 window scaling.
    sack: bool = True  #: Offer selective acknowledgment (RFC 2018).

    fastopen: bool = False  #: Data with SYNs (RFC 7413), which may arrive twice: see `stack.tcp.fast_open`.
    fastopen_cookies: bool = True  #: False: none asked for and none needed, for networks without forged addresses.
    fastopen_queue: int = 16  #: Fast opens of a listener whose handshake is under way; one more is opened as usual.
    fastopen_keys: tuple[bytes, ...] = ()  #: A listener's own for cookies: see `Host.fastopen_keys`; (): the host's.
    fastopen_pause: float = 60.0  #: Without Fast Open to a server after it failed, doubled each time (RFC 7413 4.1.3).

    # RFC6298-01
    initial_rto: float = 1.0  #: RFC 6298 2.1.
    # RFC6298-04
    min_rto: float = 0.2  #: Least RTO beyond SRTT. RFC 6298 2.4 says 1 s; like Linux we take 200 ms.
    # RFC6298-05
    max_rto: float = 60.0  #: RFC 6298 2.5.
    # RFC 9293 MUST-40, RFC1122-17, RFC5681-29
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
        check_fastopen_keys(self.fastopen_keys)
        if self.receive_lowat > self.receive_buffer:
            raise ValueError("receive_lowat must not exceed receive_buffer")

    def __hash__(self) -> int:
        """For every SYN the listener's options are looked up in a table: a few fields tell most of them apart."""
        return hash((self.mss, self.receive_buffer, self.receive_window, self.send_space, self.nodelay, self.ecn))

    def first_window(self, segment: int) -> int:
        """The receive buffer to begin with, for a peer whose segments have so many octets.

        At least twice `receive_lowat`, or the peer must stop when that is here.
        """
        window = max(self.receive_window, min(2 * self.receive_lowat, self.receive_buffer))
        if self.habits.whole_first_window and window > segment:
            window = min(window - window % segment, 0xFFFF)
        return window

    def replace(self, **changes: object) -> TcpOptions:
        """A copy with some fields changed; `TypeError` for names that are not fields."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


def check_fastopen_keys(keys: tuple[bytes, ...]) -> None:
    """`ValueError` unless they are two at most, of 16 octets each."""
    if len(keys) > 2 or any(len(key) != FASTOPEN_KEY for key in keys):
        raise ValueError(f"fastopen_keys must be one or two of {FASTOPEN_KEY} octets each")


_BOUNDS: tuple[tuple[str, float, float], ...] = (
    ("ttl", 1, 255),
    ("dscp", 0, 63),
    ("send_buffer", 1, 1 << 30),
    ("send_space", 1, 1 << 30),
    ("receive_buffer", 1, 1 << 30),
    ("receive_window", 1, 1 << 30),
    ("notsent_lowat", 1, 1 << 30),
    ("receive_lowat", 1, 1 << 30),
    ("linger", 0, 1e6),
    ("keepalive_idle", 0.001, 1e6),
    ("keepalive_interval", 0.001, 1e6),
    ("keepalive_probes", 1, 1000),
    ("connect_timeout", 0.001, 1e6),
    ("syn_retries", 0, 127),
    ("defer_accept", 0, 31),
    ("user_timeout", 0.001, 1e7),
    ("r2", 1, 1e6),
    ("r1", 1, 1000),
    ("fin_wait_2_timeout", 0.001, 1e6),
    ("msl", 0, 1e4),
    ("mss", 64, 65535),
    ("fastopen_queue", 0, 65535),
    ("fastopen_pause", 0, 1e6),
    ("initial_rto", 0.001, 60),
    ("min_rto", 0, 60),
    ("max_rto", 0.001, 1e4),
    ("delayed_ack", 0, 0.499),
)

_SECONDS = frozenset(
    (
        "user_timeout",
        "linger",
        "r2",
        "msl",
        "fastopen_pause",
        "initial_rto",
        "min_rto",
        "max_rto",
        "delayed_ack",
        "connect_timeout",
        "fin_wait_2_timeout",
    )
) | {"keepalive_idle", "keepalive_interval"}
"""Fields that may have fractions; all others with bounds are whole numbers."""
