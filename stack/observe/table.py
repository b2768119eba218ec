"""Tables of what was moved, for people; the same as dictionaries, for programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table

from stack.tcp.info import Info
from stack.wire.ladder import format_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One thing that was moved across one connection."""

    what: str  #: in words, such as "curl from us, IPv4"
    outgoing: bool  #: from us to the peer
    size: int  #: bytes of content, without headers
    seconds: float
    info: Info | None = None  #: the connection at its end; None where there is none to ask
    intact: bool | None = None  #: whether the content arrived as it left; None if that wasn't checked

    def as_dict(self) -> dict[str, Any]:
        """For JSON: times in seconds and microseconds, as the names say."""
        fields: dict[str, Any] = {
            "what": self.what,
            "direction": "out" if self.outgoing else "in",
            "bytes": self.size,
            "seconds": round(self.seconds, 6),
            "intact": self.intact,
        }
        if self.info is not None:
            fields["tcp_info"] = self.info.as_dict()
        return fields


def transfers_table(transfers: Iterable[Transfer], *, title: str | None = None) -> Table:
    """What was moved, how fast, over what round-trip time, with how many retransmissions."""
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.add_column("what")
    for heading in ("moved", "ms", "MB/s", "RTT ms", "segments", "again"):
        table.add_column(heading, justify="right")
    table.add_column("intact")
    for transfer in transfers:
        table.add_row(*_row(transfer))
    return table


def _row(transfer: Transfer) -> list[str]:
    info = transfer.info
    rate = f"{transfer.size / transfer.seconds / 1e6:.1f}" if transfer.seconds > 0 else "-"
    return [
        transfer.what,
        format_size(transfer.size),
        f"{transfer.seconds * 1000:.1f}",
        rate,
        f"{info.rtt / 1000:.2f}" if info is not None and info.rtt else "-",
        f"{info.segs_out}/{info.segs_in}" if info is not None else "-",
        str(info.total_retrans) if info is not None else "-",
        {True: "yes", False: "[bold red]no[/]", None: "-"}[transfer.intact],
    ]
