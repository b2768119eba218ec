"""Ephemeral ports (RFC 6056 3.3.4, algorithm 4: double-hash port selection).

Each destination has a sequence of its own that starts at a keyed offset, so that no port says anything about
connections to others; ports of one destination are used in turn, so that one is not used again while the far end may
still hold the previous connection in TIME-WAIT. The counters are a small table that destinations share by a second
hash.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from stack.host.isn import Numbers

FIRST, LAST = 32768, 60999  #: Linux' range, 28,232 ports; clear of the registered ones below.
TABLE = 256  #: Counters; RFC 6056 suggests ten at least.


class PortChooser:
    """Chooses the local port of active opens."""

    __slots__ = ("_counters", "_numbers")

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._counters: dict[int, int] = {}  # made when first needed

    def choose(self, local: bytes, remote: bytes, remote_port: int, is_free: Callable[[int], bool]) -> int:
        """A port for a connection to that remote endpoint; `OSError(EADDRNOTAVAIL)` when all are taken."""
        destination = local + remote + remote_port.to_bytes(2, "big")
        offset = self._numbers.keyed(b"port-f", destination)
        index = self._numbers.keyed(b"port-g", destination) % TABLE
        if index not in self._counters:
            self._counters[index] = self._numbers.keyed(b"port-c", index.to_bytes(2, "big"))
        count = LAST - FIRST + 1
        for _ in range(count):
            port = FIRST + (offset + self._counters[index]) % count
            self._counters[index] += 1
            if is_free(port):
                return port
        raise OSError(errno.EADDRNOTAVAIL, f"all ephemeral ports to port {remote_port} of that address are in use")
