"""What a script says beside its packets and calls: options at its head, commands, definitions, its own code."""

from __future__ import annotations

import pytest

from stack.sim.packetdrill.environment import CommandFailed, Environment
from stack.sim.packetdrill.profiles import PROFILES
from stack.sim.packetdrill.syntax import Place, Unsupported
from stack.sim.packetdrill.sysctls import LINUX, LINUX_DEFAULTS
from stack.tcp.config import TcpOptions
from tests.sim.packetdrill.scripts import CLIENT, SERVER, fails, passes, unsupported

HERE = Place("here.pkt", 1, 1)


def after(*lines: str) -> TcpOptions:
    """The options that commands leave."""
    environment = Environment(PROFILES["linux"])
    for line in lines:
        environment.run(line, HERE)
    return environment.options


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("sysctl -q net.ipv4.tcp_timestamps=0", "timestamps", False),
        ("sysctl -w net.ipv4.tcp_timestamps=1", "timestamps", True),
        ("sysctl -q net/ipv4/tcp_sack=0", "sack", False),
        ("sysctl -q net.ipv4.tcp_window_scaling=0", "window_scaling", False),
        ("sysctl -q net.ipv4.tcp_ecn=0", "ecn", "off"),
        ("sysctl -q net.ipv4.tcp_ecn=1", "ecn", "request"),
        ("sysctl -q net.ipv4.tcp_ecn=2  # if asked", "ecn", "accept"),
        ("sysctl -q net.ipv4.tcp_congestion_control=reno", "congestion", "newreno"),
        ("sysctl -q net.ipv4.tcp_syn_retries=3", "syn_retries", 3),
        ("sysctl -q net.ipv4.tcp_keepalive_time=10", "keepalive_idle", 10.0),
        ("sysctl -q net.ipv4.tcp_keepalive_intvl=11", "keepalive_interval", 11.0),
        ("sysctl -q net.ipv4.tcp_keepalive_probes=12", "keepalive_probes", 12),
        ("sysctl -q net.ipv4.tcp_fin_timeout=13", "fin_wait_2_timeout", 13.0),
        ("sysctl -q net.ipv4.tcp_notsent_lowat=4000", "notsent_lowat", 4000),
        ("sysctl -q net.ipv4.tcp_notsent_lowat=4294967295", "notsent_lowat", None),
        ('sysctl -q net.ipv4.tcp_rmem="4096 20000 $((15*1024*1024))"', "receive_buffer", 15 << 20),
        ('sysctl -q net.ipv4.tcp_rmem="4096 20000 30000"', "receive_window", 10_000),
        ('sysctl -q net.ipv4.tcp_wmem="4096 $((256*1024)) 4194304"', "send_space", 256 << 10),
        ("../common/set_sysctls.py /proc/sys/net/ipv4/tcp_sack=0 \\\n /proc/sys/net/ipv4/tcp_ecn=1", "ecn", "request"),
        ("echo 0 > /proc/sys/net/ipv4/tcp_timestamps", "timestamps", False),
        ("sysctl -q net.ipv4.tcp_fastopen=0x602", "fastopen", True),
        ("sysctl -q net.ipv4.tcp_fastopen=0x602", "fastopen_cookies", False),
        ("sysctl -q net.ipv4.tcp_fastopen=0x203", "fastopen", False),
        ("sysctl -w net.inet.tcp.rfc1323=0", "window_scaling", False),
        ("sysctl -w net.inet.tcp.sack.enable=0", "sack", False),
        ("sysctl -w net.inet.tcp.delacktime=100", "delayed_ack", 0.1),
        ("sysctl -w net.inet.tcp.keepinit=75000", "connect_timeout", 75.0),
        ("sysctl -w kern.ipc.maxsockbuf=2097152", "receive_buffer", 2 << 20),
        ("true && sysctl -q net.ipv4.tcp_sack=0", "sack", False),
        ("sysctl -q net.ipv4.tcp_sack=0 || sysctl -q net.ipv4.tcp_sack=1", "sack", False),
        ("sysctl -q net.ipv4.tcp_fastopen_cookies=0 || sysctl -q net.ipv4.tcp_sack=0", "sack", False),
        ("sysctl -q net.ipv4.tcp_fastopen_cookies=0 && sysctl -q net.ipv4.tcp_sack=0 || true", "sack", True),
        ("sysctl -q net.ipv4.tcp_fastopen_cookies=0; sysctl -q net.ipv4.tcp_sack=0", "sack", False),
        (": ; # sysctl -q net.ipv4.x=0\nsysctl -q net.ipv4.tcp_timestamps=0 > /dev/null 2>&1", "timestamps", False),
    ],
)  # fmt: skip
def test_a_command_sets_an_option(line: str, field: str, value: object) -> None:
    assert getattr(after(line), field) == value


@pytest.mark.parametrize("taken", [False, True])
def test_segments_without_timestamps_as_freebsd_has_it(taken: bool) -> None:
    options = after(f"sysctl -w net.inet.tcp.tolerate_missing_ts={int(taken)}")
    assert options.habits.takes_missing_timestamps is taken


def test_the_usual_defaults_are_those_of_the_original_tools_scripts() -> None:
    options = after("../../common/defaults.sh\n")
    assert (options.receive_buffer, options.receive_window) == (15 << 20, 270_000)
    assert (options.send_buffer, options.send_space) == (4 << 20, 256 << 10)
    assert (options.timestamps, options.sack, options.ecn, options.congestion) == (True, True, "off", "cubic")
    assert (options.syn_retries, options.fastopen, options.fastopen_cookies) == (5, True, True)


def test_every_default_is_a_sysctl_that_is_known() -> None:
    assert set(LINUX_DEFAULTS) <= {*LINUX, "tcp_fastopen_key"}


@pytest.mark.parametrize(
    "line",
    [
        "/tmp/sysctl_restore_${PPID}.sh",
        "ethtool -K tun0 tso off gso off",
        "tc qdisc add dev tun0 root pfifo",
        "nstat > /dev/null",
        "nstat -n",
        "ip tcp_metrics flush all > /dev/null 2>&1",
        "sysctl -q net.ipv4.tcp_min_tso_segs=4 net.ipv4.tcp_early_retrans=3",
    ],
)
def test_commands_about_what_no_script_sees_change_nothing(line: str) -> None:
    assert after(line) == after()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sysctl -q net.ipv4.tcp_nonsense=1", "the sysctl tcp_nonsense"),
        ("sysctl net.ipv4.tcp_sack", "the sysctl tcp_sack without a value"),
        ("sysctl -q net.ipv4.tcp_mtu_probing=2", "the value 2 of the sysctl tcp_mtu_probing"),
        ("sysctl -q net.ipv4.tcp_congestion_control=bbr", "the value bbr"),
        ("sysctl -q net.ipv4.tcp_ecn=7", "the value 7"),
        ("sysctl -q net.ipv4.tcp_sack=on", "the value on"),
        ("sysctl -q net.ipv4.tcp_syn_retries=1000", "the value 1000"),
        ("sysctl -q net.ipv4.tcp_fastopen_key=1-2-3", "the value 1-2-3"),
        ("ip route change 192.0.2.1 mtu lock 1400", "the command `ip route change 192.0.2.1 mtu lock 1400`"),
        ("tc qdisc replace dev tun0 root fq", "the command `tc qdisc replace dev tun0 root fq`"),
        ("tc qdisc replace dev tun0 root pfifo limit 0", "limit 0`"),
        ("rm -f /tmp/file", "the command `rm -f /tmp/file`"),
        ("grep x /proc/net/tcp | grep y", "the command `grep x /proc/net/tcp | grep y`"),
        ("nstat | grep TcpExtNonsense", "the command `nstat | grep TcpExtNonsense`"),
        ("sleep forever", "the command `sleep forever`"),
        ('echo "unfinished', "a command that can't be read"),
    ],
)
def test_what_is_not_understood_is_named_and_never_ignored(line: str, words: str) -> None:
    with pytest.raises(Unsupported) as raised:
        after(line)
    assert words in raised.value.message


@pytest.mark.parametrize(
    "line", ["sysctl -q net.ipv4.tcp_fastopen_cookies=0", "sysctl -q net.ipv4.tcp_fastopen_cookies=0 && true"]
)
def test_a_command_may_fail_as_it_would_on_linux(line: str) -> None:
    """Of a script's command the last exit status counts."""
    with pytest.raises(CommandFailed, match=r"no sysctl tcp_fastopen_cookies"):
        after(line)


def test_counters_are_asked_of_the_host() -> None:
    environment = Environment(PROFILES["linux"])
    with pytest.raises(Unsupported):
        environment.run("nstat | grep TcpExtOutOfWindowIcmps", HERE)  # there is no host yet
    assert issubclass(CommandFailed, Exception)


def test_commands_of_a_script_hold_for_sockets_that_are_made_afterwards() -> None:
    syn = "+0 > S 0:0(0) <mss 1460,nop,nop,sackOK,nop,wscale 8>\n"
    connect = (
        "+0 fcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0\n"
        "+0 connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)\n"
    )
    make = "+0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n"
    off = "`sysctl -q net.ipv4.tcp_timestamps=0`\n"
    passes(off + "0 " + make.removeprefix("+0 ") + connect + syn)
    passes("0 `true`\n+0 " + off + make + connect + syn)
    fails("0 `true`\n" + make + "+0 " + off + connect + syn, "came <mss 1460,sackOK,TS val")
    unsupported("`sysctl -q net.ipv4.tcp_nonsense=1`\n0 `true`\n", "the sysctl tcp_nonsense", line=1)
    unsupported("0 `true`\n+0 `reboot`\n", "the command `reboot`", line=2)


def test_sleeping_lets_time_pass() -> None:
    outcome = passes("0 `true`\n+0 `sleep 2.5`\n+1 `true`\n")
    assert outcome.elapsed == 3_500_000_000


# Options and definitions.


def test_addresses_and_ports_of_a_script_are_those_on_the_wire() -> None:
    text = "--local_ip=10.0.0.7\n--remote_ip=10.1.0.8/24\n--bind_port=99\n" + SERVER + "+0 > F. 1:1(0) ack 1\n"
    outcome = fails(text)
    assert "tcpstack 10.0.0.7:99" in "\n".join(outcome.ladder)
    assert "script 10.1.0.8:40001" in "\n".join(outcome.ladder)
    outcome = fails("--connect_port=81\n" + CLIENT + "+0 > F. 1:1(0) ack 1\n")
    assert "script 192.0.2.1:81" in "\n".join(outcome.ladder)


def test_the_mtu_limits_what_is_offered() -> None:
    passes("--mtu=1000\n" + SERVER.replace("<mss 1460", "<mss 960"))
    passes(SERVER.replace("<mss 1460", "<mss 960"), mtu=1000)
    fails(SERVER, "<mss 960", mtu=1000)


def test_packets_to_the_stack_may_come_as_super_frames() -> None:
    passes("--mss=1000\n" + SERVER + "+0 < P. 1:4001(4000) ack 1 win 257\n+0 > . 1:1(0) ack 4001\n")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--wire_client", "the option --wire_client"),
        ("--ip_version=ipx", "--ip_version is one of ipv4, ipv6, ipv4-mapped-ipv6, not ipx"),
        ("--local_ip=here", "--local_ip needs an address, not here"),
        ("--mtu=5", "--mtu needs a number from 576 to 65535, not 5"),
        ("--tolerance_percent=x", "--tolerance_percent needs a number from 0 to 100, not x"),
        ("--bind_port=0", "--bind_port needs a number from 1 to 65535, not 0"),
        ("--local_ip=::1", "the addresses are not both of ipv4"),
    ],
)
def test_options_that_can_not_be_are_told(option: str, words: str) -> None:
    unsupported(f"{option}\n{SERVER}", words, line=1)


def test_options_about_the_original_tool_itself_change_nothing() -> None:
    passes("--send_omit_free\n--verbose\n--gateway_ip=192.168.0.1\n" + SERVER)


def test_definitions_are_put_in() -> None:
    passes(SERVER.replace("win 257", "win WINDOW"), defines={"WINDOW": "257"})
    passes("--define=WINDOW=257\n" + SERVER.replace("win 257", "win WINDOW"))
    unsupported(SERVER.replace("win 257", "win WINDOW"), "WINDOW", line=6)


def test_a_script_that_can_not_be_read_is_not_supported() -> None:
    outcome = unsupported("0 socket(..., SOCK_STREAM, IPPROTO_TCP = 3\n", line=1, path="there.pkt")
    assert outcome.lines()[0].startswith("there.pkt:1:")


# Code.


def test_code_sees_tcp_info_of_the_connection() -> None:
    outcome = passes(
        SERVER
        + """\
   +0 %{ cwnd = tcpi_snd_cwnd; print("window", cwnd) }%
   +0 write(4, ..., 3000) = 3000
   +0 %{
assert tcpi_state == TCP_ESTABLISHED, tcpi_state
assert tcpi_options & TCPI_OPT_SACK and not tcpi_options & TCPI_OPT_TIMESTAMPS
assert tcpi_unacked == 3, tcpi_unacked
assert tcpi_snd_cwnd == cwnd == 10
assert tcpi_snd_mss == 1000 and tcpi_rcv_wscale == 8 and tcpi_snd_wscale == 7
assert 90000 <= tcpi_rtt <= 110000, tcpi_rtt
assert tcpi_rto == 300000, tcpi_rto
assert tcpi_snd_ssthresh == 0x7fffffff
assert tcpi_ca_state == TCP_CA_Open
assert tcpi_delivered == 1, tcpi_delivered
}%
   +0 > P. 1:3001(3000) ack 1
  +.1 < . 1:1(0) ack 1 win 257 <sack 2001:3001,nop,nop>
   +0 %{ assert (tcpi_sacked, tcpi_ca_state, tcpi_delivered) == (1, TCP_CA_Disorder, 2) }%
   +0 * > . 1:1001(1000) ack 1
   +0 %{ assert (tcpi_ca_state, tcpi_lost, tcpi_retrans) == (TCP_CA_Recovery, 2, 1), (tcpi_lost, tcpi_retrans) }%
""".replace("+0 * >", "* >")
    )
    assert outcome.printed == ("window 10",)


def test_code_that_does_not_hold_fails_with_its_line() -> None:
    fails(SERVER + "+0 %{ assert tcpi_snd_cwnd == 11, tcpi_snd_cwnd }%\n", "the assertion does not hold: 10", line=8)
    fails(SERVER + "+0 %{\nx = 1\nassert x == 2\n}%\n", "the assertion does not hold", line=10)
    fails(SERVER + "+0 %{ 1/0 }%\n", "ZeroDivisionError: division by zero", line=8)
    fails(SERVER + "+0 %{ assert }%\n", "not Python", line=8)
    fails(SERVER + "+0 %{ nonsense }%\n", "NameError", line=8)
    fails(SERVER + "+0 %{ import os }%\n", "ImportError", line=8)
    fails(SERVER + "+0 %{ open('/etc/passwd') }%\n", "NameError", line=8)
    fails("0 %{ assert True }%\n", "there is no socket to look at", line=1)
    unsupported(SERVER + "+0 %{ assert tcpi_rehash == 0 }%\n", "the field tcpi_rehash of tcp_info", line=8)
    unsupported("0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 %{ assert tcpi_rto }%\n", "the field tcpi_rto", line=2)
