"""What the host learns about the paths to its peers, from routers and from its own connections.

A router's complaint goes to the connection whose segment it quotes, which judges whether it may be believed. What a
path's MTU is then thought to be stands in one table; the other connections to the same address follow when they send
the next time, so that nobody has to look for them. They do the same when the table forgets.

Connections tell what they find out, too: that nothing gets through (R1), and what a time-out has said about an MTU.
There is one link and no other way to choose, so a doubtful path is only counted.
"""

from __future__ import annotations

from typing import Final

from stack.host.counters import Counters
from stack.host.echo import Complaint
from stack.ip.path_mtu import PathMtus
from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection
from stack.tcp.negotiate import Offer, header_bytes, offer
from stack.tcp.network import PATH_DOUBTFUL
from stack.wire.drop import Drop
from stack.wire.units import Time

NOT_ABOUT_LENGTH: Final = -1


class Paths:
    """Stands between ICMP, the connections, and the table of MTUs."""

    __slots__ = ("_counters", "mtus")

    def __init__(self, mtus: PathMtus, counters: Counters) -> None:
        self.mtus = mtus
        self._counters = counters

    # RFC 9293 MUST-54
    def on_complaint(self, conn: Connection, what: Complaint, now: Time) -> None:
        """An ICMP error quotes a segment of that connection."""
        if what.mtu == NOT_ABOUT_LENGTH:
            if conn.on_icmp_error(what.seq, what.error, hard=what.hard) and conn.fast_open is not None:
                conn.fast_open.on_icmp_error(now)
            return
        mtu = self.mtus.believable(conn.remote[0], what.mtu, what.length)
        if not mtu:
            self._counters.drop(Drop.ICMP_IGNORED)
        elif conn.on_too_big(what.seq, mtu):
            self._lower(conn, mtu, now)

    # RFC 9293 MUST-20
    def on_advice(self, conn: Connection, now: Time) -> None:
        """A connection has something to tell."""
        advice, conn.advice = conn.advice, 0
        if advice == PATH_DOUBTFUL:
            self._counters.path_doubts += 1
        else:
            self._lower(conn, advice, now)

    # RFC 9293 SHLD-6, MUST-67
    def offer(self, remote: bytes, options: TcpOptions) -> Offer:
        """What a SYN to that address offers: the MSS follows from what the link takes.

        Not from the path there, for packets from there may take another one (RFC 1191 3.1); unless that is wanted.
        """
        mtu = self.mtus.mtu(remote) if options.offer_path_mss else self.mtus.link_mtu
        return offer(options, mtu, header_bytes(remote))

    def _lower(self, conn: Connection, mtu: int, now: Time) -> None:
        # By the time that a suspicion is confirmed, the path may be known to be narrower yet (RFC 8201 4).
        self.mtus.lower(conn.remote[0], min(mtu, self.mtus.mtu(conn.remote[0])), now)
        self._counters.paths_narrowed += 1
        self.follow(conn)

    # RFC1191-07
    def follow(self, conn: Connection) -> None:
        """Something has changed since a connection has last been told."""
        conn.path_version = self.mtus.version
        conn.on_path_mtu(self.mtus.mtu(conn.remote[0]))
