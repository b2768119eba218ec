"""Reads what one event does, a packet or a call: grammar.lark recognises it, `Builder` makes values of it.

The reader is made when it is first needed. The same text gives the same value, and lines of scripts are much alike, so
the latest ones are kept.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Final, cast

from stack.sim.packetdrill.build import Builder, unsupported
from stack.sim.packetdrill.scanner import Fault
from stack.sim.packetdrill.syntax import Call, Packet

if TYPE_CHECKING:
    from lark import Lark

_KEPT: Final = 4096  #: Actions; some hundred octets each.
_LONGEST_KEPT: Final = 500  #: Characters.
_MAX_DEPTH: Final = 32  #: Of brackets in brackets: whoever walks through a value may call himself.

_BRACKET: Final = re.compile(r'"(?:\\.|[^"\\])*"|(?P<opening>[\[{])|(?P<closing>[\]}])', re.DOTALL)
_FOUND: Final = re.compile(r"\w+|\.\.\.|\S", re.ASCII)

END: Final = "the end of the event"

_PHRASES: Final[tuple[tuple[frozenset[str], str], ...]] = tuple(
    (frozenset(terminals.split()), phrase)
    for terminals, phrase in (
        ("FLAGS _UDP _ICMP", "the packet itself: TCP flags (`S.`, `.` or `-` for none), `udp` or `icmp`"),
        ("FLAGS", "TCP flags (`S.`, `.` or `-` for none)"),
        ("INT HEX NAME STRING ELLIPSIS LSQB LBRACE", "a value"),
        ("_NOP _EOL _MSS", "a TCP option (mss, wscale, sackOK, sack, TS, FO, FOEXP, md5, ECN, nop or eol)"),
        ("ECN _TOS _TTL", "`noecn`, `ect0`, `ect1`, `ect01`, `ce`, `tos`, `ttl` or `flowlabel`"),
        ("DIRECTION", "a packet (`<` or `>`)"),
        ("TIME INT", "a time"),
        ("NAME", "a name"),
        ("INT HEX", "a number"),
        ("INT", "a number"),
        ("_ACK", "`ack`"),
        ("_WIN", "`win`"),
        ("_URG", "`urg`"),
        ("_VAL", "`val`"),
        ("_ECR", "`ecr`"),
        ("_MTU", "`mtu`"),
        ("_ID", "`id`"),
        ("_UDP", "`udp`"),
        ("_RAW", "`raw`"),
        ("COUNTER", "`e0b`, `ceb` or `e1b`"),
        ("HEXADECIMAL", "hexadecimal digits"),
        ("STRING", "a string"),
        ("ELLIPSIS", "`...`"),
        ("NOTE", "a remark in brackets"),
        ("EQUAL", "`=`"),
        ("COLON", "`:`"),
        ("COMMA", "`,`"),
        ("BAR", "`|`"),
        ("LPAR", "`(`"),
        ("RPAR", "`)`"),
        ("LSQB", "`[`"),
        ("RSQB", "`]`"),
        ("RBRACE", "`}`"),
        ("LABR", "`<`"),
        ("RABR", "`>`"),
        ("$END", END),
    )
)
_FOREIGN: Final = frozenset(("ENCAPSULATION", "MPLS_OR_GRE", "OPEN_SEQ", "TUNNEL", "VALID", "WIRE_NUMBERS"))


def read_action(text: str) -> Packet | Call:
    """What an event does.

    Raises:
        Fault: with an offset in this text.
    """
    return _read_and_keep(text) if len(text) <= _LONGEST_KEPT else _read(text)


def _read(text: str) -> Packet | Call:
    _check_depth(text)
    reader = _reader()
    from lark.exceptions import UnexpectedInput

    try:
        return cast("Packet | Call", reader.parse(text))
    except UnexpectedInput:
        raise _fault(text) from None


_read_and_keep = functools.lru_cache(_KEPT)(_read)


@functools.cache
def _reader() -> Lark:
    from lark import Lark

    return Lark.open_from_package(
        "stack.sim.packetdrill", "grammar.lark", ("",), parser="lalr", transformer=Builder(), g_regex_flags=re.ASCII
    )


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= _MAX_DEPTH:
        return
    depth = 0
    for match in _BRACKET.finditer(text):
        depth += (match["opening"] is not None) - (match["closing"] is not None)
        if depth > _MAX_DEPTH:
            raise Fault(match.start(), f"expected at most {_MAX_DEPTH} brackets in brackets")


def _fault(text: str) -> Fault:
    """What is wrong with a text that the reader has refused, in words."""
    from lark.exceptions import UnexpectedInput

    # Once more, step by step: only so does the reader tell exactly what could have stood at this place.
    steps: Any = _reader().parse_interactive(text)
    before = None
    at = len(text)
    try:
        for token in steps.iter_parse():
            before = token
    except UnexpectedInput as error:
        at = error.pos_in_stream or 0
    if before is not None and before.type in _FOREIGN:
        return unsupported(before)
    match = _FOUND.match(text, at)
    found = f"`{match.group()}`" if match is not None else END
    return Fault(at, f"expected {_phrase(steps.accepts())}, not {found}")


def _phrase(wanted: set[str]) -> str:
    """What could have stood here, in words."""
    phrases = []
    for terminals, phrase in _PHRASES:
        if terminals <= wanted:
            wanted -= terminals
            phrases.append(phrase)
    if len(phrases) < 2:
        return "".join(phrases) or "something else"
    return ", ".join(phrases[:-1]) + " or " + phrases[-1]
