"""Reads packetdrill scripts: `parse(text, path)` gives a `Script`.

The language is that of google/packetdrill, with what the Linux kernel's own scripts use. `scanner` finds the events,
and `actions` reads what each of them does. Here the two are put together, and places are given to what is wrong:
whatever the text, what is raised is a `ScriptError`, which is an `Unsupported` where the script may be right.

Other than the original, `#` begins a comment, too.
"""

from __future__ import annotations

from collections.abc import Mapping

from stack.sim.packetdrill.actions import END, read_action
from stack.sim.packetdrill.scanner import Fault, RawEvent, Text, definitions, no_event
from stack.sim.packetdrill.syntax import (
    Action,
    Code,
    Command,
    Direction,
    Event,
    Packet,
    Script,
    ScriptError,
    Unsupported,
    WhenKind,
)

__all__ = ["ScriptError", "Unsupported", "parse"]


def parse(text: str, path: str = "<script>", defines: Mapping[str, str] | None = None) -> Script:
    """Reads a script.

    `defines` are words and what to put in for them, as if the script began with `--define=NAME=value`; they have
    precedence over the script's own. A value in double or back quotes becomes a string or a command.

    Raises:
        ScriptError: the text is no script; with path, line and column.
        Unsupported: it asks for something that is not part of this interpreter.
    """
    source = Text(text, path)
    try:
        return _script(source, defines or {})
    except Fault as fault:
        kind = Unsupported if fault.unsupported else ScriptError
        raise kind(*source.place(fault.at), fault.message) from None


def _script(source: Text, defines: Mapping[str, str]) -> Script:
    source.hide()
    options, begin = source.options()
    known = {**definitions(options), **defines}
    if known:
        source.define(known, begin)
    scanned = source.events(begin)
    events = tuple(_event(source, raw) for raw in scanned.events)
    return Script(source.path, options, scanned.init, events, scanned.cleanup)


def _event(source: Text, raw: RawEvent) -> Event:
    text = source.clean[raw.action : raw.end].rstrip()
    when = raw.when
    action = _action(source, raw.action, text)
    if when.kind is WhenKind.ANY or when.end is not None:
        if not isinstance(action, Packet) or action.direction is Direction.IN:
            which = "`*`" if when.kind is WhenKind.ANY else "a range"
            raise Fault(raw.start, f"{which} can only be the time of a packet that is expected (`>`)")
    offset = raw.action - raw.start
    return Event(source.place(raw.start), when, action, source.clean[raw.start : raw.action] + text, offset)


def _action(source: Text, at: int, text: str) -> Action:
    if text[0] == "`":
        return Command(text[1:-1])
    if text[0] == "%":
        return Code(text[2:-2].strip(" \t"))
    try:
        return read_action(text)
    except Fault as fault:
        # The event could have ended before: a line that does not belong to it was meant to be the next one.
        line = source.line_of(at + fault.at)
        if END in fault.message and at < line < at + len(text):
            raise no_event(source.mask, line) from None
        raise Fault(at + fault.at, fault.message, fault.unsupported) from None
