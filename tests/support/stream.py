"""The octets that tests send: a stream in which every place looks different, so that a wrong one shows."""

from __future__ import annotations

import random

_PERIOD = 65521  #: Prime, and no multiple of any segment size: a shift by whole segments shows, too.
_BLOCKS = {name: random.Random(name).randbytes(_PERIOD) for name in ("host", "peer")}


def octets(side: str, start: int, size: int) -> bytes:
    """`size` octets of the stream of one side, "host" or "peer", from its octet number `start` on."""
    block = _BLOCKS[side]
    start %= _PERIOD
    return (block * ((start + size) // _PERIOD + 1))[start : start + size]
