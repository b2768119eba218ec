"""UDP for the host (RFC 768, RFC 1122 4.1): who has which port, and datagrams on their way in and out.

A `DatagramPort` is what an application has of it: a local address and port, perhaps a remote end, and a queue of what
has arrived. Of those that a datagram could be for, the one that is connected to its sender has it; else one that has
just that address; else one with a wildcard. Nobody gets a port where an address would be meant by two of them. The
ports are a space of their own beside TCP's.

**Bounds.** Each queue, in and out, has one in octets, and each datagram costs `OVERHEAD` beside its text: so their
number is bounded, too. What does not fit any more on its way in is dropped and counted. On its way out the
application is told to wait.

**Errors.** An ICMP error counts only for a port that is connected to whom the quoted datagram went, and is reported
once, by the next call (RFC 1122 4.1.3.3). Nothing else is believed of it: the path's MTU is TCP's to find, for here
nothing in a quote is hard to guess.

**Size.** Nothing is fragmented, neither here nor on the way: what is longer than the path takes is refused.

**Not here:** groups, in either direction; IP's options, which nobody is told of; and to which of several addresses a
datagram to a wildcard went, which RFC 1122 4.1.3.5 wants passed up: who must know binds each address by itself.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from stack.host.bindings import overlap
from stack.host.echo import DatagramComplaint
from stack.host.ports import PortChooser
from stack.ip.addresses import AddressTable, is_valid_remote
from stack.ip.path_mtu import PathMtus
from stack.tcp.connection import Endpoint
from stack.wire import ip, udp
from stack.wire.address import is_multicast
from stack.wire.drop import Drop, WireError
from stack.wire.ip import PROTO_UDP, IPHeader
from stack.wire.packet import Buffer, Packet
from stack.wire.udp import Datagram

if TYPE_CHECKING:
    from stack.host.output import Output

OVERHEAD: Final = 512  #: Octets that a queued datagram counts for beside its text.
BUFFER: Final = 212_992  #: Octets, of each queue; Linux' net.core.rmem_default and wmem_default.
HOP_LIMIT: Final = 64


class DatagramPort:
    """A UDP port that an application has; made by `Host.bind_datagrams`.

    `local` is its address (b"": all of both families; zeros: all of one) and port; `remote` whom it is connected to.
    `hop_limit`, `traffic_class` (all eight bits: an application may speak ECN by itself), `receive_buffer` and
    `send_buffer` (octets) may be changed at any time. `error` is the last ICMP error, until somebody takes it.
    """

    __slots__ = (
        "_arrived",
        "arrivals",
        "bound",
        "error",
        "hop_limit",
        "local",
        "owner",
        "receive_buffer",
        "remote",
        "send_buffer",
        "traffic_class",
        "unread",
        "unsent",
    )

    def __init__(self, local: Endpoint) -> None:
        self.bound = local  # what it goes back to when it is disconnected
        self.local = local
        self.remote: Endpoint | None = None
        self.hop_limit: int = HOP_LIMIT
        self.traffic_class: int = 0
        self.receive_buffer: int = BUFFER
        self.send_buffer: int = BUFFER
        self.error: OSError | None = None
        self.owner: object | None = None
        self.arrivals = 0  # datagrams, ever
        self.unread = 0  # octets that what has arrived counts for
        self.unsent = 0  # and what has not left yet
        self._arrived: deque[tuple[bytes, Endpoint]] = deque()

    @property
    def readable(self) -> bool:
        """Whether a datagram is here."""
        return bool(self._arrived)

    @property
    def next_size(self) -> int:
        """Octets of text in the next datagram; 0 if there is none."""
        return len(self._arrived[0][0]) if self._arrived else 0

    @property
    def has_room(self) -> bool:
        """Whether anything may be sent now."""
        return self.unsent < self.send_buffer

    def peek(self) -> tuple[bytes, Endpoint] | None:
        """The next datagram's text and sender, which stays there; None if there is none."""
        return self._arrived[0] if self._arrived else None

    def read(self) -> tuple[bytes, Endpoint] | None:
        """Take the next datagram."""
        if not self._arrived:
            return None
        found = self._arrived.popleft()
        self.unread -= OVERHEAD + len(found[0])
        return found

    def take(self, text: bytes, source: Endpoint) -> bool:
        """A datagram has arrived. False if it finds no room; where nothing waits there is room for one of any size."""
        cost = OVERHEAD + len(text)
        if self._arrived and self.unread + cost > self.receive_buffer:
            return False
        self._arrived.append((text, source))
        self.unread += cost
        self.arrivals += 1
        return True

    def rank(self, local: bytes, remote: Endpoint) -> int:
        """How well a datagram to that address of ours fits; 0: not at all."""
        address = self.local[0]
        if not overlap(address, local):
            return 0
        if self.remote is not None:
            return 3 if self.remote == remote else 0
        return 2 if any(address) else 1


class Datagrams:
    """The UDP ports of one host, by number."""

    __slots__ = ("_addresses", "_by_port", "_mtus", "_output", "_ports", "_wake")

    def __init__(
        self,
        addresses: AddressTable,
        ports: PortChooser,
        output: Output,
        mtus: PathMtus,
        wake: Callable[[DatagramPort], None],
    ) -> None:
        self._addresses = addresses
        self._ports = ports
        self._output = output
        self._mtus = mtus
        self._wake = wake
        self._by_port: dict[int, list[DatagramPort]] = {}

    # For the application.

    def bind(self, address: bytes, port: int) -> DatagramPort:
        """Take a port, or a free one if it is 0. `OSError`: EADDRINUSE, EADDRNOTAVAIL when none is free."""
        if port == 0:
            port = self._ports.choose(address, b"", 0, lambda candidate: self._is_free(address, candidate))
        elif not self._is_free(address, port):
            raise OSError(errno.EADDRINUSE, f"port {port} is in use")
        made = DatagramPort((address, port))
        self._by_port.setdefault(port, []).append(made)
        return made

    def _is_free(self, address: bytes, port: int) -> bool:
        return not any(overlap(address, other.local[0]) for other in self._by_port.get(port, ()))

    def release(self, port: DatagramPort) -> None:
        """Give it back; what waits in it is lost. Harmless when repeated."""
        there = self._by_port.get(port.local[1], [])
        if port in there:
            there.remove(port)
            if not there:
                del self._by_port[port.local[1]]

    def connect(self, port: DatagramPort, remote: Endpoint | None) -> None:
        """Talk to one remote end only, or to everybody again. `OSError` as from `send`, but for EMSGSIZE."""
        address, number = port.bound
        port.local = address if remote is None else self._source(address, remote), number
        port.remote = remote

    # RFC1122-23
    def _source(self, address: bytes, remote: Endpoint) -> bytes:
        """Where a datagram to there leaves from, if `address` is the local one or a wildcard."""
        target = remote[0]
        if self._addresses.is_broadcast(target):
            raise OSError(errno.EACCES, "datagrams to broadcast addresses are not sent")
        if not 0 < remote[1] < 65536:
            raise OSError(errno.EINVAL, f"{remote[1]} is not a port to send to")
        if is_multicast(target) or not is_valid_remote(target):
            raise OSError(errno.ENETUNREACH, "an address of no host")
        if self._addresses.is_local(target):
            raise OSError(errno.EADDRNOTAVAIL, "that is this host itself")
        if address and len(address) != len(target):
            raise OSError(errno.ENETUNREACH, "an address of another family")
        if not any(address):
            return self._addresses.source_for(target)
        if not self._addresses.is_local(address):
            raise OSError(errno.EADDRNOTAVAIL, "the address is not this host's any more")
        return address

    def send(self, port: DatagramPort, text: Buffer, remote: Endpoint | None) -> None:
        """Queue a datagram to `remote`, or if that is None to whom the port is connected to.

        `OSError`: EDESTADDRREQ for nobody, EMSGSIZE for more than the path takes in one packet, EAGAIN when the queue
        is full; EACCES for a broadcast address, ENETUNREACH, EADDRNOTAVAIL for one of ours, or where the port's own is
        ours no more; EINVAL for no port.
        """
        remote = remote if remote is not None else port.remote
        if remote is None:
            raise OSError(errno.EDESTADDRREQ, "whom to send it to?")
        source, target = self._source(port.local[0], remote), remote[0]
        length = udp.HEADER_LENGTH + len(text)
        if (40 if len(target) == 16 else 20) + length > self._mtus.mtu(target):
            raise OSError(errno.EMSGSIZE, f"a datagram with {len(text)} octets is too long for the path")
        if not port.has_room:
            raise OSError(errno.EAGAIN, "the datagrams before this one have not left yet")
        head = ip.encode(
            source, target, PROTO_UDP, length, hop_limit=port.hop_limit, traffic_class=port.traffic_class
        ) + udp.encode(source, target, port.local[1], remote[1], text)
        port.unsent += OVERHEAD + len(text)
        self._output.queue_datagram(Packet(head, (text,) if len(text) else ()), lambda: self._left(port, len(text)))

    def _left(self, port: DatagramPort, size: int) -> None:
        had_room = port.has_room
        port.unsent -= OVERHEAD + size
        if not had_room and port.has_room:
            self._wake(port)

    # For the network.

    def receive(self, datagram: Datagram, header: IPHeader) -> bool:
        """Give a datagram to whom it is for; false if that is nobody. `WireError` where there is no room for it."""
        remote = header.src, datagram.src_port
        best: DatagramPort | None = None
        best_rank = 0
        for port in self._by_port.get(datagram.dst_port, ()):
            rank = port.rank(header.dst, remote)
            if rank > best_rank:
                best, best_rank = port, rank
        if best is None:
            return False
        if not best.take(datagram.text, remote):
            raise WireError(Drop.DATAGRAM_QUEUE_FULL)
        self._wake(best)
        return True

    # RFC1122-11
    def on_complaint(self, complaint: DatagramComplaint) -> None:
        """An ICMP error about a datagram; `WireError` for one that nobody here has sent."""
        for port in self._by_port.get(complaint.local[1], ()):
            if port.local == complaint.local and port.remote == complaint.remote:
                port.error = complaint.error
                self._wake(port)
                return
        raise WireError(Drop.ICMP_UNMATCHED)
