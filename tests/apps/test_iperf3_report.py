"""The report of an iperf3 test: the tree's shape, its sums, and the lines for people."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.testing

from stack.apps.iperf3 import Client, Measurement, Parameters, Server
from stack.apps.iperf3.report import RULE, amount, bit_rate, connected_lines, interval_lines, summary_lines, tree
from stack.tcp.config import TcpOptions
from tests.apps.iperf3_peers import BLOCK, LIMITS, PER_SECOND, RATE, Log, world
from tests.runtime.hosts import SERVER, pair

ROW = {"start", "end", "seconds", "bytes", "bits_per_second"}
SENDING = {"retransmits", "snd_cwnd", "snd_wnd", "rtt", "rttvar", "pmtu"}
EXTREMES = {"max_snd_cwnd", "max_snd_wnd", "max_rtt", "min_rtt", "mean_rtt"}
START = {
    "connected",
    "version",
    "system_info",
    "timestamp",
    "cookie",
    "tcp_mss_default",
    "target_bitrate",
    "sock_bufsize",
    "sndbuf_actual",
    "rcvbuf_actual",
    "test_start",
}
TEST_START = {
    "protocol",
    "num_streams",
    "blksize",
    "omit",
    "duration",
    "bytes",
    "blocks",
    "reverse",
    "bidir",
    "tos",
    "target_bitrate",
}
CPU = {f"{whose}_{what}" for whose in ("host", "remote") for what in ("total", "user", "system")}


async def over_this_stack(**parameters: Any) -> tuple[Measurement, Measurement]:
    """A test between two hosts of ours: the client's view and the server's."""
    async with pair() as hosts:
        log = Log()
        async with trio.open_nursery() as nursery:
            server = Server(observer=log, limits=LIMITS)
            nursery.start_soon(server.serve, await hosts.server.open_tcp_listeners(5201))
            client = Client(lambda: hosts.client.open_tcp_stream(SERVER, 5201), Parameters(**parameters), limits=LIMITS)
            ours = await client.run()
            nursery.cancel_scope.cancel()
    return ours, log.all_ended[0]


async def test_the_shape_of_the_tree(autojump_clock: object) -> None:
    """Names as in what the real 3.12 prints for a TCP test."""
    ours, theirs = await over_this_stack(time=2.5, rate=RATE, parallel=2)
    ours.buffers = (TcpOptions().send_buffer, TcpOptions().receive_buffer)
    for side, sending in ((ours, True), (theirs, False)):
        report = json.loads(json.dumps(tree(side)))
        assert report.keys() == {"start", "intervals", "end"}
        peer = "connecting_to" if sending else "accepted_connection"
        assert report["start"].keys() == START | {peer}
        assert report["start"][peer].keys() == {"host", "port"}
        assert report["start"]["test_start"].keys() == TEST_START
        assert report["start"]["timestamp"].keys() == {"time", "timesecs"}
        assert [c["socket"] for c in report["start"]["connected"]] == [1, 3]
        for interval in report["intervals"]:
            assert interval.keys() == {"streams", "sum"}
            row = {"omitted", "sender", *ROW}
            assert interval["sum"].keys() == row | ({"retransmits"} if sending else set())
            for stream in interval["streams"]:
                assert stream.keys() == {"socket", *row} | (SENDING if sending else set())
                assert stream["sender"] is sending
        end = report["end"]
        both = {"sender_tcp_congestion", "receiver_tcp_congestion"}
        assert end.keys() == {"streams", "sum_sent", "sum_received", "cpu_utilization_percent", *both}
        assert end["sum_sent"].keys() == {"sender", "retransmits", *ROW}
        assert end["sum_received"].keys() == {"sender", *ROW}
        assert end["cpu_utilization_percent"].keys() == CPU
        for stream in end["streams"]:
            assert stream["sender"].keys() == {"socket", "sender", "retransmits", *ROW} | EXTREMES
            assert stream["receiver"].keys() == {"socket", "sender", *ROW}


async def test_what_is_in_the_tree(autojump_clock: object) -> None:
    ours, theirs = await over_this_stack(time=2.5, rate=RATE, length=BLOCK, parallel=2)
    report, other = tree(ours), tree(theirs)
    start = report["start"]
    assert start["version"].startswith("tcpstack")
    assert start["connecting_to"] == {"host": SERVER, "port": 5201}
    assert start["connected"][0]["remote_host"] == SERVER
    assert start["tcp_mss_default"] == 1448
    assert start["cookie"] == other["start"]["cookie"]
    assert len(start["cookie"]) == 36
    assert start["test_start"] == {
        "protocol": "TCP",
        "num_streams": 2,
        "blksize": BLOCK,
        "omit": 0,
        "duration": 2.5,
        "bytes": 0,
        "blocks": 0,
        "reverse": 0,
        "bidir": 0,
        "tos": 0,
        "target_bitrate": RATE,
    }
    assert [round(i["sum"]["end"], 3) for i in report["intervals"]] == [1, 2, 2.5]
    for interval in report["intervals"]:
        assert interval["sum"]["bytes"] == sum(stream["bytes"] for stream in interval["streams"])
        assert interval["sum"]["bits_per_second"] == pytest.approx(2 * RATE, rel=0.05)
        for stream in interval["streams"]:
            assert stream["snd_cwnd"] >= 1448
            assert stream["snd_wnd"] > 0
            assert (stream["pmtu"], stream["retransmits"]) == (1500, 0)
    end = report["end"]
    assert end["sum_sent"]["bytes"] == sum(i["sum"]["bytes"] for i in report["intervals"])
    assert end["sum_sent"]["bytes"] == pytest.approx(5 * PER_SECOND, abs=4 * BLOCK)
    assert end["sum_received"]["bytes"] == other["end"]["sum_received"]["bytes"]
    assert end["streams"][1]["receiver"]["bytes"] == theirs.flows[1].size
    assert end["sum_sent"]["bytes"] == other["end"]["sum_sent"]["bytes"]
    assert (end["sender_tcp_congestion"], end["receiver_tcp_congestion"]) == ("cubic", "cubic")
    assert end["cpu_utilization_percent"]["host_total"] > 0
    assert end["cpu_utilization_percent"]["remote_total"] == other["end"]["cpu_utilization_percent"]["host_total"]


async def test_sums_of_both_directions(autojump_clock: object) -> None:
    async with world() as net:
        ours, theirs = await net.measure(time=2.0, rate=RATE, length=BLOCK, bidirectional=True, parallel=2)
    for side, sending in ((ours, True), (theirs, False)):
        report = tree(side)
        assert report["start"]["test_start"]["bidir"] == 1
        for interval in report["intervals"]:
            assert interval["sum"]["sender"] is sending
            assert interval["sum_bidir_reverse"]["sender"] is not sending
        end = report["end"]
        for name in ("sum_sent", "sum_received", "sum_sent_bidir_reverse", "sum_received_bidir_reverse"):
            assert end[name]["bytes"] == pytest.approx(4 * PER_SECOND, abs=4 * BLOCK)
        assert end["sum_sent"]["sender"] is sending
        assert end["sum_received_bidir_reverse"]["sender"] is not sending
        [*_, last] = report["intervals"]
        assert [stream["sender"] for stream in last["streams"]] == [sending] * 2 + [not sending] * 2


async def test_a_test_that_ended_before_its_time(autojump_clock: object) -> None:
    async with world() as net:
        client = net.client(time=100, rate=RATE, length=BLOCK)
        with trio.move_on_after(2.5):
            await client.run()
        await trio.testing.wait_all_tasks_blocked()
        [theirs] = net.log.all_ended
    report = tree(client.measurement)
    assert report["error"] == "interrupted"
    assert report["end"]["sum_sent"]["bytes"] == pytest.approx(2.5 * PER_SECOND, abs=2 * BLOCK)
    assert report["end"]["sum_received"]["bytes"] == 0  # the server has not said
    assert tree(theirs)["error"] == "the client has ended the test"
    assert tree(theirs)["end"]["sum_received"]["bytes"] == pytest.approx(2.5 * PER_SECOND, abs=2 * BLOCK)
    lines = summary_lines(client.measurement)
    assert [line.split()[-1] for line in lines[2:]] == ["sender"]


def test_a_test_that_never_began() -> None:
    measurement = Measurement("client", Parameters(window=5, mss=1400))
    measurement.error = "connection refused"
    report = tree(measurement)
    assert (report["intervals"], report["end"], report["error"]) == ([], {}, "connection refused")
    assert report["start"]["tcp_mss"] == 1400
    assert "tcp_mss_default" not in report["start"]
    assert summary_lines(measurement) == []


async def test_lines(autojump_clock: object) -> None:
    ours, theirs = await over_this_stack(time=2.0, rate=RATE, length=BLOCK, parallel=2)
    [first, second, head] = connected_lines(ours)
    assert first.startswith("[  1] local 10.9.0.1 port ")
    assert second.startswith("[  3] local 10.9.0.1 port ")
    assert first.endswith(" connected to 10.9.0.2 port 5201")
    assert head == "[ ID] Interval           Transfer     Bitrate         Retr  Cwnd"
    lines = interval_lines(ours, ours.intervals[0])
    assert [line[:5] for line in lines] == ["[  1]", "[  3]", "[SUM]", RULE[:5]]
    assert lines[0].startswith("[  1]   0.00-1.00   sec   977 KBytes  8.00 Mbits/sec     0  ")
    assert lines[0].endswith(" KBytes")
    assert lines[2] == "[SUM]   0.00-1.00   sec  1.91 MBytes  16.0 Mbits/sec     0"
    assert "Retr" not in connected_lines(theirs)[-1]
    assert interval_lines(theirs, theirs.intervals[0])[0].endswith("Mbits/sec")
    summary = summary_lines(ours)
    assert [(line[:5], line.split()[-1]) for line in summary[1:]] == [
        (name, side) for name in ("[  1]", "[  3]", "[SUM]") for side in ("sender", "receiver")
    ]
    # Columns stand under each other, and under their heads.
    for column, word in ((7, "0.00"), (26, "MBytes")):
        assert {line.find(word) > column - 3 for line in summary[1:]} == {True}
    assert len({line.index("/sec") for line in [*lines[:3], *summary[1:]]}) == 1


async def test_lines_of_both_directions_say_whose(autojump_clock: object) -> None:
    async with world() as net:
        ours, theirs = await net.measure(time=1.0, omit=1, rate=RATE, length=BLOCK, bidirectional=True)
    assert [line[:11] for line in interval_lines(ours, ours.intervals[1])[:2]] == ["[  1][TX-C]", "[  3][RX-C]"]
    assert [line[:11] for line in interval_lines(theirs, theirs.intervals[1])[:2]] == ["[  1][RX-S]", "[  3][TX-S]"]
    assert "[ ID][Role]" in connected_lines(ours)[-1]
    assert interval_lines(ours, ours.intervals[0])[0].endswith("(omitted)")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0.00 Bytes"),
        (999, " 999 Bytes"),
        (1000, "0.98 KBytes"),
        (1024, "1.00 KBytes"),
        (10_239, "10.0 KBytes"),
        (131_072, " 128 KBytes"),
        (1_048_576, "1.00 MBytes"),
        (5 << 40, "5.00 TBytes"),
        (5000 << 40, "5000 TBytes"),
    ],
)
def test_amounts(size: int, text: str) -> None:
    assert amount(size) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0, "0.00 bits/sec"), (9.42e9, "9.42 Gbits/sec"), (14.96e9, "15.0 Gbits/sec"), (999.6e6, "1.00 Gbits/sec")],
)
def test_rates(rate: float, text: str) -> None:
    assert bit_rate(rate) == text
