"""`tcpstack demo`: the main job, in a sandbox of its own, with real peers.

Four steps in one network namespace: the real curl fetches a page and a larger file from this stack, and this
stack fetches a page and a larger file from the real nginx. The pages' connections are printed as ladders; a
table says what was moved; all packets are in a capture for Wireshark. What is in the namespace ends with it,
and so do the processes that were started; the files lie in a temporary directory, which is removed.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import os
import random
import secrets
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from rich.markup import escape
from rich.text import Text

from stack.apps.http import HttpClient, HttpError, serve_directory
from stack.cli import sandbox
from stack.cli.network import Network, NetworkOptions, kernel_has_ipv6, open_network
from stack.cli.options import ADDRESSES, KERNEL, add_pcap_option
from stack.cli.peers import curl, web_server
from stack.cli.terminal import EXPECTED, FAILURE, SUCCESS, CommandError, console, describe, only_error, print_json, run
from stack.host.trace import TraceEvent
from stack.observe.ladder import Recorder, Story
from stack.observe.table import Transfer, transfers_table
from stack.runtime.stream import TcpStream
from stack.tcp.config import TcpOptions
from stack.wire.ladder import format_size

PAGE, FILE = "page.html", "file.bin"
PAGE_SIZE = 12_000  #: Bytes, about: nine segments, so that the ladder fits on a screen.
FILE_SIZE = 2 << 20
FOLD = 8  #: Steps shown of a longer run of plain ones.
CLOSING = 3.0  #: Seconds that a connection gets to finish its close before its ladder is drawn.
WIDEST = 110  #: Columns of a ladder; longer arrows are harder to follow.
PCAP = "tcpstack-demo.pcapng"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's options."""
    parser = commands.add_parser(
        "demo",
        help="show it all, in a sandbox, without root",
        description="Let the real curl fetch from this stack and this stack from the real nginx, across a TUN "
        "device in a user and network namespace of its own, and show each segment. Needs no root.",
    )
    parser.add_argument("--ladder-all", action="store_true", help="a ladder for every connection, with every segment")
    add_pcap_option(parser)
    parser.add_argument("--json", action="store_true", help="print one object instead of all this")
    parser.set_defaults(run=run_demo)


def run_demo(arguments: argparse.Namespace) -> int:
    """The command: outside it moves into the sandbox, inside it shows."""
    if shutil.which("curl") is None:
        raise CommandError("curl is not installed, and the demo is about it", "install it: apt install curl")
    pcap = arguments.pcap.absolute() if arguments.pcap is not None else None
    again = ["demo"]
    again += ["--ladder-all"] if arguments.ladder_all else []
    again += ["--json"] if arguments.json else []
    again += ["--pcap", str(pcap)] if pcap is not None else []
    sandbox.enter(again)
    sandbox.raise_loopback()
    families = 2 if kernel_has_ipv6() else 1
    options = NetworkOptions(
        kernel=list(KERNEL[:families]),
        addresses=list(ADDRESSES[:families]),
        pcap=pcap or _default_pcap(),
        tcp=TcpOptions(nodelay=True),
    )
    return run(functools.partial(_demo, arguments, options))


def _default_pcap() -> Path:
    """Here, or where one may always write."""
    here = Path(PCAP)
    if os.access(here if here.exists() else here.parent, os.W_OK):
        return here
    return Path(tempfile.gettempdir(), f"tcpstack-demo-{secrets.token_hex(4)}.pcapng")


class _Watcher(Recorder):
    """A recorder that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.next_segment = trio.Event()

    def __call__(self, event: TraceEvent) -> None:
        super().__call__(event)
        self.next_segment.set()
        self.next_segment = trio.Event()


@dataclass(slots=True)
class Show:
    """What the steps share, and what they have found out."""

    net: Network
    root: Path
    recorder: _Watcher
    say: Voice
    served: list[TcpStream] = field(default_factory=list)  #: connections that our server has accepted
    transfers: list[Transfer] = field(default_factory=list)

    def ours(self, step: int) -> str:
        """This stack's address for a step: IPv4 for the first, IPv6 for the second, where there is IPv6."""
        return _host(self.net.options.addresses[min(step, len(self.net.options.addresses) - 1)])

    def kernels(self, step: int) -> str:
        """The kernel's address for a step."""
        return _host(self.net.options.kernel[min(step, len(self.net.options.kernel) - 1)])


async def _demo(arguments: argparse.Namespace, options: NetworkOptions) -> int:
    begun = trio.current_time()
    say = Quiet() if arguments.json else Voice(everything=arguments.ladder_all)
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="tcpstack-demo-") as folder:
        root = _content(Path(folder))
        async with open_network(options) as net:
            recorder = _Watcher()
            net.host.core.trace = recorder
            show = Show(net, root, recorder, say)
            say.opening(net)
            for step in (_curl_fetches, _we_fetch):
                try:
                    await step(show)
                except Exception as caught:
                    error = only_error(caught)
                    if not isinstance(error, (*EXPECTED, HttpError)):
                        raise  # a fault of ours keeps its traceback
                    failures.append(describe(error))
                    say.failed(failures[-1])
    say.table(show.transfers)
    say.closing(options, failures, trio.current_time() - begun)
    if arguments.json:
        print_json(_summary(show, options, failures, trio.current_time() - begun))
    return FAILURE if failures else SUCCESS


async def _curl_fetches(show: Show) -> None:
    """Step 1: a server on this stack, the real curl in the kernel."""
    address = show.ours(0)
    show.say.step(1, f"curl fetches a page from this stack ({_family(address)})")
    handler = serve_directory(show.root)

    async def watched(stream: TcpStream) -> None:
        show.served.append(stream)
        await handler(stream)

    async with trio.open_nursery() as nursery:
        await nursery.start(functools.partial(show.net.host.serve_tcp, watched, 80))
        for name in (PAGE, FILE):
            first = len(show.recorder.stories)
            url = f"http://{_in_url(address)}/{name}"
            show.say.command(f"curl {url}")
            begun = trio.current_time()
            body = await curl(url, show.root.parent)
            seconds = trio.current_time() - begun
            stories = await _stories(show, first)
            show.say.ladders(stories, "curl", plainly=name == PAGE)
            show.transfers.append(
                Transfer(
                    what=f"{name}, to curl, {_family(address)}",
                    outgoing=True,
                    size=len(body),
                    seconds=seconds,
                    info=show.served[-1].info() if show.served else None,
                    intact=_same(body, show.root / name),
                )
            )
            _check(show, stories)
        nursery.cancel_scope.cancel()


async def _we_fetch(show: Show) -> None:
    """Step 2: the real nginx in the kernel, a client on this stack."""
    address = show.kernels(1)
    async with web_server(show.root, address) as server:
        show.say.step(2, f"this stack fetches a page from {server.name} ({_family(address)})", server.note)
        for name in (PAGE, FILE):
            first = len(show.recorder.stories)
            url = f"http://{_in_url(address)}/{name}"
            show.say.command(f"tcpstack get {url}")
            begun = trio.current_time()
            info = None
            async with HttpClient(show.net.host.open_tcp_stream, timeout=20) as client:
                async with client.get(url) as response:
                    if response.status != 200:
                        raise CommandError(f"{server.name} answered {response.status} {response.reason}")
                    body = await response.read(2 * FILE_SIZE)
                    if isinstance(response.stream, TcpStream):
                        info = response.stream.info()
                seconds = trio.current_time() - begun
            stories = await _stories(show, first)
            show.say.ladders(stories, server.name, plainly=name == PAGE)
            show.transfers.append(
                Transfer(
                    what=f"{name}, from {server.name}, {_family(address)}",
                    outgoing=False,
                    size=len(body),
                    seconds=seconds,
                    info=info,
                    intact=_same(body, show.root / name),
                )
            )
            _check(show, stories)


async def _stories(show: Show, first: int) -> list[Story]:
    """The connections since `first`, once they have closed, or have had the time to."""
    stories = show.recorder.stories[first:]
    with trio.move_on_after(CLOSING):
        while not all(story.close == 4 or story.reset for story in stories):
            await show.recorder.next_segment.wait()
    return stories


def _check(show: Show, stories: list[Story]) -> None:
    """Raise `CommandError` unless the last transfer arrived whole, over a connection from SYN to last ACK."""
    last = show.transfers[-1]
    if not last.intact:
        raise CommandError(f"{last.what}: the content did not arrive as it left")
    if not stories:
        raise CommandError(f"{last.what}: no segment was seen")
    for story in stories:
        if story.handshake != 3:
            raise CommandError(f"{last.what}: no three-way handshake was seen")
        if story.close != 4:
            raise CommandError(f"{last.what}: the connection did not close in order")


def _summary(show: Show, options: NetworkOptions, failures: list[str], seconds: float) -> dict[str, Any]:
    return {
        "ok": not failures,
        "failures": failures,
        "seconds": round(seconds, 3),
        "pcap": str(options.pcap),
        "device": show.net.link.name,
        "kernel": options.kernel,
        "addresses": options.addresses,
        "transfers": [transfer.as_dict() for transfer in show.transfers],
        "connections": [
            {
                "handshake": story.handshake,
                "close": story.close,
                "reset": story.reset,
                "segments_out": story.segments[0],
                "segments_in": story.segments[1],
                "sent_again": story.repeated,
            }
            for story in show.recorder.stories
        ],
        "counters": show.net.host.counters.as_dict(),
    }


def _content(folder: Path) -> Path:
    """What is served, by both sides: the same at each run."""
    root = folder / "root"
    root.mkdir()
    folder.chmod(0o755)
    line = "<p>This page crossed a TUN device, carried by a TCP that is written in Python.</p>\n"
    text = f"<!DOCTYPE html>\n<title>tcpstack</title>\n{line * (PAGE_SIZE // len(line))}"
    (root / PAGE).write_text(text, encoding="ascii")
    (root / FILE).write_bytes(random.Random("tcpstack").randbytes(FILE_SIZE))
    return root


def _same(body: bytes, file: Path) -> bool:
    return hashlib.sha256(body).digest() == hashlib.sha256(file.read_bytes()).digest()


def _host(cidr: str) -> str:
    return cidr.partition("/")[0]


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


class Voice:
    """What a person sees."""

    def __init__(self, *, everything: bool = False) -> None:
        self._out = console()
        self._everything = everything

    def opening(self, net: Network) -> None:
        """Who is where."""
        self._out.print(f"[bold]A TCP in Python, on {net.link.name}, against the kernel's curl and nginx[/]")
        self._out.print(f"  this stack  {', '.join(net.options.addresses)}", markup=False)
        self._out.print(f"  the kernel  {', '.join(net.options.kernel)}", markup=False)

    def step(self, number: int, title: str, note: str = "") -> None:
        """A step begins."""
        self._out.print(f"\n[bold]{number}  {title}[/]")
        if note:
            self._out.print(f"   [yellow]{escape(note)}[/]")

    def command(self, text: str) -> None:
        """What is being done, as one would type it."""
        self._out.print(f"\n   [dim]$[/] {escape(text)}\n")

    def ladders(self, stories: list[Story], peer: str, *, plainly: bool) -> None:
        """The connections of a page as ladders; those of a file only where all were asked for."""
        for story in stories if plainly or self._everything else ():
            fold = 0 if self._everything else FOLD
            width = min(self._out.width, WIDEST)
            lines = story.lines(peer=peer, width=width, fold=fold, ascii=not self._can_draw())
            for line in lines:
                self._out.print(_coloured(line), soft_wrap=True)

    def table(self, transfers: list[Transfer]) -> None:
        """What was moved."""
        self._out.print("\n[bold]3  What was moved[/]\n")
        self._out.print(transfers_table(transfers))

    def closing(self, options: NetworkOptions, failures: list[str], seconds: float) -> None:
        """Where the capture is, and how it went."""
        pcap = options.pcap
        if pcap is not None:
            size = format_size(pcap.stat().st_size)
            self._out.print(f"[bold]4  All packets[/]  {size} in {escape(str(pcap))}")
            self._out.print(f"   look at them: wireshark {pcap}", markup=False)
        ending = "[green]all steps went well[/]" if not failures else "[red]not all steps went well[/]"
        self._out.print(f"\n{ending}, in {seconds:.1f} s")

    def failed(self, reason: str) -> None:
        """A step failed."""
        self._out.print(f"   [bold red]failed:[/] {escape(reason)}")

    def _can_draw(self) -> bool:
        return "utf" in self._out.encoding.lower()


class Quiet(Voice):
    """Nothing, for --json."""

    def opening(self, net: Network) -> None: ...

    def step(self, number: int, title: str, note: str = "") -> None: ...

    def command(self, text: str) -> None: ...

    def ladders(self, stories: list[Story], peer: str, *, plainly: bool) -> None: ...

    def table(self, transfers: list[Transfer]) -> None: ...

    def closing(self, options: NetworkOptions, failures: list[str], seconds: float) -> None: ...

    def failed(self, reason: str) -> None: ...


def _coloured(line: str) -> Text:
    text = Text(line)
    text.highlight_regex(r"three-way handshake \S+", "bold green")
    text.highlight_regex(r"four-way close \S+", "bold magenta")
    text.highlight_regex(r"sent again|reset|ahead of a gap|window closed", "bold yellow")
    text.highlight_regex(r"[─◄►│·]+", "dim")
    return text
