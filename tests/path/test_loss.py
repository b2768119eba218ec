"""The models of loss."""

from __future__ import annotations

import random
from itertools import groupby

import pytest

from stack.path.config import PathConfig, parse
from stack.path.loss import Chosen, GilbertElliott, Loss, Numbered, Uniform, losses_of
from stack.wire.packet import Packet

PACKET = Packet(b"")


def fates(model: Loss, count: int, seed: int = 1) -> list[bool]:
    draw = random.Random(seed).random
    return [model.loses(PACKET, number, draw) for number in range(1, count + 1)]


def bursts(lost: list[bool]) -> list[int]:
    return [len(list(run)) for gone, run in groupby(lost) if gone]


def test_uniform_loss_has_its_share_and_no_memory() -> None:
    lost = fates(Uniform(0.05), 100_000)
    assert sum(lost) / len(lost) == pytest.approx(0.05, rel=0.02)
    lengths = bursts(lost)
    assert sum(lengths) / len(lengths) == pytest.approx(1 / 0.95, rel=0.02)


@pytest.mark.parametrize(("loss", "burst"), [(0.02, 4.0), (0.1, 10.0), (0.3, 1.5)])
def test_bursts_have_their_length_and_their_share(loss: float, burst: float) -> None:
    lost = fates(GilbertElliott.with_burst(loss, burst), 300_000)
    lengths = bursts(lost)
    assert sum(lost) / len(lost) == pytest.approx(loss, rel=0.04)
    assert sum(lengths) / len(lengths) == pytest.approx(burst, rel=0.04)


def test_either_state_may_lose_in_part() -> None:
    model = GilbertElliott(0.01, 0.03, bad=0.5, good=0.1)
    lost = fates(model, 300_000)
    share_of_bad = 0.01 / (0.01 + 0.03)
    assert sum(lost) / len(lost) == pytest.approx(share_of_bad * 0.5 + (1 - share_of_bad) * 0.1, rel=0.03)


def test_by_number() -> None:
    assert [n for n, gone in enumerate(fates(Numbered(((3, 3), (7, 9))), 12), 1) if gone] == [3, 7, 8, 9]
    assert [n for n, gone in enumerate(fates(Numbered(every=4), 12), 1) if gone] == [4, 8, 12]


def test_by_a_function_of_packet_and_number() -> None:
    seen = []

    def third(packet: Packet, number: int) -> bool:
        seen.append((packet, number))
        return number == 3

    assert fates(Chosen(third), 4) == [False, False, True, False]
    assert seen == [(PACKET, 1), (PACKET, 2), (PACKET, 3), (PACKET, 4)]


@pytest.mark.parametrize(
    ("line", "kinds"),
    [
        ("", []),
        ("loss=1%", [Uniform]),
        ("loss=1%,burst=3", [GilbertElliott]),
        ("gilbert=1%/20%", [GilbertElliott]),
        ("drop=3", [Numbered]),
        ("drop_every=3,loss=1%", [Numbered, Uniform]),
    ],
)
def test_what_a_path_has(line: str, kinds: list[type[Loss]]) -> None:
    assert [type(model) for model in losses_of(parse(line))] == kinds


def test_a_function_is_asked_too() -> None:
    (model,) = losses_of(PathConfig(drop_if=lambda packet, number: number == 1))
    assert fates(model, 2) == [True, False]


def test_a_model_draws_only_what_it_needs() -> None:
    def draw() -> float:
        raise AssertionError("drawn")

    assert not Loss().loses(PACKET, 1, draw)
    assert Numbered(((1, 1),)).loses(PACKET, 1, draw)
