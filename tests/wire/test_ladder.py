"""The ladder, seen as its reader sees it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.wire.ladder import Step, flag_names, format_size, render
from stack.wire.segment import ACK, FIN, PSH, SYN
from stack.wire.units import SECOND, US

ESTABLISHED, RECEIVED, SENT = "ESTABLISHED", "SYN-RECEIVED", "SYN-SENT"
NAMES: dict[str, Any] = {"left": "tcpstack 10.9.0.2:80", "right": "curl 10.9.0.1:40000"}


def visit(data_segments: int = 1) -> list[Step]:
    """One fetch from first to last: handshake, request, answer, close."""
    steps = [
        Step(5 * SECOND, False, "SYN", 0, None, 0, RECEIVED, SENT, "three-way handshake 1/3"),
        Step(5 * SECOND + 62 * US, True, "SYN,ACK", 0, 1, 0, RECEIVED, ESTABLISHED, "three-way handshake 2/3"),
        Step(5 * SECOND + 91 * US, False, "ACK", 1, 1, 0, ESTABLISHED, ESTABLISHED, "three-way handshake 3/3"),
        Step(5 * SECOND + 120 * US, False, "PSH,ACK", 1, 1, 78, ESTABLISHED, ESTABLISHED),
    ]
    seq = 1
    for _ in range(data_segments):
        steps.append(Step(5 * SECOND + 200 * US, True, "ACK", seq, 79, 1448, ESTABLISHED, ESTABLISHED))
        seq += 1448
        steps.append(Step(5 * SECOND + 300 * US, False, "ACK", 79, seq, 0, ESTABLISHED, ESTABLISHED))
    later = 5 * SECOND + 2000 * US
    return [
        *steps,
        Step(later, True, "FIN,ACK", seq, 79, 0, "FIN-WAIT-1", "CLOSE-WAIT", "four-way close 1/4"),
        Step(later + 9 * US, False, "ACK", 79, seq + 1, 0, "FIN-WAIT-2", "CLOSE-WAIT", "four-way close 2/4"),
        Step(later + 9 * US, False, "FIN,ACK", 79, seq + 1, 0, "TIME-WAIT", "LAST-ACK", "four-way close 3/4"),
        Step(later + 10 * US, True, "ACK", seq + 1, 80, 0, "TIME-WAIT", "CLOSED", "four-way close 4/4"),
    ]


FETCH = """\
     ms  tcpstack 10.9.0.2:80                                                    curl 10.9.0.1:40000
         LISTEN       │                                                                │ CLOSED
  0.000  SYN-RECEIVED │◄── SYN ────── seq 0 ─────────────── three-way handshake 1/3 ───│ SYN-SENT
  0.062  SYN-RECEIVED │─── SYN,ACK ── seq 0 ───── ack 1 ─── three-way handshake 2/3 ──►│ ESTABLISHED
  0.091  ESTABLISHED  │◄── ACK ────── seq 1 ───── ack 1 ─── three-way handshake 3/3 ───│ ESTABLISHED
  0.120  ESTABLISHED  │◄── PSH,ACK ── seq 1 ───── ack 1 ───── 78 bytes ────────────────│ ESTABLISHED
  0.200  ESTABLISHED  │─── ACK ────── seq 1 ───── ack 79 ──── 1448 bytes ─────────────►│ ESTABLISHED
  0.300  ESTABLISHED  │◄── ACK ────── seq 79 ──── ack 1449 ────────────────────────────│ ESTABLISHED
  2.000  FIN-WAIT-1   │─── FIN,ACK ── seq 1449 ── ack 79 ─────── four-way close 1/4 ──►│ CLOSE-WAIT
  2.009  FIN-WAIT-2   │◄── ACK ────── seq 79 ──── ack 1450 ───── four-way close 2/4 ───│ CLOSE-WAIT
  2.009  TIME-WAIT    │◄── FIN,ACK ── seq 79 ──── ack 1450 ───── four-way close 3/4 ───│ LAST-ACK
  2.010  TIME-WAIT    │─── ACK ────── seq 1450 ── ack 80 ─────── four-way close 4/4 ──►│ CLOSED
"""


def test_a_fetch() -> None:
    lines = render(visit(), before=("LISTEN", "CLOSED"), **NAMES)
    assert "\n".join(lines) + "\n" == FETCH
    assert max(map(len, lines)) <= 100


#: Narrow, in ASCII, and with what is dull left out. Notes that find no room have lines of their own.
FOLDED = """\
     ms
  0.000  SYN-RECEIVED |<-- SYN ------ seq 0 ------ three-way handshake 1/3 ---| SYN-SENT
  0.062  SYN-RECEIVED |--- SYN,ACK -- seq 0 ------ ack 1 -------------------->| ESTABLISHED
                      |                            three-way handshake 2/3    |
  0.091  ESTABLISHED  |<-- ACK ------ seq 1 ------ ack 1 ---------------------| ESTABLISHED
                      |                            three-way handshake 3/3    |
  0.120  ESTABLISHED  |<-- PSH,ACK -- seq 1 ------ ack 1 ------ 78 bytes -----| ESTABLISHED
  0.200  ESTABLISHED  |--- ACK ------ seq 1 ------ ack 79 ----- 1448 bytes -->| ESTABLISHED
                      |            . . .  77 segments, 55 kB  . . .           |
  0.200  ESTABLISHED  |--- ACK ------ seq 56473 -- ack 79 ----- 1448 bytes -->| ESTABLISHED
  0.300  ESTABLISHED  |<-- ACK ------ seq 79 ----- ack 57921 -----------------| ESTABLISHED
  2.000  FIN-WAIT-1   |--- FIN,ACK -- seq 57921 -- ack 79 ------------------->| CLOSE-WAIT
                      |                                 four-way close 1/4    |
  2.009  FIN-WAIT-2   |<-- ACK ------ seq 79 ----- ack 57922 -----------------| CLOSE-WAIT
                      |                                 four-way close 2/4    |
  2.009  TIME-WAIT    |<-- FIN,ACK -- seq 79 ----- ack 57922 -----------------| LAST-ACK
                      |                                 four-way close 3/4    |
  2.010  TIME-WAIT    |--- ACK ------ seq 57922 -- ack 80 ------------------->| CLOSED
                      |                                 four-way close 4/4    |
"""


def test_a_long_fetch_folded_narrow_and_in_ascii() -> None:
    lines = render(visit(40), fold=4, ascii=True, width=72)
    assert "\n".join(lines) + "\n" == FOLDED
    assert all(line.isascii() and line == line.rstrip() for line in lines)


@pytest.mark.parametrize("width", [40, 100, 132])
def test_the_bars_stand_one_below_the_other(width: int) -> None:
    lines = render(visit(10), width=width, **NAMES)[1:]
    bars = {tuple(column for column, letter in enumerate(line) if letter == "│") for line in lines}
    assert len(bars) == 1
    assert max(map(len, render(visit(10), width=132, **NAMES))) <= 132


def plain(count: int, outgoing: bool = True, length: int = 1000) -> list[Step]:
    return [Step(n * US, outgoing, "ACK", n, 1, length, ESTABLISHED, ESTABLISHED) for n in range(count)]


QUIET = (ESTABLISHED, ESTABLISHED)


def middles(steps: list[Step], fold: int) -> list[str]:
    """What stands between the bars."""
    return [line.split("│")[1].strip("─►◄ ") for line in render(steps, fold=fold, before=QUIET)[2:]]


@pytest.mark.parametrize(
    ("count", "fold", "lines"),
    [
        (9, 0, 9),  # no folding
        (9, 9, 9),
        (9, 8, 9),  # one line for one segment would save nothing
        (9, 7, 8),
        (9, 2, 3),
        (9, 1, 2),
        (1000, 6, 7),
    ],
)
def test_folding_saves_lines(count: int, fold: int, lines: int) -> None:
    shown = middles(plain(count), fold)
    assert len(shown) == lines
    assert any("segments" in text for text in shown) == (lines < count)


def test_a_fold_shows_first_and_last_and_sums_up_the_rest() -> None:
    shown = middles(plain(100), 4)
    assert re.findall(r"seq \d+", " ".join(shown)) == ["seq 0", "seq 1", "seq 98", "seq 99"]
    assert shown[2] == "· · ·  96 segments, 96 kB  · · ·"


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        (plain(5, length=0), "4 segments"),
        (plain(5, outgoing=False, length=1), "4 segments, 4 bytes"),
        (plain(3) + plain(2, outgoing=False), "4 segments, 2.0 kB out, 2.0 kB in"),
    ],
)
def test_what_a_fold_says(steps: list[Step], text: str) -> None:
    assert middles(steps, 1)[1] == f"· · ·  {text}  · · ·"


@pytest.mark.parametrize(
    "special",
    [
        Step(0, True, "ACK", 4242, 1, 0, *QUIET, "retransmission"),
        Step(0, True, "SYN", 4242, 1, 0, *QUIET),
        Step(0, True, "FIN,ACK", 4242, 1, 0, *QUIET),
        Step(0, True, "RST", 4242, None, 0, *QUIET),
        Step(0, True, "ACK", 4242, 1, 0, "CLOSE-WAIT", ESTABLISHED),
        Step(0, True, "ACK", 4242, 1, 0, ESTABLISHED, "TIME-WAIT"),
    ],
)
def test_nothing_that_matters_is_folded(special: Step) -> None:
    lines = render([*plain(50), special, *plain(50)], fold=2, before=QUIET)
    (shown,) = (line for line in lines if "seq 4242" in line)
    assert all(word in shown for word in (special.flags, special.our_state, special.peer_state, special.note))
    assert ["segments" in line for line in lines].count(True) == 2


def test_each_direction_points_its_way() -> None:
    out, back = render([*plain(1), *plain(1, outgoing=False)])[1:]
    assert "│───" in out
    assert "►│" in out
    assert "│◄──" in back
    assert "─│" in back


def test_words() -> None:
    assert Step(0, True, "RST", 7).words() == ("RST", "seq 7", "", "")
    assert Step(0, True, "ACK", 7, 8, 1).words() == ("ACK", "seq 7", "ack 8", "1 byte")
    assert Step(0, True, "ACK", 7, 0, 2).words() == ("ACK", "seq 7", "ack 0", "2 bytes")


def test_long_names_get_a_line_each() -> None:
    left, right = "tcpstack [2001:db8:1111:2222:3333:4444:5555:6666]:40000", "nginx [2001:db8::1]:80 " * 2
    first, second, *_ = render(plain(1), left=left, right=right.strip())
    assert first.endswith(left)
    assert second.endswith(right.strip())
    assert len(second) <= 100


def test_without_steps_there_is_only_the_heading() -> None:
    assert render([]) == ["     ms"]
    assert len(render([], before=("LISTEN", "CLOSED"), **NAMES)) == 2


def test_flag_names() -> None:
    assert flag_names(SYN | ACK) == "SYN,ACK"
    assert flag_names(FIN | PSH | ACK) == "FIN,PSH,ACK"
    assert flag_names(255) == "FIN,SYN,RST,PSH,ACK,URG,ECE,CWR"
    assert flag_names(0) == "-"


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (9949, "9.9 kB"),
        (9950, "10 kB"),
        (999499, "999 kB"),
        (999500, "1.0 MB"),
        (100_000_000, "100 MB"),
        (5 * 10**12, "5000 GB"),
    ],
)
def test_sizes(octets: int, text: str) -> None:
    assert format_size(octets) == text


states = st.sampled_from([ESTABLISHED, "CLOSED", ""])
any_step = st.builds(
    Step,
    st.integers(0, 10**12),
    st.booleans(),
    st.sampled_from(["ACK", "SYN", "-", ""]),
    st.integers(0, 2**32 - 1),
    st.none() | st.integers(0, 2**32 - 1),
    st.integers(0, 65535),
    states,
    states,
    st.sampled_from(["", "note", "a note " * 20]),
)


@given(st.lists(any_step, max_size=12), st.integers(0, 5), st.integers(0, 150), st.tuples(states, states))
def test_every_ladder_can_be_drawn(steps: list[Step], fold: int, width: int, before: tuple[str, str]) -> None:
    lines = render(steps, left="left", right="right", before=before, width=width, fold=fold)
    shown = sum("►" in line or "◄" in line for line in lines)
    assert shown == len(steps) if not fold else shown <= len(steps)
    assert all(line.count("│") == 2 for line in lines[1:])
