"""Which bytes of a file a request asks for, if any: ranges and preconditions (RFC 9110 13 and 14).

Pure functions of header values, so that the rules can be read and tested as tables. What is malformed is
ignored, as the RFC asks: a client that sends nonsense gets the whole file.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_INT_RANGE = re.compile(r"\s*(\d{1,19})-(\d{0,19})\s*", re.ASCII)
_SUFFIX_RANGE = re.compile(r"\s*-(\d{1,19})\s*", re.ASCII)


class UnsatisfiableError(ValueError):
    """The range lies outside the file: answer 416 (RFC 9110 15.5.17)."""


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """The half-open range [start, stop) that a Range header selects from a file of `size` bytes.

    None means "send everything": the header is malformed, is in another unit, or asks for several ranges,
    which a server may ignore (RFC 9110 14.2). Raises `UnsatisfiableError`.
    """
    unit, _, spec = header.partition("=")
    if unit.strip().lower() != "bytes" or "," in spec:
        return None
    if match := _SUFFIX_RANGE.fullmatch(spec):
        suffix = int(match[1])
        if suffix == 0:
            raise UnsatisfiableError("a suffix of no bytes")
        # Of an empty file every suffix is the whole file, and no Content-Range can say that (RFC 9110
        # 14.1.2).
        return (max(0, size - suffix), size) if size else None
    if match := _INT_RANGE.fullmatch(spec):
        start = int(match[1])
        last = int(match[2]) if match[2] else size - 1
        if match[2] and last < start:
            return None
        if start >= size:
            raise UnsatisfiableError(f"byte {start} of a file of {size}")
        return start, min(last + 1, size)
    return None


def parse_date(header: str) -> datetime | None:
    """An HTTP date (RFC 9110 5.6.7), or None where it is not one."""
    try:
        date = parsedate_to_datetime(header)
    except (ValueError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def not_modified(etag: str, mtime: int, *, if_none_match: str | None, if_modified_since: str | None) -> bool:
    """Whether a GET or HEAD is answered with 304 (RFC 9110 13.2.2). `mtime`: whole seconds since 1970."""
    if if_none_match is not None:  # If-Modified-Since is then ignored (RFC 9110 13.1.3)
        tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
        return "*" in tags or etag in tags  # weak comparison: nothing in our tags needs quoting
    if if_modified_since is not None and (since := parse_date(if_modified_since)):
        return mtime <= since.timestamp()
    return False


def range_applies(etag: str, mtime: int, if_range: str | None) -> bool:
    """Whether Range counts in spite of If-Range (RFC 9110 13.1.5): the strong tag, or the exact date."""
    if if_range is None or if_range.strip() == etag:
        return True
    date = parse_date(if_range) if not if_range.lstrip().startswith(('"', "W/")) else None
    return date is not None and date.timestamp() == mtime
