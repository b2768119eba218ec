"""The Python of a script, `%{ assert tcpi_snd_cwnd == 10 }%`.

It runs at its time, in one namespace for the whole script, with the fields of Linux' `struct tcp_info` as variables: of
the socket that the script's packets are of. It is code that whoever runs the script trusts: only builtins that compute
are there, and nothing is imported, but that is tidiness and no wall; Python has none.
"""

from __future__ import annotations

import builtins
from typing import Any, Final

from stack.sim.packetdrill.tcp_info import CONSTANTS, FIELDS, tcp_info
from stack.tcp.info import Info

_WORDS: Final = (
    "ArithmeticError AssertionError Exception False IndexError KeyError LookupError NameError None TypeError "
    "True ValueError ZeroDivisionError abs all any bool bytes chr dict divmod enumerate filter float format frozenset "
    "hex int isinstance len list map max min oct ord pow range repr reversed round set sorted str sum tuple zip"
)


class CodeFault(Exception):  # noqa: N818
    """The code has raised; `line` is the script's, counted from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


class UnknownField(Exception):  # noqa: N818
    """A field of `struct tcp_info` that this stack does not tell."""


class Interpreter:
    """Runs the code of one script. `printed` is what it has printed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.printed: list[str] = []
        names: dict[str, Any] = {name: getattr(builtins, name) for name in _WORDS.split()}
        names["print"] = self._print
        self._names: dict[str, Any] = {"__builtins__": names, "__name__": "packetdrill", **CONSTANTS}

    def _print(self, *values: object, sep: str = " ", **_: object) -> None:
        self.printed.append(sep.join(map(str, values)))

    def run(self, text: str, line: int, info: Info | None) -> None:
        """Run the code that stands at `line` of the script; `CodeFault` for whatever it raises."""
        for name in FIELDS:
            self._names.pop(name, None)
        if info is not None:
            self._names.update(tcp_info(info))
        try:
            exec(compile("\n" * (line - 1) + text, self._path, "exec"), self._names)
        except NameError as error:
            if error.name in FIELDS:
                raise UnknownField(error.name) from None
            raise self._fault(error, line) from None
        except SyntaxError as error:
            raise CodeFault(f"not Python: {error.msg}", error.lineno or line) from None
        except Exception as error:
            raise self._fault(error, line) from None

    def _fault(self, error: Exception, line: int) -> CodeFault:
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == self._path:
                line = trace.tb_lineno
            trace = trace.tb_next
        words = str(error)
        kind = type(error).__name__
        if isinstance(error, AssertionError):
            return CodeFault(f"the assertion does not hold: {words}" if words else "the assertion does not hold", line)
        return CodeFault(f"{kind}: {words}" if words else kind, line)
