"""The examples of docs/sim.md do what is said there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from stack.path.config import PathConfig, _read_all
from stack.sim import App, Sink, World

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sim.md").read_text(encoding="utf-8")
TEN_LINES, CLOCK, IMPAIR = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_ten_lines(capsys: pytest.CaptureFixture[str]) -> None:
    exec(TEN_LINES, {})
    assert "'received': 1000000" in capsys.readouterr().out
    assert len(TEN_LINES.strip().splitlines()) <= 10


def test_the_application_of_your_own() -> None:
    names: dict[str, Any] = {"App": App}
    exec(CLOCK, names)
    world = World(1)
    client, server = world.host("client"), world.host("server")
    world.pipe(client, server, delay="5ms")
    service = server.serve(80, Sink)
    client.connect(server, 80, names["Clock"]())
    world.run_until(lambda: service.apps and service.app.is_done, "60s")
    assert service.app.received == 80
    assert 9_000_000_000 < world.now < 9_100_000_000


def test_every_property_of_a_path_is_in_the_table_and_its_examples_can_be_read() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", PAGE, re.MULTILINE))
    known = {name for name in PathConfig.__dataclass_fields__ if not name.startswith(("queue_", "codel_", "red_"))}
    assert set(rows) == known - {"drop_if"} | {"queue"}
    for name, values in rows.items():
        for example in re.findall(r"`([^`]+)`", values):
            _read_all({name: example}, strict=True)
