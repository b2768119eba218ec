"""What the runtime asks of a link.

A link carries IP packets between a host and whatever lies beyond: a TUN device, an in-process pipe, a wrapper
around another link. It has two halves that never wait, `read_batch` and `write`, and two that do nothing
else, `wait_readable` and `wait_writable`; so the driver can be inside the link without giving up control, and
decides by itself when to sleep. A link loses packets as any wire may, but it never changes, repeats or
reorders them, and the state of its device ("down", "full") is not an error: only the end of the link is.
"""

from __future__ import annotations

from typing import Protocol

from stack.wire.packet import Packet


class LinkError(OSError):
    """A link can't be made, or has ended. `errno` is the system's number, `strerror` a sentence with the
    remedy."""

    def __str__(self) -> str:
        return self.strerror or super().__str__()


class LinkClosedError(LinkError):
    """The link is gone for good: closed by us, or its device was removed."""


class Link(Protocol):
    """Any class with these members is a link; none need inherit from this one.

    A link may also have `check_address(address: str) -> None`, which raises `LinkError` for an address that a
    host on this link can't use, and `drops() -> int`, the packets lost on their way to the host because it
    read too late.
    """

    @property
    def name(self) -> str:
        """What people call it: "tun0"."""
        ...

    @property
    def mtu(self) -> int:
        """The largest IP packet on the wire, in bytes."""
        ...

    @property
    def max_payload(self) -> int:
        """The largest TCP payload in one packet handed to `write`, in bytes; 0 where the MTU is the only
        limit."""
        ...

    def read_batch(self, limit: int) -> list[Packet]:
        """Up to `limit` packets that have arrived, oldest first; empty when there are none. Never waits.

        Raises `LinkClosedError` when no packet will ever come again.
        """
        ...

    def write(self, packet: Packet) -> bool:
        """Send one packet; False if that would block, and then the same packet is offered again later.

        True does not promise delivery. Raises `LinkClosedError` when nothing can ever be sent again.
        """
        ...

    async def wait_readable(self) -> None:
        """Return when `read_batch` may have something, or has an end to report."""
        ...

    async def wait_writable(self) -> None:
        """Return when `write` may succeed, or has an end to report."""
        ...

    def close(self) -> None:
        """Give everything back. Wakes whoever waits. Safe to call twice."""
        ...
