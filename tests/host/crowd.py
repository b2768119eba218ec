"""One host and many peers, sans-IO and cheap: the peers are a port and two numbers each.

Frames are made by the codecs and arrive as on a link that vouches for checksums, so that ten thousand connections take
a test seconds and not minutes.
"""

from __future__ import annotations

from collections.abc import Sequence

from stack.host.host import Host
from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection
from stack.wire import ip, tcp
from stack.wire.address import parse_address
from stack.wire.packet import TRUSTED, Packet
from stack.wire.segment import ACK, SYN, Segment
from stack.wire.units import SECOND, Time

US4, THEM4 = parse_address("10.9.0.2"), parse_address("10.9.0.1")
US6, THEM6 = parse_address("fd00::2"), parse_address("fd00::1")
PORT = 80
FIRST = 1024  #: The first peer's port.
ISN = 0xFFFF_FF00  #: Of every peer.
MSS = 1460

Ranges = tuple[tuple[int, int], ...]


class Member:
    """One peer; numbers as on the wire."""

    __slots__ = ("conn", "port", "rcv_nxt", "seq", "tsval")

    def __init__(self, port: int, tsval: int) -> None:
        self.port = port
        self.seq = ISN
        self.rcv_nxt = 0
        self.tsval = tsval  # -1: no timestamps
        self.conn: Connection | None = None


class Crowd:
    """A host with a listener, and whoever talks to it."""

    def __init__(
        self, *, backlog: int, v6: bool = False, options: TcpOptions | None = None, max_payload: int = 0
    ) -> None:
        self.us, self.them = (US6, THEM6) if v6 else (US4, THEM4)
        self.host = Host(secret=b"a secret of the host", options=options, max_payload=max_payload)
        self.host.add_address("fd00::2/64" if v6 else "10.9.0.2/24")
        self.listener = self.host.listen(PORT, backlog=backlog)
        self.now: Time = 1000 * SECOND

    def arrive(self, peer: Member, flags: int, *, payload: bytes = b"", sacks: Ranges = ()) -> None:
        """A segment of that peer's, in order."""
        syn = bool(flags & SYN)
        seg = Segment(
            peer.port,
            PORT,
            peer.seq,
            peer.rcv_nxt,
            flags,
            65535,
            (payload,) if payload else (),
            mss=MSS if syn else 0,
            wscale=7 if syn else -1,
            sack_ok=syn,
            sacks=sacks,
            tsval=peer.tsval,
        )
        peer.seq = (peer.seq + seg.length) & 0xFFFF_FFFF
        body = tcp.encode(seg, 0) + payload
        head = ip.encode(self.them, self.us, ip.PROTO_TCP, len(body))
        self.host.receive(Packet(head + body, (), 0, TRUSTED), self.now)

    def answers(self) -> list[Segment]:
        """All that the host has to say now."""
        found = []
        while (packet := self.host.poll_transmit(self.now)) is not None:
            frame = packet.frame()
            found.append(tcp.decode(frame, 40 if len(self.us) == 16 else 20, len(frame)))
        return found

    def begin(self, count: int, *, first: int = FIRST, tsval: int = -1) -> list[Member]:
        """So many SYNs, each answered and not acknowledged yet."""
        return [self._syn(Member(port, tsval)) for port in range(first, first + count)]

    def _syn(self, peer: Member) -> Member:
        self.arrive(peer, SYN)
        (syn_ack,) = self.answers()
        peer.rcv_nxt = (syn_ack.seq + 1) & 0xFFFF_FFFF
        return peer

    def establish(self, count: int, *, first: int = FIRST, tsval: int = -1) -> list[Member]:
        """So many connections."""
        peers = self.begin(count, first=first, tsval=tsval)
        for peer in peers:
            self.arrive(peer, ACK)
            peer.conn = self.listener.accept()
        assert self.answers() == []
        return peers

    def write(self, peer: Member, data: bytes) -> None:
        """The application writes on that connection."""
        assert peer.conn is not None
        assert peer.conn.write(data) == len(data)
        self.host.touch(peer.conn, self.now)

    def close(self, peer: Member) -> None:
        """The application closes that connection."""
        assert peer.conn is not None
        peer.conn.close(self.now)
        self.host.touch(peer.conn, self.now)


def ports(answers: Sequence[Segment]) -> list[int]:
    """Whom each of them is for."""
    return [seg.dst_port for seg in answers]
