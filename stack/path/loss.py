"""Which packets are lost.

A model is asked about every packet, in the order in which they enter the path. Chance is a function that gives the next
number of [0, 1), each time it is called; a model that needs none for a packet does not call it.
"""

from __future__ import annotations

from collections.abc import Callable

from stack.path.config import PathConfig, Predicate
from stack.wire.packet import Packet

Draw = Callable[[], float]
"""The next random number of [0, 1); `random.Random(seed).random` is one."""


class Loss:
    """A model of loss: this one loses nothing."""

    __slots__ = ()

    def loses(self, packet: Packet, number: int, draw: Draw) -> bool:
        """Whether this packet, the `number`th from 1, is lost."""
        return False


class Uniform(Loss):
    """Every packet with the same chance, whatever befell the others."""

    __slots__ = ("chance",)

    def __init__(self, chance: float) -> None:
        self.chance = chance

    def loses(self, packet: Packet, number: int, draw: Draw) -> bool:
        return draw() < self.chance


class GilbertElliott(Loss):
    """Bursts: a chain of two states, good and bad, that takes one step before each packet (Gilbert 1960, Elliott 1963).

    good --p--> bad       lost with chance `good` in the one state, `bad` in the other
    good <--r-- bad       mean stay in bad: 1/r packets; share of bad: p / (p + r)
    """

    __slots__ = ("bad", "good", "in_bad", "p", "r")

    def __init__(self, p: float, r: float, bad: float = 1.0, good: float = 0.0) -> None:
        self.p = p
        self.r = r
        self.bad = bad
        self.good = good
        self.in_bad = False

    @classmethod
    def with_burst(cls, loss: float, burst: float) -> GilbertElliott:
        """The chain that loses a share `loss` of all packets, in bursts of `burst` in the mean."""
        r = 1 / burst
        return cls(r * loss / (1 - loss), r)

    def loses(self, packet: Packet, number: int, draw: Draw) -> bool:
        change = self.r if self.in_bad else self.p
        if draw() < change:
            self.in_bad = not self.in_bad
        chance = self.bad if self.in_bad else self.good
        if 0 < chance < 1:
            return draw() < chance
        return chance == 1


class Numbered(Loss):
    """Those whose numbers are in one of the ranges, and each `every`th."""

    __slots__ = ("every", "ranges")

    def __init__(self, ranges: tuple[tuple[int, int], ...] = (), every: int = 0) -> None:
        self.ranges = ranges
        self.every = every

    def loses(self, packet: Packet, number: int, draw: Draw) -> bool:
        if self.every and number % self.every == 0:
            return True
        return any(first <= number <= last for first, last in self.ranges)


class Chosen(Loss):
    """Those of which a function says so."""

    __slots__ = ("predicate",)

    def __init__(self, predicate: Predicate) -> None:
        self.predicate = predicate

    def loses(self, packet: Packet, number: int, draw: Draw) -> bool:
        return self.predicate(packet, number)


def losses_of(config: PathConfig) -> list[Loss]:
    """The models that a path has; a packet is lost when one of them says so."""
    models: list[Loss] = []
    if config.drop or config.drop_every:
        models.append(Numbered(config.drop, config.drop_every))
    if config.drop_if is not None:
        models.append(Chosen(config.drop_if))
    if config.gilbert is not None:
        models.append(GilbertElliott(*config.gilbert))
    elif config.burst > 1:
        models.append(GilbertElliott.with_burst(config.loss, config.burst))
    elif config.loss:
        models.append(Uniform(config.loss))
    return models
