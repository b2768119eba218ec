"""The house keeps its floors: who may import whom is read from the source and checked.

The rules are data below. Every import counts, at the top of a module, in a function or under TYPE_CHECKING:
the drawing of the house shows who knows whom, and a type is knowledge.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import stack

CHECKOUT = Path(__file__).resolve().parent.parent

#: A package imports itself and packages of lower floors.
FLOORS = {
    "stack.wire": 0,
    "stack.tcp": 1,
    "stack.ip": 1,
    "stack.path": 1,
    "stack.host": 2,
    "stack.link": 2,
    "stack.runtime": 3,
    "stack.sim": 3,
    "stack.apps": 4,
    "stack.observe": 4,
    "stack.cli": 5,
}

#: What users see stands outside the house. Only the commands, who are users, may go through it.
OUTSIDE = ("stack", "stack.__main__", "stack.socket")

#: Where the floors alone would allow more than the design does: all that these may import of the project.
ONLY = {
    "stack.link": ("stack.link", "stack.wire", "stack.path"),
    "stack.sim": ("stack.sim", "stack.host", "stack.path", "stack.tcp", "stack.ip", "stack.wire"),
}

#: Sans-IO, and so without Trio, file descriptors and threads: the clock, the randomness and the frames are arguments.
PURE = ("stack.wire", "stack.ip", "stack.tcp", "stack.host", "stack.path", "stack.sim")
IMPURE_MODULES = {
    "asyncio", "concurrent", "datetime", "fcntl", "importlib", "logging", "multiprocessing", "os", "pathlib",
    "queue", "random", "sched", "secrets", "select", "selectors", "signal", "socket", "ssl", "subprocess",
    "tempfile", "threading", "time", "uuid",
}  # fmt: skip
#: What a pure package may use none the less: for compiling it, the world's one seeded Random, and a grammar's reader.
PURE_EXCEPTIONS = {"mypy_extensions": PURE, "random": ("stack.sim",), "lark": ("stack.sim.packetdrill",)}

#: Inside tcp, the halves know neither the whole nor its states.
HALVES = (
    "stack.tcp.congestion",
    "stack.tcp.delivery",
    "stack.tcp.inflation",
    "stack.tcp.prr",
    "stack.tcp.rack",
    "stack.tcp.receiver",
    "stack.tcp.recovery",
    "stack.tcp.repair",
    "stack.tcp.sender",
    "stack.tcp.tlp",
)
NOT_FOR_HALVES = ("stack.tcp.connection", "stack.tcp.state")


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def imports(source: str, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Every module that this source imports, in full, with the line. `from a import b` names a.b: b may be a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parts, base] if base else parts)
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def package_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def complaints(source: str, module: str, is_package: bool = False) -> list[str]:
    """What is wrong with the imports of one module; empty when nothing is."""
    if module in OUTSIDE:
        return []
    return [
        f"{module}:{line} imports {imported}: {reason}"
        for line, imported in imports(source, module, is_package)
        for reason in (
            inside_rule(module, imported) if within(imported, ("stack",)) else library_rule(module, imported)
        )
    ]


def inside_rule(module: str, imported: str) -> Iterator[str]:
    home, target = package_of(module), package_of(imported)
    if home not in FLOORS:
        yield f"{home} has no floor"
    elif target not in FLOORS:
        if home != "stack.cli":
            yield "inside the house, names are imported from where they live"
    elif target != home and FLOORS[target] >= FLOORS[home]:
        yield f"{home} is on floor {FLOORS[home]} and {target} on floor {FLOORS[target]}"
    elif home in ONLY and target not in ONLY[home]:
        yield f"{home} imports only {', '.join(ONLY[home])}"
    if within(module, HALVES) and within(imported, NOT_FOR_HALVES):
        yield "the halves of a connection do not know the whole or its states"


def library_rule(module: str, imported: str) -> Iterator[str]:
    library = imported.partition(".")[0]
    if within(module, PURE_EXCEPTIONS.get(library, ())):
        return
    if within(module, PURE):
        if library not in sys.stdlib_module_names:
            yield "a pure package needs nothing but the standard library"
        elif library in IMPURE_MODULES:
            yield "a pure package is told the time and the randomness, and does no I/O"


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted((CHECKOUT / "stack").rglob("*.py")):
        parts = path.relative_to(CHECKOUT).with_suffix("").parts
        found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def test_every_module_keeps_the_rules() -> None:
    found = [
        complaint
        for module, path in modules()
        for complaint in complaints(path.read_text(), module, is_package=path.name == "__init__.py")
    ]
    assert found == []


def test_the_packages_are_there() -> None:
    names = {module for module, _ in modules()}
    assert {"stack.wire", "stack.tcp", "stack.host", "stack.link", "stack.runtime"} <= names
    assert {package_of(name) for name in names} - set(OUTSIDE) <= set(FLOORS)


@pytest.mark.parametrize(
    ("module", "source", "reason"),
    [
        ("stack.wire.tcp", "import stack.tcp.connection", "floor 0 and stack.tcp on floor 1"),
        ("stack.wire.tcp", "from stack import tcp", "floor 0 and stack.tcp on floor 1"),
        (
            "stack.wire.tcp",
            "def f():\n    from ..host.host import Host",
            "stack.wire.tcp:2 imports stack.host.host.Host",
        ),
        ("stack.tcp.sender", "from stack.ip.route import Route", "floor 1 and stack.ip on floor 1"),
        ("stack.tcp.config", "from stack.path.model import Path", "floor 1 and stack.path on floor 1"),
        ("stack.host.host", "import stack.link.tun", "floor 2 and stack.link on floor 2"),
        ("stack.runtime.open", "from stack.sim.world import World", "floor 3 and stack.sim on floor 3"),
        ("stack.apps.simple", "from stack.cli.main import main", "floor 4 and stack.cli on floor 5"),
        (
            "stack.runtime.stream",
            "if TYPE_CHECKING:\n    from stack.apps.http.client import Response",
            "stack.runtime.stream:2 imports stack.apps.http.client.Response",
        ),
        ("stack.link.tun", "from stack.tcp.config import TcpOptions", "stack.link imports only"),
        ("stack.runtime.open", "from stack import TcpOptions", "imported from where they live"),
        ("stack.extra.thing", "import stack.wire.ip", "stack.extra has no floor"),
        ("stack.tcp.connection", "import time", "told the time"),
        ("stack.host.isn", "from os import urandom", "told the time"),
        ("stack.host.ports", "import random", "told the time"),
        ("stack.wire.ip", "import socket", "told the time"),
        ("stack.ip.icmp", "def f():\n    import logging", "told the time"),
        ("stack.tcp.timers", "import threading, select", "stack.tcp.timers:1 imports select"),
        ("stack.host.host", "import trio", "nothing but the standard library"),
        ("stack.path.queue", "import numpy.random", "nothing but the standard library"),
        ("stack.sim.world", "import time", "told the time"),
        ("stack.tcp.sender", "from stack.tcp.state import State", "do not know the whole"),
        ("stack.tcp.receiver", "from .connection import Connection", "do not know the whole"),
        ("stack.tcp.congestion.cubic", "from ..state import State", "do not know the whole"),
        ("stack.tcp.recovery", "import stack.tcp.connection", "do not know the whole"),
        ("stack.sim.world", "from lark import Lark", "nothing but the standard library"),
    ],
)
def test_the_checker_sees(module: str, source: str, reason: str) -> None:
    found = complaints(source, module)
    assert len(found) >= 1
    assert any(reason in complaint for complaint in found), found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("stack.tcp.connection", "from stack.tcp.state import State\nfrom stack.wire.segment import Segment"),
        ("stack.tcp.sender", "from . import send_buffer\nimport hashlib, enum, heapq"),
        ("stack.wire.tcp", "from mypy_extensions import mypyc_attr"),
        ("stack.sim.world", "import random\nfrom stack.host.host import Host"),
        ("stack.sim.packetdrill.actions", "from lark import Lark"),
        ("stack.runtime.driver", "import trio, time, os\nfrom stack.link.protocol import Link"),
        ("stack.link.memory", "import trio\nfrom stack.wire.packet import Packet"),
        ("stack.cli.main", "import stack.apps.simple, stack.sim.world, rich\nfrom stack import __version__"),
        ("stack", "from stack.runtime.open import open_host"),
    ],
)
def test_the_checker_lets_pass(module: str, source: str) -> None:
    assert complaints(source, module) == []


def test_a_relative_import_in_a_package_is_resolved() -> None:
    found = complaints("from ..sender import Sender\nfrom .base import Controller", "stack.tcp.congestion", True)
    assert found == []
    assert complaints("from ..state import State", "stack.tcp.congestion", is_package=True) != []


# --- The façade: `import stack` -------------------------------------------------------------------------------


def test_the_core_brings_in_nothing_that_does_io() -> None:
    core = [module for module, _ in modules() if module in ("stack", "stack.socket") or within(module, PURE)]
    code = f"import sys, {', '.join(core)}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    loaded = {name.partition(".")[0] for name in ran.stdout.split()}
    assert "stack" in loaded
    assert loaded & {"trio", "pytun", "pyroute2", "rich", "h11"} == set()


@pytest.mark.parametrize("name", stack.__all__)
def test_a_public_name_is_found(name: str) -> None:
    value = getattr(stack, name)
    assert value is getattr(stack, name)
    assert name in dir(stack)
    if name != "__version__":
        assert value.__module__ == stack._HOMES[name]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'UdpStream'"):
        stack.UdpStream  # noqa: B018  # type: ignore[attr-defined]


def test_what_a_checker_sees_is_what_is_there() -> None:
    declared = {
        imported.rpartition(".")[2]: imported.rpartition(".")[0]
        for _, imported in imports((CHECKOUT / "stack/__init__.py").read_text(), "stack", is_package=True)
        if within(imported, ("stack",))
    }
    assert declared == stack._HOMES
    assert sorted([*declared, "__version__"]) == sorted(stack.__all__)
