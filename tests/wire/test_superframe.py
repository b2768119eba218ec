"""Super-frames, and the packets that they stand for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.wire.packet import PARTIAL, TRUSTED, VERIFY, Packet
from stack.wire.segment import ACK, CWR, ECE, FIN, PSH, SYN, URG
from stack.wire.superframe import as_sent, split
from tests.path.frames import read, tcp_packet

DATA = bytes(range(256)) * 40


@pytest.mark.parametrize("v6", [False, True])
@given(
    size=st.integers(1, 9000),
    gso_size=st.integers(64, 2000),
    seq=st.one_of(st.integers(0, 2**32 - 1), st.integers(2**32 - 9000, 2**32 - 1)),
    flags=st.sampled_from([ACK, ACK | PSH, ACK | FIN, ACK | FIN | PSH, ACK | CWR, ACK | CWR | ECE | PSH | FIN]),
    ident=st.integers(0, 0xFFFF),
)
def test_the_pieces_are_what_a_wire_would_carry(
    v6: bool, size: int, gso_size: int, seq: int, flags: int, ident: int
) -> None:
    whole = tcp_packet(DATA[:size], v6=v6, seq=seq, flags=flags, gso_size=gso_size, ident=ident)
    pieces = split(whole)
    read_pieces = [read(piece) for piece in pieces]  # checks both checksums
    assert b"".join(seg.payload for _, seg in read_pieces) == DATA[:size]
    assert len(pieces) == -(-size // gso_size)
    last = len(pieces) - 1
    for number, (piece, (header, seg)) in enumerate(zip(pieces, read_pieces, strict=True)):
        assert piece.csum == VERIFY
        assert piece.gso_size == 0
        assert header.end == len(piece)
        assert seg.size == gso_size or number == last
        assert seg.seq == (seq + number * gso_size) % 2**32
        assert bool(seg.flags & FIN) == bool(flags & FIN and number == last)
        assert bool(seg.flags & PSH) == bool(flags & PSH and number == last)
        assert bool(seg.flags & CWR) == bool(flags & CWR and number == 0)
        assert bool(seg.flags & ECE) == bool(flags & ECE)
        assert (seg.ack, seg.window, seg.tsval, seg.tsecr) == (5000, 1024, 7, 3)
        assert header.ident == (0 if v6 else (ident + number) % 2**16)


@pytest.mark.parametrize("pointer", [0, 1, 999, 1000, 1001, 2000, 3000, 3001, 65_535])
def test_urgent_pointer_of_each_piece_points_at_the_same_octet(pointer: int) -> None:
    """And what begins behind it has none; but the first piece says what the super-frame said."""
    plain = tcp_packet(DATA[:3000], seq=2**32 - 500, flags=ACK | URG, gso_size=1000).frame()
    frame = bytearray(plain)
    frame[38:40] = pointer.to_bytes(2, "big")
    pieces = [read(piece)[1] for piece in split(Packet(bytes(frame), gso_size=1000, csum=TRUSTED))]
    for number, seg in enumerate(pieces):
        left = pointer - 1000 * number
        assert (bool(seg.flags & URG), seg.urgent) == (number == 0 or left > 0, max(left, 0))


def test_the_payload_may_lie_in_several_buffers_or_behind_the_headers() -> None:
    apart = tcp_packet(DATA[:3000], gso_size=1000, parts=(DATA[:7], DATA[7:2001], DATA[2001:3000]))
    joined = Packet(apart.frame(), gso_size=1000, csum=TRUSTED)
    assert [piece.frame() for piece in split(apart)] == [piece.frame() for piece in split(joined)]
    assert len(split(apart)) == 3


def test_an_ordinary_packet_is_itself_with_its_checksum() -> None:
    (piece,) = split(tcp_packet(b"abc"))
    assert read(piece)[1].payload == b"abc"
    assert piece.csum == VERIFY


@pytest.mark.parametrize("csum", [PARTIAL, TRUSTED])
def test_a_super_frame_of_one_piece_is_completed(csum: int) -> None:
    whole = tcp_packet(DATA[:900], flags=ACK | FIN | PSH | CWR, gso_size=1000)
    (piece,) = split(Packet(whole.frame(), gso_size=1000, csum=csum))
    header, seg = read(piece)
    assert (piece.gso_size, piece.csum, seg.size, header.end) == (0, VERIFY, 900, len(piece))
    assert seg.flags == ACK | FIN | PSH | CWR


def test_a_links_padding_belongs_to_no_piece() -> None:
    whole = tcp_packet(DATA[:2000], gso_size=1000)
    pieces = split(Packet(whole.frame() + b"padding", gso_size=1000, csum=TRUSTED))
    assert b"".join(read(piece)[1].payload for piece in pieces) == DATA[:2000]


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x45",
        b"\x10" * 60,
        tcp_packet(DATA[:2000]).frame()[:1000],  # cut short
        tcp_packet(DATA[:2000], v6=True).frame()[:1000],
        tcp_packet(DATA[:2000]).frame()[:9] + b"\x11" + tcp_packet(DATA[:2000]).frame()[10:],  # UDP
        b"\x42" + tcp_packet(DATA[:2000]).frame()[1:],  # a header of eight octets
        tcp_packet(b"").frame()[:32] + b"\xf0" + tcp_packet(b"").frame()[33:],  # options past the end
        b"\x60\0\0\0\0\x10\0\x40" + bytes(32) + b"\x06" + bytes(15),  # hop-by-hop options, malformed
    ],
)
def test_what_is_no_whole_segment_is_left_alone(frame: bytes) -> None:
    packet = Packet(frame, gso_size=1000, csum=TRUSTED)
    assert split(packet) == [packet]
    assert as_sent(packet).frame() == frame
    assert as_sent(packet).csum == VERIFY


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("flags", [ACK, SYN, ACK | URG])
def test_a_trusted_checksum_is_made_anew_and_others_are_not(v6: bool, flags: int) -> None:
    partial = tcp_packet(b"abc", v6=v6, flags=flags)
    assert read(as_sent(partial))[1].payload == b"abc"
    trusted = Packet(partial.frame(), csum=TRUSTED)
    assert as_sent(trusted).frame() == as_sent(partial).frame()
    wrong = Packet(partial.frame(), csum=VERIFY)  # the field holds only a part of the sum, but nobody says so
    assert as_sent(wrong) is wrong
    with pytest.raises(ValueError, match="wrong TCP checksum"):
        read(wrong)
