"""The same calls on two kinds of sockets: the kernel's, over its loopback, and ours, over two hosts in memory.

A script is a function that takes a `Machine` and calls the verbs of its `Sock`s. Each call and what came of it is
written into the transcript, with the errno by its name and addresses and ports by what they stand for, so that the
transcripts of both machines can be compared.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import select
import socket as kernel
import struct
from collections.abc import Callable
from typing import Any

from stack import socket
from stack.host.host import Host
from stack.tcp.config import TcpOptions
from stack.tcp.info import Info
from stack.wire.packet import Packet
from stack.wire.units import NEVER, SECOND

ALL_BITS = (
    socket.POLLIN
    | socket.POLLPRI
    | socket.POLLOUT
    | socket.POLLERR
    | socket.POLLHUP
    | socket.POLLRDNORM
    | socket.POLLWRNORM
    | socket.POLLRDHUP
)
CLIENT, SERVER = "client", "server"
PATIENCE = 5_000  #: Milliseconds for the kernel, which needs microseconds.
MAX_TURNS = 1000  #: Deadlines of ours that pass at most while a script waits.

Script = Callable[["Machine"], None]


class Sock:
    """One socket of a script."""

    def __init__(self, machine: Machine, real: Any, name: str) -> None:
        self.machine = machine
        self.real = real
        self.name = name

    def _call(self, verb: str, args: tuple[object, ...], function: Callable[[], Any]) -> Any:
        try:
            result = function()
        except OSError as error:
            self.machine.write(self.name, verb, args, errno.errorcode[error.errno or 0])
            return None
        finally:
            self.machine.settle()
        self.machine.write(self.name, verb, args, result)
        return result

    def bind(self, address: Any) -> None:
        self._call("bind", (address,), lambda: self.real.bind(address))

    def listen(self, backlog: int = 8) -> None:
        self._call("listen", (backlog,), lambda: self.real.listen(backlog))

    def connect(self, address: Any) -> None:
        self._call("connect", (address,), lambda: self.real.connect(address))

    def disconnect(self) -> None:
        """connect(2) to an address of family AF_UNSPEC."""
        self._call("disconnect", (), lambda: self.machine.disconnect(self.real))

    def accept(self) -> Sock:
        """The next connection, which must be there soon."""
        self.wait(socket.POLLIN)
        return self.accept_now()

    def accept_now(self) -> Sock:
        accepted = self._call("accept", (), lambda: self.machine.accept(self.real))
        assert accepted is not None or self.machine.lenient, "nothing to accept"
        return Sock(self.machine, accepted[0] if accepted else None, self.name + "'")

    def send(self, data: bytes, flags: int = 0) -> None:
        self._call("send", (data[:20], flags), lambda: self.real.send(data, flags | self.machine.quietly))

    def sendto(self, data: bytes, flags: int, address: Any) -> None:
        self._call("sendto", (data, flags), lambda: self.real.sendto(data, flags, address))

    def recv(self, size: int = 1000, flags: int = 0) -> None:
        def receive() -> Any:
            data = self.real.recvmsg(size, 0, flags)[0]  # Python's own recv(0) does not ask the kernel
            return len(data) if flags & socket.MSG_TRUNC else data  # what is in it then means nothing

        self._call("recv", (size, flags), receive)

    def recvfrom(self, size: int = 1000, flags: int = 0) -> None:
        self._call("recvfrom", (size, flags), lambda: self._addressed(size, flags))

    def _addressed(self, size: int, flags: int) -> Any:
        data, address = self.real.recvfrom(size, flags)
        self.machine.write(self.name, "from", (), address)
        return data

    def recvmsg(self, size: int = 1000, control: int = 0, flags: int = 0) -> None:
        def receive() -> tuple[Any, ...]:
            data, messages, left, _ = self.real.recvmsg(size, control, flags)
            return data, list(messages), left & ~socket.MSG_CTRUNC

        self._call("recvmsg", (size, control, flags), receive)

    def shutdown(self, how: int) -> None:
        self._call("shutdown", (how,), lambda: self.real.shutdown(how))

    def close(self) -> None:
        self._call("close", (), lambda: self.real.close())

    def set(self, level: int, name: int, value: Any) -> None:
        self._call("set", (level, name, value), lambda: self.machine.set(self.real, level, name, value))

    def get(self, level: int, name: int) -> Any:
        return self._call("get", (level, name), lambda: self.machine.get(self.real, level, name))

    def error(self) -> None:
        """SO_ERROR by its name."""
        self._call(
            "error",
            (),
            lambda: errno.errorcode.get(self.machine.get(self.real, socket.SOL_SOCKET, socket.SO_ERROR), 0),
        )

    def ioctl(self, request: int) -> None:
        self._call("ioctl", (request,), lambda: self.machine.ioctl(self.real, request))

    def sockname(self) -> None:
        self._call("getsockname", (), lambda: self.real.getsockname())

    def peername(self) -> None:
        self._call("getpeername", (), lambda: self.real.getpeername())

    def poll(self) -> None:
        self._call("poll", (), lambda: bits(self.machine.poll(self.real)))

    def wait(self, mask: int) -> None:
        """Until one of these bits is true; the transcript shows all that are."""
        self.machine.wait(lambda: bool(self.machine.poll(self.real) & mask))
        self.poll()

    def wait_queue(self, request: int, size: int) -> None:
        """Until SIOCINQ, SIOCOUTQ or SIOCOUTQNSD has come to be so much."""
        self.machine.wait(lambda: self.machine.ioctl(self.real, request) == size)
        self.ioctl(request)

    @property
    def port(self) -> int:
        """Its local port, without a word in the transcript."""
        return int(self.real.getsockname()[1])


class Side:
    """The client's or the server's end of a machine."""

    def __init__(self, machine: Machine, name: str, make: Callable[[int, int, int], Any]) -> None:
        self.machine = machine
        self.name = name
        self._make = make
        self._count = 0

    def socket(
        self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM, protocol: int = 0, name: str = ""
    ) -> Sock:
        self._count += 1
        sock = Sock(self.machine, None, name or f"{self.name}{self._count}")
        sock.real = sock._call("socket", (family, type, protocol), lambda: self._make(family, type, protocol))
        return sock

    def at(self, port: int | Sock, form: str = "v4") -> Any:
        """The address of this side with a port, or that of a socket: v4, v6 or mapped."""
        host = self.machine.addresses[self.name, form]
        number = port.port if isinstance(port, Sock) else port
        return (host, number) if form == "v4" else (host, number, 0, 0)


class Machine:
    """What a script runs on."""

    addresses: dict[tuple[str, str], str]
    quietly = 0  # MSG_NOSIGNAL where there are signals

    def __init__(self) -> None:
        self.transcript: list[str] = []
        self.lenient = False
        self._ports: dict[int, str] = {0: "0"}

    def write(self, who: str, verb: str, args: tuple[object, ...], result: object) -> None:
        words = ", ".join(self._in_words(arg) for arg in args)
        self.transcript.append(f"{who}.{verb}({words}) = {self._in_words(result)}")

    def _in_words(self, value: object) -> str:
        if isinstance(value, tuple) and len(value) in (2, 4) and isinstance(value[0], str):
            for (side, form), host in self.addresses.items():
                if host == value[0]:
                    return f"<{side} {form.replace('silent', 'v4')} {self._port(value[1])}>"
            return f"<{value[0]} {self._port(value[1])}>"
        if isinstance(value, tuple) and len(value) == 2 and hasattr(value[0], "recv"):
            return f"a socket from {self._in_words(value[1])}"
        return "a socket" if hasattr(value, "recv") else repr(value)

    def _port(self, port: int) -> str:
        return self._ports.setdefault(port, f"port {len(self._ports)}")

    def connected(self, backlog: int = 8) -> tuple[Sock, Sock, Sock]:
        """A client's socket, the server's end of it, and the listener."""
        listener = self.listening(backlog)
        client = self.client.socket()
        client.connect(self.server.at(listener))
        client.wait(socket.POLLOUT)
        client.error()
        return client, listener.accept(), listener

    def listening(self, backlog: int = 8) -> Sock:
        listener = self.server.socket(name="listener")
        listener.bind(self.server.at(0))
        listener.listen(backlog)
        return listener

    def nobody(self) -> Any:
        """An address of the server's where nobody listens."""
        sock = self.server.socket(name="nobody")
        sock.bind(self.server.at(0))
        address = self.server.at(sock)
        sock.close()
        return address

    client: Side
    server: Side

    def silence(self) -> Any:
        """An address of the server's from which no SYN is answered."""
        raise NotImplementedError

    def settle(self) -> None:
        """Let everything arrive that is on its way."""

    def wait(self, condition: Callable[[], bool]) -> None:
        raise NotImplementedError

    def accept(self, sock: Any) -> tuple[Any, Any]:
        accepted: tuple[Any, Any] = sock.accept()
        return accepted

    def disconnect(self, sock: Any) -> None:
        raise NotImplementedError

    def set(self, sock: Any, level: int, name: int, value: Any) -> None:
        raise NotImplementedError

    def get(self, sock: Any, level: int, name: int) -> Any:
        raise NotImplementedError

    def ioctl(self, sock: Any, request: int) -> int:
        raise NotImplementedError

    def poll(self, sock: Any) -> int:
        raise NotImplementedError

    def close(self) -> None:
        """The script is over."""


class Kernel(Machine):
    """The kernel's sockets, over its loopback."""

    addresses = {  # noqa: RUF012
        (CLIENT, "v4"): "127.0.0.1",
        (SERVER, "v4"): "127.0.0.2",
        (CLIENT, "v6"): "::1",
        (SERVER, "v6"): "::1",
        (CLIENT, "mapped"): "::ffff:127.0.0.1",
        (SERVER, "mapped"): "::ffff:127.0.0.2",
    }
    quietly = kernel.MSG_NOSIGNAL

    def __init__(self) -> None:
        super().__init__()
        self._made: list[kernel.socket] = []
        self.client = Side(self, CLIENT, self._socket)
        self.server = Side(self, SERVER, self._socket)
        self._libc = ctypes.CDLL(None, use_errno=True)

    def _socket(self, family: int, type: int, protocol: int) -> kernel.socket:
        sock = kernel.socket(family, type, protocol)
        sock.setblocking(False)
        self._made.append(sock)
        return sock

    def silence(self) -> Any:
        full = self._socket(socket.AF_INET, socket.SOCK_STREAM, 0)
        full.bind(self.server.at(0))
        full.listen(0)
        address = full.getsockname()
        self._socket(socket.AF_INET, socket.SOCK_STREAM, 0).connect_ex(address)
        self.wait(lambda: self.poll(full) != 0)
        return address

    def accept(self, sock: kernel.socket) -> tuple[Any, Any]:
        accepted, address = sock.accept()
        accepted.setblocking(False)
        self._made.append(accepted)
        return accepted, address

    def wait(self, condition: Callable[[], bool]) -> None:
        for _ in range(PATIENCE):
            if condition():
                return
            select.select([], [], [], 0.001)
        raise AssertionError("waited in vain; so far:\n" + "\n".join(self.transcript))

    def disconnect(self, sock: kernel.socket) -> None:
        if self._libc.connect(sock.fileno(), bytes(16), 16):
            raise OSError(ctypes.get_errno(), "connect")

    def set(self, sock: kernel.socket, level: int, name: int, value: Any) -> None:
        if isinstance(value, tuple):
            value = struct.pack("ii", *value)
        sock.setsockopt(level, name, value.encode() if isinstance(value, str) else value)

    def get(self, sock: kernel.socket, level: int, name: int) -> Any:
        if (level, name) == (socket.SOL_SOCKET, socket.SO_LINGER):
            return struct.unpack("ii", sock.getsockopt(level, name, 8))
        if (level, name) == (socket.IPPROTO_TCP, socket.TCP_CONGESTION):
            return sock.getsockopt(level, name, 16).rstrip(b"\0").decode()
        return sock.getsockopt(level, name)

    def ioctl(self, sock: kernel.socket, request: int) -> int:
        [answer] = struct.unpack("i", fcntl.ioctl(sock.fileno(), request, bytes(4)))
        return int(answer)

    def poll(self, sock: kernel.socket) -> int:
        if sock.fileno() < 0:
            return select.POLLNVAL
        poll = select.poll()
        poll.register(sock, ALL_BITS)
        answers = poll.poll(0)
        return answers[0][1] if answers else 0

    def close(self) -> None:
        for sock in self._made:
            sock.close()


class Ours(Machine):
    """Our sockets, on two hosts between which a packet takes no time."""

    addresses = {  # noqa: RUF012
        (CLIENT, "v4"): "10.9.0.1",
        (SERVER, "v4"): "10.9.0.2",
        (CLIENT, "v6"): "fd00:9::1",
        (SERVER, "v6"): "fd00:9::1",
        (CLIENT, "mapped"): "::ffff:10.9.0.1",
        (SERVER, "mapped"): "::ffff:10.9.0.2",
    }

    def __init__(self, options: TcpOptions | None = None) -> None:
        super().__init__()
        self.now = 1000 * SECOND
        self.sent: list[tuple[Host, Packet]] = []  # by whom, and what
        self._silent = 0
        self.hosts = [self._host(number, options) for number in (1, 2)]
        sides = [socket.Sockets(host, lambda: self.now) for host in self.hosts]
        self.client = Side(self, CLIENT, sides[0].socket)
        self.server = Side(self, SERVER, sides[1].socket)
        self.server.at = self._at_server

    def _host(self, number: int, options: TcpOptions | None) -> Host:
        host = Host(secret=bytes([number]) * 32, options=options)
        host.add_address(f"10.9.0.{number}/24")
        host.add_address(f"fd00:9::{number}/64")
        return host

    def _at_server(self, port: int | Sock, form: str = "v4") -> Any:
        address = Side.at(self.server, port, form)
        return ("fd00:9::2", *address[1:]) if form == "v6" else address

    def _in_words(self, value: object) -> str:
        if isinstance(value, tuple) and value and value[0] == "fd00:9::2":  # the kernel has one address for both
            value = ("fd00:9::1", *value[1:])
        return super()._in_words(value)

    def silence(self) -> Any:
        self.addresses = self.addresses | {(SERVER, "silent"): "10.9.0.77"}
        self._silent += 1
        return "10.9.0.77", self._silent

    def settle(self) -> None:
        client, server = self.hosts
        moved = True
        while moved:
            moved = False
            for source, target in ((client, server), (server, client)):
                while (packet := source.poll_transmit(self.now)) is not None:
                    moved = True
                    self.sent.append((source, packet))
                    target.receive(packet, self.now)

    def wait(self, condition: Callable[[], bool]) -> None:
        for _ in range(MAX_TURNS):
            self.settle()
            if condition():
                return
            due = min(host.next_timeout() for host in self.hosts)
            assert due < NEVER, "waited in vain; so far:\n" + "\n".join(self.transcript)
            self.now = max(self.now, due)
            for host in self.hosts:
                host.on_timeout(self.now)
        raise AssertionError("waited in vain; so far:\n" + "\n".join(self.transcript))

    def disconnect(self, sock: socket.Socket) -> None:
        sock.connect(None)

    def set(self, sock: socket.Socket, level: int, name: int, value: Any) -> None:
        sock.setsockopt(level, name, value)

    def get(self, sock: socket.Socket, level: int, name: int) -> Any:
        value = sock.getsockopt(level, name)
        assert not isinstance(value, Info)
        return value

    def ioctl(self, sock: socket.Socket, request: int) -> int:
        return sock.ioctl(request)

    def poll(self, sock: socket.Socket) -> int:
        return sock.poll()


def bits(mask: int) -> str:
    """The bits of poll(2) by name."""
    names = [
        name for name in dir(socket) if name.startswith("POLL") and mask & getattr(socket, name) and name != "POLLNVAL"
    ]
    return "|".join(sorted(names)) or "nothing"
