"""What the expressions of a call come to: numbers, strings, and complaints that say where."""

from __future__ import annotations

from stack.sim.packetdrill.symbols import SYMBOLS
from stack.sim.packetdrill.syntax import (
    Array,
    Call,
    Ellipsis,
    Event,
    Expression,
    ExtendedError,
    Int,
    Or,
    Place,
    ScriptError,
    String,
    Timestamping,
    Unsupported,
    Word,
)


class BadCall(ScriptError):  # noqa: N818
    """A call that is written in a way that means nothing."""


class Arguments:
    """The arguments of one call, and what can be read out of them."""

    def __init__(self, event: Event, call: Call) -> None:
        self.event = event
        self.call = call
        self._items = call.arguments

    def __len__(self) -> int:
        return len(self._items)

    def place(self, part: Expression | None = None) -> Place:
        return self.event.place_of(self.call if part is None else part)

    def bad(self, part: Expression | None, message: str) -> BadCall:
        return BadCall(*self.place(part), f"{self.call.name}(): {message}")

    def unsupported(self, part: Expression | None, what: str) -> Unsupported:
        return Unsupported(*self.place(part), what)

    def expect(self, *counts: int) -> None:
        """Complain unless there are so many arguments."""
        if len(self._items) not in counts:
            wanted = " or ".join(map(str, counts))
            raise self.bad(None, f"takes {wanted} arguments, not {len(self._items)}")

    def __getitem__(self, index: int) -> Expression:
        return self._items[index]

    def value(self, part: Expression) -> int:
        """The number that an expression stands for; `Unsupported` for a name that nobody knows."""
        match part:
            case Int(value):
                return value
            case Word(name):
                if name not in SYMBOLS:
                    raise self.unsupported(part, f"the constant {name}")
                return SYMBOLS[name]
            case Or(parts):
                total = 0
                for item in parts:
                    total |= self.value(item)
                return total
            case Timestamping():
                raise self.unsupported(part, "time stamps of packets (SO_TIMESTAMPING)")
            case ExtendedError():
                raise self.unsupported(part, "the error queue (MSG_ERRQUEUE)")
        raise self.bad(part, "a number belongs here")

    def number(self, index: int) -> int:
        return self.value(self._items[index])

    def is_open(self, index: int) -> bool:
        """Whether `...` stands there."""
        return isinstance(self._items[index], Ellipsis)

    def is_null(self, index: int) -> bool:
        """Whether the buffer there is NULL rather than `...`."""
        item = self._items[index]
        if isinstance(item, Ellipsis | String):
            return False
        if self.value(item) == 0:
            return True
        raise self.bad(item, "a buffer is ... or NULL")

    def boxed(self, index: int) -> int:
        """The number in `[n]`."""
        item = self._items[index]
        if not isinstance(item, Array) or len(item.items) != 1:
            raise self.bad(item, "[n] belongs here")
        return self.value(item.items[0])
