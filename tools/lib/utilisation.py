"""How well the sender uses a path, and how fairly: the table in docs/utilisation.md (see tools/utilisation --help).

Everything happens in worlds in virtual time, so a table is the same on every machine, and a change of the sender shows
as a diff of the page. A cell is the share of the bottleneck's rate, headers included, that one flow has used after a
quarter of the run for warming up; its queue holds one bandwidth-delay product.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track

from stack.path.config import path_config
from stack.sim import Bulk, Sink, World
from stack.tcp.config import TcpOptions

PAGE = Path(__file__).resolve().parents[2] / "docs" / "utilisation.md"
LOSSES = (0.0, 0.0001, 0.001, 0.01, 0.05)
RTTS = (1, 20, 100, 300)  # ms
RATES = {1: 120, 10: 60, 100: 20}  # Mbit/s, and seconds of each run
ALGORITHMS = ("newreno", "cubic")
PAIRS = (("cubic", "cubic"), ("cubic", "newreno"), ("newreno", "newreno"))
OPTIONS = TcpOptions(receive_buffer=16 << 20, send_buffer=16 << 20)
WIRE = 1500 / 1448  # bytes on the wire for a byte of payload

Cell = tuple[str, int, int, float]


def one_bdp(rate: int, rtt: int) -> str:
    """A queue of one bandwidth-delay product, and room for a burst of a few packets where that is less."""
    return f"{max(rate * 125 * rtt, 15_000)}B"


def utilisation(cell: Cell) -> float:
    """The share of the rate that a flow uses."""
    algorithm, rate, rtt, loss = cell
    world = World(seed=1)
    options = OPTIONS.replace(congestion=algorithm)
    client, server = world.host("client", options=options), world.host("server", options=options)
    delay = rtt * 500_000
    forth = path_config(rate=f"{rate}mbit", delay=delay, queue=one_bdp(rate, rtt), loss=loss)
    world.pipe(client, server, forth, back=path_config(delay=delay))
    service = server.serve(80, Sink)
    seconds = RATES[rate]
    client.connect(server, 80, Bulk(rate * 125_000 * seconds * 2))
    world.run_for(f"{seconds / 4}s")
    before = service.app.received
    world.run_for(f"{seconds * 3 / 4}s")
    return (service.app.received - before) * WIRE / (rate * 125_000 * seconds * 3 / 4)


def fairness(pair: tuple[str, str]) -> float:
    """Jain's index of two flows that share 10 Mbit/s and 40 ms for 120 s after 30 s; the second comes 5 s later."""
    world = World(seed=1)
    first, second, server = world.host("first"), world.host("second"), world.host("server")
    router, exit_ = world.router("router"), world.router("exit")
    world.pipe(first, router, delay="1ms")
    world.pipe(second, router, delay="1ms")
    bottleneck = path_config(rate="10mbit", delay="18ms", queue=one_bdp(10, 40))
    world.pipe(router, exit_, bottleneck, back=path_config(delay="18ms"))
    world.pipe(exit_, server, delay="1ms")
    services = [server.serve(port, Sink) for port in (80, 81)]
    for host, port, algorithm, start in ((first, 80, pair[0], "0s"), (second, 81, pair[1], "5s")):
        options = OPTIONS.replace(congestion=algorithm)
        world.at(start, partial(host.connect, server, port, Bulk(400_000_000), options=options))
    world.run_for("35s")
    before = [service.app.received for service in services]
    world.run_for("120s")
    shares = [service.app.received - start for service, start in zip(services, before, strict=True)]
    return sum(shares) ** 2 / (2 * sum(share * share for share in shares))


def cells(rates: tuple[int, ...]) -> list[Cell]:
    return [(a, rate, rtt, loss) for a in ALGORITHMS for rate in rates for rtt in RTTS for loss in LOSSES]


def page(values: dict[Cell, float], fair: dict[tuple[str, str], float]) -> str:
    """docs/utilisation.md."""
    lines = [
        "# How well a path is used",
        "",
        "Made by `tools/utilisation`, in worlds in virtual time: the same on every machine, and a test compares some",
        "of its cells at each run. Per cent of the bottleneck's rate, headers included, that one flow uses after a",
        "quarter of the run; its queue holds one bandwidth-delay product, and losses are at random, towards the",
        "receiver.",
        "",
    ]
    for algorithm in ALGORITHMS:
        lines += [f"## {algorithm}", ""]
        lines.append("| Mbit/s | RTT | " + " | ".join(f"loss {100 * loss:g} %" for loss in LOSSES) + " |")
        lines.append("|---" * (2 + len(LOSSES)) + "|")
        for rate in RATES:
            for rtt in RTTS:
                row = [f"{100 * values[algorithm, rate, rtt, loss]:.1f}" for loss in LOSSES]
                lines.append(f"| {rate} | {rtt} ms | " + " | ".join(row) + " |")
        lines.append("")
    lines += [
        "## Fairness",
        "",
        "Jain's index of two flows that share 10 Mbit/s and 40 ms (1 is even, 0.5 is one alone).",
        "",
    ]
    lines += ["| first | second, 5 s later | index |", "|---|---|---|"]
    lines += [f"| {one} | {other} | {index:.3f} |" for (one, other), index in fair.items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/utilisation", description="Make docs/utilisation.md anew.")
    parser.add_argument("--jobs", type=int, default=2, metavar="J", help="processes (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object, and leave the page")
    arguments = parser.parse_args()
    wanted = cells(tuple(RATES))
    console = Console(stderr=True)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        results = pool.map(utilisation, wanted)
        values = dict(
            zip(
                wanted,
                track(results, "paths", len(wanted), console=console, disable=not console.is_terminal),
                strict=True,
            )
        )
        fair = dict(zip(PAIRS, pool.map(fairness, PAIRS), strict=True))
    if arguments.json:
        rows = [{"algorithm": a, "mbit": r, "rtt_ms": t, "loss": p, "share": v} for (a, r, t, p), v in values.items()]
        print(json.dumps({"utilisation": rows, "fairness": [{"flows": pair, "jain": v} for pair, v in fair.items()]}))
    else:
        PAGE.write_text(page(values, fair), encoding="utf-8")
        print(f"wrote {PAGE.name}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
