"""The peer's implied state, segment by segment, in each way a connection can open and close."""

from __future__ import annotations

import pytest

from stack.observe.peer import ImpliedPeer
from stack.wire.segment import Segment

FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, ".": 16}
OURS, THEIRS = 0xFFFF_FFF0, 0xFFFF_FFFA  # initial numbers just below the wrap


def play(script: str) -> list[tuple[str, str]]:
    """Each line is `> flags seq ack length state` (we send) or `< ...` (the peer sends), numbers relative."""
    peer = ImpliedPeer()
    seen = []
    for line in filter(str.strip, script.splitlines()):
        arrow, letters, seq, ack, size, wanted = line.split()
        ours, theirs = (OURS, THEIRS) if arrow == ">" else (THEIRS, OURS)
        flags = sum(FLAGS[letter] for letter in letters)
        number, acknowledged = (ours + int(seq)) % 2**32, (theirs + int(ack)) % 2**32
        seg = Segment(1, 2, number, acknowledged, flags, 1000, (b"x" * int(size),) if int(size) else ())
        state = peer.on_sent(seg) if arrow == ">" else peer.on_received(seg)
        seen.append((str(state), wanted))
    return seen


OPENED_BY_PEER = """
    < S  0 0 0 SYN-SENT
    > S. 0 1 0 SYN-SENT
    < .  1 1 0 ESTABLISHED
"""

OPENED_BY_US = """
    > S  0 0 0 LISTEN
    < S. 0 1 0 SYN-RECEIVED
    > .  1 1 0 ESTABLISHED
"""

SCRIPTS = {
    "data both ways, peer closes first": OPENED_BY_PEER
    + """
    < P. 1   1   70 ESTABLISHED
    > P. 1   71  99 ESTABLISHED
    < F. 71  100 0  FIN-WAIT-1
    > .  100 72  0  FIN-WAIT-2
    > F. 100 72  0  FIN-WAIT-2
    < .  72  101 0  TIME-WAIT
    """,
    "peer closes first, our FIN carries the ACK": OPENED_BY_PEER
    + """
    < F. 1 1 0 FIN-WAIT-1
    > F. 1 2 0 FIN-WAIT-2
    < .  2 2 0 TIME-WAIT
    """,
    "we close first": OPENED_BY_US
    + """
    > F. 1 1 0 ESTABLISHED
    < .  1 2 0 CLOSE-WAIT
    < P. 1 2 5 CLOSE-WAIT
    > .  2 6 0 CLOSE-WAIT
    < F. 6 2 0 LAST-ACK
    > .  2 7 0 CLOSED
    """,
    "we close first, its FIN carries the ACK and the last data": OPENED_BY_US
    + """
    > F.  1 1 10 ESTABLISHED
    < FP. 1 12 5 LAST-ACK
    > .   12 7 0 CLOSED
    """,
    "the FINs cross": OPENED_BY_US
    + """
    > F. 1 1 0 ESTABLISHED
    < F. 1 1 0 FIN-WAIT-1
    > .  2 2 0 TIME-WAIT
    < .  2 2 0 TIME-WAIT
    """,
    "the FINs cross, its ACK first": OPENED_BY_US
    + """
    > F. 1 1 0 ESTABLISHED
    < F. 1 1 0 FIN-WAIT-1
    < .  2 2 0 CLOSING
    > .  2 2 0 TIME-WAIT
    """,
    "the SYNs cross": """
    > S  0 0 0 LISTEN
    < S  0 0 0 SYN-SENT
    > S. 0 1 0 SYN-SENT
    < S. 0 1 0 SYN-RECEIVED
    > .  1 1 0 ESTABLISHED
    """,
    "a closed port of ours": """
    < S  0 0 0 SYN-SENT
    > R. 0 1 0 CLOSED
    """,
    "a closed port of its": """
    > S  0 0 0 LISTEN
    < R. 0 1 0 CLOSED
    """,
    "the peer resets": OPENED_BY_US + "< R 1 0 0 CLOSED",
    "we reset": OPENED_BY_PEER + "> R. 1 1 0 CLOSED",
    "SYN and FIN sent again": """
    < S  0 0 0 SYN-SENT
    < S  0 0 0 SYN-SENT
    > S. 0 1 0 SYN-SENT
    > S. 0 1 0 SYN-SENT
    < .  1 1 0 ESTABLISHED
    < F. 1 1 0 FIN-WAIT-1
    < F. 1 1 0 FIN-WAIT-1
    > .  1 2 0 FIN-WAIT-2
    < F. 1 1 0 FIN-WAIT-2
    > F. 1 2 0 FIN-WAIT-2
    > F. 1 2 0 FIN-WAIT-2
    < .  2 2 0 TIME-WAIT
    """,
    "an ACK of less than our FIN is none of it": OPENED_BY_US
    + """
    > F. 1 1 5 ESTABLISHED
    < .  1 6 0 ESTABLISHED
    < .  1 7 0 CLOSE-WAIT
    """,
    "a FIN on the third segment": """
    < S  0 0 0 SYN-SENT
    > S. 0 1 0 SYN-SENT
    < F. 1 1 9 FIN-WAIT-1
    > .  1 11 0 FIN-WAIT-2
    """,
    "used again out of TIME-WAIT": OPENED_BY_PEER
    + """
    < F. 1 1 0 FIN-WAIT-1
    > F. 1 2 0 FIN-WAIT-2
    < .  2 2 0 TIME-WAIT
    < S  9 0 0 SYN-SENT
    """,
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_states(name: str) -> None:
    for seen, wanted in play(SCRIPTS[name]):
        assert seen == wanted
