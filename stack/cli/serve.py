"""`tcpstack serve`: a service on this stack, for the kernel and whoever it forwards for."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import trio

from stack.apps.http import LogRecord, serve_directory
from stack.apps.iperf3 import PORT as IPERF3_PORT
from stack.apps.simple import CHARGEN_PORT, DISCARD_PORT, ECHO_PORT, chargen, discard, echo
from stack.cli import iperf3
from stack.cli.network import Network, NetworkOptions, network_options, open_network
from stack.cli.options import add_network_options, add_output_options, port
from stack.cli.terminal import SUCCESS, USAGE, CommandError, console, print_json, run, run_plain
from stack.cli.workers import MOST, Observer, Place, capture_path, supervise
from stack.runtime.garbage import short_pauses
from stack.runtime.stream import TcpStream
from stack.wire.ladder import format_size

HTTP_PORT = 80

Handler = Callable[[trio.abc.HalfCloseableStream], Awaitable[None]]

EXAMPLES = """\
examples:
  sudo tcpstack serve http .           then, from another terminal: curl http://10.9.0.2/
  sudo tcpstack serve http --upload /tmp/inbox --port 8080 --pcap serve.pcapng
  sudo tcpstack serve echo             then: nc 10.9.0.2 7
  sudo tcpstack serve http . --workers 4
"""

SERVICES: dict[str, tuple[str, int, Handler | None]] = {
    "http": ("the files below a directory, over HTTP/1.1", HTTP_PORT, None),
    "echo": ("send back what comes (RFC 862)", ECHO_PORT, echo),
    "discard": ("read and forget (RFC 863)", DISCARD_PORT, discard),
    "chargen": ("send a pattern without end (RFC 864)", CHARGEN_PORT, chargen),
    "iperf3": ("measure throughput with clients of iperf3, one at a time", IPERF3_PORT, None),
}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's options, for each service."""
    parser = commands.add_parser(
        "serve",
        help="serve files, or echo, discard, chargen, iperf3, on this stack",
        description="Serve on this stack, for the kernel at the other end of a TUN device. Ctrl-C ends it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    services = parser.add_subparsers(title="services", metavar="SERVICE", required=True)
    for name, (what, usual, handler) in SERVICES.items():
        service = services.add_parser(name, help=what, description=f"Serve {name}: {what}. Ctrl-C ends it.")
        if name == "http":
            service.add_argument("directory", metavar="DIR", type=Path, help="what to serve")
            service.add_argument("--upload", action="store_true", help="let clients create and replace files with PUT")
        if name == "iperf3":
            iperf3.add_server_options(service)
        service.add_argument(
            "--port", metavar="N", type=port, default=usual, help="to listen on (default: %(default)s)"
        )
        service.add_argument(
            "--workers",
            metavar="N",
            type=_workers,
            default=1,
            help="processes to serve with, each on a queue of the device; one that dies takes its own connections with "
            "it and is replaced. With --pcap each writes a file of its own, FILE.w1, FILE.w2, ... before the suffix "
            "(default: %(default)s)",
        )
        events = "test, refused" if name == "iperf3" else "request, closed, worker"
        add_output_options(service, json=f"print an object a line: listening, {events}")
        add_network_options(service)
        service.set_defaults(run=run_serve, service=name, handler=handler)


def run_serve(arguments: argparse.Namespace) -> int:
    """The command."""
    # Answers leave at once, as with nginx: each piece that is sent is worth a segment of its own.
    options = network_options(arguments, nodelay=arguments.service != "iperf3")
    journal = JsonJournal(arguments, options) if arguments.json else Journal(arguments, options)
    handler = arguments.handler
    if arguments.service == "http":
        try:
            handler = serve_directory(arguments.directory, allow_put=arguments.upload, log=journal.request)
        except NotADirectoryError as error:
            raise CommandError(f"{arguments.directory} is not a directory", status=USAGE) from error
    if arguments.workers > 1:
        return run_plain(lambda: _serve_with_workers(handler, options, arguments, journal))

    async def command() -> int:
        async with open_network(options) as net:
            if arguments.service == "iperf3":
                await iperf3.serve(net, arguments, lambda: journal.listening(net.link.name))
            else:
                await serve(net, handler, arguments.port, journal, lambda: journal.listening(net.link.name))
        return SUCCESS

    with short_pauses():
        return run(command)


def _serve_with_workers(
    handler: Handler, options: NetworkOptions, arguments: argparse.Namespace, journal: Journal
) -> int:
    if arguments.service == "iperf3":
        raise CommandError(
            "serve iperf3 has one worker: the control and the data connections of a test must reach the same process",
            "leave out --workers",
            status=USAGE,
        )

    async def work(place: Place) -> int:
        journal.worker = place.number  # a worker has a copy of its own
        async with place.open_network() as net:
            await serve(net, handler, arguments.port, journal, place.serving)
        return SUCCESS

    with short_pauses():  # the workers inherit it
        return supervise(arguments.workers, options, work, journal)


async def serve(net: Network, handler: Handler, port: int, journal: Journal, listening: Callable[[], object]) -> None:
    """Listen, say so, and serve until cancelled."""

    async def watched(stream: TcpStream) -> None:
        begun = trio.current_time()
        try:
            await handler(stream)
        finally:
            journal.closed(stream, trio.current_time() - begun)

    async with trio.open_nursery() as nursery:
        await nursery.start(functools.partial(net.host.serve_tcp, watched, port))
        listening()


def _workers(text: str) -> int:
    """A number of workers, for argparse."""
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of workers from 1 to {MOST}")
    return int(text)


class Journal(Observer):
    """What happens, a line each, for a person. `worker` says whose journal it is, where there are several."""

    def __init__(self, arguments: argparse.Namespace, options: NetworkOptions) -> None:
        self.arguments = arguments
        self.options = options
        self.worker = 0
        self._out = console()

    def _line(self, text: str) -> None:
        whose = f"worker {self.worker}: " if self.worker else ""
        self._out.print(f"{datetime.now():%H:%M:%S}  {whose}{text}", markup=False)

    def listening(self, device: str, pids: list[int] | None = None) -> None:
        """The service is up; `pids` are the workers', where there are several."""
        arguments, options = self.arguments, self.options
        addresses = [text.partition("/")[0] for text in options.addresses]
        kernel = ", ".join(options.kernel)
        out = self._out
        what = f"the files below {arguments.directory}" if arguments.service == "http" else arguments.service
        many = f" with {len(pids)} workers" if pids else ""
        out.print(f"serving {what} on {device}{many}, the kernel's end is {kernel}", markup=False)
        for address in addresses:
            where = f"[{address}]" if ":" in address else address
            if arguments.service == "http":
                number = "" if arguments.port == HTTP_PORT else f":{arguments.port}"
                out.print(f"  curl http://{where}{number}/", markup=False)
            elif arguments.service == "iperf3":
                number = "" if arguments.port == IPERF3_PORT else f" -p {arguments.port}"
                out.print(f"  iperf3 -c {address}{number}", markup=False)
            else:
                out.print(f"  nc {address} {arguments.port}", markup=False)
        if options.pcap is not None:
            files = [options.pcap]
            if pids:
                files = [capture_path(options.pcap, number, 1) for number in range(1, len(pids) + 1)]
            out.print(f"all packets go to {', '.join(map(str, files))}", markup=False)
        out.print("Ctrl-C ends it", markup=False)

    def all_serve(self, device: str, pids: list[int]) -> None:
        self.listening(device, pids)

    def worker_ended(self, number: int, pid: int, how: str, again: float) -> None:
        when = f"in {again:g} s" if again else "now"
        self._line(f"worker {number} ended ({how}) and its connections with it; another one starts {when}")

    def worker_serves(self, number: int, pid: int) -> None:
        self._line(f"worker {number} serves again")

    def request(self, record: LogRecord) -> None:
        """An HTTP request was answered."""
        size = f"  {record.bytes_received:,} bytes in" if record.bytes_received else ""
        self._line(f"{record.method} {record.target}  {record.status}  {record.bytes_sent:,} bytes{size}")

    def closed(self, stream: TcpStream, seconds: float) -> None:
        """The service is done with a connection."""
        if not self.arguments.verbose:
            return
        info = stream.info()
        self._line(
            f"{_peer(stream)} served in {seconds:.3f} s: {format_size(info.bytes_acked)} out, "
            f"{format_size(info.bytes_received)} in, RTT {info.rtt / 1000:.2f} ms, {info.total_retrans} sent again"
        )


class JsonJournal(Journal):
    """The same, an object a line, for a program."""

    def listening(self, device: str, pids: list[int] | None = None) -> None:
        self._event(
            "listening",
            service=self.arguments.service,
            device=device,
            kernel=self.options.kernel,
            addresses=[text.partition("/")[0] for text in self.options.addresses],
            port=self.arguments.port,
            **({"pids": pids} if pids else {}),
        )

    def worker_ended(self, number: int, pid: int, how: str, again: float) -> None:
        self._event("worker", worker=number, pid=pid, state="ended", how=how, again=again)

    def worker_serves(self, number: int, pid: int) -> None:
        self._event("worker", worker=number, pid=pid, state="serving")

    def request(self, record: LogRecord) -> None:
        self._event(
            "request",
            method=record.method,
            target=record.target,
            status=record.status,
            bytes_sent=record.bytes_sent,
            bytes_received=record.bytes_received,
        )

    def closed(self, stream: TcpStream, seconds: float) -> None:
        self._event("closed", peer=_peer(stream), seconds=round(seconds, 6), tcp_info=stream.info().as_dict())

    def _event(self, event: str, **fields: Any) -> None:
        whose = {"worker": self.worker} if self.worker else {}
        print_json({"event": event, "time": datetime.now().astimezone().isoformat(), **whose, **fields})


def _peer(stream: TcpStream) -> str:
    address, number = stream.remote_address
    return f"[{address}]:{number}" if ":" in address else f"{address}:{number}"
