"""Divides a script into its head, its events and its end, without looking into them.

The language has no separators: an event ends where the next one's time begins, and lines mean nothing. In scripts as
people write them, though, an event begins on a line of its own, and nothing else that begins a line looks like a time
with a packet, a call, a command or code behind it. So one pass over the text takes away the comments and hides what
strings, commands and code contain, and one regular expression then finds where the events begin. An event in the middle
of a line is found, too, if its time begins with `+` or `*`.

A `Text` has two forms of equal length: `clean`, without comments, and `mask`, in which what is quoted is hidden as
well. Offsets are the same in both. Only definitions that are put in move them; `Text.place` knows by how much.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from stack.sim.packetdrill.syntax import Command, Option, Place, When, WhenKind
from stack.wire.units import SECOND, Duration

_FLAGS: Final = re.ASCII | re.DOTALL | re.MULTILINE

_PIECE: Final = re.compile(
    r"(?P<blank>//[^\n]*|\#[^\n]*|/\*.*?\*/|\\\r?\n)"
    r'|(?P<string>"(?:\\.|[^"\\])*")|(?P<command>`(?:\\.|[^`\\])*`)|(?P<code>%\{.*?\}%)'
    r'|(?P<open>/\*|"|`|%\{)',
    _FLAGS,
)
_UNCLOSED: Final = {
    "/*": "this comment has no end: expected `*/`",
    '"': 'this string has no end: expected `"`',
    "`": "this command has no end: expected another back quote",
    "%{": "this code has no end: expected `}%`",
}
_VISIBLE: Final = re.compile(r"[^\n]")
_BLANKS: Final = re.compile(r"\s*", _FLAGS)

_TIME: Final = r"(?:[0-9]*\.[0-9]+|[0-9]+)"
_WHEN: Final = rf"(?:(?P<any>\*)|(?P<plus>\+\s*)?(?P<first>{_TIME})(?:\s*~\s*(?P<plus2>\+\s*)?(?P<last>{_TIME}))?)"
_ACTION: Final = r"(?=\s*(?:[<>`]|%\{|\.\.\.|[A-Za-z_]\w*\s*\())"
_EVENT: Final = re.compile(rf"(?:^[^\S\n]*(?=[*+.0-9])|(?<=[\s)])(?=[*+])){_WHEN}{_ACTION}", _FLAGS)
_ANYWHERE: Final = re.compile(_WHEN + _ACTION, _FLAGS)
_BEGINNING: Final = re.compile(_WHEN, _FLAGS)

_OPTION: Final = re.compile(
    r"\s*--(?P<name>\w+)(?:\s*=\s*(?P<value>(?:[A-Za-z_]\w*\s*=\s*)?(?:\"_*\"|`_*`|[^\s\"`]+)))?", _FLAGS
)
_DEFINITION: Final = re.compile(r"([A-Za-z_]\w*)\s*=\s*(.*)", _FLAGS)

MAX_TIME: Final = 30  #: Characters; bounds what a number costs.
TIME_TOO_LONG: Final = f"a time has at most {MAX_TIME} characters"

WANTED: Final = "a packet (`<` or `>`), a call (`name(...) = result`), a command in back quotes, or code (`%{ ... }%`)"


class Fault(Exception):  # noqa: N818
    """What is wrong, and at which offset. It becomes a ScriptError where the script's path and lines are known."""

    def __init__(self, at: int, message: str, unsupported: bool = False) -> None:
        super().__init__(at, message)
        self.at = at
        self.message = message
        self.unsupported = unsupported


class RawEvent(NamedTuple):
    """An event of which the action has not been read. Offsets of the text; `clean[action:end]` is the action."""

    start: int
    when: When
    action: int
    end: int


class Scanned(NamedTuple):
    init: Command | None
    events: list[RawEvent]
    cleanup: Command | None


class Text:
    """A script's text: with comments and definitions dealt with, and places for offsets."""

    def __init__(self, text: str, path: str) -> None:
        self.path = path
        self._lines = [0, *(m.end() for m in re.finditer("\n", text))]
        self._moves: list[tuple[int, int, int]] = []  # a definition's beginning and end here, and by how much more
        self.clean = self.mask = text

    def hide(self) -> None:
        """Takes the comments out of `clean`, and out of `mask` what is quoted as well."""
        self.clean, self.mask = _hide(self.clean)

    def place(self, at: int) -> Place:
        """Where an offset of `clean` is in the script as it is written."""
        moved = 0
        for start, end, more in self._moves:
            if at < start:
                break
            if at < end:
                at = start
                break
            moved = more
        at -= moved
        line = bisect_right(self._lines, at)
        return Place(self.path, line, at - self._lines[line - 1] + 1)

    def line_of(self, at: int) -> int:
        """Where the line of an offset begins, behind its blanks."""
        return _skip(self.clean, self.clean.rfind("\n", 0, at) + 1)

    def define(self, definitions: Mapping[str, str], begin: int) -> None:
        """Puts values in for the words that they define, from an offset on. What is quoted stays as it is."""
        names = "|".join(re.escape(name) for name in definitions)
        parts, moved, last = [self.clean[:begin]], 0, begin
        for match in re.compile(rf"\b(?:{names})\b", _FLAGS).finditer(self.mask, begin):
            value = definitions[match.group()]
            start = match.start() + moved
            moved += len(value) - (match.end() - match.start())
            self._moves.append((start, start + len(value), moved))
            parts += (self.clean[last : match.start()], value)
            last = match.end()
        if self._moves:
            self.clean = "".join(parts) + self.clean[last:]
            self.hide()

    def options(self) -> tuple[tuple[Option, ...], int]:
        """The options at the head, and the offset behind them."""
        options = []
        end = 0
        while match := _OPTION.match(self.mask, end):
            end = match.end()
            value = self.clean[match.start("value") : end] if match["value"] is not None else None
            if value is not None and value[0] == '"':
                value = value[1:-1]
            options.append(Option(self.place(match.start("name") - 2), match["name"], value))
        return tuple(options), end

    def events(self, begin: int) -> Scanned:
        """Everything behind the options."""
        mask = self.mask
        init, begin = self._command(begin)
        first = _ANYWHERE.match(mask, _skip(mask, begin))
        if first is None:
            self._expect_nothing(begin, len(mask))
            raise Fault(len(mask.rstrip()), "the script has no events")
        starts = [first, *_EVENT.finditer(mask, first.end())]
        events = []
        cleanup = None
        for match, stop in zip(starts, [*(m.start() for m in starts[1:]), len(mask)], strict=True):
            action = _skip(mask, match.end())
            if mask[action] in "`%":
                end = _end_of_quote(mask, action)
            else:
                end = mask.find("`", action, stop)
                if end < 0:
                    end = stop
            events.append(RawEvent(_skip(mask, match.start()), _when(match), action, end))
            if end < stop:
                if stop == len(mask):
                    cleanup, end = self._command(end)
                self._expect_nothing(end, stop)
        return Scanned(init, events, cleanup)

    def _command(self, begin: int) -> tuple[Command | None, int]:
        """A command without a time, if there is one at an offset, and the offset behind it."""
        at = _skip(self.mask, begin)
        if not self.mask.startswith("`", at):
            return None, begin
        end = _end_of_quote(self.mask, at)
        return Command(self.clean[at + 1 : end - 1]), end

    def _expect_nothing(self, begin: int, end: int) -> None:
        at = _skip(self.mask, begin)
        if at >= end:
            return
        if self.mask[at] == "`":
            raise Fault(at, "a command without a time can only stand before the first event and behind the last one")
        if self.mask.startswith("--", at):
            raise Fault(at, "options can only stand at the script's head, before commands and events")
        raise no_event(self.mask, at)


def definitions(options: tuple[Option, ...]) -> dict[str, str]:
    """What `--define=NAME=value` says."""
    found = {}
    for option in options:
        if option.name == "define" and option.value is not None:
            match = _DEFINITION.fullmatch(option.value)
            if match is not None:
                found[match[1]] = match[2]
    return found


def no_event(mask: str, at: int) -> Fault:
    """Why no event begins at an offset where one should."""
    match = _BEGINNING.match(mask, at)
    if _ANYWHERE.match(mask, at):
        return Fault(at, "an event begins on a line of its own if its time has no `+`")
    if match is not None:
        return Fault(_skip(mask, match.end()), f"expected {WANTED} behind the time")
    if re.compile(_TIME).match(mask, at + 1) and mask[at] == "-":
        return Fault(at, "a time cannot be negative")
    return Fault(at, f"expected an event: a time (`1.5`, `+0.1` or `*`), and {WANTED}")


def duration(text: str) -> Duration:
    """Seconds, as they are written in a script, in nanoseconds; what is finer is cut off."""
    whole, _, fraction = text.partition(".")
    return int(whole or "0") * SECOND + int(fraction[:9].ljust(9, "0"))


def _hide(text: str) -> tuple[str, str]:
    """A text without its comments, and the same with what is quoted hidden; both as long as the text."""
    clean = []
    mask = []
    last = 0
    for match in _PIECE.finditer(text):
        kind = match.lastgroup
        start, end = match.span()
        clean.append(text[last:start])
        mask.append(text[last:start])
        last = end
        piece = match.group()
        if kind == "blank":
            blank = _VISIBLE.sub(" ", piece)
            clean.append(blank)
            mask.append(blank)
        elif kind == "open":
            raise Fault(start, _UNCLOSED[piece])
        else:
            clean.append(piece)
            edge = 2 if kind == "code" else 1
            mask += (piece[:edge], "_" * (len(piece) - 2 * edge), piece[-edge:])
    clean.append(text[last:])
    mask.append(text[last:])
    return "".join(clean), "".join(mask)


def _skip(mask: str, at: int) -> int:
    """The offset of the first character from here on that is no blank."""
    match = _BLANKS.match(mask, at)
    return at if match is None else match.end()


def _end_of_quote(mask: str, at: int) -> int:
    if mask[at] == "`":
        return mask.index("`", at + 1) + 1
    return mask.index("}%", at) + 2


def _when(match: re.Match[str]) -> When:
    first, last = match["first"], match["last"]
    if first is None:
        return _ANY
    relative = match["plus"] is not None
    if len(first) > MAX_TIME or len(last or "") > MAX_TIME:
        raise Fault(match.start("first"), TIME_TOO_LONG)
    if last is None:
        return _moment(relative, first)
    if relative != (match["plus2"] is not None):
        raise Fault(match.start("first"), "expected both ends of a range with `+`, or both without")
    kind = WhenKind.RELATIVE if relative else WhenKind.ABSOLUTE
    when = When(kind, duration(first), duration(last))
    if duration(last) < when.start:
        raise Fault(match.start("first"), "this range ends before it begins")
    return when


_ANY: Final = When(WhenKind.ANY, 0)


@lru_cache(1024)
def _moment(relative: bool, text: str) -> When:
    return When(WhenKind.RELATIVE if relative else WhenKind.ABSOLUTE, duration(text))
