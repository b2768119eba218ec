"""echo, discard and chargen (RFC 862, 863, 864) over streams in memory."""

from __future__ import annotations

import itertools

from stack.apps.simple import chargen, chargen_pattern, discard, echo
from tests.apps.helpers import talking_to


async def test_echo() -> None:
    async with talking_to(echo) as peer:
        for text in (b"a", b"hello", bytes(range(256)) * 1000):
            await peer.says(text)
            heard = b""
            while len(heard) < len(text):
                heard += await peer.stream.receive_some()
            assert heard == text
        await peer.stream.send_eof()
        await peer.hears_the_end()


async def test_discard() -> None:
    async with talking_to(discard) as peer:
        for _ in range(100):
            await peer.says(b"x" * 10_000)
        await peer.stream.send_eof()
        await peer.hears_the_end()


async def test_chargen() -> None:
    async with talking_to(chargen) as peer:
        heard = b""
        while len(heard) < 20_000:
            heard += await peer.stream.receive_some()
        await peer.says(b"ignored")
        lines = heard.split(b"\r\n")[:-1]
        assert lines[0].startswith(b' !"#$%&')
        assert {len(line) for line in lines} == {72}
        for line, after in itertools.pairwise(lines):
            assert line[1:] == after[:-1]  # each starts one character further, also across a whole turn
        await peer.stream.send_eof()
        while await peer.stream.receive_some():
            pass


async def test_a_peer_that_vanishes_ends_each() -> None:
    for handler in (echo, discard, chargen):
        async with talking_to(handler) as peer:
            await peer.says(b"x" * 1000)
            await peer.stream.aclose()


def test_the_pattern_turns_once() -> None:
    assert len(chargen_pattern()) == 95 * 74
