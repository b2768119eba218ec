"""The two forms of the core: which one runs, and that it is one or the other as a whole."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.wire import segment
from stack.wire.compiling import form, is_compiled, mypyc_attr

CHECKOUT = Path(__file__).resolve().parents[2]
ALWAYS_INTERPRETED = {"stack.wire.compiling", "stack.tcp.config", "stack.tcp.info"}


def core() -> Iterator[str]:
    for package in ("wire", "ip", "tcp", "host"):
        for path in sorted((CHECKOUT / "stack" / package).rglob("*.py")):
            if path.name != "__init__.py":
                yield ".".join(path.relative_to(CHECKOUT).with_suffix("").parts)


def test_the_core_runs_in_one_form() -> None:
    interpreted = {name for name in core() if str(importlib.import_module(name).__file__).endswith(".py")}
    assert interpreted == (ALWAYS_INTERPRETED if is_compiled() else set(core()))


def test_the_form_is_told_by_where_the_code_is_from(monkeypatch: pytest.MonkeyPatch) -> None:
    assert form() == ("compiled" if is_compiled() else "interpreted")
    monkeypatch.setattr(segment, "__file__", "/x/stack/wire/segment.cpython-311-x86_64-linux-gnu.so")
    assert is_compiled()
    assert form() == "compiled"
    monkeypatch.setattr(segment, "__file__", "/x/stack/wire/segment.py")
    assert not is_compiled()
    assert form() == "interpreted"


def test_a_mark_for_the_compiler_does_nothing_here() -> None:
    class Marked:
        pass

    assert mypyc_attr(allow_interpreted_subclasses=True)(Marked) is Marked
