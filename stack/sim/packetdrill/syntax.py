"""A packetdrill script as values: what the parser hands to whoever runs it.

Everything is as it is written. Numbers are not yet relative to anything, names of constants are not yet looked up, and
nothing is known about a connection. Three things only have been done: definitions (`--define=NAME=value`) have been put
in, times are whole nanoseconds, and strings are bytes without their escapes.

Where something stands: an event has its place. An expression has `at`, the number of characters from the beginning of
the event's action, of which `Event.place_of` makes a place. `at` plays no part in comparisons: equal text in two places
is an equal value.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

from stack.wire.units import Duration, Time


class Place(NamedTuple):
    """Where something stands. Lines and columns are counted from 1; a tab is one column."""

    path: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


# Faults ---------------------------------------------------------------------------------------------------------------


class ScriptError(Exception):
    """A script that cannot be read. The message says what was expected, in words; line and column count from 1."""

    def __init__(self, path: str, line: int, column: int, message: str) -> None:
        super().__init__(path, line, column, message)
        self.place = Place(path, line, column)
        self.message = message

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class Unsupported(ScriptError):  # noqa: N818
    """A script that may well be right, but asks for something that is not part of this interpreter."""


# Times -------------------------------------------------------------------------------------------------------------


class WhenKind(enum.Enum):
    ABSOLUTE = "absolute"  #: `1.5`: so long after the script's beginning.
    RELATIVE = "relative"  #: `+0.1`: so long after the event before.
    ANY = "any"  #: `*`: at any time; only of packets that the stack sends.


@dataclass(frozen=True, slots=True)
class When:
    """When an event happens, or is expected to."""

    kind: WhenKind
    start: Duration  #: Nanoseconds; 0 for ANY.
    end: Duration | None = None  #: The last moment of a range (`.1~.2`, `+.1~+.2`), counted as `start` is.


# Packets -----------------------------------------------------------------------------------------------------------


class Direction(enum.Enum):
    IN = "<"  #: The script sends it to the stack.
    OUT = ">"  #: The stack is expected to send it.


@dataclass(frozen=True, slots=True)
class IpInfo:
    """What is said about the IP header, in `[...]` or `(...)`. None: nothing is said."""

    ecn: str | None = None  #: "noecn", "ect0", "ect1", "ce", or "ect01" (either; only of packets that are expected).
    tos: int | None = None  #: The whole octet.
    ttl: int | None = None
    flow_label: int | None = None


class Ports(NamedTuple):
    source: int
    destination: int


@dataclass(frozen=True, slots=True)
class Nop:
    pass


@dataclass(frozen=True, slots=True)
class Eol:
    pass


@dataclass(frozen=True, slots=True)
class Mss:
    value: int


@dataclass(frozen=True, slots=True)
class WindowScale:
    shift: int


@dataclass(frozen=True, slots=True)
class SackPermitted:
    pass


@dataclass(frozen=True, slots=True)
class Sack:
    blocks: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Timestamps:
    val: int
    ecr: int


@dataclass(frozen=True, slots=True)
class FastOpen:
    """`FO` (kind 34), or `FOEXP` (kind 254 with its magic number). An empty cookie asks for one."""

    cookie: bytes
    experimental: bool = False


@dataclass(frozen=True, slots=True)
class Md5:
    digest: bytes


@dataclass(frozen=True, slots=True)
class AccEcn:
    """`ECN e0b 1 ceb 0 e1b 1`: the counters in the order in which they are sent (RFC 9768 3.2.3)."""

    counters: tuple[tuple[str, int], ...]  #: ("e0b" | "ceb" | "e1b", octets modulo 2**24); "e1b" first is kind 174.


TcpOption = Nop | Eol | Mss | WindowScale | SackPermitted | Sack | Timestamps | FastOpen | Md5 | AccEcn


@dataclass(frozen=True, slots=True)
class TcpPacket:
    direction: Direction
    flags: str  #: As it is written: letters of "FSRP.UEWA" and one digit for the three bits of ACE; "" for `-`.
    seq: int
    end: int  #: seq + length; the two may differ by 2**32.
    length: int  #: Octets of data.
    ack: int | None = None
    window: int | None = None  #: As on the wire. None: not looked at; a packet to the stack always has one.
    urgent: int | None = None  #: The pointer as on the wire.
    options: tuple[TcpOption, ...] | None = ()  #: None: `<...>`, not looked at.
    ip: IpInfo = IpInfo()
    ports: Ports | None = None

    @property
    def ace(self) -> int | None:
        """The number that the three bits AE, CWR and ECE make (RFC 9768 3.2.2), when it is written as a digit."""
        return next((int(letter) for letter in self.flags if letter.isdigit()), None)


@dataclass(frozen=True, slots=True)
class UdpPacket:
    direction: Direction
    length: int
    ip: IpInfo = IpInfo()
    ports: Ports | None = None


class QuotedProtocol(enum.Enum):
    TCP = "tcp"  #: `[1:1001(1000)]`
    UDP = "udp"  #: `[udp (100)]`
    RAW = "raw"  #: `[raw (100)]`


@dataclass(frozen=True, slots=True)
class Quoted:
    """The packet that an ICMP message is about."""

    protocol: QuotedProtocol
    seq: int
    length: int


@dataclass(frozen=True, slots=True)
class IcmpPacket:
    direction: Direction
    type: str  #: A name ("unreachable", "packet_too_big", "echo_request") or a number, as written.
    code: str | None = None
    mtu: int | None = None
    identifier: int | None = None
    quoted: Quoted | None = None
    ip: IpInfo = IpInfo()


Packet = TcpPacket | UdpPacket | IcmpPacket


# Expressions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ellipsis:
    """`...`: not looked at, or an address that the runner chooses."""

    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Int:
    value: int
    hexadecimal: bool = field(default=False, compare=False)
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Word:
    """A constant's name, or whatever a call makes of it."""

    name: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class String:
    value: bytes
    prefix: bool = False  #: `"abc"...`: the beginning of something longer.
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Or:
    """`A|B|C`: all their bits."""

    parts: tuple[Expression, ...]
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Assignment:
    """`name=value` where it is no part of a structure that has a class of its own."""

    name: str
    value: Expression
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Array:
    """`[a, b]`."""

    items: tuple[Expression, ...]
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class SubList:
    """`{a, b}` that is none of the structures below."""

    items: tuple[Expression, ...]
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class InAddr:
    """`inet_addr("192.0.2.1")`."""

    address: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class In6Addr:
    """`inet6_addr("2001:db8::1")`."""

    address: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class SockAddr:
    """`{sa_family = AF_INET, sin_port = htons(80), sin_addr = inet_addr("192.0.2.1")}`."""

    family: str  #: "AF_INET" or "AF_INET6".
    port: int  #: In the host's order.
    address: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class IoVec:
    """`{..., 1000}`."""

    base: Expression
    length: Expression
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class MsgHdr:
    """`{msg_name(...)=..., msg_iov(1)=[{..., 5}], msg_flags=0, msg_control=[...]}`."""

    name: Expression
    iov: Array
    iov_count: int
    flags: Expression
    control: Array | None = None  #: Its items are Cmsg.
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Cmsg:
    """`{cmsg_level=SOL_TCP, cmsg_type=TCP_CM_INQ, cmsg_data=...}`."""

    level: Expression
    type: Expression
    data: Expression
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Timestamping:
    """`{scm_sec=0, scm_nsec=20000000}`: what a time stamp of the kernel says, as a control message's data."""

    seconds: int
    nanoseconds: int
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class ExtendedError:
    """`{ee_errno=..., ee_origin=..., ee_type=..., ee_code=..., ee_info=..., ee_data=...}`: of an error queue."""

    errno: Expression
    origin: Expression
    type: Expression
    code: Expression
    info: Expression
    data: Expression
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class PollFd:
    """`{fd=4, events=POLLIN, revents=POLLIN|POLLHUP}`."""

    fd: Expression
    events: Expression
    revents: Expression | None = None
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class EpollEvent:
    """`{events=EPOLLIN, fd=4}`."""

    events: Expression
    kind: str  #: Which part of the union the data is: "fd", "ptr", "u32" or "u64".
    data: Expression
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Linger:
    """`{onoff=1, linger=5}`."""

    onoff: int
    linger: int  #: Seconds.
    at: int = field(default=0, compare=False)


Expression = (
    Ellipsis
    | Int
    | Word
    | String
    | Or
    | Assignment
    | Array
    | SubList
    | InAddr
    | In6Addr
    | SockAddr
    | IoVec
    | MsgHdr
    | Cmsg
    | Timestamping
    | ExtendedError
    | PollFd
    | EpollEvent
    | Linger
)


# Actions -----------------------------------------------------------------------------------------------------------


class Errno(NamedTuple):
    """`EAGAIN (Resource temporarily unavailable)`."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """`+0...0.3 read(3, ..., 1000) = -1 EAGAIN (Resource temporarily unavailable)`."""

    name: str
    arguments: tuple[Expression, ...]
    result: Expression
    errno: Errno | None = None
    note: str | None = None  #: `= 1 (flags O_RDWR)`: a remark behind a result without an errno, without its brackets.
    until: Time | None = None  #: `...0.3`: the call blocks and returns at this time, counted as the event's own is.


@dataclass(frozen=True, slots=True)
class Command:
    """A line for the shell in back quotes, without them."""

    line: str


@dataclass(frozen=True, slots=True)
class Code:
    """`%{ ... }%`: Python that looks at `tcpi_...`; without the brackets and the blanks at its ends."""

    text: str


Action = TcpPacket | UdpPacket | IcmpPacket | Call | Command | Code


# The script --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Event:
    place: Place
    when: When
    action: Action
    source: str = field(compare=False)  #: Without comments, with definitions put in; may have several lines.
    offset: int = field(default=0, compare=False)  #: Where in `source` the action begins.

    def place_of(self, part: Action | Expression | None = None) -> Place:
        """Where an expression of this event's action stands; or the action itself, of anything else."""
        path, line, column = self.place
        at = self.offset + (part.at if isinstance(part, Expression) else 0)
        start = self.source.rfind("\n", 0, at)
        if start < 0:
            return Place(path, line, column + at)
        return Place(path, line + self.source.count("\n", 0, at), at - start)


@dataclass(frozen=True, slots=True)
class Option:
    """`--name=value` at a script's head; `--define=NAME=value` is among them, too."""

    place: Place
    name: str
    value: str | None = None  #: Without quotes; None: `--name` alone.


@dataclass(frozen=True, slots=True)
class Script:
    path: str
    options: tuple[Option, ...]
    init: Command | None  #: A command without a time before the first event.
    events: tuple[Event, ...]
    cleanup: Command | None  #: One behind the last event; run whatever happens.

    def option(self, name: str) -> str | None:
        """The last value of an option; "" where it is there without one, None where it is not there."""
        found = None
        for option in self.options:
            if option.name == name:
                found = option.value or ""
        return found
