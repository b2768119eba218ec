"""Scripts for the tests: a handshake to begin with, and a way to run what follows it."""

from __future__ import annotations

from stack.sim.packetdrill import Outcome, Verdict, run_script

SERVER = """\
    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
   +0 bind(3, ..., ...) = 0
   +0 listen(3, 1) = 0
   +0 < S 0:0(0) win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7>
   +0 > S. 0:0(0) ack 1 <mss 1460,nop,nop,sackOK,nop,wscale 8>
  +.1 < . 1:1(0) ack 1 win 257
   +0 accept(3, ..., ...) = 4
"""
"""A peer has connected to fd 4; its segments have 1000 octets, a round trip takes 100 ms. Seven lines."""

CLIENT = """\
    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
   +0 fcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0
   +0 connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)
   +0 > S 0:0(0) <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 8>
  +.1 < S. 0:0(0) ack 1 win 5792 <mss 1460,sackOK,TS val 700 ecr 100,nop,wscale 7>
   +0 > . 1:1(0) ack 1 <nop,nop,TS val 200 ecr 700>
"""
"""Fd 3 has connected to a peer, with timestamps. Six lines."""


def run(text: str, **choices: object) -> Outcome:
    """Run a script under the linux profile, or as `choices` say."""
    return run_script(text, **choices)  # type: ignore[arg-type]


def passes(text: str, **choices: object) -> Outcome:
    """Run a script that must pass."""
    outcome = run(text, **choices)
    assert outcome.verdict is Verdict.PASS, "\n".join(outcome.lines())
    return outcome


def fails(text: str, *words: str, line: int = 0, **choices: object) -> Outcome:
    """Run a script that must fail, with all these words in what is printed, at that line."""
    outcome = run(text, **choices)
    printed = "\n".join(outcome.lines())
    assert outcome.verdict is Verdict.FAIL, printed
    for word in words:
        assert word in printed, printed
    if line:
        assert outcome.place is not None
        assert outcome.place.line == line, printed
    return outcome


def unsupported(text: str, *words: str, line: int = 0, **choices: object) -> Outcome:
    """Run a script that must not be supported."""
    outcome = run(text, **choices)
    printed = "\n".join(outcome.lines())
    assert outcome.verdict is Verdict.UNSUPPORTED, printed
    for word in words:
        assert word in printed, printed
    if line:
        assert outcome.place is not None
        assert outcome.place.line == line, printed
    return outcome
