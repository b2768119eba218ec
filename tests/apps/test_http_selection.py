"""Ranges and preconditions as tables (RFC 9110 13, 14)."""

from __future__ import annotations

import pytest

from stack.apps.http.selection import UnsatisfiableError, not_modified, parse_date, parse_range, range_applies

NOON = "Sun, 06 Nov 1994 12:00:00 GMT"
NOON_TIME = 784123200


@pytest.mark.parametrize(
    ("header", "size", "wanted"),
    [
        ("bytes=0-0", 10, (0, 1)),
        ("bytes=0-9", 10, (0, 10)),
        ("bytes=2-5", 10, (2, 6)),
        ("bytes=5-", 10, (5, 10)),
        ("bytes=9-", 10, (9, 10)),
        ("bytes=5-999", 10, (5, 10)),
        ("bytes=-3", 10, (7, 10)),
        ("bytes=-10", 10, (0, 10)),
        ("bytes=-999", 10, (0, 10)),
        ("BYTES=2-5", 10, (2, 6)),
        ("bytes= 2-5 ", 10, (2, 6)),
        # Ignored: the whole file is sent.
        ("bytes=-5", 0, None),
        ("bytes=5-2", 10, None),
        ("bytes=0-1,4-5", 10, None),
        ("bytes=", 10, None),
        ("bytes=-", 10, None),
        ("bytes=a-b", 10, None),
        ("bytes=--5", 10, None),
        ("bytes", 10, None),
        ("lines=1-2", 10, None),
        ("bytes=\u0661-", 10, None),  # a digit, and not one of ours
        ("bytes=0-" + "9" * 4000, 10, None),
        ("", 10, None),
    ],
)
def test_range(header: str, size: int, wanted: tuple[int, int] | None) -> None:
    assert parse_range(header, size) == wanted


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=10-20", 10), ("bytes=-0", 10), ("bytes=0-", 0)]
)
def test_range_outside_the_file(header: str, size: int) -> None:
    with pytest.raises(UnsatisfiableError):
        parse_range(header, size)


@pytest.mark.parametrize(
    ("tag", "since", "answer"),
    [
        (None, None, False),
        ('"a"', None, True),
        ('W/"a"', None, True),
        ('"b", "a"', None, True),
        ("*", None, True),
        ('"b"', None, False),
        (None, NOON, True),
        (None, "Sun, 06 Nov 1994 12:00:01 GMT", True),
        (None, "Sun, 06 Nov 1994 11:59:59 GMT", False),
        (None, "yesterday", False),
        ('"b"', NOON, False),  # the tag decides
    ],
)
def test_not_modified(tag: str | None, since: str | None, answer: bool) -> None:
    assert not_modified('"a"', NOON_TIME, if_none_match=tag, if_modified_since=since) is answer


@pytest.mark.parametrize(
    ("header", "answer"),
    [
        (None, True),
        ('"a"', True),
        ('W/"a"', False),
        ('"b"', False),
        (NOON, True),
        ("Sun, 06 Nov 1994 12:00:01 GMT", False),
        ("nonsense", False),
    ],
)
def test_if_range(header: str | None, answer: bool) -> None:
    assert range_applies('"a"', NOON_TIME, header) is answer


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 12:00:00 GMT",
        "Sunday, 06-Nov-94 12:00:00 GMT",
        "Sun Nov  6 12:00:00 1994",
    ],
)
def test_the_three_forms_of_a_date(text: str) -> None:
    date = parse_date(text)
    assert date is not None
    assert date.timestamp() == NOON_TIME


@pytest.mark.parametrize("text", ["", "x", "Sun, 99 Nov 1994 12:00:00 GMT", "Sun, 06 Nov 99999 12:00:00 GMT"])
def test_what_is_no_date(text: str) -> None:
    assert parse_date(text) is None
