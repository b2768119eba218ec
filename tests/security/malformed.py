"""Malformed frames of every kind, made from good ones: what the fuzzers start from, and `python -O` is tried with.

Plain code without asserts, because they would be gone where it matters.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

from stack.wire.packet import Packet
from stack.wire.segment import ACK, FIN, PSH, RST, SYN, URG
from tests.security.target import (
    SYN_OPTIONS,
    THEM6,
    US6,
    Target,
    icmp4,
    icmp6,
    ip4,
    ip6,
    tcp_segment,
    timestamps,
)

ALL_OPTIONS = timestamps(7) + SYN_OPTIONS + b"\x4d\x04ab" + b"\x00"


def good_frames() -> list[bytes]:
    """One or more frames of each kind that a host understands."""
    segments = [
        tcp_segment(SYN, options=SYN_OPTIONS),
        tcp_segment(SYN, options=ALL_OPTIONS),
        tcp_segment(ACK, ack=5),
        tcp_segment(ACK | PSH, seq=1, ack=1, payload=b"payload" * 10),
        tcp_segment(ACK, ack=5, options=b"\x01\x01\x05\x12" + bytes(range(16))),
        tcp_segment(ACK | FIN | URG, urgent=5, payload=b"x"),
        tcp_segment(RST),
    ]
    quoted = ip4(tcp_segment(ACK)[:8])
    frames = [ip4(segment) for segment in segments]
    frames += [
        ip4(segments[0], options=b"\x07\x07\x04" + bytes(5)),
        ip4(icmp4(8, 0, 1, b"echo" * 10), protocol=1),
        ip4(icmp4(3, 3, 0, quoted), protocol=1),
        ip4(b"datagram" * 4, protocol=17),
    ]
    segment6 = tcp_segment(SYN, options=SYN_OPTIONS, src=THEM6, dst=US6)
    hop_by_hop = bytes((6, 0, 1, 4, 0, 0, 0, 0))
    routing = bytes((6, 0, 2, 0, 0, 0, 0, 0))
    frames += [
        ip6(segment6),
        ip6(hop_by_hop + segment6, next_header=0),
        ip6(routing + segment6, next_header=43),
        ip6(icmp6(128, 0, 1, b"echo" * 10), next_header=58),
        ip6(icmp6(1, 4, 0, ip6(segment6)), next_header=58),
    ]
    return frames


def mutate(frame: bytes, rnd: random.Random) -> bytes:
    """The frame with something wrong: cut, stretched, bits flipped, octets replaced, parts doubled."""
    changed = bytearray(frame)
    for _ in range(rnd.choice((1, 1, 1, 2, 5))):
        if not changed:
            return b""
        at = rnd.randrange(len(changed))
        kind = rnd.randrange(7)
        if kind == 0:
            del changed[at:]
        elif kind == 1:
            changed += rnd.randbytes(rnd.randrange(1, 60))
        elif kind == 2:
            changed[at] ^= 1 << rnd.randrange(8)
        elif kind == 3:
            changed[at] = rnd.choice((0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF))
        elif kind == 4:
            changed[at : at + 2] = rnd.randbytes(2)
        elif kind == 5:
            end = rnd.randrange(at, len(changed)) + 1
            changed[at:at] = changed[at:end]
        else:
            del changed[at : at + rnd.randrange(1, 9)]
    return bytes(changed)


def verdicts() -> Iterator[str]:
    """What a fresh host makes of each of some hundreds of malformed frames."""
    rnd = random.Random("verdicts")
    for number, frame in enumerate(good_frames()):
        for round_ in range(25):
            target = Target()
            before = Counter(target.host.counters.drops)
            hostile = frame if round_ == 0 else mutate(frame, rnd)
            target.host.receive(Packet(hostile), target.now)
            sent = []
            while (packet := target.host.poll_transmit(target.now)) is not None:
                sent.append(packet.frame().hex())
            drops = Counter(target.host.counters.drops) - before
            yield f"{number}.{round_} {sorted(drops.items())} {sent} {len(target.faults)}"
