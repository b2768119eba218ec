"""The table of transfers, as text and as JSON."""

from __future__ import annotations

import json

from rich.console import Console

from stack.observe.table import Transfer, transfers_table
from stack.tcp.info import Info

INFO = Info(
    **{  # type: ignore[arg-type]
        name: {"str": "ESTAB", "bool": True}.get(kind, 7) for name, kind in Info.__annotations__.items()
    }
    | {"rtt": 1234, "segs_out": 30, "segs_in": 20, "total_retrans": 3}
)


def text(*transfers: Transfer) -> str:
    console = Console(width=100, no_color=True)
    with console.capture() as capture:
        console.print(transfers_table(transfers))
    return capture.get()


def test_a_row() -> None:
    row = text(Transfer(what="a page", outgoing=True, size=2_000_000, seconds=0.5, info=INFO, intact=True))
    assert row.splitlines()[-2 if not row.splitlines()[-1].strip() else -1].split() == [
        "a", "page", "2.0", "MB", "500.0", "4.0", "1.23", "30/20", "3", "yes",
    ]  # fmt: skip


def test_what_is_not_known_is_a_dash_and_damage_is_plain() -> None:
    row = text(Transfer(what="a page", outgoing=False, size=0, seconds=0.0, intact=False))
    assert row.split()[-10:] == ["a", "page", "0", "bytes", "0.0", "-", "-", "-", "-", "no"]


def test_the_table_fits_a_hundred_columns() -> None:
    wide = text(Transfer(what="x" * 34, outgoing=True, size=999_000, seconds=12.3, info=INFO, intact=True))
    assert max(map(len, wide.splitlines())) <= 100
    assert "…" not in wide


def test_json() -> None:
    fields = Transfer(what="a page", outgoing=True, size=5, seconds=0.5, info=INFO, intact=True).as_dict()
    assert json.loads(json.dumps(fields))["tcp_info"]["rtt"] == 1234
    assert (fields["direction"], fields["bytes"], fields["seconds"]) == ("out", 5, 0.5)
    assert "tcp_info" not in Transfer(what="a page", outgoing=True, size=5, seconds=0.5).as_dict()
