"""Links around a link, for what a test wants to hold back or not to hear."""

from __future__ import annotations

import trio

from stack.link.around import LinkAround
from stack.link.protocol import Link
from stack.wire.packet import Packet


class WithoutChatter(LinkAround):
    """Without the multicast reports of the kernel's, which come when they want."""

    def read_batch(self, limit: int) -> list[Packet]:
        return [packet for packet in self.link.read_batch(limit) if packet.head[8:10] != b"\xfe\x80"]


class Gate(LinkAround):
    """Holds back what comes from the kernel while it is shut, in order."""

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self._opened = trio.Event()
        self._opened.set()

    def shut(self) -> None:
        """Nothing comes in from now on."""
        self._opened = trio.Event()

    def open(self) -> None:
        """What has waited comes now."""
        self._opened.set()

    def read_batch(self, limit: int) -> list[Packet]:
        return self.link.read_batch(limit) if self._opened.is_set() else []

    async def wait_readable(self) -> None:
        await self._opened.wait()
        await self.link.wait_readable()
