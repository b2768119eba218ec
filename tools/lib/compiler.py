"""Compiles the core with mypyc, and puts nothing into the source tree, where it would hide what is edited later.

    compiler.py TARGET    into this directory: stack/wire/tcp.cpython-311-x86_64-linux-gnu.so and so on
    compiler.py           into the environment's directory `compiled`, unless it is there already; prints its path

The second is a directory for PYTHONPATH. Its name is made from what the result depends on. In its package `stack` the
core has its extension modules and no source; everything else is a link to the checkout, and so is never old.

All modules become one group, so that calls between them are C calls; `tcpstack_core__mypyc` beside the package holds
the code, and each module's own file only points into it. The group is all or nothing. The build of a wheel calls this
(`hatch_build.py`), and so does `tools/compile`; it needs mypy, setuptools, a C compiler and Python's headers, and says
which of them is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import shlex
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
GROUP = "tcpstack_core"
KEPT = 3  #: Results that stay: of this state of the sources, and of those before.
CORE = ("stack/wire", "stack/ip", "stack/tcp", "stack/host")

#: Parts of the core that stay interpreted, and why.
INTERPRETED = {
    "stack/wire/compiling.py": "tells the two forms apart, and holds what stands in for the compiler's marks",
    "stack/tcp/config.py": "names the option that has a wrong type; compiled code would refuse it without a name",
    "stack/tcp/info.py": "a snapshot for people, whose fields may hold whatever a test or a report puts there",
}

#: The types were checked by `tools/test`. What the façade names for type checkers lies outside the core.
MYPY = """\
[mypy]
namespace_packages = True
explicit_package_bases = True
[mypy-stack]
follow_imports = skip
"""


class CompileError(Exception):
    """Something is missing; the text says what, and how to get it."""


def sources(checkout: Path = CHECKOUT) -> list[str]:
    """The modules that are compiled, as paths from the checkout. Packages' own files hold nothing but imports."""
    return sorted(
        path
        for package in CORE
        for found in (checkout / package).rglob("*.py")
        if found.name != "__init__.py" and (path := found.relative_to(checkout).as_posix()) not in INTERPRETED
    )


def fingerprint(level: int, checkout: Path = CHECKOUT) -> str:
    """What the result depends on, as a short text: the sources, this program, the versions, the optimisation."""
    import mypy.version

    digest = hashlib.sha256(f"{sys.version} {sysconfig.get_platform()} {mypy.version.__version__} {level}".encode())
    for path in [*sources(checkout), Path(__file__).relative_to(CHECKOUT).as_posix()]:
        digest.update(f"\0{path}\0".encode())
        digest.update((checkout / path).read_bytes())
    return digest.hexdigest()[:16]


def tree(level: int, checkout: Path = CHECKOUT) -> Path:
    """The directory whose package `stack` has a compiled core; made unless it is there."""
    check()
    home = Path(sys.prefix, "compiled")
    made = home / fingerprint(level, checkout)
    home.mkdir(exist_ok=True)
    with open(home / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two commands started at the same time compile once
        if not made.exists():
            unfinished = home / "unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            compile_core(unfinished, level=level, checkout=checkout)
            unfinished.rename(made)
        link(made, checkout)
        os.utime(made)
        for old in sorted(home.glob("????????????????"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            shutil.rmtree(old)
    return made


def link(target: Path, checkout: Path) -> None:
    """Put links to all that is not compiled beside what is; those to what is gone go, the others stay untouched."""
    compiled = set(sources(checkout))
    wanted = {}
    for directory, folders, files in os.walk(checkout / "stack"):
        place = target / Path(directory).relative_to(checkout)
        own = [name for name in folders if (place / name).is_dir() and not (place / name).is_symlink()]
        for name in {*files, *folders} - {*own, "__pycache__"}:
            source = Path(directory, name)
            if source.relative_to(checkout).as_posix() not in compiled:
                wanted[place / name] = source
        folders[:] = own
    for path in target.rglob("*"):
        if path.is_symlink() and path not in wanted:
            path.unlink()
    for path in wanted:
        if not path.is_symlink():
            path.symlink_to(wanted[path])


def check() -> None:
    """Raise `CompileError` unless all that compiling needs is here."""
    try:
        import mypyc.build  # noqa: F401
        import setuptools  # noqa: F401
    except ImportError as error:
        raise CompileError(f"compiling needs the package {error.name}: pip install 'mypy[mypyc]'") from None
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(compiler) is None:
        raise CompileError(f"compiling needs the C compiler {compiler}: apt install gcc libc6-dev, or set CC")
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise CompileError(f"compiling needs Python's headers ({header}): apt install python{version}-dev")


def compile_core(target: Path, *, level: int, checkout: Path = CHECKOUT) -> None:
    """Compile into `target`. Changes the working directory and may end the process: mypyc does, on an error."""
    check()
    import setuptools  # first: mypyc then makes its extensions with it
    from mypyc.build import mypycify

    os.chdir(checkout)  # the paths of the modules are in the tracebacks
    with tempfile.TemporaryDirectory() as scratch:
        options = Path(scratch, "mypy.ini")
        options.write_text(MYPY, encoding="ascii")
        extensions = mypycify(
            [f"--config-file={options}", *sources(checkout)],
            group_name=GROUP,
            opt_level=str(level),
            debug_level="0",
            target_dir=scratch,
        )
        build = setuptools.Distribution({"name": "tcpstack", "ext_modules": extensions}).get_command_obj("build_ext")
        build.build_lib, build.build_temp = str(target), scratch
        build.parallel = os.cpu_count() or 1  # the code is one large file; the others fill the other cores meanwhile
        build.ensure_finalized()
        build.run()


def main() -> int:
    parser = argparse.ArgumentParser(description="Compile the core into a directory.")
    parser.add_argument("target", type=Path, nargs="?", help="directory for the extension modules alone")
    parser.add_argument("--level", type=int, default=2, choices=range(4), help="of optimisation (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # mypyc and setuptools print what they do
            if arguments.target is not None:
                compile_core(arguments.target.resolve(), level=arguments.level)
                return 0
            made = tree(arguments.level)
        print(made)
    except CompileError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
