"""Numbers that nobody outside may guess, from keyed hashes of one secret (RFC 6528, RFC 7323 7.1).

    ISN = M + F(local address, local port, remote address, remote port, secret)

M is a clock of 4 microseconds, so that a reused pair of endpoints starts beyond where the previous connection can
have been; F hides where on the circle each pair starts. The offset of a pair's timestamp clock is made the same way,
but without the ports: it must grow from one connection of two hosts to the next.
"""

from __future__ import annotations

import hashlib

from stack.tcp.seq import MASK
from stack.wire.units import US, Duration, Time

TICK: Duration = 4 * US  #: RFC 9293 3.4.1.
MIN_SECRET = 16  #: Octets of secret below which guessing is thinkable.


class Numbers:
    """The generator of one host; the same secret and time give the same numbers."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) < MIN_SECRET:
            raise ValueError(f"the secret must have at least {MIN_SECRET} bytes")
        self._secret = hashlib.blake2s(secret).digest()

    # RFC 9293 MUST-9, RFC6528-02, RFC6528-03
    def keyed(self, purpose: bytes, data: bytes) -> int:
        """A hash of 32 bits; `purpose`, at most 8 octets, keeps the uses apart."""
        digest = hashlib.blake2s(data, key=self._secret, person=purpose, digest_size=4).digest()
        return int.from_bytes(digest, "big")

    # RFC 9293 MUST-8, SHLD-1, RFC6528-01
    def isn(self, key: bytes, now: Time) -> int:
        """The initial sequence number for the connection with that key."""
        return (now // TICK + self.keyed(b"isn", key)) & MASK

    # RFC6191-04, RFC7323-25
    def timestamp_offset(self, local: bytes, remote: bytes) -> int:
        """Where the timestamp clock of connections between two addresses starts."""
        return self.keyed(b"ts", local + remote)
