"""A bare forwarder between two TUN devices, for where there is no compiler for `forward.c`: it says the same, slower.

forward.py FD FD
"""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress

BATCH = 64
FRAME = 1 << 17


def carry(source: int, target: int) -> None:
    for _ in range(BATCH):
        try:
            frame = os.read(source, FRAME)
        except BlockingIOError:
            return
        with suppress(OSError):  # then it is lost, as networks lose packets
            os.write(target, frame)


def main(first: int, second: int) -> None:
    poller = select.poll()
    for fd in (first, second):
        os.set_blocking(fd, False)
        poller.register(fd, select.POLLIN)
    while True:
        for fd, _ in poller.poll():
            carry(fd, second if fd == first else first)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
