"""One queue of a device that several processes share, and the ICMP errors that came out of the wrong one.

The kernel chooses the queue of a packet by a hash of its addresses and ports, so each flow has a queue of its own, and
a process that owns it. An ICMP error is about a flow but has no ports: it comes out of the queue that the addresses
alone lead to. So each process hands every ICMP error that the kernel gives it to all others too, as a datagram, and the
one that knows the flow heeds it; the rest count it as unmatched. What came from another process isn't handed on again.

    device --queue--> us                 errors: also to the others' inboxes
    our inbox ------> us                 at the end of what the queue had

Nobody waits for anybody: where an inbox is full the error is lost, as networks lose packets, and counted. Errors cost a
copy for each process, and anybody can send them, so only `PER_SECOND` are handed on in a second.
"""

from __future__ import annotations

import errno
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from select import EPOLLIN, epoll

import trio

from stack.link.around import LinkAround
from stack.link.protocol import LinkClosedError
from stack.link.tun import TunLink
from stack.wire import icmp, ip
from stack.wire.packet import Packet

PER_SECOND = 1000  #: ICMP errors handed on.
LONGEST = 2048  #: Octets of one that is; RFC 1812 4.3.2.3 asks for up to 576, RFC 4443 for up to 1280.

_SHORTEST_V4, _SHORTEST_V6 = 28, 48  # octets of an IP header and an ICMP header


class SharedLink(LinkAround):
    """The queue `link` as the link of one process; `inbox` and `outboxes` are datagram sockets.

    What the other processes send arrives at `inbox`, and each of `outboxes` leads to one of theirs. All become the
    link's own. `counters` has what became of ICMP errors: `passed-on` and `lost` count copies, `held-back` those above
    the limit, `received` those that came from another process. `clock` gives seconds; by default Trio's.
    """

    def __init__(
        self,
        link: TunLink,
        inbox: socket.socket,
        outboxes: Sequence[socket.socket],
        *,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        super().__init__(link)
        self.counters: Counter[str] = Counter()
        self._inbox = inbox
        self._outboxes = outboxes
        self._clock = clock
        self._second = 0.0  # since when they are counted
        self._in_second = 0
        for box in (inbox, *outboxes):
            box.setblocking(False)
        # Trio waits for one descriptor at a time; this one stands for both.
        self._both = epoll()
        self._both.register(link.fileno(), EPOLLIN)
        self._both.register(inbox, EPOLLIN)

    def read_batch(self, limit: int) -> list[Packet]:
        """What the queue has, and then what the other processes have sent."""
        batch = self.link.read_batch(limit)
        for packet in batch:
            if _is_error(packet.head):
                self._pass_on(packet)
        if len(batch) < limit:
            self._read_inbox(batch, limit)
        return batch

    async def wait_readable(self) -> None:
        if self._both.closed:
            await self.link.wait_readable()  # which says that it is closed
        try:
            await trio.lowlevel.wait_readable(self._both.fileno())
        except trio.ClosedResourceError as error:
            raise LinkClosedError(errno.EBADF, f"the link on {self.name} is closed") from error

    def close(self) -> None:
        """Close the queue's descriptor, here, and the sockets."""
        if not self._both.closed:
            if trio.lowlevel.in_trio_run():
                trio.lowlevel.notify_closing(self._both.fileno())
            self._both.close()
            for box in (self._inbox, *self._outboxes):
                box.close()
        self.link.close()

    def _pass_on(self, packet: Packet) -> None:
        now = self._clock()
        if now - self._second >= 1:
            self._second, self._in_second = now, 0
        if self._in_second >= PER_SECOND or len(packet) > LONGEST:
            self.counters["held-back"] += 1
            return
        self._in_second += 1
        frame = packet.frame()
        for box in self._outboxes:
            try:
                box.send(frame)
                self.counters["passed-on"] += 1
            except OSError:  # full; or that process is gone and its inbox with it
                self.counters["lost"] += 1

    def _read_inbox(self, batch: list[Packet], limit: int) -> None:
        try:
            while len(batch) < limit:
                batch.append(Packet(self._inbox.recv(LONGEST)))
                self.counters["received"] += 1
        except OSError:
            pass  # empty; were it broken, nothing would depend on it


def _is_error(head: bytes) -> bool:
    """Whether this is an ICMP error, of either family, behind a header without extensions."""
    if len(head) < _SHORTEST_V4:
        return False
    if head[0] >> 4 == 4:
        start = (head[0] & 15) << 2
        return head[9] == ip.PROTO_ICMP and start < len(head) and icmp.is_error(head[start], 4)
    return head[6] == ip.PROTO_ICMPV6 and len(head) >= _SHORTEST_V6 and icmp.is_error(head[40], 6)
