"""The lazy heap against a naive model, and the queue of those who wait equally long."""

from __future__ import annotations

import weakref

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from stack.host.timeouts import SLACK, ConnectionTimeouts
from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection
from stack.tcp.negotiate import offer
from stack.wire.units import NEVER, Time


def connection() -> Connection:
    options = TcpOptions()
    return Connection(
        (bytes(4), 1),
        (bytes(4), 2),
        iss=0,
        offer=offer(options, 1500, 40),
        mss_limit=1460,
        ts_offset=0,
        options=options,
        drops={},
    )


times = st.one_of(st.integers(0, 1000), st.just(NEVER))


class TimeoutsMachine(RuleBasedStateMachine):
    """The naive model asks every connection each time."""

    alive = Bundle("alive")

    @initialize()
    def begin(self) -> None:
        self.timeouts = ConnectionTimeouts()
        self.now: Time = 0
        self.watched: set[int] = set()
        self.conns: dict[int, Connection] = {}

    @rule(target=alive, due=times)
    def add(self, due: Time) -> Connection:
        conn = connection()
        conn.timers.retransmit = due
        self.conns[id(conn)] = conn
        self.timeouts.watch(conn)
        return conn

    @rule(conn=alive, which=st.sampled_from(["retransmit", "keepalive", "delayed_ack"]), due=times)
    def move(self, conn: Connection, which: str, due: Time) -> None:
        """Deadlines move to and fro; whoever moves one says so."""
        setattr(conn.timers, which, due if due == NEVER else self.now + due)
        self.timeouts.watch(conn)

    @rule(conn=consumes(alive))
    def forget(self, conn: Connection) -> None:
        self.timeouts.forget(conn)
        del self.conns[id(conn)]

    @rule(step=st.integers(0, 1200))
    def advance(self, step: int) -> None:
        self.now += step
        due = self.timeouts.take_due(self.now)
        expected = {id(conn) for conn in self.conns.values() if conn.next_timeout() <= self.now}
        assert {id(conn) for conn in due} == expected
        assert len(due) == len(expected)
        for conn in due:  # as the host does: the time-out is dealt with, and what comes next is watched
            for timer in ("retransmit", "keepalive", "delayed_ack"):
                if getattr(conn.timers, timer) <= self.now:
                    setattr(conn.timers, timer, NEVER if timer == "delayed_ack" else self.now + 50)
            self.timeouts.watch(conn)

    @invariant()
    def nobody_is_forgotten(self) -> None:
        earliest = min((conn.next_timeout() for conn in self.conns.values()), default=NEVER)
        assert self.timeouts.earliest() <= max(earliest, self.now)

    @invariant()
    def entries_are_few(self) -> None:
        assert len(self.timeouts) <= 2 * len(self.conns) + SLACK + 1


TestTimeouts = TimeoutsMachine.TestCase
TestTimeouts.settings = settings(stateful_step_count=60, deadline=None)


def test_far_deadline_beside_near_ones() -> None:
    """Keep-alive in two hours and a delayed ACK ten thousand times: the heap does not remember each."""
    timeouts, conn = ConnectionTimeouts(), connection()
    conn.timers.keepalive = 10**9
    timeouts.watch(conn)
    for now in range(0, 100_000, 10):
        conn.timers.delayed_ack = now + 5
        timeouts.watch(conn)
        assert timeouts.take_due(now + 5) == [conn]
        conn.timers.delayed_ack = NEVER
        timeouts.watch(conn)
        assert len(timeouts) <= SLACK + 3
    assert timeouts.take_due(10**9) == [conn]


def test_the_dead_are_let_go() -> None:
    """An entry that waits for its far deadline keeps no connection, and with it its buffers, alive."""
    timeouts, conn = ConnectionTimeouts(), connection()
    conn.timers.keepalive = 10**9
    timeouts.watch(conn)
    conn.timers.delayed_ack = 5
    timeouts.watch(conn)

    class Watched:
        pass

    conn.owner = Watched()
    ref = weakref.ref(conn.owner)
    timeouts.forget(conn)
    del conn
    assert ref() is None


def test_thousands_of_the_dead_are_swept() -> None:
    timeouts = ConnectionTimeouts()
    for _ in range(5000):
        conn = connection()
        conn.timers.keepalive = 10**9
        timeouts.watch(conn)
        timeouts.forget(conn)
    assert len(timeouts) <= SLACK + 1
