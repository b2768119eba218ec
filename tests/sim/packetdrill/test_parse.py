"""What the parser makes of scripts: values for what it knows, a place and words for what it does not."""

from __future__ import annotations

import textwrap

import pytest

from stack.sim.packetdrill.parse import ScriptError, parse
from stack.sim.packetdrill.syntax import (
    AccEcn,
    Action,
    Array,
    Assignment,
    Call,
    Cmsg,
    Code,
    Command,
    Direction,
    Ellipsis,
    Eol,
    EpollEvent,
    Errno,
    Event,
    Expression,
    ExtendedError,
    FastOpen,
    IcmpPacket,
    In6Addr,
    InAddr,
    Int,
    IoVec,
    IpInfo,
    Linger,
    Md5,
    MsgHdr,
    Mss,
    Nop,
    Option,
    Or,
    Place,
    PollFd,
    Ports,
    Quoted,
    QuotedProtocol,
    Sack,
    SackPermitted,
    SockAddr,
    String,
    SubList,
    TcpOption,
    TcpPacket,
    Timestamping,
    Timestamps,
    UdpPacket,
    When,
    WhenKind,
    WindowScale,
    Word,
)
from stack.wire.units import MS, SECOND, US

IN, OUT = Direction.IN, Direction.OUT
ABSOLUTE, RELATIVE, ANY = WhenKind.ABSOLUTE, WhenKind.RELATIVE, WhenKind.ANY
DOTS = Ellipsis()


def event(text: str) -> Event:
    (only,) = parse(text, "a.pkt").events
    return only


def action(text: str) -> Action:
    return event("+0 " + text).action


def value(text: str) -> Expression:
    call = action(f"call({text}) = 0")
    assert isinstance(call, Call)
    (only,) = call.arguments
    return only


def packet(text: str) -> TcpPacket:
    found = action(text)
    assert isinstance(found, TcpPacket)
    return found


def options(text: str) -> tuple[TcpOption, ...] | None:
    return packet(f"> . 1:1(0) ack 1 <{text}>").options


# Times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("0", When(ABSOLUTE, 0)),
        ("2", When(ABSOLUTE, 2 * SECOND)),
        ("1.5", When(ABSOLUTE, 1500 * MS)),
        (".25", When(ABSOLUTE, 250 * MS)),
        ("+0", When(RELATIVE, 0)),
        ("+.1", When(RELATIVE, 100 * MS)),
        ("+ 3", When(RELATIVE, 3 * SECOND)),
        ("+0.000001", When(RELATIVE, US)),
        ("+0.1234567891", When(RELATIVE, 123_456_789)),
        ("*", When(ANY, 0)),
        (".1~.2", When(ABSOLUTE, 100 * MS, 200 * MS)),
        ("1 ~ 1", When(ABSOLUTE, SECOND, SECOND)),
        ("+.02 ~ +1.1", When(RELATIVE, 20 * MS, 1100 * MS)),
    ],
)
def test_times(text: str, when: When) -> None:
    assert event(f"{text} > . 1:1(0) ack 1").when == when


@pytest.mark.parametrize(
    ("text", "when", "until"),
    [
        ("0...0.3", When(ABSOLUTE, 0), 300 * MS),
        ("+0...0.3", When(RELATIVE, 0), 300 * MS),
        ("+.1...2", When(RELATIVE, 100 * MS), 2 * SECOND),
        ("+.002 ... .052", When(RELATIVE, 2 * MS), 52 * MS),
        ("+0....5", When(RELATIVE, 0), 500 * MS),
    ],
)
def test_a_call_that_blocks(text: str, when: When, until: int) -> None:
    found = event(f"{text} read(3, ..., 10) = 10")
    assert found.when == when
    assert found.action == Call("read", (Int(3), DOTS, Int(10)), Int(10), until=until)


# Packets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("< S 0:0(0) win 65535", TcpPacket(IN, "S", 0, 0, 0, window=65535)),
        ("> S. 0:0(0) ack 1", TcpPacket(OUT, "S.", 0, 0, 0, ack=1)),
        (">P. 1:1001(1000) ack 1", TcpPacket(OUT, "P.", 1, 1001, 1000, ack=1)),
        ("> FP. 1:1(0) ack 1", TcpPacket(OUT, "FP.", 1, 1, 0, ack=1)),
        ("> F  . 1:1(0) ack 1", TcpPacket(OUT, "F.", 1, 1, 0, ack=1)),
        ("< - 5:6(1) win 0", TcpPacket(IN, "", 5, 6, 1, window=0)),
        ("< U. 1:2(1) ack 1 win 257 urg 1", TcpPacket(IN, "U.", 1, 2, 1, 1, 257, 1)),
        ("> R 4294967295:4294967295(0)", TcpPacket(OUT, "R", 0xFFFFFFFF, 0xFFFFFFFF, 0)),
        ("> . 4294967295:2(3) ack 1", TcpPacket(OUT, ".", 0xFFFFFFFF, 2, 3, 1)),
        ("> 8080 > 43210 . 1:1(0) ack 1", TcpPacket(OUT, ".", 1, 1, 0, 1, ports=Ports(8080, 43210))),
        ("> [noecn] SEWA 0:0(0)", TcpPacket(OUT, "SEWA", 0, 0, 0, ip=IpInfo(ecn="noecn"))),
        ("> [ect0] .5 1:1(0) ack 1", TcpPacket(OUT, ".5", 1, 1, 0, 1, ip=IpInfo(ecn="ect0"))),
        ("> [ect01] P.0 1:3(2) ack 1", TcpPacket(OUT, "P.0", 1, 3, 2, 1, ip=IpInfo(ecn="ect01"))),
        ("< (ect1) . 1:1(0) ack 1 win 1", TcpPacket(IN, ".", 1, 1, 0, 1, 1, ip=IpInfo(ecn="ect1"))),
        ("< [ce] EAP. 1:1(0) ack 1 win 1", TcpPacket(IN, "EAP.", 1, 1, 0, 1, 1, ip=IpInfo(ecn="ce"))),
        ("> [tos 0x10] . 1:1(0) ack 1", TcpPacket(OUT, ".", 1, 1, 0, 1, ip=IpInfo(tos=16))),
        ("> (class 8) . 1:1(0) ack 1", TcpPacket(OUT, ".", 1, 1, 0, 1, ip=IpInfo(tos=8))),
        ("> [ttl 64] . 1:1(0) ack 1", TcpPacket(OUT, ".", 1, 1, 0, 1, ip=IpInfo(ttl=64))),
        ("> (hlim 4) . 1:1(0) ack 1", TcpPacket(OUT, ".", 1, 1, 0, 1, ip=IpInfo(ttl=4))),
        (
            "> [ect0,flowlabel 0xabcde] . 1:1(0) ack 1",
            TcpPacket(OUT, ".", 1, 1, 0, 1, ip=IpInfo(ecn="ect0", flow_label=0xABCDE)),
        ),
    ],
)
def test_tcp(text: str, found: TcpPacket) -> None:
    assert action(text) == found


@pytest.mark.parametrize(("flags", "ace"), [("S.", None), (".", None), (".5", 5), ("P.0", 0), ("SEWA", None)])
def test_the_number_of_ace(flags: str, ace: int | None) -> None:
    assert packet(f"> {flags} 1:1(0)").ace == ace


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("mss 1460", (Mss(1460),)),
        ("nop,wscale 7", (Nop(), WindowScale(7))),
        ("sackOK,nop,eol", (SackPermitted(), Nop(), Eol())),
        ("sackOK, eol , eol", (SackPermitted(), Eol(), Eol())),
        ("nop,nop,TS val 100 ecr 4294967295", (Nop(), Nop(), Timestamps(100, 0xFFFFFFFF))),
        ("nop,nop,sack 1:3", (Nop(), Nop(), Sack(((1, 3),)))),
        ("sack 3001:4001 1:2 5:6,nop,nop", (Sack(((3001, 4001), (1, 2), (5, 6))), Nop(), Nop())),
        ("FO,nop,nop", (FastOpen(b""), Nop(), Nop())),
        ("FO 12345678abcdef00,nop,nop", (FastOpen(bytes.fromhex("12345678abcdef00")), Nop(), Nop())),
        ("FO 12e4,nop,nop,nop,nop", (FastOpen(b"\x12\xe4"), Nop(), Nop(), Nop(), Nop())),
        ("FOEXP", (FastOpen(b"", experimental=True),)),
        ("FOEXP aaaabbbbccccdddd", (FastOpen(bytes.fromhex("aaaabbbbccccdddd"), experimental=True),)),
        ("md5 000102030405060708090a0b0c0d0e0f,nop,nop", (Md5(bytes(range(16))), Nop(), Nop())),
        ("ECN e0b 1 ceb 0 e1b 16777215,nop", (AccEcn((("e0b", 1), ("ceb", 0), ("e1b", 0xFFFFFF))), Nop())),
        ("ECN e1b 1 ceb 2", (AccEcn((("e1b", 1), ("ceb", 2))),)),
        ("ECN e1b 1,nop,nop,nop", (AccEcn((("e1b", 1),)), Nop(), Nop(), Nop())),
        ("...", None),
    ],
)
def test_tcp_options(text: str, found: tuple[TcpOption, ...] | None) -> None:
    assert options(text) == found


def test_no_options_are_no_options() -> None:
    assert packet("> . 1:1(0) ack 1").options == ()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("> udp (1000)", UdpPacket(OUT, 1000)),
        ("< udp 53 > 4000 (0)", UdpPacket(IN, 0, ports=Ports(53, 4000))),
        ("< [ect0] udp (1)", UdpPacket(IN, 1, IpInfo(ecn="ect0"))),
    ],
)
def test_udp(text: str, found: UdpPacket) -> None:
    assert action(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("< icmp unreachable", IcmpPacket(IN, "unreachable")),
        (
            "< icmp unreachable host_unreachable [1:1001(1000)]",
            IcmpPacket(IN, "unreachable", "host_unreachable", quoted=Quoted(QuotedProtocol.TCP, 1, 1000)),
        ),
        (
            "< icmp unreachable frag_needed mtu 1200 [0:0(0)]",
            IcmpPacket(IN, "unreachable", "frag_needed", 1200, quoted=Quoted(QuotedProtocol.TCP, 0, 0)),
        ),
        (
            "< icmp packet_too_big mtu 1280 [udp (100)]",
            IcmpPacket(IN, "packet_too_big", mtu=1280, quoted=Quoted(QuotedProtocol.UDP, 0, 100)),
        ),
        (
            "< icmp type_3 code_4 [raw (20)]",
            IcmpPacket(IN, "type_3", "code_4", quoted=Quoted(QuotedProtocol.RAW, 0, 20)),
        ),
        ("> [ttl 9] icmp echo_reply id 7", IcmpPacket(OUT, "echo_reply", identifier=7, ip=IpInfo(ttl=9))),
    ],
)
def test_icmp(text: str, found: IcmpPacket) -> None:
    assert action(text) == found


# Calls -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("close(3) = 0", Call("close", (Int(3),), Int(0))),
        ("pipe() = 0x2 (flags O_RDWR)", Call("pipe", (), Int(2), note="flags O_RDWR")),
        ("read(3) = -1 EAGAIN (Try again)", Call("read", (Int(3),), Int(-1), Errno("EAGAIN", "Try again"))),
        ("close(3) = -1 EBADF(Bad  file)", Call("close", (Int(3),), Int(-1), Errno("EBADF", "Bad file"))),
        ("close(3) = -1 EBADF", Call("close", (Int(3),), Int(-1), Errno("EBADF", ""))),
        ("close(3) = -1 (Invalid argument)", Call("close", (Int(3),), Int(-1), note="Invalid argument")),
        ("f(A|B | C) = A|D", Call("f", (Or((Word("A"), Word("B"), Word("C"))),), Or((Word("A"), Word("D"))))),
        ("accept(3, ..., ...) = ...", Call("accept", (Int(3), DOTS, DOTS), DOTS)),
    ],
)  # fmt: skip
def test_calls(text: str, found: Call) -> None:
    assert action(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("...", DOTS),
        ("-5", Int(-5)),
        ("18446744073709551615", Int((1 << 64) - 1)),
        ("0x1F", Int(31)),
        ("SOL_TCP", Word("SOL_TCP")),
        ("ack", Word("ack")),
        ("fd", Word("fd")),
        ('"reno"', String(b"reno")),
        ('"a" "b"\n"c"', String(b"abc")),
        ('"GET /"...', String(b"GET /", prefix=True)),
        (r'"\n\t\\\"\x00\xff"', String(b'\n\t\\"\x00\xff')),
        ('"é"', String("é".encode())),
        ('"// no # comment"', String(b"// no # comment")),
        ("[]", Array(())),
        ("[1]", Array((Int(1),))),
        ("[[1, A], 0x2]", Array((Array((Int(1), Word("A"))), Int(2)))),
        ("NAME = A|B", Assignment("NAME", Or((Word("A"), Word("B"))))),
        ("{1, 2}", SubList((Int(1), Int(2)))),
        ("{x=1}", SubList((Assignment("x", Int(1)),))),
        ('inet_addr("192.0.2.1")', InAddr("192.0.2.1")),
        ('inet6_addr("2001:db8::1")', In6Addr("2001:db8::1")),
        ("htons(80)", Int(80)),
        (
            '{sa_family = AF_INET, sin_port = htons(8080), sin_addr = inet_addr("192.0.2.1")}',
            SockAddr("AF_INET", 8080, "192.0.2.1"),
        ),
        ('{sa_family=AF_INET6,sin_port=htons(0),sin_addr=inet_addr("::1")}', SockAddr("AF_INET6", 0, "::1")),
        ("{..., 1000}", IoVec(DOTS, Int(1000))),
        (
            "{msg_name(...)=..., msg_iov(2)=[{..., 5}, {...,6}], msg_flags=MSG_EOR}",
            MsgHdr(DOTS, Array((IoVec(DOTS, Int(5)), IoVec(DOTS, Int(6)))), 2, Word("MSG_EOR")),
        ),
        (
            "{msg_name(...)=..., msg_iov(1)=[{..., 5}], msg_flags=0,"
            " msg_control=[{cmsg_level=SOL_TCP, cmsg_type=TCP_CM_INQ, cmsg_data=7}]}",
            MsgHdr(
                DOTS,
                Array((IoVec(DOTS, Int(5)),)),
                1,
                Int(0),
                Array((Cmsg(Word("SOL_TCP"), Word("TCP_CM_INQ"), Int(7)),)),
            ),
        ),
        ("{scm_sec=1,scm_nsec=20}", Timestamping(1, 20)),
        (
            "{ee_errno=ENOMSG, ee_origin=1, ee_type=2, ee_code=3, ee_info=4, ee_data=5}",
            ExtendedError(Word("ENOMSG"), Int(1), Int(2), Int(3), Int(4), Int(5)),
        ),
        ("{fd=4, events=POLLIN|POLLOUT}", PollFd(Int(4), Or((Word("POLLIN"), Word("POLLOUT"))))),
        ("{fd=4, events=0, revents=POLLHUP}", PollFd(Int(4), Int(0), Word("POLLHUP"))),
        ("{events=EPOLLIN, fd=4}", EpollEvent(Word("EPOLLIN"), "fd", Int(4))),
        ("{events=0, u64=0xffffffffff}", EpollEvent(Int(0), "u64", Int(0xFFFFFFFFFF))),
        ("{onoff=1, linger=5}", Linger(1, 5)),
    ],
)
def test_values(text: str, found: Expression) -> None:
    assert value(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`sysctl -q a=1`", Command("sysctl -q a=1")),
        ("`echo \\`a\\` \\\n // x`", Command("echo \\`a\\` \\\n // x")),
        ("%{ assert tcpi_snd_cwnd == 10 }%", Code("assert tcpi_snd_cwnd == 10 ".rstrip())),
        ("%{\nif a:\n  assert {1} # }\n}%", Code("\nif a:\n  assert {1} # }\n")),
        ("%{}%", Code("")),
    ],
)
def test_commands_and_code(text: str, found: Action) -> None:
    assert action(text) == found


# Scripts ---------------------------------------------------------------------------------------------------------

SCRIPT = textwrap.dedent(
    """\
    // What this shows.
    --tolerance_usecs=10000 --ip_version=ipv4-mapped-ipv6 // usual
    --local_ip=fd3d::1
    --strict_segments
    --define=CC="reno"
    --define=MSS=1000  /* two
    lines */
    `sysctl -q net.ipv4.tcp_ecn=0
    ip tcp_metrics flush`

    0   socket(..., SOCK_STREAM, IPPROTO_TCP) = 3  # a listener
    +0  setsockopt(3, SOL_TCP, TCP_CONGESTION, CC, 4) = 0
    +0  bind(3, ...,
             ...) = 0   +0 listen(3, 1) = 0

    +.1 < S 0:0(0) win 32792 // <mss 1460,
        <mss MSS,nop,nop,sackOK>
    *   > S. 0:0(0) \\
            ack 1 <...>
    +0  %{
    assert 1 < 2
    1 if x(3) else 0
    }%
    `cleanup 1`
    """
)


def test_a_script() -> None:
    script = parse(SCRIPT, "a.pkt")
    assert script.path == "a.pkt"
    assert script.options == (
        Option(Place("a.pkt", 2, 1), "tolerance_usecs", "10000"),
        Option(Place("a.pkt", 2, 25), "ip_version", "ipv4-mapped-ipv6"),
        Option(Place("a.pkt", 3, 1), "local_ip", "fd3d::1"),
        Option(Place("a.pkt", 4, 1), "strict_segments", None),
        Option(Place("a.pkt", 5, 1), "define", 'CC="reno"'),
        Option(Place("a.pkt", 6, 1), "define", "MSS=1000"),
    )
    assert script.init == Command("sysctl -q net.ipv4.tcp_ecn=0\nip tcp_metrics flush")
    assert script.cleanup == Command("cleanup 1")
    assert [(e.place.line, e.place.column) for e in script.events] == [
        (11, 1), (12, 1), (13, 1), (14, 21), (16, 1), (18, 1), (20, 1),
    ]  # fmt: skip
    assert [e.action for e in script.events] == [
        Call("socket", (DOTS, Word("SOCK_STREAM"), Word("IPPROTO_TCP")), Int(3)),
        Call("setsockopt", (Int(3), Word("SOL_TCP"), Word("TCP_CONGESTION"), String(b"reno"), Int(4)), Int(0)),
        Call("bind", (Int(3), DOTS, DOTS), Int(0)),
        Call("listen", (Int(3), Int(1)), Int(0)),
        TcpPacket(IN, "S", 0, 0, 0, window=32792, options=(Mss(1000), Nop(), Nop(), SackPermitted())),
        TcpPacket(OUT, "S.", 0, 0, 0, ack=1, options=None),
        Code("\nassert 1 < 2\n1 if x(3) else 0\n"),
    ]


@pytest.mark.parametrize("head", ["--mss=1000", "--quiet", "`a`", "--mss=1000 `a`", "/* */"])
def test_the_first_event_may_stand_behind_the_head(head: str) -> None:
    assert [e.when for e in parse(f"{head} 0 f() = 0\n1 f() = 0").events] == [When(ABSOLUTE, 0), When(ABSOLUTE, SECOND)]


def test_options_are_looked_up_by_name() -> None:
    script = parse('--mtu=1500\n--mtu = 1280\n--quiet\n--cc="a b"\n0 f() = 0')
    assert script.option("mtu") == "1280"
    assert script.option("quiet") == ""
    assert script.option("cc") == "a b"
    assert script.option("mss") is None


def test_an_event_keeps_its_text_without_comments() -> None:
    found = event("  +0 > . 1:1(0) /* why */ ack 1   // because\n\n# end\n")
    assert found.source == "+0 > . 1:1(0)           ack 1"
    assert found.place == Place("a.pkt", 1, 3)


def test_the_place_of_a_part() -> None:
    found = event("\n +0 poll([{fd=4,\n\n    events=A|B}], 1) = X\n")
    assert found.place == Place("a.pkt", 2, 2)
    call = found.action
    assert isinstance(call, Call)
    (array, count) = call.arguments
    assert isinstance(array, Array)
    (poll,) = array.items
    assert isinstance(poll, PollFd)
    assert isinstance(poll.events, Or)
    parts = (call, array, poll, poll.fd, poll.events, poll.events.parts[1], count, call.result)
    assert [found.place_of(part)[1:] for part in parts] == [
        (2, 5), (2, 10), (2, 11), (2, 15), (4, 12), (4, 14), (4, 19), (4, 24),
    ]  # fmt: skip
    assert found.place_of() == Place("a.pkt", 2, 5)


def test_equal_lines_are_read_once() -> None:
    first, second = parse("0 f(1, A) = 0\n+1   f(1, A) = 0").events
    assert first.action is second.action


def test_lines_may_end_as_elsewhere() -> None:
    script = parse("--mss=1000\r\n0 f() = 0 // x\r\n+0 > . 1:1(0)\r\n")
    assert script.option("mss") == "1000"
    assert [e.action for e in script.events] == [Call("f", (), Int(0)), TcpPacket(OUT, ".", 1, 1, 0)]


# Definitions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("definition", "text", "found"),
    [
        ("1400", "> S 0:0(0) <mss X>", TcpPacket(OUT, "S", 0, 0, 0, options=(Mss(1400),))),
        ("abcd", "> S 0:0(0) <FO X>", TcpPacket(OUT, "S", 0, 0, 0, options=(FastOpen(b"\xab\xcd"),))),
        ("IP_RECVERR", "f(X) = 0", Call("f", (Word("IP_RECVERR"),), Int(0))),
        ("IP_RECVERR", 'f("X", XX, X_) = 0', Call("f", (String(b"X"), Word("XX"), Word("X_")), Int(0))),
        ('"a b"', "f(X) = 0", Call("f", (String(b"a b"),), Int(0))),
        ("`a b`", "X", Command("a b")),
        ("host_unreachable", "< icmp unreachable X", IcmpPacket(IN, "unreachable", "host_unreachable")),
    ],
)
def test_definitions(definition: str, text: str, found: Action) -> None:
    (by_script,) = parse(f"--define=X={definition}\n+0 {text}").events
    (by_caller,) = parse(f"--define=X=other\n+0 {text}", defines={"X": definition}).events
    assert by_script.action == found
    assert by_caller.action == found


def test_places_are_those_of_the_script_as_it_is_written() -> None:
    with pytest.raises(ScriptError) as caught:
        parse("--define=LONG=1234567890\n0 f(LONG, LONG, ?) = 0\n")
    assert caught.value.place == Place("<script>", 2, 17)
    with pytest.raises(ScriptError) as caught:
        parse("--define=A=70000\n0 f() = 0\n+0 < . 1:1(0) win A\n", "b.pkt")
    assert caught.value.place == Place("b.pkt", 3, 19)
