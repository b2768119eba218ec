"""Mutation testing of the core: a copy of it is broken on purpose, and the tests must notice.

Theory of operation. What can be broken, and how, is in `mutants.py`. Everything happens in a copy of the checkout, in
one process that runs pytest in it:

    collect    the tests are imported once
    measure    all of them run once, each under its own context of coverage.py: which lines of the core it executes and
               for how long it runs. A test that starts another Python is left out, for that one wouldn't be broken;
               so is one that fails even so (a bound on memory, while that is measured), and there may be few of these.
    break      for each mutant the process forks. The child gives the functions that are in memory the mutant's code,
               and runs the tests that execute the changed lines: first those that killed others in the same file
               lately, then the fastest. It ends with the first that fails, or one that takes far longer than it did.
    confirm    the test that failed runs once more, alone, in another child: if it passes there, something else was to
               blame (a test that leaves something behind), and the mutant counts as alive.

A mutant that is killed costs some tens of milliseconds like that, where a new Python would cost seconds; and one that
survives costs no more than the tests that could have killed it. What runs at the import of a module (its constants) is
too late to be changed in a child: such a mutant gets a tree and a Python of its own.

Why no library does this: cosmic-ray starts pytest anew for each mutant, with whatever tests a fixed command names.
mutmut forks and selects tests, too, but by function instead of by line, which for the functions that every segment goes
through is all tests; its statistics were not complete after four minutes; it leaves constants alone, and has neither
samples nor a budget.
"""

from __future__ import annotations

import argparse
import ast
import functools
import gc
import hashlib
import itertools
import json
import multiprocessing
import multiprocessing.connection
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import coverage
import pytest
from _pytest.runner import runtestprotocol
from mutants import Mutant, mutated
from rich.console import Console

CORE = "stack/tcp"
REMEMBERED = 8  #: Tests that killed others in the same file lately.
MEMORY = 4 << 30  #: Octets that a mutant may take.
SLOWER, ALLOWANCE = 10.0, 3.0  #: A test may take that many times as long as before, and so many seconds more (CPU).
UNUSABLE = 5  #: Tests that may fail on their own before it is the tree that counts as broken.
SOAK_SHARE = 0.1  #: Of the patience, for seeds of the soak, when all tests have passed.
KILLED, TIMEOUT = "killed", "timeout"
SURVIVED, UNCOVERED = "survived", "uncovered"
UNKNOWN = (
    "unknown"  #: No answer in any reasonable time of the clock: the machine may be to blame, so nobody is praised.
)


class Lab:
    """A pytest plugin: takes the place of pytest's loop over the tests."""

    def __init__(
        self,
        root: Path,
        chosen: list[Mutant],
        arguments: argparse.Namespace,
        out: Console,
        move: Callable[[list[Mutant]], None],
    ) -> None:
        self.root = root
        self.tree = digest(root, "stack", "tests")
        self.chosen = chosen
        self.waiting = chosen[::-1]
        self.suspects: list[Mutant] = []  # killed, it seems: tried once more with the test that failed alone
        self.arguments = arguments
        self.out = out
        self.move = move
        self.done: list[Mutant] = []
        self.fault = ""  # why nothing could be tried
        self.items: dict[str, pytest.Item] = {}
        self.duration: dict[str, float] = {}
        self.executed: dict[str, dict[int, list[str]]] = {}  # by file and line: the tests
        self.killers: dict[str, list[str]] = defaultdict(list)  # by file, latest first
        self.functions: dict[str, dict[tuple[str, int], list[FunctionType]]] = {}
        self.unusable: list[str] = []
        self._caches: list[Any] = []
        self._starts_python = False

    # Hooks.

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Before the tests are imported, and after tests/conftest.py: no time is spent on making failures small."""
        import hypothesis  # not before pytest has begun, which rewrites its asserts

        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        hypothesis.settings.register_profile("mutate", parent=hypothesis.settings(), phases=phases)
        hypothesis.settings.load_profile("mutate")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        try:
            self._find_caches()
            if not self._load_map(session):
                self.fault = self._measure(session)
                self._save_map()
            if not self.fault:
                self._index_functions()
                gc.collect()
                gc.freeze()  # children then share what nobody changes
                self._try_all()
        except KeyboardInterrupt:
            self.out.print("interrupted; what was done so far:")
        return True

    # Measuring.

    def _measure(self, session: pytest.Session) -> str:
        self.out.print(f"measuring {len(session.items)} tests", highlight=False)
        sys.addaudithook(self._on_audit)
        cover = coverage.Coverage(data_file=None, config_file=False, source=[str(self.root / CORE)])
        cover.set_option("run:core", "ctrace")  # the one that knows contexts
        cover.set_option("run:disable_warnings", ["module-not-measured", "already-imported", "no-data-collected"])
        cover.start()
        try:
            for item in session.items:
                cover.switch_context(item.nodeid)
                self._clear_caches()
                self._starts_python = False
                begun = time.process_time()
                passed = passes(item)
                duration = time.process_time() - begun
                if not passed:  # one that counts memory, say, is disturbed by the measurement
                    cover.stop()
                    passed = passes(item)
                    cover.start()
                if not passed:
                    self.unusable.append(item.nodeid)
                    self.out.print(f"left out, for it fails while nothing is broken: {item.nodeid}", highlight=False)
                    if len(self.unusable) > UNUSABLE:
                        return "these are too many"
                elif not self._starts_python:
                    self.items[item.nodeid] = item
                    self.duration[item.nodeid] = duration
        finally:
            cover.stop()
        data = cover.get_data()
        for path in data.measured_files():
            lines = data.contexts_by_lineno(path)
            file = str(Path(path).relative_to(self.root))
            self.executed[file] = {
                line: [test for test in tests if test in self.items] for line, tests in lines.items()
            }
        return ""

    def _load_map(self, session: pytest.Session) -> bool:
        """Take what an earlier run has measured, if nothing has changed since."""
        path = self.arguments.map
        known = json.loads(Path(path).read_text()) if path and Path(path).exists() else {}
        items = {item.nodeid: item for item in session.items}
        if known.get("tree") != self.tree or not known["duration"].keys() <= items.keys():
            return False
        self.duration = known["duration"]
        self.items = {test: items[test] for test in self.duration}
        for file, lines in known["executed"].items():
            self.executed[file] = {
                int(line): [known["tests"][number] for number in tests] for line, tests in lines.items()
            }
        return True

    def _save_map(self) -> None:
        if not self.arguments.map or self.fault:
            return
        tests = list(self.duration)
        number = {test: index for index, test in enumerate(tests)}
        executed = {
            file: {line: [number[test] for test in there] for line, there in lines.items()}
            for file, lines in self.executed.items()
        }
        known = {"tree": self.tree, "duration": self.duration, "tests": tests, "executed": executed}
        Path(self.arguments.map).write_text(json.dumps(known))

    def _on_audit(self, event: str, _: object) -> None:
        if event == "subprocess.Popen":
            self._starts_python = True

    def _find_caches(self) -> None:
        kind = type(functools.lru_cache(len))
        found = (each for each in gc.get_objects() if isinstance(each, kind))
        self._caches = [each for each in found if str(each.__module__).startswith("stack.")]

    def _clear_caches(self) -> None:
        """What the core has computed before was not computed by the mutant, or not by this test."""
        for cache in self._caches:
            cache.cache_clear()

    def _index_functions(self) -> None:
        files = {str(self.root / mutant.file): mutant.file for mutant in self.chosen}
        self.functions = {file: defaultdict(list) for file in files.values()}
        for found in gc.get_objects():
            if isinstance(found, FunctionType) and found.__code__.co_filename in files:
                code = found.__code__
                self.functions[files[code.co_filename]][code.co_qualname, code.co_firstlineno].append(found)

    def _tests_for(self, mutant: Mutant) -> list[str]:
        executed = self.executed.get(mutant.file, {})
        tests = {test for line in range(mutant.first, mutant.last + 1) for test in executed.get(line, ())}
        if mutant.import_time:
            tests = self._tests_of_names(mutant)
        ordered = sorted(tests, key=lambda test: (self.duration[test], test))
        first = [test for test in self.killers[mutant.file] if test in tests]
        return first + [test for test in ordered if test not in first]

    def _tests_of_names(self, mutant: Mutant) -> set[str]:
        """For what runs at import: the tests of the lines that name what is assigned there, or all."""
        text = (self.root / mutant.file).read_text().splitlines()[mutant.first - 1]
        named = re.match(r"\s*(\w+)\b.*=", text)
        tests: set[str] = set()
        if named:
            for file, executed in self.executed.items():
                for number, line in enumerate((self.root / file).read_text().splitlines(), 1):
                    if re.search(rf"\b{named[1]}\b", line):
                        tests.update(executed.get(number, ()))
        return tests or set(self.items)

    # Breaking.

    def _try_all(self) -> None:
        deadline = time.monotonic() + (self.arguments.budget or 1e9)
        running: dict[Any, tuple[Mutant, Any, Any, float]] = {}  # by sentinel
        try:
            while True:
                while len(running) < self.arguments.jobs and (self.suspects or time.monotonic() < deadline):
                    if self.suspects:
                        mutant = self.suspects.pop()
                        tests = [mutant.by]
                    elif self.waiting:
                        mutant = self.waiting.pop()
                        tests = self._tests_for(mutant)
                    else:
                        break
                    child, ours = self._start(mutant, tests)
                    running[child.sentinel] = (mutant, child, ours, time.monotonic())
                if not running:
                    return
                for sentinel in self._ended(running):
                    self._bury(*running.pop(sentinel))
        finally:
            for _, child, _, _ in running.values():
                kill(child)

    def _start(self, mutant: Mutant, tests: list[str]) -> tuple[Any, Any]:
        """A child that tries a mutant, and where it will say what came of it."""
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=self._child, args=(mutant, tests, theirs))
        child.start()
        with suppress(OSError):  # it may be there, or gone, already
            os.setpgid(child.pid or 0, child.pid or 0)
        theirs.close()
        return child, ours

    def _ended(self, running: dict[Any, tuple[Mutant, Any, Any, float]]) -> list[Any]:
        ended = multiprocessing.connection.wait(list(running), timeout=1.0)
        for sentinel, (_, child, _, begun) in running.items():
            if sentinel not in ended and time.monotonic() - begun > 300 + 30 * self.arguments.patience:
                kill(child)  # it sleeps, or CPU time is very scarce
        return ended

    def _bury(self, mutant: Mutant, child: Any, ours: Any, begun: float) -> None:
        child.join()
        accused, mutant.by = mutant.by, ""
        mutant.outcome = UNKNOWN
        while ours.poll():
            try:
                mutant.outcome, mutant.by, mutant.tests = ours.recv()
            except EOFError:
                break
        mutant.seconds += round(time.monotonic() - begun, 2)
        if mutant.outcome == KILLED and mutant.tests > 1 and not accused and mutant.by in self.items:
            self.suspects.append(mutant)  # was it this test, or what others before it have left behind?
            return
        if accused and mutant.outcome == SURVIVED:
            mutant.by = f"{accused} fails, but only after others"
        if mutant.outcome in (KILLED, TIMEOUT) and mutant.by in self.items:
            killers = self.killers[mutant.file]
            self.killers[mutant.file] = [mutant.by, *(test for test in killers if test != mutant.by)][:REMEMBERED]
        self.done.append(mutant)
        self.move(self.done)
        if mutant.outcome not in (KILLED, TIMEOUT):
            self.out.print(f"{mutant.outcome}: {mutant.name}", markup=False, highlight=False)

    # In the child.

    def _child(self, mutant: Mutant, tests: list[str], result: Any) -> None:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        if not tests:
            result.send((UNCOVERED, "", 0))
        elif mutant.import_time or not self._give_code(mutant):
            result.send(self._run_in_new_tree(mutant, tests))
        else:
            result.send(self._run_here(tests, result))

    def _give_code(self, mutant: Mutant) -> bool:
        """Replace the code of the functions that the mutant changes. Returns whether that was possible."""
        path = str(self.root / mutant.file)
        before = codes(compile(ast.parse((self.root / mutant.file).read_text()), path, "exec"))
        after = codes(compile(mutated(self.root, mutant), path, "exec"))
        changed = [key for key in after if after[key] != before.get(key) and "<locals>" not in key[0]]
        live = self.functions[mutant.file]
        if not changed or any(len(after[key]) != 1 or key not in live for key in changed):
            return False
        try:
            for key in changed:
                for function in live[key]:
                    function.__code__ = after[key][0]
        except ValueError:  # other free variables
            return False
        return True

    def _run_here(self, tests: list[str], result: Any) -> tuple[str, str, int]:
        now_running = ""
        count = 0
        self._clear_caches()

        def give_up(number: int, frame: FrameType | None) -> None:
            result.send((TIMEOUT, now_running, count))
            os._exit(0)

        signal.signal(signal.SIGPROF, give_up)
        for count, test in enumerate(self._within_patience(tests), 1):
            now_running = test
            signal.setitimer(signal.ITIMER_PROF, SLOWER * self.duration[test] + ALLOWANCE)
            passed = passes(self.items[test])
            signal.setitimer(signal.ITIMER_PROF, 0)
            if not passed:
                return KILLED, test, count
        signal.setitimer(signal.ITIMER_PROF, 10 * self.arguments.patience + ALLOWANCE)
        now_running = "the soak"
        seed = soak(self.arguments.patience * SOAK_SHARE)
        return (KILLED, f"the soak, seed {seed}", count) if seed >= 0 else (SURVIVED, "", count)

    def _within_patience(self, tests: list[str]) -> list[str]:
        ends = itertools.accumulate(self.duration[test] for test in tests)
        return [
            test for test, end in zip(tests, ends, strict=True) if end <= self.arguments.patience or test == tests[0]
        ]

    def _run_in_new_tree(self, mutant: Mutant, tests: list[str]) -> tuple[str, str, int]:
        with tempfile.TemporaryDirectory(dir=self.root.parent) as directory:
            tree = Path(directory, "tree")
            shutil.copytree(self.root, tree)
            (tree / mutant.file).write_text(ast.unparse(mutated(self.root, mutant)))
            within = self._within_patience(tests)
            outcome, by = self._pytest(tree, within)
            if by in within[1:]:
                alone, _ = self._pytest(tree, [by])
                outcome, by = (outcome, by) if alone == KILLED else (alone, f"{by} fails, but only after others")
            return outcome, by, 1 if outcome == KILLED else len(within)

    def _pytest(self, tree: Path, tests: list[str]) -> tuple[str, str]:
        command = [sys.executable, "-P", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-rfE", *tests]
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        seconds = round(SLOWER * (self.arguments.patience + ALLOWANCE))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        ran = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
        if ran.returncode < 0:  # by a signal: SIGXCPU, most likely
            return TIMEOUT, "(the process)"
        if not ran.returncode:
            return SURVIVED, ""
        told = re.findall(r"^(?:FAILED|ERROR) (.+)", ran.stdout, re.MULTILINE)
        failed = [test for test in tests for line in told if line == test or line.startswith(test + " - ")]
        return KILLED, failed[0] if failed else "(at import)"


def digest(root: Path, *parts: str) -> str:
    """What stands in some directories, in one word."""
    files = sorted(path for part in parts for path in (root / part).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def passes(item: pytest.Item) -> bool:
    return not any(report.failed for report in runtestprotocol(item, log=False, nextitem=None))


def kill(child: Any) -> None:
    """With all that it started: each child leads a process group."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.join()


def codes(module: CodeType) -> dict[tuple[str, int], list[CodeType]]:
    """The code of all functions in a module's, by qualified name and first line."""
    found: dict[tuple[str, int], list[CodeType]] = defaultdict(list)

    def walk(code: CodeType) -> None:
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                if constant.co_flags & 0x2:  # CO_NEWLOCALS: a function, no class
                    found[constant.co_qualname, constant.co_firstlineno].append(constant)
                walk(constant)

    walk(module)
    return found


def soak(seconds: float) -> int:
    """Seeds of the soak, for that much CPU time. Returns the first that goes wrong, or -1."""
    from stack.sim.soak import run_seed

    end = time.process_time() + seconds
    seed = 1000  # the first are in the tests
    while time.process_time() < end:
        if not run_seed(seed).is_right:
            return seed
        seed += 1
    return -1
