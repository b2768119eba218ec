"""Low-water marks: how much may wait to be sent, and how much must be there before a reader is woken."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from tests.support import states
from tests.support.peer import Peer
from tests.support.user import User

LOW = TcpOptions(notsent_lowat=4000)


class Owner:
    """Whoever uses the connection: is told when something has changed."""

    def __init__(self, user: User) -> None:
        self.peer = user.peer
        user.conn.owner = self
        self.news()

    def news(self) -> bool:
        """Whether there was any since it was asked last."""
        return bool(self.peer.host.take_woken())


# Sending.


def test_no_more_is_taken_than_may_wait() -> None:
    """The peer's window lets nothing through, so what is taken waits."""
    _, user = states.established(options=LOW, window=0)
    assert user.conn.writable == 4000
    assert user.write(10_000) == 4000
    assert user.conn.writable == 0
    assert user.write(1) == 0
    assert not user.conn.has_room


def test_what_is_in_flight_does_not_count() -> None:
    peer, user = states.established(options=LOW, window=6000)
    assert user.write(10_000) == 4000
    assert user.write(10_000) == 4000
    assert [item.size for item in peer.takes()] == [1000] * 6
    assert user.conn.unsent == 2000
    assert user.conn.writable == 2000


def test_writer_is_woken_when_half_of_it_is_gone() -> None:
    """Not with the ACK that lets it go, but when it has gone; and once."""
    peer, user = states.established(options=LOW, window=0)
    owner = Owner(user)
    user.write(10_000)
    peer.sends(". 1:1(0) ack 1 win 2000")
    assert [item.size for item in peer.takes()] == [1000] * 2
    assert user.conn.unsent == 2000
    assert not owner.news()
    peer.sends(". 1:1(0) ack 2001 win 1000")
    peer.sees(". 2001:3001(1000) ack 1")
    assert user.conn.unsent == 1000
    assert owner.news()
    assert user.conn.has_room
    peer.sends(". 1:1(0) ack 3001 win 1000")
    peer.sees("P. 3001:4001(1000) ack 1")
    assert not owner.news()


def test_low_mark_does_not_cut_segments() -> None:
    """Where nothing waits, a segment may, however low the mark."""
    peer, user = states.established(options=TcpOptions(notsent_lowat=1), window=1000)
    assert user.conn.writable == 1000
    assert user.write(5000) == 1000
    peer.sees("P. 1:1001(1000) ack 1")
    assert user.write(5000) == 1000
    assert user.write(5000) == 0
    peer.sees_nothing()


def test_nor_super_frames() -> None:
    peer, user = states.established(options=TcpOptions(notsent_lowat=1), max_payload=8000)
    assert user.write(50_000) == 8000
    peer.takes()
    assert user.conn.has_room


def test_buffer_is_a_bound_as_before() -> None:
    options = LOW.replace(send_buffer=3000)
    _, user = states.established(options=options, window=0)
    assert user.conn.writable == 3000
    assert user.write(10_000) == 3000


def test_half_of_the_buffer_must_be_free_as_well() -> None:
    options = LOW.replace(send_buffer=6000)
    peer, user = states.established(options=options)
    owner = Owner(user)
    assert user.write(4000) == 4000
    peer.takes()
    assert not user.conn.unsent
    assert not user.conn.has_room
    assert not owner.news()
    peer.sends(". 1:1(0) ack 1001")
    assert owner.news()
    assert user.conn.has_room


def test_acks_alone_do_not_wake_the_writer() -> None:
    options = LOW.replace(send_buffer=6000)
    peer, user = states.established(options=options, window=1000)
    owner = Owner(user)
    user.write(4000)
    peer.sees(". 1:1001(1000) ack 1")
    peer.sends(". 1:1(0) ack 1001 win 0")
    assert user.conn.room == 3000
    assert not owner.news()


def test_writer_who_need_not_wait_is_not_woken() -> None:
    _, user = states.established(options=LOW)
    owner = Owner(user)
    user.write(100)
    assert user.conn.has_room
    assert not owner.news()


def test_changed_mark_counts_at_once() -> None:
    _, user = states.established(window=0)
    user.write(10_000)
    assert user.conn.writable > 0
    user.set_options(LOW)
    assert user.conn.writable == 0
    owner = Owner(user)
    user.set_options(LOW.replace(notsent_lowat=30_000))
    assert owner.news()
    assert user.conn.writable == 20_000
    assert user.conn.has_room


def test_nothing_is_taken_after_close() -> None:
    _, user = states.established(options=LOW)
    user.close_write()
    assert user.conn.writable == 0
    assert not user.conn.has_room


# Receiving.


def established(lowat: int, *, window: int = 64 << 10, buffer: int = 6 << 20) -> tuple[Peer, User]:
    options = TcpOptions(receive_lowat=lowat, receive_window=window, receive_buffer=buffer)
    return states.established(options=options)


def test_reader_is_woken_for_enough() -> None:
    peer, user = established(2500)
    for start in (1, 1001):
        peer.sends(f"P. {start}:{start + 1000}(1000) ack 1")
        peer.takes()
        assert not user.conn.has_text(10_000)
    peer.sends("P. 2001:2501(500) ack 1")
    peer.takes()
    assert user.conn.has_text(10_000)
    user.reads(1)
    assert not user.conn.has_text(10_000)
    user.reads(2499)  # reading is not held back, only waking is


def test_reader_who_wants_less_gets_it() -> None:
    peer, user = established(2500)
    peer.sends("P. 1:101(100) ack 1")
    peer.takes()
    assert user.conn.has_text(100)
    assert not user.conn.has_text(101)


def test_without_a_mark_one_octet_is_enough() -> None:
    peer, user = states.established()
    assert not user.conn.has_text(1)
    peer.sends("P. 1:2(1) ack 1")
    peer.takes()
    assert user.conn.has_text(1 << 20)


@pytest.mark.parametrize("line", ["FP. 1:11(10) ack 1", "PU. 1:11(10) ack 1 urg 5"], ids=["end", "urgent"])
def test_what_is_there_is_enough_where_waiting_makes_no_sense(line: str) -> None:
    peer, user = established(2500)
    peer.sends(line)
    peer.takes()
    assert user.conn.has_text(10_000)


def test_error_wakes_the_reader() -> None:
    peer, user = established(2500)
    peer.sends("P. 1:11(10) ack 1")
    peer.takes()
    assert not user.conn.has_text(10_000)
    peer.sends("R. 11:11(0) ack 1")
    assert user.conn.has_text(10_000)
    user.reads(10)
    assert not user.conn.has_text(10_000)


@pytest.mark.parametrize("lowat", [3000, 6000, 9000, 10_000])
def test_full_window_wakes_the_reader(lowat: int) -> None:
    """A peer that sends full segments only can't fill what is less than one."""
    peer, user = established(lowat, window=10_000, buffer=10_000)
    start = 1
    while not user.conn.has_text(1 << 20):
        assert user.conn.rcv.wnd >= 1460  # the MSS that it was offered
        peer.sends(f"P. {start}:{start + 1000}(1000) ack 1")
        peer.takes()
        start += 1000
    user.reads(start - 1)


@pytest.mark.parametrize("passive", [False, True])
def test_window_is_large_enough_for_the_mark(passive: bool) -> None:
    """The peer is not stopped when the mark is reached: the window is twice as large, as far as the buffer may grow."""
    options = TcpOptions(receive_lowat=30_000, receive_window=10_000)
    _, user = states.established(options=options, passive=passive)
    assert user.conn.rcv.limit == 60_000
    assert user.conn.rcv.edge == 60_001
    user.set_options(options.replace(receive_lowat=50_000))
    assert user.conn.rcv.limit == 100_000
    user.set_options(options.replace(receive_lowat=4 << 20))
    assert user.conn.rcv.limit == 6 << 20
    user.set_options(options)
    assert user.conn.rcv.limit == 6 << 20  # what was offered is accepted


def test_mark_must_fit_the_buffer() -> None:
    with pytest.raises(ValueError, match="receive_lowat must not exceed receive_buffer"):
        TcpOptions(receive_lowat=10_001, receive_window=1000, receive_buffer=10_000)
