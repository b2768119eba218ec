"""A peer that has a connection and abuses it: with overlaps, holes, windows, ACKs, silence."""

from __future__ import annotations

import itertools
import struct
import tracemalloc

import pytest

from stack.host import time_waits
from stack.tcp.config import TcpOptions
from stack.tcp.reassembly import MAX_RANGES
from stack.tcp.state import CLOSED, ESTABLISHED, FIN_WAIT_2, LAST_ACK, TIME_WAIT
from stack.wire.segment import ACK, FIN, PSH
from stack.wire.units import MINUTE, SECOND
from tests.security.target import SYN_OPTIONS, Peer, Target, kinds

# Out of order.


def test_ooo_01_single_octets_at_odd_offsets() -> None:
    """SegmentSmack: the ranges are bounded, and so is what they cost."""
    peer = Target(options=TcpOptions(receive_window=65_535)).established()
    frames = [peer.frame(ACK, seq=2 * index, payload=b"x") for index in range(1, 4_000)]
    tracemalloc.start()
    try:
        for frame in frames:
            peer.target.hit(frame)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    refused = peer.target.host.counters.drops["out-of-order-limit"]
    assert peer.conn.rcv.reassembly is not None
    assert len(peer.conn.rcv.reassembly) == MAX_RANGES
    assert refused == len(frames) - MAX_RANGES
    assert held < 600 * MAX_RANGES
    assert peer.conn.state is ESTABLISHED


def test_ooo_01_filling_the_holes_gives_the_stream() -> None:
    peer = Target().established()
    for index in range(1, 1000):
        peer.send(ACK, seq=2 * index, payload=b"b")
    for index in range(1000):
        peer.send(ACK, seq=2 * index + 1, payload=b"a")
    assert peer.read() == b"ab" * 999 + b"a"


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_ooo_02_what_came_first_stays(order: tuple[int, ...]) -> None:
    peer = Target().established()
    pieces = [(5, b"BBBB"), (1, b"AAAAAAAA"), (3, b"CCCCCCCCCC")]
    expected: dict[int, int] = {}
    for index in order:
        seq, text = pieces[index]
        peer.send(ACK, seq=seq, payload=text)
        for number, octet in enumerate(text, seq):
            expected.setdefault(number, octet)
    assert peer.read() == bytes(expected[number] for number in sorted(expected))


def test_ooo_02_acknowledged_octets_never_change() -> None:
    peer = Target().established()
    peer.send(ACK, payload=b"first")
    peer.send(ACK, payload=b"FIRSTmore")
    assert peer.read() == b"firstmore"


@pytest.mark.parametrize("order", list(itertools.permutations(range(5))), ids=str)
def test_ooo_04_all_orders_of_five_segments(order: tuple[int, ...]) -> None:
    peer = Target().established()
    text = b"abcdefghij"
    for index in order:
        flags = ACK | FIN if index == 4 else ACK
        peer.send(flags, seq=1 + 2 * index, payload=text[2 * index : 2 * index + 2])
    assert peer.read() == text
    assert peer.conn.at_eof


@pytest.mark.parametrize("beyond", [0, 1, 1000, 1 << 30])
def test_ooo_05_data_beyond_the_window(beyond: int) -> None:
    peer = Target(options=TcpOptions(receive_window=5000, receive_buffer=5000)).established()
    (answer,) = peer.expect("A", ACK, "out-of-window", seq=5001 + beyond, payload=b"x" * 100)
    assert peer.relative(answer.tcp)[1] == 1
    assert peer.alive


def test_ooo_05_data_reaching_beyond_the_window_is_cut() -> None:
    peer = Target(options=TcpOptions(receive_window=5000, receive_buffer=5000)).established()
    for index in range(5):
        peer.send(ACK, seq=1 + 1200 * index, payload=b"x" * 1200)
    assert peer.conn.readable == 5000
    (answer,) = peer.send(ACK, seq=5001, payload=b"x" * 100)
    assert (peer.relative(answer.tcp)[1], answer.tcp.window) == (5001, 0)


def test_ooo_07_fin_out_of_order_and_data_behind_it() -> None:
    peer = Target().established()
    peer.send(ACK | FIN, seq=5, payload=b"efgh")
    peer.send(ACK, seq=9, payload=b"behind the end")
    peer.send(ACK, seq=7, payload=b"XX behind the end")
    peer.send(ACK, seq=1, payload=b"abcd")
    assert peer.read() == b"abcdefgh"
    assert peer.conn.at_eof
    peer.send(ACK, seq=10, payload=b"more")
    assert peer.conn.readable == 0


@pytest.mark.parametrize("second", [3, 7, 100])
def test_ooo_07_two_fins_of_which_the_first_decides(second: int) -> None:
    peer = Target().established()
    peer.send(ACK | FIN, seq=5)
    peer.send(ACK | FIN, seq=second)
    peer.send(ACK, payload=b"abcdefgh")
    assert peer.read() == b"abcd"
    assert peer.conn.at_eof


def test_ooo_07_fin_before_data_that_is_here() -> None:
    peer = Target().established()
    peer.send(ACK, seq=3, payload=b"cdef")
    peer.send(ACK | FIN, seq=5)
    peer.send(ACK, payload=b"ab")
    assert peer.read() == b"abcdef"
    assert not peer.conn.at_eof
    assert peer.conn.state is ESTABLISHED


def test_ooo_08_peer_that_ignores_our_window() -> None:
    """It sends megabytes, nobody reads: what was offered is held and nothing else, in order or not."""
    peer = Target().established()
    for seq in itertools.chain(range(1, 2_000_000, 1000), range(2_000_000, 1, -777)):
        peer.send(ACK, seq=seq, payload=b"x" * 1400)
        held = peer.conn.readable
        if peer.conn.rcv.reassembly is not None:
            held += peer.conn.rcv.reassembly.size
        assert held <= 65_536
    assert peer.conn.state is ESTABLISHED


# Windows.


def test_wnd_04_window_of_one_for_ever() -> None:
    """No flood of single octets: one, and then as often as the persist timer says."""
    target = Target()
    peer = target.established(options=b"\x02\x04\x05\xb4", window=1)
    peer.send(ACK, window=1)
    peer.write(bytes(10_000))
    sent = 0
    acked = 1
    for _ in range(600):
        for _, reply in target.wait(SECOND // 10):
            sent += 1
            acked = max(acked, peer.relative(reply.tcp)[0] + reply.tcp.size)
        peer.send(ACK, ack=acked, window=1)
    assert 5 <= sent <= 300
    assert peer.conn.state is ESTABLISHED


@pytest.mark.parametrize("shift", [14, 200])
def test_wnd_06_largest_window(shift: int) -> None:
    target = Target(options=TcpOptions(send_buffer=1 << 30))
    peer = target.established(options=b"\x03\x03" + bytes((shift,)))
    peer.send(ACK, window=65_535)
    assert peer.conn.info(0).snd_wnd == 65_535 << 14 < 1 << 30
    peer.write(bytes(100_000))
    peer.send(ACK, ack=5001)
    assert peer.conn.snd.usable <= 1 << 30


def test_wnd_01_window_of_zero_for_ten_minutes() -> None:
    target = Target(options=TcpOptions(send_buffer=200_000))
    peer = target.established()
    peer.write(bytes(200_000))
    assert peer.conn.writable == 0
    peer.send(ACK, window=0)
    probes = 0
    for _ in range(600):
        for _, reply in target.wait(SECOND):
            probes += 1
            assert reply.tcp.size <= 1460
            peer.send(ACK, window=0)
    assert 10 <= probes <= 40
    assert (peer.conn.state, peer.conn.writable) == (ESTABLISHED, 0)


# Selective acknowledgments.


def sacks(peer: Peer, *blocks: tuple[int, int]) -> bytes:
    edges = [(peer.their_isn + edge) & 0xFFFFFFFF for block in blocks for edge in block]
    return bytes((1, 1, 5, 2 + 4 * len(edges))) + struct.pack(f"!{len(edges)}I", *edges)


@pytest.mark.parametrize(
    "block", [(20_000, 30_000), (3000, 2000), (2000, 2000), (-5000, -1000), (1 << 31, 1), (0, 1 << 31), (14_000, 1)]
)
def test_sak_01_blocks_that_make_no_sense(block: tuple[int, int]) -> None:
    peer = Target().established()
    flight = sum(reply.tcp.size for reply in peer.write(bytes(100_000)))
    before = (peer.conn.snd.una, peer.conn.snd.nxt, peer.conn.snd.repair.records.outstanding, len(peer.conn.snd.buffer))
    for _ in range(2):  # two duplicates: limited transmit only
        peer.send(ACK, options=sacks(peer, block))
    after = (peer.conn.snd.una, peer.conn.snd.nxt, peer.conn.snd.repair.records.outstanding, len(peer.conn.snd.buffer))
    assert after[0] == before[0]
    assert after[3] == before[3]
    assert peer.conn.snd.repair.records.pipe <= flight + 2 * 1460
    assert peer.alive


def test_sak_04_reneging() -> None:
    """What was reported and then dropped by the peer is here still, and arrives after a time-out."""
    target = Target()
    peer = target.established()
    data = bytes(range(256)) * 40
    sent = sum(reply.tcp.size for reply in peer.write(data))
    for _ in range(2):
        peer.send(ACK, options=sacks(peer, (1461, 1 + sent)))
    stream = b""
    for _ in range(100):
        replies = [reply for _, reply in target.wait(SECOND)]
        while replies:
            for reply in replies:
                start, payload = peer.relative(reply.tcp)[0], reply.tcp.payload
                if start <= 1 + len(stream) < start + len(payload):
                    stream += payload[1 + len(stream) - start :]
            replies = peer.send(ACK, ack=1 + len(stream))
    assert stream == data


def test_sak_06_reports_of_duplicates_are_no_losses() -> None:
    """A D-SACK says that octets came twice which are acknowledged already (RFC 2883): nothing is missing."""
    target = Target()
    peer = target.established()
    peer.write(bytes(14_600))
    peer.send(ACK, ack=14_601)
    flight = sum(reply.tcp.size for reply in peer.write(bytes(14_600)))
    assert flight == 14_600
    before = peer.conn.snd.congestion.cwnd
    for block in range(9):
        blocks = sacks(peer, (1 + 1460 * block, 1 + 1460 * (block + 1)))
        assert peer.send(ACK, ack=14_601, options=blocks) == []
    assert peer.conn.snd.congestion.cwnd == before
    assert peer.conn.info(0).total_retrans == 0


# Acknowledgments.


@pytest.mark.parametrize("ack", [2, 1000, 1 << 30])
def test_cc_01_ack_of_what_was_never_sent(ack: int) -> None:
    peer = Target().established()
    peer.write(bytes(10_000))
    before = peer.conn.snd.congestion.cwnd, peer.conn.snd.una
    peer.expect("A", ACK, "bad-ack", ack=10_001 + ack, payload=b"with data")
    assert (peer.conn.snd.congestion.cwnd, peer.conn.snd.una) == before
    assert peer.conn.readable == 0


def test_cc_04_duplicate_acks_for_nothing() -> None:
    """A thousand of them let no more go than was in flight, and two segments for the first two."""
    peer = Target().established()
    flight = sum(reply.tcp.size for reply in peer.write(bytes(200_000)))
    assert flight == 14_600
    sent = 0
    for _ in range(1000):
        sent += sum(reply.tcp.size for reply in peer.send(ACK))
    assert sent <= 2 * flight
    assert peer.conn.snd.congestion.cwnd <= 3 * flight


def test_cc_05_divided_acks() -> None:
    """An ACK for each octet opens the window no wider than one for all of them."""
    sizes = []
    for step in (1, 1460):
        peer = Target().established()
        peer.write(bytes(200_000))
        for ack in range(1, 14_602, step):
            peer.send(ACK, ack=ack)
        sizes.append(peer.conn.snd.congestion.cwnd)
    assert abs(sizes[0] - sizes[1]) <= 1460


def test_cc_06_peer_that_never_acknowledges() -> None:
    """Waits double up to a minute; after fifteen minutes the connection is given up and everything is let go."""
    target = Target()
    peer = target.established()
    began = target.now
    peer.write(b"data")
    times = [time - began for time, _ in target.wait(20 * MINUTE)]
    first, *gaps = [b - a for a, b in itertools.pairwise([0, *times])]
    assert first == gaps[0]  # a tail loss probe went in the place of the first time-out (RFC 8985 7.2)
    assert all(b == min(2 * a, 60 * SECOND) for a, b in itertools.pairwise(gaps))
    assert 100 * SECOND < times[-1] <= 15 * MINUTE
    assert isinstance(peer.conn.error, TimeoutError)
    assert target.host.connections() == []


# Closing.


def test_cls_01_orphans_in_fin_wait_2() -> None:
    target = Target()
    peers = [target.established(sport=sport) for sport in range(1000, 1500)]
    for peer in peers:
        peer.close()
        peer.send(ACK, ack=2)
        assert peer.conn.state is FIN_WAIT_2
    target.wait(59 * SECOND)
    assert len(target.host.connections()) == 500
    target.wait(SECOND)
    assert target.host.connections() == []
    assert {peer.conn.state for peer in peers} == {CLOSED}


def test_cls_01_data_for_an_orphan_is_reset() -> None:
    target = Target()
    peer = target.established()
    peer.close()
    peer.send(ACK, ack=2)
    assert kinds(peer.send(ACK | PSH, ack=2, payload=b"too late")) == ["RA"]
    assert target.host.connections() == []


def test_cls_03_time_wait_table() -> None:
    """Thousands of short connections: small records, and in the end none; at the bound the oldest makes way."""
    target = Target(options=TcpOptions(timestamps=False))

    def churn(sports: range) -> None:
        for sport in sports:
            peer = target.established(sport=sport)
            peer.close()
            peer.send(ACK | FIN, ack=2)

    churn(range(1000, 1100))
    tracemalloc.start()
    try:
        churn(range(2000, 2500))
        target.wait(2 * SECOND)  # until the handshakes are forgotten
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert target.host.time_waits == 600
    assert held <= 500 * 400
    target.wait(MINUTE)
    assert target.host.time_waits == 0
    assert target.host.next_timeout() > target.now + MINUTE


def test_cls_03_oldest_makes_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_waits, "MAX_RECORDS", 50)
    target = Target()
    conns = []
    for sport in range(1000, 1060):
        peer = target.established(sport=sport)
        peer.close()
        peer.send(ACK | FIN, ack=2)
        conns.append(peer.conn)
        assert target.host.time_waits == min(len(conns), 50)
    assert [conn.state for conn in conns] == [CLOSED] * 10 + [TIME_WAIT] * 50


def test_cls_02_fin_that_is_never_acknowledged() -> None:
    target = Target()
    peer = target.established(options=SYN_OPTIONS)
    peer.send(ACK | FIN)
    assert kinds(peer.close()) == ["FA"]
    assert peer.conn.state is LAST_ACK
    sent = [time for time, _ in target.wait(20 * MINUTE)]
    assert 10 <= len(sent) <= 30
    assert peer.conn.state is CLOSED
    assert target.host.connections() == []
    assert isinstance(peer.conn.error, TimeoutError)
