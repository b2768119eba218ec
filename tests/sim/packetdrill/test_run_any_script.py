"""Whatever a script says, an outcome comes of it: none of our own exceptions, and the same one every time."""

from __future__ import annotations

import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stack.sim.packetdrill import run_script
from tests.sim.packetdrill.scripts import CLIENT, SERVER

BODY = (
    "+0 write(4, ..., 3000) = 3000\n"
    "+0 > P. 1:3001(3000) ack 1\n"
    "+.1 < . 1:1(0) ack 1 win 257 <sack 2001:3001,nop,nop>\n"
    "* > . 1:1001(1000) ack 1\n"
    "+0...0.2 read(4, ..., 100) = 10\n"
    "+.1 < P. 1:11(10) ack 3001 win 257\n"
    "+0 > . 3001:3001(0) ack 11\n"
    "+0 poll([{fd=4, events=POLLIN|POLLOUT, revents=POLLOUT}], 1, 100) = 1\n"
    "+0 epoll_create(1) = 5\n"
    "+0 epoll_ctl(5, EPOLL_CTL_ADD, 4, {events=EPOLLIN|EPOLLET, fd=4}) = 0\n"
    "+0 getsockopt(4, SOL_TCP, TCP_MAXSEG, [1000], [4]) = 0\n"
    "+0 setsockopt(4, SOL_TCP, TCP_NOTSENT_LOWAT, [4000], 4) = 0\n"
    "+0 setsockopt(4, SOL_SOCKET, SO_SNDBUF, [5000], 4) = 0\n"
    "+0 < icmp unreachable frag_needed mtu 800 [1:1001(1000)]\n"
    "+0 %{ assert tcpi_snd_cwnd > 0 }%\n"
    "+0 `sysctl -q net.ipv4.tcp_sack=0`\n"
    "+.1 shutdown(4, SHUT_WR) = 0\n"
    "+0 > F. 3001:3001(0) ack 11\n"
    "+0 ioctl(4, SIOCINQ, [0]) = 0\n"
    "+.1 close(4) = 0\n"
)
LINES = (SERVER + BODY).splitlines(keepends=True) + CLIENT.splitlines(keepends=True)
NUMBER = re.compile(r"\d+")
STRANGE = ("0", "1", "4", "7", "255", "65535", "65536", "4294967295", "99999999999", "0x7f", "-1", "...", "NULL", "")


@st.composite
def scripts(draw: st.DrawFn) -> str:
    """A script with some lines left out, repeated or in the wrong place, and some numbers that are others."""
    lines = draw(st.lists(st.sampled_from(LINES), max_size=6))
    cut = sorted(draw(st.lists(st.integers(0, len(LINES)), min_size=2, max_size=2)))
    text = "".join([*LINES[: cut[0]], *lines, *LINES[cut[1] :]])
    for _ in range(draw(st.integers(0, 4))):
        numbers = list(NUMBER.finditer(text))
        if numbers:
            which = numbers[draw(st.integers(0, len(numbers) - 1))]
            text = text[: which.start()] + draw(st.sampled_from(STRANGE)) + text[which.end() :]
    return text


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(scripts())
def test_no_script_makes_us_raise(text: str) -> None:
    outcome = run_script(text)
    assert "a fault of ours" not in outcome.message, "\n".join(outcome.lines())
    assert outcome.lines()
    assert run_script(text) == outcome
