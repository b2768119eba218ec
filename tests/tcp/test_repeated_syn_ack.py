"""A SYN-ACK that was sent twice: its acknowledgment measures nothing (Karn; RFC 6298 3)."""

from __future__ import annotations

import pytest

from stack.wire.units import MS, SECOND
from tests.support.peer import Peer


@pytest.mark.parametrize("repeated", [False, True])
def test_only_one_that_was_sent_once_is_timed(repeated: bool) -> None:
    peer = Peer()
    peer.listens()
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <...>")
    if repeated:
        peer.sees("S. 0:0(0) ack 1 <...>", after=1 * SECOND)
    peer.passes(70 * MS)
    peer.sends(". 1:1(0) ack 1")
    conn = peer.accepts().conn
    assert conn.rtt.srtt == (-1 if repeated else 70 * MS)
