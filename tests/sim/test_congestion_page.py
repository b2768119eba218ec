"""The controller in docs/congestion.md, as it stands there, in a world."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from stack.sim import Bulk, Sink, World
from stack.tcp.config import TcpOptions

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "congestion.md").read_text(encoding="utf-8")
CONTROLLER, EXAMPLE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def _mean_rtt(options: TcpOptions) -> tuple[float, float]:
    """Seconds for 5 MB over 10 Mbit/s and 20 ms each way with a long queue, and the smoothed round trip at the end."""
    world = World(seed=7)
    client, server = world.host("client", options=options), world.host("server")
    world.pipe(client, server, rate="10mbit", delay="20ms", queue="200ms")
    service = server.serve(80, Sink)
    connection = client.connect(server, 80, Bulk(5_000_000))
    rtts = []
    while not (service.apps and service.app.is_done):
        world.run_for("100ms")
        rtts.append(connection.conn.rtt.srtt)
    return world.now / 1e9, sum(rtts[5:]) / len(rtts[5:]) / 1e9


def test_the_controller_keeps_the_queue_short_and_the_path_busy() -> None:
    names: dict[str, Any] = {}
    exec(CONTROLLER, names)
    seconds, rtt = _mean_rtt(names["options"])
    cubic_seconds, cubic_rtt = _mean_rtt(TcpOptions())
    assert rtt < 0.07 < cubic_rtt  # the path itself is 40 ms, and its queue holds 200
    assert seconds < 1.1 * cubic_seconds


def test_the_page_shows_a_complete_controller_in_thirty_lines(capsys: Any) -> None:
    (controller,) = [node for node in ast.parse(CONTROLLER).body if isinstance(node, ast.ClassDef)]
    assert controller.end_lineno is not None
    assert controller.end_lineno - controller.lineno < 30
    names: dict[str, Any] = {}
    exec(CONTROLLER + EXAMPLE, names)
    assert "'received': 5000000" in capsys.readouterr().out
