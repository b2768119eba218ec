"""The UDP lines of a script: which socket they are of, and what they stand for on the wire.

`< udp (1000)` is a datagram to the UDP socket that the script made last, and `> udp (100)` one of that socket's: the
text is zeros in both directions. A line with ports is of whoever has them, also of nobody. The remote end is whom the
socket has connected or sent to, else the script's own `...`.
"""

from __future__ import annotations

import struct

from stack.host.sockets import DatagramSocket
from stack.sim.packetdrill.packets import Sent
from stack.sim.packetdrill.settings import Settings
from stack.sim.packetdrill.syntax import Direction, UdpPacket
from stack.wire import ip, udp
from stack.wire.ip import PROTO_UDP
from stack.wire.packet import Packet

Endpoint = tuple[bytes, int]


class Talk:
    """What one UDP socket of a script says and hears. `local` is where it was when it was last looked at."""

    __slots__ = ("fd", "local", "remote", "socket")

    def __init__(self, fd: int, socket: DatagramSocket | None, local: Endpoint, remote: Endpoint) -> None:
        self.fd = fd
        self.socket = socket
        self.local = local
        self.remote = remote

    def look(self) -> None:
        """Learn the socket's port, if it has one."""
        if self.socket is not None and not self.socket.closed:
            port = self.socket.getsockname()[1]
            if port:
                self.local = self.local[0], port

    def matches(self, sent: Sent) -> bool:
        """Whether a packet is a datagram from here to there."""
        ends = (sent.src, sent.src_port), (sent.dst, sent.dst_port)
        return sent.protocol == PROTO_UDP and ends == (self.local, self.remote)


class Talks:
    """All UDP sockets of a script; the last one is under test."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._talks: list[Talk] = []

    def __bool__(self) -> bool:
        return bool(self._talks)

    def on_socket(self, fd: int, socket: DatagramSocket) -> None:
        """A UDP socket was made."""
        settings = self._settings
        local, remote = (settings.local, settings.bind_port), (settings.remote, settings.connect_port)
        self._talks.append(Talk(fd, socket, local, remote))

    def on_target(self, fd: int, remote: Endpoint | None) -> None:
        """A socket is about to connect or to send to there."""
        for talk in self._talks:
            if talk.fd == fd and remote is not None and talk.socket is not None and not talk.socket.closed:
                talk.remote = remote

    def under_test(self) -> Talk:
        """Whose lines without ports are; nobody's ports are the script's own."""
        if not self._talks:
            settings = self._settings
            return Talk(-1, None, (settings.local, settings.bind_port), (settings.remote, settings.connect_port))
        talk = self._talks[-1]
        talk.look()
        return talk

    def for_packet(self, packet: UdpPacket) -> Talk:
        """Between whom the datagram of a line goes."""
        talk, ports = self.under_test(), packet.ports
        if ports is None:
            return talk
        incoming = packet.direction is Direction.IN
        local, remote = (ports.destination, ports.source) if incoming else (ports.source, ports.destination)
        return Talk(-1, None, (talk.local[0], local), (talk.remote[0], remote))


def udp_packet(talk: Talk, length: int, *, hop_limit: int, traffic_class: int) -> Packet:
    """A datagram for the stack, with zeros for text."""
    source, target, text = talk.remote, talk.local, bytes(length)
    header = udp.encode(source[0], target[0], source[1], target[1], text)
    size = len(header) + length
    head = ip.encode(source[0], target[0], PROTO_UDP, size, hop_limit=hop_limit, traffic_class=traffic_class)
    return Packet(head + header + text)


def quoted_datagram(talk: Talk, length: int) -> bytes:
    """The eight octets of a datagram of ours that an ICMP error quotes."""
    return struct.pack("!HHHH", talk.local[1], talk.remote[1], udp.HEADER_LENGTH + length, 0)
