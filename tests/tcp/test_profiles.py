"""Named configurations: what a host with them puts on the wire, and when."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.profiles import PROFILES, profile
from stack.tcp.state import State
from stack.wire.units import MS, SECOND
from tests.support import states
from tests.support.peer import Peer


def syn_of(options: TcpOptions, *, v6: bool = False, mtu: int = 1500) -> tuple[bytes, int]:
    """The options of our SYN, with a timestamp of zeros, and its window."""
    peer = Peer(v6=v6, mtu=mtu)
    peer.connect(options=options)
    return _options_and_window(peer)


def syn_ack_of(options: TcpOptions, offered: str) -> tuple[bytes, int]:
    """The same of the answer to a SYN that offers this."""
    peer = Peer()
    peer.listens(options=options)
    peer.sends(f"S 0:0(0) <{offered}>")
    return _options_and_window(peer)


def _options_and_window(peer: Peer) -> tuple[bytes, int]:
    (seen,) = peer.takes()
    start = 60 if peer.v6 else 40
    written = seen.frame[start:]
    if seen.segment.tsval >= 0:
        stamp = struct.pack("!BBII", 8, 10, seen.segment.tsval, seen.segment.tsecr)
        written = written.replace(stamp, stamp[:2] + bytes(8))
    return written, seen.segment.window


def test_names() -> None:
    assert sorted(PROFILES) == ["freebsd", "linux", "rfc"]
    for name in PROFILES:
        assert profile(name) is PROFILES[name]
    with pytest.raises(ValueError, match="there is no profile 'windows'; there is linux, freebsd, rfc"):
        profile("windows")


MSS, SACK_OK, TS = "020405b4", "0402", "080a" + 16 * "0"


@pytest.mark.parametrize(
    ("name", "scale", "layouts"),
    [
        (
            "linux",
            "0a",
            {
                "sack timestamps window_scaling": MSS + SACK_OK + TS + "010303__",
                "sack window_scaling": MSS + "0101" + SACK_OK + "010303__",
                "timestamps window_scaling": MSS + "0101" + TS + "010303__",
                "sack timestamps": MSS + SACK_OK + TS,
                "window_scaling": MSS + "010303__",
                "timestamps": MSS + "0101" + TS,
                "sack": MSS + "0101" + SACK_OK,
                "": MSS,
            },
        ),
        (
            "freebsd",
            "06",
            {
                "sack timestamps window_scaling": MSS + "010303__" + SACK_OK + TS,
                "sack window_scaling": MSS + "010303__" + SACK_OK + "0000",
                "timestamps window_scaling": MSS + "010303__" + "0101" + TS,
                "sack timestamps": MSS + SACK_OK + TS,
                "window_scaling": MSS + "010303__",
                "timestamps": MSS + "0101" + TS,
                "sack": MSS + SACK_OK + "0000",
                "": MSS,
            },
        ),
        ("rfc", "07", {"sack timestamps window_scaling": MSS + SACK_OK + TS + "010303__"}),
    ],
)
def test_options_of_a_syn(name: str, scale: str, layouts: dict[str, str]) -> None:
    for chosen, layout in layouts.items():
        options = profile(name).replace(
            **{option: option in chosen.split() for option in ("sack", "timestamps", "window_scaling")}
        )
        assert syn_of(options)[0] == bytes.fromhex(layout.replace("__", scale)), chosen


@pytest.mark.parametrize(
    ("name", "offered", "layout"),
    [
        ("linux", "mss 1000,sackOK,TS val 1 ecr 0,wscale 7", MSS + SACK_OK + TS + "0103030a"),
        ("linux", "mss 1000,sackOK", MSS + "0101" + SACK_OK),
        ("linux", "mss 1000", MSS),
        ("freebsd", "mss 1000,sackOK,TS val 1 ecr 0,wscale 7", MSS + "01030306" + SACK_OK + TS),
        ("freebsd", "mss 1000,sackOK,wscale 7", MSS + "01030306" + SACK_OK + "0000"),
        ("freebsd", "mss 1000", MSS),
    ],
)
def test_options_of_a_syn_ack(name: str, offered: str, layout: str) -> None:
    assert syn_ack_of(profile(name), offered)[0] == bytes.fromhex(layout)


@pytest.mark.parametrize("passive", [False, True])
@pytest.mark.parametrize("name", PROFILES)
def test_options_of_other_segments_are_the_same_for_all(name: str, passive: bool) -> None:
    """NOP, NOP, timestamps; and NOP, NOP, SACK behind them."""
    peer, user = states.established(
        passive=passive, options=profile(name), wscale=7, sack=True, timestamps=True, window=65535
    )
    peer.sends("P. 1001:1101(100) ack 1")
    seen = peer.sees(". 1:1(0) ack 1 <sack 1001:1101,...>")
    assert seen.frame[40:44] == bytes.fromhex("0101080a")
    assert seen.frame[52:56] == bytes.fromhex("0101050a")
    user.write(1)
    assert peer.sees("P. 1:2(1) ack 1 <...>").frame[40:44] == bytes.fromhex("0101080a")


@pytest.mark.parametrize(
    ("name", "v6", "mtu", "window"),
    [
        ("linux", False, 1500, 44 * 1460),  # 64240, as everybody has seen it
        ("linux", True, 1500, 45 * 1440),
        ("linux", False, 9000, 7 * 8960),
        ("linux", False, 65535, 65495),
        ("freebsd", False, 1500, 65535),
        ("freebsd", True, 9000, 65535),
        ("rfc", False, 1500, 65535),
    ],
)
def test_window_of_a_syn(name: str, v6: bool, mtu: int, window: int) -> None:
    assert syn_of(profile(name), v6=v6, mtu=mtu)[1] == window


@pytest.mark.parametrize(
    ("name", "timestamps", "window"),
    [("linux", False, 64240), ("linux", True, 45 * 1448), ("freebsd", True, 65535), ("rfc", True, 65535)],
)
def test_window_of_a_syn_ack(name: str, timestamps: bool, window: int) -> None:
    """Segments with timestamps hold less, and more of them fit. What was offered is taken."""
    offered = "mss 1460,TS val 1 ecr 0,wscale 7" if timestamps else "mss 1460,wscale 7"
    assert syn_ack_of(profile(name), offered)[1] == window
    peer, user = states.established(
        passive=True, options=profile(name), mss=1460, wscale=7, timestamps=timestamps, window=65535
    )
    peer.sends(f"P. {window}:{window + 1}(1) ack 1")
    peer.takes()
    peer.sends(". 1:30001(30000) ack 1", f". 30001:{window}({window - 30_001}) ack 1")
    peer.takes()
    assert user.conn.readable == window


def test_larger_buffer_than_a_syn_can_say() -> None:
    """Linux offers all that fits the field, and no whole number of segments."""
    options = profile("linux").replace(receive_window=270_000)
    assert syn_of(options)[1] == 65535
    assert syn_ack_of(options, "mss 1460,TS val 1 ecr 0,wscale 7")[1] == 65535


def test_buffer_that_holds_no_segment() -> None:
    options = profile("linux").replace(receive_window=1000, receive_buffer=1000)
    assert syn_of(options)[1] == 1000


# Time.


@pytest.mark.parametrize(
    ("name", "times", "end"),
    [
        ("linux", [1, 2, 3, 4, 5, 7, 11, 19, 35, 67], 131),
        ("freebsd", [1, 3, 7, 15, 31, 63], 75),
        ("rfc", [1, 3, 7, 15, 31, 63, 127], 255),
    ],
)
def test_syns(name: str, times: list[int], end: int) -> None:
    peer, user = states.syn_sent(options=profile(name))
    began = peer.now
    seen = peer.gathers(end * SECOND - MS)
    assert [(item.time - began) // SECOND for item in seen] == times
    assert user.state is State.SYN_SENT
    peer.passes(2 * MS)
    assert isinstance(user.error, TimeoutError)


def test_even_syns_leave_the_time_out_as_it_was() -> None:
    """Data that follows a SYN that was lost has 3 s (RFC 6298 5.7); a crossing SYN's answer backs off as always."""
    peer, user = states.syn_sent(options=profile("linux").replace(timestamps=False))
    peer.sees("S 0:0(0) <...>", after=1 * SECOND)
    peer.sees("S 0:0(0) <...>", after=1 * SECOND)
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <...>")
    peer.sees("S. 0:0(0) ack 1 <...>", after=1 * SECOND)
    peer.sees("S. 0:0(0) ack 1 <...>", after=2 * SECOND)
    assert user.state is State.SYN_RECEIVED


# RFC6298-04
@pytest.mark.parametrize(
    ("name", "rtt", "rto"),
    [
        ("linux", 0, 200), ("linux", 100, 300), ("linux", 500, 1500),
        ("freebsd", 0, 230), ("freebsd", 100, 330), ("freebsd", 500, 1500),
        ("rfc", 0, 1000), ("rfc", 100, 1000), ("rfc", 500, 1500),
    ],
)  # fmt: skip
def test_time_out_after_one_round_trip(name: str, rtt: int, rto: int) -> None:
    """SRTT is that round trip, RTTVAR half of it."""
    _, user = states.established(options=profile(name), rtt=rtt * MS)
    assert user.conn.rtt.rto == rto * MS


# RFC8985-10
@pytest.mark.parametrize(("name", "wait"), [("linux", 22), ("freebsd", 60), ("rfc", 22)])
def test_tail_loss_probe(name: str, wait: int) -> None:
    """Two round trips of 10 ms, and as much as a timer may be early."""
    peer, user = states.established(options=profile(name), rtt=10 * MS, sack=True)
    user.write(2000)
    peer.takes()
    peer.sees("P. 1001:2001(1000) ack 1", after=wait * MS)


@pytest.mark.parametrize(("name", "least"), [("linux", 120), ("freebsd", 64), ("rfc", 60)])
def test_longest_time_out(name: str, least: int) -> None:
    peer, user = states.established(options=profile(name).replace(r2=10_000.0))
    user.write(100)
    peer.takes()
    times = [seen.time for seen in peer.gathers(1000 * SECOND)]
    assert times[-1] - times[-2] == least * SECOND


@pytest.mark.parametrize(("name", "at_once"), [("linux", 16), ("freebsd", 0), ("rfc", 16)])
def test_acknowledgments_at_the_beginning(name: str, at_once: int) -> None:
    """The first segments at once, or every second and the last one after 40 ms."""
    peer, _ = states.established(passive=True, options=profile(name))
    for count in range(5):
        peer.sends(f"P. {1 + 10 * count}:{11 + 10 * count}(10) ack 1")
        if at_once:
            peer.sees(f". 1:1(0) ack {11 + 10 * count}")
    if not at_once:
        peer.sees(". 1:1(0) ack 51", after=40 * MS)


def test_pauses_change_nothing_without_quick_acks() -> None:
    peer, _ = states.established(passive=True, options=profile("freebsd"))
    peer.sends("P. 1:11(10) ack 1")
    peer.sees(". 1:1(0) ack 11", after=40 * MS)
    peer.passes(10 * SECOND)
    peer.sends("P. 11:21(10) ack 1")
    peer.sees(". 1:1(0) ack 21", after=40 * MS)
    peer.sends("P. 11:21(10) ack 1")  # came twice: that is told at once, and nothing else
    peer.sees(". 1:1(0) ack 21 <...>")
    peer.sends("P. 21:31(10) ack 1")
    peer.sees(". 1:1(0) ack 31", after=40 * MS)


@pytest.mark.parametrize("name", PROFILES)
def test_what_all_have_in_common(name: str) -> None:
    """Ten segments to begin with; ECN for who asks; hop limit 64; no fragments."""
    peer, user = states.established(options=profile(name), mss=1460, window=65535)
    assert user.conn.snd.congestion.cwnd == 14_600
    user.write(1)
    frame = peer.sees("P. 1:2(1) ack 1").frame
    assert frame[8] == 64
    assert frame[6] & 0x40
    peer = Peer()
    peer.listens(options=profile(name))
    peer.sends("SEW 0:0(0) <mss 1000>")
    peer.sees("SE. 0:0(0) ack 1 <mss 1460>")


@pytest.mark.parametrize(("name", "buffer", "most"), [("linux", 87_040, 4 << 20), ("freebsd", 32_768, 2 << 20)])
def test_send_buffer(name: str, buffer: int, most: int) -> None:
    _, user = states.established(options=profile(name))
    assert user.write(1 << 20) == buffer
    assert user.conn.options.send_buffer == most


def test_a_profile_is_options_like_any_others() -> None:
    options = profile("freebsd").replace(nodelay=True, habits=replace(profile("freebsd").habits, quick_acks=True))
    peer, _ = states.established(passive=True, options=options)
    peer.sends("P. 1:11(10) ack 1")
    peer.sees(". 1:1(0) ack 11")
