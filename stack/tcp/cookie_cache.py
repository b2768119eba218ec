"""What a client remembers of servers to be fast at the next opening (RFC 7413 4.1.3).

For each server and port, as seen from one address of ours: its cookie and in which form it came, the MSS that it takes,
and whether Fast Open has failed there. A path that loses SYNs with data would cost every opening a second, so after a
failure Fast Open pauses, longer each time it fails again; one success ends that.

A server that returns no cookie to a request may know only the experimental form of the option: the next request asks
in that form, and after that all ask in the ordinary one, as Linux does.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from stack.wire.segment import FastOpenOption
from stack.wire.units import Duration, Time

MAX_SERVERS: Final = 1024  #: The one that was not needed for longest makes way. About 300 octets each.
MAX_DOUBLINGS: Final = 6  #: Of the pause: from a minute to an hour.


class Server:
    """What is known of one server."""

    __slots__ = ("_failures", "_no_cookie", "cookie", "experimental", "mss", "paused_until")

    def __init__(self) -> None:
        self.cookie = b""  # none
        self.experimental = False  # the form in which the cookie came
        self.mss = 0  # of its latest SYN-ACK; 0: not known
        self.paused_until: Time = 0
        self._failures = 0  # since the last success
        self._no_cookie = 0  # which requests came to nothing: 1 the ordinary one, 2 the experimental one, too

    @property
    def option(self) -> FastOpenOption:
        """What the next SYN says: the cookie, or a request for one."""
        return (self.cookie, self.experimental) if self.cookie else (b"", self._no_cookie == 1)

    def learn(self, option: FastOpenOption) -> None:
        """A SYN-ACK brings a cookie."""
        self.cookie, self.experimental = option

    def on_no_cookie(self, asked: FastOpenOption) -> None:
        """A SYN-ACK brings none, although the SYN said `asked`."""
        if not self.cookie:
            self._no_cookie = max(self._no_cookie, 2 if asked[1] else 1)

    def on_success(self) -> None:
        """Data came with a SYN, or a cookie with a SYN-ACK."""
        self._failures = 0
        self.paused_until = 0

    def on_failure(self, pause: Duration, now: Time) -> None:
        """A SYN with data was lost, or its data was; `pause` is for the first time."""
        self.paused_until = now + (pause << min(self._failures, MAX_DOUBLINGS))
        self._failures += 1


# RFC7413-04
class CookieCache:
    """The servers that a host knows, by `key`s that the host makes of both addresses and the port."""

    __slots__ = ("_servers",)

    def __init__(self) -> None:
        self._servers: OrderedDict[bytes, Server] = OrderedDict()

    def __len__(self) -> int:
        return len(self._servers)

    def find(self, key: bytes) -> Server | None:
        """What is known of a server, if anything."""
        server = self._servers.get(key)
        if server is not None:
            self._servers.move_to_end(key)
        return server

    def server(self, key: bytes) -> Server:
        """The place to remember something about a server."""
        server = self.find(key)
        if server is None:
            if len(self._servers) >= MAX_SERVERS:
                self._servers.popitem(last=False)
            server = self._servers[key] = Server()
        return server

    def clear(self) -> None:
        self._servers.clear()
