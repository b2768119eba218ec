"""SipHash-2-4 against the values that its authors have published."""

from __future__ import annotations

import pytest

from stack.host.siphash import siphash

KEY = bytes(range(16))


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, "310e0edd47db6f72"),
        (1, "fd67dc93c539f874"),
        (7, "37d1018bf50002ab"),
        (8, "6224939a79f5f593"),
        (15, "e545be4961ca29a1"),
    ],
)
def test_published_values(length: int, expected: str) -> None:
    """The message is 00, 01, 02 ..., and the key, too."""
    assert siphash(bytes(range(length)), KEY).hex() == expected


def test_it_depends_on_each_octet_of_key_and_message() -> None:
    message = bytes(40)
    seen = {siphash(message, bytes(16))}
    for index in range(40):
        seen.add(siphash(message[:index] + b"\x01" + message[index + 1 :], bytes(16)))
    for index in range(16):
        seen.add(siphash(message, bytes(index) + b"\x80" + bytes(15 - index)))
    assert len(seen) == 57
