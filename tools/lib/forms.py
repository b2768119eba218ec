"""What compiling the core gains: the same loads on two hosts in one process, without a kernel, in both forms.

    forms.py measure            the form that is imported, as JSON
    forms.py compare DIR        interpreted and compiled (DIR: from tools/compile) in turn, medians of several rounds

A load's figure is work done per second of the processor's time, of both hosts together; other programs on the machine
disturb that less than the clock on the wall. `memory` is bytes per connection and end, after an echo of 1 KiB.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from time import process_time

from stack.host.host import Host
from stack.sim import Bulk, Sink, World
from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection
from stack.wire.address import parse_address
from stack.wire.compiling import is_compiled
from stack.wire.offload import complete
from stack.wire.packet import TRUSTED, VERIFY, Packet
from stack.wire.units import MS, US, Time

CHECKOUT = Path(__file__).resolve().parents[2]
ROUNDS = 3
PORT = 80
TARGET = parse_address("10.0.0.2")


class Pair:
    """Two hosts; what one sends, the other gets at once. `verify`: with checksums, made and looked at."""

    def __init__(self, mtu: int = 1500, *, verify: bool = False, msl: float = 30.0) -> None:
        options = TcpOptions(msl=msl)
        self.client = Host(secret=b"client's, 16 octets", mtu=mtu, options=options)
        self.server = Host(secret=b"server's, 16 octets", mtu=mtu, options=options)
        self.client.add_address("10.0.0.1/24")
        self.server.add_address("10.0.0.2/24")
        self.listener = self.server.listen(PORT, backlog=10_000)
        self.verify = verify
        self.now: Time = 0

    def connect(self) -> tuple[Connection, Connection]:
        ours = self.client.connect(TARGET, PORT, self.now)
        self.settle()
        theirs = self.listener.accept()
        if theirs is None:
            raise RuntimeError("no connection")
        return ours, theirs

    def settle(self) -> None:
        """Until nobody has anything to say at this instant."""
        while self._move(self.client, self.server) + self._move(self.server, self.client):
            pass

    def _move(self, source: Host, target: Host) -> int:
        for count in range(64):
            packet = source.poll_transmit(self.now)
            if packet is None:
                return count
            if self.verify:
                target.receive(Packet(complete(packet).frame(), (), 0, VERIFY), self.now)
            else:
                target.receive(Packet(packet.frame(), (), 0, TRUSTED), self.now)
        return 64

    def pass_time(self, duration: int) -> None:
        self.now += duration
        for host in (self.client, self.server):
            if host.next_timeout() <= self.now:
                host.on_timeout(self.now)
            host.take_woken()


def bulk(total: int, mtu: int, *, verify: bool = False) -> float:
    """MB a second of a transfer one way."""
    pair = Pair(mtu, verify=verify)
    ours, theirs = pair.connect()
    data = bytes(65536)
    written = received = 0
    begun = process_time()
    while received < total:
        pair.pass_time(50 * US)
        while written < total and ours.writable >= len(data):
            written += ours.write(data)
        pair.client.touch(ours, pair.now)
        pair.settle()
        while block := theirs.read(1 << 20, pair.now):
            received += len(block)
        pair.server.touch(theirs, pair.now)
    return total / 1e6 / (process_time() - begun)


def connections(count: int) -> float:
    """Connections a second: opened, a request, a response, closed."""
    pair = Pair(msl=0.0)
    begun = process_time()
    for _ in range(count):
        pair.pass_time(MS)
        ours, theirs = pair.connect()
        ours.write(b"q" * 100)
        pair.client.touch(ours, pair.now)
        pair.settle()
        theirs.read(1000, pair.now)
        theirs.write(b"r" * 100)
        theirs.close(pair.now)
        pair.server.touch(theirs, pair.now)
        pair.settle()
        ours.read(1000, pair.now)
        ours.close(pair.now)
        pair.client.touch(ours, pair.now)
        pair.settle()
    return count / (process_time() - begun)


def latency(count: int) -> float:
    """Round trips of one octet a second."""
    pair = Pair()
    ours, theirs = pair.connect()
    begun = process_time()
    for _ in range(count):
        pair.pass_time(50 * US)
        _echo(pair, ours, theirs, b"x")
    return count / (process_time() - begun)


def world(total: int) -> float:
    """MB a second of a transfer in virtual time, over a path that loses."""
    made = World(seed=1)
    client, server = made.host("client"), made.host("server")
    made.pipe(client, server, rate="100mbit", delay="5ms", loss="0.5%")
    service = server.serve(PORT, Sink)
    client.connect(server, PORT, Bulk(total))
    begun = process_time()
    made.run_until(lambda: service.apps and service.app.is_done, limit="600s")
    return total / 1e6 / (process_time() - begun)


def memory(count: int) -> float:
    """Bytes per connection and end."""
    pair = Pair()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = []
    for _ in range(count):
        kept.append(pair.connect())
        _echo(pair, *kept[-1], b"x" * 1024)
        pair.pass_time(50 * MS)
        pair.settle()
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return used / count / 2


def _echo(pair: Pair, ours: Connection, theirs: Connection, data: bytes) -> None:
    ours.write(data)
    pair.client.touch(ours, pair.now)
    pair.settle()
    theirs.write(theirs.read(len(data), pair.now))
    pair.server.touch(theirs, pair.now)
    pair.settle()
    ours.read(len(data), pair.now)
    pair.client.touch(ours, pair.now)


LOADS: dict[str, tuple[str, Callable[[int], float]]] = {
    "bulk, MTU 1500": ("MB/s", lambda scale: bulk(500_000 * scale, 1500)),
    "bulk, MTU 1500, checksums ours": ("MB/s", lambda scale: bulk(500_000 * scale, 1500, verify=True)),
    "bulk, MTU 65535": ("MB/s", lambda scale: bulk(5_000_000 * scale, 65535)),
    "connections": ("per s", lambda scale: connections(30 * scale)),
    "round trips": ("per s", lambda scale: latency(200 * scale)),
    "worlds (stack.sim, with losses)": ("MB/s", lambda scale: world(100_000 * scale)),
    "memory": ("bytes", lambda scale: memory(5 * scale)),
}


def measure(scale: int) -> dict[str, float]:
    """Every load once, in the form that runs."""
    figures = {}
    for name, (_, load) in LOADS.items():
        gc.collect()
        figures[name] = load(scale)
    return figures


def compare(directory: str, scale: int) -> list[str]:
    """The table of both forms, which take turns."""
    paths = {"interpreted": str(CHECKOUT), "compiled": directory}
    rounds: dict[str, list[dict[str, float]]] = {form: [] for form in paths}
    for _ in range(ROUNDS):
        for form, path in paths.items():
            command = [sys.executable, "-P", __file__, "measure", str(scale)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env={**os.environ, "PYTHONPATH": path})
            result = json.loads(done.stdout)
            if result["compiled"] != (form == "compiled"):
                raise RuntimeError(f"{path} is not {form}")
            rounds[form].append(result["figures"])
    table = ["| load | unit | interpreted | compiled | ratio |", "|---|---|---|---|---|"]
    for name, (unit, _) in LOADS.items():
        first, second = (statistics.median(figures[name] for figures in rounds[form]) for form in paths)
        digits = 1 if first < 100 else 0
        table.append(f"| {name} | {unit} | {first:,.{digits}f} | {second:,.{digits}f} | {second / first:.2f} |")
    return table


def main(words: list[str]) -> int:
    if words[:1] == ["measure"]:
        scale = int(words[1]) if len(words) > 1 else 100
        print(json.dumps({"compiled": is_compiled(), "figures": measure(scale)}))
    elif words[:1] == ["compare"] and len(words) > 1:
        print("\n".join(compare(words[1], int(words[2]) if len(words) > 2 else 100)))
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
