"""The ladder: what two ends said to each other, one line a segment, as in the figures of RFC 9293 3.5 and 3.6.

     ms  tcpstack 10.9.0.2:80                                                    curl 10.9.0.1:40000
         LISTEN       │                                                                │ CLOSED
  0.000  SYN-RECEIVED │◄── SYN ────── seq 0 ─────────────── three-way handshake 1/3 ───│ SYN-SENT
  0.062  SYN-RECEIVED │─── SYN,ACK ── seq 0 ────── ack 1 ── three-way handshake 2/3 ──►│ ESTABLISHED
  0.091  ESTABLISHED  │◄── ACK ────── seq 1 ────── ack 1 ── three-way handshake 3/3 ───│ ESTABLISHED
  0.120  ESTABLISHED  │◄── PSH,ACK ── seq 1 ────── ack 1 ── 78 bytes ──────────────────│ ESTABLISHED

At the left stands the time since the first segment and the state of our end after it, at the right the state
that the peer must be in. The words in the arrow start in the same columns whichever way it points, so that
one can read down the sequence numbers. A note, such as the place in a handshake, is at the end of the arrow,
or on a line of its own where the arrow has no room for it.

This is only the text. Who was in which state, and which segments make up a handshake, is for the caller to
say.
"""

from __future__ import annotations

from collections.abc import Sequence

from stack.wire.units import Time

_FLAG_NAMES = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
_ASCII = str.maketrans({"│": "|", "─": "-", "◄": "<", "►": ">", "·": "."})
_FEWEST_DASHES = 2  # between two words of an arrow


class Step:
    """One segment of a ladder.

    `time` is in nanoseconds; numbers are relative, `ack` None where the segment acknowledges nothing.
    `length` is payload octets. The states are those after the segment was sent or received, as text.
    """

    __slots__ = ("ack", "flags", "length", "note", "our_state", "outgoing", "peer_state", "seq", "time")

    def __init__(
        self,
        time: Time,
        outgoing: bool,
        flags: str,
        seq: int,
        ack: int | None = None,
        length: int = 0,
        our_state: str = "",
        peer_state: str = "",
        note: str = "",
    ) -> None:
        self.time = time
        self.outgoing = outgoing
        self.flags = flags
        self.seq = seq
        self.ack = ack
        self.length = length
        self.our_state = our_state
        self.peer_state = peer_state
        self.note = note

    def words(self) -> tuple[str, str, str, str]:
        """What stands in the arrow: flags, sequence number, acknowledgment, length; empty where there is none."""
        ack = "" if self.ack is None else f"ack {self.ack}"
        length = "" if not self.length else "1 byte" if self.length == 1 else f"{self.length} bytes"
        return self.flags, f"seq {self.seq}", ack, length


def flag_names(flags: int) -> str:
    """The set flags as the RFC writes them, `SYN,ACK`; `-` for none."""
    return ",".join(name for bit, name in enumerate(_FLAG_NAMES) if flags >> bit & 1) or "-"


def render(
    steps: Sequence[Step],
    *,
    left: str = "",
    right: str = "",
    before: tuple[str, str] = ("", ""),
    width: int = 100,
    fold: int = 0,
    ascii: bool = False,
) -> list[str]:
    """The lines of a ladder.

    `left` and `right` name the two ends, `before` holds their states before the first step. With `fold`, a
    run of more plain steps than that (no SYN, FIN or RST, no note, no change of state) is shown by its first
    and last ones, `fold` together, and a line that sums up the rest. `width` is in columns; a ladder whose
    words need more than that gets wider. `ascii` is for terminals that can draw nothing else.
    """
    page = _Page(steps, before, width)
    lines = page.heading(left, right)
    if any(before):
        lines.append(page.row("", before[0], " " * page.arrow_width, before[1]))
    for first, last, folded in _runs(steps, fold, before):
        if folded:
            lines.append(page.summary(steps[first:last]))
        else:
            for step in steps[first:last]:
                lines.extend(page.step(step))
    lines = [line.rstrip() for line in lines]
    return [line.translate(_ASCII) for line in lines] if ascii else lines


class _Page:
    """The widths of a ladder's columns, and how to set each kind of line in them."""

    def __init__(self, steps: Sequence[Step], before: tuple[str, str], width: int) -> None:
        self.start = steps[0].time if steps else 0
        times = [len(self._time(step)) for step in steps]
        self.time_width = max([7, *times])
        self.left_width = max(map(len, [before[0], *(step.our_state for step in steps)]))
        right_width = max(map(len, [before[1], *(step.peer_state for step in steps)]))
        columns = zip(*(step.words() for step in steps), strict=True)
        self.widths = [max(map(len, column)) for column in columns]
        # "time  state │" and "│ state" stand around the arrow.
        around = self.time_width + 2 + self.left_width + 2 + 2 + right_width
        # The longest arrow needs its words, the dashes between and around them, and its head.
        words = sum(self.widths) + (_FEWEST_DASHES + 2) * len(self.widths) + 4
        self.arrow_width = max(width - around, words, 20)
        self.width = around + self.arrow_width

    def _time(self, step: Step) -> str:
        return f"{(step.time - self.start) / 1e6:.3f}"

    def heading(self, left: str, right: str) -> list[str]:
        start = "ms".rjust(self.time_width) + "  "
        room = self.width - len(start)
        if len(left) + len(right) + 2 <= room:
            return [start + left + right.rjust(room - len(left))]
        return [start + left, " " * len(start) + right.rjust(room)]

    def row(self, time: str, our_state: str, middle: str, peer_state: str) -> str:
        return f"{time:>{self.time_width}}  {our_state:<{self.left_width}} │{middle}│ {peer_state}"

    def step(self, step: Step) -> list[str]:
        arrow = self._arrow(step, step.note)
        if arrow is not None:
            return [self.row(self._time(step), step.our_state, arrow, step.peer_state)]
        plain = self._arrow(step, "") or ""
        return [
            self.row(self._time(step), step.our_state, plain, step.peer_state),
            self.row("", "", step.note.rjust(self.arrow_width - 4)[: self.arrow_width].ljust(self.arrow_width), ""),
        ]

    def summary(self, steps: Sequence[Step]) -> str:
        sent = sum(step.length for step in steps if step.outgoing)
        received = sum(step.length for step in steps if not step.outgoing)
        text = f"{len(steps)} segments"
        if sent and received:
            text += f", {format_size(sent)} out, {format_size(received)} in"
        elif sent or received:
            text += f", {format_size(sent or received)}"
        return self.row("", "", f"· · ·  {text}  · · ·".center(self.arrow_width), "")

    def _arrow(self, step: Step, note: str) -> str | None:
        """The arrow, as wide as the column, or None where the note finds no room in it."""
        body = ""
        words = step.words()
        last = max(index for index, word in enumerate(words) if word)
        for index, word in enumerate(words[: last + 1]):
            # Dashes up to the next column; a column that this step leaves empty is all dashes.
            dashes = "─" * (_FEWEST_DASHES + self.widths[index] - len(word) if index < last else 0)
            body += f" {word} {dashes}" if word else "──" + dashes
        tail = f" {note} ──" if note else ""
        fill = self.arrow_width - 4 - len(body) - len(tail)
        if fill < (_FEWEST_DASHES if note else 0):
            return None
        body += "─" * fill + tail
        return f"───{body}►" if step.outgoing else f"◄──{body}─"


def _runs(steps: Sequence[Step], fold: int, before: tuple[str, str]) -> list[tuple[int, int, bool]]:
    """Cut the steps into ranges: start, end, and whether a line is to stand for them."""
    if fold <= 0:
        return [(0, len(steps), False)]
    runs: list[tuple[int, int, bool]] = []
    shown = at = 0
    states = before
    while at < len(steps):
        start = at
        while at < len(steps) and _is_plain(steps[at], states):
            at += 1
        # One line in place of one line would hide something and save nothing.
        if at - start > fold + 1:
            head, tail = start + fold - fold // 2, at - fold // 2
            runs += [(shown, head, False), (head, tail, True)]
            shown = tail
        if at < len(steps):
            states = (steps[at].our_state, steps[at].peer_state)
            at += 1
    runs.append((shown, len(steps), False))
    return runs


def _is_plain(step: Step, states: tuple[str, str]) -> bool:
    control = any(name in step.flags for name in ("SYN", "FIN", "RST"))
    return not control and not step.note and (step.our_state, step.peer_state) == states


def format_size(octets: int) -> str:
    """`812 bytes`, `98 kB`, `1.5 MB`: decimal, at most three digits."""
    if octets < 1000:
        return f"{octets} bytes"
    value, unit = octets / 1000, "kB"
    for larger in ("MB", "GB"):
        if value >= 999.5:
            value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if value >= 9.95 else f"{value:.1f} {unit}"
