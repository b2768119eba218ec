"""A host on a bench: one `Host`, its clock, and the ends of its wire.

Time is virtual. It stands still while packets go in and come out, and moves only when a test says so; on the way
the host is woken at every deadline that it names. Like a driver, the bench takes whatever the host has to send
after each batch of packets, each command and each deadline, and hands it to whom it is addressed.

Every frame is decoded as a stranger would: the IP header with its checksum, TCP's checksum, no frame larger than the
link takes.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from stack.host.host import Host
from stack.tcp.config import TcpOptions
from stack.wire import icmp, ip, notation, tcp
from stack.wire.address import parse_address
from stack.wire.ip import PROTO_TCP
from stack.wire.offload import complete
from stack.wire.packet import Packet
from stack.wire.segment import Segment
from stack.wire.units import MS, SECOND, Duration, Time

START: Time = 1000 * SECOND  #: A multiple of the 4 microseconds of the ISN clock.
HOST4, PEER4 = parse_address("10.9.0.2"), parse_address("10.9.0.1")
HOST6, PEER6 = parse_address("fd00::2"), parse_address("fd00::1")
SECRET = b"the secret of the host on the bench"

Key = tuple[bytes, int, bytes, int]
"""Host address and port, peer address and port."""


class Taker(Protocol):
    """Who is at the other end of some connection."""

    def take(self, now: Time, seg: Segment, frame: bytes) -> None:
        """A segment of the host."""

    def unseen(self) -> list[str]:
        """Segments, as lines, that the test has not looked at."""


class Bench:
    """A host with the addresses 10.9.0.2/24 and fd00::2/64, its clock, and who listens to what it sends."""

    def __init__(self, *, options: TcpOptions | None = None, mtu: int = 1500, secret: bytes = SECRET) -> None:
        self.secret = secret
        self.mtu = mtu
        self.host = Host(secret=secret, mtu=mtu, options=options)
        self.host.add_address("10.9.0.2/24")
        self.host.add_address("fd00::2/64")
        self.host.on_fault = self._on_fault
        self.now: Time = START
        self.origin: Time = START  # where the story begins
        self.log: list[str] = []
        self.takers: dict[Key, Taker] = {}
        self.strays: deque[bytes] = deque()  # frames for nobody who has a taker: ICMP, other ports
        self._wakes = 0  # at the present time

    # Packets.

    def deliver(self, *packets: Packet | bytes) -> None:
        """One batch: all packets go in, then the host may answer."""
        for packet in packets:
            given = packet if isinstance(packet, Packet) else Packet(packet)
            self.note("  in", notation.format_packet(complete(given).frame()))
            self.host.receive(given, self.now)
        self.flush()

    def flush(self) -> None:
        """Take all that the host has to send now."""
        for _ in range(100_000):
            packet = self.host.poll_transmit(self.now)
            if packet is None:
                return
            self._take(complete(packet).frame())
        raise AssertionError("the host sends without end\n" + self.story())

    def _take(self, frame: bytes) -> None:
        self.note("out", notation.format_packet(frame))
        header = ip.decode(frame)
        if len(frame) > self.mtu:
            raise AssertionError(f"a packet of {len(frame)} octets on a link of {self.mtu}\n{self.story()}")
        if header.protocol != PROTO_TCP:
            self.strays.append(frame)
            return
        if not tcp.checksum_ok(frame, header):
            raise AssertionError("a wrong TCP checksum\n" + self.story())
        seg = tcp.decode(frame, header.start, header.end)
        taker = self.takers.get((header.src, seg.src_port, header.dst, seg.dst_port))
        if taker is None:
            self.strays.append(frame)
        else:
            taker.take(self.now, seg, frame)

    def stray(self) -> str:
        """The next frame that was sent to nobody on the bench, as a line; the frame is taken."""
        if not self.strays:
            raise AssertionError("the host has sent nothing else\n" + self.story())
        return notation.format_packet(self.strays.popleft())

    def icmp(self) -> icmp.Icmp:
        """The next frame that is for no peer must be ICMP: its message."""
        if not self.strays:
            raise AssertionError("the host has sent no ICMP\n" + self.story())
        frame = self.strays.popleft()
        header = ip.decode(frame)
        return icmp.decode(frame[header.start : header.end], header.src, header.dst)

    # Time.

    def step(self, limit: Time) -> bool:
        """Go on to the host's next deadline, if it is not after `limit`; else to `limit`, and give False."""
        due = self.host.next_timeout()
        if due > limit:
            self.now = max(self.now, limit)
            return False
        self._wakes = self._wakes + 1 if due <= self.now else 1
        self.now = max(self.now, due)
        if self._wakes > 1000:
            raise AssertionError("the host wants to be woken again and again at the same time\n" + self.story())
        self.host.on_timeout(self.now)
        self.flush()
        return True

    def passes(self, duration: Duration) -> None:
        """Time passes; the host is woken whenever it asked to be."""
        unseen = [line for taker in self.takers.values() for line in taker.unseen()]
        if unseen:
            raise AssertionError("the host has sent what the test has not looked at:\n" + "\n".join(unseen))
        limit = self.now + duration
        while self.step(limit):
            pass

    # What happened, for failures.

    def note(self, way: str, text: str) -> None:
        self.log.append(f"{(self.now - self.origin) / MS:12.3f} ms  {way:>4}  {text}")

    def story(self) -> str:
        """The last of what went over the wire."""
        return "\n".join(self.log[-60:])

    def _on_fault(self, fault: BaseException) -> None:
        raise AssertionError("the host had a fault of its own\n" + self.story()) from fault
