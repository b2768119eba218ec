"""UDP sockets: the verbs of `Socket` for datagrams (udp(7)), and their own, short list of options.

Each send is one datagram, and each receive takes one, whatever is read of it. A socket that sends or connects without
having been bound gets a free port. Connected, it hears its peer alone, and ICMP errors about what it has sent there:
the next call raises one, once.

Nothing is fragmented: what is longer than a packet may be is EMSGSIZE.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from stack.host.sockets import constants as c
from stack.host.sockets import opening, options
from stack.host.sockets.choices import Choices
from stack.host.sockets.failures import failure
from stack.host.sockets.names import Address, inside, outside
from stack.host.sockets.options import Option, Setting, Settings, bounded
from stack.host.sockets.phases import BOTH, RECEIVING, SENDING
from stack.host.sockets.reading import Received
from stack.host.sockets.socket import Socket, unchanging
from stack.host.udp import BUFFER, HOP_LIMIT, DatagramPort
from stack.tcp.info import Info
from stack.wire.packet import Buffer
from stack.wire.udp import MAX_TEXT

if TYPE_CHECKING:
    from stack.host.sockets.sockets import Sockets

HOPS, CLASS, RECEIVE_BUFFER, SEND_BUFFER = "hops", "class", "receive buffer", "send buffer"
REFUSED: Final = c.MSG_OOB | c.MSG_MORE  #: Flags of sending that would do nothing here.


class DatagramSocket(Socket):
    """A UDP socket of either family, in non-blocking mode; made by `Sockets.socket` with SOCK_DGRAM."""

    __slots__ = ("_port", "chosen")

    def __init__(self, sockets: Sockets, family: int, choices: Choices) -> None:
        super().__init__(sockets, family, choices)
        self._port: DatagramPort | None = None
        self.chosen: dict[str, int] = {HOPS: HOP_LIMIT, CLASS: 0, RECEIVE_BUFFER: BUFFER, SEND_BUFFER: BUFFER}

    @property
    def arrivals(self) -> int:
        """How many datagrams have arrived, ever."""
        return 0 if self._port is None else self._port.arrivals

    @property
    def owner(self) -> object | None:
        """As with `Socket`."""
        return self._owner

    @owner.setter
    def owner(self, owner: object | None) -> None:
        self._owner = owner
        if self._port is not None:
            self._port.owner = owner

    # Naming.

    def bind(self, address: Address) -> None:
        """Take a local address and port; port 0 takes a free one. `OSError` as with `Socket`."""
        self.check_open()
        if self._port is not None:
            raise failure(errno.EINVAL)
        where, number = opening.local_end(self, address)
        self._bind(where, number)
        self.named = where, number

    def _bind(self, where: bytes, number: int) -> DatagramPort:
        port = self._port = self.sockets.host.bind_datagrams(number, address=where or None)
        port.owner = self.owner
        self.apply()
        return port

    def _bound(self) -> DatagramPort:
        if self._port is not None:
            return self._port
        return self._bind(self.named[0] if self.named is not None else opening.wildcard(self), 0)

    def apply(self) -> None:
        """Tell the port what was chosen."""
        port, chosen = self._port, self.chosen
        if port is not None:
            port.hop_limit, port.traffic_class = chosen[HOPS], chosen[CLASS]
            port.receive_buffer, port.send_buffer = chosen[RECEIVE_BUFFER], chosen[SEND_BUFFER]

    def getsockname(self) -> Address:
        """The local address and port; the wildcard and 0 as long as they are open."""
        self.check_open()
        if self._port is not None:
            return outside(self.family, *self._port.local)
        return outside(self.family, self.named[0] if self.named is not None else b"", 0)

    def getpeername(self) -> Address:
        """Whom it is connected to; `OSError(ENOTCONN)` if to nobody."""
        self.check_open()
        return outside(self.family, *self._remote())

    def _remote(self) -> tuple[bytes, int]:
        if self._port is None or self._port.remote is None:
            raise failure(errno.ENOTCONN)
        return self._port.remote

    def listen(self, backlog: int = 128) -> None:
        """`OSError(EOPNOTSUPP)`: datagrams have no connections."""
        self.check_open()
        raise failure(errno.EOPNOTSUPP)

    def accept(self) -> tuple[Socket, Address]:
        """`OSError(EOPNOTSUPP)`."""
        self.check_open()
        raise failure(errno.EOPNOTSUPP)

    def connect(self, address: Address | None) -> None:
        """Talk to one address and port only; None: to all again.

        With None, a port that nobody has asked for by number is given back, and what has arrived there is lost.

        May be repeated. `OSError`: EAFNOSUPPORT, ENETUNREACH, EADDRNOTAVAIL, EACCES for a broadcast address, EINVAL for
        port 0.
        """
        self.check_open()
        if address is not None:
            self.sockets.host.connect_datagrams(self._bound(), self._there(address))
        elif self._port is not None:
            self.sockets.host.connect_datagrams(self._port, None)
            if self.named is None or self.named[1] == 0:
                self.sockets.host.release_datagrams(self._port)
                self._port = None

    def _there(self, address: Address) -> tuple[bytes, int]:
        remote = inside(self.family, address)
        if self.family != c.AF_INET and len(remote[0]) == 4 and self.choices.v6only:
            raise failure(errno.ENETUNREACH)
        return remote

    # Sending.

    def send(self, data: Buffer | bytearray, flags: int = 0) -> int:
        """Send a datagram to whom the socket is connected to; as `sendto`, and EDESTADDRREQ if that is nobody."""
        return self._send_to(data, flags, None)

    def sendto(self, data: Buffer | bytearray, flags: int, address: Address | None) -> int:
        """Send a datagram; returns its length. None is whom the socket is connected to.

        `OSError`: EMSGSIZE for more than one packet takes, EAGAIN while those before it have not left, EPIPE after
        `shutdown`, EOPNOTSUPP for MSG_OOB and MSG_MORE, what `connect` raises, and once an error of ICMP.
        """
        return self._send_to(data, flags, address)

    def _send_to(self, data: Buffer | bytearray, flags: int, address: Address | None) -> int:
        self.check_open()
        port = self._bound()
        if len(data) > MAX_TEXT:
            raise failure(errno.EMSGSIZE)
        if flags & REFUSED:
            raise failure(errno.EOPNOTSUPP)
        remote = None if address is None else self._there(address)
        if remote is None and port.remote is None:
            raise failure(errno.EDESTADDRREQ)
        if self.pending_error():
            raise self.take_error()
        if self.shut & SENDING:
            raise failure(errno.EPIPE)
        self.sockets.host.send_datagram(port, unchanging(data), remote)
        return len(data)

    # Receiving.

    def recv(self, size: int, flags: int = 0) -> bytes:
        """The first `size` octets of the next datagram, whose rest is lost.

        Flags: MSG_PEEK leaves it there; with MSG_TRUNC what is beyond `size` comes as zeros, so that the length is the
        datagram's; others change nothing. `OSError`: EAGAIN when none is here, and once an error of ICMP.
        """
        return self.recvmsg(size, 0, flags).data

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, Address | None]:
        """As `recv`, and who has sent it; port 0 where the sender wants no answer."""
        received = self.recvmsg(size, 0, flags)
        return received.data, received.address

    def recvmsg(self, size: int, control_size: int = 0, flags: int = 0) -> Received:
        """As `recvfrom`; MSG_TRUNC in the flags says that there was more."""
        self.check_open()
        if flags & c.MSG_ERRQUEUE:
            raise failure(errno.EAGAIN)
        if self.pending_error():
            raise self.take_error()
        port = self._port
        found = None
        if port is not None:
            found = port.peek() if flags & c.MSG_PEEK else port.read()
        if found is None:
            raise failure(errno.EAGAIN)
        text, remote = found
        data = text[:size]
        if flags & c.MSG_TRUNC:
            data += bytes(len(text) - len(data))
        return Received(data, [], c.MSG_TRUNC if len(text) > size else 0, outside(self.family, *remote))

    def recv_waits(self, size: int, flags: int = 0) -> bool:
        """Whether a blocking `recv` would still wait."""
        self.check_open()
        if flags & c.MSG_ERRQUEUE or self.shut & RECEIVING or self.pending_error():
            return False
        return self._port is None or not self._port.readable

    # Ending.

    def shutdown(self, how: int = c.SHUT_RDWR) -> None:
        """End one direction or both, without a word to the peer. `OSError`: ENOTCONN, EINVAL for another `how`."""
        self.check_open()
        if not 0 <= how <= c.SHUT_RDWR:
            raise failure(errno.EINVAL)
        self._remote()
        self.shut |= how + 1

    def close(self) -> None:
        """Give the socket up; what has arrived is lost. Harmless when repeated."""
        if self.closed:
            return
        self.closed = True
        self.owner = None
        if self._port is not None:
            self.sockets.host.release_datagrams(self._port)

    # Options and facts.

    def setsockopt(self, level: int, name: int, value: Option) -> None:
        """Set an option. `OSError`: ENOPROTOOPT for one that does nothing here or can't be set, EINVAL for a value."""
        self.check_open()
        options.put(self, level, name, value, DATAGRAM_SETTINGS)

    def getsockopt(self, level: int, name: int) -> Option:
        """The value of an option; SO_ERROR is taken by looking. `OSError`: ENOPROTOOPT, EOPNOTSUPP for the level."""
        self.check_open()
        return options.get(self, level, name, DATAGRAM_SETTINGS)

    def ioctl(self, request: int) -> int:
        """SIOCINQ: the length of the next datagram; SIOCOUTQ: octets that have not left, with what they cost beside
        their text. `OSError(ENOTTY)` for another request."""
        self.check_open()
        if request == c.SIOCINQ:
            return 0 if self._port is None else self._port.next_size
        if request == c.SIOCOUTQ:
            return 0 if self._port is None else self._port.unsent
        raise failure(errno.ENOTTY)

    def poll(self) -> int:
        """The bits of poll(2) that are true now; POLLNVAL after `close`."""
        if self.closed:
            return c.POLLNVAL
        bits = 0
        if self.shut == BOTH:
            bits |= c.POLLHUP
        if self.shut & RECEIVING:
            bits |= c.POLLIN | c.POLLRDNORM | c.POLLRDHUP
        if self._port is not None and self._port.readable:
            bits |= c.POLLIN | c.POLLRDNORM
        if self._port is None or self._port.has_room:
            bits |= c.POLLOUT | c.POLLWRNORM
        if self.pending_error():
            bits |= c.POLLERR
        return bits

    def info(self) -> Info:
        """`OSError(EOPNOTSUPP)`: there is no `tcp_info`."""
        self.check_open()
        raise failure(errno.EOPNOTSUPP)

    # What this package shares.

    def pending_error(self) -> int:
        """The errno that the next call would raise; 0: none."""
        port = self._port
        return 0 if port is None or port.error is None else port.error.errno or errno.EIO

    def take_error(self, otherwise: int = 0) -> OSError:
        """The pending error, which is then told, or else the one with the number `otherwise`."""
        number = self.pending_error()
        if self._port is not None:
            self._port.error = None
        return failure(number or otherwise)


def _setting(name: str, value_of: Callable[[int], int]) -> Setting:
    """One of `DatagramSocket.chosen`; `value_of` makes it of what setsockopt is given."""

    def get(sock: Socket) -> int:
        assert isinstance(sock, DatagramSocket)
        return sock.chosen[name]

    def put(sock: Socket, value: int) -> None:
        assert isinstance(sock, DatagramSocket)
        sock.chosen[name] = value_of(value)
        sock.apply()

    return Setting(get, put)


def _hops(value: int) -> int:
    return HOP_LIMIT if value == -1 else bounded(value, 1, 255)


def _traffic_class(value: int) -> int:
    return max(bounded(value, -1, 255), 0)


def _buffer(least: int) -> Callable[[int], int]:
    def size(value: int) -> int:
        return max(2 * min(value, options.MAX_BUFFER) if value >= 0 else 2 * options.MAX_BUFFER, least)

    return size


def _put_v6only(sock: Socket, value: int) -> None:
    if sock.getsockname()[1]:
        raise failure(errno.EINVAL)
    sock.choices.v6only = bool(value)


_FACTS: dict[int, options.Getter] = {
    c.SO_TYPE: lambda sock: c.SOCK_DGRAM,
    c.SO_DOMAIN: lambda sock: sock.family,
    c.SO_PROTOCOL: lambda sock: c.IPPROTO_UDP,
    c.SO_ACCEPTCONN: lambda sock: 0,
    c.SO_ERROR: lambda sock: sock.take_error().errno or 0,
}

DATAGRAM_SETTINGS: Settings = {
    **{(c.SOL_SOCKET, name): Setting(getter) for name, getter in _FACTS.items()},
    (c.SOL_SOCKET, c.SO_SNDBUF): _setting(SEND_BUFFER, _buffer(options.MIN_SEND_BUFFER)),
    (c.SOL_SOCKET, c.SO_RCVBUF): _setting(RECEIVE_BUFFER, _buffer(options.MIN_RECEIVE_BUFFER)),
    (c.IPPROTO_IP, c.IP_TTL): _setting(HOPS, _hops),
    (c.IPPROTO_IP, c.IP_TOS): _setting(CLASS, lambda value: value & 0xFF),
    (c.IPPROTO_IPV6, c.IPV6_UNICAST_HOPS): _setting(HOPS, _hops),
    (c.IPPROTO_IPV6, c.IPV6_TCLASS): _setting(CLASS, _traffic_class),
    (c.IPPROTO_IPV6, c.IPV6_V6ONLY): Setting(lambda sock: int(sock.choices.v6only), _put_v6only),
}
