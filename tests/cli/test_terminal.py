"""Errors in words, exit statuses, signals."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys

import pytest
import trio
import trio.testing

from stack.cli.terminal import CommandError, describe, only_error, print_json, progress_bar, report, run


def test_an_error_and_its_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(CommandError("no [bold]way[/]", "try\nanother", status=2)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "error: no [bold]way[/]\n       try\n       another\n"


def test_an_object_is_written_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the lines of several workers would mix."""
    reading, writing = os.pipe2(os.O_DIRECT)  # each write is a packet of its own
    with os.fdopen(writing, "wb", buffering=0) as raw, io.TextIOWrapper(raw, write_through=True) as output:
        monkeypatch.setattr(sys, "stdout", output)
        print_json({"a": 1})
    assert os.read(reading, 1000) == b'{"a": 1}\n'
    os.close(reading)


def broken(cause: BaseException) -> trio.BrokenResourceError:
    error = trio.BrokenResourceError("broken")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "f"), "No space left on device: f"),
        (OSError(errno.EPERM, "do this instead"), "do this instead"),
        (OSError("odd"), "odd"),
        (TimeoutError(), "TimeoutError"),
        (broken(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")), "Connection reset by peer"),
        (trio.BrokenResourceError(), "BrokenResourceError"),
    ],
)
def test_errors_in_words(error: BaseException, words: str) -> None:
    assert describe(error) == words


def test_the_one_error_in_groups() -> None:
    error = ValueError()
    assert only_error(ExceptionGroup("", [ExceptionGroup("", [error])])) is error
    pair = ExceptionGroup("", [ValueError(), KeyError()])
    assert only_error(pair) is pair


def test_a_command_that_succeeds() -> None:
    async def command() -> int:
        await trio.lowlevel.checkpoint()
        return 0

    assert run(command) == 0


def test_a_command_that_fails(capsys: pytest.CaptureFixture[str]) -> None:
    async def command() -> int:
        async with trio.open_nursery():
            raise CommandError("it can't be", "so be it")

    assert run(command) == 1
    assert capsys.readouterr().err == "error: it can't be\n       so be it\n"


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    async def command() -> int:
        await trio.lowlevel.checkpoint()
        raise KeyError("ours")

    with pytest.RaisesGroup(KeyError):
        run(command)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_closes_in_order_and_says_which_it_was(number: signal.Signals) -> None:
    closed = []

    async def command() -> int:
        try:
            os.kill(os.getpid(), number)
            await trio.Event().wait()
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
                closed.append("in order")
        return 0

    assert run(command) == 128 + number
    assert closed == ["in order"]


def test_a_second_interrupt_ends_it_at_once() -> None:
    async def command() -> int:
        os.kill(os.getpid(), signal.SIGINT)
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked()
            os.kill(os.getpid(), signal.SIGINT)
            await trio.Event().wait()
        return 0

    assert run(command) == 130


def test_no_bar_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("file", 100) as moved:
        moved(50)
        moved(100)
    assert capsys.readouterr().err == ""
