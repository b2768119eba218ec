"""Two links that are each other's far end, in one process.

Nothing here depends on time or on chance: a packet written on one side can be read on the other at once, in
order, and is lost only when the link is closed. Each direction is a queue with a bound; a full one makes
`write` return False, as a device does whose buffer is full. What crosses is what would cross a wire: the
frame as one run of bytes with its checksum complete, so that both codecs and checksums are exercised, and so
that neither side can keep the other's buffers alive.

With `max_payload` the pair is like a device with offload: what crosses is the virtio-net header and the frame, with the
checksum as it is, and TCP super-frames with up to so much payload pass, if each of the packets that they stand for
would fit the MTU.
"""

from __future__ import annotations

import errno
from collections import deque

import trio

from stack.link.protocol import LinkClosedError
from stack.wire import offload, virtio
from stack.wire.drop import WireError
from stack.wire.packet import Packet

CAPACITY = 1000  #: Packets in each direction: as many as Linux' default for an Ethernet device.


def memory_links(mtu: int = 1500, capacity: int = CAPACITY, *, max_payload: int = 0) -> tuple[MemoryLink, MemoryLink]:
    """A joined pair of links with this MTU in bytes, and room for `capacity` packets in each direction.

    `max_payload` is the most TCP payload in a super-frame, in bytes; 0 for none.
    """
    if mtu < 68:  # RFC 791: every link carries 68 bytes
        raise ValueError(f"an MTU of {mtu} is below IPv4's minimum of 68")
    if capacity < 1:
        raise ValueError(f"a capacity of {capacity} packets can't carry anything")
    if not 0 <= max_payload <= virtio.MAX_PAYLOAD:
        raise ValueError(f"{max_payload} octets of payload are not 0 to {virtio.MAX_PAYLOAD}, as a packet can carry")
    left = MemoryLink("memory0", mtu, capacity, max_payload)
    right = MemoryLink("memory1", mtu, capacity, max_payload)
    left._peer, right._peer = right, left
    return left, right


class MemoryLink:
    """One end of the pair that `memory_links` makes."""

    def __init__(self, name: str, mtu: int, capacity: int, max_payload: int = 0) -> None:
        self.name = name
        self.mtu = mtu
        self.capacity = capacity
        self.max_payload = max_payload
        self.oversized = 0  #: packets that were longer than the MTU or held too much payload, and were dropped
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
        crossed = self._across(packet)
        if crossed is None:
            self.oversized += 1
            return True
        if len(peer._arrived) >= self.capacity:
            return False
        peer._arrived.append(crossed)
        peer._readers.unpark_all()
        return True

    def _across(self, packet: Packet) -> Packet | None:
        """What the other side gets; None where the packet is too long."""
        if not self.max_payload:
            return None if len(packet) > self.mtu else Packet(offload.complete(packet).frame())
        try:
            crossed = virtio.decode(virtio.encode(packet) + packet.frame())
        except WireError:  # a packet of no octets at all
            return None
        if not crossed.gso_size:
            return None if len(crossed) > self.mtu else crossed
        fits = len(crossed.head) + crossed.gso_size <= self.mtu
        return crossed if fits and len(crossed) - len(crossed.head) <= self.max_payload else None

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
