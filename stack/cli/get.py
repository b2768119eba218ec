"""`tcpstack get`: fetch a URL over this stack, to a file."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

import trio

from stack.apps.http import HttpClient, HttpError, Response, TruncatedError, UnsupportedURLError
from stack.apps.http.client import parse_url
from stack.cli.network import NetworkOptions, check_target, explain_connect, network_options, open_network
from stack.cli.options import add_network_options, add_output_options, duration
from stack.cli.terminal import SUCCESS, USAGE, CommandError, console, print_json, progress_bar, run
from stack.observe.table import Transfer, transfers_table
from stack.runtime.open import OpenHost
from stack.runtime.stream import TcpStream
from stack.tcp.info import Info
from stack.wire.ladder import format_size

EXAMPLES = """\
examples:
  python3 -m http.server --bind :: &      something to fetch from, on all addresses
  sudo tcpstack get http://10.9.0.1:8000/README.md
  sudo tcpstack get http://[fd09::1]:8000/ --output - --pcap get.pcapng
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's options."""
    parser = commands.add_parser(
        "get",
        help="fetch a URL over this stack",
        description="Fetch an http URL over this stack, from the kernel at the other end of a TUN device\n"
        "or from beyond it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="URL", help="what to fetch; http only")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="where to put it; - for standard output (default: the URL's last part)"
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=duration,
        default=30.0,
        help="for connecting, and for each wait afterwards (default: %(default)g)",
    )
    add_output_options(parser, json="print one object: url, status, bytes, sha256, seconds, tcp_info")
    add_network_options(parser)
    parser.set_defaults(run=run_get)


@dataclass(slots=True)
class Fetched:
    """What came of it, so far."""

    url: str
    status: int = 0
    size: int = 0
    expected: int | None = None
    sha256: str = ""
    seconds: float = 0.0
    output: str = ""
    info: Info | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "url": self.url,
            "status": self.status,
            "bytes": self.size,
            "expected": self.expected,
            "sha256": self.sha256,
            "seconds": round(self.seconds, 6),
            "output": self.output,
            "tcp_info": self.info.as_dict() if self.info is not None else None,
        }


def run_get(arguments: argparse.Namespace) -> int:
    """The command."""
    try:
        url = parse_url(arguments.url)
    except UnsupportedURLError as error:
        raise CommandError(str(error), status=USAGE) from error
    output = arguments.output if arguments.output is not None else default_name(url.target)
    if output == "-" and arguments.json:
        raise CommandError("--json and the file can't both go to standard output", "give --output FILE", status=USAGE)
    options = network_options(arguments, connect_timeout=arguments.timeout)
    check_target(url.host, options)
    fetched = Fetched(url.text, output=output)

    async def command() -> int:
        try:
            async with open_network(options) as net:
                await fetch(net.host, options, fetched, timeout=arguments.timeout)
        except BaseException as error:
            if arguments.json:
                print_json(fetched.as_dict() | {"error": str(error)})
            raise
        if arguments.json:
            print_json(fetched.as_dict())
        else:
            _tell(fetched, verbose=arguments.verbose)
        return SUCCESS

    return run(command)


async def fetch(host: OpenHost, options: NetworkOptions, fetched: Fetched, *, timeout: float) -> None:
    """Fetch `fetched.url` into `fetched.output` and fill in the rest. Raises `CommandError`."""

    async def open_stream(name: str, port: int) -> trio.abc.HalfCloseableStream:
        check_target(name, options)
        try:
            return await host.open_tcp_stream(name, port)
        except OSError as error:
            raise explain_connect(error, name, port, options) from error

    begun = trio.current_time()
    try:
        async with HttpClient(open_stream, timeout=timeout) as client, client.get(fetched.url) as response:
            fetched.url, fetched.status = response.url, response.status
            fetched.expected = response.length
            await _receive(response, fetched)
            if isinstance(response.stream, TcpStream):
                fetched.info = response.stream.info()
    except TruncatedError as error:
        kept = "" if fetched.output == "-" else f"what came is in {_part(fetched.output)}"
        raise CommandError(str(error), kept) from error
    except (HttpError, TimeoutError) as error:
        raise CommandError(str(error)) from error
    finally:
        fetched.seconds = trio.current_time() - begun


async def _receive(response: Response, fetched: Fetched) -> None:
    """The body, to the file; it gets its name when all of it is there."""
    if not 200 <= response.status < 300:
        reason = response.reason or HTTPStatus(response.status).phrase
        raise CommandError(f"the server answered {response.status} {reason}")
    digest = hashlib.sha256()
    try:
        with _sink(fetched.output) as file, progress_bar(fetched.output, response.length) as moved:
            async for piece in response.body():
                digest.update(piece)
                await trio.to_thread.run_sync(file.write, piece)
                fetched.size = response.received
                moved(fetched.size)
    finally:
        fetched.sha256 = digest.hexdigest()


@contextmanager
def _sink(output: str) -> Iterator[BinaryIO]:
    """Where the body goes. A file gets its name when all of it is there."""
    if output == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with ExitStack() as closing:
        try:
            file = closing.enter_context(open(_part(output), "wb"))
        except OSError as error:
            raise CommandError(f"can't write {output}: {error.strerror}") from error
        yield file
    os.replace(_part(output), output)


def _part(output: str) -> str:
    return output + ".part"


def default_name(target: str) -> str:
    """The last part of a URL's path as a file's name in this directory."""
    name = unquote(urlsplit(target).path.rpartition("/")[2]).replace("/", "_").replace("\0", "_")
    return name if name not in ("", ".", "..", "-") else "index.html"


def _tell(fetched: Fetched, *, verbose: bool) -> None:
    out = console(stderr=True)
    where = "" if fetched.output == "-" else f" to {fetched.output}"
    rate = f", {format_size(round(fetched.size / fetched.seconds))}/s" if fetched.seconds > 0 else ""
    out.print(f"{fetched.size:,} bytes in {fetched.seconds:.3f} s{rate}{where}", markup=False)
    if verbose:
        out.print(f"SHA-256 {fetched.sha256}", markup=False)
        transfer = Transfer(
            what=fetched.url, outgoing=False, size=fetched.size, seconds=fetched.seconds, info=fetched.info
        )
        out.print(transfers_table([transfer]))
