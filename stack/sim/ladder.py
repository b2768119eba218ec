"""The ladder of a simulated connection. In a world both ends can be asked, and what was lost on the way is known.

     ms  client 10.0.0.1:40000                                                    server 10.0.0.2:80
  0.000  SYN-SENT     │─── SYN ────── seq 0 ────────────────────────────────────────►│ LISTEN
 20.000  ...

Steps stand in the order in which one host, the left one, saw them; the state at the right is the one in which the other
end is at that time. A segment that does not arrive has a note that says what became of it. One of the right end's that
was lost stands where it was sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stack.sim.trace import Observer
from stack.tcp.seq import MASK, unwrap
from stack.wire import ip, tcp
from stack.wire.address import format_endpoint
from stack.wire.drop import WireError
from stack.wire.ladder import Step, flag_names, render
from stack.wire.offload import complete
from stack.wire.segment import ACK, RST, SYN, Segment

if TYPE_CHECKING:
    from stack.host.trace import TraceEvent
    from stack.path.stats import Fate
    from stack.sim.nodes import Conduit, SimHost
    from stack.wire.packet import Packet
    from stack.wire.units import Time

Endpoint = tuple[bytes, int]

MOST_STEPS = 50_000  #: Of one connection; the later ones are left out.


class Ladders(Observer):
    """Records the ladders of all connections of one host."""

    def __init__(self, host: SimHost) -> None:
        self.host = host
        self.stories: dict[tuple[Endpoint, Endpoint], Story] = {}

    def on_segment(self, host: SimHost, event: TraceEvent, now: Time) -> None:
        if host is self.host:
            self._story(event.local, event.remote).add(event.outgoing, event.segment, str(event.state), now)
        else:
            story = self.stories.get((event.remote, event.local))
            if story is not None:
                story.peer = host.name
                story.peer_state = str(event.state)

    def on_fate(self, conduit: Conduit, fate: Fate, packet: Packet, time: Time) -> None:
        frame = complete(packet).frame()
        try:
            header = ip.decode(frame)
            if header.protocol != ip.PROTO_TCP:
                return
            seg = tcp.decode(frame, header.start, header.end)
        except WireError:
            return
        source, target = (header.src, seg.src_port), (header.dst, seg.dst_port)
        where = f"{fate.value.replace('_', ' ')} on {conduit.name}"
        ours = self.stories.get((source, target))
        if ours is not None:
            ours.note_sent(seg, where, time)
            return
        theirs = self.stories.get((target, source))
        if theirs is not None and fate.is_loss:
            theirs.add(False, seg, "", time, note=where)

    def _story(self, local: Endpoint, remote: Endpoint) -> Story:
        key = (local, remote)
        if key not in self.stories:
            self.stories[key] = Story(self.host.name, local, remote)
        return self.stories[key]

    def lines(self, *, width: int = 120, fold: int = 0, ascii: bool = False) -> list[str]:
        """All ladders as text, with an empty line between two."""
        lines: list[str] = []
        for story in self.stories.values():
            if lines:
                lines.append("")
            lines.extend(story.lines(width=width, fold=fold, ascii=ascii))
        return lines


class Story:
    """One connection, seen from its left end."""

    def __init__(self, name: str, local: Endpoint, remote: Endpoint) -> None:
        self.name = name
        self.local = local
        self.remote = remote
        self.peer = ""
        self.peer_state = ""
        self.steps: list[Step] = []
        self.omitted = 0
        self._our_state = ""
        self._zeros = [-1, -1]  # the initial sequence numbers, ours and theirs
        self._highest = [0, 0]

    def add(self, outgoing: bool, seg: Segment, state: str, now: Time, note: str = "") -> None:
        """A segment that left or came; without a `state`, one that was lost on its way to us."""
        sender, receiver = (0, 1) if outgoing else (1, 0)
        zeros = self._zeros
        if zeros[sender] < 0 or (seg.flags & (SYN | RST) == SYN and seg.seq != zeros[sender]):
            zeros[sender] = seg.seq if seg.flags & (SYN | RST) else (seg.seq - 1) & MASK
            self._highest[sender] = 0
        if zeros[receiver] < 0 and seg.flags & ACK:
            zeros[receiver] = (seg.ack - 1) & MASK
        start = unwrap(seg.seq, zeros[sender], self._highest[sender])
        ack = unwrap(seg.ack, zeros[receiver], self._highest[receiver]) if seg.flags & ACK else None
        end = start + seg.length
        notes = [note] if note else []
        if seg.length and end <= self._highest[sender] and outgoing:
            notes.insert(0, "sent again")
        if not note or outgoing:
            self._highest[sender] = max(self._highest[sender], end)
        self._our_state = state or self._our_state
        if len(self.steps) >= MOST_STEPS:
            self.omitted += 1
            return
        if seg.sacks:
            blocks = [
                (unwrap(left, zeros[receiver], ack or 0), unwrap(right, zeros[receiver], ack or 0))
                for left, right in seg.sacks
            ]
            notes.append("sack " + " ".join(f"{left}:{right}" for left, right in blocks))
        names = flag_names(seg.flags)
        step = Step(now, outgoing, names, start, ack, seg.size, self._our_state, self.peer_state, ", ".join(notes))
        self.steps.append(step)

    def note_sent(self, seg: Segment, what: str, time: Time) -> None:
        """Something befell a segment that we sent: said at the latest step that can be it."""
        start = unwrap(seg.seq, self._zeros[0], self._highest[0])
        for step in reversed(self.steps[-200:]):
            if step.outgoing and step.seq == start and step.length == seg.size and step.time <= time:
                step.note = f"{step.note}, {what}" if step.note else what
                return

    def lines(self, *, width: int = 120, fold: int = 0, ascii: bool = False) -> list[str]:
        """The ladder as text."""
        left = f"{self.name} {format_endpoint(*self.local)}"
        right = f"{self.peer} {format_endpoint(*self.remote)}".strip()
        lines = render(self.steps, left=left, right=right, width=width, fold=fold, ascii=ascii)
        if self.omitted:
            lines.append(f"{self.omitted} more segments are left out")
        return lines
