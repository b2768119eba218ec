"""The Fast Open option on the wire: kind 34, and the experimental kind 254 with its magic number (RFC 7413 4.1.1)."""

from __future__ import annotations

import pytest

from stack.wire import tcp
from stack.wire.notation import parse_segment
from stack.wire.segment import ACK, FIN, RST, SYN, FastOpenOption, Segment
from tests.wire.frames import tcp_header

COOKIE = bytes(range(1, 17))
NOP = b"\x01"


def option(cookie: bytes) -> bytes:
    return bytes((34, 2 + len(cookie))) + cookie


def experimental(cookie: bytes, magic: bytes = b"\xf9\x89") -> bytes:
    return bytes((254, 2 + len(magic) + len(cookie))) + magic + cookie


def read(options: bytes, flags: int = SYN) -> FastOpenOption | None:
    header = tcp_header(options=options + NOP * (-len(options) % 4), flags=flags)
    return tcp.decode(header, 0, len(header)).fastopen


# RFC7413-02, RFC7413-06
@pytest.mark.parametrize("length", [0, 4, 6, 8, 10, 12, 14, 16])
@pytest.mark.parametrize("flags", [SYN, SYN | ACK])
def test_both_forms_are_read(length: int, flags: int) -> None:
    cookie = COOKIE[:length]
    assert read(option(cookie), flags) == (cookie, False)
    assert read(experimental(cookie), flags) == (cookie, True)


# RFC7413-02
@pytest.mark.parametrize("length", [1, 2, 3, 5, 7, 9, 15, 17, 18])
def test_a_cookie_of_another_length_is_no_option(length: int) -> None:
    cookie = (COOKIE + COOKIE)[:length]
    assert read(option(cookie)) is None
    assert read(experimental(cookie)) is None
    assert read(option(cookie) + option(COOKIE[:4])) == (COOKIE[:4], False)


# RFC7413-02
@pytest.mark.parametrize("flags", [0, ACK, ACK | FIN, RST, RST | ACK])
def test_without_syn_it_means_nothing(flags: int) -> None:
    assert read(option(COOKIE), flags) is None
    assert read(experimental(COOKIE), flags) is None


@pytest.mark.parametrize("magic", [b"", b"\xf9", b"\xf9\x88", b"\x89\xf9"])
def test_other_experiments_are_none_of_ours(magic: bytes) -> None:
    assert read(experimental(b"", magic)) is None
    assert read(experimental(b"", magic) + option(COOKIE)) == (COOKIE, False)


def test_the_first_of_two_counts() -> None:
    assert read(option(COOKIE[:4]) + option(COOKIE[:6])) == (COOKIE[:4], False)
    assert read(experimental(COOKIE[:4]) + option(COOKIE[:6])) == (COOKIE[:4], True)
    assert read(option(b"") + option(COOKIE)) == (b"", False)


def test_the_payload_is_not_read_for_a_cookie_that_is_cut_short() -> None:
    header = tcp_header(options=NOP * 2 + bytes((34, 10)), flags=SYN, payload=COOKIE)
    assert tcp.decode(header, 0, len(header)).fastopen is None


# RFC7413-02
@pytest.mark.parametrize(
    ("fastopen", "octets"),
    [
        ((b"", False), "22020101"),
        ((b"", True), "fe04f989"),
        ((COOKIE[:4], False), "2206010203040101"),
        ((COOKIE[:8], False), "220a01020304050607080101"),
        ((COOKIE[:6], False), "2208010203040506"),
        ((COOKIE[:8], True), "fe0cf9890102030405060708"),
        ((COOKIE[:6], True), "fe0af9890102030405060101"),
    ],
)
def test_it_is_written_last_and_padded_to_whole_words(fastopen: FastOpenOption, octets: str) -> None:
    segment = Segment(1, 2, 3, 0, SYN, 5, mss=1460, wscale=7, fastopen=fastopen)
    written = tcp.encode(segment, 0)[20:]
    assert written.hex() == "020405b4" + "01030307" + octets
    assert tcp.option_length(segment) == len(written)


# RFC7413-02
@pytest.mark.parametrize("is_experimental", [False, True])
def test_the_longest_cookie_fits_beside_all_other_options(is_experimental: bool) -> None:
    segment = Segment(1, 2, 3, 0, SYN, 5, mss=1460, wscale=7, sack_ok=True, tsval=1, fastopen=(COOKIE, is_experimental))
    assert len(tcp.encode(segment, 0)) == 60


@pytest.mark.parametrize("length", [1, 2, 3, 5, 17, 18])
def test_no_other_length_is_written(length: int) -> None:
    with pytest.raises(ValueError, match=f"no cookie of {length} octets"):
        tcp.encode(Segment(1, 2, 3, 0, SYN, 5, fastopen=(bytes(length), False)), 0)


def test_it_is_written_on_a_syn_only() -> None:
    with pytest.raises(ValueError, match="belong on a SYN"):
        tcp.encode(Segment(1, 2, 3, 4, ACK, 5, fastopen=(COOKIE, False)), 0)


@pytest.mark.parametrize("text", ["FO 1", "FO 1g", "FO AB", "FOX", "FO 12 34", "FO " + "00" * 39])
def test_notation_refuses_what_is_no_cookie(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        parse_segment(f"S 0:0(0) win 9 <{text}>")
