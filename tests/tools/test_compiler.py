"""tools/lib/compiler.py and the hook that calls it when a wheel is built: all but the compiling itself, which
tools/test does whenever it runs the core's tests."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.tools.newcomer import CHECKOUT


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, CHECKOUT / f"tools/lib/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


compiler: Any = tool("compiler")
hatch_build: Any = tool("hatch_build")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Of a small project with a core."""
    files = (
        "__init__",
        "wire/__init__",
        "wire/tcp",
        "wire/compiling",
        "tcp/__init__",
        "tcp/congestion/cubic",
        "cli/main",
    )
    for name in files:
        path = tmp_path / "checkout/stack" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
    (tmp_path / "checkout/stack/cli/__pycache__").mkdir()
    return tmp_path / "checkout"


def pretend_compiled(target: Path) -> None:
    for name in ("stack/wire/tcp", "stack/tcp/congestion/cubic", "tcpstack_core__mypyc"):
        path = target / f"{name}.so"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"code")


def test_what_is_compiled(checkout: Path) -> None:
    assert compiler.sources(checkout) == ["stack/tcp/congestion/cubic.py", "stack/wire/tcp.py"]


def test_what_is_not_compiled_is_there_and_has_a_reason() -> None:
    for path, reason in compiler.INTERPRETED.items():
        assert (CHECKOUT / path).exists()
        assert reason
    assert not set(compiler.INTERPRETED) & set(compiler.sources())
    assert "stack/host/host.py" in compiler.sources()


def test_the_fingerprint_follows_what_the_result_depends_on(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "tools/lib").mkdir(parents=True)
    program = checkout / "tools/lib/compiler.py"
    program.write_text("program")
    prints = [compiler.fingerprint(0, checkout), compiler.fingerprint(2, checkout)]
    for path in (checkout / "stack/wire/tcp.py", checkout / "stack/tcp/congestion/cubic.py", program):
        path.write_text("edited\n")
        prints.append(compiler.fingerprint(2, checkout))
    monkeypatch.setattr(sys, "version", "3.15")
    prints.append(compiler.fingerprint(2, checkout))
    assert len(set(prints)) == len(prints)
    (checkout / "stack/cli/main.py").write_text("edited\n")
    (checkout / "stack/wire/compiling.py").write_text("edited\n")
    assert compiler.fingerprint(2, checkout) == prints[-1]


def test_all_that_is_not_compiled_is_a_link(checkout: Path, tmp_path: Path) -> None:
    target = tmp_path / "made"
    pretend_compiled(target)
    compiler.link(target, checkout)
    links = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_symlink()}
    assert links == {
        "stack/__init__.py",
        "stack/cli",
        "stack/tcp/__init__.py",
        "stack/wire/__init__.py",
        "stack/wire/compiling.py",
    }
    assert (target / "stack/cli/main.py").read_text() == "# cli/main\n"


def test_links_follow_the_checkout(checkout: Path, tmp_path: Path) -> None:
    target = tmp_path / "made"
    pretend_compiled(target)
    compiler.link(target, checkout)
    before = (target / "stack/wire/compiling.py").lstat()
    (checkout / "stack/cli").rename(checkout / "stack/commands")
    compiler.link(target, checkout)
    assert not (target / "stack/cli").is_symlink()
    assert (target / "stack/commands/main.py").exists()
    after = (target / "stack/wire/compiling.py").lstat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_state_of_the_sources_is_compiled_once(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[Path] = []

    def compile_core(target: Path, **_: object) -> None:
        runs.append(target)
        pretend_compiled(target)

    (checkout / "tools/lib").mkdir(parents=True)
    (checkout / "tools/lib/compiler.py").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(compiler, "compile_core", compile_core)
    first = compiler.tree(0, checkout)
    assert compiler.tree(0, checkout) == first
    assert len(runs) == 1
    assert (first / "stack/wire/tcp.so").exists()
    assert (first / "stack/cli/main.py").exists()
    for number in range(compiler.KEPT):
        (checkout / "stack/wire/tcp.py").write_text(f"# {number}\n")
        assert compiler.tree(0, checkout) != first
    assert not first.exists()
    assert len(list((tmp_path / "compiled").glob("????????????????"))) == compiler.KEPT


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"CC": "/no/such/cc -pthread"}, "C compiler /no/such/cc: apt install gcc"),
        ({"include": "/no/such"}, r"headers \(/no/such/Python.h\): apt install python3"),
        ({"mypyc.build": None}, r"pip install 'mypy\[mypyc\]'"),
        ({"setuptools": None}, "the package setuptools"),
    ],
)
def test_what_is_missing_for_compiling(settings: dict[str, Any], remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler.check()
    for name, value in settings.items():
        if name == "CC":
            monkeypatch.setenv(name, value)
        elif name == "include":
            monkeypatch.setattr(sysconfig, "get_path", lambda which, value=value: value)
        else:
            monkeypatch.setitem(sys.modules, name, value)
    with pytest.raises(compiler.CompileError, match=remedy):
        compiler.check()


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    command = [sys.executable, str(CHECKOUT / "tools/lib/compiler.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"CC": "/no/such/cc"})
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: compiling needs the C compiler /no/such/cc")


def test_a_run_of_tests_refuses_the_wrong_form() -> None:
    command = [sys.executable, "-P", "-m", "pytest", "-p", "compiled_form", "tests/wire/test_compiling.py"]
    path = f"{CHECKOUT}:{CHECKOUT}/tools/lib"
    environment = {"PYTHONPATH": path, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CHECKOUT, env=environment)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "is interpreted: start them by tools/test --compiled" in done.stderr


# The hook.


class Metadata:
    class core:  # noqa: N801
        optional_dependencies = {"compile": ["mypy[mypyc]>=1.14"]}  # noqa: RUF012


def hook(root: Path) -> Any:
    return hatch_build.CompiledCore(str(root), {}, None, Metadata, str(root), "wheel")


@pytest.mark.parametrize(("value", "asked"), [(None, False), ("", False), ("0", False), ("1", True)])
def test_the_switch(value: str | None, asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TCPSTACK_COMPILE", raising=False)
    if value is not None:
        monkeypatch.setenv("TCPSTACK_COMPILE", value)
    assert hatch_build.is_asked_for() is asked
    assert hook(CHECKOUT).dependencies() == (["mypy[mypyc]>=1.14"] if asked else [])


def test_a_switch_that_says_neither_yes_nor_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCPSTACK_COMPILE", "yes")
    with pytest.raises(ValueError, match="must be 1 or 0, not 'yes'"):
        hatch_build.is_asked_for()


@pytest.mark.parametrize(("value", "version"), [("0", "standard"), ("1", "editable")])
def test_nothing_is_compiled_unasked_or_into_the_source(
    value: str, version: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TCPSTACK_COMPILE", value)
    data: dict[str, Any] = {"force_include": {}}
    hook(tmp_path).initialize(version, data)
    ceilings = {str(tmp_path / "tools/ceilings"): hatch_build.CEILINGS} if version == "standard" else {}
    assert data == {"force_include": ceilings}


def test_the_extension_modules_go_into_the_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tools/lib").mkdir(parents=True)
    (tmp_path / "tools/lib/compiler.py").write_text(
        "import pathlib, sys\n"
        "target = pathlib.Path(sys.argv[1], 'stack/wire')\n"
        "target.mkdir(parents=True)\n"
        "(target / 'tcp.so').touch()\n"
    )
    monkeypatch.setenv("TCPSTACK_COMPILE", "1")
    data: dict[str, Any] = {"force_include": {}}
    asked = hook(tmp_path)
    asked.initialize("standard", data)
    _, (made, place) = data.pop("force_include").items()
    assert place == "stack/wire/tcp.so"
    assert data == {"pure_python": False, "infer_tag": True}
    assert Path(made).exists()
    asked.finalize("standard", data, "")
    assert not Path(made).exists()


def test_a_failure_is_an_error_when_it_was_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tools/lib").mkdir(parents=True)
    (tmp_path / "tools/lib/compiler.py").write_text("raise SystemExit(1)")
    monkeypatch.setenv("TCPSTACK_COMPILE", "1")
    with pytest.raises(RuntimeError, match="without TCPSTACK_COMPILE the wheel is pure"):
        hook(tmp_path).initialize("standard", {"force_include": {}})
