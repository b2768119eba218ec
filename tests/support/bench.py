"""A host on a bench: one `Host`, its clock, and the ends of its wire.

Time is virtual. It stands still while packets go in and come out, and moves only when a test says so; on the way
the host is woken at every deadline that it names. Like a driver, the bench takes whatever the host has to send
after each batch of packets, each command and each deadline, and hands it to whom it is addressed.

Every frame is decoded as a stranger would: the IP header with its checksum, TCP's checksum, no frame larger than the
link takes. A super-frame is checked as the device would that cuts it, and then cut, so that a peer sees what a wire
carries; or it is shown whole, if a test wants to see that.
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
from stack.wire.packet import PARTIAL, Packet
from stack.wire.segment import RST, SYN, URG, Segment
from stack.wire.superframe import split
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

    def __init__(
        self, *, options: TcpOptions | None = None, mtu: int = 1500, max_payload: int = 0, secret: bytes = SECRET
    ) -> None:
        self.secret = secret
        self.mtu = mtu
        self.max_payload = max_payload
        self.whole = False  #: Peers see super-frames as they are.
        self.bursts: list[int] = []  #: How many segments each packet with text stood for, since a test has cleared it.
        self.host = Host(secret=secret, mtu=mtu, options=options, max_payload=max_payload)
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
            if packet.parts:
                self.bursts.append(-(-_text(packet) // (packet.gso_size or _text(packet))))
            if packet.gso_size:
                self._take_super_frame(packet)
            else:
                self._take(complete(packet).frame())
        raise AssertionError("the host sends without end\n" + self.story())

    def _take_super_frame(self, packet: Packet) -> None:
        """What a device does with one, if it can."""
        fault = self._super_frame_fault(packet)
        if fault:
            self.note("out", notation.format_packet(complete(packet).frame()))
            raise AssertionError(f"{fault}\n{self.story()}")
        if self.whole:
            self._take(complete(packet).frame(), packet.gso_size)
            return
        for piece in split(packet):
            self._take(piece.frame())

    def _super_frame_fault(self, packet: Packet) -> str:
        """Why a device could not cut it, or should not have to; or ""."""
        size, gso_size = _text(packet), packet.gso_size
        seg_head = packet.head[ip.decode(packet.head, len(packet)).start :]
        if not self.max_payload:
            return "a super-frame on a link that cuts none"
        if not gso_size < size <= self.max_payload:
            return f"a super-frame of {size} octets in segments of {gso_size} on a link that cuts {self.max_payload}"
        if len(packet.head) + gso_size > self.mtu:
            return f"pieces of {len(packet.head)} + {gso_size} octets on a link of {self.mtu}"
        if packet.csum != PARTIAL:
            return "a super-frame with a whole checksum: it would be right for none of the pieces"
        if seg_head[13] & (SYN | RST | URG):
            return "a super-frame with a flag that can't be repeated"
        if len(seg_head) != seg_head[12] >> 4 << 2:
            return "a super-frame with text among its headers, or headers among its text"
        return ""

    def _take(self, frame: bytes, gso_size: int = 0) -> None:
        self.note("out", notation.format_packet(frame))
        header = ip.decode(frame)
        if len(frame) > self.mtu and not gso_size:
            raise AssertionError(f"a packet of {len(frame)} octets on a link of {self.mtu}\n{self.story()}")
        if header.protocol != PROTO_TCP:
            self.strays.append(frame)
            return
        if not tcp.checksum_ok(frame, header):
            raise AssertionError("a wrong TCP checksum\n" + self.story())
        seg = tcp.decode(frame, header.start, header.end)
        seg.gso_size = gso_size
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


def _text(packet: Packet) -> int:
    """Octets of payload that lie apart from the headers."""
    return len(packet) - len(packet.head)
