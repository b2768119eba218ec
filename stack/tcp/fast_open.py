"""TCP Fast Open (RFC 7413): data that comes with the SYN, and is answered before the handshake is complete.

    client                                    server
    SYN, asks for a cookie         -->
                                   <--        SYN,ACK with a cookie, made of the client's address

    SYN, cookie, data              -->        it is right: the data goes to the application at once
                                   <--        SYN,ACK of the data
                                   <--        what the application answers
    ACK                            -->

Anything that is in doubt makes an ordinary handshake of it. Where the server does not acknowledge the data, the client
sends it again with the third segment; a SYN or a SYN-ACK that has to be sent again goes alone, for it may have been the
option or the data that some box on the path did not like.

A SYN may arrive twice, the second one when the connection that the first has made is over; then its data is delivered
again. So nothing of this is done unless the application has said, by `TcpOptions.fastopen`, that it bears that (2.1,
6.1).

Here is what both ends know of such a handshake: an `Opening` at the client's, an `Arrival` at the server's. It stays
with the connection as `Connection.fast_open`, which is None for all others. Cookies are made and judged by the host
(`stack.host.fast_open`); those of servers are kept in `stack.tcp.cookie_cache`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from stack.tcp.cookie_cache import CookieCache
from stack.tcp.negotiate import Agreement
from stack.tcp.state import LISTEN, Event, follow
from stack.wire.segment import FastOpenOption, Segment
from stack.wire.units import MINUTE, NEVER, Duration, Time

if TYPE_CHECKING:
    from stack.tcp.connection import Connection

SYN_ACK_RETRIES: Final = 5
"""How often a SYN-ACK is sent again to somebody whose cookie was right: with the backoff, for a minute. More often than
one to a stranger (`stack.tcp.half_open`): the address has been heard from before, and the application may be at work
already."""

RESET_HOLD: Duration = MINUTE
"""How long a connection that the peer has reset before the handshake was complete takes a place in the queue. If the
cookie of somebody else was stolen, it is he who sends that reset, and at the end of the round trip the place would be
free for the thief's next SYN (5.1); Linux waits as long."""

SYN_OPTION_ROOM: Final = 40  #: Left for options beside the data of a SYN; a box on the path may add some. As in Linux.


class FastOpen:
    """What a connection knows of its fast opening; the base of both roles."""

    __slots__ = ("_option", "acknowledged")

    def __init__(self, option: FastOpenOption | None) -> None:
        self._option = option
        self.acknowledged = False  # the data that came with the SYN was taken

    def on_syn(self, conn: Connection, now: Time) -> int:
        """Our SYN or SYN-ACK leaves; how many octets of the send buffer go with it."""
        return 0

    def take_option(self) -> FastOpenOption | None:
        """What it carries: only the first one carries anything."""
        option, self._option = self._option, None
        return option

    def on_repeated_syn(self, conn: Connection) -> bool:
        """The peer's SYN comes again; whether that is settled by this."""
        return False

    def on_syn_ack(self, seg: Segment, ack: int, mss: int, now: Time) -> None:
        """The peer's SYN-ACK, which acknowledges up to `ack` and says that it takes `mss`."""

    def on_timeout(self, retries: int, now: Time) -> bool:
        """Our SYN or SYN-ACK was not answered in time, again after so many `retries`; whether to give up."""
        return False

    def on_too_long(self, conn: Connection) -> None:
        """Our SYN was too long for the path."""

    def on_icmp_error(self, now: Time) -> None:
        """An ICMP error is about something of ours that is not acknowledged."""

    def on_established(self, conn: Connection) -> None:
        """The handshake is complete."""

    def on_reset(self, now: Time) -> bool:
        """The peer has reset the connection; whether that is more to the application than a refusal."""
        return False

    def on_end(self) -> None:
        """The connection is over."""


class Opening(FastOpen):
    """An active open that may send data with its SYN: `room` octets at most."""

    __slots__ = ("_asked", "_cache", "_key", "_pause", "_repeated", "_room", "_settled", "_size")

    def __init__(
        self, option: FastOpenOption | None, room: int, cache: CookieCache, key: bytes, pause: Duration
    ) -> None:
        FastOpen.__init__(self, option)
        self._asked = option
        self._room = room
        self._size = 0  # octets that went with the SYN
        self._cache = cache
        self._key = key
        self._pause = pause
        self._repeated = False  # there was a second SYN
        self._settled = False  # nothing that happens from now on is a failure of this opening

    def on_syn(self, conn: Connection, now: Time) -> int:
        if not self._room:
            return 0
        self._size = conn.snd.send_with_syn(self._room, now)
        self._room = 0  # RFC7413-08: another SYN goes without data
        return self._size

    # RFC7413-04
    def on_syn_ack(self, seg: Segment, ack: int, mss: int, now: Time) -> None:
        server = self._cache.server(self._key)
        server.mss = mss
        # A cookie that nobody has asked for is none. But it may come late, as if in answer to a second SYN.
        answer = seg.fastopen if self._asked is not None else None
        if answer is not None and answer[0]:
            server.learn(answer)
            server.on_success()
        elif ack > 1:
            server.on_success()
        elif self._size:
            self._fail(now)
        elif self._asked is not None and not self._repeated:
            server.on_no_cookie(self._asked)
        self._settled = True

    def on_timeout(self, retries: int, now: Time) -> bool:
        self._repeated = True
        self._fail(now)  # until a SYN-ACK tells otherwise
        return False

    def on_too_long(self, conn: Connection) -> None:
        if self._size:
            conn.snd.resend_first()  # without data it will not be

    def on_icmp_error(self, now: Time) -> None:
        self._fail(now)

    def _fail(self, now: Time) -> None:
        """The data was not taken, or did not get there, or nobody knows."""
        if self._size and not self._settled:
            self._settled = True
            self._cache.server(self._key).on_failure(self._pause, now)

    # RFC7413-09
    def on_established(self, conn: Connection) -> None:
        """What came with the SYN and is not acknowledged leaves again at once, as far as the window goes."""
        if not self._size:
            return
        snd = conn.snd
        records = snd.repair.records
        self.acknowledged = snd.una > self._size
        if snd.nxt > snd.una + snd.wnd:
            snd.retract(snd.una + snd.wnd)  # it left before there was a window: now there is, and it is too small
        for record in records:
            records.mark_lost(record)
        if not snd.outstanding:
            conn.timers.retransmit = conn.timers.loss = NEVER


class Arrival(FastOpen):
    """A passive open whose data was taken from the SYN, and which is in a listener's queue until it is complete."""

    __slots__ = ("_queue",)

    def __init__(self, option: FastOpenOption | None, queue: Queue) -> None:
        FastOpen.__init__(self, option)
        self._queue: Queue | None = queue
        queue.pending += 1

    def on_repeated_syn(self, conn: Connection) -> bool:
        # RFC 7413 4.2.2: what comes with it is here already, or was not taken. The client waits for a SYN-ACK.
        conn.snd.resend_first()
        return True

    def on_timeout(self, retries: int, now: Time) -> bool:
        return retries >= SYN_ACK_RETRIES

    def on_established(self, conn: Connection) -> None:
        self.on_end()

    def on_reset(self, now: Time) -> bool:
        if self._queue is not None:
            self._queue.hold(now)
        return True

    def on_end(self) -> None:
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.pending -= 1


# RFC7413-05
class Queue:
    """How many fast openings of one listener wait for the end of their handshakes (PendingFastOpenRequests)."""

    __slots__ = ("_reset", "pending")

    def __init__(self) -> None:
        self.pending = 0
        self._reset: deque[Time] | None = None  # when places are free that are held for connections reset by the peer

    def has_room(self, limit: int, now: Time) -> bool:
        """Whether one more may come. Places are let go only when they are needed: there are never more than `limit`."""
        reset = self._reset
        while reset and reset[0] <= now:
            reset.popleft()
        return self.pending + (len(reset) if reset else 0) < limit

    def hold(self, now: Time) -> None:
        """One that waits was reset."""
        if self._reset is None:
            self._reset = deque()
        self._reset.append(now + RESET_HOLD)


# RFC7413-07, RFC7413-10
def accept(conn: Connection, syn: Segment, fast_open: Arrival, now: Time) -> None:
    """Make a new connection of a SYN whose data may be taken: in SYN-RECEIVED, with a SYN-ACK to be sent.

    It may send before that is acknowledged, as much as the window in the SYN and the initial congestion window allow.
    """
    conn.own_state = follow(LISTEN, Event.RECV_SYN)
    conn.fast_open = fast_open
    conn.irs = syn.seq
    conn.progress_at = conn.heard_at = now
    snd, rcv = conn.snd, conn.rcv
    agreement = Agreement(conn.offer, syn, v6=conn.v6)
    rcv.begin(conn.options, timestamps=agreement.timestamps)
    conn.agree(agreement, syn, now)
    if not agreement.scaling:
        conn.offer = conn.offer.without_scaling()  # RFC 7323 2.2: only who was offered it answers with it
    snd.early = True
    snd.max_wnd = syn.window  # never scaled on a SYN (RFC 7323 2.2)
    # Both windows count from the first octet behind our SYN, and SND.UNA is the SYN itself.
    snd.wnd = 1 + syn.window
    snd.congestion.cwnd += 1
    text = memoryview(syn.payload)[: rcv.edge - rcv.nxt]
    if text:
        fast_open.acknowledged = True
        conn.data_segs_in += syn.segments
        conn.last_data_in = now
        rcv.on_text(1, text, now)
