"""What one direction of a path is like: a value, and the notations for it.

    loss=2%,delay=20ms,jitter=5ms,rate=50mbit,reorder=1%,duplicate=1%,corrupt=0.1%,seed=7

The same names serve on the command line (`parse`), in TOML (`from_mapping`) and in Python (`path_config`, where times
may be nanoseconds, rates bits a second and sizes bytes, as plain integers). What each of them does to a packet, and in
which order, is told in `stack.path.pipe`.

    rate       bits a second of IP packets; 0, the default: no limit, and so no queue
    queue      room in the queue: packets (`100`), bytes (`64kB`) or time at the path's rate (`50ms`); default 100ms
    aqm        `droptail`, `codel` (RFC 8289) or `red` (Floyd and Jacobson 1993, gentle)
    ecn        whether codel and red mark ECN-capable packets where they would drop others
    delay      one way; jitter: each packet's delay is drawn evenly from delay - jitter to delay + jitter
    ordered    `yes`: jitter never lets a packet overtake another one (which makes the mean delay longer)
    loss       probability; with burst=4, losses come in bursts of that mean length and the same overall probability
    gilbert    P/R/BAD/GOOD: the two-state model itself; from good to bad and back, and loss in either state
    drop       which packets are lost, counted from 1: `3`, `3/7/12-15`;  drop_every=100: every 100th
    duplicate  probability that a packet is sent twice
    reorder    probability that a packet comes late, by up to reorder_by (default: half the delay, or 1 ms)
    corrupt    probability that one bit of a packet is flipped
    mtu        larger packets do not pass; 0: all do
    down       when nothing passes: `10s+2s` is from 10 s on for 2 s; several are joined by `/`
    flap       `10s/2s`: down for the last 2 s of every 10 s
    overhead   bytes that each packet takes at the rate beyond its own (Ethernet: 38)
    seed       of this path's chance
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stack.path import quantities
from stack.wire.packet import Packet
from stack.wire.units import MS, Duration, Time

Predicate = Callable[[Packet, int], bool]
"""Says of a packet, and of its number on this path (the first is 1), whether it is lost."""

DROPTAIL, CODEL, RED = "droptail", "codel", "red"
DEFAULT_QUEUE: Duration = 100 * MS  #: Of the rate; what a home router may have. At least `MIN_QUEUE` bytes.
MIN_QUEUE = 16 * 1500
DEFAULT_REORDER: Duration = MS  #: How late a reordered packet is on a path without delay.


@dataclass(frozen=True, slots=True, kw_only=True)
class PathConfig:
    """One direction of a path. Times in nanoseconds, rates in bits a second, sizes in bytes, chances from 0 to 1."""

    rate: int = 0
    queue_bytes: int = 0  #: 0: no limit, or the default where no limit at all was asked for.
    queue_packets: int = 0
    queue_time: Duration = 0  #: As long as the rate takes to send it.
    aqm: str = DROPTAIL
    ecn: bool = False
    codel_target: Duration = 5 * MS  #: RFC 8289 4.2.
    codel_interval: Duration = 100 * MS
    red_min: float = 1 / 6  #: Of the queue's bytes: where RED begins, and where its ramp ends.
    red_max: float = 1 / 2
    red_chance: float = 0.1  #: Of a drop at `red_max`.

    delay: Duration = 0
    jitter: Duration = 0
    ordered: bool = False
    loss: float = 0.0
    burst: float = 1.0
    gilbert: tuple[float, float, float, float] | None = None
    drop: tuple[tuple[int, int], ...] = ()  #: Ranges of packets, from 1, both ends included.
    drop_every: int = 0
    drop_if: Predicate | None = None
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_by: Duration = 0
    corrupt: float = 0.0
    mtu: int = 0
    down: tuple[tuple[Time, Duration], ...] = ()
    flap: tuple[Duration, Duration] = (0, 0)
    overhead: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no path can be: `ValueError` with the reason."""
        _check_numbers(self)
        if self.jitter > self.delay:
            raise ValueError("jitter must not exceed delay: no packet can arrive before it was sent")
        if self.aqm not in (DROPTAIL, CODEL, RED):
            raise ValueError(f"aqm must be droptail, codel or red, not {self.aqm!r}")
        if (self.aqm != DROPTAIL or self.queue_bytes or self.queue_packets or self.queue_time) and not self.rate:
            raise ValueError("a queue needs a rate: without one it never fills")
        if self.ecn and self.aqm == DROPTAIL:
            raise ValueError("ecn needs aqm=codel or aqm=red: a drop-tail queue marks nothing")
        if not 0 < self.red_min < self.red_max <= 1:
            raise ValueError("red_min must be above 0, and below red_max, which is at most 1")
        if self.burst < 1:
            raise ValueError("burst must be at least 1, the mean number of packets lost in a row")
        if self.burst > 1 and not 0 < self.loss < 1:
            raise ValueError("burst needs a loss: it says in what bursts that comes")
        if self.burst > 1 and self.loss / (1 - self.loss) > self.burst:
            raise ValueError(f"a loss of {self.loss:g} needs bursts of more than {self.loss / (1 - self.loss):.3g}")
        if self.gilbert is not None and self.loss:
            raise ValueError("gilbert and loss are two models of the same thing: give one of them")
        if self.reorder_by and not self.reorder:
            raise ValueError("reorder_by needs reorder: the share of packets that come late")

    @property
    def limit_bytes(self) -> int:
        """Bytes that the queue holds at most, the packet being sent not counted; 0 where only packets count."""
        if self.queue_bytes:
            return self.queue_bytes
        time = self.queue_time
        if not time and not self.queue_packets:
            return max(self.rate * DEFAULT_QUEUE // (8 * 10**9), MIN_QUEUE)
        return max(self.rate * time // (8 * 10**9), 1) if time else 0

    @property
    def lateness(self) -> Duration:
        """The most by which a reordered packet is late."""
        return self.reorder_by or self.delay // 2 or DEFAULT_REORDER

    def replace(self, **changes: object) -> PathConfig:
        """A copy with some fields changed; values are read as `path_config` does."""
        fields = _without_old_queue(changes)
        return dataclasses.replace(self, **_read_all(fields, strict=False))  # type: ignore[arg-type]


def path_config(**fields: object) -> PathConfig:
    """The path with these properties: text with units, or numbers in nanoseconds, bits a second and bytes."""
    return PathConfig(**_read_all(fields, strict=False))  # type: ignore[arg-type]


def from_mapping(fields: Mapping[str, object]) -> PathConfig:
    """The path that a TOML table describes: as `path_config`, but a duration or a rate needs its unit."""
    return PathConfig(**_read_all(fields, strict=True))  # type: ignore[arg-type]


def parse(text: str) -> PathConfig:
    """The path that one line describes: `loss=2%,delay=20ms,seed=7`. Empty text is a perfect path."""
    return from_mapping(parse_fields(text))


def parse_fields(text: str) -> dict[str, object]:
    """The names and values of one line, for who wants to merge several."""
    fields: dict[str, object] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (part.strip() for part in word.partition("="))
        if not equals and name in ("ecn", "ordered"):
            value = "yes"
        elif not value:
            raise ValueError(f"{word!r} is not of the form name=value, as in delay=20ms")
        if name in fields:
            raise ValueError(f"{name} is given twice")
        fields[name] = value
    return fields


# Reading single values. -------------------------------------------------------------------------------------------

_DURATIONS = ("delay", "jitter", "reorder_by", "codel_target", "codel_interval", "queue_time")
_CHANCES = ("loss", "duplicate", "reorder", "corrupt", "red_min", "red_max", "red_chance")
_COUNTS = ("drop_every", "queue_packets", "seed")
_SIZES = ("mtu", "overhead", "queue_bytes")
_FLAGS = ("ordered", "ecn")
_NAMES = sorted([*(field.name for field in dataclasses.fields(PathConfig)), "queue"])
_FOR_PYTHON = ("drop_if", "queue_bytes", "queue_packets", "queue_time")  # not offered to who writes text
_LARGEST = {"mtu": 65535, "overhead": 65535, "rate": 1 << 50, "seed": 1 << 64}


def _without_old_queue(changes: dict[str, object]) -> dict[str, object]:
    """`queue` replaces whatever limit there was."""
    if "queue" not in changes:
        return changes
    return {"queue_bytes": 0, "queue_packets": 0, "queue_time": 0, **changes}


def _read_all(fields: Mapping[str, object], *, strict: bool) -> dict[str, object]:
    read: dict[str, object] = {}
    for name, value in fields.items():
        if name not in _NAMES:
            known = ", ".join(known for known in _NAMES if known not in _FOR_PYTHON)
            raise ValueError(f"a path has no {name!r}; it has {known}")
        try:
            if name == "queue":
                read.update(_read_queue(value))
            else:
                read[name] = _read(name, value, strict)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name}: {error}") from None
    return read


def _read(name: str, value: object, strict: bool) -> object:
    if name == "drop" and not isinstance(value, str):
        return _read_drop(value)
    if isinstance(value, str):
        return _read_text(name, value)
    if name in _DURATIONS or name == "rate":
        if strict and value:
            raise ValueError(
                f"{value!r} has no unit; write it as text, such as {'50mbit' if name == 'rate' else '20ms'!r}"
            )
        return _number(value)
    if name in _COUNTS or name in _SIZES:
        return None if name == "seed" and value is None else _number(value)
    if name in _CHANCES or name == "burst":
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{value!r} is not a number")
        return float(value)
    if name in _FLAGS and not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _read_text(name: str, text: str) -> object:
    if name in _DURATIONS:
        return quantities.duration(text)
    if name in _CHANCES:
        return quantities.probability(text)
    if name in _SIZES:
        return quantities.size(text)
    if name in _COUNTS:
        return _count(text)
    if name in _FLAGS:
        return _flag(text)
    return _READERS[name](text) if name in _READERS else text


def _read_queue(value: object) -> dict[str, object]:
    if isinstance(value, int) and not isinstance(value, bool):
        return {"queue_packets": _number(value)}
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a number of packets, nor text such as '64kB' or '50ms'")
    text = value.strip()
    if text.isdecimal():
        return {"queue_packets": int(text)}
    if quantities.is_duration(text):
        return {"queue_time": quantities.duration(text)}
    return {"queue_bytes": quantities.size(text)}


def _read_drop(value: object) -> tuple[tuple[int, int], ...]:
    items = [value] if isinstance(value, int) else value
    if not isinstance(items, (list, tuple)):
        raise TypeError(f"{value!r} is not a list of packet numbers")
    ranges = []
    for item in items:
        first, last = item if isinstance(item, (list, tuple)) and len(item) == 2 else (item, item)
        ranges.append((_number(first), _number(last)))
    return tuple(ranges)


def _drop(text: str) -> tuple[tuple[int, int], ...]:
    ranges = []
    for part in text.split("/"):
        first, dash, last = part.partition("-")
        ranges.append((_count(first), _count(last if dash else first)))
    return tuple(ranges)


def _down(text: str) -> tuple[tuple[Time, Duration], ...]:
    intervals = []
    for part in text.split("/"):
        start, plus, length = part.partition("+")
        if not plus:
            raise ValueError(f"{part!r} is not a start and a length, as in 10s+2s")
        intervals.append((quantities.duration(start), quantities.duration(length)))
    return tuple(intervals)


def _flap(text: str) -> tuple[Duration, Duration]:
    period, slash, length = text.partition("/")
    if not slash:
        raise ValueError(f"{text!r} is not a period and a length, as in 10s/2s")
    return quantities.duration(period), quantities.duration(length)


def _gilbert(text: str) -> tuple[float, float, float, float]:
    chances = [quantities.probability(part) for part in text.split("/")]
    if not 2 <= len(chances) <= 4:
        raise ValueError(f"{text!r} is not of the form P/R, P/R/BAD or P/R/BAD/GOOD, as in 1%/25%")
    p, r, bad, good = [*chances, *(1.0, 0.0)[len(chances) - 2 :]]
    return p, r, bad, good


def _burst(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number of packets") from None


_READERS: dict[str, Callable[[str], object]] = {
    "rate": quantities.rate,
    "drop": _drop,
    "down": _down,
    "flap": _flap,
    "gilbert": _gilbert,
    "burst": _burst,
}


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _count(text: str) -> int:
    if not text.strip().isdecimal():
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def _flag(text: str) -> bool:
    if text not in ("yes", "no", "true", "false", "on", "off"):
        raise ValueError(f"{text!r} is neither yes nor no")
    return text in ("yes", "true", "on")


def _check_numbers(config: PathConfig) -> None:
    for name in (*_DURATIONS, *_COUNTS, *_SIZES, "rate"):
        value = getattr(config, name)
        largest = _LARGEST.get(name, quantities.MOST)
        if value is not None and not 0 <= value <= largest:
            raise ValueError(f"{name} must be between 0 and {largest}, not {value}")
    for name in _CHANCES:
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(f"{name} must be between 0 and 1, not {getattr(config, name)}")
    if config.gilbert is not None and not (len(config.gilbert) == 4 and all(0 <= x <= 1 for x in config.gilbert)):
        raise ValueError("gilbert must be four chances between 0 and 1")
    if any(not 1 <= first <= last for first, last in config.drop):
        raise ValueError("drop must name packets from 1 on, a range by its first and its last")
    if any(start < 0 or length <= 0 for start, length in config.down):
        raise ValueError("down must be intervals that begin at 0 or later and last more than 0")
    period, length = config.flap
    if not 0 <= length <= period:
        raise ValueError("flap must be a period and a length that is not longer")
