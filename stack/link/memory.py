"""Two links that are each other's far end, in one process.

Nothing here depends on time or on chance: a packet written on one side can be read on the other at once, in
order, and is lost only when the link is closed. Each direction is a queue with a bound; a full one makes
`write` return False, as a device does whose buffer is full. What crosses is what would cross a wire: the
frame as one run of bytes with its checksum complete, so that both codecs and checksums are exercised, and so
that neither side can keep the other's buffers alive.
"""

from __future__ import annotations

import errno
from collections import deque

import trio

from stack.link.protocol import LinkClosedError
from stack.wire import offload
from stack.wire.packet import Packet

CAPACITY = 1000  #: Packets in each direction: as many as Linux' default for an Ethernet device.


def memory_links(mtu: int = 1500, capacity: int = CAPACITY) -> tuple[MemoryLink, MemoryLink]:
    """A joined pair of links with this MTU in bytes, and room for `capacity` packets in each direction."""
    if mtu < 68:  # RFC 791: every link carries 68 bytes
        raise ValueError(f"an MTU of {mtu} is below IPv4's minimum of 68")
    if capacity < 1:
        raise ValueError(f"a capacity of {capacity} packets can't carry anything")
    left, right = MemoryLink("memory0", mtu, capacity), MemoryLink("memory1", mtu, capacity)
    left._peer, right._peer = right, left
    return left, right


class MemoryLink:
    """One end of the pair that `memory_links` makes."""

    max_payload = 0

    def __init__(self, name: str, mtu: int, capacity: int) -> None:
        self.name = name
        self.mtu = mtu
        self.capacity = capacity
        self.oversized = 0  #: packets that were longer than the MTU, and were dropped
        self._peer = self
        self._arrived: deque[Packet] = deque()  # written by the peer, not read yet
        self._closed = False
        self._readers = trio.lowlevel.ParkingLot()
        self._writers = trio.lowlevel.ParkingLot()

    def __repr__(self) -> str:
        return f"MemoryLink({self.name!r}, {len(self._arrived)} waiting{', closed' if self._closed else ''})"

    def read_batch(self, limit: int) -> list[Packet]:
        """Up to `limit` packets, oldest first; room for new ones wakes a peer that waits to write."""
        self._check_open()
        arrived = self._arrived
        batch = [arrived.popleft() for _ in range(min(limit, len(arrived)))]
        if batch:
            self._peer._writers.unpark_all()
        return batch

    def write(self, packet: Packet) -> bool:
        """Put one packet into the peer's queue; False when that is full. A closed peer's packets vanish."""
        self._check_open()
        peer = self._peer
        if peer._closed:
            return True
        if len(packet) > self.mtu:
            self.oversized += 1
            return True
        if len(peer._arrived) >= self.capacity:
            return False
        peer._arrived.append(Packet(offload.complete(packet).frame()))
        peer._readers.unpark_all()
        return True

    async def wait_readable(self) -> None:
        """Return when there is a packet, or the link is closed."""
        while not self._arrived and not self._closed:
            await self._readers.park()
            if self._arrived:
                return
        await trio.lowlevel.checkpoint()

    async def wait_writable(self) -> None:
        """Return when the peer's queue has room, or either end is closed."""
        peer = self._peer
        while len(peer._arrived) >= self.capacity and not self._closed and not peer._closed:
            await self._writers.park()
            if len(peer._arrived) < self.capacity:
                return
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Cut the wire: what has not been read is lost."""
        self._closed = True
        self._arrived.clear()
        self._readers.unpark_all()
        self._writers.unpark_all()
        self._peer._writers.unpark_all()

    def _check_open(self) -> None:
        if self._closed:
            raise LinkClosedError(errno.EBADF, f"{self.name} is closed")
