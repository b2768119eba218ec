"""How a connection ends badly, as the OSErrors that a kernel would give.

The connection keeps one of these as its `error`; the runtime raises from it. `ClosedError` is different: it tells
the application that it used a connection after closing it, which is the application's mistake.
"""

from __future__ import annotations

import errno


class ClosedError(Exception):
    """A command on a connection, or on one direction of it, that this side has closed."""


def refused() -> OSError:
    """The peer answered our SYN with a reset."""
    return ConnectionRefusedError(errno.ECONNREFUSED, "connection refused")


def reset() -> OSError:
    """The peer reset a connection that was open."""
    return ConnectionResetError(errno.ECONNRESET, "connection reset by peer")


def aborted() -> OSError:
    """This side gave the connection up."""
    return ConnectionAbortedError(errno.ECONNABORTED, "connection aborted")


def timed_out() -> OSError:
    """Nothing was heard of the peer for too long (R2 or the user time-out)."""
    return TimeoutError(errno.ETIMEDOUT, "connection timed out")


def unreachable(code: int) -> OSError:
    """What an ICMP error told; `code` is an errno such as EHOSTUNREACH."""
    names = {
        errno.ENETUNREACH: "network unreachable",
        errno.EHOSTUNREACH: "no route to host",
        errno.ECONNREFUSED: "connection refused",
        errno.ENOPROTOOPT: "protocol not available",
        errno.EPROTO: "parameter problem",
        errno.EACCES: "administratively prohibited",
        errno.EHOSTDOWN: "host is down",
        errno.EOPNOTSUPP: "source route failed",
        errno.EMSGSIZE: "message too long",
    }
    return OSError(code, names.get(code, "destination unreachable"))
