"""A TCP/IP host, sans-IO: everything between a link and the applications.

Here are the calls of applications: addresses, active and passive opens, ports, echoes, the end. What comes from the
network and from the clock is `stack.host.engine`'s, whose methods whoever drives a host calls: `receive` for each
packet of the link, `on_timeout` when `next_timeout` has come, `poll_transmit` until it gives None, and `take_woken` for
those that may go on.
"""

from __future__ import annotations

import errno

from stack.host.bindings import Binding
from stack.host.echo import HOP_LIMIT, Ping
from stack.host.engine import Engine
from stack.host.udp import DatagramPort
from stack.ip.addresses import is_valid_remote
from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection, Endpoint
from stack.tcp.flow import flow_key
from stack.tcp.listener import Listener
from stack.tcp.negotiate import header_bytes
from stack.tcp.state import Event
from stack.wire.address import format_endpoint, parse_address
from stack.wire.drop import WireError
from stack.wire.packet import Buffer
from stack.wire.units import Time


class Host(Engine):
    """One host on one point-to-point link.

    `secret` (at least 16 octets, random) keys sequence numbers, ports and timestamp offsets; `mtu` is the link's in
    bytes; `options` are the defaults of all connections. `max_payload` is how many octets of text the link takes in
    one super-frame, which it cuts into segments; 0 where it cuts none. `trace`, when set, is called with a `TraceEvent`
    for every segment; `on_fault` with an exception of our own that ended a connection.
    """

    # Addresses.

    @property
    def addresses(self) -> list[str]:
        """This host's addresses with their prefixes."""
        return self._addresses.cidrs()

    def add_address(self, cidr: str) -> None:
        """Answer on one more address, such as `10.9.0.2/24`; `ValueError` for one that no host can have."""
        self._addresses.add(cidr)

    def remove_address(self, text: str) -> None:
        """Stop answering on an address; `ValueError` if it is not here. Its connections fall silent."""
        self._addresses.remove(text)

    # For the application.

    # RFC 9293 MUST-43, MUST-46, RFC1122-23
    def connect(
        self, remote: bytes, port: int, now: Time, *, options: TcpOptions | None = None, local_port: int = 0
    ) -> Connection:
        """Active OPEN to an address and port; the connection is in SYN-SENT.

        `OSError` as from connect(2): EADDRNOTAVAIL for a local address that is not ours or no port left,
        EADDRINUSE for a pair of endpoints in use, ENETUNREACH for no address of that family, EINVAL for a remote
        that no connection can have (MUST-46).

        With `TcpOptions.fastopen`, what is written before the next `poll_transmit` goes with the SYN, as much of it as
        `fastopen_room` says.
        """
        options = options if options is not None else self.options
        if not is_valid_remote(remote) or self._addresses.is_broadcast(remote) or not 0 < port < 65536:
            raise OSError(errno.EINVAL, f"{format_endpoint(remote, port)} can't be connected to")
        if self._addresses.is_local(remote):
            raise OSError(errno.EADDRNOTAVAIL, f"{format_endpoint(remote, port)} is this host itself")
        if not 0 <= local_port < 65536:
            raise OSError(errno.EINVAL, f"{local_port} is not a port")
        local = self._local_address(remote, options)
        if local_port == 0:
            local_port = self._choose_port(local, remote, port)
        key = flow_key(remote, local, port, local_port)
        if self._is_taken(key):
            raise OSError(errno.EADDRINUSE, f"port {local_port} is in use with {format_endpoint(remote, port)}")
        conn = self._connection(key, (local, local_port), (remote, port), self._numbers.isn(key, now), options)
        conn.open(now)
        if options.fastopen:
            conn.fast_open = self._fast_opens.opening(conn, now)
        self._connections[key] = conn
        self.counters.active_opens += 1
        self.touch(conn, now)
        return conn

    def connect_from(self, listener: Listener, remote: bytes, port: int, now: Time) -> Connection:
        """Active OPEN on a listening port (3.10.1, LISTEN): it stops listening and connects from there."""
        self._end_listener(listener, Event.ACTIVE_OPEN, now)
        return self.connect(remote, port, now, options=listener.options, local_port=listener.port)

    # RFC 9293 MUST-43, MUST-44, RFC1122-26
    def _local_address(self, remote: bytes, options: TcpOptions) -> bytes:
        if options.local_address is None:
            return self._addresses.source_for(remote)
        try:
            local = parse_address(options.local_address)
        except ValueError as error:
            raise OSError(errno.EADDRNOTAVAIL, str(error)) from None
        if not self._addresses.is_local(local) or len(local) != len(remote):
            raise OSError(errno.EADDRNOTAVAIL, f"{options.local_address} is not an address of this host for that peer")
        return local

    def _choose_port(self, local: bytes, remote: bytes, port: int) -> int:
        def is_free(candidate: int) -> bool:
            taken = self._is_taken(flow_key(remote, local, port, candidate))
            if taken or candidate in self._bindings:
                return False
            return self._handshakes.listener_for((local, candidate)) is None

        return self._ports.choose(local, remote, port, is_free)

    def _is_taken(self, key: bytes) -> bool:
        return key in self._connections or self._handshakes.find(key) is not None or key in self._time_waits.records

    # Fast Open (RFC 7413).

    @property
    def fastopen_keys(self) -> tuple[bytes, ...]:
        """One or two keys of 16 octets: the first makes the cookies of clients, both are good for them.

        At first there is one, which follows from the host's secret.
        """
        return self._fast_opens.keys

    @fastopen_keys.setter
    def fastopen_keys(self, keys: tuple[bytes, ...]) -> None:
        self._fast_opens.keys = keys

    def fastopen_cookie(self, remote: bytes, local: bytes) -> bytes:
        """The cookie that a client at `remote` gets from this host's listeners at `local`."""
        return self._fast_opens.cookie(remote, local)

    def fastopen_room(self, remote: bytes, port: int, now: Time, *, options: TcpOptions | None = None) -> int:
        """How many octets the SYN of `connect` would carry to there; 0 where no cookie is known, or Fast Open pauses.

        `OSError` as from `connect`.
        """
        options = options if options is not None else self.options
        local = self._local_address(remote, options)
        mss = min(self._paths.offer(remote, options).mss, self._paths.mtus.mtu(remote) - header_bytes(remote))
        return self._fast_opens.room(flow_key(remote, local, port, 0)[:-2], mss, options, now)

    def forget_fastopen(self) -> None:
        """Forget all servers' cookies, and where Fast Open has failed."""
        self._fast_opens.forget()

    # RFC 9293 MUST-41, MUST-42, MUST-43
    def listen(
        self, port: int, *, address: bytes | None = None, backlog: int = 128, options: TcpOptions | None = None
    ) -> Listener:
        """Passive OPEN: accept connections to a port, on one address or on all; port 0 chooses one.

        Other connections with that local port are not affected (MUST-41, MUST-42). `OSError`: EADDRINUSE,
        EADDRNOTAVAIL, EINVAL.
        """
        where = self._checked(port, address)
        options = options if options is not None else self.options
        if port == 0:
            port = self._ports.choose(where, b"", 0, lambda candidate: self._is_unused(candidate, where))
        self._bindings.check_listener(port, where, options)
        return self._handshakes.add(port, where, backlog, options)

    def _is_unused(self, port: int, address: bytes) -> bool:
        return port not in self._bindings and not self._handshakes.listens(port, address)

    def listen_bound(self, binding: Binding, *, backlog: int = 128) -> Listener:
        """Passive OPEN at a port that was bound before. `OSError`: EADDRINUSE."""
        self._bindings.listen(binding)
        try:
            return self._handshakes.add(binding.port, binding.address, backlog, binding.options)
        except OSError:
            binding.listening = False
            raise

    def bind(self, port: int, *, address: bytes | None = None, options: TcpOptions | None = None) -> Binding:
        """Take a port, or a free one if it is 0, on one address, on all of a family (its unspecified one) or on all.

        It stays taken until `release`. `OSError`: EADDRINUSE, EADDRNOTAVAIL, EINVAL.
        """
        return self._bindings.bind(port, self._checked(port, address), options if options is not None else self.options)

    def release(self, binding: Binding) -> None:
        """Nobody needs the port by this name any more. Harmless when repeated."""
        self._bindings.release(binding)

    def _checked(self, port: int, address: bytes | None) -> bytes:
        if not 0 <= port < 65536:
            raise OSError(errno.EINVAL, f"{port} is not a port")
        if address is not None and any(address) and not self._addresses.is_local(address):
            raise OSError(errno.EADDRNOTAVAIL, "not an address of this host")
        return address if address is not None else b""

    def close_listener(self, listener: Listener, now: Time) -> None:
        """CLOSE in LISTEN: no new connections; half-open ones and those nobody took are reset."""
        self._end_listener(listener, Event.CLOSE, now)

    def _end_listener(self, listener: Listener, event: Event, now: Time) -> None:
        self._handshakes.remove(listener, now)
        for conn in listener.leave(event):
            conn.abort()
            self.touch(conn, now)
        self._wake(listener)

    # Datagrams (RFC 768).

    def bind_datagrams(self, port: int, *, address: bytes | None = None) -> DatagramPort:
        """Take a UDP port, or a free one if it is 0; addresses as with `bind`. It is taken until `release_datagrams`.

        `OSError`: EADDRINUSE, EADDRNOTAVAIL, EINVAL.
        """
        return self._datagrams.bind(self._checked(port, address), port)

    def release_datagrams(self, port: DatagramPort) -> None:
        """Nobody reads there any more. Harmless when repeated."""
        self._datagrams.release(port)

    def connect_datagrams(self, port: DatagramPort, remote: Endpoint | None) -> None:
        """Take datagrams only from that address and port, and errors about what goes there; None: from all again.

        `OSError` as from `send_datagram`.
        """
        self._datagrams.connect(port, remote)

    def send_datagram(self, port: DatagramPort, text: Buffer, remote: Endpoint | None = None) -> None:
        """Send to an address and port, or to whom the port is connected; `text` must not change afterwards.

        `OSError`: EDESTADDRREQ, EMSGSIZE for what does not fit one packet, EAGAIN when the port's queue is full, EACCES
        for a broadcast address, ENETUNREACH, EADDRNOTAVAIL for one of this host, EINVAL for port 0.
        """
        self._datagrams.send(port, text, remote)

    def ping(self, remote: bytes, now: Time, *, size: int = 56, hop_limit: int = HOP_LIMIT) -> Ping:
        """Send an echo request of `size` octets; the `Ping` is woken when the reply or an error comes.

        `OSError`: ENETUNREACH, EMSGSIZE.
        """
        try:
            return self._echo.ping(self._addresses.source_for(remote), remote, now, size, hop_limit)
        except WireError as refusal:
            raise OSError(errno.EMSGSIZE, f"an echo of {size} bytes can't be sent: {refusal}") from None

    def forget_ping(self, ping: Ping) -> None:
        """Nobody waits for that reply any more."""
        self._echo.forget(ping)

    def path_mtu(self, remote: bytes) -> int:
        """The largest packet in bytes that the path to an address is believed to take."""
        return self._paths.mtus.mtu(remote)

    def connections(self) -> list[Connection]:
        """All connections, without those in TIME-WAIT and half-open ones."""
        return list(self._connections.values())

    @property
    def half_open(self) -> int:
        """Handshakes that have begun at a listener and are not complete."""
        return len(self._handshakes)

    @property
    def time_waits(self) -> int:
        """Connections in TIME-WAIT."""
        return len(self._time_waits.records)

    def lingering(self) -> int:
        """Connections whose data or FIN is not yet acknowledged, and packets that wait to leave."""
        return sum([conn.lingers for conn in self._connections.values()]) + len(self._output)

    def shut_down(self, now: Time) -> None:
        """Stop listening, reset what is left, forget TIME-WAIT: the resets are there for `poll_transmit`."""
        for listener in self._handshakes.listeners():
            self.close_listener(listener, now)
        for conn in self.connections():
            conn.abort()
            self.touch(conn, now)
        self._time_waits.clear()
