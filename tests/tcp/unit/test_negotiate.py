"""What two SYNs agree on, as a table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.tcp.config import TcpOptions
from stack.tcp.negotiate import Agreement, offer, scale_for
from stack.wire.segment import SYN, Segment


def syn(mss: int = 1460, wscale: int = 7, sack_ok: bool = True, tsval: int = 1) -> Segment:
    return Segment(1000, 80, 0, 0, SYN, 65535, mss=mss, wscale=wscale, sack_ok=sack_ok, tsval=tsval)


@pytest.mark.parametrize(
    ("mtu", "headers", "limit", "mss"),
    [
        (1500, 40, None, 1460),
        (1500, 60, None, 1440),
        (1280, 60, None, 1220),
        (576, 40, None, 536),
        (9000, 40, None, 8960),
        (65535, 40, None, 65495),
        (70_000, 40, None, 65_535),  # all that the option can say
        (1500, 40, 1000, 1000),
        (1500, 40, 2000, 1460),
    ],
)
def test_offered_mss(mtu: int, headers: int, limit: int | None, mss: int) -> None:
    assert offer(TcpOptions(mss=limit), mtu, headers).mss == mss


def test_offer_leaves_out_what_is_switched_off() -> None:
    made = offer(TcpOptions(window_scaling=False, sack=False, timestamps=False), 1500, 40)
    assert (made.wscale, made.sack, made.timestamps) == (-1, False, False)
    made = offer(TcpOptions(), 1500, 40)
    assert (made.wscale, made.sack, made.timestamps) == (7, True, True)  # 6 MiB


@given(st.integers(1, 1 << 30))
def test_scale_is_the_least_that_can_say_the_buffer(size: int) -> None:
    shift = scale_for(size)
    assert 0 <= shift <= 14
    assert size <= 0xFFFF << shift or shift == 14
    assert shift == 0 or size > 0xFFFF << (shift - 1)


@pytest.mark.parametrize(("peer_mss", "v6", "used"), [
    (1460, False, 1460),
    (0, False, 536),  # absent: MUST-15
    (0, True, 1220),
    (1, False, 216),  # a floor under what a peer can make us waste on headers
    (8, True, 216),
    (216, False, 216),
    (65535, False, 65535),  # the link's MTU is the connection's business
])  # fmt: skip
def test_peer_mss(peer_mss: int, v6: bool, used: int) -> None:
    assert Agreement(offer(TcpOptions(), 1500, 40), syn(mss=peer_mss), v6=v6).peer_mss == used


@pytest.mark.parametrize(
    ("ours", "theirs", "scaling", "snd_shift"),
    [
        (True, 7, True, 7),
        (True, 0, True, 0),
        (True, -1, False, 0),
        (False, 7, False, 0),
        (True, 14, True, 14),
        (True, 15, True, 14),  # RFC 7323 2.3: a shift above 14 counts as 14
        (True, 255, True, 14),
    ],
)
def test_window_scale(ours: bool, theirs: int, scaling: bool, snd_shift: int) -> None:
    agreed = Agreement(offer(TcpOptions(window_scaling=ours), 1500, 40), syn(wscale=theirs), v6=False)
    assert (agreed.scaling, agreed.snd_shift) == (scaling, snd_shift)
    assert agreed.rcv_shift == (7 if scaling else 0)


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("theirs", [True, False])
def test_both_must_offer(ours: bool, theirs: bool) -> None:
    made = offer(TcpOptions(sack=ours, timestamps=ours), 1500, 40)
    agreed = Agreement(made, syn(sack_ok=theirs, tsval=0 if theirs else -1), v6=False)
    assert agreed.sack is agreed.timestamps is (ours and theirs)
