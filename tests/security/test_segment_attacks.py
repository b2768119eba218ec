"""Hostile TCP headers, flags and options."""

from __future__ import annotations

import itertools

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.state import ESTABLISHED
from stack.wire.segment import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG
from tests.security.target import SYN_OPTIONS, Target, ip4, kinds, tcp_segment, timestamps

# Headers.


@pytest.mark.parametrize("size", [0, 5, 12, 19])
def test_tch_01_short_segments(size: int) -> None:
    """Too short for a checksum to be right; with a right one, too short for a header."""
    target = Target()
    assert target.hit(ip4(tcp_segment(SYN)[:size])) == []
    assert set(target.host.counters.drops) <= {"truncated", "bad-checksum"}
    assert sum(target.host.counters.drops.values()) == 1


@pytest.mark.parametrize(("offset", "size"), [(4, 0), (0, 0), (15, 0), (15, 39), (6, 3)])
def test_tch_02_data_offset(offset: int, size: int) -> None:
    segment = tcp_segment(SYN, offset=offset, payload=bytes(size))
    Target().expect(ip4(segment), "", "bad-data-offset")


@pytest.mark.parametrize("error", [1, 0x100, 0xFFFF])
def test_tch_03_checksum(error: int) -> None:
    target = Target()
    target.expect(ip4(tcp_segment(SYN, checksum_error=error)), "", "bad-checksum")
    target.expect(ip4(tcp_segment(SYN, pseudo=False)), "", "bad-checksum")
    # Right for another address: a packet that went astray.
    target.expect(ip4(tcp_segment(SYN, dst=bytes((10, 9, 0, 3)))), "", "bad-checksum")


# Flags.


@pytest.mark.parametrize("flags", [0, FIN | PSH | URG, FIN, PSH, URG, ECE | CWR])
def test_tch_04_no_syn_no_ack_no_rst(flags: int) -> None:
    target = Target()
    target.expect(ip4(tcp_segment(flags)), "", "no-connection")
    target.expect(ip4(tcp_segment(flags, dport=81)), "RA", "no-connection")


def test_tch_05_syn_fin_to_a_listener() -> None:
    target = Target()
    target.expect(ip4(tcp_segment(SYN | FIN)), "", "bad-flags")
    assert target.host.half_open == 0


@pytest.mark.parametrize("flags", [SYN | RST, SYN | RST | FIN, 0xFF, SYN | RST | ACK, RST | FIN])
@pytest.mark.parametrize("dport", [80, 81])
def test_tch_06_syn_rst(flags: int, dport: int) -> None:
    target = Target()
    target.expect(ip4(tcp_segment(flags, dport=dport)), "", "no-connection")
    assert target.host.half_open == 0


def test_every_combination_of_flags_to_nobody() -> None:
    """At most one RST, and never to a RST."""
    target = Target()
    for flags, dport in itertools.product(range(256), (80, 81)):
        answers = kinds(target.hit(ip4(tcp_segment(flags, dport=dport, sport=1000 + flags))))
        if flags & RST:
            assert answers == []
        elif dport == 81:
            assert answers == (["R"] if flags & ACK else ["RA"])
        elif flags & ACK:
            assert answers == ["R"]
        else:
            assert answers == (["SA"] if flags & (SYN | FIN) == SYN else [])


def test_every_combination_of_flags_to_a_connection() -> None:
    """At most one answer each, and only what acknowledges and what resets or closes in order has an effect."""
    for flags in range(256):
        target = Target()
        peer = target.established()
        answers = kinds(peer.send(flags, seq=1, ack=1))
        assert len(answers) <= 1
        if flags & RST:
            assert (answers, peer.conn.error is not None) == ([], True)
            continue
        assert peer.conn.error is None
        closed = bool(flags & FIN and flags & ACK and not flags & SYN)
        assert (peer.conn.state is not ESTABLISHED) == closed
        # A SYN is challenged (out of the window or in it); a FIN is acknowledged.
        assert answers == (["A"] if flags & SYN or closed else [])


@pytest.mark.parametrize("flags", [RST, RST | ACK])
@pytest.mark.parametrize("dport", [80, 81])
def test_tch_08_rst_to_nobody(flags: int, dport: int) -> None:
    Target().expect(ip4(tcp_segment(flags, dport=dport)), "", "no-connection")


@pytest.mark.parametrize("flags", [0, PSH, FIN, FIN | PSH, URG])
def test_tch_09_no_ack(flags: int) -> None:
    target = Target()
    peer = target.established()
    for payload in (b"", b"data"):
        peer.expect("", flags, "no-ack", payload=payload)
    assert peer.read() == b""
    assert peer.conn.state is ESTABLISHED
    assert peer.alive


@pytest.mark.parametrize("reserved", range(1, 16))
def test_tch_10_reserved_bits(reserved: int) -> None:
    """And the bits of ECN, which is switched off: the answers carry none."""
    target = Target(options=TcpOptions(ecn="off"))
    syn = tcp_segment(SYN | ECE | CWR, reserved=reserved, options=SYN_OPTIONS)
    (answer,) = target.expect(ip4(syn), "SA")
    assert answer.tcp.flags == SYN | ACK
    peer = target.established(sport=4001)
    for flags in (ACK | ECE, ACK | CWR, ACK | ECE | CWR):
        peer.send(flags, payload=b"x")
        (answer,) = peer.send(ACK, payload=b"x")  # a repetition, to have an answer
        assert answer.tcp.flags == ACK
    assert peer.read() == b"x"


# Urgent data.


@pytest.mark.parametrize("pointer", [0, 1, 2, 5, 6, 60_000, 65_535])
@pytest.mark.parametrize("at", [1, 5])
def test_urg_01_urgent_data_stays_in_line(pointer: int, at: int) -> None:
    peer = Target().established()
    if at > 1:
        peer.send(ACK, payload=b"some")
    peer.send(ACK | URG | PSH, seq=at, payload=b"urgent", urgent=pointer)
    peer.send(ACK | URG, seq=at + 6, urgent=pointer)
    peer.send(ACK, seq=at + 6, payload=b"more", urgent=pointer)
    assert peer.read() == b"some"[: at - 1] + b"urgentmore"


def test_urg_02_a_flood_of_pointers() -> None:
    peer = Target().established()
    edge = peer.conn.rcv.edge
    for number in range(5000):
        peer.send(ACK | URG, seq=1 + number * 13 % edge, urgent=number * 13)
    assert peer.conn.urgent_mark <= edge + 65_535
    peer.send(ACK, seq=1, payload=b"whole")
    assert peer.read() == b"whole"
    assert 0 < peer.conn.urgent_remaining <= edge + 65_535
    assert peer.alive


def test_urg_03_urgent_before_the_connection() -> None:
    target = Target()
    target.expect(ip4(tcp_segment(SYN | URG, urgent=100)), "SA")
    target.expect(ip4(tcp_segment(URG, urgent=100, sport=4001)), "", "no-connection")
    target.expect(ip4(tcp_segment(URG | ACK, urgent=100, sport=4001)), "R", "no-connection")


# Options. "Still" is an option that comes last and says whether reading got so far.

STILL = b"\x03\x03\x05"


def syn_ack_for(options: bytes, **fields: int) -> tuple[Target, bool]:
    """The host after a SYN with these options, and whether it answered with a window scale."""
    target = Target()
    (answer,) = target.hit(ip4(tcp_segment(SYN, options=options, **fields)))  # type: ignore[arg-type]
    assert answer.kind == "SA"
    return target, answer.tcp.wscale >= 0


@pytest.mark.parametrize("kind", [2, 3, 4, 5, 8, 77, 255])
def test_opt_01_length_zero(kind: int) -> None:
    _, still = syn_ack_for(bytes((kind, 0)) + STILL)
    assert not still


@pytest.mark.parametrize("kind", [2, 3, 4, 5, 8, 77, 255])
def test_opt_02_length_one(kind: int) -> None:
    _, still = syn_ack_for(bytes((kind, 1)) + STILL)
    assert not still


@pytest.mark.parametrize(
    "options",
    [b"\x01\x01\x01\x02", b"\x01\x01\x02\x04", b"\x01\x02\x04\x05", b"\x08\x0a\x00\x00", b"\x4d\xff\x00\x00"],
)
def test_opt_04_cut_at_the_end_of_the_header(options: bytes) -> None:
    """What lies behind the header is payload, and never read as an option."""
    target = Target()
    payload = b"\x10\x00" + STILL * 5
    (answer,) = target.hit(ip4(tcp_segment(SYN, options=options, payload=payload)))
    assert (answer.tcp.wscale, answer.tcp.tsval) == (-1, -1)
    target.hit(ip4(tcp_segment(ACK, seq=1, ack=answer.tcp.seq + 1)))
    conn = target.listener.accept()
    assert conn is not None
    assert conn.info(target.now).snd_mss == 536


@pytest.mark.parametrize(
    "option",
    [
        b"\x02\x03\x05",
        b"\x02\x05\x05\xb4\x00",
        b"\x03\x04\x07\x00",
        b"\x04\x0a" + bytes(8),
        b"\x08\x03\x01",
        b"\x08\x0b" + bytes(9),
        b"\x05\x03\x00",
    ],
)
def test_opt_05_known_kinds_of_wrong_length(option: bytes) -> None:
    target, still = syn_ack_for(option + STILL)
    assert still
    (repeated,) = target.hit(ip4(tcp_segment(SYN, options=option + STILL)))
    assert (repeated.tcp.tsval, repeated.tcp.sack_ok) == (-1, False)
    target.hit(ip4(tcp_segment(ACK, seq=1, ack=repeated.tcp.seq + 1)))
    conn = target.listener.accept()
    assert conn is not None
    assert conn.info(target.now).snd_mss == 536


def test_opt_06_options_that_come_twice() -> None:
    """The first counts."""
    target = Target()
    twice = timestamps(111) + timestamps(222) + b"\x02\x04\x05\xb4" + b"\x02\x04\x00\xfa" + STILL + b"\x03\x03\x09"
    (answer,) = target.hit(ip4(tcp_segment(SYN, options=twice)))
    assert answer.tcp.tsecr == 111
    third = tcp_segment(ACK, seq=1, ack=answer.tcp.seq + 1, options=timestamps(112), window=1000)
    target.hit(ip4(third))
    conn = target.listener.accept()
    assert conn is not None
    info = conn.info(target.now)
    assert (info.snd_mss, info.snd_wscale, info.snd_wnd) == (1448, 5, 1000 << 5)


@pytest.mark.parametrize(("mss", "used"), [(0, 536), (1, 216), (8, 216), (215, 216), (1000, 1000), (1460, 1460)])
def test_opt_07_small_mss(mss: int, used: int) -> None:
    target = Target()
    peer = target.established(options=b"\x02\x04" + mss.to_bytes(2, "big"))
    sent = peer.write(bytes(2000))
    assert max(reply.tcp.size for reply in sent) == used
    assert sum(reply.tcp.size for reply in sent) >= min(10 * used, 2000 - used)


def test_opt_08_mss_larger_than_the_path() -> None:
    peer = Target().established(options=b"\x02\x04\xff\xff")
    assert max(len(reply.frame) for reply in peer.write(bytes(20_000))) == 1500


@pytest.mark.parametrize("shift", [14, 15, 255])
def test_opt_09_large_window_scales(shift: int) -> None:
    peer = Target().established(options=b"\x03\x03" + bytes((shift,)), window=3)
    info = peer.conn.info(0)
    assert (info.snd_wscale, info.snd_wnd) == (14, 3 << 14)


def test_opt_10_syn_options_elsewhere() -> None:
    peer = Target().established(options=b"\x02\x04\x05\xb4")
    late = b"\x02\x04\x01\x00" + STILL + b"\x04\x02" + timestamps(5)
    peer.send(ACK, payload=b"x", options=late[:36], window=1000)
    info = peer.conn.info(0)
    assert (info.snd_mss, info.snd_wscale, info.sack, info.timestamps) == (1460, 0, False, False)
    assert info.snd_wnd == 1000
    assert peer.read() == b"x"


@pytest.mark.parametrize(
    ("options", "still"),
    [
        (b"\x01" * 40, False),
        (b"\x00" * 40, False),
        (b"\x01" * 37 + STILL, True),
        (b"\x00" + STILL + b"\xff" * 36, False),
        (b"\x00" + b"\x02\x00" * 19 + b"\xff", False),
    ],
)
def test_opt_11_padding(options: bytes, still: bool) -> None:
    assert syn_ack_for(options)[1] is still


@pytest.mark.parametrize("length", [2, 3, 9, 11, 17, 33])
def test_opt_12_sack_of_wrong_length(length: int) -> None:
    target = Target()
    peer = target.established()
    assert kinds(peer.write(bytes(2920))) == ["A1460", "A1460"]
    option = bytes((5, length)) + bytes(length - 2)
    peer.expect("", ACK, options=option)
    assert peer.alive


def test_opt_12_sack_in_a_syn() -> None:
    _, still = syn_ack_for(b"\x05\x0a" + bytes(8) + STILL)
    assert still


@pytest.mark.parametrize("unknown", [b"\x4d\x02", b"\xfd\x04ab", b"\xfe\x08abcdef", b"\x13\x12" + bytes(16)])
def test_opt_13_unknown_options_change_nothing(unknown: bytes) -> None:
    outcomes = []
    for options in (SYN_OPTIONS, unknown + SYN_OPTIONS):
        target = Target()
        peer = target.established(options=options)
        extra = unknown if len(options) > len(SYN_OPTIONS) else b""
        answers = kinds(peer.send(ACK, payload=b"data", options=extra)) + kinds(peer.write(bytes(5000)))
        outcomes.append((peer.syn_ack.wscale, peer.syn_ack.sack_ok, answers, peer.read(), peer.conn.info(0)))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    "options", [b"\x02\x00", b"\x08\x01", b"\x05\xff\x00\x00", b"\xff\xff\xff\xff", b"\x08\x0a\x00\x00"]
)
@pytest.mark.parametrize("negotiated", [SYN_OPTIONS, timestamps(5) + SYN_OPTIONS])
def test_opt_14_malformed_options_end_no_connection(options: bytes, negotiated: bytes) -> None:
    target = Target()
    peer = target.established(options=negotiated)
    for seq in (1, 1000, 100_000):
        assert len(peer.send(ACK, seq=seq, options=options)) <= 1
        assert len(peer.send(ACK, seq=seq, payload=b"", options=options)) <= 1
    assert peer.alive
