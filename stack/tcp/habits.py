"""Where stacks differ: behaviour that the RFCs leave open, or that a widespread stack has settled otherwise.

`RFC` keeps to the letter, and is what a connection does unless it is told otherwise. `LINUX` and `FREEBSD` do as those
do, for scripts that were written for them and for labs in which a host should look like one. Each field names the rule
that it bends; none of them lets a peer do harm. `stack.tcp.profiles` puts numbers beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stack.wire.units import MS, Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What a stack does where another one does something else."""

    #: A last small segment waits for the ACK of an earlier *small* one only (Minshall's addition to Nagle), and not
    #: for that of anything in flight (RFC 9293 3.7.4).
    small_waits_for_small: bool = False

    #: In slow start the window grows while it is less than twice what was in flight in the last round trip, and for
    #: a round trip after it was the limit; else only if it was the limit just now (RFC 5681 4.1, RFC 9438 4.2).
    grows_ahead: bool = False

    #: An ACK adds all that it acknowledges to the window in slow start; else eight segments at most while HyStart++
    #: looks out (RFC 9406 4.2), and one otherwise (RFC 5681 3.1).
    ack_counts_fully: bool = False

    #: An ACK counts for the window only as far as no SACK block and no duplicate has told of it before.
    counts_what_is_news: bool = False

    #: What a loss, a time-out or a mark of congestion leaves is a part of the window, however little of it was used;
    #: else of what was in flight (RFC 5681 3.1, equation 4), as RFC 9438 4.6 prefers, too.
    reduces_unused_window: bool = False

    #: Segments without a timestamp are taken on a connection that has agreed on them (RFC 7323 3.2: dropped).
    takes_missing_timestamps: bool = False

    #: A tail loss probe waits so long at least, however short the round trip is. RFC 8985 7.2 knows no such floor: why
    #: we have one stands in `stack.tcp.tlp`.
    least_probe_wait: Duration = 60 * MS

    #: Data that goes with the acknowledgment of the SYN-ACK begins a conversation: the peer's segments are not
    #: acknowledged at once at first (see `stack.tcp.receiver`), for the next ACK can ride on data, too.
    talks_at_once: bool = False

    #: What is reported as received by an ACK that is itself old counts all the same (RFC 2018 says nothing about it).
    reads_old_reports: bool = False

    #: In a simultaneous open the SYN that comes again with the peer's ACK is reported as received twice (RFC 2883
    #: speaks of data only, and nothing needs to be sent).
    reports_second_syn: bool = False

    #: In ESTABLISHED a segment that acknowledges what was never sent is dropped in silence (RFC 9293 3.10.7.4: with an
    #: ACK).
    ignores_unsent_acks: bool = False

    #: A probe of a closed window is an empty segment with a number that is acknowledged already, as a keep-alive is;
    #: else the next octet (RFC 9293 3.8.6.1: at least one, for some peers answer nothing less).
    probes_without_text: bool = False

    #: The reset for text that comes after CLOSE is that of a host without the connection, <SEQ=SEG.ACK>; else ABORT's,
    #: <SEQ=SND.NXT> (RFC 9293 3.6.1 wants one, and names no form).
    resets_as_if_gone: bool = False

    #: A reset that answers a segment with timestamps has some, too, and echoes what came (RFC 7323 5.2: it should).
    echoes_in_resets: bool = True

    #: The options of a SYN stand in the order of their kinds; else the timestamps share a word with SACK-permitted and
    #: come before the window scale (RFC 9293 3.1 leaves the order open). See `stack.wire.tcp`.
    syn_options_by_kind: bool = False

    #: The first window holds whole segments, and no more than a SYN can say (RFC 9293 3.8.6 leaves it open).
    whole_first_window: bool = False

    #: What the buffer holds beyond the window that it begins with is for what waits unread: only when that is full the
    #: window shrinks. It is rounded up to what its field can say, and moves with every segment (RFC 9293 3.8.6.2.2: by
    #: a whole one, or half of the buffer).
    spare_buffer: bool = False

    #: So many time-outs of a SYN don't double the wait for the next, and don't count among `syn_retries` (RFC 6298 5.5:
    #: each doubles).
    even_syns: int = 0

    #: The first segments, and those after a pause or a loss, are acknowledged at once; else every second one is, as
    #: always (RFC 5681 4.2 asks for no less).
    quick_acks: bool = True

    #: The least RTO is one for the whole of it (RFC 6298 2.4); else for what is added to SRTT, so that a time-out never
    #: comes sooner after a round trip than a delayed ACK may.
    rounds_rto_up: bool = False


RFC: Final = Habits()

LINUX: Final = Habits(
    small_waits_for_small=True,
    grows_ahead=True,
    ack_counts_fully=True,
    counts_what_is_news=True,
    reduces_unused_window=True,
    takes_missing_timestamps=True,
    least_probe_wait=0,
    talks_at_once=True,
    reads_old_reports=True,
    reports_second_syn=True,
    ignores_unsent_acks=True,
    probes_without_text=True,
    resets_as_if_gone=True,
    echoes_in_resets=False,
    whole_first_window=True,
    spare_buffer=True,
    even_syns=4,
)

FREEBSD: Final = Habits(takes_missing_timestamps=True, syn_options_by_kind=True, quick_acks=False)
