"""What ICMP errors mean to a transport (RFC 9293 3.9.2.2, RFC 1122 3.2.2 and 4.2.3.9, RFC 4443, RFC 5461).

    hard   protocol and port unreachable: nobody there wants this, trying again is vain
    soft   everything that routing may yet repair: unreachable 0, 1, 5 and their kin, time exceeded, parameter problem
    none   source quench (RFC 6633) and what is no error at all

"Fragmentation needed" and "packet too big" are neither: they are about the path's MTU, see `stack.ip.path_mtu`.

Applications know these errors by the errnos that Linux gives them.
"""

from __future__ import annotations

import errno
from typing import Final

from stack.wire import icmp
from stack.wire.units import SECOND, Duration, Time


class Meaning:
    """An error as the transport sees it: the errno for the application, and whether it is hard."""

    __slots__ = ("code", "hard")

    def __init__(self, code: int, hard: bool) -> None:
        self.code = code
        self.hard = hard


_ENONET: Final[int] = getattr(errno, "ENONET", errno.EHOSTUNREACH)  # only Linux knows it

# RFC 9293 MUST-56, SHLD-26: codes 0, 1 and 5 are soft, 2 and 3 hard. RFC 9293 says nothing of those from 6 on; there
# routing or a policy speaks, and both change.
_V4_UNREACHABLE: dict[int, Meaning] = {
    icmp.NET_UNREACHABLE: Meaning(errno.ENETUNREACH, False),
    icmp.HOST_UNREACHABLE: Meaning(errno.EHOSTUNREACH, False),
    icmp.PROTOCOL_UNREACHABLE: Meaning(errno.ENOPROTOOPT, True),
    icmp.PORT_UNREACHABLE: Meaning(errno.ECONNREFUSED, True),
    icmp.FRAGMENTATION_NEEDED: Meaning(errno.EMSGSIZE, False),
    icmp.SOURCE_ROUTE_FAILED: Meaning(errno.EOPNOTSUPP, False),
    icmp.NET_UNKNOWN: Meaning(errno.ENETUNREACH, False),
    icmp.HOST_UNKNOWN: Meaning(errno.EHOSTDOWN, False),
    icmp.SOURCE_ISOLATED: Meaning(_ENONET, False),
    icmp.NET_PROHIBITED: Meaning(errno.ENETUNREACH, False),
    icmp.NET_UNREACHABLE_FOR_TOS: Meaning(errno.ENETUNREACH, False),
}

_V6_UNREACHABLE: dict[int, Meaning] = {
    icmp.V6_NO_ROUTE: Meaning(errno.ENETUNREACH, False),
    icmp.V6_ADMIN_PROHIBITED: Meaning(errno.EACCES, False),
    icmp.V6_BEYOND_SCOPE: Meaning(errno.EHOSTUNREACH, False),
    icmp.V6_ADDRESS_UNREACHABLE: Meaning(errno.EHOSTUNREACH, False),
    icmp.V6_PORT_UNREACHABLE: Meaning(errno.ECONNREFUSED, True),
    icmp.V6_POLICY_FAILED: Meaning(errno.EACCES, False),
    icmp.V6_ROUTE_REJECTED: Meaning(errno.EACCES, False),
}

_SOFT: Final = Meaning(errno.EHOSTUNREACH, False)
_PARAMETER_PROBLEM: Final = Meaning(errno.EPROTO, False)
_TOO_BIG: Final = Meaning(errno.EMSGSIZE, False)


# RFC 9293 MUST-55, MUST-56, SHLD-26, RFC1122-22, RFC6633-01
def meaning(kind: int, code: int, version: int) -> Meaning | None:
    """What an ICMP message of that type and code says about the packet it quotes; None: nothing."""
    if version == 4:  # RFC 9293 MUST-55, RFC6633-01: a source quench says nothing
        if kind == icmp.UNREACHABLE:
            return _V4_UNREACHABLE.get(code, _SOFT)
        if kind == icmp.TIME_EXCEEDED:
            return _SOFT
        return _PARAMETER_PROBLEM if kind == icmp.PARAMETER_PROBLEM else None
    if kind == icmp.V6_UNREACHABLE:
        return _V6_UNREACHABLE.get(code, _SOFT)
    if kind == icmp.V6_PACKET_TOO_BIG:
        return _TOO_BIG
    if kind == icmp.V6_TIME_EXCEEDED:
        return _SOFT
    # All codes of a parameter problem are soft (RFC 9293 3.9.2.2), also "unrecognized next header", for a header that
    # some router has put in may be meant.
    return _PARAMETER_PROBLEM if kind == icmp.V6_PARAMETER_PROBLEM else None


def claimed_mtu(kind: int, code: int, rest: int, version: int) -> int:
    """The next hop's MTU that a message says the packet was too long for; 0 if its router is too old to say (RFC 1191
    4), and -1 if the message is about something else."""
    if version == 6:
        return rest if kind == icmp.V6_PACKET_TOO_BIG else -1
    return rest & 0xFFFF if kind == icmp.UNREACHABLE and code == icmp.FRAGMENTATION_NEEDED else -1


class TokenBucket:
    """A limit of so many a second, with a burst of the same size (RFC 4443 2.4 f)."""

    __slots__ = ("_burst", "_filled_at", "_interval", "_tokens")

    def __init__(self, rate: int) -> None:
        self._burst = rate
        self._interval: Duration = SECOND // rate
        self._tokens = rate
        self._filled_at: Time = -1

    def take(self, now: Time, count: int = 1) -> bool:
        """Whether one more is allowed now, or one that counts for several."""
        if self._filled_at < 0:
            self._filled_at = now
        fresh = (now - self._filled_at) // self._interval
        if fresh > 0:
            self._tokens = min(self._tokens + fresh, self._burst)
            self._filled_at += fresh * self._interval
        if self._tokens < count:
            return False
        self._tokens -= count
        return True
