"""What links around another link have in common: they are called like it, and hand on what they don't change."""

from __future__ import annotations

from stack.link.protocol import Link
from stack.wire.packet import Packet


class LinkAround:
    """A link that does what `link` does. Those that inherit from it override what they do differently."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.link!r})"

    @property
    def name(self) -> str:
        return self.link.name

    @property
    def mtu(self) -> int:
        return self.link.mtu

    @property
    def max_payload(self) -> int:
        return self.link.max_payload

    def read_batch(self, limit: int) -> list[Packet]:
        return self.link.read_batch(limit)

    def write(self, packet: Packet) -> bool:
        return self.link.write(packet)

    async def wait_readable(self) -> None:
        await self.link.wait_readable()

    async def wait_writable(self) -> None:
        await self.link.wait_writable()

    def close(self) -> None:
        self.link.close()

    def drops(self) -> int:
        """What the link says, 0 if it doesn't count."""
        drops = getattr(self.link, "drops", None)
        return int(drops()) if drops is not None else 0

    def check_address(self, address: str) -> None:
        """What the link says; nothing if it doesn't check."""
        check = getattr(self.link, "check_address", None)
        if check is not None:
            check(address)
