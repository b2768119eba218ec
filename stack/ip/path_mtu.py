"""The MTU of each path, as far as routers have complained about it (RFC 1191, RFC 8201).

Every packet of ours carries "don't fragment", so a router whose next link is too narrow for one sends an error that
quotes it and says how much that link takes. What is learned is kept for each remote address, and all connections to it
share it; for every other address the link's own MTU holds.

    believed       less than what the path was thought to take, and not less than every link takes
    clamped        IPv4, below `LEAST_V4`: a stated limit, for smaller packets only serve to cost us
    ignored        IPv6, below 1280: no link is so narrow (RFC 8200 5), and nothing is fragmented for it (RFC 8201 4)
    guessed        IPv4, from routers of before RFC 1191 that say nothing: the next lower of the usual MTUs

Whether an error may be believed at all, the connection whose packet it quotes must say: see `stack.tcp.network`.

An estimate is forgotten ten minutes after the last complaint, and the path counts as wide again; if it isn't, one
packet is lost for that. `version` grows with every change, so that whoever has asked before knows when to ask again.
The table is bounded: the estimate that would be forgotten next makes way.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from stack.wire.units import MINUTE, NEVER, Duration, Time

# RFC1191-03
AGE: Duration = 10 * MINUTE
"""How long a complaint counts: RFC 1191 6.3 forbids to try again within five minutes, and recommends ten."""

MAX_PATHS: Final = 4096

# RFC1191-02
SMALLEST_V4: Final = 68  #: What every IPv4 link takes (RFC 791 3.2). Who claims less lies.
SMALLEST_V6: Final = 1280

LEAST_V4: Final = 552
"""Deviation: like Linux, an IPv4 path is never taken for narrower than this, although RFC 1191 3 lets estimates go down
to 68. Links of today are wider, and whoever forges complaints gains no more than segments of 512 octets."""

PLATEAUS: Final = (65_535, 32_000, 17_914, 8166, 4352, 2002, 1492, 1006)
"""RFC 1191 7.1: the MTUs that links have, the largest first, down to what is still used here."""


class PathMtus:
    """The estimates of one host, by remote address; `link_mtu` is its link's, in bytes."""

    __slots__ = ("_paths", "link_mtu", "version")

    def __init__(self, link_mtu: int) -> None:
        self.link_mtu = link_mtu
        self.version = 0
        self._paths: OrderedDict[bytes, tuple[int, Time]] = OrderedDict()  # MTU and end, the first to end first

    def __len__(self) -> int:
        return len(self._paths)

    def mtu(self, remote: bytes) -> int:
        """What the path to an address takes in one packet, as far as is known."""
        known = self._paths.get(remote)
        return self.link_mtu if known is None else known[0]

    def believable(self, remote: bytes, claimed: int, length: int) -> int:
        """The estimate that follows from a complaint about a packet of `length` bytes; 0: none, it is to be ignored.

        `claimed` is the next hop's MTU according to the router, or 0.
        """
        present = self.mtu(remote)
        if len(remote) == 16:
            mtu = claimed if claimed >= SMALLEST_V6 else 0  # RFC8201-06
        elif not claimed:
            mtu = _next_plateau(min(length, present) if length >= SMALLEST_V4 else present)
        else:
            mtu = max(claimed, LEAST_V4) if claimed >= SMALLEST_V4 else 0
        return mtu if mtu < present else 0  # RFC8201-05: no complaint makes a path wider

    # RFC1191-07
    def lower(self, remote: bytes, mtu: int, now: Time) -> None:
        """Keep an estimate that `believable` has given."""
        if remote in self._paths:
            self._paths.move_to_end(remote)
        elif len(self._paths) >= MAX_PATHS:
            self._paths.popitem(last=False)
        self._paths[remote] = mtu, now + AGE
        self.version += 1

    def next_timeout(self) -> Time:
        """When the oldest estimate is to be forgotten; NEVER if there is none."""
        return next(iter(self._paths.values()))[1] if self._paths else NEVER

    def on_timeout(self, now: Time) -> None:
        """Forget what is too old."""
        while self._paths and next(iter(self._paths.values()))[1] <= now:
            self._paths.popitem(last=False)
            self.version += 1


def _next_plateau(mtu: int) -> int:
    """The largest of the usual MTUs that is less than `mtu`."""
    for plateau in PLATEAUS:
        if plateau < mtu:
            return plateau
    return LEAST_V4
