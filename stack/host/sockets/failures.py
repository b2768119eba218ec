"""Errors of sockets: an `OSError` by its number, with a text."""

from __future__ import annotations

import errno

_TEXTS = {
    errno.EAGAIN: "resource temporarily unavailable",
    errno.EBADF: "the socket is closed",
    errno.EINVAL: "invalid argument",
    errno.ENOENT: "no such algorithm",
    errno.ENOTTY: "no such request",
    errno.EPIPE: "broken pipe",
    errno.ENOPROTOOPT: "no such option",
    errno.EPROTONOSUPPORT: "protocol not supported",
    errno.ESOCKTNOSUPPORT: "type of socket not supported",
    errno.EOPNOTSUPP: "operation not supported",
    errno.EDESTADDRREQ: "destination address required",
    errno.EMSGSIZE: "message too long",
    errno.EAFNOSUPPORT: "address family not supported",
    errno.EADDRNOTAVAIL: "address not available",
    errno.ENETUNREACH: "network unreachable",
    errno.ECONNABORTED: "connection aborted",
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset by peer",
    errno.EISCONN: "the socket is connected already",
    errno.ENOTCONN: "the socket is not connected",
    errno.ETIMEDOUT: "connection timed out",
    errno.EHOSTUNREACH: "no route to host",
    errno.EALREADY: "an attempt to connect is under way",
    errno.EINPROGRESS: "an attempt to connect has begun",
}


def failure(number: int) -> OSError:
    """The error with that errno; Python chooses the class (`BlockingIOError`, `BrokenPipeError`, ...)."""
    return OSError(number, _TEXTS.get(number, errno.errorcode.get(number, f"error {number}")))
