"""What must be true of a host after everything that happens, and of everything that it sends.

`Inspector` looks into the connections of a host: sequence variables in order, the sender's records covering exactly
what is outstanding, buffers within their bounds, a timer running wherever an answer is waited for. `Conduct` watches
the segments themselves: nothing beyond the window that the peer has offered, no segment larger than the peer takes, no
window taken back. What they find is an `InvariantError` with the numbers in it.

Give them to a world as `SimHost.inspect` and as an observer. They read what is private to a connection, as a debugger
would; nothing outside of tests and of the soak should need that.
"""

from __future__ import annotations

from stack.host.trace import TraceEvent
from stack.sim.errors import SimulationError
from stack.sim.nodes import SimHost
from stack.sim.trace import Observer
from stack.tcp.connection import Connection
from stack.tcp.negotiate import MIN_MSS
from stack.tcp.recovery import LOST, SACKED
from stack.tcp.seq import unwrap
from stack.tcp.state import SYNCHRONISED, TIME_WAIT
from stack.wire import tcp
from stack.wire.segment import ACK, FIN, RST, SYN, Segment
from stack.wire.units import NEVER, Time


class InvariantError(SimulationError):
    """Something that must always be true was not."""


class Inspector:
    """Checks hosts; remembers what must not go back. Assign `check_host` to `SimHost.inspect`."""

    def __init__(self) -> None:
        # By connection: the connection itself, so that its id stays its own, and RCV.NXT and the window's edge.
        self._receivers: dict[int, tuple[Connection, int, int]] = {}

    def check_host(self, host: SimHost) -> None:
        """Raise `InvariantError` for the first connection of which something is not true."""
        core = host.core
        next_timeout = core.next_timeout()
        for conn in core.connections():
            trouble = (
                _sender_trouble(conn)
                or _records_trouble(conn)
                or _receiver_trouble(conn)
                or self._progress_trouble(conn)
                or _timer_trouble(conn, next_timeout)
            )
            if trouble:
                raise InvariantError(f"{host.name}, {conn!r}: {trouble}")

    def _progress_trouble(self, conn: Connection) -> str:
        _, nxt, edge = self._receivers.get(id(conn), (conn, 0, 0))
        self._receivers[id(conn)] = (conn, conn.rcv.nxt, conn.rcv.edge)
        if conn.rcv.nxt < nxt:
            return f"RCV.NXT went back from {nxt} to {conn.rcv.nxt}"
        if conn.rcv.edge < edge:
            return f"the window's edge went back from {edge} to {conn.rcv.edge}"
        return ""


def _sender_trouble(conn: Connection) -> str:
    snd = conn.snd
    if not 0 <= snd.una <= snd.nxt <= snd.max:
        return f"SND.UNA {snd.una}, SND.NXT {snd.nxt}, SND.MAX {snd.max} are not in order"
    if len(snd.buffer) > conn.options.send_buffer:
        return f"{len(snd.buffer)} octets in a send buffer of {conn.options.send_buffer}"
    if snd.congestion.cwnd < snd.mss:
        return f"a congestion window of {snd.congestion.cwnd} is less than a segment of {snd.mss}"
    return ""


def _records_trouble(conn: Connection) -> str:
    """Whether the records of what was sent say the same as the numbers made from them."""
    snd = conn.snd
    recovery = snd.repair.records
    if recovery.outstanding != snd.nxt - snd.una:
        return f"{recovery.outstanding} octets outstanding, but {snd.nxt - snd.una} in flight"
    gone = total = 0
    end = snd.una
    for record in recovery:
        if not record.start == end < record.end:
            return f"records do not join at {end}: [{record.start}, {record.end})"
        end = record.end
        total += end - record.start
        if record.state in (LOST, SACKED):
            gone += end - record.start
    if total != recovery.outstanding:
        return f"records of {total} octets, but {recovery.outstanding} outstanding"
    if recovery.pipe != total - gone:
        return f"a pipe of {recovery.pipe} octets, but {total - gone} are in the network by the records"
    return ""


def _receiver_trouble(conn: Connection) -> str:
    rcv = conn.rcv
    if rcv.nxt > rcv.edge:
        return f"RCV.NXT {rcv.nxt} is beyond the window's edge {rcv.edge}"
    held = rcv.buffered + (rcv.reassembly.size if rcv.reassembly is not None else 0)
    if held > rcv.capacity:
        return f"{held} octets held in a receive buffer of {rcv.capacity}"
    # Two units of the window field are the least that a window can be offered in.
    if rcv.capacity > max(conn.options.receive_buffer, conn.options.receive_window, 2 << rcv.shift):
        return f"a receive buffer of {rcv.capacity} has outgrown its bound"
    return ""


def _timer_trouble(conn: Connection, next_timeout: Time) -> str:
    """Whether somebody will come back to what waits for an answer."""
    timers, snd = conn.timers, conn.snd
    if conn.state is not TIME_WAIT:
        if snd.outstanding and timers.retransmit == NEVER:
            return "data is outstanding and no timer runs"
        if (
            conn.state in SYNCHRONISED
            and snd.pending
            and not snd.repair.records.outstanding
            and min(timers.persist, timers.pacing) == NEVER
        ):
            return "data waits, nothing is outstanding and no timer runs"
    if next_timeout > timers.earliest():
        return f"the host would sleep until {next_timeout}, but a timer ends at {timers.earliest()}"
    return ""


Endpoint = tuple[bytes, int]


class Conduct(Observer):
    """Watches what both ends of every connection send."""

    def __init__(self) -> None:
        self._talks: dict[tuple[Endpoint, Endpoint], _Talk] = {}

    def on_segment(self, host: SimHost, event: TraceEvent, now: Time) -> None:
        if not event.outgoing:
            return
        talk = self._talks.get((event.local, event.remote))
        if talk is None:
            talk = _Talk(event.local)
            self._talks[event.local, event.remote] = self._talks[event.remote, event.local] = talk
        trouble = talk.on_sent(0 if event.local == talk.first else 1, event.segment)
        if trouble:
            raise InvariantError(f"{host.name} sends what it must not: {trouble}; {event.segment}")


class _Talk:
    """What both directions of one connection have said, and whether they were allowed to."""

    def __init__(self, first: Endpoint) -> None:
        self.first = first
        self.default_mss = 1220 if len(first[0]) == 16 else 536  # RFC 9293 3.7.1, MUST-15
        self._start_anew()

    def _start_anew(self) -> None:
        self.syns: list[Segment | None] = [None, None]
        self.edges = [0, 0]  # the largest right edge that each end has offered, in the other's unwrapped numbers
        self.latest = [0, 0]  # where each end's latest segment began, unwrapped
        self.fins = [0, 0]  # the number behind each end's FIN, unwrapped; 0 before it

    def on_sent(self, index: int, seg: Segment) -> str:
        """What is wrong with a segment that end `index` sends; empty when nothing is."""
        if seg.flags & RST:
            return ""
        if seg.flags & SYN:
            known = self.syns[index]
            if known is not None and known.seq != seg.seq:  # another connection between the same ends
                self._start_anew()
            self.syns[index] = self.syns[index] or seg
            if not seg.flags & ACK:
                # Who opens fast (RFC 7413) is answered before its first ACK.
                self.edges[index] = max(self.edges[index], 1 + seg.window)
        ours, theirs = self.syns[index], self.syns[1 - index]
        if ours is None or theirs is None:
            return ""
        if seg.flags & ACK:
            trouble = self._on_window(index, seg, ours, theirs)
            if trouble:
                return trouble
        start = unwrap(seg.seq, ours.seq, self.latest[index])
        self.latest[index] = start
        if seg.flags & FIN:
            self.fins[index] = start + seg.length
        if seg.flags & SYN or not (seg.size or seg.flags & FIN):
            return ""
        room = self.edges[1 - index] - start
        if seg.size > max(room, 1):  # 1: a probe
            return f"{seg.size} octets into a window of {room}"
        limit = max(theirs.mss or self.default_mss, MIN_MSS)
        size = seg.gso_size or seg.size  # of one segment, if there are several in a super-frame
        if size + tcp.option_length(seg) > limit:
            return f"{size} octets and options of {tcp.option_length(seg)} to a peer that takes {limit}"
        return ""

    def _on_window(self, index: int, seg: Segment, ours: Segment, theirs: Segment) -> str:
        scaling = ours.wscale >= 0 and theirs.wscale >= 0 and not seg.flags & SYN
        shift = min(ours.wscale, 14) if scaling else 0
        ack = unwrap(seg.ack, theirs.seq, self.edges[index])
        if 0 < self.fins[1 - index] <= ack:
            return ""  # nothing more can come, so nothing is taken back
        edge = ack + (seg.window << shift)
        # RFC 7323 2.4: rounding to the scale may take back less than one unit, and nothing else may. But a SYN can't
        # say more than 65535, even if it comes again when more was offered.
        if edge <= self.edges[index] - (1 << shift) and not (seg.flags & SYN and seg.window == 0xFFFF):
            return f"the window's edge went back from {self.edges[index]} to {edge}"
        self.edges[index] = max(self.edges[index], edge)
        return ""
