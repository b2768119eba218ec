"""Marks of congestion on fragments (RFC 3168 5.3): there is no reassembly here that could lose one."""

from __future__ import annotations

import pytest

from stack.wire import ip
from stack.wire.segment import CE, ECT_0, NOT_ECT
from tests.support.bench import HOST4, PEER4
from tests.support.peer import Peer

MORE_FRAGMENTS = 0x2000


def _fragments(datagram: bytes, codepoints: tuple[int, int]) -> list[bytes]:
    """The two halves of an IPv4 datagram, each with a codepoint of its own."""
    start = ip.decode(datagram).start
    text = datagram[start:]
    pieces = []
    for number, (piece, codepoint) in enumerate(zip((text[:8], text[8:]), codepoints, strict=True)):
        head = bytearray(ip.encode(PEER4, HOST4, 6, len(piece), traffic_class=codepoint, dont_fragment=False))
        head[6:8] = (1 if number else MORE_FRAGMENTS).to_bytes(2, "big")
        head[10:12] = bytes(2)
        total = sum(int.from_bytes(head[at : at + 2], "big") for at in range(0, 20, 2))
        head[10:12] = (~((total & 0xFFFF) + (total >> 16)) & 0xFFFF).to_bytes(2, "big")
        pieces.append(bytes(head) + piece)
    return pieces


# RFC3168-14
@pytest.mark.parametrize("codepoints", [(ECT_0, CE), (CE, ECT_0), (CE, NOT_ECT), (NOT_ECT, CE)])
def test_no_datagram_comes_of_fragments_without_their_mark(codepoints: tuple[int, int]) -> None:
    """All are dropped and counted: one with a mark as well as those that contradict each other."""
    peer = Peer()
    peer.listens()
    syn = peer.packet("S 0:0(0) <mss 1000>").frame()
    peer.bench.deliver(*_fragments(syn, codepoints))
    peer.sees_nothing()
    assert peer.host.half_open == 0
    assert peer.host.counters.drops == {"fragment": 2}
