"""What a connection tells about itself, in the names and units of Linux' `tcp_info`: microseconds and segments."""

from __future__ import annotations

import json

from stack.tcp.config import TcpOptions
from stack.wire.units import MS, SECOND
from tests.support import states
from tests.support.peer import Peer


def test_info_of_a_fresh_connection() -> None:
    peer = Peer()
    user = peer.connect()
    peer.takes()
    info = user.conn.info(peer.now)
    assert (info.state, info.rtt, info.min_rtt, info.rto) == ("SYN-SENT", 0, 0, 1_000_000)
    assert (info.advmss, info.segs_out, info.segs_in, info.unacked) == (1460, 1, 0, 1)
    assert (info.last_data_sent, info.last_data_recv, info.bytes_acked, info.bytes_sent) == (-1, -1, 0, 0)


def test_info_of_an_open_connection() -> None:
    peer, user = states.established(
        rtt=100 * MS,
        wscale=3,
        sack=True,
        timestamps=True,
        options=TcpOptions(receive_window=50_000, congestion="newreno"),
    )
    peer.sends("P. 1:1001(1000) ack 1")
    peer.takes()
    peer.passes(1 * SECOND)
    user.write(11_500)
    assert len(peer.takes()) == 10
    peer.passes(2 * SECOND)
    peer.takes()
    info = user.conn.info(peer.now)
    assert (info.state, info.congestion) == ("ESTAB", "newreno")
    assert (info.rtt, info.rttvar, info.min_rtt) == (100_000, 50_000, 100_000)
    assert (info.snd_mss, info.rcv_mss, info.advmss) == (988, 1448, 1460)
    assert (info.snd_wnd, info.snd_wscale, info.rcv_wscale) == (65535 << 3, 3, 7)
    assert (info.timestamps, info.sack) == (True, True)
    assert info.unacked == 11  # with the tail loss probe, which takes new data
    assert (info.retransmits, info.timeouts, info.recoveries, info.spurious) == (2, 2, 0, 0)
    assert info.total_retrans == info.retransmits
    assert info.bytes_retrans == 988 * info.total_retrans
    assert (info.data_segs_out, info.data_segs_in) == (11 + info.total_retrans, 1)
    assert info.bytes_sent == 988 * info.data_segs_out
    assert (info.segs_in, info.segs_out) == (2, 3 + info.data_segs_out)
    assert (info.bytes_received, info.notsent_bytes) == (1000, 11_500 - 11 * 988)
    assert info.last_data_recv == 3000
    assert info.last_data_sent < 2000
    assert (info.snd_cwnd, info.snd_ssthresh) == (1, 5)
    assert (info.lost, info.sacked, info.reordering, info.ecn, info.pacing_rate) == (10, 0, 0, False, 0)
    assert info.rcv_space >= 50_000
    assert info.rcv_wnd <= info.rcv_space
    peer.sends(". 1001:1001(0) ack 989 <sack 1977:3953>")
    info = user.conn.info(peer.now)
    assert (info.bytes_acked, info.sacked) == (988, 2)
    assert info.delivered in (3 * 988, 3 * 988 + 1)  # some count the SYN


def test_info_goes_into_json() -> None:
    peer, user = states.established()
    told = json.loads(json.dumps(user.conn.info(peer.now).as_dict()))
    assert told["state"] == "ESTAB"
    assert told["snd_cwnd"] == 10


def test_states_have_the_words_of_ss() -> None:
    words = []
    for reach in (states.syn_sent, states.syn_received, states.established, states.fin_wait_1, states.time_wait):
        peer, user = reach()
        words.append(user.conn.info(peer.now).state)
    assert words == ["SYN-SENT", "SYN-RECV", "ESTAB", "FIN-WAIT-1", "TIME-WAIT"]


def test_info_of_losses_and_their_repair() -> None:
    peer, user = states.established(rtt=100 * MS, sack=True)
    user.write(5 * 1000)
    peer.takes()
    info = user.conn.info(peer.now)
    assert (info.ca_state, info.retrans, info.delivered_segments) == ("open", 0, 1)
    peer.passes(100 * MS)
    peer.sends(". 1:1(0) ack 1 <sack 2001:3001>")
    peer.sends(". 1:1(0) ack 1 <sack 1001:3001>")
    info = user.conn.info(peer.now)
    assert (info.ca_state, info.sacked, info.lost, info.delivered_segments) == ("disorder", 2, 0, 3)
    assert (info.reordering, info.reordering_extent) == (1, 2)
    peer.sends(". 1:1(0) ack 1 <sack 1001:4001>")
    peer.passes(100 * MS)
    peer.takes()
    info = user.conn.info(peer.now)
    assert (info.ca_state, info.retrans, info.delivered_segments) == ("recovery", 1, 4)
    assert info.last_ack_recv == 100
    peer.sends(". 1:1(0) ack 5001")
    info = user.conn.info(peer.now)
    assert (info.ca_state, info.retrans, info.delivered_segments, info.last_ack_recv) == ("open", 0, 6, 0)


def test_info_of_a_time_out() -> None:
    peer, user = states.established(rtt=100 * MS, sack=True)
    user.write(1000)
    peer.takes()
    peer.passes(2 * SECOND)
    peer.takes()
    assert user.conn.info(peer.now).ca_state == "loss"


def test_info_of_a_mark() -> None:
    peer = Peer()
    user = peer.connect(options=TcpOptions(ecn="request"))
    peer.takes()
    peer.sends("SE. 0:0(0) ack 1 win 65535 <mss 1000,sackOK>")
    user.write(2000)
    peer.takes()
    peer.sends("E. 1:1(0) ack 1001")
    assert user.conn.info(peer.now).ca_state == "cwr"
    peer.sends(". 1:1(0) ack 2001")
    assert user.conn.info(peer.now).ca_state == "open"
