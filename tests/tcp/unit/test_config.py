"""Choices that no connection could honour are refused when they are made."""

from __future__ import annotations

import dataclasses

import pytest

from stack.tcp.config import TcpOptions
from stack.tcp.congestion import ALGORITHMS, CongestionControl, NewReno, algorithm


def test_defaults_are_valid_and_frozen() -> None:
    options = TcpOptions()
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.ttl = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("ttl", 0), ("ttl", 256), ("dscp", -1), ("dscp", 64),
        ("send_buffer", 0), ("send_space", 0), ("send_space", (1 << 30) + 1),
        ("receive_buffer", 0), ("receive_buffer", (1 << 30) + 1), ("receive_window", 0),
        ("keepalive_idle", 0), ("keepalive_interval", -1.0), ("keepalive_probes", 0),
        ("connect_timeout", 0), ("syn_retries", -1), ("user_timeout", 0.0), ("r2", 0), ("fin_wait_2_timeout", 0),
        ("msl", -1), ("mss", 10), ("mss", 65536), ("initial_rto", 0), ("min_rto", -0.1), ("max_rto", 0),
        ("fastopen_queue", -1), ("fastopen_queue", 65536), ("fastopen_pause", -1.0),
        ("delayed_ack", 0.5), ("delayed_ack", -0.1), ("user_timeout", float("nan")),
    ],
)  # fmt: skip
def test_out_of_bounds(name: str, bad: float) -> None:
    with pytest.raises(ValueError, match=name):
        TcpOptions().replace(**{name: bad})


def test_window_larger_than_its_buffer() -> None:
    with pytest.raises(ValueError, match="receive_window"):
        TcpOptions(receive_window=2, receive_buffer=1)


def test_replace() -> None:
    options = TcpOptions(nodelay=True).replace(ttl=1, mss=1000)
    assert (options.nodelay, options.ttl, options.mss) == (True, 1, 1000)
    with pytest.raises(TypeError):
        options.replace(no_such_option=1)


def test_congestion_control_by_name_or_class() -> None:
    class Mine(CongestionControl):
        name = "mine"

    assert algorithm("newreno") is NewReno
    assert algorithm(Mine) is Mine
    assert TcpOptions(congestion=Mine).congestion is Mine
    with pytest.raises(ValueError, match="there is " + ", ".join(ALGORITHMS)):
        algorithm("vegas")


@pytest.mark.parametrize(
    "name", ["ttl", "dscp", "send_buffer", "send_space", "receive_buffer", "receive_window", "mss", "syn_retries"]
)
def test_whole_numbers_are_asked_for_where_fractions_mean_nothing(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        TcpOptions(**{name: 64.0})  # type: ignore[arg-type]


@pytest.mark.parametrize("keys", [(b"",), (bytes(15),), (bytes(17),), (bytes(16), b"x"), (bytes(16),) * 3])
def test_keys_of_cookies(keys: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="fastopen_keys"):
        TcpOptions(fastopen_keys=keys)


# RFC7413-01, RFC7413-11
def test_fast_open_is_off_unless_asked_for() -> None:
    assert not TcpOptions().fastopen
    assert TcpOptions().fastopen_cookies


def test_congestion_control_must_be_one() -> None:
    with pytest.raises(ValueError, match="vegas"):
        TcpOptions(congestion="vegas")
    with pytest.raises(TypeError, match="CongestionControl"):
        TcpOptions(congestion=int)  # type: ignore[arg-type]
