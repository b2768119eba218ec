"""A socket of ours and a scripted peer: what an application's calls look like on the wire."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from stack import socket
from stack.socket import AF_INET, AF_INET6, Option, Socket, Sockets
from stack.tcp.config import TcpOptions
from tests.support.peer import Peer

PEER = ("10.9.0.1", 80)
PEER6 = ("fd00::1", 80, 0, 0)
PLAIN = TcpOptions(timestamps=False, window_scaling=False, sack=False)

Choice = tuple[int, int, Option]
"""Level, name and value of an option."""


@contextmanager
def refuses(code: int) -> Iterator[None]:
    """Inside, a call fails with this errno."""
    with pytest.raises(OSError, match=r".") as refused:
        yield
    assert refused.value.errno == code, errno.errorcode[refused.value.errno or 0]


class Facade:
    """A peer, and a socket on the peer's host. After each command `flush` lets the host send."""

    def __init__(
        self, *choices: Choice, options: TcpOptions = PLAIN, v6: bool = False, peer: Peer | None = None, mtu: int = 1500
    ) -> None:
        self.peer = peer if peer is not None else Peer(options=options, v6=v6, mtu=mtu)
        self.sockets = Sockets(self.peer.host, lambda: self.peer.now)
        self.sock = self.sockets.socket(AF_INET6 if v6 else AF_INET)
        for choice in choices:
            self.sock.setsockopt(*choice)

    def flush(self) -> None:
        self.peer.bench.flush()

    def set(self, level: int, name: int, value: Option) -> None:
        self.sock.setsockopt(level, name, value)
        self.flush()

    def send(self, data: bytes, flags: int = 0) -> int:
        count = self.sock.send(data, flags)
        self.peer.watch.written += data[:count]
        self.flush()
        return count

    def recv(self, size: int = 1 << 20, flags: int = 0) -> bytes:
        data = self.sock.recv(size, flags)
        self.flush()
        return data

    def close(self) -> None:
        self.sock.close()
        self.flush()

    def error(self) -> int:
        """SO_ERROR."""
        number = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        assert isinstance(number, int)
        return number

    def begins(self) -> None:
        """connect(2) from port 40000: the SYN has left."""
        peer = self.peer
        peer.host_port, peer.port = 40000, 80
        peer._register()
        peer.align()
        self.sock.bind(("::" if peer.v6 else "0.0.0.0", 40000))
        with refuses(errno.EINPROGRESS):
            self.sock.connect(PEER6 if peer.v6 else PEER)
        self.flush()

    def connects(self, answer: str = "S. 0:0(0) ack 1 <mss 1000>") -> Facade:
        """The handshake is complete."""
        self.begins()
        self.peer.takes()
        self.peer.sends(answer)
        self.peer.sees(". 1:1(0) ack 1")
        return self

    def listens(self, backlog: int = 8) -> Facade:
        """At port 80."""
        self.peer.align()
        self.sock.bind(("::" if self.peer.v6 else "0.0.0.0", 80))
        self.sock.listen(backlog)
        return self

    def accepts(self, syn: str = "S 0:0(0) <mss 1000>") -> Facade:
        """A child with the peer's connection."""
        self.listens()
        self.peer.sends(syn)
        self.peer.takes()
        self.peer.sends(". 1:1(0) ack 1")
        return self.child()

    def child(self) -> Facade:
        """Whoever waits to be accepted."""
        child = Facade(peer=self.peer)
        accepted: Socket = self.sock.accept()[0]
        child.sock = accepted
        return child
