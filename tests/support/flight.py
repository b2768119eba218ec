"""A flight of segments and what is answered to it: the ground of conversations about losses.

The peer's MSS leaves 1000 octets of data in a segment, so that segment number n begins at 1000 * n + 1, and windows are
read in thousands. The round trip is 100 ms: it is what the handshake took, and `passes(RTT)` is for the tests to say.
The congestion control is NewReno's unless told otherwise, because its numbers are plain.
"""

from __future__ import annotations

from stack.tcp.config import TcpOptions
from stack.tcp.tlp import SLACK
from stack.wire.units import MS, Duration
from tests.support import states
from tests.support.peer import Peer, Seen
from tests.support.user import User

MSS = 1000
RTT: Duration = 100 * MS
RTO: Duration = 300 * MS  #: After one sample of 100 ms: SRTT + 4 * RTTVAR, and no less than 200 ms beyond SRTT.
PTO: Duration = 2 * RTT + SLACK  #: When silence of a flight is answered with a tail loss probe.
NEWRENO = TcpOptions(congestion="newreno")
TIMESTAMP_BYTES = 12


def opened(
    write: int,
    *,
    sack: bool = True,
    timestamps: bool = False,
    options: TcpOptions = NEWRENO,
    window: int = 65535,
    rtt: Duration = RTT,
    max_payload: int = 0,
) -> tuple[Peer, User]:
    """A connection whose user has written so many octets; what the initial window lets go has been looked at."""
    mss = MSS + (TIMESTAMP_BYTES if timestamps else 0)
    peer, user = states.established(
        options=options, mss=mss, sack=sack, timestamps=timestamps, window=window, rtt=rtt, max_payload=max_payload
    )
    user.write(write)
    assert starts(peer.takes()) == [1 + MSS * number for number in range(min(write // MSS, 10))]
    return peer, user


def starts(seen: list[Seen]) -> list[int]:
    """Where the segments with text begin."""
    return [item.start for item in seen if item.size]


def answer(peer: Peer, ack: int, *blocks: str, window: int | None = None) -> list[int]:
    """The peer acknowledges `ack` and reports blocks like "1001:2001"; where what the host sends on that begins."""
    win = "" if window is None else f" win {window}"
    sack = f" <sack {' '.join(blocks)}>" if blocks else ""
    peer.sends(f". 1:1(0) ack {ack}{win}{sack}")
    return starts(peer.takes())


def segment(number: int, count: int = 1) -> str:
    """The block of segment `number`, the first being 0, and the `count - 1` behind it."""
    return f"{1 + MSS * number}:{1 + MSS * (number + count)}"


def cwnd(user: User) -> int:
    """The congestion window in segments."""
    return user.conn.info(user.peer.now).snd_cwnd


def ssthresh(user: User) -> int:
    """The slow-start threshold in segments."""
    return user.conn.info(user.peer.now).snd_ssthresh
