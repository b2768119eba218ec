"""A TUN device: the kernel at the other end of a file descriptor.

Each `read` returns one IP packet that the kernel routed into the device, and each `writev` hands it one that it treats
as received from a network. The descriptor is non-blocking; Trio waits for it.

With offload, which is the rule, both sides leave undone what no wire needs. A header before each packet says what
(`stack.wire.virtio`): checksums are partial in both directions, and TCP super-frames of up to 64 KiB pass in one piece.
The kernel completes them when it forwards them to a real network. Without offload checksums are completed before a
packet is written, frames are at most one MTU long, and what arrives is checked by the host. The device's flags decide
which it is, whoever opened it.

What the kernel may answer (`drivers/net/tun.c`), and what becomes of it:

    read    EAGAIN          nothing there, or the device is down: wait
            EBADFD, EBADF   the device was removed, or we closed it: LinkClosedError
            anything else   counted; the batch ends there
    write   EAGAIN          its buffer is full: False, and the caller keeps the packet
            EBADFD, EBADF   LinkClosedError
            anything else   counted, and the packet is lost as networks lose packets (EIO: the device is
                            down; EINVAL; ENOBUFS; ENOMEM)

A packet whose header contradicts it is counted too, under its `Drop` reason.

The device disappears with its descriptor, and its addresses and routes with it, however the process ends.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import trio

from stack.link import device
from stack.link import kernel as kernel_side
from stack.link.protocol import LinkClosedError
from stack.link.warm import keep_memory_warm
from stack.wire import virtio
from stack.wire.drop import WireError
from stack.wire.offload import complete
from stack.wire.packet import Packet

_LONGEST = 65_535  #: Octets in an IP packet; to ask for less saves nothing (0.6 us either way) and might truncate.
_MOST_PARTS = 1000  #: Buffers for one `writev`; Linux' IOV_MAX is 1024. More are joined first.
_GONE = frozenset({errno.EBADFD, errno.EBADF, errno.ENODEV, errno.ENXIO})
_WAIT = frozenset({errno.EAGAIN, errno.EWOULDBLOCK})


class TunLink:
    """Makes, configures and raises a TUN device, and is the link at our end of it.

    `name` is the device's name; `%d` in it stands for the first number that is free. `kernel` is the kernel's address
    on it with its prefix ("10.9.0.1/24"), or several, IPv4 and IPv6. `mtu` is in bytes. `fd` is the descriptor of a
    device that somebody else opened with IFF_TUN and IFF_NO_PI, and with IFF_VNET_HDR if it is to have offload; the
    link takes it over, and apart from the offloads touches the device itself only if `kernel` is given. `offload` False
    does without super-frames and partial checksums; so does a kernel, or a device handed in, that knows none, and
    `max_payload` tells. Raises `LinkError`, whose text names the remedy.
    """

    def __init__(
        self,
        name: str = "tun%d",
        kernel: str | Sequence[str] | None = None,
        mtu: int = 1500,
        fd: int | None = None,
        *,
        offload: bool = True,
    ) -> None:
        self.mtu = mtu
        self.errors: Counter[str] = Counter()
        """What went wrong with single packets: the kernel's errors by name, and what of its own was refused by
        reason."""
        self._device: Any = None
        self._fd = -1
        self._header = 0  # octets before each packet
        self._offload = False
        self._made = fd is None
        self._owns_namespace = fd is None or kernel is not None
        if fd is None:
            self._device, self._fd, self.name = device.open_device(name, device.IFF_VNET_HDR if offload else 0)
        else:
            self.name = device.adopt(fd)
            self._fd = fd
        try:
            os.set_blocking(self._fd, False)
            os.set_inheritable(self._fd, False)  # a child that kept it would keep the device alive
            self._header, self._offload = device.agree_on_offload(self._fd, offload)
            if self._owns_namespace:
                addresses = [kernel] if isinstance(kernel, str) else list(kernel or ())
                kernel_side.configure(self.name, addresses, mtu)
        except BaseException:
            self.close()
            raise
        self._padding = bytes(max(self._header - virtio.LENGTH, 0))
        self._read_size = self._header + _LONGEST
        if self._offload:
            keep_memory_warm()

    @property
    def offload(self) -> bool:
        """Whether checksums are left partial and super-frames pass, in both directions."""
        return self._offload

    @property
    def max_payload(self) -> int:
        """TCP payload of the largest super-frame, in bytes; 0 without offload."""
        return virtio.MAX_PAYLOAD if self._offload else 0

    def __repr__(self) -> str:
        return f"TunLink({self.name!r}, mtu={self.mtu}{', closed' if self._fd < 0 else ''})"

    def fileno(self) -> int:
        """The device's descriptor; -1 when closed."""
        return self._fd

    def read_batch(self, limit: int) -> list[Packet]:
        """Up to `limit` packets from the kernel. Raises `LinkClosedError` when the device is gone."""
        batch: list[Packet] = []
        fd, size, header = self._fd, self._read_size, self._header
        read, decode = os.read, virtio.decode
        try:
            for _ in range(limit):
                frame = read(fd, size)
                try:
                    batch.append(decode(frame, header) if header else Packet(frame))
                except WireError as refusal:
                    self.errors[refusal.reason.value] += 1
        except OSError as error:
            if error.errno in _GONE and not batch:
                raise self._gone() from error
            if error.errno not in _WAIT and error.errno not in _GONE:
                self._count(error)
        return batch

    def write(self, packet: Packet) -> bool:
        """Hand one packet to the kernel; False if its buffer is full. Raises `LinkClosedError` when it is gone."""
        if self._offload:
            head = virtio.encode(packet) + self._padding + packet.head
        else:
            packet = complete(packet)
            head = bytes(self._header) + packet.head if self._header else packet.head
        parts = packet.parts
        try:
            if not parts:
                os.write(self._fd, head)
            elif len(parts) <= _MOST_PARTS:
                os.writev(self._fd, (head, *parts))
            else:
                os.write(self._fd, b"".join((head, *parts)))
        except OSError as error:
            if error.errno in _WAIT:
                return False
            if error.errno in _GONE:
                raise self._gone() from error
            self._count(error)
        return True

    async def wait_readable(self) -> None:
        """Wait until the kernel has a packet for us, or the device is gone."""
        if self._fd < 0:
            raise self._gone()
        try:
            await trio.lowlevel.wait_readable(self._fd)
        except trio.ClosedResourceError as error:
            raise self._gone() from error

    async def wait_writable(self) -> None:
        """Wait until the kernel takes packets, or the device is gone."""
        if self._fd < 0:
            raise self._gone()
        try:
            await trio.lowlevel.wait_writable(self._fd)
        except trio.ClosedResourceError as error:
            raise self._gone() from error

    def close(self) -> None:
        """Close the descriptor; the device goes with it unless somebody made it persistent."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if trio.lowlevel.in_trio_run():
            trio.lowlevel.notify_closing(fd)
        if self._made and self._offload:
            device.no_offload(fd)  # a persistent device would keep it, to the surprise of whoever opens it next
        owner, self._device = self._device, None
        if owner is not None:
            owner.close()
        else:
            os.close(fd)

    def drops(self) -> int:
        """Packets for us that the kernel dropped because we read too late, since the device was made.

        Raises `LinkError` when the device is gone or in another network namespace.
        """
        return kernel_side.drops(self.name)

    def check_address(self, address: str) -> None:
        """Raise `LinkError` if this address (with or without a prefix) is the kernel's own.

        A device that was handed in by its descriptor may live in another network namespace; there nothing is
        checked.
        """
        if self._owns_namespace:
            kernel_side.check_free(address)

    def _gone(self) -> LinkClosedError:
        if self._fd < 0:
            return LinkClosedError(errno.EBADF, f"the link on {self.name} is closed")
        return LinkClosedError(errno.EBADFD, f"the device {self.name} was removed")

    def _count(self, error: OSError) -> None:
        self.errors[errno.errorcode.get(error.errno or 0, str(error.errno))] += 1


def open_queues(
    name: str = "tun%d",
    count: int = 2,
    kernel: str | Sequence[str] | None = None,
    mtu: int = 1500,
    *,
    offload: bool = True,
) -> list[TunLink]:
    """One device with `count` queues, and a link on each; the arguments are `TunLink`'s.

    The kernel sends the packets of a flow to the queue from which it last had one of that flow; a flow that it has not
    heard of from us goes to a queue chosen by a hash, and so does every flow of a queue that is closed. Who wants flows
    to stay where they are opens all queues before the first packet and keeps a duplicate (`os.dup`) of each `fileno()`;
    with one of these another process can go on: `TunLink(fd=...)`. Raises `LinkError`.
    """
    name, fds = device.open_queues(name, count, device.IFF_VNET_HDR if offload else 0)
    links: list[TunLink] = []
    addresses = (kernel,) if isinstance(kernel, str) else tuple(kernel or ())
    try:
        for fd in fds:
            # The addresses come last, and the device up with them: no packet may meet half of the queues.
            last = len(links) == count - 1
            links.append(TunLink(kernel=addresses if last else None, mtu=mtu, fd=fd, offload=offload))
            links[-1]._owns_namespace = True
    except BaseException:
        for link in links:
            link.close()
        for fd in fds[len(links) :]:
            with contextlib.suppress(OSError):
                os.close(fd)
        raise
    return links
