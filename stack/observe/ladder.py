"""Ladders of real connections: a host's trace in, the steps of `stack.wire.ladder` out.

    recorder = Recorder()
    host.core.trace = recorder
    ...
    for story in recorder.stories:
        print("\\n".join(story.lines(peer="curl")))

A `Story` follows one connection. It turns sequence numbers into relative ones, asks `ImpliedPeer` where the other end
must be, and says which segments are the three-way handshake and the four-way close. The four parts of a close are
named by what they do: 1 is the first FIN, 2 its acknowledgment, 3 the other FIN, 4 the acknowledgment of that; one
segment may do two of them at once, and where the FINs cross, 3 comes before 2.

Payload is not kept, and the number of plain steps that are kept has a bound; marked ones are always kept.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from stack.observe.peer import ImpliedPeer
from stack.tcp.seq import MASK, unwrap
from stack.tcp.state import State
from stack.wire.address import format_endpoint
from stack.wire.ladder import Step, flag_names, render
from stack.wire.segment import ACK, FIN, RST, SYN, Segment

MOST_STEPS = 20_000  #: Plain steps kept of one connection; about 4 MB.
MOST_STORIES = 1_000  #: Connections kept; the oldest are forgotten first.

if TYPE_CHECKING:
    from stack.host.trace import TraceEvent

Endpoint = tuple[bytes, int]


class Recorder:
    """Sorts a host's trace by connection: assign it to `Host.trace`."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[Endpoint, Endpoint], Story] = OrderedDict()
        self.stories: list[Story] = []  #: in the order of their first segments

    def __call__(self, event: TraceEvent) -> None:
        key = (event.local, event.remote)
        story = self._open.get(key)
        if story is None or story.begins_anew(event.segment):
            story = self._open[key] = Story(event.local, event.remote)
            self.stories.append(story)
            if len(self.stories) > MOST_STORIES:
                oldest = self.stories.pop(0)
                if self._open.get((oldest.local, oldest.remote)) is oldest:
                    del self._open[oldest.local, oldest.remote]
        story.add(event)


class _Direction:
    """What one end has sent: its numbers, counted from its initial one, and its FIN."""

    __slots__ = ("bytes", "fin", "fin_acked", "highest", "segments", "zero")

    def __init__(self) -> None:
        self.zero = -1  # the initial sequence number on the wire; -1 before it is known
        self.highest = 0  # one past the highest number sent
        self.fin = -1  # the number that acknowledges its FIN; -1 before it
        self.fin_acked = False
        self.segments = 0
        self.bytes = 0  # payload, counted as often as it was sent

    def number(self, wire: int) -> int:
        return unwrap(wire, self.zero, self.highest)


class Story:
    """One connection as a ladder. Add its segments in the order in which they were seen."""

    def __init__(self, local: Endpoint, remote: Endpoint) -> None:
        self.local = local
        self.remote = remote
        self.steps: list[Step] = []
        self.before = ("", "")  #: the states of our end and of the peer before the first segment
        self.omitted = 0  #: plain steps that were not kept
        self.handshake = 0  #: parts seen of the three-way handshake
        self.close = 0  #: parts seen of the four-way close
        self.reset = False
        self.repeated = 0  #: segments that were sent again, by either end
        self._peer = ImpliedPeer()
        self._ours, self._theirs = _Direction(), _Direction()
        self._opener: _Direction | None = None
        self._first_fin: _Direction | None = None
        self._states = self.before

    @property
    def segments(self) -> tuple[int, int]:
        """Sent and received."""
        return self._ours.segments, self._theirs.segments

    @property
    def payload(self) -> tuple[int, int]:
        """Octets of payload sent and received, counted as often as they were sent."""
        return self._ours.bytes, self._theirs.bytes

    def begins_anew(self, seg: Segment) -> bool:
        """Whether this segment opens another connection between the same ends."""
        return seg.flags & (SYN | ACK) == SYN and (self.reset or self.close == 4)

    def add(self, event: TraceEvent) -> None:
        """The next segment, sent or received."""
        seg = event.segment
        sender, receiver = (self._ours, self._theirs) if event.outgoing else (self._theirs, self._ours)
        if not self.steps:
            self.before = self._states = _states_before(event)
        if sender.zero < 0:
            # A connection that we see from its middle starts at 1, as if its SYN had been seen.
            sender.zero = seg.seq if seg.flags & (SYN | RST) else (seg.seq - 1) & MASK
        if receiver.zero < 0 and seg.flags & ACK:
            receiver.zero = (seg.ack - 1) & MASK
        start = sender.number(seg.seq)
        ack = receiver.number(seg.ack) if seg.flags & ACK else None
        peer = self._peer.on_sent(seg) if event.outgoing else self._peer.on_received(seg)
        notes = self._marks(seg, sender, receiver, start, ack) + self._remarks(seg, sender, start)
        sender.highest = max(sender.highest, start + seg.length)
        sender.segments += 1
        sender.bytes += seg.size
        states = (str(event.state) if event.state is not None else "", str(peer))
        if len(self.steps) >= MOST_STEPS and not notes and states == self._states:
            self.omitted += 1
            return
        self._states = states
        names = flag_names(seg.flags)
        self.steps.append(Step(event.time, event.outgoing, names, start, ack, seg.size, *states, note=", ".join(notes)))

    def lines(
        self,
        *,
        ours: str = "tcpstack",
        peer: str = "peer",
        width: int = 100,
        fold: int = 0,
        ascii: bool = False,
    ) -> list[str]:
        """The ladder as text; the arguments are those of `stack.wire.ladder.render`."""
        left = f"{ours} {format_endpoint(*self.local)}"
        right = f"{peer} {format_endpoint(*self.remote)}"
        return render(self.steps, left=left, right=right, before=self.before, width=width, fold=fold, ascii=ascii)

    def _marks(self, seg: Segment, sender: _Direction, receiver: _Direction, start: int, ack: int | None) -> list[str]:
        """The parts of the handshake and of the close that this segment is."""
        marks = []
        part = self._handshake_part(seg, sender, ack)
        if part > self.handshake:
            self.handshake = part
            marks.append(f"three-way handshake {part}/3")
        parts = []
        if ack is not None and 0 <= receiver.fin <= ack and not receiver.fin_acked:
            receiver.fin_acked = True
            parts.append(2 if self._first_fin is receiver else 4)
        if seg.flags & FIN and sender.fin < 0:
            sender.fin = start + seg.length
            parts.append(1 if self._first_fin is None else 3)
            self._first_fin = self._first_fin or sender
        if parts:
            self.close += len(parts)
            marks.append(f"four-way close {'+'.join(map(str, parts))}/4")
        return marks

    def _handshake_part(self, seg: Segment, sender: _Direction, ack: int | None) -> int:
        """1 for the SYN, 2 for the SYN,ACK, 3 for the ACK of that; 0 for anything else."""
        if seg.flags & RST:
            return 0
        if seg.flags & SYN:
            if ack is not None:
                return 2 if self._opener is not sender else 0
            if self._opener is None:
                self._opener = sender
            return 1 if self._opener is sender else 0
        return 3 if self.handshake == 2 and self._opener is sender and ack is not None and ack >= 1 else 0

    def _remarks(self, seg: Segment, sender: _Direction, start: int) -> list[str]:
        """What is out of the ordinary about it."""
        if seg.flags & RST:
            self.reset = True
            return ["reset"]
        remarks = []
        if seg.flags & (SYN | ACK) == SYN and self._opener not in (None, sender) and not sender.segments:
            remarks.append("simultaneous open")
        if seg.fastopen is not None:
            remarks.append("cookie" if seg.fastopen[0] else "asks for a cookie")
        end = start + seg.length
        if seg.length and end <= sender.highest and sender.segments:
            self.repeated += 1
            remarks.append("sent again")
        elif not seg.flags & (SYN | FIN) and seg.size <= 1 and start == sender.highest - 1:
            remarks.append("probe")
        elif start > sender.highest and sender.segments:
            remarks.append("ahead of a gap")
        if seg.window == 0 and not seg.flags & SYN:
            remarks.append("window closed")
        return remarks


def _states_before(event: TraceEvent) -> tuple[str, str]:
    if event.segment.flags & (SYN | ACK) != SYN:
        return ("", "")
    if event.outgoing:
        return str(State.CLOSED), str(State.LISTEN)
    return (str(State.LISTEN) if event.state is not State.CLOSED else str(State.CLOSED)), str(State.CLOSED)
