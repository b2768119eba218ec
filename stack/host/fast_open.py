"""The host's share in TCP Fast Open (RFC 7413): cookies of clients, and what is remembered of servers.

    cookie = SipHash-2-4(client's address, our address; key)

A cookie says that its owner can receive at the address from which it comes, and nothing else. It is the very one that
Linux makes, so that machines behind one address can share a key, whatever they run. Where there are two keys, the first
makes the cookies and the second is good for those that were made before it was replaced (4.1.2).

A SYN whose cookie is right, or that needs none, makes a connection at once, and its data goes to the application. Any
other is opened as if there were no such thing, but that the SYN-ACK brings a fresh cookie to who has asked for one or
had a wrong one. So is one more than the listener's queue may hold: see `stack.tcp.fast_open.Queue`.
"""

from __future__ import annotations

import hmac

from stack.host.counters import Counters
from stack.host.isn import Numbers
from stack.host.siphash import KEY_LENGTH, siphash
from stack.tcp.config import TcpOptions, check_fastopen_keys
from stack.tcp.connection import Connection
from stack.tcp.cookie_cache import CookieCache
from stack.tcp.fast_open import SYN_OPTION_ROOM, Opening
from stack.tcp.listener import Listener
from stack.wire.drop import Drop
from stack.wire.segment import FIN, RST, SYN, FastOpenOption, Segment
from stack.wire.units import Time, seconds

PORTS = 4  #: Octets of ports at the end of a flow's key, the peer's first.


class FastOpens:
    """Cookies out and in; one for each host."""

    __slots__ = ("_cache", "_counters", "_keys")

    def __init__(self, numbers: Numbers, counters: Counters) -> None:
        words = [numbers.keyed(b"cookie", bytes((index,))) for index in range(KEY_LENGTH // 4)]
        self._keys: tuple[bytes, ...] = (b"".join([word.to_bytes(4, "big") for word in words]),)
        self._counters = counters
        self._cache = CookieCache()

    @property
    def keys(self) -> tuple[bytes, ...]:
        return self._keys

    @keys.setter
    def keys(self, keys: tuple[bytes, ...]) -> None:
        check_fastopen_keys(keys)
        if not keys:
            raise ValueError("without a key there are no cookies")
        self._keys = keys

    # RFC7413-03
    def cookie(self, remote: bytes, local: bytes) -> bytes:
        """The cookie of a client at `remote`."""
        return siphash(remote + local, self._keys[0])

    # Passive opens.

    # RFC7413-01, RFC7413-05, RFC7413-06, RFC7413-07, RFC7413-11
    def judge(self, syn: Segment, listener: Listener, key: bytes, now: Time) -> tuple[bool, FastOpenOption | None]:
        """Whether a SYN makes a connection at once, and what the SYN-ACK is to carry."""
        options, option = listener.options, syn.fastopen
        if syn.flags & (SYN | FIN | RST) != SYN or (option is None and not syn.size) or listener.accept_queue_full:
            return False, None
        if not listener.fast_opens.has_room(options.fastopen_queue, now):
            self._counters.drop(Drop.FAST_OPEN_QUEUE_FULL)
            return False, None
        if not options.fastopen_cookies:
            return True, None
        if option is None:
            return False, None
        cookie, experimental = option
        keys = options.fastopen_keys or self._keys
        fresh = siphash(key[:-PORTS], keys[0])
        if not cookie:
            return False, (fresh, experimental)
        if hmac.compare_digest(cookie, fresh):
            return True, None
        if len(keys) > 1 and hmac.compare_digest(cookie, siphash(key[:-PORTS], keys[1])):
            return True, (fresh, experimental)
        self._counters.drop(Drop.BAD_COOKIE)
        return False, (fresh, experimental)

    # Active opens.

    # RFC7413-04
    def opening(self, conn: Connection, now: Time) -> Opening | None:
        """How a connection is to be opened that may be opened fast; None: as usual, for it has failed lately."""
        place = conn.key[: 2 - PORTS]  # without our port
        server = self._cache.find(place)
        if server is not None and now < server.paused_until:
            return None
        option: FastOpenOption | None = None
        if conn.options.fastopen_cookies:
            option = (b"", False) if server is None else server.option
        mss = min(conn.offer.mss, conn.mss_limit)
        room = self.room(place, mss, conn.options, now)
        return Opening(option, room, self._cache, place, seconds(conn.options.fastopen_pause))

    # RFC7413-04
    def room(self, place: bytes, mss: int, options: TcpOptions, now: Time) -> int:
        """How much data a SYN to that server may carry; `mss` is what our side allows."""
        server = self._cache.find(place)
        if options.fastopen_cookies and (server is None or not server.cookie):
            return 0
        if server is not None:
            if now < server.paused_until:
                return 0
            mss = min(mss, server.mss or mss)  # where its MSS is not known, it is taken to be ours, as by Linux
        return max(mss - SYN_OPTION_ROOM, 0)

    def forget(self) -> None:
        """Know no server any more."""
        self._cache.clear()
