"""The host's user: the application at the near end of a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection
from stack.tcp.state import State
from tests.support.stream import octets

if TYPE_CHECKING:
    from tests.support.peer import Peer


class User:
    """Commands on one connection; after each the host may send, as a driver lets it."""

    def __init__(self, peer: Peer, conn: Connection) -> None:
        self.peer = peer
        self.conn = conn
        self.consumed = 0  # octets read

    @property
    def state(self) -> State:
        return self.conn.state

    @property
    def error(self) -> OSError | None:
        return self.conn.error

    def write(self, data: int | bytes, *, more: bool = False, urgent: bool = False, end_of_record: bool = False) -> int:
        """SEND so many octets of the host's stream, or these; returns how many were taken."""
        written = self.peer.watch.written
        if isinstance(data, int):
            data = octets("host", len(written), data)
        taken = self.conn.write(data, more=more, urgent=urgent, end_of_record=end_of_record)
        written += data[:taken]
        self.flush()
        return taken

    def read(self, limit: int = 1 << 30) -> bytes:
        """RECEIVE what is there, at most `limit` octets."""
        data = self.conn.read(limit, self.peer.now)
        self.consumed += len(data)
        self.flush()
        return data

    def reads(self, size: int) -> None:
        """RECEIVE exactly so many octets, and they are the next of the peer's stream."""
        expected = octets("peer", self.consumed, size)
        data = self.read(size)
        assert data == expected, f"read {len(data)} octets, not {size}, or wrong ones\n" + self.peer.bench.story()

    def close_write(self) -> None:
        self.conn.close_write()
        self.flush()

    def close(self) -> None:
        self.conn.close(self.peer.now)
        self.flush()

    def abort(self) -> None:
        self.conn.abort()
        self.flush()

    def set_options(self, options: TcpOptions) -> None:
        self.conn.set_options(options, self.peer.now)
        self.flush()

    def flush(self) -> None:
        self.peer.host.touch(self.conn, self.peer.now)
        self.peer.bench.flush()
