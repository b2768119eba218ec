"""One sample: the processes of one contender and one load, in namespaces of their own, from their start to their end.

    core 1   peer        in a namespace of its own; the kernel's address is 10.98.0.1
    core 0   contender   this stack or the loop, which is 10.98.0.2, on a device in the peer's namespace
    or       forwarder   between that device and another one, in the namespace of a second peer on core 1,
                         which is 10.98.0.2

Everything is made anew for each sample, so none leaves the next one a warm route, a TIME-WAIT or a grown buffer. All
children die with this process, however it ends, and devices and namespaces with them; they are in sessions of their
own, so that Ctrl-C in a terminal is this process's affair alone.
"""

from __future__ import annotations

import json
import math
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PEER = Path(__file__).with_name("peer.py")
PACKAGE = Path(__file__).resolve().parents[3]  #: Where `stack` is: a checkout, or site-packages.
CEILINGS = (PACKAGE / "tools/ceilings", Path(__file__).resolve().with_name("ceilings"))  #: In a checkout, in a wheel.
FORM = Path(sys.modules["stack"].__path__[0]).parent  #: Where it was loaded from: the compiled form has links to that.

NEAR, FAR = "10.98.0.1", "10.98.0.2"
PREFIX = "/24"
PATIENCE = 30.0  #: Seconds that an answer may take beyond what was asked for.
OPENING = 300.0  #: Seconds for opening all connections.
WARM_UP = 100  #: Connections before memory is counted: what is made once has been made then.
UNDER_WAY = 10  #: Messages at any time in `scale`.
SPARE = 100  #: Files that a peer wants beside its connections.
SETTLING = 2.0  #: Seconds after which a connection has nothing left to do.
ENDING = 1.0  #: Seconds that a process may take to say why it ends.
ECHOED = 1024  #: Octets over each connection of `memory` before it is idle.


class SampleError(Exception):
    """A sample could not be taken; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is the same for all samples of a run."""

    cores: tuple[int, int]  #: for the contender, and for its peer
    seconds: float  #: that a sample takes
    warm: float  #: seconds before that
    connections: int  #: in `memory`
    flows: int  #: at most in `scale`
    files: int  #: that a process may have open
    ceilings: Path | None  #: the directory with the programs; None: they are not there
    forwarder: tuple[str, ...] = ()  #: the command
    helper: str = ""  #: connections.c, compiled


@dataclass(frozen=True, slots=True)
class Load:
    """What is done to a contender."""

    service: str  #: what the contender does
    asked: str  #: what its peer does
    frames: str = "super"
    arguments: dict[str, Any] = field(default_factory=dict)  #: for the peer


LOADS = {
    "recv": Load("sink", "bulk", arguments={"way": "out"}),
    "send": Load("source", "bulk", arguments={"way": "in"}),
    "bidirectional": Load("both", "bulk", arguments={"way": "both"}),
    "recv-8": Load("mixed", "bulk", arguments={"way": "out", "at_once": 8}),
    "send-8": Load("mixed", "bulk", arguments={"way": "in", "at_once": 8}),
    "recv-plain": Load("sink", "bulk", "plain", {"way": "out"}),
    "send-plain": Load("source", "bulk", "plain", {"way": "in"}),
    "latency": Load("echo", "ping_pong"),
    "busy-recv": Load("mixed", "busy", arguments={"way": "out", "beside": 8}),
    "busy-send": Load("mixed", "busy", arguments={"way": "in", "beside": 8}),
    "connections-1": Load("respond", "connections", arguments={"at_once": 1}),
    "connections-32": Load("respond", "connections", arguments={"at_once": 32}),
    "memory": Load("kept", "open"),
    "scale": Load("echo", "rounds"),
}


def take(plan: Plan, contender: str, name: str) -> dict[str, Any]:
    """One sample of a load, as a dictionary of what was seen; `said` is what the contender complained of.

    Raises `SampleError`.
    """
    with ExitStack() as leaving:
        processes = Processes(leaving, plan)
        peer = processes.peer(plan.cores[1])
        near = STARTERS[contender](processes, LOADS[name], peer)
        peer.depends_on = near
        try:
            if name == "memory":
                more = range(1, math.ceil(plan.connections / (plan.files - SPARE)))
                sample = _memory(plan, [peer, *(processes.peer(plan.cores[1], beside=peer) for _ in more)], near)
            else:
                sample = _take(plan, name, peer, near)
        except SampleError as error:
            said = near.last_words()
            raise SampleError(str(error) if said in str(error) else f"{error}; {said}") from error
        return {**sample, "said": near.last_words()}


def _take(plan: Plan, name: str, peer: Child, near: Child) -> dict[str, Any]:
    """All is started."""
    if name == "scale":
        return _scale(plan, peer, near)
    load = LOADS[name]
    more = {"helper": plan.helper} if load.asked == "connections" else {}
    return _measured(plan, peer, near, load.asked, address=near.address, **load.arguments, **more)


# Processes. ---------------------------------------------------------------------------------------------------------


class Child:
    """A process, what it says when it fails, and the socket to it.

    A contender is reached at `address`. Who `depends_on` another one does not answer any more when that has ended.
    """

    address = FAR
    depends_on: Child | None = None

    def __init__(self, process: subprocess.Popen[bytes], errors: Any, control: socket.socket | None) -> None:
        self.process = process
        self.pid = process.pid
        self._errors = errors
        self._control = control

    def ask(self, do: str, *, patience: float = PATIENCE, **arguments: Any) -> dict[str, Any]:
        """Have something done, and wait for what came of it. Raises `SampleError`."""
        assert self._control is not None
        try:
            self._control.send(json.dumps({"do": do, **arguments}).encode())
        except OSError as error:
            raise SampleError(self.why()) from error
        return self.answer(patience)

    def answer(self, patience: float = PATIENCE) -> dict[str, Any]:
        """The next answer."""
        assert self._control is not None
        with ExitStack() as leaving:
            waiting: list[Any] = [self._control]
            if self.depends_on is not None:
                waiting.append(os.pidfd_open(self.depends_on.pid))
                leaving.callback(os.close, waiting[1])
            ready = select.select(waiting, [], [], patience)[0]
        if not ready:
            raise SampleError(f"no answer within {patience:g} s")
        if self._control not in ready and self.depends_on is not None:
            raise SampleError(self.depends_on.why())
        try:
            message = self._control.recv(1 << 16)
        except OSError:
            message = b""
        if not message:
            raise SampleError(self.why())
        answer: dict[str, Any] = json.loads(message) if message.startswith(b"{") else {}
        if "error" in answer:
            raise SampleError(answer["error"])
        return answer

    def wait_for_lines(self, number: int) -> None:
        """Until it has said so many lines."""
        assert self.process.stdout is not None
        for _ in range(number):
            if not self.process.stdout.readline():
                raise SampleError(self.why())

    def end(self) -> None:
        """Kill it, unless it has ended."""
        if self._control is not None:
            self._control.close()
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._errors.close()

    def last_words(self) -> str:
        """The last line of its errors so far, or ""; that is where Python puts the reason."""
        said = os.pread(self._errors.fileno(), 1 << 20, 0)  # the position is shared with the child, which goes on
        lines = said.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def why(self) -> str:
        """Why it does not answer. Python closes sockets before it prints the reason."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(ENDING)
        self.process.kill()
        self.process.wait()
        return self.last_words() or f"a process ended with status {self.process.returncode}"


class Processes:
    """Starts the processes of a sample; they end with `leaving`."""

    def __init__(self, leaving: ExitStack, plan: Plan) -> None:
        self.leaving = leaving
        self.plan = plan

    def start(self, core: int, *command: str, controlled: bool = True, listened: bool = False) -> Child:
        """A process on a core. CONTROL in its command stands for the number of its control socket."""
        errors = tempfile.TemporaryFile()  # noqa: SIM115  (it ends with the child)
        theirs = ours = None
        if controlled:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            command = tuple(str(theirs.fileno()) if word == "CONTROL" else word for word in command)
        process = subprocess.Popen(
            ["taskset", "--cpu-list", str(core), "setpriv", "--pdeathsig", "KILL", "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if listened else subprocess.DEVNULL,
            stderr=errors,
            pass_fds=[theirs.fileno()] if theirs is not None else [],
            start_new_session=True,
            cwd="/",
            env={**os.environ, "PYTHONPATH": str(FORM)},
        )
        child = Child(process, errors, ours)
        self.leaving.callback(child.end)
        if theirs is not None:
            theirs.close()
        return child

    def peer(self, core: int, beside: Child | None = None) -> Child:
        """Kernel sockets in a new namespace, or in that of another one."""
        program = [*python(str(PEER)), "CONTROL"]
        child = self.start(core, *(within(beside, *program) if beside else ("unshare", "--net", "--", *program)))
        child.answer()
        return child


def python(*arguments: str) -> list[str]:
    return [sys.executable, "-P", *arguments]


def within(child: Child, *command: str) -> list[str]:
    """A command in the network namespace of a process."""
    return ["nsenter", f"--net=/proc/{child.pid}/ns/net", "--", *command]


def device(child: Child, frames: str, address: str) -> list[str]:
    """What comes before a command to give it one more argument: a device in that namespace."""
    return within(child, *python("-m", "stack.observe.bench.device", frames, address + PREFIX))


def _ours(processes: Processes, load: Load, peer: Child) -> Child:
    program = python("-m", "stack.observe.bench.ours", "CONTROL", load.service, load.frames)
    child = processes.start(processes.plan.cores[0], *within(peer, *program))
    child.answer()
    return child


def _loop(processes: Processes, load: Load, peer: Child) -> Child:
    program = python(str(_ceilings(processes.plan) / "loop.py"), load.service, load.frames)
    command = [*device(peer, load.frames, NEAR), *program]
    child = processes.start(processes.plan.cores[0], *command, controlled=False, listened=True)
    child.wait_for_lines(1)
    return child


def _forward(processes: Processes, load: Load, peer: Child) -> Child:
    plan = processes.plan
    far = processes.peer(plan.cores[1])  # nothing but the forwarder is where the stack would be
    devices = [*device(peer, load.frames, NEAR), *device(far, load.frames, FAR)]
    child = processes.start(plan.cores[0], *devices, *plan.forwarder, controlled=False, listened=True)
    child.wait_for_lines(2)
    far.ask("serve", what=load.service, helper=plan.helper)
    return child


Starter = Callable[[Processes, Load, Child], Child]
STARTERS: dict[str, Starter] = {"ours": _ours, "loop": _loop, "forward": _forward}
"""How a contender is started for a load, given its peer: its process, which then listens. More may be added."""


def _ceilings(plan: Plan) -> Path:
    if plan.ceilings is None:
        raise SampleError("the ceilings are not there")
    return plan.ceilings


# Loads. -------------------------------------------------------------------------------------------------------------


def _measured(plan: Plan, peer: Child, near: Child, do: str, **arguments: Any) -> dict[str, Any]:
    patience = PATIENCE + plan.warm + plan.seconds
    times = {"warm": plan.warm, "seconds": plan.seconds, "pid": near.pid}
    return peer.ask(do, patience=patience, **times, **arguments)


def _memory(plan: Plan, peers: list[Child], near: Child) -> dict[str, Any]:
    """Octets for each connection, after the first ones. One peer may not have files enough for all connections."""

    def opened(number: int) -> dict[str, Any]:
        for peer in peers:
            share = min(number, plan.files - SPARE)
            peer.ask("open", patience=OPENING, address=FAR, number=share, size=ECHOED)
            number -= share
        return near.ask("memory", patience=OPENING)

    near.ask("trace")
    before = opened(min(WARM_UP, plan.connections // 2))
    after = opened(plan.connections)
    return {"each": (after["bytes"] - before["bytes"]) / (after["kept"] - before["kept"])}


def _scale(plan: Plan, peer: Child, near: Child) -> dict[str, Any]:
    """CPU time for a packet with ever more flows; with the most of them the loop's lag, and what idleness costs.

    Lag is watched while the last of them are opened, which is when the garbage collector looks at all of them, and in
    rounds of their own, since watching costs CPU time.
    """
    sample: dict[str, Any] = {}
    for flows in steps(plan.flows):
        if flows == plan.flows:
            near.ask("watch")
        peer.ask("open", patience=OPENING, address=FAR, number=flows, size=1)
        if flows == plan.flows:
            near.ask("lag")
        seen = _measured(plan, peer, near, "rounds", under_way=UNDER_WAY)
        sample[str(flows)] = seen["cpu"] / seen["packets"]
    near.ask("watch")
    _measured(plan, peer, near, "rounds", under_way=UNDER_WAY)
    sample["lag"] = near.ask("lag")
    peer.ask("idle", seconds=SETTLING, pid=near.pid)
    seen = peer.ask("idle", patience=PATIENCE + plan.seconds, seconds=plan.seconds, pid=near.pid)
    sample["idle"] = seen["cpu"] / seen["seconds"]
    return sample


def steps(most: int) -> list[int]:
    """Numbers of flows: 10, 100, ... and the most."""
    return [*(number for number in (10, 100, 1000, 10_000) if number < most), most]


@contextmanager
def compiled(ceilings: Path | None) -> Iterator[tuple[tuple[str, ...], str, list[str]]]:
    """The forwarder's command, the helper's file, and what there is to say about them.

    They are compiled when they are wanted, with `cc`. Without it there is a forwarder in Python, and the peer's own
    client, which is good enough to measure somebody but no ceiling.
    """
    if ceilings is None:
        yield (), "", []
        return
    with tempfile.TemporaryDirectory(prefix="tcpstack-bench-") as folder:
        built, notes = {}, []
        for name in ("forward", "connections"):
            target = Path(folder, name)
            reason = _compile(ceilings / f"{name}.c", target)
            if reason:
                notes.append(f"{name}.c is not compiled ({reason}): Python takes its place, and is slower")
                notes[-1] += "; connections have no ceiling" if name == "connections" else ""
            else:
                built[name] = str(target)
        forwarder = (built["forward"],) if "forward" in built else tuple(python(str(ceilings / "forward.py")))
        yield forwarder, built.get("connections", ""), notes


def _compile(source: Path, target: Path) -> str:
    """Why it did not go; "" when it did."""
    try:
        ran = subprocess.run(["cc", "-O2", "-o", target, source], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "cc is not installed"
    if not ran.returncode:
        return ""
    return (ran.stderr.strip().splitlines() or [f"cc ended with status {ran.returncode}"])[0]
