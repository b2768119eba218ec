"""`tcpstack ping`: echo requests from this stack, with the summary of ping(8)."""

from __future__ import annotations

import argparse
import math
import statistics
from dataclasses import dataclass, field
from typing import Any

import trio

from stack.cli.network import check_target, network_options, open_network
from stack.cli.options import add_network_options, duration
from stack.cli.terminal import FAILURE, SUCCESS, console, describe, print_json, run
from stack.host.echo import Ping
from stack.runtime.open import OpenHost
from stack.wire.address import format_address

HEADER = 8  #: Bytes of an echo's own header, which ping(8) counts in what comes back.

EXAMPLES = """\
examples:
  sudo tcpstack ping 10.9.0.1
  sudo tcpstack ping -c 10 -i 0.2 fd09::1
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's options."""
    parser = commands.add_parser(
        "ping",
        help="send echo requests from this stack",
        description="Send ICMP or ICMPv6 echo requests from this stack. Ends after COUNT of them, or with\n"
        "Ctrl-C; the exit status is 1 if nothing answered.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", metavar="ADDRESS", help="an address or a name")
    parser.add_argument("-c", "--count", metavar="COUNT", type=_count, help="how many (default: without end)")
    parser.add_argument(
        "-i", "--interval", metavar="SECONDS", type=duration, default=1.0, help="between two (default: %(default)g)"
    )
    parser.add_argument(
        "-s", "--size", metavar="BYTES", type=_size, default=56, help="of data in each (default: %(default)s)"
    )
    parser.add_argument(
        "-W", "--timeout", metavar="SECONDS", type=duration, default=2.0, help="for each answer (default: %(default)g)"
    )
    parser.add_argument("--json", action="store_true", help="print one object at the end: sent, received, rtt")
    add_network_options(parser)
    parser.set_defaults(run=run_ping)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def _size(text: str) -> int:
    if not text.isdecimal() or int(text) > 65507:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes up to 65507")
    return int(text)


@dataclass(slots=True)
class Tally:
    """What was sent, and what came back. Times are in milliseconds."""

    target: str
    sent: int = 0
    times: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def spread(self) -> tuple[float, float, float, float]:
        """Least, mean, greatest, and ping(8)'s mdev, which is the standard deviation."""
        times = self.times
        return min(times), statistics.fmean(times), max(times), statistics.pstdev(times)

    def lines(self) -> list[str]:
        """The summary, as ping(8) has it."""
        lost = 100 * (self.sent - len(self.times)) / self.sent if self.sent else 0
        lines = [
            f"--- {self.target} ---",
            f"{self.sent} sent, {len(self.times)} received, {lost:g}% lost",
        ]
        if self.times:
            lines.append("rtt min/avg/max/mdev = " + "/".join(f"{value:.3f}" for value in self.spread) + " ms")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        spread = self.spread if self.times else (None,) * 4
        return {
            "target": self.target,
            "sent": self.sent,
            "received": len(self.times),
            "rtt_ms": dict(zip(("min", "avg", "max", "mdev"), spread, strict=True)),
            "errors": self.errors,
        }


def run_ping(arguments: argparse.Namespace) -> int:
    """The command."""
    options = network_options(arguments)
    check_target(arguments.target, options)
    tally = Tally(arguments.target)
    out = console()

    def told(line: str) -> None:
        if not arguments.json:
            out.print(line, markup=False)

    async def command() -> int:
        async with open_network(options) as net:
            told(f"ping {arguments.target}: {arguments.size} bytes of data")
            try:
                await _probe(net.host, arguments, tally, told)
            finally:
                if arguments.json:
                    print_json(tally.as_dict())
                else:
                    for line in ["", *tally.lines()]:
                        told(line)
        return SUCCESS if tally.times else FAILURE

    return run(command)


async def _probe(host: OpenHost, arguments: argparse.Namespace, tally: Tally, told: Any) -> None:
    """A request every interval, whether the last one was answered or not."""

    async def one(number: int) -> None:
        try:
            ping = await host.ping(arguments.target, size=arguments.size, timeout=arguments.timeout)
        except OSError as error:
            tally.errors.append(describe(error))
            told(f"{number}: {describe(error)}")
        else:
            tally.times.append((ping.rtt or 0) / 1e6)
            told(reply(number, ping))

    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        number = 0
        while number < (arguments.count or math.inf):
            await trio.sleep_until(begun + number * arguments.interval)
            number += 1
            tally.sent += 1
            nursery.start_soon(one, number)


def reply(number: int, ping: Ping) -> str:
    """An answer in ping(8)'s words."""
    source = format_address(ping.remote)
    return (
        f"{ping.size + HEADER} bytes from {source}: seq={number} ttl={ping.hop_limit} "
        f"time={(ping.rtt or 0) / 1e6:.3f} ms"
    )
