"""HTTP/1.1 (RFC 9110, RFC 9112), server and client, over any Trio stream that can be half closed.

The grammar and the rules of framing are h11's; this package adds time-outs, files, closing without loss, and
the errors that a person can act on. Nothing in it knows which TCP carries the bytes.
"""

from __future__ import annotations

from stack.apps.http.client import (
    HttpClient,
    HttpError,
    Response,
    TooManyRedirectsError,
    TruncatedError,
    UnsupportedURLError,
)
from stack.apps.http.files import FileServer, serve_directory
from stack.apps.http.server import Exchange, Limits, LogRecord, serve_http

__all__ = [
    "Exchange",
    "FileServer",
    "HttpClient",
    "HttpError",
    "Limits",
    "LogRecord",
    "Response",
    "TooManyRedirectsError",
    "TruncatedError",
    "UnsupportedURLError",
    "serve_directory",
    "serve_http",
]
