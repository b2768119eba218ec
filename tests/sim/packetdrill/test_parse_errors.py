"""What is no script is refused with its place, and in words. No text breaks the parser."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stack.sim.packetdrill.parse import ScriptError, Unsupported, parse
from stack.sim.packetdrill.syntax import (
    Event,
    Place,
)

ERRORS = [
    # the script
    ("", 1, 1, "no events"),
    ("// nothing\n\n", 1, 1, "no events"),
    ("--mss=1000\n", 1, 11, "no events"),
    ("hello", 1, 1, "expected an event: a time"),
    ("0 f() = 0\n`a`\n+0 g() = 0", 2, 1, "before the first event and behind the last"),
    ("`a`\n`b`\n0 f() = 0", 2, 1, "before the first event and behind the last"),
    ("0 f() = 0\n`a`\n`b`", 3, 1, "before the first event and behind the last"),
    ("`a`\n--mss=1\n0 f() = 0", 2, 1, "at the script's head"),
    ("0 f() = 0 /* x", 1, 11, "comment has no end"),
    ('0 f("x) = 0', 1, 5, "string has no end"),
    ("0 `x", 1, 3, "command has no end"),
    ("0 %{ x }\n%", 1, 3, "code has no end"),
    ("0 `x` 1 f() = 0", 1, 7, "a line of its own"),
    ("0 %{ x }% y", 1, 11, "expected an event"),
    # times
    ("0", 1, 2, "behind the time"),
    ("0 f() = 0\n+0 g = 0", 2, 4, "behind the time"),
    ("0 f() = 0\n  g() = 0", 2, 3, "expected an event: a time"),
    ("0 f() = 0\n-1 g() = 0", 2, 1, "cannot be negative"),
    ("0...-1 f() = 0", 1, 5, "cannot be negative"),
    ("2~1 > . 1:1(0)", 1, 1, "ends before it begins"),
    ("1~+2 > . 1:1(0)", 1, 1, "both ends"),
    ("* < . 1:1(0) win 1", 1, 1, "packet that is expected"),
    ("* f() = 0", 1, 1, "packet that is expected"),
    ("1~2 %{ x }%", 1, 1, "packet that is expected"),
    ("0" * 40 + " f() = 0", 1, 1, "at most"),
    ("0..." + "1" * 40 + " f() = 0", 1, 5, "at most"),
    # packets
    ("0 >", 1, 4, "the packet itself"),
    ("0 > X. 1:1(0)", 1, 5, "`X` is no TCP flag"),
    ("0 > S8 1:1(0)", 1, 6, "`8` is no TCP flag"),
    ("0 > E.5 1:1(0)", 1, 5, "bits of ACE"),
    ("0 > .55 1:1(0)", 1, 5, "at most one digit"),
    ("0 > .", 1, 6, "expected a number, not the end"),
    ("0 > . 1:2(0)", 1, 9, "expected 1, that is 1 plus the length 0, not 2"),
    ("0 > . 4294967296:4294967296(0)", 1, 7, "from 0 to 4294967295"),
    ("0 > . 1:1(0) ack x", 1, 18, "expected a number, not `x`"),
    ("0 > . 1:1(0) ack 1 win 65536", 1, 24, "the window must be from 0 to 65535"),
    ("0 > . 1:1(0) ack 1 urg -1", 1, 24, "the urgent pointer must be"),
    ("0 > . 1:1(0) ack 1 ack 1", 1, 20, "expected `win`, `urg`, `<` or the end of the event, not `ack`"),
    ("0 < . 1:1(0) ack 1", 1, 3, "must say its window"),
    ("0 < . 1:1(0) win 1 <...>", 1, 3, "leaves the options open"),
    ("0 < [ect01] . 1:1(0) win 1", 1, 3, "leaves a choice"),
    ("0 > [ect2] . 1:1(0)", 1, 6, "`noecn`"),
    ("0 > [ect0,ce] . 1:1(0)", 1, 11, "said twice"),
    ("0 > [ect0,tos 0x10] . 1:1(0)", 1, 15, "the whole octet"),
    ("0 > [tos 0x100] . 1:1(0)", 1, 10, "from 0 to 255"),
    ("0 > [ect0) . 1:1(0)", 1, 10, "expected `]`, not `)`"),
    ("0 > 1 > 65536 . 1:1(0)", 1, 9, "a port must be"),
    ("0 > . 1:1(0) <>", 1, 15, "a TCP option"),
    ("0 > . 1:1(0) <fish 3>", 1, 15, "a TCP option (mss,"),
    ("0 > . 1:1(0) <mss 3,nop>", 1, 14, "multiple of 4"),
    ("0 > . 1:1(0) <sack 1:2 1:2 1:2 1:2 1:2,nop,nop>", 1, 14, "room for 40"),
    ("0 > . 1:1(0) <wscale 256,nop>", 1, 22, "the window scale must be"),
    ("0 > . 1:1(0) <TS val 1 nop>", 1, 24, "expected `ecr`, not `nop`"),
    ("0 > . 1:1(0) <FO 123,nop,nop>", 1, 18, "odd number"),
    ("0 > . 1:1(0) <FO COOKIE,nop,nop>", 1, 18, "neither these nor defined"),
    ("0 > . 1:1(0) <md5 " + "00" * 17 + ">", 1, 19, "at most 32"),
    ("0 > . 1:1(0) <ECN ceb 1>", 1, 19, "expected the counters"),
    ("0 > . 1:1(0) <ECN e0b 1 e1b 1>", 1, 19, "expected the counters"),
    ("0 > udp 1", 1, 10, "expected `>`"),
    ("0 > udp (65536)", 1, 10, "the length of the data"),
    ("0 < icmp unreachable a b", 1, 24, "expected `mtu`, `id`, `[` or the end of the event, not `b`"),
    # calls
    ("0 f(", 1, 5, "expected a value or `)`, not the end of the event"),
    ("0 f(1 2) = 0", 1, 7, "expected `,`, `|` or `)`, not `2`"),
    ("0 f() 3", 1, 7, "expected `=`, not `3`"),
    ("0 f() =", 1, 8, "expected a value, not the end"),
    ("0 f() = 0 (a", 1, 11, "a remark in brackets"),
    ("0 f(99999999999999999999) = 0", 1, 5, "a number must be"),
    ("0 f(" + "9" * 5000 + ") = 0", 1, 5, "a number must be"),
    (r'0 f("\q") = 0', 1, 5, "escapes"),
    (r'0 f("\x1") = 0', 1, 5, "escapes"),
    ("0 f(" + "[" * 40 + "]" * 40 + ") = 0", 1, 37, "brackets in brackets"),
    ("0 f({}) = 0", 1, 6, "a value"),
    ("0 f({fd=3, x=3}) = 0", 1, 5, "`fd`, `events` or `fd`, `events`, `revents`"),
    ("0 f({onoff=A, linger=1}) = 0", 1, 6, "a number for `onoff`"),
    ('0 f({sa_family=1,sin_port=htons(1),sin_addr=inet_addr("1.2.3.4")}) = 0', 1, 6, "`sa_family = AF_INET`"),
    ('0 f({sa_family=AF_INET,sin_port=A,sin_addr=inet_addr("1.2.3.4")}) = 0', 1, 24, "htons"),
    ("0 f({sa_family=AF_INET,sin_port=htons(1),sin_addr=A}) = 0", 1, 42, "inet_addr"),
    ('0 f({sa_family=AF_INET,sin_port=htons(1),sin_addr=inet_addr("::1")}) = 0', 1, 51, "no address"),
    ('0 f({sa_family=AF_INET,sin_port=htons(65536),sin_addr=inet_addr("::1")}) = 0', 1, 39, "a port"),
    ("0 f({msg_name(...)=..., msg_iov(A)=[], msg_flags=0}) = 0", 1, 5, "with a number"),
    ("0 f({msg_name(...)=..., msg_iov(1)=A, msg_flags=0}) = 0", 1, 25, "msg_iov(1)="),
    ("0 f({msg_name(...)=..., msg_iov(1)=[], msg_flags=0, msg_control=3}) = 0", 1, 53, "msg_control="),
    ("0 f({1, msg_iov(1)=[]}) = 0", 1, 9, "begins with `msg_name`"),
]


@pytest.mark.parametrize(("text", "line", "column", "message"), ERRORS)
def test_errors(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(ScriptError) as caught:
        parse(text, "dir/a.pkt")
    error = caught.value
    assert type(error) is ScriptError
    assert message in error.message
    assert error.place == Place("dir/a.pkt", line, column)
    assert str(error) == f"dir/a.pkt:{line}:{column}: {error.message}"


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("0 > gre: . 1:1(0)", 1, 5, "GRE"),
        ("0 > gre flags 0x0, sum 1: . 1:1(0)", 1, 5, "GRE"),
        ("0 > mpls (label 0, tc 0, ttl 1): . 1:1(0)", 1, 5, "MPLS"),
        ("0 > ipv4 1.2.3.4 > 5.6.7.8: . 1:1(0)", 1, 5, "IP in IP"),
        ("0 > [ect0] ipv6 a::1 > b::1: udp (1)", 1, 12, "IP in IP"),
        ("0 < encap psp spi 1 . 1:1(0) ack 1 win 1", 1, 5, "encap"),
        ("0 > sctp: INIT[flgs=0]", 1, 5, "SCTP"),
        ("0 > udplite (8, 8)", 1, 5, "UDP-Lite"),
        ("0 > . 1:1(0) <mss 1460>/udp(1 > 2)", 1, 24, "TCP in UDP"),
        ("0 > . ...(0) ack 1", 1, 7, "left open"),
        ("0 > R 1:1(0)! ack 1", 1, 13, "of the wire"),
        ("0 > S 0:0(0) <md5 valid,nop,nop>", 1, 19, "MD5"),
        ("0 f({(label 1, tc 0, ttl 3)}) = 0", 1, 6, "MPLS"),
        ("0 f({flags [none], sum 0}) = 0", 1, 6, "GRE"),
        ('0 f({sa_family=AF_UNIX,sin_port=htons(1),sin_addr=inet_addr("1.2.3.4")}) = 0', 1, 16, "AF_UNIX"),
    ],
)
def test_what_is_not_supported(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(Unsupported) as caught:
        parse(text)
    assert message in caught.value.message
    assert caught.value.place[1:] == (line, column)


@pytest.mark.parametrize("kind", [ScriptError, Unsupported])
def test_an_error_travels_between_processes(kind: type[ScriptError]) -> None:
    error = pickle.loads(pickle.dumps(kind("a.pkt", 3, 4, "expected more")))
    assert type(error) is kind
    assert str(error) == "a.pkt:3:4: expected more"


# Whatever the text -----------------------------------------------------------------------------------------------

SCRIPT = """\
--mss=1000 --define=PORT=80  // a comment
--define=CC="reno"
`sysctl -q net.ipv4.tcp_ecn=0
ip tcp_metrics flush`

0   socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = 3   +0 bind(3, ..., ...) = 0
+0  setsockopt(3, SOL_TCP, TCP_CONGESTION, CC, 4) = 0
+0...0.3 connect(3, {sa_family = AF_INET, sin_port = htons(PORT), sin_addr = inet_addr("192.0.2.1")}, ...) = 0
+.1 > [ect0,flowlabel 0x1] 4000 > PORT S 0:0(0) <mss 1460,sackOK,TS val 1 ecr 0,nop,FO abcd>
*   > . 1:1(0) ack 1 <...>
+0  < P. 1:4001(4000) ack 1 win 257 urg 4 <sack 1:2 4:5,nop,nop> /* and
another */
+0~+.1 > .5 1:1(0) ack 4001 <ECN e0b 1 ceb 0 e1b 1,nop>
+0  poll([{fd=4, events=POLLIN,
           revents=POLLIN}], 1, 0) = -1 EAGAIN (Try again)
+0  < icmp unreachable frag_needed mtu 1200 [1:1001(1000)]
+0  %{
assert tcpi_unacked == 1
}%
`cleanup`
"""


def must_not_break(text: str) -> None:
    try:
        parse(text)
        return
    except ScriptError as error:
        found = error
    lines = text.split("\n")
    assert 1 <= found.place.line <= len(lines)
    assert 1 <= found.place.column <= len(lines[found.place.line - 1]) + 1
    assert found.message


@given(st.text())
@example("0 f(\ud800) = 0")
@example('0 f("\ud800") = 0')
@example("\u0660 f() = 0")
@example("0 f(\u00b2) = 0")
def test_any_text_is_a_script_or_an_error(text: str) -> None:
    must_not_break(text)


#: What scripts are made of, to be put together wrongly.
PIECES = [
    *"+-*.~<>[](){}\"`%/\\#|=,:;! \t\n", "...", "%{", "}%", "/*", "*/", "//", "0x", "--", "0", "1", "+0", ".1",
    "> . 1:1(0)", "< S 0:0(0) win 9", " ack 1", "<mss 1460>", "FO", "sack 1:2", "ECN e0b 1", "[ect0]", "udp", "icmp",
    "f(3) = 0", "-1 EAGAIN (x)", "[1, A|B]", "{..., 5}", "{fd=1, events=2}", '"s"', "`c`", "inet_addr(", "htons(",
    "4294967296", "msg_iov(",
    "--define=A=", "A", "gre", "flags [", "(label", "/udp(", "valid", "é", "\x00", "\u2028",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_pieces_of_scripts_are_a_script_or_an_error(text: str) -> None:
    must_not_break(text)


@given(
    st.sampled_from([SCRIPT, *(f"0 f() = 0\n{text}\n" for text, *_ in ERRORS)]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 40), st.sampled_from(["", *PIECES])), max_size=4),
)
def test_a_script_that_was_changed_is_a_script_or_an_error(text: str, changes: list[tuple[int, int, str]]) -> None:
    for at, length, piece in changes:
        at %= len(text) + 1
        text = text[:at] + piece + text[at + length :]
    must_not_break(text)


@given(
    st.lists(
        st.sampled_from(["0 f() = 0", "+0 > . 1:1(0) ack 1", "* > S 0:0(0)", "+1 `a`", "+.5 %{ b }%"]), min_size=1
    ),
    st.lists(st.sampled_from(["", "  ", "\t", "// 1 f() = 0", "/* +0 > . */", "# 1 f() = 0", "\\"]), min_size=1),
)
def test_lines_and_comments_between_events_change_nothing(lines: list[str], between: list[str]) -> None:
    plain = parse("\n".join(lines))
    text = "".join(f"{line} {between[i % len(between)]}\n" for i, line in enumerate(lines))
    assert parse(text).events == tuple(
        Event(found.place, e.when, e.action, "") for e, found in zip(plain.events, parse(text).events, strict=True)
    )
