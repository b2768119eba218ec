"""poll(2) and epoll(7) of a script."""

from __future__ import annotations

import errno
from typing import Final

from stack.host.sockets import POLLNVAL
from stack.sim.packetdrill.epoll import Data, Epoll, Watch
from stack.sim.packetdrill.expressions import Arguments
from stack.sim.packetdrill.process import ENDED, File, Process, Returned, Steps
from stack.sim.packetdrill.symbols import SYMBOLS
from stack.sim.packetdrill.syntax import Array, EpollEvent, Expression, PollFd
from stack.wire.units import MS, NEVER, Duration

ADD: Final = SYMBOLS["EPOLL_CTL_ADD"]
DELETE: Final = SYMBOLS["EPOLL_CTL_DEL"]
MODIFY: Final = SYMBOLS["EPOLL_CTL_MOD"]


EVENTS: Final = ("IN", "PRI", "OUT", "ERR", "HUP", "RDHUP")
"""What may become of a file; both calls have the same bits for it."""


def _named(events: int, prefix: str = "POLL") -> str:
    """`POLLIN|POLLOUT`; bits without a name here as a number."""
    names = []
    for event in EVENTS:
        bit = SYMBOLS[prefix + event]
        if events & bit:
            names.append(prefix + event)
            events &= ~bit
    return "|".join([*names, f"{events:#x}"] if events or not names else names)


def _deadline(process: Process, timeout: int) -> Duration:
    """When a wait of so many milliseconds is over."""
    return NEVER if timeout < 0 else process.bench.now + timeout * MS


def poll(process: Process, arguments: Arguments) -> Steps:
    arguments.expect(3)
    entries = _entries(arguments)
    until = _deadline(process, arguments.number(2))
    while True:
        found = [_ready(process, arguments, entry) for entry in entries]
        if any(found) or process.bench.now >= until:
            break
        yield until

    def verify() -> str | None:
        for number, (entry, came) in enumerate(zip(entries, found, strict=True)):
            expected = arguments.value(entry.revents) if entry.revents is not None else 0
            if expected != came:
                return f"revents of entry {number}: expected {_named(expected)}, came {_named(came)}"
        return None

    return Returned(sum(map(bool, found)), verify=verify)


def _entries(arguments: Arguments) -> list[PollFd]:
    items = arguments[0]
    if not isinstance(items, Array):
        raise arguments.bad(items, "a list of {fd=..., events=...} belongs here")
    entries: list[PollFd] = []
    for item in items.items:
        if not isinstance(item, PollFd):
            raise arguments.bad(item, "{fd=..., events=...} belongs here")
        entries.append(item)
    if arguments.number(1) != len(entries):
        raise arguments.bad(arguments[1], f"there are {len(entries)} entries")
    return entries


def _ready(process: Process, arguments: Arguments, entry: PollFd) -> int:
    socket = process.socket_of(arguments.value(entry.fd))
    if socket is None:
        return POLLNVAL
    return socket.poll() & (arguments.value(entry.events) | ENDED | POLLNVAL)


def epoll_create(process: Process, arguments: Arguments) -> Returned:
    arguments.expect(1)
    if arguments.number(0) <= 0:
        raise OSError(errno.EINVAL, "no size")
    return Returned(0, File(epoll=Epoll()))


def epoll_create1(process: Process, arguments: Arguments) -> Returned:
    arguments.expect(1)
    return Returned(0, File(epoll=Epoll()))


def epoll_ctl(process: Process, arguments: Arguments) -> Returned:
    arguments.expect(4)
    epoll = _epoll(process, arguments)
    operation, fd = arguments.number(1), arguments.number(2)
    _, socket = process.socket(arguments, 2)
    if operation not in (ADD, DELETE, MODIFY):
        raise OSError(errno.EINVAL, "no such operation")
    if (operation == ADD) == (fd in epoll.watches):
        raise OSError(errno.EEXIST if operation == ADD else errno.ENOENT, "watched already, or not")
    if operation == DELETE:
        del epoll.watches[fd]
        return Returned(0)
    events, data = _event(arguments, arguments[3])
    if operation == ADD:
        epoll.watches[fd] = Watch(socket, events, data)
    else:
        epoll.watches[fd].change(events, data)
    return Returned(0)


def epoll_wait(process: Process, arguments: Arguments) -> Steps:
    arguments.expect(4)
    epoll = _epoll(process, arguments)
    limit = arguments.number(2)
    if limit <= 0:
        raise OSError(errno.EINVAL, "no room for events")
    expected = _event(arguments, arguments[1])
    until = _deadline(process, arguments.number(3))
    while True:
        found = epoll.take(limit)
        if found or process.bench.now >= until:
            break
        yield until

    def verify() -> str | None:
        events, data = found[0] if found else (0, Data(expected[1].kind, 0))
        if events != expected[0]:
            return f"events: expected {_named(expected[0], 'EPOLL')}, came {_named(events, 'EPOLL')}"
        if data.value != expected[1].value:
            return f"{expected[1].kind}: expected {expected[1].value}, came {data.value}"
        return None

    return Returned(len(found), verify=verify)


def _epoll(process: Process, arguments: Arguments) -> Epoll:
    epoll = process.file(arguments).epoll
    if epoll is None:
        raise OSError(errno.EINVAL, "not an epoll")
    return epoll


def _event(arguments: Arguments, part: Expression) -> tuple[int, Data]:
    if not isinstance(part, EpollEvent):
        raise arguments.bad(part, "{events=..., fd=...} belongs here")
    return arguments.value(part.events), Data(part.kind, arguments.value(part.data))
