"""Runs a packetdrill script in virtual time: one host under test, one script that is everybody else.

An event happens at its time: a packet comes in, a call or a command is made, code looks at the connection. A packet
that is expected is different: it may be there already, and until it is, time goes on. It must be the next one that the
connection has sent, and must have been sent at its time.

**Times** are those of the original tool. `+0.1` counts from the moment when the event before was over (between two
packets for the stack: from the time of the first), `0.1` from the beginning, `*` is whenever it comes, and `.1~.2` from
one moment to another. Time is virtual here and could be exact, but scripts were written for tolerances: an event is in
time if it is no further from it than 4 ms or one eighth of the time since the event before, whichever is more
(`--tolerance_usecs`, `--tolerance_percent`).

**Calls that block** (`+0...0.2 read(...)`) begin at their time and go on beside what follows; they look again whenever
something has happened, and must return at the time behind the dots. There is one at a time: the next call waits for it.

**What nobody expected** fails a script as soon as it expects something else from that connection. What a connection
sends after the last packet that the script expects is the connection's own affair, as in the original tool: most
scripts end without waiting for the last FIN.

Nothing that a script says raises: an `Outcome` tells what became of it.
"""

from __future__ import annotations

import traceback

from stack.sim.packetdrill import environment, profiles
from stack.sim.packetdrill.bench import BEGINNING, Bench, Endless
from stack.sim.packetdrill.calls import start
from stack.sim.packetdrill.code import CodeFault, Interpreter, UnknownField
from stack.sim.packetdrill.environment import Environment
from stack.sim.packetdrill.exchange import Exchange
from stack.sim.packetdrill.expressions import Arguments
from stack.sim.packetdrill.flows import Flow, Flows
from stack.sim.packetdrill.parse import parse
from stack.sim.packetdrill.process import Process, Returned, Steps
from stack.sim.packetdrill.profiles import Profile
from stack.sim.packetdrill.report import Failure, Outcome, Verdict, ladder
from stack.sim.packetdrill.settings import Settings, from_script
from stack.sim.packetdrill.symbols import ERRNOS, errno_name
from stack.sim.packetdrill.syntax import (
    Call,
    Code,
    Command,
    Direction,
    Event,
    IcmpPacket,
    Place,
    Script,
    ScriptError,
    TcpPacket,
    UdpPacket,
    Unsupported,
)
from stack.sim.packetdrill.timing import Clock, Moment
from stack.wire.units import NEVER, SECOND, Duration

PATIENCE: Duration = 1 * SECOND
"""How long a call waits for the one before it that is late, and the end of a script for its last one."""

LONGEST_CALL: Duration = 60 * SECOND
"""How long a call is waited for that blocks although the script doesn't say that it does."""


def run_script(
    script: Script | str,
    profile: Profile | str = "linux",
    *,
    path: str = "<script>",
    defines: dict[str, str] | None = None,
    ip_version: str = "ipv4",
    mtu: int = 1500,
) -> Outcome:
    """Run a script, as text or read already, and tell what became of it. Raises nothing for what it says.

    `profile` is how the stack is configured before the script says anything, by name or as a value; `defines` are put
    in for its words (`-D NAME=value`); `ip_version` and `mtu` count where the script doesn't say them: see `settings`.
    """
    chosen = profiles.PROFILES[profile] if isinstance(profile, str) else profile
    name = path if isinstance(script, str) else script.path
    run: Run | None = None
    try:
        if isinstance(script, str):
            script = parse(script, path, defines)
        run = Run(script, from_script(script, ip_version, mtu), chosen)
        run.run()
    except Unsupported as fault:
        return _outcome(name, Verdict.UNSUPPORTED, Failure(fault.place, fault.message), run)
    except ScriptError as fault:
        verdict = Verdict.UNSUPPORTED if run is None else Verdict.FAIL
        return _outcome(name, verdict, Failure(fault.place, fault.message), run)
    except Failure as fault:
        return _outcome(name, Verdict.FAIL, fault, run)
    except Exception as fault:  # of ours, in the stack or here: it must not end a run of a thousand scripts
        where = Place(name, 1, 1) if run is None else run.place()
        lines = "".join(traceback.format_exception(fault)).splitlines()
        return _outcome(name, Verdict.FAIL, Failure(where, f"a fault of ours: {fault!r}", tuple(lines)), run)
    return Outcome(name, Verdict.PASS, printed=tuple(run.code.printed), elapsed=run.bench.now)


def _outcome(path: str, verdict: Verdict, fault: Failure, run: Run | None) -> Outcome:
    if run is None:
        return Outcome(path, verdict, fault.place, fault.message)
    return Outcome(
        path,
        verdict,
        fault.place,
        fault.message,
        source=run.source_at(fault),
        details=fault.details,
        ladder=tuple(run.ladder()) if verdict is Verdict.FAIL else (),
        printed=tuple(run.code.printed),
        elapsed=run.bench.now,
    )


class Pending:
    """A call that is under way."""

    __slots__ = ("arguments", "call", "event", "result", "steps", "until")

    def __init__(self, event: Event, call: Call, arguments: Arguments, steps: Steps, until: Moment | None) -> None:
        self.event = event
        self.call = call
        self.arguments = arguments
        self.steps = steps
        self.until = until
        self.result: Returned | OSError = Returned(0)


class Run:
    """One script on one host."""

    def __init__(self, script: Script, settings: Settings, profile: Profile) -> None:
        self.script = script
        self.settings = settings
        self.environment = Environment(profile)
        if script.init is not None:
            self.environment.run(script.init.line, Place(script.path, 1, 1))
        self.bench = Bench(settings, self.environment.options, secret=profiles.SECRET, max_payload=profile.max_payload)
        self.environment.attach(self.bench)
        self.flows = Flows(settings)
        self.process = Process(self.bench, self.flows, settings, self.environment)
        self.exchange = Exchange(self.bench, self.flows, settings)
        self.code = Interpreter(script.path)
        self.clock = Clock(settings)
        self.event: Event | None = None
        self._pending: Pending | None = None
        self._failed: Failure | None = None
        self.bench.on_change = self._on_change

    # The loop.

    def run(self) -> None:
        """Run all events in order; raises `Failure` or a `ScriptError`."""
        try:
            for event in self.script.events:
                self.event = event
                self._one(event, self.clock.next(event, self.bench.now))
                self._check()
            self._await_call()
            self._check()
        except Endless as fault:
            raise Failure(self.place(), f"the stack does not come to rest: {fault}") from None

    def place(self) -> Place:
        """Of the event that is under way."""
        return self.event.place if self.event is not None else Place(self.script.path, 1, 1)

    def _one(self, event: Event, moment: Moment) -> None:
        action = event.action
        if isinstance(action, TcpPacket | UdpPacket | IcmpPacket) and action.direction is Direction.OUT:
            self.exchange.expect(event, action, moment, self.clock)
            return
        if isinstance(action, Call):
            self._begin_call(event, action, moment)
            return
        self._wait(moment, event)
        if isinstance(action, TcpPacket):
            self.exchange.inject(event, action)
        elif isinstance(action, UdpPacket):
            self.exchange.inject_udp(action)
        elif isinstance(action, IcmpPacket):
            self.exchange.inject_icmp(event, action)
        elif isinstance(action, Command):
            self._command(event, action)
        else:
            self._code(event, action)

    def _wait(self, moment: Moment, event: Event) -> None:
        """Let time pass until an event is due; it must not be late."""
        self.bench.advance(moment.start)
        self._check()
        self.clock.check(moment, self.bench.now, event, "this")

    def _check(self) -> None:
        """Whether something has gone wrong behind the script's back."""
        if self._failed is not None:
            raise self._failed
        if self.bench.faults:
            raise self.bench.faults[0]

    def _command(self, event: Event, command: Command) -> None:
        try:
            self.environment.run(command.line, event.place)
        except environment.CommandFailed as fault:
            raise Failure(event.place, str(fault)) from None

    def _code(self, event: Event, code: Code) -> None:
        flow = self.flows.under_test
        if flow is None:
            raise Failure(event.place, "there is no socket to look at")
        socket = self.process.socket_under(flow)
        try:
            info = None if socket is None or socket.connection is None else socket.info()
            self.code.run(code.text, event.place_of(code).line, info)
        except CodeFault as fault:
            raise Failure(event.place._replace(line=fault.line, column=1), fault.message) from None
        except UnknownField as fault:
            raise Unsupported(*event.place, f"the field {fault} of tcp_info") from None

    # Calls.

    def _begin_call(self, event: Event, call: Call, moment: Moment) -> None:
        self._await_call()
        self._wait(moment, event)
        arguments = Arguments(event, call)
        until = self.clock.until(call, moment)
        pending = Pending(event, call, arguments, self._steps(arguments), until)
        self._pending = pending
        self._resume()
        self.bench.settle()
        self._check()
        if call.until is None and self._pending is pending:
            self._await_call()

    def _steps(self, arguments: Arguments) -> Steps:
        started = start(self.process, arguments)
        if isinstance(started, Returned):
            return started
        return (yield from started)

    def _resume(self) -> bool:
        """Let the call that is under way look again; true when it has returned."""
        pending = self._pending
        if pending is None:
            return False
        try:
            self.bench.deadline = next(pending.steps)
            return False
        except StopIteration as stop:
            pending.result = stop.value
        except OSError as error:
            pending.result = error
        self._pending = None
        self.bench.deadline = NEVER
        self._finish(pending)
        return True

    def _on_change(self) -> bool:
        self.process.observe()
        if self._pending is None or self._failed is not None:
            return False
        try:
            return self._resume()
        except Failure as fault:
            self._failed = fault
            return False

    def _await_call(self) -> None:
        """The call that is under way must return before anything else can be done."""
        pending = self._pending
        if pending is None:
            return
        if pending.until is None:
            limit = self.bench.now + LONGEST_CALL
        else:
            limit = max(self.bench.now, pending.until.end) + PATIENCE
        while self._pending is pending and self.bench.step(limit):
            self._check()
        self._check()
        if self._pending is pending:
            raise Failure(pending.event.place, f"{pending.call.name}() did not return")

    def _finish(self, pending: Pending) -> None:
        """Compare what a call has returned with what the script has."""
        call, result = pending.call, pending.result
        place = pending.event.place_of(call)
        expected = pending.arguments.value(call.result)
        if isinstance(result, OSError):
            self._expect_result(pending, expected, -1, result)
            fault = None
        elif result.file is not None and expected >= 0:
            if expected in self.process.files and not result.file.was_accepted:
                raise Failure(place, f"the number {expected} stands for an open file already")
            self.process.open(expected, result.file)
            fault = None
        else:
            self._expect_result(pending, expected, result.value, None)
            fault = None if result.verify is None else result.verify()
        if fault is not None:
            raise Failure(place, f"{call.name}(): {fault}")
        if pending.until is not None:
            self.clock.check(pending.until, self.bench.now, pending.event, f"the return of {call.name}()")

    def _expect_result(self, pending: Pending, expected: int, value: int, error: OSError | None) -> None:
        call = pending.call
        if value == expected and self._same_error(pending, error):
            return
        came = str(value) if error is None else f"-1 {errno_name(error.errno or 0)}"
        wanted = str(expected) if call.errno is None else f"{expected} {call.errno.name}"
        place = pending.event.place_of(call)
        raise Failure(place, f"{call.name}() returned {came}", (f"expected: {wanted}", f"came:     {came}"))

    @staticmethod
    def _same_error(pending: Pending, error: OSError | None) -> bool:
        name = pending.call.errno
        if name is None:
            return True
        if name.name not in ERRNOS:
            raise pending.arguments.unsupported(None, f"the error {name.name}")
        return error is not None and error.errno == ERRNOS[name.name]

    # For the report.

    def source_at(self, fault: Failure) -> str:
        """The text of the event that a failure is about."""
        for event in self.script.events:
            last = event.place.line + event.source.count("\n")
            if event.place.line <= fault.place.line <= last:
                return event.source
        return ""

    def ladder(self) -> list[str]:
        """The segments of the connection that is looked at, up to now."""
        flow: Flow | None = self.flows.under_test
        if flow is None:
            return []
        return ladder(self.bench.trace, flow.local, flow.remote, BEGINNING)
