"""Waiting on the core, which calls nobody back: it leaves flags, and wakes whoever may want to look at them.

A `Turn` is the right to wait for one thing, such as data on one stream: one task at a time has it, a second
one gets `trio.BusyResourceError` at once instead of stealing half of the bytes. It costs one small object and
no queue.
"""

from __future__ import annotations

from types import TracebackType

import trio


class Turn:
    """Held with `with` during one operation; inside it, `await wait()` until somebody calls `wake()`.

    Waking is a hint: the one who waited looks again, and waits again if it was for nothing. A cancelled wait
    leaves no trace.
    """

    __slots__ = ("_held", "_message", "_task")

    def __init__(self, message: str) -> None:
        self._message = message
        self._held = False
        self._task: trio.lowlevel.Task | None = None

    def __enter__(self) -> None:
        if self._held:
            raise trio.BusyResourceError(self._message)
        self._held = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held = False

    @property
    def held(self) -> bool:
        """Whether a task is at it, waiting or about to go on."""
        return self._held

    @property
    def waiting(self) -> bool:
        return self._task is not None

    async def wait(self) -> None:
        """Park until `wake`. A checkpoint, always."""
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def wake(self) -> None:
        """Let the waiting task go on, if there is one. Never runs it here."""
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
