"""The send buffer grows with what the path takes, up to a limit; who waits for room is told of it."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection
from stack.wire.segment import ACK, Segment
from stack.wire.units import MS, US, Duration
from tests.host.crowd import Crowd

START, LIMIT = 256 << 10, 4 << 20
BLOCK = 64 << 10  #: What the application writes in one go.


class Transfer:
    """An application that writes without end, when it is told that there is room, and a peer that takes it all."""

    def __init__(self, options: TcpOptions | None = None, *, rtt: Duration = 100 * MS) -> None:
        self.crowd = Crowd(backlog=1, options=options)
        self.rtt = rtt
        self.crowd.begin(1)
        (self.peer,) = self.crowd.begin(1, first=2000)
        self.crowd.now += rtt
        self.crowd.arrive(self.peer, ACK)
        conn = self.crowd.listener.accept()
        assert conn is not None
        self.conn: Connection = conn
        conn.owner = self
        self.starved = 0  # how often everything written had left while the application waited
        self.most = 0  # octets that were held
        self.wake_ups = 0

    def write(self) -> None:
        """Fill the buffer."""
        while self.conn.write(bytes(BLOCK)):
            pass
        self.most = max(self.most, len(self.conn.snd.buffer))
        self.crowd.host.touch(self.conn, self.crowd.now)

    def round_trip(self) -> None:
        """What is in flight arrives and is acknowledged, every second segment; whoever is woken writes."""
        flight = self.crowd.answers()
        self.crowd.now += self.rtt
        for first, second in zip(flight[::2], flight[1::2], strict=False):
            self._acknowledge(second if second.size else first)
        if len(flight) % 2:
            self._acknowledge(flight[-1])

    def _acknowledge(self, seg: Segment) -> None:
        self.peer.rcv_nxt = (seg.seq + seg.size) & 0xFFFF_FFFF
        self.crowd.arrive(self.peer, ACK)
        self.starved += not self.conn.unsent
        if self.conn in self.crowd.host.take_woken() and self.conn.has_room:
            self.wake_ups += 1
            self.write()


def test_it_starts_small() -> None:
    conn = Transfer().conn
    assert conn.send_limit == conn.writable == START
    assert conn.write(bytes(1 << 20)) == START
    assert conn.writable == 0


@pytest.mark.parametrize("limit", [1, 5000, START - 1])
def test_a_smaller_limit_holds_from_the_start(limit: int) -> None:
    transfer = Transfer(TcpOptions(send_buffer=limit, nodelay=True))
    transfer.write()
    for _ in range(10):
        transfer.round_trip()
    assert transfer.conn.send_limit == transfer.most == limit
    assert transfer.wake_ups > 1


def test_it_grows_with_the_congestion_window_up_to_the_limit() -> None:
    transfer = Transfer()
    conn = transfer.conn
    transfer.write()
    for _ in range(12):
        transfer.round_trip()
        cwnd = conn.snd.congestion.cwnd
        assert conn.send_limit <= LIMIT
        assert conn.send_limit >= min(max(START, 4 * cwnd), LIMIT)
    assert transfer.most == conn.send_limit == LIMIT
    assert transfer.starved == 0


@pytest.mark.parametrize("rtt", [50 * US, 1 * MS, 30 * MS])
def test_nobody_starves_while_it_grows(rtt: Duration) -> None:
    transfer = Transfer(rtt=rtt)
    transfer.write()
    for _ in range(12):
        transfer.round_trip()
    assert transfer.starved == 0
    assert transfer.wake_ups > 5


def test_on_a_short_path_what_counts_is_the_rate() -> None:
    """Ten segments in 50 us fill 256 KiB in less than a millisecond: the application would be woken all the time."""
    transfer = Transfer(rtt=50 * US)
    transfer.write()
    for _ in range(4):
        transfer.round_trip()
    assert transfer.conn.send_limit > 10 * transfer.conn.snd.congestion.cwnd


def test_a_path_that_takes_little_gets_no_more() -> None:
    transfer = Transfer()
    transfer.conn.snd.congestion.cwnd = 20_000
    transfer.conn.snd.congestion.ssthresh = 10_000
    transfer.write()
    for _ in range(30):
        transfer.round_trip()
    assert transfer.conn.snd.congestion.cwnd < START // 4
    assert transfer.most == transfer.conn.send_limit == START


def test_an_application_that_writes_little_gets_no_more() -> None:
    """The window grows to a megabyte and more, but less than half of the buffer is ever used."""
    transfer = Transfer()
    conn = transfer.conn
    conn.snd.congestion.cwnd = 2 << 20
    for _ in range(20):
        conn.write(bytes(BLOCK))
        transfer.crowd.host.touch(conn, transfer.crowd.now)
        transfer.round_trip()
    assert conn.send_limit == START


def test_a_window_that_stays_shut_keeps_it_small() -> None:
    transfer = Transfer()
    conn = transfer.conn
    conn.snd.wnd = 0
    conn.snd.congestion.cwnd = 1 << 20
    transfer.write()
    transfer.round_trip()
    assert (transfer.most, conn.send_limit) == (START, START)


def test_it_can_be_changed_later() -> None:
    transfer = Transfer()
    conn, now = transfer.conn, transfer.crowd.now
    for changes, limit in (
        ({"nodelay": True}, START),
        ({"send_space": 1 << 20}, 1 << 20),
        ({"send_buffer": 2 << 20}, 1 << 20),  # it may, and need not, grow so far
        ({"send_buffer": 100_000}, 100_000),
        ({"send_buffer": 200_000}, 200_000),
        ({"send_buffer": 8 << 20, "send_space": 8 << 20}, 8 << 20),
    ):
        conn.set_options(conn.options.replace(**changes), now)
        assert conn.send_limit == conn.writable == limit


def test_what_is_held_beyond_a_smaller_limit_stays() -> None:
    transfer = Transfer()
    conn = transfer.conn
    transfer.write()
    conn.set_options(conn.options.replace(send_buffer=1000), transfer.crowd.now)
    assert (conn.writable, len(conn.snd.buffer)) == (0, START)
    for _ in range(10):
        transfer.round_trip()
    assert transfer.wake_ups > 0
    assert len(conn.snd.buffer) <= 1000
