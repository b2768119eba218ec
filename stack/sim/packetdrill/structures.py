"""The structures of calls, `{...}`: which fields make which value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any, Final

from stack.sim.packetdrill.scanner import Fault
from stack.sim.packetdrill.syntax import (
    Array,
    Assignment,
    Cmsg,
    Ellipsis,
    EpollEvent,
    Expression,
    ExtendedError,
    In6Addr,
    InAddr,
    Int,
    IoVec,
    Linger,
    MsgHdr,
    PollFd,
    SockAddr,
    SubList,
    Timestamping,
    Word,
)


@dataclass(frozen=True, slots=True)
class Counted:
    """`msg_iov(1)=[...]`: a field of a structure that says a length, too. It is never left in a script's values."""

    name: str
    count: Expression
    value: Expression
    at: int


def structure(fields: Sequence[Expression | Counted], at: int) -> Expression:
    """`{...}`: the structure that has these fields, or a list if they have no names."""
    if len(fields) == 2 and isinstance(fields[0], Ellipsis) and isinstance(fields[1], Int):
        return IoVec(fields[0], fields[1], at)
    names = tuple(field.name if isinstance(field, Assignment | Counted) else "" for field in fields)
    make = _STRUCTURES.get(names)
    if make is not None:
        return make(at, fields)
    known = [_listed(known) for known in _STRUCTURES if names[0] == known[0]]
    if known:
        raise Fault(at, f"expected the fields {' or '.join(known)} in this structure")
    items = []
    for field in fields:
        if isinstance(field, Counted):
            raise Fault(field.at, f"`{field.name}` belongs to a structure that begins with `msg_name`")
        items.append(field)
    return SubList(tuple(items), at)


def _sock_addr(at: int, fields: Fields) -> SockAddr:
    family, port, address = (field.value for field in fields)
    if not isinstance(family, Word):
        raise Fault(fields[0].at, "expected `sa_family = AF_INET` or `sa_family = AF_INET6`")
    if not isinstance(port, Int):
        raise Fault(fields[1].at, "expected `sin_port = htons(...)` with a number")
    if not isinstance(address, InAddr | In6Addr):
        raise Fault(fields[2].at, 'expected `sin_addr = inet_addr("...")`')
    reader = _FAMILIES.get(family.name)
    if reader is None:
        raise Fault(family.at, f"addresses of the family `{family.name}` are not supported", unsupported=True)
    _check_address(address.address, reader, address.at)
    return SockAddr(family.name, port.value, address.address, at)


def _msg_hdr(at: int, fields: Fields) -> MsgHdr:
    name, iov, flags, *control = fields
    if not isinstance(name, Counted) or not isinstance(iov, Counted) or not isinstance(iov.count, Int):
        raise Fault(at, "expected `msg_name(...)=...` and `msg_iov(1)=[...]`, with a number")
    if not isinstance(iov.value, Array):
        raise Fault(iov.at, "expected `msg_iov(1)=[{..., 100}]`")
    if not control:
        return MsgHdr(name.value, iov.value, iov.count.value, flags.value, None, at)
    messages = control[0].value
    if not isinstance(messages, Array):
        raise Fault(control[0].at, "expected `msg_control=[...]`")
    return MsgHdr(name.value, iov.value, iov.count.value, flags.value, messages, at)


def _cmsg(at: int, fields: Fields) -> Cmsg:
    level, type_, data = (field.value for field in fields)
    return Cmsg(level, type_, data, at)


def _timestamping(at: int, fields: Fields) -> Timestamping:
    return Timestamping(_plain(fields[0]), _plain(fields[1]), at)


def _extended_error(at: int, fields: Fields) -> ExtendedError:
    errno, origin, type_, code, info, data = (field.value for field in fields)
    return ExtendedError(errno, origin, type_, code, info, data, at)


def _poll_fd(at: int, fields: Fields) -> PollFd:
    fd, events, *revents = (field.value for field in fields)
    return PollFd(fd, events, revents[0] if revents else None, at)


def _epoll_event(at: int, fields: Fields) -> EpollEvent:
    events, data = fields
    return EpollEvent(events.value, data.name, data.value, at)


def _linger(at: int, fields: Fields) -> Linger:
    return Linger(_plain(fields[0]), _plain(fields[1]), at)


Fields = Sequence[Assignment | Counted]

_FAMILIES: Final = {"AF_INET": IPv4Address, "AF_INET6": IPv6Address}

_STRUCTURES: Final[dict[tuple[str, ...], Callable[[int, Any], Expression]]] = {
    ("sa_family", "sin_port", "sin_addr"): _sock_addr,
    ("msg_name", "msg_iov", "msg_flags"): _msg_hdr,
    ("msg_name", "msg_iov", "msg_flags", "msg_control"): _msg_hdr,
    ("cmsg_level", "cmsg_type", "cmsg_data"): _cmsg,
    ("scm_sec", "scm_nsec"): _timestamping,
    ("ee_errno", "ee_origin", "ee_type", "ee_code", "ee_info", "ee_data"): _extended_error,
    ("fd", "events"): _poll_fd,
    ("fd", "events", "revents"): _poll_fd,
    ("events", "fd"): _epoll_event,
    ("events", "ptr"): _epoll_event,
    ("events", "u32"): _epoll_event,
    ("events", "u64"): _epoll_event,
    ("onoff", "linger"): _linger,
}


def _check_address(address: str, reader: Callable[[str], object], at: int) -> None:
    try:
        reader(address)
    except AddressValueError:
        raise Fault(at, f"`{address}` is no address of this family") from None


def _plain(field: Assignment | Counted) -> int:
    if not isinstance(field.value, Int):
        raise Fault(field.at, f"expected a number for `{field.name}`")
    return field.value.value


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)
