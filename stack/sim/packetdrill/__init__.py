"""packetdrill scripts in virtual time: `run_script` runs one against this stack and tells what became of it.

    outcome = run_script(text, "linux", path="handshake.pkt")
    print("\\n".join(outcome.lines()))

`syntax` has a script as values, `parse` reads one, `run` runs it. docs/packetdrill.md is the manual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stack.sim.packetdrill.report import Outcome, Verdict
    from stack.sim.packetdrill.run import run_script

__all__ = ["Outcome", "Verdict", "run_script"]


def __getattr__(name: str) -> object:
    """The parser takes a tenth of a second to be made: not before somebody asks."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from stack.sim.packetdrill import report, run

    value: object = getattr(run if name == "run_script" else report, name)
    globals()[name] = value
    return value
