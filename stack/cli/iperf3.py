"""`tcpstack iperf3`: measure throughput over this stack, against any iperf3 server; and `tcpstack serve iperf3`.

The options have the letters that they have in the real program.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import datetime
from functools import partial

import trio

from stack.apps.iperf3 import (
    PORT,
    BusyError,
    Client,
    GoneError,
    Interval,
    Iperf3Error,
    Measurement,
    Observer,
    Parameters,
    ServerError,
)
from stack.apps.iperf3 import Server as Iperf3Server
from stack.apps.iperf3.flow import Endpoint
from stack.apps.iperf3.measurement import first
from stack.apps.iperf3.protocol import BLOCK, MOST_BLOCK, MOST_FLOWS, MOST_OMITTED, MOST_SECONDS
from stack.apps.iperf3.report import connected_lines, interval_lines, program, summary_lines, tree
from stack.cli.network import Network, NetworkOptions, check_target, explain_connect, network_options, open_network
from stack.cli.options import add_network_options, duration, port
from stack.cli.terminal import SUCCESS, USAGE, CommandError, console, print_json, run
from stack.tcp.congestion import ALGORITHMS
from stack.wire.address import format_endpoint, parse_address

TIME = 10.0  #: Seconds that a test takes unless told, as with the real program.
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
RATE_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}

EXAMPLES = """\
examples:
  iperf3 -s &                            something to measure with, on all addresses
  sudo tcpstack iperf3 -c 10.9.0.1
  sudo tcpstack iperf3 -c fd09::1 -R -P 8 -t 5 --json
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's options."""
    parser = commands.add_parser(
        "iperf3",
        help="measure throughput over this stack, against an iperf3 server",
        description="Measure TCP throughput over this stack, against an iperf3 server at the other end of a TUN\n"
        "device or beyond it. Ctrl-C ends it with the summary. The server's side is `tcpstack serve iperf3`.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("-c", "--client", metavar="HOST", dest="host", required=True, help="the server: an address or a name")
    add("-p", "--port", metavar="N", type=port, default=PORT, help="of the server (default: %(default)s)")
    _add_extent(parser)
    add("-P", "--parallel", metavar="N", type=_flows, default=1, help="data connections (default: %(default)s)")
    direction = parser.add_mutually_exclusive_group()
    direction.add_argument("-R", "--reverse", action="store_true", help="the server sends, this stack receives")
    direction.add_argument("--bidir", action="store_true", help="both send, each on connections of its own")
    _add_interval(parser)
    add("-l", "--length", metavar="BYTES", type=_block, default=BLOCK, help="of a block (default: %(default)s)")
    add("-O", "--omit", metavar="N", type=_omitted, default=0, help="leave the first N seconds out of the result")
    add("-b", "--bitrate", metavar="RATE", type=_rate, default=0, help="bits a second of each connection; K, M, G")
    add("-C", "--congestion", choices=sorted(ALGORITHMS), help="congestion control of our data connections")
    add("-J", "--json", action="store_true", help="print one object at the end, of the shape known from iperf3")
    add("--timeout", metavar="SECONDS", type=duration, default=30.0, help="for connecting (default: %(default)g)")
    add_network_options(parser)
    parser.set_defaults(run=run_client)


def _add_extent(parser: argparse.ArgumentParser) -> None:
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("-t", "--time", metavar="SECONDS", type=_time, help=f"to measure (default: {TIME:g})")
    extent.add_argument("-n", "--bytes", metavar="N", type=_size, help="to transfer instead; K, M, G in powers of 1024")
    extent.add_argument("-k", "--blockcount", metavar="N", type=_size, help="blocks to transfer instead")


def _add_interval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-i",
        "--interval",
        metavar="SECONDS",
        type=_interval,
        default=1.0,
        help="between two reports; 0: only one at the end (default: %(default)g)",
    )


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """What only `serve iperf3` has."""
    _add_interval(parser)
    parser.add_argument("-1", "--one-off", action="store_true", help="end after one test")


# --- Values -----------------------------------------------------------------------------------------------------------


def _number(text: str, units: dict[str, int]) -> int:
    """A number with a unit behind it; 0 for what is none."""
    digits, unit = (text[:-1], text[-1:].upper()) if text[-1:].isalpha() else (text, "")
    try:
        value = float(digits)
        return round(value * units[unit]) if 0 <= value < 1e15 else 0
    except (ValueError, KeyError):
        return 0


def _size(text: str) -> int:
    value = _number(text, UNITS)
    if not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, such as 500000 or 64M")
    return value


def _rate(text: str) -> int:
    value = _number(text, RATE_UNITS)
    if not value and text != "0":
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bits a second, such as 500000 or 64M")
    return value


def _block(text: str) -> int:
    value = _number(text, UNITS)
    if not 1 <= value <= MOST_BLOCK:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes from 1 to {MOST_BLOCK} (1M)")
    return value


def _whole(text: str, low: int, high: int) -> int:
    if not text.isdecimal() or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
    return int(text)


def _flows(text: str) -> int:
    return _whole(text, 1, MOST_FLOWS)


def _omitted(text: str) -> int:
    return _whole(text, 0, MOST_OMITTED)


def _time(text: str) -> float:
    value = duration(text)
    if value > MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is more than a day: {MOST_SECONDS} s")
    return value


def _interval(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value and not 0.1 <= value <= 60:
        raise argparse.ArgumentTypeError(f"{text!r} is not 0 or a number of seconds from 0.1 to 60")
    return value


def parameters_of(arguments: argparse.Namespace) -> Parameters:
    """The test that was asked for."""
    limited = arguments.bytes or arguments.blockcount
    return Parameters(
        time=0.0 if limited else arguments.time or TIME,
        size=arguments.bytes or 0,
        blocks=arguments.blockcount or 0,
        omit=arguments.omit,
        parallel=arguments.parallel,
        length=arguments.length,
        reverse=arguments.reverse,
        bidirectional=arguments.bidir,
        rate=arguments.bitrate,
        congestion=arguments.congestion or "",
        version=program(),
    )


# --- The client -------------------------------------------------------------------------------------------------------


def run_client(arguments: argparse.Namespace) -> int:
    """The command."""
    chosen = {"congestion": arguments.congestion} if arguments.congestion else {}
    options = network_options(arguments, connect_timeout=arguments.timeout, **chosen)
    check_target(arguments.host, options)
    if arguments.omit and (arguments.bytes or arguments.blockcount):
        raise CommandError("--omit goes with --time: it leaves out seconds", status=USAGE)
    observer = JsonReport() if arguments.json else Report()

    async def command() -> int:
        async with open_network(options) as net:
            await measure(net, options, arguments, observer)
        return SUCCESS

    return run(command)


async def measure(net: Network, options: NetworkOptions, arguments: argparse.Namespace, observer: Observer) -> None:
    """One test. Raises `CommandError`."""

    async def open_stream() -> trio.abc.HalfCloseableStream:
        try:
            return await net.host.open_tcp_stream(arguments.host, arguments.port)
        except OSError as error:
            raise explain_connect(error, arguments.host, arguments.port, options) from error

    client = Client(
        open_stream,
        parameters_of(arguments),
        observer=observer,
        interval=arguments.interval,
        buffers=(options.tcp.send_buffer, options.tcp.receive_buffer),
    )
    client.measurement.control = (arguments.host, arguments.port)  # until its address is known
    try:
        await client.run()
    except BusyError as error:
        raise CommandError(str(error), "it takes one at a time: try again when that one has ended") from error
    except (ServerError, GoneError) as error:
        raise CommandError(str(error), "the server's own output may say more") from error
    except Iperf3Error as error:
        raise CommandError(str(error)) from error


class Report(Observer):
    """A test as lines, while it runs."""

    def __init__(self) -> None:
        self._out = console()

    def _print(self, lines: list[str]) -> None:
        for line in lines:
            self._out.print(line, markup=False)

    def started(self, measurement: Measurement) -> None:
        self._print(connected_lines(measurement))

    def interval(self, measurement: Measurement, interval: Interval) -> None:
        self._print(interval_lines(measurement, interval))

    def ended(self, measurement: Measurement) -> None:
        self._print(summary_lines(measurement))


class JsonReport(Observer):
    """A test as one object, at its end."""

    def ended(self, measurement: Measurement) -> None:
        print_json(tree(measurement))


# --- The server -------------------------------------------------------------------------------------------------------


async def serve(net: Network, arguments: argparse.Namespace, announce: Callable[[], None]) -> None:
    """Listen, say so, and serve until cancelled, or for one test."""
    tcp = net.options.tcp
    server = Iperf3Server(
        observer=JsonServerReport() if arguments.json else ServerReport(),
        interval=arguments.interval,
        buffers=(tcp.send_buffer, tcp.receive_buffer),
    )
    listeners = await net.host.open_tcp_listeners(arguments.port)
    announce()
    enough = server.one_ended.wait if arguments.one_off else trio.sleep_forever
    await first(partial(server.serve, listeners), enough)


class ServerReport(Report):
    """Tests as lines, with who comes and goes."""

    def _event(self, text: str) -> None:
        self._out.print(f"{datetime.now():%H:%M:%S}  {text}", markup=False)

    def accepted(self, measurement: Measurement) -> None:
        self._event(f"a test of {_endpoint(measurement.control)}")

    def refused(self, peer: Endpoint) -> None:
        self._event(f"{_endpoint(peer)} was turned away: a test is running")

    def ended(self, measurement: Measurement) -> None:
        super().ended(measurement)
        ending = f"ended before its time: {measurement.error}" if measurement.error else "is complete"
        self._event(f"the test of {_endpoint(measurement.control)} {ending}")


class JsonServerReport(Observer):
    """The same, an object a line, for a program."""

    def _event(self, event: str, **fields: object) -> None:
        print_json({"event": event, "time": datetime.now().astimezone().isoformat(), **fields})

    def refused(self, peer: Endpoint) -> None:
        self._event("refused", peer=_endpoint(peer))

    def ended(self, measurement: Measurement) -> None:
        self._event("test", peer=_endpoint(measurement.control), result=tree(measurement))


def _endpoint(endpoint: Endpoint) -> str:
    return format_endpoint(parse_address(endpoint[0]), endpoint[1])
