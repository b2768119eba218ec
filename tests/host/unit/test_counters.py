"""What a host counts, and that it reads well as JSON."""

from __future__ import annotations

import inspect
import json

from stack.host.counters import Counters
from stack.wire.drop import Drop


def test_drops_by_reason() -> None:
    counters = Counters()
    assert counters.drops == {}
    for reason in (Drop.MARTIAN, Drop.BAD_CHECKSUM, Drop.MARTIAN):
        counters.drop(reason)
    assert counters.drops == {"martian": 2, "bad-checksum": 1}


def test_as_dict_holds_every_counter() -> None:
    counters = Counters()
    counters.segments_in = 3
    counters.drop(Drop.FRAGMENT)
    everything = json.loads(json.dumps(counters.as_dict()))
    assert everything["segments_in"] == 3
    assert everything["drops"] == {"fragment": 1}
    slots = {name for name, value in vars(Counters).items() if inspect.isdatadescriptor(value)}
    assert set(everything) == (slots - {"by_reason"}) | {"drops"}


def test_reasons_have_names_of_their_own() -> None:
    assert len({reason.value for reason in Drop}) == len(Drop)
    assert all(reason.value == reason.value.lower() and " " not in reason.value for reason in Drop)
