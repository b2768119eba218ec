"""The collector's pauses: what is frozen, when, and that it thaws."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from stack.runtime.garbage import LIMIT, short_pauses


class Clock:
    """Each look at it is so much later than the one before."""

    def __init__(self, step: float) -> None:
        self.step = step
        self.time = 0.0

    def __call__(self) -> float:
        self.time += self.step
        return self.time


class Knot:
    """In a cycle with itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    assert gc.get_freeze_count() == 0
    yield
    assert gc.get_freeze_count() == 0
    assert not [watcher for watcher in gc.callbacks if watcher.__module__ == short_pauses.__module__]


def test_what_is_alive_at_the_start_is_frozen() -> None:
    known = len(gc.get_objects())
    with short_pauses():
        assert gc.get_freeze_count() > known // 2
        assert len(gc.get_objects()) < known // 10


def test_a_long_collection_freezes_what_it_found_alive() -> None:
    with short_pauses(clock=Clock(2 * LIMIT)):
        kept: list[list[int]] = [[] for _ in range(1000)]
        before = gc.get_freeze_count()
        gc.collect()
        assert gc.get_freeze_count() >= before + len(kept)


def test_a_short_one_freezes_nothing() -> None:
    with short_pauses(clock=Clock(LIMIT / 2)):
        kept: list[list[int]] = [[] for _ in range(1000)]
        before = gc.get_freeze_count()
        gc.collect()
        assert gc.get_freeze_count() <= before
        assert len(gc.get_objects()) > len(kept)


def test_collections_of_the_young_are_not_timed() -> None:
    with short_pauses(clock=Clock(2 * LIMIT)):
        before = gc.get_freeze_count()
        gc.collect(1)
        assert gc.get_freeze_count() <= before


def test_garbage_in_cycles_is_still_collected() -> None:
    with short_pauses(clock=Clock(2 * LIMIT)):
        knot = weakref.ref(Knot())
        gc.collect()
        assert knot() is None


def test_frozen_garbage_in_cycles_stays_until_the_end() -> None:
    knot = Knot()
    seen = weakref.ref(knot)
    with short_pauses():
        del knot
        gc.collect()
        assert seen() is not None
    gc.collect()
    assert seen() is None


def test_frozen_things_are_freed_with_their_last_reference() -> None:
    class Thing:
        pass

    thing = Thing()
    seen = weakref.ref(thing)
    with short_pauses():
        del thing
        assert seen() is None


def test_leaves_things_in_order_when_the_block_fails() -> None:
    with pytest.raises(ZeroDivisionError), short_pauses():
        raise ZeroDivisionError
