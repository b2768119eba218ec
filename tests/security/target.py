"""A host under attack, and an attacker who writes every octet of a frame himself.

`Target` is a host with a listener, at a time of its own. `Target.hit(frame)` lets a frame arrive and gives the
answers; `Target.expect` says what must come of it: answers in one word each, and the reason under which it was counted.
Frames are built here by hand, with the same care for being wrong in one place only that an attacker would take.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence

from stack.host.host import Host
from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection
from stack.wire import icmp, ip, tcp
from stack.wire.address import parse_address
from stack.wire.offload import complete
from stack.wire.packet import Packet
from stack.wire.segment import ACK, FIN, PSH, RST, SYN, Segment
from stack.wire.units import NEVER, SECOND, Duration, Time

US4, THEM4 = parse_address("10.9.0.2"), parse_address("10.9.0.1")
US6, THEM6 = parse_address("fd00::2"), parse_address("fd00::1")
PORT = 80
START: Time = 1000 * SECOND
SECRET = b"a secret of the target"

SYN_OPTIONS = bytes.fromhex("020405b4 01030307 0402 0101")  # mss 1460, wscale 7, sackOK


# Frames.


def ones_complement_sum(data: bytes) -> int:
    """RFC 1071's loop, as plain as it is written there."""
    data += bytes(len(data) % 2)
    total: int = sum(word for (word,) in struct.iter_unpack("!H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def ip4(
    payload: bytes,
    *,
    src: bytes = THEM4,
    dst: bytes = US4,
    protocol: int = 6,
    version: int = 4,
    ihl: int | None = None,
    options: bytes = b"",
    total: int | None = None,
    flags: int = 0x4000,
    hop_limit: int = 64,
    checksum_error: int = 0,
    trailer: bytes = b"",
) -> bytes:
    """An IPv4 packet; what is not said is right."""
    ihl = 5 + len(options) // 4 if ihl is None else ihl
    total = 20 + len(options) + len(payload) if total is None else total
    head = struct.pack("!BBHHHBBH4s4s", version << 4 | ihl, 0, total, 7, flags, hop_limit, protocol, 0, src, dst)
    head += options
    checksum = ones_complement_sum((head + payload)[: ihl * 4]) ^ 0xFFFF ^ checksum_error
    return head[:10] + checksum.to_bytes(2, "big") + head[12:] + payload + trailer


def ip6(
    payload: bytes,
    *,
    src: bytes = THEM6,
    dst: bytes = US6,
    next_header: int = 6,
    length: int | None = None,
    hop_limit: int = 64,
) -> bytes:
    """An IPv6 packet; extension headers are part of the payload."""
    length = len(payload) if length is None else length
    return struct.pack("!IHBB16s16s", 6 << 28, length, next_header, hop_limit, src, dst) + payload


def tcp_segment(
    flags: int,
    *,
    seq: int = 0,
    ack: int = 0,
    payload: bytes = b"",
    options: bytes = b"",
    sport: int = 4000,
    dport: int = PORT,
    window: int = 65535,
    urgent: int = 0,
    offset: int | None = None,
    reserved: int = 0,
    src: bytes = THEM4,
    dst: bytes = US4,
    pseudo: bool = True,
    checksum_error: int = 0,
) -> bytes:
    """A TCP segment whose checksum is right for the addresses, unless asked otherwise."""
    options += bytes(-len(options) % 4)
    offset = 5 + len(options) // 4 if offset is None else offset
    word = offset << 12 | reserved << 8 | flags
    head = struct.pack("!HHIIHHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, word, window, 0, urgent)
    body = head + options + payload
    summed = body if not pseudo else src + dst + struct.pack("!II", 6, len(body)) + body
    checksum = ones_complement_sum(summed) ^ 0xFFFF ^ checksum_error
    return body[:16] + checksum.to_bytes(2, "big") + body[18:]


def icmp4(kind: int, code: int, rest: int, payload: bytes) -> bytes:
    """An ICMP message."""
    return icmp.encode(icmp.Icmp(kind, code, rest, payload))


def icmp6(kind: int, code: int, rest: int, payload: bytes, *, src: bytes = THEM6, dst: bytes = US6) -> bytes:
    """An ICMPv6 message."""
    return icmp.encode(icmp.Icmp(kind, code, rest, payload), src, dst)


def timestamps(tsval: int, tsecr: int = 0) -> bytes:
    """The option, padded in front as everybody does it."""
    return b"\x01\x01\x08\x0a" + struct.pack("!II", tsval & 0xFFFFFFFF, tsecr & 0xFFFFFFFF)


class Target:
    """A host with a listener on port 80, IPv4 and IPv6."""

    def __init__(
        self, *, options: TcpOptions | None = None, backlog: int = 128, mtu: int = 1500, secret: bytes = SECRET
    ) -> None:
        self.host = Host(secret=secret, mtu=mtu, options=options)
        self.host.add_address("10.9.0.2/24")
        self.host.add_address("fd00::2/64")
        self.faults: list[BaseException] = []
        self.host.on_fault = self.faults.append
        self.listener = self.host.listen(PORT, backlog=backlog)
        self.now = START

    def hit(self, frame: bytes) -> list[Reply]:
        """Let a frame arrive; all that the host sends at once because of it."""
        self.host.receive(Packet(frame), self.now)
        return self.replies()

    def replies(self) -> list[Reply]:
        """All that the host has to say now."""
        found = []
        while (packet := self.host.poll_transmit(self.now)) is not None:
            found.append(Reply(complete(packet).frame()))
            assert len(found) < 10_000, "output without end"
        assert not self.faults, self.faults
        return found

    def wait(self, duration: Duration) -> list[tuple[Time, Reply]]:
        """Let time pass; what is sent meanwhile, with its time."""
        end = self.now + duration
        found = [(self.now, reply) for reply in self.replies()]
        while (due := self.host.next_timeout()) <= end and due < NEVER:
            self.now = max(due, self.now)
            self.host.on_timeout(self.now)
            found += [(self.now, reply) for reply in self.replies()]
        self.now = end
        return found

    def expect(self, frame: bytes, answers: str = "", *drops: str) -> list[Reply]:
        """`frame` draws these answers ("SA" is a SYN,ACK, "R" a RST, "icmp") and is counted under these reasons."""
        before = Counter(self.host.counters.drops)
        found = self.hit(frame)
        assert " ".join(reply.kind for reply in found) == answers
        counted = Counter(self.host.counters.drops) - before
        assert counted == Counter(drops)
        return found

    def established(self, *, options: bytes = SYN_OPTIONS, sport: int = 4000, window: int = 65535) -> Peer:
        """A connection that the attacker has opened."""
        return Peer(self, options=options, sport=sport, window=window)


class Reply:
    """A packet that the host has sent."""

    def __init__(self, frame: bytes) -> None:
        self.frame = frame
        self.header = ip.decode(frame)
        self.seg: Segment | None = None
        if self.header.protocol == ip.PROTO_TCP:
            assert tcp.checksum_ok(frame, self.header)
            self.seg = tcp.decode(frame, self.header.start, self.header.end)

    @property
    def tcp(self) -> Segment:
        assert self.seg is not None
        return self.seg

    @property
    def kind(self) -> str:
        """The flags in one word, PSH left out, with the payload's size where there is one; or "icmp"."""
        if self.seg is None:
            return "icmp"
        letters = "".join(
            letter for flag, letter in ((SYN, "S"), (FIN, "F"), (RST, "R"), (ACK, "A")) if self.seg.flags & flag
        )
        return f"{letters}{self.seg.size or ''}"


class Peer:
    """The attacker's end of a connection, or somebody else's whose numbers he has guessed.

    Numbers are relative: 0 is the SYN of either side, so the first octet is 1.
    """

    def __init__(self, target: Target, *, options: bytes, sport: int, window: int) -> None:
        self.target = target
        self.sport = sport
        self.isn = 0xFFFFFFF0
        self.options = b""
        self.window = window
        (answer,) = target.hit(self.frame(SYN, seq=0, options=options, window=65535))
        assert answer.kind == "SA"
        self.syn_ack = answer.tcp
        self.their_isn = answer.tcp.seq
        if answer.tcp.tsval >= 0:
            self.options = timestamps(struct.unpack("!I", options[4:8])[0] + 1, answer.tcp.tsval)
        assert target.hit(self.frame(ACK)) == []
        conn = target.listener.accept()
        assert conn is not None
        self.conn: Connection = conn
        self.sent = 1

    def frame(
        self,
        flags: int,
        *,
        seq: int = 1,
        ack: int = 1,
        payload: bytes = b"",
        options: bytes | None = None,
        window: int | None = None,
        urgent: int = 0,
    ) -> bytes:
        """A frame of this connection."""
        return ip4(
            tcp_segment(
                flags,
                seq=self.isn + seq,
                ack=getattr(self, "their_isn", 0) + ack if flags & ACK else 0,
                payload=payload,
                options=self.options if options is None else options,
                sport=self.sport,
                window=self.window if window is None else window,
                urgent=urgent,
            )
        )

    def send(
        self,
        flags: int,
        *,
        seq: int = 1,
        ack: int = 1,
        payload: bytes = b"",
        options: bytes | None = None,
        window: int | None = None,
        urgent: int = 0,
    ) -> list[Reply]:
        """The same, and what comes of it."""
        frame = self.frame(flags, seq=seq, ack=ack, payload=payload, options=options, window=window, urgent=urgent)
        return self.target.hit(frame)

    def expect(self, answers: str, flags: int, *drops: str, **fields: int | bytes) -> list[Reply]:
        """`send` under the eyes of `Target.expect`."""
        return self.target.expect(self.frame(flags, **fields), answers, *drops)  # type: ignore[arg-type]

    def read(self) -> bytes:
        """What the application gets."""
        found = self.conn.read(1 << 30, self.target.now)
        self.target.host.touch(self.conn, self.target.now)
        return found

    def write(self, data: bytes) -> list[Reply]:
        """The application writes; what is sent at once."""
        assert self.conn.write(data) == len(data)
        self.target.host.touch(self.conn, self.target.now)
        return self.target.replies()

    def close(self) -> list[Reply]:
        """The application closes."""
        self.conn.close(self.target.now)
        self.target.host.touch(self.conn, self.target.now)
        return self.target.replies()

    def relative(self, seg: Segment) -> tuple[int, int]:
        """Sequence and acknowledgment number of an answer, relative."""
        return (seg.seq - self.their_isn) & 0xFFFFFFFF, (seg.ack - self.isn) & 0xFFFFFFFF

    @property
    def alive(self) -> bool:
        """Whether data still passes in order."""
        before = self.conn.info(self.target.now).bytes_received
        self.send(ACK | PSH, seq=before + 1, payload=b"ping")
        return self.conn.error is None and self.conn.info(self.target.now).bytes_received == before + 4


def kinds(replies: Sequence[Reply]) -> list[str]:
    """The answers in one word each."""
    return [reply.kind for reply in replies]
