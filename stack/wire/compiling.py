"""The core in two forms: interpreted from its source, or compiled from the same source by mypyc.

This module is all that the source says about it, and is interpreted itself. A class that applications may subclass is
marked with `mypyc_attr(allow_interpreted_subclasses=True)`: compiled classes are closed otherwise, so that calls of
their methods need no look-up. The compiler knows that name from `mypy_extensions`, which only it needs to have; when
the program runs, the mark does nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stack.wire import segment

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr as mypyc_attr
else:

    def mypyc_attr(**_marks):
        """A decorator that leaves the class as it is."""
        return lambda cls: cls


def is_compiled() -> bool:
    """Whether the core runs compiled. All of it does, or nothing: its modules refer to each other's insides."""
    return not segment.__file__.endswith(".py")


def form() -> str:
    """The same as a word: compiled or interpreted."""
    return "compiled" if is_compiled() else "interpreted"
