"""The notations of a path."""

from __future__ import annotations

import tomllib

import pytest

from stack.path.config import PathConfig, from_mapping, parse, path_config
from stack.wire.units import MS, SECOND


def test_the_line_of_the_help() -> None:
    line = "loss=2%,delay=20ms,jitter=5ms,rate=50mbit,reorder=1%,duplicate=1%,corrupt=0.1%,seed=7"
    assert parse(line) == PathConfig(
        loss=0.02,
        delay=20 * MS,
        jitter=5 * MS,
        rate=50_000_000,
        reorder=0.01,
        duplicate=0.01,
        corrupt=0.001,
        seed=7,
    )


def test_an_empty_line_is_a_perfect_path() -> None:
    assert parse("") == PathConfig()
    assert parse(" , ") == PathConfig()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rate=1mbit,queue=100", PathConfig(rate=10**6, queue_packets=100)),
        ("rate=1mbit,queue=64kB", PathConfig(rate=10**6, queue_bytes=64_000)),
        ("rate=1mbit,queue=50ms", PathConfig(rate=10**6, queue_time=50 * MS)),
        ("rate=1mbit,aqm=codel,ecn", PathConfig(rate=10**6, aqm="codel", ecn=True)),
        ("rate=1mbit,aqm=red,ecn=no", PathConfig(rate=10**6, aqm="red")),
        ("loss=2%,burst=4", PathConfig(loss=0.02, burst=4.0)),
        ("gilbert=1%/25%", PathConfig(gilbert=(0.01, 0.25, 1.0, 0.0))),
        ("gilbert=1%/25%/50%", PathConfig(gilbert=(0.01, 0.25, 0.5, 0.0))),
        ("gilbert=1%/25%/50%/1%", PathConfig(gilbert=(0.01, 0.25, 0.5, 0.01))),
        ("drop=3", PathConfig(drop=((3, 3),))),
        ("drop=3/7/12-15", PathConfig(drop=((3, 3), (7, 7), (12, 15)))),
        ("drop_every=100", PathConfig(drop_every=100)),
        ("down=10s+2s/20s+500ms", PathConfig(down=((10 * SECOND, 2 * SECOND), (20 * SECOND, 500 * MS)))),
        ("flap=10s/2s", PathConfig(flap=(10 * SECOND, 2 * SECOND))),
        ("mtu=1400,overhead=38", PathConfig(mtu=1400, overhead=38)),
        ("delay=5ms,jitter=5ms,ordered", PathConfig(delay=5 * MS, jitter=5 * MS, ordered=True)),
        ("reorder=5%,reorder_by=3ms", PathConfig(reorder=0.05, reorder_by=3 * MS)),
    ],
)
def test_the_rest_of_the_notation(line: str, expected: PathConfig) -> None:
    assert parse(line) == expected


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("lost=2%", "a path has no 'lost'; it has aqm, burst"),
        ("delay", "not of the form name=value, as in delay=20ms"),
        ("delay=", "not of the form name=value"),
        ("delay=5ms,delay=6ms", "delay is given twice"),
        ("delay=20", "delay: '20' has no unit"),
        ("loss=2", "loss: '2' is more than 1; write 2%"),
        ("delay=5ms,jitter=6ms", "jitter must not exceed delay"),
        ("queue=100", "a queue needs a rate"),
        ("aqm=codel", "a queue needs a rate"),
        ("rate=1mbit,aqm=fq", "aqm must be droptail, codel or red, not 'fq'"),
        ("rate=1mbit,ecn", "ecn needs aqm=codel or aqm=red"),
        ("burst=4", "burst needs a loss"),
        ("loss=2%,burst=0.5", "burst must be at least 1"),
        ("loss=90%,burst=2", "needs bursts of more than 9"),
        ("loss=1%,gilbert=1%/25%", "two models of the same thing"),
        ("gilbert=1%", "gilbert: '1%' is not of the form P/R"),
        ("reorder_by=3ms", "reorder_by needs reorder"),
        ("drop=0", "drop must name packets from 1 on"),
        ("drop=7-3", "drop must name packets from 1 on"),
        ("drop=x", "drop: 'x' is not a whole number"),
        ("down=10s", "down: '10s' is not a start and a length, as in"),
        ("down=10s+0", "down must be intervals"),
        ("flap=10s", "flap: '10s' is not a period and a length"),
        ("flap=1s/2s", "flap must be a period and a length"),
        ("mtu=70000", "mtu must be between 0 and 65535"),
        ("ordered=perhaps", "ordered: 'perhaps' is neither yes nor no"),
        ("burst=x,loss=1%", "burst: 'x' is not a number of packets"),
        ("seed=-1", "seed: '-1' is not a whole number"),
    ],
)
def test_errors_say_what_would_be_right(line: str, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("(", r"\(")):
        parse(line)


def test_a_table_of_toml() -> None:
    table = tomllib.loads(
        """
        rate = "10mbit"
        delay = "20ms"
        loss = 0.01
        duplicate = "1%"
        queue = 50
        aqm = "red"
        ecn = true
        drop = [3, [7, 9]]
        seed = 5
        """
    )
    assert from_mapping(table) == PathConfig(
        rate=10**7,
        delay=20 * MS,
        loss=0.01,
        duplicate=0.01,
        queue_packets=50,
        aqm="red",
        ecn=True,
        drop=((3, 3), (7, 9)),
        seed=5,
    )


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"delay": 20}, "delay: 20 has no unit"),
        ({"rate": 50}, "rate: 50 has no unit"),
        ({"loss": True}, "loss: True is not a number"),
        ({"loss": 2}, "loss must be between 0 and 1, not 2"),
        ({"ecn": 1}, "ecn: 1 is neither true nor false"),
        ({"drop": "a"}, "drop: 'a' is not a whole number"),
        ({"drop": {}}, "drop: .* is not a list of packet numbers"),
        ({"queue": 1.5, "rate": "1mbit"}, "queue: 1.5 is not a number of packets"),
        ({"mtu": 1.5}, "mtu: 1.5 is not a whole number"),
    ],
)
def test_tables_are_checked(table: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        from_mapping(table)


def test_in_python_numbers_are_nanoseconds_bits_and_bytes() -> None:
    expected = PathConfig(delay=MS, rate=10**6, queue_packets=5)
    assert path_config(delay=MS, rate=10**6, queue=5) == expected
    assert path_config(delay="1ms", rate="1mbit", queue="5") == expected


def test_replace_reads_the_same_notation_and_a_new_queue_is_another_queue() -> None:
    config = parse("rate=1mbit,queue=100").replace(queue="64kB", delay="3ms")
    assert config == PathConfig(rate=10**6, queue_bytes=64_000, delay=3 * MS)


@pytest.mark.parametrize(
    ("line", "size"),
    [
        ("rate=100mbit", 1_250_000),  # 100 ms
        ("rate=1mbit", 24_000),  # 100 ms would be less than sixteen packets
        ("rate=100mbit,queue=10ms", 125_000),
        ("rate=100mbit,queue=3kB", 3_000),
        ("rate=100mbit,queue=10", 0),
    ],
)
def test_the_room_in_a_queue(line: str, size: int) -> None:
    assert parse(line).limit_bytes == size


@pytest.mark.parametrize(
    ("line", "most"),
    [("reorder=1%,delay=20ms", 10 * MS), ("reorder=1%", MS), ("reorder=1%,reorder_by=7ms,delay=20ms", 7 * MS)],
)
def test_how_late_a_reordered_packet_is_at_most(line: str, most: int) -> None:
    assert parse(line).lateness == most
