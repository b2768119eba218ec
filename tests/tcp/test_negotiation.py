"""What the SYNs agree on: MSS (RFC 9293 3.7.1), window scale and timestamps (RFC 7323), SACK (RFC 2018)."""

from __future__ import annotations

import itertools

import pytest

from stack.tcp.config import TcpOptions
from stack.wire.units import MS, SECOND
from tests.support import states
from tests.support.peer import Peer

BOOLEANS = list(itertools.product([False, True], repeat=3))


# MSS.


# RFC 9293 MUST-14, SHLD-5, MAY-3
@pytest.mark.parametrize("passive", [False, True])
def test_mss_is_sent_and_honoured(passive: bool) -> None:
    peer = Peer()
    if passive:
        peer.listens()
        peer.sends("S 0:0(0) <mss 700>")
        peer.sees("S. 0:0(0) ack 1 <mss 1460>")
        peer.sends(". 1:1(0) ack 1")
        user = peer.accepts()
    else:
        user = peer.connect()
        peer.sees("S 0:0(0) <mss 1460,...>")
        peer.sends("S. 0:0(0) ack 1 <mss 700>")
        peer.sees(". 1:1(0) ack 1")
    user.write(1000)
    peer.sees(". 1:701(700) ack 1")
    peer.sends(". 1:1(0) ack 701")
    peer.sees("P. 701:1001(300) ack 1")


# RFC 9293 MUST-15
@pytest.mark.parametrize("passive", [False, True])
@pytest.mark.parametrize(("v6", "default"), [(False, 536), (True, 1220)])
def test_mss_that_is_not_said(v6: bool, default: int, passive: bool) -> None:
    peer, user = states.established(v6=v6, passive=passive, mss=0)
    user.write(2 * default)
    peer.sees(f". 1:{1 + default}({default}) ack 1", f"P. {1 + default}:{1 + 2 * default}({default}) ack 1")


# RFC 9293 MUST-16
@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize(("mtu", "offered"), [(1500, 1460), (1500, 9000), (1500, 65535), (1500, 300), (1300, 1440)])
def test_effective_send_mss(mtu: int, offered: int, timestamps: bool, v6: bool) -> None:
    """The smaller of what the peer takes and what the link carries, less the options."""
    peer, user = states.established(v6=v6, mtu=mtu, mss=offered, timestamps=timestamps)
    expected = min(offered, mtu - (60 if v6 else 40)) - (12 if timestamps else 0)
    user.write(2 * expected)
    peer.sees(f". 1:{1 + expected}({expected}) ack 1", f"P. {1 + expected}:{1 + 2 * expected}({expected}) ack 1")


# RFC 9293 MUST-16
@pytest.mark.parametrize("timestamps", [False, True])
def test_effective_send_mss_counts_sack_blocks(timestamps: bool) -> None:
    """Data that goes out while something is missing may report it (RFC 2018 4) only where there is room beside it.

    The bench refuses packets larger than the link, the watch segments larger than the MSS.
    """
    peer, user = states.established(mss=1460, sack=True, timestamps=timestamps)
    for number in range(4):
        start = 2001 + 2000 * number
        peer.sends(f"P. {start}:{start + 1000}(1000) ack 1")
    assert len(peer.takes()) == 4
    for number in range(1, 49):
        user.write(1400 + number)
        peer.sends(f". 1:1(0) ack {peer.takes()[-1].end}")
    peer.takes()
    user.write(100)
    blocks = "8001:9001 6001:7001 4001:5001" + ("" if timestamps else " 2001:3001")
    seen = peer.takes()[-1]
    assert seen.size == 100
    assert seen.line.endswith(f"sack {blocks}>")


def test_tiny_mss_has_a_floor() -> None:
    """A stated limit: a peer that asks for less than 216 octets gets that much; 0 is no value at all."""
    peer, user = states.established(mss=1)
    user.write(432)
    peer.sees(". 1:217(216) ack 1", "P. 217:433(216) ack 1")


# RFC 9293 MUST-67
@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("passive", [False, True])
@pytest.mark.parametrize("mtu", [576, 1280, 1500, 9000, 65535])
def test_offered_mss_is_what_ip_can_receive(mtu: int, passive: bool, v6: bool) -> None:
    """This host does not reassemble, so MMS_R is the link's MTU less the IP header."""
    peer = Peer(v6=v6, mtu=mtu)
    most = mtu - (60 if v6 else 40)
    if passive:
        peer.listens()
        peer.sends("S 0:0(0)")
        peer.sees(f"S. 0:0(0) ack 1 <mss {most}>")
    else:
        peer.connect()
        peer.sees(f"S 0:0(0) <mss {most},...>")


def test_offered_mss_can_be_bounded() -> None:
    peer = Peer()
    peer.connect(options=TcpOptions(mss=500))
    peer.sees("S 0:0(0) <mss 500,...>")


# Which options come back.


@pytest.mark.parametrize(("scaling", "stamps", "sack"), BOOLEANS)
@pytest.mark.parametrize(("our_scaling", "our_stamps", "our_sack"), BOOLEANS)
def test_syn_ack_carries_what_both_have(
    scaling: bool, stamps: bool, sack: bool, our_scaling: bool, our_stamps: bool, our_sack: bool
) -> None:
    """RFC 7323 2.2 and 3.2, RFC 2018 2: in a SYN-ACK only what was in the SYN."""
    peer = Peer()
    peer.listens(options=TcpOptions(window_scaling=our_scaling, timestamps=our_stamps, sack=our_sack))
    asked = ["mss 1000"] + ["sackOK"] * sack + ["TS val 5 ecr 0"] * stamps + ["wscale 3"] * scaling
    answer = ["mss 1460"]
    answer += ["sackOK"] * (sack and our_sack)
    answer += ["TS val 0 ecr 5"] * (stamps and our_stamps)
    answer += ["wscale 7"] * (scaling and our_scaling)
    peer.sends(f"S 0:0(0) <{','.join(asked)}>")
    peer.sees(f"S. 0:0(0) ack 1 <{','.join(answer)}>")


def test_syn_carries_what_is_switched_on() -> None:
    peer = Peer()
    peer.connect(options=TcpOptions(window_scaling=False, timestamps=False, sack=False))
    peer.sees("S 0:0(0) win 65535 <mss 1460>")


# RFC7323-02
def test_options_that_were_not_offered_are_not_agreed_on() -> None:
    """A SYN-ACK with options that our SYN lacked: they do not hold."""
    peer = Peer()
    user = peer.connect(options=TcpOptions(window_scaling=False, timestamps=False, sack=False))
    peer.sees("S 0:0(0) <mss 1460>")
    peer.sends("S. 0:0(0) ack 1 win 500 <mss 1000,sackOK,TS val 1 ecr 0,wscale 7>")
    peer.sees(". 1:1(0) ack 1 win 65535")
    user.write(3000)
    peer.sees(". 1:501(500) ack 1")
    peer.sends(". 1:1(0) ack 501 win 500", plain=True)
    peer.sees(". 501:1001(500) ack 1")
    peer.sends("P. 1001:2001(1000) ack 1001 win 0")
    peer.sees(". 1001:1001(0) ack 1")


# Window scale (RFC 7323 2).


# RFC7323-04, RFC7323-05
def test_window_of_a_syn_is_never_scaled() -> None:
    """2.2; what follows is."""
    peer = Peer()
    user = peer.connect()
    peer.sees("S 0:0(0) win 65535 <mss 1460,...>")
    peer.sends("S. 0:0(0) ack 1 win 500 <mss 1000,wscale 5>")
    peer.sees(". 1:1(0) ack 1")
    user.write(9000)
    peer.sees(". 1:501(500) ack 1")
    peer.sees_nothing()
    peer.sends(". 1:1(0) ack 501 win 100")  # 3200
    peer.sees(". 501:1501(1000) ack 1", ". 1501:2501(1000) ack 1", ". 2501:3501(1000) ack 1")
    peer.sees_nothing()


# RFC7323-05
def test_window_of_the_third_segment_is_scaled() -> None:
    peer = Peer()
    peer.listens()
    peer.sends("S 0:0(0) win 65535 <mss 1000,wscale 1>")
    peer.sees("S. 0:0(0) ack 1 <mss 1460,wscale 7>")
    peer.sends(". 1:1(0) ack 1 win 300")
    peer.accepts().write(9000)
    peer.sees(". 1:601(600) ack 1")
    peer.sees_nothing()


# RFC7323-06
@pytest.mark.parametrize("shift", [14, 15, 255])
def test_shift_is_at_most_14(shift: int) -> None:
    """2.3: more counts as 14."""
    peer, user = states.established(wscale=shift, mss=1460)
    peer.sends(". 1:1(0) ack 1 win 0")
    peer.sends(". 1:1(0) ack 1 win 1")  # 16384
    user.write(100_000)
    sent = sum(item.size for item in peer.takes())
    assert sent == 10 * 1460  # by the congestion window, then
    peer.sends(". 1:1(0) ack 14601 win 1")
    assert sum(item.size for item in peer.takes()) <= 16384


# RFC7323-02
def test_scaling_needs_both_syns() -> None:
    """2.2: we offered it, the peer did not."""
    peer, user = states.established(window=1000)
    user.write(5000)
    peer.sees(". 1:1001(1000) ack 1")
    peer.sees_nothing()
    peer.sends("P. 1:11(10) ack 1001 win 1000")
    peer.sees(". 1001:2001(1000) ack 11 win 65525")
    peer.sees_nothing()


# RFC7323-03
def test_window_scale_outside_a_syn_is_ignored() -> None:
    peer, user = states.established(window=1000)
    peer.sends(". 1:1(0) ack 1 win 1000 <wscale 7>")
    user.write(5000)
    peer.sees(". 1:1001(1000) ack 1")
    peer.sees_nothing()


# RFC7323-05
@pytest.mark.parametrize("passive", [False, True])
def test_our_windows_are_scaled(passive: bool) -> None:
    peer, _ = states.established(
        passive=passive, wscale=0, options=TcpOptions(receive_window=1 << 20, receive_buffer=1 << 20)
    )
    peer.sends("P. 1:1001(1000) ack 1")
    seen = peer.sees(". 1:1(0) ack 1001")
    assert peer.watch.host_shift == 5
    assert (1 << 20) - 1000 - 31 <= seen.segment.window << 5 <= 1 << 20


# RFC7323-04, RFC7323-06
@pytest.mark.parametrize(
    ("size", "shift"),
    [(65535, 0), (65536, 1), (131_070, 1), (131_071, 2), (6 << 20, 7), (65535 << 13, 13), (1 << 30, 14)],
)
def test_scale_is_the_least_that_can_say_the_largest_window(size: int, shift: int) -> None:
    peer = Peer()
    peer.connect(options=TcpOptions(receive_buffer=size, receive_window=min(size, 65535)))
    peer.sees(f"S 0:0(0) win 65535 <wscale {shift},...>")


# RFC7323-01
def test_scale_is_offered_even_when_it_is_none() -> None:
    """2.2: so that the peer may scale."""
    peer = Peer()
    peer.connect(options=TcpOptions(receive_window=1000, receive_buffer=1000))
    peer.sees("S 0:0(0) win 1000 <wscale 0,...>")


# Timestamps (RFC 7323 3).


# RFC7323-10, RFC7323-11
@pytest.mark.parametrize("passive", [False, True])
def test_timestamps_are_on_every_segment(passive: bool) -> None:
    """3.2: once agreed on; the watch looks at each."""
    peer, user = states.established(passive=passive, timestamps=True)
    peer.passes(5 * MS)
    peer.sends("P. 1:11(10) ack 1 <TS val 7 ecr 0>")
    peer.sees(". 1:1(0) ack 11 <TS val 5 ecr 7>")
    user.write(10)
    peer.sees("P. 1:11(10) ack 11 <TS val 5 ecr 7>")
    user.close_write()
    peer.sees("F. 11:11(0) ack 11 <TS val 5 ecr 7>")


# RFC7323-15, RFC7323-22
def test_timestamps_are_told_by_a_clock_of_milliseconds() -> None:
    """5.4: a tick between 1 ms and 1 s; a repeated SYN tells when *it* was sent."""
    peer = Peer()
    peer.connect()
    peer.sees("S 0:0(0) <TS val 0 ecr 0,...>")
    peer.sees("S 0:0(0) <TS val 1000 ecr 0,...>", after=1 * SECOND)
    peer.sees("S 0:0(0) <TS val 3000 ecr 0,...>", after=2 * SECOND)


# RFC7323-14
def test_timestamps_need_both_syns() -> None:
    peer, user = states.established()
    user.write(10)
    peer.sees("P. 1:11(10) ack 1")  # the watch would complain of the option
    assert not user.conn.info(peer.now).timestamps


# RFC7323-11
def test_reset_of_an_abort_carries_timestamps() -> None:
    """3.2: "SHOULD be sent in an <RST> segment"."""
    peer, user = states.established(timestamps=True)
    user.abort()
    seen = peer.takes()
    assert len(seen) == 1
    assert seen[0].segment.tsval >= 0


# ECN (RFC 3168 6.1.1).

ASKS = TcpOptions(ecn="request")
REFUSES = TcpOptions(ecn="off")


# RFC3168-01
@pytest.mark.parametrize("options", [None, ASKS])
def test_ecn_is_agreed_on_when_the_peer_asks(options: TcpOptions | None) -> None:
    """A SYN with ECE and CWR asks, a SYN-ACK with ECE alone agrees."""
    peer = Peer()
    peer.listens(options=options)
    peer.sends("SEW 0:0(0) <mss 1000>")
    peer.sees("S.E 0:0(0) ack 1 <mss 1460>")
    peer.sends(". 1:1(0) ack 1")
    assert peer.accepts().conn.info(peer.now).ecn


def test_ecn_that_is_switched_off_is_not_agreed_on() -> None:
    """A SYN that asks for it gets an answer without ECE, and later flags mean nothing."""
    peer = Peer()
    peer.listens(options=REFUSES)
    peer.sends("SEW 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <mss 1460>")
    peer.sends(".EW 1:11(10) ack 1")
    peer.sees(". 1:1(0) ack 11")
    user = peer.accepts()
    user.reads(10)
    assert not user.conn.info(peer.now).ecn


# RFC3168-04
@pytest.mark.parametrize("flags", ["S", "SE", "SW"])
def test_ecn_needs_both_flags_of_a_syn(flags: str) -> None:
    """Older hosts echo what they do not know, with one flag or the other."""
    peer = Peer()
    peer.listens()
    peer.sends(f"{flags} 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <mss 1460>")
    peer.sends(". 1:1(0) ack 1")
    assert not peer.accepts().conn.info(peer.now).ecn


# RFC3168-01
def test_a_syn_asks_for_ecn_only_when_told_to() -> None:
    peer = Peer()
    peer.connect()
    peer.sees("S 0:0(0) <...>")
    peer = Peer()
    peer.connect(options=ASKS)
    peer.sees("SEW 0:0(0) <...>")


# RFC3168-04
@pytest.mark.parametrize(("answer", "agreed"), [("S.E", True), ("S.", False), ("S.W", False), ("S.EW", False)])
def test_answers_to_a_syn_that_asks_for_ecn(answer: str, agreed: bool) -> None:
    """ECE alone is a yes. With CWR the peer has only sent our own flags back."""
    peer = Peer()
    user = peer.connect(options=ASKS)
    peer.sees("SEW 0:0(0) <...>")
    peer.sends(f"{answer} 0:0(0) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 1")
    assert user.conn.info(peer.now).ecn is agreed


# RFC3168-04
def test_yes_to_a_syn_that_did_not_ask_for_ecn() -> None:
    peer = Peer()
    user = peer.connect()
    peer.sees("S 0:0(0) <...>")
    peer.sends("S.E 0:0(0) ack 1 <mss 1000>")
    peer.sees(". 1:1(0) ack 1")
    assert not user.conn.info(peer.now).ecn


# RFC3168-05
def test_a_syn_that_is_sent_again_asks_for_ecn_no_more() -> None:
    """RFC 3168 6.1.1.1: somebody on the way may drop those that do."""
    peer = Peer()
    peer.connect(options=ASKS)
    peer.sees("SEW 0:0(0) <...>")
    peer.sees("S 0:0(0) <...>", after=1 * SECOND)


# RFC3168-04
def test_crossing_syns_agree_on_no_ecn() -> None:
    """Nobody has answered the other's question."""
    peer = Peer()
    user = peer.connect(options=ASKS)
    peer.sees("SEW 0:0(0) <...>")
    peer.sends("SEW 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <...>")
    peer.sends("S.E 0:0(0) ack 1 <mss 1000>")
    assert not user.conn.info(peer.now).ecn


# SACK (RFC 2018 2, 3).


# RFC2018-02
@pytest.mark.parametrize("passive", [False, True])
@pytest.mark.parametrize("sack", [False, True])
def test_sack_blocks_only_for_those_who_permit_them(sack: bool, passive: bool) -> None:
    peer, _ = states.established(passive=passive, sack=sack)
    peer.sends("P. 1001:2001(1000) ack 1")
    peer.sees(". 1:1(0) ack 1 <sack 1001:2001>" if sack else ". 1:1(0) ack 1")


# RFC2018-01
def test_sack_permitted_outside_a_syn_is_ignored() -> None:
    peer, _ = states.established()
    peer.sends("P. 1001:2001(1000) ack 1 <sackOK>")
    peer.sees(". 1:1(0) ack 1")


# RFC2018-02
def test_sack_that_was_switched_off_is_not_sent() -> None:
    peer, _ = states.established(sack=True, options=TcpOptions(sack=False))
    peer.sends("P. 1001:2001(1000) ack 1")
    peer.sees(". 1:1(0) ack 1")
