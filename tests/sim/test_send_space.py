"""A send buffer that grows costs no time: transfers end when they would with all of it from the start."""

from __future__ import annotations

import pytest

from stack.path.config import path_config
from stack.sim import Bulk, Sink, World
from stack.tcp.config import TcpOptions
from stack.wire.units import MS, US, Duration, Time

START, LIMIT = 256 << 10, 64 << 20


def transfer(space: int, size: int, rate: str, rtt: Duration, loss: float, max_payload: int) -> tuple[Time, int]:
    """When the last octet has arrived, and what the sender's buffer has grown to."""
    world = World(seed=1, verify=False)
    options = TcpOptions(send_space=space, send_buffer=LIMIT, receive_buffer=32 << 20)
    client, server = (world.host(name, options=options, max_payload=max_payload) for name in ("client", "server"))
    forth = path_config(rate=rate, queue="50ms", delay=rtt // 2, loss=loss)
    world.pipe(client, server, forth, back=path_config(delay=rtt // 2))
    service = server.serve(80, Sink)
    app = client.connect(server, 80, Bulk(size))
    world.run_until(lambda: app.is_done and service.app.is_done, limit="3600s")
    assert service.app.received == size
    return service.app.ended, app.conn.send_limit


@pytest.mark.parametrize("max_payload", [0, 64_000], ids=["segments", "super-frames"])
@pytest.mark.parametrize(
    ("size", "rate", "rtt", "loss", "least", "most"),
    [
        (2_000_000, "1mbit", 40 * MS, 0.0, START, START),
        (4_000_000, "10mbit", 20 * MS, 0.0, START, 1 << 20),
        (8_000_000, "100mbit", 80 * MS, 0.0, 2 << 20, 16 << 20),
        (8_000_000, "1gbit", 200 * US, 0.0, 512 << 10, 4 << 20),
        (12_000_000, "1gbit", 60 * MS, 0.0, 8 << 20, LIMIT),
        (8_000_000, "100mbit", 20 * MS, 0.002, START, 4 << 20),
    ],
)
def test_growing_costs_no_time(
    size: int, rate: str, rtt: Duration, loss: float, least: int, most: int, max_payload: int
) -> None:
    at_once, whole = transfer(LIMIT, size, rate, rtt, loss, max_payload)
    ended, limit = transfer(START, size, rate, rtt, loss, max_payload)
    assert ended == at_once
    assert whole == LIMIT
    assert least <= limit <= most
