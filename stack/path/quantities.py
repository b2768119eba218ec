"""Quantities as people write them: `20ms`, `50mbit`, `64kB`, `2%`.

Text is turned into integers exactly (nanoseconds, bits a second, bytes), by decimal arithmetic and one rounding, so
that the same text gives the same path on every machine. A number without its unit is refused wherever two readings are
thinkable; 0 needs none. All errors are `ValueError` with a sentence that says what would be right.
"""

from __future__ import annotations

import re
from decimal import Decimal

from stack.wire.units import MINUTE, MS, SECOND, US, Duration

_NUMBER = re.compile(r"(?P<value>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>[A-Za-z%/]*)", re.ASCII)

_DURATIONS = {"ns": 1, "us": US, "ms": MS, "s": SECOND, "min": MINUTE}
_RATES = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9, "tbit": 10**12}
_SIZES = {
    "b": 1, "byte": 1, "bytes": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9,
    "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30,
}  # fmt: skip

MOST = 1 << 60  #: Nothing here is larger: a duration stays below `NEVER`.


def duration(text: str) -> Duration:
    """Nanoseconds: `20ms`, `1.5s`, `300us`, `10ns`, `2min`, `0`."""
    return _scaled(text, _DURATIONS, "a duration such as 20ms or 1.5s")


def rate(text: str) -> int:
    """Bits a second: `50mbit`, `64kbit`, `1gbit`; 0 is no limit."""
    unit = _split(text, "a rate such as 50mbit")[1].lower()
    if unit.endswith("bps") or unit in _SIZES:
        raise ValueError(f"{text!r} may mean bits or bytes; write bits a second as in 50mbit")
    return _scaled(text, _RATES, "a rate such as 50mbit or 64kbit", suffix="/s")


def size(text: str) -> int:
    """Bytes: `1500`, `64kB` (64,000), `64KiB` (65,536), `10MB`."""
    if text.isascii() and text.isdigit():
        return _checked(Decimal(text), text)
    return _scaled(text, _SIZES, "a size such as 64kB or 1MiB")


def probability(text: str) -> float:
    """A number from 0 to 1: `2%`, `0.02`."""
    value, unit = _split(text, "a probability such as 2% or 0.02")
    if unit not in ("", "%"):
        raise ValueError(f"{text!r} is not a probability such as 2% or 0.02")
    chance = float(value / 100 if unit else value)
    if chance > 1:
        hint = "" if unit else f"; write {text}% if you mean percent"
        raise ValueError(f"{text!r} is more than 1{hint}")
    return chance


def is_duration(text: str) -> bool:
    """Whether text has the unit of a duration, however bad its number is."""
    return text.lstrip("+-0123456789. ").lower() in _DURATIONS


def format_duration(value: Duration) -> str:
    """The shortest text that `duration` reads as the same value: `20ms`."""
    for unit, scale in (("s", SECOND), ("ms", MS), ("us", US)):
        if value and value % scale == 0:
            return f"{value // scale}{unit}"
    return f"{value}ns" if value else "0"


def format_rate(value: int) -> str:
    """The shortest text that `rate` reads as the same value: `50mbit`."""
    for unit in ("gbit", "mbit", "kbit"):
        if value and value % _RATES[unit] == 0:
            return f"{value // _RATES[unit]}{unit}"
    return f"{value}bit" if value else "0"


def _split(text: str, expected: str) -> tuple[Decimal, str]:
    match = _NUMBER.fullmatch(text.strip().replace("µ", "u"))
    if match is None:
        raise ValueError(f"{text!r} is not {expected}")
    return Decimal(match["value"]), match["unit"]


def _scaled(text: str, units: dict[str, int], expected: str, suffix: str = "") -> int:
    value, unit = _split(text, expected)
    unit = unit.lower()
    if suffix and unit.endswith(suffix):
        unit = unit.removesuffix(suffix)
    if not unit and not value:
        return 0
    if not unit:
        example = next(name for name in ("ms", "mbit", "kb") if name in units)
        raise ValueError(f"{text!r} has no unit; write {expected} (did you mean {text.strip()}{example}?)")
    if unit not in units:
        raise ValueError(f"{text!r} is not {expected}")
    return _checked(value * units[unit], text)


def _checked(value: Decimal, text: str) -> int:
    if value >= MOST:
        raise ValueError(f"{text!r} is too much")
    return int(value.to_integral_value())
