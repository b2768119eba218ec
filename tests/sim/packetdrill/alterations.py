"""What a script expects, altered one thing at a time: each of these must make the script fail, at that line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from stack.sim.packetdrill.syntax import (
    Array,
    Call,
    Direction,
    Errno,
    Event,
    FastOpen,
    IcmpPacket,
    Int,
    IpInfo,
    Mss,
    Nop,
    Ports,
    Sack,
    Script,
    TcpOption,
    TcpPacket,
    Timestamps,
    UdpPacket,
    When,
    WhenKind,
    WindowScale,
)
from stack.wire.units import MS, Duration

SPACE: Final = 40  #: Octets that options can take.

READS_VALUES: Final = frozenset(("getsockopt", "ioctl"))

OPENS_FILES: Final = frozenset(("socket", "accept", "accept4", "epoll_create", "epoll_create1"))

ANOTHER_ERROR: Final = Errno("ECHILD", "No child processes")


def alterations(script: Script) -> Iterator[tuple[str, Event, Script]]:
    """What was altered, the event where it was, and the script with it."""
    for index, event in enumerate(script.events):
        for what, altered in _of_event(event):
            yield what, event, replace(script, events=(*script.events[:index], altered, *script.events[index + 1 :]))


def _of_event(event: Event) -> Iterator[tuple[str, Event]]:
    action = event.action
    if isinstance(action, TcpPacket | UdpPacket | IcmpPacket) and action.direction is Direction.OUT:
        if event.when.kind is not WhenKind.ANY:
            yield "time", replace(event, when=_later(event.when))
        if isinstance(action, TcpPacket):
            for what, packet in _of_packet(action):
                yield what, replace(event, action=packet)
        elif isinstance(action, UdpPacket):
            yield "length", replace(event, action=replace(action, length=action.length + 1))
            yield "congestion", replace(event, action=replace(action, ip=IpInfo(ecn="ce")))
            yield "ports", replace(event, action=replace(action, ports=Ports(1, 2)))
    elif isinstance(action, Call):
        for what, call in _of_call(action):
            yield what, replace(event, action=call)


def _later(when: When) -> When:
    """Beyond any tolerance, which is a share of the time since the event before."""
    end = when.start if when.end is None else when.end
    distance: Duration = end + 50 * MS
    return replace(when, start=when.start + distance, end=None if when.end is None else end + distance)


def _of_packet(packet: TcpPacket) -> Iterator[tuple[str, TcpPacket]]:
    if "S" not in packet.flags:  # the number of a SYN is what the others are counted from
        yield "number", replace(packet, seq=packet.seq + 1, end=packet.end + 1)
    yield "length", replace(packet, end=packet.end + 1, length=packet.length + 1)
    yield "flag", replace(packet, flags=packet.flags.replace("F", "") if "F" in packet.flags else f"F{packet.flags}")
    if packet.ack is not None:
        yield "acknowledgment", replace(packet, ack=packet.ack + 1)
    if packet.window is not None:
        yield "window", replace(packet, window=packet.window ^ 1)
    if packet.urgent is not None:
        yield "urgent pointer", replace(packet, urgent=packet.urgent + 1)
    if packet.ip.ttl is not None:
        yield "time to live", replace(packet, ip=replace(packet.ip, ttl=packet.ip.ttl - 1))
    yield "congestion", replace(packet, ip=IpInfo(ecn="ce"))
    if packet.options is not None:
        yield from _of_options(packet, packet.options)


def _of_options(packet: TcpPacket, options: tuple[TcpOption, ...]) -> Iterator[tuple[str, TcpPacket]]:
    if len(options) <= 4:  # there is room for more, whatever they are
        yield "options", replace(packet, options=(*options, *(Nop(),) * 4))
    for index, option in enumerate(options):
        altered = _of_option(option)
        if altered is not None:
            yield type(option).__name__, replace(packet, options=(*options[:index], altered, *options[index + 1 :]))


def _of_option(option: TcpOption) -> TcpOption | None:
    match option:
        case Mss(value):
            return Mss(value ^ 1)
        case WindowScale(shift):
            return WindowScale(shift ^ 1)
        case Sack(((start, end), *others)):
            return Sack(((start, end + 1), *others))
        case Timestamps(val, ecr):
            return Timestamps(val, ecr + 1)
        case FastOpen(cookie) if cookie:
            return replace(option, cookie=bytes((cookie[0] ^ 1,)) + cookie[1:])
        case _:
            return None


def _of_call(call: Call) -> Iterator[tuple[str, Call]]:
    result = call.result
    if isinstance(result, Int):
        if call.name in OPENS_FILES and result.value >= 0:
            yield "result", replace(call, result=Int(-1))
        else:
            yield "result", replace(call, result=Int(result.value + 1), errno=None)
    if call.errno is not None:
        yield "error", replace(call, errno=ANOTHER_ERROR)
    if call.name in READS_VALUES:
        for index, argument in enumerate(call.arguments[:-1] if call.name == "getsockopt" else call.arguments):
            if isinstance(argument, Array) and isinstance(argument.items[0], Int):
                altered = replace(argument, items=(Int(argument.items[0].value + 1), *argument.items[1:]))
                arguments = (*call.arguments[:index], altered, *call.arguments[index + 1 :])
                yield "value", replace(call, arguments=arguments)
