"""The control side of a TUN device: opening it, taking one over, agreeing on offloads. What `ioctl`s are for.

A device can spare both sides most of their work. With IFF_VNET_HDR each packet has a virtio-net header in front
(`stack.wire.virtio`), and with TUNSETOFFLOAD the kernel is told which packets it may hand us unfinished: such without a
checksum, and TCP super-frames of up to 64 KiB, with ECN's CWR or without. What we hand the kernel may then be the same.

Which offloads a device has is kept with the device and not with the descriptor, and a persistent device keeps them for
whoever opens it next. So they are set whenever a device is opened, to nothing too.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from typing import Any

from stack.link import kernel
from stack.link.protocol import LinkError
from stack.wire import virtio

DEVICE = "/dev/net/tun"

# <linux/if_tun.h>
TUNSETIFF, TUNGETIFF = 0x400454CA, 0x800454D2
TUNSETOFFLOAD, TUNGETVNETHDRSZ = 0x400454D0, 0x800454D7
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE = 0x0001, 0x1000, 0x4000, 0x0100
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6, TUN_F_TSO_ECN = 1, 2, 4, 8
MAX_QUEUES = 256  #: Of one device; MAX_TAP_QUEUES in the kernel.

IFREQ = struct.Struct("16sH22x")  # name, flags, and the rest of the union
_INT = struct.Struct("=i")

_ALL = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN
_WITHOUT_ECN = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6


def open_device(name: str, flags: int = 0) -> tuple[Any, int, str]:
    """Open or make the device: the pytun object that owns the descriptor (or None), the descriptor, and the name.

    `flags` are those beside IFF_TUN and IFF_NO_PI. Raises `LinkError` with the remedy.
    """
    if not 0 < len(name.encode()) < 16:
        raise LinkError(errno.EINVAL, f"{name!r} can't name a device: Linux allows 1 to 15 bytes")
    flags |= IFF_TUN | IFF_NO_PI
    try:
        if not os.path.exists(DEVICE):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), DEVICE)
        try:
            import pytun
        except ImportError:
            fd, name = _open_plainly(name, flags)
            return None, fd, name
        device = pytun.TunTapDevice(name=name, flags=flags)
        return device, device.fileno(), device.name
    except OSError as error:
        raise _explain(error, name, flags) from error


def open_queues(name: str, count: int, flags: int = 0) -> tuple[str, list[int]]:
    """Open a device with several queues: its name, and a descriptor for each. Raises `LinkError`."""
    if not 0 < count <= MAX_QUEUES:
        raise LinkError(errno.EINVAL, f"a device can't have {count} queues: Linux allows 1 to {MAX_QUEUES}")
    flags |= IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE
    fds: list[int] = []
    try:
        for _ in range(count):
            fd, name = _open_plainly(name, flags)
            fds.append(fd)
    except OSError as error:
        for fd in fds:
            os.close(fd)
        raise _explain(error, name, flags) from error
    return name, fds


def adopt(fd: int) -> str:
    """The name of the device behind a descriptor that was handed in. Leaves the descriptor open if it's no use."""
    try:
        name, flags = _look(fd)
    except OSError as error:
        raise LinkError(error.errno or errno.EINVAL, f"descriptor {fd} is not an attached TUN device") from error
    # IFF_NO_PI can't be looked at: in this answer the kernel uses its bit for something else (IFF_NOFILTER).
    if not flags & IFF_TUN:
        raise LinkError(
            errno.EINVAL,
            f"the device behind descriptor {fd} has the wrong format: open it with IFF_TUN and IFF_NO_PI, "
            "and without IFF_TAP",
        )
    return name


def agree_on_offload(fd: int, wanted: bool) -> tuple[int, bool]:
    """Set what the kernel may hand us unfinished: how long the header before each packet is, and if there are offloads.

    There is none without the header; where the kernel refuses, there is the header and nothing in it. A kernel that
    refuses super-frames refuses all: partial checksums alone save little.
    """
    try:
        _, flags = _look(fd)
    except OSError:
        return 0, False  # gone in the meantime; reading will tell
    length = 0
    if flags & IFF_VNET_HDR:
        length = virtio.LENGTH
        with contextlib.suppress(OSError):  # before Linux 2.6.34 it had no other length
            length = int(_INT.unpack(fcntl.ioctl(fd, TUNGETVNETHDRSZ, _INT.pack(0)))[0])
    if length and wanted and (_set_offload(fd, _ALL) or _set_offload(fd, _WITHOUT_ECN)):
        return length, True
    _set_offload(fd, 0)  # who had the device before us may have left it something else
    return length, False


def no_offload(fd: int) -> None:
    """Leave the device as others expect it."""
    _set_offload(fd, 0)


def _set_offload(fd: int, features: int) -> bool:
    try:
        fcntl.ioctl(fd, TUNSETOFFLOAD, features)
    except OSError:
        return False
    return True


def _look(fd: int) -> tuple[str, int]:
    """Name and flags of an attached device."""
    name, flags = IFREQ.unpack(fcntl.ioctl(fd, TUNGETIFF, bytes(IFREQ.size)))
    return str(name.rstrip(b"\0").decode()), int(flags)


def _open_plainly(name: str, flags: int) -> tuple[int, str]:
    """What python-pytun does, where it isn't installed: it has wheels for x86-64 only."""
    fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        answer = fcntl.ioctl(fd, TUNSETIFF, IFREQ.pack(name.encode(), flags))
    except BaseException:
        os.close(fd)
        raise
    return fd, IFREQ.unpack(answer)[0].rstrip(b"\0").decode()


def _explain(error: OSError, name: str, flags: int) -> LinkError:
    """Why the device can't be had, and what to do about it."""
    code = error.errno or errno.EIO
    other = f"{name} is the name of a device of another kind, or no name; pick another one"
    if flags & IFF_MULTI_QUEUE:
        other += f", or have it made with several queues (ip tuntap add {name} mode tun multi_queue)"
    text = {
        errno.ENOENT: f"there is no {DEVICE}; load the driver: modprobe tun",
        errno.ENODEV: f"the kernel has no TUN driver behind {DEVICE}; load it with: modprobe tun",
        errno.EACCES: f"{DEVICE} can't be opened; run as root, or let everyone use it: chmod 0666 {DEVICE}",
        errno.EPERM: f"making the device {name} {kernel.CAPABILITY}",
        errno.EBUSY: f"the device {name} is in use by another process; pick another name, such as tun%d",
        errno.EINVAL: other,
    }.get(code, f"the device {name} can't be opened: {os.strerror(code)}")
    return LinkError(code, text)
