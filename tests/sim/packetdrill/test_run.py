"""Scripts that are run: packets in, packets out, times. What is written here passes, and what is altered fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stack.sim.packetdrill import run_script
from stack.sim.packetdrill.parse import parse
from stack.sim.packetdrill.profiles import PROFILES
from tests.sim.packetdrill.scripts import CLIENT, SERVER, fails, passes

CONVERSATION = (
    SERVER
    + """\
   +0 write(4, ..., 1000) = 1000
   +0 > P. 1:1001(1000) ack 1
  +.1 < P. 1:501(500) ack 1001 win 257
   +0 > . 1001:1001(0) ack 501
   +0 read(4, ..., 4096) = 500
   +0 write(4, ..., 3000) = 3000
   +0 > P. 1001:4001(3000) ack 501
  +.1 < F. 501:501(0) ack 4001 win 257
   +0 > . 4001:4001(0) ack 502
   +0 read(4, ..., 100) = 0
  +.1 close(4) = 0
   +0 > F. 4001:4001(0) ack 502
  +.1 < . 502:502(0) ack 4002 win 257
"""
)


def test_a_conversation_passes() -> None:
    outcome = passes(CONVERSATION)
    assert outcome.place is None
    assert not outcome.ladder
    assert outcome.elapsed == 500_000_000


def test_a_script_that_was_read_already_runs_as_often_as_one_likes() -> None:
    script = parse(CONVERSATION, "here.pkt")
    outcomes = [run_script(script) for _ in range(2)]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0].passed
    assert outcomes[0].path == "here.pkt"


@pytest.mark.parametrize("ip_version", ["ipv4", "ipv6", "ipv4-mapped-ipv6"])
@pytest.mark.parametrize("script", [SERVER, CLIENT])
def test_every_family_runs_the_same_script(script: str, ip_version: str) -> None:
    passes(script, ip_version=ip_version, mtu=1520 if ip_version == "ipv6" else 1500)
    passes(f"--ip_version={ip_version}\n--mtu={1520 if ip_version == 'ipv6' else 1500}\n{script}")


ALTERED = {
    "sequence number": ("> P. 1:1001(1000) ack 1", "> P. 2:1002(1000) ack 1", "seq: expected 2, came 1"),
    "length, too short": ("> P. 1:1001(1000) ack 1", "> P. 1:1000(999) ack 1", "length: expected 999, came 1000"),
    "length, too long": ("> P. 1:1001(1000) ack 1", "> P. 1:1002(1001) ack 1", "length: expected 1001, came 1000"),
    "acknowledgment": ("> . 1001:1001(0) ack 501", "> . 1001:1001(0) ack 500", "ack: expected 500, came 501"),
    "window": ("> . 1001:1001(0) ack 501", "> . 1001:1001(0) ack 501 win 7", "win: expected 7, came 2"),
    "urgent pointer": ("> . 1001:1001(0) ack 501", "> . 1001:1001(0) ack 501 urg 7", "urg: expected 7, came 0"),
    "flag too many": ("> . 1001:1001(0) ack 501", "> F. 1001:1001(0) ack 501", "flags: expected F., came ."),
    "flag too few": ("> F. 4001:4001(0) ack 502", "> . 4001:4001(0) ack 502", "flags: expected ., came F."),
    "no push at the end": ("> P. 1:1001(1000) ack 1", "> . 1:1001(1000) ack 1", "flags: expected ., came P."),
    "push without text": ("> . 1001:1001(0) ack 501", "> P. 1001:1001(0) ack 501", "flags: expected P., came ."),
    "ECN flags": ("> . 1001:1001(0) ack 501", "> E. 1001:1001(0) ack 501", "flags: expected .E, came ."),
    "ACE": ("> . 1001:1001(0) ack 501", "> .5 1001:1001(0) ack 501", "ace: expected 5, came 0"),
    "an option's value": ("<mss 1460,", "<mss 1461,", "options: expected <mss 1461,", "came <mss 1460,"),
    "an option too many": ("wscale 8>", "wscale 8,nop,nop,nop,nop>", "options:"),
    "options in another order": (
        "<mss 1460,nop,nop,sackOK,nop,wscale 8>",
        "<nop,nop,sackOK,mss 1460,nop,wscale 8>",
        "",
    ),
    "options where none are": ("> P. 1:1001(1000) ack 1", "> P. 1:1001(1000) ack 1 <nop,nop,sackOK>", "came <>"),
    "ECN in the IP header": ("> P. 1:1001(1000)", "> [ect0] P. 1:1001(1000)", "ecn: expected ect0, came noecn"),
    "TOS": ("> P. 1:1001(1000)", "> (tos 0x10) P. 1:1001(1000)", "tos: expected 0x10, came 0x00"),
    "TTL": ("> P. 1:1001(1000)", "> (ttl 63) P. 1:1001(1000)", "ttl: expected 63, came 64"),
    "too late": ("+0 > P. 1:1001(1000)", "+.010 > P. 1:1001(1000)", "time: due at 0.110000 s, give or take 0.004000 s"),
    "too early for a range": ("+0 > P. 1:1001(1000)", "+.01~+.02 > P. 1:1001(1000)", "due at 0.110000 to 0.120000 s"),
    "a packet that does not come": ("+0 > P. 1:1001(1000)", "+0 > . 1:1(0) ack 2\n   +0 > P. 1:1001(1000)", "came:"),
    "a packet that is not expected": ("   +0 > P. 1:1001(1000) ack 1\n", "", "seq: expected 1001, came 1"),
    "result of a call": ("read(4, ..., 4096) = 500", "read(4, ..., 4096) = 501", "read() returned 500"),
    "error of a call": ("read(4, ..., 4096) = 500", "read(4, ..., 4096) = -1 EAGAIN (x)", "read() returned 500"),
}


@pytest.mark.parametrize("name", ALTERED)
def test_every_altered_expectation_fails(name: str) -> None:
    before, after, *words = ALTERED[name]
    assert CONVERSATION.count(before) == 1
    fails(CONVERSATION.replace(before, after), *words)


def test_a_failure_tells_the_place_the_line_what_came_and_the_ladder() -> None:
    outcome = fails(CONVERSATION.replace("ack 501", "ack 499"), path="tests/there.pkt")
    lines = outcome.lines()
    assert lines[0] == "tests/there.pkt:11:4: the stack sent something else"
    assert lines[1].strip() == "+0 > . 1001:1001(0) ack 499"
    assert lines[2] == "    came:     0.200000 > . 1001:1001(0) ack 501 win 251"
    assert lines[3].strip() == "ack: expected 499, came 501"
    ladder = "\n".join(lines[4:])
    assert "tcpstack 192.168.0.1:8080" in ladder
    assert "script 192.0.2.1:40001" in ladder
    assert "three" not in ladder  # the ladder is the bare one of a simulation
    assert ladder.count("│") == 2 * 6
    assert "SYN-RECEIVED" in ladder
    fields = outcome.as_dict()
    assert (fields["verdict"], fields["line"], fields["column"]) == ("fail", 11, 4)


def test_what_follows_the_last_expected_packet_is_the_connections_own_affair() -> None:
    passes(SERVER + "+0 write(4, ..., 1000) = 1000\n+0 close(4) = 0\n")


def test_a_closed_connection_is_nobodys_business_once_there_is_another() -> None:
    share = "+0 setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0\n   +0 bind"
    first = SERVER.replace("+0 bind", share)
    passes(first + "+0 close(4) = 0\n+0 close(3) = 0\n" + first.replace("    0 socket", "  +.1 socket"))


# Segments of a super-frame.


def test_a_line_may_stand_for_several_segments_that_continue_each_other() -> None:
    passes(SERVER + "+0 write(4, ..., 4000) = 4000\n+0 > P. 1:4001(4000) ack 1\n")
    passes(SERVER + "+0 write(4, ..., 4000) = 4000\n+0 > . 1:2001(2000) ack 1\n+0 > P. 2001:4001(2000) ack 1\n")
    passes("--strict_segments\n" + SERVER + "+0 write(4, ..., 1000) = 1000\n+0 > P. 1:1001(1000) ack 1\n")


def test_a_line_can_not_end_within_a_segment() -> None:
    fails(SERVER + "+0 write(4, ..., 4000) = 4000\n+0 > . 1:1501(1500) ack 1\n", "length: expected 1500, came 2000")
    fails(
        "--strict_segments\n" + SERVER + "+0 write(4, ..., 4000) = 4000\n+0 > P. 1:4001(4000) ack 1\n",
        "length: expected 4000, came 1000",
    )
    passes("--strict_segments\n" + SERVER + "+0 write(4, ..., 1000) = 1000\n+0 > P. 1:1001(1000) ack 1\n")


def test_segments_that_leave_at_other_times_are_no_super_frame() -> None:
    text = SERVER + "+0 write(4, ..., 1000) = 1000\n+.05 write(4, ..., 2000) = 2000\n+0 > P. 1:3001(3000) ack 1\n"
    fails(text, "came:     0.100000 > P. 1:1001(1000)", "time: due at 0.150000 s")


def test_segments_between_which_something_changes_are_no_super_frame() -> None:
    text = (
        SERVER + "+0 write(4, ..., 1000) = 1000\n+0 < P. 1:11(10) ack 1 win 257\n"
        "+0 write(4, ..., 1000) = 1000\n+0 > P. 1:2001(2000) ack 1\n"
    )
    fails(text, "the next one is no continuation")


def test_super_frames_of_the_stack_are_cut_as_a_device_would() -> None:
    profile = replace(PROFILES["linux"], max_payload=64_000)
    passes(
        SERVER + "+0 write(4, ..., 4000) = 4000\n+0 > . 1:2001(2000) ack 1\n+0 > P. 2001:4001(2000) ack 1\n",
        profile=profile,
    )


def test_push_before_the_end_of_what_was_written_is_as_one_likes() -> None:
    text = SERVER + "+0 write(4, ..., 2000) = 2000\n+0 > {}. 1:1001(1000) ack 1\n+0 > P. 1001:2001(1000) ack 1\n"
    passes(text.format(""))
    passes(text.format("P"))
    fails("--strict_segments\n" + text.format("P"), "flags: expected P., came .")


# Numbers.


def test_numbers_in_syns_are_absolute_and_all_others_relative() -> None:
    passes(
        """\
    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
   +0 bind(3, ..., ...) = 0
   +0 listen(3, 1) = 0
   +0 < S 4294967295:4294967295(0) win 32792 <mss 1000>
   +0 > S. 77:77(0) ack 0 <mss 1460>
   +0 < . 1:1(0) ack 1 win 32792
   +0 accept(3, ..., ...) = 4
   +0 < P. 1:101(100) ack 1 win 32792
   +0 > . 1:1(0) ack 101
"""
    )


def test_sack_blocks_are_relative_too() -> None:
    text = SERVER + "+0 < P. 1001:2001(1000) ack 1 win 257\n+0 > . 1:1(0) ack 1 <nop,nop,sack 1001:2001>\n"
    passes(text)
    fails(text.replace("sack 1001:2001", "sack 1001:2002"), "came <nop,nop,sack 1001:2001>")


def test_timestamps_of_ours_are_known_by_the_segments_that_had_them() -> None:
    passes(CLIENT + "+0 < P. 1:11(10) ack 1 win 257 <nop,nop,TS val 701 ecr 200>\n+0 > . 1:1(0) ack 11 <...>\n")
    fails(
        CLIENT + "+0 < P. 1:11(10) ack 1 win 257 <nop,nop,TS val 701 ecr 201>\n",
        "no segment before had the timestamp 201",
        line=7,
    )
    passes("--tcp_ts_ecr_scaled\n" + CLIENT + "+0 < P. 1:11(10) ack 1 win 257 <nop,nop,TS val 701 ecr 201>\n")


def test_the_timestamp_that_is_echoed_is_compared_and_ours_with_a_tick() -> None:
    fails(CLIENT.replace("ecr 700>\n", "ecr 701>\n"), "came <nop,nop,TS val 200 ecr 700>")
    passes(CLIENT.replace("TS val 200", "TS val 900"))
    passes("--tcp_ts_tick_usecs=1000\n" + CLIENT)
    fails(
        "--tcp_ts_tick_usecs=1000\n" + CLIENT.replace("TS val 200", "TS val 220"), "came <nop,nop,TS val 200 ecr 700>"
    )


def test_what_is_not_said_is_not_looked_at() -> None:
    passes(SERVER.replace("<mss 1460,nop,nop,sackOK,nop,wscale 8>", "<...>"))


# Several connections, ports, resets.


def test_ports_say_which_connection_a_packet_is_of() -> None:
    passes(
        """\
    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
   +0 bind(3, ..., ...) = 0
   +0 listen(3, 5) = 0
   +0 < 5001 > 8080 S 0:0(0) win 32792 <mss 1000>
   +0 > 8080 > 5001 S. 0:0(0) ack 1 <mss 1460>
   +0 < 5001 > 8080 . 1:1(0) ack 1 win 32792
   +0 accept(3, ..., ...) = 4
   +0 < 5001 > 8080 P. 1:11(10) ack 1 win 32792
   +0 > 8080 > 5001 . 1:1(0) ack 11
"""
    )


CALLERS = """\
    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
   +0 bind(3, ..., ...) = 0
   +0 listen(3, 5) = 0
   +0 < 5001 > 8080 S 7000:7000(0) win 32792 <mss 1000>
   +0 > 8080 > 5001 S. 0:0(0) ack 7001 <mss 1460>
  +.1 < 5001 > 8080 . 1:1(0) ack 1 win 32792
   +0 accept(3, ..., ...) = 4
"""


def test_a_syn_with_ports_that_nobody_has_is_of_a_new_peer() -> None:
    passes(
        CALLERS
        + """\
  +.1 < 5002 > 8080 S 900:900(0) win 32792 <mss 1000>
   +0 > 8080 > 5002 S. 0:0(0) ack 901 <mss 1460>
  +.1 < 5002 > 8080 P. 1:11(10) ack 1 win 32792
   +0 > 8080 > 5002 . 1:1(0) ack 11
   +0 < 5001 > 8080 P. 1:21(20) ack 1 win 32792
   +0 > 8080 > 5001 . 1:1(0) ack 21
   +0 accept(3, ..., ...) = 5
   +0 read(5, ..., 100) = 10
   +0 read(4, ..., 100) = 20
"""
    )


def test_a_syn_of_a_peer_begins_a_new_connection_only_after_close() -> None:
    """In TIME-WAIT it may; while a connection is in use a SYN on it is one of its segments, and challenged."""
    again = "< 5001 > 8080 S 90000:90000(0) win 32792 <mss 1000>\n"
    passes(CALLERS + "  +.1 " + again + "   +0 > 8080 > 5001 . 1:1(0) ack 1\n")
    passes(
        CALLERS
        + """\
   +0 close(4) = 0
   +0 > 8080 > 5001 F. 1:1(0) ack 1
  +.1 < 5001 > 8080 F. 1:1(0) ack 2 win 32792
   +0 > 8080 > 5001 . 2:2(0) ack 2
  +.1 """
        + again
        + "   +0 > 8080 > 5001 S. 0:0(0) ack 90001 <mss 1460>\n"
    )


def test_a_segment_of_no_connection_is_answered_with_a_reset() -> None:
    passes("0 < . 1:1(0) ack 1 win 100\n+0 > R 1:1(0)\n")
    fails("0 < . 1:1(0) ack 1 win 100\n+0 > R 2:2(0)\n", "seq: expected 2, came 1")


def test_something_else_than_packets_of_a_connection_is_said_clearly() -> None:
    fails("0 > . 1:1(0) ack 1\n", "there is no connection that this packet could be of", line=1)
    fails(CLIENT + "+0 > P. 1:11(10) ack 1\n", "nothing came up to 2.100000 s", "due at 0.100000 s", line=7)


# ICMP.


def test_icmp_errors_quote_the_connection() -> None:
    text = (
        "    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n"
        "   +0 fcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0\n"
        "   +0 connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)\n"
        "   +0 > S 0:0(0) <...>\n"
        "  +.1 < icmp unreachable {} [0:0(0)]\n"
        "   +0 getsockopt(3, SOL_SOCKET, SO_ERROR, [{}], [4]) = 0\n"
    )
    passes(text.format("port_unreachable", "ECONNREFUSED"))
    fails(text.format("port_unreachable", "0"), "getsockopt(): expected [0], came [111]", line=6)
    fails(text.format("no_such_code", "0"), "there is no code no_such_code", line=5)


def test_an_icmp_error_about_nothing_in_flight_changes_nothing() -> None:
    passes(
        SERVER + "+0 `nstat > /dev/null`\n+0 < icmp unreachable port_unreachable [5000:6000(1000)]\n"
        "+0 `nstat | grep TcpExtOutOfWindowIcmps > /dev/null`\n"
        "+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1\n"
    )
    fails(SERVER + "+0 `nstat | grep TcpExtOutOfWindowIcmps`\n", "TcpExtOutOfWindowIcmps has not counted", line=8)


def test_an_echo_request_is_answered() -> None:
    text = SERVER + "+0 < icmp echo_request id 7\n+0 > icmp {}\n"
    passes(text.format("echo_reply"))
    fails(text.format("unreachable"), "type and code: expected 3 and 0, came 0 and 0", line=9)


# Times.


@pytest.mark.parametrize(
    ("when", "is_in_time"),
    [
        ("+.3", True),
        ("+.27", True),  # no more than an eighth of the time since the event before too late,
        ("+.265", False),
        ("+.34", True),  # or too early
        ("+.345", False),
        (".4", True),
        (".35", False),
        ("+.15~+.3", True),
        ("+.35~+.4", False),
        ("+.1~+.2", False),
        ("*", True),
    ],
)
def test_a_packet_must_be_in_time(when: str, is_in_time: bool) -> None:
    # The probe of the tail comes when the time-out would: 300 ms, three times the one round trip that was measured.
    text = SERVER + f"+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1\n{when} > P. 1:11(10) ack 1\n"
    if is_in_time:
        passes(text)
    else:
        fails(text, "time: due at", "0.400000 > P. 1:11(10) ack 1")


def test_tolerances_are_a_scripts_to_choose() -> None:
    text = SERVER + "+0 write(4, ..., 10) = 10\n+.010 > P. 1:11(10) ack 1\n"
    fails(text, "give or take 0.004000 s")
    passes("--tolerance_usecs=10000\n" + text)
    passes("--tolerance_percent=100\n" + text)


def test_packets_to_the_stack_count_from_each_other_and_others_from_what_has_happened() -> None:
    text = SERVER + "{} < P. 1:11(10) ack 1 win 257\n{} < P. 11:21(10) ack 1 win 257\n* > . 1:1(0) ack 11\n"
    passes(text.format("+.5", "+.5") + "1.1 > . 1:1(0) ack 21\n")
    late = "+.1 write(4, ..., 10) = 10\n* > P. 1:11(10) ack 1\n* > P. 1:11(10) ack 1\n"  # 300 ms later
    passes(SERVER + late + "+0 < . 1:1(0) ack 11 win 257\n+.1 < P. 1:11(10) ack 11 win 257\n.6 > . 11:11(0) ack 11\n")


def test_time_does_not_go_backwards() -> None:
    fails("1 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n.5 listen(3, 1) = 0\n", "time goes backwards", line=2)


def test_an_event_that_others_have_delayed_is_late() -> None:
    text = SERVER + "+0 write(4, ..., 10) = 10\n* > P. 1:11(10) ack 1\n* > P. 1:11(10) ack 1\n.2 close(4) = 0\n"
    fails(text, "this happened at 0.400000 s", "due at 0.200000 s", line=11)
