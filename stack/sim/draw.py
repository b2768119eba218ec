"""Scenarios drawn from a seed: two hosts, a path between them that is hostile until a time T, and what they say.

Everything about a scenario is drawn once, here, from the dice of its seed, so that a seed is a scenario for ever (as
long as this module stays as it is). What is drawn is bounded, so that after T, when all faults have ended, a correct
TCP is done within a time that can be told beforehand: there is a limit to the segments, however small the buffers.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from stack.path.config import CODEL, DROPTAIL, RED, PathConfig
from stack.tcp.config import TcpOptions
from stack.tcp.congestion import ALGORITHMS
from stack.wire.units import MS, SECOND, Duration, Time

MOST_SEGMENTS = 250  #: Of data, each way; a simulation of that size takes some 20 ms.
MOST_SEGMENTS_RARELY = 1500  #: In one seed of twelve.
GRACE: Duration = 120 * SECOND  #: After the end of all faults, beside the transfer's own time.
LONGEST_OUTAGE: Duration = 120 * SECOND

MAX_PAYLOADS = (0, 0, 4000, 65_000)

T = TypeVar("T")


class Dice:
    """Draws by `Random.random` alone, whose sequence is the same in every version of Python."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def below(self, limit: int) -> int:
        """A whole number from 0 to limit - 1, evenly."""
        return int(self._random() * limit)

    def between(self, low: int, high: int) -> int:
        """A whole number from low to high, evenly."""
        return low + self.below(high - low + 1)

    def scale(self, low: int, high: int) -> int:
        """A whole number from low to high, each order of magnitude as likely as the next."""
        # By halving instead of logarithms, whose last digit differs between machines.
        spans = max(high // low, 1).bit_length()
        top = min(low << self.below(spans + 1), high)
        return self.between(max(low, top // 2), top)

    def share(self, most: float) -> float:
        """A probability from 0 to `most`; small ones and 0 are not rare."""
        if self.chance(0.35):
            return 0.0
        drawn = self._random()
        return most * (drawn if self.chance(0.5) else drawn * drawn * drawn)

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """What the application at one end does."""

    size: int  #: Octets that it sends.
    writes: tuple[int, ...]  #: How many at a time.
    reads: tuple[int, ...]
    write_pause: Duration = 0  #: At most, after each; until T.
    read_pause: Duration = 0
    closes_last: bool = False  #: Sends its FIN only when it has read the peer's.
    aborts_at: Time = -1  #: Resets the connection then, if it still can; -1: never.


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A scenario: index 0 is the client's end and the way from it, 1 the server's."""

    seed: int
    v6: bool
    mtus: tuple[int, int]
    options: tuple[TcpOptions, TcpOptions]
    isns: tuple[int, int]  #: Where the sequence numbers begin, about; -1: wherever.
    paths: tuple[PathConfig, PathConfig]  #: Until T.
    healed: tuple[PathConfig, PathConfig]  #: From T on.
    narrow: tuple[tuple[Time, int], ...] = ()  #: When the MTU of both ways changes, and to what.
    talks: tuple[Talk, Talk]
    faults_end: Time  #: T.
    bound: Time  #: When everything must be over.
    max_payloads: tuple[int, int] = (0, 0)  #: The largest super-frames that the hosts may send; 0: none.

    @property
    def aborts(self) -> bool:
        """Whether one end resets the connection on purpose."""
        return any(talk.aborts_at >= 0 for talk in self.talks)

    @property
    def is_mild(self) -> bool:
        """Whether no connection may be lost: at most 20 % loss, not in bursts, and no outage."""
        worst = max(1 - (1 - path.loss) * (1 - path.corrupt) for path in self.paths)
        outage = any(path.down or path.burst > 1 for path in self.paths)
        return worst <= 0.2 and not outage and not self.narrow

    def as_dict(self) -> dict[str, Any]:
        """All of it that is not a default, for people and for JSON."""
        return {
            "seed": self.seed,
            "ipv6": self.v6,
            "mtus": list(self.mtus),
            "max_payloads": list(self.max_payloads),
            "options": [_differences(options, TcpOptions()) for options in self.options],
            "isns": [f"{isn:#x}" if isn >= 0 else None for isn in self.isns],
            "paths": [_differences(path, PathConfig()) for path in self.paths],
            "mtu_changes": [[time / SECOND, mtu] for time, mtu in self.narrow],
            "talks": [dataclasses.asdict(talk) for talk in self.talks],
            "faults_end": self.faults_end / SECOND,
            "bound": self.bound / SECOND,
        }


def _differences(value: Any, default: Any) -> dict[str, Any]:
    return {
        field.name: getattr(value, field.name)
        for field in dataclasses.fields(value)
        if getattr(value, field.name) != getattr(default, field.name)
    }


def draw(seed: int) -> Drawn:
    """The scenario of a seed."""
    dice = Dice(seed)
    v6 = dice.chance(0.4)
    mtus = (_mtu(dice, v6), _mtu(dice, v6))
    if dice.chance(0.5):
        mtus = (mtus[0], mtus[0])
    gentle = dice.chance(0.15)  # a path without faults
    faults_end = 0 if gentle else dice.scale(1, 60) * SECOND
    healed = _path(dice, mtus)
    back = healed if dice.chance(0.4) else _path(dice, mtus)
    paths = (healed, back) if gentle else (_hostile(dice, healed), _hostile(dice, back))
    if not gentle and dice.chance(0.2):
        faults_end, paths = _with_outage(dice, faults_end, paths)
    narrow = _mtu_changes(dice, mtus, v6, faults_end) if faults_end and dice.chance(0.15) else ()
    idle_limit = faults_end + LONGEST_OUTAGE
    options = (_options(dice, idle_limit), _options(dice, idle_limit))
    if dice.chance(0.3):
        options = (options[0], options[0])
    talks = _talks(dice, mtus, options, faults_end)
    isns = _isns(dice)
    return Drawn(
        seed=seed,
        v6=v6,
        mtus=mtus,
        options=options,
        isns=isns,
        paths=paths,
        healed=(healed, back),
        narrow=narrow,
        talks=talks,
        faults_end=faults_end,
        bound=faults_end + GRACE + _own_time(talks, mtus, options, (healed, back)),
        # Drawn last: what is drawn before stays as it was before there were super-frames.
        max_payloads=(dice.pick(MAX_PAYLOADS), dice.pick(MAX_PAYLOADS)),
    )


def _mtu(dice: Dice, v6: bool) -> int:
    least = 1280 if v6 else 576
    return dice.pick((least, 1500, 1500, 9000, dice.between(least, 9000)))


def _path(dice: Dice, mtus: tuple[int, int]) -> PathConfig:
    """A path without faults, but perhaps slow, far, and with little room in its queue."""
    delay = dice.pick((0, 1 * MS, dice.between(1, 20) * MS, dice.between(1, 300) * MS))
    if dice.chance(0.3):
        return PathConfig(delay=delay)
    rate = dice.scale(64_000, 1_000_000_000)
    aqm = dice.pick((DROPTAIL, DROPTAIL, DROPTAIL, CODEL, RED))
    packets = dice.pick((0, 0, dice.between(2, 20), dice.between(20, 200)))
    ecn = aqm != DROPTAIL and dice.chance(0.5)
    # Without a limit in packets, the default in bytes must hold a few of the largest.
    room = max(rate // 80, 10 * max(mtus)) if not packets else 0
    return PathConfig(delay=delay, rate=rate, aqm=aqm, ecn=ecn, queue_packets=packets, queue_bytes=room)


def _hostile(dice: Dice, path: PathConfig) -> PathConfig:
    loss = dice.share(0.3)
    burst = 1.0 + dice.share(9.0) if loss and dice.chance(0.25) else 1.0
    reorder = dice.share(0.5)
    return dataclasses.replace(
        path,
        loss=loss,
        burst=max(burst, 1.0),
        duplicate=dice.share(0.3),
        reorder=reorder,
        reorder_by=dice.between(1, 50) * MS if reorder and dice.chance(0.5) else 0,
        corrupt=dice.share(0.05),
        jitter=dice.below(path.delay + 1) if dice.chance(0.3) else 0,
    )


def _with_outage(
    dice: Dice, faults_end: Time, paths: tuple[PathConfig, PathConfig]
) -> tuple[Time, tuple[PathConfig, PathConfig]]:
    """Nothing passes for a while, one way or both."""
    start = dice.below(5 * SECOND)
    length = dice.scale(1, LONGEST_OUTAGE // SECOND) * SECOND
    which = dice.pick(((0,), (1,), (0, 1), (0, 1)))
    both = [
        dataclasses.replace(path, down=((start, length),)) if index in which else path
        for index, path in enumerate(paths)
    ]
    return max(faults_end, start + length), (both[0], both[1])


def _mtu_changes(dice: Dice, mtus: tuple[int, int], v6: bool, faults_end: Time) -> tuple[tuple[Time, int], ...]:
    """A path that becomes narrow for a while. At T it is as wide as it was, and a sender need not know how wide."""
    least = 1280 if v6 else 576
    changes = [(dice.below(faults_end), dice.between(least, max(mtus))) for _ in range(dice.between(1, 3))]
    return (*sorted(changes), (faults_end, 0))


def _options(dice: Dice, idle_limit: Duration) -> TcpOptions:
    """Choices of one end. Keep-alive is on, since the last word of the other end may have been lost."""
    receive_window = dice.pick((65_536, 65_536, dice.scale(1, 100_000), dice.scale(1000, 1_000_000)))
    probes = idle_limit // (10 * SECOND) + 3
    return TcpOptions(
        sack=not dice.chance(0.25),
        timestamps=not dice.chance(0.25),
        window_scaling=not dice.chance(0.25),
        nodelay=dice.chance(0.5),
        congestion=dice.pick(sorted(ALGORITHMS)),
        send_buffer=dice.pick((4 << 20, 65_536, dice.scale(1, 100_000))),
        receive_window=receive_window,
        receive_buffer=max(receive_window, dice.pick((6 << 20, receive_window, dice.scale(1000, 1_000_000)))),
        mss=dice.pick((None, None, None, dice.between(64, 1460))),
        delayed_ack=dice.pick((0.04, 0.04, 0.0, 0.2)),
        min_rto=dice.pick((0.2, 0.2, 1.0)),
        keepalive=True,
        keepalive_idle=20.0,
        keepalive_interval=10.0,
        keepalive_probes=int(probes),
        msl=150.0,  # so that TIME-WAIT outlasts every outage, and a repeated FIN finds it
        **_later_options(dice),
    )


def _later_options(dice: Dice) -> dict[str, Any]:
    """Choices that not every version of the core has."""
    known = {field.name for field in dataclasses.fields(TcpOptions)}
    drawn = {"ecn": "request" if dice.chance(0.5) else "off", "pacing": dice.chance(0.25)}
    return {name: value for name, value in drawn.items() if name in known}


def _talks(
    dice: Dice, mtus: tuple[int, int], options: tuple[TcpOptions, TcpOptions], faults_end: Time
) -> tuple[Talk, Talk]:
    most = MOST_SEGMENTS_RARELY if dice.chance(1 / 12) else MOST_SEGMENTS
    sizes = [_size(dice, most * _segment(sender, mtus, options)) for sender in (0, 1)]
    last = dice.pick((-1, -1, 0, 1))  # who waits for the other's end; both would wait for ever
    if last == 0:
        # A client that only listens would never learn that the server has forgotten its half-open connection.
        sizes[0] = max(sizes[0], 1)
    aborts = dice.below(2) if dice.chance(0.08) else -1
    talks = [
        Talk(
            size=sizes[index],
            writes=_pieces(dice, sizes[index]),
            reads=_pieces(dice, sizes[1 - index]),
            write_pause=dice.below(200 * MS) if dice.chance(0.15) else 0,
            read_pause=dice.below(200 * MS) if dice.chance(0.25) else 0,
            closes_last=last == index,
            aborts_at=dice.below(faults_end + SECOND) if aborts == index else -1,
        )
        for index in (0, 1)
    ]
    return talks[0], talks[1]


def _segment(sender: int, mtus: tuple[int, int], options: tuple[TcpOptions, TcpOptions]) -> int:
    """The least octets that the segments of one direction have in the mean, whatever else happens."""
    receiver = options[1 - sender]
    mss = min(min(mtus) - 72, receiver.mss or 65_535, options[sender].mss or 65_535)
    return max(min(mss, receiver.receive_window // 2, options[sender].send_buffer), 1)


def _size(dice: Dice, most: int) -> int:
    return min(dice.pick((0, 1, dice.scale(1, 1000), dice.scale(100, 1_000_000), dice.scale(1000, 1_000_000))), most)


def _pieces(dice: Dice, size: int) -> tuple[int, ...]:
    """Sizes of single reads or writes: not so small that there would be thousands of them."""
    least = max(size // MOST_SEGMENTS, 1)
    return tuple(max(dice.scale(1, 100_000), least) for _ in range(dice.between(1, 3)))


def _isns(dice: Dice) -> tuple[int, int]:
    """Near one of the places where comparing goes wrong, in front of it more often than behind."""

    def near() -> int:
        if dice.chance(0.25):
            return -1
        return (dice.pick((0, 1 << 31)) - dice.between(-1000, 100_000)) & 0xFFFF_FFFF

    return near(), near()


def _own_time(
    talks: tuple[Talk, Talk],
    mtus: tuple[int, int],
    options: tuple[TcpOptions, TcpOptions],
    paths: tuple[PathConfig, PathConfig],
) -> Duration:
    """What the transfer takes by itself: both directions at their rates, and a round trip for each filled buffer.

    A round trip has a delayed ACK in it, and the queue on the way.
    """
    total: Duration = 0
    trip = paths[0].delay + paths[1].delay + 500 * MS
    for sender in (0, 1):
        size, path = talks[sender].size, paths[sender]
        window = max(min(options[1 - sender].receive_window, options[sender].send_buffer), 1)
        if path.rate:
            segments = size // _segment(sender, mtus, options) + 20
            total += 2 * (size + 100 * segments) * 8 * SECOND // path.rate
        total += (size // window + 1) * trip
    return total


@dataclass(slots=True)
class Figures:
    """What a run has counted."""

    virtual_time: float = 0.0
    events: int = 0
    packets: int = 0
    lost: int = 0
    octets: int = 0
    segments_again: int = 0
    after_faults: float = 0.0  #: Seconds from T to the end of the transfer.
