"""Resets that answer an ACK of what was never sent: <SEQ=SEG.ACK><CTL=RST>, and nothing else (RFC 9293 3.10.7.4)."""

from __future__ import annotations

import pytest

from tests.support import states


@pytest.mark.parametrize("reach", [states.syn_sent, states.syn_received], ids=["SYN-SENT", "SYN-RECEIVED"])
def test_what_stands_in_them(reach: states.Reach) -> None:
    peer, _ = reach()
    peer.sends(". 1:1(0) ack 5")
    peer.sees("R 5:5(0) win 0")
    assert peer.last is not None
    reset = peer.last.segment
    assert (reset.ack, reset.window, reset.tsval, reset.mss) == (0, 0, -1, 0)
