"""What all commands share: printing, errors with their remedies, signals, exit statuses.

What was asked for goes to standard output; what happens meanwhile, and what goes wrong, to standard error.
Colour and progress bars appear on terminals only; `NO_COLOR` is honoured.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from stack.cli.broken_pipe import unread

SUCCESS, FAILURE, USAGE = 0, 1, 2  #: Exit statuses; a signal's is 128 and its number, as a shell has it.
WIDTH = 100  #: Columns where the output is no terminal.
BAR_AFTER = 0.5  #: Seconds that a transfer may take without a progress bar.

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CommandError(Exception):
    """The command can't do what it was asked; `remedy` says what would help."""

    def __init__(self, message: str, remedy: str = "", *, status: int = FAILURE) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.status = status


class _Console(Console):
    """A console that leaves a broken pipe to `run`, where rich would raise SystemExit in the midst of Trio."""

    def on_broken_pipe(self) -> None:
        raise  # rich calls this while it handles the BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """A console on standard output or error."""
    stream = sys.stderr if stderr else sys.stdout
    return _Console(file=stream, highlight=False, soft_wrap=True, width=None if stream.isatty() else WIDTH)


def print_json(fields: dict[str, Any]) -> None:
    """One object on a line of its own, at once, and in one piece: other processes may write to the same place."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def report(error: BaseException) -> int:
    """Print an error for a person to standard error; returns the exit status."""
    out = console(stderr=True)
    out.print("[bold red]error:[/] ", end="")
    out.print(describe(error), markup=False)
    remedy = getattr(error, "remedy", "")
    if remedy:
        out.print("       " + remedy.replace("\n", "\n       "), markup=False)
    return error.status if isinstance(error, CommandError) else FAILURE


def describe(error: BaseException) -> str:
    """The error in a line of words, without its class where the words are enough."""
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename is not None else ""
        return f"{error.strerror}{where}"
    if isinstance(error, trio.BrokenResourceError) and error.__cause__ is not None:
        return describe(error.__cause__)
    return str(error) or type(error).__name__


def run(command: Callable[[], Awaitable[int]]) -> int:
    """Run a command under Trio and return its exit status.

    SIGINT, SIGTERM and SIGHUP cancel it, so that everything is closed in order; a second one ends it at once.
    Expected errors are reported; what is a fault of ours keeps its traceback.
    """
    received: list[int] = []
    try:
        return trio.run(_supervised, command, received)
    except BaseException as caught:
        error = only_error(caught)
        if received and isinstance(error, EXPECTED):
            return 128 + received[0]  # it failed because it was told to end
        if isinstance(error, KeyboardInterrupt):
            return 128 + signal.SIGINT
        if isinstance(error, BrokenPipeError):
            return unread()
        if isinstance(error, EXPECTED):
            return report(error)
        raise


def run_plain(command: Callable[[], int]) -> int:
    """Run a command that needs no Trio and looks after signals by itself; expected errors are reported."""
    try:
        return command()
    except EXPECTED as error:
        return unread() if isinstance(error, BrokenPipeError) else report(error)


#: What can go wrong without a fault of ours: the machine, the network, the peer.
EXPECTED = (CommandError, OSError, trio.BrokenResourceError)


def only_error(error: BaseException) -> BaseException:
    """The one error inside groups of one; a group of several as it is."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def _supervised(command: Callable[[], Awaitable[int]], received: list[int]) -> int:
    """Run the command until it ends or a signal comes, which is then in `received`."""
    status = FAILURE
    async with trio.open_nursery() as nursery:

        async def watch(*, task_status: trio.TaskStatus[None]) -> None:
            with trio.open_signal_receiver(*_SIGNALS) as signals:
                task_status.started()
                async for number in signals:
                    received.append(number)
                    nursery.cancel_scope.cancel()
                    return

        await nursery.start(watch)
        status = await command()
        nursery.cancel_scope.cancel()
    return 128 + received[0] if received else status


@contextmanager
def progress_bar(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A function to call with the bytes moved so far; a bar appears when that goes on for a while.

    Nothing appears where standard error is no terminal. `total` None: not known.
    """
    out = console(stderr=True)
    if not out.is_terminal:
        yield lambda _moved: None
        return
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=out,
        transient=True,
    )
    task = bar.add_task(what, total=total)
    begun = trio.current_time()

    def moved(size: int) -> None:
        if not bar.live.is_started and trio.current_time() - begun >= BAR_AFTER:
            bar.start()
        bar.update(task, completed=size)

    try:
        yield moved
    finally:
        bar.stop()
