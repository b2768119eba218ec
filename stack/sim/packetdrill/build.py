"""Makes values of what grammar.lark recognises: one method a rule, with the rule's children, which are values already.

The grammar says what can stand where; here is checked what a grammar cannot say: ranges, sums, lengths, and which
fields make a structure. What is wrong raises `Fault` with the offset of the token that is to blame.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NoReturn

from stack.sim.packetdrill.scanner import MAX_TIME, TIME_TOO_LONG, Fault, duration
from stack.sim.packetdrill.structures import Counted, structure
from stack.sim.packetdrill.syntax import (
    AccEcn,
    Array,
    Assignment,
    Call,
    Direction,
    Ellipsis,
    Eol,
    Errno,
    Expression,
    FastOpen,
    IcmpPacket,
    In6Addr,
    InAddr,
    Int,
    IpInfo,
    Md5,
    Mss,
    Nop,
    Or,
    Ports,
    Quoted,
    QuotedProtocol,
    Sack,
    SackPermitted,
    String,
    TcpOption,
    TcpPacket,
    Timestamps,
    UdpPacket,
    WindowScale,
    Word,
)
from stack.wire.units import Duration

if TYPE_CHECKING:
    from lark import Token

_U8: Final = 0xFF
_U16: Final = 0xFFFF
_U24: Final = 0xFF_FFFF
_U32: Final = 0xFFFF_FFFF
_U63: Final = (1 << 63) - 1
_MAX_DIGITS: Final = 20  #: What is longer is no number of 64 bits; bounds what reading one costs.

_MAX_OPTIONS: Final = 40  #: Octets that a TCP header has room for (RFC 9293 3.1).
_DIRECTIONS: Final = {"<": Direction.IN, ">": Direction.OUT}
_ECN_FLAGS: Final = frozenset("EWA")
_ACE_DIGITS: Final = frozenset("01234567")
_TCP_FLAGS: Final = frozenset(".FSRPU") | _ECN_FLAGS | _ACE_DIGITS
_COUNTER_ORDERS: Final = (("e0b", "ceb", "e1b"), ("e1b", "ceb", "e0b"))

_HEXADECIMAL: Final = re.compile("[0-9a-fA-F]*")
_ESCAPE: Final = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPES: Final = {b"\\": b"\\", b'"': b'"', b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_DIGEST: Final = 16  #: Octets of an MD5 sum.
_UNCHECKED: Final = "unchecked"
_NO_IP: Final = IpInfo()
_NOP: Final = Nop()
_EOL: Final = Eol()
_SACK_PERMITTED: Final = SackPermitted()

Children = list[Any]


class Builder:
    """The callbacks of the grammar's rules, which are named as the rules are."""

    # Packets

    def tcp_packet(self, children: Children) -> TcpPacket:
        arrow, ip, (ports, flags, (seq, end, length), ack, window, urgent, options, _) = children
        direction = _DIRECTIONS[arrow]
        at: int = arrow.start_pos
        if direction is Direction.IN:
            _check_incoming(ip, options, at)
            if window is None:
                raise Fault(at, "a packet to the stack must say its window: `win` and a number")
        return TcpPacket(direction, flags, seq, end, length, ack, window, urgent, options, ip or _NO_IP, ports)

    def udp_packet(self, children: Children) -> UdpPacket:
        arrow, ip, (ports, length) = children
        direction = _DIRECTIONS[arrow]
        if direction is Direction.IN:
            _check_incoming(ip, (), arrow.start_pos)
        return UdpPacket(direction, length, ip or _NO_IP, ports)

    def icmp_packet(self, children: Children) -> IcmpPacket:
        arrow, ip, (type_, code, mtu, identifier, quoted) = children
        direction = _DIRECTIONS[arrow]
        if direction is Direction.IN:
            _check_incoming(ip, (), arrow.start_pos)
        code = None if code is None else str(code)
        return IcmpPacket(direction, str(type_), code, mtu, identifier, quoted, ip or _NO_IP)

    def unsupported(self, children: Children) -> NoReturn:
        raise unsupported(children[0])

    def ip(self, children: Children) -> IpInfo:
        fields: dict[str, Any] = {}
        for name, value, at in children:
            if name in fields:
                raise Fault(at, "this is said twice of one IP header")
            fields[name] = value
        if "ecn" in fields and "tos" in fields:
            raise Fault(children[-1][2], "`tos` is the whole octet: it cannot be combined with an ECN codepoint")
        return IpInfo(**fields)

    def ip_ecn(self, children: Children) -> tuple[str, str, int]:
        return "ecn", str(children[0]), children[0].start_pos

    def ip_tos(self, children: Children) -> tuple[str, int, int]:
        return "tos", number(children[0], 0, _U8, "the type of service"), children[0].start_pos

    def ip_ttl(self, children: Children) -> tuple[str, int, int]:
        return "ttl", number(children[0], 0, _U8, "the time to live"), children[0].start_pos

    def ip_flow_label(self, children: Children) -> tuple[str, int, int]:
        return "flow_label", number(children[0], 0, (1 << 20) - 1, "the flow label"), children[0].start_pos

    def tcp(self, children: Children) -> Children:
        children[1] = tcp_flags(children[1])
        options = children[6]
        if options is None:
            children[6] = ()
        elif options is _UNCHECKED:
            children[6] = None
        return children

    def ports(self, children: Children) -> Ports:
        return Ports(number(children[0], 0, _U16, "a port"), number(children[1], 0, _U16, "a port"))

    def seq(self, children: Children) -> tuple[int, int, int]:
        first = number(children[0], 0, _U32, "a sequence number")
        end = number(children[1], 0, _U32, "a sequence number")
        length = number(children[2], 0, _U16, "the length of the data")
        if (first + length - end) & _U32:
            wanted = (first + length) & _U32
            raise Fault(
                children[1].start_pos, f"expected {wanted}, that is {first} plus the length {length}, not {end}"
            )
        return first, end, length

    def ack(self, children: Children) -> int:
        return number(children[0], 0, _U32, "the acknowledgment number")

    def window(self, children: Children) -> int:
        return number(children[0], 0, _U16, "the window")

    def urgent(self, children: Children) -> int:
        return number(children[0], 0, _U16, "the urgent pointer")

    def udp(self, children: Children) -> tuple[Ports | None, int]:
        return children[0], number(children[1], 0, _U16, "the length of the data")

    def icmp(self, children: Children) -> Children:
        return children

    def mtu(self, children: Children) -> int:
        return number(children[0], 0, _U32, "the MTU")

    def identifier(self, children: Children) -> int:
        return number(children[0], 0, _U16, "the identifier")

    def quoted_tcp(self, children: Children) -> Quoted:
        first, _, length = children[0]
        return Quoted(QuotedProtocol.TCP, first, length)

    def quoted_udp(self, children: Children) -> Quoted:
        return Quoted(QuotedProtocol.UDP, 0, number(children[0], 0, _U16, "the length of the data"))

    def quoted_raw(self, children: Children) -> Quoted:
        return Quoted(QuotedProtocol.RAW, 0, number(children[0], 0, _U16, "the length of the data"))

    # TCP options

    def options_unchecked(self, children: Children) -> str:
        return _UNCHECKED

    def options(self, children: Children) -> tuple[TcpOption, ...]:
        opening, *options = children
        octets = sum(map(_octets, options))
        if octets > _MAX_OPTIONS:
            raise Fault(opening.start_pos, f"these options have {octets} octets; a header has room for {_MAX_OPTIONS}")
        if octets % 4:
            raise Fault(opening.start_pos, f"these options have {octets} octets: expected a multiple of 4, with `nop`s")
        return tuple(options)

    def nop(self, children: Children) -> Nop:
        return _NOP

    def eol(self, children: Children) -> Eol:
        return _EOL

    def mss(self, children: Children) -> Mss:
        return Mss(number(children[0], 0, _U16, "the maximum segment size"))

    def wscale(self, children: Children) -> WindowScale:
        return WindowScale(number(children[0], 0, _U8, "the window scale"))

    def sack_permitted(self, children: Children) -> SackPermitted:
        return _SACK_PERMITTED

    def sack(self, children: Children) -> Sack:
        return Sack(tuple(children))

    def block(self, children: Children) -> tuple[int, int]:
        left, right = children
        return number(left, 0, _U32, "a sequence number"), number(right, 0, _U32, "a sequence number")

    def timestamps(self, children: Children) -> Timestamps:
        val, ecr = children
        return Timestamps(number(val, 0, _U32, "a time stamp"), number(ecr, 0, _U32, "a time stamp"))

    def fast_open(self, children: Children) -> FastOpen:
        return FastOpen(_octets_of(children[0], "the cookie"))

    def fast_open_experimental(self, children: Children) -> FastOpen:
        return FastOpen(_octets_of(children[0], "the cookie"), experimental=True)

    def md5(self, children: Children) -> Md5:
        digest = _octets_of(children[0], "the digest")
        if len(digest) > _DIGEST:
            raise Fault(children[0].start_pos, f"expected at most {2 * _DIGEST} hexadecimal digits")
        return Md5(digest)

    def accecn(self, children: Children) -> AccEcn:
        names = tuple(str(name) for name, _ in children)
        if not any(names == order[: len(names)] for order in _COUNTER_ORDERS):
            raise Fault(children[0][0].start_pos, "expected the counters as `e0b ceb e1b` or `e1b ceb e0b`, or fewer")
        return AccEcn(tuple((str(name), value) for name, value in children))

    def counter(self, children: Children) -> tuple[Token, int]:
        return children[0], number(children[1], 0, _U24, "a counter")

    # Calls

    def call(self, children: Children) -> Call:
        until, name, *arguments, result, errno, note = children
        text = None if note is None else " ".join(note[1:-1].split())
        if errno is not None:
            return Call(str(name), tuple(arguments), result, Errno(errno, text or ""), None, until)
        return Call(str(name), tuple(arguments), result, None, text, until)

    def until(self, children: Children) -> Duration:
        token = children[1]
        if token.startswith("-"):
            raise Fault(token.start_pos, "a time cannot be negative")
        if len(token) > MAX_TIME:
            raise Fault(token.start_pos, TIME_TOO_LONG)
        return duration(token)

    def errno(self, children: Children) -> str:
        return str(children[0])

    # Values

    def assignment(self, children: Children) -> Assignment:
        name, value = children
        return Assignment(str(name), value, name.start_pos)

    def alternatives(self, children: Children) -> Or:
        return Or(tuple(children), children[0].at)

    def integer(self, children: Children) -> Int:
        token = children[0]
        return Int(number(token, -_U63, (1 << 64) - 1, "a number"), False, token.start_pos)

    def hexadecimal(self, children: Children) -> Int:
        token = children[0]
        return Int(number(token, 0, (1 << 64) - 1, "a number"), True, token.start_pos)

    def word(self, children: Children) -> Word:
        token = children[0]
        return Word(str(token), token.start_pos)

    def ellipsis(self, children: Children) -> Ellipsis:
        return Ellipsis(children[0].start_pos)

    def string(self, children: Children) -> String:
        return String(b"".join(map(_string, children)), False, children[0].start_pos)

    def prefix(self, children: Children) -> String:
        return String(b"".join(map(_string, children[:-1])), True, children[0].start_pos)

    def htons(self, children: Children) -> Int:
        name, port = children
        return Int(number(port, 0, _U16, "a port"), False, name.start_pos)

    def inet_addr(self, children: Children) -> InAddr:
        name, address = children
        return InAddr(_text(address), name.start_pos)

    def inet6_addr(self, children: Children) -> In6Addr:
        name, address = children
        return In6Addr(_text(address), name.start_pos)

    def array(self, children: Children) -> Array:
        return Array(tuple(children[1:]), children[0].start_pos)

    def counted(self, children: Children) -> Counted:
        name, count, value = children
        return Counted(str(name), count, value, name.start_pos)

    def structure(self, children: Children) -> Expression:
        opening, *fields = children
        return structure(fields, opening.start_pos)


def number(token: Token, least: int, most: int, what: str) -> int:
    """A token's number, decimal or hexadecimal, if it is within bounds."""
    if len(token) <= _MAX_DIGITS:
        value = int(token, 16 if token[:2] in ("0x", "0X") else 10)
        if least <= value <= most:
            return value
    raise Fault(token.start_pos or 0, f"{what} must be from {least} to {most}")


def tcp_flags(token: Token) -> str:
    """The flags of a segment as they are written, without blanks; "" if there are none."""
    if token == "-":
        return ""
    at = token.start_pos or 0
    flags = "".join(token.split())
    for letter in flags:
        if letter not in _TCP_FLAGS:
            raise Fault(
                at + token.index(letter),
                f"`{letter}` is no TCP flag: expected some of `FSRP.UEWA`, or a digit from 0 to 7 for ACE",
            )
    digits = sum(letter in _ACE_DIGITS for letter in flags)
    if digits > 1:
        raise Fault(at, "expected at most one digit among the flags: it is the number of ACE")
    if digits and not _ECN_FLAGS.isdisjoint(flags):
        raise Fault(at, "`E`, `W` and `A` are the bits of ACE: they cannot stand beside its number")
    return flags


def unsupported(token: Token) -> Fault:
    """What to say of syntax that is packetdrill's, but not ours."""
    return Fault(token.start_pos or 0, FOREIGN[token.strip("( \t\r\n")], unsupported=True)


FOREIGN: Final = {
    "encap": "encapsulation (`encap`) is not supported",
    "label": "MPLS label stacks are not supported",
    "flags": "GRE headers are not supported",
    "gre": "GRE headers are not supported",
    "GREv0": "GRE headers are not supported",
    "mpls": "MPLS label stacks are not supported",
    "valid": "sums of MD5 are not computed: expected hexadecimal digits",
    "/udp": "TCP in UDP is not supported",
    "!": "sequence numbers of the wire (`!`) are not supported",
    "...": "sequence numbers that are left open are not supported",
    "ipv4": "IP in IP is not supported",
    "ipv6": "IP in IP is not supported",
    "sctp": "SCTP is not supported",
    "udplite": "UDP-Lite is not supported",
}


def _check_incoming(ip: IpInfo | None, options: object, at: int) -> None:
    if ip is not None and ip.ecn == "ect01":
        raise Fault(at, "`ect01` leaves a choice: only a packet that is expected (`>`) can have it")
    if options is None:
        raise Fault(at, "`<...>` leaves the options open: only a packet that is expected (`>`) can have it")


def _octets(option: TcpOption) -> int:
    """The length of an option on the wire."""
    if isinstance(option, Nop | Eol):
        return 1
    if isinstance(option, SackPermitted):
        return 2
    if isinstance(option, WindowScale):
        return 3
    if isinstance(option, Mss):
        return 4
    if isinstance(option, Timestamps):
        return 10
    if isinstance(option, Sack):
        return 2 + 8 * len(option.blocks)
    if isinstance(option, FastOpen):
        return (4 if option.experimental else 2) + len(option.cookie)
    if isinstance(option, Md5):
        return 2 + len(option.digest)
    return 2 + 3 * len(option.counters)


def _octets_of(token: Token | None, what: str) -> bytes:
    """A string of octets in hexadecimal digits; empty if there is no token."""
    if token is None:
        return b""
    at = token.start_pos or 0
    if len(token) % 2:
        raise Fault(at, f"{what} has an odd number of hexadecimal digits")
    if not _HEXADECIMAL.fullmatch(token):
        raise Fault(at, f"expected {what} in hexadecimal digits: `{token}` is neither these nor defined")
    return bytes.fromhex(token)


def _string(token: Token) -> bytes:
    """A string's octets, without quotes and escapes."""
    inner = token[1:-1].encode("utf-8", "surrogatepass")
    if b"\\" not in inner:
        return inner
    at = token.start_pos or 0
    return _ESCAPE.sub(lambda match: _unescape(match, at), inner)


def _unescape(match: re.Match[bytes], at: int) -> bytes:
    escape = match[1]
    if len(escape) == 3:
        return bytes.fromhex(escape[1:].decode())
    if escape not in _ESCAPES:
        known = r"`\\ \" \f \n \r \t \v`, or `\x` and two hexadecimal digits"
        raise Fault(at, f"expected other escapes in this string: {known}")
    return _ESCAPES[escape]


def _text(token: Token) -> str:
    return str(token[1:-1])
