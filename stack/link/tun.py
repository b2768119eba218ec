"""A TUN device: the kernel at the other end of a file descriptor.

Each `read` returns one IP packet that the kernel routed into the device, and each `writev` hands it one that
it treats as received from a network. The descriptor is non-blocking; Trio waits for it. This link asks the
device for no offloads: checksums are completed before a packet is written, frames are at most one MTU long,
and what arrives is checked by the host.

What the kernel may answer (`drivers/net/tun.c`), and what becomes of it:

    read    EAGAIN          nothing there, or the device is down: wait
            EBADFD, EBADF   the device was removed, or we closed it: LinkClosedError
            anything else   counted; the batch ends there
    write   EAGAIN          its buffer is full: False, and the caller keeps the packet
            EBADFD, EBADF   LinkClosedError
            anything else   counted, and the packet is lost as networks lose packets (EIO: the device is
                            down; EINVAL; ENOBUFS; ENOMEM)

The device disappears with its descriptor, and its addresses and routes with it, however the process ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections import Counter
from typing import Any

import trio

from stack.link import kernel as kernel_side
from stack.link.protocol import LinkClosedError, LinkError
from stack.wire import offload
from stack.wire.packet import Packet

DEVICE = "/dev/net/tun"

# <linux/if_tun.h>
TUNSETIFF, TUNGETIFF = 0x400454CA, 0x800454D2
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
_IFREQ = struct.Struct("16sH22x")  # name, flags, and the rest of the union

_READ_SIZE = 65_535  #: The longest IP packet; asking for less saves nothing (0.6 us either way) and might truncate.
_MOST_PARTS = 1000  #: Buffers for one `writev`; Linux' IOV_MAX is 1024. More are joined first.
_GONE = frozenset({errno.EBADFD, errno.EBADF, errno.ENODEV, errno.ENXIO})
_WAIT = frozenset({errno.EAGAIN, errno.EWOULDBLOCK})


class TunLink:
    """Makes, configures and raises a TUN device, and is the link at our end of it.

    `name` is the device's name; `%d` in it stands for the first number that is free. `kernel` is the kernel's
    address on it with its prefix ("10.9.0.1/24"), or several, IPv4 and IPv6. `mtu` is in bytes. `fd` is the
    descriptor of a device that somebody else opened with IFF_TUN and IFF_NO_PI; the link takes it over, and
    touches the device itself only if `kernel` is given. Raises `LinkError`, whose text names the remedy.
    """

    max_payload = 0

    def __init__(
        self,
        name: str = "tun%d",
        kernel: str | list[str] | tuple[str, ...] | None = None,
        mtu: int = 1500,
        fd: int | None = None,
    ) -> None:
        self.mtu = mtu
        self.errors: Counter[str] = Counter()  #: reads and writes that the kernel refused, by the error's name
        self._device: Any = None
        self._fd = -1
        self._owns_namespace = fd is None or kernel is not None
        if fd is None:
            self._device, self._fd, self.name = _open_device(name)
        else:
            self.name = _adopt(fd)
            self._fd = fd
        try:
            os.set_blocking(self._fd, False)
            os.set_inheritable(self._fd, False)  # a child that kept it would keep the device alive
            if self._owns_namespace:
                addresses = [kernel] if isinstance(kernel, str) else list(kernel or ())
                kernel_side.configure(self.name, addresses, mtu)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"TunLink({self.name!r}, mtu={self.mtu}{', closed' if self._fd < 0 else ''})"

    def fileno(self) -> int:
        """The device's descriptor; -1 when closed."""
        return self._fd

    def read_batch(self, limit: int) -> list[Packet]:
        """Up to `limit` packets from the kernel. Raises `LinkClosedError` when the device is gone."""
        batch: list[Packet] = []
        fd = self._fd
        read = os.read
        try:
            while len(batch) < limit:
                batch.append(Packet(read(fd, _READ_SIZE)))
        except OSError as error:
            if error.errno in _GONE and not batch:
                raise self._gone() from error
            if error.errno not in _WAIT and error.errno not in _GONE:
                self._count(error)
        return batch

    def write(self, packet: Packet) -> bool:
        """Hand one packet to the kernel; False if its buffer is full. Raises `LinkClosedError` when it is
        gone."""
        packet = offload.complete(packet)
        parts = packet.parts
        try:
            if not parts:
                os.write(self._fd, packet.head)
            elif len(parts) <= _MOST_PARTS:
                os.writev(self._fd, (packet.head, *parts))
            else:
                os.write(self._fd, packet.frame())
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
        device, self._device = self._device, None
        if device is not None:
            device.close()
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


# ------------------------------------------------------------------------------------------------------------


def _open_device(name: str) -> tuple[Any, int, str]:
    """Open or make the device: the pytun object that owns the descriptor (or None), the descriptor, and the
    name."""
    if not 0 < len(name.encode()) < 16:
        raise LinkError(errno.EINVAL, f"{name!r} can't name a device: Linux allows 1 to 15 bytes")
    try:
        if not os.path.exists(DEVICE):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), DEVICE)
        try:
            import pytun
        except ImportError:
            fd, name = _open_plainly(name)
            return None, fd, name
        device = pytun.TunTapDevice(name=name, flags=IFF_TUN | IFF_NO_PI)
        return device, device.fileno(), device.name
    except OSError as error:
        raise _explain(error, name) from error


def _open_plainly(name: str) -> tuple[int, str]:
    """What python-pytun does, where it isn't installed: it has wheels for x86-64 only."""
    fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        answer = fcntl.ioctl(fd, TUNSETIFF, _IFREQ.pack(name.encode(), IFF_TUN | IFF_NO_PI))
    except BaseException:
        os.close(fd)
        raise
    return fd, _IFREQ.unpack(answer)[0].rstrip(b"\0").decode()


def _adopt(fd: int) -> str:
    """The name of the device behind a descriptor that was handed in. Leaves the descriptor open if it's no
    use."""
    try:
        name, flags = _IFREQ.unpack(fcntl.ioctl(fd, TUNGETIFF, bytes(_IFREQ.size)))
    except OSError as error:
        raise LinkError(error.errno or errno.EINVAL, f"descriptor {fd} is not an attached TUN device") from error
    # IFF_NO_PI can't be looked at: in this answer the kernel uses its bit for something else (IFF_NOFILTER).
    if not flags & IFF_TUN or flags & IFF_VNET_HDR:
        raise LinkError(
            errno.EINVAL,
            f"the device behind descriptor {fd} has the wrong format: open it with IFF_TUN and IFF_NO_PI, "
            "and without IFF_TAP and IFF_VNET_HDR",
        )
    return str(name.rstrip(b"\0").decode())


def _explain(error: OSError, name: str) -> LinkError:
    """Why the device can't be had, and what to do about it."""
    code = error.errno or errno.EIO
    text = {
        errno.ENOENT: f"there is no {DEVICE}; load the driver: modprobe tun",
        errno.ENODEV: f"the kernel has no TUN driver behind {DEVICE}; load it with: modprobe tun",
        errno.EACCES: f"{DEVICE} can't be opened; run as root, or let everyone use it: chmod 0666 {DEVICE}",
        errno.EPERM: f"making the device {name} {kernel_side.CAPABILITY}",
        errno.EBUSY: f"the device {name} is in use by another process; pick another name, such as tun%d",
        errno.EINVAL: f"{name} is the name of a device of another kind, or no name; pick another one",
    }.get(code, f"the device {name} can't be opened: {os.strerror(code)}")
    return LinkError(code, text)
