"""A segment that a script expects, against what the stack has sent.

**Segments of a super-frame.** Whether data leaves as one super-frame or as ten segments cannot be seen on a wire, so a
line may stand for several segments that follow each other and continue each other: the next one begins where the one
before ended, and has the same acknowledgment, window, flags and length of options. The line's numbers are those of all
of them together; its flags FIN and PSH are the last one's, CWR is the first one's; its options and IP header are the
last one's; its time is every one's. A segment that is only partly within a line does not match: that cut would be seen.
With `--strict_segments` a line stands for one segment.

**PSH.** The segment that ends what the application has written must have it (RFC 9293 3.9.1.2, MUST-61), and a line
that ends there says so. Before that end a TCP pushes when it likes: kernels do at the end of every super-frame, or
after so many octets. So a line with P is met by data without PSH if more data was queued behind it, except with
`--strict_segments`. A line without P is never met by PSH.

**Numbers** are compared as the script has them (`flows`), timestamps of ours only when `--tcp_ts_tick_usecs` says what
one tick is worth. The timestamp that is echoed is the script's own, and must be the one that it expects.

What is not said is not looked at: the window without `win`, options with `<...>`, the IP header without `[...]`.
"""

from __future__ import annotations

from typing import Final

from stack.sim.packetdrill.flows import Flow
from stack.sim.packetdrill.packets import (
    ACCECN_0,
    ACCECN_1,
    ACK,
    AE,
    CWR,
    ECE,
    EOL,
    EXPERIMENTAL,
    FAST_OPEN,
    FAST_OPEN_MAGIC,
    FIN,
    MD5,
    MSS,
    NOP,
    PSH,
    SACK,
    SACK_PERMITTED,
    SYN,
    TIMESTAMPS,
    WSCALE,
    RawOption,
    Sent,
    flag_bits,
    flag_letters,
    raw_option,
)
from stack.sim.packetdrill.settings import Settings
from stack.sim.packetdrill.syntax import IpInfo, TcpPacket, UdpPacket
from stack.tcp.seq import MASK
from stack.wire.units import Duration

_ECN: Final = {"noecn": (0,), "ect1": (1,), "ect0": (2,), "ce": (3,), "ect01": (1, 2)}
_ECN_NAMES: Final = ("noecn", "ect1", "ect0", "ce")


def continues(sent: Sent, before: Sent, flow: Flow) -> list[str]:
    """Why `sent` can't be the continuation of `before` within one line; nothing if it can."""
    faults = []
    expected = flow.seq_out((before.seq + before.length) & MASK, False)
    if flow.seq_out(sent.seq, False) != expected:
        faults.append(f"seq {expected} to continue, came {flow.seq_out(sent.seq, False)}")
    if (sent.flags ^ before.flags) & ~(FIN | PSH | CWR):
        faults.append(f"flags as before ({flag_letters(before.flags)}), came {flag_letters(sent.flags)}")
    if sent.ack != before.ack:
        faults.append("the same ack as before")
    if sent.window != before.window:
        faults.append(f"the same win as before ({before.window}), came {sent.window}")
    return faults


def join(pieces: list[Sent]) -> Sent:
    """The one packet that several segments make, as a line tells of them."""
    first, last = pieces[0], pieces[-1]
    if first is last:
        return first
    whole = last.piece(0, sum(piece.length for piece in pieces), is_last=True)
    whole.seq = first.seq
    whole.flags = last.flags & ~CWR | first.flags & CWR
    whole.zeros = all(piece.zeros for piece in pieces)
    return whole


def differences(packet: TcpPacket, sent: Sent, flow: Flow, settings: Settings, ts_tolerance: Duration) -> list[str]:
    """What of `sent` is not as the script has it, in words; nothing if all of it is."""
    faults = ip_differences(packet.ip, sent)
    is_syn = bool(sent.flags & SYN)
    faults += _flags(packet, sent, settings)
    _compare(faults, "seq", packet.seq & MASK, flow.seq_out(sent.seq, is_syn))
    _compare(faults, "length", packet.length, sent.length)
    ack = flow.ack_out(sent.ack, is_syn) if sent.flags & ACK else sent.ack
    _compare(faults, "ack", (packet.ack or 0) & MASK, ack)
    if packet.window is not None:
        _compare(faults, "win", packet.window, sent.window)
    _compare(faults, "urg", packet.urgent or 0, sent.urgent)
    if packet.options is not None:
        faults += _options(packet, flow.options_out(sent), settings, ts_tolerance)
    if not sent.zeros:
        faults.append("payload: expected zeros, came something else")
    return faults


def _compare(faults: list[str], name: str, expected: int, came: int) -> None:
    if expected != came:
        faults.append(f"{name}: expected {expected}, came {came}")


def ip_differences(info: IpInfo, sent: Sent) -> list[str]:
    """What of the IP header is not as the script has it."""
    faults: list[str] = []
    if info.ecn is not None and sent.traffic_class & 3 not in _ECN[info.ecn]:
        faults.append(f"ecn: expected {info.ecn}, came {_ECN_NAMES[sent.traffic_class & 3]}")
    if info.tos is not None and info.tos != sent.traffic_class:
        faults.append(f"tos: expected {info.tos:#04x}, came {sent.traffic_class:#04x}")
    if info.ttl is not None:
        _compare(faults, "ttl", info.ttl, sent.hop_limit)
    return faults


def datagram_differences(packet: UdpPacket, sent: Sent) -> list[str]:
    """What of a datagram is not as the script has it."""
    faults = ip_differences(packet.ip, sent)
    _compare(faults, "length", packet.length, sent.length)
    if not sent.zeros:
        faults.append("payload: expected zeros, came something else")
    return faults


def flow_label_differences(info: IpInfo, sent: Sent, flow: Flow) -> list[str]:
    """Labels are told apart, not compared: the first one that is seen stands for the script's (RFC 6437)."""
    if not info.flow_label or sent.version != 6:
        return []
    if not sent.flow_label:
        return ["flow label: expected one, came none"]
    if flow.flow_label is None:
        flow.flow_label = (info.flow_label, sent.flow_label)
        return []
    script, live = flow.flow_label
    if (info.flow_label == script) == (sent.flow_label == live):
        flow.flow_label = (info.flow_label, sent.flow_label)
        return []
    return ["flow label: expected " + ("the one before" if info.flow_label == script else "another one")]


def _flags(packet: TcpPacket, sent: Sent, settings: Settings) -> list[str]:
    expected, came = flag_bits(packet.flags), sent.flags
    if expected & PSH and not came & PSH and sent.length and not settings.strict_segments and not came & FIN:
        came |= PSH
    if expected == came:
        return []
    if packet.ace is not None and not (expected ^ came) & ~(AE | CWR | ECE):
        ace = (4 if came & AE else 0) | (2 if came & CWR else 0) | (1 if came & ECE else 0)
        return [f"ace: expected {packet.ace}, came {ace}"]
    return [f"flags: expected {flag_letters(expected)}, came {flag_letters(sent.flags)}"]


def _options(packet: TcpPacket, came: tuple[RawOption, ...], settings: Settings, ts_tolerance: Duration) -> list[str]:
    expected = [raw_option(option) for option in packet.options or ()]
    same = [kind for kind, _ in expected] == [kind for kind, _ in came]
    if same:
        same = all(map(lambda one, other: _same(one, other, settings, ts_tolerance), expected, came))
    if same:
        return []
    return [f"options: expected <{option_words(expected)}>, came <{option_words(list(came))}>"]


def _same(expected: RawOption, came: RawOption, settings: Settings, ts_tolerance: Duration) -> bool:
    if expected[0] != TIMESTAMPS or len(came[1]) != 8:
        return expected == came
    if expected[1][4:] != came[1][4:]:
        return False
    if not settings.ts_tick:
        return True
    apart = (int.from_bytes(came[1][:4], "big") - int.from_bytes(expected[1][:4], "big")) & MASK
    return min(apart, MASK + 1 - apart) * settings.ts_tick <= ts_tolerance


def option_words(options: list[RawOption]) -> str:
    """Options as a script writes them."""
    return ",".join(_option_words(kind, data) for kind, data in options)


def _option_words(kind: int, data: bytes) -> str:
    number = int.from_bytes(data, "big")
    if kind in (NOP, EOL):
        return "nop" if kind == NOP else "eol"
    if kind == MSS and len(data) == 2:
        return f"mss {number}"
    if kind == WSCALE and len(data) == 1:
        return f"wscale {number}"
    if kind == SACK_PERMITTED and not data:
        return "sackOK"
    if kind == SACK and len(data) % 8 == 0:
        edges = [int.from_bytes(data[at : at + 4], "big") for at in range(0, len(data), 4)]
        return "sack " + " ".join(f"{left}:{right}" for left, right in zip(edges[::2], edges[1::2], strict=True))
    if kind == TIMESTAMPS and len(data) == 8:
        return f"TS val {number >> 32} ecr {number & MASK}"
    if kind == FAST_OPEN:
        return f"FO {data.hex()}".rstrip()
    if kind == EXPERIMENTAL and data.startswith(FAST_OPEN_MAGIC):
        return f"FOEXP {data[2:].hex()}".rstrip()
    if kind == MD5:
        return f"md5 {data.hex()}"
    if kind in (ACCECN_0, ACCECN_1) and len(data) % 3 == 0:
        names = ("e0b", "ceb", "e1b") if kind == ACCECN_0 else ("e1b", "ceb", "e0b")
        counts = [int.from_bytes(data[at : at + 3], "big") for at in range(0, len(data), 3)]
        return "ECN " + " ".join(f"{name} {count}" for name, count in zip(names, counts, strict=False))
    return f"kind {kind} {data.hex()}".rstrip()


def packet_words(sent: Sent, flow: Flow | None) -> str:
    """A segment as a script would write it; with the wire's numbers where it is no connection's."""
    is_syn = bool(sent.flags & SYN)
    seq = sent.seq if flow is None else flow.seq_out(sent.seq, is_syn)
    ack = sent.ack if flow is None else flow.ack_out(sent.ack, is_syn)
    options = list(sent.options if flow is None else flow.options_out(sent))
    ecn = f"[{_ECN_NAMES[sent.traffic_class & 3]}] " if sent.traffic_class & 3 else ""
    words = f"> {ecn}{flag_letters(sent.flags)} {seq}:{seq + sent.length}({sent.length})"
    if sent.flags & ACK:
        words += f" ack {ack}"
    words += f" win {sent.window}"
    if sent.urgent:
        words += f" urg {sent.urgent}"
    return f"{words} <{option_words(options)}>" if options else words


def datagram_words(sent: Sent) -> str:
    """A datagram as a script would write it."""
    return f"> udp {sent.src_port} > {sent.dst_port} ({sent.length})"
