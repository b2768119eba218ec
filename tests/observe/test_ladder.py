"""Ladders: relative numbers, states of both ends, the marks of handshake and close, what is out of the ordinary."""

from __future__ import annotations

import pytest

from stack.host.trace import TraceEvent
from stack.observe import ladder
from stack.observe.ladder import Recorder, Story
from stack.tcp.state import State
from stack.wire.segment import Segment

FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, ".": 16}
OURS, THEIRS = 0xFFFF_FFF0, 0xFFFF_FFFA  # initial numbers just below the wrap
LOCAL, REMOTE = (bytes([10, 9, 0, 2]), 80), (bytes([10, 9, 0, 1]), 40000)


def events(script: str, *, ours: int = OURS, theirs: int = THEIRS) -> list[TraceEvent]:
    """Each line is `> flags seq ack length our-state [window]` (sent) or `< ...` (received), numbers relative."""
    seen = []
    for time, line in enumerate(filter(str.strip, script.splitlines())):
        arrow, letters, seq, ack, size, state, *window = line.split()
        zero, other = (ours, theirs) if arrow == ">" else (theirs, ours)
        seg = Segment(
            1,
            2,
            (zero + int(seq)) % 2**32,
            (other + int(ack)) % 2**32 if "." in letters else 0,
            sum(FLAGS[letter] for letter in letters),
            int(window[0]) if window else 1000,
            (b"x" * int(size),) if int(size) else (),
        )
        seen.append(TraceEvent(time * 1_000_000, arrow == ">", LOCAL, REMOTE, seg, State(state)))
    return seen


def tell(script: str) -> Story:
    story = Story(LOCAL, REMOTE)
    for event in events(script):
        story.add(event)
    return story


def notes(story: Story) -> list[str]:
    return [step.note for step in story.steps]


FETCH = """
    < S  0   0   0   SYN-RECEIVED
    > S. 0   1   0   SYN-RECEIVED
    < .  1   1   0   ESTABLISHED
    < P. 1   1   70  ESTABLISHED
    > P. 1   71  100 ESTABLISHED
    < F. 71  101 0   CLOSE-WAIT
    > .  101 72  0   CLOSE-WAIT
    > F. 101 72  0   LAST-ACK
    < .  72  102 0   CLOSED
"""


def test_a_fetch() -> None:
    story = tell(FETCH)
    assert [(s.flags, s.seq, s.ack, s.length, s.our_state, s.peer_state, s.note) for s in story.steps] == [
        ("SYN", 0, None, 0, "SYN-RECEIVED", "SYN-SENT", "three-way handshake 1/3"),
        ("SYN,ACK", 0, 1, 0, "SYN-RECEIVED", "SYN-SENT", "three-way handshake 2/3"),
        ("ACK", 1, 1, 0, "ESTABLISHED", "ESTABLISHED", "three-way handshake 3/3"),
        ("PSH,ACK", 1, 1, 70, "ESTABLISHED", "ESTABLISHED", ""),
        ("PSH,ACK", 1, 71, 100, "ESTABLISHED", "ESTABLISHED", ""),
        ("FIN,ACK", 71, 101, 0, "CLOSE-WAIT", "FIN-WAIT-1", "four-way close 1/4"),
        ("ACK", 101, 72, 0, "CLOSE-WAIT", "FIN-WAIT-2", "four-way close 2/4"),
        ("FIN,ACK", 101, 72, 0, "LAST-ACK", "FIN-WAIT-2", "four-way close 3/4"),
        ("ACK", 72, 102, 0, "CLOSED", "TIME-WAIT", "four-way close 4/4"),
    ]
    assert story.before == ("LISTEN", "CLOSED")
    assert (story.handshake, story.close, story.reset, story.repeated) == (3, 4, False, 0)
    assert (story.segments, story.payload) == ((4, 5), (100, 70))


def test_the_text() -> None:
    lines = tell(FETCH).lines(peer="curl", width=100)
    assert "tcpstack 10.9.0.2:80" in lines[0]
    assert "curl 10.9.0.1:40000" in lines[0]
    assert sum("three-way handshake" in line for line in lines) == 3
    assert sum("four-way close" in line for line in lines) == 4
    assert "1.000  SYN-RECEIVED" in "\n".join(lines)
    assert all(line.isascii() for line in tell(FETCH).lines(ascii=True))


def test_an_active_open_and_a_close_in_three() -> None:
    story = tell("""
        > S  0 0 0 SYN-SENT
        < S. 0 1 0 ESTABLISHED
        > P. 1 1 9 ESTABLISHED
        > F. 10 1 0 FIN-WAIT-1
        < F. 1 11 0 TIME-WAIT
        > .  11 2 0 TIME-WAIT
    """)
    assert story.before == ("CLOSED", "LISTEN")
    assert notes(story) == [
        "three-way handshake 1/3",
        "three-way handshake 2/3",
        "three-way handshake 3/3",
        "four-way close 1/4",
        "four-way close 2+3/4",
        "four-way close 4/4",
    ]
    assert story.steps[-1].peer_state == "CLOSED"


def test_fins_that_cross() -> None:
    story = tell(
        FETCH[: FETCH.index("< F.")]
        + """
        > F. 101 71 0 FIN-WAIT-1
        < F. 71 101 0 CLOSING
        > .  102 72 0 CLOSING
        < .  72 102 0 TIME-WAIT
    """
    )
    assert notes(story)[-4:] == [f"four-way close {part}/4" for part in (1, 3, 4, 2)]
    assert story.close == 4


def test_what_is_sent_again_is_said_and_not_counted_twice() -> None:
    story = tell("""
        > S  0 0 0 SYN-SENT
        > S  0 0 0 SYN-SENT
        < S. 0 1 0 ESTABLISHED
        > .  1 1 0 ESTABLISHED
        > P. 1 1 9 ESTABLISHED
        > P. 1 1 9 ESTABLISHED
        < F. 1 10 0 CLOSE-WAIT
        < F. 1 10 0 CLOSE-WAIT
    """)
    assert notes(story) == [
        "three-way handshake 1/3",
        "sent again",
        "three-way handshake 2/3",
        "three-way handshake 3/3",
        "",
        "sent again",
        "four-way close 1/4",
        "sent again",
    ]
    assert story.repeated == 3
    assert (story.handshake, story.close) == (3, 1)


def test_gaps_probes_and_windows() -> None:
    story = tell(
        FETCH[: FETCH.index("< P.")]
        + """
        < .  1   1 0 ESTABLISHED
        < P. 101 1 9 ESTABLISHED
        > .  1   1 0 ESTABLISHED 0
        < .  109 1 0 ESTABLISHED
    """
    )
    assert notes(story)[3:] == ["", "ahead of a gap", "window closed", "probe"]


def test_a_refused_connection() -> None:
    story = tell("""
        < S  0 0 0 CLOSED
        > R. 0 1 0 CLOSED
    """)
    assert story.before == ("CLOSED", "CLOSED")
    assert notes(story) == ["three-way handshake 1/3", "reset"]
    assert (story.steps[1].seq, story.steps[1].ack) == (0, 1)
    assert story.reset


def test_a_simultaneous_open() -> None:
    story = tell("""
        > S  0 0 0 SYN-SENT
        < S  0 0 0 SYN-RECEIVED
        > S. 0 1 0 SYN-RECEIVED
        < S. 0 1 0 ESTABLISHED
    """)
    assert notes(story)[1] == "simultaneous open"


def test_a_connection_seen_from_its_middle() -> None:
    story = tell("> P. 5000 9000 10 ESTABLISHED")
    assert (story.steps[0].seq, story.steps[0].ack) == (1, 1)
    assert story.before == ("", "")


def test_numbers_beyond_four_gigabytes_go_on_counting() -> None:
    story = Story(LOCAL, REMOTE)
    for number in range(0, 3 * 2**31, 2**30):
        for event in events(f"> P. {number} 1 10 ESTABLISHED"):
            story.add(event)
    assert [step.seq for step in story.steps] == [1 + number for number in range(0, 3 * 2**31, 2**30)]


def test_plain_steps_have_a_bound_and_marked_ones_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "MOST_STEPS", 5)
    story = tell(FETCH[: FETCH.index("> P.")] + "    > .  1 71 0 ESTABLISHED\n" * 100 + FETCH[FETCH.index("> P.") :])
    assert story.omitted == 100
    assert story.close == 4
    assert notes(story)[-4:] == [f"four-way close {part}/4" for part in (1, 2, 3, 4)]


def test_the_recorder_sorts_by_connection_and_notices_a_new_one() -> None:
    recorder = Recorder()
    first, second = events(FETCH), events(FETCH, ours=5, theirs=7)
    for event in first + second:
        recorder(event)
    assert [story.close for story in recorder.stories] == [4, 4]
    other = events(FETCH)
    for event in other:
        event.remote = (event.remote[0], 40001)
        recorder(event)
    assert len(recorder.stories) == 3


def test_the_recorder_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "MOST_STORIES", 2)
    recorder = Recorder()
    for port in (1, 2, 3, 1):
        for event in events(FETCH):
            event.remote = (event.remote[0], port)
            recorder(event)
    assert [story.remote[1] for story in recorder.stories] == [3, 1]


# RFC7413-07
def test_a_fast_opening_shows_its_cookies_and_its_data() -> None:
    story = Story(LOCAL, REMOTE)
    told = events(
        """
        < S  0   0   70  SYN-RECEIVED
        > S. 0   71  0   SYN-RECEIVED
        > P. 1   71  100 SYN-RECEIVED
        < .  71  101 0   ESTABLISHED
        """
    )
    told[0].segment.fastopen = bytes(8), False
    told[1].segment.fastopen = b"", True
    for event in told:
        story.add(event)
    assert notes(story) == [
        "three-way handshake 1/3, cookie",
        "three-way handshake 2/3, asks for a cookie",
        "",
        "three-way handshake 3/3",
    ]
    assert [step.length for step in story.steps] == [70, 0, 100, 0]
    assert [(step.our_state, step.peer_state) for step in story.steps] == [
        ("SYN-RECEIVED", "SYN-SENT"),
        ("SYN-RECEIVED", "SYN-SENT"),
        ("SYN-RECEIVED", "SYN-SENT"),
        ("ESTABLISHED", "ESTABLISHED"),
    ]
