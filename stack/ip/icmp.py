"""What ICMP errors mean to a transport (RFC 1122 3.2.2 and 4.2.3.9, RFC 4443, RFC 5461).

    hard   protocol and port unreachable: nobody there wants this, trying again is vain
    soft   everything that routing may yet repair: unreachable 0, 1, 5 and their kin, time exceeded, parameter problem
    none   source quench (RFC 6633) and what is no error at all

"Fragmentation needed" and "packet too big" are neither: they are about the path's MTU. Until path-MTU discovery uses
them they count as soft, which leaves the connection as it is.
"""

from __future__ import annotations

import errno

from stack.wire import icmp
from stack.wire.units import SECOND, Duration, Time


class Meaning:
    """An error as the transport sees it: the errno for the application, and whether it is hard."""

    __slots__ = ("code", "hard")

    def __init__(self, code: int, hard: bool) -> None:
        self.code = code
        self.hard = hard


_V4_UNREACHABLE: dict[int, Meaning] = {
    icmp.NET_UNREACHABLE: Meaning(errno.ENETUNREACH, False),
    icmp.HOST_UNREACHABLE: Meaning(errno.EHOSTUNREACH, False),
    icmp.PROTOCOL_UNREACHABLE: Meaning(errno.ENOPROTOOPT, True),
    icmp.PORT_UNREACHABLE: Meaning(errno.ECONNREFUSED, True),
    icmp.FRAGMENTATION_NEEDED: Meaning(errno.EMSGSIZE, False),
    icmp.SOURCE_ROUTE_FAILED: Meaning(errno.EHOSTUNREACH, False),
}

_V6_UNREACHABLE: dict[int, Meaning] = {
    icmp.V6_NO_ROUTE: Meaning(errno.ENETUNREACH, False),
    icmp.V6_ADMIN_PROHIBITED: Meaning(errno.EACCES, False),
    icmp.V6_BEYOND_SCOPE: Meaning(errno.EHOSTUNREACH, False),
    icmp.V6_ADDRESS_UNREACHABLE: Meaning(errno.EHOSTUNREACH, False),
    icmp.V6_PORT_UNREACHABLE: Meaning(errno.ECONNREFUSED, True),
}

_SOFT = Meaning(errno.EHOSTUNREACH, False)
_PARAMETER_PROBLEM = Meaning(errno.EPROTO, False)
_UNKNOWN_NEXT_HEADER = Meaning(errno.EPROTO, True)
_TOO_BIG = Meaning(errno.EMSGSIZE, False)


def meaning(kind: int, code: int, version: int) -> Meaning | None:
    """What an ICMP message of that type and code says about the packet it quotes; None: nothing."""
    if version == 4:
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
    if kind == icmp.V6_PARAMETER_PROBLEM:
        # RFC 4443 3.4: code 1 is "unrecognized next header", ICMPv6's word for protocol unreachable.
        return _UNKNOWN_NEXT_HEADER if code == 1 else _PARAMETER_PROBLEM
    return None


class TokenBucket:
    """A limit of so many a second, with a burst of the same size (RFC 4443 2.4 f)."""

    __slots__ = ("_burst", "_filled_at", "_interval", "_tokens")

    def __init__(self, rate: int) -> None:
        self._burst = rate
        self._interval: Duration = SECOND // rate
        self._tokens = rate
        self._filled_at: Time = -1

    def take(self, now: Time) -> bool:
        """Whether one more is allowed now."""
        if self._filled_at < 0:
            self._filled_at = now
        fresh = (now - self._filled_at) // self._interval
        if fresh > 0:
            self._tokens = min(self._tokens + fresh, self._burst)
            self._filled_at += fresh * self._interval
        if self._tokens == 0:
            return False
        self._tokens -= 1
        return True
