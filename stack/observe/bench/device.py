"""Makes a TUN device in the namespace where it runs, and becomes a program that drives it.

    python -m stack.observe.bench.device FRAMES CIDR PROGRAM [ARGUMENT...]

The kernel gets the address CIDR. FRAMES is `super` (a virtio-net header; checksums and TCP segmentation are left to
whoever is at the other end) or `plain`. A line is printed when the device is up; PROGRAM gets its descriptor as one
more argument. Several in a row give a program the devices of several namespaces.
"""

from __future__ import annotations

import os
import sys

from stack.link import device, kernel
from stack.link.protocol import LinkError

MTU = 1500


def main(frames: str, cidr: str, *command: str) -> None:
    _owner, fd, name = device.open_device("tcpbench%d", device.IFF_VNET_HDR if frames == "super" else 0)
    _, offload = device.agree_on_offload(fd, frames == "super")
    if offload != (frames == "super"):
        raise LinkError(0, "the kernel's TUN devices know no offloads")
    kernel.configure(name, [cidr], MTU)
    os.set_inheritable(fd, True)
    print("up", flush=True)
    os.execvp(command[0], [*command, str(fd)])


if __name__ == "__main__":
    main(*sys.argv[1:])
