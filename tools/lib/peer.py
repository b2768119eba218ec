"""A kernel's TCP in a network namespace of its own, at the end of a TUN device whose other end is somebody else's.

    unshare --net python peer.py CONTROL CONGESTION CIDR...

makes the device, gives the kernel the addresses, sends the device's descriptor over the socket CONTROL, and then obeys
what is asked there, a JSON object a message; it ends when that socket does. So a program has as many kernels as it
wants, all of this machine and yet strangers to each other, and carries the packets between them as it likes.

    {"do": "listen", "address"}               answers {"port"}
    {"do": "receive"}                         accepts and reads to the end; answers {"sha256", "size", "ended"}
    {"do": "send", "address", "port", "size"} connects, sends `content(size)`; answers {"asked", "connected", "ended"}

Times are of the machine's monotonic clock, in nanoseconds, which all processes share. Every answer to a transfer also
has `counters`, all of this namespace's that are not zero, `congestion`, the algorithm that the socket had, and `drops`,
the packets that the device lost.
"""

from __future__ import annotations

import errno
import hashlib
import json
import random
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from stack.link import kernel
from stack.link.tun import TunLink

PIECE = 1 << 18  #: Octets read at a time.
PATIENCE = 600.0  #: Seconds that a socket may stand still; who asks gives up earlier.


def content(size: int) -> bytes:
    """The same octets each time, which look like nothing."""
    return random.Random(size).randbytes(size)


class Peer:
    """What is asked for over the control socket."""

    def __init__(self, control: socket.socket, congestion: str, device: str) -> None:
        self.control = control
        self.congestion = congestion
        self.device = device
        self.listener: socket.socket | None = None

    def serve(self) -> None:
        """Obey until nobody asks any more."""
        while message := self.control.recv(1 << 16):
            asked = json.loads(message)
            answer = getattr(self, "do_" + asked.pop("do"))(**asked)
            self.control.send(json.dumps(answer).encode())

    def do_listen(self, address: str) -> dict[str, Any]:
        self.listener = self._socket(address)
        self.listener.bind((address, 0))
        self.listener.listen()
        return {"port": self.listener.getsockname()[1]}

    def do_receive(self) -> dict[str, Any]:
        assert self.listener is not None
        with self.listener as listener:
            connection = listener.accept()[0]
        with connection:
            connection.settimeout(PATIENCE)
            pieces = []
            while piece := connection.recv(PIECE):
                pieces.append(piece)
            ended = time.monotonic_ns()
            received = b"".join(pieces)
            answer = {"sha256": hashlib.sha256(received).hexdigest(), "size": len(received), "ended": ended}
            return {**answer, **self._facts(connection)}

    def do_send(self, address: str, port: int, size: int) -> dict[str, Any]:
        data = content(size)
        with self._socket(address) as connection:
            asked = time.monotonic_ns()
            connection.connect((address, port))
            connected = time.monotonic_ns()
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                connection.recv(1)  # the peer's end comes when it has everything
            ended = time.monotonic_ns()
            return {"asked": asked, "connected": connected, "ended": ended, **self._facts(connection)}

    def _socket(self, address: str) -> socket.socket:
        connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        connection.settimeout(PATIENCE)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, self.congestion.encode())
        except OSError as error:  # then whatever this kernel has; the answers say what
            if error.errno not in (errno.ENOENT, errno.EPERM):
                raise
        return connection

    def _facts(self, connection: socket.socket) -> dict[str, Any]:
        name = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()
        return {"congestion": name, "counters": counters(), "drops": kernel.drops(self.device)}


def counters() -> dict[str, int]:
    """The TCP counters of this namespace, with the names that nstat gives them."""
    found: dict[str, int] = {}
    for file in ("snmp", "netstat"):
        lines = Path("/proc/net", file).read_text(encoding="ascii").splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            group, *keys = names.split()
            if group.startswith("Tcp"):
                counts = zip(keys, values.split()[1:], strict=True)
                found.update({group.rstrip(":") + key: int(count) for key, count in counts if int(count) > 0})
    return found


def main(control: str, congestion: str, *addresses: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started this, and then the control socket ends
    # What one connection has learnt about the path is not for the next one.
    Path("/proc/sys/net/ipv4/tcp_no_metrics_save").write_text("1", encoding="ascii")
    with socket.socket(fileno=int(control)) as asker, suppress(BrokenPipeError, ConnectionResetError):
        tun = TunLink(kernel=addresses)
        socket.send_fds(asker, [b"{}"], [tun.fileno()])
        tun.close()  # the device lives as long as the asker's descriptor
        Peer(asker, congestion, tun.name).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
