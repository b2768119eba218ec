"""A data connection of a test, in one direction: what it counts, and what its stream tells about itself.

The task that moves the data only adds to `counted`. Samples are read off that now and then, so the meter costs a few
additions for each 128 KiB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import trio

from stack.tcp.info import Info

NO_ENDPOINT = ("", 0)

Endpoint = tuple[str, int]


class Path(NamedTuple):
    """What a sender knew of its path at one time. Windows and the MTU are in bytes, times in microseconds."""

    cwnd: int
    wnd: int
    rtt: int
    rttvar: int
    mtu: int


@dataclass(frozen=True, slots=True)
class Sample:
    """A flow in one interval. Times are in seconds since the counting began, or since the omitted time did."""

    flow: Flow
    start: float
    end: float
    size: int  #: bytes
    retransmits: int | None = None
    path: Path | None = None  #: at the end of the interval

    @property
    def rate(self) -> float:
        """Bits a second."""
        return bits_per_second(self.size, self.end - self.start)


@dataclass(frozen=True, slots=True)
class Interval:
    """All flows in one interval."""

    samples: list[Sample]
    omitted: bool


class Extremes:
    """The largest and smallest of a flow's samples."""

    __slots__ = ("count", "cwnd", "rtt", "rtt_least", "rtt_sum", "wnd")

    def __init__(self) -> None:
        self.count = self.cwnd = self.wnd = self.rtt = self.rtt_least = self.rtt_sum = 0

    def add(self, path: Path) -> None:
        """One more sample."""
        self.rtt_least = min(self.rtt_least, path.rtt) if self.count else path.rtt
        self.count += 1
        self.cwnd = max(self.cwnd, path.cwnd)
        self.wnd = max(self.wnd, path.wnd)
        self.rtt = max(self.rtt, path.rtt)
        self.rtt_sum += path.rtt

    @property
    def rtt_mean(self) -> int:
        """In microseconds; 0 without samples."""
        return self.rtt_sum // self.count if self.count else 0


class Flow:
    """A data connection, used in one direction."""

    def __init__(self, number: int, stream: trio.abc.HalfCloseableStream, *, sending: bool) -> None:
        self.number = number
        self.stream = stream
        self.sending = sending
        self.counted = 0  #: bytes moved, ever
        self.begun = 0  #: bytes of the block that is being sent
        self.size = 0  #: bytes that count; set by `Measurement.finish`
        self.local, self.remote = endpoints(stream)
        info = self.info()
        self.mss = info.snd_mss if info is not None else 0  #: bytes; 0: not known
        self.extremes = Extremes()
        self.retransmits: int | None = None  #: that count; set by `Measurement.finish`
        self.sends = trio.CancelScope()
        self.ended = trio.Event()  #: the peer has closed it, or it broke
        self._base = 0  # counted when the counting began
        self._last = 0  # counted at the end of the last interval
        self._retransmits_base = 0
        self._retransmits_last = 0

    def info(self) -> Info | None:
        """What the stream knows about itself."""
        ask = getattr(self.stream, "info", None)
        return ask() if ask is not None else None

    def restart(self) -> None:
        """What was counted so far does not count."""
        info = self.info()
        self._base = self._last = self.counted
        self._retransmits_base = self._retransmits_last = info.total_retrans if info is not None else 0

    def count_begun(self) -> None:
        """Count the block that is being sent, as nobody knows how much of it the peer will have received."""
        self.counted, self.begun = self.counted + self.begun, 0

    def so_far(self) -> int:
        """Bytes that count."""
        return self.counted - self._base

    def sample(self, start: float, end: float, *, omitted: bool) -> Sample:
        """Close an interval."""
        info = self.info() if self.sending else None
        size, self._last = self.counted - self._last, self.counted
        retransmits = None
        if info is not None:
            retransmits = info.total_retrans - self._retransmits_last
            self._retransmits_last = info.total_retrans
        return Sample(self, start, end, size, retransmits, self._path(info, omitted=omitted))

    def _path(self, info: Info | None, *, omitted: bool) -> Path | None:
        if info is None:
            return None
        headers = (40 if ":" in self.remote[0] else 20) + 20 + (12 if info.timestamps else 0)
        path = Path(info.snd_cwnd * info.snd_mss, info.snd_wnd, info.rtt, info.rttvar, info.snd_mss + headers)
        if not omitted:
            self.extremes.add(path)
        return path

    def finish(self) -> None:
        """Nothing counts any more."""
        self.size = self.so_far()
        if self.extremes.count:
            self.retransmits = self._retransmits_last - self._retransmits_base
        if self.sending:
            self.sends.cancel()

    async def close(self) -> None:
        """Let go of the connection. What is still queued on it is of no use to anybody, and thrown away."""
        info = self.info()
        if self.sending and info is not None and info.notsent_bytes:
            abort = getattr(self.stream, "abort", None)
            if abort is not None:
                abort()
        await trio.aclose_forcefully(self.stream)


def bits_per_second(size: int, seconds: float) -> float:
    """A rate; 0 where no time has passed."""
    return size * 8 / seconds if seconds > 0 else 0.0


def endpoints(stream: trio.abc.AsyncResource) -> tuple[Endpoint, Endpoint]:
    """Both ends of a stream: of ours, of the kernel's, or unknown."""
    sock = getattr(stream, "socket", None)
    try:
        if sock is not None:
            return sock.getsockname()[:2], sock.getpeername()[:2]
        return getattr(stream, "local_address", NO_ENDPOINT), getattr(stream, "remote_address", NO_ENDPOINT)
    except OSError:  # the peer was quicker than we
        return NO_ENDPOINT, NO_ENDPOINT
