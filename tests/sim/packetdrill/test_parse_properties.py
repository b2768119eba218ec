"""Packets and calls that are written down are read as what they were."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stack.sim.packetdrill.parse import parse
from stack.sim.packetdrill.syntax import (
    AccEcn,
    Action,
    Array,
    Call,
    Cmsg,
    Direction,
    Ellipsis,
    EpollEvent,
    Expression,
    FastOpen,
    Int,
    Mss,
    Nop,
    Or,
    PollFd,
    Ports,
    Sack,
    SackPermitted,
    String,
    TcpOption,
    TcpPacket,
    Timestamps,
    WindowScale,
    Word,
)

IN = Direction.IN
DOTS = Ellipsis()


def action(text: str) -> Action:
    (only,) = parse("+0 " + text).events
    return only.action


u16, u32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
cookies = st.binary(max_size=8)
tcp_options = st.one_of(
    st.builds(Mss, u16),
    st.builds(WindowScale, st.integers(0, 255)),
    st.just(SackPermitted()),
    st.builds(Sack, st.lists(st.tuples(u32, u32), min_size=1, max_size=2).map(tuple)),
    st.builds(Timestamps, u32, u32),
    st.builds(FastOpen, cookies, st.booleans()),
    st.just(AccEcn((("e0b", 1), ("ceb", 2)))),
)


def write_option(option: TcpOption) -> tuple[str, int]:
    """The text of an option, and its length on the wire."""
    match option:
        case Mss(number):
            return f"mss {number}", 4
        case WindowScale(shift):
            return f"wscale {shift}", 3
        case SackPermitted():
            return "sackOK", 2
        case Sack(blocks):
            return "sack " + " ".join(f"{left}:{right}" for left, right in blocks), 2 + 8 * len(blocks)
        case Timestamps(val, ecr):
            return f"TS val {val} ecr {ecr}", 10
        case FastOpen(cookie, experimental):
            return f"{'FOEXP' if experimental else 'FO'} {cookie.hex()}", (4 if experimental else 2) + len(cookie)
        case AccEcn(counters):
            return "ECN " + " ".join(f"{name} {number}" for name, number in counters), 2 + 3 * len(counters)
    raise AssertionError(option)


@given(
    st.sampled_from(["", "S", "S.", ".", "FP.", "U.", "SEW", "R", ".3", "A."]),
    u32,
    u16,
    st.none() | u32,
    u16,
    st.none() | u16,
    st.lists(tcp_options, max_size=2),
    st.none() | st.builds(Ports, u16, u16),
)
def test_a_packet_that_is_written_is_read(
    flags: str,
    seq: int,
    length: int,
    ack: int | None,
    window: int,
    urgent: int | None,
    chosen: list[TcpOption],
    ports: Ports | None,
) -> None:
    written = [write_option(option) for option in chosen]
    padding = -sum(octets for _, octets in written) % 4
    listed = ",".join([text for text, _ in written] + ["nop"] * padding)
    end = (seq + length) % (1 << 32)
    text = "".join(
        (
            "< ",
            f"{ports.source} > {ports.destination} " if ports else "",
            f"{flags or '-'} {seq}:{end}({length})",
            "" if ack is None else f" ack {ack}",
            f" win {window}",
            "" if urgent is None else f" urg {urgent}",
            f" <{listed}>" if listed else "",
        )
    )
    assert action(text) == TcpPacket(
        IN, flags, seq, end, length, ack, window, urgent, (*chosen, *[Nop()] * padding), ports=ports
    )


names = st.from_regex(r"[A-Z_][A-Z0-9_]*", fullmatch=True)
simple = st.one_of(
    st.builds(Int, st.integers(-(2**63) + 1, 2**64 - 1)),
    st.builds(Word, names),
    st.builds(String, st.binary(), st.booleans()),
    st.just(DOTS),
)
expressions = st.recursive(
    simple | st.builds(Or, st.lists(simple, min_size=2, max_size=3).map(tuple)),
    lambda inner: st.one_of(
        st.builds(Array, st.lists(inner, max_size=3).map(tuple)),
        st.builds(PollFd, inner, inner, inner),
        st.builds(EpollEvent, inner, st.sampled_from(["fd", "ptr", "u32", "u64"]), inner),
        st.builds(Cmsg, inner, inner, inner),
    ),
    max_leaves=6,
)


def write(value: Expression) -> str:
    match value:
        case Int(number):
            return str(number)
        case Word(name):
            return name
        case String(octets, prefix):
            return '"' + "".join(f"\\x{octet:02x}" for octet in octets) + '"' + ("..." if prefix else "")
        case Ellipsis():
            return "..."
        case Or(parts):
            return "|".join(map(write, parts))
        case Array(items):
            return "[" + ", ".join(map(write, items)) + "]"
        case PollFd(fd, events, revents):
            assert revents is not None
            return f"{{fd={write(fd)}, events={write(events)}, revents={write(revents)}}}"
        case EpollEvent(events, kind, data):
            return f"{{events={write(events)}, {kind}={write(data)}}}"
        case Cmsg(level, type_, data):
            return f"{{cmsg_level={write(level)}, cmsg_type={write(type_)}, cmsg_data={write(data)}}}"
    raise AssertionError(value)


@given(names, st.lists(expressions, max_size=3), expressions)
def test_a_call_that_is_written_is_read(name: str, arguments: list[Expression], result: Expression) -> None:
    text = f"{name}({', '.join(map(write, arguments))}) = {write(result)}"
    assert action(text) == Call(name, tuple(arguments), result)
