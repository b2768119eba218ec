"""The options of a SYN in the order of their kinds, as FreeBSD writes them."""

from __future__ import annotations

import pytest
from hypothesis import given

from stack.wire import tcp
from stack.wire.segment import ACK, SYN, Segment
from tests.wire.frames import segments

TS = "080a0000000100000002"


@pytest.mark.parametrize(
    ("segment", "octets"),
    [
        ({"mss": 1460, "wscale": 6, "sack_ok": True, "tsval": 1}, "020405b4 01030306 0402" + TS),
        ({"mss": 1460, "wscale": 6, "sack_ok": True}, "020405b4 01030306 0402 0000"),
        ({"mss": 1460, "wscale": 6, "tsval": 1}, "020405b4 01030306 0101" + TS),
        ({"mss": 1460, "sack_ok": True, "tsval": 1}, "020405b4 0402" + TS),
        ({"mss": 1460, "wscale": 6}, "020405b4 01030306"),
        ({"mss": 1460, "sack_ok": True}, "020405b4 0402 0000"),
        ({"mss": 1460, "tsval": 1}, "020405b4 0101" + TS),
        ({"wscale": 6, "sack_ok": True, "tsval": 1}, "01030306 0402" + TS),
        ({"sack_ok": True, "tsval": 1}, "0402" + TS),
        ({"tsval": 1}, "0101" + TS),
        ({"mss": 1460, "wscale": 6, "sack_ok": True, "tsval": 1, "fastopen": (b"", False)},
         "020405b4 01030306 0402" + TS + "2202 0000"),
        ({"mss": 1460, "wscale": 6, "sack_ok": True, "fastopen": (b"cook", False)},
         "020405b4 01030306 0402 2206" + b"cook".hex()),
        ({"mss": 1460, "fastopen": (bytes(16), False)}, "020405b4 2212" + 32 * "0" + "0000"),
        ({"mss": 1460, "fastopen": (b"cookie", True)}, "020405b4 fe0af989" + b"cookie".hex() + "0000"),
        ({}, ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("flags", [SYN, SYN | ACK])
def test_layout(segment: dict[str, int], octets: str, flags: int) -> None:
    syn = Segment(1, 2, 3, 4, flags, 5, tsecr=2, **segment)  # type: ignore[arg-type]
    header = tcp.encode(syn, 0, by_kind=True)
    assert header[20:] == bytes.fromhex(octets)
    assert header[12] >> 4 == len(header) // 4


@given(segments())
def test_both_orders_say_the_same(segment: Segment) -> None:
    """And where there is no SYN there is one order only."""
    usual, other = tcp.encode(segment, 0), tcp.encode(segment, 0, by_kind=True)
    if not segment.flags & SYN:
        assert usual == other
        return
    assert len(other) <= len(usual)
    one, two = (tcp.decode(header, 0, len(header)) for header in (usual, other))
    for name in ("mss", "wscale", "sack_ok", "tsval", "tsecr", "fastopen"):
        assert getattr(one, name) == getattr(two, name), name


def test_what_does_not_belong_on_a_syn_is_refused_in_both() -> None:
    syn = Segment(1, 2, 3, 0, SYN, 5, mss=1460, sacks=((1, 2),))
    for by_kind in (False, True):
        with pytest.raises(ValueError, match="SACK"):
            tcp.encode(syn, 0, by_kind=by_kind)
