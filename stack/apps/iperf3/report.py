"""A test for people and for programs: the lines and the JSON tree that are known from iperf3.

The tree has the same shape as the real program's: `start`, `intervals` with a row for each stream and a sum, `end`
with both sides of each stream and sums. What this side can't know is left out or 0, as there. "Sent" is what the
sender handed to its TCP, the last block in full, and "received" what the receiver was given; `sender` says whether this
side is the sender.

With `--bidir`, the sums are about the client's data, and those with `_bidir_reverse` about the server's.

In lines, amounts are in powers of 1024 and rates in powers of 1000.
"""

from __future__ import annotations

import platform
from email.utils import formatdate
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from stack.apps.iperf3.flow import Flow, Interval, Sample, bits_per_second
from stack.apps.iperf3.measurement import Measurement
from stack.apps.iperf3.protocol import FlowResult, Results

RULE = "- - - - - - - - - - - - - - - - - - - - - - - - -"


def program() -> str:
    """Our name and version."""
    try:
        return f"tcpstack {version('tcpstack')}"
    except PackageNotFoundError:  # a checkout that was not installed
        return "tcpstack"


# --- For programs -----------------------------------------------------------------------------------------------------


def tree(measurement: Measurement) -> dict[str, Any]:
    """The whole report. `error` is there if the test ended before its time."""
    report: dict[str, Any] = {
        "start": _start(measurement),
        "intervals": [_interval(measurement, interval) for interval in measurement.intervals],
        "end": _end(measurement) if measurement.finished else {},
    }
    if measurement.error:
        report["error"] = measurement.error
    return report


def _start(measurement: Measurement) -> dict[str, Any]:
    parameters = measurement.parameters
    host, port = measurement.control
    peer = "connecting_to" if measurement.role == "client" else "accepted_connection"
    sending, receiving = measurement.buffers
    start: dict[str, Any] = {
        "connected": [
            {
                "socket": flow.number,
                "local_host": flow.local[0],
                "local_port": flow.local[1],
                "remote_host": flow.remote[0],
                "remote_port": flow.remote[1],
            }
            for flow in measurement.flows
        ],
        "version": program(),
        "system_info": " ".join(platform.uname()[:5]),
        "timestamp": {"time": formatdate(measurement.made, usegmt=True), "timesecs": int(measurement.made)},
        peer: {"host": host, "port": port},
        "cookie": measurement.cookie.rstrip(b"\0").decode("ascii", "replace"),
        "target_bitrate": parameters.rate,
        "sock_bufsize": parameters.window,
        "sndbuf_actual": sending,
        "rcvbuf_actual": receiving,
        "test_start": {
            "protocol": "TCP",
            "num_streams": parameters.parallel,
            "blksize": parameters.length,
            "omit": parameters.omit,
            "duration": int(parameters.time) if parameters.time == int(parameters.time) else parameters.time,
            "bytes": parameters.size,
            "blocks": parameters.blocks,
            "reverse": int(parameters.reverse),
            "bidir": int(parameters.bidirectional),
            "tos": parameters.tos,
            "target_bitrate": parameters.rate,
        },
    }
    if parameters.mss:
        start["tcp_mss"] = parameters.mss
    else:
        start["tcp_mss_default"] = next((flow.mss for flow in measurement.flows), 0)
    return start


def _interval(measurement: Measurement, interval: Interval) -> dict[str, Any]:
    fields: dict[str, Any] = {"streams": [_sample(sample, interval.omitted) for sample in interval.samples]}
    for suffix, sending in _directions(measurement):
        samples = [sample for sample in interval.samples if sample.flow.sending is sending]
        if samples:
            row = _row(samples[0].start, samples[0].end, sum(sample.size for sample in samples))
            known = [sample.retransmits for sample in samples if sample.retransmits is not None]
            if known:
                row["retransmits"] = sum(known)
            fields["sum" + suffix] = row | {"omitted": interval.omitted, "sender": sending}
    return fields


def _directions(measurement: Measurement) -> list[tuple[str, bool]]:
    """Suffixes of the sums, and whether we are the sender of what they are about."""
    ours = measurement.role == "client"
    if measurement.parameters.bidirectional:
        return [("", ours), ("_bidir_reverse", not ours)]
    return [("", ours is not measurement.parameters.reverse)]


def _sample(sample: Sample, omitted: bool) -> dict[str, Any]:
    row = {"socket": sample.flow.number} | _row(sample.start, sample.end, sample.size)
    if sample.retransmits is not None:
        row["retransmits"] = sample.retransmits
    if sample.path is not None:
        path = sample.path
        row |= {
            "snd_cwnd": path.cwnd,
            "snd_wnd": path.wnd,
            "rtt": path.rtt,
            "rttvar": path.rttvar,
            "pmtu": path.mtu,
        }
    return row | {"omitted": omitted, "sender": sample.flow.sending}


def _row(start: float, end: float, size: int) -> dict[str, Any]:
    seconds = end - start
    return {
        "start": round(start, 6),
        "end": round(end, 6),
        "seconds": round(seconds, 9),
        "bytes": size,
        "bits_per_second": bits_per_second(size, seconds),
    }


def sides(measurement: Measurement, flow: Flow) -> tuple[FlowResult, FlowResult]:
    """What a flow's sender and its receiver have seen. Without the peer's word: nothing, in the same time."""
    ours = measurement.results.flows[flow.number]
    unknown = FlowResult(flow.number, 0, None, measurement.seconds)
    theirs = measurement.remote.flows.get(flow.number, unknown) if measurement.remote is not None else unknown
    return (ours, theirs) if flow.sending else (theirs, ours)


def _end(measurement: Measurement) -> dict[str, Any]:
    end: dict[str, Any] = {"streams": [_both_sides(measurement, flow) for flow in measurement.flows]}
    for suffix, sending in _directions(measurement):
        pairs = [sides(measurement, flow) for flow in measurement.flows if flow.sending is sending]
        sent, received = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        end["sum_sent" + suffix] = _sum(sent) | {"sender": sending}
        end["sum_received" + suffix] = _sum(received) | {"sender": sending}
    ours, theirs = measurement.results, measurement.remote or Results()
    end["cpu_utilization_percent"] = {
        f"{whose}_{what}": value
        for whose, results in (("host", ours), ("remote", theirs))
        for what, value in zip(("total", "user", "system"), results.cpu, strict=True)
    }
    we_send = any(flow.sending for flow in measurement.flows)
    sender, receiver = (ours, theirs) if we_send else (theirs, ours)
    if sender.congestion:
        end["sender_tcp_congestion"] = sender.congestion
    if receiver.congestion:
        end["receiver_tcp_congestion"] = receiver.congestion
    return end


def _both_sides(measurement: Measurement, flow: Flow) -> dict[str, Any]:
    sender, receiver = sides(measurement, flow)
    extremes = flow.extremes
    return {
        "sender": _result(flow, sender)
        | {
            "max_snd_cwnd": extremes.cwnd,
            "max_snd_wnd": extremes.wnd,
            "max_rtt": extremes.rtt,
            "min_rtt": extremes.rtt_least,
            "mean_rtt": extremes.rtt_mean,
            "sender": flow.sending,
        },
        "receiver": _result(flow, FlowResult(flow.number, receiver.size, None, receiver.seconds))
        | {"sender": flow.sending},
    }


def _result(flow: Flow, result: FlowResult) -> dict[str, Any]:
    row = {"socket": flow.number} | _row(0, result.seconds, result.size)
    if result.retransmits is not None:
        row["retransmits"] = result.retransmits
    return row


def _sum(results: list[FlowResult]) -> dict[str, Any]:
    seconds = max((result.seconds for result in results), default=0.0)
    row = _row(0, seconds, sum(result.size for result in results))
    known = [result.retransmits for result in results if result.retransmits is not None]
    return row | ({"retransmits": sum(known)} if known else {})


# --- For people -------------------------------------------------------------------------------------------------------


def connected_lines(measurement: Measurement) -> list[str]:
    """Which connection has which number, and the head of the table."""
    lines = [
        f"[{flow.number:3d}] local {_where(flow.local)} connected to {_where(flow.remote)}"
        for flow in measurement.flows
    ]
    return [*lines, _head(measurement)]


def _where(endpoint: tuple[str, int]) -> str:
    return f"{endpoint[0]} port {endpoint[1]}"


def _head(measurement: Measurement, *, end: bool = False) -> str:
    role = "[Role]" if measurement.parameters.bidirectional else ""
    line = f"[ ID]{role} Interval           Transfer     Bitrate"
    if any(flow.sending for flow in measurement.flows) or (end and measurement.remote is not None):
        line += "         Retr" + ("" if end else "  Cwnd")
    return line


def interval_lines(measurement: Measurement, interval: Interval) -> list[str]:
    """A line for each stream, and their sum where there are several."""
    lines = []
    for _, sending in _directions(measurement):
        samples = [sample for sample in interval.samples if sample.flow.sending is sending]
        for sample in samples:
            cwnd = f"  {amount(sample.path.cwnd)}" if sample.path is not None else ""
            lines.append(
                _line(measurement, f"{sample.flow.number:3d}", sending, sample.start, sample.end, sample.size)
                + _retransmits(sample.retransmits)
                + cwnd
            )
        if len(samples) > 1:
            known = [sample.retransmits for sample in samples if sample.retransmits is not None]
            size = sum(sample.size for sample in samples)
            line = _line(measurement, "SUM", sending, samples[0].start, samples[0].end, size)
            lines.append(line + _retransmits(sum(known) if known else None))
    if interval.omitted:
        lines = [line + "  (omitted)" for line in lines]
    return [*lines, RULE] if len(interval.samples) > 1 else lines


def summary_lines(measurement: Measurement) -> list[str]:
    """What came of it: each stream as its sender and its receiver have seen it, and the sums."""
    if not measurement.finished:
        return []
    lines = [] if len(measurement.flows) > 1 else [RULE]  # else there is one behind each interval
    lines.append(_head(measurement, end=True))
    for _, sending in _directions(measurement):
        pairs = [(flow, *sides(measurement, flow)) for flow in measurement.flows if flow.sending is sending]
        for flow, sent, received in pairs:
            lines += _sides_lines(measurement, f"{flow.number:3d}", sending, [sent], [received])
        if len(pairs) > 1:
            sent_all, received_all = [pair[1] for pair in pairs], [pair[2] for pair in pairs]
            lines += _sides_lines(measurement, "SUM", sending, sent_all, received_all)
    return lines


def _sides_lines(
    measurement: Measurement, name: str, sending: bool, sent: list[FlowResult], received: list[FlowResult]
) -> list[str]:
    lines = []
    for results, side, known in (
        (sent, "sender", sending or measurement.remote is not None),
        (received, "receiver", not sending or measurement.remote is not None),
    ):
        if known:
            row = _sum(results)
            line = _line(measurement, name, sending, row["start"], row["end"], row["bytes"])
            lines.append(f"{line}{_retransmits(row.get('retransmits')):8s}  {side}")
    return lines


def _line(measurement: Measurement, name: str, sending: bool, start: float, end: float, size: int) -> str:
    role = ""
    if measurement.parameters.bidirectional:
        role = f"[{'TX' if sending else 'RX'}-{measurement.role[0].upper()}]"
    times = f"{start:6.2f}-{end:<6.2f}"
    return f"[{name}]{role} {times} sec  {amount(size)}  {bit_rate(bits_per_second(size, end - start))}"


def _retransmits(value: int | None) -> str:
    return f"  {value:4d}" if value is not None else ""


def amount(size: float) -> str:
    """Bytes in powers of 1024, with three digits: "1.23 MBytes"."""
    return f"{_scaled(size, 1024)}Bytes"


def bit_rate(rate: float) -> str:
    """Bits a second in powers of 1000, with three digits: "1.23 Gbits/sec"."""
    return f"{_scaled(rate, 1000)}bits/sec"


def _scaled(value: float, unit: int) -> str:
    prefixes = ["", "K", "M", "G", "T"]
    while value >= 999.5 and len(prefixes) > 1:
        value /= unit
        prefixes.pop(0)
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:4.{digits}f} {prefixes[0]}"
