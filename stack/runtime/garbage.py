"""Keeping the garbage collector from stopping the event loop.

Python frees most things when their last reference goes. Its collector is there for cycles, and to find those it looks
at every container that it knows. A connection with its stream is some twenty of them, so with 10,000 connections a full
collection takes a quarter of a second and more, in which nothing is received; and as long as connections come and go
there is one every few seconds, because it starts when the containers have grown by a quarter.

Nothing in this stack is in a cycle (a test sees to that), so all this looking is for nothing. Yet an application's
objects may be, so the collector should not be off. `short_pauses` bounds it instead: what is alive when it begins, and
again whenever a full collection took longer than a limit, is frozen (`gc.freeze`), and the collector doesn't look at it
any more. Frozen objects are freed as usual when their last reference goes. The price: those that become garbage in a
cycle *after* they were frozen stay, until the block is left or `gc.unfreeze()` and `gc.collect()` are called, at a time
when a pause does no harm.

A server with thousands of connections says

    with short_pauses():
        async with open_host(...) as host:
            ...

and so do the commands that serve. Memory and pauses are a process's business, so a host never does this by itself.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LIMIT = 0.01  #: Seconds that a full collection may take before everything that it found alive is frozen.
OLDEST = 2  #: The generation whose collection is a full one.


@contextmanager
def short_pauses(limit: float = LIMIT, clock: Callable[[], float] = time.perf_counter) -> Iterator[None]:
    """Inside the block, full collections take little more than `limit` seconds by `clock`, however much is alive.

    Begins with a full collection. Blocks may be nested; what was frozen thaws when any of them is left.
    """
    began = 0.0

    def watch(phase: str, details: dict[str, int]) -> None:
        nonlocal began
        if details["generation"] != OLDEST:
            return
        if phase == "start":
            began = clock()
        elif clock() - began > limit:
            gc.freeze()

    gc.collect()
    gc.freeze()
    gc.callbacks.append(watch)
    try:
        yield
    finally:
        gc.callbacks.remove(watch)
        gc.unfreeze()
