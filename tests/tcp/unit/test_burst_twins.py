"""A sender of bursts beside one of single segments: the same octets leave at the same time, and their books agree.

On a path without a fault of its own a super-frame is nothing but a shorter way of saying the same: whatever the peer
answers, the wire behind the device that cuts carries exactly what it would have carried without. The peers of this
model acknowledge whole segments, as every receiver does that has room for one, and report anything at all.

What is left out is small segments in the middle of the stream: when lost ones are sent again together, their edges may
fall elsewhere.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stack.tcp.config import TcpOptions
from stack.tcp.congestion import CongestionControl, Cubic, NewReno
from stack.tcp.recovery import LOST, OUT, SACKED
from stack.tcp.rtt import RttEstimator
from stack.tcp.sender import Sender
from stack.tcp.timestamps import TICK
from stack.wire.units import MS, SECOND, US, Duration, Time

MSS = 1000


class TwinMachine(RuleBasedStateMachine):
    """Two senders to which the same happens."""

    @initialize(
        nodelay=st.booleans(),
        cwnd=st.integers(1, 60),
        sack=st.booleans(),
        max_payload=st.sampled_from([2 * MSS, 5 * MSS + 1, 65_000]),
        rtt=st.sampled_from([200 * US, 2 * MS, 30 * MS]),
        control=st.sampled_from([NewReno, Cubic]),
        segments=st.sampled_from([0, 3, 30, 100]),
    )
    def begin(
        self,
        nodelay: bool,
        cwnd: int,
        sack: bool,
        max_payload: int,
        rtt: Duration,
        control: type[CongestionControl],
        segments: int,
    ) -> None:
        self.now: Time = rtt
        self.twins = [Sender(RttEstimator(TcpOptions()), control(MSS), MSS, nodelay=nodelay) for _ in range(2)]
        for snd, most in zip(self.twins, (0, max_payload), strict=True):
            assert snd.next_chunk(0) == (0, 1)
            snd.agree(snd.congestion, MSS, sack=sack, max_payload=most)
            snd.on_ack(1, [], self.now, duplicate=False, echoed=-1, echo_tick=-1)
            snd.on_window(100 * MSS, 1, 1)
            snd.congestion.cwnd = cwnd * MSS
            snd.buffer.append(bytes(segments * MSS))
        self.plain, self.bursts = self.twins
        self.seq = 1
        self.finished = False

    # Commands.

    @precondition(lambda self: not self.finished)
    @rule(segments=st.integers(1, 60))
    def write(self, segments: int) -> None:
        for snd in self.twins:
            snd.buffer.append(bytes(segments * MSS))

    @precondition(lambda self: not self.finished)
    @rule(tail=st.one_of(st.integers(1, 3), st.integers(1, MSS)), close=st.booleans())
    def finish(self, tail: int, close: bool) -> None:
        self.finished = True
        for snd in self.twins:
            snd.buffer.append(bytes(tail))
            snd.fin_wanted = close

    @rule()
    def poll(self) -> None:
        """Both say all that they have to say now."""
        said = []
        for snd in self.twins:
            octets: list[tuple[int, int]] = []
            while (chunk := snd.next_chunk(self.now)) is not None:
                octets += _segments(chunk, snd.buffer.end)
                assert len(octets) < 10_000
            said.append(octets)
        assert said[0] == said[1], said

    # The peer.

    @precondition(lambda self: self.plain.outstanding)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        """Of what is out, whole segments from the left, and reports beyond them."""
        ack = data.draw(st.sampled_from([record.end for record in self.plain.repair.records]))
        self._on_ack(data, ack, duplicate=False)

    @precondition(lambda self: self.plain.outstanding)
    @rule(data=st.data(), times=st.integers(1, 4))
    def duplicates(self, data: st.DataObject, times: int) -> None:
        for _ in range(times):
            if self.plain.outstanding:
                self._on_ack(data, self.plain.una, duplicate=True)

    def _on_ack(self, data: st.DataObject, ack: int, *, duplicate: bool) -> None:
        self.now += data.draw(st.sampled_from([0, 1, 100 * US, 5 * MS, 40 * MS]))
        echoed = data.draw(st.sampled_from([-1, 0, 3 * MS, 200 * MS]))
        tick = -1 if echoed < 0 else self.now // TICK - echoed // TICK
        blocks: list[tuple[int, int]] = []
        if self.plain.repair.sack:
            edges = [ack, *[record.end for record in self.plain.repair.records]]
            edge = st.one_of(st.sampled_from(edges), st.integers(ack - 3 * MSS, self.plain.nxt))
            blocks = [(min(pair), max(pair)) for pair in data.draw(st.lists(st.tuples(edge, edge), max_size=3))]
        for snd in self.twins:
            snd.on_ack(ack, blocks, self.now, duplicate=duplicate, echoed=echoed, echo_tick=tick)
        if data.draw(st.booleans()):
            self.poll()

    @rule(segments=st.integers(0, 80))
    def window(self, segments: int) -> None:
        self.seq += 1
        for snd in self.twins:
            snd.on_window(segments * MSS, self.seq, snd.una)
        self.poll()

    @rule()
    def mark(self) -> None:
        for snd in self.twins:
            if snd.on_mark(snd.nxt, self.now):
                snd.repair.hold(self.now)

    # Time.

    # Not where the peer has reneged, which shows when the first is reported and yet not acknowledged: what it had
    # reported as one is one burst again, and RACK, for which the last of it is the newest, takes none or all for lost.
    @precondition(lambda self: self.plain.outstanding and self.plain.repair.records.first.state != SACKED)
    @rule()
    def time_out(self) -> None:
        self.now += self.plain.rtt.rto
        for snd in self.twins:
            snd.on_retransmission_timeout(self.now)
        self.poll()

    @precondition(lambda self: self.plain.repair.reorder_at < self.now + SECOND)
    @rule()
    def reorder_time_out(self) -> None:
        self.now = max(self.now, self.plain.repair.reorder_at)
        for snd in self.twins:
            snd.on_reorder_timeout(self.now)
        self.poll()

    @precondition(lambda self: self.plain.wants_tail_loss_probe)
    @rule(after=st.sampled_from([0, 60 * MS]))
    def tail_loss_probe(self, after: Duration) -> None:
        self.now += after
        probes = [snd.tail_loss_probe(self.now) for snd in self.twins]
        assert probes[0] == probes[1]

    # What must hold.

    @invariant()
    def agree(self) -> None:
        for plain, bursts in zip(_told(self.plain).items(), _told(self.bursts).items(), strict=True):
            assert plain == bursts

    @invariant()
    def records(self) -> None:
        """Octet for octet the same became of everything, and a burst costs no more memory than its segments."""
        plain, bursts = self.plain.repair.records, self.bursts.repair.records
        assert len(bursts) <= len(plain)
        states: dict[int, tuple[int, Time, bool]] = {}
        for record in bursts:
            start = record.start
            while start < record.end:
                states[start] = record.state, record.sent_at, record.transmissions > 1
                start += MSS
        for record in plain:
            if record.start in states:
                state = states[record.start]
            assert (record.state, record.sent_at, record.transmissions > 1) == state, record


def _segments(chunk: tuple[int, int], data_end: int) -> list[tuple[int, int]]:
    """A chunk as a device cuts it; a FIN rides on the last segment."""
    start, end = chunk
    text = min(end, data_end)
    cuts = list(range(start, text, MSS)) or [start]
    return list(zip(cuts, [*cuts[1:], end], strict=True))


def _told(snd: Sender) -> dict[str, object]:
    """All that decides what happens next."""
    repair, records, congestion = snd.repair, snd.repair.records, snd.congestion
    return {
        "numbers": (snd.una, snd.nxt, snd.max, snd.fin_sent),
        "pipe": (records.outstanding, records.sacked_bytes, records.lost_bytes, records.pipe),
        "sums": tuple(sum(r.size for r in records if r.state == state) for state in (OUT, SACKED, LOST)),
        "sacked": records.sacked_segments,
        "windows": (congestion.cwnd, congestion.ssthresh),
        "repair": (repair.phase, repair.recover, repair.dupacks, repair.reorder_at, repair.new_first),
        "counts": (repair.recoveries, repair.timeouts, repair.spurious, snd.retransmitted_bytes),
        "segments": snd.retransmitted_segments,
        "waiting": (snd.cwnd_limited, snd.blocked_by_window, snd.wants_tail_loss_probe),
        "round trip": (snd.rtt.srtt, snd.rtt.rttvar, snd.rtt.minimum),
        "delivered": (repair.rate.delivered, repair.rate.rate, repair.rate.is_app_limited),
    }


TestTwins = TwinMachine.TestCase
TestTwins.settings = settings(stateful_step_count=40)
