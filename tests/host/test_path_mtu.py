"""Path-MTU discovery by ICMP: what a connection does about it, and what others learn (RFC 1191, RFC 8201, RFC 5927)."""

from __future__ import annotations

import itertools

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire import icmp, ip
from stack.wire.units import MINUTE, MS, SECOND, Duration
from tests.support import states
from tests.support.bench import Bench
from tests.support.peer import Peer, Seen
from tests.support.user import User

RTT: Duration = 100 * MS
FRAGMENTATION_NEEDED = icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED
TOO_BIG = icmp.V6_PACKET_TOO_BIG, 0
FAMILIES = pytest.mark.parametrize("v6", [False, True], ids=["ipv4", "ipv6"])


def opened(write: int, **how: object) -> tuple[Peer, User, list[Seen]]:
    """A connection over a link of 1500 bytes to a peer that takes as much, and what leaves of a first write.

    Nagle is off unless told otherwise.
    """
    how = {"mss": 1460, "rtt": RTT, "sack": True, "options": TcpOptions(nodelay=True), **how}
    peer, user = states.established(**how)  # type: ignore[arg-type]
    user.write(write)
    return peer, user, peer.takes()


def complains(peer: Peer, mtu: int, about: Seen, **how: object) -> None:
    """A router says that this segment was too long."""
    peer.sends_icmp(*(TOO_BIG if peer.v6 else FRAGMENTATION_NEEDED), mtu, about=about.frame, **how)  # type: ignore[arg-type]


def texts(seen: list[Seen]) -> list[tuple[int, int]]:
    """Beginning and size of the segments with text."""
    return [(item.start, item.size) for item in seen if item.size]


def in_pieces(start: int, end: int, size: int) -> list[tuple[int, int]]:
    return [(at, min(size, end - at)) for at in range(start, end, size)]


def longest(seen: list[Seen]) -> int:
    return max(len(item.frame) for item in seen)


# What was too long leaves again.


# RFC1191-01, RFC1191-04, RFC7323-24
@FAMILIES
@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("mtu", [1499, 1400, 1280])
def test_what_was_too_long_leaves_at_once_in_shorter_segments(mtu: int, timestamps: bool, sack: bool, v6: bool) -> None:
    peer, user, sent = opened(4000, v6=v6, sack=sack, timestamps=timestamps, mss=65_000)
    assert [len(item.frame) == 1500 for item in sent] == [True, True, False]
    peer.passes(10 * MS)
    complains(peer, mtu, sent[0])
    again = peer.takes()
    room = mtu - (60 if v6 else 40) - (12 if timestamps else 0)
    # The last one was short enough, and nobody has refused it.
    short = sent[-1]
    assert texts(again) == in_pieces(1, short.start, room)
    assert longest(again) == mtu
    assert all(v6 or ip.decode(item.frame).dont_fragment for item in again)
    peer.sends(". 1:1(0) ack 4001")
    user.write(3 * room)
    assert texts(peer.takes()) == in_pieces(4001, 4001 + 3 * room, room)
    info = user.conn.info(peer.now)
    assert (info.pmtu, info.snd_mss) == (mtu, room)
    assert peer.host.counters.paths_narrowed == 1


# RFC1191-04, RFC5681-07
@pytest.mark.parametrize("congestion", ["newreno", "cubic"])
@pytest.mark.parametrize("sack", [False, True])
def test_it_is_no_sign_of_congestion(sack: bool, congestion: str) -> None:
    """The window holds as many segments as before; no recovery, no time-out, and slow start goes on."""
    peer, user, sent = opened(60_000, sack=sack, options=TcpOptions(congestion=congestion))
    assert len(sent) == 10
    for item in sent:
        complains(peer, 1000, item)
    again = peer.takes()
    info = user.conn.info(peer.now)
    assert texts(again) == in_pieces(1, 9601, 960)
    assert info.snd_cwnd == 10
    assert info.snd_ssthresh > 1 << 19
    assert (info.recoveries, info.timeouts, info.retransmits) == (0, 0, 0)
    peer.passes(RTT)
    peer.sends(". 1:1(0) ack 9601")
    info = user.conn.info(peer.now)
    assert info.snd_cwnd > 10
    assert (info.recoveries, info.timeouts) == (0, 0)
    peer.takes()


def test_no_duplicate_counts_that_what_was_short_enough_has_caused() -> None:
    """Without SACK: small segments behind the long ones arrive and are acknowledged with duplicates."""
    peer, user, _ = opened(0, sack=False)
    user.write(1460)
    [first] = peer.takes()
    for _ in range(4):
        user.write(100)
    peer.takes()
    peer.passes(20 * MS)
    complains(peer, 1000, first)
    assert texts(peer.takes()) == [(1, 960), (961, 500)]
    peer.sends(*[". 1:1(0) ack 1"] * 4)
    assert user.conn.info(peer.now).recoveries == 0
    peer.sends(". 1:1(0) ack 1861")
    peer.sees_nothing(during=SECOND)


def test_a_loss_that_was_one_still_counts() -> None:
    """What is sent again can be lost like anything else."""
    peer, user, sent = opened(14_600, options=TcpOptions(congestion="newreno"))
    complains(peer, 1000, sent[0])
    again = peer.takes()
    assert len(again) == 10
    peer.passes(RTT)
    peer.sends(". 1:1(0) ack 1 <sack 961:3841>")
    assert texts(peer.takes())[0] == (1, 960)
    assert user.conn.info(peer.now).recoveries == 1


def test_the_fin_goes_with_what_was_too_long() -> None:
    peer, user, _ = opened(0)
    user.conn.write(bytes(1460))
    user.peer.watch.written += bytes(1460)
    user.close_write()
    [fin] = peer.takes()
    assert fin.line.startswith("FP. 1:1461(1460)")
    complains(peer, 1000, fin)
    first, second = peer.takes()
    assert (first.line.split()[:2], second.line.split()[:2]) == ([".", "1:961(960)"], ["FP.", "961:1461(500)"])
    peer.sends("F. 1:1(0) ack 1462")
    assert user.state is State.TIME_WAIT


@FAMILIES
@pytest.mark.parametrize("quoted", [0, 3, 9])
def test_super_frames_are_cut_anew(quoted: int, v6: bool) -> None:
    """A router behind a device that cuts them quotes one of their segments, the kernel behind it the whole."""
    headers = 60 if v6 else 40
    peer, user = states.established(mss=1500 - headers, rtt=RTT, sack=True, max_payload=60_000, v6=v6)
    user.write(40_000)
    sent = peer.takes()
    assert len(sent) == 10
    peer.bench.bursts.clear()
    peer.bench.whole = True
    complains(peer, 1300, sent[quoted])
    again = peer.takes()
    room = 1300 - headers
    assert max(peer.bench.bursts) > 1
    assert all(item.segment.gso_size == room for item in again if item.size > room)
    assert sum(peer.bench.bursts) >= 10
    assert again[0].start == 1
    assert again[-1].end <= sent[-1].end
    assert all(before.end == after.start for before, after in itertools.pairwise(again))
    peer.sends(f". 1:1(0) ack {again[-1].end}")
    assert user.conn.info(peer.now).recoveries == 0


def test_twice_narrower() -> None:
    """Behind one narrow link lies a narrower one."""
    peer, user, sent = opened(2920)
    complains(peer, 1400, sent[0])
    again = peer.takes()
    assert texts(again) == in_pieces(1, 2921, 1360)
    complains(peer, 1400, sent[1])  # late, about the same link
    peer.sees_nothing()
    complains(peer, 1300, again[0])
    again = peer.takes()
    assert texts(again) == in_pieces(1, 2721, 1260)  # the rest was not too long
    peer.sends(". 1:1(0) ack 2921")
    user.write(10)
    peer.sees("P. 2921:2931(10) ack 1")


# RFC1191-01
def test_routers_that_do_not_say_how_much() -> None:
    """The next of the usual MTUs below, again and again (RFC 1191 5 and 7.1)."""
    peer, user, sent = opened(1460)
    for mtu in (1492, 1006, 552):
        complains(peer, 0, sent[0])
        sent = peer.takes()
        assert longest(sent) == mtu
    complains(peer, 0, sent[0])
    peer.sees_nothing()
    peer.sends(". 1:1(0) ack 1461")
    assert user.conn.info(peer.now).pmtu == 552


# RFC1191-02, RFC8201-06
@pytest.mark.parametrize(
    ("v6", "mtu", "length"),
    [(False, 68, 552), (False, 551, 552), (False, 552, 552), (True, 1280, 1280), (False, 67, 0), (True, 1279, 0)],
)
def test_never_below_a_floor(v6: bool, mtu: int, length: int) -> None:
    peer, _, sent = opened(1400, v6=v6)
    complains(peer, mtu, sent[0])
    again = peer.takes()
    assert (longest(again) if again else 0) == length


# What is not believed.


# RFC8201-05
@pytest.mark.parametrize("offset", [-1, 2920, 2921, 1 << 30])
def test_what_is_not_in_flight_does_not_count(offset: int) -> None:
    """RFC 5927 4.1."""
    peer, user, sent = opened(2920)
    frame = bytearray(sent[0].frame)
    number = int.from_bytes(frame[24:28], "big") + offset
    frame[24:28] = (number & 0xFFFF_FFFF).to_bytes(4, "big")
    peer.sends_icmp(*FRAGMENTATION_NEEDED, 1000, about=bytes(frame))
    peer.sees_nothing()
    assert user.conn.info(peer.now).pmtu == 1500
    assert peer.host.counters.drops == {"icmp-unmatched": 1}


# RFC8201-05
def test_nor_does_what_was_acknowledged() -> None:
    peer, user, sent = opened(2920)
    peer.sends(". 1:1(0) ack 2921")
    complains(peer, 1000, sent[1])
    user.write(1460)
    assert texts(peer.takes()) == [(2921, 1460)]


# RFC8201-05
@FAMILIES
@pytest.mark.parametrize("mtu", [1500, 1501, 9000, 65535])
def test_no_complaint_makes_a_path_wider(mtu: int, v6: bool) -> None:
    peer, user, sent = opened(2900, v6=v6)
    complains(peer, mtu, sent[0])
    peer.sees_nothing()
    complains(peer, 1300, sent[0])
    sent = peer.takes()
    complains(peer, 1400, sent[0])
    peer.sees_nothing()
    assert user.conn.info(peer.now).pmtu == 1300


@pytest.mark.parametrize(("mtu", "counts"), [(1000, False), (540, True)])
def test_nor_do_segments_that_were_never_so_long(mtu: int, counts: bool) -> None:
    """The peer takes 520 octets; somebody says that packets of 560 are too long for 1000."""
    peer, user, sent = opened(2000, mss=520)
    assert longest(sent) == 560
    complains(peer, mtu, sent[0])
    assert bool(peer.takes()) is counts
    assert user.conn.info(peer.now).pmtu == (552 if counts else 1500)
    assert peer.host.counters.drops == ({} if counts else {"icmp-ignored": 1})


# RFC8201-05
def test_a_wider_claim_that_is_confirmed_later_does_not_count() -> None:
    """Two connections to one address have been told of 1400 and of 1300; the second one's timer expires first."""
    peer, user, _ = opened(0, sack=False)
    other = Peer(bench=peer.bench)
    second = other.connect(local_port=40001)
    other.sees("S 0:0(0) <...>")
    other.passes(RTT)
    other.sends("S. 0:0(0) ack 1 <mss 1460>")
    other.sees(". 1:1(0) ack 1")
    narrower = proven(other, second)
    other.passes(100 * MS)
    wider = proven(peer, user)
    complains(peer, 1400, wider)
    complains(other, 1300, narrower)
    seen = []
    for _ in range(40):
        peer.bench.step(peer.now + 20 * MS)
        peer.takes()
        other.takes()
        seen.append(peer.host.path_mtu(peer.address))
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == 1300
    assert user.conn.info(peer.now).pmtu == second.conn.info(peer.now).pmtu == 1300


def test_other_flows_of_the_quote_do_not_count() -> None:
    peer, user, sent = opened(1460)
    frame = bytearray(sent[0].frame)
    frame[21] ^= 1  # the port
    peer.sends_icmp(*FRAGMENTATION_NEEDED, 1000, about=bytes(frame))
    peer.sees_nothing()
    assert user.conn.info(peer.now).pmtu == 1500
    assert peer.host.counters.drops == {"icmp-unmatched": 1}


def test_it_is_not_an_error_for_the_application() -> None:
    peer, user, sent = opened(1460)
    complains(peer, 1000, sent[0])
    assert user.conn.soft_error is None
    assert user.conn.reports == 0


# A path that has shown that it takes such segments (RFC 5927 7.2).


def proven(peer: Peer, user: User) -> Seen:
    """A long segment arrives, and another one is in flight."""
    user.write(2920)
    sent = peer.takes()
    peer.passes(RTT)
    peer.sends(f". 1:1(0) ack {sent[-1].end}")
    user.write(1460)
    [last] = peer.takes()
    return last


# RFC1191-14
@pytest.mark.parametrize("sack", [False, True])
def test_progress_shows_a_complaint_to_be_wrong(sack: bool) -> None:
    peer, user, _ = opened(0, sack=sack)
    last = proven(peer, user)
    complains(peer, 600, last)
    peer.sees_nothing(during=20 * MS)
    peer.sends(f". 1:1(0) ack {last.end}")
    user.write(1460)
    [last] = peer.takes()
    assert last.size == 1460
    # The time-out that comes now is one for another segment.
    peer.gathers(5 * SECOND)
    info = user.conn.info(peer.now)
    assert info.timeouts > 2
    assert info.pmtu == 1500


# RFC1191-14, RFC1191-04
def test_a_path_that_has_become_narrower() -> None:
    """Then nothing gets through any more: at the time-out the complaint counts, and not as congestion."""
    peer, user, _ = opened(0, sack=False)
    last = proven(peer, user)
    before = user.conn.info(peer.now)
    complains(peer, 1000, last)
    peer.sees(f". {last.start}:{last.start + 960}(960) ack 1", after=300 * MS)
    peer.sees(f"P. {last.start + 960}:{last.end}(500) ack 1")
    info = user.conn.info(peer.now)
    assert (info.timeouts, info.retransmits) == (0, 0)
    assert info.snd_cwnd == before.snd_cwnd
    assert info.rto == before.rto
    assert peer.host.counters.paths_narrowed == 1
    peer.passes(RTT)
    peer.sends(f". 1:1(0) ack {last.end}")
    user.write(1500)
    assert texts(peer.takes()) == [(last.end, 960), (last.end + 960, 540)]


# RFC1191-14
def test_a_suspicion_is_spent_with_its_time_out() -> None:
    peer, user, _ = opened(0, sack=False)
    last = proven(peer, user)
    complains(peer, 1000, last)
    peer.gathers(300 * MS)
    peer.gathers(10 * SECOND)
    info = user.conn.info(peer.now)
    assert info.timeouts > 2
    assert peer.host.counters.paths_narrowed == 1
    assert info.pmtu == 1000


def test_of_two_suspicions_the_narrower_one_counts() -> None:
    peer, user, _ = opened(0, sack=False)
    last = proven(peer, user)
    for mtu in (1200, 1000, 1100):
        complains(peer, mtu, last)
    peer.gathers(300 * MS)
    assert user.conn.info(peer.now).pmtu == 1000


def test_a_new_length_has_to_show_itself() -> None:
    """After it has become narrower, the path is believed to become narrower still, until something has arrived."""
    peer, user, sent = opened(2920)
    complains(peer, 1400, sent[0])
    sent = peer.takes()
    complains(peer, 1300, sent[0])
    sent = peer.takes()
    assert longest(sent) == 1300
    peer.passes(RTT)
    peer.sends(". 1:1(0) ack 2921")
    user.write(2520)
    sent = peer.takes()
    peer.passes(RTT)
    peer.sends(f". 1:1(0) ack {sent[-1].end}")
    user.write(1260)
    sent = peer.takes()
    complains(peer, 1200, sent[0])
    peer.sees_nothing()


# Others, and later.


# RFC1191-07
@FAMILIES
def test_other_connections_to_the_same_address_learn_of_it(v6: bool) -> None:
    peer, _, sent = opened(2900, v6=v6)
    other = Peer(v6=v6, bench=peer.bench)
    mss = 1440 if v6 else 1460
    second = other.connect(local_port=40001)
    other.sees("S 0:0(0) <...>")
    other.sends(f"S. 0:0(0) ack 1 <mss {mss}>")
    other.sees(". 1:1(0) ack 1")
    complains(peer, 1300, sent[0])
    peer.takes()
    other.sees_nothing()
    second.write(2000)
    assert longest(other.takes()) == 1300
    assert second.conn.info(peer.now).pmtu == 1300
    third = Peer(v6=v6, bench=peer.bench)
    user = third.connect(local_port=40002)
    third.sees(f"S 0:0(0) <mss {mss},...>")  # what the link takes: packets may come another way
    third.sends(f"S. 0:0(0) ack 1 <mss {mss}>")
    third.sees(". 1:1(0) ack 1")
    user.write(2000)
    assert longest(third.takes()) == 1300


# RFC1191-07
def test_passive_opens_learn_of_it_too() -> None:
    peer, _, sent = opened(2900)
    complains(peer, 1300, sent[0])
    peer.takes()
    caller = Peer(bench=peer.bench, port=5555)
    caller.listens()
    caller.sends("S 0:0(0) <mss 1460>")
    caller.sees("S. 0:0(0) ack 1 <mss 1460>")
    caller.sends(". 1:1(0) ack 1")
    caller.accepts().write(2000)
    assert longest(caller.takes()) == 1300


# RFC1191-07
def test_other_addresses_do_not() -> None:
    peer, _, sent = opened(2900)
    complains(peer, 1300, sent[0])
    peer.takes()
    other = Peer(bench=peer.bench, address="10.9.0.77")
    user = other.connect(local_port=40001)
    other.sees("S 0:0(0) <...>")
    other.sends("S. 0:0(0) ack 1 <mss 1460>")
    other.sees(". 1:1(0) ack 1")
    user.write(2000)
    assert longest(other.takes()) == 1500


def test_what_is_out_of_a_connection_that_learns_of_it_leaves_again_too() -> None:
    peer, _, sent = opened(2900)
    other = Peer(bench=peer.bench)
    second = other.connect(local_port=40001)
    other.sees("S 0:0(0) <...>")
    other.sends("S. 0:0(0) ack 1 <mss 1460>")
    other.sees(". 1:1(0) ack 1")
    second.write(1460)
    other.sees("P. 1:1461(1460) ack 1")
    complains(peer, 1300, sent[0])
    peer.takes()
    second.write(10)
    assert texts(other.takes())[0] == (1, 1260)


# RFC1191-03
@FAMILIES
def test_after_ten_minutes_the_path_counts_as_wide_again(v6: bool) -> None:
    """For open connections, too; and it may turn out to be as narrow as before, for one segment's price."""
    peer, user, sent = opened(2900, v6=v6)
    complains(peer, 1300, sent[0])
    peer.takes()
    peer.sends(". 1:1(0) ack 2901")
    for minute in range(1, 10):
        peer.passes(MINUTE)
        user.write(2000)
        assert longest(peer.takes()) == 1300, minute
        peer.sends(f". 1:1(0) ack {2901 + 2000 * minute}")
    peer.passes(MINUTE)
    cwnd = user.conn.snd.congestion.cwnd
    user.write(2000)
    sent = peer.takes()
    assert longest(sent) == 1500
    assert user.conn.snd.congestion.cwnd <= cwnd
    complains(peer, 1300, sent[0])
    assert longest(peer.takes()) == 1300


# RFC1191-03
def test_another_complaint_puts_that_off() -> None:
    peer, user, sent = opened(2900)
    complains(peer, 1400, sent[0])
    sent = peer.takes()
    for _ in range(8):
        peer.gathers(MINUTE)
    sent = [peer.last] if peer.last is not None else []
    complains(peer, 1300, sent[0])
    peer.takes()
    peer.sends(". 1:1(0) ack 2901")
    peer.passes(9 * MINUTE)
    user.write(2000)
    assert longest(peer.takes()) == 1300


def test_a_wider_path_can_be_used_with_one_segment_in_the_window() -> None:
    """A window that holds one short segment holds one long one."""
    peer, user, sent = opened(1460, options=TcpOptions(congestion="newreno"))
    complains(peer, 600, sent[0])
    peer.takes()
    peer.gathers(10 * MINUTE)  # time-outs: the window is one segment
    peer.sends(". 1:1(0) ack 1461")
    user.write(3000)
    assert peer.takes()[0].size == 1460
    assert user.conn.snd.congestion.cwnd >= 1460


def test_a_connection_that_is_over_needs_none_of_this() -> None:
    peer, user, sent = opened(1460)
    other, bystander = Peer(bench=peer.bench), None
    bystander = other.connect(local_port=40001)
    other.sees("S 0:0(0) <...>")
    other.sends("S. 0:0(0) ack 1 <mss 1460>")
    other.sees(". 1:1(0) ack 1")
    bystander.close_write()
    other.sees("F. 1:1(0) ack 1")
    other.sends("F. 1:1(0) ack 2")
    other.sees(". 2:2(0) ack 2")
    complains(peer, 1000, sent[0])
    peer.takes()
    peer.host.touch(bystander.conn, peer.now)
    peer.bench.flush()
    other.sees_nothing()
    assert user.state is State.ESTABLISHED


def test_path_mtu_of_an_address() -> None:
    peer, _, sent = opened(1460)
    assert peer.host.path_mtu(peer.address) == 1500
    complains(peer, 1000, sent[0])
    assert peer.host.path_mtu(peer.address) == 1000
    peer.takes()


# The MSS that is offered.


# RFC 9293 SHLD-6
def test_offered_mss_may_follow_the_path() -> None:
    """Linux does so; the way back may be another, so it has to be asked for."""
    options = TcpOptions(offer_path_mss=True)
    peer, _, sent = opened(1460)
    complains(peer, 1000, sent[0])
    peer.takes()
    other = Peer(bench=peer.bench)
    other.connect(local_port=40001, options=options)
    other.sees("S 0:0(0) <mss 960,...>")
    caller = Peer(bench=peer.bench, port=5555)
    caller.listens(options=options)
    caller.sends("S 0:0(0) <mss 1460>")
    caller.sees("S. 0:0(0) ack 1 <mss 960>")


def test_a_fault_in_the_users_congestion_control_ends_that_connection() -> None:
    from stack.tcp.congestion.newreno import NewReno

    class Faulty(NewReno):
        def on_mss(self, mss: int) -> None:
            raise ZeroDivisionError

    peer, user, sent = opened(1460, options=TcpOptions(congestion=Faulty))
    faults: list[BaseException] = []
    peer.host.on_fault = faults.append
    complains(peer, 1000, sent[0])
    assert user.state is State.CLOSED
    assert [type(fault) for fault in faults] == [ZeroDivisionError]
    peer.takes()


def test_idle_host_with_an_estimate_sleeps_until_it_is_forgotten() -> None:
    bench = Bench()
    assert bench.host.next_timeout() > 1 << 60
    peer, user, sent = opened(1460)
    complains(peer, 1000, sent[0])
    peer.takes()
    user.abort()
    peer.takes()
    peer.passes(MINUTE)
    assert peer.host.next_timeout() - peer.now == 9 * MINUTE
    peer.passes(9 * MINUTE)
    assert peer.host.next_timeout() > 1 << 60
