"""Timestamps on the resets that answer a segment (RFC 7323 5.2): its sender may tell ours from forged ones by them."""

from __future__ import annotations

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.habits import Habits
from stack.wire.units import MS
from tests.support import states
from tests.support.peer import Peer, Seen

SYN_OPTIONS = "<mss 1000,TS val 100 ecr 0>"


def _has_no_timestamps(seen: Seen) -> bool:
    return seen.segment.tsval < 0 and len(seen.frame) == (60 if len(seen.frame) > 52 else 40)


# RFC7323-21
@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("S 5:5(0) <TS val 100 ecr 0>", "R. 0:0(0) ack 6 <TS val 0 ecr 100>"),
        ("P 5:15(10) <TS val 100 ecr 0>", "R. 0:0(0) ack 15 <TS val 0 ecr 100>"),
        ("S. 5:5(0) ack 77 <TS val 100 ecr 9>", "R 77:77(0) <TS val 0 ecr 100>"),
        (". 5:5(0) ack 77 <TS val 100 ecr 9>", "R 77:77(0) <TS val 0 ecr 100>"),
    ],
)
def test_no_connection(line: str, answer: str, v6: bool) -> None:
    peer = Peer(v6=v6)
    peer.sends(line)
    seen = peer.sees(answer)
    assert len(seen.frame) <= len(peer.packet(line).frame())


# RFC7323-21
def test_the_clock_is_that_of_connections_between_the_two() -> None:
    """It goes on where the connection that was may have been, and says no more than a SYN-ACK would."""
    peer = Peer()
    peer.sends(". 5:5(0) ack 77 <TS val 100 ecr 9>")
    peer.sees("R 77:77(0) <TS val 0 ecr 100>")
    peer.passes(25 * MS)
    peer.listens()
    peer.sends(f"S 0:0(0) {SYN_OPTIONS}")
    peer.sees("S. 0:0(0) ack 1 <TS val 25 ecr 100,...>")


def test_segment_without_timestamps_draws_none() -> None:
    peer = Peer()
    for line, answer in (("S 5:5(0)", "R. 0:0(0) ack 6"), (". 5:5(0) ack 77", "R 77:77(0)")):
        peer.sends(line)
        assert _has_no_timestamps(peer.sees(answer))


# RFC7323-21
def test_ack_for_a_listener() -> None:
    peer = Peer()
    peer.listens()
    peer.sends("P. 5:15(10) ack 77 <TS val 100 ecr 9>")
    peer.sees("R 77:77(0) <TS val 0 ecr 100>")


# RFC7323-21
def test_wrong_ack_in_syn_sent() -> None:
    """Here nothing is agreed on yet, and the host's SYN has told its clock."""
    peer, _ = states.syn_sent()
    peer.passes(10 * MS)
    peer.sends("S. 0:0(0) ack 77 <mss 1000,TS val 100 ecr 0>")
    peer.sees("R 77:77(0) <TS val 10 ecr 100>")


# RFC7323-21
def test_wrong_ack_in_a_simultaneous_open() -> None:
    peer, _ = states.syn_sent()
    peer.sends(f"S 0:0(0) {SYN_OPTIONS}")
    peer.sees("S. 0:0(0) ack 1 <...>")
    peer.sends(". 1:1(0) ack 77 <TS val 101 ecr 0>")
    peer.sees("R 77:77(0) <TS val 0 ecr 101>")


def _half_open(options: TcpOptions | None = None) -> Peer:
    peer = Peer()
    peer.listens(options=options)
    peer.sends(f"S 0:0(0) {SYN_OPTIONS}")
    peer.sees("S. 0:0(0) ack 1 <...>")
    return peer


# RFC7323-21
def test_wrong_ack_of_a_half_open_connection() -> None:
    peer = _half_open()
    peer.passes(10 * MS)
    peer.sends(". 1:1(0) ack 77 <TS val 110 ecr 0>")
    peer.sees("R 77:77(0) <TS val 10 ecr 110>")


# RFC7323-21
def test_close_of_the_listener() -> None:
    """An abort by the user, which answers nothing: TS.Recent is echoed."""
    peer = _half_open()
    peer.passes(10 * MS)
    assert peer.listener is not None
    peer.host.close_listener(peer.listener, peer.now)
    peer.bench.flush()
    peer.sees("R. 1:1(0) ack 1 win 0 <TS val 10 ecr 100>")


def test_close_of_the_listener_without_timestamps() -> None:
    peer = states.half_open()
    assert peer.listener is not None
    peer.host.close_listener(peer.listener, peer.now)
    peer.bench.flush()
    assert _has_no_timestamps(peer.sees("R. 1:1(0) ack 1 win 0"))


@pytest.mark.parametrize("options", [TcpOptions(habits=Habits(echoes_in_resets=False)), TcpOptions(timestamps=False)])
def test_they_can_be_left_out(options: TcpOptions) -> None:
    """As Linux does with those that answer; and who offers none sends none."""
    peer = Peer(options=options)
    for line, answer in (
        ("S 5:5(0) <TS val 100 ecr 0>", "R. 0:0(0) ack 6"),
        (". 5:5(0) ack 77 <TS val 100 ecr 9>", "R 77:77(0)"),
    ):
        peer.sends(line)
        assert _has_no_timestamps(peer.sees(answer))
    peer, _ = states.syn_sent(options=options)
    peer.sends("S. 0:0(0) ack 77 <mss 1000,TS val 100 ecr 0>")
    assert _has_no_timestamps(peer.sees("R 77:77(0)"))
    peer = _half_open(options)
    peer.sends(". 1:1(0) ack 77 <TS val 110 ecr 0>")
    assert _has_no_timestamps(peer.sees("R 77:77(0)"))
